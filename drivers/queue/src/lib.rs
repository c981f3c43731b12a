// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Shared-memory queues between protection domains.
//!
//! A queue is a ring of fixed-size records with one producer and one consumer, in memory that both sides may write. Each
//! side has a handle, [`Producer`] or [`Consumer`], which copies records in or out. [`serial`], [`blk`], [`net`]
//! and [`rng`] lay out such rings as the link between a client and a driver of that class.
//!
//! # What a hostile peer can do
//! The peer may write anything to the memory at any time. It can lose or forge its own records, and cause needless
//! wake-ups; it cannot make this side panic, leave the ring, or loop:
//!
//! - The own index lives in the handle, and is read from the memory only when the handle is made.
//! - The peer's index is read once per operation; one that no correct peer could have written is [`Broken`].
//! - A record is copied out before anyone looks at it, so that it cannot change under a check.
//! - No operation repeats more often than the ring has records.
//!
//! # Sleep and wake-up
//! The queue itself never blocks. A side with nothing to do calls `sleep`, which leaves a flag for the peer and then looks
//! once more: `true` means that a notification will come. The peer asks `wake_wanted` after each batch of operations, and
//! must send the notification if the answer is `true`. Wake-ups are never lost, but may be spurious: a woken side looks,
//! and calls `sleep` again.
//!
//! # Memory
//! The memory is zeroed before either side has a handle (Microkit zeroes every region), and normal cacheable memory in
//! both.
//!
//! # Starting again
//! A side that starts again, such as a driver after a fault, makes new handles, which go on at the indices that the old
//! ones left. So no record is lost or seen twice, except what the old side had taken out and not yet answered. The links
//! [`blk`] and [`net`], on which it owes answers, tell the client where the driver began: see [`Mark`]. A side whose peer
//! broke a ring mends it by `resync`.

#![cfg_attr(not(any(test, loom)), no_std)]
#![forbid(unsafe_code)]

pub mod blk;
pub mod cells;
mod mark;
pub mod monitor;
pub mod net;
mod ring;
pub mod rng;
mod segment;
pub mod serial;

/// The cells of the shared memory; under `cfg(loom)`, the model checker's.
#[cfg(not(loom))]
pub use core::sync::atomic::AtomicU64;
#[cfg(loom)]
pub use loom::sync::atomic::AtomicU64;

pub use mark::Mark;
pub use ring::{Broken, Consumer, Producer, PushError, TooSmall};
