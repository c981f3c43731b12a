// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A split virtqueue (virtio 1.2, 2.7), driver side.
//!
//! Every chain takes one entry of the descriptor table: either it is a single segment, or the entry refers to an indirect
//! table (2.7.5.3) that belongs to that entry for good. So the entry's index names the chain, there is no list of free
//! descriptors to follow, and a request of many segments takes no more room than a short one.

use crate::dma::{Dma, NoMemory};
use core::fmt;
use core::slice;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, fence};

/// The parts begin at cache lines, which satisfies the alignments of 2.7 and keeps the two sides' writes apart.
const LINE: usize = 64;

/// Descriptor flags (2.7.5).
const NEXT: u64 = 1;
const WRITE: u64 = 2;
const INDIRECT: u64 = 4;
/// In the used ring's flags: the device does not want to be notified (2.7.10).
const NO_NOTIFY: u16 = 1;

/// A descriptor: address; length, flags and next in one word.
type Descriptor = [AtomicU64; 2];

/// Physically contiguous memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Physical address.
    pub paddr: u64,
    /// Length in bytes; not zero, which some devices refuse.
    pub len: u32,
}

/// Physically contiguous memory of a client, parts of which its requests name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    paddr: u64,
    size: u64,
}

impl Window {
    /// The memory at physical address `paddr`, if it has an address and its end has one.
    #[must_use]
    pub fn new(paddr: u64, size: u64) -> Option<Self> {
        paddr.checked_add(size).filter(|_| paddr != 0).map(|_| Self { paddr, size })
    }

    /// The `len` bytes at `offset` in the window, if there are any and they lie in it.
    #[must_use]
    pub fn segment(self, offset: u64, len: u32) -> Option<Segment> {
        let end = offset.checked_add(len.into())?;
        // Its end has an address, as `new` has checked.
        (len > 0 && end <= self.size).then(|| Segment { paddr: self.paddr + offset, len })
    }
}

/// A chain that the device has used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Completion {
    /// The chain: [`Chain::id`].
    pub id: usize,
    /// How many bytes the device says that it wrote, at most as many as it was given.
    pub written: u32,
}

/// The device returned what a correct device could not have returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the device broke the rules of its queue")
    }
}

impl core::error::Error for Broken {}

/// The chain has more segments than the queue was made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLong;

/// What the device is told of a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
}

/// What a queue of `N` chains notes of them. It is not in the queue itself, to keep that small enough for a stack.
#[derive(Clone, Debug)]
pub struct Ledger<const N: usize> {
    /// Chains that the device has not got: as many entries as are free.
    stack: [u16; N],
    /// For each chain, how many bytes the device may write; none if the device has not got it.
    writable: [Option<u32>; N],
}

impl<const N: usize> Ledger<N> {
    /// A ledger for one queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { stack: [0; N], writable: [None; N] }
    }
}

impl<const N: usize> Default for Ledger<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A queue of `N` chains, a power of two, of up to `S` segments each. With more than one segment the device must have
/// [`Features::INDIRECT_DESC`](crate::Features::INDIRECT_DESC).
pub struct Queue<'a, const N: usize, const S: usize> {
    descriptors: &'a [Descriptor; N],
    /// Indirect tables; none if a chain is a single segment.
    tables: &'a [[Descriptor; S]],
    tables_paddr: u64,
    available_index: &'a AtomicU16,
    available: &'a [AtomicU16; N],
    /// Tells the device at which index to interrupt (2.7.7.1).
    used_event: &'a AtomicU16,
    used_flags: &'a AtomicU16,
    used_index: &'a AtomicU16,
    /// Elements: id, length.
    used: &'a [[AtomicU32; 2]; N],
    /// Tells the driver at which index to notify (2.7.10).
    available_event: &'a AtomicU16,
    pub(crate) addresses: Addresses,
    pub(crate) event_idx: bool,

    ledger: &'a mut Ledger<N>,
    /// How many chains the device has not got.
    free: usize,
    /// Chains submitted, published, and popped so far.
    submitted: u16,
    published: u16,
    popped: u16,
}

impl<'a, const N: usize, const S: usize> Queue<'a, N, S> {
    const SIZE: u16 = {
        assert!(N.is_power_of_two() && N <= 1 << 15, "2.7: a power of two, at most 32768");
        assert!(S > 0 && S <= 1 << 15);
        N as u16
    };
    const TABLES: usize = if S == 1 { 0 } else { N };

