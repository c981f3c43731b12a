// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A device's life over the transport, and each way in which it can fail to begin.

use virtq::fake::Fake;
use virtq::{Cause, Device, Error, Features, Ledger, Queue, Registers};

const FEATURES: Features = Features(1 << 32 | 1 << 28 | 1 << 29 | 1 << 9);
const SIZE: usize = 0x1_0000;

fn ledger<const L: usize>() -> &'static mut Ledger<L> {
    Box::leak(Box::default())
}

fn fake() -> Fake {
    Fake::new(2, FEATURES, &[1, 2, 3, 4, 5, 6, 7, 8], 2, SIZE)
}

#[test]
fn a_device_agrees_on_what_both_know_and_works() {
    let fake = fake();
    let mut device = Device::new(fake.clone(), 2).unwrap();
    let agreed = device.negotiate(Features(1 << 9), Features::EVENT_IDX | Features(1 << 5)).unwrap();
    assert_eq!(agreed, Features(1 << 32 | 1 << 29 | 1 << 9));
    let mut queue = Queue::<8, 1>::new(&mut fake.dma(SIZE), ledger()).unwrap();
    device.attach(0, &mut queue).unwrap();
    assert!(!fake.is_live());
    device.start();
    assert!(fake.is_live());
    assert_eq!(device.config(|word| (word(0), word(4))), Ok((0x0403_0201, 0x0807_0605)));
    device.notify(1);
    assert_eq!(fake.take_notified(), [1]);
}

#[test]
fn what_is_no_such_device_is_named() {
    struct Nothing;
    impl Registers for Nothing {
        fn read(&self, _: usize) -> u32 {
            0
        }
        fn write(&mut self, _: usize, _: u32) {}
    }
    assert_eq!(Device::new(Nothing, 2).err(), Some(Error::NoRegisters));
    assert_eq!(Device::new(fake(), 1).err(), Some(Error::OtherDevice(2)));
    let legacy = fake();
    legacy.set_legacy();
    assert_eq!(Device::new(legacy, 2).err(), Some(Error::Legacy));
}

#[test]
fn what_a_device_cannot_do_is_named() {
    let mut device = Device::new(fake(), 2).unwrap();
    assert_eq!(device.negotiate(Features(1 << 9 | 1 << 7), Features(0)), Err(Error::Lacks(Features(1 << 7))));

    let stubborn = fake();
    stubborn.refuse_features();
    assert_eq!(Device::new(stubborn, 2).unwrap().negotiate(Features(0), Features(0)), Err(Error::Features));

    let dead = fake();
    dead.refuse_reset();
    assert_eq!(Device::new(dead, 2).unwrap().negotiate(Features(0), Features(0)), Err(Error::Reset));

    let fake = fake();
    let mut device = Device::new(fake.clone(), 2).unwrap();
    device.negotiate(Features(0), Features(0)).unwrap();
    let mut dma = fake.dma(SIZE);
    let mut large = Queue::<512, 1>::new(&mut dma, ledger()).unwrap();
    assert_eq!(device.attach(1, &mut large), Err(Error::QueueTooSmall { index: 1, max: 256 }));
    let mut indirect = Queue::<8, 2>::new(&mut dma, ledger()).unwrap();
    assert_eq!(device.attach(0, &mut indirect), Err(Error::Lacks(Features::INDIRECT_DESC)));
    let mut queue = Queue::<8, 1>::new(&mut dma, ledger()).unwrap();
    assert_eq!(device.attach(2, &mut queue), Err(Error::NoQueue(2)));
}

#[test]
fn an_interrupt_is_acknowledged_and_has_a_cause() {
    let fake = fake();
    let mut device = Device::new(fake.clone(), 2).unwrap();
    device.negotiate(Features(0), Features(0)).unwrap();
    device.start();
    assert_eq!(device.interrupted(), Cause::Queues);
    fake.change_config(4, &[9]);
    assert_eq!(device.interrupted(), Cause::Config);
    assert_eq!(device.config(|word| word(4)), Ok(0x0807_0609));
    fake.fail();
    assert_eq!(device.interrupted(), Cause::NeedsReset);
    assert_eq!(fake.read(0x60), 0, "acknowledged");
}
