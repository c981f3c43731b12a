// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! GICv2 (Arm IHI 0048B): distributor, CPU interface and virtual interface control. As in seL4, interrupts end with the
//! kernel's write to GICC_EOIR and stay disabled until they are acknowledged by their driver.

use crate::mmio::{GICC, GICD, GICH};

/// EL2 physical timer.
pub const TIMER: u32 = 26;
/// Virtual timer of the running guest.
pub const VTIMER: u32 = 27;
/// Maintenance interrupt of the virtual interface.
pub const MAINTENANCE: u32 = 25;
/// One more than the highest interrupt number.
pub const COUNT: usize = 1020;
/// List registers that this kernel saves at most; QEMU has 4.
pub const MAX_LIST_REGISTERS: usize = 16;

/// Offsets of GICH registers.
pub const HCR: usize = 0x000;
const VTR: usize = 0x004;
pub const VMCR: usize = 0x008;
const MISR: usize = 0x010;
const EISR0: usize = 0x020;
const EISR1: usize = 0x024;
pub const APR: usize = 0x0f0;
const LR0: usize = 0x100;

/// GICH_HCR: virtual interface enabled.
pub const HCR_EN: u32 = 1;
/// GICH_LR: a maintenance interrupt when the guest ends this one (GICH_LR with HW = 0).
pub const LR_EOI: u32 = 1 << 19;
/// GICH_LR: state, of which [`LR_ACTIVE`] alone means active and not pending.
pub const LR_STATE: u32 = 3 << 28;
/// GICH_LR: active.
pub const LR_ACTIVE: u32 = 2 << 28;

/// A pending list register with a maintenance interrupt at its end, from CPU 0.
pub fn pending(intid: u64, priority: u64, group: u64) -> u32 {
    // The decoder has checked the ranges: 10, 5 and 1 bits.
    (group as u32) << 30 | 1 << 28 | (priority as u32) << 23 | LR_EOI | intid as u32
}

/// Sets up the distributor and this core's interface: all interrupts disabled, level-triggered, to this core.
pub fn init() {
    let lines = 32 * ((GICD.read(0x004) as usize & 0x1f) + 1);
    GICD.write(0x000, 0);
    for i in (0..lines).step_by(32) {
        GICD.write(0x180 + i / 8, !0); // ICENABLER
        GICD.write(0x280 + i / 8, !0); // ICPENDR
        GICD.write(0x080 + i / 8, 0); // IGROUPR
    }
    for i in (0..lines).step_by(4) {
        GICD.write(0x400 + i, if i < 32 { 0 } else { 0x8080_8080 }); // IPRIORITYR
        if i >= 32 {
            GICD.write(0x800 + i, 0x0101_0101); // ITARGETSR
        }
    }
    for i in (32..lines).step_by(16) {
        GICD.write(0xc00 + i / 4, 0); // ICFGR
    }
    GICD.write(0x000, 1);
    GICC.write(0x004, 0xf0); // PMR
    GICC.write(0x008, 3); // BPR
    GICC.write(0x000, 1);
    set_enabled(TIMER, true);
    set_enabled(MAINTENANCE, true);
}

/// Sets whether an interrupt is edge-triggered.
pub fn set_edge(intid: u32, edge: bool) {
    let (offset, bit) = (0xc00 + intid as usize / 16 * 4, 2u32 << (intid % 16 * 2));
    let config = GICD.read(offset);
    GICD.write(offset, if edge { config | bit } else { config & !bit });
}

/// Enables or disables an interrupt.
pub fn set_enabled(intid: u32, enabled: bool) {
    let base = if enabled { 0x100 } else { 0x180 };
    GICD.write(base + intid as usize / 32 * 4, 1 << (intid % 32));
}

/// Takes the pending interrupt of highest priority: what GICC_IAR gives, or `None` if there is none.
pub fn acknowledge() -> Option<u32> {
    Some(GICC.read(0x00c)).filter(|iar| (iar & 0x3ff) < COUNT as u32)
}

/// Ends the interrupt that [`acknowledge`] returned.
pub fn end(iar: u32) {
    GICC.write(0x010, iar);
}

/// Number of list registers.
pub fn list_registers() -> usize {
    ((GICH.read(VTR) & 0x3f) as usize + 1).min(MAX_LIST_REGISTERS)
}

/// A list register.
pub fn lr(index: usize) -> u32 {
    GICH.read(LR0 + index * 4)
}

/// Sets a list register.
pub fn set_lr(index: usize, value: u32) {
    GICH.write(LR0 + index * 4, value);
}

/// The first list register whose interrupt has ended: `None` if the maintenance interrupt has another reason (GICH_MISR),
/// or GICH_EISR names none.
pub fn ended() -> Option<usize> {
    if GICH.read(MISR) & 1 == 0 {
        return None;
    }
    let ended = u64::from(GICH.read(EISR1)) << 32 | u64::from(GICH.read(EISR0));
    Some(ended.trailing_zeros() as usize).filter(|index| *index < list_registers())
}
