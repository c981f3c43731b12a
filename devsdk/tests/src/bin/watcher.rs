// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Parent of `victim`: prints the message of each fault and lets the child go on.
#![no_std]
#![no_main]

use devsdk_tests::say;
use sel4_microkit::{
    Child, Fault, Handler, Infallible, MessageInfo, Register, get_mr, protection_domain, set_mr, unknown_syscall_reply,
};

struct Watcher;

impl Handler for Watcher {
    type Error = Infallible;

    fn fault(&mut self, child: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Infallible> {
        let words: [u64; 13] = core::array::from_fn(get_mr);
        say!("{} fault {} {:x?}", child.index(), message.label(), &words[..message.count().min(13)]);
        let fault = message.fault();
        let mut registers = [0; Register::X30.prefix()];
        child.tcb().read_registers(&mut registers).expect("a child's registers can be read");
        let pc = registers[Register::Pc as usize];
        Ok(match fault {
            // The registers come back changed, and the child after its call.
            Fault::UnknownSyscall { x, ip } => Some(unknown_syscall_reply(&x.map(|x| x + 0x1000), ip + 4)),
            // A user exception's reply can set pc, sp and pstate.
            Fault::UserException { ip, .. } => {
                set_mr(0, ip + 4);
                Some(MessageInfo::new(0, 1))
            }
            // A fetch went nowhere: return to the caller.
            Fault::VmFault { prefetch: true, .. } => {
                child.tcb().resume_at(registers[Register::X30 as usize]);
                None
            }
            // The call is made again with a capability that exists.
            Fault::CapFault { addr: 0x10_0000, .. } => {
                registers[Register::X0 as usize] = 9;
                let prefix = &registers[..Register::X0.prefix()];
                child.tcb().write_registers(false, prefix).expect("a child's registers can be written");
                Some(MessageInfo::new(0, 0))
            }
            _ => {
                child.tcb().resume_at(pc + 4);
                None
            }
        })
    }
}

#[protection_domain]
fn init() -> impl Handler {
    say!("ready");
    Watcher
}
