// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The EL1 physical timer (Arm ARM D12.2.4). Its interrupt is level-sensitive: asserted from the deadline on.

use core::arch::asm;
use timer::NEVER;

/// `CNTP_CTL_EL0.ENABLE`, with `IMASK` clear.
const ENABLE: u64 = 1;

/// Interrupts at `deadline`, or not at all if that is [`NEVER`].
pub fn set(deadline: u64) {
    let control = if deadline == NEVER { 0 } else { ENABLE };
    // SAFETY: the timer is this domain's; a kernel that does not export it makes this domain fault, and does nothing else.
    unsafe {
        asm!("msr cntp_cval_el0, {}", "msr cntp_ctl_el0, {}", "isb", in(reg) deadline, in(reg) control,
             options(nomem, nostack));
    }
}
