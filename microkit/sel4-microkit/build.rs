// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Derives the kernel's numbers from the Microkit SDK, into `kernel.rs`.

use std::{env, fs, path::PathBuf};

use sel4_microkit_support::{Error, FIXTURE, Kernel, Sdk};

fn main() {
    if let Err(message) = generate() {
        println!("cargo::error={message}");
    }
}

fn generate() -> Result<(), String> {
    for variable in ["MICROKIT_SDK", "MICROKIT_BOARD", "MICROKIT_CONFIG"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let kernel = kernel().map_err(|error| error.to_string())?;
    for source in kernel.sources() {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let constants = kernel.constants().map_err(|error| error.to_string())?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("Cargo sets OUT_DIR")?).join("kernel.rs");
    fs::write(&out, constants).map_err(|error| format!("{}: {error}", out.display()))
}

/// On a host there is no kernel: the numbers need only be different from each other.
fn kernel() -> Result<Kernel, Error> {
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        Sdk::kernel_from_env()
    } else {
        Sdk::open(FIXTURE)?.kernel("any", "any")
    }
}
