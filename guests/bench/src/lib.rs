// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the programs that `make bench` runs in a Linux guest have in common: system calls, output, the counter. They are
//! static and without libc, so that nothing but this repository and the kernel takes part in what is measured.

#![no_std]

pub mod linux;

use core::arch::asm;
use core::fmt;

/// Standard output.
pub struct Stdout;

impl fmt::Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        linux::write_all(1, text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// The virtual counter, and how often it counts in a second.
#[must_use]
pub fn counter() -> (u64, u64) {
    let (counter, frequency): (u64, u64);
    // SAFETY: Linux lets EL0 read both (CNTKCTL_EL1.EL0VCTEN); reading has no side effect.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) counter, out(reg) frequency) };
    (counter, frequency.max(1))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    linux::exit(1)
}
