// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! System calls and invocations.

use devsdk_image::{Cap, slot};

use crate::abi::{self, Error, Lookup, MessageInfo, REGISTER_ORDER, REGISTERS, Register, label, syscall};
use crate::arch;
use crate::gic;
use crate::ipc::Send;
use crate::kernel::{Fault, Id, Kernel, VcpuId};
use crate::mmio::{debug, put};
use crate::vcpu;

/// Highest interrupt number of the board's kernel.
const MAX_IRQ: u64 = 159;

/// What a capability address names.
#[derive(Clone, Copy)]
enum Target {
    Null,
    Endpoint { endpoint: Id, badge: u64 },
    Notification { domain: Id, badge: u64 },
    Reply(Id),
    Monitor,
    Interrupt(u32),
    Thread(Id),
    Vcpu(VcpuId),
    Smc,
    AddressSpace,
    SchedContext,
}

/// What an invocation gives back.
enum Outcome {
    /// Nothing: a caller gets an empty message.
    Done,
    /// Words, which the invocation has set: a caller gets a message of this length.
    Words(usize),
    /// The caller waits, or was stopped.
    Elsewhere,
}

/// How a capability is invoked.
#[derive(Clone, Copy)]
struct How {
    call: bool,
    block: bool,
    lend: bool,
    /// The send half of a combined call, which may not be an invocation of a thread.
    first: bool,
}

impl How {
    const CALL: Self = Self { call: true, block: true, lend: true, first: false };
    const SEND: Self = Self { call: false, block: true, lend: false, first: false };
    const NB_SEND: Self = Self { call: false, block: false, lend: false, first: false };
    const FIRST: Self = Self { call: false, block: false, lend: true, first: true };
}

impl Kernel {
    /// Handles the system call of a thread.
    pub fn system_call(&mut self, id: Id) {
        let x = self.thread(id).context.x;
        match x[7] as i64 {
            syscall::CALL => self.invoke(id, x[0], How::CALL),
            syscall::SEND => self.invoke(id, x[0], How::SEND),
            syscall::NB_SEND => self.invoke(id, x[0], How::NB_SEND),
            number @ (syscall::REPLY_RECV | syscall::NB_SEND_RECV | syscall::NB_SEND_WAIT) => {
                self.invoke(id, if number == syscall::NB_SEND_RECV { x[8] } else { x[6] }, How::FIRST);
                self.receive_from(id, true, number != syscall::NB_SEND_WAIT);
            }
            syscall::RECV => self.receive_from(id, true, true),
            syscall::NB_RECV => self.receive_from(id, false, true),
            syscall::WAIT => self.receive_from(id, true, false),
            syscall::NB_WAIT => self.receive_from(id, false, false),
            syscall::YIELD => {
                self.enqueue(id, false);
                self.reschedule();
            }
            syscall::DEBUG_PUT_CHAR if cfg!(feature = "debug") => put(x[0] as u8),
            syscall::DEBUG_LAST..syscall::DEBUG_PUT_CHAR if cfg!(feature = "debug") => {
                self.stop(id, "debug call", x[7]);
            }
            _ => self.fault(id, Fault::UnknownSyscall(x[7])),
        }
    }

