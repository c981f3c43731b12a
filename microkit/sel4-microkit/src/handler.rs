// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The main loop of a PD.

use core::convert::Infallible;
use core::fmt;

use crate::channel::{Channel, ChannelSet};
use crate::ipc::{self, Event};
use crate::message::MessageInfo;
use crate::sys::Received;
use crate::tcb::Child;
use crate::vcpu::{Vcpu, injection};
use crate::{abi, symbols, sys};

/// The part of a protection domain's main loop that is its own. Each method corresponds to an entry point of the Microkit's C
/// library; an error ends the PD by a panic with its text.
pub trait Handler {
    /// Why the PD cannot go on.
    type Error: fmt::Display;

    /// Notifications or interrupts have arrived. Unless overridden, panics.
    fn notified(&mut self, channels: ChannelSet) -> Result<(), Self::Error> {
        panic!("unexpected notification on channels {channels}")
    }

    /// The PD at the other end of `channel` calls, with its message in the message registers; the reply's message is taken
    /// from them. Unless overridden, panics.
    fn protected(&mut self, channel: Channel, message: MessageInfo) -> Result<MessageInfo, Self::Error> {
        panic!("unexpected protected call {message:?} on channel {}", channel.index())
    }

    /// A child PD or a vCPU faulted: see [`MessageInfo::fault`]. `Some` replies to the fault, which resumes the thread. With
    /// `None` the loop receives without a reply: the handler has already resumed the thread ([`Tcb`](crate::Tcb)), or leaves it
    /// stopped. Receiving cancels a fault that is still pending, so a vCPU that is to be resumed later is suspended first. Unless
    /// overridden, panics.
    fn fault(&mut self, child: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Self::Error> {
        panic!("unexpected fault {:?} of child {}", message.fault(), child.index())
    }

    /// Asked after each event for one action to be done by the system call that receives the next event. If that call must be a
    /// reply, the action is a system call of its own before it. Unless overridden, there is none.
    fn take_deferred_action(&mut self) -> Option<DeferredAction> {
        None
    }
}

/// A [`Handler`] that expects no event.
#[derive(Debug, Default)]
pub struct NullHandler;

impl NullHandler {
    /// The handler.
    pub const fn new() -> Self {
        Self
    }
}

impl Handler for NullHandler {
    type Error = Infallible;
}

/// An action that can be the send half of the receiving system call: a send of at most one word.
///
/// The kernel drops an error of this half silently, so what the action does must be known to be legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeferredAction {
    capability: u64,
    info: MessageInfo,
    word: u64,
}

impl DeferredAction {
    /// Defers a notification, as [`Channel::notify`].
    pub fn new_notify(channel: Channel) -> Self {
        Self { capability: channel.notification(), info: MessageInfo::new(0, 0), word: 0 }
    }

    /// Defers the acknowledgement of an interrupt, as [`Channel::irq_ack`].
    pub fn new_irq_ack(channel: Channel) -> Self {
        Self { capability: channel.irq(), info: MessageInfo::new(abi::IRQ_ACK, 0), word: 0 }
    }

    /// Defers an injection, as [`Vcpu::inject_irq`]: `virq` is below 1024, `priority` below 32, `group` 0 or 1, and the list
    /// register `index` must be known to exist and to be free.
    pub const fn new_inject_irq(vcpu: Vcpu, virq: u16, priority: u8, group: u8, index: u8) -> Self {
        let info = MessageInfo::new(abi::VCPU_INJECT_IRQ, 1);
        Self { capability: vcpu.slot(), info, word: injection(virq, priority, group, index) }
    }

    /// Defers the acknowledgement of `irq`, a virtual private interrupt, as [`Vcpu::ack_vppi`].
    pub const fn new_ack_vppi(vcpu: Vcpu, irq: u64) -> Self {
        Self { capability: vcpu.slot(), info: MessageInfo::new(abi::VCPU_ACK_VPPI, 1), word: irq }
    }

