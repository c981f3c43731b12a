// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The CPUs: which one this is, and work for the others.
//!
//! A CPU that is turned on does one piece of work at a time, which another one gives it, and waits for it in between.

use crate::psci::{self, Conduit};
use crate::timer::{self, read};
use crate::{gic, halt};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use smccc::psci::{PSCI_AFFINITY_INFO_64, PSCI_CPU_OFF, PSCI_CPU_ON_64};

/// GICv2 has eight CPU interfaces.
pub const MOST_CPUS: usize = 8;

global_asm!(
    r#"
    .section .text
    .global probe_secondary
// x0: the address of the CPU's stack top, which is also its context.
probe_secondary:
    mov     sp, x0
    adrp    x4, probe_vectors
    add     x4, x4, :lo12:probe_vectors
    msr     vbar_el1, x4
    isb
    b       probe_secondary_main
    "#
);

unsafe extern "C" {
    fn probe_secondary();
}

/// What a CPU is asked to do. It returns what is passed back.
pub type Work = fn(u64) -> u64;

const STACK: usize = 0x2000;

#[repr(align(16))]
struct Stack(#[expect(dead_code, reason = "reached through the stack pointer only")] [u8; STACK]);

/// The stacks of the CPUs but the first.
static mut STACKS: [Stack; MOST_CPUS] = [const { Stack([0; STACK]) }; MOST_CPUS];

/// How a CPU and who turned it on talk.
struct Mailbox {
    /// A `Work`, or zero.
    work: AtomicUsize,
    argument: AtomicU64,
    result: AtomicU64,
    /// How often it was started.
    starts: AtomicU64,
    /// CurrentEL, DAIF, SCTLR_EL1.M, in bytes, at its start.
    entry: AtomicU64,
    conduit_is_hvc: AtomicUsize,
}

static MAILBOXES: [Mailbox; MOST_CPUS] = [const {
    Mailbox {
        work: AtomicUsize::new(0),
        argument: AtomicU64::new(0),
        result: AtomicU64::new(0),
        starts: AtomicU64::new(0),
        entry: AtomicU64::new(0),
        conduit_is_hvc: AtomicUsize::new(0),
    }
}; MOST_CPUS];

/// The number of this CPU, less than `MOST_CPUS`.
pub fn this() -> usize {
    (read!("mpidr_el1") & 0xff) as usize % MOST_CPUS
}

/// What CPU_ON answers for `cpu`, with the entry point and the stack that a start needs.
pub fn turn_on(conduit: Conduit, cpu: usize) -> i32 {
    let top = &raw const STACKS as u64 + (STACK * (cpu % MOST_CPUS + 1)) as u64;
    MAILBOXES[cpu % MOST_CPUS].conduit_is_hvc.store(usize::from(conduit == Conduit::Hvc), Release);
    psci::call(conduit, PSCI_CPU_ON_64, [cpu as u64, probe_secondary as *const () as u64, top])
}

/// Whether AFFINITY_INFO says that `cpu` is off, asked until it does or a second has passed.
pub fn is_off(conduit: Conduit, cpu: usize) -> bool {
    within_a_second(|| psci::call(conduit, PSCI_AFFINITY_INFO_64, [cpu as u64, 0, 0]) == 1)
}

/// How often `cpu` was started, once that is `at_least`, or after a second.
pub fn starts(cpu: usize, at_least: u64) -> u64 {
    let starts = &MAILBOXES[cpu % MOST_CPUS].starts;
    within_a_second(|| starts.load(Acquire) >= at_least);
    starts.load(Acquire)
}

/// CurrentEL, DAIF and SCTLR_EL1.M at the last start of `cpu`.
pub fn entry(cpu: usize) -> (u64, u64, u64) {
    let entry = MAILBOXES[cpu % MOST_CPUS].entry.load(Acquire);
    (entry & 0xff, entry >> 8 & 0xfff, entry >> 24)
}

/// Gives `cpu` work, without waiting for its end.
pub fn start(cpu: usize, work: Work, argument: u64) {
    let mailbox = &MAILBOXES[cpu % MOST_CPUS];
    mailbox.argument.store(argument, Relaxed);
    mailbox.work.store(work as usize, Release);
    timer::send_event();
}

/// What the work of `cpu` returned; `None` if it did not end within some seconds.
pub fn finish(cpu: usize) -> Option<u64> {
    let mailbox = &MAILBOXES[cpu % MOST_CPUS];
    within(5000, || mailbox.work.load(Acquire) == 0).then(|| mailbox.result.load(Relaxed))
}

/// Does `work` on `cpu`.
pub fn run(cpu: usize, work: Work, argument: u64) -> Option<u64> {
    start(cpu, work, argument);
    finish(cpu)
}

/// Work: turns this CPU off. Returns only if that fails.
pub fn turn_off(_: u64) -> u64 {
    let mailbox = &MAILBOXES[this()];
    let conduit = if mailbox.conduit_is_hvc.load(Acquire) != 0 { Conduit::Hvc } else { Conduit::Smc };
    mailbox.work.store(0, Release);
    psci::call(conduit, PSCI_CPU_OFF, [0; 3]) as u64
}

/// Waits until `done`, and returns whether it was within a second.
pub fn within_a_second(done: impl FnMut() -> bool) -> bool {
    within(1000, done)
}

fn within(milliseconds: u64, mut done: impl FnMut() -> bool) -> bool {
    let (start, limit) = (timer::now(), timer::milliseconds(milliseconds));
    loop {
        if done() {
            return true;
        }
        if timer::now().wrapping_sub(start) > limit {
            return false;
        }
        // Where CPUs take turns, let another one run.
        timer::wait_for_event();
    }
}

#[unsafe(no_mangle)]
extern "C" fn probe_secondary_main() -> ! {
    let mailbox = MAILBOXES.get(this()).unwrap_or_else(|| halt());
    let entry = read!("CurrentEL") | read!("daif") << 8 | (read!("sctlr_el1") & 1) << 24;
    mailbox.entry.store(entry, Release);
    gic::start_cpu_interface();
    // Only this CPU stores here. Exclusive accesses need not work while the MMU is off.
    mailbox.starts.store(mailbox.starts.load(Relaxed) + 1, Release);
    loop {
        let work = mailbox.work.load(Acquire);
        if work == 0 {
            timer::wait_for_event();
            continue;
        }
        // SAFETY: only `start` stores here, and it stores a `Work`.
        let work: Work = unsafe { core::mem::transmute(work) };
        let result = work(mailbox.argument.load(Relaxed));
        mailbox.result.store(result, Relaxed);
        mailbox.work.store(0, Release);
    }
}
