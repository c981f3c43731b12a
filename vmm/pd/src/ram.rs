// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest's RAM, as this PD maps it.

use config::Window;
use core::arch::asm;
use core::ptr;
use queue::AtomicU64;
use vmm_core::memory::{GuestMemory, OutOfRange, offset};

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

    /// Fills `len` bytes from `start` bytes behind the start of the RAM with zeros, as far as there is RAM. Both are
    /// multiples of 64.
    pub fn clear(&mut self, start: u64, len: u64) {
        let end = start.saturating_add(len).min(self.size);
        let Some(len) = end.checked_sub(start).filter(|len| *len > 0) else { return };
        let from = self.base.wrapping_add(start as usize);
        // SAFETY: stores to at least one piece of 64 bytes, and to as many as lie in the window, which is mapped, and which
        // no reference covers.
        unsafe {
            asm!(
                "2: stp xzr, xzr, [{at}], #16",
                "stp xzr, xzr, [{at}], #16",
                "stp xzr, xzr, [{at}], #16",
                "stp xzr, xzr, [{at}], #16",
                "cmp {at}, {end}",
                "b.lo 2b",
                at = inout(reg) from => _,
                end = in(reg) from.wrapping_add(len as usize),
                options(nostack),
            );
        }
        // SAFETY: the same bytes.
        unsafe { clean(from, len as usize) };
    }

    /// Where the `len` bytes at `gpa` are; valid for reads and writes, by the guest too.
    fn at(&self, gpa: u64, len: usize) -> Result<*mut u8, OutOfRange> {
        // `offset` checks that all of the length lies in the window, which is mapped, and which no reference covers.
        offset(gpa, len, self.size).map(|start| self.base.wrapping_add(start))
    }

    /// Where the value `T` at `gpa` is.
    fn place<T>(&self, gpa: u64) -> Result<*mut T, OutOfRange> {
        let place = self.at(gpa, size_of::<T>())?.cast::<T>();
        if place.is_aligned() { Ok(place) } else { Err(OutOfRange) }
    }
}

/// The `len` bytes at `offset` behind the start of `cells`, if they are there.
fn in_cells(cells: &[AtomicU64], offset: usize, len: usize) -> Result<*mut u8, OutOfRange> {
    let end = offset.checked_add(len).filter(|end| *end <= size_of_val(cells));
    end.map(|_| cells.as_ptr().cast::<u8>().cast_mut().wrapping_add(offset)).ok_or(OutOfRange)
}

impl GuestMemory for Ram {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfRange> {
        // SAFETY: the source is valid, as `at` says; the buffer is not in the RAM.
        unsafe { copy_few(self.at(gpa, buf.len())?, buf.as_mut_ptr(), buf.len()) };
        Ok(())
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        // SAFETY: the destination is valid, as `at` says; the bytes are not in the RAM.
        unsafe { copy_few(bytes.as_ptr(), self.at(gpa, bytes.len())?, bytes.len()) };
        Ok(())
    }

    fn clean(&mut self, gpa: u64, len: usize) {
        if let Ok(start) = self.at(gpa, len) {
            // SAFETY: the bytes are mapped, as `at` says.
            unsafe { clean(start, len) };
        }
    }

    fn load_u16(&self, gpa: u64) -> Result<u16, OutOfRange> {
        // SAFETY: `place` has checked place and alignment; volatile, as the guest may write it meanwhile.
        Ok(u16::from_le(unsafe { self.place::<u16>(gpa)?.read_volatile() }))
    }

    #[inline]
    fn load_u64_pair(&self, gpa: u64) -> Result<[u64; 2], OutOfRange> {
        let place = self.at(gpa, size_of::<[u64; 2]>())?;
        let (first, second): (u64, u64);
        // SAFETY: loads of what is valid, as `at` says. Normal memory need not be aligned.
        unsafe {
            asm!(
                "ldp {first}, {second}, [{place}]",
                place = in(reg) place,
                first = lateout(reg) first,
                second = lateout(reg) second,
                options(nostack, readonly, preserves_flags),
            );
        }
        Ok([u64::from_le(first), u64::from_le(second)])
    }

    fn store_u8(&mut self, gpa: u64, value: u8) -> Result<(), OutOfRange> {
        // SAFETY: as in `load_u16`.
        unsafe { self.place::<u8>(gpa)?.write_volatile(value) };
        Ok(())
    }

    fn store_u16(&mut self, gpa: u64, value: u16) -> Result<(), OutOfRange> {
        // SAFETY: as in `load_u16`.
        unsafe { self.place::<u16>(gpa)?.write_volatile(value.to_le()) };
        Ok(())
    }

