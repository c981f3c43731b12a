// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The PL031 real-time clock (Arm DDI 0224).

use crate::boot::Boot;
use crate::console::Line;
use crate::mmio::read32;
use crate::{Case, timer};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[Case { name: "rtc.id", ask: id }, Case { name: "rtc.advances", ask: advances }];

const RTC: u64 = 0x0901_0000;
const DR: u64 = RTC;
const PERIPH_ID: u64 = RTC + 0xfe0;

fn id(_: &Boot, line: &mut Line) -> fmt::Result {
    (0..8).try_for_each(|n| write!(line, "{}{:02x}", if n == 0 { "" } else { " " }, read32(PERIPH_ID + 4 * n)))
}

/// From one change of the seconds to the next: by how much, and that it takes between 0.5 and 2 s (an emulator's clock
/// and its counter may run at different speeds).
fn advances(_: &Boot, line: &mut Line) -> fmt::Result {
    let limit = timer::milliseconds(5000);
    let change = || {
        let (before, start) = (read32(DR), timer::now());
        while read32(DR) == before && timer::now() - start < limit {}
        (read32(DR), timer::now())
    };
    let (first, start) = change();
    let (second, end) = change();
    let passed = end - start;
    let pace = if passed < timer::milliseconds(500) {
        "less than 0.5 s"
    } else if passed > timer::milliseconds(2000) {
        "more than 2 s"
    } else {
        "about 1 s"
    };
    write!(line, "by {} in {pace}", second.wrapping_sub(first))
}
