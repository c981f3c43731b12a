// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Monitor of a guest with two virtual CPUs: what exits say, what interrupts do, which registers are whose.
#![no_std]
#![no_main]

use core::arch::global_asm;

use devsdk_tests::{call, info, say};
use sel4_microkit::{
    Child, Fault, Handler, Infallible, MessageInfo, PRINTING, Register, Vcpu, VcpuReg, get_mr, memory_region_symbol,
    poll, protection_domain, unknown_syscall_reply,
};

global_asm!(include_str!("../guest.s"));

const FIRST: Vcpu = Vcpu::new(0);
const SECOND: Vcpu = Vcpu::new(5);
/// Capability of the first virtual CPU.
const VCPU: u64 = 330;
const RAM: u64 = 0x4000_0000;
/// EL1h with all exceptions masked.
const PSTATE: u64 = 0x3c5;

/// Every register, with a value that each bit of keeps.
const REGISTERS: [(VcpuReg, u64); 20] = [
    (VcpuReg::Cpacr, 0x30_0000),
    (VcpuReg::Ttbr0, 0x4010_0000),
    (VcpuReg::Ttbr1, 0x4020_0000),
    (VcpuReg::Tcr, 0x80_0019),
    (VcpuReg::Mair, 0x4ff),
    (VcpuReg::Contextidr, 0x1234),
    (VcpuReg::Esr, 0x5600_0007),
    (VcpuReg::Far, 0x8765_4321),
    (VcpuReg::Par, 0x4000_0b80),
    (VcpuReg::Vbar, 0x4000_0800),
    (VcpuReg::Tpidr, 0x1111_2222),
    (VcpuReg::VmpidrEl2, 0x8000_0003),
    (VcpuReg::Sp, 0x4000_f000),
    (VcpuReg::Elr, 0x4000_0444),
    (VcpuReg::Spsr, 0x6000_0005),
    (VcpuReg::CntvCtl, 0),
    (VcpuReg::CntvCval, 0x123_4567_89ab),
    (VcpuReg::Cntvoff, 0x10_0000),
    (VcpuReg::Cntkctl, 3),
    (VcpuReg::Sctlr, 0x34d5_8820),
];

struct Machine {
    /// The first virtual CPU's pc, while it waits for the second one.
    waiting: Option<u64>,
    vppi: u32,
}

fn start(vcpu: Vcpu, pc: u64) {
    let mut registers = [0; Register::Spsr.prefix()];
    registers[Register::Pc as usize] = pc;
    registers[Register::Spsr as usize] = PSTATE;
    vcpu.tcb().write_registers(true, &registers).expect("a vCPU's registers can be written");
}

fn write_all(vcpu: Vcpu) {
    for (register, value) in REGISTERS {
        vcpu.write_reg(register, value).expect("a vCPU's register can be written");
    }
}

fn check_all(vcpu: Vcpu) {
    for (register, value) in REGISTERS {
        let read = vcpu.read_reg(register);
        if read != Ok(value) {
            say!("{register:?} is {read:x?}, not {value:x}");
        }
    }
}

/// What the kernel answers to an invocation of the first virtual CPU; `which` counts from InjectIRQ.
fn raw(what: &str, which: u64, words: [u64; 4], length: usize) {
    // Debug kernels have four more labels before these.
    let label = if PRINTING { 60 } else { 56 } + which;
    let answer = call(call::CALL, VCPU, info(label, length), words);
    say!("{what}: {:x?}", &answer[..2 + (answer[1] & 0x7f).min(2) as usize]);
}

impl Machine {
    /// What to do at a report; the values of x0 to go on with, or that the vCPU waits.
    fn step(&mut self, step: u64, x0: u64) -> Option<u64> {
        let inject = |intid, priority, group, index| {
            say!("inject {intid} {priority} {group} {index}: {:?}", FIRST.inject_irq(intid, priority, group, index));
        };
        match step {
            0x100 => return Some(x0 + 0x1000),
            0x110 => {
                inject(40, 8, 0, 0);
                inject(41, 4, 0, 1);
            }
            // The copy of the list register is older than its activation.
            0x112 => inject(40, 8, 0, 0),
            0x113 => {
                inject(42, 8, 0, 2);
                inject(43, 8, 0, 2);
            }
            0x115 => {
                inject(50, 8, 1, 3);
                [(1024, 0, 0, 0), (0, 32, 0, 0), (0, 0, 2, 0), (0, 0, 0, 4)]
                    .into_iter()
                    .for_each(|(intid, priority, group, index)| inject(intid, priority, group, index));
                raw("inject, limits", 0, [4 << 32, 0, 0, 0], 1);
                raw("inject, truncated", 0, [0; 4], 0);
                raw("read register 24", 1, [24, 0, 0, 0], 1);
                raw("read register, truncated", 1, [0; 4], 0);
                raw("write register 99", 2, [99, 0, 0, 0], 2);
                raw("write register, truncated", 2, [0; 4], 1);
                raw("acknowledge 27", 3, [27, 0, 0, 0], 1);
                raw("acknowledge 26", 3, [26, 0, 0, 0], 1);
                raw("acknowledge 200", 3, [200, 0, 0, 0], 1);
                raw("acknowledge, truncated", 3, [0; 4], 0);
                raw("no such label", 400, [0; 4], 0);
            }
            0x116 => inject(51, 8, 0, 3),
            0x117 => {
                inject(52, 8, 0, 0);
                check_all(SECOND);
                start(SECOND, RAM + 4);
                return None;
            }
            0x121 => say!("acknowledge: {:?}", FIRST.ack_vppi(27)),
            0x123 => {
                SECOND.tcb().resume().expect("a vCPU can be resumed");
                return None;
            }
            0x200 => {
                check_all(SECOND);
                SECOND.write_reg(VcpuReg::Tpidr, 0x9999).expect("a vCPU's register can be written");
            }
            0x201 | 0x202 => {
                // Stopped at its own exit, which it repeats when it is resumed later.
                SECOND.tcb().suspend().expect("a vCPU can be suspended");
                let mut registers = [0; 1];
                SECOND.tcb().read_registers(&mut registers).expect("a vCPU's registers can be read");
                SECOND.tcb().write_registers(false, &[registers[0] + 4]).expect("a vCPU's registers can be written");
                if step == 0x201 {
                    (0..4).for_each(|index| inject(53, 8, 0, index));
                }
                let pc = self.waiting.take().expect("the first vCPU waits");
                FIRST.tcb().resume_at(pc);
                return None;
            }
            _ => {}
        }
        Some(x0)
    }
}

