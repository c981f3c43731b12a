// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! QEMU's plugin interface (`include/qemu/qemu-plugin.h`), as far as `ci/counter` and `ci/yielding` use it, and what both ask
//! of an instruction.
//!
//! Version 2, of QEMU 9 and later, has other functions to count with than version 1, and neither QEMU loads a plugin that is
//! written for the other. So this one finds out where it is, and says what is wanted there.

mod counters;

pub use counters::Counters;

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// A translated block, of QEMU.
#[repr(C)]
pub struct Block {
    _opaque: [u8; 0],
}

/// An instruction of a [`Block`].
#[repr(C)]
pub struct Instruction {
    _opaque: [u8; 0],
}

/// Is told of a block that was translated; the first argument is the plugin's id.
pub type Translated = extern "C" fn(u64, *mut Block);
/// Is told by a CPU that it is about to execute an instruction.
pub type Executed = extern "C" fn(c_uint, *mut c_void);
/// Is told that QEMU ends.
pub type Exiting = extern "C" fn(u64, *mut c_void);

/// `QEMU_PLUGIN_CB_NO_REGS`: the callback does not look at registers.
pub const NO_REGISTERS: c_int = 0;

// QEMU's executable defines these, in both versions; they are found when it loads the plugin.
#[expect(missing_docs, reason = "QEMU documents them")]
unsafe extern "C" {
    pub fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: Translated);
    pub fn qemu_plugin_register_atexit_cb(id: u64, callback: Exiting, data: *mut c_void);
    pub fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    pub fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    pub fn qemu_plugin_insn_haddr(instruction: *const Instruction) -> *const c_void;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    pub fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: Executed,
        flags: c_int,
        data: *mut c_void,
    );
}

/// The version of the interface that the plugin is written for, which QEMU reads before it calls anything.
// SAFETY: QEMU looks for this name, and there is one plugin of a library.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: AtomicI32 = AtomicI32::new(0);

// SAFETY: the dynamic linker calls what is in this section when it has loaded the library.
#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

extern "C" fn loaded() {
    qemu_plugin_version.store(counters::version(), Relaxed);
}

/// Whether an instruction at the virtual address `address` is seL4's: a hypervisor kernel maps itself from 2^39 on, below the
/// upper half.
#[must_use]
pub fn is_kernels(address: u64) -> bool {
    (0x200..0x400).contains(&(address >> 30))
}

/// The instruction's word; none if it has another size, or is not in RAM.
///
/// # Safety
/// `instruction` is one of the block that a [`Translated`] is told of.
#[must_use]
pub unsafe fn word(instruction: *const Instruction) -> Option<u32> {
    // SAFETY: the caller promises it. The address is that of QEMU's memory, which is in one piece for all of the machine's.
    unsafe {
        let host = qemu_plugin_insn_haddr(instruction).cast::<u32>();
        let is_word = !host.is_null() && qemu_plugin_insn_size(instruction) == size_of::<u32>();
        is_word.then(|| u32::from_le(host.read_unaligned()))
    }
}
