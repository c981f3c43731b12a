// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The system counter (Arm ARM D11), the time that all domains share.

use core::arch::asm;

/// The count now.
#[must_use]
pub fn counter() -> u64 {
    let count: u64;
    // SAFETY: reads a register that the kernel lets protection domains read (`KernelArmExportPCNTUser`).
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) count, options(nomem, nostack)) };
    count
}

/// The count now or a few instructions ago: without waiting for those before it.
#[inline]
#[must_use]
pub fn recent_counter() -> u64 {
    let count: u64;
    // SAFETY: as in `counter`.
    unsafe { asm!("mrs {}, cntpct_el0", out(reg) count, options(nomem, nostack)) };
    count
}

/// How often the counter counts in a second.
#[must_use]
pub fn counter_frequency() -> u64 {
    let frequency: u64;
    // SAFETY: reads a register that protection domains can read.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack, pure)) };
    frequency
}
