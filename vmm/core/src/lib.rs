// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest's machine, without an operating system under it.
//!
//! An exit of the guest goes into [`Machine::exit`], and out come a [`Resume`] (what the vCPU does next) and [`Effects`]
//! (what is to be done to the world outside: interrupts to inject, domains to notify). Nothing here makes a system call,
//! holds a global, or is unsafe, so all of it is tested on the host.
//!
//! Every value that comes from the guest is hostile. These rules hold in every module:
//!
//! 1. No action of a guest panics, hangs or corrupts the VMM; the work for one exit is bounded.
//! 2. Guest memory is reached only by (address, length) through [`GuestMemory`], copied, and never by reference.
//! 3. A register that is not implemented reads as zero and ignores writes, and is counted.
//! 4. Every device can be reset at any time and says whether it is quiescent.

#![cfg_attr(not(any(test, fuzzing)), no_std)]
#![forbid(unsafe_code)]

pub mod boot;
pub mod device;
pub mod exception;
pub mod exit;
pub mod fdt;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gic;
pub mod instruction;
pub mod life;
pub mod machine;
pub mod map;
pub mod memory;
pub mod psci;
pub mod stage1;
pub mod trng;
pub mod virtio;

pub use exit::{Exit, Reg, Regs, Resume, SysReg};
pub use life::{Life, Lifecycle};
pub use machine::{Effects, Event, Machine};
pub use memory::{GuestMemory, OutOfRange};

/// Largest number of vCPUs of one guest. GICv2 has eight CPU interfaces.
pub const MAX_VCPUS: usize = 8;
const _: () = assert!(MAX_VCPUS.is_power_of_two() && MAX_VCPUS <= u8::BITS as usize);

/// One of the guest's vCPUs, counted from zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VcpuId(u8);

impl VcpuId {
    /// The first vCPU, which the guest starts on.
    pub const BOOT: Self = Self(0);

    /// The vCPU with index `index`, if a guest can have it.
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|i| usize::from(*i) < MAX_VCPUS).map(Self)
    }

    /// The index, less than [`MAX_VCPUS`].
    #[must_use]
    pub fn index(self) -> usize {
        // It is so already; this lets the compiler see it.
        usize::from(self.0) % MAX_VCPUS
    }

    /// A mask with the bit of this vCPU.
    #[must_use]
    pub fn bit(self) -> u8 {
        1 << self.0
    }
}
