// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What a driver's protection domain has of its device and of its clients' RAM.
//!
//! Physical addresses are known only when the system's image is made; Microkit's tool puts them in symbols (`setvar` with
//! `region_paddr`).

use crate::{Block, Dma, Mmio};
use config::{DmaDevice, MAX_CLIENTS};
use sel4_microkit::{Channel, var};

/// A device, as its driver has it.
pub struct Parts {
    /// Its registers.
    pub registers: Mmio,
    /// The memory that it shares with the driver.
    pub dma: Dma<'static>,
    /// Its interrupt.
    pub irq: Channel,
}

/// The device that the driver's record describes.
///
/// # Safety
/// `device` is that of this PD's record, and this is called once.
///
/// # Panics
/// If `system.xml` did not go through the host tool, which checks what this relies on.
#[must_use]
pub unsafe fn parts(device: &DmaDevice) -> Parts {
    let Some(registers) = pd::registers::<Block>(device.registers) else {
        panic!("the device's registers are not mapped; remedy: map a page of them in system.xml");
    };
    let Some(irq) = pd::channel(device.irq) else {
        panic!("the device has no interrupt; remedy: add <irq> in system.xml");
    };
    let paddr = *var!(dma_paddr: u64 = 0);
    assert!(paddr != 0, "the physical address of the DMA region is not set; remedy: add `setvar` for `dma_paddr`");
    // SAFETY: the host tool has checked that the record's window is mapped, as normal memory, into this PD alone.
    let memory = unsafe { pd::words(device.dma) };
    // SAFETY: the host tool has checked that the record's window is mapped, uncached, into this PD alone. This is the one
    // pointer to it.
    let registers = unsafe { Mmio::new(registers) };
    Parts { registers, dma: Dma::new(memory, paddr), irq }
}

/// The physical address of each client's RAM; zero where it is not set.
#[must_use]
pub fn client_ram() -> [u64; MAX_CLIENTS] {
    [
        *var!(client0_ram: u64 = 0),
        *var!(client1_ram: u64 = 0),
        *var!(client2_ram: u64 = 0),
        *var!(client3_ram: u64 = 0),
        *var!(client4_ram: u64 = 0),
        *var!(client5_ram: u64 = 0),
        *var!(client6_ram: u64 = 0),
        *var!(client7_ram: u64 = 0),
    ]
}
