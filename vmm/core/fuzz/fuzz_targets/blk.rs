// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! See `vmm_core::fuzz::blk`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vmm_core::fuzz::blk(bytes));
