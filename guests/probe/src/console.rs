// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The transcript: lines on the PL011 at 0x0900_0000, polled.

use crate::mmio;
use core::fmt::{self, Write};

/// The PL011's registers (Arm DDI 0183, "Programmers model").
pub const UART: u64 = 0x0900_0000;
const DR: u64 = UART;
const FR: u64 = UART + 0x18;
const FR_TXFF: u32 = 1 << 5;

/// A result under construction: at most 120 bytes.
pub struct Line {
    bytes: [u8; 120],
    length: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; 120], length: 0 }
    }
}

impl Line {
    /// What was written so far.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|text| core::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while mmio::read32(FR) & FR_TXFF != 0 {}
            mmio::write32(DR, u32::from(byte));
        }
        Ok(())
    }
}

/// Prints one line.
pub fn say(text: fmt::Arguments) {
    // `Uart` never fails.
    let _ = Uart.write_fmt(text);
    let _ = Uart.write_str("\r\n");
}
