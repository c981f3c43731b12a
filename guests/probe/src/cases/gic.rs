// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The distributor's registers, and delivery: enable, pending, priority, software-generated interrupts.

use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Quiet, take};
use crate::gic::*;
use crate::mmio::{read8, read32, write8, write32};
use crate::{
    Case,
    timer::{long, short},
};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "gic.typer", ask: typer },
    Case { name: "gic.iidr", ask: iidr },
    Case { name: "gic.enable", ask: enable_bits },
    Case { name: "gic.priority-bits", ask: priority_bits },
    Case { name: "gic.targets", ask: targets },
    Case { name: "gic.spi", ask: spi },
    Case { name: "gic.pended-disabled", ask: pended_disabled },
    Case { name: "gic.sgi", ask: sgi },
    Case { name: "gic.priority-mask", ask: priority_mask },
    Case { name: "gic.order", ask: order },
];

/// Two shared interrupts that no device of either machine asserts.
const SPI_A: u32 = 62;
const SPI_B: u32 = 63;

fn typer(_: &Boot, line: &mut Line) -> fmt::Result {
    let typer = read32(TYPER);
    write!(line, "{} interrupts, {} CPU, ", ((typer & 0x1f) + 1) * 32, (typer >> 5 & 7) + 1)?;
    write!(line, "SecurityExtn {}", typer >> 10 & 1)
}

fn iidr(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "{:#x}", read32(IIDR))
}

fn enable_bits(_: &Boot, line: &mut Line) -> fmt::Result {
    let (set, bit) = bit(ISENABLER, SPI_A);
    let (clear, _) = crate::gic::bit(ICENABLER, SPI_A);
    write32(set, bit);
    write!(line, "set {:#x} {:#x}, ", read32(set), read32(clear))?;
    // Zeros change nothing.
    write32(clear, 0);
    write!(line, "still {:#x}, ", read32(set))?;
    write32(clear, bit);
    write!(line, "cleared {:#x} {:#x}", read32(set), read32(clear))
}

fn priority_bits(_: &Boot, line: &mut Line) -> fmt::Result {
    let register = IPRIORITYR + u64::from(SPI_A);
    write8(register, 0xff);
    let implemented = read8(register);
    write8(register, PRIORITY);
    write!(line, "{implemented:#x}, neighbour {:#x}", read8(register + 1))
}

fn targets(_: &Boot, line: &mut Line) -> fmt::Result {
    let register = ITARGETSR + u64::from(SPI_A);
    write8(register, 1);
    write!(line, "{:#x}, banked {:#x}", read8(register), read32(ITARGETSR))
}

fn spi(_: &Boot, line: &mut Line) -> fmt::Result {
    enable(SPI_A);
    pend(SPI_A);
    let first = take(1, long(), Quiet::Nothing);
    let again = take(1, short(), Quiet::Nothing);
    disable(SPI_A);
    write!(line, "took {first}, then {again}")
}

fn pended_disabled(_: &Boot, line: &mut Line) -> fmt::Result {
    disable(SPI_A);
    pend(SPI_A);
    let disabled = take(1, short(), Quiet::Nothing);
    enable(SPI_A);
    let enabled = take(1, long(), Quiet::Nothing);
    disable(SPI_A);
    write!(line, "took {disabled}, once enabled {enabled}")
}

fn sgi(_: &Boot, line: &mut Line) -> fmt::Result {
    enable(5);
    send_to_self(5);
    let first = take(1, long(), Quiet::Nothing);
    send_to_self(5);
    let second = take(1, long(), Quiet::Nothing);
    write!(line, "took {first}, sent again {second}")
}

fn priority_mask(_: &Boot, line: &mut Line) -> fmt::Result {
    mask_priority(0x80);
    enable(SPI_A);
    pend(SPI_A);
    let masked = take(1, short(), Quiet::Nothing);
    set_priority(SPI_B, 0x40);
    let (register, bit) = bit(ISENABLER, SPI_B);
    write32(register, bit);
    pend(SPI_B);
    let above = take(1, long(), Quiet::Nothing);
    mask_priority(OPEN);
    let opened = take(1, long(), Quiet::Nothing);
    disable(SPI_A);
    disable(SPI_B);
    write!(line, "mask 0x80: priority 0xa0 {masked}, 0x40 {above}; opened {opened}")
}

fn order(_: &Boot, line: &mut Line) -> fmt::Result {
    enable(SPI_A);
    enable(SPI_B);
    set_priority(SPI_B, 0x40);
    pend(SPI_A);
    pend(SPI_B);
    let both = take(2, long(), Quiet::Nothing);
    disable(SPI_A);
    disable(SPI_B);
    write!(line, "pended {SPI_A} at 0xa0, {SPI_B} at 0x40: took {both}")
}
