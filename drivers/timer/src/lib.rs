// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Deadlines: how a client sets its one, and how the timer driver keeps everybody's.
//!
//! A deadline is a value of the system counter, which all domains read (`CNTPCT_EL0`). A client has at most one; it sets
//! it by a protected call with the value as the only word of the message, and is notified on the same channel once the
//! counter has reached it. The deadline is then gone.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use sel4_microkit::{Channel, ChannelSet, MessageInfo, set_mr};

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// Microkit's channel ids.
const CHANNELS: usize = 62;

/// Sets this domain's deadline with the timer driver at the other end of `channel`, in place of an earlier one.
///
/// # Panics
/// If the system file does not let this domain call on `channel`.
pub fn set(channel: Channel, deadline: u64) {
    set_mr(0, deadline);
    channel.pp_call(MessageInfo::new(0, 1));
}

/// The deadlines of all clients.
#[derive(Debug)]
pub struct Deadlines {
    clients: ChannelSet,
    at: [u64; CHANNELS],
}

impl Deadlines {
    /// Those of `clients`, none of which has one.
    #[must_use]
    pub const fn new(clients: ChannelSet) -> Self {
        Self { clients, at: [NEVER; CHANNELS] }
    }

    /// Sets that of `client`.
    pub fn set(&mut self, client: Channel, deadline: u64) {
        if let Some(at) = self.at.get_mut(client.index()) {
            *at = deadline;
        }
    }

    /// The clients whose deadline has come at `now`; they have none any more.
    #[must_use]
    pub fn expire(&mut self, now: u64) -> ChannelSet {
        let mut expired = 0;
        for client in self.clients {
            if let Some(at) = self.at.get_mut(client.index()).filter(|at| **at <= now) {
                *at = NEVER;
                expired |= 1 << client.index();
            }
        }
        ChannelSet::from_bits(expired)
    }

    /// The first deadline to come, or [`NEVER`].
    #[must_use]
    pub fn next(&self) -> u64 {
        self.clients.iter().filter_map(|client| self.at.get(client.index())).copied().min().unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_is_told_once_at_its_own_deadline() {
        let [a, b] = [0, 61].map(Channel::new);
        let set = |channels: &[Channel]| ChannelSet::from_bits(channels.iter().map(|c| 1 << c.index()).sum());
        let mut deadlines = Deadlines::new(set(&[a, b]));
        assert_eq!((deadlines.next(), deadlines.expire(NEVER - 1)), (NEVER, set(&[])));
        deadlines.set(a, 100);
        deadlines.set(b, 50);
        // (time, who is told, what comes next)
        for (now, expired, next) in
            [(49, set(&[]), 50), (50, set(&[b]), 100), (99, set(&[]), 100), (101, set(&[a]), NEVER)]
        {
            assert_eq!((deadlines.expire(now), deadlines.next()), (expired, next), "{now}");
        }
        deadlines.set(a, 200);
        deadlines.set(a, 300);
        assert_eq!((deadlines.expire(200), deadlines.next()), (set(&[]), 300), "the later call counts");
        deadlines.set(b, 300);
        assert_eq!(deadlines.expire(300), set(&[a, b]));
    }

    /// The tool names the clients; a deadline set on another channel is nobody's.
    #[test]
    fn only_clients_have_deadlines() {
        let mut deadlines = Deadlines::new(ChannelSet::from_bits(1 << 3));
        deadlines.set(Channel::new(4), 10);
        assert_eq!((deadlines.next(), deadlines.expire(10)), (NEVER, ChannelSet::default()));
    }
}
