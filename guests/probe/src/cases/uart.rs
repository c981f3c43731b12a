// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The PL011 (Arm DDI 0183): identification, access widths, and its level-sensitive interrupt.

use crate::boot::Boot;
use crate::console::{Line, UART};
use crate::exception::{Quiet, take};
use crate::mmio::*;
use crate::{
    Case, gic,
    timer::{long, short},
};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "uart.id", ask: id },
    Case { name: "uart.widths", ask: widths },
    Case { name: "uart.level", ask: level },
];

const IBRD: u64 = UART + 0x24;
const IMSC: u64 = UART + 0x38;
const ICR: u64 = UART + 0x44;
const PERIPH_ID: u64 = UART + 0xfe0;
const TX: u32 = 1 << 5;
/// Shared interrupt 1.
const INTERRUPT: u32 = 33;

fn id(_: &Boot, line: &mut Line) -> fmt::Result {
    (0..8).try_for_each(|n| write!(line, "{}{:02x}", if n == 0 { "" } else { " " }, read32(PERIPH_ID + 4 * n)))
}

/// Reads of each width, and writes of each width to the baud rate divisor, which nothing else here uses.
fn widths(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "read {:#x} {:#x} ", read8(PERIPH_ID), read16(PERIPH_ID))?;
    write!(line, "{:#x} {:#x}, written", read32(PERIPH_ID), read64(PERIPH_ID))?;
    write8(IBRD, 0x12);
    write!(line, " {:#x}", read32(IBRD))?;
    write16(IBRD, 0x1234);
    write!(line, " {:#x}", read32(IBRD))?;
    write32(IBRD, 0x5678);
    write!(line, " {:#x}", read32(IBRD))?;
    write64(IBRD - 4, 0x9abc << 32);
    write!(line, " {:#x}", read32(IBRD))
}

/// The transmit interrupt stays asserted until it is cleared in the UART, so it is delivered again after each end of
/// interrupt, and not after it was cleared. Whether one more was already on its way then is not asked.
fn level(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(INTERRUPT);
    write32(IMSC, TX);
    let asserted = take(3, long(), Quiet::Nothing);
    write32(IMSC, 0);
    write32(ICR, TX);
    take(1, short(), Quiet::Nothing);
    let cleared = take(1, short(), Quiet::Nothing);
    gic::disable(INTERRUPT);
    write!(line, "took {asserted}, once cleared {cleared}")
}
