// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The virtual timer and its interrupt, 27.

use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Quiet, take};
use crate::timer::*;
use crate::{Case, gic};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "timer.frequency", ask: counter_frequency },
    Case { name: "timer.fires", ask: fires },
    Case { name: "timer.off", ask: off },
    Case { name: "timer.masked", ask: masked },
    Case { name: "timer.disabled-at-gic", ask: disabled_at_gic },
    Case { name: "timer.wfi", ask: wfi },
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
