// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Signals the domains `high`, `equal` and `low`.
#![no_std]
#![no_main]

use devsdk_tests::{call, say};
use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, poll, protection_domain};

struct Mouth;

impl Handler for Mouth {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        say!("heard {channels}");
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    for channel in [0, 1, 2, 3, 4, 3, 2, 1] {
        say!("signals {channel}");
        Channel::new(channel).notify();
    }
    // A signal by a non-blocking send carries no words; a send to a notification never blocks.
    let answer = call(call::NB_SEND, 13, 0x5004, [1, 2, 3, 4]);
    say!("nbsend leaves {answer:x?}");
    let answer = call(call::CALL, 13, 0x5004, [1, 2, 3, 4]);
    say!("call leaves {answer:x?}");
    say!("pending: {:?}", poll());
    say!("pending: {:?}", poll());
    Mouth
}
