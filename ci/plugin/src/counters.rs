// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Counters that a CPU adds to as it executes instructions, without a call.

use crate::Instruction;
use std::ffi::{CStr, c_int, c_void};
use std::mem::transmute;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_int = 0;

/// Numbers of version 2, for each CPU its own.
#[repr(C)]
struct Scoreboard {
    _opaque: [u8; 0],
}

/// One of the numbers of a [`Scoreboard`], at an offset in bytes.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    scoreboard: *mut Scoreboard,
    offset: usize,
}

/// `qemu_plugin_register_vcpu_insn_exec_inline`: with a number, and what is added to it.
type Inline = unsafe extern "C" fn(*mut Instruction, c_int, *mut c_void, u64);
/// `qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu`.
type InlinePerCpu = unsafe extern "C" fn(*mut Instruction, c_int, Entry, u64);
/// `qemu_plugin_scoreboard_new`: with the size in bytes of what a CPU has.
type NewScoreboard = unsafe extern "C" fn(usize) -> *mut Scoreboard;
/// `qemu_plugin_u64_sum`: of all CPUs.
type Sum = unsafe extern "C" fn(Entry) -> u64;

/// What counts, by the version of QEMU's interface.
enum Means {
    /// Version 1.
    Numbers { numbers: &'static [AtomicU64], inline: Inline },
    /// Version 2.
    Scoreboard { scoreboard: *mut Scoreboard, inline: InlinePerCpu, sum: Sum },
}

/// Counters from 0, for all CPUs together: exact with one.
pub struct Counters {
    count: usize,
    means: Means,
}

// SAFETY: a scoreboard is only given to QEMU's functions, which take it from any thread.
unsafe impl Send for Counters {}
// SAFETY: as above.
unsafe impl Sync for Counters {}

/// The address of a function that QEMU may have.
fn function(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name is a C string. Nothing is called.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// The version of the interface that this QEMU has.
pub fn version() -> c_int {
    if function(c"qemu_plugin_scoreboard_new").is_some() { 2 } else { 1 }
}

impl Counters {
    /// As many as `count`, for as long as QEMU runs. None if this QEMU has no means that are known here.
    #[must_use]
    pub fn new(count: usize) -> Option<Self> {
        let means = if version() == 1 {
            let inline = function(c"qemu_plugin_register_vcpu_insn_exec_inline")?;
            // SAFETY: in version 1 that is the function's type.
            let inline = unsafe { transmute::<*mut c_void, Inline>(inline) };
            Means::Numbers { numbers: Vec::leak((0..count).map(|_| AtomicU64::new(0)).collect()), inline }
        } else {
            let new = function(c"qemu_plugin_scoreboard_new")?;
            let inline = function(c"qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu")?;
            let sum = function(c"qemu_plugin_u64_sum")?;
            // SAFETY: since version 2 these are the functions' types.
            unsafe {
                let scoreboard = transmute::<*mut c_void, NewScoreboard>(new)(count * size_of::<u64>());
                let (inline, sum) =
                    (transmute::<*mut c_void, InlinePerCpu>(inline), transmute::<*mut c_void, Sum>(sum));
                Means::Scoreboard { scoreboard, inline, sum }
            }
        };
        Some(Self { count, means })
    }

    /// Has `instruction` add 1 to the counter `index` whenever it is executed.
    ///
    /// # Safety
    /// `instruction` is one of the block that a [`crate::Translated`] is told of.
    ///
    /// # Panics
    /// If there is no such counter.
    pub unsafe fn count(&self, instruction: *mut Instruction, index: usize) {
        match self.means {
            // SAFETY: the caller promises it, and the number lives as long as QEMU.
            Means::Numbers { numbers, inline } => unsafe {
                inline(instruction, ADD, numbers[index].as_ptr().cast(), 1);
            },
            // SAFETY: the caller promises it, and the scoreboard has this entry.
            Means::Scoreboard { scoreboard, inline, .. } => unsafe {
                inline(instruction, ADD, self.entry(scoreboard, index), 1);
            },
        }
    }

    /// The counter `index`.
    ///
    /// # Panics
    /// If there is no such counter.
    #[must_use]
    pub fn get(&self, index: usize) -> u64 {
        match self.means {
            Means::Numbers { numbers, .. } => numbers[index].load(Relaxed),
            // SAFETY: the scoreboard has this entry.
            Means::Scoreboard { scoreboard, sum, .. } => unsafe { sum(self.entry(scoreboard, index)) },
        }
    }

    fn entry(&self, scoreboard: *mut Scoreboard, index: usize) -> Entry {
        assert!(index < self.count, "{index} is one of {} counters", self.count);
        Entry { scoreboard, offset: index * size_of::<u64>() }
    }
}
