// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Copying between shared memories, of which every word may be written by others meanwhile.

use core::sync::atomic::AtomicU64;

/// Of [`copy_and_sum`]: eight words.
#[cfg(target_arch = "aarch64")]
macro_rules! line {
    () => {
        "ldp {a}, {b}, [{from}], #16
        ldp {c}, {d}, [{from}], #16
        ldp {e}, {f}, [{from}], #16
        ldp {g}, {h}, [{from}], #16
        stp {a}, {b}, [{to}], #16
        stp {c}, {d}, [{to}], #16
        stp {e}, {f}, [{to}], #16
        stp {g}, {h}, [{to}], #16
        adcs {sum}, {sum}, {a}
        adcs {sum}, {sum}, {b}
        adcs {sum}, {sum}, {c}
        adcs {sum}, {sum}, {d}
        adcs {sum}, {sum}, {e}
        adcs {sum}, {sum}, {f}
        adcs {sum}, {sum}, {g}
        adcs {sum}, {sum}, {h}"
    };
}

/// Copies the words of `from` to `to`, as far as both go, and returns their sum modulo 2^64 - 1.
///
/// In assembly, since it is most of what a frame costs: the compiler neither pairs atomic accesses nor keeps the carry over
/// a turn of a loop.
#[cfg(target_arch = "aarch64")]
#[inline(never)]
pub fn copy_and_sum(from: &[AtomicU64], to: &[AtomicU64]) -> u64 {
    let count = from.len().min(to.len());
    let sum: u64;
    // SAFETY: `count` words are read from `from` and written to `to`, which have as many. Each word is one access, as by
    // relaxed atomic operations.
    unsafe {
        core::arch::asm!(
            // No carry. What follows leaves the flags alone but for `adcs`, which adds the carry of the one before.
            "adds {sum}, xzr, xzr",
            "cbz {blocks}, 3f",
            "2:",
            line!(),
            line!(),
            "sub {blocks}, {blocks}, #1",
            "cbnz {blocks}, 2b",
            "3:",
            "cbz {pairs}, 5f",
            "4:",
            "ldp {a}, {b}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "adcs {sum}, {sum}, {a}",
            "adcs {sum}, {sum}, {b}",
            "sub {pairs}, {pairs}, #1",
            "cbnz {pairs}, 4b",
            "5:",
            "tbz {count}, #0, 6f",
            "ldr {a}, [{from}]",
            "str {a}, [{to}]",
            "adcs {sum}, {sum}, {a}",
            "6:",
            "adc {sum}, {sum}, xzr",
            sum = out(reg) sum,
            count = in(reg) count,
            blocks = inout(reg) count / 16 => _,
            pairs = inout(reg) count % 16 / 2 => _,
            from = inout(reg) from.as_ptr() => _,
            to = inout(reg) to.as_ptr() => _,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
            options(nostack),
        )
    };
    sum
}

/// The same for hosts of other architectures.
#[cfg(not(target_arch = "aarch64"))]
pub fn copy_and_sum(from: &[AtomicU64], to: &[AtomicU64]) -> u64 {
    use core::sync::atomic::Ordering::Relaxed;
    from.iter().zip(to).fold(0, |sum: u64, (from, to)| {
        let word = from.load(Relaxed);
        to.store(word, Relaxed);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u64::from(carry)
    })
}
