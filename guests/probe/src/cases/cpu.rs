// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The state at entry (arm64 boot protocol), identification registers, and the device tree.

use crate::boot::Boot;
use crate::console::Line;
use crate::timer::read;
use crate::{Case, psci::Conduit};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "cpu.level", ask: level },
    Case { name: "cpu.entry", ask: entry },
    Case { name: "cpu.midr", ask: midr },
    Case { name: "cpu.mpidr", ask: mpidr },
    Case { name: "cpu.dtb", ask: dtb },
    Case { name: "cpu.conduit", ask: conduit },
];

fn level(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "EL{}", read!("CurrentEL") >> 2 & 3)
}

fn entry(boot: &Boot, line: &mut Line) -> fmt::Result {
    let sctlr = read!("sctlr_el1");
    let [x1, x2, x3] = boot.reserved;
    write!(line, "DAIF {:#x}, SCTLR.M {}, SCTLR.C {}, ", read!("daif"), sctlr & 1, sctlr >> 2 & 1)?;
    write!(line, "x1 {x1:#x}, x2 {x2:#x}, x3 {x3:#x}")
}

fn midr(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "{:#x}", read!("midr_el1"))
}

fn mpidr(_: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "{:#x}", read!("mpidr_el1"))
}

fn dtb(boot: &Boot, line: &mut Line) -> fmt::Result {
    let inside = (0x4000_0000..0x5000_0000).contains(&boot.dtb);
    let sound = if boot.tree.is_some() { "sound" } else { "no device tree" };
    write!(line, "{sound}, {}, {} modulo 8", if inside { "in RAM" } else { "outside RAM" }, boot.dtb % 8)
}

fn conduit(boot: &Boot, line: &mut Line) -> fmt::Result {
    line.write_str(match boot.conduit {
        Conduit::Hvc => "hvc",
        Conduit::Smc => "smc",
    })
}
