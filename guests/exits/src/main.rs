// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What exits cost: for each operation the time that one takes, averaged over many, in nanoseconds of the virtual counter.
//!
//! `make bench` runs it where QEMU counts one nanosecond per instruction, so that the results are instructions. Each line is
//! `exits: OPERATION NANOSECONDS`; at the end, lines `exits: woken [NANOSECONDS, …]` tell how late single wake-ups were. The
//! loops' own instructions, two to an operation, are taken off; those around the interrupts are outside the interval
//! measured. The hints are marks for QEMU's plugin (ci/counter), which tells where the
//! instructions were executed: `hint #64 + n` begins an interval of the nth operation, `hint #127` ends it.

#![no_std]
#![no_main]

mod virtio;

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};
use smccc::psci::{PSCI_SYSTEM_OFF, PSCI_VERSION};

const GICD: u64 = 0x0800_0000;
const GICC: u64 = 0x0801_0000;
const ISENABLER: u64 = GICD + 0x100;
const IPRIORITYR: u64 = GICD + 0x400;
const SGIR: u64 = GICD + 0xf00;
const UART: u64 = 0x0900_0000;

/// The virtual timer's interrupt.
const TIMER: u32 = 27;
/// The software-generated interrupt that is measured.
const SGI: u32 = 1;
/// To this vCPU alone (IHI 0048B 4.3.15, target list filter 2).
const TO_SELF: u32 = 2 << 24;

const ITERATIONS: u64 = 10_000;
/// Instructions of a loop around the operation that is measured.
const LOOP: u64 = 2;
/// Lines of single wake-ups, and wake-ups of a line.
const WAKES: u64 = 50;
const WAKES_OF_LINE: usize = 20;
/// How far ahead the timer is set, in ticks: enough for the end of the interrupt before.
const AHEAD: u64 = 4000;

// The Image header (Linux, Documentation/arch/arm64/booting.rst) and the vector table. The interrupt handler belongs to the
// loops of `sgi` and `timer`: x10 takes the time, x11 is free, and x9 holds GICC.
global_asm!(
    r#"
    .section .head, "ax"
    .global _start
_start:
    b       1f
    .word   0
    .quad   0
    .quad   _image_size
    .quad   0x2
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0
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
3:  adrp    x4, vectors
    add     x4, x4, :lo12:vectors
    msr     vbar_el1, x4
    isb
    bl      exits_main

    .balign 2048
vectors:
    .fill   5 * 128, 1, 0
    mrs     x10, cntvct_el0
    hint    #127
    msr     cntv_ctl_el0, xzr
    ldr     w11, [x9, #0xc]
    str     w11, [x9, #0x10]
    eret
    .balign 2048
    "#
);

struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| write32(UART, byte.into()));
        Ok(())
    }
}

fn say(text: fmt::Arguments) {
    // `Uart` never fails.
    let _ = Uart.write_fmt(text);
    let _ = Uart.write_str("\r\n");
}

