// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The distributor's registers: what they keep, at which width, and what is fixed.

use crate::Case;
use crate::boot::Boot;
use crate::console::Line;
use crate::gic::*;
use crate::mmio::*;
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "gic.typer", ask: typer },
    Case { name: "gic.iidr", ask: iidr },
    Case { name: "gic.identification", ask: identification },
    Case { name: "gic.ctlr", ask: ctlr },
    Case { name: "gic.enable", ask: enable_bits },
    Case { name: "gic.enable-sgi", ask: enable_sgi },
    Case { name: "gic.pending-sgi", ask: pending_sgi },
    Case { name: "gic.pending-bits", ask: pending_bits },
    Case { name: "gic.active-bits", ask: active_bits },
    Case { name: "gic.widths", ask: widths },
    Case { name: "gic.group", ask: group },
    Case { name: "gic.priority-bits", ask: priority_bits },
    Case { name: "gic.priority-bytes", ask: priority_bytes },
    Case { name: "gic.targets", ask: targets },
    Case { name: "gic.config-sgi", ask: config_sgi },
    Case { name: "gic.config-spi", ask: config_spi },
    Case { name: "gic.nsacr", ask: nsacr },
    Case { name: "gic.read-only", ask: read_only },
    Case { name: "gic.beyond", ask: beyond },
    Case { name: "gic.sgi-senders", ask: sgi_senders },
    Case { name: "gic.sgir-bytes", ask: sgir_bytes },
    Case { name: "gic.storm", ask: storm },
];

/// A shared interrupt that no device of either machine asserts.
const SPI: u32 = 62;

fn typer(_: &Boot, line: &mut Line) -> fmt::Result {
    let typer = read32(TYPER);
    write!(line, "{} interrupts, {} CPU, ", ((typer & 0x1f) + 1) * 32, (typer >> 5 & 7) + 1)?;
    write!(line, "SecurityExtn {}", typer >> 10 & 1)
}

fn iidr(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "{:#x}", read32(IIDR))
}

fn identification(_: &Boot, line: &mut Line) -> fmt::Result {
    (0..12).try_for_each(|n| write!(line, "{}{:02x}", if n == 0 { "" } else { " " }, read32(IDENTIFICATION + 4 * n)))
}

fn ctlr(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(CTLR, u32::MAX);
    let all = read32(CTLR);
    write32(CTLR, 0);
    let none = read32(CTLR);
    write32(CTLR, 1);
    write!(line, "all ones {all:#x}, zero {none:#x}")
}

fn enable_bits(_: &Boot, line: &mut Line) -> fmt::Result {
    set_and_clear(line, ISENABLER, ICENABLER)
}

/// Software-generated interrupts are always enabled here.
fn enable_sgi(_: &Boot, line: &mut Line) -> fmt::Result {
    let before = read32(ISENABLER);
    write32(ICENABLER, 0xffff);
    write!(line, "{:#x}, cleared {:#x}", before & 0xffff, read32(ISENABLER) & 0xffff)
}

/// Software-generated interrupts are not made pending here.
fn pending_sgi(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(ISPENDR, 0xffff);
    write!(line, "{:#x}", read32(ISPENDR) & 0xffff)
}

fn pending_bits(_: &Boot, line: &mut Line) -> fmt::Result {
    set_and_clear(line, ISPENDR, ICPENDR)
}

fn active_bits(_: &Boot, line: &mut Line) -> fmt::Result {
    set_and_clear(line, ISACTIVER, ICACTIVER)
}

/// The bit of an interrupt: set, with zeros cleared, cleared.
fn set_and_clear(line: &mut Line, set: u64, clear: u64) -> fmt::Result {
    let ((set, bit), (clear, _)) = (bit(set, SPI), bit(clear, SPI));
    write32(set, bit);
    write!(line, "set {:#x} {:#x}, ", read32(set), read32(clear))?;
    // Zeros change nothing.
    write32(clear, 0);
    write!(line, "still {:#x}, ", read32(set))?;
    write32(clear, bit);
    write!(line, "cleared {:#x} {:#x}", read32(set), read32(clear))
}

/// Enable bits by bytes and halfwords.
fn widths(_: &Boot, line: &mut Line) -> fmt::Result {
    let ((set, _), (clear, _)) = (bit(ISENABLER, SPI), bit(ICENABLER, SPI));
    write8(set + 3, 0x40);
    write!(line, "byte {:#x}, half {:#x}, word {:#x}, ", read8(set + 3), read16(set + 2), read32(set))?;
    write16(clear + 2, 0x4000);
    write!(line, "cleared {:#x}", read32(set))
}

