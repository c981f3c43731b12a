// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use super::*;
use crate::life::Lifecycle;
use crate::map::RAM_BASE;
use crate::virtio::mmio::Written;
use crate::virtio::testing::{DATA, Guest, reg, region};
use crate::virtio::{Device, feature as common};
use queue::net::{FramePayload, MIN_SIZE, Mac, Server};

pub(super) const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(super) const NEIGHBOUR: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub(super) const REMOTE: Mac = Mac([2, 0, 0, 0, 0, 9]);
const BROADCAST: Mac = Mac([0xff; 6]);
pub(super) const INFO: Info = Info {
    mac: OWN,
    mtu: 1500,
    completes_checksums: true,
    neighbours: [None, Some(NEIGHBOUR), None, None, None, None, None, None],
};

fn device(info: Info) -> (Guest, Server<'static>) {
    device_over(region(MIN_SIZE), info)
}

fn device_over(region: &'static [queue::AtomicU64], info: Info) -> (Guest, Server<'static>) {
    let (client, mut server) = (Client::new(region).unwrap(), Server::new(region).unwrap());
    server.set_up(true);
    assert!(server.sleep());
    (Guest::new(Device::Net(Net::new(client, info))), server)
}

pub(super) fn working(info: Info, features: u64) -> (Guest, Server<'static>) {
    let (mut guest, server) = device(info);
    guest.bring_up(features | common::EVENT_IDX, 3);
    (guest, server)
}

/// A frame from `OWN` with `len` bytes of payload.
fn frame(destination: Mac, len: usize) -> Vec<u8> {
    let payload = (0..len).map(|n| n as u8 ^ (n >> 8) as u8);
    destination.0.into_iter().chain(OWN.0).chain([0x08, 0x00]).chain(payload).collect()
}

/// A header of a frame to send.
pub(super) fn header(flags: u8, segmentation: u8, start: u16, offset: u16) -> Vec<u8> {
    let mut header = vec![flags, segmentation, 0, 0, 0, 0];
    header.extend(start.to_le_bytes().into_iter().chain(offset.to_le_bytes()).chain([0, 0]));
    header
}

/// Offers the bytes to send, cut at `cuts`.
pub(super) fn send(guest: &mut Guest, header: &[u8], frame: &[u8], cuts: &[usize]) -> u16 {
    let bytes = [header, frame].concat();
    guest.put(DATA, &bytes);
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let chain: Vec<_> =
        starts.zip(ends).map(|(start, end)| (DATA + start as u64, (end - start) as u32, false)).collect();
    let head = guest.offer(TRANSMIT, &chain);
    guest.notify(TRANSMIT as u32);
    head
}

pub(super) fn payload_of(frame: &queue::net::Frame<'_>) -> Option<Vec<u8>> {
    let FramePayload::Copied(buffer) = frame.payload else { return None };
    let mut bytes = vec![0; frame.len - HEADER_LEN];
    cells::read(buffer, 0, &mut bytes);
    Some(bytes)
}

fn deliver(server: &mut Server<'_>, frame: &[u8], checksum: Checksum) {
    cells::write(server.receive_buffer().unwrap().expect("room"), FRAME_OFFSET, frame);
    server.deliver(frame.len(), checksum).unwrap();
}

#[test]
fn the_guest_learns_its_address_and_whether_it_is_connected() {
    let (mut guest, mut server) = working(INFO, feature::STATUS);
    let config = |guest: &Guest| [0, 4, 8].map(|at| guest.read(reg::CONFIG + at));
    assert_eq!((guest.read(reg::DEVICE_ID), config(&guest)), (1, [0x2, 0x1_0100, 1500 << 16]));
    let generation = guest.read(0x0fc);
    server.set_up(false);
    guest.notified();
    assert_eq!(config(&guest), [0x2, 0x0100, 1500 << 16]);
    assert_ne!(guest.read(0x0fc), generation);
    assert_eq!(guest.interrupt(), 2);
    guest.notified();
    assert!(!guest.changes.line, "no change, no interrupt");
}

