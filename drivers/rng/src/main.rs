// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The protection domain of the driver of a virtio source of entropy. On a host it is empty.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod domain {
    use config::{MAX_CLIENTS, Rng};
    use pd::{Log, Static};
    use rng::Server;
    use sel4_microkit::{Channel, ChannelSet, DeferredAction, Handler, Infallible, protection_domain};
    use virtq::domain::parts;
    use virtq::{Ledger, Mmio};

    struct Domain {
        /// `None` if the source cannot be used.
        server: Option<Server<'static, Mmio>>,
        irq: Channel,
        channels: [Option<Channel>; MAX_CLIENTS],
        log: Log,
        deferred: Option<DeferredAction>,
    }

    static LEDGER: Static<Ledger<1>> = Static::new(Ledger::new());

    #[protection_domain]
    fn init() -> impl Handler {
        let config = pd::config::<Rng>();
        // SAFETY: the link is of this PD's record, and is used only here.
        let mut log = unsafe { Log::new(config.device.log) };
        // SAFETY: the device is that of this PD's record, and this is the only call.
        let mut parts = unsafe { parts(&config.device) };
        let Some(ledger) = LEDGER.take() else { panic!("initialised twice") };
        let mut server = match Server::open(parts.registers, &mut parts.dma, ledger) {
            Ok(server) => Some(server),
            Err(error) => {
                log.line(format_args!("no entropy: {error}"));
                None
            }
        };
        let mut channels = [None; MAX_CLIENTS];
        for (index, client) in config.clients().iter().enumerate() {
            channels[index] = pd::channel(client.link.channel);
            // SAFETY: the window is of this PD's record, and is used only here.
            let queues = unsafe { pd::words(client.link.queues) };
            match (queue::rng::Server::new(queues), &mut server) {
                (Ok(link), Some(server)) => server.add(index, link),
                (Ok(_), None) => {}
                (Err(error), _) => log.line(format_args!("{}: no entropy: {error}", client.name.as_str())),
            }
        }
        let mut domain = Domain { server, irq: parts.irq, channels, log, deferred: None };
        domain.serve();
        domain
    }

    impl Domain {
        /// Serves until there is nothing to do.
        fn serve(&mut self) {
            let Some(server) = &mut self.server else { return };
            let mut again = true;
            while again {
                let pass = match server.serve() {
                    Ok(pass) => pass,
                    Err(broken) => return self.log.line(format_args!("the source is used no more: {broken}")),
                };
                let woken = self.channels.iter().enumerate().filter(|(index, _)| pass.wake & 1 << index != 0);
                woken.filter_map(|(_, channel)| *channel).for_each(Channel::notify);
                again = pass.again;
            }
        }
    }

    impl Handler for Domain {
        type Error = Infallible;

        fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
            if channels.contains(self.irq) {
                if let Some(Err(broken)) = self.server.as_mut().map(Server::interrupted) {
                    self.log.line(format_args!("the source is used no more: {broken}"));
                }
                self.deferred = Some(DeferredAction::new_irq_ack(self.irq));
            }
            self.serve();
            Ok(())
        }

        fn take_deferred_action(&mut self) -> Option<DeferredAction> {
            self.deferred.take()
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
