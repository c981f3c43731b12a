// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The driver of a disk, which it divides between several clients.
//!
//! A [`Server`] takes requests from its clients' queues, checks each against what the client may reach (its part of the
//! disk, its RAM), and hands it to the [`Disk`], whose DMA moves the data between the medium and the client's RAM. The
//! driver itself never sees a client's data, nor maps its RAM.
//!
//! Nobody here is trusted to keep the rules. A client that breaks those of its queue is served no more; a device that
//! breaks those of its own is reset, and what it was working on fails. No client can hold another up: each has its share
//! of the device's queue.

#![no_std]
#![forbid(unsafe_code)]

mod disk;
mod partition;
mod server;

pub use disk::{Command, Disk, Notes, OpenError, ReadError, Unfit};
pub use partition::{Extent, PartError, Sectors, find};
pub use server::{Pass, Requests, Server};