impl Handler for Machine {
    type Error = Infallible;

    fn fault(&mut self, child: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Infallible> {
        let vcpu = Vcpu::from(child);
        let words: [u64; 13] = core::array::from_fn(get_mr);
        let fault = message.fault();
        let mut registers = [0; Register::X6.prefix()];
        vcpu.tcb().read_registers(&mut registers).expect("a vCPU's registers can be read");
        let pc = registers[Register::Pc as usize];
        match fault {
            Fault::UnknownSyscall { x, ip } => {
                say!("{} reports {:x} with {:x} {:x}", child.index(), x[7], x[0], x[1]);
                if x[7] == 0x1ff {
                    say!("must not get here");
                }
                if [0x117, 0x123].contains(&x[7]) {
                    self.waiting = Some(ip + 4);
                    vcpu.tcb().suspend().expect("a vCPU can be suspended");
                }
                if [0x100, 0x105].contains(&x[7]) {
                    say!("message {} {:x?}", message.label(), &words[..message.count()]);
                }
                let Some(x0) = self.step(x[7], x[0]) else { return Ok(None) };
                let mut x = x;
                x[0] = x0;
                Ok(Some(unknown_syscall_reply(&x, ip + 4)))
            }
            Fault::VgicMaintenance { index } => {
                say!("{} ended {index:?}, {} words", child.index(), message.count());
                Ok(Some(MessageInfo::new(0, 0)))
            }
            Fault::Vppi { irq } => {
                self.vppi += 1;
                say!(
                    "{} timer {irq}, {} times, control {:x?}",
                    child.index(),
                    self.vppi,
                    vcpu.read_reg(VcpuReg::CntvCtl)
                );
                if self.vppi == 1 {
                    vcpu.tcb().resume_at(registers[Register::X6 as usize]);
                    return Ok(None);
                }
                Ok(Some(MessageInfo::new(0, 0)))
            }
            fault => {
                say!("{} at {pc:x} fault {} {:x?}", child.index(), message.label(), &words[..message.count().min(13)]);
                if let Fault::VmFault { prefetch: true, .. } = fault {
                    vcpu.tcb().resume_at(registers[Register::X6 as usize]);
                } else if matches!(fault, Fault::Vcpu { esr } if esr >> 26 == 1 && self.vppi > 0) {
                    // The last wait: leave it, and the next receive cancels it.
                    say!("waits for good: {:?}", poll());
                } else {
                    vcpu.tcb().resume_at(pc + 4);
                }
                Ok(None)
            }
        }
    }
}

#[protection_domain]
fn init() -> impl Handler {
    unsafe extern "C" {
        static guest_start: u8;
        static guest_end: u8;
    }
    let ram = memory_region_symbol!(guest_ram: *mut u8);
    // SAFETY: the symbols bound the guest's code, which is smaller than the region; nothing else uses the region yet.
    unsafe {
        let (from, to) = (&raw const guest_start, &raw const guest_end);
        ram.copy_from_nonoverlapping(core::ptr::NonNull::new_unchecked(from.cast_mut()), to as usize - from as usize);
    }
    for register in [VcpuReg::Sctlr, VcpuReg::Cpacr, VcpuReg::VmpidrEl2, VcpuReg::CntvCtl] {
        say!("initially {register:?} is {:x?}", FIRST.read_reg(register));
    }
    let mut registers = [1; 3];
    FIRST.tcb().read_registers(&mut registers).expect("a vCPU's registers can be read");
    say!("initial registers {registers:x?}");
    write_all(SECOND);
    check_all(SECOND);
    FIRST.write_reg(VcpuReg::Cpacr, 0x30_0000).expect("a vCPU's register can be written");
    start(FIRST, RAM);
    Machine { waiting: None, vppi: 0 }
}
