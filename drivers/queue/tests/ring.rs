// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The ring between two correct sides.

#![cfg(not(loom))]

use proptest::prelude::*;
use queue::{AtomicU64, Consumer, Producer, PushError, TooSmall};
use std::collections::VecDeque;
use std::thread;

const HEADER: usize = 32;

fn memory(words: usize) -> Vec<AtomicU64> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

#[test]
fn the_capacity_is_the_largest_power_of_two_that_fits() {
    let cases = [
        (0, None),
        (HEADER, None),
        (HEADER + 3, None),
        (HEADER + 5, None),
        (HEADER + 6, Some(2)),
        (HEADER + 11, Some(2)),
        (HEADER + 12, Some(4)),
        (HEADER + 3 * 8 - 1, Some(4)),
        (HEADER + 3 * 8, Some(8)),
    ];
    for (words, capacity) in cases {
        let memory = memory(words);
        assert_eq!(Producer::<3>::new(&memory).map(|ring| ring.capacity()).ok(), capacity, "{words} words");
        assert_eq!(Consumer::<3>::new(&memory).map(|ring| ring.capacity()).ok(), capacity, "{words} words");
    }
    assert_eq!(Producer::<3>::new(&[]).err(), Some(TooSmall));
}

#[test]
fn each_side_is_told_when_the_other_sleeps_and_only_once() {
    let memory = memory(HEADER + 4);
    let mut producer = Producer::<1>::new(&memory).unwrap();
    let mut consumer = Consumer::<1>::new(&memory).unwrap();

    producer.push(&[1]).unwrap();
    assert!(!producer.wake_wanted(), "nobody sleeps yet");
    assert!(!consumer.sleep(), "a record is there");
    assert!(!producer.wake_wanted(), "the consumer took back its question");
    consumer.pop().unwrap();
    assert!(consumer.sleep());
    producer.push(&[2]).unwrap();
    assert!(producer.wake_wanted());
    assert!(!producer.wake_wanted());

    assert!(!producer.sleep(), "there is room");
    for n in 0..3 {
        producer.push(&[n]).unwrap();
    }
    assert_eq!(producer.push(&[9]), Err(PushError::Full));
    assert!(producer.sleep());
    consumer.pop().unwrap();
    assert!(!consumer.wake_wanted(), "less than half of the ring is free");
    consumer.pop().unwrap();
    assert!(consumer.wake_wanted());
    assert!(!consumer.wake_wanted());
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Push(u64),
    Pop,
    ResyncProducer,
    ResyncConsumer,
    RestartProducer,
    RestartConsumer,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => any::<u64>().prop_map(Op::Push),
        9 => Just(Op::Pop),
        1 => Just(Op::ResyncProducer),
        1 => Just(Op::ResyncConsumer),
        1 => Just(Op::RestartProducer),
        1 => Just(Op::RestartConsumer),
    ]
}

proptest! {
    /// The ring does what a bounded deque does, also when a side starts again, or lets go of what is in it.
    #[test]
    fn it_is_a_bounded_deque(ops in prop::collection::vec(op(), 0..200), words in HEADER + 4..HEADER + 20) {
        let memory = memory(words);
        let mut producer = Producer::<2>::new(&memory).unwrap();
        let mut consumer = Consumer::<2>::new(&memory).unwrap();
        let mut model = VecDeque::new();
        for op in ops {
            match op {
                Op::Push(word) => {
                    let record = [word, !word];
                    let expected = if model.len() == producer.capacity() { Err(PushError::Full) } else { Ok(()) };
                    prop_assert_eq!(producer.push(&record), expected);
                    if expected.is_ok() {
                        model.push_back(record);
                    }
                }
                Op::Pop => prop_assert_eq!(consumer.pop(), Ok(model.pop_front())),
                Op::RestartProducer => producer = Producer::new(&memory).unwrap(),
                Op::RestartConsumer => consumer = Consumer::new(&memory).unwrap(),
                Op::ResyncProducer => {
                    producer.resync();
                    model.clear();
                }
                Op::ResyncConsumer => {
                    consumer.resync();
                    model.clear();
                }
            }
            prop_assert_eq!(producer.len(), Ok(model.len()));
            prop_assert_eq!(consumer.len(), Ok(model.len()));
            prop_assert_eq!(producer.free(), Ok(producer.capacity() - model.len()));
            prop_assert_eq!(consumer.is_empty(), Ok(model.is_empty()));
            prop_assert_eq!(producer.is_empty(), Ok(model.is_empty()));
        }
    }
}

/// Two threads of the host's, with sleeping by park and unpark.
#[test]
fn records_pass_between_threads() {
    const COUNT: u64 = 100_000;
    let memory = memory(HEADER + 64);
    let mut producer = Producer::<4>::new(&memory).unwrap();
    let mut consumer = Consumer::<4>::new(&memory).unwrap();
    thread::scope(|scope| {
        let main = thread::current();
        let reader = scope.spawn(move || {
            let mut next = 0;
            while next < COUNT {
                match consumer.pop().unwrap() {
                    Some(record) => {
                        assert_eq!(record, [next, next + 1, next ^ 0xff, !next]);
                        next += 1;
                        if consumer.wake_wanted() {
                            main.unpark();
                        }
                    }
                    None if consumer.sleep() => thread::park(),
                    None => {}
                }
            }
        });
        let mut next = 0;
        while next < COUNT {
            match producer.push(&[next, next + 1, next ^ 0xff, !next]) {
                Ok(()) => {
                    next += 1;
                    if producer.wake_wanted() {
                        reader.thread().unpark();
                    }
                }
                Err(PushError::Full) if producer.sleep() => thread::park(),
                Err(PushError::Full) => {}
                Err(PushError::Broken) => panic!("broken"),
            }
        }
    });
}
