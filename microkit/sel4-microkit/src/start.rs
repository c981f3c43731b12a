// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The entry of a PD.

use crate::handler::{Handler, run};

/// Initialises the PD, then serves its events. The kernel starts a PD's thread with its stack pointer set.
///
/// This is also where a parent starts the PD again ([`Child::restart`](crate::Child::restart)): variables that begin as zeroes do
/// so each time. Others keep what they have; a PD that is to be restarted has none.
#[doc(hidden)]
pub fn start<H: Handler>(init: fn() -> H) -> ! {
    #[cfg(target_os = "none")]
    {
        // SAFETY: nothing has used a variable yet.
        unsafe { clear_bss() };
        crate::symbols::keep();
    }
    let mut handler = init();
    match run(&mut handler) {
        Ok(never) => match never {},
        Err(error) => panic!("{error}"),
    }
}

/// Zeroes the variables in `.bss`.
///
/// # Safety
/// No variable is in use.
#[cfg(target_os = "none")]
unsafe fn clear_bss() {
    // SAFETY: from one symbol of the linker to the other there is the segment's part that is not in the file. Without such a
    // part the first symbol is 0.
    unsafe {
        core::arch::asm!(
            "adrp {at}, __bss_start",
            "add {at}, {at}, :lo12:__bss_start",
            "adrp {end}, _end",
            "add {end}, {end}, :lo12:_end",
            "cbz {at}, 3f",
            "2: cmp {at}, {end}",
            "b.hs 3f",
            "strb wzr, [{at}], #1",
            "b 2b",
            "3:",
            at = out(reg) _,
            end = out(reg) _,
            options(nostack)
        );
    }
}

/// What the attribute [`protection_domain`](crate::protection_domain) expands to beside the function.
#[macro_export]
macro_rules! declare_protection_domain {
    ($init:path) => {
        const _: () = {
            /// The ELF entry point.
            #[unsafe(no_mangle)]
            extern "C" fn _start() -> ! {
                $crate::_private::start($init)
            }
        };
    };
}