    /// Finds a capability. A domain's space has 64 slots, the first of which holds a node of 512; a guest's has 512, empty.
    fn lookup(&self, id: Id, address: u64) -> Result<Target, Lookup> {
        let Some(domain) = self.domains.get(id.0).filter(|_| self.threads[id.0].vcpu.is_none()) else {
            return if address < slot::COUNT { Ok(Target::Null) } else { Err(Lookup::Guard { left: 64, bits: 55 }) };
        };
        let caps = self.boot.map_or(&[][..], |boot| boot.caps);
        if address >> slot::ROOT_SHIFT != 0 {
            let wanted = address >> slot::ROOT_SHIFT << slot::ROOT_SHIFT;
            let domain = self.boot.and_then(|boot| boot.domains.get(id.0));
            let own = domain.and_then(|domain| caps.get(domain.caps.indices())).unwrap_or(&[]);
            return Ok(own.iter().find(|cap| cap.slot == wanted).map_or(Target::Null, |cap| self.target(cap)));
        }
        let Some(index) = domain.slots.get(address as usize) else {
            return Err(Lookup::Guard { left: 58, bits: 49 });
        };
        Ok(match address {
            slot::INPUT if domain.has_endpoint => Target::Endpoint { endpoint: id, badge: 0 },
            slot::INPUT => Target::Notification { domain: id, badge: 0 },
            slot::FAULT => match self.threads[id.0].handler {
                Some((endpoint, badge)) => Target::Endpoint { endpoint, badge },
                None => Target::Monitor,
            },
            slot::VSPACE => Target::AddressSpace,
            slot::REPLY => Target::Reply(id),
            slot::MONITOR if domain.passive => Target::Monitor,
            _ => match index.checked_sub(1).and_then(|index| caps.get(usize::from(index))) {
                Some(cap) => self.target(cap),
                None => Target::Null,
            },
        })
    }

    fn target(&self, cap: &Cap) -> Target {
        let object = cap.object as usize;
        let domains = self.boot.map_or(0, |boot| boot.domains.len());
        match cap.kind {
            Cap::NOTIFICATION => Target::Notification { domain: Id(object), badge: cap.badge },
            Cap::ENDPOINT => Target::Endpoint { endpoint: Id(object), badge: cap.badge },
            Cap::IRQ => self.boot.map_or(Target::Null, |boot| Target::Interrupt(boot.irqs[object].number)),
            Cap::TCB => Target::Thread(Id(object)),
            Cap::VCPU_TCB => Target::Thread(Id(domains + object)),
            Cap::VCPU => Target::Vcpu(VcpuId(object)),
            Cap::SMC => Target::Smc,
            Cap::SCHED_CONTEXT => Target::SchedContext,
            Cap::VSPACE => Target::AddressSpace,
            _ => Target::Null,
        }
    }

    /// The receiving half of a call.
    fn receive_from(&mut self, id: Id, block: bool, with_reply: bool) {
        if !self.thread(id).state.runnable() {
            // Stopped by the sending half.
            return;
        }
        let x = self.thread(id).context.x;
        let target = match self.lookup(id, x[0]) {
            Ok(target) => target,
            Err(lookup) => return self.fault(id, Fault::Cap { address: x[0], receiving: true, lookup }),
        };
        let missing = |address| Fault::Cap { address, receiving: true, lookup: Lookup::Missing(0) };
        match target {
            Target::Endpoint { endpoint, .. } => {
                let reply = match self.lookup(id, x[6]) {
                    _ if !with_reply => None,
                    Ok(Target::Reply(reply)) => Some(reply),
                    Ok(_) => return self.fault(id, missing(x[6])),
                    Err(lookup) => return self.fault(id, Fault::Cap { address: x[6], receiving: true, lookup }),
                };
                self.receive(id, endpoint, block, reply);
            }
            Target::Notification { domain, .. } if domain == id => self.receive_signal(id, block),
            Target::Monitor => self.stop(id, "receiving from the monitor", x[0]),
            _ => self.fault(id, missing(x[0])),
        }
    }

