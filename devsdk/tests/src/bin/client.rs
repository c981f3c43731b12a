// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Calls `server` and `passive`.
#![no_std]
#![no_main]

use devsdk_tests::{call, info, say};
use sel4_microkit::{Channel, Handler, MessageInfo, NullHandler, get_mr, protection_domain, set_mr};

/// Capability of the endpoint of channel 1.
const SERVER: u64 = 74 + 1;

#[protection_domain]
fn init() -> impl Handler {
    for (channel, label, count) in [(1, 0, 0), (1, 1, 4), (2, 2, 5), (1, 3, 120), (2, 4, 0), (1, 107, 6), (2, 9, 120)] {
        (0..count).for_each(|index| set_mr(index, (1 << 32) + index as u64));
        let answer = Channel::new(channel).pp_call(MessageInfo::new(label, count));
        let sum = (0..answer.count()).map(get_mr).sum::<u64>();
        say!("{channel} answered {answer:?}, sum {sum:x}");
    }
    // The kernel cuts a message at 120 words; a label has 52 bits.
    let answer = call(call::CALL, SERVER, info(!0 >> 12, 127), [1, 2, 3, 4]);
    say!("answer {:x?}", answer);
    let answer = call(call::NB_SEND, SERVER, info(8, 1), [1, 2, 3, 4]);
    say!("nbsend leaves {:x?}", answer);
    Channel::new(1).notify();
    Channel::new(2).notify();
    say!("done");
    NullHandler::new()
}
