// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! PSCI (Arm DEN 0022) and the calling convention (DEN 0028) as one CPU uses them: good arguments, bad ones, and numbers
//! that name nothing.

use crate::boot::Boot;
use crate::console::Line;
use crate::exception::{Quiet, take};
use crate::psci::{call, call_all};
use crate::timer::{self, ENABLE, long, milliseconds, now};
use crate::{Case, gic};
use core::fmt::{self, Write};
use smccc::{arch, psci::*};

pub const CASES: &[Case] = &[
    Case { name: "psci.version", ask: version },
    Case { name: "psci.features", ask: features },
    Case { name: "psci.features-nothing", ask: features_nothing },
    Case { name: "psci.migrate-info-type", ask: migrate_info_type },
    Case { name: "psci.affinity-info", ask: affinity_info },
    Case { name: "psci.affinity-levels", ask: affinity_levels },
    Case { name: "psci.cpu-on", ask: cpu_on },
    Case { name: "psci.cpu-on-affinity", ask: cpu_on_affinity },
    Case { name: "psci.suspend", ask: suspend },
    Case { name: "psci.suspend-bad", ask: suspend_bad },
    Case { name: "psci.reset2-bad", ask: reset2_bad },
    Case { name: "psci.unknown", ask: unknown },
    Case { name: "smccc.version", ask: smccc_version },
    Case { name: "smccc.arch-features", ask: arch_features },
    Case { name: "smccc.services", ask: services },
    Case { name: "smccc.upper-bits", ask: upper_bits },
    Case { name: "smccc.preserved", ask: preserved },
];

/// No function of PSCI, of another service, and of the vendor hypervisor service.
const NOTHING: [u32; 3] = [0x8400_00ff, 0x8200_0000, 0x8600_0000];

fn version(boot: &Boot, line: &mut Line) -> fmt::Result {
    let version = call(boot.conduit, PSCI_VERSION, [0; 3]);
    write!(line, "{}.{}", version >> 16, version & 0xffff)
}

fn features(boot: &Boot, line: &mut Line) -> fmt::Result {
    let feature = |function: u32| call(boot.conduit, PSCI_FEATURES, [function.into(), 0, 0]);
    write!(line, "CPU_ON {}, CPU_OFF {}, ", feature(PSCI_CPU_ON_64), feature(PSCI_CPU_OFF))?;
    write!(line, "CPU_SUSPEND {}, AFFINITY_INFO {}, ", feature(PSCI_CPU_SUSPEND_64), feature(PSCI_AFFINITY_INFO_64))?;
    write!(line, "SYSTEM_OFF {}, SYSTEM_RESET {}, ", feature(PSCI_SYSTEM_OFF), feature(PSCI_SYSTEM_RESET))?;
    write!(line, "FEATURES {}", feature(PSCI_FEATURES))
}

fn features_nothing(boot: &Boot, line: &mut Line) -> fmt::Result {
    let feature = |function: u32| call(boot.conduit, PSCI_FEATURES, [function.into(), 0, 0]);
    write!(line, "{:#x} {}, MIGRATE {}, ", NOTHING[0], feature(NOTHING[0]), feature(PSCI_MIGRATE_64))?;
    write!(line, "0 {}, all ones {}", feature(0), feature(u32::MAX))
}

fn migrate_info_type(boot: &Boot, line: &mut Line) -> fmt::Result {
    write!(line, "{}", call(boot.conduit, PSCI_MIGRATE_INFO_TYPE, [0; 3]))
}

fn affinity_info(boot: &Boot, line: &mut Line) -> fmt::Result {
    let info = |cpu| call(boot.conduit, PSCI_AFFINITY_INFO_64, [cpu, 0, 0]);
    write!(line, "this CPU {}, CPU 7 {}, CPU 256 {}", info(0), info(7), info(256))
}

fn affinity_levels(boot: &Boot, line: &mut Line) -> fmt::Result {
    let info = |level| call(boot.conduit, PSCI_AFFINITY_INFO_64, [0, level, 0]);
    write!(line, "level 1 {}, level 3 {}, level 4 {}", info(1), info(3), info(4))
}

fn cpu_on(boot: &Boot, line: &mut Line) -> fmt::Result {
    let on = |cpu| call(boot.conduit, PSCI_CPU_ON_64, [cpu, 0x4000_0000, 0]);
    write!(line, "this CPU {}, CPU 7 {}", on(0), on(7))
}

