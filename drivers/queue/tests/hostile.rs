// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A peer that writes anything anywhere in the shared memory, between any two operations of this side.
//!
//! Shown here: no operation panics or runs on, lengths stay within the capacity, a side writes no word that is not its
//! own to write, and after `resync` the ring works as on the first day.

#![cfg(not(loom))]

use proptest::prelude::*;
use queue::serial::{Client, LOG_LINE_MAX, Log, MIN_SIZE, Server};
use queue::{AtomicU64, Broken, Consumer, Producer, PushError};
use std::sync::atomic::Ordering::Relaxed;

const HEADER: usize = 32;
/// Word offsets of the header's cells.
const PUSHED: usize = 0;
const POPPED: usize = 8;
const CONSUMER_SLEEPS: usize = 16;
const PRODUCER_SLEEPS: usize = 24;

fn memory(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

fn snapshot(memory: &[AtomicU64]) -> Vec<u64> {
    memory.iter().map(|word| word.load(Relaxed)).collect()
}

/// The words that changed.
fn changes(before: &[u64], memory: &[AtomicU64]) -> Vec<usize> {
    (0..before.len()).filter(|n| before[*n] != memory[*n].load(Relaxed)).collect()
}

#[test]
fn an_index_that_no_correct_peer_writes_is_told() {
    // (records pushed, the consumer's index, what the producer sees)
    for (pushed, popped, expected) in [
        (2, 0, Ok(2)),
        (2, 2, Ok(0)),
        (2, 3, Err(Broken)),
        (2, u64::MAX, Ok(3)),
        (2, u64::MAX - 1, Ok(4)),
        (2, u64::MAX - 2, Err(Broken)),
        (2, 1 << 63, Err(Broken)),
    ] {
        let memory = memory(HEADER + 4);
        let mut producer = Producer::<1>::new(&memory).unwrap();
        for _ in 0..pushed {
            producer.push(&[7]).unwrap();
        }
        memory[POPPED].store(popped, Relaxed);
        assert_eq!(producer.len(), expected, "{popped:#x}");
        let push = match expected {
            Ok(4) => Err(PushError::Full),
            Ok(_) => Ok(()),
            Err(Broken) => Err(PushError::Broken),
        };
        assert_eq!(producer.push(&[7]), push, "{popped:#x}");
    }
    for (pushed, expected) in [(0, Ok(None)), (4, Ok(Some([0]))), (5, Err(Broken)), (u64::MAX, Err(Broken))] {
        let memory = memory(HEADER + 4);
        let mut consumer = Consumer::<1>::new(&memory).unwrap();
        memory[PUSHED].store(pushed, Relaxed);
        assert_eq!(consumer.pop(), expected, "{pushed:#x}");
    }
}

#[test]
fn the_own_index_is_not_read_back() {
    let memory = memory(HEADER + 4);
    let mut producer = Producer::<1>::new(&memory).unwrap();
    let mut consumer = Consumer::<1>::new(&memory).unwrap();
    producer.push(&[1]).unwrap();
    memory[PUSHED].store(77, Relaxed);
    producer.push(&[2]).unwrap();
    assert_eq!(memory[PUSHED].load(Relaxed), 2);
    consumer.pop().unwrap();
    memory[POPPED].store(77, Relaxed);
    assert_eq!(consumer.pop(), Ok(Some([2])));
    assert_eq!(memory[POPPED].load(Relaxed), 2);
}

/// What a peer writes: often close to what is there, where the borders are.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..20_u64, (0..20_u64).prop_map(|n| u64::MAX - n)]
}

