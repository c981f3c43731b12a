// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The line of a console that has no end yet, as a terminal shows it.

use crate::screen::{TEXT_MAX, is_printable};
use heapless::Vec;

/// Longest line that is kept, in bytes.
pub(crate) const LINE_MAX: usize = 160;
/// Longest control sequence that is kept, in bytes.
const SEQUENCE_MAX: usize = TEXT_MAX - LINE_MAX;

const BACKSPACE: u8 = 8;
const ESC: u8 = 0x1b;

/// What is left of the cursor in a line that has no end yet.
#[derive(Default)]
pub(crate) struct Line {
    text: Vec<u8, LINE_MAX>,
    /// What has come of a control sequence (ECMA-48) whose end has not. It has had no effect, and may be sent again.
    sequence: Vec<u8, SEQUENCE_MAX>,
    /// The cursor is at the beginning of the line, which the next character starts over.
    returned: bool,
    /// A terminal shows something else: a sequence moved its cursor, or the line is too long.
    unknown: bool,
}

impl Line {
    /// Follows the console's next byte. One that ends the line leaves an empty one.
    pub(crate) fn push(&mut self, byte: u8) {
        if byte == ESC || byte >= b' ' && self.in_sequence() {
            self.push_sequence(byte);
            return;
        }
        // A control character ends one too.
        self.sequence.clear();
        match byte {
            b'\n' => *self = Self::default(),
            b'\r' => self.returned = true,
            // With all bytes of a character of UTF-8.
            BACKSPACE => while self.text.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            _ if is_printable(byte) => {
                if core::mem::take(&mut self.returned) {
                    self.text.clear();
                }
                self.unknown |= self.text.push(byte).is_err();
            }
            _ => {}
        }
    }

    fn push_sequence(&mut self, byte: u8) {
        if byte == ESC {
            self.sequence.clear();
        }
        let fits = self.sequence.push(byte).is_ok();
        let goes_on = match self.sequence.as_slice() {
            [_, b'[', .., b'@'..=b'~'] | [_, b' '..=b'/', .., b'0'..=0xff] => false,
            [_] | [_, b'[' | b']' | b' '..=b'/', ..] => true,
            _ => false,
        };
        if goes_on && fits {
            return;
        }
        // Colours, questions, modes; what erases only right of the cursor; the end of a title.
        let harmless = matches!(
            self.sequence.as_slice(),
            [_, b'[', .., b'm' | b'n' | b'h' | b'l'] | [_, b'[', b'J' | b'K'] | [_, b'\\']
        );
        self.unknown |= !harmless || !fits;
        self.sequence.clear();
    }

    /// The text of the line, whatever a terminal shows.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn is_full(&self) -> bool {
        self.text.is_full()
    }

    /// Whether a control sequence has no end yet.
    pub(crate) fn in_sequence(&self) -> bool {
        !self.sequence.is_empty()
    }

    /// What makes a terminal, with the cursor on a fresh line, show the line. Of a line that is not known, or is about to
    /// be started over, nothing but the control sequence that has begun.
    pub(crate) fn visible(&self) -> impl Iterator<Item = u8> {
        let text = if self.unknown || self.returned { &[] } else { self.text() };
        text.iter().chain(&self.sequence).copied()
    }

    /// A terminal begins or ceases to show the line: from now on it is known. Of one that was not, the rest is to come.
    pub(crate) fn change_focus(&mut self, shown: bool) {
        if core::mem::take(&mut self.unknown) && !shown {
            self.text.clear();
        }
    }
}
