// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A driver's side of a ring, written into a fake RAM, well-behaved and not.

use super::*;
use crate::map::RAM_BASE;
use proptest::prelude::*;

const RAM: u64 = 0x1_0000;
const SIZE: u16 = 8;
const AREAS: Areas = Areas { descriptors: RAM_BASE, driver: RAM_BASE + 0x800, device: RAM_BASE + 0x1000 };
/// Where indirect tables and buffers are.
const TABLE: u64 = RAM_BASE + 0x2000;
const DATA: u64 = RAM_BASE + 0x4000;
const PLAIN: Options = Options { indirect: false, event_index: false };
const INDIRECT: Options = Options { indirect: true, event_index: false };
const EVENTS: Options = Options { indirect: false, event_index: true };

use super::flag::{INDIRECT as I, NEXT as N, WRITE as W};

struct Driver {
    ram: Vec<u8>,
    available: u16,
}

impl Driver {
    fn new() -> Self {
        Self { ram: vec![0; RAM as usize], available: 0 }
    }

    fn memory(&mut self) -> &mut [u8] {
        &mut self.ram
    }

    fn descriptor(&mut self, table: u64, index: u16, (gpa, len, flags, next): (u64, u32, u16, u16)) {
        let at = table + 16 * u64::from(index);
        let mut memory = self.memory();
        memory.write(at, &gpa.to_le_bytes()).unwrap();
        memory.write(at + 8, &len.to_le_bytes()).unwrap();
        memory.store_u16(at + 12, flags).unwrap();
        memory.store_u16(at + 14, next).unwrap();
    }

    fn offer(&mut self, head: u16) {
        let slot = AREAS.driver + 4 + 2 * u64::from(self.available % SIZE);
        self.memory().store_u16(slot, head).unwrap();
        self.available = self.available.wrapping_add(1);
        let available = self.available;
        self.memory().store_u16(AREAS.driver + 2, available).unwrap();
    }

    fn used_index(&mut self) -> u16 {
        self.memory().load_u16(AREAS.device + 2).unwrap()
    }

    fn used(&mut self, index: u16) -> (u32, u32) {
        let mut bytes = [[0; 4]; 2];
        self.memory().read(AREAS.device + 4 + 8 * u64::from(index % SIZE), bytes.as_flattened_mut()).unwrap();
        (u32::from_le_bytes(bytes[0]), u32::from_le_bytes(bytes[1]))
    }

    fn ring(&mut self, options: Options) -> Ring {
        Ring::new(&self.memory(), AREAS, SIZE, options).unwrap()
    }
}

#[test]
fn a_queue_lies_in_ram_and_is_aligned() {
    let mut driver = Driver::new();
    let end = RAM_BASE + RAM;
    let cases = [
        (AREAS, Ok(())),
        (Areas { descriptors: RAM_BASE + 8, ..AREAS }, Err(RingError::AreaMisaligned)),
        (Areas { driver: RAM_BASE + 1, ..AREAS }, Err(RingError::AreaMisaligned)),
        (Areas { device: RAM_BASE + 2, ..AREAS }, Err(RingError::AreaMisaligned)),
        (Areas { descriptors: end - 16 * 8, ..AREAS }, Ok(())),
        (Areas { descriptors: end - 16 * 7, ..AREAS }, Err(RingError::AreaOutOfRange)),
        (Areas { driver: end - (4 + 2 * 8 + 2), ..AREAS }, Ok(())),
        (Areas { driver: end - (4 + 2 * 8), ..AREAS }, Err(RingError::AreaOutOfRange)),
        (Areas { device: end - (4 + 8 * 8 + 4), ..AREAS }, Ok(())),
        (Areas { device: end - (4 + 8 * 8), ..AREAS }, Err(RingError::AreaOutOfRange)),
        (Areas { descriptors: u64::MAX - 15, ..AREAS }, Err(RingError::AreaOutOfRange)),
        (Areas::default(), Err(RingError::AreaOutOfRange)),
    ];
    for (areas, expected) in cases {
        assert_eq!(Ring::new(&driver.memory(), areas, SIZE, PLAIN).map(|_| ()), expected, "{areas:x?}");
    }
}

type Descriptors = &'static [(u64, u16, (u64, u32, u16, u16))];

