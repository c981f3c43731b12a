// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! A domain without a parent that touches an unmapped address.
#![no_std]
#![no_main]

use devsdk_tests::say;
use sel4_microkit::{Handler, NullHandler, protection_domain};

#[protection_domain]
fn init() -> impl Handler {
    say!("writes where nothing is");
    // SAFETY: never completed: nothing is mapped there.
    unsafe { core::arch::asm!("str xzr, [{}]", in(reg) 0x1234_5678u64) };
    say!("must not get here");
    NullHandler::new()
}
