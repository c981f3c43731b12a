// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Hands the linker script to the linker.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=kernel.ld");
    // The script is for the bare-metal target; a host build only serves `cargo check`.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let directory = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
        println!("cargo::rustc-link-arg-bins=-T{directory}/kernel.ld");
    }
}
