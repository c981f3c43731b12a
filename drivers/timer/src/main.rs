// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The timer driver's protection domain for the EL1 physical timer of Arm's Generic Timer, where the kernel lets
//! protection domains use it (`KernelArmExportPTMRUser`). On a host it is empty.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod generic;

#[cfg(target_os = "none")]
mod domain {
    use crate::generic;
    use config::Timer;
    use sel4_microkit::{
        Channel, ChannelSet, DeferredAction, Handler, Infallible, MessageInfo, get_mr, protection_domain,
    };
    use timer::Deadlines;

    struct Domain {
        deadlines: Deadlines,
        irq: Channel,
        /// The interrupt has come and is still to be acknowledged.
        interrupted: bool,
    }

    #[protection_domain]
    fn init() -> impl Handler {
        let config = pd::config::<Timer>();
        let Some(irq) = pd::channel(config.irq) else {
            panic!("the timer has no interrupt; remedy: add <irq> in system.xml");
        };
        generic::set(timer::NEVER);
        Domain { deadlines: Deadlines::new(ChannelSet::from_bits(config.clients)), irq, interrupted: false }
    }

    // A guest can write to this timer too, where the kernel lets domains do so. So each event sets it anew.
    impl Handler for Domain {
        type Error = Infallible;

        fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
            self.deadlines.expire(pd::counter()).iter().for_each(Channel::notify);
            generic::set(self.deadlines.next());
            self.interrupted = channels.contains(self.irq);
            Ok(())
        }

        fn protected(&mut self, client: Channel, _message: MessageInfo) -> Result<MessageInfo, Infallible> {
            self.deadlines.set(client, get_mr(0));
            generic::set(self.deadlines.next());
            Ok(MessageInfo::new(0, 0))
        }

        fn take_deferred_action(&mut self) -> Option<DeferredAction> {
            core::mem::take(&mut self.interrupted).then_some(DeferredAction::new_irq_ack(self.irq))
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