    /// The sending half of a call.
    fn invoke(&mut self, id: Id, address: u64, how: How) {
        let target = match self.lookup(id, address) {
            Ok(target) => target,
            Err(lookup) => {
                if how.block {
                    self.fault(id, Fault::Cap { address, receiving: false, lookup });
                }
                return;
            }
        };
        let info = MessageInfo(self.thread(id).context.x[1]);
        if info.extra_caps() != 0 && self.thread(id).vcpu.is_none() {
            return self.stop(id, "a message with capabilities:", info.extra_caps());
        }
        let outcome = match target {
            Target::Null => Err(Error::InvalidCapability(0)),
            Target::Endpoint { endpoint, badge } => {
                self.send(id, endpoint, Send { badge, block: how.block, call: how.call, lend: how.lend });
                Ok(if how.call { Outcome::Elsewhere } else { Outcome::Done })
            }
            Target::Notification { domain, badge } => {
                self.signal(domain, badge);
                Ok(Outcome::Done)
            }
            Target::Reply(reply) => {
                self.reply(id, reply);
                Ok(Outcome::Done)
            }
            Target::Monitor => self.tell_monitor(id, info, how),
            Target::Interrupt(number) => self.invoke_interrupt(id, number, info.label()),
            Target::Thread(_) | Target::SchedContext if how.first => Err(Error::InvalidCapability(0)),
            Target::Thread(thread) => self.invoke_thread(id, thread, info, how.call),
            Target::Vcpu(vcpu) => self.invoke_vcpu(id, vcpu, info, how.call),
            Target::Smc => self.invoke_smc(id, info, how.call),
            Target::AddressSpace => self.unsupported(id, "call of an address space:", info.label()),
            Target::SchedContext => self.unsupported(id, "call of a scheduling context:", info.label()),
        };
        if !how.call {
            return;
        }
        let info = match outcome {
            Ok(Outcome::Elsewhere) => return,
            Ok(Outcome::Done) => MessageInfo::new(0, 0),
            Ok(Outcome::Words(length)) => MessageInfo::new(0, length),
            Err(error) => {
                let (label, words, length) = error.message();
                words.iter().take(length).enumerate().for_each(|(index, word)| self.set_word(id, index, *word));
                MessageInfo::new(label, length)
            }
        };
        self.set_received(id, 0, info);
    }

    fn unsupported(&mut self, id: Id, what: &str, label: u64) -> Result<Outcome, Error> {
        self.stop(id, what, label);
        Ok(Outcome::Elsewhere)
    }

    /// A passive domain tells that `init` has returned: its notification gets its scheduling context.
    fn tell_monitor(&mut self, id: Id, info: MessageInfo, how: How) -> Result<Outcome, Error> {
        let domain = &mut self.domains[id.0];
        if how.call || info.label() != 0 || !domain.passive || domain.lends.is_some() {
            return self.unsupported(id, "message to the monitor:", info.label());
        }
        domain.lends = Some(id);
        debug!("{} is now passive", self.threads[id.0].name);
        Ok(Outcome::Done)
    }

    fn invoke_interrupt(&mut self, id: Id, number: u32, label: u64) -> Result<Outcome, Error> {
        match label {
            label::IRQ_ACK => {
                gic::set_enabled(number, true);
                Ok(Outcome::Done)
            }
            _ if label::IRQ_ALL.contains(&label) => self.unsupported(id, "call of an interrupt handler:", label),
            _ => Err(Error::IllegalOperation),
        }
    }

    fn invoke_thread(&mut self, id: Id, thread: Id, info: MessageInfo, call: bool) -> Result<Outcome, Error> {
        match info.label() {
            label::TCB_READ_REGISTERS => self.read_registers(id, thread, info.length(), call),
            label::TCB_WRITE_REGISTERS => self.write_registers(id, thread, info.length()),
            label::TCB_SUSPEND => {
                self.suspend(thread);
                Ok(Outcome::Done)
            }
            label::TCB_RESUME => {
                self.restart(thread);
                Ok(Outcome::Done)
            }
            _ if label::TCB_ALL.contains(&info.label()) => self.unsupported(id, "call of a thread:", info.label()),
            _ => Err(Error::IllegalOperation),
        }
    }

    fn read_registers(&mut self, id: Id, thread: Id, length: usize, call: bool) -> Result<Outcome, Error> {
        if length < 2 {
            return Err(Error::TruncatedMessage);
        }
        let (flags, count) = (self.word(id, 0), self.word(id, 1));
        if !(1..=REGISTERS).contains(&count) {
            return Err(Error::Range(1, REGISTERS));
        }
        if thread == id {
            return Err(Error::IllegalOperation);
        }
        if flags & 1 != 0 {
            self.suspend(thread);
        }
        if call {
            for (index, register) in REGISTER_ORDER.into_iter().take(count as usize).enumerate() {
                let value = *self.thread(thread).context.register(register);
                self.set_word(id, index, value);
            }
        }
        Ok(Outcome::Words(count as usize))
    }

