// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Domains that wait for each other without a call: two of one priority, which can finish only if they take turns, and a
//! third of a higher priority, which lets them run only when its budget is used up.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering};

use devsdk_tests::say;
use sel4_microkit::{Handler, NullHandler, pd_name, protection_domain, var};

#[protection_domain]
fn init() -> impl Handler {
    let base = *var!(turns: usize = 0) as *const AtomicU64;
    // SAFETY: the region is a page of zeroes that the domains use as atomic words.
    let [left, right, greedy] = [0, 1, 2].map(|index| unsafe { &*base.add(index) });
    if pd_name() == "greedy" {
        while left.load(Ordering::Acquire) < 4 {}
        say!("was held back");
        greedy.store(1, Ordering::Release);
        return NullHandler::new();
    }
    let is_left = pd_name() == "left";
    let (mine, other) = if is_left { (left, right) } else { (right, left) };
    for round in 1..=3 {
        mine.store(round, Ordering::Release);
        while other.load(Ordering::Acquire) < round {}
    }
    // The right one prints first.
    while is_left && other.load(Ordering::Acquire) < 4 {}
    say!("had its turns");
    mine.store(4, Ordering::Release);
    // What comes next shall not interrupt the greedy one.
    while greedy.load(Ordering::Acquire) == 0 {}
    NullHandler::new()
}
