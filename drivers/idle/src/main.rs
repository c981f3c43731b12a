// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Waits for interrupts when nobody else has anything to do.
//!
//! The kernel's own idle thread does that too, but its time slice of 5 ms ends 200 times a second, and each end costs the
//! host or the battery a wake-up. A time slice is a matter of the system file for a protection domain, so this one, below
//! all others, idles longer. It has no channel and no memory but its own.

#![no_std]
#![no_main]

use core::arch::asm;
use sel4_microkit::{Handler, NullHandler, protection_domain};

#[protection_domain]
fn init() -> impl Handler {
    loop {
        // SAFETY: the processor stops until an interrupt, which is the kernel's. The kernel lets EL0 do that.
        unsafe { asm!("wfi", options(nomem, nostack)) };
    }
    #[expect(unreachable_code, reason = "names the type")]
    NullHandler::new()
}
