// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A plugin of QEMU that lets a core run for which another one waits.
//!
//! A core that waits for the kernel's lock, or in a guest for another CPU, does so in a loop. QEMU runs each core in a
//! thread: on a host with fewer cores, the threads that wait use up their time slices while the one for which they wait has
//! none. With this plugin a thread offers its place at each turn of such a loop. Guests say with YIELD or WFE that they wait;
//! seL4 does not, but it reads with acquire semantics for nothing else. It takes no arguments.

use plugin::{
    Block, NO_REGISTERS, is_kernels, qemu_plugin_insn_vaddr, qemu_plugin_register_vcpu_insn_exec_cb,
    qemu_plugin_register_vcpu_tb_trans_cb, qemu_plugin_tb_get_insn, qemu_plugin_tb_n_insns, word,
};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::{ptr, thread};

/// QEMU has loaded the plugin.
// SAFETY: QEMU looks for this name, and there is one plugin of a library.
#[unsafe(no_mangle)]
pub extern "C" fn qemu_plugin_install(
    id: u64,
    _info: *const c_void,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    // SAFETY: `id` is this plugin's, and the callback has the type that the interface asks for.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    0
}

/// Whether a core that executes `instruction` at `address` waits: YIELD and WFE; in the kernel LDAR, of 32 or 64 bits, and
/// DMB ISHLD.
fn waits(instruction: u32, address: u64) -> bool {
    matches!(instruction, 0xd503_203f | 0xd503_205f)
        || is_kernels(address) && (instruction & 0xbfff_fc00 == 0x88df_fc00 || instruction == 0xd503_39bf)
}

extern "C" fn translated(_id: u64, block: *mut Block) {
    // SAFETY: QEMU gives a block that is valid during the callback, and so are its instructions.
    unsafe {
        for index in 0..qemu_plugin_tb_n_insns(block) {
            let instruction = qemu_plugin_tb_get_insn(block, index);
            if word(instruction).is_some_and(|word| waits(word, qemu_plugin_insn_vaddr(instruction))) {
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, waiting, NO_REGISTERS, ptr::null_mut());
            }
        }
    }
}

extern "C" fn waiting(_cpu: c_uint, _data: *mut c_void) {
    thread::yield_now();
}
