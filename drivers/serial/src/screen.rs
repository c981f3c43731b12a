// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The terminal at the other end of the UART: what is on its way there, and whether its cursor is in a line.

use crate::Uart;
use config::MAX_NAME;
use heapless::Vec;
use queue::serial::LOG_LINE_MAX;

/// Longest text of a line, in bytes.
pub(crate) const TEXT_MAX: usize = LOG_LINE_MAX;
/// Room for the longest unit: CR LF, a name with its marks, a text, CR LF.
const STAGE_MAX: usize = 2 + MAX_NAME + 3 + TEXT_MAX + 2;

/// The terminal.
#[derive(Default)]
pub(crate) struct Screen {
    /// One unit of output, of which `sent` bytes are sent.
    staged: Vec<u8, STAGE_MAX>,
    sent: usize,
    /// Bytes of the line that the cursor is in.
    column: usize,
}

impl Screen {
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

    /// Stages `bytes` as they are, at most [`TEXT_MAX`].
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
            match byte {
                b'\n' => self.column = 0,
                b'\r' => {}
                _ => self.column = self.column.saturating_add(1),
            }
        }
    }

    /// Stages a line of its own, put together from `parts`: a name, marks and a text. Control characters are left out.
    pub(crate) fn line(&mut self, parts: &[&[u8]]) {
        if self.column > 0 {
            self.raw(b"\r\n");
        }
        for byte in parts.iter().copied().flatten().copied().filter(|byte| is_printable(*byte)) {
            self.push(byte);
        }
        self.raw(b"\r\n");
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
