// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The registers of the GICv2 distributor (IHI 0048B 4.3).

use super::{BANKS, Gic, IntId, PRIORITY_MASK};
use crate::VcpuId;
use crate::exit::Width;

/// `GICD_IIDR`: no implementer, product 0, revision 0 of an Arm-compatible controller.
const IIDR: u32 = 0x0000_043b;
/// `ICPIDR2`: architecture version 2.
const PIDR2: u32 = 0x2b;

/// A register, as decoded from its offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Register {
    Control,
    Type,
    Implementer,
    /// One bit for each of the 32 interrupts of a bank.
    Bits(Field, usize),
    /// One byte for each of the four interrupts from this id on.
    Priority(usize),
    /// As [`Register::Priority`].
    Targets(usize),
    /// Two bits for each of 16 interrupts: the bank, and whether its upper half.
    Config(usize, bool),
    SoftwareInterrupt,
    /// One byte of senders for each of the four software-generated interrupts from this id on.
    ClearSenders(usize),
    SetSenders(usize),
    Peripheral2,
    Unknown,
}

/// A bit-per-interrupt register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
}

impl Register {
    /// The register at `offset`, which is a multiple of four.
    fn decode(offset: u64) -> Self {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let bank = offset / 4 % 32;
        let bits = |field| if bank < BANKS { Self::Bits(field, bank) } else { Self::Unknown };
        match offset {
            0x000 => Self::Control,
            0x004 => Self::Type,
            0x008 => Self::Implementer,
            0x080..0x100 => bits(Field::Group),
            0x100..0x180 => bits(Field::SetEnable),
            0x180..0x200 => bits(Field::ClearEnable),
            0x200..0x280 => bits(Field::SetPending),
            0x280..0x300 => bits(Field::ClearPending),
            0x300..0x380 => bits(Field::SetActive),
            0x380..0x400 => bits(Field::ClearActive),
            0x400..0x500 => Self::Priority(offset - 0x400),
            0x800..0x900 => Self::Targets(offset - 0x800),
            0xc00..0xc40 => Self::Config((offset - 0xc00) / 8, offset & 4 != 0),
            0xf00 => Self::SoftwareInterrupt,
            0xf10..0xf20 => Self::ClearSenders(offset - 0xf10),
            0xf20..0xf30 => Self::SetSenders(offset - 0xf20),
            0xfe8 => Self::Peripheral2,
            _ => Self::Unknown,
        }
    }
}

impl Gic {
    /// A load of `width` at `offset` in the distributor by `vcpu`; `None` where no register is implemented.
    ///
    /// Narrow loads see their part of the 32-bit register, which the architecture asks for only where a register has a
    /// byte for each interrupt.
    pub fn read(&self, vcpu: VcpuId, offset: u64, width: Width) -> Option<u64> {
        let word = |offset: u64| self.read_word(vcpu, Register::decode(offset & !3)).map(u64::from);
        if width == Width::Double {
            return Some(word(offset)? | word(offset.wrapping_add(4))? << 32);
        }
        Some(width.truncate(word(offset)? >> (offset % 4 * 8)))
    }

    /// A store of `width` at `offset` in the distributor by `vcpu`; `None` where no register is implemented.
    pub fn write(&mut self, vcpu: VcpuId, offset: u64, width: Width, value: u64) -> Option<()> {
        if width == Width::Double {
            self.write_word(vcpu, Register::decode(offset & !3), value as u32, u32::MAX)?;
            return self.write_word(
                vcpu,
                Register::decode(offset.wrapping_add(4) & !3),
                (value >> 32) as u32,
                u32::MAX,
            );
        }
        let shift = offset % 4 * 8;
        let mask = width.truncate(u64::MAX) << shift;
        self.write_word(vcpu, Register::decode(offset & !3), (width.truncate(value) << shift) as u32, mask as u32)
    }

    fn read_word(&self, vcpu: VcpuId, register: Register) -> Option<u32> {
        Some(match register {
            Register::Control => self.groups.0.into(),
            // ITLinesNumber and CPUNumber; no security extensions.
            Register::Type => (BANKS - 1) as u32 | ((self.vcpus - 1) as u32) << 5,
            Register::Implementer => IIDR,
            Register::Bits(field, number) => {
                let bank = self.bank(vcpu, number)?;
                match field {
                    Field::Group => bank.group,
                    Field::SetEnable | Field::ClearEnable => bank.enabled,
                    Field::SetPending | Field::ClearPending => bank.pending(),
                    Field::SetActive | Field::ClearActive => bank.active | bank.listed,
                }
            }
            Register::Priority(id) => {
                bytes(|i| self.bank(vcpu, id / 32).and_then(|b| b.priority.get(id % 32 + i)).copied())
            }
            // With one vCPU there is nothing to choose (IHI 0048B 4.3.12).
            Register::Targets(_) if self.vcpus == 1 => 0,
            Register::Targets(id) if id < 32 => bytes(|_| Some(vcpu.bit())),
            Register::Targets(id) => bytes(|i| self.targets.get(id / 32 - 1).and_then(|t| t.get(id % 32 + i)).copied()),
            Register::Config(number, upper) => spread(self.bank(vcpu, number)?.edge >> if upper { 16 } else { 0 }),
            Register::SoftwareInterrupt => 0,
            Register::ClearSenders(id) | Register::SetSenders(id) => {
                bytes(|i| self.cpus.get(vcpu.index()).and_then(|c| c.senders.get(id + i)).copied())
            }
            Register::Peripheral2 => PIDR2,
            Register::Unknown => return None,
        })
    }

