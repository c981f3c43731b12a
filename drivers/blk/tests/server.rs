// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The driver between its clients and a device, of which any may break the rules.

use blk::{Disk, Extent, OpenError, Pass, Server};
use config::Access;
use proptest::prelude::*;
use queue::AtomicU64;
use queue::blk::{Client, Completion, Info, MAX_SEGMENTS, MIN_SIZE, Medium, Operation, Request, Segment, Status};
use std::sync::atomic::Ordering::SeqCst;
use virtq::fake::{BASE, Chain, Fake};
use virtq::{Features, Window};

const DMA: usize = 0x5_0000;
const RAM: u64 = 0x1_0000;
const MEMORY: usize = DMA + 8 * RAM as usize;
/// Sectors of the disk.
const SECTORS: u64 = 512;
const FEATURES: u64 = 1 << 32 | 1 << 29 | 1 << 28 | 1 << 14 | 1 << 13 | 1 << 9 | 1 << 6 | 1 << 2;

/// Virtio 1.2, 5.2.4.
fn configuration() -> [u8; 60] {
    let mut config = [0; 60];
    config[0..8].copy_from_slice(&SECTORS.to_le_bytes());
    for (at, value) in [(12, 254u32), (20, 512), (36, 1000), (40, 1), (44, 8), (48, 2000), (52, 1), (56, 1)] {
        config[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    config
}

fn ram(client: usize) -> u64 {
    BASE + DMA as u64 + client as u64 * RAM
}

/// A disk in memory behind a fake device, and the driver with its clients.
struct Setup {
    fake: Fake,
    medium: Vec<u8>,
    /// Kinds of the requests that the device did.
    done: Vec<u32>,
    server: Server<'static, Fake>,
    clients: Vec<Client<'static>>,
    queues: Vec<&'static [AtomicU64]>,
    log: Vec<String>,
}

impl Setup {
    fn with(features: u64, parts: &[(u64, u64, Access)]) -> Self {
        let fake = Fake::new(2, Features(features), &configuration(), 1, MEMORY);
        let disk = Disk::open(fake.clone(), &mut fake.dma(DMA), Box::leak(Box::default())).unwrap();
        let mut server = Server::new(disk, parts.len(), Box::leak(Box::default()));
        let (mut clients, mut queues) = (Vec::new(), Vec::new());
        for (index, (first, sectors, access)) in parts.iter().enumerate() {
            let queue: &'static [AtomicU64] = (0..MIN_SIZE).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
            let extent = Extent::new(*first, *sectors, SECTORS).unwrap();
            let link = queue::blk::Server::new(queue).unwrap();
            server.add(index, link, Window::new(ram(index), RAM).unwrap(), extent, *access).unwrap();
            clients.push(Client::new(queue).unwrap());
            queues.push(queue);
        }
        let medium = (0..SECTORS as usize * 512).map(|at| (at / 512 + at) as u8).collect();
        Self { fake, medium, done: Vec::new(), server, clients, queues, log: Vec::new() }
    }

    fn new(parts: &[(u64, u64, Access)]) -> Self {
        Self::with(FEATURES, parts)
    }

    /// Lets the driver work until it has nothing to do.
    fn serve(&mut self, completed: bool) -> u64 {
        let mut wake = 0;
        let mut next = Some(completed);
        for _ in 0..1000 {
            let Some(completed) = next else { return wake };
            let Pass { wake: more, again } = self.server.serve(completed, &mut |line| self.log.push(line.to_string()));
            wake |= more;
            next = again;
        }
        panic!("the driver does not come to rest");
    }

    /// The device does what it was asked for, and then the driver takes it back.
    fn work(&mut self) -> u64 {
        while let Some(chain) = self.fake.take(0) {
            let written = self.execute(&chain);
            self.fake.give(0, chain.head.into(), written);
        }
        self.server.interrupted(&mut |line| self.log.push(line.to_string()));
        self.serve(true)
    }

    /// Does a request as virtio 1.2, 5.2.6 says, and returns how many bytes it wrote.
    fn execute(&mut self, chain: &Chain) -> u32 {
        let input = self.fake.gather(&chain.readable);
        let (status, into) = chain.writable.split_last().unwrap();
        assert_eq!(status.len, 1);
        let kind = u32::from_le_bytes(input[..4].try_into().unwrap());
        let word = |at: usize| u64::from_le_bytes(input[at..at + 8].try_into().unwrap()) as usize * 512;
        self.done.push(kind);
        let mut written = 0;
        match kind {
            0 => {
                let room: u32 = into.iter().map(|segment| segment.len).sum();
                written = self.fake.scatter(into, &self.medium[word(8)..][..room as usize]);
            }
            1 => self.medium[word(8)..][..input.len() - 16].copy_from_slice(&input[16..]),
            4 => assert_eq!(input.len(), 16),
            11 | 13 => {
                let count = u32::from_le_bytes(input[24..28].try_into().unwrap()) as usize;
                let fill = if kind == 13 { 0 } else { 0xdd };
                self.medium[word(16)..][..count * 512].fill(fill);
            }
            _ => panic!("request of kind {kind}"),
        }
        self.fake.write_memory(status.paddr, &[0]);
        written + 1
    }

    fn submit(&mut self, client: usize, id: u32, operation: Operation, sector: u64, segments: &[(u64, u32)]) {
        let segments: Vec<_> = segments.iter().map(|(offset, len)| Segment { offset: *offset, len: *len }).collect();
        self.clients[client].submit(&Request { id, operation, sector, segments: &segments }).unwrap();
    }

    fn results(&mut self, client: usize) -> Vec<(u32, Status)> {
        std::iter::from_fn(|| self.clients[client].complete().unwrap())
            .map(|Completion { id, status }| (id, status))
            .collect()
    }

    /// Asks for one thing, and returns how it ended.
    fn ask(&mut self, operation: Operation, sector: u64, segments: &[(u64, u32)]) -> Status {
        self.submit(0, 77, operation, sector, segments);
        self.serve(false);
        self.work();
        let results = self.results(0);
        assert_eq!((results.len(), results[0].0), (1, 77));
        results[0].1
    }
}

use Access::{ReadOnly, ReadWrite};
use Operation::{Discard, Flush, Read, Write, WriteZeroes};
use Status::{Done, Failed, Unsupported};

#[test]
fn data_go_between_the_clients_part_and_its_ram() {
    let mut s = Setup::new(&[(100, 50, ReadWrite)]);
    assert_eq!(s.ask(Read, 3, &[(0x200, 512), (0x1000, 100), (0x2000, 412)]), Done);
    let got = [(0x200, 512), (0x1000, 100), (0x2000, 412)].map(|(at, len)| s.fake.read_memory(ram(0) + at, len));
    assert_eq!(got.concat(), s.medium[103 * 512..105 * 512]);

    s.fake.write_memory(ram(0), &[0xa5; 1024]);
    assert_eq!(s.ask(Write, 49, &[(0, 300), (512, 212)]), Done);
    assert_eq!(s.medium[149 * 512..150 * 512], [0xa5; 512]);
    assert_eq!(s.ask(WriteZeroes { sectors: 2, unmap: true }, 48, &[]), Done);
    assert_eq!(s.medium[148 * 512..150 * 512], [0; 1024]);
    assert_eq!(s.ask(Discard { sectors: 1 }, 0, &[]), Done);
    assert_eq!(s.medium[100 * 512..101 * 512], [0xdd; 512]);
    assert_eq!(s.ask(Flush, 0, &[]), Done);
    assert_eq!(s.done, [0, 1, 13, 11, 4]);
}

#[test]
fn a_request_of_the_most_segments_is_one_request() {
    let mut s = Setup::new(&[(0, SECTORS, ReadWrite)]);
    let len = |n| if n % 2 == 0 { 500 } else { 524 };
    let segments: Vec<_> = (0..MAX_SEGMENTS as u64).map(|n| (n / 2 * 1024 + n % 2 * 500, len(n))).collect();
    assert_eq!(s.ask(Read, 8, &segments), Done);
    let bytes = MAX_SEGMENTS * 512;
    assert_eq!(s.fake.read_memory(ram(0), bytes), s.medium[8 * 512..][..bytes]);
    assert_eq!(s.done, [0]);
}

#[test]
fn nothing_outside_of_the_part_or_the_ram_is_reached() {
    type Case = (Operation, u64, &'static [(u64, u32)]);
    let cases: [Case; 16] = [
        (Read, 50, &[(0, 512)]),
        (Read, 49, &[(0, 1024)]),
        (Read, u64::MAX, &[(0, 512)]),
        (Write, u64::MAX - 99, &[(0, 512)]),
        (Read, 0, &[(RAM, 512)]),
        (Read, 0, &[(RAM - 511, 512)]),
        (Write, 0, &[(0, 512), (0xff_ffff_fe00, 512)]),
        (Read, 0, &[(0, 511)]),
        (Write, 0, &[(0, 513)]),
        (Read, 0, &[(0, 0)]),
        (Read, 0, &[(0, 512), (0, 0)]),
        (Discard { sectors: 0 }, 0, &[]),
        (Discard { sectors: 51 }, 0, &[]),
        (Discard { sectors: 1 }, 50, &[]),
        (WriteZeroes { sectors: 2, unmap: false }, u64::MAX, &[]),
        (WriteZeroes { sectors: 0, unmap: false }, 0, &[]),
    ];
    let mut s = Setup::new(&[(100, 50, ReadWrite)]);
    for (operation, sector, segments) in cases {
        assert_eq!(s.ask(operation, sector, segments), Failed, "{operation:?} {sector} {segments:?}");
    }
    assert_eq!(s.done, [], "the device was asked for none of this");
    let mut s = Setup::new(&[(0, SECTORS, ReadWrite)]);
    assert_eq!(s.ask(Discard { sectors: 1001 }, 0, &[]), Failed, "more than the device takes");
}

#[test]
fn who_may_only_read_changes_nothing() {
    let mut s = Setup::new(&[(0, SECTORS, ReadOnly)]);
    for operation in [Write, Discard { sectors: 1 }, WriteZeroes { sectors: 1, unmap: false }] {
        let data: &[_] = if operation == Write { &[(0, 512)] } else { &[] };
        assert_eq!(s.ask(operation, 0, data), Failed);
    }
    assert_eq!(s.ask(Read, 0, &[(0, 512)]), Done);
    assert_eq!(s.ask(Flush, 0, &[]), Done);
    assert_eq!(s.done, [0, 4]);
    let mut s = Setup::with(FEATURES | 1 << 5, &[(0, SECTORS, ReadWrite)]);
    assert_eq!(s.ask(Write, 0, &[(0, 512)]), Failed, "the disk itself can only be read");
    assert!(matches!(s.clients[0].medium(), Ok(Medium::Present(Info { read_only: true, .. }))));
}

#[test]
fn the_client_is_told_what_the_disk_can_do() {
    let all = Info {
        sectors: 50,
        block_size: 512,
        read_only: false,
        flush: true,
        discard_sectors: 1000,
        discard_alignment: 8,
        write_zeroes_sectors: 2000,
        write_zeroes_unmap: true,
    };
    let none = Info {
        flush: false,
        discard_sectors: 0,
        discard_alignment: 0,
        write_zeroes_sectors: 0,
        write_zeroes_unmap: false,
        ..all
    };
    for (features, info) in [(FEATURES, all), (1 << 32 | 1 << 28, none)] {
        let mut s = Setup::with(features, &[(100, 50, ReadWrite)]);
        assert_eq!(s.clients[0].medium(), Ok(Medium::Present(info)));
        let can = info == all;
        assert_eq!(s.ask(Discard { sectors: 1 }, 0, &[]), if can { Done } else { Unsupported });
        assert_eq!(s.ask(WriteZeroes { sectors: 1, unmap: true }, 0, &[]), if can { Done } else { Unsupported });
        assert_eq!(s.ask(Flush, 0, &[]), Done, "without a cache there is nothing to do");
        assert_eq!(s.done.len(), if can { 3 } else { 0 });
    }
}

#[test]
fn a_device_that_cannot_serve_is_refused() {
    let open = |features, change: &[(usize, u32)], dma| {
        let mut config = configuration();
        for (at, value) in change {
            config[*at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let fake = Fake::new(2, Features(features), &config, 1, MEMORY);
        Disk::open(fake.clone(), &mut fake.dma(dma), Box::leak(Box::default())).err()
    };
    assert_eq!(open(FEATURES, &[], DMA), None);
    assert_eq!(open(FEATURES, &[], DMA / 2), Some(OpenError::NoMemory));
    assert_eq!(open(FEATURES, &[(12, 125)], DMA), Some(OpenError::FewSegments(125)));
    assert_eq!(open(FEATURES | 1 << 1, &[(8, 4096)], DMA), Some(OpenError::ShortSegments(4096)));
    assert_eq!(open(FEATURES, &[(20, 256)], DMA), Some(OpenError::BlockSize(256)));
    assert_eq!(open(FEATURES, &[(20, 520)], DMA), Some(OpenError::BlockSize(520)));
    assert_eq!(open(FEATURES, &[(4, 1 << 31)], DMA), Some(OpenError::Capacity(1 << 63 | SECTORS)));
    assert!(matches!(open(1 << 32, &[], DMA), Some(OpenError::Device(virtq::Error::Lacks(_)))));
}

#[test]
fn clients_that_write_share_no_sectors() {
    for (access, allowed) in
        [([ReadOnly, ReadOnly], true), ([ReadWrite, ReadOnly], false), ([ReadOnly, ReadWrite], false)]
    {
        let mut s = Setup::new(&[(100, 50, access[0])]);
        let queue: &'static [AtomicU64] = (0..MIN_SIZE).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
        for (first, overlaps) in [(149, true), (150, false)] {
            let link = queue::blk::Server::new(queue).unwrap();
            let extent = Extent::new(first, 1, SECTORS).unwrap();
            let added = s.server.add(1, link, Window::new(ram(1), RAM).unwrap(), extent, access[1]);
            assert_eq!(added, if allowed || !overlaps { Ok(()) } else { Err(0) });
            let medium = Client::new(queue).unwrap().medium().unwrap();
            assert_eq!(medium == Medium::Absent, added.is_err());
        }
    }
}

/// One client that asks for all it can leaves the others their share of the device.
#[test]
fn nobody_holds_another_up() {
    let mut s = Setup::new(&[(0, 100, ReadWrite), (100, 100, ReadWrite), (200, 100, ReadWrite)]);
    let mut asked = 0;
    while s.clients[0].submit(&Request { id: asked, operation: Flush, sector: 0, segments: &[] }).is_ok() {
        asked += 1;
    }
    assert!(asked > 128 / 3);
    s.serve(false);
    s.submit(1, 5, Read, 0, &[(0, 512)]);
    s.submit(2, 6, Read, 0, &[(0, 512)]);
    s.serve(false);
    let mut kinds = Vec::new();
    while let Some(chain) = s.fake.take(0) {
        kinds.push(s.execute(&chain));
        s.fake.give(0, chain.head.into(), *kinds.last().unwrap());
    }
    assert_eq!(kinds.len(), 128 / 3 + 2);
    s.serve(true);
    assert_eq!((s.results(1), s.results(2)), (vec![(5, Done)], vec![(6, Done)]));
    while s.results(0).last() != Some(&(asked - 1, Done)) {
        s.work();
    }
}

/// A client is notified once for many completions, and only if it sleeps.
#[test]
fn completions_are_told_together() {
    let mut s = Setup::new(&[(0, 100, ReadWrite), (100, 100, ReadWrite)]);
    assert!(s.clients[0].sleep());
    for id in 0..10 {
        s.submit(0, id, Read, 0, &[(0, 512)]);
        s.submit(1, id, Read, 0, &[(0, 512)]);
    }
    assert_eq!(s.serve(false), 0);
    assert_eq!(s.work(), 1, "the other one does not sleep");
    assert_eq!(s.results(0).len(), 10);
    assert_eq!(s.results(1).len(), 10);
}

#[test]
fn an_error_of_the_device_is_one_of_the_request() {
    for (status, written, expected) in
        [(0, 513, Done), (1, 513, Failed), (2, 1, Unsupported), (3, 1, Failed), (0, 512, Failed), (0xff, 1, Failed)]
    {
        let mut s = Setup::new(&[(0, 100, ReadWrite)]);
        s.submit(0, 1, Read, 0, &[(0, 512)]);
        s.serve(false);
        let chain = s.fake.take(0).unwrap();
        s.fake.write_memory(chain.writable.last().unwrap().paddr, &[status]);
        s.fake.give(0, chain.head.into(), written);
        s.serve(true);
        assert_eq!(s.results(0), [(1, expected)], "status {status}, {written} bytes");
    }
}

/// A device that breaks the rules, or asks for a reset, is reset; what was under way fails, and then all is well again.
#[test]
fn a_sick_device_is_reset() {
    type Misdeed = fn(&Fake);
    let misdeeds: [Misdeed; 3] = [Fake::fail, |fake| fake.give(0, 999, 1), |fake| fake.set_used_index(0, 9)];
    for misdeed in misdeeds {
        let mut s = Setup::new(&[(0, 100, ReadWrite), (100, 100, ReadWrite)]);
        s.submit(0, 1, Read, 0, &[(0, 512)]);
        s.submit(1, 2, Write, 0, &[(0, 512)]);
        s.serve(false);
        misdeed(&s.fake);
        s.server.interrupted(&mut |line| s.log.push(line.to_string()));
        s.serve(true);
        assert_eq!((s.results(0), s.results(1)), (vec![(1, Failed)], vec![(2, Failed)]));
        assert!(s.log.iter().any(|line| line == "the disk was reset"));
        assert_eq!(s.ask(Read, 0, &[(0, 512)]), Done);
    }
}

/// As long as the device may write to a client's RAM, the client does not hear that it may use it again.
#[test]
fn a_device_that_cannot_be_reset_keeps_what_it_has() {
    let mut s = Setup::new(&[(0, 100, ReadWrite)]);
    s.submit(0, 1, Read, 0, &[(0, 512)]);
    s.serve(false);
    s.fake.refuse_reset();
    s.fake.fail();
    s.server.interrupted(&mut |line| s.log.push(line.to_string()));
    s.serve(true);
    assert_eq!(s.results(0), []);
    s.submit(0, 2, Read, 0, &[(0, 512)]);
    s.serve(false);
    assert_eq!(s.results(0), [(2, Failed)], "new requests fail");
    assert!(s.log.iter().any(|line| line.starts_with("the disk is lost")));
}

#[test]
fn a_client_that_breaks_its_queue_is_given_up_alone() {
    let mut s = Setup::new(&[(0, 100, ReadWrite), (100, 100, ReadWrite)]);
    s.submit(0, 1, Read, 0, &[(0, 512)]);
    s.submit(1, 2, Read, 0, &[(0, 512)]);
    s.serve(false);
    // Any index of the ring that no producer reaches: the first cell of a ring is the producer's.
    s.queues[0][8].store(u64::MAX / 2, SeqCst);
    s.serve(false);
    assert_eq!(s.log.len(), 1);
    s.work();
    assert_eq!((s.results(0), s.results(1)), (vec![], vec![(2, Done)]));
    s.submit(1, 3, Read, 0, &[(0, 512)]);
    s.serve(false);
    s.work();
    assert_eq!(s.results(1), [(3, Done)]);
}

proptest! {
    /// Whatever a client writes to its queue: the device is asked only for what is the client's, and the other client is
    /// served.
    #[test]
    fn a_hostile_client_harms_only_itself(
        words in proptest::collection::vec((0..MIN_SIZE / 8, prop_oneof![0..200u64, any::<u64>()]), 0..40),
        turns in 1..5usize,
    ) {
        let mut s = Setup::new(&[(100, 50, ReadWrite), (200, 50, ReadWrite)]);
        for part in words.chunks(words.len().div_ceil(turns).max(1)) {
            for (at, word) in part {
                s.queues[0][*at].store(*word, SeqCst);
            }
            s.serve(false);
            while let Some(chain) = s.fake.take(0) {
                let (_, data) = chain.writable.split_last().unwrap();
                for segment in data.iter().chain(&chain.readable[1..]) {
                    let is_range = segment.len == 16 && segment.paddr < BASE + DMA as u64;
                    let end = segment.paddr + u64::from(segment.len);
                    prop_assert!(is_range || segment.paddr >= ram(0) && end <= ram(1));
                }
                let before = s.medium.clone();
                let written = s.execute(&chain);
                s.fake.give(0, chain.head.into(), written);
                prop_assert_eq!(&before[..100 * 512], &s.medium[..100 * 512]);
                prop_assert_eq!(&before[150 * 512..], &s.medium[150 * 512..]);
            }
            s.serve(true);
        }
        s.submit(1, 9, Read, 0, &[(0, 512)]);
        s.serve(false);
        s.work();
        prop_assert_eq!(s.results(1), [(9, Done)]);
    }
}
