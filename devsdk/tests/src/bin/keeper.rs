// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Parent of `puppet`: reads and writes its registers, suspends it, resumes it, and starts it anew.
#![no_std]
#![no_main]

use devsdk_tests::{call, info, say};
use sel4_microkit::{
    Channel, ChannelSet, Child, Handler, Infallible, MessageInfo, Register, Tcb, get_mr, poll, protection_domain,
    set_mr,
};

/// Capability of the child's thread, and labels of its invocations, which are the same in all configurations.
const TCB: u64 = 202 + 61;
const READ_REGISTERS: u64 = 2;
const WRITE_REGISTERS: u64 = 3;

struct Keeper {
    faults: u32,
    signals: u32,
    puppet: Tcb,
}

impl Keeper {
    fn show(&self, count: usize) {
        let mut registers = [0xdead; 36];
        let result = self.puppet.read_registers(&mut registers[..count]);
        say!("read {count}: {result:?} {:x?}", &registers[..count]);
    }

    /// What the kernel answers to an invocation of the thread with these words.
    fn raw(&self, what: &str, label: u64, words: [u64; 4], length: usize) {
        let answer = call(call::CALL, TCB, info(label, length), words);
        say!("{what}: {:x?}", &answer[..if answer[1] & 0x7f == 0 { 2 } else { 4 }]);
    }
}

impl Handler for Keeper {
    type Error = Infallible;

    fn fault(&mut self, _: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Infallible> {
        self.faults += 1;
        say!("fault {}: {} at {:x}", self.faults, message.label(), get_mr(0));
        match self.faults {
            1 => {
                [1, 2, 4, 5, 17, 18, 36].into_iter().for_each(|count| self.show(count));
                self.raw("read no registers", READ_REGISTERS, [0, 0, 0, 0], 2);
                self.raw("read too many", READ_REGISTERS, [0, 37, 0, 0], 2);
                self.raw("read, truncated", READ_REGISTERS, [0, 0, 0, 0], 1);
                self.raw("write, truncated", WRITE_REGISTERS, [0, 3, 0, 0], 4);
                self.raw("write nothing", WRITE_REGISTERS, [0, 0, 0, 0], 2);
                self.raw("no such label", 1000, [0, 0, 0, 0], 2);
                // A send half of a combined call may not be a thread's: it is dropped.
                let mut registers = [0; 36];
                self.puppet.read_registers(&mut registers).expect("a child's registers can be read");
                let pc = registers[0] + 4;
                registers.iter_mut().enumerate().skip(3).for_each(|(index, value)| *value = 0x200 + index as u64);
                // PSTATE of EL1 and masked interrupts, which a child may not have.
                registers[Register::Spsr as usize] = 0xf000_03c5;
                registers[0] = pc;
                self.puppet.write_registers(false, &registers).expect("a child's registers can be written");
                self.show(36);
                self.puppet.resume().expect("a child can be resumed");
                Ok(None)
            }
            2 => {
                say!("a fault that is suspended is forgotten: {:?}", self.puppet.suspend());
                self.show(4);
                self.puppet.resume().expect("a child can be resumed");
                Ok(None)
            }
            // The same fault again; a reply now goes nowhere, for the thread was suspended and resumed.
            3 => {
                let mut pc = [0];
                self.puppet.read_registers(&mut pc).expect("a child's registers can be read");
                self.puppet.suspend().expect("a child can be suspended");
                set_mr(0, 0);
                sel4_microkit::reply(MessageInfo::new(0, 0));
                say!("the reply was lost: {:?}", poll());
                self.puppet.resume_at(pc[0] + 4);
                Ok(None)
            }
            // A reply with a label leaves the thread of a user exception stopped.
            4 => Ok(Some(MessageInfo::new(1, 0))),
            _ => Ok(Some(MessageInfo::new(0, 0))),
        }
    }

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        self.signals += 1;
        say!("signal {}: {channels}", self.signals);
        match self.signals {
            // The child runs: it is stopped after its call and goes on from there.
            1 => {
                self.puppet.suspend().expect("a child can be suspended");
                self.show(2);
                say!("nothing happens: {:?}", poll());
                self.puppet.resume().expect("a child can be resumed");
            }
            // Registers of a thread that could run can be written without stopping it.
            2 => {
                let mut registers = [0; 4];
                self.puppet.suspend().expect("a child can be suspended");
                self.puppet.read_registers(&mut registers).expect("a child's registers can be read");
                registers[3] = 0x5555;
                self.puppet.write_registers(true, &registers).expect("a child's registers can be written");
            }
            _ => {}
        }
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    say!("ready");
    let _ = Channel::new(7);
    Keeper { faults: 0, signals: 0, puppet: Child::new(61).tcb() }
}
