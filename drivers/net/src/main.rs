// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The network driver's protection domain for virtio. On a host it is empty. It needs a stack of 16 KiB.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod domain {
    use config::{MAX_CLIENTS, Net};
    use net::{Frames, Nic, Notes, Switch};
    use pd::{Log, Static};
    use queue::net::{Mac, Server};
    use sel4_microkit::{Channel, ChannelSet, DeferredAction, Handler, Infallible, protection_domain};
    use virtq::domain::{client_ram, parts};
    use virtq::{Mmio, Window};

    struct Domain {
        switch: Switch<'static, Mmio>,
        irq: Channel,
        channels: [Option<Channel>; MAX_CLIENTS],
        log: Log,
        deferred: Option<DeferredAction>,
    }

    static NOTES: Static<Notes> = Static::new(Notes::new());
    static FRAMES: Static<Frames> = Static::new(Frames::new());

    #[protection_domain]
    fn init() -> impl Handler {
        let config = pd::config::<Net>();
        // SAFETY: the link is of this PD's record, and is used only here.
        let mut log = unsafe { Log::new(config.device.log) };
        // SAFETY: the device is that of this PD's record, and this is the only call.
        let mut parts = unsafe { parts(&config.device) };
        let clients = config.clients();
        let (Some(notes), Some(frames)) = (NOTES.take(), FRAMES.take()) else { panic!("initialised twice") };
        let nic = match Nic::open(parts.registers, &mut parts.dma, notes) {
            Ok(nic) => Some(nic),
            Err(error) => {
                log.line(format_args!("no network: {error}"));
                None
            }
        };
        let mut switch = Switch::new(nic, clients.len(), frames);
        let mut channels = [None; MAX_CLIENTS];
        for (index, (client, paddr)) in clients.iter().zip(client_ram()).enumerate() {
            let (name, mac) = (client.client.name.as_str(), Mac(client.mac));
            // SAFETY: the window is of this PD's record, and is used only here.
            let queues = unsafe { pd::words(client.client.link.queues) };
            match (Server::new(queues), Window::new(paddr, client.ram)) {
                (Ok(link), Some(ram)) => {
                    switch.add(index, link, ram, mac);
                    channels[index] = pd::channel(client.client.link.channel);
                    log.line(format_args!("{name}: {mac}"));
                }
                (Ok(_), None) => {
                    log.line(format_args!("{name}: no network: the physical address of its RAM is not set"));
                }
                (Err(error), _) => log.line(format_args!("{name}: no network: {error}")),
            }
        }
        switch.announce();
        channels.iter().flatten().copied().for_each(Channel::notify);
        let mut domain = Domain { switch, irq: parts.irq, channels, log, deferred: None };
        // What came before the clients were told, if anything, and so that they are heard from now on.
        domain.serve(true);
        domain.deferred.take().into_iter().for_each(DeferredAction::perform);
        domain
    }

    impl Domain {
        /// Serves until there is nothing to do; `arrived` if there may be frames from the network.
        fn serve(&mut self, arrived: bool) {
            let mut arrived = Some(arrived);
            while let Some(frames) = arrived {
                let pass = self.switch.serve(frames, &mut |message| self.log.line(message));
                self.notify(pass.wake);
                arrived = pass.again;
            }
        }

        fn notify(&mut self, clients: u64) {
            for (index, channel) in self.channels.into_iter().enumerate() {
                if clients & 1 << index != 0
                    && let Some(channel) = channel
                {
                    self.defer(DeferredAction::new_notify(channel));
                }
            }
        }

        /// Leaves `action` to the system call that waits for the next event, where it costs least. One can be left.
        fn defer(&mut self, action: DeferredAction) {
            if let Some(earlier) = self.deferred.replace(action) {
                earlier.perform();
            }
        }
    }

    impl Handler for Domain {
        type Error = Infallible;

        fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
            let interrupted = channels.contains(self.irq);
            if interrupted {
                if self.switch.interrupted(&mut |message| self.log.line(message)) {
                    self.notify(u64::MAX);
                }
                self.defer(DeferredAction::new_irq_ack(self.irq));
            }
            self.serve(interrupted);
            Ok(())
        }

        fn take_deferred_action(&mut self) -> Option<DeferredAction> {
            self.deferred.take()
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
