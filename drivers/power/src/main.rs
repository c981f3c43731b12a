// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Turns the machine off when the last guest is off.
//!
//! The only protection domain that may call the firmware (`smc="true"`), and so it does nothing else. A VMM tells it by a
//! notification that its guest is off, or on again, and waits for the answer, a notification too. It runs below everything
//! else, so what the others still have to say comes first.

#![no_std]
#![no_main]

use config::Power;
use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, protection_domain, smc};

/// PSCI SYSTEM_OFF (Arm DEN 0022D, 5.1.9).
const SYSTEM_OFF: u64 = 0x8400_0008;

struct Domain {
    /// Channels of all guests, a bit each.
    guests: u64,
    /// Channels of the guests that are on.
    on: u64,
}

#[protection_domain]
fn init() -> impl Handler {
    let guests = pd::config::<Power>().guests;
    Domain { guests, on: guests }
}

impl Handler for Domain {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        self.on ^= channels.bits() & self.guests;
        if self.on == 0 {
            let mut registers = [SYSTEM_OFF, 0, 0, 0, 0, 0, 0, 0];
            // The call returns only if the firmware refuses.
            let result = smc(&mut registers);
            panic!("every guest is off, but PSCI SYSTEM_OFF returned {result:?}, x0 = {:#x}", registers[0]);
        }
        channels.into_iter().for_each(Channel::notify);
        Ok(())
    }
}
