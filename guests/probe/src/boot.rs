// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The Image header, the entry point, and what the loader handed over.

use crate::psci::Conduit;
use core::arch::global_asm;
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};

// The header is Linux's Documentation/arch/arm64/booting.rst, "4. Call the kernel image": a text_offset that is not zero
// shows whether the loader honours it, since the code is linked for that address alone.
//
// The access functions follow at fixed addresses (0x4008_0040 + 8·n), so that the program counter of a faulting access,
// which the VMM logs, is the same in every build.
global_asm!(
    r#"
    .section .head, "ax"
    .global _start
_start:
    b       1f
    .word   0
    .quad   0x80000
    .quad   _image_size
    .quad   0x2
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

    .global probe_read8, probe_read16, probe_read32, probe_read64
    .global probe_write8, probe_write16, probe_write32, probe_write64
probe_read8:
    ldrb    w0, [x0]
    ret
probe_read16:
    ldrh    w0, [x0]
    ret
probe_read32:
    ldr     w0, [x0]
    ret
probe_read64:
    ldr     x0, [x0]
    ret
probe_write8:
    strb    w1, [x0]
    ret
probe_write16:
    strh    w1, [x0]
    ret
probe_write32:
    str     w1, [x0]
    ret
probe_write64:
    str     x1, [x0]
    ret

1:  adrp    x4, _stack_top
    add     x4, x4, :lo12:_stack_top
    mov     sp, x4
    adrp    x4, _bss
    add     x4, x4, :lo12:_bss
    adrp    x5, _bss_end
    add     x5, x5, :lo12:_bss_end
2:  cmp     x4, x5
    b.eq    3f
    stp     xzr, xzr, [x4], #16
    b       2b
3:  adrp    x4, probe_vectors
    add     x4, x4, :lo12:probe_vectors
    msr     vbar_el1, x4
    isb
    bl      probe_main
    "#
);

/// What the loader handed over.
pub struct Boot {
    /// x1 to x3 at entry, which the boot protocol reserves as zero.
    pub reserved: [u64; 3],
    /// x0 at entry: the address of the device tree blob.
    pub dtb: u64,
    /// The device tree, if x0 points to one that is sound.
    pub tree: Option<Fdt<'static>>,
    /// How to call PSCI, from `/psci`; SMC if the tree does not say.
    pub conduit: Conduit,
}

impl Boot {
    /// Reads the device tree at `dtb`.
    pub fn new(dtb: u64, reserved: [u64; 3]) -> Self {
        let tree = (dtb != 0 && dtb.is_multiple_of(8)).then(|| {
            // SAFETY: the boot protocol makes x0 the address of a blob in RAM that nothing changes while the probe runs.
            // If the loader broke the protocol the read faults or fails its checks, which the transcript shows.
            unsafe { Fdt::from_raw(dtb as *const u8) }
        });
        let tree = tree.and_then(Result::ok);
        let hvc = tree
            .as_ref()
            .and_then(|tree| tree.find_node("/psci"))
            .and_then(|psci| psci.property("method"))
            .is_some_and(|method| method.value() == b"hvc\0");
        let conduit = if hvc { Conduit::Hvc } else { Conduit::Smc };
        Self { reserved, dtb, tree, conduit }
    }
}
