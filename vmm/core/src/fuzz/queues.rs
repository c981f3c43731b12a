// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Each end of each link between domains, against a peer that writes anything anywhere at any time.

use super::{Bytes, saw, zeroed};
use core::sync::atomic::Ordering::Relaxed;
use queue::blk::{Completion, MAX_SEGMENTS, Operation, Request, Segment, Segments, Status};
use queue::net::{Checksum, EthernetHeader, FramePayload, HEADER_LEN, MAX_FRAME, Payload};
use queue::serial::{LOG_LINE_MAX, Log};
use queue::{AtomicU64, blk, net, rng, serial};
use std::fmt::Debug;
use std::format;

/// One end of a link.
#[expect(clippy::large_enum_variant, reason = "there is one")]
enum End {
    BlkClient(blk::Client<'static>),
    BlkServer(blk::Server<'static>),
    NetClient(net::Client<'static>),
    NetServer(net::Server<'static>),
    SerialClient(serial::Client<'static>),
    SerialServer(serial::Server<'static>),
    RngClient(rng::Client<'static>),
    RngServer(rng::Server<'static>),
}

impl End {
    /// One of them, by `choice`, over zeroed memory of the least size.
    fn new(choice: u8) -> (Self, &'static [AtomicU64]) {
        let size = [blk::MIN_SIZE, net::MIN_SIZE, serial::MIN_SIZE, rng::MIN_SIZE][usize::from(choice / 2 % 4)];
        let region = zeroed(size);
        let end = match choice % 8 {
            0 => blk::Client::new(region).map(End::BlkClient),
            1 => blk::Server::new(region).map(End::BlkServer),
            2 => net::Client::new(region).map(End::NetClient),
            3 => net::Server::new(region).map(End::NetServer),
            4 => serial::Client::new(region).map(End::SerialClient),
            5 => serial::Server::new(region).map(End::SerialServer),
            6 => rng::Client::new(region).map(End::RngClient),
            _ => rng::Server::new(region).map(End::RngServer),
        };
        (end.expect("the least size is enough"), region)
    }

    /// Calls one of its operations.
    fn call(&mut self, bytes: &mut Bytes<'_>) {
        let choice = bytes.byte();
        match self {
            Self::BlkClient(end) => blk_client(end, choice, bytes),
            Self::BlkServer(end) => blk_server(end, choice, bytes),
            Self::NetClient(end) => net_client(end, choice, bytes),
            Self::NetServer(end) => net_server(end, choice, bytes),
            Self::SerialClient(end) => serial_client(end, choice),
            Self::SerialServer(end) => serial_server(end, choice),
            Self::RngClient(end) => rng_client(end, choice),
            Self::RngServer(end) => rng_server(end, choice),
        }
    }
}

/// Notes how an operation ended, but not with what.
fn outcome<T, E: Debug>(operation: &str, result: &Result<T, E>) {
    match result {
        Ok(_) => saw(format!("{operation}: ok")),
        Err(error) => saw(format!("{operation}: {error:?}")),
    }
}

fn blk_client(end: &mut blk::Client<'_>, choice: u8, bytes: &mut Bytes<'_>) {
    match choice % 6 {
        0 => outcome("blk client, medium", &end.medium()),
        1 => {
            let segment = Segment { offset: u64::from(bytes.half()) << (bytes.byte() % 30), len: bytes.half().into() };
            let segments = [segment; MAX_SEGMENTS + 1];
            let operation =
                [Operation::Read, Operation::Flush, Operation::Discard { sectors: 1 }][usize::from(choice / 6 % 3)];
            let count = usize::from(bytes.byte()) % segments.len();
            let count = if operation.moves_data() { count } else { count / 100 };
            let request = Request { id: 7, operation, sector: 3, segments: &segments[..count] };
            outcome("blk client, submit", &end.submit(&request));
        }
        2 => outcome("blk client, complete", &end.complete()),
        3 => outcome("blk client, room", &end.room()),
        4 => drop(end.restarted()),
        _ => drop((end.sleep(), end.wake_wanted())),
    }
    assert!(end.under_way() <= blk::MIN_SIZE / 8);
}

fn blk_server(end: &mut blk::Server<'_>, choice: u8, bytes: &mut Bytes<'_>) {
    match choice % 3 {
        0 => {
            let mut room = Segments::new();
            let next = end.next(&mut room);
            if let Ok(Some(request)) = &next {
                assert!(request.segments.len() <= MAX_SEGMENTS);
                assert_ne!(request.segments.is_empty(), request.operation.moves_data());
                saw(format!(
                    "blk server, {}",
                    format!("{:?}", request.operation).split(' ').next().unwrap_or_default()
                ));
            }
            outcome("blk server, next", &next);
        }
        1 => outcome("blk server, complete", &end.complete(Completion { id: bytes.word(), status: Status::Done })),
        _ => drop((end.sleep(), end.wake_wanted())),
    }
}

fn net_client(end: &mut net::Client<'_>, choice: u8, bytes: &mut Bytes<'_>) {
    match choice % 6 {
        0 => outcome("net client, info", &end.info()),
        1 => {
            let segments = [Segment { offset: bytes.word().into(), len: bytes.byte().into() }; 4];
            let payload = match bytes.byte() % 8 {
                count @ 0..=4 => Payload::Window { id: 5, segments: &segments[..usize::from(count)] },
                _ => Payload::Copied(usize::from(bytes.half()) % 1700),
            };
            let checksum = Checksum::Partial { start: bytes.byte().into(), offset: bytes.byte().into() };
            let checksum = if choice & 64 == 0 { Checksum::Unknown } else { checksum };
            outcome("net client, send", &end.send(&EthernetHeader::default(), checksum, payload));
        }
        2 => outcome("net client, sent", &end.sent()),
        3 => {
            let received = end.received();
            outcome("net client, received", &received);
            if let Ok(Some(frame)) = received {
                assert!((HEADER_LEN..=MAX_FRAME).contains(&frame.len) && frame.buffer.len() * 8 >= frame.len);
                end.release();
            }
        }
        4 => drop((end.restarted(), end.is_up())),
        _ => drop((end.sleep(choice & 8 != 0), end.wake_wanted())),
    }
}

fn net_server(end: &mut net::Server<'_>, choice: u8, bytes: &mut Bytes<'_>) {
    match choice % 4 {
        0 => {
            let next = end.next();
            outcome("net server, next", &next);
            let Ok(Some(frame)) = next else { return };
            assert!((HEADER_LEN..=MAX_FRAME).contains(&frame.len));
            match frame.payload {
                FramePayload::Window { segments, count, .. } => {
                    let len: u64 = segments[..count].iter().map(|segment| u64::from(segment.len)).sum();
                    assert_eq!(len, (frame.len - HEADER_LEN) as u64);
                    saw("net server, window");
                }
                FramePayload::Copied(buffer) => {
                    assert!(buffer.len() * 8 >= frame.len - HEADER_LEN);
                    saw("net server, copied");
                }
            }
            end.release();
        }
        1 => outcome("net server, sent", &end.sent(bytes.half())),
        2 => {
            outcome("net server, buffer", &end.receive_buffer());
            outcome("net server, deliver", &end.deliver(usize::from(bytes.half()) % 1700, Checksum::Verified));
        }
        _ => drop((end.sleep(), end.wake_wanted())),
    }
}

fn serial_client(end: &mut serial::Client<'_>, choice: u8) {
    let mut buffer = [choice; 100];
    match choice % 5 {
        0 => {
            let read = end.read(&mut buffer);
            assert!(read.is_ok_and(|count| count <= buffer.len()) || read.is_err());
            outcome("serial client, read", &read);
        }
        1 => outcome("serial client, write", &end.write(&buffer)),
        2 => outcome("serial client, log", &end.log(format_args!("{buffer:?}"))),
        3 => outcome("serial client, free", &end.free()),
        _ => drop((end.sleep(), end.wake_wanted())),
    }
}

fn serial_server(end: &mut serial::Server<'_>, choice: u8) {
    let mut buffer = [choice; 100];
    match choice % 5 {
        0 => {
            let read = end.read(&mut buffer);
            assert!(read.is_ok_and(|count| count <= buffer.len()) || read.is_err());
            outcome("serial server, read", &read);
        }
        1 => outcome("serial server, write", &end.write(&buffer)),
        2 => {
            let next = end.next_log();
            outcome("serial server, log", &next);
            match next {
                Ok(Some(Log::Line(line))) => {
                    assert!(line.len() <= LOG_LINE_MAX);
                    saw("serial server, line");
                }
                Ok(Some(Log::Lost(_))) => saw("serial server, lost"),
                _ => {}
            }
        }
        3 => end.ask(choice & 8 != 0),
        _ if choice & 0xf0 == 0 => {
            end.resync();
            assert_eq!((end.read(&mut buffer), end.write(&buffer)), (Ok(0), Ok(buffer.len())), "mended");
        }
        _ => drop(end.wake_wanted()),
    }
}

fn rng_client(end: &mut rng::Client<'_>, choice: u8) {
    let mut buffer = [0; 100];
    match choice % 3 {
        0 => {
            let taken = end.take(&mut buffer);
            assert!(taken.is_ok_and(|count| count <= buffer.len()) || taken.is_err());
            outcome("rng client, take", &taken);
        }
        1 => outcome("rng client, empty", &end.is_empty()),
        _ => drop((end.sleep(), end.wake_wanted())),
    }
}

fn rng_server(end: &mut rng::Server<'_>, choice: u8) {
    match choice % 3 {
        0 => outcome("rng server, give", &end.give(&[choice; 100])),
        1 => outcome("rng server, room", &end.room()),
        _ => drop((end.sleep(), end.wake_wanted())),
    }
}

/// Operations of one end of a link, between which the peer writes anywhere: none panics, runs on, or passes on a length that
/// is out of its range.
pub fn queues(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let (mut end, region) = End::new(bytes.byte());
    while !bytes.is_empty() {
        if bytes.byte() % 4 != 0 {
            end.call(&mut bytes);
            continue;
        }
        let at = usize::from(bytes.half()) % region.len();
        // Most indices that a ring has are small, as are most lengths; the first words say what there is.
        let value = match bytes.byte() % 4 {
            0 => bytes.double(),
            1 => u64::from(bytes.word()) << 32 | u64::from(bytes.half()),
            _ => bytes.byte().into(),
        };
        // Indices and flags are a cache line apart.
        let at = [at, at % 64, at / 8 * 8][usize::from(bytes.byte() % 3)];
        region[at].store(value, Relaxed);
    }
}
