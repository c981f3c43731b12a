// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Child of `watcher`: faults in every way that a domain can.
#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::AtomicU64;

use devsdk_tests::{call, info, say};
use sel4_microkit::{Handler, NullHandler, protection_domain};

static DATA: AtomicU64 = AtomicU64::new(0xd65f_03c0);
static CONSTANT: u64 = 5;

/// One instruction that faults, with known condition flags; the parent skips it.
macro_rules! fault {
    ($what:literal, $text:literal $(, $x:tt = $value:expr)*) => {{
        say!($what);
        // SAFETY: the instruction is not completed: the parent goes on after it, or has it return at once.
        unsafe { asm!("cmp xzr, xzr", $text, $(in($x) $value,)* lateout("x1") _, lateout("x9") _, clobber_abi("C")) }
    }};
}

#[protection_domain]
fn init() -> impl Handler {
    fault!("read nothing", "ldr x1, [x0]", "x0" = 0x5000_0008u64);
    fault!("read nothing, without a syndrome", "ldp x1, x9, [x0]", "x0" = 0x5000_0010u64);
    fault!("write nothing", "strb w1, [x0]", "x0" = 0xff_0000_0003u64);
    fault!("write a constant", "str x1, [x0]", "x0" = &raw const CONSTANT);
    fault!("read beyond the address space", "ldr x1, [x0]", "x0" = 1u64 << 40);
    fault!("read a kernel's address", "ldr x1, [x0]", "x0" = !0u64 << 40);
    fault!("call data", "blr x0", "x0" = DATA.as_ptr());
    fault!("call nothing", "blr x0", "x0" = 0x6000_0000u64);
    fault!("call a misaligned address", "blr x0", "x0" = 0x20_0002u64);
    fault!("undefined instruction", "udf #7");
    fault!("breakpoint", "brk #9");
    fault!("floating point: fmov d0, xzr", ".inst 0x9e6703e0");
    fault!("hvc", ".inst 0xd4000002");
    fault!("smc", ".inst 0xd4000003");
    fault!("mrs midr_el1", "mrs x1, midr_el1");
    fault!("mrs cntvct_el0", "mrs x1, cntvct_el0");
    fault!("mrs pmccntr_el0", "mrs x1, pmccntr_el0");
    fault!("msr daifset", "msr daifset, #2");
    fault!("tlbi", ".inst 0xd508871f");

    let (tpidr, ctr): (u64, u64);
    // SAFETY: allowed at EL0: physical counter, cache type, maintenance by address of this domain's own data, thread register.
    unsafe {
        asm!("mrs {a}, cntpct_el0", "mrs {c}, ctr_el0", "dc cvac, {d}", "dc civac, {d}", "ic ivau, {d}", "dsb sy", "isb",
            "mov {a}, #0x77", "msr tpidr_el0, {a}", "svc #0", "mrs {t}, tpidr_el0", a = out(reg) _, c = out(reg) ctr,
            d = in(reg) DATA.as_ptr(), t = out(reg) tpidr, in("x0") 9, in("x1") 0, in("x7") call::NB_SEND);
    }
    say!("cache maintenance; tpidr {tpidr:x}, ctr {ctr:x}");

    for number in [77, -60, 0] {
        let x = call(number, 0x10, 0x11, [0x12, 0x13, 0x14, 0x15]);
        say!("unknown system call {number} gave {x:x?}");
    }
    say!("send to no address: {:x?}", &call(call::SEND, 0x10_0000, info(0, 0), [0; 4])[..1]);
    say!("send to a null capability: {:x?}", &call(call::SEND, 9, info(0, 0), [0; 4])[..1]);
    say!("nbsend to no address: {:x?}", &call(call::NB_SEND, 0x10_0001, info(0, 0), [0; 4])[..1]);
    say!("call of a null capability: {:x?}", &call(call::CALL, 9, info(5, 0), [0; 4])[..3]);
    say!("call of an empty root slot: {:x?}", &call(call::CALL, 1 << 58, info(5, 0), [0; 4])[..3]);
    say!("call of the reply object: {:x?}", &call(call::CALL, 4, info(5, 0), [0; 4])[..2]);
    call(call::RECV, 9, 0, [0; 4]);
    call(call::NB_RECV, 0x10_0003, 0, [0; 4]);
    call(call::RECV, 4, 0, [0; 4]);
    say!("nbrecv of nothing: badge {:x}", call(call::NB_RECV, 1, 0, [0; 4])[0]);
    say!("done");
    NullHandler::new()
}
