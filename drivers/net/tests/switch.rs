// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Frames between clients and a NIC, of which any may break the rules.

use net::{Counters, Nic, OpenError, Pass, Switch};
use proptest::prelude::*;
use queue::net::{Checksum, Client, EthernetHeader, FRAME_OFFSET, Info, MAX_FRAME, Mac, Payload, Segment, Server};
use queue::{AtomicU64, cells};
use std::sync::atomic::Ordering::SeqCst;
use virtq::fake::{BASE, Fake};
use virtq::{Features, Window};

const DMA: usize = 0xd_0000;
const RAM: u64 = 0x1_0000;
const MEMORY: usize = DMA + 4 * RAM as usize;
const FEATURES: u64 = 1 << 32 | 1 << 29 | 1 << 28 | 1 << 16 | 1 << 3 | 1 << 1 | 1 << 0;
/// Size of the clients' queues, and how many received frames they hold.
const QUEUE: usize = 0x8_0000;
const ROOM: usize = 128;

const BROADCAST: Mac = Mac([0xff; 6]);
const GROUP: Mac = Mac([0x01, 0, 0x5e, 1, 2, 3]);
/// Somewhere in the network.
const FAR: Mac = Mac([2, 0, 0, 0, 0, 0xff]);

fn mac(client: usize) -> Mac {
    Mac([2, 0, 0, 0, 1, client as u8])
}

fn ram(client: usize) -> u64 {
    BASE + DMA as u64 + client as u64 * RAM
}

/// Virtio 1.2, 5.1.4: the address, the status, the number of queue pairs, the MTU.
fn configuration(status: u16, mtu: u16) -> Vec<u8> {
    [&[2, 9, 9, 9, 9, 9][..], &status.to_le_bytes(), &[0, 0], &mtu.to_le_bytes()].concat()
}

/// The sum of big-endian words.
fn net_sum(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn frame(to: Mac, from: Mac, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &[8, 0], payload].concat()
}

struct Setup {
    fake: Fake,
    switch: Switch<'static, Fake>,
    clients: Vec<Client<'static>>,
    queues: Vec<&'static [AtomicU64]>,
    log: Vec<String>,
}

impl Setup {
    fn with(features: u64, status: u16, has_nic: bool) -> Self {
        let fake = Fake::new(1, Features(features), &configuration(status, 1400), 2, MEMORY);
        let nic = has_nic.then(|| Nic::open(fake.clone(), &mut fake.dma(DMA), Box::leak(Box::default())).unwrap());
        let mut switch = Switch::new(nic, 3, Box::leak(Box::default()));
        let queue = |_| &*(0..QUEUE / 8).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
        let queues: Vec<_> = (0..3).map(queue).collect();
        for (index, queue) in queues.iter().enumerate() {
            switch.add(index, Server::new(queue).unwrap(), Window::new(ram(index), RAM).unwrap(), mac(index));
        }
        switch.announce();
        let clients = queues.iter().map(|queue| Client::new(queue).unwrap()).collect();
        let mut setup = Self { fake, switch, clients, queues, log: Vec::new() };
        setup.serve(true);
        setup
    }

    fn new() -> Self {
        Self::with(FEATURES, 1, true)
    }

    fn serve(&mut self, arrived: bool) -> u64 {
        let mut wake = 0;
        let mut next = Some(arrived);
        for _ in 0..1000 {
            let Some(arrived) = next else { return wake };
            let Pass { wake: more, again } = self.switch.serve(arrived, &mut |line| self.log.push(line.to_string()));
            wake |= more;
            next = again;
        }
        panic!("the switch does not come to rest");
    }

    fn interrupt(&mut self) -> u64 {
        let all = self.switch.interrupted(&mut |line| self.log.push(line.to_string()));
        self.serve(true) | if all { u64::MAX } else { 0 }
    }

    /// Client `from` sends a frame whose payload it copies.
    fn send(&mut self, from: usize, source: Mac, to: Mac, payload: &[u8], checksum: Checksum) {
        let client = &mut self.clients[from];
        cells::write(client.send_buffer(), 0, payload);
        client.send(&header(to, source), checksum, Payload::Copied(payload.len())).unwrap();
        self.serve(false);
    }

