// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use super::tests::{INFO, NEIGHBOUR, OWN, REMOTE, header, payload_of, send, working};
use super::*;
use crate::life::Lifecycle;
use crate::virtio::testing::{Guest, reg};
use queue::AtomicU64;
use queue::net::{Mac, Server};

const FEATURES: u64 = feature::CSUM | feature::HOST_TSO4;
/// Flags of TCP: CWR, ACK, PSH, FIN.
const FLAGS: u8 = 0x99;
const ID: u16 = 0xfffe;
const SEQUENCE: u32 = 0xffff_fff0;

/// A frame of `len` bytes of TCP, with so many words of options in both headers.
fn large(to: Mac, tag: &[u8], [ip, tcp]: [usize; 2], len: usize) -> Vec<u8> {
    let mut bytes = [&to.0[..], &OWN.0, tag, &[0x08, 0x00]].concat();
    bytes.extend([0x45 + ip as u8, 0x12, 0x34, 0x56]);
    bytes.extend(ID.to_be_bytes());
    bytes.extend([0x40, 0, 64, 6, 0xab, 0xcd, 10, 0, 2, 15, 10, 0, 2, 2]);
    bytes.extend([1; 4].repeat(ip));
    bytes.extend([0x12, 0x34, 0x56, 0x78]);
    bytes.extend(SEQUENCE.to_be_bytes());
    bytes.extend([9, 8, 7, 6, 0x50 + 0x10 * tcp as u8, FLAGS, 0xfa, 0xf0, 0x99, 0x99, 0, 0]);
    bytes.extend([1; 4].repeat(tcp));
    bytes.extend((0..len).map(|n| (n * 7 + (n >> 8)) as u8));
    bytes
}

/// Virtio's header of such a frame.
fn segmented(start: usize, size: u16) -> Vec<u8> {
    let mut bytes = header(NEEDS_CSUM, GSO_TCPV4, start as u16, 16);
    bytes[4..6].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// The next frame that comes to the driver, as it was sent but with its checksum completed.
fn next(server: &mut Server<'_>) -> Option<Vec<u8>> {
    let frame = server.next().unwrap()?;
    let bytes = [&frame.header.0[..], &payload_of(&frame).expect("copied")].concat();
    let Checksum::Partial { start, offset } = frame.checksum else { panic!("{:?}", frame.checksum) };
    server.release();
    let cells: Vec<_> = (0..200).map(|_| AtomicU64::new(0)).collect();
    cells::write(&cells, 0, &bytes);
    checksum::complete(&cells, start.into(), bytes.len(), usize::from(start + offset));
    let mut completed = vec![0; bytes.len()];
    cells::read(&cells, 0, &mut completed);
    Some(completed)
}

/// Takes all frames, and wakes the device as often as it asks for it.
fn all(guest: &mut Guest, server: &mut Server<'_>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        let before = frames.len();
        frames.extend(std::iter::from_fn(|| next(server)));
        server.sleep();
        if server.wake_wanted() || guest.slots.due() != 0 {
            guest.notified();
        }
        if frames.len() == before {
            return frames;
        }
    }
}

/// Checks that `frames` are what becomes of `original`, whose IPv4 header begins at `network`.
fn check(frames: &[Vec<u8>], original: &[u8], network: usize, size: usize) {
    let transport = network + usize::from(original[network] & 0xf) * 4;
    let payload = transport + usize::from(original[transport + 12] >> 4) * 4;
    assert_eq!(frames.len(), (original.len() - payload).div_ceil(size).max(1));
    let mut position = payload;
    for (number, frame) in frames.iter().enumerate() {
        let part = size.min(original.len() - position);
        assert_eq!(frame[payload..], original[position..position + part], "payload {number}");
        let field = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        assert_eq!(usize::from(field(network + 2)), frame.len() - network, "IPv4's length");
        assert_eq!(field(network + 4), ID.wrapping_add(number as u16), "identification");
        assert_eq!(checksum::fold(checksum::sum(&frame[network..transport])), 0xffff, "IPv4's checksum");
        let sequence = u32::from(field(transport + 4)) << 16 | u32::from(field(transport + 6));
        assert_eq!(sequence, SEQUENCE.wrapping_add((position - payload) as u32));
        let is_last = number + 1 == frames.len();
        assert_eq!(frame[transport + 13], if is_last { FLAGS } else { FLAGS & !0x9 }, "flags of {number}");
        let pseudo_header = checksum::sum(&frame[network + 12..network + 20]) + 6 + (frame.len() - transport) as u64;
        let sum = pseudo_header + checksum::sum(&frame[transport..]);
        assert_eq!(checksum::fold(sum), 0xffff, "TCP's checksum");
        // Nothing else differs.
        let mut headers = original[..payload].to_vec();
        for (at, len) in
            [(network + 2, 4), (network + 10, 2), (transport + 4, 4), (transport + 13, 1), (transport + 16, 2)]
        {
            headers[at..at + len].copy_from_slice(&frame[at..at + len]);
        }
        assert_eq!(frame[..payload], headers, "headers of {number}");
        position += part;
    }
}

