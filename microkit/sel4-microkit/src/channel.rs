// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Channels to other protection domains, and to interrupts.

use core::fmt;

use crate::abi;
use crate::message::{Error, MessageInfo};
use crate::{ipc, symbols, sys};

/// A channel of this PD, by the id that the system file gives this end of it. Interrupts share the numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(u8);

impl Channel {
    /// The channel with this id.
    ///
    /// # Panics
    ///
    /// If `index` is above 61, the largest id of the Microkit.
    pub const fn new(index: usize) -> Self {
        assert!(index < abi::ID_COUNT, "channel ids are 0 to 61");
        Self(index as u8)
    }

    pub(crate) const fn from_badge(badge: u64) -> Self {
        Self((badge & abi::ID_MASK) as u8)
    }

    /// The id.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Notifies the PD at the other end.
    ///
    /// # Panics
    ///
    /// If the system file does not let this PD notify on this channel.
    #[inline]
    pub fn notify(self) {
        sys::send(self.notification(), MessageInfo::new(0, 0));
    }

    /// Acknowledges the interrupt, so that it can be raised again.
    ///
    /// # Panics
    ///
    /// If the system file declares no interrupt with this id.
    #[inline]
    pub fn irq_ack(self) -> Result<(), Error> {
        sys::call(self.irq(), MessageInfo::new(abi::IRQ_ACK, 0), [0; 4]).info.into_result()
    }

    /// Calls the PD at the other end, which must have a higher priority, with the message registers as the message; its reply
    /// is then in the message registers.
    ///
    /// # Panics
    ///
    /// If the system file does not let this PD call on this channel.
    #[inline]
    pub fn pp_call(self, message: MessageInfo) -> MessageInfo {
        let endpoint = self.capability(abi::ENDPOINTS, symbols::pps(), "call");
        let reply = sys::call(endpoint, message, ipc::load_words());
        ipc::store_words(reply.words);
        reply.info
    }

    #[inline]
    pub(crate) fn notification(self) -> u64 {
        self.capability(abi::NOTIFICATIONS, symbols::notifications(), "notify")
    }

    #[inline]
    pub(crate) fn irq(self) -> u64 {
        self.capability(abi::IRQS, symbols::irqs(), "acknowledge an interrupt")
    }

    /// An undeclared slot is empty, and a blocking send to it would be reported as a capability fault of this PD, far from the
    /// cause.
    #[inline]
    fn capability(self, base: u64, declared: u64, action: &str) -> u64 {
        if declared >> self.0 & 1 == 0 {
            undeclared(self, action);
        }
        base + u64::from(self.0)
    }
}

#[cold]
#[inline(never)]
fn undeclared(channel: Channel, action: &str) -> ! {
    panic!("the system file does not let this domain {action} on channel {}", channel.0)
}

/// The channels of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelSet(u64);

impl ChannelSet {
    /// The set of the channels whose bits are set in a badge.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << abi::ID_COUNT) - 1))
    }

    /// One bit for each channel.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `channel` is in the set.
    pub const fn contains(self, channel: Channel) -> bool {
        self.0 >> channel.0 & 1 != 0
    }

    /// Whether the set has no channel.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The channels in ascending order.
    pub const fn iter(self) -> ChannelSetIter {
        ChannelSetIter(self.0)
    }
}

impl IntoIterator for ChannelSet {
    type Item = Channel;
    type IntoIter = ChannelSetIter;

    fn into_iter(self) -> ChannelSetIter {
        self.iter()
    }
}

impl fmt::Display for ChannelSet {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Channel::index)).finish()
    }
}

/// Iterator over a [`ChannelSet`].
#[derive(Debug, Clone)]
pub struct ChannelSetIter(u64);

impl Iterator for ChannelSetIter {
    type Item = Channel;

    #[inline]
    fn next(&mut self) -> Option<Channel> {
        let channel = Channel(self.0.trailing_zeros() as u8);
        // The lowest set bit, cleared; none is left of 0.
        self.0 = if self.0 == 0 { return None } else { self.0 & (self.0 - 1) };
        Some(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Call, Declared};

    #[test]
    fn sets_iterate_their_channels_in_order() {
        for (bits, expected) in [
            (0, &[][..]),
            (1, &[0]),
            (0b1010_0100, &[2, 5, 7]),
            (1 << 61 | 1, &[0, 61]),
            // Bits 62 and 63 mark faults and calls; they are no channels.
            (u64::MAX << 60, &[60, 61]),
        ] {
            let set = ChannelSet::from_bits(bits);
            assert!(set.iter().map(Channel::index).eq(expected.iter().copied()), "{bits:#x}");
            assert_eq!(set.is_empty(), expected.is_empty());
            assert!(expected.iter().all(|&index| set.contains(Channel::new(index))));
        }
        assert_eq!(ChannelSet::from_bits(u64::MAX).iter().count(), 62);
        assert_eq!(ChannelSet::from_bits(0b101).to_string(), "{0, 2}");
        assert!(!ChannelSet::from_bits(0b101).contains(Channel::new(1)));
    }

    /// The slots, labels and calls of the Microkit's C library; words of a protected call travel both ways.
    #[test]
    fn channels_invoke_their_own_slot() {
        sys::declare(Declared { passive: false, irqs: 1 << 61, notifications: 1 << 3, pps: 1 });
        sys::calls();

        Channel::new(3).notify();
        assert_eq!(sys::calls(), [Call(abi::SYS_SEND, 13, MessageInfo::new(0, 0), [0; 4])]);

        sys::answer(0, MessageInfo::new(3, 0), [0; 4]);
        assert_eq!(Channel::new(61).irq_ack(), Err(Error::IllegalOperation));
        assert_eq!(sys::calls(), [Call(abi::SYS_CALL, 199, MessageInfo::new(abi::IRQ_ACK, 0), [0; 4])]);

        (0..4).for_each(|index| crate::set_mr(index, 10 + index as u64));
        sys::answer(0, MessageInfo::new(9, 4), [20, 21, 22, 23]);
        assert_eq!(Channel::new(0).pp_call(MessageInfo::new(8, 4)), MessageInfo::new(9, 4));
        assert_eq!(sys::calls(), [Call(abi::SYS_CALL, 74, MessageInfo::new(8, 4), [10, 11, 12, 13])]);
        assert!((0..4).all(|index| crate::get_mr(index) == 20 + index as u64));
    }

    /// No system call is made on a channel that the system file does not declare for that use.
    #[test]
    fn undeclared_channels_panic_before_the_call() {
        let channel = Channel::new(40);
        sys::declare(Declared { passive: false, irqs: !(1 << 40), notifications: !(1 << 40), pps: !(1 << 40) });
        sys::calls();
        assert!(std::panic::catch_unwind(|| channel.notify()).is_err());
        assert!(std::panic::catch_unwind(|| channel.irq_ack()).is_err());
        assert!(std::panic::catch_unwind(|| channel.pp_call(MessageInfo::default())).is_err());
        assert_eq!(sys::calls(), []);
        assert!(std::panic::catch_unwind(|| Channel::new(62)).is_err());
    }
}
