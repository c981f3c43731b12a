// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest's RAM, as this PD maps it.

use config::Window;
use core::arch::asm;
use core::ptr;
use vmm_core::memory::{GuestMemory, OutOfRange, offset};

/// Smallest line of any cache of an ARMv8 core, in bytes.
const CACHE_LINE: usize = 16;

/// The RAM. It is reached through raw pointers only, since the guest may write it at any time.
pub struct Ram {
    base: *mut u8,
    size: u64,
}

impl Ram {
    /// The RAM in `window`, which the system file maps into this PD for as long as it lives.
    pub fn new(window: Window) -> Self {
        Self { base: ptr::with_exposed_provenance_mut(window.vaddr as usize), size: window.size }
    }
}

impl GuestMemory for Ram {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfRange> {
        let start = offset(gpa, buf.len(), self.size)?;
        for (i, byte) in buf.iter_mut().enumerate() {
            // SAFETY: `offset` has checked that all of the buffer's length lies in the window, which is mapped. Volatile,
            // as the guest may write it meanwhile; any byte is a valid one.
            *byte = unsafe { self.base.add(start + i).read_volatile() };
        }
        Ok(())
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        let start = offset(gpa, bytes.len(), self.size)?;
        // SAFETY: `offset` has checked that `bytes.len()` bytes from `start` on lie in the window, which is mapped, and
        // which no reference covers.
        unsafe { copy(bytes, self.base.add(start)) };
        // SAFETY: the same bytes.
        unsafe { clean(self.base.add(start), bytes.len()) };
        Ok(())
    }
}

/// Copies `bytes` to `to`, word by word where the address allows.
///
/// # Safety
/// `to` must be valid for writes of `bytes.len()` bytes.
unsafe fn copy(bytes: &[u8], to: *mut u8) {
    let head = to.align_offset(size_of::<[u64; 4]>()).min(bytes.len());
    let (head, rest) = bytes.split_at(head);
    let (words, tail) = rest.as_chunks::<{ size_of::<[u64; 4]>() }>();
    let mut at = to;
    let bytewise = |part: &[u8], mut at: *mut u8| {
        for byte in part {
            // SAFETY: the parts follow each other and are together as long as `bytes`.
            unsafe { at.write_volatile(*byte) };
            at = at.wrapping_add(1);
        }
        at
    };
    at = bytewise(head, at);
    for chunk in words {
        let (word, _) = chunk.as_chunks::<8>();
        for (i, word) in word.iter().enumerate() {
            // SAFETY: as above, and `head` ended at an aligned address.
            unsafe { at.cast::<u64>().add(i).write_volatile(u64::from_le_bytes(*word)) };
        }
        at = at.wrapping_add(chunk.len());
    }
    bytewise(tail, at);
}

/// Cleans the cache for `len` bytes at `start` to the point of coherency: a vCPU that starts with its MMU off reads from
/// there.
///
/// # Safety
/// The bytes must be mapped.
unsafe fn clean(start: *mut u8, len: usize) {
    let first = start.addr() & !(CACHE_LINE - 1);
    for line in (first..start.addr() + len).step_by(CACHE_LINE) {
        // SAFETY: the line holds a mapped byte; cleaning changes no value, and the kernel allows it at EL0.
        unsafe { asm!("dc cvac, {}", in(reg) line, options(nostack)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack)) };
}