    /// A queue in `dma`; [`Device::start`](crate::Device::start) hands it to the device.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn new(dma: &mut Dma<'a>, ledger: &'a mut Ledger<N>) -> Result<Self, NoMemory> {
        // A part that begins where another ends, and is aligned there, follows it without a gap.
        let (descriptors, descriptors_paddr) = dma.take::<Descriptor>(N, LINE)?;
        let (driver, driver_paddr) = dma.take::<AtomicU16>(N + 3, LINE)?;
        let (device, device_paddr) = dma.take::<AtomicU16>(2, LINE)?;
        let (used, _) = dma.take::<[AtomicU32; 2]>(N, 4)?;
        let (events, _) = dma.take::<AtomicU16>(1, 2)?;
        let (tables, tables_paddr) = dma.take::<[Descriptor; S]>(Self::TABLES, LINE)?;
        let ([_, available_index, available @ .., used_event], [used_flags, used_index], [available_event]) =
            (driver, device, events)
        else {
            return Err(NoMemory);
        };
        let mut queue = Self {
            descriptors: descriptors.try_into().map_err(|_| NoMemory)?,
            tables,
            tables_paddr,
            available_index,
            available: available.try_into().map_err(|_| NoMemory)?,
            used_event,
            used_flags,
            used_index,
            used: used.try_into().map_err(|_| NoMemory)?,
            available_event,
            addresses: Addresses { descriptors: descriptors_paddr, driver: driver_paddr, device: device_paddr },
            event_idx: false,
            ledger,
            free: 0,
            submitted: 0,
            published: 0,
            popped: 0,
        };
        queue.reset();
        Ok(queue)
    }
    /// Takes everything back, before the device is given the queue, and again after it has been reset.
    pub(crate) fn reset(&mut self) {
        for part in self.available.iter().chain([self.available_index, self.used_event]) {
            part.store(0, Relaxed);
        }
        for part in [self.used_flags, self.used_index, self.available_event] {
            part.store(0, Relaxed);
        }
        for (id, descriptor) in (0..).zip(self.descriptors) {
            // Of a direct chain, the address is written with its segment.
            descriptor[0].store(self.tables_paddr + id * size_of::<[Descriptor; S]>() as u64, Relaxed);
        }
        for (id, entry) in (0..Self::SIZE).zip(&mut self.ledger.stack) {
            *entry = id;
        }
        self.free = N;
        self.ledger.writable = [None; N];
        (self.submitted, self.published, self.popped) = (0, 0, 0);
    }

    /// How many chains can be submitted now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free
    }

    /// Begins a chain, if one is free.
    pub fn begin(&mut self) -> Option<Chain<'_, 'a, N, S>> {
        let id = *self.ledger.stack.get(self.free.checked_sub(1)?)?;
        let table = match self.tables.get(usize::from(id)) {
            Some(table) => table,
            None => slice::from_ref(self.descriptors.get(usize::from(id))?),
        };
        Some(Chain { queue: self, table, id, len: 0, writable: 0, last: [0; 2] })
    }

    /// Shows the device the chains that were submitted since the last call. Whether it is to be notified
    /// ([`Device::notify`](crate::Device::notify)).
    #[must_use]
    pub fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.submitted);
        if old == new {
            return false;
        }
        self.published = new;
        // Release: the device sees the chains when it sees the index.
        self.available_index.store(new, Release);
        // 2.7.13.4.1: of "the index has moved" and "the device asks to be notified", at least one side sees the other's.
        fence(SeqCst);
        if self.event_idx {
            let event = self.available_event.load(Relaxed);
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.used_flags.load(Relaxed) & NO_NOTIFY == 0
        }
    }

    /// Takes back a chain that the device has used, if there is one.
    ///
    /// # Errors
    /// [`Broken`]: the device must be reset.
    pub fn pop(&mut self) -> Result<Option<Completion>, Broken> {
        if self.used()? == 0 {
            return Ok(None);
        }
        let [id, written] = self.used[usize::from(self.popped) % N].each_ref().map(|word| word.load(Relaxed));
        let id = id as usize;
        let entry = self.ledger.writable.get_mut(id).ok_or(Broken)?;
        if written > entry.take().ok_or(Broken)? {
            return Err(Broken);
        }
        self.ledger.stack[self.free] = id as u16;
        self.free += 1;
        self.popped = self.popped.wrapping_add(1);
        Ok(Some(Completion { id, written }))
    }

    /// How many chains the device has used that are not yet popped.
    fn used(&self) -> Result<u16, Broken> {
        // Acquire: the device's writes to a chain come before the loads of its element and contents.
        let used = self.used_index.load(Acquire).wrapping_sub(self.popped);
        if used > self.published.wrapping_sub(self.popped) { Err(Broken) } else { Ok(used) }
    }

    /// Asks for no interrupt until [`Self::sleep`], as far as the device can do that.
    pub fn quiet(&mut self) {
        if self.event_idx {
            // As far away as can be.
            self.used_event.store(self.popped.wrapping_sub(1), Relaxed);
        }
    }

    /// Asks for an interrupt when the device uses the next chain. `false` if it has used one already, or is broken: then
    /// no interrupt may come.
    pub fn sleep(&mut self) -> bool {
        self.sleep_for(1)
    }

    /// As [`Self::sleep`], for the device to use `count` chains more than were popped: at least one, and at most as many as
    /// it has. A device that cannot do that interrupts for each.
    pub fn sleep_for(&mut self, count: u16) -> bool {
        let more = count.saturating_sub(1);
        if self.event_idx {
            self.used_event.store(self.popped.wrapping_add(more), Relaxed);
        }
        // 2.7.7.2: as in `publish`.
        fence(SeqCst);
        self.used().is_ok_and(|used| used <= more)
    }
}

