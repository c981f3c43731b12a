// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Messages, signals, replies, and the scheduling contexts that travel with them.

use crate::abi::{MESSAGE_REGISTERS, MessageInfo};
use crate::kernel::{Above, Id, Kernel, State};
use crate::mmio::debug;

/// How a message is sent.
#[derive(Clone, Copy)]
pub struct Send {
    /// What the receiver sees.
    pub badge: u64,
    /// Waits for a receiver.
    pub block: bool,
    /// Waits for a reply.
    pub call: bool,
    /// Lends its scheduling context to a receiver without one.
    pub lend: bool,
}

impl Kernel {
    /// Sends a thread's message, or its fault, to an endpoint.
    pub fn send(&mut self, thread: Id, endpoint: Id, how: Send) {
        let receiver = self.domains[endpoint.0].endpoint.head.filter(|head| self.receives(*head));
        let Some(receiver) = receiver else {
            if how.block {
                let state = State::Sending { endpoint, badge: how.badge, call: how.call };
                self.wait_at(thread, endpoint, state);
            }
            return;
        };
        let State::Receiving { reply, .. } = self.thread(receiver).state else { return };
        self.leave(receiver, endpoint);
        self.transfer(thread, receiver, how.badge);
        if let Some(reply) = reply {
            self.domains[reply.0].reply.thread = None;
        }
        if how.call || self.thread(thread).fault.is_some() {
            match reply {
                Some(reply) => self.await_reply(thread, receiver, reply, how.lend),
                None => self.set_state(thread, State::Inactive),
            }
        } else if how.lend
            && self.thread(receiver).context_used.is_none()
            && let Some(context) = self.thread(thread).context_used
        {
            self.lend(context, receiver);
        }
        self.set_state(receiver, State::Running);
        self.wake(receiver);
    }

    /// Receives a message from an endpoint or a signal from the thread's own notification.
    pub fn receive(&mut self, thread: Id, endpoint: Id, block: bool, reply: Option<Id>) {
        if let Some(reply) = reply
            && let Some(waiting) = self.domains[reply.0].reply.thread
            && waiting != thread
        {
            debug!(
                "{}: receives before it has replied to {}",
                self.threads[thread.0].name, self.threads[waiting.0].name
            );
            self.cancel(waiting);
        }
        if self.take_signal(thread) {
            return;
        }
        if block {
            self.return_context(thread);
        }
        let sender = self.domains[endpoint.0].endpoint.head.filter(|head| !self.receives(*head));
        let Some(sender) = sender else {
            if block {
                self.wait_at(thread, endpoint, State::Receiving { endpoint, reply });
                if let Some(reply) = reply {
                    self.domains[reply.0].reply.thread = Some(thread);
                }
            } else {
                self.thread(thread).context.x[0] = 0;
            }
            return;
        };
        let State::Sending { badge, call, .. } = self.thread(sender).state else { return };
        self.leave(sender, endpoint);
        self.transfer(sender, thread, badge);
        if call || self.thread(sender).fault.is_some() {
            match reply {
                Some(reply) => self.await_reply(sender, thread, reply, true),
                None => self.set_state(sender, State::Inactive),
            }
        } else {
            self.set_state(sender, State::Running);
            self.wake(sender);
        }
    }

    /// Signals a domain's notification.
    pub fn signal(&mut self, domain: Id, badge: u64) {
        let waits = match self.thread(domain).state {
            State::Waiting => true,
            State::Receiving { .. } => {
                self.cancel(domain);
                true
            }
            _ => false,
        };
        if !waits {
            let domain = &mut self.domains[domain.0];
            domain.badge = if domain.signalled { domain.badge | badge } else { badge };
            domain.signalled = true;
            return;
        }
        self.set_state(domain, State::Running);
        self.thread(domain).context.x[0] = badge;
        self.borrow_context(domain);
        if self.schedulable(domain) {
            self.wake(domain);
        }
    }

    /// Receives from the thread's own notification alone.
    pub fn receive_signal(&mut self, thread: Id, block: bool) {
        if self.take_signal(thread) {
            return;
        }
        if block {
            self.set_state(thread, State::Waiting);
            self.return_context(thread);
        } else {
            self.thread(thread).context.x[0] = 0;
        }
    }

    /// Replies with a thread's message to whoever waits for this reply object.
    pub fn reply(&mut self, sender: Id, reply: Id) {
        let Some(receiver) = self.domains[reply.0].reply.thread else { return };
        if !matches!(self.thread(receiver).state, State::Replying { .. }) {
            return;
        }
        self.pop(reply);
        if self.thread(receiver).fault.is_some() {
            let restart = self.reply_to_fault(sender, receiver);
            self.thread(receiver).fault = None;
            self.set_state(receiver, if restart { State::Restart } else { State::Inactive });
        } else {
            self.transfer(sender, receiver, 0);
            self.set_state(receiver, State::Running);
        }
        if self.thread(receiver).state.runnable() {
            self.wake(receiver);
        }
    }

    /// Makes a thread stop waiting, and forget its fault.
    pub fn cancel(&mut self, thread: Id) {
        self.thread(thread).fault = None;
        match self.thread(thread).state {
            State::Receiving { endpoint, reply } => {
                self.leave(thread, endpoint);
                if let Some(reply) = reply {
                    self.domains[reply.0].reply.thread = None;
                }
                self.set_state(thread, State::Inactive);
            }
            State::Sending { endpoint, .. } => {
                self.leave(thread, endpoint);
                self.set_state(thread, State::Inactive);
            }
            State::Replying { reply } => self.remove(reply),
            State::Waiting => self.set_state(thread, State::Inactive),
            State::Inactive | State::Running | State::Restart => {}
        }
    }

