// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! `io disk`, `io net PORT`, `io console PATH`, `io send`: what input and output cost. A line for each figure: name,
//! operations, nanoseconds. `io receive` is the other end of `io send`, in another guest.
//!
//! Around what the nth figure measures stand `hint #64 + n` and `hint #127`, which do nothing: marks for QEMU's plugin
//! (ci/counter), which tells where the instructions were executed.

#![no_std]
#![no_main]

#[path = "io/console.rs"]
mod console;
#[path = "io/disk.rs"]
mod disk;
#[path = "io/net.rs"]
mod net;

use bench::linux::{Errno, call, exit, nr, open};
use bench::{Stdout, counter};
use core::arch::{asm, naked_asm};
use core::ffi::{CStr, c_char};
use core::fmt::Write;

#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!("mov x0, sp", "b {main}", main = sym main)
}

/// The words at `stack`: how many arguments there are, and where each is.
extern "C" fn main(stack: *const *const c_char) -> ! {
    let argument = |n: usize| {
        // SAFETY: the kernel puts the arguments there, each a string, and behind the last one a null pointer. What is behind
        // that is not looked at.
        unsafe {
            let first = stack.add(1);
            let place = (0..n).take_while(|n| !(*first.add(*n)).is_null()).count();
            let found = *first.add(place);
            if found.is_null() { c"" } else { CStr::from_ptr(found) }
        }
    };
    let done = seed().and_then(|()| match argument(1).to_bytes() {
        b"disk" => disk::measure(),
        b"net" => net::measure(number(argument(2))),
        b"console" => console::measure(argument(2)),
        b"receive" => net::receive(),
        b"send" => net::measure_send(),
        _ => Err(Errno(22)),
    });
    if let Err(Errno(number)) = done {
        let _ = writeln!(Stdout, "io: error {number}");
    }
    exit(usize::from(done.is_err()))
}

fn number(text: &CStr) -> u16 {
    text.to_bytes()
        .iter()
        .fold(0, |sum: u16, digit| sum.wrapping_mul(10).wrapping_add(u16::from(digit.wrapping_sub(b'0'))))
}

/// Makes the guest's random generator ready: it would become so at some time during the measurement.
fn seed() -> Result<(), Errno> {
    const RNDADDENTROPY: usize = 0x4008_5203;
    const O_WRONLY: usize = 1;
    /// `struct rand_pool_info`.
    #[repr(C)]
    struct Pool {
        bits: i32,
        bytes: i32,
        pool: [u8; 64],
    }
    let random = open(c"/dev/random", O_WRONLY)?;
    let pool = Pool { bits: 512, bytes: 64, pool: [0x5a; 64] };
    // SAFETY: the request reads one such structure.
    unsafe { call(nr::IOCTL, [random, RNDADDENTROPY, &raw const pool as usize, 0, 0, 0]) }?;
    Ok(())
}

/// Measures `operations` times `once`, and prints the figure, the nth of this program. The first few, done before, warm up
/// what they pass through.
fn repeat<const N: u32>(
    name: &str,
    operations: usize,
    mut once: impl FnMut(usize) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let warm_up = operations.min(8);
    (0..warm_up).try_for_each(&mut once)?;
    time::<N>(name, operations, || (warm_up..warm_up + operations).try_for_each(&mut once))
}

/// Times `all`, which is `operations` of something, and prints the figure, the nth.
fn time<const N: u32>(name: &str, operations: usize, all: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    let (before, frequency) = counter();
    // SAFETY: an unallocated hint does nothing.
    unsafe { asm!("hint #64 + {}", const N) };
    let done = all();
    // SAFETY: an unallocated hint does nothing.
    unsafe { asm!("hint #127") };
    let counts = u128::from(counter().0 - before);
    done?;
    let nanoseconds = counts * 1_000_000_000 / u128::from(frequency);
    writeln!(Stdout, "io: {name} {operations} {nanoseconds}").map_err(|_| Errno(5))
}
