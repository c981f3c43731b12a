// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A block link between two correct ends, and each end against a hostile other.

#![cfg(not(loom))]

use proptest::prelude::*;
use queue::blk::{
    Client, Completion, Info, MAX_SEGMENT_LEN, MAX_SEGMENTS, MAX_WINDOW, MIN_SIZE, Medium, Operation, Request, Segment,
    Segments, Server, Status, SubmitError,
};
use queue::{AtomicU64, Broken, TooSmall};
use std::sync::atomic::Ordering::Relaxed;

/// Word offsets in the smallest region: the header, then a ring's header, then its records.
const REQUESTS_PUSHED: usize = 8;
const REQUESTS: usize = REQUESTS_PUSHED + 32;
const COMPLETIONS_PUSHED: usize = REQUESTS + 256;
const COMPLETIONS: usize = COMPLETIONS_PUSHED + 32;

fn region(bytes: usize) -> Vec<AtomicU64> {
    (0..bytes / 8).map(|_| AtomicU64::new(0)).collect()
}

fn segment(n: usize) -> Segment {
    Segment { offset: n as u64 * 4096 + 1, len: n as u32 + 1 }
}

const INFO: Info = Info {
    sectors: 1 << 40,
    block_size: 4096,
    read_only: true,
    flush: false,
    discard_sectors: 7,
    discard_alignment: 8,
    write_zeroes_sectors: u32::MAX,
    write_zeroes_unmap: true,
};

#[test]
fn the_region_has_a_least_size_and_holds_the_largest_request() {
    assert_eq!(Client::new(&region(MIN_SIZE - 8)).err(), Some(TooSmall));
    assert_eq!(Server::new(&region(MIN_SIZE - 8)).err(), Some(TooSmall));
    // (region, requests of two segments, requests of the most segments)
    for (size, small, large) in [(MIN_SIZE, 64, 2), (2 * MIN_SIZE - 8, 64, 2), (0x4000, 256, 8)] {
        for (segments, most) in [(2, small), (MAX_SEGMENTS, large)] {
            let region = region(size);
            let mut client = Client::new(&region).unwrap();
            let segments = vec![segment(0); segments];
            let request = Request { id: 0, operation: Operation::Read, sector: 0, segments: &segments };
            let taken = (0..1000).take_while(|_| client.submit(&request).is_ok()).count();
            assert_eq!(taken, most, "{size:#x}");
            assert_eq!(client.submit(&request), Err(SubmitError::Full));
            assert_eq!(client.under_way(), most);
        }
    }
}

#[test]
fn the_medium_is_unknown_until_the_driver_speaks() {
    for (info, medium) in [(Some(INFO), Medium::Present(INFO)), (None, Medium::Absent)] {
        let region = region(MIN_SIZE);
        let client = Client::new(&region).unwrap();
        assert_eq!(client.medium(), Ok(Medium::Unknown));
        Server::new(&region).unwrap().announce(info);
        assert_eq!(client.medium(), Ok(medium));
    }
}

#[test]
fn an_impossible_medium_is_told() {
    let cases = [
        ("no block size", Info { block_size: 0, ..INFO }),
        ("a block smaller than a sector", Info { block_size: 256, ..INFO }),
        ("a block size of no power of two", Info { block_size: 1536, ..INFO }),
        ("a size in bytes that no number holds", Info { sectors: 1 << 55, ..INFO }),
    ];
    for (name, info) in cases {
        let region = region(MIN_SIZE);
        Server::new(&region).unwrap().announce(Some(info));
        assert_eq!(Client::new(&region).unwrap().medium(), Err(Broken), "{name}");
    }
    let region = region(MIN_SIZE);
    region[0].store(3, Relaxed);
    assert_eq!(Client::new(&region).unwrap().medium(), Err(Broken), "a state that is none");
}

#[test]
fn a_request_that_no_record_can_say_is_refused() {
    let region = region(MIN_SIZE);
    let mut client = Client::new(&region).unwrap();
    let most = Segment { offset: MAX_WINDOW - 1, len: MAX_SEGMENT_LEN };
    let many = [segment(0); MAX_SEGMENTS + 1];
    let cases: [(Operation, &[Segment], _); 8] = [
        (Operation::Read, &[most], Ok(())),
        (Operation::Write, &many[1..], Ok(())),
        (Operation::Write, &many, Err(SubmitError::Malformed)),
        (Operation::Read, &[], Err(SubmitError::Malformed)),
        (Operation::Flush, &[most], Err(SubmitError::Malformed)),
        (Operation::Discard { sectors: 1 }, &[most], Err(SubmitError::Malformed)),
        (Operation::Read, &[Segment { offset: MAX_WINDOW, len: 1 }], Err(SubmitError::Malformed)),
        (Operation::Read, &[Segment { offset: 0, len: MAX_SEGMENT_LEN + 1 }], Err(SubmitError::Malformed)),
    ];
    for (operation, segments, expected) in cases {
        assert_eq!(
            client.submit(&Request { id: 1, operation, sector: 2, segments }).map(|_| ()),
            expected,
            "{operation:?}"
        );
    }
    assert_eq!(client.under_way(), 2);
}

