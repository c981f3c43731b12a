// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The registers that hold some bits for each interrupt: GICv2's distributor, GICv3's distributor and its redistributors
//! have them at the same offsets (IHI 0048B 4.3.4 to 4.3.13, IHI 0069H 12.9 and 12.11).

use super::{BANKS, Bank, Gic, Listed, PRIORITY_MASK, SGIS, Version};
use crate::VcpuId;
use crate::exit::Width;

/// `GICD_IIDR` and `GICR_IIDR`: implementer Arm, product and revision 0.
pub(super) const IIDR: u32 = 0x0000_043b;

/// One of these registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Banked {
    /// The bank whose interrupts it is about.
    bank: usize,
    part: Part,
}

/// What it holds of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    /// One bit for each.
    Bits(Field),
    /// One byte for each of four.
    Priorities(usize),
    /// Two bits for each of 16: whether the upper half.
    Config(bool),
}

/// A bit-per-interrupt register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Field {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

impl Field {
    /// The field whose registers are the `n`th 32 ones, from 1 to 7.
    #[inline]
    fn new(n: usize) -> Self {
        match n {
            1 => Self::Group,
            2 => Self::SetEnable,
            3 => Self::ClearEnable,
            4 => Self::SetPending,
            5 => Self::ClearPending,
            6 => Self::SetActive,
            _ => Self::ClearActive,
        }
    }
}

/// What is at an offset where the architecture has these registers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// A register.
    Here(Banked),
    /// A register of interrupts that are not implemented: it reads as zero and ignores writes.
    Absent,
}

impl Banked {
    /// The register at `offset`, which is a multiple of four; `None` where the architecture has another one, or none.
    #[inline]
    pub(super) fn decode(offset: usize) -> Option<Place> {
        // The 32 banks' words of a field, bytes of priorities, and pairs of words of configurations follow each other.
        let (bank, part) = match offset / 0x80 {
            n @ 0x1..0x8 => (offset % 0x80 / 4, Part::Bits(Field::new(n))),
            0x8..0x10 if offset < 0x7fc => ((offset - 0x400) / 32, Part::Priorities(offset % 32 / 4)),
            0x18 | 0x19 => ((offset - 0xc00) / 8, Part::Config(offset & 4 != 0)),
            _ => return None,
        };
        Some(if bank < BANKS { Place::Here(Self { bank, part }) } else { Place::Absent })
    }

    /// Whether it is one of the private interrupts'.
    pub(super) fn is_private(self) -> bool {
        self.bank == 0
    }
}

impl Bank {
    /// Writes to a bit-per-interrupt register. `value` has no bits outside `mask`, and those in `fixed` are not enabled,
    /// disabled or made pending so.
    #[inline]
    fn write_bits(&mut self, field: Field, value: u32, mask: u32, fixed: u32) {
        match field {
            Field::Group => self.group = merge(self.group, value, mask),
            Field::SetEnable => self.enabled |= value,
            Field::ClearEnable => self.enabled &= !value | fixed,
            Field::SetPending => self.latch |= value & !fixed,
            Field::ClearPending => self.latch &= !value | fixed,
            Field::SetActive => self.active |= value & !self.listed,
            Field::ClearActive => self.active &= !value,
        }
    }
}

impl Gic {
    // Inlined where the register is decoded, of which nothing is then left but the access.
    #[inline(always)]
    pub(super) fn read_banked(&self, vcpu: VcpuId, Banked { bank: number, part }: Banked) -> u32 {
        let Some(bank) = self.bank(vcpu, number) else { return 0 };
        match part {
            Part::Bits(field) => match field {
                Field::Group => bank.group,
                Field::SetEnable | Field::ClearEnable => bank.enabled,
                Field::SetPending | Field::ClearPending => bank.pending() | self.perhaps_pending(vcpu, number),
                Field::SetActive | Field::ClearActive => bank.active | bank.listed,
            },
            Part::Priorities(n) => bank.priorities[n % 8],
            Part::Config(upper) => spread(bank.edge >> if upper { 16 } else { 0 }),
        }
    }

