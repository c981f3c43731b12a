// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The terminal at the other end of the UART: what is on its way there, and whether its cursor is in a line.

use crate::Uart;
use crate::line::Line;
use config::MAX_NAME;
use heapless::Vec;
use queue::serial::LOG_LINE_MAX;

/// Longest text of a line, in bytes.
pub(crate) const TEXT_MAX: usize = LOG_LINE_MAX;
/// Room for the longest unit: CAN CR LF, a name with its marks, a text, CR LF.
const STAGE_MAX: usize = 3 + MAX_NAME + 3 + TEXT_MAX + 2;
/// Makes a terminal drop the control sequence that it is in (ECMA-48, 8.3.6, as DEC's terminals take it).
const CAN: u8 = 0x18;

/// The terminal.
pub(crate) struct Screen {
    /// One unit of output, of which `sent` bytes are sent.
    staged: Vec<u8, STAGE_MAX>,
    sent: usize,
    /// Bytes of the line that the cursor is in.
    column: usize,
    /// A control sequence has no end yet.
    in_sequence: bool,
}

impl Screen {
    /// As a driver finds it that starts, perhaps again: the cursor may be anywhere, even in a control sequence.
    pub(crate) const fn new() -> Self {
        Self { staged: Vec::new(), sent: 0, column: 1, in_sequence: true }
    }

    /// Sends what is staged. `false` if the UART has no room for all of it; else there is room for the next unit.
    pub(crate) fn flush(&mut self, uart: &mut impl Uart) -> bool {
        while let Some(byte) = self.staged.get(self.sent) {
            if !uart.send(*byte) {
                return false;
            }
            self.sent += 1;
        }
        self.staged.clear();
        self.sent = 0;
        true
    }

    /// Bytes of the line that the cursor is in; 0 where a new line can start.
    pub(crate) fn column(&self) -> usize {
        self.column
    }

    /// Stages `bytes`, at most [`TEXT_MAX`], as they are. They go on in `line`.
    pub(crate) fn raw(&mut self, bytes: &[u8], line: &mut Line) {
        for byte in bytes {
            line.push(*byte);
            self.put(*byte);
            self.in_sequence = line.in_sequence();
        }
    }

    /// Stages `line` again if the cursor is on a fresh one. `false` if there is no need.
    pub(crate) fn resume(&mut self, line: &Line) -> bool {
        if self.column > 0 {
            return false;
        }
        line.visible().for_each(|byte| self.put(byte));
        self.in_sequence = line.in_sequence();
        self.column > 0
    }

    /// Stages a line of its own, put together from `parts`: a name, marks and a text. Control characters are left out.
    pub(crate) fn line(&mut self, parts: &[&[u8]]) {
        if core::mem::take(&mut self.in_sequence) {
            self.push(CAN);
        }
        let fresh: &[u8] = if self.column > 0 { b"\r\n" } else { b"" };
        let text = parts.iter().copied().flatten().filter(|byte| is_printable(**byte));
        fresh.iter().chain(text).chain(b"\r\n").for_each(|byte| self.push(*byte));
        self.column = 0;
    }

    fn put(&mut self, byte: u8) {
        self.push(byte);
        match byte {
            b'\n' => self.column = 0,
            b'\r' => {}
            _ => self.column = self.column.saturating_add(1),
        }
    }

    fn push(&mut self, byte: u8) {
        // Units fit by construction; a longer one would be cut.
        let _ = self.staged.push(byte);
    }
}

/// Whether a byte is part of the text of a line. Those of UTF-8 are.
pub(crate) fn is_printable(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
