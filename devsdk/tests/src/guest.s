// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

// What the conformance guest runs, position-independent at 0x4000_0000. `report n` is an unknown system call: the monitor
// prints x0 and x1, and its step n decides what happens.

.macro report step
    mov x7, #\step
    hvc #0
.endm

.section .rodata.guest, "a"
.balign 16
.global guest_start, guest_end
guest_start:
    b first
    b second                            // the other virtual CPU starts here

first:
    mov x0, #0x11
    mov x1, #0x22
    report 0x100                        // the reply changes x0
    report 0x101

    smc #5                              // exits with a syndrome only
    wfi
    wfe
    mrs x2, dbgbcr0_el1                 // not trapped
    report 0x102

    mov x3, #0x09000000                 // memory that is not there
    ldr w2, [x3, #0x18]
    str w2, [x3]
    ldrb w2, [x3, #1]
    ldp x4, x5, [x3]
    adr x6, 1f
    br x3                               // the monitor sends it on to x6
1:  report 0x103

    // System calls on the guest's empty capability space.
    mov x0, #0x100000
    mov x1, #0
    mov x7, #-5                         // Send: a fault, after which the call is skipped
    hvc #0
    mov x0, #5
    mov x1, #(3 << 12)
    mov x7, #-1                         // Call: an error
    hvc #0
    report 0x104
    mov x0, #5
    mov x7, #-7                         // Recv: a fault
    hvc #0
    mov x0, #5
    mov x7, #-6                         // NBSend: nothing
    hvc #0
    mov x7, #-11                        // Yield: nothing
    hvc #0
    report 0x105

    // With stage 1 on, faults report guest-physical addresses.
    mov x0, #0x40100000
    mov x1, #0x40000000
    movk x1, #0x0701                    // normal memory: block, attribute 0, inner shareable, accessed
    str x1, [x0, #8]                    // 0x4000_0000 to itself
    mov x1, #0x0405                     // block, attribute 1, accessed
    str x1, [x0, #16]                   // 0x8000_0000 to 0
    msr ttbr0_el1, x0
    mov x1, #0x04ff                     // attribute 0 normal, 1 device
    msr mair_el1, x1
    mov x1, #25                         // 39 bits
    orr x1, x1, #0x800000               // no walks by TTBR1
    msr tcr_el1, x1
    tlbi vmalle1
    dsb sy
    isb
    mrs x2, sctlr_el1
    orr x3, x2, #1
    msr sctlr_el1, x3
    isb
    mov x3, #0x89000000
    ldr w4, [x3, #0x18]
    str w4, [x3, #0x1c]
    msr sctlr_el1, x2
    isb
    mov x0, x4
    report 0x106

    // Interrupts, taken by reading the interface.
    mov x19, #0x08010000
    mov w1, #0xf0
    str w1, [x19, #4]                   // PMR
    mov w1, #1
    str w1, [x19]                       // CTLR
    ldr w0, [x19, #0xc]                 // IAR: none
    report 0x110                        // injects 40 and a more urgent 41
    ldr w0, [x19, #0xc]
    ldr w20, [x19, #0x14]               // RPR
    mov w1, w20
    report 0x111                        // 41 is active
    mov w0, #41
    str w0, [x19, #0x10]                // EOIR: a fault
    isb
    ldr w0, [x19, #0xc]
    report 0x112                        // 40 is active; the monitor tries its list register
    mov w0, #40
    str w0, [x19, #0x10]
    isb
    report 0x113                        // injects 42 twice into the same list register, then 43
    ldr w0, [x19, #0xc]
    mov w1, w0
    str w0, [x19, #0x10]
    isb
    ldr w0, [x19, #0xc]                 // none: 42 was overwritten
    report 0x114
    report 0x115                        // an interrupt of group 1, which is not enabled, and the limits
    ldr w0, [x19, #0xc]
    ldr w1, [x19, #0x18]                // HPPIR
    report 0x116                        // the monitor overwrites it with one of group 0
    ldr w0, [x19, #0xc]
    report 0x117                        // active: the other virtual CPU runs, then the list register is in use
    ldr w20, [x19, #0xc]
    str w0, [x19, #0x10]
    isb

    // The virtual timer.
    mrs x0, cntkctl_el1
    mrs x1, cntv_ctl_el0
    report 0x120
    adr x6, 3f
    mov x1, #1000
    msr cntv_tval_el0, x1
    mov x1, #1
    msr cntv_ctl_el0, x1
    isb
2:  b 2b                                // VPPI: the monitor goes on at x6 and does not acknowledge
3:  mov x1, #0x10000
4:  subs x1, x1, #1
    b.ne 4b
    mrs x0, cntv_ctl_el0
    report 0x121                        // not again; now it is acknowledged and comes at once
    nop
    msr cntv_ctl_el0, xzr
    report 0x122

    // Vector registers survive other guests: fmov d0, x0; report; fmov x1, d0.
    .inst 0x9e670000
    mov x0, #0
    report 0x123                        // the other virtual CPU runs
    .inst 0x9e660001
    report 0x124

    // Native processing of EL0 system calls: none reaches the monitor. At the end, wait for nothing.
    wfi
    report 0x1ff

second:
    mrs x0, mpidr_el1
    mrs x1, sctlr_el1
    report 0x200
    .inst 0x9e660000                    // fmov x0, d0: zero at first
    mov x1, #0x77
    .inst 0x9e670020                    // fmov d0, x1
    mrs x1, tpidr_el1
    report 0x201
    .inst 0x9e660000
    mrs x1, tpidr_el1
    report 0x202
5:  b 5b
guest_end:
