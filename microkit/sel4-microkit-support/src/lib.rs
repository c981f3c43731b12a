// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The build-time half of `sel4-microkit`: finds a board's configuration in a Microkit SDK and derives the numbers of its
//! kernel's ABI.
//!
//! The labels of seL4's invocations are counted over the methods that the kernel was configured with, so they differ between
//! a debug and a release kernel of one board. The SDK describes them in the same files from which the kernel's own headers
//! are generated:
//!
//! | file, below `board/<board>/<config>` | gives |
//! |---|---|
//! | `include/kernel/gen_config.json` | the kernel's configuration, against which conditions are evaluated |
//! | `include/interfaces/object-api*.xml` | the invocation labels |
//! | `include/api/syscall.xml` | the system call numbers, and which debug calls exist |
//! | `include/sel4/sel4_arch/types.pbf` | the fault labels |
//! | `address_space_constants.json` | the top of a protection domain's address space |
//!
//! Enumerations of the API that no configuration changes (errors, vCPU registers) are tables in `sel4-microkit` itself; its
//! test `sdk_headers` compares both kinds with the C headers of every kernel in an SDK.

#![forbid(unsafe_code)]

mod condition;
mod kernel;
mod sdk;

pub use kernel::Kernel;
pub use sdk::{Error, Sdk, VERSION};

/// A small SDK with one kernel (board `any`, configuration `any`), for tests and for compiling `sel4-microkit` on a host,
/// where no kernel will ever see its numbers.
pub const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sdk");
