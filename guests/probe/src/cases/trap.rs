// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Instructions that a hypervisor traps, or may: HVC and SMC as a hostile guest uses them, and system registers.

use crate::Case;
use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Fault, Quiet, at_el0, attempt, take};
use crate::gic::send_to_self;
use crate::psci::call_all;
use crate::timer::{long, read};
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "trap.hvc", ask: hvc },
    Case { name: "trap.hvc-syscalls", ask: hvc_syscalls },
    Case { name: "trap.hvc-immediates", ask: hvc_immediates },
    Case { name: "trap.smc", ask: smc },
    Case { name: "trap.smc-immediates", ask: smc_immediates },
    Case { name: "trap.undefined", ask: undefined },
    Case { name: "trap.el2-registers", ask: el2_registers },
    Case { name: "trap.no-registers", ask: no_registers },
    Case { name: "trap.gic-registers", ask: gic_registers },
    Case { name: "trap.debug-registers", ask: debug_registers },
    Case { name: "trap.el0-wfi", ask: el0_wfi },
    Case { name: "trap.el0-hvc", ask: el0_hvc },
    Case { name: "trap.wfe", ask: wfe },
];

global_asm!(
    r#"
    .section .text
probe_el0_wfi:
    wfi
    mov     x0, #7
    svc     #0
probe_el0_hvc:
    hvc     #0
    mov     x0, #7
    svc     #0
    "#
);

unsafe extern "C" {
    fn probe_el0_wfi();
    fn probe_el0_hvc();
}

/// What became of an instruction: its value, or the class and the syndrome of its exception.
fn outcome(line: &mut Line, result: Result<u64, Fault>) -> fmt::Result {
    match result {
        Ok(value) => write!(line, "{value:#x}"),
        Err(fault) => write!(line, "ESR {:#x}", fault.esr),
    }
}

/// Executes an instruction with x0 to x7, and returns x0.
macro_rules! execute {
    ($instruction:literal, $x0:expr, $x7:expr) => {
        attempt(|| {
            let x0: u64;
            // SAFETY: a call changes x0 to x17 at most, and what it does to the machine is what is asked for.
            unsafe {
                asm!($instruction, inout("x0") $x0 => x0, in("x1") 0u64, in("x2") 0u64, in("x3") 0u64, in("x4") 0u64,
                     in("x5") 0u64, in("x6") 0u64, inout("x7") $x7 => _, clobber_abi("C"), options(nostack))
            };
            x0
        })
    };
}

/// Names nothing, in any calling convention.
const NOTHING: u64 = 0x8400_00ff;

fn hvc(_: &Boot, line: &mut Line) -> fmt::Result {
    outcome(line, execute!("hvc #0", NOTHING, 0u64))
}

/// seL4 takes the number of a system call from x7: each of its own, and others. It ends, and the machine goes on.
fn hvc_syscalls(_: &Boot, line: &mut Line) -> fmt::Result {
    let numbers =
        (1..=11u64).map(|n| n.wrapping_neg()).chain([0, 1, 2, 0x7fff_ffff, 1 << 63, u64::MAX >> 1, 0xffff_ffff]);
    let (mut called, mut ended) = (0, 0);
    for number in numbers {
        called += 1;
        ended += u32::from(execute!("hvc #0", NOTHING, number).is_ok());
    }
    write!(line, "{ended} of {called} ended")
}

fn hvc_immediates(_: &Boot, line: &mut Line) -> fmt::Result {
    outcome(line, execute!("hvc #1", NOTHING, 0u64))?;
    line.write_str(", ")?;
    outcome(line, execute!("hvc #0xffff", NOTHING, 0u64))
}

fn smc(_: &Boot, line: &mut Line) -> fmt::Result {
    outcome(line, execute!("smc #0", NOTHING, 0u64))
}

fn smc_immediates(_: &Boot, line: &mut Line) -> fmt::Result {
    outcome(line, execute!("smc #1", NOTHING, 0u64))?;
    line.write_str(", ")?;
    outcome(line, execute!("smc #0xffff", NOTHING, 0u64))
}

