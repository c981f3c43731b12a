// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! System calls of 64-bit Linux on arm64, and what they take.

use core::arch::asm;
use core::ffi::CStr;

/// Why a system call failed: the kernel's error number.
#[derive(Clone, Copy, Debug)]
pub struct Errno(pub i32);

/// Numbers of system calls.
pub mod nr {
    #![allow(missing_docs, reason = "the kernel's names")]
    pub const IO_SETUP: usize = 0;
    pub const IO_SUBMIT: usize = 2;
    pub const IO_GETEVENTS: usize = 4;
    pub const IOCTL: usize = 29;
    pub const OPENAT: usize = 56;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PREAD64: usize = 67;
    pub const PWRITE64: usize = 68;
    pub const PREADV: usize = 69;
    pub const FDATASYNC: usize = 83;
    pub const EXIT: usize = 93;
    pub const NANOSLEEP: usize = 101;
    pub const CLOCK_GETTIME: usize = 113;
    pub const SOCKET: usize = 198;
    pub const BIND: usize = 200;
    pub const LISTEN: usize = 201;
    pub const ACCEPT: usize = 202;
    pub const CONNECT: usize = 203;
    pub const SHUTDOWN: usize = 210;
    pub const MMAP: usize = 222;
    pub const MADVISE: usize = 233;
}

/// Makes the system call `number`.
///
/// # Safety
/// What the arguments name must be what the call takes, and no reference may cover memory that the call writes.
pub unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the caller promises it. The kernel keeps all other registers.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d, in("x4") e,
             in("x5") f, options(nostack))
    };
    if (-4095..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result as usize) }
}

/// Ends the program.
pub fn exit(status: usize) -> ! {
    // SAFETY: exit(status) does not return.
    unsafe { asm!("svc #0", in("x8") nr::EXIT, in("x0") status, options(noreturn, nostack)) }
}

/// Opens `path` with the flags `flags`.
pub fn open(path: &CStr, flags: usize) -> Result<usize, Errno> {
    const AT_FDCWD: isize = -100;
    // SAFETY: openat(AT_FDCWD, path, flags) reads the path.
    unsafe { call(nr::OPENAT, [AT_FDCWD as usize, path.as_ptr() as usize, flags, 0, 0, 0]) }
}

/// Writes all of `bytes`.
pub fn write_all(file: usize, bytes: &[u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        // SAFETY: write(file, rest) reads the rest.
        done += unsafe { call(nr::WRITE, [file, rest.as_ptr() as usize, rest.len(), 0, 0, 0]) }?;
    }
    Ok(())
}

/// Reads into `buffer`: how many bytes, zero at the end.
pub fn read(file: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: read(file, buffer) writes the buffer.
    unsafe { call(nr::READ, [file, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0]) }
}
