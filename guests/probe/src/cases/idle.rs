// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Waits that end without an interrupt being taken.

use crate::Case;
use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Quiet, take};
use crate::gic::{CTLR, send_to_self};
use crate::mmio::write32;
use crate::timer::{long, wait_for_interrupt};
use core::arch::asm;
use core::fmt::{self, Write};

pub const CASES: &[Case] =
    &[Case { name: "idle.pending", ask: pending }, Case { name: "idle.no-event", ask: no_event }];

/// An interrupt that is pending and masked ends each wait, and none takes it.
fn pending(_: &Boot, line: &mut Line) -> fmt::Result {
    send_to_self(5);
    (0..10).for_each(|_| wait_for_interrupt());
    let taken = take(1, long(), Quiet::Nothing);
    // The same of one that the distributor passes on later.
    write32(CTLR, 0);
    send_to_self(6);
    write32(CTLR, 1);
    wait_for_interrupt();
    write!(line, "returned, took {taken}, then {}", take(1, long(), Quiet::Nothing))
}

/// Nobody sends an event: on these machines the wait is short all the same.
fn no_event(_: &Boot, line: &mut Line) -> fmt::Result {
    for _ in 0..10 {
        // SAFETY: WFE changes no state but the event register.
        unsafe { asm!("wfe", options(nostack)) };
    }
    line.write_str("ended")
}
