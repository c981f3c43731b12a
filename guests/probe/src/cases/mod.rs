// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The cases, one file per area.

mod cpu;
mod delivery;
mod fault;
mod gic;
mod idle;
mod mmu;
mod psci;
mod rtc;
mod shape;
pub mod smp;
mod timer;
mod trap;
mod trng;
mod uart;

use crate::Case;

/// Every area's table, in the order of the transcript, for one CPU.
pub const AREAS: &[&[Case]] = &[
    cpu::CASES,
    gic::CASES,
    delivery::CASES,
    timer::CASES,
    idle::CASES,
    uart::CASES,
    rtc::CASES,
    psci::CASES,
    trng::CASES,
    shape::CASES,
    trap::CASES,
    fault::CASES,
    mmu::CASES,
];

/// The same for several CPUs: what one CPU shows is not asked again.
pub const SMP_AREAS: &[&[Case]] = &[smp::CASES];