    /// Writes the bits of `value` that are set in `mask`.
    fn write_word(&mut self, vcpu: VcpuId, register: Register, value: u32, mask: u32) -> Option<()> {
        match register {
            Register::Control => self.groups.0 = (merge(self.groups.0.into(), value, mask) & 3) as u8,
            Register::Type | Register::Implementer | Register::Peripheral2 => {}
            Register::Bits(field, number) => self.write_bits(vcpu, field, number, value, mask)?,
            Register::Priority(id) => {
                for (i, byte) in written(value, mask) {
                    if let Some(p) = self.bank_mut(vcpu, id / 32).and_then(|b| b.priority.get_mut(id % 32 + i)) {
                        *p = byte & PRIORITY_MASK;
                    }
                }
            }
            Register::Targets(id) => {
                // Those of private interrupts are read-only, as are all where there is one vCPU.
                let all = (1u16 << self.vcpus).wrapping_sub(1) as u8;
                let bank = (self.vcpus > 1).then_some(id / 32).and_then(|b| b.checked_sub(1));
                let Some(targets) = bank.and_then(|b| self.targets.get_mut(b)) else { return Some(()) };
                for (i, byte) in written(value, mask) {
                    if let Some(t) = targets.get_mut(id % 32 + i) {
                        *t = byte & all;
                    }
                }
            }
            Register::Config(number, upper) => {
                let shift = if upper { 16 } else { 0 };
                let fixed = if number == 0 && !upper { 0xffff } else { 0 };
                let bank = self.bank_mut(vcpu, number)?;
                let halves = gather(merge(spread(bank.edge >> shift), value, mask)) << shift;
                let changed = 0xffff << shift & !fixed;
                bank.edge = bank.edge & !changed | halves & changed;
            }
            Register::SoftwareInterrupt => {
                if mask == u32::MAX {
                    self.generate(vcpu, value);
                }
            }
            Register::ClearSenders(id) | Register::SetSenders(id) => {
                let set = matches!(register, Register::SetSenders(_));
                let cpu = self.cpus.get_mut(vcpu.index())?;
                for (i, byte) in written(value, mask) {
                    if let Some(senders) = cpu.senders.get_mut(id + i) {
                        *senders = if set { *senders | byte } else { *senders & !byte };
                        let bit = 1 << (id + i);
                        let pending = if *senders != 0 { bit } else { 0 };
                        cpu.private.latch = cpu.private.latch & !bit | pending;
                    }
                }
            }
            Register::Unknown => return None,
        }
        self.touch_all();
        Some(())
    }

    fn write_bits(&mut self, vcpu: VcpuId, field: Field, number: usize, value: u32, mask: u32) -> Option<()> {
        // Software-generated interrupts are always enabled, and pending only by their own registers.
        let fixed = if number == 0 { 0xffff } else { 0 };
        let bank = self.bank_mut(vcpu, number)?;
        match field {
            Field::Group => bank.group = merge(bank.group, value, mask),
            Field::SetEnable => bank.enabled |= value,
            Field::ClearEnable => bank.enabled &= !value | fixed,
            Field::SetPending => bank.latch |= value & !fixed,
            Field::ClearPending => bank.latch &= !value | fixed,
            Field::SetActive => bank.active |= value & !bank.listed,
            Field::ClearActive => bank.active &= !value,
        }
        Some(())
    }

    /// `GICD_SGIR`: makes a software-generated interrupt pending (IHI 0048B 4.3.15).
    fn generate(&mut self, sender: VcpuId, value: u32) {
        let all = (1u16 << self.vcpus).wrapping_sub(1) as u8;
        let targets = match value >> 24 & 3 {
            0 => (value >> 16) as u8 & all,
            1 => all & !sender.bit(),
            2 => sender.bit(),
            _ => return,
        };
        let intid = IntId((value & 0xf) as u8);
        for (i, cpu) in self.cpus.iter_mut().enumerate() {
            if targets >> i & 1 != 0 {
                if let Some(senders) = cpu.senders.get_mut(intid.index()) {
                    *senders |= sender.bit();
                }
                cpu.private.latch |= intid.bit();
            }
        }
    }
}

fn merge(old: u32, value: u32, mask: u32) -> u32 {
    old & !mask | value & mask
}

/// Four bytes, the first in the low bits.
fn bytes(byte: impl Fn(usize) -> Option<u8>) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|i| byte(i).unwrap_or(0)))
}

/// The bytes of `value` that `mask` covers, with their index.
fn written(value: u32, mask: u32) -> impl Iterator<Item = (usize, u8)> {
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