#[test]
fn a_payload_is_copied_only_where_the_driver_must_read_it_or_it_is_short() {
    let cases: [(Mac, usize, &[usize], bool); 9] = [
        (REMOTE, 1500, &[], false),
        (REMOTE, 1500, &[12], false),
        (REMOTE, 1500, &[12, 60], false),
        (REMOTE, 1500, &[12, 26, 100, 1000], false),
        (REMOTE, 1500, &[12, 26, 100, 1000, 1001], true),
        (REMOTE, COPIED + 1, &[12], false),
        (REMOTE, COPIED, &[12], true),
        (NEIGHBOUR, 1500, &[7, 20, 30], true),
        (BROADCAST, 1500, &[12], true),
    ];
    for (destination, len, cuts, copied) in cases {
        let (mut guest, mut server) = working(INFO, 0);
        let bytes = frame(destination, len);
        let head = send(&mut guest, &header(0, 0, 0, 0), &bytes, cuts);
        assert!(guest.changes.notify);
        let sent = server.next().unwrap().unwrap();
        assert_eq!((sent.len, sent.header.destination(), sent.header.source()), (len + 14, destination, OWN));
        let what = format!("{destination} {len} {cuts:?}");
        if copied {
            assert_eq!(payload_of(&sent).expect(&what), bytes[14..], "{what}");
            guest.notified();
            assert_eq!(guest.used(TRANSMIT), Some((head, 0)), "{what}: it needs no completion");
            assert!(guest.slots.is_quiesced());
            continue;
        }
        let FramePayload::Window { id, segments, count } = sent.payload else { panic!("{what}") };
        let gathered: Vec<u8> = segments[..count]
            .iter()
            .flat_map(|segment| guest.bytes(RAM_BASE + segment.offset, segment.len as usize).to_vec())
            .collect();
        assert!(gathered == bytes[14..], "{what}");
        assert_eq!((guest.used(TRANSMIT), guest.slots.is_quiesced()), (None, false), "{what}");
        server.release();
        server.sent(id).unwrap();
        assert!(server.wake_wanted());
        guest.notified();
        assert_eq!((guest.used(TRANSMIT), guest.slots.is_quiesced()), (Some((head, 0)), true), "{what}");
    }
}

#[test]
fn a_frame_that_cannot_be_sent_is_dropped_and_counted() {
    let partial = header(NEEDS_CSUM, 0, 34, 6);
    let plain = header(0, 0, 0, 0);
    let cases = [
        ("shorter than its headers", 0, &plain[..], frame(REMOTE, 0)[..13].to_vec()),
        ("too long", 0, &plain, frame(REMOTE, 1505)),
        ("segmentation that was not negotiated", feature::CSUM, &header(NEEDS_CSUM, 1, 34, 6), frame(REMOTE, 100)),
        ("a checksum that was not negotiated", 0, &partial, frame(REMOTE, 100)),
        ("a checksum behind the end", feature::CSUM, &partial, frame(REMOTE, 27)),
        ("a checksum of the header", feature::CSUM, &header(NEEDS_CSUM, 0, 13, 6), frame(REMOTE, 100)),
    ];
    for (name, features, header, bytes) in cases {
        let (mut guest, server) = working(INFO, features);
        let head = send(&mut guest, header, &bytes, &[12]);
        guest.notified();
        assert_eq!((guest.used(TRANSMIT), guest.slots.dropped()), (Some((head, 0)), 1), "{name}");
        assert!(server.next().unwrap().is_none(), "{name}");
    }
}

#[test]
fn a_frame_whose_checksum_the_driver_has_to_complete_is_copied() {
    let cannot = Info { completes_checksums: false, ..INFO };
    let partial = Checksum::Partial { start: 34, offset: 6 };
    for (info, flags, checksum, copied) in
        [(INFO, NEEDS_CSUM, partial, false), (cannot, NEEDS_CSUM, partial, true), (cannot, 0, Checksum::Unknown, false)]
    {
        let (mut guest, server) = working(info, feature::CSUM);
        let bytes = frame(REMOTE, 600);
        send(&mut guest, &header(flags, 0, 34, 6), &bytes, &[12]);
        let sent = server.next().unwrap().unwrap();
        assert_eq!((sent.checksum, payload_of(&sent).as_deref()), (checksum, copied.then_some(&bytes[14..])));
    }
}

