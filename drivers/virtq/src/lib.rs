// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The driver side of virtio 1.2: split virtqueues over (physical address, length) segments, and the MMIO transport.
//!
//! Buffers are named by physical address, because most of them belong to other protection domains, and the driver never
//! maps them. What the driver shares with the device itself comes from a [`Dma`] region, as atomics: the device may write
//! to it at any time.
//!
//! The device is not trusted to keep the rules. It can lose data and answer late or wrongly; what it returns is checked
//! ([`Broken`]), and cannot make the driver panic, loop, or take a buffer twice. It could write anywhere by DMA; nothing
//! in software helps against that.
//!
//! Neither `VIRTIO_F_ORDER_PLATFORM` nor `VIRTIO_F_ACCESS_PLATFORM` is negotiated, so the device orders its accesses as
//! another CPU does (virtio 1.2, 6) and sees physical addresses.

#![no_std]

#[cfg(feature = "fake")]
#[macro_use]
extern crate std;

mod copy;
mod dma;
#[cfg(target_os = "none")]
pub mod domain;
#[cfg(feature = "fake")]
pub mod fake;
mod mmio;
mod queue;
mod transport;

pub use copy::copy_and_sum;
pub use dma::{Dma, NoMemory, Shared};
pub use mmio::{Block, Mmio};
pub use queue::{Broken, Chain, Completion, Ledger, Queue, Segment, TooLong, Window};
pub use transport::{Cause, Device, Error, Features, Registers};
