// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The `virtio-drivers` crate, which nobody here wrote, drives the device models: through the machine's exits, over a
//! RAM that behaves and one that does not, with a driver domain behind each device.

mod blk;
mod console;
mod net;
mod rng;
mod world;