    /// Client `from` sends a frame whose payload is in its RAM.
    fn send_window(&mut self, from: usize, id: u16, to: Mac, segments: &[(u64, u32)]) {
        let segments: Vec<_> = segments.iter().map(|(offset, len)| Segment { offset: *offset, len: *len }).collect();
        let payload = Payload::Window { id, segments: &segments };
        self.clients[from].send(&header(to, mac(from)), Checksum::Unknown, payload).unwrap();
        self.serve(false);
    }

    /// What the NIC got to send: virtio's header, and the frame. It has then sent it.
    fn sent(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Some(chain) = self.fake.take(1) {
            assert!(chain.writable.is_empty());
            let bytes = self.fake.gather(&chain.readable);
            self.fake.give(1, chain.head.into(), 0);
            frames.push((bytes[..12].to_vec(), bytes[12..].to_vec()));
        }
        self.interrupt();
        frames
    }

    fn sent_frames(&mut self) -> Vec<Vec<u8>> {
        self.sent().into_iter().map(|(_, frame)| frame).collect()
    }

    /// A frame comes from the network.
    fn arrive(&mut self, virtio: [u8; 12], frame: &[u8]) -> u64 {
        let chain = self.fake.take(0).expect("the NIC has a buffer");
        assert!(chain.readable.is_empty() && chain.writable.len() == 1);
        let written = self.fake.scatter(&chain.writable, &[&virtio, frame].concat());
        self.fake.give(0, chain.head.into(), written);
        self.interrupt()
    }

    fn received(&mut self, client: usize) -> Vec<(Vec<u8>, Checksum)> {
        let client = &mut self.clients[client];
        let mut frames = Vec::new();
        while let Some(received) = client.received().unwrap() {
            let mut bytes = vec![0; received.len];
            cells::read(received.buffer, FRAME_OFFSET, &mut bytes);
            frames.push((bytes, received.checksum));
            client.release();
        }
        frames
    }

    /// Which clients got `frame`, and nothing else.
    fn receivers(&mut self, frame: &[u8]) -> Vec<usize> {
        let mut receivers = Vec::new();
        for client in 0..3 {
            let received = self.received(client);
            assert!(received.iter().all(|(bytes, _)| bytes == frame) && received.len() <= 1);
            if !received.is_empty() {
                receivers.push(client);
            }
        }
        receivers
    }
}

fn header(to: Mac, from: Mac) -> EthernetHeader {
    EthernetHeader(frame(to, from, &[]).try_into().unwrap())
}

/// Each frame goes to whom it is for, whether it comes from a client or from the network.
#[test]
fn frames_go_where_they_are_addressed() {
    // From, to, who receives it, whether the network does. `None` is the network.
    let cases: [(Option<usize>, Mac, &[usize], bool); 10] = [
        (Some(0), mac(1), &[1], false),
        (Some(2), mac(0), &[0], false),
        (Some(0), FAR, &[], true),
        (Some(0), BROADCAST, &[1, 2], true),
        (Some(1), GROUP, &[0, 2], true),
        (Some(0), mac(0), &[], false),
        (None, mac(2), &[2], false),
        (None, BROADCAST, &[0, 1, 2], false),
        (None, GROUP, &[0, 1, 2], false),
        (None, FAR, &[], false),
    ];
    let mut s = Setup::new();
    for len in [46, 1, 0, 1500, 1504, 100, 7] {
        for (from, to, clients, network) in cases {
            let payload: Vec<_> = (0..len).map(|n| (n * 7 + len) as u8).collect();
            let source = from.map_or(Mac([2, 0, 0, 0, 9, 9]), mac);
            let frame = frame(to, source, &payload);
            match from {
                Some(client) => s.send(client, source, to, &payload, Checksum::Unknown),
                None => drop(s.arrive([0; 12], &frame)),
            }
            assert_eq!(s.receivers(&frame), clients, "{from:?} to {to}, {len} bytes");
            let sent = if network { vec![frame] } else { vec![] };
            assert_eq!(s.sent_frames(), sent, "{from:?} to {to}, {len} bytes");
        }
    }
    assert_eq!(s.log, Vec::<String>::new());
}

