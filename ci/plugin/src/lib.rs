// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! QEMU's plugin interface, version 1 (`include/qemu/qemu-plugin.h`), as far as `ci/counter` and `ci/yielding` use it, and
//! what both ask of an instruction.

use std::ffi::{c_int, c_uint, c_void};

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

/// The version of the interface, which a plugin exports as `qemu_plugin_version`.
pub const VERSION: c_int = 1;
/// `QEMU_PLUGIN_CB_NO_REGS`: the callback does not look at registers.
pub const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
pub const ADD: c_int = 0;

// QEMU's executable defines these; they are found when it loads the plugin.
#[expect(missing_docs, reason = "QEMU documents them")]
unsafe extern "C" {
    pub fn qemu_plugin_register_vcpu_tb_trans_cb(id: u64, callback: Translated);
    pub fn qemu_plugin_register_atexit_cb(id: u64, callback: Exiting, data: *mut c_void);
    pub fn qemu_plugin_tb_n_insns(block: *const Block) -> usize;
    pub fn qemu_plugin_tb_get_insn(block: *const Block, index: usize) -> *mut Instruction;
    pub fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    pub fn qemu_plugin_insn_haddr(instruction: *const Instruction) -> *const c_void;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    pub fn qemu_plugin_register_vcpu_insn_exec_inline(
        instruction: *mut Instruction,
        operation: c_int,
        counter: *mut c_void,
        value: u64,
    );
    pub fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut Instruction,
        callback: Executed,
        flags: c_int,
        data: *mut c_void,
    );
}

/// Whether an instruction at the virtual address `address` is seL4's: a hypervisor kernel maps itself from 2^39 on, below the
/// upper half.
#[must_use]
pub fn is_kernels(address: u64) -> bool {
    (0x200..0x400).contains(&(address >> 30))
}

/// The instruction's word; none if it has another size.
///
/// # Safety
/// `instruction` is one of the block that a [`Translated`] is told of.
#[must_use]
pub unsafe fn word(instruction: *const Instruction) -> Option<u32> {
    // SAFETY: the caller promises it. The data of an instruction are as many bytes as its size.
    unsafe {
        (qemu_plugin_insn_size(instruction) == size_of::<u32>())
            .then(|| u32::from_le(qemu_plugin_insn_data(instruction).cast::<u32>().read_unaligned()))
    }
}
