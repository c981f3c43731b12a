// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use super::*;
use crate::life::Lifecycle;
use crate::map::RAM_BASE;
use crate::memory::OutOfRange;
use crate::virtio::feature as common;
use crate::virtio::ring::RingError;
use crate::virtio::testing::{DATA, Guest, RAM, SLOT, reg, region};
use crate::virtio::{Counts, Device, DeviceError};
use queue::blk::{Segments, Server};

pub(crate) const INFO: Info = Info {
    sectors: 100,
    block_size: 512,
    read_only: false,
    flush: true,
    discard_sectors: 8,
    discard_alignment: 2,
    write_zeroes_sectors: 4,
    write_zeroes_unmap: false,
};

/// Where a request's header, status and data are.
const HEAD: u64 = DATA;
const STATUS: u64 = DATA + 0x100;
const BUFFER: u64 = DATA + 0x1000;
/// A status that the device never writes.
const NONE: u8 = 0x55;

/// A device and the driver domain behind it.
pub(crate) fn device(info: Info) -> (Guest, Server<'static>) {
    device_over(region(0x1000), info)
}

fn device_over(region: &'static [queue::AtomicU64], info: Info) -> (Guest, Server<'static>) {
    let (client, mut server) = (Client::new(region).unwrap(), Server::new(region).unwrap());
    assert!(server.sleep());
    (Guest::new(Device::Blk(Blk::new(client, info, "a name of more than twenty bytes"))), server)
}

fn working(info: Info, features: u64) -> (Guest, Server<'static>) {
    let (mut guest, server) = device(info);
    guest.bring_up(features, 1);
    (guest, server)
}

/// What the driver domain was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Asked {
    id: u32,
    operation: Operation,
    sector: u64,
    segments: Vec<(u64, u32)>,
}

fn asked(server: &mut Server<'_>) -> Option<Asked> {
    let mut room = Segments::new();
    let next = server.next(&mut room).unwrap();
    server.sleep();
    let Request { id, operation, sector, segments } = next?;
    let segments = segments.iter().map(|segment| (segment.offset, segment.len)).collect();
    Some(Asked { id, operation, sector, segments })
}

fn header(guest: &mut Guest, kind: u32, sector: u64) {
    guest.put(HEAD, &kind.to_le_bytes());
    guest.put(HEAD + 8, &sector.to_le_bytes());
    guest.put(STATUS, &[NONE]);
}

/// Offers a request of a header, `data` (address, length, writable) and a status.
fn request(guest: &mut Guest, kind: u32, sector: u64, data: &[(u64, u32, bool)]) -> u16 {
    header(guest, kind, sector);
    let readable = data.iter().filter(|(_, _, writable)| !writable);
    let writable = data.iter().filter(|(_, _, writable)| *writable);
    let chain: Vec<_> =
        [(HEAD, 16, false)].iter().chain(readable).chain(writable).chain(&[(STATUS, 1, true)]).copied().collect();
    let head = guest.offer(0, &chain);
    guest.notify(0);
    head
}

fn status(guest: &Guest) -> u8 {
    guest.bytes(STATUS, 1)[0]
}

#[test]
fn a_read_names_the_guests_pages_and_ends_when_the_driver_says() {
    let (mut guest, mut server) = working(INFO, feature::FLUSH);
    let head = request(&mut guest, kind::IN, 7, &[(BUFFER, 512, true), (BUFFER + 0x800, 1024, true)]);
    assert!(guest.changes.notify && !guest.changes.line);
    let asked = asked(&mut server).unwrap();
    assert_eq!((asked.operation, asked.sector), (Operation::Read, 7));
    assert_eq!(asked.segments, [(BUFFER - RAM_BASE, 512), (BUFFER - RAM_BASE + 0x800, 1024)]);
    assert_eq!((status(&guest), guest.used(0)), (NONE, None));
    server.complete(Completion { id: asked.id, status: Status::Done }).unwrap();
    assert!(server.wake_wanted());
    guest.notified();
    assert_eq!((status(&guest), guest.used(0)), (0, Some((head, 1537))));
    assert_eq!(guest.interrupt(), 1);
    assert!(!guest.changes.line);
}

