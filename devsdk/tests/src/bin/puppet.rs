// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Child of `keeper`: shows its registers by faults.
#![no_std]
#![no_main]

use core::arch::asm;

use devsdk_tests::say;
use sel4_microkit::{Channel, Handler, NullHandler, protection_domain};

#[repr(C)]
struct Seen([u64; 33]);

#[protection_domain]
fn init() -> impl Handler {
    let mut seen = Seen([0; 33]);
    // SAFETY: x0–x30 and both thread registers get known values; the parent changes them at the first fault, after which they
    // are stored, and those that belong to the surrounding code are restored from the stack.
    unsafe {
        asm!(
            "stp x19, x29, [sp, #-32]!",
            "str {seen}, [sp, #16]",
            ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
            "mov x\\n, #0x100 + \\n",
            ".endr",
            "msr tpidr_el0, x7",
            "cmp xzr, xzr",
            "udf #1",
            "str x0, [sp, #24]",
            "ldr x0, [sp, #16]",
            ".irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
            "str x\\n, [x0, #8 * \\n]",
            ".endr",
            "ldr x1, [sp, #24]",
            "str x1, [x0]",
            "mrs x1, tpidr_el0",
            "str x1, [x0, #248]",
            "mrs x1, tpidrro_el0",
            "str x1, [x0, #256]",
            "ldp x19, x29, [sp], #32",
            seen = in(reg) &raw mut seen,
            out("x20") _, out("x21") _, out("x22") _, out("x23") _, out("x24") _, out("x25") _, out("x26") _,
            out("x27") _, out("x28") _, clobber_abi("C"),
        );
    }
    say!("has {:x?}", seen.0);
    // SAFETY: the parent skips the instruction.
    unsafe { asm!("cmp xzr, xzr", "udf #2") };
    say!("skipped");
    Channel::new(0).notify();
    say!("resumed after a signal");
    Channel::new(0).notify();
    let x0: u64;
    // SAFETY: a system call that the parent interrupts, and whose x0 it changes.
    unsafe {
        asm!("cmp xzr, xzr", "svc #0", inlateout("x0") 10u64 => x0, inlateout("x1") 0u64 => _, in("x7") -6i64, lateout("x2") _,
            lateout("x3") _, lateout("x4") _, lateout("x5") _);
    }
    say!("x0 is {x0:x}");
    // SAFETY: the parent does not let this go on.
    unsafe { asm!("udf #3") };
    say!("must not get here");
    NullHandler::new()
}
