// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Whole virtio devices: registers, queues and requests of a hostile guest, and a driver domain that serves, stays silent or
//! breaks the rules.

use super::{Bytes, page, saw, zeroed};
use crate::VcpuId;
use crate::map::{RAM_BASE, VIRTIO_SLOT_SIZE};
use crate::memory;
use crate::virtio::blk::Blk;
use crate::virtio::console::{Console, Size};
use crate::virtio::mmio::{Slots, Written};
use crate::virtio::net::Net;
use crate::virtio::ring;
use crate::virtio::rng::Rng;
use crate::virtio::testing::{DATA, Guest, QUEUES, RAM, SLOT, reg};
use crate::virtio::{Device, DeviceError, RUN_LIMIT, feature};
use core::sync::atomic::Ordering::Relaxed;
use queue::blk::{Completion, Info, Segments, Status};
use queue::net::{Checksum, FRAME_OFFSET, FramePayload, HEADER_LEN, Mac};
use queue::{AtomicU64, blk, cells, net, rng, serial};
use std::format;
use std::vec::Vec;

/// The driver domain.
#[expect(clippy::large_enum_variant, reason = "there is one")]
enum Domain {
    Blk(blk::Server<'static>),
    Net(net::Server<'static>),
    Console(serial::Server<'static>),
    Rng(rng::Server<'static>),
}

struct World {
    guest: Guest,
    domain: Domain,
    region: &'static [AtomicU64],
    /// What the driver domain has still to answer.
    owed: Vec<u32>,
    /// The driver domain has written anything anywhere.
    hostile: bool,
    /// The device has given the link up.
    broken: bool,
}

const MEDIUM: Info = Info {
    sectors: 100,
    block_size: 512,
    read_only: false,
    flush: true,
    discard_sectors: 8,
    discard_alignment: 2,
    write_zeroes_sectors: 4,
    write_zeroes_unmap: true,
};
const MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
const NEIGHBOUR: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);

impl World {
    fn new(kind: u8) -> Self {
        let region = zeroed([blk::MIN_SIZE, net::MIN_SIZE, serial::MIN_SIZE, rng::MIN_SIZE][usize::from(kind % 4)]);
        let small = "the least size is enough";
        let (device, domain) = match kind % 4 {
            0 => {
                let client = blk::Client::new(region).expect(small);
                (Device::Blk(Blk::new(client, MEDIUM, "fuzzed")), Domain::Blk(blk::Server::new(region).expect(small)))
            }
            1 => {
                let (client, server) = (net::Client::new(region).expect(small), net::Server::new(region).expect(small));
                let mut neighbours = [None; net::MAX_NEIGHBOURS];
                neighbours[0] = Some(NEIGHBOUR);
                let info = net::Info { mac: MAC, mtu: 1500, completes_checksums: false, neighbours };
                (Device::Net(Net::new(client, info)), Domain::Net(server))
            }
            2 => {
                let client = serial::Client::new(region).expect(small);
                let device = Console::new(client, Size { columns: 80, rows: 24 });
                (Device::Console(device), Domain::Console(serial::Server::new(region).expect(small)))
            }
            _ => {
                let client = rng::Client::new(region).expect(small);
                (Device::Rng(Rng::new(client)), Domain::Rng(rng::Server::new(region).expect(small)))
            }
        };
        let mut slots = Slots::new();
        slots.set_page(page());
        let guest = Guest::with(slots, device, feature::ACCESS_PLATFORM);
        Self { guest, domain, region, owed: Vec::new(), hostile: false, broken: false }
    }

    /// Does one step of anybody.
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let before = self.requests();
        match bytes.byte() % 16 {
            0 | 1 => self.store(bytes),
            2 => self.negotiate(),
            3 => self.load(bytes),
            4 => self.come_back(bytes.double()),
            5 => self.scribble(bytes),
            6 | 7 => self.offer(bytes),
            8..=10 => self.request(bytes),
            11 | 12 => self.serve(bytes),
            13 => self.intrude(bytes),
            14 => self.restart(),
            _ => self.guest.notified(),
        }
        self.look();
        assert!(self.requests().wrapping_sub(before) <= 4 * u64::from(RUN_LIMIT), "a step without bounds");
        if self.guest.slots.due() != 0 {
            self.guest.notified();
            self.look();
        }
    }

    fn requests(&self) -> u64 {
        self.guest.slots.counts(SLOT).map_or(0, |counts| counts.requests)
    }

    /// Looks what became of the last step.
    fn look(&mut self) {
        if let Some(error) = self.guest.changes.error.take() {
            self.broken |= error == DeviceError::Link;
            saw(error);
        }
        if self.guest.slots.dropped() > 0 {
            saw("dropped");
        }
    }

    fn store(&mut self, bytes: &mut Bytes<'_>) {
        let (choice, at, width) = (bytes.byte(), bytes.byte(), bytes.width());
        let value = match choice % 4 {
            0 => bytes.word(),
            1 => QUEUES as u32 + u32::from(bytes.byte()) * 0x40,
            _ => bytes.byte().into(),
        };
        let width = if choice & 0x70 == 0 { width } else { crate::exit::Width::Word };
        let offset = SLOT as u64 * VIRTIO_SLOT_SIZE + u64::from(at) * 2 / (1 + u64::from(choice >> 7)) / 4 * 4;
        let mut ram = &mut self.guest.ram[..];
        let written = self.guest.slots.write(&mut ram, VcpuId::BOOT, offset, width, value.into());
        match self.guest.slots.settle(SLOT) {
            Some(changes) => self.guest.changes = changes,
            None => panic!("the device is gone"),
        }
        match written {
            Some(written) => saw(written),
            None => saw("store ignored"),
        }
    }

    /// Resets the device and agrees on its features, but sets up no queue.
    fn negotiate(&mut self) {
        if self.guest.write(reg::STATUS, 0) == Some(Written::Done) {
            self.guest.negotiate(0);
        }
    }

    fn load(&mut self, bytes: &mut Bytes<'_>) {
        let offset = u64::from(bytes.half()) % (8 * VIRTIO_SLOT_SIZE);
        let value = self.guest.slots.read(offset, bytes.width());
        saw(value.map_or("nothing to load", |_| "loaded"));
    }

    /// Writes anything to the queues.
    fn scribble(&mut self, bytes: &mut Bytes<'_>) {
        let at = usize::from(bytes.half()) % (RAM as usize - 8);
        let value = bytes.double();
        self.guest.ram[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Offers buffers of any size and direction.
    fn offer(&mut self, bytes: &mut Bytes<'_>) {
        let queue = usize::from(bytes.byte() % 3);
        let buffers: Vec<_> = (0..bytes.byte() % 4)
            .map(|_| {
                (DATA + u64::from(bytes.half()), u32::from(bytes.half()) >> (bytes.byte() % 16), bytes.byte() & 1 != 0)
            })
            .collect();
        if !buffers.is_empty() {
            self.guest.offer(queue, &buffers);
        }
        let _ = self.guest.write(reg::QUEUE_NOTIFY, queue as u32);
    }

    /// Offers a request that is nearly right.
    fn request(&mut self, bytes: &mut Bytes<'_>) {
        const STATUS: u64 = DATA + 0x8000;
        match self.domain {
            Domain::Blk(_) => {
                let kind = [0_u32, 1, 4, 8, 11, 13, 99][usize::from(bytes.byte() % 7)];
                let sector = u64::from(bytes.byte() % 128);
                self.guest.put(DATA, &kind.to_le_bytes());
                self.guest.put(DATA + 8, &sector.to_le_bytes());
                self.guest.put(DATA + 16, &sector.to_le_bytes());
                self.guest.put(DATA + 24, &u64::from(bytes.byte() % 16).to_le_bytes());
                self.guest.put(STATUS, &[0xff]);
                let len = if kind >= 11 { 16 } else { 512 * u32::from(bytes.byte() % 8) };
                let header = if bytes.byte().is_multiple_of(16) { 8 } else { 16 };
                let mut chain = Vec::from([(DATA, header, false)]);
                if len > 0 && kind != 4 {
                    chain.push((DATA + 16, len, kind == 0 || kind == 8));
                }
                if !bytes.byte().is_multiple_of(16) {
                    chain.push((STATUS, 1, true));
                }
                self.guest.offer(0, &chain);
                let _ = self.guest.write(reg::QUEUE_NOTIFY, 0);
                let status = self.guest.bytes(STATUS, 1)[0];
                if status != 0xff {
                    saw(format!("status {status} at once"));
                }
            }
            Domain::Net(_) => {
                let flags = bytes.byte() & 1;
                let segmentation = bytes.byte() / 255;
                let mut header = [flags, segmentation, 0, 0, 0, 0, bytes.byte() % 64, 0, bytes.byte() % 64, 0, 0, 0];
                let destination = [Mac([0xff; 6]), NEIGHBOUR, Mac([2; 6])][usize::from(bytes.byte() % 3)];
                self.guest.put(DATA + 12, &destination.0);
                self.guest.put(DATA + 18, &MAC.0);
                let mut len = u32::from(bytes.half()) % 1600;
                if segmentation != 0 {
                    // TCP over IPv4, unless its lengths are wrong.
                    header[4..6].copy_from_slice(&bytes.half().to_le_bytes());
                    self.guest.put(DATA + 26, &[0x40 + bytes.byte() % 16]);
                    self.guest.put(DATA + 35, &[6]);
                    self.guest.put(DATA + 58, &[bytes.byte()]);
                    len *= 1 + u32::from(bytes.byte() % 41);
                }
                self.guest.put(DATA, &header);
                self.guest.offer(1, &[(DATA, 26 + len, false)]);
                let _ = self.guest.write(reg::QUEUE_NOTIFY, 1);
                // Room for what is received, and a command.
                self.guest.offer(0, &[(DATA + 0x1000, 1600, true)]);
                self.guest.offer(2, &[(DATA, 4, false), (STATUS, 1, true)]);
                let _ = self.guest.write(reg::QUEUE_NOTIFY, 0);
            }
            Domain::Console(_) | Domain::Rng(_) => {
                self.guest.offer(0, &[(DATA, bytes.half().into(), true)]);
                self.guest.offer(1, &[(DATA, bytes.half().into(), false)]);
                let _ = self.guest.write(reg::QUEUE_NOTIFY, 0);
            }
        }
    }

    /// The driver domain answers some of what it was asked, and notifies. What it may reach lies in the guest's RAM.
    fn serve(&mut self, bytes: &mut Bytes<'_>) {
        let inside = |offset: u64, len: u32| memory::offset(RAM_BASE + offset, len as usize, RAM).is_ok();
        match &mut self.domain {
            Domain::Blk(server) => {
                let mut room = Segments::new();
                while let Ok(Some(request)) = server.next(&mut room) {
                    assert!(request.segments.iter().all(|part| inside(part.offset, part.len)) || self.hostile);
                    saw(format!("{:?}", request.operation).split(' ').next().unwrap_or_default());
                    self.owed.push(request.id);
                }
                let _ = server.sleep();
                for _ in 0..bytes.byte() % 8 {
                    let status = [Status::Done, Status::Failed, Status::Unsupported][usize::from(bytes.byte() % 3)];
                    let Some(id) = self.owed.pop() else { break };
                    let _ = server.complete(Completion { id, status });
                }
            }
            Domain::Net(server) => {
                while let Ok(Some(frame)) = server.next() {
                    match frame.payload {
                        FramePayload::Window { id, segments, count } => {
                            let parts = &segments[..count];
                            assert!(parts.iter().all(|part| inside(part.offset, part.len)) || self.hostile);
                            self.owed.push(id.into());
                            saw("a frame left in place");
                        }
                        FramePayload::Copied(payload) => {
                            let mut length = [0; 2];
                            cells::read(payload, 2, &mut length);
                            // The length that IPv4 says is right in what comes from segmentation.
                            let is_segment = usize::from(u16::from_be_bytes(length)) + HEADER_LEN == frame.len;
                            saw(if is_segment { "a segment" } else { "a frame copied" });
                        }
                    }
                    server.release();
                }
                let _ = server.sleep();
                if let Ok(Some(buffer)) = server.receive_buffer() {
                    cells::write(buffer, FRAME_OFFSET, &[0xff; 60]);
                    let checksum = Checksum::Partial { start: 14 + u16::from(bytes.byte()) % 20, offset: 16 };
                    let _ = server.deliver(60 + usize::from(bytes.byte()), checksum);
                }
                for _ in 0..bytes.byte() % 8 {
                    let Some(id) = self.owed.pop() else { break };
                    let _ = server.sent(id as u16);
                }
            }
            Domain::Console(server) => {
                server.ask(true);
                let mut buffer = [0; 64];
                while server.read(&mut buffer).is_ok_and(|count| count > 0) {}
                let _ = server.write(&buffer[..usize::from(bytes.byte() % 64)]);
            }
            Domain::Rng(server) => {
                let _ = server.give(&[bytes.byte(); 64]);
                let _ = server.sleep();
            }
        }
        let used = |guest: &mut Guest| (0..3).flat_map(|queue| guest.used(queue)).count();
        self.guest.notified();
        if used(&mut self.guest) > 0 {
            saw("used");
        }
    }

    /// The driver domain writes anything anywhere.
    fn intrude(&mut self, bytes: &mut Bytes<'_>) {
        self.hostile = true;
        let at = usize::from(bytes.half()) % self.region.len();
        let value = if bytes.byte() & 1 == 0 { bytes.double() } else { bytes.byte().into() };
        self.region[at].store(value, Relaxed);
        self.guest.notified();
    }

    /// The driver domain starts again.
    fn restart(&mut self) {
        let small = "the least size is enough";
        match &mut self.domain {
            Domain::Blk(server) => *server = blk::Server::new(self.region).expect(small),
            Domain::Net(server) => *server = net::Server::new(self.region).expect(small),
            Domain::Console(_) | Domain::Rng(_) => return,
        }
        self.owed.clear();
        self.guest.notified();
    }

    /// A reset, after which the device works again: unless its driver domain breaks the rules, for then it may never end.
    fn come_back(&mut self, features: u64) {
        let mut held = self.guest.write(reg::STATUS, 0) == Some(Written::Hold);
        for _ in 0..ring::MAX_SIZE {
            self.look();
            if !held {
                break;
            }
            // Some may not fit at once.
            self.serve(&mut Bytes(&[7; 64]));
            held = self.guest.changes.released == 0 && self.guest.read(reg::STATUS) != 0;
        }
        if self.broken || self.hostile {
            return;
        }
        assert!(!held, "a reset does not end");
        assert_eq!(self.guest.read(reg::STATUS), 0);
        let features = features & self.guest.offered() & !feature::VERSION_1;
        self.guest.bring_up(features, self.queues());
        self.look();
        if let Domain::Blk(_) = self.domain {
            while self.guest.used(0).is_some() {}
            self.guest.put(DATA, &8_u32.to_le_bytes());
            self.guest.offer(0, &[(DATA, 16, false), (DATA + 16, 20, true), (DATA + 40, 1, true)]);
            let _ = self.guest.write(reg::QUEUE_NOTIFY, 0);
            assert!(self.guest.used(0).is_some(), "the disk says its name");
        }
        saw("came back");
    }

    fn queues(&self) -> u32 {
        match self.domain {
            Domain::Blk(_) | Domain::Rng(_) => 1,
            Domain::Console(_) => 2,
            Domain::Net(_) => 3,
        }
    }
}

fn run(mut world: World, mut bytes: Bytes<'_>) {
    while !bytes.is_empty() {
        world.step(&mut bytes);
    }
    world.come_back(0);
}

/// Stores and loads of the registers of a device of any kind, which has not been set up.
pub fn registers(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let world = World::new(bytes.byte());
    run(world, bytes);
}

/// A stream of requests to a disk.
pub fn blk(bytes: &[u8]) {
    stream(0, bytes);
}

/// A stream of frames to a network interface, and from it.
pub fn net(bytes: &[u8]) {
    stream(1, bytes);
}

fn stream(kind: u8, bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut world = World::new(kind);
    world.come_back(bytes.double());
    run(world, bytes);
}
