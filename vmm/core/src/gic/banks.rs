// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The registers that hold some bits for each interrupt: GICv2's distributor, GICv3's distributor and its redistributors
//! have them at the same offsets (IHI 0048B 4.3.4 to 4.3.13, IHI 0069H 12.9 and 12.11).

use super::{BANKS, Gic, Listed, PRIORITY_MASK, SGIS, Version};
use crate::VcpuId;
use crate::exit::Width;

/// `GICD_IIDR` and `GICR_IIDR`: implementer Arm, product and revision 0.
pub(super) const IIDR: u32 = 0x0000_043b;

/// One of these registers. Numbers are bytes, so that all of it fits in a processor's register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Banked {
    /// One bit for each of the 32 interrupts of a bank.
    Bits(Field, u8),
    /// One byte for each of the four interrupts from this id on.
    Priority(u8),
    /// Two bits for each of 16 interrupts: the bank, and whether its upper half.
    Config(u8, bool),
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
        let bits = |field| (Self::Bits(field, (offset % 0x80 / 4) as u8), offset % 0x80 / 4);
        let (register, bank) = match offset / 0x80 {
            0x1 => bits(Field::Group),
            0x2 => bits(Field::SetEnable),
            0x3 => bits(Field::ClearEnable),
            0x4 => bits(Field::SetPending),
            0x5 => bits(Field::ClearPending),
            0x6 => bits(Field::SetActive),
            0x7 => bits(Field::ClearActive),
            0x8..0x10 if offset < 0x7fc => (Self::Priority((offset - 0x400) as u8), (offset - 0x400) / 32),
            0x18 | 0x19 => (Self::Config(((offset - 0xc00) / 8) as u8, offset & 4 != 0), (offset - 0xc00) / 8),
            _ => return None,
        };
        Some(if bank < BANKS { Place::Here(register) } else { Place::Absent })
    }

    /// The bank whose interrupts it is about.
    pub(super) fn bank(self) -> usize {
        usize::from(match self {
            Self::Bits(_, bank) | Self::Config(bank, _) => bank,
            Self::Priority(id) => id / 32,
        })
    }

    /// Whether it is one of the private interrupts'.
    pub(super) fn is_private(self) -> bool {
        self.bank() == 0
    }
}

impl Gic {
    #[inline]
    pub(super) fn read_banked(&self, vcpu: VcpuId, register: Banked) -> u32 {
        let bank = |number: u8| self.bank(vcpu, number.into());
        match register {
            Banked::Bits(field, number) => bank(number).map_or(0, |bank| match field {
                Field::Group => bank.group,
                Field::SetEnable | Field::ClearEnable => bank.enabled,
                Field::SetPending | Field::ClearPending => bank.pending() | self.perhaps_pending(vcpu, number.into()),
                Field::SetActive | Field::ClearActive => bank.active | bank.listed,
            }),
            Banked::Priority(id) => {
                bank(id / 32).map_or(0, |bank| u32::from_le_bytes(bank.priority.as_chunks::<4>().0[place(id)]))
            }
            Banked::Config(number, upper) => bank(number).map_or(0, |b| spread(b.edge >> if upper { 16 } else { 0 })),
        }
    }

    /// Writes the bits of `value` that are set in `mask`.
    #[inline]
    pub(super) fn write_banked(&mut self, vcpu: VcpuId, register: Banked, value: u32, mask: u32) {
        match register {
            Banked::Bits(field, number) => self.write_bits(vcpu, field, number.into(), value & mask, mask),
            Banked::Priority(id) => {
                let Some(bank) = self.bank_mut(vcpu, (id / 32).into()) else { return };
                let word = &mut bank.priority.as_chunks_mut::<4>().0[place(id)];
                let implemented = u32::from_le_bytes([PRIORITY_MASK; 4]);
                *word = merge(u32::from_le_bytes(*word), value & implemented, mask).to_le_bytes();
            }
            Banked::Config(number, upper) => {
                let Some(bank) = self.bank_mut(vcpu, number.into()) else { return };
                let shift = if upper { 16 } else { 0 };
                let edges = gather(merge(spread(bank.edge >> shift), value, mask)) << shift;
                // Software-generated interrupts are edge-triggered, whatever is written.
                let changed = 0xffff << shift & if number == 0 { !SGIS } else { u32::MAX };
                bank.edge = bank.edge & !changed | edges & changed;
            }
        }
    }

    /// `value` has no bits outside `mask`.
    #[inline]
    fn write_bits(&mut self, vcpu: VcpuId, field: Field, number: usize, value: u32, mask: u32) {
        // With GICv2, software-generated interrupts are always enabled, and pending only by their own registers.
        let fixed = if number == 0 && self.version == Version::V2 { SGIS } else { 0 };
        let Some(bank) = self.bank_mut(vcpu, number) else { return };
        match field {
            Field::Group => bank.group = merge(bank.group, value, mask),
            Field::SetEnable => bank.enabled |= value,
            Field::ClearEnable => bank.enabled &= !value | fixed,
            Field::SetPending => bank.latch |= value & !fixed,
            Field::ClearPending => bank.latch &= !value | fixed,
            Field::SetActive => bank.active |= value & !bank.listed,
            Field::ClearActive => bank.active &= !value,
        }
        if number > 0 {
            let bit = 1u8.wrapping_shl(number as u32);
            self.live = if bank.enabled != 0 { self.live | bit } else { self.live & !bit };
        }
    }

    /// Whether an interrupt of a bank is pending, apart from those in list registers.
    pub(super) fn any_pending(&self, vcpu: VcpuId, number: usize) -> bool {
        self.bank(vcpu, number).is_some_and(|bank| bank.pending() != 0)
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

/// The word of a bank's priorities that begins with interrupt `id`'s, less than 8.
fn place(id: u8) -> usize {
    usize::from(id % 32 / 4)
}

/// A load of `width` at `offset` from registers of 32 bits: a narrow one sees its part. The architecture asks for that only
/// where a register has a byte for each interrupt, and leaves other narrow accesses open.
pub(super) fn load(width: Width, offset: u64, word: impl Fn(u64) -> Option<u32>) -> Option<u64> {
    let aligned = offset & !3;
    if width == Width::Double {
        return Some(u64::from(word(aligned)?) | u64::from(word(aligned.wrapping_add(4))?) << 32);
    }
    Some(width.truncate(u64::from(word(aligned)?) >> (offset % 4 * 8)))
}

/// A store as [`load`]; `word` gets an offset, a value, and which bits of it are written.
pub(super) fn store(
    width: Width,
    offset: u64,
    value: u64,
    mut word: impl FnMut(u64, u32, u32) -> Option<()>,
) -> Option<()> {
    let aligned = offset & !3;
    if width == Width::Double {
        word(aligned, value as u32, u32::MAX)?;
        return word(aligned.wrapping_add(4), (value >> 32) as u32, u32::MAX);
    }
    let shift = offset % 4 * 8;
    word(aligned, (width.truncate(value) << shift) as u32, (width.truncate(u64::MAX) << shift) as u32)
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