proptest! {
    #[test]
    fn a_producer_survives_and_writes_only_its_own(
        steps in prop::collection::vec((prop::option::of((0..HEADER + 16, value())), 0..4_u8), 0..100),
    ) {
        let memory = memory(HEADER + 16);
        let mut producer = Producer::<2>::new(&memory).unwrap();
        for (poke, op) in steps {
            if let Some((word, value)) = poke {
                memory[word].store(value, Relaxed);
            }
            let before = snapshot(&memory);
            let own = |word: &usize| match op {
                0 => *word == PUSHED || *word >= HEADER,
                1 => *word == PRODUCER_SLEEPS,
                2 => *word == CONSUMER_SLEEPS,
                _ => *word == PUSHED,
            };
            match op {
                0 => drop(producer.push(&[1, 2])),
                1 => drop(producer.sleep()),
                2 => drop(producer.wake_wanted()),
                _ => producer.resync(),
            }
            prop_assert!(changes(&before, &memory).iter().all(own));
            prop_assert!(producer.len().is_ok_and(|len| len <= 8) || producer.len() == Err(Broken));
        }
        producer.resync();
        for n in 0..8 {
            prop_assert_eq!(producer.push(&[n, n]), Ok(()));
        }
        prop_assert_eq!(producer.push(&[8, 8]), Err(PushError::Full));
    }

    #[test]
    fn a_consumer_survives_and_writes_only_its_own(
        steps in prop::collection::vec((prop::option::of((0..HEADER + 16, value())), 0..4_u8), 0..100),
    ) {
        let memory = memory(HEADER + 16);
        let mut consumer = Consumer::<2>::new(&memory).unwrap();
        for (poke, op) in steps {
            if let Some((word, value)) = poke {
                memory[word].store(value, Relaxed);
            }
            let before = snapshot(&memory);
            let own = |word: &usize| match op {
                1 => *word == CONSUMER_SLEEPS,
                2 => *word == PRODUCER_SLEEPS,
                _ => *word == POPPED,
            };
            match op {
                0 => drop(consumer.pop()),
                1 => drop(consumer.sleep()),
                2 => drop(consumer.wake_wanted()),
                _ => consumer.resync(),
            }
            prop_assert!(changes(&before, &memory).iter().all(own));
            prop_assert!(consumer.len().is_ok_and(|len| len <= 8) || consumer.len() == Err(Broken));
        }
        consumer.resync();
        prop_assert_eq!(consumer.pop(), Ok(None));
    }

    /// The driver's end of a link, against arbitrary words in all of the region.
    #[test]
    fn a_server_survives(
        steps in prop::collection::vec((prop::collection::vec((0..1024_usize, value()), 0..8), 0..6_u8), 0..60),
        fill: u64,
    ) {
        let region = memory(MIN_SIZE / 8);
        region.iter().for_each(|word| word.store(fill, Relaxed));
        let mut server = Server::new(&region).unwrap();
        let mut buffer = [0; 64];
        for (pokes, op) in steps {
            for (word, value) in pokes {
                region[word].store(value, Relaxed);
            }
            match op {
                0 => {
                    let read = server.read(&mut buffer);
                    prop_assert!(read == Err(Broken) || read.is_ok_and(|count| count <= buffer.len()));
                }
                1 => {
                    let written = server.write(&buffer);
                    prop_assert!(written == Err(Broken) || written.is_ok_and(|count| count <= buffer.len()));
                }
                2 => {
                    if let Ok(Some(Log::Line(line))) = server.next_log() {
                        prop_assert!(line.len() <= LOG_LINE_MAX);
                    }
                }
                3 => server.ask(true),
                4 => drop(server.wake_wanted()),
                _ => server.resync(),
            }
        }
        server.resync();
        prop_assert_eq!(server.read(&mut buffer), Ok(0));
        prop_assert_eq!(server.write(&buffer), Ok(buffer.len()));
    }

    /// The client's end of a link, against arbitrary words in all of the region.
    #[test]
    fn a_client_survives(
        steps in prop::collection::vec((prop::collection::vec((0..1024_usize, value()), 0..8), 0..6_u8), 0..60),
        fill: u64,
    ) {
        let region = memory(MIN_SIZE / 8);
        region.iter().for_each(|word| word.store(fill, Relaxed));
        let mut client = Client::new(&region).unwrap();
        let mut buffer = [0; 64];
        for (pokes, op) in steps {
            for (word, value) in pokes {
                region[word].store(value, Relaxed);
            }
            match op {
                0 => {
                    let read = client.read(&mut buffer);
                    prop_assert!(read == Err(Broken) || read.is_ok_and(|count| count <= buffer.len()));
                }
                1 => {
                    let written = client.write(&buffer);
                    prop_assert!(written == Err(Broken) || written.is_ok_and(|count| count <= buffer.len()));
                }
                2 => drop(client.log(format_args!("{buffer:?}"))),
                3 => drop(client.sleep()),
                4 => drop(client.wake_wanted()),
                _ => prop_assert!(client.free() == Err(Broken) || client.free().is_ok_and(|free| free <= 512)),
            }
        }
    }
}

/// A peer on another core that keeps its ring full of empty words holds no reader: each call returns.
#[test]
fn words_without_bytes_do_not_hold_the_reader() {
    let region = memory(MIN_SIZE / 8);
    let mut server = Server::new(&region).unwrap();
    let output = 8;
    for round in 1..10 {
        region[output + PUSHED].store(512 * round, Relaxed);
        assert_eq!(server.read(&mut [0; 16]), Ok(0));
        assert_eq!(region[output + POPPED].load(Relaxed), 512 * round, "one ring full is taken, no more");
    }
}
