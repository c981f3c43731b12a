// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A network link between two correct ends, and each end against a hostile other.

#![cfg(not(loom))]

use proptest::prelude::*;
use queue::net::{
    Checksum, Client, EthernetHeader, FRAME_OFFSET, FramePayload, HEADER_LEN, Info, MAX_FRAME, MAX_SEGMENTS, MIN_SIZE,
    Mac, Payload, Segment, SendError, Server,
};
use queue::{AtomicU64, Broken, TooSmall, cells};
use std::sync::atomic::Ordering::Relaxed;

/// Word offsets in the smallest region.
const SEND_PUSHED: usize = 16;
const SEND: usize = SEND_PUSHED + 32;
const SENT_PUSHED: usize = SEND + 8 * 8;
const SENT: usize = SENT_PUSHED + 32;
const RECEIVE_PUSHED: usize = SENT + 8;
const RECEIVE: usize = RECEIVE_PUSHED + 32;

fn region(bytes: usize) -> Vec<AtomicU64> {
    (0..bytes / 8).map(|_| AtomicU64::new(0)).collect()
}

const HEADER: EthernetHeader = EthernetHeader([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x06]);
const NO_NEIGHBOURS: [Option<Mac>; 8] = [None; 8];
const INFO: Info =
    Info { mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1500, completes_checksums: true, neighbours: NO_NEIGHBOURS };

#[test]
fn the_region_has_a_least_size_and_says_how_many_frames_it_holds() {
    assert_eq!(Client::new(&region(MIN_SIZE - 8)).err(), Some(TooSmall));
    assert_eq!(Server::new(&region(MIN_SIZE - 8)).err(), Some(TooSmall));
    for (size, send, receive) in [(MIN_SIZE, 8, 16), (MIN_SIZE * 2 - 8, 8, 16), (0x10_0000, 128, 256)] {
        let region = region(size);
        let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
        for payload in [Payload::Copied(46), Payload::Window { id: 1, segments: &[Segment { offset: 0, len: 1 }] }] {
            let taken = (0..1000).take_while(|_| client.send(&HEADER, Checksum::Unknown, payload).is_ok()).count();
            assert_eq!(taken, send, "{size:#x}");
            while server.next().unwrap().is_some() {
                server.release();
            }
        }
        let taken = (0..1000).take_while(|_| server.deliver(60, Checksum::Unknown) == Ok(())).count();
        assert_eq!((taken, server.receive_buffer().unwrap().is_none()), (receive, true));
    }
}

