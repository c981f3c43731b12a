// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Interrupts on their way to the CPU: enabled or not, pending, active, in order of priority, more than there are list
//! registers.

use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Quiet, inspected, take};
use crate::gic::*;
use crate::mmio::{write32, write64};
use crate::{
    Case,
    timer::{long, short},
};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "delivery.spi", ask: spi },
    Case { name: "delivery.pended-disabled", ask: pended_disabled },
    Case { name: "delivery.unpended", ask: unpended },
    Case { name: "delivery.disabled-pending", ask: disabled_pending },
    Case { name: "delivery.ctlr-off", ask: ctlr_off },
    Case { name: "delivery.edge", ask: edge },
    Case { name: "delivery.active", ask: active },
    Case { name: "delivery.state-masked", ask: state_masked },
    Case { name: "delivery.state-handler", ask: state_handler },
    Case { name: "delivery.sgi", ask: sgi },
    Case { name: "delivery.sgi-filters", ask: sgi_filters },
    Case { name: "delivery.sgi-all", ask: sgi_all },
    Case { name: "delivery.priority-mask", ask: priority_mask },
    Case { name: "delivery.order", ask: order },
    Case { name: "delivery.many", ask: many },
    Case { name: "delivery.late-priority", ask: late_priority },
    Case { name: "delivery.masked-full", ask: masked_full },
    Case { name: "delivery.lowest", ask: lowest },
];

/// Shared interrupts that no device of either machine asserts.
const SPI_A: u32 = 62;
const SPI_B: u32 = 63;
const FIRST: u32 = 64;

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

fn unpended(_: &Boot, line: &mut Line) -> fmt::Result {
    disable(SPI_A);
    pend(SPI_A);
    let pending = get(ISPENDR, SPI_A);
    set(ICPENDR, SPI_A);
    let cleared = get(ISPENDR, SPI_A);
    enable(SPI_A);
    let taken = take(1, short(), Quiet::Nothing);
    disable(SPI_A);
    write!(line, "pending {}, cleared {}, took {taken}", u8::from(pending), u8::from(cleared))
}

/// Pending and enabled while the CPU masks interrupts, and disabled before it no longer does.
fn disabled_pending(_: &Boot, line: &mut Line) -> fmt::Result {
    enable(SPI_A);
    pend(SPI_A);
    disable(SPI_A);
    let taken = take(1, short(), Quiet::Nothing);
    set(ICPENDR, SPI_A);
    write!(line, "took {taken}")
}

fn ctlr_off(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(CTLR, 0);
    enable(SPI_A);
    pend(SPI_A);
    let off = take(1, short(), Quiet::Nothing);
    write32(CTLR, 1);
    let on = take(1, long(), Quiet::Nothing);
    disable(SPI_A);
    write!(line, "took {off}, once on {on}")
}

/// An edge-triggered interrupt that is pended twice before it is taken is taken once.
fn edge(_: &Boot, line: &mut Line) -> fmt::Result {
    let register = ICFGR + u64::from(SPI_A / 16) * 4;
    write32(register, 2 << (SPI_A % 16 * 2));
    disable(SPI_A);
    pend(SPI_A);
    pend(SPI_A);
    enable(SPI_A);
    let taken = take(2, short(), Quiet::Nothing);
    disable(SPI_A);
    write32(register, 0);
    write!(line, "took {taken}")
}

/// Made active by software, an interrupt is not taken until it is no longer.
fn active(_: &Boot, line: &mut Line) -> fmt::Result {
    enable(SPI_A);
    set(ISACTIVER, SPI_A);
    pend(SPI_A);
    let (pending, active) = state(SPI_A);
    let waiting = take(1, short(), Quiet::Nothing);
    set(ICACTIVER, SPI_A);
    let inactive = take(1, long(), Quiet::Nothing);
    disable(SPI_A);
    write!(line, "pending {}, active {}: ", u8::from(pending), u8::from(active))?;
    write!(line, "took {waiting}, once inactive {inactive}")
}

/// How an interrupt reads that is pending while the CPU masks interrupts, and once it was taken.
fn state_masked(_: &Boot, line: &mut Line) -> fmt::Result {
    enable(SPI_A);
    pend(SPI_A);
    let (pending, active) = state(SPI_A);
    write!(line, "pending {}, active {}; ", u8::from(pending), u8::from(active))?;
    let taken = take(1, long(), Quiet::Nothing);
    let (pending, active) = state(SPI_A);
    disable(SPI_A);
    write!(line, "took {taken}: pending {}, active {}", u8::from(pending), u8::from(active))
}

/// How it reads in its handler.
fn state_handler(_: &Boot, line: &mut Line) -> fmt::Result {
    enable(SPI_A);
    pend(SPI_A);
    let taken = take(1, long(), Quiet::Inspect);
    let (pending, active) = inspected();
    disable(SPI_A);
    write!(line, "took {taken}: pending {}, active {}", u8::from(pending), u8::from(active))
}

