// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The GICv2 as the probe uses it (Arm IHI 0048B, "Programmers' model").

use crate::mmio::{read32, write8, write32};

/// The distributor.
pub const GICD: u64 = 0x0800_0000;
/// The CPU interface.
pub const GICC: u64 = 0x0801_0000;

/// GICD_CTLR.
pub const CTLR: u64 = GICD;
/// GICD_TYPER.
pub const TYPER: u64 = GICD + 0x004;
/// GICD_IIDR.
pub const IIDR: u64 = GICD + 0x008;
/// GICD_IGROUPR0.
pub const IGROUPR: u64 = GICD + 0x080;
/// GICD_ISENABLER0.
pub const ISENABLER: u64 = GICD + 0x100;
/// GICD_ICENABLER0.
pub const ICENABLER: u64 = GICD + 0x180;
/// GICD_ISPENDR0.
pub const ISPENDR: u64 = GICD + 0x200;
/// GICD_ICPENDR0.
pub const ICPENDR: u64 = GICD + 0x280;
/// GICD_ISACTIVER0.
pub const ISACTIVER: u64 = GICD + 0x300;
/// GICD_ICACTIVER0.
pub const ICACTIVER: u64 = GICD + 0x380;
/// GICD_IPRIORITYR0.
pub const IPRIORITYR: u64 = GICD + 0x400;
/// GICD_ITARGETSR0.
pub const ITARGETSR: u64 = GICD + 0x800;
/// GICD_ICFGR0.
pub const ICFGR: u64 = GICD + 0xc00;
/// GICD_NSACR0.
pub const NSACR: u64 = GICD + 0xe00;
/// GICD_SGIR.
pub const SGIR: u64 = GICD + 0xf00;
/// GICD_CPENDSGIR0.
pub const CPENDSGIR: u64 = GICD + 0xf10;
/// GICD_SPENDSGIR0.
pub const SPENDSGIR: u64 = GICD + 0xf20;
/// Identification registers, with ICPIDR2 at 0xfe8.
pub const IDENTIFICATION: u64 = GICD + 0xfd0;

const GICC_CTLR: u64 = GICC;
const PMR: u64 = GICC + 0x004;
const IAR: u64 = GICC + 0x00c;
const EOIR: u64 = GICC + 0x010;

/// GICC_IAR: the interrupt's id; above it, the CPU that sent it.
pub const INTID: u32 = 0x3ff;
/// The priority that `enable` gives.
pub const PRIORITY: u8 = 0xa0;
/// The priority mask that lets every priority pass.
pub const OPEN: u8 = 0xff;

/// Turns the distributor and this CPU's interface on, with every priority let through.
pub fn start() {
    write32(CTLR, 1);
    start_cpu_interface();
}

/// Turns this CPU's interface on.
pub fn start_cpu_interface() {
    write32(GICC_CTLR, 1);
    mask_priority(OPEN);
}

/// The register in a bank of one bit per interrupt that holds `id`, and the bit.
pub fn bit(bank: u64, id: u32) -> (u64, u32) {
    (bank + u64::from(id / 32) * 4, 1 << (id % 32))
}

/// Writes the bit of `id` in `bank`, and zeros beside it.
pub fn set(bank: u64, id: u32) {
    let (register, bit) = bit(bank, id);
    write32(register, bit);
}

/// The bit of `id` in `bank`.
pub fn get(bank: u64, id: u32) -> bool {
    let (register, bit) = bit(bank, id);
    read32(register) & bit != 0
}

/// Whether `id` reads as pending, and as active.
pub fn state(id: u32) -> (bool, bool) {
    (get(ISPENDR, id), get(ISACTIVER, id))
}

/// Enables `id` at `PRIORITY`.
pub fn enable(id: u32) {
    enable_at(id, PRIORITY);
}

/// Enables `id` at `priority`.
pub fn enable_at(id: u32, priority: u8) {
    set_priority(id, priority);
    set(ISENABLER, id);
}

/// Disables `id`.
pub fn disable(id: u32) {
    set(ICENABLER, id);
}

/// Makes `id` pending.
pub fn pend(id: u32) {
    set(ISPENDR, id);
}

/// Sets the priority of `id`.
pub fn set_priority(id: u32, priority: u8) {
    write8(IPRIORITYR + u64::from(id), priority);
}

/// Sets the CPUs that may take `id`, a bit each.
pub fn set_targets(id: u32, cpus: u8) {
    write8(ITARGETSR + u64::from(id), cpus);
}

/// Lets only priorities above (numerically below) `mask` pass.
pub fn mask_priority(mask: u8) {
    write32(PMR, u32::from(mask));
}

/// Sends software-generated interrupt `id` to this CPU alone (target list filter 2).
pub fn send_to_self(id: u32) {
    write32(SGIR, 2 << 24 | id);
}

/// Sends software-generated interrupt `id` to `cpus`, a bit each.
pub fn send(id: u32, cpus: u8) {
    write32(SGIR, u32::from(cpus) << 16 | id);
}

/// GICC_IAR.
pub fn acknowledge() -> u32 {
    read32(IAR)
}

/// GICC_EOIR.
pub fn end(iar: u32) {
    write32(EOIR, iar);
}
