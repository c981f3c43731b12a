// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Every interleaving, and every reordering that the memory model allows, of small runs of a ring. Run by
//! `RUSTFLAGS="--cfg loom" cargo test -p queue --release loom`.
//!
//! A lost wake-up shows as a deadlock, which the model checker reports. It has no runs in which a load sees a store that
//! comes after it, so it does not show what the consumer's release and the producer's acquire of `popped` are for.

#![cfg(loom)]

use loom::sync::{Arc, Notify};
use loom::thread;
use queue::{AtomicU64, Consumer, Producer, PushError};

const HEADER: usize = 32;
/// The smallest ring.
const CAPACITY: usize = 2;

fn memory(words: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..HEADER + words * CAPACITY).map(|_| AtomicU64::new(0)).collect())
}

/// Runs `producer` and `consumer` in two threads that share a ring of records of `N` words and, as Microkit's channel,
/// one binary semaphore for each direction. `preemptions` bounds how often a run switches threads where it need not.
fn model<const N: usize>(
    preemptions: Option<usize>,
    producer: impl Fn(Producer<'_, N>, &Notify, &Notify) + Sync + Send + Copy + 'static,
    consumer: impl Fn(Consumer<'_, N>, &Notify, &Notify) + Sync + Send + Copy + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let memory = memory(N);
        let to_consumer = Arc::new(Notify::new());
        let to_producer = Arc::new(Notify::new());
        let thread = thread::spawn({
            let (memory, to_consumer, to_producer) = (memory.clone(), to_consumer.clone(), to_producer.clone());
            move || producer(Producer::new(&memory).unwrap(), &to_consumer, &to_producer)
        });
        consumer(Consumer::new(&memory).unwrap(), &to_consumer, &to_producer);
        thread.join().unwrap();
    });
}

/// Pops until `count` records have come, sleeping whenever there is none.
fn pop_sleeping<const N: usize>(
    mut consumer: Consumer<'_, N>,
    count: u64,
    to_consumer: &Notify,
    to_producer: &Notify,
    record: impl Fn(u64) -> [u64; N],
) {
    let mut next = 0;
    while next < count {
        match consumer.pop().unwrap() {
            Some(popped) => {
                assert_eq!(popped, record(next));
                next += 1;
                if consumer.wake_wanted() {
                    to_producer.notify();
                }
            }
            None => {
                if consumer.sleep() {
                    to_consumer.wait();
                }
            }
        }
    }
}

/// A record is seen whole and in order, by a consumer that never sleeps.
#[test]
fn loom_records_arrive_whole_and_in_order() {
    model::<2>(
        None,
        |mut producer, _, _| {
            let mut next = 0;
            while next < 3 {
                match producer.push(&[next, !next]) {
                    Ok(()) => next += 1,
                    Err(PushError::Full) => thread::yield_now(),
                    Err(PushError::Broken) => panic!("broken"),
                }
            }
        },
        |mut consumer, _, _| {
            let mut next = 0;
            while next < 3 {
                match consumer.pop().unwrap() {
                    Some(popped) => {
                        assert_eq!(popped, [next, !next]);
                        next += 1;
                    }
                    None => thread::yield_now(),
                }
            }
        },
    );
}

/// A consumer that sleeps is woken for each record that needs it: one record in every possible run, more in those with
/// few preemptions.
#[test]
fn loom_a_sleeping_consumer_is_woken() {
    fn run<const COUNT: u64>(preemptions: Option<usize>) {
        model::<1>(
            preemptions,
            |mut producer, to_consumer, _| {
                for n in 0..COUNT {
                    producer.push(&[n]).unwrap();
                    if producer.wake_wanted() {
                        to_consumer.notify();
                    }
                }
            },
            |consumer, to_consumer, to_producer| pop_sleeping(consumer, COUNT, to_consumer, to_producer, |n| [n]),
        );
    }
    run::<1>(None);
    run::<2>(Some(3));
}

/// The same for a consumer that asks first and then takes what it finds, as the serial driver does.
#[test]
fn loom_a_consumer_that_asked_before_it_looked_is_woken() {
    model::<1>(
        Some(3),
        |mut producer, to_consumer, _| {
            for n in 0..2 {
                producer.push(&[n]).unwrap();
                if producer.wake_wanted() {
                    to_consumer.notify();
                }
            }
        },
        |mut consumer, to_consumer, _| {
            let mut next = 0;
            loop {
                consumer.ask(true);
                while let Some(popped) = consumer.pop().unwrap() {
                    assert_eq!(popped, [next]);
                    next += 1;
                }
                if next == 2 {
                    break;
                }
                to_consumer.wait();
            }
        },
    );
}

/// A producer that sleeps for room is woken, with the consumer sleeping for records at the same time.
#[test]
fn loom_a_sleeping_producer_is_woken() {
    model::<1>(
        Some(2),
        |mut producer, to_consumer, to_producer| {
            let mut next = 0;
            while next < 3 {
                match producer.push(&[next]) {
                    Ok(()) => {
                        next += 1;
                        if producer.wake_wanted() {
                            to_consumer.notify();
                        }
                    }
                    Err(PushError::Full) => {
                        if producer.sleep() {
                            to_producer.wait();
                        }
                    }
                    Err(PushError::Broken) => panic!("broken"),
                }
            }
        },
        |consumer, to_consumer, to_producer| pop_sleeping(consumer, 3, to_consumer, to_producer, |n| [n]),
    );
}