#[test]
fn a_client_learns_its_connection() {
    let region = region(MIN_SIZE);
    let (client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    assert_eq!((client.info(), client.is_up()), (Ok(None), false));
    let mut info = INFO;
    info.neighbours[3] = Some(Mac([2, 0, 0, 0, 0, 2]));
    server.announce(&info);
    server.set_up(true);
    assert_eq!((client.info(), client.is_up()), (Ok(Some(info)), true));
    for (mac, local) in [
        (Mac([2, 0, 0, 0, 0, 2]), true),
        (Mac([2, 0, 0, 0, 0, 3]), false),
        (Mac([0xff; 6]), true),
        (Mac([0x33, 0x33, 0, 0, 0, 1]), true),
        (Mac([0; 6]), false),
    ] {
        assert_eq!(info.is_local(mac), local, "{mac}");
    }
    for (name, info) in [
        ("an address of a group", Info { mac: Mac([3, 0, 0, 0, 0, 1]), ..INFO }),
        ("too long frames", Info { mtu: 1501, ..INFO }),
    ] {
        server.announce(&info);
        assert_eq!(client.info(), Err(Broken), "{name}");
    }
    region[0].store(2, Relaxed);
    assert_eq!(client.info(), Err(Broken), "a state that is none");
}

#[test]
fn a_frame_that_no_record_can_say_is_refused() {
    let region = region(MIN_SIZE);
    let mut client = Client::new(&region).unwrap();
    let long = [Segment { offset: 0, len: 1000 }; 2];
    let window = |segments| Payload::Window { id: 1, segments };
    let partial = |start, offset| Checksum::Partial { start, offset };
    let cases = [
        ("nothing to copy", Payload::Copied(0), Checksum::Unknown, true),
        ("the most", Payload::Copied(MAX_FRAME - HEADER_LEN), Checksum::Verified, true),
        ("more", Payload::Copied(MAX_FRAME - HEADER_LEN + 1), Checksum::Unknown, false),
        ("all there is", Payload::Copied(usize::MAX), Checksum::Unknown, false),
        ("the most segments", window(&[Segment { offset: 5, len: 7 }; MAX_SEGMENTS]), Checksum::Unknown, true),
        ("more segments", window(&[Segment { offset: 5, len: 7 }; MAX_SEGMENTS + 1]), Checksum::Unknown, false),
        ("no segment", window(&[]), Checksum::Unknown, false),
        ("segments of too much", window(&long), Checksum::Unknown, false),
        ("a segment too far away", window(&[Segment { offset: 1 << 40, len: 1 }]), Checksum::Unknown, false),
        ("a checksum at the end", Payload::Copied(46), partial(34, 24), true),
        ("a checksum behind the end", Payload::Copied(46), partial(34, 25), false),
        ("a checksum far behind", Payload::Copied(46), partial(0xffff, 0xffff), false),
        ("a checksum of the header", Payload::Copied(46), partial(13, 2), false),
    ];
    for (name, payload, checksum, good) in cases {
        let expected = if good { Ok(()) } else { Err(SendError::Malformed) };
        assert_eq!(client.send(&HEADER, checksum, payload).map(|_| ()), expected, "{name}");
    }
}

#[test]
fn a_frame_to_a_neighbour_arrives_whole() {
    let (from, to) = (region(MIN_SIZE), region(MIN_SIZE));
    let (mut sender, mut sender_server) = (Client::new(&from).unwrap(), Server::new(&from).unwrap());
    let (mut receiver, mut receiver_server) = (Client::new(&to).unwrap(), Server::new(&to).unwrap());
    for len in [0, 1, 46, 1500, 1504] {
        let payload: Vec<u8> = (0..len).map(|n| n as u8 ^ (n >> 8) as u8).collect();
        let checksum = if len > 40 { Checksum::Partial { start: 34, offset: 16 } } else { Checksum::Unknown };
        cells::write(sender.send_buffer(), 0, &payload);
        sender.send(&HEADER, checksum, Payload::Copied(len)).unwrap();
        let frame = sender_server.next().unwrap().unwrap();
        assert_eq!(frame.header.destination(), Mac([1, 2, 3, 4, 5, 6]));
        assert_eq!(frame.header.source(), Mac([7, 8, 9, 10, 11, 12]));
        assert_eq!(receiver_server.forward(&frame), Ok(true));
        sender_server.release();
        let received = receiver.received().unwrap().unwrap();
        let mut bytes = vec![0; received.len];
        cells::read(received.buffer, FRAME_OFFSET, &mut bytes);
        assert_eq!(bytes, [&HEADER.0[..], &payload].concat());
        assert_eq!(received.checksum, checksum);
        receiver.release();
        assert!(receiver.received().unwrap().is_none() && sender_server.next().unwrap().is_none());
    }
    let frame_in_window = Payload::Window { id: 9, segments: &[Segment { offset: 0, len: 46 }] };
    sender.send(&HEADER, Checksum::Unknown, frame_in_window).unwrap();
    let frame = sender_server.next().unwrap().unwrap();
    assert_eq!(receiver_server.forward(&frame), Ok(false), "the driver cannot read a window");
}

#[test]
fn a_frame_in_the_window_comes_back_by_its_id() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    let sent = [Segment { offset: 77, len: 40 }, Segment { offset: 0x12345, len: 6 }];
    client.send(&HEADER, Checksum::Unknown, Payload::Window { id: 0xbeef, segments: &sent }).unwrap();
    let frame = server.next().unwrap().unwrap();
    let FramePayload::Window { id, segments, count } = frame.payload else { panic!("it is in the window") };
    assert_eq!((id, &segments[..count], frame.len, frame.header), (0xbeef, &sent[..], 60, HEADER));
    server.release();
    assert_eq!((client.under_way(), client.sent()), (1, Ok(None)));
    server.sent(0xbeef).unwrap();
    assert_eq!((client.sent(), client.under_way()), (Ok(Some(0xbeef)), 0));
    server.sent(0xbeef).unwrap();
    assert_eq!(client.sent(), Err(Broken), "once too often");
}