#[test]
fn both_ends_sleep_until_there_is_something_for_them() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    assert!(server.sleep() && client.sleep());
    client.submit(&Request { id: 5, operation: Operation::Flush, sector: 0, segments: &[] }).unwrap();
    assert!(client.wake_wanted() && !client.wake_wanted());
    assert!(!server.sleep());
    server.next(&mut Segments::new()).unwrap().unwrap();
    assert!(server.sleep());
    server.complete(Completion { id: 5, status: Status::Done }).unwrap();
    assert!(server.wake_wanted() && !server.wake_wanted());
    assert!(!client.sleep());
}

/// The driver may hold as many requests as it likes: it always has room to hand them back.
#[test]
fn there_are_never_more_under_way_than_completions_have_room() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    let request = Request { id: 0, operation: Operation::Flush, sector: 0, segments: &[] };
    let mut taken = 0;
    while client.submit(&request).is_ok() {
        taken += 1;
        server.next(&mut Segments::new()).unwrap().unwrap();
    }
    assert_eq!(taken, 64);
    for _ in 0..taken {
        server.complete(Completion { id: 0, status: Status::Failed }).unwrap();
    }
    assert_eq!(server.complete(Completion { id: 0, status: Status::Failed }), Err(Broken), "once too often");
    assert!(client.complete().unwrap().is_some());
    assert!(client.submit(&request).is_ok());
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        Just(Operation::Read),
        Just(Operation::Write),
        Just(Operation::Flush),
        any::<u32>().prop_map(|sectors| Operation::Discard { sectors }),
        any::<(u32, bool)>().prop_map(|(sectors, unmap)| Operation::WriteZeroes { sectors, unmap }),
    ]
}

fn segments() -> impl Strategy<Value = Vec<Segment>> {
    let segment = (0..MAX_WINDOW, 0..=MAX_SEGMENT_LEN).prop_map(|(offset, len)| Segment { offset, len });
    prop::collection::vec(segment, 1..=MAX_SEGMENTS)
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![Just(Status::Done), Just(Status::Failed), Just(Status::Unsupported)]
}

proptest! {
    /// Requests of all sizes and their completions arrive as they were sent, however the rings wrap.
    #[test]
    fn requests_and_completions_arrive_as_sent(
        steps in prop::collection::vec((any::<u32>(), operation(), any::<u64>(), segments(), status()), 1..40),
    ) {
        let region = region(MIN_SIZE);
        let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
        for (id, operation, sector, segments, status) in steps {
            let segments = if operation.moves_data() { &segments[..] } else { &[] };
            let request = Request { id, operation, sector, segments };
            client.submit(&request).unwrap();
            let mut room = Segments::new();
            prop_assert_eq!(server.next(&mut room), Ok(Some(request)));
            prop_assert_eq!(server.next(&mut room), Ok(None));
            server.complete(Completion { id, status }).unwrap();
            prop_assert_eq!(client.complete(), Ok(Some(Completion { id, status })));
            prop_assert_eq!(client.complete(), Ok(None));
            prop_assert_eq!(client.under_way(), 0);
        }
    }

    /// The driver's end, against arbitrary words in all of the region.
    #[test]
    fn a_server_survives(
        steps in prop::collection::vec((prop::collection::vec((0..512_usize, value()), 0..8), 0..4_u8), 0..60),
    ) {
        let region = region(MIN_SIZE);
        let mut server = Server::new(&region).unwrap();
        for (pokes, op) in steps {
            pokes.into_iter().for_each(|(word, value)| region[word].store(value, Relaxed));
            match op {
                0 => {
                    let mut room = Segments::new();
                    if let Ok(Some(request)) = server.next(&mut room) {
                        prop_assert!(request.segments.len() <= MAX_SEGMENTS);
                        prop_assert_eq!(request.operation.moves_data(), !request.segments.is_empty());
                    }
                }
                1 => drop(server.complete(Completion { id: 9, status: Status::Failed })),
                2 => drop(server.sleep()),
                _ => drop(server.wake_wanted()),
            }
        }
    }

    /// The client's end, likewise.
    #[test]
    fn a_client_survives(
        steps in prop::collection::vec((prop::collection::vec((0..512_usize, value()), 0..8), 0..5_u8), 0..60),
    ) {
        let region = region(MIN_SIZE);
        let mut client = Client::new(&region).unwrap();
        let mut submitted = 0;
        for (pokes, op) in steps {
            pokes.into_iter().for_each(|(word, value)| region[word].store(value, Relaxed));
            match op {
                0 => {
                    let request = Request { id: 3, operation: Operation::Write, sector: 0, segments: &[segment(1); 9] };
                    submitted += usize::from(client.submit(&request).is_ok());
                }
                1 => drop(client.complete()),
                2 => drop(client.medium()),
                3 => drop(client.sleep()),
                _ => drop(client.wake_wanted()),
            }
            prop_assert!(client.under_way() <= submitted.min(64));
        }
    }
}