#[test]
fn each_broken_rule_has_its_error() {
    use RingError::*;
    const D: u64 = AREAS.descriptors;
    // (what, head, options, descriptors: table, index, (address, length, flags, next))
    let cases: [(&str, u16, Options, Descriptors, RingError); 18] = [
        ("a head outside", 8, PLAIN, &[], HeadOutOfRange),
        ("a head far outside", 0xffff, PLAIN, &[], HeadOutOfRange),
        ("a next outside", 0, PLAIN, &[(D, 0, (DATA, 1, N, 8))], NextOutOfRange),
        ("a loop of one", 0, PLAIN, &[(D, 0, (DATA, 1, N, 0))], ChainTooLong),
        ("a loop of two", 0, PLAIN, &[(D, 0, (DATA, 1, N, 1)), (D, 1, (DATA, 1, N, 0))], ChainTooLong),
        ("a loop of nothing", 0, PLAIN, &[(D, 0, (DATA, 0, N, 0))], ChainTooLong),
        ("a buffer before RAM", 0, PLAIN, &[(D, 0, (RAM_BASE - 1, 1, 0, 0))], BufferOutOfRange),
        ("a buffer across the end of RAM", 0, PLAIN, &[(D, 0, (RAM_BASE + RAM - 1, 2, W, 0))], BufferOutOfRange),
        ("a buffer that wraps", 0, PLAIN, &[(D, 0, (u64::MAX, 2, 0, 0))], BufferOutOfRange),
        ("a buffer of 4 GiB", 0, PLAIN, &[(D, 0, (DATA, u32::MAX, 0, 0))], BufferOutOfRange),
        (
            "a readable buffer behind a writable one",
            0,
            PLAIN,
            &[(D, 0, (DATA, 1, N | W, 1)), (D, 1, (DATA, 1, 0, 0))],
            ReadableAfterWritable,
        ),
        ("a table that was not negotiated", 0, PLAIN, &[(D, 0, (TABLE, 16, I, 0))], IndirectNotNegotiated),
        ("a table of no descriptors", 0, INDIRECT, &[(D, 0, (TABLE, 0, I, 0))], IndirectSize),
        ("a table of half a descriptor", 0, INDIRECT, &[(D, 0, (TABLE, 24, I, 0))], IndirectSize),
        ("a table outside RAM", 0, INDIRECT, &[(D, 0, (RAM_BASE + RAM - 8, 16, I, 0))], IndirectOutOfRange),
        ("a table that goes on", 0, INDIRECT, &[(D, 0, (TABLE, 16, I | N, 1))], IndirectWithNext),
        (
            "a table in a table",
            0,
            INDIRECT,
            &[(D, 0, (TABLE, 16, I, 0)), (TABLE, 0, (TABLE, 16, I, 0))],
            IndirectNested,
        ),
        (
            "a next outside its table",
            0,
            INDIRECT,
            &[(D, 0, (TABLE, 32, I, 0)), (TABLE, 0, (DATA, 1, N, 2))],
            NextOutOfRange,
        ),
    ];
    for (name, head, options, descriptors, expected) in cases {
        let mut driver = Driver::new();
        let mut ring = driver.ring(options);
        for (table, index, descriptor) in descriptors {
            driver.descriptor(*table, *index, *descriptor);
        }
        driver.offer(head);
        assert_eq!(ring.take(&driver.memory(), &mut Chain::new(), None), Err(expected), "{name}");
    }
}

#[test]
fn a_chain_has_no_more_bytes_than_the_specification_allows() {
    /// RAM of 4 GiB, of which only the queue exists.
    struct Huge(Driver);
    impl GuestMemory for Huge {
        fn size(&self) -> u64 {
            1 << 32
        }
        fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfRange> {
            let start = (gpa - RAM_BASE) as usize;
            buf.copy_from_slice(&self.0.ram[start..start + buf.len()]);
            Ok(())
        }
        fn write(&mut self, _gpa: u64, _bytes: &[u8]) -> Result<(), OutOfRange> {
            Err(OutOfRange)
        }
    }
    for (last, expected) in [(0, Ok(true)), (1, Err(RingError::ChainTooLarge))] {
        let mut driver = Driver::new();
        driver.descriptor(AREAS.descriptors, 0, (RAM_BASE, 1 << 31, N, 1));
        driver.descriptor(AREAS.descriptors, 1, (RAM_BASE, 1 << 31, N, 2));
        driver.descriptor(AREAS.descriptors, 2, (RAM_BASE, last, 0, 0));
        driver.offer(0);
        let memory = Huge(driver);
        let mut ring = Ring::new(&memory, AREAS, SIZE, PLAIN).unwrap();
        assert_eq!(ring.take(&memory, &mut Chain::new(), None), expected);
    }
}

