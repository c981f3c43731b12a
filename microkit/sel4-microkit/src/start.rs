// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The entry of a PD.

use crate::handler::{Handler, run};

/// Initialises the PD, then serves its events. The kernel starts a PD's thread with its stack pointer set.
#[doc(hidden)]
pub fn start<H: Handler>(init: fn() -> H) -> ! {
    #[cfg(target_os = "none")]
    crate::symbols::keep();
    let mut handler = init();
    match run(&mut handler) {
        Ok(never) => match never {},
        Err(error) => panic!("{error}"),
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
