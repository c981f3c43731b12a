// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The log of a PD that has no guest.

use config::Link;
use core::fmt;
use queue::monitor::{Request, State};
use queue::serial::Client;
use sel4_microkit::{Channel, debug_println, pd_name};

/// Where a driver's messages go: to the serial PD if the system says so, else to the kernel's debug output if there is one.
pub struct Log(Option<(Client<'static>, Channel)>);

impl Log {
    /// The log at `link`.
    ///
    /// # Safety
    /// As for [`words`](crate::words), of the link's queues.
    #[must_use]
    pub unsafe fn new(link: Link) -> Self {
        // SAFETY: the caller promises it.
        let client = Client::new(unsafe { crate::words(link.queues) }).ok();
        Self(client.zip(crate::channel(link.channel)))
    }

    /// Tells the monitor in the serial PD what this PD is.
    pub fn set_state(&mut self, state: State) {
        if let Some((client, _)) = &mut self.0 {
            client.set_state(state);
        }
    }

    /// What the monitor asks for, which notifies when it does.
    pub fn request(&mut self) -> Option<Request> {
        self.0.as_mut().and_then(|(client, _)| client.request())
    }

    /// Sends a line.
    pub fn line(&mut self, message: fmt::Arguments<'_>) {
        let Some((client, channel)) = &mut self.0 else {
            debug_println!("{}: {message}", pd_name());
            return;
        };
        // Fails only if the other end broke the rules, and then nobody reads the log.
        let _ = client.log(message);
        if client.wake_wanted() {
            channel.notify();
        }
    }
}
