// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What every protection domain (PD) does with its configuration: takes the record, and turns the windows and channels in
//! it into memory and Microkit channels.
//!
//! The functions that make references trust the window that they are given, and so are unsafe. Their callers hand over
//! windows of their own record, which the host tool has checked against `system.xml`; [`Window`] says nothing by itself.

#![no_std]

#[cfg(target_os = "none")]
mod counter;
mod log;

use config::{FILE_SIZE, Record, Window};
use core::cell::UnsafeCell;
use core::panic::PanicInfo;
use core::ptr::{NonNull, with_exposed_provenance, with_exposed_provenance_mut};
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use sel4_microkit::{Channel, panicking, var};

#[cfg(target_os = "none")]
pub use counter::{counter, counter_frequency, recent_counter};
pub use log::Log;

/// This PD's record. From now on, panics are reported to the log that it names, if it is one with a log.
///
/// # Panics
/// If the record is another PD's or another version's, or `system.xml` did not go through the host tool: there is nothing
/// that the PD could do.
#[must_use]
pub fn config<T: Record>() -> &'static T {
    match record() {
        Ok(record) => {
            if T::LOG.is_some() {
                panicking::set_hook(report::<T>);
            }
            record
        }
        Err(error) => panic!("{error}"),
    }
}

/// Reports a panic, the last thing that this PD does.
fn report<T: Record>(info: &PanicInfo<'_>) {
    let link = T::LOG.and_then(|log| record().ok().map(log)).unwrap_or(config::Link::NONE);
    // SAFETY: the link is of this PD's record. What else in this PD uses it never runs again.
    let mut log = unsafe { Log::new(link) };
    match info.location() {
        Some(place) => log.line(format_args!("panicked at {place}: {}", info.message())),
        None => log.line(format_args!("panicked: {}", info.message())),
    }
}

/// This PD's record, from the region whose address the host tool puts in the `setvar` symbol `config`.
fn record<T: Record>() -> Result<&'static T, config::Mismatch> {
    let address = *var!(config: usize = 0);
    let file = if address == 0 {
        &[]
    } else {
        // SAFETY: only the host tool sets the symbol, to the address at which it maps a region of this size read-only into
        // this PD for as long as it runs; no one has that region writable.
        unsafe { slice::from_raw_parts(with_exposed_provenance(address), FILE_SIZE) }
    };
    T::from_file(file)
}

/// The Microkit channel that `channel` means, if it means one.
#[must_use]
pub fn channel(channel: config::Channel) -> Option<Channel> {
    channel.id().map(|id| Channel::new(usize::from(id)))
}

/// The words of memory shared with another PD; none if the window is empty or not aligned to words.
///
/// # Safety
/// `window` is in this PD's record, is mapped for reading and writing as normal memory, and this PD accesses it by no other
/// means.
#[must_use]
pub unsafe fn words(window: Window) -> &'static [AtomicU64] {
    let start = with_exposed_provenance::<AtomicU64>(window.vaddr as usize);
    if window.is_empty() || !start.is_aligned() {
        return &[];
    }
    // SAFETY: the caller's promise gives memory of this size for good, not at address 0; the alignment is checked. Any bits
    // are an AtomicU64, and whoever else writes to them does no harm.
    unsafe { slice::from_raw_parts(start, window.size as usize / size_of::<AtomicU64>()) }
}

/// As [`words`], in words of 32 bits: what a guest reads as registers. The memory may be mapped uncached, where only plain
/// loads and stores are allowed.
///
/// # Safety
/// As for [`words`], but for the kind of memory.
#[must_use]
pub unsafe fn words32(window: Window) -> &'static [AtomicU32] {
    let start = with_exposed_provenance::<AtomicU32>(window.vaddr as usize);
    if window.is_empty() || !start.is_aligned() {
        return &[];
    }
    // SAFETY: as in `words`.
    unsafe { slice::from_raw_parts(start, window.size as usize / size_of::<AtomicU32>()) }
}

/// The bytes of an image; none if the window is empty.
///
/// # Safety
/// `window` is in this PD's record, is mapped for reading, and is writable for no one.
#[must_use]
pub unsafe fn bytes(window: Window) -> &'static [u8] {
    if window.is_empty() {
        return &[];
    }
    // SAFETY: the caller's promise gives constant memory of this size for good, not at address 0.
    unsafe { slice::from_raw_parts(with_exposed_provenance(window.vaddr as usize), window.size as usize) }
}

/// A device's registers, `T`; none if the window is too small for them or not aligned to them.
#[must_use]
pub fn registers<T>(window: Window) -> Option<NonNull<T>> {
    let start = with_exposed_provenance_mut::<T>(window.vaddr as usize);
    if window.size < size_of::<T>() as u64 || !start.is_aligned() {
        return None;
    }
    NonNull::new(start)
}

/// A value in static memory, to be taken once: for what is too large for a PD's stack (8 KiB, unless `system.xml` says more).
pub struct Static<T> {
    value: UnsafeCell<T>,
    taken: AtomicBool,
}

// SAFETY: the value is reached only through the one reference that `take` gives, so sharing the cell only sends the value.
unsafe impl<T: Send> Sync for Static<T> {}

impl<T> Static<T> {
    /// Holds `value`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), taken: AtomicBool::new(false) }
    }

    /// The value, the first time.
    #[must_use]
    #[expect(clippy::mut_from_ref, reason = "only once")]
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the cell is static, so its value stays; the flag lets one caller come here, so the reference is the only one.
        Some(unsafe { &mut *self.value.get() })
    }
}
