// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The queue, with a device that keeps the rules and with one that does not.

use virtq::fake::Fake;
use virtq::{Broken, Completion, Device, Features, Ledger, NoMemory, Queue, Segment, TooLong, Window};

const SIZE: usize = 0x1_0000;

fn ledger<const L: usize>() -> &'static mut Ledger<L> {
    Box::leak(Box::default())
}
const N: usize = 4;
const WITH_EVENT_IDX: Features = Features(1 << 32 | 1 << 28 | 1 << 29);
const WITHOUT_EVENT_IDX: Features = Features(1 << 32 | 1 << 28);

struct Setup<const S: usize> {
    fake: Fake,
    device: Device<Fake>,
    queue: Queue<'static, N, S>,
}

fn setup<const S: usize>(features: Features) -> Setup<S> {
    let fake = Fake::new(1, features, &[], 1, SIZE);
    let mut device = Device::new(fake.clone(), 1).unwrap();
    let mut queue = Queue::new(&mut fake.dma(SIZE), ledger()).unwrap();
    start(&mut device, &mut queue);
    Setup { fake, device, queue }
}

fn start<const S: usize>(device: &mut Device<Fake>, queue: &mut Queue<'static, N, S>) {
    device.negotiate(Features(0), Features::INDIRECT_DESC | Features::EVENT_IDX).unwrap();
    device.attach(0, queue).unwrap();
    device.start();
}

fn segment(n: u64) -> Segment {
    Segment { paddr: 0x1_2345_6000 + n * 0x1000, len: 1 + n as u32 }
}

/// Submits a chain that the device reads `read` segments of and writes one, and returns its id.
fn submit<const S: usize>(queue: &mut Queue<'static, N, S>, read: u64) -> usize {
    let mut chain = queue.begin().unwrap();
    (0..read).for_each(|n| chain.read(segment(n)).unwrap());
    chain.write(segment(9)).unwrap();
    let id = chain.id();
    chain.submit();
    id
}

#[test]
fn the_device_gets_each_chain_as_it_was_made() {
    let mut s = setup::<5>(WITH_EVENT_IDX);
    let ids = [0, 4, 1].map(|read| submit(&mut s.queue, read));
    assert!(s.fake.take(0).is_none(), "not before it is published");
    assert!(s.queue.publish());
    for (id, read) in ids.into_iter().zip([0, 4, 1]) {
        let chain = s.fake.take(0).unwrap();
        assert_eq!(usize::from(chain.head), id);
        assert_eq!(chain.readable, (0..read).map(segment).collect::<Vec<_>>());
        assert_eq!(chain.writable, [segment(9)]);
    }
    assert!(s.fake.take(0).is_none());
}

#[test]
fn a_single_segment_needs_no_table() {
    let mut s = setup::<1>(Features::VERSION_1);
    submit(&mut s.queue, 0);
    assert!(s.queue.publish());
    assert_eq!(s.fake.take(0).unwrap().writable, [segment(9)]);
}

#[test]
fn chains_come_back_in_any_order_and_are_used_again_beyond_the_end_of_the_index() {
    let mut s = setup::<2>(WITH_EVENT_IDX);
    for round in 0..17_000 {
        let ids: Vec<_> = (0..N).map(|_| submit(&mut s.queue, 1)).collect();
        assert!(s.queue.begin().is_none() && s.queue.free() == 0);
        let _ = s.queue.publish();
        while s.fake.take(0).is_some() {}
        for id in ids.iter().cycle().skip(round % N).take(N) {
            s.fake.give(0, *id as u32, 3);
            assert_eq!(s.queue.pop(), Ok(Some(Completion { id: *id, written: 3 })));
        }
        assert_eq!((s.queue.pop(), s.queue.free()), (Ok(None), N));
    }
}

#[test]
fn a_chain_is_not_longer_than_its_table_and_need_not_be_submitted() {
    let mut s = setup::<2>(WITH_EVENT_IDX);
    let mut chain = s.queue.begin().unwrap();
    chain.read(segment(1)).unwrap();
    chain.read(segment(2)).unwrap();
    assert_eq!(chain.write(segment(3)), Err(TooLong));
    s.queue.begin().unwrap().submit();
    assert!(!s.queue.publish(), "neither was submitted");
    assert_eq!(s.queue.free(), N);
}

/// The device is notified only when it has seen everything before, and says so.
#[test]
fn notifications_are_sent_as_the_device_asks() {
    for (features, second) in [(WITH_EVENT_IDX, false), (WITHOUT_EVENT_IDX, true)] {
        let mut s = setup::<2>(features);
        submit(&mut s.queue, 1);
        assert!(s.queue.publish());
        assert!(!s.queue.publish(), "nothing new");
        submit(&mut s.queue, 1);
        assert_eq!(s.queue.publish(), second, "the device has not yet looked");
        while s.fake.take(0).is_some() {}
        submit(&mut s.queue, 1);
        assert!(s.queue.publish(), "the device had seen all");
    }
}

