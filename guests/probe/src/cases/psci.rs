// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! PSCI (Arm DEN 0022) as a guest with one CPU uses it, and numbers that name nothing.

use crate::Case;
use crate::boot::Boot;
use crate::console::Line;
use crate::psci::call;
use core::fmt::{self, Write};
use smccc::psci::*;

pub const CASES: &[Case] = &[
    Case { name: "psci.version", ask: version },
    Case { name: "psci.features", ask: features },
    Case { name: "psci.migrate-info-type", ask: migrate_info_type },
    Case { name: "psci.affinity-info", ask: affinity_info },
    Case { name: "psci.cpu-on", ask: cpu_on },
    Case { name: "psci.unknown", ask: unknown },
];

/// No function of PSCI, of another service, and of the vendor hypervisor service.
const NOTHING: [u32; 3] = [0x8400_00ff, 0x8200_0000, 0x8600_0000];

fn version(boot: &Boot, line: &mut Line) -> fmt::Result {
    let version = call(boot.conduit, PSCI_VERSION, [0; 3]);
    write!(line, "{}.{}", version >> 16, version & 0xffff)
}

fn features(boot: &Boot, line: &mut Line) -> fmt::Result {
    let feature = |function: u32| call(boot.conduit, PSCI_FEATURES, [function.into(), 0, 0]);
    write!(line, "CPU_ON {}, SYSTEM_OFF {}, ", feature(PSCI_CPU_ON_64), feature(PSCI_SYSTEM_OFF))?;
    write!(line, "FEATURES {}, {:#x} {}", feature(PSCI_FEATURES), NOTHING[0], feature(NOTHING[0]))
}

fn migrate_info_type(boot: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "{}", call(boot.conduit, PSCI_MIGRATE_INFO_TYPE, [0; 3]))
}

fn affinity_info(boot: &Boot, line: &mut Line) -> fmt::Result {
    let info = |cpu| call(boot.conduit, PSCI_AFFINITY_INFO_64, [cpu, 0, 0]);
    write!(line, "this CPU {}, CPU 7 {}", info(0), info(7))
}

fn cpu_on(boot: &Boot, line: &mut Line) -> fmt::Result {
    let on = |cpu| call(boot.conduit, PSCI_CPU_ON_64, [cpu, 0x4000_0000, 0]);
    write!(line, "this CPU {}, CPU 7 {}", on(0), on(7))
}

fn unknown(boot: &Boot, line: &mut Line) -> fmt::Result {
    let [psci, service, vendor] = NOTHING.map(|function| call(boot.conduit, function, [0; 3]));
    write!(line, "PSCI {psci}, SiP {service}, vendor hypervisor {vendor}")
}
