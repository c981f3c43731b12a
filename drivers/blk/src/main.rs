// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The disk driver's protection domain for virtio. On a host it is empty. It needs a stack of 16 KiB.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod domain {
    use blk::{Disk, Notes, Requests, Server};
    use config::{Blk, BlkClient, MAX_CLIENTS};
    use pd::{Log, Static};
    use sel4_microkit::{Channel, ChannelSet, DeferredAction, Handler, Infallible, protection_domain};
    use virtq::domain::{client_ram, parts};
    use virtq::{Mmio, Window};

    struct Domain {
        /// `None` if the disk cannot be used: then no client has a part of it.
        server: Option<Server<'static, Mmio>>,
        irq: Channel,
        channels: [Option<Channel>; MAX_CLIENTS],
        log: Log,
        deferred: Option<DeferredAction>,
    }

    static NOTES: Static<Notes> = Static::new(Notes::new());
    static REQUESTS: Static<Requests> = Static::new(Requests::new());

    #[protection_domain]
    fn init() -> impl Handler {
        let config = pd::config::<Blk>();
        // SAFETY: the link is of this PD's record, and is used only here.
        let mut log = unsafe { Log::new(config.device.log) };
        // SAFETY: the device is that of this PD's record, and this is the only call.
        let mut parts = unsafe { parts(&config.device) };
        let clients = config.clients();
        let (Some(notes), Some(requests)) = (NOTES.take(), REQUESTS.take()) else { panic!("initialised twice") };
        let mut server = match Disk::open(parts.registers, &mut parts.dma, notes) {
            Ok(disk) => Some(Server::new(disk, clients.len(), requests)),
            Err(error) => {
                log.line(format_args!("no disk: {error}"));
                None
            }
        };
        let mut channels = [None; MAX_CLIENTS];
        for (index, (client, paddr)) in clients.iter().zip(client_ram()).enumerate() {
            channels[index] = pd::channel(client.client.link.channel);
            add(server.as_mut(), index, client, paddr, &mut log);
            channels[index].into_iter().for_each(Channel::notify);
        }
        let mut domain = Domain { server, irq: parts.irq, channels, log, deferred: None };
        // What came before the clients were told, if anything, and so that they are heard from now on.
        domain.serve(true);
        domain.deferred.take().into_iter().for_each(DeferredAction::perform);
        domain
    }

    /// Gives a client its part of the disk.
    fn add(server: Option<&mut Server<'static, Mmio>>, index: usize, client: &BlkClient, paddr: u64, log: &mut Log) {
        let name = client.client.name.as_str();
        // SAFETY: the window is of this PD's record, and is used only here.
        let queues = unsafe { pd::words(client.client.link.queues) };
        let mut link = match queue::blk::Server::new(queues) {
            Ok(link) => link,
            Err(error) => return log.line(format_args!("{name}: no disk: {error}")),
        };
        let Some(server) = server else { return link.announce(None) };
        let Some(ram) = Window::new(paddr, client.ram) else {
            log.line(format_args!("{name}: no disk: the physical address of its RAM is not set"));
            return link.announce(None);
        };
        match server.find(&client.part) {
            Ok(extent) => match server.add(index, link, ram, extent, client.part.access) {
                Ok(()) => {
                    let (first, sectors) = (extent.first, extent.sectors);
                    log.line(format_args!("{name}: {sectors} sectors from sector {first} on"));
                }
                Err(other) => log.line(format_args!("{name}: no disk: client {other} has the same sectors")),
            },
            Err(error) => {
                log.line(format_args!("{name}: no disk: {error}"));
                link.announce(None);
            }
        }
    }

    impl Domain {
        /// Serves until there is nothing to do; `completed` if the device may be done with something.
        fn serve(&mut self, completed: bool) {
            let mut completed = Some(completed);
            while let Some(done) = completed {
                let Self { server: Some(server), log, .. } = self else { return };
                let pass = server.serve(done, &mut |message| log.line(message));
                let mut wake = pass.wake;
                while wake != 0 {
                    let index = wake.trailing_zeros() as usize;
                    wake &= wake - 1;
                    if let Some(channel) = self.channels.get(index).copied().flatten() {
                        self.defer(DeferredAction::new_notify(channel));
                    }
                }
                completed = pass.again;
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
                if let Self { server: Some(server), log, .. } = self {
                    server.interrupted(&mut |message| log.line(message));
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
