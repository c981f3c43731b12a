// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Loads and stores to a device in every form that A64 has. The device is the distributor's registers of the priorities of
//! interrupts 56 to 71, which keep what is written.

use crate::Case;
use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Fault, attempt};
use crate::gic::IPRIORITYR;
use crate::mmio::{read32, write32};
use core::arch::asm;
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "shape.load-signed", ask: load_signed },
    Case { name: "shape.load-indexed", ask: load_indexed },
    Case { name: "shape.load-post", ask: load_post },
    Case { name: "shape.load-pre", ask: load_pre },
    Case { name: "shape.load-pair", ask: load_pair },
    Case { name: "shape.load-pair-64", ask: load_pair_64 },
    Case { name: "shape.load-pair-signed", ask: load_pair_signed },
    Case { name: "shape.load-stack", ask: load_stack },
    Case { name: "shape.load-unprivileged", ask: load_unprivileged },
    Case { name: "shape.load-acquire", ask: load_acquire },
    Case { name: "shape.load-exclusive", ask: load_exclusive },
    Case { name: "shape.load-nowhere", ask: load_zero_register },
    Case { name: "shape.store-post", ask: store_post },
    Case { name: "shape.store-pre", ask: store_pre },
    Case { name: "shape.store-pair", ask: store_pair },
    Case { name: "shape.store-zero", ask: store_zero },
    Case { name: "shape.store-release", ask: store_release },
    Case { name: "shape.store-exclusive", ask: store_exclusive },
    Case { name: "shape.load-vector", ask: load_vector },
    Case { name: "shape.store-vector", ask: store_vector },
    Case { name: "shape.cache", ask: cache },
];

const DEVICE: u64 = IPRIORITYR + 56;
const VALUES: [u32; 4] = [0x1018_2028, 0x8088_9098, 0x3038_4048, 0xb0b8_c0c8];

fn prepare() {
    (0..).zip(VALUES).for_each(|(n, value)| write32(DEVICE + 4 * n, value));
}

/// Executes one instruction that uses x1 as its base, and x2 and x3 beside it. A fault leaves them as they were.
macro_rules! execute {
    ($instruction:literal, $base:expr) => {{
        prepare();
        let (mut x1, mut x2, mut x3): (u64, u64, u64) = ($base, 0x5058_6068_5058_6068, 0x7078_7078_7078_7078);
        // SAFETY: the instruction reads or writes registers of the distributor that nothing else uses, and a fault of it is
        // caught.
        let result = attempt(|| unsafe {
            asm!($instruction, inout("x1") x1, inout("x2") x2, inout("x3") x3, options(nostack))
        });
        result.map(|()| [x1.wrapping_sub($base), x2, x3])
    }};
}

fn loaded(line: &mut Line, result: Result<[u64; 3], Fault>) -> fmt::Result {
    match result {
        Ok([moved, x2, x3]) => write!(line, "x1 {:+}, x2 {x2:#x}, x3 {x3:#x}", moved.cast_signed()),
        Err(fault) => aborted(line, &fault),
    }
}

fn aborted(line: &mut Line, fault: &Fault) -> fmt::Result {
    write!(line, "ESR {:#x}, FAR {:#x}", fault.esr, fault.far)
}

fn stored(line: &mut Line, result: Result<[u64; 3], Fault>) -> fmt::Result {
    match result {
        Ok([moved, ..]) => write!(line, "x1 {:+}, device", moved.cast_signed())?,
        Err(fault) => return aborted(line, &fault),
    }
    (0..4).try_for_each(|n| write!(line, " {:#x}", read32(DEVICE + 4 * n)))
}

fn load_signed(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldrsb x2, [x1, #7]", DEVICE))?;
    line.write_str("; ")?;
    loaded(line, execute!("ldrsh w2, [x1, #6]", DEVICE))
}

fn load_indexed(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("mov x3, #1\nldr w2, [x1, x3, lsl #2]", DEVICE))?;
    line.write_str("; ")?;
    loaded(line, execute!("mov w3, #-4\nldr w2, [x1, w3, sxtw]", DEVICE + 8))
}

