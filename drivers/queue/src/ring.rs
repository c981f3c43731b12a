// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The ring and its two handles.
//!
//! Layout, in words of 64 bits: four header cells, each in a cache line of its own, then the records. Indices count
//! records since the start and never wrap in practice; their low bits select the record.

use crate::AtomicU64;
use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

#[cfg(not(loom))]
use core::sync::atomic::fence;
#[cfg(loom)]
use loom::sync::atomic::fence;

/// Words of a cache line of 64 bytes, which is the line of every core that Microkit supports.
const LINE: usize = 8;
/// Words of the header.
pub(crate) const HEADER: usize = 4 * LINE;

/// The memory does not hold the header and two records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooSmall;

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shared memory is too small for its queues")
    }
}

impl core::error::Error for TooSmall {}

/// The peer's index is one that a correct peer could not have written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the other side of the queue broke its rules")
    }
}

impl core::error::Error for Broken {}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushError {
    /// The consumer has not yet made room.
    Full,
    /// See [`Broken`].
    Broken,
}

impl From<Broken> for PushError {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the queue is full"),
            Self::Broken => Broken.fmt(f),
        }
    }
}

impl core::error::Error for PushError {}

/// The shared memory, divided.
struct Ring<'a, const N: usize> {
    /// Written by the producer: records pushed so far.
    pushed: &'a AtomicU64,
    /// Written by the consumer: records popped so far.
    popped: &'a AtomicU64,
    /// Non-zero: the consumer wants to be told of a record. Set by the consumer, cleared by either.
    consumer_sleeps: &'a AtomicU64,
    /// Non-zero: the producer wants to be told of room. Set by the producer, cleared by either.
    producer_sleeps: &'a AtomicU64,
    /// A power of two, at least two.
    records: &'a [[AtomicU64; N]],
}

impl<'a, const N: usize> Ring<'a, N> {
    fn new(memory: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        let (header, records) = memory.split_at_checked(HEADER).ok_or(TooSmall)?;
        let ([pushed, popped, consumer_sleeps, producer_sleeps], []) = header.as_chunks::<LINE>() else {
            return Err(TooSmall);
        };
        let (records, _) = records.as_chunks::<N>();
        let count = 1 << records.len().checked_ilog2().filter(|log| *log > 0).ok_or(TooSmall)?;
        Ok(Self {
            pushed: &pushed[0],
            popped: &popped[0],
            consumer_sleeps: &consumer_sleeps[0],
            producer_sleeps: &producer_sleeps[0],
            records: &records[..count],
        })
    }

    /// The place of the record that a handle's own index selects.
    fn place(&self, index: u64) -> usize {
        index as usize & (self.records.len() - 1)
    }

    fn record(&self, index: u64) -> &'a [AtomicU64; N] {
        &self.records[self.place(index)]
    }

    /// How many records lie between the two indices.
    fn distance(&self, popped: u64, pushed: u64) -> Result<usize, Broken> {
        let len = pushed.wrapping_sub(popped);
        if len > self.records.len() as u64 { Err(Broken) } else { Ok(len as usize) }
    }
}

/// Asks to be woken, or takes that back. The fence pairs with the one of [`wake_wanted`]: of "the flag is set" and "the
/// index has moved", at least one side sees the other's.
fn ask(flag: &AtomicU64, on: bool) {
    flag.store(u64::from(on), Relaxed);
    fence(SeqCst);
}

/// Whether the peer has asked to be woken since it was last told. A peer that asks again while this clears the flag is
/// served as well: the notification that the caller now sends comes after its question.
fn wake_wanted(flag: &AtomicU64) -> bool {
    fence(SeqCst);
    let wanted = flag.load(Relaxed) != 0;
    if wanted {
        flag.store(0, Relaxed);
    }
    wanted
}

/// The side of a ring that puts records of `N` words in.
pub struct Producer<'a, const N: usize> {
    ring: Ring<'a, N>,
    /// The own index.
    pushed: u64,
}

