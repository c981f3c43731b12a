// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The GICv2 as the probe uses it (Arm IHI 0048B, "Programmers' model").

use crate::mmio::{read32, write8, write32};

/// The distributor.
pub const GICD: u64 = 0x0800_0000;
/// The CPU interface.
pub const GICC: u64 = 0x0801_0000;

/// GICD_TYPER.
pub const TYPER: u64 = GICD + 0x004;
/// GICD_IIDR.
pub const IIDR: u64 = GICD + 0x008;
/// GICD_ISENABLER0.
pub const ISENABLER: u64 = GICD + 0x100;
/// GICD_ICENABLER0.
pub const ICENABLER: u64 = GICD + 0x180;
/// GICD_ISPENDR0.
pub const ISPENDR: u64 = GICD + 0x200;
/// GICD_IPRIORITYR0.
pub const IPRIORITYR: u64 = GICD + 0x400;
/// GICD_ITARGETSR0.
pub const ITARGETSR: u64 = GICD + 0x800;
const GICD_CTLR: u64 = GICD;
const SGIR: u64 = GICD + 0xf00;

const GICC_CTLR: u64 = GICC;
const PMR: u64 = GICC + 0x004;
const IAR: u64 = GICC + 0x00c;
const EOIR: u64 = GICC + 0x010;

/// The priority that `enable` gives.
pub const PRIORITY: u8 = 0xa0;
/// The priority mask that lets every priority pass.
pub const OPEN: u8 = 0xff;

/// Turns the distributor and the CPU interface on, with every priority let through.
pub fn start() {
    write32(GICD_CTLR, 1);
    write32(GICC_CTLR, 1);
    mask_priority(OPEN);
}

/// The register in a bank of one bit per interrupt that holds `id`, and the bit.
pub fn bit(bank: u64, id: u32) -> (u64, u32) {
    (bank + u64::from(id / 32) * 4, 1 << (id % 32))
}

/// Enables `id` at `PRIORITY`.
pub fn enable(id: u32) {
    set_priority(id, PRIORITY);
    let (register, bit) = bit(ISENABLER, id);
    write32(register, bit);
}

/// Disables `id`.
pub fn disable(id: u32) {
    let (register, bit) = bit(ICENABLER, id);
    write32(register, bit);
}

/// Makes `id` pending.
pub fn pend(id: u32) {
    let (register, bit) = bit(ISPENDR, id);
    write32(register, bit);
}

/// Sets the priority of `id`.
pub fn set_priority(id: u32, priority: u8) {
    write8(IPRIORITYR + u64::from(id), priority);
}

/// Lets only priorities above (numerically below) `mask` pass.
pub fn mask_priority(mask: u8) {
    write32(PMR, u32::from(mask));
}

/// Sends software-generated interrupt `id` to this CPU alone (target list filter 2).
pub fn send_to_self(id: u32) {
    write32(SGIR, 2 << 24 | id);
}

/// GICC_IAR.
pub fn acknowledge() -> u32 {
    read32(IAR)
}

/// GICC_EOIR.
pub fn end(iar: u32) {
    write32(EOIR, iar);
}
