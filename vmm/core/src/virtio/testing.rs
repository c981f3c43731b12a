// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A guest's side of a device for tests: registers, queues, and a RAM.

use super::mmio::{Changes, PAGE_WORDS, Slots, Written};
use super::{Device, feature};
use crate::VcpuId;
use crate::exit::Width;
use crate::map::{RAM_BASE, VIRTIO_SLOT_SIZE};
use crate::memory::GuestMemory;
use core::sync::atomic::AtomicU32;
use queue::AtomicU64;

/// Size of the RAM.
pub(crate) const RAM: u64 = 0x4_0000;
/// Where each queue's areas are, by queue, and their size.
pub(crate) const QUEUES: u64 = RAM_BASE;
pub(crate) const QUEUE_BYTES: u64 = 0x4000;
/// Where the guest's buffers are.
pub(crate) const DATA: u64 = RAM_BASE + 0x1_0000;
/// Size of each queue.
pub(crate) const SIZE: u16 = 16;
/// The slot of the device: not the first one.
pub(crate) const SLOT: usize = 2;

/// Registers by their offsets (4.2.2), independent of the device's own list.
pub(crate) mod reg {
    pub const MAGIC: u64 = 0x000;
    pub const VERSION: u64 = 0x004;
    pub const DEVICE_ID: u64 = 0x008;
    pub const DEVICE_FEATURES: u64 = 0x010;
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub const DRIVER_FEATURES: u64 = 0x020;
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub const QUEUE_SEL: u64 = 0x030;
    pub const QUEUE_SIZE_MAX: u64 = 0x034;
    pub const QUEUE_SIZE: u64 = 0x038;
    pub const QUEUE_READY: u64 = 0x044;
    pub const QUEUE_NOTIFY: u64 = 0x050;
    pub const INTERRUPT_STATUS: u64 = 0x060;
    pub const INTERRUPT_ACK: u64 = 0x064;
    pub const STATUS: u64 = 0x070;
    pub const QUEUE_DESC_LOW: u64 = 0x080;
    pub const QUEUE_DRIVER_LOW: u64 = 0x090;
    pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    pub const SHM_LEN_LOW: u64 = 0x0b0;
    pub const QUEUE_RESET: u64 = 0x0c0;
    pub const CONFIG: u64 = 0x100;
}

/// A link's region.
pub(crate) fn region(bytes: usize) -> &'static [AtomicU64] {
    Vec::leak((0..bytes / 8).map(|_| AtomicU64::new(0)).collect())
}

/// Devices with a register page.
pub(crate) fn slots() -> Slots {
    let mut slots = Slots::new();
    slots.set_page(Vec::leak((0..PAGE_WORDS).map(|_| AtomicU32::new(0)).collect()));
    slots
}

/// A guest and its device.
pub(crate) struct Guest {
    pub ram: Vec<u8>,
    pub slots: Slots,
    /// What the last write or notification brought.
    pub changes: Changes,
    /// Position in each available and used ring.
    available: [u16; 3],
    used: [u16; 3],
    next_descriptor: u16,
}

impl Guest {
    pub fn new(device: Device) -> Self {
        Self::with(slots(), device, 0)
    }

    /// With `device` among `slots`, which have a register page. It offers `features` besides those that it always does.
    pub fn with(mut slots: Slots, device: Device, features: u64) -> Self {
        slots.attach(SLOT, device, features);
        let changes = slots.settle(SLOT).unwrap();
        Self { ram: vec![0; RAM as usize], slots, changes, available: [0; 3], used: [0; 3], next_descriptor: 0 }
    }

    pub fn read(&self, register: u64) -> u32 {
        self.slots.read(SLOT as u64 * VIRTIO_SLOT_SIZE + register, Width::Word).expect("a readable register") as u32
    }

    pub fn write(&mut self, register: u64, value: u32) -> Option<Written> {
        let mut memory = &mut self.ram[..];
        let offset = SLOT as u64 * VIRTIO_SLOT_SIZE + register;
        let written = self.slots.write(&mut memory, VcpuId::BOOT, offset, Width::Word, value.into());
        self.changes = self.slots.settle(SLOT).unwrap();
        written
    }

    /// The link's other side has notified.
    pub fn notified(&mut self) {
        let mut memory = &mut self.ram[..];
        self.slots.notified(&mut memory, SLOT);
        self.changes = self.slots.settle(SLOT).unwrap();
    }

    pub fn offered(&mut self) -> u64 {
        let mut half = |select| {
            self.write(reg::DEVICE_FEATURES_SEL, select).unwrap();
            u64::from(self.read(reg::DEVICE_FEATURES))
        };
        half(0) | half(1) << 32
    }

