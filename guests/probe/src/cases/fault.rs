// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Accesses where nothing is mapped: synchronous external aborts (Arm ARM, ESR_EL1, "ISS encoding for an exception from a
//! Data Abort").

use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Fault, attempt};
use crate::{Case, mmio};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "fault.read", ask: read },
    Case { name: "fault.again", ask: again },
    Case { name: "fault.write", ask: write },
    Case { name: "fault.alive", ask: alive },
];

/// Between the devices of QEMU `virt` and of our guests alike.
const NOWHERE: u64 = 0x0980_0000;

fn report<T>(line: &mut Line, result: Result<T, Fault>) -> fmt::Result {
    match result {
        Ok(_) => line.write_str("no exception"),
        Err(Fault { esr, far, elr }) => write!(line, "ESR {esr:#x}, FAR {far:#x}, ELR {elr:#x}"),
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

/// After an abort, devices answer as before.
fn alive(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "RTC identification {:#x}", mmio::read32(0x0901_0fe0))
}
