// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Calls firmware, and turns the machine off when told.
#![no_std]
#![no_main]

use devsdk_tests::say;
use sel4_microkit::{ChannelSet, Handler, Infallible, protection_domain, smc};

/// PSCI (Arm DEN 0022).
const PSCI_VERSION: u64 = 0x8400_0000;
const AFFINITY_INFO: u64 = 0xc400_0004;
const SYSTEM_OFF: u64 = 0x8400_0008;

struct End;

impl Handler for End {
    type Error = Infallible;

    fn notified(&mut self, _: ChannelSet) -> Result<(), Infallible> {
        say!("off");
        let _ = smc(&mut [SYSTEM_OFF, 0, 0, 0, 0, 0, 0, 0]);
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    for function in [PSCI_VERSION, AFFINITY_INFO, 0x8400_ffff] {
        let mut registers = [function, 0, 0, 0, 4, 5, 6, 7];
        let result = smc(&mut registers);
        say!("smc {function:x}: {result:?} {registers:x?}");
    }
    End
}
