// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! As much of a virtio-mmio driver as it takes to notify an empty queue (virtio 1.2, 4.2).

use crate::{read32, write32};
use core::cell::UnsafeCell;

const SLOTS: u64 = 0x0a00_0000;
const SLOT_SIZE: u64 = 0x200;
const SLOT_COUNT: u64 = 8;
const MAGIC: u32 = u32::from_le_bytes(*b"virt");

const DEVICE_ID: u64 = 0x008;
const DRIVER_FEATURES: u64 = 0x020;
const DRIVER_FEATURES_SEL: u64 = 0x024;
const QUEUE_SEL: u64 = 0x030;
const QUEUE_NUM: u64 = 0x038;
const QUEUE_READY: u64 = 0x044;
const QUEUE_NOTIFY: u64 = 0x050;
const INTERRUPT_STATUS: u64 = 0x060;
const STATUS: u64 = 0x070;
const QUEUE_DESC: u64 = 0x080;
const QUEUE_DRIVER: u64 = 0x090;
const QUEUE_DEVICE: u64 = 0x0a0;

const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;
/// VIRTIO_F_VERSION_1, of the features from 32 on.
const VERSION_1: u32 = 1;
const QUEUE_SIZE: u32 = 8;

/// The three parts of a queue, each 512 bytes from the one before.
#[repr(align(4096))]
struct Queue(UnsafeCell<[u8; 1536]>);

// SAFETY: nothing here looks into it.
unsafe impl Sync for Queue {}

static QUEUE: Queue = Queue(UnsafeCell::new([0; 1536]));

/// A virtio device.
pub struct Device(u64);

/// The first device that there is.
pub fn find() -> Option<Device> {
    let slots = (0..SLOT_COUNT).map(|slot| SLOTS + slot * SLOT_SIZE);
    slots.into_iter().find(|slot| read32(*slot) == MAGIC && read32(slot + DEVICE_ID) != 0).map(Device)
}

impl Device {
    /// Makes the device ready, with its first queue empty (virtio 1.2, 3.1.1 and 4.2.3.2).
    pub fn start(&self) {
        let set = |register, value| write32(self.0 + register, value);
        set(STATUS, 0);
        set(STATUS, ACKNOWLEDGE | DRIVER);
        set(DRIVER_FEATURES_SEL, 1);
        set(DRIVER_FEATURES, VERSION_1);
        set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        set(QUEUE_SEL, 0);
        set(QUEUE_NUM, QUEUE_SIZE);
        let queue = QUEUE.0.get() as u64;
        for (register, address) in [(QUEUE_DESC, queue), (QUEUE_DRIVER, queue + 512), (QUEUE_DEVICE, queue + 1024)] {
            set(register, address as u32);
            set(register + 4, (address >> 32) as u32);
        }
        set(QUEUE_READY, 1);
        set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// The register that tells the device of work.
    pub fn notify(&self) -> u64 {
        self.0 + QUEUE_NOTIFY
    }

    /// A register that is read often.
    pub fn status(&self) -> u64 {
        self.0 + INTERRUPT_STATUS
    }
}
