// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The virtual timer and its interrupt, 27.

use crate::boot::Boot;
use crate::console::Line;
use crate::cpu::within_a_second;
use crate::exception::{Quiet, take};
use crate::timer::*;
use crate::{Case, gic};
use core::fmt::{self, Write};
use dtoolkit::{Node, Property};

pub const CASES: &[Case] = &[
    Case { name: "timer.frequency", ask: counter_frequency },
    Case { name: "timer.fires", ask: fires },
    Case { name: "timer.off", ask: off },
    Case { name: "timer.masked", ask: masked },
    Case { name: "timer.disabled-at-gic", ask: disabled_at_gic },
    Case { name: "timer.masked-late", ask: masked_late },
    Case { name: "timer.moved", ask: moved },
    Case { name: "timer.again", ask: again },
    Case { name: "timer.far", ask: far },
    Case { name: "timer.value", ask: value },
    Case { name: "timer.pstate", ask: pstate },
    Case { name: "timer.wfi", ask: wfi },
    Case { name: "timer.node", ask: node },
];

const TIMER: u32 = 27;

fn counter_frequency(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "{}", frequency())
}

/// Ten deadlines, none of them early.
fn fires(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    let (mut taken, mut early) = (0, 0);
    for _ in 0..10 {
        let deadline = now() + milliseconds(2);
        arm(deadline, ENABLE);
        let got = take(1, long(), Quiet::Timer);
        taken += usize::from(got.as_slice() == [TIMER]);
        early += usize::from(now() < deadline);
    }
    let after = take(1, short(), Quiet::Timer);
    gic::disable(TIMER);
    write!(line, "{taken} of 10 took 27, {early} early, then {after}")
}

fn off(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    arm(now(), 0);
    let taken = take(1, short(), Quiet::Timer);
    gic::disable(TIMER);
    write!(line, "took {taken}")
}

fn masked(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    arm(now(), ENABLE | IMASK);
    let taken = take(1, short(), Quiet::Timer);
    let status = control() & ISTATUS != 0;
    stop();
    gic::disable(TIMER);
    write!(line, "condition {}, took {taken}", if status { "met" } else { "not met" })
}

/// The line is asserted while its interrupt is disabled, and is level-sensitive: delivered when enabled.
fn disabled_at_gic(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::disable(TIMER);
    arm(now(), ENABLE);
    let disabled = take(1, short(), Quiet::Timer);
    gic::enable(TIMER);
    let enabled = take(1, long(), Quiet::Timer);
    stop();
    gic::disable(TIMER);
    write!(line, "took {disabled}, once enabled {enabled}")
}

/// Masked in its own register when it fires, then no longer.
fn masked_late(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    let deadline = now() + milliseconds(1);
    arm(deadline, ENABLE | IMASK);
    let masked = take(1, short(), Quiet::Timer);
    arm(deadline, ENABLE);
    let unmasked = take(1, long(), Quiet::Timer);
    stop();
    gic::disable(TIMER);
    write!(line, "took {masked}, once unmasked {unmasked}")
}

/// The condition was met while the interrupt was disabled, and no longer is when it is enabled.
fn moved(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::disable(TIMER);
    arm(now(), ENABLE);
    let disabled = take(1, short(), Quiet::Timer);
    arm(now() + milliseconds(10_000), ENABLE);
    gic::enable(TIMER);
    let enabled = take(1, short(), Quiet::Timer);
    stop();
    gic::disable(TIMER);
    write!(line, "took {disabled}, once enabled {enabled}")
}

/// Not quieted in its handler, it interrupts again. Whether one more was already on its way at the end is not asked.
fn again(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    arm(now(), ENABLE);
    let taken = take(3, long(), Quiet::Nothing);
    stop();
    take(1, short(), Quiet::Nothing);
    gic::disable(TIMER);
    write!(line, "took {taken}")
}

/// The last deadline that there is.
fn far(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    arm(u64::MAX, ENABLE);
    let taken = take(1, short(), Quiet::Timer);
    let status = control() & ISTATUS != 0;
    stop();
    gic::disable(TIMER);
    write!(line, "condition {}, took {taken}", if status { "met" } else { "not met" })
}

/// CNTV_TVAL_EL0: a deadline from now on, 32 bits and signed.
fn value(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    let start = now();
    arm_value(0x7fff_ffff, ENABLE);
    let later = read!("cntv_cval_el0").wrapping_sub(start);
    let none = take(1, short(), Quiet::Timer);
    arm_value(0xffff_ffff, ENABLE);
    let past = take(1, long(), Quiet::Timer);
    stop();
    gic::disable(TIMER);
    let kept = (0x7fff_ffff..0x7fff_ffff + milliseconds(1000)).contains(&later);
    write!(line, "{}, took {none}, minus one {past}", if kept { "kept" } else { "not kept" })
}

/// Masked in PSTATE when it fires: pending, and taken once it is not masked.
fn pstate(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    arm(now() + milliseconds(1), ENABLE);
    let met = within_a_second(|| control() & ISTATUS != 0);
    let pending = within_a_second(|| gic::get(gic::ISPENDR, TIMER));
    let taken = take(1, long(), Quiet::Timer);
    stop();
    gic::disable(TIMER);
    write!(line, "condition {}, ", if met { "met" } else { "not met" })?;
    write!(line, "{}, took {taken}", if pending { "pending" } else { "not pending" })
}

/// With interrupts masked in PSTATE, WFI returns once the interrupt is pending, and the interrupt is still to be taken.
fn wfi(_: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    let start = now();
    let deadline = start + milliseconds(10);
    arm(deadline, ENABLE);
    // WFI may return early for any reason.
    while now() < deadline {
        wait_for_interrupt();
    }
    let late = now() - deadline > milliseconds(1000);
    let taken = take(1, long(), Quiet::Timer);
    stop();
    gic::disable(TIMER);
    write!(line, "{}, took {taken}", if late { "late" } else { "in time" })
}

/// The timers that the device tree gives the guest.
fn node(boot: &Boot, line: &mut Line) -> fmt::Result {
    let timer = boot.tree.as_ref().and_then(|tree| tree.find_node("/timer"));
    let Some(interrupts) = timer.and_then(|timer| timer.property("interrupts")) else { return line.write_str("none") };
    // Type, number and flags, of four bytes each.
    for (position, interrupt) in interrupts.value().chunks(12).enumerate() {
        let number = interrupt.get(7).copied().unwrap_or_default();
        write!(line, "{}PPI {number}", if position == 0 { "" } else { ", " })?;
    }
    Ok(())
}
