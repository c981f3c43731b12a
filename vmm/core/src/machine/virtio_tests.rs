// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The virtio devices in their machine: what of them reaches the outside, and the guest's interrupt controller.

use super::tests::FakeRegs;
use super::*;
use crate::device::pl011::tests::FakeConsole;
use crate::virtio::blk::Blk;
use crate::virtio::ring::RingError;
use crate::virtio::rng::Rng;
use crate::virtio::testing::{reg, region, slots};
use crate::virtio::{Device, DeviceError};
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use queue::blk::{Client, Completion, Info, Segments, Server, Status};
use queue::rng;

const RAM: usize = 4 << 20;
const BOOT: VcpuId = VcpuId::BOOT;
const SLOT: usize = 3;
const REGISTERS: u64 = 0x0a00_0600;
const INFO: Info = Info {
    sectors: 8,
    block_size: 512,
    read_only: false,
    flush: true,
    discard_sectors: 0,
    discard_alignment: 0,
    write_zeroes_sectors: 0,
    write_zeroes_unmap: false,
};

type TestMachine<'a> = Machine<&'a mut [u8], FakeConsole>;

fn machine(ram: &mut [u8]) -> (TestMachine<'_>, Server<'static>) {
    let region = region(0x1000);
    let mut server = Server::new(region).unwrap();
    assert!(server.sleep());
    let devices = Box::leak(Box::new(slots()));
    devices.attach(SLOT, Device::Blk(Blk::new(Client::new(region).unwrap(), INFO, "disk")), 0);
    let console = FakeConsole { room: 64, ..FakeConsole::default() };
    let mut machine = Machine::new(ram, 2, Version::V2, console, Clock { now: || 0, frequency: 1 });
    machine.attach(devices);
    (machine, server)
}

fn access(machine: &mut TestMachine<'_>, gpa: u64, write: bool, value: u64) -> (Resume, u64) {
    let mut regs = FakeRegs::default();
    regs.set(Reg::X(1), value);
    let esr = 0x24 << 26 | 3 << 24 | 2 << 22 | 1 << 16 | u64::from(write) << 6 | 7;
    let resume = machine.exit(BOOT, Exit::Abort { gpa, esr, fetch: false }, &mut regs);
    (resume, regs.get(Reg::X(1)))
}

fn store(machine: &mut TestMachine<'_>, register: u64, value: u64) -> Resume {
    access(machine, REGISTERS + register, true, value).0
}

fn load(machine: &mut TestMachine<'_>, register: u64) -> u64 {
    access(machine, REGISTERS + register, false, 0).1
}

/// Brings the device up, with a flush in its queue, of which it has been told.
fn flushing(machine: &mut TestMachine<'_>) {
    let base = map::RAM_BASE + 0x10_0000;
    for (register, value) in [
        (reg::STATUS, 3),
        (reg::DRIVER_FEATURES_SEL, 1),
        (reg::DRIVER_FEATURES, 1),
        (reg::STATUS, 11),
        (reg::QUEUE_SIZE, 4),
        (reg::QUEUE_DESC_LOW, base),
        (reg::QUEUE_DRIVER_LOW, base + 0x100),
        (reg::QUEUE_DEVICE_LOW, base + 0x200),
        (reg::QUEUE_READY, 1),
        (reg::STATUS, 15),
    ] {
        assert_eq!(store(machine, register, value), Resume::Advance, "{register:#x}");
    }
    let memory = &mut machine.memory;
    let descriptors = [(base + 0x300, 16, 1 | 1 << 16), (base + 0x310, 1, 2)];
    for (n, (gpa, len, flags_next)) in descriptors.into_iter().enumerate() {
        memory.write(base + 16 * n as u64, &gpa.to_le_bytes()).unwrap();
        memory.store_u32_pair(base + 16 * n as u64 + 8, [len, flags_next]).unwrap();
    }
    memory.store_u32_pair(base + 0x300, [4, 0]).unwrap();
    memory.store_u16(base + 0x102, 1).unwrap();
    assert_eq!(store(machine, reg::QUEUE_NOTIFY, 0), Resume::Advance);
}

