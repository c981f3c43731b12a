// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Memory that the driver shares with its device.

use core::fmt;
use core::slice;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

/// Types that can lie in memory which a device changes: atomics, and arrays of them.
///
/// # Safety
/// Every value of the bytes is valid, there is no padding, and all access through a shared reference is atomic.
pub unsafe trait Shared {}

// SAFETY: an integer has no padding or invalid value, and its atomic has the same layout.
unsafe impl Shared for AtomicU8 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU16 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU32 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU64 {}
// SAFETY: elements of an array follow each other without padding.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

/// A region of physically contiguous memory that the device reaches, handed out in parts.
pub struct Dma<'a> {
    memory: &'a [AtomicU64],
    paddr: u64,
    /// Bytes handed out.
    taken: usize,
}

/// The region is too small for what the driver wants from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoMemory;

impl fmt::Display for NoMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver's `dma` region is too small")
    }
}

impl core::error::Error for NoMemory {}

impl<'a> Dma<'a> {
    /// The region `memory`, zeroed, at physical address `paddr`.
    #[must_use]
    pub fn new(memory: &'a [AtomicU64], paddr: u64) -> Self {
        Self { memory, paddr, taken: 0 }
    }

    /// A part of `count` elements of `T`, zeroed, and its physical address. It begins at the next multiple of `align` bytes
    /// from the start of the region.
    ///
    /// # Errors
    /// [`NoMemory`].
    ///
    /// # Panics
    /// If `align` is not a power of two, or the region is not aligned for `T`.
    pub fn take<T: Shared>(&mut self, count: usize, align: usize) -> Result<(&'a [T], u64), NoMemory> {
        let start = self.taken.checked_next_multiple_of(align).ok_or(NoMemory)?;
        let size = size_of::<T>().checked_mul(count).ok_or(NoMemory)?;
        let end = start.checked_add(size).filter(|end| *end <= size_of_val(self.memory)).ok_or(NoMemory)?;
        self.taken = end;
        let first = self.memory.as_ptr().wrapping_byte_add(start).cast::<T>();
        assert!(align.is_power_of_two() && first.is_aligned(), "DMA memory is aligned");
        // SAFETY: the part lies in `memory`, which is borrowed for `'a`; it is aligned. `T` allows any value and, like the
        // memory's own type, is only accessed atomically; no other part overlaps this one.
        let part = unsafe { slice::from_raw_parts(first, count) };
        Ok((part, self.paddr + start as u64))
    }
}