/// The NIC fetches the payload from the client's RAM; the client hears when it has.
#[test]
fn a_payload_in_the_clients_ram_is_not_copied() {
    let mut s = Setup::new();
    s.fake.write_memory(ram(1) + 0x100, &[1; 10]);
    s.fake.write_memory(ram(1) + RAM - 20, &[2; 20]);
    assert!(s.clients[1].sleep(true));
    s.send_window(1, 77, FAR, &[(0x100, 10), (RAM - 20, 20)]);
    let chain = s.fake.take(1).unwrap();
    assert_eq!(chain.readable[1].paddr, ram(1) + 0x100);
    assert_eq!(s.fake.gather(&chain.readable)[12..], frame(FAR, mac(1), &[[1; 10].as_slice(), &[2; 20]].concat()));
    assert_eq!(s.clients[1].sent(), Ok(None));
    s.fake.give(1, chain.head.into(), 0);
    assert_eq!(s.fake.take_interrupts(), 1);
    assert_eq!(s.interrupt(), 0b10);
    assert_eq!(s.clients[1].sent(), Ok(Some(77)));
}

/// For frames that were copied nobody waits, so the NIC need not interrupt.
#[test]
fn copied_frames_need_no_interrupt() {
    let mut s = Setup::new();
    s.send(0, mac(0), FAR, &[1; 60], Checksum::Unknown);
    let chain = s.fake.take(1).unwrap();
    // The first is where the queue began.
    s.fake.give(1, chain.head.into(), 0);
    s.interrupt();
    let _ = s.fake.take_interrupts();
    for _ in 0..20 {
        s.send(0, mac(0), FAR, &[1; 60], Checksum::Unknown);
        let chain = s.fake.take(1).unwrap();
        s.fake.give(1, chain.head.into(), 0);
    }
    assert_eq!(s.fake.take_interrupts(), 0);
}

#[test]
fn what_a_client_may_not_send_is_dropped_and_counted() {
    type Send = fn(&mut Setup);
    let drops: [(&str, Send, Counters); 5] = [
        (
            "another's source",
            |s| s.send(0, mac(1), FAR, &[0; 46], Checksum::Unknown),
            Counters { foreign_source: 1, ..Counters::default() },
        ),
        (
            "a source that nobody has, to another client",
            |s| s.send(0, BROADCAST, mac(1), &[0; 46], Checksum::Unknown),
            Counters { foreign_source: 1, ..Counters::default() },
        ),
        (
            "a payload in RAM to another client",
            |s| s.send_window(0, 5, mac(1), &[(0, 46)]),
            Counters { unreadable: 1, ..Counters::default() },
        ),
        (
            "a payload beyond its RAM",
            |s| s.send_window(0, 5, FAR, &[(0, 10), (RAM - 35, 36)]),
            Counters { unreadable: 1, ..Counters::default() },
        ),
        (
            "an empty segment",
            |s| s.send_window(0, 5, FAR, &[(0, 46), (0, 0)]),
            Counters { unreadable: 1, ..Counters::default() },
        ),
    ];
    for (what, send, counters) in drops {
        let mut s = Setup::new();
        send(&mut s);
        assert_eq!(s.sent_frames(), Vec::<Vec<u8>>::new(), "{what}");
        assert_eq!(s.receivers(&[]), [0; 0], "{what}");
        assert_eq!((s.switch.counters(0), s.log.len()), (counters, 1), "{what}");
        // A frame with an id comes back all the same.
        let waits = s.clients[0].under_way();
        assert_eq!(s.clients[0].sent(), Ok((waits > 0).then_some(5)), "{what}");
    }
}

/// A client that takes nothing loses its own frames only.
#[test]
fn who_has_no_room_loses_frames_alone() {
    let mut s = Setup::new();
    for n in 0..ROOM + 5 {
        s.send(0, mac(0), BROADCAST, &[n as u8; 46], Checksum::Unknown);
        assert_eq!((s.received(1).len(), s.sent().len()), (1, 1));
        s.arrive([0; 12], &frame(mac(2), FAR, &[0; 46]));
    }
    assert_eq!(s.received(2).len(), ROOM);
    assert_eq!(s.switch.counters(2).no_room, (2 * (ROOM + 5) - ROOM) as u64);
    // At 1, 2, 4, … and 128 of them.
    assert_eq!(s.log.len(), 8);
}

