// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! What a panic does: it is reported, then the PD stops for good by an undefined instruction. So whoever handles the PD's faults
//! learns of it: its parent as a [`Fault::UserException`](crate::Fault::UserException), or the Microkit's monitor, which prints it
//! in debug configurations. The other PDs run on.
//!
//! The report is `<name of the PD>: panicked at <file>:<line>:<column>:` and the message. It goes to the kernel's debug output
//! if there is one, or to the PD's own hook.

use core::cell::Cell;
use core::panic::PanicInfo;

/// Reports a panic.
pub type PanicHook = fn(&PanicInfo);

struct Hook(Cell<Option<PanicHook>>);

// SAFETY: a PD has one thread. On a host, where this could be reached from several, `set_hook` does not touch it.
unsafe impl Sync for Hook {}

static HOOK: Hook = Hook(Cell::new(None));

/// Reports panics by `hook` instead of the kernel's debug output, which does not exist in release configurations. A panic within
/// the hook is reported the ordinary way. On a host, where panics are the standard library's, this does nothing.
pub fn set_hook(hook: PanicHook) {
    if cfg!(target_os = "none") {
        HOOK.0.set(Some(hook));
    }
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    match HOOK.0.take() {
        Some(hook) => hook(info),
        None => crate::debug_println!("{}: {info}", crate::pd_name()),
    }
    loop {
        // SAFETY: permanently undefined (Arm ARM C6.2, UDF): the kernel turns it into a fault of this thread. Whoever replies to
        // that has it again.
        unsafe { core::arch::asm!("udf #0", options(nomem, nostack)) };
    }
}