    fn store_u32_pair(&mut self, gpa: u64, values: [u32; 2]) -> Result<(), OutOfRange> {
        let place = self.place::<[u32; 2]>(gpa)?.cast::<u32>();
        // SAFETY: as in `load_u16`, for both words.
        unsafe {
            place.write_volatile(values[0].to_le());
            place.add(1).write_volatile(values[1].to_le());
        }
        Ok(())
    }

    fn read_to_cells(&self, gpa: u64, cells: &[AtomicU64], offset: usize, len: usize) -> Result<(), OutOfRange> {
        // SAFETY: both are valid, as `at` and `in_cells` say, and the cells, which are not in the RAM, may be written by
        // anybody.
        unsafe { copy(self.at(gpa, len)?, in_cells(cells, offset, len)?, len) };
        Ok(())
    }

    fn write_from_cells(&mut self, gpa: u64, cells: &[AtomicU64], offset: usize, len: usize) -> Result<(), OutOfRange> {
        // SAFETY: as in `read_to_cells`.
        unsafe { copy(in_cells(cells, offset, len)?, self.at(gpa, len)?, len) };
        Ok(())
    }
}

/// Of [`copy`]: 64 bytes.
macro_rules! line {
    () => {
        "ldp {a}, {b}, [{from}], #16
        ldp {c}, {d}, [{from}], #16
        ldp {e}, {f}, [{from}], #16
        ldp {g}, {h}, [{from}], #16
        stp {a}, {b}, [{to}], #16
        stp {c}, {d}, [{to}], #16
        stp {e}, {f}, [{to}], #16
        stp {g}, {h}, [{to}], #16"
    };
}

/// Copies `len` bytes. In assembly, so that the compiler assumes nothing of memory that others write meanwhile.
///
/// # Safety
/// `from` must be valid for reads and `to` for writes of so many bytes, which do not overlap.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller promises it. Normal memory need not be aligned.
    unsafe {
        asm!(
            "subs {len}, {len}, #128",
            "b.lo 3f",
            "2:",
            line!(),
            line!(),
            "subs {len}, {len}, #128",
            "b.hs 2b",
            // The low seven bits of the length are what they were.
            "3:",
            "tbz {len}, #6, 22f",
            line!(),
            "22:",
            "tbz {len}, #5, 4f",
            "ldp {a}, {b}, [{from}], #16",
            "ldp {c}, {d}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "stp {c}, {d}, [{to}], #16",
            "4:",
            "tbz {len}, #4, 5f",
            "ldp {a}, {b}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "5:",
            "tbz {len}, #3, 6f",
            "ldr {a}, [{from}], #8",
            "str {a}, [{to}], #8",
            "6:",
            "tbz {len}, #2, 7f",
            "ldr {a:w}, [{from}], #4",
            "str {a:w}, [{to}], #4",
            "7:",
            "tbz {len}, #1, 8f",
            "ldrh {a:w}, [{from}], #2",
            "strh {a:w}, [{to}], #2",
            "8:",
            "tbz {len}, #0, 9f",
            "ldrb {a:w}, [{from}]",
            "strb {a:w}, [{to}]",
            "9:",
            len = inout(reg) len => _, from = inout(reg) from => _, to = inout(reg) to => _,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            e = out(reg) _, f = out(reg) _, g = out(reg) _, h = out(reg) _,
            options(nostack),
        )
    };
}

/// The same for the many callers that copy little.
///
/// # Safety
/// As for [`copy`].
#[inline(never)]
unsafe fn copy_few(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller promises it.
    unsafe { copy(from, to, len) }
}

/// Cleans the cache for `len` bytes at `start` to the point of coherency: a vCPU that starts with its MMU off reads from
/// there.
///
/// # Safety
/// The bytes must be mapped.
unsafe fn clean(start: *mut u8, len: usize) {
    let ctr: usize;
    // SAFETY: reads a register that the kernel lets protection domains read (`SCTLR_EL1.UCT`).
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack)) };
    // CTR_EL0.DminLine: the smallest line of any data cache, in words, as a power of two.
    let line_size = 4 << (ctr >> 16 & 0xf);
    let first = start.addr() & !(line_size - 1);
    for line in (first..start.addr() + len).step_by(line_size) {
        // SAFETY: the line holds a mapped byte; cleaning changes no value, and the kernel allows it at EL0.
        unsafe { asm!("dc cvac, {}", in(reg) line, options(nostack)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb sy", options(nostack)) };
}
