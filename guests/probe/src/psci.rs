// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Calls by the SMC calling convention (Arm DEN 0028), over the conduit that the device tree names.

use core::arch::asm;
use smccc::psci::PSCI_SYSTEM_OFF;

/// The instruction that reaches the PSCI implementation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Conduit {
    /// HVC #0.
    Hvc,
    /// SMC #0.
    Smc,
}

/// Calls `function` with up to three arguments. The result is x0, read as PSCI's signed 32-bit status.
pub fn call(conduit: Conduit, function: u32, arguments: [u64; 3]) -> i32 {
    let mut all = [0; 17];
    all[..3].copy_from_slice(&arguments);
    call_all(conduit, function.into(), all)[0] as i32
}

/// Calls with all of x0 to x17, and returns them.
pub fn call_all(conduit: Conduit, function: u64, arguments: [u64; 17]) -> [u64; 18] {
    let mut x = [function; 18];
    x[1..].copy_from_slice(&arguments);
    macro_rules! call {
        ($instruction:literal) => {
            // SAFETY: a call changes x0 to x17 at most, and what it does to the machine is what the probe asks for.
            unsafe {
                asm!(
                    $instruction,
                    inout("x0") x[0], inout("x1") x[1], inout("x2") x[2], inout("x3") x[3], inout("x4") x[4],
                    inout("x5") x[5], inout("x6") x[6], inout("x7") x[7], inout("x8") x[8], inout("x9") x[9],
                    inout("x10") x[10], inout("x11") x[11], inout("x12") x[12], inout("x13") x[13], inout("x14") x[14],
                    inout("x15") x[15], inout("x16") x[16], inout("x17") x[17],
                    options(nostack)
                )
            }
        };
    }
    match conduit {
        Conduit::Hvc => call!("hvc #0"),
        Conduit::Smc => call!("smc #0"),
    }
    x
}

/// Turns the machine off; returns only if that failed.
pub fn system_off(conduit: Conduit) {
    call(conduit, PSCI_SYSTEM_OFF, [0; 3]);
}
