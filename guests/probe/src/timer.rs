// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The generic timer's virtual view (Arm ARM, "The Generic Timer in AArch64 state") and waiting.

use core::arch::asm;

/// CNTV_CTL_EL0.ENABLE.
pub const ENABLE: u64 = 1 << 0;
/// CNTV_CTL_EL0.IMASK.
pub const IMASK: u64 = 1 << 1;
/// CNTV_CTL_EL0.ISTATUS.
pub const ISTATUS: u64 = 1 << 2;

/// Reads a system register.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: the named register is readable at EL1, and reading it has no side effect. The barrier keeps the read in
        // program order (Arm ARM, "Synchronization of the counter").
        unsafe { core::arch::asm!("isb", concat!("mrs {}, ", $name), out(reg) value, options(nostack)) };
        value
    }};
}
pub(crate) use read;

/// Counter ticks per second.
pub fn frequency() -> u64 {
    read!("cntfrq_el0")
}

/// The virtual counter.
pub fn now() -> u64 {
    read!("cntvct_el0")
}

/// Ticks in `n` milliseconds.
pub fn milliseconds(n: u64) -> u64 {
    frequency() / 1000 * n
}

/// How long to wait for an interrupt that should come; spent only where it does not.
pub fn long() -> u64 {
    milliseconds(1000)
}

/// How long to look for an interrupt that should not come.
pub fn short() -> u64 {
    milliseconds(5)
}

/// CNTV_CTL_EL0.
pub fn control() -> u64 {
    read!("cntv_ctl_el0")
}

/// Sets the deadline, in counter ticks, then the control bits.
pub fn arm(deadline: u64, control: u64) {
    // SAFETY: writes the virtual timer's two registers, which only changes when interrupt 27 is asserted.
    unsafe {
        asm!("msr cntv_cval_el0, {}", "msr cntv_ctl_el0, {}", "isb", in(reg) deadline, in(reg) control, options(nomem, nostack))
    };
}

/// Sets the deadline to `value`, a signed number of 32 bits, from now on, then the control bits.
pub fn arm_value(value: u64, control: u64) {
    // SAFETY: as in `arm`.
    unsafe {
        asm!("msr cntv_tval_el0, {}", "msr cntv_ctl_el0, {}", "isb", in(reg) value, in(reg) control, options(nomem, nostack))
    };
}

/// Turns the timer off.
pub fn stop() {
    arm(u64::MAX, 0);
}

/// Suspends until an interrupt is pending, masked or not; it may return earlier (Arm ARM, WFI).
pub fn wait_for_interrupt() {
    // SAFETY: WFI changes no state.
    unsafe { asm!("dsb sy", "wfi", options(nostack)) };
}

/// Waits for an event for some time, or not at all: something that also other CPUs bring about.
pub fn wait_for_event() {
    // SAFETY: YIELD and a barrier change no state. WFE is not used, as nothing would end it when the awaited never comes.
    unsafe { asm!("dsb sy", "yield", options(nostack)) };
}

/// Ends the other CPUs' wait for an event.
pub fn send_event() {
    // SAFETY: SEV changes no state.
    unsafe { asm!("dsb sy", "sev", options(nostack)) };
}
