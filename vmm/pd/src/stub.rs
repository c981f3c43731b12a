// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What a vCPU executes between two lives of its guest.
//!
//! seL4 has no call that clears a list register, or the active priorities of the virtual CPU interface: only the vCPU itself
//! can, by that interface. So it first runs this code, which takes every pending interrupt, deactivates every active one,
//! and leaves the interface and the vCPU's TLB as after reset. Each list register that becomes free is an exit, as always.

use core::arch::global_asm;
use core::slice;
use vmm_core::gic::INTIDS;
use vmm_core::map::GICC;

/// `GICC_CTLR` (IHI 0048B 4.4.1): both groups enabled, and acknowledged by `GICC_IAR`; ending an interrupt leaves it active.
const CTLR: u32 = 1 | 1 << 1 | 1 << 2 | 1 << 9;
/// The lowest id that is none: nothing is pending.
const SPURIOUS: u32 = 1020;

global_asm!(
    ".pushsection .rodata.stub, \"a\"",
    ".balign 4",
    "stub:",
    "mov x0, #{gicc}",
    "add x1, x0, #0x1000",
    "mov w2, #{ctlr}",
    "str w2, [x0]",
    "mov w2, #0xff",
    "str w2, [x0, #0x04]",    // GICC_PMR: every priority
    "0: str wzr, [x0, #0xd0]", // GICC_APR0: no active priority, so that the next interrupt can be taken
    "ldr w2, [x0, #0x0c]",    // GICC_IAR
    "and w2, w2, #0x3ff",
    "cmp w2, #{spurious}",
    "b.lo 0b",
    "mov w2, #0",
    "1: str w2, [x1]", // GICC_DIR: without effect on an interrupt that is not active
    "add w2, w2, #1",
    "cmp w2, #{intids}",
    "b.lo 1b",
    "str wzr, [x0, #0xd0]",
    "str wzr, [x0, #0x04]",
    "str wzr, [x0]",
    "str wzr, [x0, #0x08]", // GICC_BPR
    "str wzr, [x0, #0x1c]", // GICC_ABPR
    "tlbi vmalle1",
    "ic iallu",
    "dsb sy",
    "isb",
    "smc #0",
    "stub_end:",
    ".popsection",
    gicc = const GICC.base,
    ctlr = const CTLR,
    spurious = const SPURIOUS,
    intids = const INTIDS,
);

unsafe extern "C" {
    #[link_name = "stub"]
    static START: u8;
    #[link_name = "stub_end"]
    static END: u8;
}

/// The code, which can be anywhere. It begins at EL1 with the MMU off, and ends by an SMC.
pub fn code() -> &'static [u8] {
    let (start, end) = (&raw const START, &raw const END);
    // SAFETY: the assembly above puts the two symbols around read-only bytes.
    unsafe { slice::from_raw_parts(start, end.addr() - start.addr()) }
}
