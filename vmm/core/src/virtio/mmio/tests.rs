// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use super::*;
use crate::virtio::blk::Blk;
use crate::virtio::blk::tests::{INFO, device};
use crate::virtio::ring::RingError;
use crate::virtio::testing::{DATA, Guest, QUEUES, SLOT, reg, region, slots};
use crate::virtio::{RUN_LIMIT, feature, status};
use queue::blk::{Client, Server};

const ALL: u8 = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;

fn guest() -> (Guest, Server<'static>) {
    device(INFO)
}

/// A request that the device answers at once: a write of nothing.
fn empty_request(guest: &mut Guest) {
    guest.put(DATA, &1_u32.to_le_bytes());
    guest.offer(0, &[(DATA, 16, false), (DATA + 16, 1, true)]);
    guest.notify(0);
}

#[test]
fn a_device_after_reset_reads_as_specified() {
    let (guest, _server) = guest();
    let cases = [
        (reg::MAGIC, 0x7472_6976),
        (reg::VERSION, 2),
        (reg::DEVICE_ID, 2),
        (reg::QUEUE_SIZE_MAX, 256),
        (reg::QUEUE_READY, 0),
        (reg::INTERRUPT_STATUS, 0),
        (reg::STATUS, 0),
        (reg::SHM_LEN_LOW, 0xffff_ffff),
        (reg::SHM_LEN_LOW + 4, 0xffff_ffff),
        (reg::QUEUE_RESET, 0),
    ];
    for (register, value) in cases {
        assert_eq!(guest.read(register), value, "{register:#x}");
    }
}

#[test]
fn a_slot_without_a_device_has_the_device_id_zero_and_ignores_writes() {
    let mut slots = slots();
    let read = |slots: &Slots, register| slots.read(7 * VIRTIO_SLOT_SIZE + register, Width::Word);
    assert_eq!(read(&slots, reg::MAGIC), Some(0x7472_6976));
    assert_eq!(read(&slots, reg::DEVICE_ID), Some(0));
    let mut ram = &mut [0; 16][..];
    let write = slots.write(&mut ram, VcpuId::BOOT, 7 * VIRTIO_SLOT_SIZE + reg::STATUS, Width::Word, 1);
    assert_eq!((write, slots.settle(7)), (None, None));
}

#[test]
fn only_what_can_be_read_is_read_and_with_the_width_it_has() {
    let (guest, _server) = guest();
    let read = |offset, width| guest.slots.read(SLOT as u64 * VIRTIO_SLOT_SIZE + offset, width);
    let writable = [0x14, 0x20, 0x24, 0x30, 0x38, 0x50, 0x64, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xac];
    let none = [0x18, 0x1c, 0x28, 0x3c, 0x40, 0x48, 0x58, 0x68, 0x74, 0x88, 0xc4, 0xf8, 0x140, 0x1fc];
    for offset in writable.into_iter().chain(none) {
        assert_eq!(read(offset, Width::Word), None, "{offset:#x}");
    }
    for (offset, width) in
        [(0, Width::Byte), (0, Width::Half), (0, Width::Double), (2, Width::Word), (0x101, Width::Half)]
    {
        assert_eq!(read(offset, width), None, "{offset:#x} {width:?}");
    }
    // The configuration space: capacity 100, block size 512.
    for (offset, width, value) in [
        (0x100, Width::Byte, 100),
        (0x100, Width::Half, 100),
        (0x100, Width::Double, 100),
        (0x114, Width::Word, 512),
        (0x115, Width::Byte, 2),
        (0x116, Width::Half, 0),
        (0x110, Width::Double, 512 << 32),
    ] {
        assert_eq!(read(offset, width), Some(value), "{offset:#x} {width:?}");
    }
}

