// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

// All of the kernel's assembly that is not one instruction. While a thread runs, SP_EL2 points at its saved context; while
// the kernel runs, at the kernel's stack. The kernel runs with every exception masked and is never reentered.

.arch armv8-a+fp+simd

// One instruction \op for registers \i and \i + 1 of \size bytes, at their place in an array.
.macro pair op, kind, i, base, size
    .altmacro
    pair_of \op, \kind, \i, %\i+1, \base, \size
    .noaltmacro
.endm
.macro pair_of op, kind, i, j, base, size
    \op \kind\i, \kind\j, [\base, #\i * \size]
.endm

.section .text.start, "ax"
.global _start
_start:
    msr daifset, #0xf
    msr spsel, #1
    adrp x0, {stack}
    add x0, x0, :lo12:{stack}
    add x0, x0, #{stack_size}
    mov sp, x0
    bl {boot}
    // Fall through: start the first thread.

resume:                                 // x0: context of the thread to run
    mov sp, x0
    ldp x30, x1, [sp, #{lr}]            // x30, SP_EL0
    ldp x2, x3, [sp, #{elr}]            // ELR, SPSR
    msr sp_el0, x1
    msr elr_el2, x2
    msr spsr_el2, x3
    .irp i, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28
    pair ldp, x, \i, sp, 8
    .endr
    eret

.macro trap handler
    .balign 0x80
    stp x0, x1, [sp, #0x00]
    stp x2, x3, [sp, #0x10]
    stp x4, x5, [sp, #0x20]
    adr x4, \handler
    b save
.endm

save:                                   // x4: where to go on
    .irp i, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28
    pair stp, x, \i, sp, 8
    .endr
    mrs x1, sp_el0
    mrs x2, elr_el2
    mrs x3, spsr_el2
    stp x30, x1, [sp, #{lr}]
    stp x2, x3, [sp, #{elr}]
    adrp x0, {stack}
    add x0, x0, :lo12:{stack}
    add x0, x0, #{stack_size}
    mov sp, x0
    adr x30, resume
    br x4

.macro fatal
    .balign 0x80
    adrp x0, {stack}
    add x0, x0, :lo12:{stack}
    add x0, x0, #{stack_size}
    mov sp, x0
    bl {broken}
.endm

.balign 0x800
.global vectors
vectors:
    .rept 8                             // the kernel's own exceptions
    fatal
    .endr
    .rept 2                             // from AArch64, then from AArch32: a guest's EL0 may use it
    trap {synchronous}
    trap {interrupt}
    fatal
    fatal
    .endr

// Saves the vector registers, FPSR and FPCR at x0.
.global save_fpu
save_fpu:
    .irp i, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
    pair stp, q, \i, x0, 16
    .endr
    mrs x1, fpsr
    mrs x2, fpcr
    str x1, [x0, #0x200]
    str x2, [x0, #0x208]
    ret

// The reverse of save_fpu.
.global load_fpu
load_fpu:
    .irp i, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
    pair ldp, q, \i, x0, 16
    .endr
    ldr x1, [x0, #0x200]
    ldr x2, [x0, #0x208]
    msr fpsr, x1
    msr fpcr, x2
    ret

// Makes an SMC call with the eight words at x0 and writes its results there (SMCCC, 8 registers).
.global smc_call
smc_call:
    stp x29, x30, [sp, #-16]!
    str x0, [sp, #-16]!
    mov x8, x0
    ldp x0, x1, [x8, #0x00]
    ldp x2, x3, [x8, #0x10]
    ldp x4, x5, [x8, #0x20]
    ldp x6, x7, [x8, #0x30]
    smc #0
    ldr x8, [sp], #16
    stp x0, x1, [x8, #0x00]
    stp x2, x3, [x8, #0x10]
    stp x4, x5, [x8, #0x20]
    stp x6, x7, [x8, #0x30]
    ldp x29, x30, [sp], #16
    ret