fn undefined(_: &Boot, line: &mut Line) -> fmt::Result {
    // SAFETY: the instruction is undefined, and the fault of it is caught.
    outcome(line, attempt(|| unsafe { asm!("udf #0", options(nostack)) }).map(|()| 0))
}

/// Reads each register; prints for how many that was undefined.
macro_rules! undefined_of {
    ($line:expr, $($name:literal),*) => {{
        let results = [$(attempt(|| {
            let value: u64;
            // SAFETY: reading a register has no side effect, and a fault of it is caught.
            unsafe { asm!(concat!("mov {0}, #0\nmrs {0}, ", $name), out(reg) value, options(nostack)) };
            value
        })),*];
        let undefined = results.iter().filter(|result| matches!(result, Err(fault) if fault.esr == 1 << 25)).count();
        let other = results.iter().filter(|result| matches!(result, Err(fault) if fault.esr != 1 << 25)).count();
        write!($line, "{undefined} of {} undefined", results.len())?;
        if other > 0 { write!($line, ", {other} otherwise") } else { Ok(()) }
    }};
}

fn el2_registers(_: &Boot, line: &mut Line) -> fmt::Result {
    undefined_of!(
        line,
        "hcr_el2",
        "vttbr_el2",
        "esr_el2",
        "elr_el2",
        "cnthctl_el2",
        "scr_el3",
        "sctlr_el3",
        "sctlr_el2"
    )
}

/// Registers that no Cortex-A53 has: of the implementation, and of later architectures.
fn no_registers(_: &Boot, line: &mut Line) -> fmt::Result {
    undefined_of!(
        line,
        "s3_3_c15_c15_7",
        "s3_7_c15_c14_3",
        "s3_0_c1_c2_0",
        "s3_0_c2_c1_0",
        "s3_0_c10_c5_1",
        "s3_5_c1_c0_0"
    )
}

/// The CPU interface of GICv3, beside a GICv2: reads, and a write that would send an interrupt.
fn gic_registers(_: &Boot, line: &mut Line) -> fmt::Result {
    undefined_of!(line, "s3_0_c12_c12_0", "s3_0_c12_c12_5", "s3_0_c4_c6_0", "s3_0_c12_c11_3")?;
    line.write_str("; ")?;
    // SAFETY: on a GICv2 the register does not exist, and the fault is caught.
    outcome(line, attempt(|| unsafe { asm!("msr s3_0_c12_c11_5, {}", in(reg) 1u64, options(nostack)) }).map(|()| 0))
}

fn debug_registers(_: &Boot, line: &mut Line) -> fmt::Result {
    undefined_of!(line, "mdscr_el1", "oslsr_el1", "dbgbvr0_el1", "dbgbcr0_el1", "pmcr_el0", "pmccntr_el0", "mdccsr_el0")
}

/// WFI at EL0 where SCTLR_EL1.nTWI lets it, with an interrupt pending, which ends it.
fn el0_wfi(_: &Boot, line: &mut Line) -> fmt::Result {
    let sctlr = read!("sctlr_el1") | 1 << 16;
    // SAFETY: the bit changes what WFI does at EL0 and nothing else.
    unsafe { asm!("msr sctlr_el1, {}", "isb", in(reg) sctlr, options(nostack)) };
    send_to_self(5);
    outcome(line, at_el0(probe_el0_wfi, 0))?;
    write!(line, ", took {}", take(1, long(), Quiet::Nothing))
}

/// HVC is undefined at EL0.
fn el0_hvc(_: &Boot, line: &mut Line) -> fmt::Result {
    outcome(line, at_el0(probe_el0_hvc, 0))
}

/// It ends without an event, sooner or later.
fn wfe(boot: &Boot, line: &mut Line) -> fmt::Result {
    for _ in 0..10 {
        // SAFETY: an event is sent before each wait, which so ends at once.
        unsafe { asm!("sevl", "wfe", options(nostack)) };
    }
    // The machine still answers.
    let version = call_all(boot.conduit, 0x8400_0000, [0; 17])[0];
    write!(line, "ended, PSCI {version:#x}")
}
