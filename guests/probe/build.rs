// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Links `probe` as a flat binary (an arm64 Image).

fn main() {
    let script = format!("{}/probe.ld", std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    println!("cargo:rustc-link-arg-bins=-T{script}");
    println!("cargo:rustc-link-arg-bins=--oformat=binary");
    println!("cargo:rerun-if-changed=probe.ld");
    println!("cargo:rerun-if-changed=build.rs");
}
