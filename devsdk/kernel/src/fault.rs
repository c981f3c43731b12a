// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Faults: their messages, replies to them, and what happens to a domain without a parent.

use crate::abi::{self, Lookup, MessageInfo, fault};
use crate::arch::{self, mrs};
use crate::ipc::Send;
use crate::kernel::{Fault, Id, Kernel, State};
use crate::mmio::debug;

/// Exception classes of ESR_EL2 (Arm ARM D13.2.37).
mod class {
    pub const SVC: u64 = 0x15;
    pub const HVC: u64 = 0x16;
    pub const INSTRUCTION_ABORT: u64 = 0x20;
    pub const DATA_ABORT: u64 = 0x24;
    pub const BRK: u64 = 0x3c;
}

/// ESR_EL2 of an undefined 32-bit instruction.
const UNDEFINED: u64 = 1 << 25;
/// The reason of a breakpoint instruction in a debug exception's message.
const SOFTWARE_BREAK: u64 = 3;

impl Kernel {
    /// Handles a synchronous exception of the running thread.
    pub fn take_synchronous(&mut self) {
        let Some(id) = self.current else { return };
        let syndrome = mrs!("esr_el2");
        let context = &mut self.thread(id).context;
        context.fault_ip = context.elr;
        let ip = context.elr;
        match syndrome >> 26 {
            class::SVC | class::HVC => {
                context.fault_ip = ip.wrapping_sub(4);
                self.system_call(id);
            }
            class::DATA_ABORT => {
                let address = self.faulting_address(mrs!("far_el2"));
                self.fault(id, Fault::Vm { address, syndrome, instruction: false });
            }
            class::INSTRUCTION_ABORT => {
                let address = self.faulting_address(ip);
                self.fault(id, Fault::Vm { address, syndrome, instruction: true });
            }
            class::BRK if cfg!(feature = "debug") => self.fault(id, Fault::Breakpoint),
            _ if syndrome == UNDEFINED => self.fault(id, Fault::UserException(syndrome)),
            _ => self.fault(id, Fault::Vcpu(syndrome)),
        }
    }

    /// A guest's faults report intermediate physical addresses.
    fn faulting_address(&self, address: u64) -> u64 {
        if self.vcpu_active { arch::translate_stage1(address) } else { address }
    }

    /// Sends a thread's fault to its handler.
    pub fn fault(&mut self, id: Id, fault: Fault) {
        match self.thread(id).handler {
            Some((endpoint, badge)) => {
                self.thread(id).fault = Some(fault);
                let lend = self.thread(id).context_used.is_some();
                self.send(id, endpoint, Send { badge, block: true, call: false, lend });
            }
            None => {
                let (what, number) = match fault {
                    Fault::Vm { address, instruction: false, .. } => ("data abort at", address),
                    Fault::Vm { address, .. } => ("instruction abort at", address),
                    Fault::Cap { address, .. } => ("no capability at", address),
                    Fault::UnknownSyscall(number) => ("unknown system call", number),
                    Fault::Breakpoint => ("breakpoint", 0),
                    Fault::UserException(syndrome) | Fault::Vcpu(syndrome) => ("exception with status", syndrome),
                    Fault::VgicMaintenance(_) | Fault::VppiEvent(_) => return,
                };
                let thread = &self.threads[id.0];
                debug!("{} stopped: {what} {number:#x}, pc {:#x}", thread.name, thread.context.fault_ip);
                self.set_state(id, State::Inactive);
            }
        }
    }

    /// Stops a thread that uses what devsdk lacks.
    pub fn stop(&mut self, id: Id, what: &str, number: u64) {
        debug!("{} stopped: {what} {} is not supported", self.threads[id.0].name, number as i64);
        self.suspend(id);
    }

    /// Gives the message of a thread's fault to a receiver.
    pub fn transfer_fault(&mut self, sender: Id, receiver: Id, badge: u64) {
        let Some(fault) = self.thread(sender).fault else { return };
        let context = self.threads[sender.0].context;
        let mut length = 0;
        let mut put = |word| {
            self.set_word(receiver, length, word);
            length += 1;
        };
        let label = match fault {
            Fault::Cap { address, receiving, lookup } => {
                [context.fault_ip, address, receiving.into()].into_iter().for_each(&mut put);
                match lookup {
                    Lookup::Missing(left) => [2, left].into_iter().for_each(&mut put),
                    Lookup::Guard { left, bits } => [4, left, 0, bits].into_iter().for_each(&mut put),
                }
                fault::CAP
            }
            Fault::UnknownSyscall(number) => {
                context.x[..8].iter().copied().for_each(&mut put);
                [context.fault_ip, context.sp, context.elr, context.spsr, number].into_iter().for_each(&mut put);
                fault::UNKNOWN_SYSCALL
            }
            Fault::UserException(number) => {
                [context.fault_ip, context.sp, context.spsr, number, 0].into_iter().for_each(&mut put);
                fault::USER_EXCEPTION
            }
            Fault::Breakpoint => {
                [context.fault_ip, SOFTWARE_BREAK].into_iter().for_each(&mut put);
                fault::DEBUG_EXCEPTION
            }
            Fault::Vm { address, syndrome, instruction } => {
                [context.fault_ip, address, instruction.into(), syndrome].into_iter().for_each(&mut put);
                fault::VM
            }
            Fault::VgicMaintenance(index) => {
                put(index.map_or(u64::MAX, |index| index as u64));
                fault::VGIC_MAINTENANCE
            }
            Fault::Vcpu(syndrome) => {
                put(syndrome);
                fault::VCPU
            }
            Fault::VppiEvent(intid) => {
                put(intid);
                fault::VPPI_EVENT
            }
        };
        self.set_received(receiver, badge, MessageInfo::new(label, length));
    }

    /// Applies the reply to a thread's fault: whether the thread goes on.
    pub fn reply_to_fault(&mut self, sender: Id, receiver: Id) -> bool {
        let info = MessageInfo(self.thread(sender).context.x[1]);
        // The registers that a reply's words set, in order.
        let settable = match self.thread(receiver).fault {
            Some(Fault::UnknownSyscall(_)) => 12,
            Some(Fault::UserException(_)) => 3,
            Some(Fault::Breakpoint) => 0,
            _ => return true,
        };
        let vcpu = self.thread(receiver).vcpu.is_some();
        for index in 0..info.length().min(settable) {
            let word = self.word(sender, index);
            let context = &mut self.thread(receiver).context;
            // A user exception's message has the last registers of an unknown system call's, but for the return address.
            match if settable == 12 { index } else { [8, 9, 11][index] } {
                8 => context.fault_ip = word,
                9 => context.sp = word,
                10 => context.elr = word,
                11 => context.spsr = abi::sanitise_spsr(word, vcpu),
                x => context.x[x] = word,
            }
        }
        info.label() == 0
    }
}
