// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The same with address translation on: the devices at other virtual addresses than their physical ones, and a
//! translation table where nothing is.

use super::fault::report;
use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Fault, attempt};
use crate::gic::IPRIORITYR;
use crate::mmio::{read32, write32};
use crate::timer::read;
use crate::{Case, mmio};
use core::arch::asm;
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "mmu.device", ask: device },
    Case { name: "mmu.pair", ask: pair },
    Case { name: "mmu.read", ask: read_nowhere },
    Case { name: "mmu.pair-nowhere", ask: pair_nowhere },
    Case { name: "mmu.vector", ask: vector },
    Case { name: "mmu.table-read", ask: table_read },
    Case { name: "mmu.table-write", ask: table_write },
    Case { name: "mmu.table-fetch", ask: table_fetch },
    Case { name: "mmu.unmapped", ask: unmapped },
    Case { name: "mmu.off", ask: off },
];

/// A table of the first level, with 4 KiB pages: an entry for each GiB of 512.
#[repr(align(4096))]
struct Table(#[expect(dead_code, reason = "the processor reads it")] [u64; 512]);

/// Entry 0: the devices, and 1: the RAM, both as they are. Entry 4: the devices again. Entry 5: a table where nothing is.
static TABLE: Table = {
    let mut entries = [0; 512];
    entries[0] = DEVICES;
    entries[1] = 0x4000_0000 | BLOCK | NORMAL;
    entries[4] = DEVICES;
    entries[5] = NOWHERE | 0b11;
    Table(entries)
};

const GIB: u64 = 1 << 30;
/// What is added to a device's address.
const ALIAS: u64 = 4 * GIB;
/// An address whose table is nowhere.
const BROKEN: u64 = 5 * GIB;
const NOWHERE: u64 = 0x0980_0000;
/// A block, accessed, inner shareable.
const BLOCK: u64 = 0b01 | 1 << 10 | 3 << 8;
/// Attributes 1 of MAIR_EL1; 0 are Device-nGnRnE.
const NORMAL: u64 = 1 << 2;
const DEVICES: u64 = BLOCK | 1 << 53 | 1 << 54;
/// Attributes 1: normal memory, not cached, as with the MMU off.
const MAIR: u64 = 0x44 << 8;
/// 39 bits of addresses, of which the upper half is not used, and 40 physical ones.
const TCR: u64 = 25 | 1 << 23 | 2 << 32;
const DEVICE: u64 = IPRIORITYR + 56;

/// Runs `body` with the MMU on.
fn with_mmu<T>(body: impl FnOnce() -> T) -> T {
    let table = &raw const TABLE as u64;
    let sctlr = read!("sctlr_el1");
    // SAFETY: the tables map all that the probe uses where it is.
    unsafe {
        asm!("msr mair_el1, {mair}", "msr tcr_el1, {tcr}", "msr ttbr0_el1, {table}", "tlbi vmalle1", "dsb sy", "isb",
             "msr sctlr_el1, {on}", "isb", mair = in(reg) MAIR, tcr = in(reg) TCR, table = in(reg) table,
             on = in(reg) sctlr | 1, options(nostack))
    };
    let value = body();
    // SAFETY: back to what it was.
    unsafe { asm!("msr sctlr_el1, {}", "isb", "tlbi vmalle1", "dsb sy", "isb", in(reg) sctlr, options(nostack)) };
    value
}

fn report_place<T>(line: &mut Line, result: Result<T, Fault>) -> fmt::Result {
    match result {
        Ok(_) => line.write_str("no exception"),
        Err(Fault { esr, far, .. }) => write!(line, "ESR {esr:#x}, FAR {far:#x}"),
    }
}

fn device(_: &Boot, line: &mut Line) -> fmt::Result {
    let id = with_mmu(|| read32(ALIAS + 0x0901_0fe0));
    write!(line, "RTC identification {id:#x}")
}

fn pair(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(DEVICE, 0x1018_2028);
    write32(DEVICE + 4, 0x8088_9098);
    let (mut first, mut second, mut base): (u64, u64, u64) = (0, 0, ALIAS + DEVICE);
    with_mmu(|| {
        // SAFETY: reads registers of the distributor.
        unsafe {
            asm!("ldp w2, w3, [x1], #8", inout("x1") base, out("x2") first, out("x3") second,
                 options(nostack))
        };
    });
    let moved = base.wrapping_sub(ALIAS + DEVICE).cast_signed();
    write!(line, "{first:#x} {second:#x}, base {moved:+}")
}

fn read_nowhere(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, with_mmu(|| attempt(|| mmio::read32(ALIAS + NOWHERE + 0x10))))
}

fn pair_nowhere(_: &Boot, line: &mut Line) -> fmt::Result {
    // SAFETY: an access where nothing is, whose fault is caught.
    let result =
        with_mmu(|| attempt(|| unsafe { asm!("stp xzr, xzr, [{}, #16]", in(reg) ALIAS + NOWHERE, options(nostack)) }));
    report_place(line, result)
}

fn vector(_: &Boot, line: &mut Line) -> fmt::Result {
    write32(DEVICE, 0);
    let result = with_mmu(|| {
        // SAFETY: CPACR_EL1.FPEN lets it run: ldr s0, [x1] of a register of the distributor, whose fault is caught.
        attempt(|| unsafe {
            asm!("msr cpacr_el1, {}", "isb", ".inst 0xbd400020", in(reg) 3u64 << 20, in("x1") ALIAS + DEVICE,
                 options(nostack))
        })
    });
    report_place(line, result)
}

fn table_read(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, with_mmu(|| attempt(|| mmio::read32(BROKEN + 0x1234))))
}

fn table_write(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, with_mmu(|| attempt(|| mmio::write32(BROKEN + 0x20_0000, 0))))
}

fn table_fetch(_: &Boot, line: &mut Line) -> fmt::Result {
    let result = with_mmu(|| {
        attempt(|| {
            // SAFETY: nothing is executed there: the fault is caught, and the handler returns to behind the call.
            unsafe { asm!("blr {}", in(reg) BROKEN, clobber_abi("C")) }
        })
    });
    report(line, result)
}

/// A translation fault is the guest's own, and no hypervisor sees it.
fn unmapped(_: &Boot, line: &mut Line) -> fmt::Result {
    report(line, with_mmu(|| attempt(|| mmio::read32(7 * GIB))))
}

/// And off again.
fn off(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "SCTLR.M {}, RTC identification {:#x}", read!("sctlr_el1") & 1, read32(0x0901_0fe0))
}