    /// Writes the bits of `value` that are set in `mask`. Returns whether an interrupt of the bank is pending, apart from
    /// those in list registers.
    // As `read_banked`.
    #[inline(always)]
    pub(super) fn write_banked(&mut self, vcpu: VcpuId, register: Banked, value: u32, mask: u32) -> bool {
        let Banked { bank: number, part } = register;
        let version = self.version;
        let Some(bank) = self.bank_mut(vcpu, number) else { return false };
        match part {
            Part::Bits(field) => {
                // With GICv2, software-generated interrupts are always enabled, and pending only by their own registers.
                let fixed = if number == 0 && version == Version::V2 { SGIS } else { 0 };
                bank.write_bits(field, value & mask, mask, fixed);
                let (enabled, pending) = (bank.enabled != 0, bank.pending() != 0);
                // Bank 0 is looked at anyway.
                let bit = 1 << (number % BANKS) & !1;
                self.live = if enabled { self.live | bit } else { self.live & !bit };
                return pending;
            }
            Part::Priorities(n) => {
                let word = &mut bank.priorities[n % 8];
                *word = merge(*word, value & u32::from_le_bytes([PRIORITY_MASK; 4]), mask);
            }
            Part::Config(upper) => {
                let shift = if upper { 16 } else { 0 };
                let edges = gather(merge(spread(bank.edge >> shift), value, mask)) << shift;
                // Software-generated interrupts are edge-triggered, whatever is written.
                let changed = 0xffff << shift & if number == 0 { !SGIS } else { u32::MAX };
                bank.edge = bank.edge & !changed | edges & changed;
            }
        }
        bank.pending() != 0
    }

    /// The interrupts of a bank that are in a list register and perhaps not taken.
    fn perhaps_pending(&self, vcpu: VcpuId, number: usize) -> u32 {
        let own = number == 0;
        let cpus = self.cpus.iter().enumerate().filter(|(i, _)| !own || *i == vcpu.index());
        let listed = cpus.flat_map(|(_, cpu)| cpu.lists.iter().flatten());
        listed
            .filter(|listed: &&Listed| listed.masked && !listed.stale && listed.intid.bank() == number)
            .fold(0, |bits, listed| bits | listed.intid.bit())
    }
}

/// A load of `width` at `offset` from registers of 32 bits: a narrow one sees its part. The architecture asks for that only
/// where a register has a byte for each interrupt, and leaves other narrow accesses open.
#[inline]
pub(super) fn load(width: Width, offset: u64, word: impl Fn(u64) -> Option<u32>) -> Option<u64> {
    let aligned = offset & !3;
    let low = u64::from(word(aligned)?);
    match width {
        Width::Double => Some(low | u64::from(word(aligned.wrapping_add(4))?) << 32),
        _ => Some(width.truncate(low >> (offset % 4 * 8))),
    }
}

/// A store as [`load`]; `word` is given an offset, a value, and which bits of it are written.
#[inline]
pub(super) fn store(
    width: Width,
    offset: u64,
    value: u64,
    mut word: impl FnMut(u64, u32, u32) -> Option<()>,
) -> Option<()> {
    let (aligned, shift) = (offset & !3, offset % 4 * 8);
    match width {
        Width::Double => {
            word(aligned, value as u32, u32::MAX)?;
            word(aligned.wrapping_add(4), (value >> 32) as u32, u32::MAX)
        }
        _ => word(aligned, (width.truncate(value) << shift) as u32, (width.truncate(u64::MAX) << shift) as u32),
    }
}

pub(super) fn merge(old: u32, value: u32, mask: u32) -> u32 {
    old & !mask | value & mask
}

/// Four bytes, the first in the low bits.
pub(super) fn bytes(byte: impl Fn(usize) -> u8) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(byte))
}

/// The bytes of `value` that `mask` covers, with their index.
pub(super) fn written(value: u32, mask: u32) -> impl Iterator<Item = (usize, u8)> {
    let (value, mask) = (value.to_le_bytes(), mask.to_le_bytes());
    value.into_iter().zip(mask).enumerate().filter(|(_, (_, mask))| *mask != 0).map(|(i, (byte, _))| (i, byte))
}

/// Puts bit n of the low half into bit 2n + 1: the edge bits of `GICD_ICFGR`.
fn spread(half: u32) -> u32 {
    (0..16).fold(0, |word, n| word | (half >> n & 1) << (2 * n + 1))
}

/// The reverse of [`spread`].
fn gather(word: u32) -> u32 {
    (0..16).fold(0, |half, n| half | (word >> (2 * n + 1) & 1) << n)
}
