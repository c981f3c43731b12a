// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The vector table, interrupts taken on request, and faults turned into values.

use crate::console::say;
use crate::timer::{self, read};
use crate::{gic, halt};
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

// Arm ARM, "Exception vectors": 16 entries of 128 bytes; the probe runs on SP_EL1, so only entries 4 and 5 are meant.
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
    .irp number, 0, 1, 2, 3
    enter   probe_common, \number
    .endr
    enter   probe_common, 4
    enter   probe_common, 5
    .irp number, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
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
    add     x0, sp, #160
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
    "#
);

const SYNCHRONOUS: u64 = 4;
const IRQ: u64 = 5;
const SPSR_I: u64 = 1 << 7;
/// More interrupts than any case asks for.
const MOST: usize = 8;

/// Where an exception returns to.
#[repr(C)]
struct Return {
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
            write!(f, "{}{iar}", if position == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

static IAR: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static WANTED: AtomicUsize = AtomicUsize::new(0);
static QUIET: AtomicUsize = AtomicUsize::new(0);

/// Takes interrupts until there were `wanted` (at most 8) or `ticks` of the counter have passed. After the last one
/// wanted, the handler leaves interrupts masked, so that no more than that are taken.
pub fn take(wanted: usize, ticks: u64, quiet: Quiet) -> Taken {
    COUNT.store(0, Relaxed);
    WANTED.store(wanted.min(MOST), Relaxed);
    QUIET.store(quiet as usize, Relaxed);
    let start = timer::now();
    // SAFETY: the vector table is installed and its handler needs nothing but the stack.
    unsafe { asm!("msr daifclr, #2", "isb") };
    while COUNT.load(Relaxed) < WANTED.load(Relaxed) && timer::now().wrapping_sub(start) < ticks {}
    // SAFETY: masking interrupts is always allowed.
    unsafe { asm!("msr daifset, #2", "isb") };
    let mut taken = Taken { count: COUNT.load(Relaxed), ..Taken::default() };
    for (to, from) in taken.iar.iter_mut().zip(&IAR) {
        *to = from.load(Relaxed);
    }
    taken
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

static CATCHING: AtomicBool = AtomicBool::new(false);
static CAUGHT: AtomicBool = AtomicBool::new(false);
static ESR: AtomicU64 = AtomicU64::new(0);
static FAR: AtomicU64 = AtomicU64::new(0);
static ELR: AtomicU64 = AtomicU64::new(0);

/// Runs `access`, one instruction that may fault, and continues behind it if it does.
pub fn attempt<T>(access: impl FnOnce() -> T) -> Result<T, Fault> {
    CAUGHT.store(false, Relaxed);
    CATCHING.store(true, Relaxed);
    let value = access();
    CATCHING.store(false, Relaxed);
    if CAUGHT.load(Relaxed) {
        Err(Fault { esr: ESR.load(Relaxed), far: FAR.load(Relaxed), elr: ELR.load(Relaxed) })
    } else {
        Ok(value)
    }
}

/// Every exception; `vector` is the number of its entry.
#[unsafe(no_mangle)]
extern "C" fn probe_exception(to: &mut Return, vector: u64) {
    match vector {
        IRQ => interrupt(to),
        SYNCHRONOUS if CATCHING.load(Relaxed) => {
            CATCHING.store(false, Relaxed);
            CAUGHT.store(true, Relaxed);
            ESR.store(read!("esr_el1"), Relaxed);
            FAR.store(read!("far_el1"), Relaxed);
            ELR.store(to.elr, Relaxed);
            to.elr += 4;
        }
        _ => {
            let (esr, far) = (read!("esr_el1"), read!("far_el1"));
            say(format_args!("probe: exception {vector}: ESR {esr:#x}, FAR {far:#x}, ELR {:#x}", to.elr));
            halt()
        }
    }
}

fn interrupt(to: &mut Return) {
    let iar = gic::acknowledge();
    let count = COUNT.load(Relaxed);
    if let Some(slot) = IAR.get(count) {
        slot.store(iar, Relaxed);
    }
    COUNT.store(count + 1, Relaxed);
    if QUIET.load(Relaxed) == Quiet::Timer as usize {
        timer::stop();
    }
    gic::end(iar);
    if count + 1 >= WANTED.load(Relaxed) {
        to.spsr |= SPSR_I;
    }
}
