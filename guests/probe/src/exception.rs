// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The vector table, interrupts taken on request, and faults turned into values. Each CPU has its own state.

use crate::console::say;
use crate::cpu::{self, MOST_CPUS};
use crate::timer::{self, read};
use crate::{gic, halt};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

// Arm ARM, "Exception vectors": 16 entries of 128 bytes. The probe runs on SP_EL1, so entries 4 and 5 are meant, and 8 and 12
// for what it runs at EL0.
global_asm!(
    r#"
    .section .text.vectors, "ax"
    .macro enter handler, argument
    .balign 128
    sub     sp, sp, #192
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    mov     x1, #\argument
    b       \handler
    .endm

    .balign 2048
    .global probe_vectors
probe_vectors:
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    enter   probe_common, \number
    .endr

    .balign 128
probe_common:
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x30, [sp, #144]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [sp, #160]
    mov     x0, sp
    bl      probe_exception
    ldp     x2, x3, [sp, #160]
    msr     elr_el1, x2
    msr     spsr_el1, x3
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x30, [sp, #144]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #192
    eret

    // x0: what to run at EL0, x1: its argument, x2: the processor state to run it in. Returns x0 as EL0 left it at its SVC or fault.
    .global probe_at_el0, probe_el0_done
probe_at_el0:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    msr     elr_el1, x0
    msr     spsr_el1, x2
    mov     x0, x1
    eret
probe_el0_done:
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret
    "#
);

unsafe extern "C" {
    fn probe_at_el0(entry: u64, argument: u64, state: u64) -> u64;
    fn probe_el0_done();
}

const SYNCHRONOUS: u64 = 4;
const IRQ: u64 = 5;
const SYNCHRONOUS_EL0: u64 = 8;
const SYNCHRONOUS_AARCH32: u64 = 12;
const SPSR_I: u64 = 1 << 7;
const SPSR_EL1H: u64 = 0x3c5;
/// SPSR_EL1: EL0, and the same in AArch32's Thumb, with interrupts masked.
const SPSR_EL0: u64 = 0x3c0;
const SPSR_THUMB: u64 = 0x1f0;
/// ESR_EL1.EC: SVC, in AArch64 and in AArch32, and an instruction abort at EL1.
const SVC: [u64; 2] = [0x15, 0x11];
const FETCH: u64 = 0x21;
/// Where RAM begins.
const RAM: u64 = 0x4000_0000;
/// More interrupts than any case asks for.
const MOST: usize = 24;

/// What the vectors saved.
#[repr(C)]
struct Frame {
    x: [u64; 18],
    x18: u64,
    x30: u64,
    elr: u64,
    spsr: u64,
}

/// What quiets the source of an interrupt in its handler, before the end of interrupt.
#[derive(Clone, Copy)]
pub enum Quiet {
    /// Nothing: a source that stays asserted interrupts again.
    Nothing = 0,
    /// Turning the virtual timer off.
    Timer = 1,
    /// Nothing, and `STATE` is set to whether the interrupt reads as pending (bit 0) and as active (bit 1).
    Inspect = 2,
}

/// The interrupts that were taken, in order, as GICC_IAR gave them.
#[derive(Default)]
pub struct Taken {
    iar: [u32; MOST],
    count: usize,
}

impl Taken {
    /// The values of GICC_IAR.
    pub fn as_slice(&self) -> &[u32] {
        self.iar.get(..self.count).unwrap_or_default()
    }
}

impl core::fmt::Display for Taken {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        if self.count == 0 {
            return f.write_str("none");
        }
        for (position, iar) in self.as_slice().iter().enumerate() {
            write!(f, "{}{}", if position == 0 { "" } else { " " }, iar & gic::INTID)?;
        }
        Ok(())
    }
}

/// One CPU's.
struct State {
    iar: [AtomicU32; MOST],
    count: AtomicUsize,
    wanted: AtomicUsize,
    quiet: AtomicUsize,
    catching: AtomicBool,
    caught: AtomicBool,
    esr: AtomicU64,
    far: AtomicU64,
    elr: AtomicU64,
    inspected: AtomicU32,
}

static STATES: [State; MOST_CPUS] = [const {
    State {
        iar: [const { AtomicU32::new(0) }; MOST],
        count: AtomicUsize::new(0),
        wanted: AtomicUsize::new(0),
        quiet: AtomicUsize::new(0),
        catching: AtomicBool::new(false),
        caught: AtomicBool::new(false),
        esr: AtomicU64::new(0),
        far: AtomicU64::new(0),
        elr: AtomicU64::new(0),
        inspected: AtomicU32::new(0),
    }
}; MOST_CPUS];

fn state() -> &'static State {
    &STATES[cpu::this()]
}

/// Takes interrupts until there were `wanted` (at most 24) or `ticks` of the counter have passed. After the last one
/// wanted, the handler leaves interrupts masked, so that no more than that are taken.
pub fn take(wanted: usize, ticks: u64, quiet: Quiet) -> Taken {
    let state = state();
    state.count.store(0, Relaxed);
    state.wanted.store(wanted.min(MOST), Relaxed);
    state.quiet.store(quiet as usize, Relaxed);
    let start = timer::now();
    // SAFETY: the vector table is installed and its handler needs nothing but the stack.
    unsafe { asm!("msr daifclr, #2", "isb") };
    while state.count.load(Relaxed) < state.wanted.load(Relaxed) && timer::now().wrapping_sub(start) < ticks {}
    // SAFETY: masking interrupts is always allowed.
    unsafe { asm!("msr daifset, #2", "isb") };
    let mut taken = Taken { count: state.count.load(Relaxed), ..Taken::default() };
    for (to, from) in taken.iar.iter_mut().zip(&state.iar) {
        *to = from.load(Relaxed);
    }
    taken
}

/// What the last interrupt that was taken with `Quiet::Inspect` read as in its handler: pending, active.
pub fn inspected() -> (bool, bool) {
    let seen = state().inspected.load(Relaxed);
    (seen & 1 != 0, seen & 2 != 0)
}

/// A synchronous exception that was caught.
pub struct Fault {
    /// ESR_EL1.
    pub esr: u64,
    /// FAR_EL1.
    pub far: u64,
    /// ELR_EL1: the address of the instruction.
    pub elr: u64,
}

/// Runs `access`, one instruction that may fault, and continues behind it if it does; or a call of an address from which
/// nothing can be fetched, which then returns.
pub fn attempt<T>(access: impl FnOnce() -> T) -> Result<T, Fault> {
    let state = state();
    state.caught.store(false, Relaxed);
    state.catching.store(true, Relaxed);
    let value = access();
    state.catching.store(false, Relaxed);
    if state.caught.load(Relaxed) {
        let [esr, far, elr] = [&state.esr, &state.far, &state.elr].map(|word| word.load(Relaxed));
        Err(Fault { esr, far, elr })
    } else {
        Ok(value)
    }
}

/// Runs the code at `entry` at EL0 with `argument` in x0, until an SVC or a fault; returns x0.
pub fn at_el0(entry: unsafe extern "C" fn(), argument: u64) -> Result<u64, Fault> {
    // SAFETY: `entry` is code of this program that uses no stack and ends with SVC, and the handler returns from there.
    attempt(|| unsafe { probe_at_el0(entry as usize as u64, argument, SPSR_EL0) })
}

/// The same of Thumb code of AArch32, in r0.
pub fn at_el0_thumb(entry: unsafe extern "C" fn(), argument: u64) -> Result<u64, Fault> {
    // SAFETY: as above.
    attempt(|| unsafe { probe_at_el0(entry as usize as u64, argument, SPSR_THUMB) })
}

/// Every exception; `vector` is the number of its entry.
#[unsafe(no_mangle)]
extern "C" fn probe_exception(frame: &mut Frame, vector: u64) {
    let esr = read!("esr_el1");
    let ec = esr >> 26;
    if vector == IRQ {
        return interrupt(frame);
    }
    if vector == SYNCHRONOUS_EL0 || vector == SYNCHRONOUS_AARCH32 {
        if !SVC.contains(&ec) {
            catch(frame, esr);
        }
        frame.elr = probe_el0_done as *const () as u64;
        frame.spsr = SPSR_EL1H;
        return;
    }
    if vector != SYNCHRONOUS || !state().catching.load(Relaxed) {
        let far = read!("far_el1");
        say(format_args!("probe: exception {vector}: ESR {esr:#x}, FAR {far:#x}, ELR {:#x}", frame.elr));
        halt()
    }
    catch(frame, esr);
    frame.elr = if ec == FETCH || frame.elr < RAM { frame.x30 } else { frame.elr + 4 };
}

fn catch(frame: &Frame, esr: u64) {
    let state = state();
    state.catching.store(false, Relaxed);
    state.caught.store(true, Relaxed);
    state.esr.store(esr, Relaxed);
    state.far.store(read!("far_el1"), Relaxed);
    state.elr.store(frame.elr, Relaxed);
}

fn interrupt(frame: &mut Frame) {
    let iar = gic::acknowledge();
    let state = state();
    let count = state.count.load(Relaxed);
    if let Some(slot) = state.iar.get(count) {
        slot.store(iar, Relaxed);
    }
    state.count.store(count + 1, Relaxed);
    let quiet = state.quiet.load(Relaxed);
    if quiet == Quiet::Timer as usize {
        timer::stop();
    } else if quiet == Quiet::Inspect as usize {
        let (pending, active) = gic::state(iar & gic::INTID);
        state.inspected.store(u32::from(pending) | u32::from(active) << 1, Relaxed);
    }
    gic::end(iar);
    if count + 1 >= state.wanted.load(Relaxed) {
        frame.spsr |= SPSR_I;
    }
}