#[test]
fn a_received_frame_comes_with_its_header() {
    let partial = Checksum::Partial { start: 34, offset: 6 };
    let bytes = frame(OWN, 86);
    let mut completed = bytes.clone();
    let buffer: Vec<_> = (0..20).map(|_| queue::AtomicU64::new(0)).collect();
    cells::write(&buffer, 0, &bytes);
    checksum::complete(&buffer, 34, 100, 40);
    cells::read(&buffer, 0, &mut completed);
    assert_ne!(completed, bytes);
    let cases = [
        (0, Checksum::Unknown, header(0, 0, 0, 0), &bytes),
        (0, Checksum::Verified, header(0, 0, 0, 0), &bytes),
        (0, partial, header(0, 0, 0, 0), &completed),
        (feature::GUEST_CSUM, Checksum::Unknown, header(0, 0, 0, 0), &bytes),
        (feature::GUEST_CSUM, Checksum::Verified, header(DATA_VALID, 0, 0, 0), &bytes),
        (feature::GUEST_CSUM, partial, header(NEEDS_CSUM, 0, 34, 6), &bytes),
    ];
    for (features, checksum, mut header, bytes) in cases {
        let (mut guest, mut server) = working(INFO, features);
        // The frame comes before there is a buffer for it: its checksum is completed once all the same.
        deliver(&mut server, &frame(OWN, 86), checksum);
        assert!(server.wake_wanted());
        guest.notified();
        assert_eq!(guest.used(RECEIVE), None);
        let head = guest.offer(RECEIVE, &[(DATA, 20, true), (DATA + 20, 1600, true)]);
        guest.notify(RECEIVE as u32);
        assert_eq!(guest.used(RECEIVE), Some((head, 112)), "{checksum:?}");
        header[10] = 1;
        assert_eq!(guest.bytes(DATA, 12), header, "{checksum:?}");
        assert_eq!(guest.bytes(DATA + 12, 100), bytes, "{checksum:?}");
        assert_eq!(guest.interrupt(), 1);
        assert!(server.receive_buffer().unwrap().is_some());
    }
}

#[test]
fn with_merged_buffers_a_frame_fills_as_many_as_it_needs() {
    let (mut guest, mut server) = working(INFO, feature::MRG_RXBUF);
    let bytes = frame(OWN, 300);
    deliver(&mut server, &bytes, Checksum::Unknown);
    let first = guest.offer(RECEIVE, &[(DATA, 11, true), (DATA + 11, 101, true)]);
    guest.notified();
    let second = guest.offer(RECEIVE, &[(DATA + 112, 100, true)]);
    guest.notify(RECEIVE as u32);
    assert_eq!(guest.used(RECEIVE), None, "not before there are enough");
    let third = guest.offer(RECEIVE, &[(DATA + 212, 500, true)]);
    let fourth = guest.offer(RECEIVE, &[(DATA + 0x2000, 1600, true)]);
    guest.notify(RECEIVE as u32);
    let used: Vec<_> = std::iter::from_fn(|| guest.used(RECEIVE)).collect();
    assert_eq!(used, [(first, 112), (second, 100), (third, 114)]);
    assert_eq!(guest.bytes(DATA + 10, 2), [3, 0], "num_buffers");
    assert_eq!(guest.bytes(DATA + 12, 314), bytes);
    deliver(&mut server, &bytes, Checksum::Unknown);
    guest.notified();
    assert_eq!(guest.used(RECEIVE), Some((fourth, 326)));
    assert_eq!(guest.bytes(DATA + 0x2000 + 10, 2), [1, 0]);
}

#[test]
fn a_starved_device_asks_for_buffers_and_a_sated_one_does_not() {
    let event = |guest: &mut Guest| {
        let memory = &mut guest.ram[..];
        (&memory).load_u16(RAM_BASE + 0x2000 + 4 + 8 * 16).unwrap()
    };
    let (mut guest, mut server) = working(INFO, feature::MRG_RXBUF);
    guest.offer(RECEIVE, &[(DATA, 200, true)]);
    guest.offer(RECEIVE, &[(DATA + 200, 100, true)]);
    deliver(&mut server, &frame(OWN, 300), Checksum::Unknown);
    guest.notified();
    assert_eq!(event(&mut guest), 2, "the next buffer is to be told, behind those that wait");
    guest.offer(RECEIVE, &[(DATA + 300, 100, true)]);
    guest.notify(RECEIVE as u32);
    assert_eq!(std::iter::from_fn(|| guest.used(RECEIVE)).count(), 3);
    guest.offer(RECEIVE, &[(DATA, 200, true)]);
    guest.notify(RECEIVE as u32);
    assert_eq!(event(&mut guest), 2, "and more buffers are not");
}

