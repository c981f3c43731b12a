// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The serial driver's protection domain for Arm's PL011. On a host it is empty.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod pl011;

#[cfg(target_os = "none")]
mod domain {
    use crate::pl011::Pl011;
    use config::{MAX_CLIENTS, Serial};
    use mux::{Clients, Mux};
    use pd::Static;
    use sel4_microkit::{Channel, ChannelSet, DeferredAction, Handler, Infallible, protection_domain};

    struct Domain {
        mux: Mux<'static, Pl011>,
        irq: Channel,
        channels: heapless::Vec<Channel, MAX_CLIENTS>,
        /// The interrupt has come and is still to be acknowledged.
        interrupted: bool,
    }

    static CLIENTS: Static<Clients<'static>> = Static::new(Clients::new());

    #[protection_domain]
    fn init() -> impl Handler {
        let config = pd::config::<Serial>();
        let Some(registers) = pd::registers(config.registers) else {
            panic!("the UART's registers are not mapped whole; remedy: map a page in system.xml");
        };
        let Some(irq) = pd::channel(config.irq) else {
            panic!("the UART has no interrupt; remedy: add <irq> in system.xml");
        };
        let Some(clients) = CLIENTS.take() else { panic!("initialised twice") };
        // SAFETY: the host tool has checked that the record's window is the UART, mapped uncached into this PD alone. This is
        // the one pointer to it.
        let mut mux = Mux::new(unsafe { Pl011::new(registers) }, clients);
        let mut channels = heapless::Vec::new();
        for client in config.clients() {
            let name = client.name.as_str();
            // SAFETY: the host tool has checked that the record's windows are regions mapped read-write, each for one client,
            // and this is the one place that takes them.
            let region = unsafe { pd::words(client.link.queues) };
            let (Some(channel), Ok(())) = (pd::channel(client.link.channel), mux.add(name, region)) else {
                panic!(
                    "client {name}: no channel, or its queues are smaller than 0x2000 bytes; remedy: see system.xml"
                );
            };
            // As many as the record can hold.
            let _ = channels.push(channel);
        }
        let mut domain = Domain { mux, irq, channels, interrupted: false };
        domain.run();
        domain
    }

    impl Domain {
        fn run(&mut self) {
            self.mux.run(|client| self.channels.get(client).into_iter().for_each(|channel| channel.notify()));
        }
    }

    impl Handler for Domain {
        type Error = Infallible;

        fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
            self.run();
            self.interrupted = channels.contains(self.irq);
            Ok(())
        }

        fn take_deferred_action(&mut self) -> Option<DeferredAction> {
            core::mem::take(&mut self.interrupted).then_some(DeferredAction::new_irq_ack(self.irq))
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
