// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The devsdk kernel: a development stand-in for seL4 on QEMU `virt`. It is not seL4 and not verified.
//!
//! It speaks the part of the seL4 16.0.0 interface (MCS, AArch64, hypervisor, one core, GICv2) that this repository's
//! protection domains use; the table in README.md lists it. Three things keep it small. The tool has fixed every object
//! before the kernel starts, so nothing is created, derived or deleted. The kernel runs with interrupts masked on one core,
//! so it is one value, [`kernel::Kernel`], that each entry has to itself. And its memory is identity-mapped.
#![no_std]
#![no_main]

mod abi;
mod arch;
mod call;
mod fault;
mod gic;
mod interrupt;
mod ipc;
mod kernel;
mod mmio;
mod mmu;
mod schedule;
mod setup;
mod vcpu;

use core::cell::UnsafeCell;
use core::panic::PanicInfo;

use arch::{Context, mrs, msr};
use kernel::Kernel;
use mmio::print;

struct Global(UnsafeCell<Kernel>);

// SAFETY: `enter` is the only access.
unsafe impl Sync for Global {}

static KERNEL: Global = Global(UnsafeCell::new(Kernel::NEW));

/// Runs `action` on the kernel and gives the context of the thread to run next.
fn enter(action: impl FnOnce(&mut Kernel)) -> *const Context {
    // SAFETY: called once by each entry, from assembly, on the one core with every exception masked; the assembly uses only the
    // context, and only after this reference is gone.
    let kernel = unsafe { &mut *KERNEL.0.get() };
    action(kernel);
    kernel.run()
}

/// Entered once, by the assembly.
extern "C" fn boot() -> *const Context {
    unsafe extern "C" {
        safe static boot_description: u8;
    }
    mmu::init();
    msr!("vbar_el2", arch::vector_base());
    print!("{}: a development stand-in for seL4, not seL4 and not verified", env!("CARGO_PKG_VERSION"));
    gic::init();
    schedule::init();
    vcpu::init();
    let start = &raw const boot_description;
    // SAFETY: the tool puts the description here, at a page boundary, with its length in its header. Nothing writes it.
    let description = unsafe {
        let length = (*start.cast::<devsdk_image::Header>()).length;
        core::slice::from_raw_parts(start, length as usize)
    };
    enter(|kernel| {
        if let Err(refusal) = kernel.set_up(description) {
            panic!("cannot start: {refusal}");
        }
    })
}

/// Entered by the assembly at each synchronous exception of a thread.
extern "C" fn synchronous() -> *const Context {
    enter(Kernel::take_synchronous)
}

/// Entered by the assembly at each interrupt of a thread.
extern "C" fn interrupt() -> *const Context {
    enter(Kernel::take_interrupt)
}

/// Entered by the assembly at an exception that the kernel itself raised, or an SError.
extern "C" fn broken() -> ! {
    panic!("exception in the kernel: ESR {:#x} ELR {:#x} FAR {:#x}", mrs!("esr_el2"), mrs!("elr_el2"), mrs!("far_el2"))
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    print!("{info}");
    loop {
        arch::wfi();
    }
}