#[test]
fn an_available_index_goes_forward_by_no_more_than_the_size() {
    for (index, expected) in
        [(0, Ok(false)), (8, Ok(true)), (9, Err(RingError::AvailableIndex)), (0xffff, Err(RingError::AvailableIndex))]
    {
        let mut driver = Driver::new();
        let mut ring = driver.ring(PLAIN);
        driver.memory().store_u16(AREAS.driver + 2, index).unwrap();
        assert_eq!(ring.take(&driver.memory(), &mut Chain::new(), None), expected, "{index}");
        if expected.is_err() {
            assert_eq!(ring.sleep(&mut driver.memory()).map(|_| true), expected, "{index}");
        }
    }
}

#[test]
fn a_chain_may_go_on_in_an_indirect_table_at_any_address() {
    for table in [TABLE, TABLE + 4, TABLE + 1] {
        let mut driver = Driver::new();
        let mut ring = driver.ring(INDIRECT);
        driver.descriptor(AREAS.descriptors, 5, (DATA, 3, N, 2));
        // The device must ignore that the table is marked as writable (2.7.5.3.2).
        driver.descriptor(AREAS.descriptors, 2, (table, 48, I | W, 0));
        driver.descriptor(table, 0, (DATA + 16, 0, N, 2));
        driver.descriptor(table, 2, (DATA + 32, 5, N | W, 1));
        driver.descriptor(table, 1, (DATA + 64, 7, W, 0));
        driver.offer(5);
        let mut chain = Chain::new();
        assert_eq!(ring.take(&driver.memory(), &mut chain, None), Ok(true));
        assert_eq!(chain.head(), 5);
        let parts = |parts: Vec<Buffer>| parts.iter().map(|b| (b.gpa - DATA, b.len)).collect::<Vec<_>>();
        assert_eq!(parts(chain.readable(0, 99).collect()), [(0, 3)], "nothing of length zero");
        assert_eq!(parts(chain.writable(0, 99).collect()), [(32, 5), (64, 7)]);
        assert_eq!(ring.take(&driver.memory(), &mut chain, None), Ok(false));
    }
}

#[test]
fn a_chain_may_have_as_many_descriptors_as_the_queue() {
    for (count, expected) in [(SIZE, Ok(true)), (SIZE + 1, Err(RingError::ChainTooLong))] {
        let mut driver = Driver::new();
        let mut ring = driver.ring(INDIRECT);
        driver.descriptor(AREAS.descriptors, 0, (TABLE, u32::from(count) * 16, I, 0));
        for n in 0..count {
            driver.descriptor(TABLE, n, (DATA, 1, if n + 1 < count { N } else { 0 }, n + 1));
        }
        driver.offer(0);
        assert_eq!(ring.take(&driver.memory(), &mut Chain::new(), None), expected, "{count}");
    }
}

#[test]
fn used_chains_are_shown_together() {
    let mut driver = Driver::new();
    let mut ring = driver.ring(PLAIN);
    for head in 0..3 {
        driver.descriptor(AREAS.descriptors, head, (DATA, 1, W, 0));
        driver.offer(head);
    }
    let mut chain = Chain::new();
    while ring.take(&driver.memory(), &mut chain, None).unwrap() {}
    assert_eq!(ring.publish(&mut driver.memory(), None), Ok(false), "nothing to show");
    for head in [2, 0] {
        ring.give_back(&mut driver.memory(), head, u32::from(head) + 7).unwrap();
        assert_eq!(driver.used_index(), 0);
    }
    assert_eq!(ring.publish(&mut driver.memory(), None), Ok(true));
    assert_eq!((driver.used_index(), driver.used(0), driver.used(1)), (2, (2, 9), (0, 7)));
    assert_eq!(ring.publish(&mut driver.memory(), None), Ok(false), "told already");
    driver.memory().store_u16(AREAS.driver, SUPPRESS).unwrap();
    ring.give_back(&mut driver.memory(), 1, 0).unwrap();
    assert_eq!(ring.publish(&mut driver.memory(), None), Ok(false), "the driver does not want to know");
    assert_eq!(driver.used_index(), 3);
}