/// What a peer writes: often close to what is there, where the borders are.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..80_u64, (0..20_u64).prop_map(|n| u64::MAX - n)]
}

#[test]
fn a_malformed_request_is_told() {
    let code = |code: u64| code << 32;
    let count = |count: u64| count << 40;
    // (what, head, records that came)
    let cases = [
        ("a correct flush", code(2), 1, true),
        ("a correct read", count(3), 2, true),
        ("no such operation", code(6), 1, false),
        ("a read of nothing", 0, 1, false),
        ("a flush with data", code(2) | count(1), 1, false),
        ("too many segments", count(MAX_SEGMENTS as u64 + 1), 64, false),
        ("more segments than a number holds", u64::MAX << 40, 64, false),
        ("continuation records are missing", count(3), 1, false),
    ];
    for (name, head, records, good) in cases {
        let region = region(MIN_SIZE);
        let mut server = Server::new(&region).unwrap();
        region[REQUESTS].store(head, Relaxed);
        region[REQUESTS_PUSHED].store(records, Relaxed);
        assert_eq!(
            server.next(&mut Segments::new()).map(|request| request.is_some()).ok(),
            good.then_some(true),
            "{name}"
        );
    }
}

#[test]
fn a_malformed_or_surplus_completion_is_told() {
    for (name, word, asked, expected) in [
        ("a correct one", 7, true, Ok(Some(Completion { id: 7, status: Status::Done }))),
        ("no such status", 3 << 32 | 7, true, Err(Broken)),
        ("never asked for", 7, false, Err(Broken)),
    ] {
        let region = region(MIN_SIZE);
        let mut client = Client::new(&region).unwrap();
        if asked {
            client.submit(&Request { id: 7, operation: Operation::Flush, sector: 0, segments: &[] }).unwrap();
        }
        region[COMPLETIONS].store(word, Relaxed);
        region[COMPLETIONS_PUSHED].store(1, Relaxed);
        assert_eq!(client.complete(), expected, "{name}");
    }
}

/// A driver starts again: what the one before it had taken is lost, unless it was completed; the rest is still there.
#[test]
fn a_client_learns_what_a_driver_that_starts_again_has_lost() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    assert_eq!(client.restarted(), None, "the first start");
    let segments: Vec<_> = (0..MAX_SEGMENTS).map(segment).collect();
    let mut marks = [0, 1, 2].map(|id| {
        let segments = if id == 2 { &segments } else { &segments[..3] };
        client.submit(&Request { id, operation: Operation::Read, sector: 0, segments }).unwrap()
    });
    let mut room = Segments::new();
    for id in [0, 1] {
        assert_eq!(server.next(&mut room).unwrap().unwrap().id, id);
    }
    server.complete(Completion { id: 1, status: Status::Done }).unwrap();

    let mut server = Server::new(&region).unwrap();
    let begun = client.restarted().unwrap();
    assert_eq!(client.restarted(), None, "told once");
    assert_eq!(client.complete(), Ok(Some(Completion { id: 1, status: Status::Done })));
    assert_eq!(client.complete(), Ok(None));
    assert_eq!(marks.map(|mark| mark.is_before(begun)), [true, true, false]);
    client.forget();
    assert_eq!(client.under_way(), 1);
    // A request is taken whole or not at all, of however many records it is.
    let next = server.next(&mut room).unwrap().unwrap();
    assert_eq!((next.id, next.segments), (2, &segments[..]));

    // The same again, with the request that was lost now after the other one.
    marks[0] = client.submit(&Request { id: 0, operation: Operation::Flush, sector: 0, segments: &[] }).unwrap();
    Server::new(&region).unwrap();
    let begun = client.restarted().unwrap();
    assert_eq!((marks[2].is_before(begun), marks[0].is_before(begun)), (true, false));
}
