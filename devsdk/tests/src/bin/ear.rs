// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Prints the signals of `mouth`, and signals back once.
#![no_std]
#![no_main]

use devsdk_tests::{call, say};
use sel4_microkit::{ChannelSet, DeferredAction, Handler, Infallible, protection_domain};

struct Ear(u32, Option<DeferredAction>);

impl Handler for Ear {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        self.0 += 1;
        say!("heard {channels}");
        if self.0 == 1 {
            self.1 = channels.iter().next().map(DeferredAction::new_notify);
        }
        Ok(())
    }

    fn take_deferred_action(&mut self) -> Option<DeferredAction> {
        self.1.take()
    }
}

#[protection_domain]
fn init() -> impl Handler {
    let nothing = call(call::NB_RECV, 1, 7, [1, 2, 3, 4]);
    say!("ready; nothing yet: {nothing:x?}");
    Ear(0, None)
}
