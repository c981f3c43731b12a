// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Drives the physical timer: interrupts come once until they are acknowledged, and again while the timer's condition holds.
#![no_std]
#![no_main]

use core::arch::asm;

use devsdk_tests::say;
use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, protection_domain};

const IRQ: Channel = Channel::new(9);

struct Timer(u32);

fn set(control: u64, ticks: u64) {
    // SAFETY: the kernel of this board lets EL0 use the physical timer, which only this domain does.
    unsafe { asm!("msr cntp_tval_el0, {}", "msr cntp_ctl_el0, {}", "isb", in(reg) ticks, in(reg) control) }
}

impl Handler for Timer {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        self.0 += 1;
        say!("interrupt {}: {channels}", self.0);
        match self.0 {
            // The condition still holds: the interrupt comes again as soon as it is acknowledged.
            1 => {}
            // A signal during the handler is the same bit.
            2 => set(1, 100_000),
            3 => {
                set(1, 0);
                say!("not again before it is acknowledged: {:?}", sel4_microkit::poll());
                set(1, 2_000_000);
            }
            _ => {
                set(0, 0);
                Channel::new(0).notify();
            }
        }
        say!("acknowledged: {:?}", IRQ.irq_ack());
        Ok(())
    }
}

#[protection_domain]
fn init() -> impl Handler {
    set(1, 500_000);
    Timer(0)
}