#[test]
fn requests_that_reach_the_driver_say_what_the_guest_said() {
    let range = |sector: u64, sectors: u32, flags: u32| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&sector.to_le_bytes());
        bytes[8..12].copy_from_slice(&sectors.to_le_bytes());
        bytes[12..].copy_from_slice(&flags.to_le_bytes());
        bytes
    };
    let unmap = Info { write_zeroes_unmap: true, ..INFO };
    let pages = vec![(BUFFER - RAM_BASE, 512)];
    let cases = [
        (INFO, kind::IN, 99, [0; 16], 512, true, (Operation::Read, 99, pages.clone())),
        (INFO, kind::OUT, 0, [0; 16], 512, false, (Operation::Write, 0, pages)),
        (INFO, kind::FLUSH, 9, [0; 16], 0, false, (Operation::Flush, 0, vec![])),
        (INFO, kind::DISCARD, 0, range(92, 8, 0), 16, false, (Operation::Discard { sectors: 8 }, 92, vec![])),
        (
            INFO,
            kind::WRITE_ZEROES,
            0,
            range(5, 4, UNMAP),
            16,
            false,
            (Operation::WriteZeroes { sectors: 4, unmap: false }, 5, vec![]),
        ),
        (
            unmap,
            kind::WRITE_ZEROES,
            0,
            range(5, 4, UNMAP),
            16,
            false,
            (Operation::WriteZeroes { sectors: 4, unmap: true }, 5, vec![]),
        ),
    ];
    for (info, kind, sector, bytes, len, writable, expected) in cases {
        for (end, outcome) in [(Status::Done, 0), (Status::Failed, 1), (Status::Unsupported, 2)] {
            let (mut guest, mut server) = working(info, feature::FLUSH);
            guest.put(BUFFER, &bytes);
            request(&mut guest, kind, sector, &[(BUFFER, len, writable)]);
            let Asked { id, operation, sector, segments } = asked(&mut server).unwrap();
            assert_eq!((operation, sector, segments), expected);
            server.complete(Completion { id, status: end }).unwrap();
            guest.notified();
            assert_eq!(status(&guest), outcome, "{operation:?} {end:?}");
        }
    }
}