#[test]
fn writes_that_mean_nothing_are_ignored() {
    // Each in three states: after reset, with the features agreed, and at work.
    let cases = [
        ("a read-only register", reg::MAGIC, 1, [false, false, false]),
        ("the configuration space", reg::CONFIG, 1, [false, false, false]),
        ("no register", 0x40, 1, [false, false, false]),
        ("features", reg::DRIVER_FEATURES, 0, [true, false, false]),
        ("a queue size", reg::QUEUE_SIZE, 8, [false, true, false]),
        ("a queue size of zero", reg::QUEUE_SIZE, 0, [false, false, false]),
        ("a queue size of no power of two", reg::QUEUE_SIZE, 12, [false, false, false]),
        ("a queue size above the limit", reg::QUEUE_SIZE, 512, [false, false, false]),
        ("a queue size above 16 bits", reg::QUEUE_SIZE, 0x1_0008, [false, false, false]),
        ("an address", reg::QUEUE_DESC_LOW, 0, [false, true, false]),
        ("an address", reg::QUEUE_DRIVER_LOW + 4, 0, [false, true, false]),
        ("an address", reg::QUEUE_DEVICE_LOW, 0, [false, true, false]),
        ("the end of a queue", reg::QUEUE_READY, 0, [false, false, true]),
        ("no value of a bit", reg::QUEUE_READY, 2, [false, false, false]),
        ("a reset of a queue that was not negotiated", reg::QUEUE_RESET, 1, [false, false, false]),
        ("DRIVER_OK", reg::STATUS, 15, [false, true, true]),
        ("a status that clears bits", reg::STATUS, 1, [true, false, false]),
        ("an unknown status", reg::STATUS, 0x10 | 15, [false, false, false]),
        ("a status of more than a byte", reg::STATUS, 0x100, [false, false, false]),
    ];
    for (name, register, value, accepted) in cases {
        for (state, accepted) in accepted.into_iter().enumerate() {
            let (mut guest, _server) = guest();
            match state {
                0 => {}
                1 => guest.negotiate(0),
                _ => guest.bring_up(0, 1),
            }
            assert_eq!(guest.write(register, value).is_some(), accepted, "{name}, {register:#x} in state {state}");
        }
    }
}

#[test]
fn stores_of_other_widths_are_ignored() {
    let (mut guest, _server) = guest();
    let mut memory = &mut guest.ram[..];
    for width in [Width::Byte, Width::Half, Width::Double] {
        let offset = SLOT as u64 * VIRTIO_SLOT_SIZE + reg::STATUS;
        assert_eq!(guest.slots.write(&mut memory, VcpuId::BOOT, offset, width, 1), None);
    }
}

#[test]
fn the_device_agrees_to_what_it_offers_and_to_version_1() {
    let offered = guest().0.offered();
    assert_eq!(offered & feature::OFFERED, feature::OFFERED);
    for (more, features, agreed) in [
        (0, feature::VERSION_1, true),
        (0, offered, true),
        (0, 0, false),
        (0, offered & !feature::VERSION_1, false),
        (0, feature::VERSION_1 | 1 << 34, false),
        (0, feature::VERSION_1 | 1 << 24, false),
        (0, offered | feature::ACCESS_PLATFORM, false),
        (feature::ACCESS_PLATFORM, offered | feature::ACCESS_PLATFORM, true),
        // A device may do without what it offers (6.2).
        (feature::ACCESS_PLATFORM, offered, true),
    ] {
        let client = Client::new(region(queue::blk::MIN_SIZE)).unwrap();
        let mut guest = Guest::with(slots(), Device::Blk(Blk::new(client, INFO, "disk")), more);
        assert_eq!(guest.offered(), offered | more);
        guest.write(reg::STATUS, 3).unwrap();
        for (select, value) in [(0, features as u32), (1, (features >> 32) as u32)] {
            guest.write(reg::DRIVER_FEATURES_SEL, select).unwrap();
            guest.write(reg::DRIVER_FEATURES, value).unwrap();
        }
        guest.write(reg::DRIVER_FEATURES_SEL, 2).unwrap();
        assert_eq!(guest.write(reg::DRIVER_FEATURES, 1), None, "there are no more than 64");
        guest.write(reg::STATUS, 11).unwrap();
        assert_eq!(guest.read(reg::STATUS), if agreed { 11 } else { 3 }, "{features:#x}");
    }
    let (mut guest, _server) = guest();
    guest.write(reg::DEVICE_FEATURES_SEL, 2).unwrap();
    assert_eq!(guest.read(reg::DEVICE_FEATURES), 0);
    guest.write(reg::STATUS, 8).unwrap();
    assert_eq!(guest.read(reg::STATUS), 0, "features before the driver says that it is one");
}

