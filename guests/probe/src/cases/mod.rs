// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The cases, one file per area.

mod cpu;
mod fault;
mod gic;
mod psci;
mod rtc;
mod timer;
mod uart;

use crate::Case;

/// Every area's table, in the order of the transcript.
pub const AREAS: &[&[Case]] =
    &[cpu::CASES, gic::CASES, timer::CASES, uart::CASES, rtc::CASES, psci::CASES, fault::CASES];
