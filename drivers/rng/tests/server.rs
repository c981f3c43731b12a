// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Entropy from a device that keeps the rules, and from one that does not, to clients of either kind.

use queue::AtomicU64;
use queue::rng::Client;
use rng::{Pass, Server};
use std::sync::atomic::Ordering::SeqCst;
use virtq::fake::Fake;
use virtq::{Broken, Features};

const PAGE: usize = 0x1000;
/// Words of a ring in a page.
const CAPACITY: usize = 256;

struct Setup {
    fake: Fake,
    server: Server<'static, Fake>,
    clients: Vec<Client<'static>>,
    rings: Vec<&'static [AtomicU64]>,
    /// The next word that the source gives: each is another one.
    next: u64,
}

fn setup(clients: usize) -> Setup {
    let fake = Fake::new(4, Features(1 << 32 | 1 << 29), &[], 1, PAGE);
    let mut server = Server::open(fake.clone(), &mut fake.dma(PAGE), Box::leak(Box::default())).unwrap();
    let ring = |_| &*(0..PAGE / 8).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
    let rings: Vec<_> = (0..clients).map(ring).collect();
    for (index, ring) in rings.iter().enumerate() {
        server.add(index, queue::rng::Server::new(ring).unwrap());
    }
    let clients = rings.iter().map(|ring| Client::new(ring).unwrap()).collect();
    Setup { fake, server, clients, rings, next: 1 }
}

impl Setup {
    /// The source gives `bytes` bytes if it was asked. Returns who is to be notified, if it was.
    fn give(&mut self, bytes: usize) -> Option<u64> {
        let chain = self.fake.take(0)?;
        let words = bytes as u64 / 8;
        let given: Vec<u8> = (self.next..self.next + words).flat_map(u64::to_le_bytes).collect();
        self.next += words;
        self.fake.scatter(&chain.writable, &given);
        self.fake.give(0, chain.head.into(), bytes as u32);
        self.server.interrupted().unwrap();
        let pass = self.server.serve().unwrap();
        assert!(!pass.again);
        Some(pass.wake)
    }

    fn taken(&mut self, client: usize) -> Vec<u64> {
        let mut word = [0; 8];
        let client = &mut self.clients[client];
        std::iter::from_fn(|| (client.take(&mut word) == Ok(8)).then(|| u64::from_le_bytes(word))).collect()
    }
}

/// Each client gets as much as the others, and no word goes to two.
#[test]
fn clients_are_supplied_evenly_until_they_are_full() {
    let mut s = setup(3);
    assert_eq!(s.server.serve(), Ok(Pass { wake: 0, again: false }));
    while s.give(512).is_some() {}
    let taken = [0, 1, 2].map(|client| s.taken(client));
    assert!(taken.iter().all(|words| words.len() == CAPACITY));
    let mut all = taken.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3 * CAPACITY);
}

/// The source is asked again when a client has used half of its supply.
#[test]
fn a_client_that_makes_room_is_supplied_again() {
    let mut s = setup(1);
    s.server.serve().unwrap();
    while s.give(512).is_some() {}
    for used in 1..=CAPACITY / 2 {
        assert_eq!(s.clients[0].take(&mut [0; 8]), Ok(8));
        assert_eq!(s.clients[0].wake_wanted(), used == CAPACITY / 2);
    }
    assert!(s.fake.take(0).is_none());
    s.server.serve().unwrap();
    assert_eq!(s.give(8), Some(0));
}

#[test]
fn a_client_that_waits_is_notified() {
    let mut s = setup(2);
    assert!(s.clients[1].sleep());
    s.server.serve().unwrap();
    assert_eq!(s.give(16), Some(0b10));
    assert_eq!(s.give(16), Some(0), "once");
}

#[test]
fn less_than_a_word_is_not_given_to_anyone() {
    let mut s = setup(1);
    s.server.serve().unwrap();
    s.give(15);
    assert_eq!(s.taken(0), [1]);
    s.give(7);
    assert_eq!(s.taken(0), []);
    s.give(8);
    assert_eq!(s.taken(0).len(), 1);
}

#[test]
fn a_source_that_breaks_its_rules_is_used_no_more() {
    type Misdeed = fn(&Fake);
    let misdeeds: [Misdeed; 4] = [
        |fake| fake.give(0, 0, 0),
        |fake| fake.give(0, 0, 513),
        |fake| fake.give(0, 1, 8),
        |fake| fake.set_used_index(0, 3),
    ];
    for misdeed in misdeeds {
        let mut s = setup(1);
        s.server.serve().unwrap();
        misdeed(&s.fake);
        assert_eq!(s.server.serve(), Err(Broken));
        assert_eq!(s.server.serve(), Ok(Pass { wake: 0, again: false }), "told once");
        assert_eq!(s.taken(0), []);
    }
    let mut s = setup(1);
    s.fake.fail();
    assert_eq!(s.server.interrupted(), Err(Broken));
    s.server.serve().unwrap();
    assert!(s.fake.take_notified().is_empty());
}

#[test]
fn a_client_that_breaks_its_ring_is_given_up_alone() {
    let mut s = setup(2);
    s.server.serve().unwrap();
    // The consumer's index, in the second cache line.
    s.rings[0][8].store(5, SeqCst);
    s.give(512);
    assert_eq!(s.taken(1).len(), 64);
}