#[test]
fn a_queue_that_does_not_exist_has_no_size_and_takes_nothing() {
    let (mut guest, _server) = guest();
    guest.negotiate(0);
    for queue in [1, 2, 3, u32::MAX] {
        guest.write(reg::QUEUE_SEL, queue).unwrap();
        assert_eq!((guest.read(reg::QUEUE_SIZE_MAX), guest.read(reg::QUEUE_READY)), (0, 0));
        assert_eq!((guest.write(reg::QUEUE_SIZE, 8), guest.write(reg::QUEUE_READY, 1)), (None, None));
    }
    guest.write(reg::QUEUE_SEL, 0).unwrap();
    assert_eq!(guest.read(reg::QUEUE_SIZE_MAX), 256);
}

#[test]
fn a_queue_with_wrong_areas_breaks_the_device() {
    for (register, value, error) in [
        (reg::QUEUE_DESC_LOW, (QUEUES + 8) as u32, RingError::AreaMisaligned),
        (reg::QUEUE_DESC_LOW + 4, 1, RingError::AreaOutOfRange),
        (reg::QUEUE_DEVICE_LOW, 0, RingError::AreaOutOfRange),
    ] {
        let (mut guest, _server) = guest();
        guest.negotiate(0);
        guest.set_up_queue(0);
        guest.write(reg::QUEUE_READY, 0).unwrap();
        guest.write(register, value).unwrap();
        guest.write(reg::QUEUE_READY, 1).unwrap();
        assert_eq!(guest.changes.error, Some(DeviceError::Ring(error)));
        assert_eq!((guest.read(reg::STATUS), guest.read(reg::QUEUE_READY)), (11 | 0x40, 0));
        assert!(!guest.changes.line, "no interrupt before DRIVER_OK (2.1.2)");
    }
}

#[test]
fn a_broken_device_ignores_the_driver_until_it_is_reset() {
    let (mut guest, _server) = guest();
    guest.bring_up(0, 1);
    guest.offer(0, &[(0, 16, false)]);
    guest.notify(0);
    assert_eq!((guest.read(reg::STATUS), guest.interrupt()), (u32::from(ALL) | 0x40, 2));
    empty_request(&mut guest);
    assert_eq!((guest.used(0), guest.changes.line), (None, false));
    guest.write(reg::STATUS, u32::from(ALL | status::FAILED)).unwrap();
    assert_eq!(guest.read(reg::STATUS), u32::from(ALL | status::FAILED) | 0x40, "a driver cannot clear it");
    guest.write(reg::STATUS, 0).unwrap();
    assert_eq!((guest.read(reg::STATUS), guest.read(reg::QUEUE_READY)), (0, 0));
    guest.bring_up(0, 1);
    empty_request(&mut guest);
    assert!(guest.used(0).is_some());
}

#[test]
fn an_interrupt_is_level_and_acknowledged_by_its_causes() {
    let (mut guest, _server) = guest();
    guest.bring_up(0, 1);
    empty_request(&mut guest);
    assert_eq!((guest.read(reg::INTERRUPT_STATUS), guest.changes.line), (1, true));
    // Both causes: what is acknowledged is what the driver says.
    guest.offer(0, &[(0, 16, false)]);
    guest.notify(0);
    for (acknowledge, left) in [(4, 3), (1, 2), (1, 2), (2, 0)] {
        guest.write(reg::INTERRUPT_ACK, acknowledge).unwrap();
        assert_eq!((guest.read(reg::INTERRUPT_STATUS), guest.changes.line), (left, left != 0));
    }
}