/// Loads from a device register.
pub fn read32(address: u64) -> u32 {
    let value;
    // SAFETY: the address is a device's register, and no memory of this program.
    unsafe { asm!("ldr {:w}, [{}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Stores to a device register.
pub fn write32(address: u64, value: u32) {
    // SAFETY: as in `read32`.
    unsafe { asm!("str {:w}, [{}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Reads a counter register.
macro_rules! counter {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading the register has no side effect.
        unsafe { asm!("isb", concat!("mrs {}, ", $name), out(reg) value, options(nostack)) };
        value
    }};
}

/// Prints what one of the `ITERATIONS` operations took, of `ticks` for all, each with `overhead` instructions of the loop.
fn report(operation: &str, ticks: u64, overhead: u64) {
    let nanoseconds = ticks * 1_000_000_000 / counter!("cntfrq_el0");
    say(format_args!("exits: {operation} {}", (nanoseconds + ITERATIONS / 2) / ITERATIONS - overhead));
}

/// Repeats one instruction. x20 is an address, w0 the same or the number of a call, w1 zero.
macro_rules! repeat {
    ($number:literal, $operation:literal, $instruction:literal, $x0:expr) => {{
        let start = counter!("cntvct_el0");
        // SAFETY: the instruction accesses a device's register or calls the firmware, which changes x0 to x17 at most
        // (DEN 0028, 2.6); the loop's own registers are others.
        unsafe {
            asm!(
                concat!("hint #64 + ", $number), "2:", "mov x0, x22", $instruction, "subs x21, x21, #1", "b.ne 2b", "hint #127",
                in("x20") $x0, in("x22") $x0, inout("x21") ITERATIONS => _, inout("x1") 0u64 => _, out("x0") _, out("x2") _, out("x3") _,
                out("x4") _, out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _,
                out("x12") _, out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack)
            )
        };
        report($operation, counter!("cntvct_el0") - start, LOOP + 1);
    }};
}

/// From the deadline to the handler. The guest executes `$wait` until then.
macro_rules! timer {
    ($number:literal, $operation:literal, $wait:literal) => {{
        let ticks: u64;
        // SAFETY: as in `sgi`.
        unsafe {
            asm!(
                "msr daifclr, #2",
                "2:", "mov x10, xzr",
                concat!("hint #64 + ", $number),
                "isb", "mrs x12, cntvct_el0", "add x12, x12, x20", "msr cntv_cval_el0, x12", "msr cntv_ctl_el0, {enable}", "isb",
                "4:", $wait, "cbz x10, 4b",
                "sub x10, x10, x12", "add {ticks}, {ticks}, x10", "subs x21, x21, #1", "b.ne 2b",
                "msr daifset, #2",
                ticks = inout(reg) 0u64 => ticks, enable = in(reg) 1u64, in("x20") AHEAD, in("x9") GICC,
                inout("x21") ITERATIONS => _, out("x10") _, out("x11") _, out("x12") _, options(nostack)
            )
        };
        report($operation, ticks, 0);
    }};
}

#[unsafe(no_mangle)]
extern "C" fn exits_main() -> ! {
    write32(GICD, 1);
    write32(GICC, 1);
    write32(GICC + 4, 0xff);
    write32(IPRIORITYR, 0);
    write32(ISENABLER, 1 << TIMER | 1 << SGI);

    // Of an interrupt that nobody uses.
    repeat!(0, "gicd-write", "str w0, [x20]", IPRIORITYR + 64);
    repeat!(1, "gicd-read", "ldr w0, [x20]", IPRIORITYR + 64);
    repeat!(2, "psci-version", "smc #0", u64::from(PSCI_VERSION));
    sgi();
    timer!(4, "timer", "nop");
    timer!(5, "wake-up", "wfi");
    if let Some(device) = virtio::find() {
        device.start();
        repeat!(6, "queue-notify", "str w1, [x20]", device.notify());
        repeat!(7, "register-read", "ldr w0, [x20]", device.status());
    }
    for n in 0..WAKES {
        // So that they begin at all points of a neighbour's time slice.
        let late = [0; WAKES_OF_LINE].map(|_: u64| wake(AHEAD + n * 997 % AHEAD));
        say(format_args!("exits: woken {late:?}"));
    }
    // SAFETY: the guest ends here.
    unsafe { asm!("smc #0", in("x0") PSCI_SYSTEM_OFF, options(noreturn)) }
}

/// Waits by WFI for a deadline that is `ahead` ticks off: returns how many nanoseconds later the handler ran.
fn wake(ahead: u64) -> u64 {
    let ticks: u64;
    // SAFETY: as in `sgi`.
    unsafe {
        asm!(
            "msr daifclr, #2",
            "mov x10, xzr",
            "isb", "mrs x12, cntvct_el0", "add x12, x12, x20", "msr cntv_cval_el0, x12", "msr cntv_ctl_el0, {enable}", "isb",
            "4:", "wfi", "cbz x10, 4b",
            "sub {ticks}, x10, x12",
            "msr daifset, #2",
            ticks = out(reg) ticks, enable = in(reg) 1u64, in("x20") ahead, in("x9") GICC,
            out("x10") _, out("x11") _, out("x12") _, options(nostack)
        )
    };
    ticks * 1_000_000_000 / counter!("cntfrq_el0")
}

/// From the store that sends the interrupt to its handler.
fn sgi() {
    let ticks: u64;
    // SAFETY: the handler changes x10 and x11 only. The delay of 0 to 15 turns lets the intervals begin at all points of a tick.
    unsafe {
        asm!(
            "msr daifclr, #2",
            "2:", "mov x10, xzr", "and x13, x21, #15",
            "3:", "subs x13, x13, #1", "b.pl 3b",
            "hint #64 + 3", "isb", "mrs x12, cntvct_el0", "str w1, [x20]",
            "4:", "cbz x10, 4b",
            "sub x10, x10, x12", "add {ticks}, {ticks}, x10", "subs x21, x21, #1", "b.ne 2b",
            "msr daifset, #2",
            ticks = inout(reg) 0u64 => ticks, in("x20") SGIR, in("x1") u64::from(TO_SELF | SGI), in("x9") GICC,
            inout("x21") ITERATIONS => _, out("x10") _, out("x11") _, out("x12") _, out("x13") _, options(nostack)
        )
    };
    report("self-sgi", ticks, 0);
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    say(format_args!("exits: panic"));
    loop {
        // SAFETY: waiting changes no state.
        unsafe { asm!("wfi", options(nostack)) };
    }
}