#[test]
fn requests_that_cannot_be_done_end_at_once_with_the_right_status() {
    let ro = Info { read_only: true, ..INFO };
    let plain = Info { flush: false, discard_sectors: 0, write_zeroes_sectors: 0, ..INFO };
    let range = |sector: u64, word: u64| [sector.to_le_bytes(), word.to_le_bytes()].concat();
    let none = Vec::new();
    // (what, medium, type, sector, data, its contents, status)
    type Data = &'static [(u64, u32, bool)];
    type Case = (&'static str, Info, u32, u64, Data, Vec<u8>, Outcome);
    const IN: Data = &[(BUFFER, 512, true)];
    const OUT: Data = &[(BUFFER, 512, false)];
    const RANGE: Data = &[(BUFFER, 16, false)];
    let cases: [Case; 25] = [
        ("a read behind the end", INFO, kind::IN, 100, IN, none.clone(), Outcome::IoError),
        ("a read across the end", INFO, kind::IN, 99, &[(BUFFER, 1024, true)], none.clone(), Outcome::IoError),
        ("a read far behind the end", INFO, kind::IN, u64::MAX, IN, none.clone(), Outcome::IoError),
        ("a write behind the end", INFO, kind::OUT, 100, OUT, none.clone(), Outcome::IoError),
        ("a read of half a sector", INFO, kind::IN, 0, &[(BUFFER, 256, true)], none.clone(), Outcome::IoError),
        ("a write of a sector and a byte", INFO, kind::OUT, 0, &[(BUFFER, 513, false)], none.clone(), Outcome::IoError),
        ("a read of nothing", INFO, kind::IN, 0, &[], none.clone(), Outcome::Ok),
        ("a write of nothing", INFO, kind::OUT, 100, &[], none.clone(), Outcome::Ok),
        ("a write of nothing behind the end", INFO, kind::OUT, 101, &[], none.clone(), Outcome::IoError),
        ("a read into what is only readable", INFO, kind::IN, 0, OUT, none.clone(), Outcome::IoError),
        ("a write from what is writable", INFO, kind::OUT, 0, IN, none.clone(), Outcome::IoError),
        ("a write to a read-only medium", ro, kind::OUT, 0, OUT, none.clone(), Outcome::IoError),
        ("a discard on a read-only medium", ro, kind::DISCARD, 0, RANGE, range(0, 1), Outcome::Unsupported),
        ("zeroes to a read-only medium", ro, kind::WRITE_ZEROES, 0, RANGE, range(0, 1), Outcome::Unsupported),
        ("a flush without a cache", plain, kind::FLUSH, 0, &[], none.clone(), Outcome::Ok),
        ("a discard without the feature", plain, kind::DISCARD, 0, RANGE, range(0, 1), Outcome::Unsupported),
        ("zeroes without the feature", plain, kind::WRITE_ZEROES, 0, RANGE, range(0, 1), Outcome::Unsupported),
        ("a discard of too much", INFO, kind::DISCARD, 0, RANGE, range(0, 9), Outcome::IoError),
        ("a discard behind the end", INFO, kind::DISCARD, 0, RANGE, range(97, 4), Outcome::IoError),
        ("a discard that unmaps", INFO, kind::DISCARD, 0, RANGE, range(0, 1 << 32 | 1), Outcome::Unsupported),
        (
            "zeroes with an unknown flag",
            INFO,
            kind::WRITE_ZEROES,
            0,
            RANGE,
            range(0, 2 << 32 | 1),
            Outcome::Unsupported,
        ),
        ("zeroes of too much", INFO, kind::WRITE_ZEROES, 0, RANGE, range(0, 5), Outcome::IoError),
        ("two ranges", INFO, kind::DISCARD, 0, &[(BUFFER, 32, false)], none.clone(), Outcome::IoError),
        ("no range", INFO, kind::DISCARD, 0, &[], none.clone(), Outcome::IoError),
        ("an unknown type", INFO, 99, 0, IN, none, Outcome::Unsupported),
    ];
    for (name, info, kind, sector, data, contents, outcome) in cases {
        let (mut guest, mut server) = working(info, 0);
        guest.put(BUFFER, &contents);
        let head = request(&mut guest, kind, sector, data);
        assert_eq!(status(&guest), outcome as u8, "{name}");
        assert_eq!(guest.used(0), Some((head, u32::from(outcome == Outcome::Ok))), "{name}");
        assert!(guest.changes.line && asked(&mut server).is_none(), "{name}");
    }
}

#[test]
fn a_request_without_room_for_header_or_status_breaks_the_device() {
    type Case = (&'static [(u64, u32, bool)], DeviceError);
    let cases: [Case; 4] = [
        (&[(HEAD, 15, false), (STATUS, 1, true)], DeviceError::BlockHeader),
        (&[(STATUS, 1, true)], DeviceError::BlockHeader),
        (&[(HEAD, 16, false)], DeviceError::BlockStatus),
        (&[(HEAD, 16, false), (RAM_BASE + RAM, 1, true)], DeviceError::Ring(RingError::BufferOutOfRange)),
    ];
    for (chain, error) in cases {
        let (mut guest, _server) = working(INFO, 0);
        guest.offer(0, chain);
        guest.notify(0);
        assert_eq!(guest.changes.error, Some(error));
        assert_eq!((guest.read(reg::STATUS), guest.interrupt()), (15 | 0x40, 2));
        // After a reset it works again.
        guest.write(reg::STATUS, 0).unwrap();
        guest.bring_up(0, 1);
        request(&mut guest, kind::OUT, 0, &[]);
        assert_eq!(status(&guest), 0);
    }
}

#[test]
fn a_request_may_be_cut_anywhere() {
    let (mut guest, mut server) = working(INFO, feature::FLUSH);
    header(&mut guest, kind::OUT, 3);
    guest.offer(0, &[(HEAD, 7, false), (HEAD + 7, 30, false), (BUFFER, 491, false), (STATUS, 1, true)]);
    guest.notify(0);
    let out = asked(&mut server).unwrap();
    assert_eq!((out.sector, out.segments), (3, vec![(HEAD - RAM_BASE + 16, 21), (BUFFER - RAM_BASE, 491)]));

    header(&mut guest, kind::IN, 4);
    guest.offer(0, &[(HEAD, 16, false), (BUFFER, 513, true)]);
    guest.notify(0);
    let asked = asked(&mut server).unwrap();
    assert_eq!((asked.sector, asked.segments), (4, vec![(BUFFER - RAM_BASE, 512)]));
    server.complete(Completion { id: asked.id, status: Status::Done }).unwrap();
    guest.notified();
    assert_eq!(guest.bytes(BUFFER + 512, 1), [0], "the status is the last byte");
}

#[test]
fn the_name_is_cut_to_what_there_is_room_for() {
    for (len, name, written) in
        [(20, &b"a name of more than "[..], 21), (4, b"a na", 5), (30, b"a name of more than ", 20)]
    {
        let (mut guest, _server) = working(INFO, 0);
        request(&mut guest, kind::GET_ID, 0, &[(BUFFER, len, true)]);
        assert_eq!((guest.bytes(BUFFER, name.len()), status(&guest)), (name, 0));
        assert_eq!(guest.bytes(BUFFER + name.len() as u64, 1), [0]);
        assert_eq!(guest.used(0).unwrap().1, written);
    }
}

#[test]
fn the_configuration_space_is_laid_out_as_specified() {
    let info = Info { sectors: 0x1_2345_6789, block_size: 4096, ..INFO };
    let (guest, _server) = device(info);
    let cases = [
        ("capacity", 0, 0x2345_6789),
        ("capacity, high", 4, 1),
        ("size_max", 8, MAX_SEGMENT_LEN),
        ("seg_max", 12, 126),
        ("geometry", 16, 0),
        ("blk_size", 20, 4096),
        ("num_queues", 32, 1 << 16),
        ("max_discard_sectors", 36, 8),
        ("max_discard_seg", 40, 1),
        ("discard_sector_alignment", 44, 2),
        ("max_write_zeroes_sectors", 48, 4),
        ("max_write_zeroes_seg", 52, 1),
        ("write_zeroes_may_unmap", 56, 0),
    ];
    for (name, offset, value) in cases {
        assert_eq!(guest.read(reg::CONFIG + offset), value, "{name}");
    }
}

#[test]
fn features_follow_the_medium() {
    let basic = feature::SIZE_MAX | feature::SEG_MAX | feature::BLK_SIZE | common::OFFERED;
    let all = feature::FLUSH | feature::DISCARD | feature::WRITE_ZEROES;
    let cases = [
        (INFO, all),
        (Info { read_only: true, ..INFO }, feature::RO | feature::FLUSH),
        (Info { flush: false, discard_sectors: 0, ..INFO }, feature::WRITE_ZEROES),
    ];
    for (info, expected) in cases {
        assert_eq!(device(info).0.offered(), basic | expected);
    }
}

#[test]
fn without_the_flush_feature_a_write_ends_when_it_is_durable() {
    let (mut guest, mut server) = working(INFO, 0);
    request(&mut guest, kind::OUT, 1, &[(BUFFER, 512, false)]);
    let write = asked(&mut server).unwrap();
    server.complete(Completion { id: write.id, status: Status::Done }).unwrap();
    guest.notified();
    assert_eq!(status(&guest), NONE);
    assert!(guest.changes.notify);
    let flush = asked(&mut server).unwrap();
    assert_eq!(flush.operation, Operation::Flush);
    server.complete(Completion { id: flush.id, status: Status::Done }).unwrap();
    guest.notified();
    assert_eq!(status(&guest), 0);
    // A write that failed is not flushed.
    request(&mut guest, kind::OUT, 1, &[(BUFFER, 512, false)]);
    let write = asked(&mut server).unwrap();
    server.complete(Completion { id: write.id, status: Status::Failed }).unwrap();
    guest.notified();
    assert_eq!((status(&guest), asked(&mut server)), (1, None));
}

#[test]
fn large_and_many_buffers_are_split_or_refused() {
    // More pieces than a request to the driver has, in a queue that could hold them: one buffer over and over.
    let segments: Vec<_> = (0..=MAX_SEGMENTS).map(|_| Buffer { gpa: BUFFER, len: 512 }).collect();
    let chain = |count: usize| {
        let mut chain = Chain::new();
        chain.begin(0);
        segments[..count].iter().for_each(|buffer| assert!(chain.push(*buffer, true)));
        chain
    };
    let gather = |chain: &Chain| {
        let mut segments = heapless::Vec::new();
        super::gather(chain, Operation::Read, u64::MAX, &mut segments).then_some(segments)
    };
    let len = |count: usize| gather(&chain(count)).map(|segments| segments.len());
    assert_eq!(len(MAX_SEGMENTS), Some(MAX_SEGMENTS));
    assert_eq!(len(MAX_SEGMENTS + 1), None);
    let mut chain = Chain::new();
    chain.begin(0);
    chain.push(Buffer { gpa: BUFFER, len: 2 * MAX_SEGMENT_LEN + 512 }, true);
    let split = gather(&chain).unwrap();
    let offset = BUFFER - RAM_BASE;
    let max = u64::from(MAX_SEGMENT_LEN);
    let expected = [(0, MAX_SEGMENT_LEN), (max, MAX_SEGMENT_LEN), (2 * max, 512)];
    assert_eq!(split, expected.map(|(at, len)| Segment { offset: offset + at, len }));
}

#[test]
fn a_full_link_holds_the_guest_back_and_loses_nothing() {
    let (mut guest, mut server) = working(INFO, feature::FLUSH);
    header(&mut guest, kind::FLUSH, 0);
    let mut completed = 0;
    let mut offered = 0;
    let mut ids = Vec::new();
    // The smallest link takes about thirty requests of any size, the guest's queue has eight at a time.
    for round in 0..20 {
        for _ in 0..8 {
            guest.offer(0, &[(HEAD, 16, false), (STATUS, 1, true)]);
            offered += 1;
        }
        guest.notify(0);
        while let Some(asked) = asked(&mut server) {
            ids.push(asked.id);
        }
        let finish = if round == 19 { ids.len() } else { 4.min(ids.len()) };
        for id in ids.drain(..finish) {
            server.complete(Completion { id, status: Status::Done }).unwrap();
        }
        guest.notified();
        while guest.used(0).is_some() {
            completed += 1;
        }
        if offered - completed > 8 {
            break;
        }
    }
    for _ in 0..10 {
        while let Some(asked) = asked(&mut server) {
            server.complete(Completion { id: asked.id, status: Status::Done }).unwrap();
        }
        ids.drain(..).for_each(|id| server.complete(Completion { id, status: Status::Done }).unwrap());
        guest.notified();
        while guest.used(0).is_some() {
            completed += 1;
        }
    }
    assert_eq!(completed, offered);
}

#[test]
fn a_reset_waits_for_what_is_under_way_and_forgets_it() {
    let (mut guest, mut server) = working(INFO, feature::FLUSH);
    request(&mut guest, kind::IN, 0, &[(BUFFER, 512, true)]);
    let read = asked(&mut server).unwrap();
    assert_eq!(guest.write(reg::STATUS, 0), Some(crate::virtio::mmio::Written::Hold));
    assert!(!guest.slots.is_quiesced());
    assert_eq!((guest.read(reg::STATUS), guest.changes.released), (15, 0));
    server.complete(Completion { id: read.id, status: Status::Done }).unwrap();
    assert!(server.wake_wanted(), "the driver tells of it");
    guest.notified();
    assert_eq!((guest.read(reg::STATUS), guest.changes.released), (0, 1));
    assert_eq!((status(&guest), guest.changes.line), (NONE, false));
    assert!(guest.slots.is_quiesced());
    guest.bring_up(feature::FLUSH, 1);
    request(&mut guest, kind::IN, 0, &[(BUFFER, 512, true)]);
    assert_ne!(asked(&mut server).unwrap().id, read.id);
}

#[test]
fn a_queue_reset_waits_for_what_is_under_way() {
    for (register, value, reading) in [(reg::QUEUE_RESET, 1, reg::QUEUE_RESET), (reg::QUEUE_READY, 0, reg::QUEUE_READY)]
    {
        let (mut guest, mut server) = working(INFO, feature::FLUSH | common::RING_RESET);
        request(&mut guest, kind::IN, 0, &[(BUFFER, 512, true)]);
        let read = asked(&mut server).unwrap();
        guest.write(register, value).unwrap();
        assert_eq!((guest.read(reading), guest.read(reg::QUEUE_READY)), (1, 1));
        server.complete(Completion { id: read.id, status: Status::Done }).unwrap();
        guest.notified();
        assert_eq!((guest.read(reg::QUEUE_RESET), guest.read(reg::QUEUE_READY)), (0, 0));
        assert_eq!((status(&guest), guest.read(reg::STATUS)), (NONE, 15));
        guest.set_up_queue(0);
        request(&mut guest, kind::OUT, 0, &[]);
        assert_eq!(status(&guest), 0);
    }
}

#[test]
fn a_driver_that_breaks_the_rules_costs_the_guest_its_disk_and_no_more() {
    type Misdeed = fn(&mut Server<'_>, u32);
    let misdeeds: [(&str, Misdeed); 3] = [
        ("it answers what was never asked", |server, id| {
            server.complete(Completion { id: id + 2, status: Status::Done }).unwrap();
        }),
        ("it answers with an old id", |server, id| {
            server.complete(Completion { id: id ^ 1 << 16, status: Status::Done }).unwrap();
        }),
        ("it answers twice", |server, id| {
            server.complete(Completion { id, status: Status::Done }).unwrap();
            server.complete(Completion { id, status: Status::Done }).unwrap();
        }),
    ];
    for (name, misdeed) in misdeeds {
        let (mut guest, mut server) = working(INFO, feature::FLUSH);
        request(&mut guest, kind::IN, 0, &[(BUFFER, 512, true)]);
        request(&mut guest, kind::IN, 1, &[(BUFFER, 512, true)]);
        let first = asked(&mut server).unwrap();
        misdeed(&mut server, first.id);
        guest.notified();
        assert_eq!(guest.changes.error, Some(DeviceError::Link), "{name}");
        assert_eq!(guest.read(reg::STATUS) & 0x40, 0x40, "{name}");
        guest.notified();
        assert_eq!(guest.changes.error, None, "{name}: told once");
        // What is under way may still reach the guest's pages: the reset never ends, and the guest is halted.
        assert_eq!(guest.write(reg::STATUS, 0), Some(crate::virtio::mmio::Written::Hold), "{name}");
        guest.notified();
        assert_eq!(guest.changes.released, 0, "{name}");
    }
}

/// The driver domain starts again: requests that it had taken are asked once more, the others are still asked, and each ends
/// once.
#[test]
fn what_a_driver_that_starts_again_has_lost_is_repeated() {
    let region = region(0x1000);
    let (mut guest, mut server) = device_over(region, INFO);
    guest.bring_up(feature::FLUSH, 1);
    let heads = [0, 1, 2].map(|sector| request(&mut guest, kind::IN, sector, &[(BUFFER, 512, true)]));
    let first = [asked(&mut server).unwrap(), asked(&mut server).unwrap()];
    server.complete(Completion { id: first[0].id, status: Status::Done }).unwrap();
    // The guest's chains share their header.
    header(&mut guest, kind::IN, 1);

    let mut server = Server::new(region).unwrap();
    guest.notified();
    assert_eq!(guest.used(0), Some((heads[0], 513)), "it was done before");
    assert_eq!(guest.used(0), None);
    let again = [asked(&mut server).unwrap(), asked(&mut server).unwrap()];
    assert_eq!(again.each_ref().map(|asked| asked.sector), [2, 1]);
    assert_ne!(again[1].id, first[1].id, "an answer to the lost one would be wrong");
    assert_eq!(asked(&mut server), None);
    for Asked { id, .. } in again {
        server.complete(Completion { id, status: Status::Done }).unwrap();
    }
    guest.notified();
    assert_eq!([guest.used(0), guest.used(0), guest.used(0)], [Some((heads[2], 513)), Some((heads[1], 513)), None]);
}

/// A reset while the driver domain starts again ends: nothing is under way any more.
#[test]
fn a_driver_that_starts_again_ends_a_reset() {
    let region = region(0x1000);
    let (mut guest, mut server) = device_over(region, INFO);
    guest.bring_up(0, 1);
    // One that is written through, as no cache was negotiated.
    request(&mut guest, kind::OUT, 0, &[(BUFFER, 512, false)]);
    asked(&mut server).unwrap();
    assert_eq!(guest.write(reg::STATUS, 0), Some(crate::virtio::mmio::Written::Hold));
    let mut server = Server::new(region).unwrap();
    guest.notified();
    assert_eq!(guest.changes.released, 1);
    guest.bring_up(feature::FLUSH, 1);
    request(&mut guest, kind::IN, 0, &[(BUFFER, 512, true)]);
    let Asked { id, .. } = asked(&mut server).unwrap();
    server.complete(Completion { id, status: Status::Done }).unwrap();
    guest.notified();
    assert_eq!((status(&guest), guest.changes.error), (0, None));
}

/// A driver domain that does not answer is told of once, from the second look on at which the request is under way.
#[test]
fn an_answer_that_is_owed_for_long_is_told_once() {
    let (mut guest, mut server) = working(INFO, feature::FLUSH);
    assert_eq!(guest.slots.owed(SLOT), Owed::Nothing, "nothing is under way");
    request(&mut guest, kind::IN, 0, &[(BUFFER, 512, true)]);
    let slow = asked(&mut server).unwrap();
    assert_eq!(guest.slots.owed(SLOT), Owed::Answer, "it has just been asked");
    // Others do not hide it.
    request(&mut guest, kind::IN, 1, &[(BUFFER, 512, true)]);
    let Asked { id, .. } = asked(&mut server).unwrap();
    server.complete(Completion { id, status: Status::Done }).unwrap();
    guest.notified();
    assert_eq!([guest.slots.owed(SLOT), guest.slots.owed(SLOT)], [Owed::Overdue, Owed::Answer], "once");
    server.complete(Completion { id: slow.id, status: Status::Done }).unwrap();
    guest.notified();
    assert_eq!(guest.slots.owed(SLOT), Owed::Nothing);
    assert_eq!([guest.used(0).is_some(), guest.used(0).is_some()], [true, true]);
    request(&mut guest, kind::IN, 0, &[(BUFFER, 512, true)]);
    assert_eq!(
        [guest.slots.owed(SLOT), guest.slots.owed(SLOT)],
        [Owed::Answer, Owed::Overdue],
        "of the next one again"
    );
}

/// Each request is completed, forgotten, or under way.
#[test]
fn the_counts_balance() {
    let (mut guest, mut server) = working(INFO, feature::FLUSH);
    let counts = |guest: &Guest| guest.slots.counts(SLOT).unwrap();
    for _ in 0..3 {
        request(&mut guest, kind::IN, 0, &[(BUFFER, 512, true)]);
    }
    assert_eq!(counts(&guest), Counts { requests: 3, completions: 0, forgotten: 0 });
    let first = asked(&mut server).unwrap();
    server.complete(Completion { id: first.id, status: Status::Failed }).unwrap();
    guest.notified();
    assert_eq!(counts(&guest), Counts { requests: 3, completions: 1, forgotten: 0 });
    assert_eq!(guest.write(reg::STATUS, 0), Some(crate::virtio::mmio::Written::Hold));
    assert_eq!(counts(&guest), Counts { requests: 3, completions: 1, forgotten: 2 });
    for _ in 0..2 {
        let Asked { id, .. } = asked(&mut server).unwrap();
        server.complete(Completion { id, status: Status::Done }).unwrap();
    }
    guest.notified();
    assert_eq!(counts(&guest), Counts { requests: 3, completions: 1, forgotten: 2 }, "nobody waits for these");
}

/// RAM that counts the bytes that are copied from it and to it.
struct Counting<'a> {
    ram: &'a mut [u8],
    copied: core::cell::Cell<usize>,
}

impl GuestMemory for Counting<'_> {
    fn size(&self) -> u64 {
        self.ram.len() as u64
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfRange> {
        self.copied.set(self.copied.get() + buf.len());
        let start = (gpa - RAM_BASE) as usize;
        buf.copy_from_slice(&self.ram[start..start + buf.len()]);
        Ok(())
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        self.copied.set(self.copied.get() + bytes.len());
        let start = (gpa - RAM_BASE) as usize;
        self.ram[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

#[test]
fn a_mebibyte_costs_512_copied_bytes_at_most() {
    const PIECE: u32 = 0x2_0000;
    let (mut guest, mut server) = device(Info { sectors: 4096, ..INFO });
    guest.bring_up(common::INDIRECT_DESC | common::EVENT_IDX, 1);
    header(&mut guest, kind::IN, 0);
    // An indirect table: the header, eight pieces, which may as well be the same, and the status.
    let data = [(RAM_BASE, PIECE, 3_u64); 8];
    let table: Vec<u8> = [(HEAD, 16, 1)]
        .into_iter()
        .chain(data)
        .chain([(STATUS, 1, 2)])
        .zip(1_u64..)
        .flat_map(|((gpa, len, flags), next)| [gpa, u64::from(len) | flags << 32 | next << 48])
        .flat_map(u64::to_le_bytes)
        .collect();
    guest.put(BUFFER, &table);
    let head = guest.offer(0, &[(BUFFER, table.len() as u32, false)]);
    guest.indirect(0, head);
    let mut memory = Counting { ram: &mut guest.ram, copied: 0.into() };
    guest.slots.notified(&mut memory, SLOT);
    let asked = asked(&mut server).unwrap();
    assert_eq!(asked.segments.iter().map(|(_, len)| len).sum::<u32>(), 1 << 20);
    server.complete(Completion { id: asked.id, status: Status::Done }).unwrap();
    guest.slots.notified(&mut memory, SLOT);
    assert!(memory.copied.get() <= 512, "{} bytes", memory.copied.get());
    assert_eq!(guest.used(0), Some((head, (1 << 20) + 1)));
}