    fn write_registers(&mut self, id: Id, thread: Id, length: usize) -> Result<Outcome, Error> {
        if length < 2 {
            return Err(Error::TruncatedMessage);
        }
        let (flags, count) = (self.word(id, 0), self.word(id, 1));
        if ((length - 2) as u64) < count {
            return Err(Error::TruncatedMessage);
        }
        if thread == id {
            return Err(Error::IllegalOperation);
        }
        let count = count.min(REGISTERS) as usize;
        for (index, register) in REGISTER_ORDER.into_iter().take(count).enumerate() {
            let mut value = self.word(id, 2 + index);
            if let Register::Spsr = register {
                value = abi::sanitise_spsr(value, self.thread(thread).vcpu.is_some());
            }
            *self.thread(thread).context.register(register) = value;
        }
        let context = &mut self.thread(thread).context;
        context.elr = context.fault_ip;
        if flags & 1 != 0 {
            self.restart(thread);
        }
        Ok(Outcome::Done)
    }

    fn invoke_vcpu(&mut self, id: Id, vcpu: VcpuId, info: MessageInfo, call: bool) -> Result<Outcome, Error> {
        let length = info.length();
        let argument = self.word(id, 0);
        let register = |needed| match usize::try_from(argument) {
            _ if length < needed => Err(Error::TruncatedMessage),
            Ok(number) if number < vcpu::REGISTERS => Ok(number),
            _ => Err(Error::InvalidArgument(1)),
        };
        match info.label() {
            label::VCPU_INJECT_IRQ => {
                if length < 1 {
                    return Err(Error::TruncatedMessage);
                }
                let field = |low: u32, bits: u32| argument >> low & ((1u64 << bits) - 1);
                let (intid, priority, group, index) = (field(0, 16), field(16, 8), field(24, 8), field(32, 8));
                let limits = [(intid, 1023), (priority, 31), (group, 1), (index, gic::list_registers() as u64 - 1)];
                if let Some((_, max)) = limits.into_iter().find(|(value, max)| value > max) {
                    return Err(Error::Range(0, max));
                }
                // Only a copy that says active counts: a pending interrupt that was injected before is overwritten.
                if self.vcpus[vcpu.0].lr[index as usize] & gic::LR_STATE == gic::LR_ACTIVE {
                    return Err(Error::DeleteFirst);
                }
                self.write_lr(vcpu, index as usize, gic::pending(intid, priority, group));
                Ok(Outcome::Done)
            }
            label::VCPU_READ_REGISTER => {
                let value = self.read_vcpu(vcpu, register(1)?);
                if call {
                    self.set_word(id, 0, value);
                }
                Ok(Outcome::Words(1))
            }
            label::VCPU_WRITE_REGISTER => {
                let value = self.word(id, 1);
                self.write_vcpu(vcpu, register(2)?, value);
                Ok(Outcome::Done)
            }
            label::VCPU_ACK_VPPI => {
                if length < 1 {
                    return Err(Error::TruncatedMessage);
                }
                if argument > MAX_IRQ {
                    return Err(Error::Range(0, MAX_IRQ));
                }
                if argument != u64::from(gic::VTIMER) {
                    return Err(Error::InvalidArgument(0));
                }
                self.vcpus[vcpu.0].vppi_masked = false;
                Ok(Outcome::Done)
            }
            label::VCPU_SET_TCB => self.unsupported(id, "call of a virtual CPU:", info.label()),
            _ => Err(Error::IllegalOperation),
        }
    }

    fn invoke_smc(&mut self, id: Id, info: MessageInfo, call: bool) -> Result<Outcome, Error> {
        if info.label() != label::SMC_CALL {
            return Err(Error::IllegalOperation);
        }
        if info.length() < 8 {
            return Err(Error::TruncatedMessage);
        }
        let results = arch::smc(core::array::from_fn(|index| self.word(id, index)));
        if call {
            results.into_iter().enumerate().for_each(|(index, word)| self.set_word(id, index, word));
        }
        Ok(Outcome::Words(8))
    }
}
