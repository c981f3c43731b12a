// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The device's side of a split virtqueue (virtio 1.2, 2.7).
//!
//! Positions are kept here and never read back from the guest's memory. A queue that breaks a rule says which one; the
//! device then needs a reset.

use super::chain::{Buffer, Chain};
use super::{KEPT, Lazy};
use crate::memory::{self, GuestMemory, OutOfRange};
use core::fmt;
use core::sync::atomic::Ordering::{Acquire, Release, SeqCst};
use core::sync::atomic::fence;

/// Largest number of descriptors of a queue.
pub const MAX_SIZE: u16 = 256;

/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;
/// Bytes before the rings of both areas: flags and index.
const RING_HEADER: u64 = 4;

/// Flags of a descriptor (2.7.5).
mod flag {
    pub const NEXT: u16 = 1;
    pub const WRITE: u16 = 2;
    pub const INDIRECT: u16 = 4;
}

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` (2.7.6) and `VIRTQ_USED_F_NO_NOTIFY` (2.7.8).
const SUPPRESS: u16 = 1;

/// The rule that a driver broke.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RingError {
    /// An area of the queue is not aligned (2.7).
    AreaMisaligned,
    /// An area of the queue does not lie in RAM.
    AreaOutOfRange,
    /// More chains were made available than the queue has descriptors (2.7.6): the index jumped, or went back.
    AvailableIndex,
    /// A chain begins outside the descriptor table (2.7.6).
    HeadOutOfRange,
    /// A chain goes on outside its table (2.7.5).
    NextOutOfRange,
    /// A chain has more descriptors than the queue (2.7.5.3.1), as one that loops has.
    ChainTooLong,
    /// A chain has more than 2^32 bytes (2.7.5).
    ChainTooLarge,
    /// A buffer does not lie in RAM.
    BufferOutOfRange,
    /// A device-readable buffer follows a device-writable one (2.7.4.2).
    ReadableAfterWritable,
    /// An indirect table although the feature was not negotiated (2.7.5.3.1).
    IndirectNotNegotiated,
    /// An indirect table in an indirect table (2.7.5.3.1).
    IndirectNested,
    /// A descriptor that both refers to an indirect table and goes on (2.7.5.3.1).
    IndirectWithNext,
    /// The size of an indirect table is zero or no multiple of a descriptor's (2.7.5.3).
    IndirectSize,
    /// An indirect table does not lie in RAM.
    IndirectOutOfRange,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AreaMisaligned => "an area of the queue is not aligned",
            Self::AreaOutOfRange => "an area of the queue is outside RAM",
            Self::AvailableIndex => "the available index jumped",
            Self::HeadOutOfRange => "a chain begins outside the descriptor table",
            Self::NextOutOfRange => "a chain goes on outside the descriptor table",
            Self::ChainTooLong => "a chain has more descriptors than the queue",
            Self::ChainTooLarge => "a chain has more than 2^32 bytes",
            Self::BufferOutOfRange => "a buffer is outside RAM",
            Self::ReadableAfterWritable => "a readable buffer follows a writable one",
            Self::IndirectNotNegotiated => "an indirect table was not negotiated",
            Self::IndirectNested => "an indirect table is in another",
            Self::IndirectWithNext => "an indirect table is followed by a descriptor",
            Self::IndirectSize => "an indirect table has a wrong size",
            Self::IndirectOutOfRange => "an indirect table is outside RAM",
        })
    }
}

impl core::error::Error for RingError {}

/// Guest-physical addresses of a queue's areas (2.7).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Areas {
    /// The descriptor table.
    pub descriptors: u64,
    /// The driver area: the available ring.
    pub driver: u64,
    /// The device area: the used ring.
    pub device: u64,
}

/// What of the negotiated features concerns a queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// `VIRTIO_F_INDIRECT_DESC`.
    pub indirect: bool,
    /// `VIRTIO_F_EVENT_IDX`.
    pub event_index: bool,
}

/// A queue in use.
#[derive(Debug)]
pub struct Ring {
    areas: Areas,
    /// A power of two, at most [`MAX_SIZE`].
    size: u16,
    options: Options,
    /// Chains taken so far; positions count modulo 2^16.
    taken: u16,
    /// The driver's available index when last looked at.
    available: u16,
    /// Chains put into the used ring so far.
    used: u16,
    /// Of these, those that the driver has been shown.
    shown: u16,
    /// Of these, those after which it was asked whether it wants an interrupt.
    asked: u16,
    /// Of the chains taken and of those given back, those that [`Ring::news`] has told of.
    told: (u16, u16),
    /// Without event indices: the driver has been asked not to notify.
    suppressing: bool,
}

impl Ring {
    /// A queue of `size` descriptors, a power of two, in `areas` of `memory`.
    ///
    /// # Errors
    /// [`RingError::AreaMisaligned`], [`RingError::AreaOutOfRange`].
    pub fn new(memory: &impl GuestMemory, areas: Areas, size: u16, options: Options) -> Result<Self, RingError> {
        let count = usize::from(size);
        // With the event index behind each ring (2.7.6, 2.7.8).
        let parts = [
            (areas.descriptors, DESCRIPTOR as usize * count, 16),
            (areas.driver, RING_HEADER as usize + 2 * count + 2, 2),
            (areas.device, RING_HEADER as usize + 8 * count + 2, 4),
        ];
        for (gpa, len, align) in parts {
            if !gpa.is_multiple_of(align) {
                return Err(RingError::AreaMisaligned);
            }
            memory::offset(gpa, len, memory.size()).map_err(|OutOfRange| RingError::AreaOutOfRange)?;
        }
        Ok(Self {
            areas,
            size,
            options,
            taken: 0,
            available: 0,
            used: 0,
            shown: 0,
            asked: 0,
            told: (0, 0),
            suppressing: false,
        })
    }

    /// Takes the next available chain, or `again` the one at that head, which was taken before and not given back, and copies
    /// its descriptors into `chain`: false if there is none.
    ///
    /// # Errors
    /// [`RingError`]: the driver may have changed a chain that is taken again.
    pub fn take(
        &mut self,
        memory: &impl GuestMemory,
        chain: &mut Chain,
        again: Option<u16>,
    ) -> Result<bool, RingError> {
        let head = match again {
            Some(head) => head,
            None if self.taken == self.available && !self.look(memory)? => return Ok(false),
            None => {
                let entry = self.areas.driver + RING_HEADER + 2 * u64::from(self.taken & (self.size - 1));
                memory.load_u16(entry).map_err(|OutOfRange| RingError::AreaOutOfRange)?
            }
        };
        if head >= self.size {
            return Err(RingError::HeadOutOfRange);
        }
        self.walk(memory, head, chain)?;
        self.taken = self.taken.wrapping_add(again.is_none().into());
        Ok(true)
    }

    /// Whether the driver has made chains available that were not seen before; or broke a rule, of which [`Ring::take`] tells.
    pub fn has_news(&mut self, memory: &impl GuestMemory) -> bool {
        let before = self.available;
        self.look(memory).is_err() || self.available != before
    }

    /// Whether there is an available chain.
    #[inline]
    fn look(&mut self, memory: &impl GuestMemory) -> Result<bool, RingError> {
        let index = memory.load_u16(self.areas.driver + 2).map_err(|OutOfRange| RingError::AreaOutOfRange)?;
        // What the index covers is read after it.
        fence(Acquire);
        let waiting = index.wrapping_sub(self.taken);
        if waiting > self.size {
            return Err(RingError::AvailableIndex);
        }
        self.available = index;
        Ok(waiting > 0)
    }

    fn walk(&self, memory: &impl GuestMemory, head: u16, chain: &mut Chain) -> Result<(), RingError> {
        let (mut table, mut entries, mut indirect) = (self.areas.descriptors, u32::from(self.size), false);
        let mut index = head;
        let mut bytes = 0_u64;
        chain.begin(head);
        // Every turn but the one that enters an indirect table counts a descriptor.
        let mut room = u32::from(self.size);
        loop {
            // Nothing says that an indirect table is aligned.
            let [gpa, rest] = memory
                .load_u64_pair(table + DESCRIPTOR * u64::from(index))
                .map_err(|OutOfRange| RingError::IndirectOutOfRange)?;
            // 2.7.5.
            let (len, flags, next) = (rest as u32, (rest >> 32) as u16, (rest >> 48) as u16);
            if flags & flag::INDIRECT != 0 {
                if !self.options.indirect {
                    return Err(RingError::IndirectNotNegotiated);
                }
                if indirect {
                    return Err(RingError::IndirectNested);
                }
                if flags & flag::NEXT != 0 {
                    return Err(RingError::IndirectWithNext);
                }
                if len == 0 || !u64::from(len).is_multiple_of(DESCRIPTOR) {
                    return Err(RingError::IndirectSize);
                }
                memory::offset(gpa, len as usize, memory.size()).map_err(|OutOfRange| RingError::IndirectOutOfRange)?;
                (table, entries, indirect, index) = (gpa, len / DESCRIPTOR as u32, true, 0);
                continue;
            }
            if room == 0 {
                return Err(RingError::ChainTooLong);
            }
            room -= 1;
            bytes += u64::from(len);
            if bytes > 1 << 32 {
                return Err(RingError::ChainTooLarge);
            }
            if len > 0 {
                memory::offset(gpa, len as usize, memory.size()).map_err(|OutOfRange| RingError::BufferOutOfRange)?;
                if !chain.push(Buffer { gpa, len }, flags & flag::WRITE != 0) {
                    return Err(RingError::ReadableAfterWritable);
                }
            }
            if flags & flag::NEXT == 0 {
                return Ok(());
            }
            if u32::from(next) >= entries {
                return Err(RingError::NextOutOfRange);
            }
            index = next;
        }
    }

    /// Leaves the last `count` chains that were taken to be taken again.
    pub fn put_back(&mut self, count: u16) {
        self.taken = self.taken.wrapping_sub(count);
    }

    /// Gives a chain back, of which `written` bytes were written. The driver sees it after [`Ring::publish`].
    ///
    /// # Errors
    /// [`RingError`].
    pub fn give_back(&mut self, memory: &mut impl GuestMemory, head: u16, written: u32) -> Result<(), RingError> {
        let entry = self.areas.device + RING_HEADER + 8 * u64::from(self.used & (self.size - 1));
        memory.store_u32_pair(entry, [head.into(), written]).map_err(|OutOfRange| RingError::AreaOutOfRange)?;
        self.used = self.used.wrapping_add(1);
        Ok(())
    }

    /// How many chains were taken, and how many given back, since this was last asked.
    pub fn news(&mut self) -> (u16, u16) {
        let (taken, used) = core::mem::replace(&mut self.told, (self.taken, self.used));
        (self.taken.wrapping_sub(taken), self.used.wrapping_sub(used))
    }

    /// How many chains were taken and not given back.
    #[must_use]
    pub fn outstanding(&self) -> u16 {
        self.taken.wrapping_sub(self.used)
    }

    /// Shows the driver what was given back, but for what can wait: whether it wants an interrupt for that (2.7.7, 2.7.10).
    ///
    /// # Errors
    /// [`RingError`].
    pub fn publish(&mut self, memory: &mut impl GuestMemory, lazy: Option<Lazy>) -> Result<bool, RingError> {
        let (shown, mut now) = (self.shown, self.used);
        if lazy == Some(Lazy::Chains) && now != shown && self.is_wanted(memory, shown, now)? {
            now = now.wrapping_sub(KEPT.min(now.wrapping_sub(shown)));
        }
        if now != shown {
            self.shown = now;
            // The buffers and the ring are written before the index.
            fence(Release);
            memory.store_u16(self.areas.device + 2, now).map_err(|OutOfRange| RingError::AreaOutOfRange)?;
        }
        // A driver that waits for room is not left waiting.
        let before = self.asked;
        if now == before || lazy == Some(Lazy::Signals) && now.wrapping_sub(before) < self.size {
            return Ok(false);
        }
        self.asked = now;
        // The index is written before it is asked whether the driver wants to know.
        fence(SeqCst);
        self.is_wanted(memory, before, now)
    }

    /// Whether something of what was given back waits, see [`Lazy`].
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.used != self.asked
    }

    /// Whether the driver wants an interrupt when the index goes from `before` to `now`.
    fn is_wanted(&self, memory: &impl GuestMemory, before: u16, now: u16) -> Result<bool, RingError> {
        let question = self.areas.driver + if self.options.event_index { self.driver_event() } else { 0 };
        let answer = memory.load_u16(question).map_err(|OutOfRange| RingError::AreaOutOfRange)?;
        Ok(if self.options.event_index { passed(answer, before, now) } else { answer & SUPPRESS == 0 })
    }

    /// Asks the driver to notify of the next chain. True if there is one already, and then no notification may come.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn sleep(&mut self, memory: &mut impl GuestMemory) -> Result<bool, RingError> {
        if self.options.event_index {
            let event = self.areas.device + RING_HEADER + 8 * u64::from(self.size);
            memory.store_u16(event, self.taken).map_err(|OutOfRange| RingError::AreaOutOfRange)?;
        } else if core::mem::take(&mut self.suppressing) {
            memory.store_u16(self.areas.device, 0).map_err(|OutOfRange| RingError::AreaOutOfRange)?;
        }
        // The question is written before the index is looked at once more.
        fence(SeqCst);
        self.look(memory)
    }

    /// Asks the driver not to notify until [`Ring::sleep`]. With event indices it does not anyway.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn suppress(&mut self, memory: &mut impl GuestMemory) -> Result<(), RingError> {
        if self.options.event_index || self.suppressing {
            return Ok(());
        }
        self.suppressing = true;
        memory.store_u16(self.areas.device, SUPPRESS).map_err(|OutOfRange| RingError::AreaOutOfRange)
    }

    /// Where `used_event` is, behind the start of the driver area.
    fn driver_event(&self) -> u64 {
        RING_HEADER + 2 * u64::from(self.size)
    }
}

/// Whether an index that went from `before` to `now` has passed `event` (2.7.10).
fn passed(event: u16, before: u16, now: u16) -> bool {
    now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
}

#[cfg(test)]
mod tests;