impl<'a, const N: usize> Producer<'a, N> {
    /// The producer of the ring in `memory`, which both sides must hand over with the same length. The ring has as many
    /// records, a power of two, as fit. A producer that starts again goes on where the one before it stopped.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn new(memory: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        let ring = Ring::new(memory)?;
        Ok(Self { pushed: ring.pushed.load(Relaxed), ring })
    }

    /// Number of records that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.records.len()
    }

    /// Puts a record in, if there is room. The consumer may see it at once; see also [`Self::wake_wanted`].
    ///
    /// # Errors
    /// [`PushError`].
    pub fn push(&mut self, record: &[u64; N]) -> Result<(), PushError> {
        self.push_all(core::iter::once(*record))
    }

    /// Puts records in, if there is room for all of them. The consumer sees either none of them or all.
    ///
    /// # Errors
    /// [`PushError`]; nothing is then put in.
    pub fn push_all(&mut self, records: impl ExactSizeIterator<Item = [u64; N]>) -> Result<(), PushError> {
        let count = records.len();
        if self.free()? < count {
            return Err(PushError::Full);
        }
        for record in records.take(count) {
            for (cell, word) in self.ring.record(self.pushed).iter().zip(record) {
                cell.store(word, Relaxed);
            }
            self.pushed = self.pushed.wrapping_add(1);
        }
        self.ring.pushed.store(self.pushed, Release);
        Ok(())
    }

    /// The own index: how many records were pushed, since the start and by all producers.
    pub(crate) fn index(&self) -> u64 {
        self.pushed
    }

    /// The place, less than the capacity, of the next record. Links use it to keep a buffer beside each record.
    pub(crate) fn place(&self) -> usize {
        self.ring.place(self.pushed)
    }

    /// Number of records that the consumer has not yet taken.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn len(&self) -> Result<usize, Broken> {
        // Acquire: the consumer's loads of a record come before the stores of its next user.
        self.ring.distance(self.ring.popped.load(Acquire), self.pushed)
    }

    /// Whether the consumer has taken everything.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn is_empty(&self) -> Result<bool, Broken> {
        Ok(self.len()? == 0)
    }

    /// Number of records that can be pushed now.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn free(&self) -> Result<usize, Broken> {
        Ok(self.capacity() - self.len()?)
    }

    /// Asks to be woken when the ring, now full, is at most half full. `false` if there is room already, or the ring is
    /// broken: then no wake-up may come.
    pub fn sleep(&mut self) -> bool {
        ask(self.ring.producer_sleeps, true);
        let full = self.free() == Ok(0);
        if !full {
            ask(self.ring.producer_sleeps, false);
        }
        full
    }

    /// Whether the consumer sleeps and must be notified; asked after a batch of pushes. `true` counts as told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        wake_wanted(self.ring.consumer_sleeps)
    }

    /// Goes on from the consumer's index: drops what it has not yet taken, and mends a broken ring. The caller then
    /// notifies the consumer once, for a wake-up may have been lost.
    pub fn resync(&mut self) {
        self.pushed = self.ring.popped.load(Acquire);
        self.ring.pushed.store(self.pushed, Release);
    }
}

/// The side of a ring that takes records of `N` words out.
pub struct Consumer<'a, const N: usize> {
    ring: Ring<'a, N>,
    /// The own index.
    popped: u64,
}

impl<'a, const N: usize> Consumer<'a, N> {
    /// The consumer of the ring in `memory`: see [`Producer::new`].
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn new(memory: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        let ring = Ring::new(memory)?;
        Ok(Self { popped: ring.popped.load(Relaxed), ring })
    }

    /// Number of records that the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.records.len()
    }

    /// Takes the oldest record out. See also [`Self::wake_wanted`].
    ///
    /// # Errors
    /// [`Broken`].
    pub fn pop(&mut self) -> Result<Option<[u64; N]>, Broken> {
        let record = self.peek()?;
        if record.is_some() {
            self.advance();
        }
        Ok(record)
    }

    /// The own index: how many records were popped, since the start and by all consumers.
    pub(crate) fn index(&self) -> u64 {
        self.popped
    }

    /// Copies the oldest record and leaves it, and so the buffer at its place, to this side.
    pub(crate) fn peek(&self) -> Result<Option<[u64; N]>, Broken> {
        self.peek_ahead(0)
    }

    /// The place, less than the capacity, of the oldest record.
    pub(crate) fn place(&self) -> usize {
        self.ring.place(self.popped)
    }

    /// The record that is `ahead` records younger than the oldest one, if it is there.
    pub(crate) fn peek_ahead(&self, ahead: usize) -> Result<Option<[u64; N]>, Broken> {
        let there = ahead < self.len()?;
        let record =
            || self.ring.record(self.popped.wrapping_add(ahead as u64)).each_ref().map(|cell| cell.load(Relaxed));
        Ok(there.then(record))
    }

    /// Takes the oldest record, which [`Self::peek`] has found.
    pub(crate) fn advance(&mut self) {
        self.advance_by(1);
    }

    /// Takes the `count` oldest records at once: one that starts again finds all of them or none.
    pub(crate) fn advance_by(&mut self, count: usize) {
        self.popped = self.popped.wrapping_add(count as u64);
        self.ring.popped.store(self.popped, Release);
    }

    /// Number of records that can be popped now.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn len(&self) -> Result<usize, Broken> {
        // Acquire: the producer's stores of a record come before the loads of it.
        self.ring.distance(self.popped, self.ring.pushed.load(Acquire))
    }

    /// Whether there is nothing to pop.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn is_empty(&self) -> Result<bool, Broken> {
        Ok(self.len()? == 0)
    }

    /// Asks to be woken when a record arrives. `false` if one is there already, or the ring is broken: then no wake-up
    /// may come.
    pub fn sleep(&mut self) -> bool {
        self.ask(true);
        let empty = self.is_empty() == Ok(true);
        if !empty {
            self.ask(false);
        }
        empty
    }

    /// The first half of [`Self::sleep`], for a consumer that then looks by itself: a wake-up comes for each record that
    /// it does not find. Or takes the question back.
    pub fn ask(&mut self, on: bool) {
        ask(self.ring.consumer_sleeps, on);
    }

    /// Whether the producer sleeps and must be notified; asked after a batch of pops. `true` counts as told. One that waits
    /// for room is woken when half the ring is free, not for each record.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        self.len().is_ok_and(|len| len <= self.capacity() / 2) && wake_wanted(self.ring.producer_sleeps)
    }

    /// Goes on from the producer's index: drops what is there, and mends a broken ring. The caller then notifies the
    /// producer once, for a wake-up may have been lost.
    pub fn resync(&mut self) {
        self.popped = self.ring.pushed.load(Acquire);
        self.ring.popped.store(self.popped, Release);
    }
}