#[test]
fn both_ends_sleep_until_there_is_something_for_them() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    assert!(server.sleep() && client.sleep(true));
    client.send(&HEADER, Checksum::Unknown, Payload::Copied(46)).unwrap();
    assert!(client.wake_wanted() && !client.wake_wanted() && !server.sleep());
    server.next().unwrap().unwrap();
    server.release();
    assert!(server.sleep() && !server.wake_wanted());
    server.deliver(60, Checksum::Unknown).unwrap();
    assert!(server.wake_wanted() && !server.wake_wanted() && !client.sleep(true));
    assert!(client.sleep(false), "the frame may wait");
    client.received().unwrap().unwrap();
    client.release();
    // No room: the client is woken for that too, when half is free.
    while client.send(&HEADER, Checksum::Unknown, Payload::Copied(46)).is_ok() {}
    assert!(client.sleep(true));
    for left in (0..8).rev() {
        server.next().unwrap().unwrap();
        server.release();
        assert_eq!(server.wake_wanted(), left == 4, "{left}");
    }
}

#[test]
fn a_malformed_frame_is_told() {
    // (what, first word: length, flags, segments; word 2: start; word 3: offset; lengths of the segments, whether good)
    type Case = (&'static str, u64, u64, u64, [u64; 3], bool);
    let cases: [Case; 12] = [
        ("a copied one", 60 | 4 << 16, 0, 0, [0; 3], true),
        ("one in the window", 60 | 2 << 24, 0, 0, [40, 6, 99], true),
        ("shorter than its header", 13 | 4 << 16, 0, 0, [0; 3], false),
        ("too long", 1519 | 4 << 16, 0, 0, [0; 3], false),
        ("copied and in the window", 60 | 4 << 16 | 1 << 24, 0, 0, [46, 0, 0], false),
        ("nowhere", 60, 0, 0, [0; 3], false),
        ("in too many segments", 60 | 4 << 24, 0, 0, [46, 0, 0], false),
        ("segments that are shorter", 60 | 2 << 24, 0, 0, [40, 5, 0], false),
        ("segments that are longer", 60 | 1 << 24, 0, 0, [0xff_ffff, 0, 0], false),
        ("a checksum in it", 60 | 5 << 16, 34 << 48, 24, [0; 3], true),
        ("a checksum behind it", 60 | 5 << 16, 34 << 48, 25, [0; 3], false),
        ("a checksum that is and is not complete", 60 | 7 << 16, 34 << 48, 24, [0; 3], false),
    ];
    for (name, first, second, third, lengths, good) in cases {
        let region = region(MIN_SIZE);
        let server = Server::new(&region).unwrap();
        let words = [first, 0, second, third, lengths[0] << 40, lengths[1] << 40, lengths[2] << 40];
        words.iter().zip(&region[SEND..]).for_each(|(word, cell)| cell.store(*word, Relaxed));
        region[SEND_PUSHED].store(1, Relaxed);
        assert_eq!(server.next().is_ok(), good, "{name}");
    }
}

#[test]
fn a_malformed_completion_or_received_frame_is_told() {
    for (name, word, good) in
        [("good", 60, true), ("short", 13, false), ("long", 1519, false), ("checksum", 60 | 1 << 16 | 70 << 32, false)]
    {
        let region = region(MIN_SIZE);
        let client = Client::new(&region).unwrap();
        region[RECEIVE].store(word, Relaxed);
        region[RECEIVE_PUSHED].store(1, Relaxed);
        assert_eq!(client.received().is_ok(), good, "{name}");
    }
    let region = region(MIN_SIZE);
    let mut client = Client::new(&region).unwrap();
    let window = Payload::Window { id: 0, segments: &[Segment { offset: 0, len: 46 }] };
    client.send(&HEADER, Checksum::Unknown, window).unwrap();
    region[SENT].store(0x1_0000, Relaxed);
    region[SENT_PUSHED].store(1, Relaxed);
    assert_eq!(client.sent(), Err(Broken), "no such id");
}

/// What a peer writes: often close to what is there, where the borders are.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..80_u64, (0..20_u64).prop_map(|n| u64::MAX - n), (0..8_u64).prop_map(|f| 60 | f << 16)]
}