fn sgi(_: &Boot, line: &mut Line) -> fmt::Result {
    enable(5);
    send_to_self(5);
    let first = take(1, long(), Quiet::Nothing);
    send_to_self(5);
    let second = take(1, long(), Quiet::Nothing);
    write!(line, "took {first}, sent again {second}")
}

/// By list, to CPUs that do not exist, to all others, and to itself.
fn sgi_filters(_: &Boot, line: &mut Line) -> fmt::Result {
    for (position, value) in [1 << 16 | 5, 0xfe << 16 | 5, 1 << 24 | 5, 2 << 24 | 5].into_iter().enumerate() {
        write32(SGIR, value);
        let taken = take(1, short(), Quiet::Nothing);
        write!(line, "{}{taken}", if position == 0 { "took " } else { ", " })?;
    }
    Ok(())
}

/// All sixteen pending at once, the first one the most urgent.
fn sgi_all(_: &Boot, line: &mut Line) -> fmt::Result {
    (0..16).for_each(|id| set_priority(id, 8 * id as u8));
    (0..16).for_each(send_to_self);
    write!(line, "took {}", take(16, long(), Quiet::Nothing))?;
    (0..16).for_each(|id| set_priority(id, PRIORITY));
    Ok(())
}

fn priority_mask(_: &Boot, line: &mut Line) -> fmt::Result {
    mask_priority(0x80);
    enable(SPI_A);
    pend(SPI_A);
    let masked = take(1, short(), Quiet::Nothing);
    enable_at(SPI_B, 0x40);
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
    enable_at(SPI_B, 0x40);
    pend(SPI_A);
    pend(SPI_B);
    let both = take(2, long(), Quiet::Nothing);
    disable(SPI_A);
    disable(SPI_B);
    write!(line, "pended {SPI_A} at 0xa0, {SPI_B} at 0x40: took {both}")
}

/// More at once than there are list registers: all are taken, and in the order of their priorities.
fn many(_: &Boot, line: &mut Line) -> fmt::Result {
    // 0x00, 0x10, … in an order that is not that of the numbers.
    for n in 0..20 {
        enable_at(FIRST + n, (n * 7 % 20 * 8) as u8);
    }
    write64(ISPENDR + u64::from(FIRST / 32) * 4, 0xf_ffff);
    let taken = take(20, long(), Quiet::Nothing);
    (0..20).for_each(|n| disable(FIRST + n));
    let ordered = taken
        .as_slice()
        .iter()
        .enumerate()
        .all(|(position, id)| (id & INTID).checked_sub(FIRST).is_some_and(|n| n * 7 % 20 == position as u32));
    write!(line, "took {}, {}", taken.as_slice().len(), if ordered { "in order" } else { "out of order" })
}

/// One of high priority that comes when the list registers are full.
fn late_priority(_: &Boot, line: &mut Line) -> fmt::Result {
    (0..8).for_each(|n| enable(FIRST + n));
    write32(ISPENDR + u64::from(FIRST / 32) * 4, 0xff);
    enable_at(SPI_B, 0x40);
    pend(SPI_B);
    let taken = take(9, long(), Quiet::Nothing);
    (0..8).for_each(|n| disable(FIRST + n));
    disable(SPI_B);
    let place = taken.as_slice().iter().position(|id| id & INTID == SPI_B);
    write!(line, "took {}, the urgent one as number {}", taken.as_slice().len(), place.map_or(0, |place| place + 1))
}

/// The same while the others are masked by their priority.
fn masked_full(_: &Boot, line: &mut Line) -> fmt::Result {
    mask_priority(0x80);
    (0..8).for_each(|n| enable(FIRST + n));
    write32(ISPENDR + u64::from(FIRST / 32) * 4, 0xff);
    enable_at(SPI_B, 0x40);
    pend(SPI_B);
    let urgent = take(1, long(), Quiet::Nothing);
    mask_priority(OPEN);
    let rest = take(8, long(), Quiet::Nothing).as_slice().len();
    (0..8).for_each(|n| disable(FIRST + n));
    disable(SPI_B);
    write!(line, "took {urgent}, then {rest}")
}

/// Interrupts of the lowest priority, 0xff, which no mask lets pass, and one that passes beside them.
fn lowest(_: &Boot, line: &mut Line) -> fmt::Result {
    (0..8).for_each(|n| enable_at(FIRST + n, 0xff));
    write32(ISPENDR + u64::from(FIRST / 32) * 4, 0xff);
    enable(SPI_B);
    pend(SPI_B);
    let taken = take(2, short(), Quiet::Nothing);
    (0..8).for_each(|n| disable(FIRST + n));
    disable(SPI_B);
    write32(ICPENDR + u64::from(FIRST / 32) * 4, 0xff);
    write!(line, "took {taken}")
}
