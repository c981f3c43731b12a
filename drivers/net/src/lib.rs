// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The driver of a virtio network interface (NIC), and the switch between its clients.
//!
//! A [`Switch`] takes frames from its clients and from the [`Nic`], and delivers them by destination: to the client with
//! that address, to all of them, or to the network. Of a client's frame it looks at the header only, which it has copied;
//! the payload goes to the NIC from the client's RAM by DMA, or is copied between the queues.
//!
//! Who is who is settled at build time: a client has one address, sends from no other, and gets what is sent to it or to a
//! group. What goes beyond what a receiver takes is dropped and counted; nobody waits for anyone else. A client that
//! breaks the rules of its queue is served no more. A NIC that breaks those of its own is reset.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod checksum;
mod nic;
mod switch;

pub use nic::{Nic, Notes, OpenError};
pub use switch::{Counters, Frames, Pass, Switch};