/// The state of a checksum goes with its frame, where the receiver can do something with it.
#[test]
fn checksums_are_passed_on() {
    let partial = Checksum::Partial { start: 34, offset: 16 };
    let virtio = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
    let mut s = Setup::new();
    s.send(0, mac(0), BROADCAST, &[0; 46], partial);
    assert_eq!(s.received(1)[0].1, partial);
    assert_eq!(s.sent()[0].0, virtio);
    for (virtio, checksum) in
        [(virtio, partial), ([2; 12], Checksum::Verified), ([0; 12], Checksum::Unknown), ([1; 12], Checksum::Unknown)]
    {
        s.arrive(virtio, &frame(mac(1), FAR, &[0; 46]));
        let expected = if virtio == [1; 12] { Checksum::Unknown } else { checksum };
        assert_eq!(s.received(1)[0].1, expected, "{virtio:?}");
    }
}

/// The driver completes what its NIC does not, where it can read it.
#[test]
fn a_checksum_is_completed_for_a_nic_that_does_not() {
    let mut s = Setup::with(1 << 32 | 1 << 28, 1, true);
    let payload: Vec<u8> = (0..1001).map(|n| (n * 7) as u8).collect();
    for start in [14, 34, 35] {
        let checksum = Checksum::Partial { start, offset: 16 };
        for to in [FAR, BROADCAST] {
            s.send(0, mac(0), to, &payload, checksum);
            let sent = s.sent();
            let [(virtio, bytes)] = &sent[..] else { panic!("{sent:?}") };
            let (start, at) = (usize::from(start), usize::from(start) + 16);
            let mut expected = frame(to, mac(0), &payload);
            let pseudo_header = net_sum(&expected[at..at + 2]);
            expected[at..at + 2].copy_from_slice(&bytes[at..at + 2]);
            assert_eq!((&virtio[..], bytes), (&[0; 12][..], &expected), "nothing else is changed");
            assert_eq!((pseudo_header + net_sum(&bytes[start..])) % 0xffff, 0, "{start}");
        }
        assert_eq!(s.received(1)[0].1, checksum, "a client gets it as it was");
    }
    let segments = [Segment { offset: 0, len: 100 }];
    let payload = Payload::Window { id: 7, segments: &segments };
    s.clients[0].send(&header(FAR, mac(0)), Checksum::Partial { start: 34, offset: 16 }, payload).unwrap();
    s.serve(false);
    assert_eq!((s.sent(), s.switch.counters(0).unreadable, s.clients[0].sent()), (vec![], 1, Ok(Some(7))));
}

