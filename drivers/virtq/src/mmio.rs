// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Registers of a device, in memory.

use crate::transport::{REGISTERS_SIZE, Registers};
use core::ptr::NonNull;

/// The registers of a virtio-mmio device that is mapped into the protection domain.
pub struct Mmio(NonNull<Block>);

/// What the registers take.
pub type Block = [u32; REGISTERS_SIZE / size_of::<u32>()];

impl Mmio {
    /// The registers at `registers`.
    ///
    /// # Safety
    /// They are mapped as device memory, writable and for good; nothing else accesses them.
    #[must_use]
    pub const unsafe fn new(registers: NonNull<Block>) -> Self {
        Self(registers)
    }

    fn register(&self, offset: usize) -> *mut u32 {
        self.0.as_ptr().cast::<u32>().wrapping_byte_add((offset % REGISTERS_SIZE) & !3)
    }
}

impl Registers for Mmio {
    fn read(&self, offset: usize) -> u32 {
        // SAFETY: `new` was promised that the register can be read; it is aligned.
        unsafe { self.register(offset).read_volatile() }
    }

    fn write(&mut self, offset: usize, value: u32) {
        // SAFETY: `new` was promised that the register can be written; it is aligned. The device reaches only what the
        // driver has told it, which is atomics or no memory of this protection domain.
        unsafe { self.register(offset).write_volatile(value) }
    }
}
