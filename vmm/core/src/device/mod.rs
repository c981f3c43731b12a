// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The emulated devices, one file each, behind one trait.

pub mod pl011;
pub mod pl031;

use crate::exit::Width;
use crate::fdt::{Full, Tree};
use crate::life::Lifecycle;

/// A device that the guest sees at an address, with one level-sensitive interrupt.
pub trait Device: Lifecycle {
    /// A load at `offset` bytes behind the device's base. `None` if no register is implemented there; the guest then
    /// reads zero.
    fn read(&mut self, offset: u64, width: Width) -> Option<u64>;

    /// A store at `offset` bytes behind the device's base. `None` if no register is implemented there; the store then
    /// has no effect.
    fn write(&mut self, offset: u64, width: Width, value: u64) -> Option<()>;

    /// The level of the interrupt line.
    fn line(&self) -> bool;

    /// Adds the device's node to the tree, below the root.
    ///
    /// # Errors
    /// [`Full`] when the tree's buffer is.
    fn describe(&self, tree: &mut Tree<'_>) -> Result<(), Full>;
}
