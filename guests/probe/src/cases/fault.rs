// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Accesses where nothing is mapped: synchronous external aborts (Arm ARM, ESR_EL1, "ISS encoding for an exception from a
//! Data Abort" and "from an Instruction Abort").

use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Fault, at_el0, at_el0_thumb, attempt};
use crate::{Case, mmio};
use core::arch::{asm, global_asm};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "fault.read", ask: read },
    Case { name: "fault.again", ask: again },
    Case { name: "fault.write", ask: write },
    Case { name: "fault.pair", ask: pair },
    Case { name: "fault.write-back", ask: write_back },
    Case { name: "fault.exclusive", ask: exclusive },
    Case { name: "fault.fetch", ask: fetch },
    Case { name: "fault.fetch-device", ask: fetch_device },
    Case { name: "fault.flags", ask: flags },
    Case { name: "fault.el0-read", ask: el0_read },
    Case { name: "fault.el0-write", ask: el0_write },
    Case { name: "fault.el0-pair", ask: el0_pair },
    Case { name: "fault.el0-fetch", ask: el0_fetch },
    Case { name: "fault.el0-device", ask: el0_device },
    Case { name: "fault.aarch32-device", ask: aarch32_device },
    Case { name: "fault.aarch32-wfe", ask: aarch32_wfe },
    Case { name: "fault.alive", ask: alive },
];

/// Between the devices of QEMU `virt` and of our guests alike.
const NOWHERE: u64 = 0x0980_0000;

// Run at EL0, with an address in x0.
global_asm!(
    r#"
    .section .text
    .macro at_el0 name, instruction:vararg
\name:
    \instruction
    svc     #0
    .endm
    at_el0  probe_el0_load, ldr w0, [x0]
    at_el0  probe_el0_store, strh w0, [x0]
    at_el0  probe_el0_pair, ldp w1, w2, [x0], #8
    at_el0  probe_el0_call, br x0

    // Thumb: ldr r0, [r0]; svc #0. wfe; movs r0, #7; svc #0.
    .balign 4
probe_thumb_load:
    .inst   0xdf006800
probe_thumb_wfe:
    .inst   0x2007bf20
    .inst   0x0000df00
    "#
);

unsafe extern "C" {
    fn probe_el0_load();
    fn probe_el0_store();
    fn probe_el0_pair();
    fn probe_el0_call();
    fn probe_thumb_load();
    fn probe_thumb_wfe();
}

pub fn report<T>(line: &mut Line, result: Result<T, Fault>) -> fmt::Result {
    match result {
        Ok(_) => line.write_str("no exception"),
        Err(Fault { esr, far, elr }) => write!(line, "ESR {esr:#x}, FAR {far:#x}, ELR {elr:#x}"),
    }
}

/// As `report`, without the address of an instruction that differs from build to build.
fn report_place<T>(line: &mut Line, result: Result<T, Fault>) -> fmt::Result {
    match result {
        Ok(_) => line.write_str("no exception"),
        Err(Fault { esr, far, .. }) => write!(line, "ESR {esr:#x}, FAR {far:#x}"),
    }
}

fn read(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, attempt(|| mmio::read32(NOWHERE)))
}

/// The same once more: it is an abort each time.
fn again(boot: &Boot, line: &mut Line) -> fmt::Result {
    read(boot, line)
}

fn write(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, attempt(|| mmio::write8(NOWHERE + 0x1001, 0)))
}

fn pair(_: &Boot, line: &mut Line) -> fmt::Result {
    // SAFETY: an access where nothing is, whose fault is caught.
    report_place(line, attempt(|| unsafe { asm!("stp xzr, xzr, [{}, #16]", in(reg) NOWHERE, options(nostack)) }))
}

/// The base register keeps its value.
fn write_back(_: &Boot, line: &mut Line) -> fmt::Result {
    let mut base = NOWHERE;
    // SAFETY: as above.
    let result = attempt(|| unsafe { asm!("ldr wzr, [{}, #8]!", inout(reg) base, options(nostack)) });
    report_place(line, result)?;
    write!(line, ", base {:+}", base.wrapping_sub(NOWHERE).cast_signed())
}

fn exclusive(_: &Boot, line: &mut Line) -> fmt::Result {
    // SAFETY: as above.
    report_place(line, attempt(|| unsafe { asm!("ldxr w2, [{}]", in(reg) NOWHERE, out("x2") _, options(nostack)) }))
}

/// Calls `address`, from where the handler returns.
fn call(address: u64) -> Result<(), Fault> {
    attempt(|| {
        // SAFETY: nothing is executed at the address: the fault is caught, and the handler returns to behind the call.
        unsafe { asm!("blr {}", in(reg) address, clobber_abi("C")) }
    })
}

fn fetch(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, call(NOWHERE + 0x2000))
}

/// From the page of a device: the UART's, where no register is.
fn fetch_device(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, call(0x0900_0f00))
}

/// What taking an exception makes of the condition flags and of the stack pointer.
fn flags(_: &Boot, line: &mut Line) -> fmt::Result {
    let (mut before, mut after, mut nzcv): (u64, u64, u64) = (0, 0, 0);
    // SAFETY: an access where nothing is, whose fault is caught, between reads of registers.
    let result = attempt(|| unsafe {
        asm!("mov {before}, sp", "cmp xzr, xzr", "ldr wzr, [{nowhere}]", "mrs {nzcv}, nzcv", "mov {after}, sp",
             nowhere = in(reg) NOWHERE, before = out(reg) before, nzcv = out(reg) nzcv, after = out(reg) after)
    });
    write!(line, "{}, ", if result.is_err() { "an exception" } else { "none" })?;
    write!(line, "NZCV {nzcv:#x}, stack pointer {:+}", after.wrapping_sub(before).cast_signed())
}

fn el0_read(_: &Boot, line: &mut Line) -> fmt::Result {
    report_place(line, at_el0(probe_el0_load, NOWHERE + 4))
}

fn el0_write(_: &Boot, line: &mut Line) -> fmt::Result {
    report_place(line, at_el0(probe_el0_store, NOWHERE + 2))
}

fn el0_pair(_: &Boot, line: &mut Line) -> fmt::Result {
    report_place(line, at_el0(probe_el0_pair, NOWHERE + 8))
}

fn el0_fetch(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, at_el0(probe_el0_call, NOWHERE + 0x3000))
}

/// A device at EL0: the RTC's first identification register.
fn el0_device(_: &Boot, line: &mut Line) -> fmt::Result {
    match at_el0(probe_el0_load, 0x0901_0fe0) {
        Ok(value) => write!(line, "{value:#x}"),
        fault => report_place(line, fault),
    }
}

fn aarch32_device(_: &Boot, line: &mut Line) -> fmt::Result {
    match at_el0_thumb(probe_thumb_load, 0x0901_0fe0) {
        Ok(value) => write!(line, "{value:#x}"),
        Err(Fault { esr, .. }) => write!(line, "ESR {esr:#x}"),
    }
}

/// WFE of two bytes, which ends by itself.
fn aarch32_wfe(_: &Boot, line: &mut Line) -> fmt::Result {
    match at_el0_thumb(probe_thumb_wfe, 0) {
        Ok(value) => write!(line, "{value:#x}"),
        fault => report_place(line, fault),
    }
}

/// After an abort, devices answer as before.
fn alive(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "RTC identification {:#x}", mmio::read32(0x0901_0fe0))
}
