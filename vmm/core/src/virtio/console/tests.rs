// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use super::*;
use crate::virtio::mmio::Changes;
use crate::virtio::testing::{DATA, Guest, SIZE as QUEUE_SIZE, reg, region};
use crate::virtio::{Device, feature};
use queue::serial::{MIN_SIZE, Server};

/// Bytes that the smallest link takes, in words of seven.
const ROOM: usize = 512 * 7;

fn working() -> (Guest, Server<'static>) {
    working_with(feature::EVENT_IDX)
}

fn working_with(features: u64) -> (Guest, Server<'static>) {
    let region = region(MIN_SIZE);
    let (client, mut server) = (Client::new(region).unwrap(), Server::new(region).unwrap());
    server.ask(true);
    let mut guest = Guest::new(Device::Console(Console::new(client, Size { columns: 80, rows: 25 })));
    guest.bring_up(SIZE | features, 2);
    assert_eq!((guest.interrupt(), guest.interrupt()), (2, 0), "the size is announced, once");
    (guest, server)
}

fn output(server: &mut Server<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 10_000];
    let count = server.read(&mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn the_guest_learns_the_size() {
    let (guest, _server) = working();
    assert_eq!(
        (guest.read(reg::DEVICE_ID), guest.read(reg::CONFIG), guest.read(reg::CONFIG + 4)),
        (3, 25 << 16 | 80, 1)
    );
}

#[test]
fn output_is_sent_whole_and_announced() {
    let (mut guest, mut server) = working();
    guest.put(DATA, b"hello, world");
    let head = guest.offer(1, &[(DATA, 5, false), (DATA + 5, 7, false)]);
    guest.notify(1);
    assert_eq!((output(&mut server), guest.used(1)), (b"hello, world".to_vec(), Some((head, 0))));
    assert_eq!((guest.changes.line, guest.changes.notify, guest.changes.keeps), (false, false, true), "that can wait");
    guest.notified();
    assert_eq!((guest.changes.line, guest.changes.notify, guest.changes.keeps), (true, true, false));
}

#[test]
fn what_waits_of_output_does_so_for_one_interval_however_often_the_driver_kicks() {
    let (mut guest, _server) = working_with(0);
    for _ in 0..3 {
        for first in [true, false] {
            guest.offer(1, &[(DATA, 5, false)]);
            guest.notify(1);
            let Changes { line, notify, keeps, .. } = guest.changes;
            assert_eq!((line, notify, keeps, guest.used(1).is_some()), (false, false, first, true));
        }
        assert_eq!(guest.slots.hurry(), guest.slots.keeping());
        guest.notified();
        assert_eq!((guest.interrupt(), guest.slots.keeping(), guest.slots.hurry()), (1, 0, 0));
    }
}

#[test]
fn a_driver_that_waits_for_room_is_told_at_once() {
    let (mut guest, _server) = working();
    for n in 1..=QUEUE_SIZE {
        guest.offer(1, &[(DATA, 5, false)]);
        guest.notify(1);
        assert_eq!((guest.changes.line, guest.changes.notify), (n == QUEUE_SIZE, n == QUEUE_SIZE), "{n}");
    }
}

#[test]
fn output_waits_for_room_and_none_is_lost() {
    let (mut guest, mut server) = working();
    let text: Vec<u8> = (0..0x5000_u32).map(|n| (n ^ n >> 8) as u8).collect();
    guest.put(DATA, &text);
    let first = guest.offer(1, &[(DATA, 0x3000, false)]);
    let second = guest.offer(1, &[(DATA + 0x3000, 0x2000, false)]);
    guest.notify(1);
    assert_eq!(guest.used(1), None);
    let mut sent = output(&mut server);
    assert_eq!(sent.len(), ROOM);
    let mut ended = Vec::new();
    for _ in 0..10 {
        server.ask(true);
        if !server.wake_wanted() {
            break;
        }
        guest.notified();
        sent.extend(output(&mut server));
        ended.extend(std::iter::from_fn(|| guest.used(1)));
    }
    assert!(sent == text);
    assert_eq!(ended, [(first, 0), (second, 0)]);
}

#[test]
fn input_waits_for_the_guest_and_fills_its_buffers() {
    let (mut guest, mut server) = working();
    server.write(b"typed by a person").unwrap();
    assert!(server.wake_wanted());
    guest.notified();
    assert_eq!(guest.used(0), None);
    let first = guest.offer(0, &[(DATA, 5, true)]);
    let second = guest.offer(0, &[(DATA + 0x100, 4, true), (DATA + 0x200, 40, true)]);
    guest.notify(0);
    assert_eq!((guest.used(0), guest.used(0)), (Some((first, 5)), Some((second, 12))));
    assert_eq!(guest.bytes(DATA, 5), b"typed");
    assert_eq!((guest.bytes(DATA + 0x100, 4), guest.bytes(DATA + 0x200, 8)), (&b" by "[..], &b"a person"[..]));
    assert_eq!(guest.interrupt(), 1);
    // And the other way round: the guest waits.
    guest.offer(0, &[(DATA, 5, true)]);
    guest.notify(0);
    assert_eq!(guest.used(0), None);
    server.write(b"x").unwrap();
    assert!(server.wake_wanted());
    guest.notified();
    assert_eq!(guest.used(0).unwrap().1, 1);
}

#[test]
fn input_that_nobody_reads_does_not_hold_back_output() {
    let (mut guest, mut server) = working();
    // More than the device takes over by itself.
    while server.write(&[b'x'; 512]).unwrap() > 0 {
        guest.notified();
    }
    guest.offer(1, &[(DATA, 0x2000, false)]);
    guest.notify(1);
    assert_eq!(guest.slots.due(), 0);
    let mut sent = 0;
    while sent < 0x2000 {
        sent += output(&mut server).len();
        assert!(server.wake_wanted() || sent == 0x2000);
        guest.notified();
    }
    assert!(guest.used(1).is_some());
}

#[test]
fn a_reset_drops_what_waits() {
    let (mut guest, mut server) = working();
    guest.offer(1, &[(DATA, 0x3000, false)]);
    guest.notify(1);
    output(&mut server);
    guest.write(reg::STATUS, 0).unwrap();
    guest.bring_up(0, 2);
    guest.notified();
    assert_eq!((output(&mut server), guest.used(1)), (vec![], None));
}