    /// Up to the features, of which `features` are wanted besides [`feature::VERSION_1`].
    pub fn negotiate(&mut self, features: u64) {
        self.write(reg::STATUS, 1).unwrap();
        self.write(reg::STATUS, 3).unwrap();
        let features = features | feature::VERSION_1;
        for (select, value) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(reg::DRIVER_FEATURES_SEL, select).unwrap();
            self.write(reg::DRIVER_FEATURES, value).unwrap();
        }
        self.write(reg::STATUS, 11).unwrap();
        assert_eq!(self.read(reg::STATUS), 11, "the device takes the features");
    }

    pub fn set_up_queue(&mut self, queue: u32) {
        let base = QUEUES + u64::from(queue) * QUEUE_BYTES;
        self.write(reg::QUEUE_SEL, queue).unwrap();
        self.write(reg::QUEUE_SIZE, SIZE.into()).unwrap();
        for (register, offset) in
            [(reg::QUEUE_DESC_LOW, 0), (reg::QUEUE_DRIVER_LOW, 0x1000), (reg::QUEUE_DEVICE_LOW, 0x2000)]
        {
            self.write(register, (base + offset) as u32).unwrap();
            self.write(register + 4, 0).unwrap();
        }
        self.write(reg::QUEUE_READY, 1).unwrap();
        let start = (base - RAM_BASE) as usize;
        self.ram[start..start + QUEUE_BYTES as usize].fill(0);
        (self.available[queue as usize], self.used[queue as usize]) = (0, 0);
    }

    /// All the way to a device that works, with `queues` queues.
    pub fn bring_up(&mut self, features: u64, queues: u32) {
        self.negotiate(features);
        (0..queues).for_each(|queue| self.set_up_queue(queue));
        self.write(reg::STATUS, 15).unwrap();
        assert_eq!(self.read(reg::STATUS), 15);
    }

    /// Makes a chain of `buffers` (address, length, writable) available, without notifying: returns its head.
    pub fn offer(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> u16 {
        let base = QUEUES + queue as u64 * QUEUE_BYTES;
        let head = self.next_descriptor;
        for (n, (gpa, len, writable)) in buffers.iter().enumerate() {
            let at = base + 16 * u64::from(self.next_descriptor);
            self.next_descriptor = (self.next_descriptor + 1) % SIZE;
            let more = n + 1 < buffers.len();
            let flags = u16::from(more) | u16::from(*writable) << 1;
            let next = self.next_descriptor;
            let mut memory = &mut self.ram[..];
            memory.write(at, &gpa.to_le_bytes()).unwrap();
            memory.store_u32_pair(at + 8, [*len, u32::from(flags) | u32::from(next) << 16]).unwrap();
        }
        let available = &mut self.available[queue];
        let entry = base + 0x1000 + 4 + 2 * u64::from(*available % SIZE);
        *available = available.wrapping_add(1);
        let index = *available;
        let mut memory = &mut self.ram[..];
        memory.store_u16(entry, head).unwrap();
        memory.store_u16(base + 0x1002, index).unwrap();
        head
    }

    /// Makes the buffer of the chain `head`, which is one, an indirect table.
    pub fn indirect(&mut self, queue: usize, head: u16) {
        let place = QUEUES + queue as u64 * QUEUE_BYTES + 16 * u64::from(head) + 12;
        (&mut self.ram[..]).store_u16(place, 4).unwrap();
    }

    pub fn notify(&mut self, queue: u32) {
        self.write(reg::QUEUE_NOTIFY, queue).unwrap();
    }

    /// Asks for an interrupt once more than `event` chains have come back.
    pub fn ask(&mut self, queue: usize, event: u16) {
        let place = QUEUES + queue as u64 * QUEUE_BYTES + 0x1000 + 4 + 2 * u64::from(SIZE);
        (&mut self.ram[..]).store_u16(place, event).unwrap();
    }

    /// The next used chain: its head and how much was written.
    pub fn used(&mut self, queue: usize) -> Option<(u16, u32)> {
        let base = QUEUES + queue as u64 * QUEUE_BYTES + 0x2000;
        let memory = &mut self.ram[..];
        let memory = &memory;
        let used = self.used[queue];
        if memory.load_u16(base + 2).unwrap() == used {
            return None;
        }
        let mut entry = [[0; 4]; 2];
        memory.read(base + 4 + 8 * u64::from(used % SIZE), entry.as_flattened_mut()).unwrap();
        self.used[queue] = used.wrapping_add(1);
        Some((u32::from_le_bytes(entry[0]) as u16, u32::from_le_bytes(entry[1])))
    }

    pub fn bytes(&self, gpa: u64, len: usize) -> &[u8] {
        let start = (gpa - RAM_BASE) as usize;
        &self.ram[start..start + len]
    }

    pub fn put(&mut self, gpa: u64, bytes: &[u8]) {
        let start = (gpa - RAM_BASE) as usize;
        self.ram[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Acknowledges the interrupt, if there is one: what caused it.
    pub fn interrupt(&mut self) -> u32 {
        let causes = self.read(reg::INTERRUPT_STATUS);
        assert_eq!(self.changes.line, causes != 0);
        self.write(reg::INTERRUPT_ACK, causes).unwrap();
        causes
    }
}
