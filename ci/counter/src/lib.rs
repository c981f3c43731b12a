// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A plugin of QEMU (its plugin interface, version 1) that counts the instructions executed between marks.
//!
//! A mark is a HINT that the architecture has not allocated, and so a NOP: the program that is measured contains it, in a
//! guest as on bare QEMU. `hint #64 + n` begins an interval of operation n, `hint #127` ends it. When QEMU ends, the file
//! given by `-plugin libcounter.so,out=PATH` gets a line for each operation that was measured: its number, and how many
//! instructions all its intervals took in seL4, below 1 GiB (where the protection domains are), and elsewhere.
//!
//! It counts for one CPU: with several, the intervals of all would be mixed.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt::Write;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// HINT #0: NOP. The number stands in bits 11 to 5.
const HINT: u32 = 0xd503_201f;
const BEGIN: usize = 64;
const END: usize = 127;
const OPERATIONS: usize = END - BEGIN;

/// Where an instruction is.
const PLACES: usize = 3;

/// Of all instructions, by place.
static COUNTS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
/// What these were when the interval began.
static START: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];
/// The operation whose interval it is; none if `OPERATIONS`.
static CURRENT: AtomicUsize = AtomicUsize::new(OPERATIONS);
/// By operation and place, of the intervals that have ended.
static SUMS: [[AtomicU64; PLACES]; OPERATIONS] = [const { [const { AtomicU64::new(0) }; PLACES] }; OPERATIONS];
static FILE: OnceLock<String> = OnceLock::new();

#[repr(C)]
struct Block {
    _opaque: [u8; 0],
}

#[repr(C)]
struct Instruction {
    _opaque: [u8; 0],
}

type Translated = extern "C" fn(u64, *mut Block);
type Executed = extern "C" fn(c_uint, *mut c_void);
type Exiting = extern "C" fn(u64, *mut c_void);

/// `QEMU_PLUGIN_CB_NO_REGS`: the callback does not look at registers.
const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_int = 0;

// include/qemu/qemu-plugin.h. QEMU's executable defines these; they are found when it loads the plugin.
unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: Translated);
    fn qemu_plugin_register_atexit_cb(id: u64, callback: Exiting, data: *mut c_void);
    fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    fn qemu_plugin_register_vcpu_insn_exec_inline(
        instruction: *mut Instruction,
        operation: c_int,
        counter: *mut c_void,
        value: u64,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: Executed,
        flags: c_int,
        data: *mut c_void,
    );
}

/// The version of the interface that this plugin is written for.
// SAFETY: QEMU looks for this name, and there is one plugin of a library.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

/// QEMU has loaded the plugin, with `count` arguments.
///
/// # Safety
/// `arguments` are as many C strings.
// SAFETY: as for the version.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    for index in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: the caller promises as many strings.
        let argument = unsafe { CStr::from_ptr(*arguments.add(index)) }.to_string_lossy();
        match argument.strip_prefix("out=") {
            // Not set before: QEMU loads the plugin once.
            Some(path) => _ = FILE.set(path.to_owned()),
            None => {
                eprintln!("counter: unknown argument `{argument}`; remedy: out=PATH");
                return -1;
            }
        }
    }
    // SAFETY: `id` is this plugin's, and the callbacks have the types that the interface asks for.
    unsafe {
        qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
        qemu_plugin_register_atexit_cb(id, exiting, ptr::null_mut());
    }
    0
}

/// 0: seL4, which a hypervisor kernel maps from 2^39 on, below the upper half. 1: a domain. 2: a guest.
fn place(address: u64) -> usize {
    match address >> 30 {
        0 => 1,
        0x200..0x400 => 0,
        _ => 2,
    }
}

extern "C" fn translated(_id: u64, block: *mut Block) {
    // SAFETY: QEMU gives a block that is valid during the callback, and so are its instructions; the counters are static. The
    // data of an instruction are as many bytes as its size.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            let counter = COUNTS[place(qemu_plugin_insn_vaddr(instruction))].as_ptr();
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD, counter.cast(), 1);
            if qemu_plugin_insn_size(instruction) != size_of::<u32>() {
                continue;
            }
            let word = u32::from_le(qemu_plugin_insn_data(instruction).cast::<u32>().read_unaligned());
            let number = (word >> 5 & 0x7f) as usize;
            if word & !(0x7f << 5) == HINT & !(0x7f << 5) && number >= BEGIN {
                let data = ptr::without_provenance_mut(number);
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, marked, NO_REGISTERS, data);
            }
        }
    }
}

extern "C" fn marked(_cpu: c_uint, data: *mut c_void) {
    let number = data.addr();
    let counts = COUNTS.each_ref().map(|count| count.load(Relaxed));
    if number < END {
        CURRENT.store(number - BEGIN, Relaxed);
        START.iter().zip(counts).for_each(|(start, count)| start.store(count, Relaxed));
    } else if let Some(sums) = SUMS.get(CURRENT.swap(OPERATIONS, Relaxed)) {
        for ((sum, start), count) in sums.iter().zip(&START).zip(counts) {
            sum.fetch_add(count - start.load(Relaxed), Relaxed);
        }
    }
}

extern "C" fn exiting(_id: u64, _data: *mut c_void) {
    let Some(path) = FILE.get() else { return };
    let mut text = String::new();
    for (operation, sums) in SUMS.iter().enumerate() {
        let [kernel, domains, others] = sums.each_ref().map(|sum| sum.load(Relaxed));
        if kernel + domains + others > 0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{operation} {kernel} {domains} {others}");
        }
    }
    if let Err(error) = std::fs::write(path, text) {
        eprintln!("counter: {path}: {error}");
    }
}