#[test]
fn the_frequent_writes_need_no_register_of_the_guest() {
    let (mut guest, _server) = guest();
    guest.bring_up(0, 1);
    empty_request(&mut guest);
    // The request has been served, so that there is nothing more to do.
    for (register, done) in [(reg::QUEUE_NOTIFY, Written::Nothing), (reg::INTERRUPT_ACK, Written::Done)] {
        let mut memory = &mut guest.ram[..];
        let offset = SLOT as u64 * VIRTIO_SLOT_SIZE + register;
        assert!(guest.slots.ignores_value(offset));
        let written = guest.slots.write(&mut memory, VcpuId::BOOT, offset, Width::Word, 0);
        assert_eq!(written, Some(done));
    }
    assert_eq!(guest.slots.settle(SLOT).map(|changes| changes.line), Some(false));
}

#[test]
fn nothing_is_taken_from_a_queue_before_the_driver_is_ready() {
    let (mut guest, _server) = guest();
    guest.negotiate(0);
    guest.set_up_queue(0);
    empty_request(&mut guest);
    assert_eq!(guest.used(0), None);
    guest.write(reg::STATUS, ALL.into()).unwrap();
    assert!(guest.used(0).is_some(), "it waited");
}

#[test]
fn a_queue_can_be_stopped_and_set_up_anew() {
    for (register, value, features) in [(reg::QUEUE_READY, 0, 0), (reg::QUEUE_RESET, 1, feature::RING_RESET)] {
        let (mut guest, _server) = guest();
        guest.bring_up(features, 1);
        empty_request(&mut guest);
        guest.write(register, value).unwrap();
        assert_eq!((guest.read(reg::QUEUE_READY), guest.read(reg::QUEUE_RESET)), (0, 0));
        empty_request(&mut guest);
        assert_eq!(guest.used(0).map(|_| ()), Some(()));
        assert_eq!(guest.used(0), None, "the queue is stopped");
        guest.set_up_queue(0);
        empty_request(&mut guest);
        assert!(guest.used(0).is_some());
    }
}

#[test]
fn another_run_is_due_when_one_has_had_its_share() {
    let (mut guest, _server) = guest();
    guest.negotiate(0);
    guest.set_up_queue(0);
    // A driver on another core that always offers more: so many chains in one queue need its index to go on.
    struct Endless<'a>(&'a mut [u8], u16);
    impl GuestMemory for Endless<'_> {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }
        fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), crate::OutOfRange> {
            let start = (gpa - map::RAM_BASE) as usize;
            buf.copy_from_slice(&self.0[start..start + buf.len()]);
            Ok(())
        }
        fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), crate::OutOfRange> {
            // Each used chain is offered again at once.
            if gpa == QUEUES + 0x2000 + 4 + 8 * u64::from(self.1 % 16) {
                self.1 = self.1.wrapping_add(1);
                let next = self.1.wrapping_add(8).to_le_bytes();
                self.0[0x1002..0x1004].copy_from_slice(&next);
            }
            self.0.write(gpa, bytes)
        }
    }
    for _ in 0..8 {
        guest.put(DATA, &1_u32.to_le_bytes());
        guest.offer(0, &[(DATA, 16, false), (DATA + 16, 1, true)]);
    }
    let Guest { ram, slots, .. } = &mut guest;
    let mut memory = Endless(ram, 0);
    let offset = SLOT as u64 * VIRTIO_SLOT_SIZE + reg::STATUS;
    slots.write(&mut memory, VcpuId::BOOT, offset, Width::Word, ALL.into()).unwrap();
    slots.settle(SLOT);
    assert_eq!(memory.1, RUN_LIMIT);
    assert_eq!(slots.due(), 1 << SLOT);
    slots.notified(&mut memory, SLOT);
    assert_eq!(memory.1, 2 * RUN_LIMIT);
    let Guest { ram, slots, .. } = &mut guest;
    slots.notified(&mut &mut ram[..], SLOT);
    slots.settle(SLOT);
    assert_eq!(slots.due(), 0, "nothing new is offered");
}