type Pokes = Vec<(usize, u64)>;

fn steps(ops: u8) -> impl Strategy<Value = Vec<(Pokes, u8)>> {
    prop::collection::vec((prop::collection::vec((0..RECEIVE + 16, value()), 0..8), 0..ops), 0..60)
}

proptest! {
    #[test]
    fn a_server_survives(steps in steps(7)) {
        let (region, other) = (region(MIN_SIZE), region(MIN_SIZE));
        let (mut server, mut neighbour) = (Server::new(&region).unwrap(), Server::new(&other).unwrap());
        for (pokes, op) in steps {
            pokes.into_iter().for_each(|(word, value)| region[word].store(value, Relaxed));
            match op {
                0 => {
                    if let Ok(Some(frame)) = server.next() {
                        prop_assert!((HEADER_LEN..=MAX_FRAME).contains(&frame.len));
                        let _ = neighbour.forward(&frame);
                        server.release();
                    }
                }
                1 => drop(server.sent(3)),
                2 => drop(server.deliver(100, Checksum::Partial { start: 40, offset: 90 })),
                3 => {
                    let buffer = server.receive_buffer();
                    prop_assert!(buffer.is_err() || buffer.is_ok_and(|b| b.is_none_or(|b| b.len() * 8 >= MAX_FRAME + 2)));
                }
                4 => drop(server.sleep()),
                5 => server.set_up(true),
                _ => drop(server.wake_wanted()),
            }
        }
    }

    #[test]
    fn a_client_survives(steps in steps(7)) {
        let region = region(MIN_SIZE);
        let mut client = Client::new(&region).unwrap();
        let mut windows = 0;
        for (pokes, op) in steps {
            pokes.into_iter().for_each(|(word, value)| region[word].store(value, Relaxed));
            match op {
                0 => {
                    let window = Payload::Window { id: 5, segments: &[Segment { offset: 0, len: 46 }] };
                    windows += usize::from(client.send(&HEADER, Checksum::Unknown, window).is_ok());
                }
                1 => drop(client.send(&HEADER, Checksum::Unknown, Payload::Copied(46))),
                2 => {
                    if let Ok(Some(received)) = client.received() {
                        prop_assert!((HEADER_LEN..=MAX_FRAME).contains(&received.len));
                        prop_assert!(received.buffer.len() * 8 >= received.len + FRAME_OFFSET);
                        client.release();
                    }
                }
                3 => drop(client.sent()),
                4 => drop((client.info(), client.is_up())),
                5 => drop(client.sleep(true)),
                _ => drop(client.wake_wanted()),
            }
            prop_assert!(client.under_way() <= windows.min(8));
            prop_assert!(client.send_buffer().len() * 8 >= MAX_FRAME - HEADER_LEN);
        }
    }
}