    /// Stops a thread.
    pub fn suspend(&mut self, thread: Id) {
        self.cancel(thread);
        if self.thread(thread).state == State::Running {
            let context = &mut self.thread(thread).context;
            context.fault_ip = context.elr;
        }
        self.dequeue(thread);
        self.set_state(thread, State::Inactive);
    }

    /// Lets a thread that does not run go on from its restart address.
    pub fn restart(&mut self, thread: Id) {
        if !self.thread(thread).state.runnable() {
            self.cancel(thread);
            self.set_state(thread, State::Restart);
            if self.schedulable(thread) {
                self.wake(thread);
            }
        }
    }

    fn receives(&self, thread: Id) -> bool {
        matches!(self.threads[thread.0].state, State::Receiving { .. })
    }

    fn wait_at(&mut self, thread: Id, endpoint: Id, state: State) {
        self.set_state(thread, state);
        let mut queue = self.domains[endpoint.0].endpoint;
        self.link_by_priority(&mut queue, thread);
        self.domains[endpoint.0].endpoint = queue;
    }

    fn leave(&mut self, thread: Id, endpoint: Id) {
        let mut queue = self.domains[endpoint.0].endpoint;
        self.unlink(&mut queue, thread);
        self.domains[endpoint.0].endpoint = queue;
    }

    /// Copies a message, or a fault's.
    fn transfer(&mut self, sender: Id, receiver: Id, badge: u64) {
        if self.thread(sender).fault.is_some() {
            self.transfer_fault(sender, receiver, badge);
            return;
        }
        let info = MessageInfo(self.threads[sender.0].context.x[1]);
        let both_have_buffers = self.threads[sender.0].ipc_buffer != 0 && self.threads[receiver.0].ipc_buffer != 0;
        let length = if both_have_buffers { info.length() } else { info.length().min(MESSAGE_REGISTERS) };
        for index in 0..length {
            let word = self.word(sender, index);
            self.set_word(receiver, index, word);
        }
        self.set_received(receiver, badge, MessageInfo::new(info.label(), length));
    }

    /// Receives a pending signal.
    fn take_signal(&mut self, thread: Id) -> bool {
        let Some(domain) = self.domains.get_mut(thread.0).filter(|domain| domain.signalled) else { return false };
        domain.signalled = false;
        let badge = domain.badge;
        self.thread(thread).context.x[0] = badge;
        self.borrow_context(thread);
        true
    }

    /// Blocks a caller until `reply` is used; a receiver without a scheduling context gets the caller's meanwhile.
    fn await_reply(&mut self, caller: Id, receiver: Id, reply: Id, lend: bool) {
        self.domains[reply.0].reply.thread = Some(caller);
        self.set_state(caller, State::Replying { reply });
        if lend
            && self.thread(receiver).context_used.is_none()
            && let Some(context) = self.thread(caller).context_used
        {
            let below = self.contexts[context.0].reply.replace(reply);
            if let Some(below) = below {
                self.domains[below.0].reply.above = Above::Reply(reply);
            }
            self.domains[reply.0].reply.below = below;
            self.domains[reply.0].reply.above = Above::Top(context);
            self.lend(context, receiver);
        }
    }

    /// Takes a reply object out of its stack before its use: the scheduling context goes back if it is the top one.
    fn pop(&mut self, reply: Id) {
        let object = self.domains[reply.0].reply;
        if let (Above::Top(context), Some(thread)) = (object.above, object.thread) {
            self.contexts[context.0].reply = object.below;
            if let Some(below) = object.below {
                self.domains[below.0].reply.above = Above::Top(context);
            }
            if self.thread(thread).context_used.is_none() {
                self.lend(context, thread);
            }
            self.free(reply);
        } else {
            self.remove(reply);
        }
    }

    /// Takes a reply object out of its stack, which ends here: the scheduling context stays where it is.
    fn remove(&mut self, reply: Id) {
        let object = self.domains[reply.0].reply;
        match object.above {
            Above::Top(context) => self.contexts[context.0].reply = None,
            Above::Reply(above) => self.domains[above.0].reply.below = None,
            Above::Nothing => {}
        }
        if let Some(below) = object.below {
            self.domains[below.0].reply.above = Above::Nothing;
        }
        self.free(reply);
    }

    fn free(&mut self, reply: Id) {
        let object = &mut self.domains[reply.0].reply;
        (object.below, object.above) = (None, Above::Nothing);
        if let Some(thread) = object.thread.take() {
            self.set_state(thread, State::Inactive);
        }
    }

    /// Moves a scheduling context to a thread that has none.
    fn lend(&mut self, context: Id, to: Id) {
        if let Some(from) = self.contexts[context.0].thread {
            self.dequeue(from);
            self.thread(from).context_used = None;
            if self.current == Some(from) || self.action == crate::schedule::Action::Switch(from) {
                self.reschedule();
            }
        }
        self.contexts[context.0].thread = Some(to);
        self.thread(to).context_used = Some(context);
    }

    /// A passive domain that is signalled runs on the scheduling context of its notification.
    fn borrow_context(&mut self, domain: Id) {
        if let Some(context) = self.domains[domain.0].lends
            && self.thread(domain).context_used.is_none()
            && self.contexts[context.0].thread.is_none()
        {
            self.lend(context, domain);
        }
    }

    /// A passive domain that waits gives the scheduling context of its notification back.
    fn return_context(&mut self, thread: Id) {
        let lends = self.domains.get(thread.0).and_then(|domain| domain.lends);
        if let Some(context) = lends
            && self.thread(thread).context_used == Some(context)
        {
            self.thread(thread).context_used = None;
            self.contexts[context.0].thread = None;
            if self.current == Some(thread) {
                self.reschedule();
            }
        }
    }
}