/// A chain in the making: first what the device reads, then what it writes. Dropped, it is as if it had never begun.
pub struct Chain<'q, 'a, const N: usize, const S: usize> {
    queue: &'q mut Queue<'a, N, S>,
    /// Its descriptors: the indirect table, or the one entry.
    table: &'a [Descriptor],
    id: u16,
    len: usize,
    writable: u32,
    /// The last segment, not yet in memory: only now is it known whether another follows.
    last: [u64; 2],
}

impl<const N: usize, const S: usize> Chain<'_, '_, N, S> {
    /// What names the chain until it is popped: less than the size of the queue.
    #[must_use]
    pub fn id(&self) -> usize {
        usize::from(self.id)
    }

    /// Adds a segment that the device reads.
    ///
    /// # Errors
    /// [`TooLong`]: the chain is as it was.
    pub fn read(&mut self, segment: Segment) -> Result<(), TooLong> {
        self.push(segment, 0)
    }

    /// Adds a segment that the device writes.
    ///
    /// # Errors
    /// [`TooLong`]: the chain is as it was.
    pub fn write(&mut self, segment: Segment) -> Result<(), TooLong> {
        self.push(segment, WRITE)?;
        self.writable = self.writable.saturating_add(segment.len);
        Ok(())
    }

    fn push(&mut self, segment: Segment, flags: u64) -> Result<(), TooLong> {
        if self.len == S {
            return Err(TooLong);
        }
        if self.len > 0 {
            self.store(NEXT << 32 | (self.len as u64) << 48);
        }
        self.len += 1;
        self.last = [segment.paddr, u64::from(segment.len) | flags << 32];
        Ok(())
    }

    /// Writes the last segment to its descriptor.
    fn store(&self, more: u64) {
        let [address, rest] = &self.table[self.len - 1];
        address.store(self.last[0], Relaxed);
        rest.store(self.last[1] | more, Relaxed);
    }

    /// Gives the chain to the device, which sees it after [`Queue::publish`]. The segments belong to the device until the
    /// chain is popped. An empty chain is dropped.
    pub fn submit(self) {
        if self.len == 0 {
            return;
        }
        self.store(0);
        let Self { queue, id, len, writable, .. } = self;
        if S > 1 {
            let size = (len * size_of::<Descriptor>()) as u64;
            queue.descriptors[usize::from(id)][1].store(size | INDIRECT << 32, Relaxed);
        }
        queue.free -= 1;
        queue.ledger.writable[usize::from(id)] = Some(writable);
        queue.available[usize::from(queue.submitted) % N].store(id, Relaxed);
        queue.submitted = queue.submitted.wrapping_add(1);
    }
}