fn group(_: &Boot, line: &mut Line) -> fmt::Result {
    let (register, bit) = bit(IGROUPR, SPI);
    write32(register, bit);
    let set = read32(register);
    write32(register, 0);
    write!(line, "set {set:#x}, cleared {:#x}", read32(register))
}

fn priority_bits(_: &Boot, line: &mut Line) -> fmt::Result {
    let register = IPRIORITYR + u64::from(SPI);
    write8(register, 0xff);
    let implemented = read8(register);
    write8(register, PRIORITY);
    write!(line, "{implemented:#x}, neighbour {:#x}", read8(register + 1))
}

/// Of the four interrupts from 60 on, by byte and by word.
fn priority_bytes(_: &Boot, line: &mut Line) -> fmt::Result {
    let register = IPRIORITYR + 60;
    write32(register, 0x1020_3040);
    write8(register + 1, 0x50);
    write!(line, "{:#x}, bytes {:#x} {:#x}", read32(register), read8(register), read8(register + 3))?;
    write32(register, 0);
    write!(line, ", cleared {:#x}", read32(register))
}

fn targets(_: &Boot, line: &mut Line) -> fmt::Result {
    let register = ITARGETSR + u64::from(SPI);
    write8(register, 1);
    write!(line, "{:#x}, banked {:#x}", read8(register), read32(ITARGETSR))
}

fn config_sgi(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(ICFGR, 0);
    write!(line, "{:#x}", read32(ICFGR))
}

fn config_spi(_: &Boot, line: &mut Line) -> fmt::Result {
    let register = ICFGR + u64::from(SPI / 16) * 4;
    write32(register, 0xaaaa_aaaa);
    let edge = read32(register);
    write32(register, 0);
    write!(line, "edge {edge:#x}, level {:#x}", read32(register))
}

fn nsacr(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(NSACR + 8, u32::MAX);
    write!(line, "{:#x}", read32(NSACR + 8))
}

fn read_only(_: &Boot, line: &mut Line) -> fmt::Result {
    let same = [TYPER, IIDR, ITARGETSR, IDENTIFICATION].into_iter().all(|register| {
        let before = read32(register);
        write32(register, !before);
        read32(register) == before
    });
    line.write_str(if same { "unchanged" } else { "changed" })
}

/// Registers of interrupts that neither machine has, and offsets between the registers.
fn beyond(_: &Boot, line: &mut Line) -> fmt::Result {
    let registers = [IGROUPR, ISENABLER, ISPENDR, ISACTIVER].map(|bank| bank + 0x78);
    let others = [IPRIORITYR + 0x3f0, ITARGETSR + 0x3f0, ICFGR + 0xf8, GICD + 0x00c, GICD + 0x040, GICD + 0xf08];
    let zero = registers.into_iter().chain(others).all(|register| {
        write32(register, u32::MAX);
        read32(register) == 0
    });
    line.write_str(if zero { "zero" } else { "not zero" })
}

/// With the groups off, so that nothing is on its way to the CPU.
fn sgi_senders(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(CTLR, 0);
    write8(SPENDSGIR + 5, 0x01);
    write!(line, "set {:#x} {:#x}, ", read32(SPENDSGIR + 4), read32(CPENDSGIR + 4))?;
    write!(line, "pending {:#x}, ", read32(ISPENDR) & 0xffff)?;
    write8(CPENDSGIR + 5, 0x01);
    write!(line, "cleared {:#x}, pending {:#x}", read32(SPENDSGIR + 4), read32(ISPENDR) & 0xffff)?;
    write32(CTLR, 1);
    Ok(())
}

/// GICD_SGIR takes words only; what a byte does is left open, and must do no harm.
fn sgir_bytes(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(CTLR, 0);
    write8(SGIR, 0x05);
    write8(SGIR + 2, 0x01);
    write32(CPENDSGIR + 4, 0x0000_ff00);
    write32(CTLR, 1);
    write!(line, "read {:#x}", read32(SGIR))
}

/// Every word of the distributor read and written with ones, then with zeros, with its groups off; then as before.
fn storm(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(CTLR, 0);
    for value in [u32::MAX, 0] {
        for offset in (0x080..0x1000).step_by(4) {
            read32(GICD + offset);
            write32(GICD + offset, value);
        }
    }
    for n in 0..32 {
        for bank in [ICENABLER, ICPENDR, ICACTIVER] {
            write32(bank + 4 * n, u32::MAX);
        }
    }
    (0..4).for_each(|n| write32(CPENDSGIR + 4 * n, u32::MAX));
    start();
    write!(line, "enabled {:#x}, pending {:#x}", read32(ISENABLER + 4), read32(ISPENDR + 4) & 1 << 30)
}
