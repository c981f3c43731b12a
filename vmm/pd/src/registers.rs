// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The registers of the vCPU that exited: fetched when asked for, stored when it is resumed.
//!
//! The kernel transfers a prefix of its list of registers, so the cache is one: what is known, and how much of it changed.

use sel4_microkit::{REGISTER_COUNT, Register, Vcpu, VcpuReg};
use vmm_core::{Reg, Regs, SysReg};

/// Every instruction that exits and is skipped has this many bytes; AArch32 is not emulated.
const INSTRUCTION: u64 = 4;

/// The registers of one vCPU at a time.
pub struct Registers {
    vcpu: Vcpu,
    words: [u64; REGISTER_COUNT],
    /// How many of `words` are known; the program counter may be known besides.
    known: usize,
    pc_known: bool,
    /// How many of `words` are to be stored.
    changed: usize,
}

impl Registers {
    /// No vCPU's yet.
    pub const fn new() -> Self {
        Self { vcpu: Vcpu::new(0), words: [0; REGISTER_COUNT], known: 0, pc_known: false, changed: 0 }
    }

    /// From now on those of `vcpu`, which has exited.
    pub fn begin(&mut self, vcpu: Vcpu) {
        // What `words` holds is of an earlier exit, and not known.
        (self.vcpu, self.known, self.pc_known, self.changed) = (vcpu, 0, false, 0);
    }

    /// The program counter came with the exit.
    pub fn know_pc(&mut self, pc: u64) {
        self.words[Register::Pc as usize] = pc;
        self.pc_known = true;
    }

    /// Whether any register changed.
    pub fn changed(&self) -> bool {
        self.changed > 0
    }

    /// Resumes the vCPU behind the instruction that exited.
    #[inline]
    pub fn advance(&mut self) {
        if !self.pc_known {
            self.fetch(1);
        }
        self.words[0] = self.words[0].wrapping_add(INSTRUCTION);
        self.changed = self.changed.max(1);
        self.resume();
    }

    /// Suspends the vCPU and returns where it is to go on: behind the instruction that exited if `advance`, or else at it.
    pub fn suspend(&mut self, advance: bool) -> u64 {
        let tcb = self.vcpu.tcb();
        // None of these can fail: the vCPU exists, and the registers are as many as it has.
        if self.changed > 0 {
            let _ = tcb.write_registers(false, &self.words[..self.changed]);
        }
        if self.pc_known {
            let _ = tcb.suspend();
        } else {
            let _ = tcb.suspend_reading(&mut self.words[..1]);
        }
        self.words[0].wrapping_add(if advance { INSTRUCTION } else { 0 })
    }

    /// Stores what changed and resumes the vCPU.
    pub fn resume(&self) {
        let tcb = self.vcpu.tcb();
        match self.changed {
            0 => tcb.resume_again(),
            1 => tcb.resume_at(self.words[0]),
            count => tcb.resume_with(&self.words[..count]),
        }
    }

    /// Makes the first `count` registers known.
    #[inline]
    fn fetch(&mut self, count: usize) {
        if count > self.known {
            // Up to four come in one go.
            self.fetch_more(if self.changed == 0 && 1 < count && count < 4 { 4 } else { count });
        }
    }

    fn fetch_more(&mut self, count: usize) {
        let tcb = self.vcpu.tcb();
        // Cannot fail: as in `suspend`.
        if self.changed == 0 {
            let _ = tcb.read_registers(&mut self.words[..count]);
        } else {
            let newer = self.words;
            let _ = tcb.read_registers(&mut self.words[..count]);
            self.words[..self.changed].copy_from_slice(&newer[..self.changed]);
        }
        self.known = count;
        self.pc_known = true;
    }
}

impl Regs for Registers {
    fn get(&mut self, reg: Reg) -> u64 {
        let place = match place(reg) {
            Ok(place) => place,
            // Cannot fail: the vCPU exists.
            Err(register) => return self.vcpu.read_reg(register).unwrap_or(0),
        };
        if place > 0 || !self.pc_known {
            self.fetch(place + 1);
        }
        self.words.get(place).copied().unwrap_or(0)
    }

    fn set(&mut self, reg: Reg, value: u64) {
        let place = match place(reg) {
            Ok(place) => place,
            // Cannot fail: the vCPU exists.
            Err(register) => return self.vcpu.write_reg(register, value).unwrap_or(()),
        };
        if place == 0 {
            self.pc_known = true;
        } else {
            // All registers before this one are stored with it.
            self.fetch(place + 1);
        }
        self.words[place] = value;
        self.changed = self.changed.max(place + 1);
    }
}

/// The place of a register in the kernel's list, or the vCPU's system register.
#[inline]
fn place(reg: Reg) -> Result<usize, VcpuReg> {
    match reg {
        Reg::Pc => Ok(Register::Pc as usize),
        Reg::Spsr => Ok(Register::Spsr as usize),
        Reg::Sp0 => Ok(Register::Sp as usize),
        // There is none above 30; the machine does not ask for one.
        Reg::X(n) => Ok(Register::x(n).map_or(0, |register| register as usize)),
        Reg::Sys(register) => Err(match register {
            SysReg::Sctlr => VcpuReg::Sctlr,
            SysReg::Vbar => VcpuReg::Vbar,
            SysReg::Esr => VcpuReg::Esr,
            SysReg::Far => VcpuReg::Far,
            SysReg::Elr => VcpuReg::Elr,
            SysReg::Spsr => VcpuReg::Spsr,
            SysReg::Sp => VcpuReg::Sp,
            SysReg::Tcr => VcpuReg::Tcr,
            SysReg::Ttbr0 => VcpuReg::Ttbr0,
            SysReg::Ttbr1 => VcpuReg::Ttbr1,
        }),
    }
}