fn load_post(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldr w2, [x1], #8", DEVICE))
}

fn load_pre(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldrsw x2, [x1, #-4]!", DEVICE + 8))
}

fn load_pair(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldp w2, w3, [x1, #4]", DEVICE))
}

fn load_pair_64(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldp x2, x3, [x1], #16", DEVICE))
}

fn load_pair_signed(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldpsw x2, x3, [x1, #-8]!", DEVICE + 8))
}

/// With the stack pointer as the base, which the instruction changes and changes back.
fn load_stack(_: &Boot, line: &mut Line) -> fmt::Result {
    prepare();
    let (x2, moved): (u64, u64);
    // SAFETY: interrupts are masked, the load does not fault, and the stack pointer is as before afterwards.
    unsafe {
        asm!("mov x4, sp", "mov sp, {device}", "ldr w2, [sp], #16", "mov x3, sp", "mov sp, x4",
             device = in(reg) DEVICE, out("x2") x2, out("x3") moved, out("x4") _)
    };
    write!(line, "sp {:+}, x2 {x2:#x}", moved.wrapping_sub(DEVICE).cast_signed())
}

fn load_unprivileged(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldtr w2, [x1, #8]", DEVICE))
}

fn load_acquire(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldarb w2, [x1]", DEVICE))
}

fn load_exclusive(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldxr w2, [x1]", DEVICE))?;
    line.write_str("; ")?;
    loaded(line, execute!("ldaxp w2, w3, [x1]", DEVICE))
}

/// What is loaded goes nowhere.
fn load_zero_register(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("ldp wzr, w3, [x1], #4", DEVICE))
}

fn store_post(_: &Boot, line: &mut Line) -> fmt::Result {
    stored(line, execute!("str w2, [x1], #-4", DEVICE + 4))
}

fn store_pre(_: &Boot, line: &mut Line) -> fmt::Result {
    stored(line, execute!("strb w2, [x1, #5]!", DEVICE))
}

fn store_pair(_: &Boot, line: &mut Line) -> fmt::Result {
    stored(line, execute!("stp x2, x3, [x1], #16", DEVICE))
}

fn store_zero(_: &Boot, line: &mut Line) -> fmt::Result {
    stored(line, execute!("stp wzr, w3, [x1, #8]", DEVICE))
}

fn store_release(_: &Boot, line: &mut Line) -> fmt::Result {
    stored(line, execute!("stlr w2, [x1]", DEVICE))
}

fn store_exclusive(_: &Boot, line: &mut Line) -> fmt::Result {
    stored(line, execute!("ldxr w3, [x1]\nstxr w3, w2, [x1]", DEVICE))
}

fn enable_vectors() {
    // SAFETY: CPACR_EL1.FPEN lets vector instructions run; nothing else here has any.
    unsafe { asm!("msr cpacr_el1, {}", "isb", in(reg) 3u64 << 20, options(nostack)) };
}

fn load_vector(_: &Boot, line: &mut Line) -> fmt::Result {
    enable_vectors();
    // ldr s0, [x1]; umov w2, v0.s[0], which the assembler refuses for a target without vectors.
    loaded(line, execute!(".inst 0xbd400020\n.inst 0x0e043c02", DEVICE))
}

fn store_vector(_: &Boot, line: &mut Line) -> fmt::Result {
    enable_vectors();
    // movi v0.2d, #0; str s0, [x1].
    stored(line, execute!(".inst 0x6f00e400\n.inst 0xbd000020", DEVICE))
}

/// Cache maintenance by address, of a device.
fn cache(_: &Boot, line: &mut Line) -> fmt::Result {
    loaded(line, execute!("dc civac, x1", DEVICE))?;
    line.write_str("; ")?;
    loaded(line, execute!("ic ivau, x1", DEVICE))
}
