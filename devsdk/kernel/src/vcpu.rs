// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Virtual CPUs. As in seL4, the state of one stays loaded while domains run at EL0: leaving a guest only turns its stage 1,
//! its virtual interface and its virtual timer off.

use crate::arch::{self, mrs, msr};
use crate::gic;
use crate::kernel::{Kernel, VcpuId};
use crate::mmio::GICH;

/// HCR_EL2: VM, FMO, IMO, AMO, TSC, RW.
const HCR: u64 = 1 | 7 << 3 | 1 << 19 | 1 << 31;
/// While a domain runs also SWIO, DC, TACR, TTLB, TVM, TGE: EL0 runs without stage 1.
const HCR_DOMAIN: u64 = HCR | 1 << 1 | 1 << 12 | 1 << 21 | 1 << 25 | 1 << 26 | 1 << 27;
/// While a guest runs also TWI, TWE.
const HCR_GUEST: u64 = HCR | 1 << 13 | 1 << 14;
/// SCTLR_EL1: RES1 bits, CP15BEN, nTWI, nTWE and cache maintenance at EL0 (UCT, UCI).
const SCTLR_GUEST: u64 = 0x30d0_0800 | 1 << 5 | 1 << 16 | 1 << 18 | 1 << 15 | 1 << 26;
/// While a domain runs: caches on as well.
const SCTLR_DOMAIN: u64 = SCTLR_GUEST | 1 << 2 | 1 << 12;
/// CPACR_EL1: vector registers are not trapped to EL1.
const CPACR_DOMAIN: u64 = 3 << 20;
/// CNTKCTL_EL1 while a domain runs: EL0 may use the physical counter and timer, as the kernel of this board allows.
const CNTKCTL_DOMAIN: u64 = 1 << 9 | 1;
/// MDCR_EL2: debug exceptions and registers of domains trap, in debug kernels.
const MDCR_DOMAIN: u64 = if cfg!(feature = "debug") { 0xf << 8 } else { 0 };

/// Number of registers of a virtual CPU.
pub const REGISTERS: usize = 24;
/// Registers that are saved whenever a guest is left.
const SCTLR: usize = 0;
const CPACR: usize = 1;
const CNTV_CTL: usize = 20;
const CNTV_CVAL: usize = 21;
const CNTVOFF: usize = 22;
const CNTKCTL: usize = 23;

/// The others, which are saved and loaded only when another guest is entered.
const LAZY: core::ops::RangeInclusive<usize> = 2..=19;

/// The list of register numbers, names and sizes of the seL4 interface.
macro_rules! registers {
    ($($number:literal $name:literal),*) => {
        /// Reads a register of the loaded vCPU from the processor.
        fn read(number: usize) -> u64 {
            match number {
                $($number => mrs!($name),)*
                _ => 0,
            }
        }

        /// Writes a register of the loaded vCPU to the processor.
        fn write(number: usize, value: u64) {
            match number {
                $($number => msr!($name, value),)*
                _ => {}
            }
        }
    };
}

registers!(
    0 "sctlr_el1", 1 "cpacr_el1", 2 "ttbr0_el1", 3 "ttbr1_el1", 4 "tcr_el1", 5 "mair_el1", 6 "amair_el1",
    7 "contextidr_el1", 8 "actlr_el1", 9 "afsr0_el1", 10 "afsr1_el1", 11 "esr_el1", 12 "far_el1", 13 "par_el1",
    14 "vbar_el1", 15 "tpidr_el1", 16 "vmpidr_el2", 17 "sp_el1", 18 "elr_el1", 19 "spsr_el1", 20 "cntv_ctl_el0",
    21 "cntv_cval_el0", 22 "cntvoff_el2", 23 "cntkctl_el1"
);

/// What a virtual CPU holds while it is not loaded, and what it always remembers.
pub struct Vcpu {
    registers: [u64; REGISTERS],
    hcr: u32,
    vmcr: u32,
    apr: u32,
    /// As saved or as last seen at a maintenance interrupt: not always what the hardware holds.
    pub lr: [u32; gic::MAX_LIST_REGISTERS],
    /// The virtual timer's interrupt waits for AckVPPI.
    pub vppi_masked: bool,
}

impl Vcpu {
    /// A fresh one.
    pub const NEW: Self = {
        let mut registers = [0; REGISTERS];
        registers[SCTLR] = SCTLR_GUEST;
        Self { registers, hcr: gic::HCR_EN, vmcr: 0, apr: 0, lr: [0; gic::MAX_LIST_REGISTERS], vppi_masked: false }
    };

    fn save(&mut self, number: usize) {
        self.registers[number] = read(number);
    }

    fn load(&self, number: usize) {
        write(number, self.registers[number]);
    }

