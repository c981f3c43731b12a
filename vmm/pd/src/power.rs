// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The power PD, which turns the machine off when all guests are.

use sel4_microkit::{Channel, ChannelSet};

/// What the power PD knows of this guest. Each notification to it says that the guest is off, or on again, and it answers
/// each: two would be one otherwise.
pub struct Power {
    channel: Option<Channel>,
    /// It has been told that the guest is off.
    told_off: bool,
    /// It has not answered.
    busy: bool,
}

impl Power {
    /// The power PD behind `channel`, if there is one; it takes the guest for on.
    pub fn new(channel: Option<Channel>) -> Self {
        Self { channel, told_off: false, busy: false }
    }

    /// Tells whether the guest is off, if that is news and the last news has been answered.
    pub fn tell(&mut self, off: bool) {
        if let Some(channel) = self.channel
            && !self.busy
            && off != self.told_off
        {
            (self.told_off, self.busy) = (off, true);
            channel.notify();
        }
    }

    /// Whether the power PD has answered, if `channels` have notified.
    pub fn answered(&mut self, channels: ChannelSet) -> bool {
        let answered = self.channel.is_some_and(|channel| channels.contains(channel));
        self.busy &= !answered;
        answered
    }
}