#[test]
fn a_frame_that_the_guests_buffers_are_not_made_for_is_dropped() {
    for (name, features, buffer) in [("too short", 0, 100), ("too short for the header", feature::MRG_RXBUF, 11)] {
        let (mut guest, mut server) = working(INFO, features);
        let first = guest.offer(RECEIVE, &[(DATA, buffer, true)]);
        deliver(&mut server, &frame(OWN, 300), Checksum::Unknown);
        guest.notified();
        assert_eq!((guest.used(RECEIVE), guest.slots.dropped()), (None, 1), "{name}");
        deliver(&mut server, &frame(OWN, 50), Checksum::Unknown);
        guest.notified();
        assert_eq!(guest.used(RECEIVE), (buffer == 100).then_some((first, 76)), "{name}: the buffer was kept");
    }
}

#[test]
fn only_what_the_guest_wants_is_delivered() {
    let (mut guest, mut server) = working(INFO, feature::CTRL_VQ | feature::CTRL_RX);
    let command = |guest: &mut Guest, bytes: &[u8]| {
        guest.put(DATA + 0x3000, bytes);
        guest.put(DATA + 0x3100, &[0x55]);
        guest.offer(CONTROL, &[(DATA + 0x3000, bytes.len() as u32, false), (DATA + 0x3100, 1, true)]);
        guest.notify(CONTROL as u32);
        assert_eq!(guest.used(CONTROL).unwrap().1, 1);
        guest.bytes(DATA + 0x3100, 1)[0]
    };
    assert_eq!(command(&mut guest, &[9, 9]), ERROR);
    assert_eq!(command(&mut guest, &[0, 0, 0]), OK);
    let group = Mac([0x33, 0x33, 0, 0, 0, 1]);
    for (destination, wanted) in [(OWN, true), (group, false), (BROADCAST, true)] {
        guest.offer(RECEIVE, &[(DATA, 1600, true)]);
        deliver(&mut server, &frame(destination, 46), Checksum::Unknown);
        guest.notified();
        assert_eq!(guest.used(RECEIVE).is_some(), wanted, "{destination}");
    }
    assert_eq!(guest.slots.dropped(), 0);
    // After a reset everything is wanted again.
    guest.write(reg::STATUS, 0).unwrap();
    guest.bring_up(0, 3);
    guest.offer(RECEIVE, &[(DATA, 1600, true)]);
    deliver(&mut server, &frame(group, 46), Checksum::Unknown);
    guest.notified();
    assert!(guest.used(RECEIVE).is_some());
}

#[test]
fn a_full_link_holds_the_guest_back() {
    let (mut guest, mut server) = working(INFO, 0);
    let (mut offered, mut sent, mut used) = (0, 0, 0);
    for round in 0..40 {
        // Payloads of both kinds.
        let len = if round % 2 == 0 { 46 } else { 1000 };
        while offered - used < 12 {
            send(&mut guest, &header(0, 0, 0, 0), &frame(REMOTE, len), &[]);
            offered += 1;
        }
        for _ in 0..4 {
            let Some(frame) = server.next().unwrap() else { break };
            server.release();
            sent += 1;
            if let FramePayload::Window { id, .. } = frame.payload {
                server.sent(id).unwrap();
            }
        }
        server.sleep();
        if server.wake_wanted() {
            guest.notified();
        }
        used += std::iter::from_fn(|| guest.used(TRANSMIT)).count();
    }
    for _ in 0..10 {
        while let Some(frame) = server.next().unwrap() {
            server.release();
            sent += 1;
            if let FramePayload::Window { id, .. } = frame.payload {
                server.sent(id).unwrap();
            }
        }
        guest.notified();
        used += std::iter::from_fn(|| guest.used(TRANSMIT)).count();
    }
    assert!(offered > 50);
    assert_eq!((sent, used), (offered, offered));
}

