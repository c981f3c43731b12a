// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The processor: saved contexts, system registers and the few instructions that Rust has no words for.

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::offset_of;

use crate::abi::Register;

const STACK_SIZE: usize = 0x4000;

/// The kernel's stack, known only to the assembly.
#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: only the assembly uses it, on the one core.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_SIZE]));

global_asm!(
    include_str!("entry.s"),
    stack = sym STACK,
    stack_size = const STACK_SIZE,
    boot = sym crate::boot,
    synchronous = sym crate::synchronous,
    interrupt = sym crate::interrupt,
    broken = sym crate::broken,
    lr = const offset_of!(Context, x) + 30 * 8,
    elr = const offset_of!(Context, elr),
);

/// What a thread's registers hold while it does not run.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Context {
    /// x0–x30.
    pub x: [u64; 31],
    /// SP_EL0.
    pub sp: u64,
    /// Where the thread goes on.
    pub elr: u64,
    /// SPSR_EL2.
    pub spsr: u64,
    /// Where it goes on when it is restarted: the instruction that trapped.
    pub fault_ip: u64,
    /// TPIDR_EL0, current only while another thread runs.
    pub tpidr: u64,
    /// TPIDRRO_EL0, likewise.
    pub tpidrro: u64,
}

/// Vector registers, FPSR and FPCR, in the order of the assembly.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Fpu([u64; 66]);

impl Context {
    /// All zeroes.
    pub const ZERO: Self = Self { x: [0; 31], sp: 0, elr: 0, spsr: 0, fault_ip: 0, tpidr: 0, tpidrro: 0 };

    /// The place of a register.
    pub fn register(&mut self, register: Register) -> &mut u64 {
        match register {
            Register::Pc => &mut self.fault_ip,
            Register::Sp => &mut self.sp,
            Register::Spsr => &mut self.spsr,
            Register::X(x) => &mut self.x[usize::from(x)],
            Register::Tpidr => &mut self.tpidr,
            Register::Tpidrro => &mut self.tpidrro,
        }
    }
}

impl Fpu {
    /// All zeroes.
    pub const ZERO: Self = Self([0; 66]);

    /// Saves the processor's vector registers, which CPTR_EL2 must not trap.
    pub fn save(&mut self) {
        // SAFETY: `self` has the size and the alignment that the routine writes; the kernel is compiled without vector registers.
        unsafe { save_fpu(self) }
    }

    /// Loads the processor's vector registers, which CPTR_EL2 must not trap.
    pub fn load(&self) {
        // SAFETY: as for `save`; the routine only reads.
        unsafe { load_fpu(self) }
    }
}

unsafe extern "C" {
    fn save_fpu(to: &mut Fpu);
    fn load_fpu(from: &Fpu);
    fn smc_call(registers: &mut [u64; 8]);
    safe static vectors: u8;
}

/// Calls the firmware with x0–x7 and returns what it left there. It may not return at all.
pub fn smc(mut registers: [u64; 8]) -> [u64; 8] {
    // SAFETY: the routine reads and writes the eight words and keeps the procedure call standard, as SMCCC does for SMC.
    // What firmware does to memory is the business of the domain that was given this right.
    unsafe { smc_call(&mut registers) };
    registers
}

/// Address of the exception vectors.
pub fn vector_base() -> u64 {
    (&raw const vectors) as u64
}

/// Reads a system register.
macro_rules! mrs {
    ($register:literal) => {{
        let value: u64;
        // SAFETY: reading the registers that this kernel names has no effect on memory or on the kernel.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags))
        };
        value
    }};
}

/// Writes a system register.
macro_rules! msr {
    ($register:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the registers that this kernel writes configure EL1 and EL0, traps from there, timers, and the translation
        // of lower levels. Those of EL2 itself (VBAR, MAIR, TCR, TTBR0, SCTLR) are written once, with an identity mapping of
        // all that the kernel uses.
        unsafe { core::arch::asm!(concat!("msr ", $register, ", {}"), in(reg) value, options(nostack, preserves_flags)) }
    }};
}

pub(crate) use {mrs, msr};

/// One instruction without operands.
macro_rules! instruction {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() {
            // SAFETY: a barrier, hint or maintenance operation; it changes no value that the kernel relies on.
            unsafe { asm!($text, options(nostack, preserves_flags)) }
        }
    };
}

instruction!(/** Context synchronization. */ isb, "isb");
instruction!(/** Completion of all memory accesses. */ dsb, "dsb sy");
instruction!(/** Sleeps until an interrupt is pending, masked or not. */ wfi, "wfi");
instruction!(/** Forgets all translations and instructions cached before the kernel set up its own. */ invalidate,
    "tlbi alle1\n tlbi alle2\n ic iallu\n dsb sy\n isb");

/// Translates a virtual address of the vCPU whose registers are loaded to what its first stage gives, as seL4 does: the
/// result of a failed translation is used as it comes.
pub fn translate_stage1(address: u64) -> u64 {
    let saved = mrs!("par_el1");
    // SAFETY: the instruction only writes PAR_EL1, which is restored below.
    unsafe { asm!("at s1e1r, {}", "isb", in(reg) address, options(nostack, preserves_flags)) };
    let par = mrs!("par_el1");
    msr!("par_el1", saved);
    (par & 0xffff_ffff_f000) | (address & 0xfff)
}

/// Clears whole cache lines of normal memory.
///
/// # Safety
///
/// Nothing in Rust's keeping may lie in `address..address + size`, which must be mapped as normal memory. Both are multiples
/// of 4096.
pub unsafe fn clear(address: u64, size: u64) {
    // DCZID_EL0.BS is log2 of words; every core that QEMU virt offers for this kernel allows DC ZVA at EL2.
    let block = 4 << (mrs!("dczid_el0") & 0xf);
    let mut at = address;
    while at < address + size {
        // SAFETY: within the range that the caller gives; the block size divides 4096 (at most 2048 bytes by architecture).
        unsafe { asm!("dc zva, {}", in(reg) at, options(nostack, preserves_flags)) };
        at += block;
    }
}
