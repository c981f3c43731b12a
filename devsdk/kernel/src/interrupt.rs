// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Interrupts: of the kernel, of the running guest, and of drivers.

use crate::gic;
use crate::kernel::{Fault, Kernel};
use crate::mmio::debug;

impl Kernel {
    /// Handles the interrupt that is pending, if any.
    pub fn take_interrupt(&mut self) {
        if let Some(id) = self.current {
            let context = &mut self.thread(id).context;
            context.fault_ip = context.elr;
        }
        let Some(iar) = gic::acknowledge() else { return };
        let intid = iar & 0x3ff;
        match intid {
            gic::TIMER => self.tick(),
            gic::VTIMER => {
                // Of a guest that is not running it comes again: the interrupt is level-triggered.
                if let Some(vcpu) = self.loaded_vcpu.filter(|_| self.vcpu_active) {
                    gic::set_enabled(gic::VTIMER, false);
                    self.vcpus[vcpu.0].vppi_masked = true;
                    self.guest_event(Fault::VppiEvent(gic::VTIMER.into()));
                }
            }
            gic::MAINTENANCE => {
                if self.vcpu_active {
                    let index = self.retire();
                    self.guest_event(Fault::VgicMaintenance(index));
                }
            }
            _ => {
                gic::set_enabled(intid, false);
                match self.interrupts.get(intid as usize).copied().flatten() {
                    Some((domain, badge)) => self.signal(domain, badge),
                    None => debug!("interrupt {intid} has no handler"),
                }
            }
        }
        gic::end(iar);
    }

    fn guest_event(&mut self, fault: Fault) {
        if let Some(id) = self.current {
            self.fault(id, fault);
        }
    }
}