#[test]
fn a_reset_waits_for_frames_that_are_read_from_ram() {
    let (mut guest, mut server) = working(INFO, 0);
    send(&mut guest, &header(0, 0, 0, 0), &frame(REMOTE, 1000), &[]);
    let FramePayload::Window { id, .. } = server.next().unwrap().unwrap().payload else { panic!("in the window") };
    assert_eq!(guest.write(reg::STATUS, 0), Some(Written::Hold));
    server.release();
    server.sent(id).unwrap();
    assert!(server.wake_wanted());
    guest.notified();
    assert_eq!((guest.changes.released, guest.read(reg::STATUS), guest.used(TRANSMIT)), (1, 0, None));
}

#[test]
fn a_completion_that_was_not_asked_for_breaks_the_device() {
    for misdeed in [1_u16, 0x100, 0xffff] {
        let (mut guest, mut server) = working(INFO, 0);
        send(&mut guest, &header(0, 0, 0, 0), &frame(REMOTE, 1000), &[]);
        let FramePayload::Window { id, .. } = server.next().unwrap().unwrap().payload else { panic!("in the window") };
        server.sent(id ^ misdeed).unwrap();
        guest.notified();
        assert_eq!(guest.changes.error, Some(DeviceError::Link));
        assert!(!guest.slots.is_quiesced());
    }
}

/// The driver domain starts again: the frames that it had taken are lost, and the guest has their chains back.
#[test]
fn frames_that_a_driver_that_starts_again_has_lost_come_back() {
    let region = region(MIN_SIZE);
    let (mut guest, mut server) = device_over(region, INFO);
    guest.bring_up(common::EVENT_IDX, 3);
    let taken = send(&mut guest, &header(0, 0, 0, 0), &frame(REMOTE, 1000), &[]);
    assert!(matches!(server.next().unwrap().unwrap().payload, FramePayload::Window { .. }));
    server.release();
    let waiting = send(&mut guest, &header(0, 0, 0, 0), &frame(REMOTE, 1001), &[]);

    let mut server = Server::new(region).unwrap();
    guest.notified();
    assert_eq!([guest.used(TRANSMIT), guest.used(TRANSMIT)], [Some((taken, 0)), None]);
    let FramePayload::Window { id, .. } = server.next().unwrap().unwrap().payload else { panic!("in the window") };
    server.release();
    server.sent(id).unwrap();
    guest.notified();
    assert_eq!([guest.used(TRANSMIT), guest.used(TRANSMIT)], [Some((waiting, 0)), None]);
}

/// Sends as Linux does, which asks for an interrupt when three quarters of what it has not got back have come: whether one
/// came, and how many frames are back.
fn send_as_linux(guest: &mut Guest, server: &mut Server<'static>, sent: u16, back: &mut u16) -> bool {
    *back += std::iter::from_fn(|| guest.used(TRANSMIT)).count() as u16;
    guest.ask(TRANSMIT, *back + (sent - *back) * 3 / 4);
    send(guest, &header(0, 0, 0, 0), &frame(REMOTE, 64), &[]);
    assert!(server.next().unwrap().is_some());
    server.release();
    guest.interrupt() != 0
}

#[test]
fn a_guest_that_goes_on_sending_is_not_interrupted() {
    let (mut guest, mut server) = working(INFO, 0);
    let mut back = 0;
    let interrupts = (0..20).filter(|sent| send_as_linux(&mut guest, &mut server, *sent, &mut back)).count();
    assert_eq!((interrupts, back, guest.slots.keeping() != 0), (0, 17, true));
    // At a rest it gets the others.
    guest.notified();
    assert_eq!((guest.interrupt(), std::iter::from_fn(|| guest.used(TRANSMIT)).count()), (1, 3));
    assert_eq!(guest.slots.keeping(), 0);
}

#[test]
fn what_is_kept_back_comes_soon_and_then_at_once() {
    let (mut guest, mut server) = working(INFO, 0);
    let mut back = 0;
    assert!(!send_as_linux(&mut guest, &mut server, 0, &mut back));
    assert_eq!(guest.slots.hurry(), 0, "it has just been kicked");
    assert_eq!(guest.slots.hurry(), guest.slots.keeping());
    guest.notified();
    assert_eq!((guest.interrupt(), guest.slots.keeping()), (1, 0));
    assert!((1..256).all(|sent| send_as_linux(&mut guest, &mut server, sent, &mut back)), "the guest waits for each");
    assert!(!send_as_linux(&mut guest, &mut server, 256, &mut back));
}