#[test]
fn each_device_has_a_node() {
    let mut ram = vec![0; RAM];
    let (mut machine, _server) = machine(&mut ram);
    let images = Images { kernel: b"kernel", initramfs: b"", dtb: b"", dtb_fragment: b"", bootargs: "" };
    let start = machine.load(&images).unwrap();
    let dtb = &ram[(start.context - map::RAM_BASE) as usize..];
    let size = u32::from_be_bytes(dtb[4..8].try_into().unwrap());
    let fdt = Fdt::new(&dtb[..size as usize]).unwrap();
    let node = fdt.find_node("/virtio_mmio@a000600").expect("the node");
    let value = |name| node.property(name).expect(name).value().to_vec();
    let cells = |cells: &[u32]| cells.iter().flat_map(|c| c.to_be_bytes()).collect::<Vec<_>>();
    assert_eq!(value("compatible"), b"virtio,mmio\0");
    assert_eq!(value("reg"), cells(&[0, 0x0a00_0600, 0, 0x200]));
    assert_eq!(value("interrupts"), cells(&[0, 16 + 3, 4]));
    assert_eq!(value("dma-coherent"), b"");
    assert!(fdt.find_node("/virtio_mmio@a000000").is_none(), "only what is there");
}

#[test]
fn a_request_goes_out_and_its_end_comes_back_as_an_interrupt() {
    let mut ram = vec![0; RAM];
    let (mut machine, mut server) = machine(&mut ram);
    access(&mut machine, map::GICD.base, true, 1);
    access(&mut machine, map::GICD.base + 0x104, true, 1 << (16 + SLOT));
    access(&mut machine, map::GICD.base + 0x800 + 32 + 16, true, 0x0101_0101);
    flushing(&mut machine);
    assert_eq!(machine.effects(), Effects { notify: 1 << SLOT, ..Effects::default() });
    let id = server.next(&mut Segments::new()).unwrap().unwrap().id;
    server.complete(Completion { id, status: Status::Done }).unwrap();
    assert!(server.wake_wanted());
    machine.virtio_notified(1 << SLOT);
    let injection = machine.next_injection(BOOT).expect("an interrupt");
    assert_eq!(injection.intid.id(), 32 + 16 + SLOT as u16);
    assert_eq!(load(&mut machine, reg::INTERRUPT_STATUS), 1);
    store(&mut machine, reg::INTERRUPT_ACK, 1);
    machine.exit(BOOT, Exit::Maintenance { lr: Some(injection.lr) }, &mut FakeRegs::default());
    assert_eq!(machine.next_injection(BOOT), None, "acknowledged");
}

#[test]
fn a_vcpu_is_held_while_a_reset_waits() {
    let mut ram = vec![0; RAM];
    let (mut machine, mut server) = machine(&mut ram);
    flushing(&mut machine);
    assert_eq!(store(&mut machine, reg::STATUS, 0), Resume::Hold);
    machine.effects();
    assert!(!machine.is_quiesced());
    let id = server.next(&mut Segments::new()).unwrap().unwrap().id;
    server.complete(Completion { id, status: Status::Done }).unwrap();
    machine.virtio_notified(1 << SLOT);
    assert_eq!(machine.effects(), Effects { released: 1, ..Effects::default() });
    assert!(machine.is_quiesced());
    assert_eq!(store(&mut machine, reg::STATUS, 0), Resume::Advance, "nothing to wait for");
}

#[test]
fn what_means_nothing_is_counted_and_what_breaks_is_reported() {
    let mut ram = vec![0; RAM];
    let (mut machine, _server) = machine(&mut ram);
    load(&mut machine, 0x40);
    store(&mut machine, reg::QUEUE_READY, 1);
    assert_eq!(machine.counters().unimplemented, 2);
    flushing(&mut machine);
    machine.effects();
    machine.memory.store_u16(map::RAM_BASE + 0x10_0102, 9).unwrap();
    store(&mut machine, reg::QUEUE_NOTIFY, 0);
    let error = DeviceError::Ring(RingError::AvailableIndex);
    assert_eq!(machine.effects().event, Some(Event::Virtio { slot: SLOT, error }));
}

#[test]
fn a_paused_guest_has_what_is_under_way_completed_and_nothing_more_begun() {
    let mut ram = vec![0; RAM];
    let (mut machine, mut server) = machine(&mut ram);
    flushing(&mut machine);
    machine.pause();
    assert!(!machine.is_quiesced());
    // The guest had made another request available when it was stopped.
    machine.memory.store_u16(map::RAM_BASE + 0x10_0106, 0).unwrap();
    machine.memory.store_u16(map::RAM_BASE + 0x10_0102, 2).unwrap();
    let id = server.next(&mut Segments::new()).unwrap().unwrap().id;
    server.complete(Completion { id, status: Status::Done }).unwrap();
    machine.virtio_notified(1 << SLOT);
    assert!(machine.is_quiesced());
    assert_eq!(server.next(&mut Segments::new()).unwrap().map(|request| request.id), None);
    assert_eq!(load(&mut machine, reg::INTERRUPT_STATUS), 1, "the guest finds it completed");
    machine.resume();
    assert!(!machine.is_quiesced());
    assert!(server.next(&mut Segments::new()).unwrap().is_some(), "the other one");
}