/// Interrupts come once after each `sleep`, or always where the device cannot do better.
#[test]
fn interrupts_come_as_the_driver_asks() {
    for (features, without_sleep) in [(WITH_EVENT_IDX, 0), (WITHOUT_EVENT_IDX, 1)] {
        let mut s = setup::<2>(features);
        let ids = [1, 1, 1].map(|read| submit(&mut s.queue, read) as u32);
        let _ = s.queue.publish();
        assert!(s.queue.sleep());
        s.fake.give(0, ids[0], 0);
        assert_eq!(s.fake.take_interrupts(), 1);
        s.fake.give(0, ids[1], 0);
        assert_eq!(s.fake.take_interrupts(), without_sleep);
        assert!(!s.queue.sleep(), "two are there");
        s.queue.pop().unwrap().unwrap();
        assert!(!s.queue.sleep(), "one is there");
        s.queue.pop().unwrap().unwrap();
        assert!(s.queue.sleep());
        s.fake.give(0, ids[2], 0);
        assert_eq!(s.fake.take_interrupts(), 1);
    }
}

/// Interrupts can wait until the device has used several chains.
#[test]
fn interrupts_come_as_late_as_the_driver_asks() {
    for used_before in 0..3 {
        let mut s = setup::<2>(WITH_EVENT_IDX);
        let ids = [1, 1, 1, 1].map(|read| submit(&mut s.queue, read) as u32);
        let _ = s.queue.publish();
        ids.iter().take(used_before).for_each(|id| s.fake.give(0, *id, 0));
        let _ = s.fake.take_interrupts();
        assert!(s.queue.sleep_for(3));
        for (n, id) in ids.iter().enumerate().skip(used_before) {
            s.fake.give(0, *id, 0);
            assert_eq!(s.fake.take_interrupts(), usize::from(n == 2));
        }
        assert!(!s.queue.sleep_for(3) && !s.queue.sleep_for(4) && !s.queue.sleep());
    }
}

#[test]
fn a_window_is_not_left() {
    let window = Window::new(0x1000, 0x100).unwrap();
    for (offset, len, paddr) in [(0, 1, Some(0x1000)), (0xff, 1, Some(0x10ff)), (0, 0x100, Some(0x1000))]
        .into_iter()
        .chain([(0, 0, None), (0x100, 1, None), (0xff, 2, None), (u64::MAX, 2, None), (0, u32::MAX, None)])
    {
        assert_eq!(window.segment(offset, len), paddr.map(|paddr| Segment { paddr, len }), "{offset:#x}+{len:#x}");
    }
    assert_eq!((Window::new(0, 1), Window::new(u64::MAX, 1)), (None, None));
}

#[test]
fn what_no_correct_device_returns_is_refused() {
    type Misdeed = fn(&Fake, u32);
    let misdeeds: [(&str, Misdeed); 6] = [
        ("more bytes than it was given", |fake, id| fake.give(0, id, segment(9).len + 1)),
        ("an id beyond the queue", |fake, _| fake.give(0, N as u32, 0)),
        ("an id far beyond the queue", |fake, _| fake.give(0, u32::MAX, 0)),
        ("an id that it has not got", |fake, id| fake.give(0, id ^ 1, 0)),
        ("more chains than it has got", |fake, _| fake.set_used_index(0, 2)),
        ("an index that goes back", |fake, _| fake.set_used_index(0, u16::MAX)),
    ];
    for (misdeed, act) in misdeeds {
        let mut s = setup::<2>(WITH_EVENT_IDX);
        let id = submit(&mut s.queue, 1);
        let _ = s.queue.publish();
        act(&s.fake, id as u32);
        assert_eq!(s.queue.pop(), Err(Broken), "{misdeed}");
    }
    let mut s = setup::<2>(WITH_EVENT_IDX);
    let id = submit(&mut s.queue, 1) as u32;
    submit(&mut s.queue, 1);
    let _ = s.queue.publish();
    s.fake.give(0, id, 0);
    s.fake.give(0, id, 0);
    assert!(s.queue.pop().is_ok());
    assert_eq!(s.queue.pop(), Err(Broken), "the same twice");
}

#[test]
fn after_a_reset_the_queue_is_as_new() {
    let mut s = setup::<2>(WITH_EVENT_IDX);
    for misdeed in [7, 0xffff] {
        submit(&mut s.queue, 1);
        let _ = s.queue.publish();
        s.fake.set_used_index(0, misdeed);
        assert_eq!(s.queue.pop(), Err(Broken));
        start(&mut s.device, &mut s.queue);
        assert_eq!((s.queue.free(), s.queue.pop()), (N, Ok(None)));
        let id = submit(&mut s.queue, 1);
        assert!(s.queue.publish());
        assert_eq!(usize::from(s.fake.take(0).unwrap().head), id);
        s.fake.give(0, id as u32, 1);
        assert_eq!(s.queue.pop(), Ok(Some(Completion { id, written: 1 })));
    }
}

#[test]
fn memory_is_handed_out_until_there_is_none() {
    let fake = Fake::new(1, WITH_EVENT_IDX, &[], 1, SIZE);
    assert_eq!(Queue::<256, 128>::new(&mut fake.dma(SIZE), ledger()).err(), Some(NoMemory));
    let mut dma = fake.dma(0x200);
    assert_eq!(dma.take::<std::sync::atomic::AtomicU8>(3, 1).unwrap().1, virtq::fake::BASE);
    assert_eq!(dma.take::<std::sync::atomic::AtomicU32>(2, 64).unwrap().1, virtq::fake::BASE + 64);
    assert_eq!(dma.take::<std::sync::atomic::AtomicU64>(usize::MAX, 64).err(), Some(NoMemory));
    assert_eq!(dma.take::<std::sync::atomic::AtomicU64>(1, 512).err(), Some(NoMemory));
}
