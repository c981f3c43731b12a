// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The registers of the vCPU that exited: fetched when asked for, stored when it is resumed.
//!
//! The kernel transfers a prefix of its list of registers, so the cache is one: what is known, and how much of it changed.

use sel4_microkit::{REGISTER_COUNT, Register, Vcpu, VcpuReg};
use vmm_core::{Reg, Regs, SysReg};

/// Every instruction that exits and is skipped has this many bytes; AArch32 is not emulated.
const INSTRUCTION: u64 = 4;
/// How many registers the kernel transfers without touching memory.
const FIRST: usize = 4;

/// The registers of one vCPU at a time.
pub struct Registers {
    vcpu: Vcpu,
    words: [u64; REGISTER_COUNT],
    /// How many of `words` are known.
    known: u8,
    /// How many of `words` are to be stored; these are known.
    changed: u8,
    /// A bit for each vCPU on another core.
    remote: u32,
    /// A system register was asked for that is in another core.
    missed: bool,
}

impl Registers {
    /// No vCPU's yet. Those in `remote`, a bit each, are on another core.
    pub const fn new(remote: u32) -> Self {
        let words = [0; REGISTER_COUNT];
        Self { vcpu: Vcpu::new(0), words, known: 0, changed: 0, remote, missed: false }
    }

    /// Whether `vcpu` is on another core.
    pub fn is_remote(&self, vcpu: Vcpu) -> bool {
        self.remote >> vcpu.index() & 1 != 0
    }

    /// Whether the machine asked for a system register that cannot be had from here, so that what it did is void. Asking
    /// clears it.
    #[inline(always)]
    pub fn take_missed(&mut self) -> bool {
        self.missed && core::mem::take(&mut self.missed)
    }

    /// Whether the kernel has `register`. Of a vCPU on another core it has those that it saves whenever the vCPU stops; the
    /// others stay in that core until another vCPU needs it.
    fn has(&mut self, register: VcpuReg) -> bool {
        let has = !self.is_remote(self.vcpu) || register == VcpuReg::Sctlr;
        self.missed |= !has;
        has
    }

    /// From now on those of `vcpu`, which has exited.
    pub fn begin(&mut self, vcpu: Vcpu) {
        // What `words` holds is of an earlier exit, and not known.
        (self.vcpu, self.known, self.changed) = (vcpu, 0, 0);
    }

    /// The program counter came with the exit.
    pub fn know_pc(&mut self, pc: u64) {
        self.words[Register::Pc as usize] = pc;
        self.known = 1;
    }

    /// Whether any register changed.
    pub fn changed(&self) -> bool {
        self.changed > 0
    }

    /// Resumes the vCPU behind the instruction that exited.
    #[inline]
    pub fn advance(&mut self) {
        if self.known == 0 {
            [self.words[0]] = self.vcpu.tcb().read_first();
        }
        let pc = self.words[0].wrapping_add(INSTRUCTION);
        if self.changed <= 1 {
            self.vcpu.tcb().resume_at(pc);
        } else {
            self.words[0] = pc;
            self.resume();
        }
    }

    /// Suspends the vCPU and returns where it is to go on: behind the instruction that exited if `advance`, or else at it.
    pub fn suspend(&mut self, advance: bool) -> u64 {
        let tcb = self.vcpu.tcb();
        // None of these can fail: the vCPU exists, and the registers are as many as it has.
        if self.changed > 0 {
            let _ = tcb.write_registers(false, &self.words[..usize::from(self.changed)]);
        }
        if self.known > 0 {
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
            count => tcb.resume_with(&self.words[..usize::from(count)]),
        }
    }

    /// Makes the first `count` registers known.
    #[inline]
    fn fetch(&mut self, count: u8) {
        if count > self.known {
            self.fetch_unknown(count);
        }
    }

    /// Makes the first `count` registers known, which they are not.
    #[inline(never)]
    fn fetch_unknown(&mut self, count: u8) {
        if self.changed > 0 || usize::from(count) > FIRST {
            return self.fetch_more(count);
        }
        // The most frequent, and those that come in one go.
        let first: [u64; FIRST] = self.vcpu.tcb().read_first();
        self.words[..FIRST].copy_from_slice(&first);
        self.known = FIRST as u8;
    }

    #[inline(never)]
    fn fetch_more(&mut self, count: u8) {
        let tcb = self.vcpu.tcb();
        let (wanted, changed) = (usize::from(count), usize::from(self.changed));
        // Cannot fail: as in `suspend`.
        if changed == 0 {
            let _ = tcb.read_registers(&mut self.words[..wanted]);
        } else {
            let newer = self.words;
            let _ = tcb.read_registers(&mut self.words[..wanted]);
            self.words[..changed].copy_from_slice(&newer[..changed]);
        }
        self.known = count;
    }

    /// One of the kernel's list.
    #[inline]
    fn get_listed(&mut self, register: Register) -> u64 {
        let place = register as u8;
        self.fetch(place + 1);
        self.words[usize::from(place)]
    }

    #[inline]
    fn set_listed(&mut self, register: Register, value: u64) {
        let count = register as u8 + 1;
        if register == Register::Pc {
            // The first: no other is stored with it.
            self.known = self.known.max(count);
        } else {
            self.fetch(count);
        }
        self.words[register as usize] = value;
        self.changed = self.changed.max(count);
    }

    #[inline(never)]
    fn set_x(&mut self, register: Register, value: u64) {
        self.set_listed(register, value);
    }

    #[cold]
    fn get_system(&mut self, register: SysReg) -> u64 {
        let register = system(register);
        // Cannot fail: the vCPU exists.
        if self.has(register) { self.vcpu.read_reg(register).unwrap_or(0) } else { 0 }
    }

    #[cold]
    fn set_system(&mut self, register: SysReg, value: u64) {
        let register = system(register);
        if self.has(register) {
            // Cannot fail: the vCPU exists.
            self.vcpu.write_reg(register, value).unwrap_or(());
        }
    }
}

// Most callers name a register, of which then only a load or a store is left where it is known.
impl Regs for Registers {
    #[inline(always)]
    fn get(&mut self, reg: Reg) -> u64 {
        match reg {
            Reg::Pc => self.get_listed(Register::Pc),
            Reg::Spsr => self.get_listed(Register::Spsr),
            Reg::Sp0 => self.get_listed(Register::Sp),
            // There is none above 30; the machine does not ask for one.
            Reg::X(n) => Register::x(n).map_or(0, |register| self.get_listed(register)),
            Reg::Sys(register) => self.get_system(register),
        }
    }

    #[inline(always)]
    fn set(&mut self, reg: Reg, value: u64) {
        match reg {
            Reg::Pc => self.set_listed(Register::Pc, value),
            Reg::Spsr => self.set_listed(Register::Spsr, value),
            Reg::Sp0 => self.set_listed(Register::Sp, value),
            Reg::X(n) => {
                if let Some(register) = Register::x(n) {
                    self.set_x(register, value);
                }
            }
            Reg::Sys(register) => self.set_system(register, value),
        }
    }
}

/// The vCPU's system register.
fn system(register: SysReg) -> VcpuReg {
    match register {
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
    }
}
