// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A program for a Linux guest's initramfs: prints at which value of the virtual counter the guest's uptime was zero.
//! Where nothing offsets that counter from the physical one, it began at power-on: adding the uptime of an event gives the
//! time from power-on to that event.
//!
//! Static, without libc: the kernel enters `_start`, and three system calls are all it makes.

#![no_std]
#![no_main]

use core::arch::asm;
use core::fmt::{self, Write};

const SYS_WRITE: u64 = 64;
const SYS_EXIT: u64 = 93;
const SYS_CLOCK_GETTIME: u64 = 113;
const CLOCK_BOOTTIME: u64 = 7;

/// `struct timespec` of 64-bit Linux.
#[repr(C)]
#[derive(Default)]
struct Timespec {
    seconds: u64,
    nanoseconds: u64,
}

struct Stdout;

impl Write for Stdout {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: write(1, text) reads the bytes of `text` and changes no memory of this program.
        unsafe {
            asm!("svc #0", in("x8") SYS_WRITE, inlateout("x0") 1u64 => _, in("x1") text.as_ptr(), in("x2") text.len(),
                 options(readonly, nostack))
        };
        Ok(())
    }
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let (counter, frequency): (u64, u64);
    // SAFETY: Linux lets EL0 read both (CNTKCTL_EL1.EL0VCTEN); reading has no side effect.
    unsafe { asm!("isb", "mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) counter, out(reg) frequency) };
    let mut uptime = Timespec::default();
    // SAFETY: clock_gettime(CLOCK_BOOTTIME, &uptime) writes one `struct timespec` there.
    unsafe {
        asm!("svc #0", in("x8") SYS_CLOCK_GETTIME, inlateout("x0") CLOCK_BOOTTIME => _, in("x1") &raw mut uptime,
             options(nostack))
    };
    let counted = u128::from(counter) * 1_000_000_000 / u128::from(frequency.max(1));
    let up = u128::from(uptime.seconds) * 1_000_000_000 + u128::from(uptime.nanoseconds);
    let origin = counted.saturating_sub(up) as u64;
    // `Stdout` never fails.
    let _ = writeln!(Stdout, "origin: {}.{:09}", origin / 1_000_000_000, origin % 1_000_000_000);
    exit(0)
}

fn exit(status: u64) -> ! {
    // SAFETY: exit(status) does not return.
    unsafe { asm!("svc #0", in("x8") SYS_EXIT, in("x0") status, options(noreturn, nostack)) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(1)
}
