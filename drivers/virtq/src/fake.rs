// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A virtio device on the host, for the tests of drivers.
//!
//! It is the device's side of the transport and of the queues; what the device does with a chain is the test's business.
//! It checks of the driver what virtio 1.2 demands, and panics where the driver fails.

use crate::transport::{Features, Registers};
use crate::{Segment, dma::Dma};
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::cell::RefCell;
use std::rc::Rc;
use std::vec::Vec;

/// Physical address of the memory that device and driver share.
pub const BASE: u64 = 0x4000_0000;

/// A device and its memory. Clones are the same device.
#[derive(Clone)]
pub struct Fake(Rc<RefCell<State>>);

struct State {
    memory: &'static [AtomicU64],
    id: u32,
    version: u32,
    features: Features,
    accepted: u64,
    config: Vec<u8>,
    queues: Vec<Ring>,
    select: [u32; 3],
    status: u32,
    cause: u32,
    interrupts: usize,
    notified: Vec<u32>,
    refuses_features: bool,
    refuses_reset: bool,
}

#[derive(Clone, Default)]
struct Ring {
    size_max: u32,
    size: u32,
    ready: bool,
    /// Descriptors, driver area, device area.
    addresses: [u64; 3],
    taken: u16,
    used: u16,
}

/// A chain that the device has got.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Index of its first descriptor.
    pub head: u16,
    /// What the device reads, in order.
    pub readable: Vec<Segment>,
    /// What the device writes, in order.
    pub writable: Vec<Segment>,
}

impl Fake {
    /// A device with virtio device ID `id`, with `queues` queues of up to 256 descriptors and `size` bytes of memory.
    #[must_use]
    pub fn new(id: u32, features: Features, config: &[u8], queues: usize, size: usize) -> Self {
        let memory: Vec<AtomicU64> = (0..size / 8).map(|_| AtomicU64::new(0)).collect();
        let mut config = config.to_vec();
        config.resize(0x100, 0);
        Self(Rc::new(RefCell::new(State {
            memory: memory.leak(),
            id,
            version: 2,
            features,
            accepted: 0,
            config,
            queues: vec![Ring { size_max: 256, ..Ring::default() }; queues],
            select: [0; 3],
            status: 0xff,
            cause: 0,
            interrupts: 0,
            notified: Vec::new(),
            refuses_features: false,
            refuses_reset: false,
        })))
    }