/// Affinities that no CPU has, and the 32-bit function with rubbish in the upper halves.
fn cpu_on_affinity(boot: &Boot, line: &mut Line) -> fmt::Result {
    let on = |function, cpu| call(boot.conduit, function, [cpu, 0x4000_0000, 0]);
    write!(line, "Aff1 {}, Aff3 {}, ", on(PSCI_CPU_ON_64, 0x100), on(PSCI_CPU_ON_64, 1 << 32))?;
    write!(line, "all ones {}, 32 bits {}", on(PSCI_CPU_ON_64, u64::MAX), on(PSCI_CPU_ON_32, 0xdead_0000_0000_0000))
}

/// Standby until the timer fires; the interrupt is still to be taken.
fn suspend(boot: &Boot, line: &mut Line) -> fmt::Result {
    gic::enable(TIMER);
    let deadline = now() + milliseconds(10);
    timer::arm(deadline, ENABLE);
    let mut result = 0;
    // It may return early, as WFI may.
    while now() < deadline {
        result = call(boot.conduit, PSCI_CPU_SUSPEND_64, [0; 3]);
    }
    let taken = take(1, long(), Quiet::Timer);
    timer::stop();
    gic::disable(TIMER);
    write!(line, "{result}, took {taken}")
}

const TIMER: u32 = 27;

fn suspend_bad(boot: &Boot, line: &mut Line) -> fmt::Result {
    let suspend = |state| call(boot.conduit, PSCI_CPU_SUSPEND_64, [state, 0, 0]);
    write!(line, "level 1 {}, reserved bits {}", suspend(1 << 24), suspend(1 << 20))
}

fn reset2_bad(boot: &Boot, line: &mut Line) -> fmt::Result {
    let reset = |kind| call(boot.conduit, PSCI_SYSTEM_RESET2_64, [kind, 0, 0]);
    write!(line, "type 1 {}, vendor's {}", reset(1), reset(0x8000_0000))
}

fn unknown(boot: &Boot, line: &mut Line) -> fmt::Result {
    let [psci, service, vendor] = NOTHING.map(|function| call(boot.conduit, function, [0; 3]));
    write!(line, "PSCI {psci}, SiP {service}, vendor hypervisor {vendor}")
}

fn smccc_version(boot: &Boot, line: &mut Line) -> fmt::Result {
    let version = call(boot.conduit, arch::SMCCC_VERSION, [0; 3]);
    if version < 0 { write!(line, "{version}") } else { write!(line, "{}.{}", version >> 16, version & 0xffff) }
}

fn arch_features(boot: &Boot, line: &mut Line) -> fmt::Result {
    let feature = |function: u32| call(boot.conduit, arch::SMCCC_ARCH_FEATURES, [function.into(), 0, 0]);
    write!(line, "VERSION {}, ARCH_FEATURES {}, ", feature(arch::SMCCC_VERSION), feature(arch::SMCCC_ARCH_FEATURES))?;
    let workarounds = [arch::SMCCC_ARCH_WORKAROUND_1, arch::SMCCC_ARCH_WORKAROUND_2, arch::SMCCC_ARCH_WORKAROUND_3];
    let [one, two, three] = workarounds.map(feature);
    write!(line, "workarounds {one} {two} {three}, SOC_ID {}", feature(arch::SMCCC_ARCH_SOC_ID))
}

/// Every owner of functions (DEN 0028, table 2-2), 32 and 64 bits, fast and yielding: how many are not NOT_SUPPORTED. PSCI's
/// and the architecture's own numbers are left out.
fn services(boot: &Boot, line: &mut Line) -> fmt::Result {
    let mut known = 0;
    let mut asked = 0;
    for owner in 0..64u32 {
        for kind in [0x8000_0000, 0xc000_0000, 0, 0x4000_0000] {
            for number in [0x60u32, 0xff03, 0xffff] {
                asked += 1;
                known += u32::from(call(boot.conduit, kind | owner << 24 | number, [0; 3]) != -1);
            }
        }
    }
    write!(line, "{known} of {asked} answered")
}

/// The function is in w0: what is above it is not looked at.
fn upper_bits(boot: &Boot, line: &mut Line) -> fmt::Result {
    let version = call_all(boot.conduit, 0xdead_beef_0000_0000 | u64::from(PSCI_VERSION), [0; 17])[0];
    write!(line, "{version:#x}")
}

/// x4 to x17 keep their values.
fn preserved(boot: &Boot, line: &mut Line) -> fmt::Result {
    let mut arguments = [0; 17];
    for (n, argument) in (1..).zip(&mut arguments) {
        *argument = 0x1111_1111_1111_1111 * n;
    }
    let results = call_all(boot.conduit, NOTHING[0].into(), arguments);
    let kept = (4..18).all(|n| results[n] == arguments[n - 1]);
    line.write_str(if kept { "kept" } else { "changed" })
}
