// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest-physical address map and the interrupt numbers: the same on every board, close to QEMU `virt`.

use crate::MAX_VCPUS;
use crate::gic::IntId;
use crate::gic::v3::REDISTRIBUTOR_SIZE;

/// A range of guest-physical addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Size in bytes.
    pub size: u64,
}

impl Range {
    /// How far `gpa` lies behind the base, if it lies in the range.
    #[must_use]
    pub fn offset_of(self, gpa: u64) -> Option<u64> {
        gpa.checked_sub(self.base).filter(|offset| *offset < self.size)
    }
}

/// GIC distributor.
pub const GICD: Range = Range { base: 0x0800_0000, size: 0x1_0000 };
/// GICv2 CPU interface: the hardware's virtual CPU interface, mapped.
pub const GICC: Range = Range { base: 0x0801_0000, size: 0x2000 };
/// GICv3 redistributors; the guest has as many as it has vCPUs.
pub const GICR: Range = Range { base: 0x080a_0000, size: MAX_VCPUS as u64 * REDISTRIBUTOR_SIZE };
/// PL011 UART.
pub const PL011: Range = Range { base: 0x0900_0000, size: 0x1000 };
/// PL031 real-time clock.
pub const PL031: Range = Range { base: 0x0901_0000, size: 0x1000 };
/// The virtio devices' registers, one page: [`VIRTIO_SLOTS`] slots of [`VIRTIO_SLOT_SIZE`].
pub const VIRTIO: Range = Range { base: 0x0a00_0000, size: VIRTIO_SLOTS as u64 * VIRTIO_SLOT_SIZE };
/// Size of the registers of a virtio device.
pub const VIRTIO_SLOT_SIZE: u64 = 0x200;
/// Most virtio devices of a guest.
pub const VIRTIO_SLOTS: usize = 8;
/// Where RAM begins.
pub const RAM_BASE: u64 = 0x4000_0000;

/// The virtual timer's private interrupt.
pub const VTIMER_INTID: IntId = IntId::ppi(11);
/// The UART's interrupt.
pub const PL011_INTID: IntId = IntId::spi(1);
/// The real-time clock's interrupt.
pub const PL031_INTID: IntId = IntId::spi(2);

/// The interrupt of the virtio device in slot `slot`, less than [`VIRTIO_SLOTS`].
#[must_use]
pub const fn virtio_intid(slot: usize) -> IntId {
    IntId::spi(16 + slot as u8)
}