    /// Does it now, by a system call of its own. The kernel drops an error silently here too.
    #[inline]
    pub fn perform(self) {
        sys::nb_send(self.capability, self.info, [self.word, 0, 0, 0]);
    }
}

/// A reply that is to be sent.
enum Reply {
    ToCall(MessageInfo),
    ToFault(MessageInfo),
}

impl Reply {
    /// Sends it and receives the next event.
    #[inline(always)]
    fn send_and_receive(self) -> Received {
        match self {
            Self::ToCall(message) => sys::reply_recv(message, ipc::load_words()),
            // The same, but for the kernel's fast path: that is only for calls, and it takes long to find that this is none.
            Self::ToFault(message) => sys::nb_send_recv(abi::REPLY, message, ipc::load_words()),
        }
    }
}

/// Serves events for as long as `handler` can.
pub(crate) fn run<H: Handler>(handler: &mut H) -> Result<Infallible, H::Error> {
    // An interrupt that was raised before the handler was set up is otherwise never seen (seL4 issue 1536).
    for channel in ChannelSet::from_bits(symbols::irqs()) {
        if let Err(error) = channel.irq_ack() {
            panic!("interrupt {} cannot be acknowledged: {error}", channel.index());
        }
    }
    // The monitor takes a passive PD's scheduling context; the PD must by then wait for its first event.
    let passive = symbols::pd_is_passive();
    let mut deferred =
        passive.then_some(DeferredAction { capability: abi::MONITOR, info: MessageInfo::new(0, 0), word: 0 });
    let mut reply: Option<Reply> = None;
    loop {
        let received = match (reply.take(), deferred.take()) {
            (None, None) => sys::recv(),
            (None, Some(DeferredAction { capability, info, word })) => {
                sys::nb_send_recv(capability, info, [word, 0, 0, 0])
            }
            (Some(reply), deferred) => {
                if let Some(action) = deferred {
                    action.perform();
                }
                reply.send_and_receive()
            }
        };
        match Event::from_received(received) {
            Event::Notified(channels) => handler.notified(channels)?,
            Event::Protected(channel, message) => reply = Some(Reply::ToCall(handler.protected(channel, message)?)),
            Event::Fault(child, message) => reply = handler.fault(child, message)?.map(Reply::ToFault),
        }
        deferred = handler.take_deferred_action();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Call, Declared, answer, calls};
    use crate::{get_mr, set_mr};

    /// Answers each event with the next step of a script, and stops the loop at its end.
    struct Script(Vec<(Option<MessageInfo>, Option<DeferredAction>)>, Option<DeferredAction>, Vec<Event>);

    impl Script {
        fn next(&mut self, event: Event) -> Result<Option<MessageInfo>, &'static str> {
            self.2.push(event);
            if self.0.is_empty() {
                return Err("the end");
            }
            let (reply, action) = self.0.remove(0);
            self.1 = action;
            Ok(reply)
        }
    }

    impl Handler for Script {
        type Error = &'static str;

        fn notified(&mut self, channels: ChannelSet) -> Result<(), Self::Error> {
            self.next(Event::Notified(channels)).map(|reply| assert_eq!(reply, None))
        }

        fn protected(&mut self, channel: Channel, message: MessageInfo) -> Result<MessageInfo, Self::Error> {
            set_mr(0, get_mr(0) + 1);
            self.next(Event::Protected(channel, message)).map(Option::unwrap)
        }

        fn fault(&mut self, child: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Self::Error> {
            self.next(Event::Fault(child, message))
        }

        fn take_deferred_action(&mut self) -> Option<DeferredAction> {
            self.1.take()
        }
    }

    /// The system call of each turn of the loop, for each combination of reply and deferred action.
    #[test]
    fn each_turn_is_the_fewest_system_calls() {
        sys::declare(Declared { passive: true, irqs: 1 << 9 | 1 << 2, notifications: 1 << 4, pps: 0 });
        calls();
        let (ok, ack) = (MessageInfo::new(0, 0), MessageInfo::new(abi::IRQ_ACK, 0));
        let notify = DeferredAction::new_notify(Channel::new(4));
        let inject = DeferredAction::new_inject_irq(Vcpu::new(0), 33, 3, 1, 2);
        let reply = MessageInfo::new(7, 1);

        // Two acknowledgements first, then one event for each turn.
        answer(0, ok, [0; 4]);
        answer(0, ok, [0; 4]);
        let events = [1, 1 << 62 | 5, 1 << 62, 1 << 63 | 3, 1 << 62, 1 << 63, 2];
        events.into_iter().for_each(|badge| answer(badge, ok, [40, 41, 42, 43]));
        let script = [
            (None, Some(DeferredAction::new_irq_ack(Channel::new(9)))),
            (None, None),
            (None, Some(inject)),
            (Some(reply), Some(notify)),
            (Some(ok), Some(inject)),
            (Some(reply), None),
        ];
        let mut script = Script(script.into(), None, Vec::new());
        assert_eq!(run(&mut script), Err("the end"));

        let none = [0; 4];
        let injection =
            Call(abi::SYS_NB_SEND_RECV, 330, MessageInfo::new(abi::VCPU_INJECT_IRQ, 1), [0x2_0103_0021, 0, 0, 0]);
        assert_eq!(
            calls(),
            [
                Call(abi::SYS_CALL, 140, ack, none),
                Call(abi::SYS_CALL, 147, ack, none),
                Call(abi::SYS_NB_SEND_RECV, 5, ok, none),
                Call(abi::SYS_NB_SEND_RECV, 147, ack, none),
                Call(abi::SYS_RECV, 1, ok, none),
                injection,
                Call(abi::SYS_NB_SEND, 14, ok, none),
                Call(abi::SYS_REPLY_RECV, 1, reply, [41, 41, 42, 43]),
                Call(abi::SYS_NB_SEND, injection.1, injection.2, injection.3),
                Call(abi::SYS_NB_SEND_RECV, 4, ok, [40, 41, 42, 43]),
                Call(abi::SYS_REPLY_RECV, 1, reply, [41, 41, 42, 43]),
            ]
        );
        assert_eq!(
            script.2,
            [
                Event::Notified(ChannelSet::from_bits(1)),
                Event::Fault(Child::new(5), ok),
                Event::Fault(Child::new(0), ok),
                Event::Protected(Channel::new(3), ok),
                Event::Fault(Child::new(0), ok),
                Event::Protected(Channel::new(0), ok),
                Event::Notified(ChannelSet::from_bits(2)),
            ]
        );
    }

    /// Each action is the same message to the same capability when it is done at once.
    #[test]
    fn actions_can_be_done_at_once() {
        sys::declare(Declared { passive: false, irqs: 1 << 9, notifications: 1 << 4, pps: 0 });
        calls();
        DeferredAction::new_notify(Channel::new(4)).perform();
        DeferredAction::new_irq_ack(Channel::new(9)).perform();
        DeferredAction::new_ack_vppi(Vcpu::new(2), 27).perform();
        let call = |slot, info, word| Call(abi::SYS_NB_SEND, slot, info, [word, 0, 0, 0]);
        assert_eq!(
            calls(),
            [
                call(14, MessageInfo::new(0, 0), 0),
                call(147, MessageInfo::new(abi::IRQ_ACK, 0), 0),
                call(332, MessageInfo::new(abi::VCPU_ACK_VPPI, 1), 27),
            ]
        );
    }

    /// An event that the PD did not expect names itself.
    #[test]
    fn unexpected_events_panic() {
        sys::declare(Declared { passive: false, irqs: 0, notifications: 0, pps: 0 });
        for badge in [1, 1 << 62, 1 << 63] {
            answer(badge, MessageInfo::new(0, 0), [0; 4]);
            let panic = std::panic::catch_unwind(|| run(&mut NullHandler::new())).unwrap_err();
            assert!(panic.downcast::<String>().unwrap().starts_with("unexpected "));
        }
    }
}
