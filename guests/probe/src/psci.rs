// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Calls by the SMC calling convention (Arm DEN 0028), over the conduit that the device tree names.

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
    let result = match conduit {
        Conduit::Hvc => smccc::hvc64(function, all),
        Conduit::Smc => smccc::smc64(function, all),
    };
    result[0] as i32
}

/// Turns the machine off; returns only if that failed.
pub fn system_off(conduit: Conduit) {
    call(conduit, PSCI_SYSTEM_OFF, [0; 3]);
}
