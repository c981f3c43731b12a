// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Device registers of QEMU `virt`, and the UART for messages.

use core::fmt::{self, Write};

/// A block of 32-bit device registers.
#[derive(Clone, Copy)]
pub struct Registers(usize);

/// GICv2 distributor.
pub const GICD: Registers = Registers(0x0800_0000);
/// GICv2 CPU interface.
pub const GICC: Registers = Registers(0x0801_0000);
/// GICv2 virtual interface control.
pub const GICH: Registers = Registers(0x0803_0000);
/// PL011, which a serial driver may share.
const UART: Registers = Registers(0x0900_0000);

impl Registers {
    /// Reads the register at a byte offset.
    pub fn read(self, offset: usize) -> u32 {
        // SAFETY: the constants above are the only values: devices of QEMU virt, mapped as device memory, not Rust's memory.
        unsafe { ((self.0 + offset) as *const u32).read_volatile() }
    }

    /// Writes the register at a byte offset.
    pub fn write(self, offset: usize, value: u32) {
        // SAFETY: as for `read`; none of these devices accesses memory.
        unsafe { ((self.0 + offset) as *mut u32).write_volatile(value) }
    }
}

/// Prints one character, with a carriage return before a line feed.
pub fn put(byte: u8) {
    const DR: usize = 0x000;
    const FR: usize = 0x018;
    const TXFF: u32 = 1 << 5;
    if byte == b'\n' {
        put(b'\r');
    }
    while UART.read(FR) & TXFF != 0 {}
    UART.write(DR, byte.into());
}

/// Where messages go.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(put);
        Ok(())
    }
}

/// Prints a line in every configuration.
macro_rules! print {
    ($($message:tt)*) => {{
        let _ = core::fmt::Write::write_fmt(&mut $crate::mmio::Console, format_args!("devsdk: {}\n", format_args!($($message)*)));
    }};
}

/// Prints a line in the debug configuration.
macro_rules! debug {
    ($($message:tt)*) => {
        if cfg!(feature = "debug") {
            $crate::mmio::print!($($message)*);
        }
    };
}

pub(crate) use {debug, print};