    /// The first `size` bytes of the memory, for the driver.
    #[must_use]
    pub fn dma(&self, size: usize) -> Dma<'static> {
        Dma::new(&self.0.borrow().memory[..size / 8], BASE)
    }

    /// Makes the device a legacy one.
    pub fn set_legacy(&self) {
        self.0.borrow_mut().version = 1;
    }

    /// Makes the device refuse every set of features.
    pub fn refuse_features(&self) {
        self.0.borrow_mut().refuses_features = true;
    }

    /// Makes the device keep its status at a reset.
    pub fn refuse_reset(&self) {
        self.0.borrow_mut().refuses_reset = true;
    }

    /// Changes the configuration from `offset` on, and tells the driver.
    pub fn change_config(&self, offset: usize, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        state.config[offset..offset + bytes.len()].copy_from_slice(bytes);
        state.cause |= 2;
    }

    /// Makes the device ask for a reset (2.1.2).
    pub fn fail(&self) {
        let mut state = self.0.borrow_mut();
        state.status |= 64;
        state.cause |= 2;
    }

    /// Whether the driver has set the device to work.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.0.borrow().status == 0xf
    }

    /// The queues that were notified since the last call.
    #[must_use]
    pub fn take_notified(&self) -> Vec<u32> {
        std::mem::take(&mut self.0.borrow_mut().notified)
    }

    /// How many interrupts there were since the last call.
    #[must_use]
    pub fn take_interrupts(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().interrupts)
    }

    /// The next chain that the driver has made available in `queue`.
    ///
    /// # Panics
    /// If the driver broke a rule.
    #[must_use]
    pub fn take(&self, queue: usize) -> Option<Chain> {
        let mut state = self.0.borrow_mut();
        assert_eq!(state.status, 0xf, "3.1.1: no use of a queue before DRIVER_OK");
        let ring = state.queues[queue].clone();
        let [descriptors, driver, device] = ring.addresses;
        let available = state.half(driver + 2).wrapping_sub(ring.taken);
        assert!(u32::from(available) <= ring.size, "2.7.6: more chains than descriptors");
        // 2.7.10: the driver need not notify until the device has seen all.
        let event = if available == 0 { ring.taken } else { ring.taken.wrapping_add(1) };
        state.set_half(device + 4 + 8 * u64::from(ring.size), event);
        if available == 0 {
            return None;
        }
        let head = state.half(driver + 4 + 2 * u64::from(ring.taken) % (2 * u64::from(ring.size)));
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new() };
        state.follow(descriptors, ring.size, head, &mut chain);
        state.queues[queue].taken = ring.taken.wrapping_add(1);
        Some(chain)
    }

    /// Returns a chain that the device has used, with `written` bytes. Makes an interrupt if the driver wants one.
    pub fn give(&self, queue: usize, head: u32, written: u32) {
        let mut state = self.0.borrow_mut();
        let ring = state.queues[queue].clone();
        let [_, driver, device] = ring.addresses;
        let slot = device + 4 + 8 * (u64::from(ring.used) % u64::from(ring.size));
        state.set(slot, &head.to_le_bytes());
        state.set(slot + 4, &written.to_le_bytes());
        let used = ring.used.wrapping_add(1);
        state.queues[queue].used = used;
        state.set_half(device + 2, used);
        let event = state.half(driver + 4 + 2 * u64::from(ring.size));
        let event_idx = Features(state.accepted).has(Features::EVENT_IDX);
        if !event_idx && state.half(driver) & 1 == 0 || event_idx && event == ring.used {
            state.cause |= 1;
            state.interrupts += 1;
        }
    }

    /// Sets the index of the used ring of `queue`, as no correct device does.
    pub fn set_used_index(&self, queue: usize, index: u16) {
        let mut state = self.0.borrow_mut();
        let device = state.queues[queue].addresses[2];
        state.set_half(device + 2, index);
    }

    /// The bytes of the memory at physical address `paddr`.
    #[must_use]
    pub fn read_memory(&self, paddr: u64, len: usize) -> Vec<u8> {
        self.0.borrow().get(paddr, len)
    }

    /// Changes the memory at physical address `paddr`.
    pub fn write_memory(&self, paddr: u64, bytes: &[u8]) {
        self.0.borrow_mut().set(paddr, bytes);
    }

    /// What the device reads of a chain, as one.
    #[must_use]
    pub fn gather(&self, segments: &[Segment]) -> Vec<u8> {
        segments.iter().flat_map(|segment| self.read_memory(segment.paddr, segment.len as usize)).collect()
    }

    /// Writes `bytes` to the segments of a chain, and returns how many there was room for.
    pub fn scatter(&self, segments: &[Segment], mut bytes: &[u8]) -> u32 {
        let mut written = 0;
        for segment in segments {
            let (now, later) = bytes.split_at(bytes.len().min(segment.len as usize));
            self.write_memory(segment.paddr, now);
            written += now.len() as u32;
            bytes = later;
        }
        written
    }
}

impl State {
    fn get(&self, paddr: u64, len: usize) -> Vec<u8> {
        let first = paddr.checked_sub(BASE).expect("an address in memory") as usize;
        (first..first + len).map(|at| self.memory[at / 8].load(SeqCst).to_le_bytes()[at % 8]).collect()
    }

    fn set(&mut self, paddr: u64, bytes: &[u8]) {
        let first = paddr.checked_sub(BASE).expect("an address in memory") as usize;
        for (at, byte) in (first..).zip(bytes) {
            let mut word = self.memory[at / 8].load(SeqCst).to_le_bytes();
            word[at % 8] = *byte;
            self.memory[at / 8].store(u64::from_le_bytes(word), SeqCst);
        }
    }

