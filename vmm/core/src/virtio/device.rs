// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The device models as one type.

use super::blk::Blk;
use super::console::Console;
use super::net::Net;
use super::rng::Rng;
use super::{CONFIG_SIZE, DeviceError, Lazy, Owed, Queues, VirtioDevice};
use crate::memory::GuestMemory;
use core::fmt;

/// Any of the device models.
#[expect(clippy::large_enum_variant, reason = "there is no heap, and a guest has few devices")]
pub enum Device {
    /// A disk.
    Blk(Blk),
    /// A network interface.
    Net(Net),
    /// A console.
    Console(Console),
    /// A source of entropy.
    Rng(Rng),
}

/// Calls a method of the model.
macro_rules! model {
    ($device:expr, $model:ident => $call:expr) => {
        match $device {
            Device::Blk($model) => $call,
            Device::Net($model) => $call,
            Device::Console($model) => $call,
            Device::Rng($model) => $call,
        }
    };
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Device").field(&self.id()).finish()
    }
}

impl VirtioDevice for Device {
    fn id(&self) -> u32 {
        model!(self, model => model.id())
    }

    fn features(&self) -> u64 {
        model!(self, model => model.features())
    }

    fn queues(&self) -> usize {
        model!(self, model => model.queues())
    }

    fn config(&self) -> [u8; CONFIG_SIZE] {
        model!(self, model => model.config())
    }

    fn start(&mut self, features: u64) {
        model!(self, model => model.start(features))
    }

    fn run<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        model!(self, model => model.run(queues))
    }

    fn take_back(&mut self) -> Result<(), DeviceError> {
        model!(self, model => model.take_back())
    }

    fn reset_queue(&mut self, queue: usize) {
        model!(self, model => model.reset_queue(queue))
    }

    fn under_way(&self, queue: usize) -> usize {
        model!(self, model => model.under_way(queue))
    }

    fn config_changed(&mut self) -> bool {
        model!(self, model => model.config_changed())
    }

    fn wake_wanted(&mut self) -> bool {
        model!(self, model => model.wake_wanted())
    }

    fn owed(&mut self) -> Owed {
        model!(self, model => model.owed())
    }

    fn lazy_queue(&self) -> Option<(usize, Lazy)> {
        model!(self, model => model.lazy_queue())
    }

    fn dropped(&self) -> u64 {
        model!(self, model => model.dropped())
    }
}
