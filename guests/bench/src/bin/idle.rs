// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Sleeps for ten seconds, between two marks for QEMU's plugin (ci/counter).

#![no_std]
#![no_main]

use bench::linux::{call, exit, nr};
use core::arch::asm;

const SECONDS: u64 = 10;

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    // `struct timespec`.
    let time = [SECONDS, 0];
    // SAFETY: the mark does nothing to the processor.
    unsafe { asm!("hint #64", options(nomem, nostack, preserves_flags)) };
    // SAFETY: nanosleep(&time, NULL) reads one `struct timespec` there.
    let done = unsafe { call(nr::NANOSLEEP, [time.as_ptr() as usize, 0, 0, 0, 0, 0]) };
    // SAFETY: as above.
    unsafe { asm!("hint #127", options(nomem, nostack, preserves_flags)) };
    exit(usize::from(done.is_err()))
}
