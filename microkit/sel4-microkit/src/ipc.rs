// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Receiving events and replying to them.

use crate::abi;
use crate::channel::{Channel, ChannelSet};
use crate::message::{MessageInfo, get_mr, set_mr};
use crate::sys::{self, Received};
use crate::tcb::Child;

/// What a PD receives. The message of a call or fault is in the message registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Notifications and interrupts.
    Notified(ChannelSet),
    /// A protected procedure call on one of this PD's channels; its caller waits for the reply.
    Protected(Channel, MessageInfo),
    /// A fault of a child PD or a vCPU, which waits to be resumed. The [`Child`]'s index is the id of either: the system file
    /// numbers a PD's children and vCPUs together.
    Fault(Child, MessageInfo),
}

impl Event {
    #[inline(always)]
    pub(crate) fn from_received(Received { badge, info, words }: Received) -> Self {
        if badge & (abi::BADGE_PROTECTED | abi::BADGE_FAULT) == 0 {
            return Self::Notified(ChannelSet::from_bits(badge));
        }
        // The first four words arrive in registers; in the buffer they can be read uniformly, for two instructions.
        store_words(words);
        if badge & abi::BADGE_FAULT != 0 {
            Self::Fault(Child::from_badge(badge), info)
        } else {
            Self::Protected(Channel::from_badge(badge), info)
        }
    }
}

#[inline(always)]
pub(crate) fn load_words() -> [u64; 4] {
    [get_mr(0), get_mr(1), get_mr(2), get_mr(3)]
}

#[inline(always)]
pub(crate) fn store_words(words: [u64; 4]) {
    // Not a loop, which would not be unrolled.
    set_mr(0, words[0]);
    set_mr(1, words[1]);
    set_mr(2, words[2]);
    set_mr(3, words[3]);
}

/// Receives an event if one is waiting, without blocking.
///
/// A PD has one reply object: receiving while a call or fault is neither replied to nor otherwise resumed cancels it, and
/// its thread stays stopped. So a monitor that wants to suspend a vCPU first drains the queue with this, dealing with each event
/// as if the main loop had delivered it: a call is answered by [`reply`], a fault by [`reply`] or by resuming the thread.
pub fn poll() -> Option<Event> {
    let received = sys::nb_recv();
    (received.badge != 0).then(|| Event::from_received(received))
}

/// Replies to the last [`Event::Protected`] or [`Event::Fault`] that [`poll`] returned, with the message registers as the
/// message. In [`Handler`](crate::Handler)'s methods a reply is returned instead, which saves a system call.
pub fn reply(message: MessageInfo) {
    sys::send_message(abi::REPLY, message, load_words());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Call;

    /// Badges as the Microkit mints them: bit 63 marks calls, bit 62 faults, otherwise each bit is a channel.
    #[test]
    fn badges_are_decoded() {
        let info = MessageInfo::new(6, 4);
        for (badge, expected) in [
            (1, Event::Notified(ChannelSet::from_bits(1))),
            (1 << 61 | 4, Event::Notified(ChannelSet::from_bits(1 << 61 | 4))),
            (1 << 63, Event::Protected(Channel::new(0), info)),
            (1 << 63 | 61, Event::Protected(Channel::new(61), info)),
            (1 << 62, Event::Fault(Child::new(0), info)),
            (1 << 62 | 17, Event::Fault(Child::new(17), info)),
        ] {
            store_words([0; 4]);
            sys::answer(badge, info, [1, 2, 3, 4]);
            assert_eq!(poll(), Some(expected));
            let notified = matches!(expected, Event::Notified(_));
            assert_eq!(load_words(), if notified { [0; 4] } else { [1, 2, 3, 4] });
        }
        assert_eq!(poll(), None);
        assert!(sys::calls().iter().all(|call| call.0 == abi::SYS_NB_RECV && call.1 == 1));
    }

    #[test]
    fn replies_carry_the_message_registers() {
        store_words([5, 6, 7, 8]);
        reply(MessageInfo::new(2, 3));
        assert_eq!(sys::calls(), [Call(abi::SYS_SEND, 4, MessageInfo::new(2, 3), [5, 6, 7, 8])]);
    }
}
