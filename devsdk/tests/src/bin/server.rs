// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Answers calls: each word plus one; a label from 100 to 199 is passed on.
#![no_std]
#![no_main]

use devsdk_tests::say;
use sel4_microkit::{
    Channel, ChannelSet, Handler, Infallible, MessageInfo, get_mr, pd_is_passive, protection_domain, set_mr,
};

struct Server;

impl Handler for Server {
    type Error = Infallible;

    fn protected(&mut self, channel: Channel, message: MessageInfo) -> Result<MessageInfo, Infallible> {
        let count = message.count();
        let sum = (0..count).map(get_mr).sum::<u64>();
        say!("called on {} with {} and {count} words, sum {sum:x}", channel.index(), message.label());
        if (100..200).contains(&message.label()) {
            let answer = Channel::new(3).pp_call(MessageInfo::new(message.label() - 100, count));
            say!("{} was answered {answer:?}", pd_is_passive());
            return Ok(answer);
        }
        (0..count).for_each(|index| set_mr(index, get_mr(index) + 1));
        Ok(MessageInfo::new(message.label().wrapping_add(1), count))
    }

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        say!("signalled by {channels}");
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    say!("ready, passive {}", pd_is_passive());
    Server
}