    /// Turns what the guest needs on, its lazy state being loaded.
    fn enter(&self) {
        self.load(SCTLR);
        msr!("hcr_el2", HCR_GUEST);
        GICH.write(gic::HCR, self.hcr);
        if MDCR_DOMAIN != 0 {
            msr!("mdcr_el2", mrs!("mdcr_el2") & !MDCR_DOMAIN);
        }
        for number in [CPACR, CNTV_CVAL, CNTKCTL, CNTVOFF] {
            self.load(number);
        }
        gic::set_enabled(gic::VTIMER, !self.vppi_masked);
        self.load(CNTV_CTL);
    }

    /// Saves what a domain's execution changes and turns the guest's hardware off.
    fn leave(&mut self) {
        arch::dsb();
        self.hcr = GICH.read(gic::HCR);
        for number in [SCTLR, CPACR, CNTV_CTL, CNTV_CVAL, CNTVOFF, CNTKCTL] {
            self.save(number);
        }
        configure_for_domains();
        gic::set_enabled(gic::VTIMER, false);
    }

    /// Saves the rest, once left.
    fn unload(&mut self) {
        self.vmcr = GICH.read(gic::VMCR);
        self.apr = GICH.read(gic::APR);
        for index in 0..gic::list_registers() {
            self.lr[index] = gic::lr(index);
        }
        LAZY.for_each(|number| self.save(number));
    }

    /// Loads the rest; the virtual interface is off.
    fn reload(&self) {
        GICH.write(gic::VMCR, self.vmcr);
        GICH.write(gic::APR, self.apr);
        for index in 0..gic::list_registers() {
            gic::set_lr(index, self.lr[index]);
        }
        LAZY.for_each(|number| self.load(number));
    }
}

/// Sets the processor up for domains: stage 1, virtual interface and virtual timer off, traps on.
fn configure_for_domains() {
    GICH.write(gic::HCR, 0);
    msr!("sctlr_el1", SCTLR_DOMAIN);
    msr!("hcr_el2", HCR_DOMAIN);
    if MDCR_DOMAIN != 0 {
        msr!("mdcr_el2", mrs!("mdcr_el2") | MDCR_DOMAIN);
    }
    msr!("cpacr_el1", CPACR_DOMAIN);
    msr!("cntv_ctl_el0", 0);
    msr!("cntkctl_el1", CNTKCTL_DOMAIN);
}

/// Sets the processor up before the first thread runs.
pub fn init() {
    // EL1 and EL0 may use the physical counter and timer (CNTHCTL_EL2.EL1PCTEN, EL1PCEN).
    msr!("cnthctl_el2", 3);
    configure_for_domains();
    gic::set_enabled(gic::VTIMER, false);
    arch::isb();
}

impl Kernel {
    /// Makes the processor ready for a thread with this vCPU, or for one without.
    pub fn switch_vcpu(&mut self, new: Option<VcpuId>) {
        if new.is_some() && new == self.loaded_vcpu {
            if !self.vcpu_active {
                self.vcpus[new.map_or(0, |id| id.0)].enter();
                self.vcpu_active = true;
            }
            return;
        }
        if self.vcpu_active {
            if let Some(old) = self.loaded_vcpu {
                self.vcpus[old.0].leave();
            }
            self.vcpu_active = false;
        }
        if let Some(new) = new {
            if let Some(old) = self.loaded_vcpu {
                self.vcpus[old.0].unload();
            }
            self.vcpus[new.0].reload();
            self.vcpus[new.0].enter();
            self.loaded_vcpu = Some(new);
            self.vcpu_active = true;
        }
    }

    /// Whether the register's current value is in the processor.
    fn in_processor(&self, id: VcpuId, number: usize) -> bool {
        self.loaded_vcpu == Some(id) && (self.vcpu_active || LAZY.contains(&number))
    }

    /// Reads a register of a vCPU; `number` is below [`REGISTERS`].
    pub fn read_vcpu(&self, id: VcpuId, number: usize) -> u64 {
        if self.in_processor(id, number) { read(number) } else { self.vcpus[id.0].registers[number] }
    }

    /// Writes a register of a vCPU; `number` is below [`REGISTERS`].
    pub fn write_vcpu(&mut self, id: VcpuId, number: usize, value: u64) {
        if self.in_processor(id, number) {
            write(number, value);
        } else {
            self.vcpus[id.0].registers[number] = value;
        }
    }

    /// Writes a list register of a vCPU.
    pub fn write_lr(&mut self, id: VcpuId, index: usize, value: u32) {
        if self.loaded_vcpu == Some(id) {
            gic::set_lr(index, value);
        } else {
            self.vcpus[id.0].lr[index] = value;
        }
    }

    /// Ends the service of a maintenance interrupt for the running guest: the list register whose interrupt ended. Its EOI
    /// request is cleared, here and in the copy that InjectIRQ looks at, unless it is pending again while active.
    pub fn retire(&mut self) -> Option<usize> {
        let index = gic::ended()?;
        let mut lr = gic::lr(index);
        if lr & gic::LR_STATE != gic::LR_STATE {
            lr &= !gic::LR_EOI;
        }
        gic::set_lr(index, lr);
        if let Some(id) = self.loaded_vcpu {
            self.vcpus[id.0].lr[index] = lr;
        }
        Some(index)
    }
}