#[test]
fn a_large_frame_is_sent_in_segments() {
    let tag = [0x81, 0x00, 0, 5];
    let cannot = Info { completes_checksums: false, ..INFO };
    type Case<'a> = (Info, Mac, &'a [u8], [usize; 2], usize, usize, &'a [usize]);
    let cases: [Case<'_>; 9] = [
        (INFO, REMOTE, &[], [0, 0], 4000, 1460, &[12, 66]),
        (cannot, REMOTE, &[], [0, 3], 4000, 1448, &[12, 78]),
        (cannot, NEIGHBOUR, &[], [0, 3], 4000, 1448, &[5, 20, 30, 1001, 3001]),
        (cannot, REMOTE, &tag, [0, 3], 3333, 1448, &[12]),
        (cannot, REMOTE, &[], [10, 10], 3000, 1001, &[]),
        (cannot, REMOTE, &[], [0, 0], 2920, 1460, &[]),
        (cannot, REMOTE, &[], [0, 0], 7, 1460, &[]),
        (cannot, REMOTE, &[], [0, 0], 0, 1460, &[]),
        (cannot, REMOTE, &[], [0, 0], 7, 1, &[]),
    ];
    for (info, to, tag, options, len, size, cuts) in cases {
        let (mut guest, mut server) = working(info, FEATURES);
        let network = HEADER_LEN + tag.len();
        let bytes = large(to, tag, options, len);
        let head = send(&mut guest, &segmented(network + 20 + 4 * options[0], size as u16), &bytes, cuts);
        check(&all(&mut guest, &mut server), &bytes, network, size);
        guest.notified();
        assert_eq!((guest.used(TRANSMIT), guest.slots.dropped()), (Some((head, 0)), 0));
        assert!(guest.slots.is_quiesced());
    }
}

/// The link of these tests holds eight frames.
#[test]
fn segments_for_which_there_is_no_room_follow() {
    let (mut guest, mut server) = working(INFO, FEATURES);
    let bytes = large(REMOTE, &[], [0, 0], 30_000);
    let head = send(&mut guest, &segmented(34, 1460), &bytes, &[]);
    guest.notified();
    assert_eq!(guest.used(TRANSMIT), None, "most of it is still needed");
    check(&all(&mut guest, &mut server), &bytes, HEADER_LEN, 1460);
    assert_eq!(guest.used(TRANSMIT), Some((head, 0)));
}

#[test]
fn a_run_sends_no_more_segments_than_it_may() {
    let region = crate::virtio::testing::region(1 << 22);
    let (client, mut server) = (Client::new(region).unwrap(), Server::new(region).unwrap());
    let mut guest = Guest::new(crate::virtio::Device::Net(Net::new(client, INFO)));
    guest.bring_up(FEATURES, 3);
    let bytes = large(REMOTE, &[], [0, 0], 300);
    send(&mut guest, &segmented(34, 1), &bytes, &[]);
    assert_ne!(guest.slots.due(), 0);
    let first: Vec<_> = std::iter::from_fn(|| next(&mut server)).collect();
    assert_eq!(first.len(), RUN_FRAMES);
    guest.notified();
    check(&[first, all(&mut guest, &mut server)].concat(), &bytes, HEADER_LEN, 1);
}

/// What has been sent of a frame is forgotten with it.
#[test]
fn after_a_reset_a_large_frame_is_sent_from_its_start() {
    let (mut guest, mut server) = working(INFO, FEATURES);
    send(&mut guest, &segmented(34, 1460), &large(REMOTE, &[], [0, 0], 30_000), &[]);
    assert_eq!(std::iter::from_fn(|| next(&mut server)).count(), 8);
    guest.write(reg::STATUS, 0).unwrap();
    guest.bring_up(FEATURES, 3);
    let bytes = large(REMOTE, &[], [0, 0], 3000);
    send(&mut guest, &segmented(34, 1460), &bytes, &[]);
    check(&all(&mut guest, &mut server), &bytes, HEADER_LEN, 1460);
}

#[test]
fn a_large_frame_that_cannot_be_segmented_is_dropped() {
    let with = |header: &[u8], at: usize, byte: u8| {
        let mut header = header.to_vec();
        header[at] = byte;
        header
    };
    let right = segmented(34, 1000);
    let bytes = large(REMOTE, &[], [0, 0], 3000);
    let cases = [
        ("not negotiated", feature::CSUM, right.clone(), bytes.clone()),
        ("of another kind", FEATURES, with(&right, 1, 4), bytes.clone()),
        ("without a checksum", FEATURES, with(&right, 0, 0), bytes.clone()),
        ("without a size", FEATURES, segmented(34, 0), bytes.clone()),
        ("segments too long", FEATURES, segmented(34, 1465), bytes.clone()),
        ("a checksum elsewhere", FEATURES, with(&right, 8, 6), bytes.clone()),
        ("its header elsewhere", FEATURES, segmented(38, 1000), bytes.clone()),
        ("its header in Ethernet's", FEATURES, segmented(14, 1000), bytes.clone()),
        ("not IPv4", FEATURES, right.clone(), with(&bytes, 14, 0x65)),
        ("not TCP", FEATURES, right.clone(), with(&bytes, 23, 17)),
        ("a header too short", FEATURES, right.clone(), with(&bytes, 46, 0x40)),
        ("a header behind the end", FEATURES, right.clone(), with(&bytes[..60], 46, 0x70)),
        ("too long", FEATURES, right.clone(), large(REMOTE, &[], [0, 0], MAX_LARGE)),
    ];
    for (name, features, header, bytes) in cases {
        let (mut guest, server) = working(INFO, features);
        let head = send(&mut guest, &header, &bytes, &[12]);
        guest.notified();
        assert!(server.next().unwrap().is_none(), "{name}");
        assert_eq!((guest.used(TRANSMIT), guest.slots.dropped()), (Some((head, 0)), 1), "{name}");
    }
}
