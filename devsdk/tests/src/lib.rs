// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! What the conformance domains share: printing, and system calls as the kernel sees them.
//!
//! Each domain prints lines that begin with its name in brackets, and nothing else is compared. The domains come in groups of
//! descending priority, so that one group has done all it can before the next one starts: the order of lines is fixed.
#![no_std]

use core::arch::asm;

/// Numbers of the system calls.
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod call {
    pub const CALL: i64 = -1;
    pub const SEND: i64 = -5;
    pub const NB_SEND: i64 = -6;
    pub const RECV: i64 = -7;
    pub const NB_RECV: i64 = -8;
}

/// Prints a line of the transcript.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => {
        ::sel4_microkit::debug_println!("[{}] {}", ::sel4_microkit::pd_name(), ::core::format_args!($($text)*))
    };
}

/// The word that describes a message (x1).
pub const fn info(label: u64, length: usize) -> u64 {
    label << 12 | length as u64
}

/// Makes a system call: x7, x0, x1, x2–x5, with the domain's reply object in x6 and known condition flags. Returns x0–x5.
pub fn call(number: i64, capability: u64, info: u64, words: [u64; 4]) -> [u64; 6] {
    let mut x = [capability, info, words[0], words[1], words[2], words[3]];
    // SAFETY: a system call changes at most the registers named here and this domain's IPC buffer, to which no reference is
    // made; those that the domains make change none of its memory.
    unsafe {
        asm!("cmp xzr, xzr", "svc #0", inout("x0") x[0], inout("x1") x[1], inout("x2") x[2], inout("x3") x[3], inout("x4") x[4],
            inout("x5") x[5], in("x6") 4, in("x7") number, in("x8") 0, options(nostack))
    };
    x
}
