// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The probe: a bare-metal guest at EL1 that asks the machine one question per line of transcript.
//!
//! Each line is `area.case: result`. `expected.txt` is what bare QEMU `virt` with a GICv2 prints; `deviations.txt` lists
//! every line that differs in a guest on seL4, with the reason; `expected-smp.txt` and `deviations-smp.txt` are those of a
//! machine with 2 to 8 CPUs. A result therefore says what the machine did, never
//! whether that was right, and holds nothing that changes from run to run: times are compared here, not printed.
//!
//! The probe runs with its MMU off. To add a case, add it to its area's table under `cases/`.

#![no_std]
#![no_main]

mod boot;
mod cases;
mod console;
mod cpu;
mod exception;
mod gic;
mod mmio;
mod psci;
mod timer;

use boot::Boot;
use console::{Line, say};
use core::fmt::{self, Write};

/// A question to the machine: its name, and what writes the answer.
pub struct Case {
    /// `area.case`, as printed.
    pub name: &'static str,
    /// Asks, and writes the result; an error means that the result was too long for a line.
    pub ask: fn(&Boot, &mut Line) -> fmt::Result,
}

/// Runs every case and turns the machine off. `boot.rs` calls this with the registers that the loader left.
#[unsafe(no_mangle)]
extern "C" fn probe_main(x0: u64, x1: u64, x2: u64, x3: u64) -> ! {
    let boot = Boot::new(x0, [x1, x2, x3]);
    gic::start();
    let areas = if cases::smp::count(&boot) > 1 { cases::SMP_AREAS } else { cases::AREAS };
    say(format_args!("probe: {} cases", areas.iter().map(|area| area.len()).sum::<usize>()));
    for case in areas.iter().copied().flatten() {
        let mut line = Line::default();
        let answer = (case.ask)(&boot, &mut line);
        if answer.is_err() {
            line = Line::default();
            // The shortest line always fits.
            let _ = line.write_str("(too long)");
        }
        say(format_args!("{}: {}", case.name, line.as_str()));
    }
    say(format_args!("probe: done"));
    psci::system_off(boot.conduit);
    say(format_args!("probe: SYSTEM_OFF returned"));
    halt()
}

/// Waits for ever: for when there is nothing left to do and the machine is still on.
fn halt() -> ! {
    loop {
        timer::wait_for_interrupt();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    say(format_args!("probe: {info}"));
    halt()
}
