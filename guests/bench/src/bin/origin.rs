// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Prints at which value of the virtual counter the guest's uptime was zero. Where nothing offsets that counter from the
//! physical one, it began at power-on: adding the uptime of an event gives the time from power-on to that event.

#![no_std]
#![no_main]

use bench::linux::{call, exit, nr};
use bench::{Stdout, counter};
use core::fmt::Write;

const CLOCK_BOOTTIME: usize = 7;

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let (count, frequency) = counter();
    // `struct timespec`.
    let mut uptime = [0_u64; 2];
    // SAFETY: clock_gettime(CLOCK_BOOTTIME, &uptime) writes one `struct timespec` there.
    let done = unsafe { call(nr::CLOCK_GETTIME, [CLOCK_BOOTTIME, uptime.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    let counted = u128::from(count) * 1_000_000_000 / u128::from(frequency);
    let [seconds, nanoseconds] = uptime.map(u128::from);
    let origin = counted.saturating_sub(seconds * 1_000_000_000 + nanoseconds) as u64;
    let shown = writeln!(Stdout, "origin: {}.{:09}", origin / 1_000_000_000, origin % 1_000_000_000);
    exit(usize::from(done.is_err() || shown.is_err()))
}
