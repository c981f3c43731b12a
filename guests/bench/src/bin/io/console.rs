// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A virtio console.

use crate::time;
use bench::linux::{Errno, open, write_all};
use core::ffi::CStr;

/// Writes to the terminal `path` in pieces of 4 KiB.
pub fn measure(path: &CStr) -> Result<(), Errno> {
    const O_WRONLY: usize = 1;
    const COUNT: usize = 4;
    let terminal = open(path, O_WRONLY)?;
    let mut line = [b'.'; 4096];
    line.iter_mut().skip(63).step_by(64).for_each(|byte| *byte = b'\n');
    time::<12>("console-write", COUNT * line.len(), || (0..COUNT).try_for_each(|_| write_all(terminal, &line)))
}
