// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! An entropy link between two correct ends, and against a hostile other.

#![cfg(not(loom))]

use queue::rng::{Client, MIN_SIZE, Server};
use queue::{AtomicU64, Broken, TooSmall};
use std::sync::atomic::Ordering::Relaxed;

fn region(bytes: usize) -> Vec<AtomicU64> {
    (0..bytes / 8).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn the_region_has_a_least_size() {
    assert_eq!(Client::new(&region(MIN_SIZE - 8)).err(), Some(TooSmall));
    assert_eq!(Server::new(&region(MIN_SIZE - 8)).err(), Some(TooSmall));
    for (size, bytes) in [(MIN_SIZE, 2048), (2 * MIN_SIZE - 8, 2048), (4 * MIN_SIZE, 8192)] {
        assert_eq!(Server::new(&region(size)).unwrap().room(), Ok(bytes));
    }
}

#[test]
fn every_word_is_handed_out_once() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    let entropy: Vec<u8> = (0..4000_u32).map(|n| (n ^ n >> 8) as u8).collect();
    assert_eq!(client.take(&mut [0; 8]), Ok(0));
    assert_eq!(server.give(&entropy), Ok(2048));
    assert_eq!(server.give(&entropy[..7]), Ok(0), "no whole word");
    let mut buffer = [0; 20];
    assert_eq!(client.take(&mut buffer), Ok(20));
    assert_eq!(buffer, entropy[..20]);
    assert_eq!(client.take(&mut buffer[..8]), Ok(8));
    assert_eq!(buffer[..8], entropy[24..32], "the rest of the third word is not used");
    let mut all = vec![0; 4000];
    assert_eq!(client.take(&mut all), Ok(2048 - 32));
    assert_eq!(all[..2016], entropy[32..2048]);
}

#[test]
fn both_ends_sleep_until_there_is_something_for_them() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    assert!(client.sleep() && client.is_empty().unwrap());
    server.give(&[7; 2048]).unwrap();
    assert!(server.wake_wanted() && !server.wake_wanted() && !client.sleep());
    assert!(server.sleep());
    client.take(&mut [0; 1016]).unwrap();
    assert!(!client.wake_wanted());
    client.take(&mut [0; 8]).unwrap();
    assert!(client.wake_wanted() && !client.wake_wanted());
    assert!(!server.sleep(), "there is room");
}

#[test]
fn a_peer_that_breaks_the_rules_is_told() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    region[0].store(257, Relaxed);
    assert_eq!(client.take(&mut [0; 8]), Err(Broken));
    region[8].store(1, Relaxed);
    assert_eq!((server.room(), server.give(&[0; 8])), (Err(Broken), Err(Broken)));
}
