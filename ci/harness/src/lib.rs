// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Starts QEMU and drives its serial console: boot tests, benchmarks, and `make run`.
//!
//! Two rules. Whatever is started is ended, however the harness itself ends ([`machine`]). And a failure is explained by
//! what is printed with it: the expectation's name, its time limit, and the end of the transcript.

pub mod bench;
pub mod boot_tests;
mod device_tests;
mod driver_tests;
mod life_tests;
mod linux_tests;
mod load_tests;
pub mod machine;
pub mod peer;
pub mod probe;
mod probe_tests;
pub mod qemu;
pub mod realtime;
pub mod run;
pub mod size;
mod system_tests;
pub mod trace;
pub mod transcript;