#[test]
fn with_event_indices_an_interrupt_comes_when_the_event_is_passed() {
    // (event, used before, given back now, interrupt), after 2.7.10
    let cases = [
        (0, 0, 1, true),
        (1, 0, 1, false),
        (1, 0, 2, true),
        (4, 0, 4, false),
        (4, 3, 2, true),
        (5, 3, 2, false),
        (2, 3, 2, false),
        (0xffff, 0xfffe, 1, false),
        (0xffff, 0xfffe, 2, true),
        (0, 0xfffe, 3, true),
    ];
    for (event, before, count, expected) in cases {
        let mut driver = Driver::new();
        let mut ring = driver.ring(EVENTS);
        (ring.used, ring.shown, ring.asked) = (before, before, before);
        driver.memory().store_u16(AREAS.driver + 4 + 2 * u64::from(SIZE), event).unwrap();
        for _ in 0..count {
            ring.give_back(&mut driver.memory(), 0, 0).unwrap();
        }
        assert_eq!(ring.publish(&mut driver.memory(), None), Ok(expected), "{event} {before} {count}");
    }
}

#[test]
fn a_sleeping_ring_asks_for_the_next_chain_and_looks_once_more() {
    for options in [PLAIN, EVENTS] {
        let mut driver = Driver::new();
        let mut ring = driver.ring(options);
        let event = |driver: &mut Driver| driver.memory().load_u16(AREAS.device + 4 + 8 * u64::from(SIZE)).unwrap();
        let flags = |driver: &mut Driver| driver.memory().load_u16(AREAS.device).unwrap();
        ring.suppress(&mut driver.memory()).unwrap();
        assert_eq!(flags(&mut driver), if options == PLAIN { SUPPRESS } else { 0 });
        driver.offer(0);
        assert_eq!(ring.sleep(&mut driver.memory()), Ok(true), "one has come already");
        assert!(ring.take(&driver.memory(), &mut Chain::new(), None).unwrap());
        assert_eq!(ring.sleep(&mut driver.memory()), Ok(false));
        assert_eq!((flags(&mut driver), event(&mut driver)), (0, if options == PLAIN { 0 } else { 1 }));
    }
}

proptest! {
    /// Whatever is in the guest's memory: no panic, and what a chain has lies in RAM and is no more than the queue.
    #[test]
    fn arbitrary_memory_is_a_chain_or_an_error(
        table in prop::collection::vec((near_ram(), near_len(), 0..8_u16, 0..10_u16), 8),
        indirect in prop::collection::vec((near_ram(), near_len(), 0..8_u16, 0..10_u16), 8),
        heads in prop::collection::vec(0..9_u16, 8),
        index in prop_oneof![0..10_u16, any::<u16>()],
    ) {
        let mut driver = Driver::new();
        let mut ring = driver.ring(INDIRECT);
        for (n, (a, b)) in (0..).zip(table.into_iter().zip(indirect)) {
            driver.descriptor(AREAS.descriptors, n, a);
            driver.descriptor(TABLE, n, b);
        }
        heads.into_iter().for_each(|head| driver.offer(head));
        driver.memory().store_u16(AREAS.driver + 2, index).unwrap();
        let mut chain = Chain::new();
        let mut taken = 0;
        while let Ok(true) = ring.take(&driver.memory(), &mut chain, None) {
            let buffers: Vec<_> = chain.readable(0, u64::MAX).chain(chain.writable(0, u64::MAX)).collect();
            prop_assert!(buffers.len() <= usize::from(SIZE));
            prop_assert!(buffers.iter().all(|b| b.len > 0 && memory::offset(b.gpa, b.len as usize, RAM).is_ok()));
            taken += 1;
        }
        prop_assert!(taken <= SIZE);
    }
}

/// Addresses, often where something is.
fn near_ram() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(DATA), 2 => Just(TABLE), 1 => RAM_BASE + RAM - 40..RAM_BASE + RAM, 1 => any::<u64>()]
}

fn near_len() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..40_u32, 3 => (1..9_u32).prop_map(|n| 16 * n), 1 => any::<u32>()]
}