/// A frame with `len` bytes of TCP over IPv4, whose checksum is right.
fn tcp(len: usize) -> Vec<u8> {
    let total = (40 + len) as u16;
    let [l0, l1] = total.to_be_bytes();
    let mut ip = [0x45, 0, l0, l1, 9, 9, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 2, 10, 0, 2, 15];
    let sum = net_sum(&ip) % 0xffff;
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut segment = [&[0; 12][..], &[0x50, 0x10, 0, 9, 0, 0, 0, 0]].concat();
    segment.extend((0..len).map(|n| (n * 7) as u8));
    let sum = net_sum(&ip[12..]) + 6 + u64::from(total) - 20 + net_sum(&segment);
    let sum = sum % 0xffff;
    segment[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame(mac(1), FAR, &[&ip[..], &segment].concat())
}

/// What is received and not known to be right is verified, as far as the driver can.
#[test]
fn a_received_checksum_is_verified() {
    let mut s = Setup::new();
    let mut checksum = |virtio: [u8; 12], frame: &[u8]| {
        s.arrive(virtio, frame);
        let received = s.received(1);
        assert_eq!(received[0].0, frame);
        received[0].1
    };
    for len in [0, 1, 2, 6, 7, 8, 9, 100, 1459, 1460] {
        let right = tcp(len);
        assert_eq!(checksum([0; 12], &right), Checksum::Verified, "{len}");
        // A bit of each part that is summed, and of what tells that it can be.
        for (at, bit) in [
            (28, 1),
            (33, 0x80),
            (34, 1),
            (50, 1),
            (right.len() - 1, 1),
            (12, 1),
            (14, 1),
            (17, 1),
            (20, 0x20),
            (21, 1),
            (23, 1),
        ] {
            let mut wrong = right.clone();
            wrong[at] ^= bit;
            assert_eq!(checksum([0; 12], &wrong), Checksum::Unknown, "{len}: byte {at}");
        }
        let padded = [&right[..], &[0]].concat();
        assert_eq!(checksum([0; 12], &padded), Checksum::Unknown, "{len}: padded");
    }
}

#[test]
fn clients_are_told_of_each_other_and_of_the_network() {
    let s = Setup::new();
    let info = s.clients[1].info().unwrap().unwrap();
    let mut neighbours = [None; 8];
    (neighbours[0], neighbours[1]) = (Some(mac(0)), Some(mac(2)));
    assert_eq!(info, Info { mac: mac(1), mtu: 1400, completes_checksums: true, neighbours });
    assert!(s.clients[1].is_up());

    let s = Setup::with(1 << 32 | 1 << 28, 0, true);
    let info = s.clients[1].info().unwrap().unwrap();
    assert_eq!((info.mtu, info.completes_checksums, s.clients[1].is_up()), (1500, false, true), "a plain NIC");

    let mut s = Setup::with(FEATURES, 0, true);
    assert!(!s.clients[0].is_up());
    s.fake.change_config(6, &[1, 0]);
    assert_eq!(s.interrupt(), u64::MAX, "all are notified");
    assert!(s.clients.iter().all(Client::is_up));
}

#[test]
fn without_a_network_the_clients_reach_each_other() {
    let mut s = Setup::with(FEATURES, 1, false);
    assert!(!s.clients[0].is_up());
    s.send(0, mac(0), BROADCAST, &[3; 46], Checksum::Unknown);
    assert_eq!(s.receivers(&frame(BROADCAST, mac(0), &[3; 46])), [1, 2]);
    assert_eq!(s.switch.counters(0), Counters::default());
    s.send(0, mac(0), FAR, &[3; 46], Checksum::Unknown);
    assert_eq!(s.switch.counters(0).no_network, 1);
}

/// Frames of the network that are none, or that came from here, are not delivered; and buffers do not run out.
#[test]
fn what_is_no_frame_is_not_delivered() {
    let mut s = Setup::new();
    for _ in 0..200 {
        s.arrive([0; 12], &[]);
        s.arrive([0; 12], &[0xff; 13]);
        s.arrive([0; 12], &[0xff; MAX_FRAME + 1]);
        s.arrive([0; 12], &frame(BROADCAST, mac(0), &[0; 46]));
    }
    assert_eq!(s.receivers(&[]), [0; 0]);
    let longest = frame(mac(0), FAR, &vec![9; MAX_FRAME - 14]);
    s.arrive([0; 12], &longest);
    assert_eq!(s.receivers(&longest), [0]);
}

#[test]
fn nobody_sends_more_than_its_share_at_once() {
    let mut s = Setup::new();
    for id in 0..50 {
        s.send_window(0, id, FAR, &[(0, 46)]);
    }
    s.send_window(1, 500, FAR, &[(0, 46)]);
    let heads: Vec<_> = std::iter::from_fn(|| s.fake.take(1)).map(|chain| chain.head).collect();
    assert_eq!(heads.len(), 128 / 3 + 1);
    heads.iter().for_each(|head| s.fake.give(1, (*head).into(), 0));
    s.interrupt();
    assert_eq!(s.clients[1].sent(), Ok(Some(500)));
    while s.clients[0].under_way() > 0 {
        s.sent();
        while s.clients[0].sent().unwrap().is_some() {}
    }
}

/// A NIC that breaks its rules is reset: frames that it had are given back, and all is well again.
#[test]
fn a_sick_nic_is_reset() {
    type Misdeed = fn(&Fake);
    let misdeeds: [Misdeed; 4] =
        [Fake::fail, |fake| fake.give(1, 999, 0), |fake| fake.set_used_index(0, 300), |fake| fake.give(0, 3, 4000)];
    for (n, misdeed) in misdeeds.into_iter().enumerate() {
        let mut s = Setup::new();
        s.send_window(0, 9, FAR, &[(0, 46)]);
        misdeed(&s.fake);
        s.interrupt();
        assert_eq!(s.clients[0].sent(), Ok(Some(9)), "misdeed {n}");
        assert!(s.log.iter().any(|line| line == "the network interface was reset"));
        let frame = frame(mac(0), FAR, &[1; 46]);
        s.arrive([0; 12], &frame);
        assert_eq!(s.receivers(&frame), [0], "misdeed {n}");
        s.send_window(0, 10, FAR, &[(0, 46)]);
        assert_eq!(s.sent().len(), 1, "misdeed {n}");
        assert_eq!(s.clients[0].sent(), Ok(Some(10)), "misdeed {n}");
    }
}

/// As long as the NIC may read a client's RAM, the client does not hear that it may use it again.
#[test]
fn a_nic_that_cannot_be_reset_keeps_what_it_has() {
    let mut s = Setup::new();
    s.send_window(0, 9, FAR, &[(0, 46)]);
    s.fake.refuse_reset();
    s.fake.fail();
    s.interrupt();
    assert_eq!(s.clients[0].sent(), Ok(None));
    assert!(!s.clients[0].is_up());
    s.send_window(0, 10, FAR, &[(0, 46)]);
    assert_eq!(s.clients[0].sent(), Ok(Some(10)), "what comes later is dropped");
    s.send(0, mac(0), mac(1), &[1; 46], Checksum::Unknown);
    assert_eq!(s.received(1).len(), 1);
}

#[test]
fn a_device_that_cannot_serve_is_refused() {
    let open = |id, features, dma| {
        let fake = Fake::new(id, Features(features), &configuration(1, 1500), 2, MEMORY);
        Nic::open(fake.clone(), &mut fake.dma(dma), Box::leak(Box::default())).err()
    };
    assert_eq!(open(1, FEATURES, DMA), None);
    assert_eq!(open(1, FEATURES, DMA / 2), Some(OpenError::NoMemory));
    assert_eq!(open(2, FEATURES, DMA), Some(OpenError::Device(virtq::Error::OtherDevice(2))));
    assert!(matches!(open(1, 1 << 32, DMA), Some(OpenError::Device(virtq::Error::Lacks(_)))));
}

proptest! {
    /// Whatever a client writes to its queue: what reaches the NIC or another client is from its own address and its own
    /// RAM, and the others are served.
    #[test]
    fn a_hostile_client_harms_only_itself(
        words in proptest::collection::vec((0..1024usize, prop_oneof![0..2000u64, any::<u64>()]), 0..60),
        turns in 1..5usize,
    ) {
        let mut s = Setup::new();
        s.send_window(0, 1, FAR, &[(0, 46)]);
        for part in words.chunks(words.len().div_ceil(turns).max(1)) {
            for (at, word) in part {
                s.queues[0][*at].store(*word, SeqCst);
            }
            s.serve(false);
            while let Some(chain) = s.fake.take(1) {
                for segment in &chain.readable[1..] {
                    prop_assert!(segment.paddr >= ram(0) && segment.paddr + u64::from(segment.len) <= ram(1));
                }
                prop_assert_eq!(&s.fake.gather(&chain.readable)[18..24], &mac(0).0);
                s.fake.give(1, chain.head.into(), 0);
            }
            s.interrupt();
            for client in [1, 2] {
                for (frame, _) in s.received(client) {
                    prop_assert_eq!(&frame[6..12], &mac(0).0);
                }
            }
        }
        s.sent();
        s.send(1, mac(1), mac(2), &[5; 46], Checksum::Unknown);
        prop_assert_eq!(s.received(2).len(), 1);
        s.send(1, mac(1), FAR, &[5; 46], Checksum::Unknown);
        prop_assert_eq!(s.sent().len(), 1);
    }
}
