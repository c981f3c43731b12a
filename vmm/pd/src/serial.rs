// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest's console and this PD's log, both served by the serial PD.

use config::LogLevel;
use core::fmt;
use queue::monitor::{Answer, Request, State};
use queue::serial::Client;
use sel4_microkit::{Channel, ChannelSet};
use vmm_core::device::pl011::Console;

/// This end of the link to the serial PD. Once the other end breaks the queues' rules, there is no input and all output is
/// dropped: the guest runs on.
pub struct Serial {
    client: Client<'static>,
    channel: Option<Channel>,
    level: LogLevel,
    /// A character that was received and not yet read.
    received: Option<u8>,
}

impl Serial {
    /// The link that `config` describes.
    pub fn new(config: &config::Vmm) -> Self {
        // SAFETY: the window is of this PD's record, mapped writable, and used only here.
        let queues = unsafe { pd::words(config.serial.queues) };
        let client = match Client::new(queues) {
            Ok(client) => client,
            Err(error) => panic!("serial0: {error}"),
        };
        let channel = pd::channel(config.serial.channel);
        let mut serial = Self { client, channel, level: config.log_level, received: None };
        serial.receive();
        serial
    }

    /// Whether the serial PD has notified, if `channels` have.
    pub fn is_served_over(&self, channels: ChannelSet) -> bool {
        self.channel.is_some_and(|channel| channels.contains(channel))
    }

    /// Whether `level` goes to the log.
    pub fn logs(&self, level: LogLevel) -> bool {
        level as u32 <= self.level as u32
    }

    /// Sends a line to the log, if `level` goes there.
    pub fn log(&mut self, level: LogLevel, message: fmt::Arguments<'_>) {
        if self.logs(level) {
            // Fails only if the other end broke the rules, and then nobody reads the log.
            let _ = self.client.log(message);
        }
    }

    /// Sends an answer to the monitor.
    pub fn answer(&mut self, answer: Answer) {
        // As in `log`.
        let _ = self.client.answer(answer);
    }

    /// Tells the monitor what the guest does.
    pub fn set_state(&mut self, state: State) {
        self.client.set_state(state);
    }

    /// What the monitor asks for.
    pub fn request(&mut self) -> Option<Request> {
        self.client.request()
    }

    /// Tells the serial PD of what was written, if it waits for that.
    pub fn flush(&mut self) {
        if self.client.wake_wanted()
            && let Some(channel) = self.channel
        {
            channel.notify();
        }
    }

    /// Fetches the next character, if there is one, and otherwise asks to be notified of it.
    pub fn receive(&mut self) {
        // The second turn is for what comes between looking and asking.
        for _ in 0..2 {
            let mut byte = [0];
            if self.received.is_none() && self.client.read(&mut byte) == Ok(1) {
                self.received = Some(byte[0]);
            }
            if self.received.is_some() || self.client.sleep() {
                return;
            }
        }
    }
}

impl Console for Serial {
    fn put(&mut self, byte: u8) -> bool {
        let taken = self.client.write(&[byte]).is_ok_and(|count| count == 1);
        if !self.has_room() {
            self.client.sleep();
        }
        taken
    }

    fn has_room(&self) -> bool {
        self.client.free() != Ok(0)
    }

    fn get(&mut self) -> Option<u8> {
        let byte = self.received.take();
        self.receive();
        byte
    }

    fn has_input(&self) -> bool {
        self.received.is_some()
    }
}