#[test]
fn a_reset_leaves_the_machine_as_after_power_on() {
    let mut ram = vec![0; RAM];
    let (mut machine, mut server) = machine(&mut ram);
    access(&mut machine, map::GICD.base, true, 1);
    access(&mut machine, map::PL011.base + 0x38, true, 0x10);
    flushing(&mut machine);
    machine.pause();
    let id = server.next(&mut Segments::new()).unwrap().unwrap().id;
    server.complete(Completion { id, status: Status::Done }).unwrap();
    machine.virtio_notified(1 << SLOT);
    machine.reset();
    assert_eq!((machine.on(), machine.next_injection(BOOT)), (0, None));
    assert_eq!(machine.effects(), Effects { console: true, ..Effects::default() });
    let registers = [map::GICD.base, map::PL011.base + 0x38].map(|gpa| access(&mut machine, gpa, false, 0).1);
    assert_eq!(registers, [0, 0]);
    assert_eq!([reg::STATUS, reg::INTERRUPT_STATUS].map(|offset| load(&mut machine, offset)), [0, 0]);
    flushing(&mut machine);
    assert!(!machine.is_quiesced(), "it works again");
}

#[test]
fn firmware_has_entropy_where_a_device_has_and_wakes_its_driver() {
    let mut ram = vec![0; RAM];
    let (mut machine, _disk) = machine(&mut ram);
    let random = |machine: &mut TestMachine<'_>| {
        let mut regs = FakeRegs::default();
        regs.set(Reg::X(0), trng::RND_64.into());
        regs.set(Reg::X(1), 192);
        assert_eq!(machine.exit(BOOT, Exit::Trap { esr: class::SMC64 << 26 | 1 << 25 }, &mut regs), Resume::Advance);
        ([0, 1, 2, 3].map(|n| regs.get(Reg::X(n))), machine.effects().notify)
    };
    assert_eq!(random(&mut machine), ([psci::NOT_SUPPORTED, 192, 0, 0], 0), "only a disk");

    let region = region(rng::MIN_SIZE);
    let mut driver = rng::Server::new(region).unwrap();
    let devices = Box::leak(Box::new(slots()));
    devices.attach(4, Device::Rng(Rng::new(rng::Client::new(region).unwrap())), 0);
    machine.attach(devices);
    driver.give(&[1; 2048]).unwrap();
    assert!(driver.sleep());
    let ones = 0x0101_0101_0101_0101;
    let calls: Vec<_> = (0..86).map(|_| random(&mut machine)).collect();
    assert!(calls[..85].iter().all(|(x, _)| *x == [0, ones, ones, ones]));
    assert_eq!(calls[85].0, [-3_i64 as u64, 0, 0, 0], "a word is left");
    let notified: Vec<_> = calls.iter().enumerate().filter(|(_, (_, slots))| *slots != 0).collect();
    assert!(matches!(notified[..], [(42, (_, 0b1_0000))]), "once, when half is used up: {notified:?}");
}

/// What a driver does for each request asks for no register, and so also works from AArch32.
#[test]
fn a_request_asks_for_no_register() {
    struct NoRegs;
    impl Regs for NoRegs {
        fn get(&mut self, reg: Reg) -> u64 {
            panic!("{reg:?} was asked for")
        }

        fn set(&mut self, reg: Reg, _: u64) {
            panic!("{reg:?} was set")
        }
    }
    let mut ram = vec![0; RAM];
    let (mut machine, mut server) = machine(&mut ram);
    flushing(&mut machine);
    let id = server.next(&mut Segments::new()).unwrap().unwrap().id;
    server.complete(Completion { id, status: Status::Done }).unwrap();
    machine.virtio_notified(1 << SLOT);
    assert_eq!(load(&mut machine, reg::INTERRUPT_STATUS), 1);
    for register in [reg::QUEUE_NOTIFY, reg::INTERRUPT_ACK] {
        let esr = 0x24 << 26 | 3 << 24 | 2 << 22 | 1 << 16 | 1 << 6 | 7;
        let exit = Exit::Abort { gpa: REGISTERS + register, esr, fetch: false };
        assert_eq!(machine.exit(BOOT, exit, &mut NoRegs), Resume::Advance);
    }
    assert_eq!(load(&mut machine, reg::INTERRUPT_STATUS), 0);
}