    fn half(&self, paddr: u64) -> u16 {
        u16::from_le_bytes(self.get(paddr, 2).try_into().unwrap())
    }

    fn set_half(&mut self, paddr: u64, value: u16) {
        self.set(paddr, &value.to_le_bytes());
    }

    /// Reads a chain of descriptors (2.7.5), through one indirect table at most.
    fn follow(&self, table: u64, size: u32, head: u16, chain: &mut Chain) {
        let mut next = head;
        loop {
            assert!(u32::from(next) < size, "2.7.5: a descriptor beyond its table");
            let words = self.get(table + 16 * u64::from(next), 16);
            let paddr = u64::from_le_bytes(words[..8].try_into().unwrap());
            let len = u32::from_le_bytes(words[8..12].try_into().unwrap());
            let flags = u16::from_le_bytes(words[12..14].try_into().unwrap());
            assert_ne!(len, 0, "an empty segment");
            match flags & !1 {
                0 => {
                    assert!(chain.writable.is_empty(), "2.7.4.2: first what the device reads");
                    chain.readable.push(Segment { paddr, len });
                }
                2 => chain.writable.push(Segment { paddr, len }),
                4 => {
                    assert!(Features(self.accepted).has(Features::INDIRECT_DESC) && flags == 4 && next == head);
                    return self.follow(paddr, len / 16, 0, chain);
                }
                _ => panic!("descriptor flags {flags:#x}"),
            }
            if flags & 1 == 0 {
                return;
            }
            next = u16::from_le_bytes(words[14..16].try_into().unwrap());
        }
    }

    fn queue(&mut self) -> Option<&mut Ring> {
        self.queues.get_mut(self.select[2] as usize)
    }
}

impl Registers for Fake {
    fn read(&self, offset: usize) -> u32 {
        let mut state = self.0.borrow_mut();
        match offset {
            0x00 => 0x7472_6976,
            0x04 => state.version,
            0x08 => state.id,
            0x10 => (state.features.0 >> (32 * state.select[0])) as u32,
            0x34 => state.queue().map_or(0, |queue| queue.size_max),
            0x44 => state.queue().map_or(0, |queue| queue.ready.into()),
            0x60 => state.cause,
            0x70 => state.status,
            0xfc => 0,
            0x100.. => u32::from_le_bytes(state.config[offset - 0x100..][..4].try_into().unwrap()),
            _ => panic!("no readable register at {offset:#x}"),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        let mut state = self.0.borrow_mut();
        match offset {
            0x14 => state.select[0] = value,
            0x20 => {
                let shift = 32 * state.select[1];
                state.accepted = state.accepted & !(0xffff_ffff << shift) | u64::from(value) << shift;
            }
            0x24 => state.select[1] = value,
            0x30 => state.select[2] = value,
            0x38 => state.queue().unwrap().size = value,
            0x44 => {
                assert_eq!(state.status, 0xb, "3.1.1: queues after FEATURES_OK, before DRIVER_OK");
                state.queue().unwrap().ready = value == 1;
            }
            0x50 => state.notified.push(value),
            0x64 => state.cause &= !value,
            0x70 if value == 0 && state.refuses_reset => {}
            0x70 if value == 0 => {
                (state.status, state.cause, state.accepted) = (0, 0, 0);
                for queue in &mut state.queues {
                    *queue = Ring { size_max: queue.size_max, ..Ring::default() };
                }
            }
            0x70 => {
                assert!(!state.features.has(Features(state.accepted)) || value & state.status == state.status);
                state.status = if state.refuses_features { value & !8 } else { value };
            }
            0x80..0xa8 => {
                let queue = state.queue().unwrap();
                let (index, shift) = ((offset - 0x80) / 0x10, (offset & 4) * 8);
                assert!(!queue.ready && offset & 8 == 0, "4.2.2.2: not of a queue in use");
                let address = &mut queue.addresses[index];
                *address = *address & !(0xffff_ffff << shift) | u64::from(value) << shift;
            }
            _ => panic!("no writable register at {offset:#x}"),
        }
    }
}
