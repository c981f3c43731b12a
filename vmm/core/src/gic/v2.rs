// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The registers of the GICv2 distributor, without the security extensions (IHI 0048B 4.3).

use super::banks::{Banked, IIDR, Place, bytes, load, merge, store, written};
use super::{BANKS, Gic, IntId};
use crate::exit::Width;
use crate::{MAX_VCPUS, VcpuId};

/// Identification registers 0xfd0 to 0xffc: the bytes of a controller of architecture version 2 (`ICPIDR2`) by Arm.
const IDENTIFICATION: [u8; 12] = [0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// A register that is not [`Banked`], as decoded from its offset.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Register {
    Control,
    Type,
    Implementer,
    /// One byte for each of the four interrupts from this id on.
    Targets(u8),
    SoftwareInterrupt,
    /// One byte of senders for each of the four software-generated interrupts from this id on.
    ClearSenders(u8),
    SetSenders(u8),
    Identification(u8),
    /// Reads as zero and ignores writes: of interrupts that do not exist, or `GICD_NSACR` without security extensions.
    Zero,
    Unknown,
}

impl Register {
    /// The register at `offset`, which is a multiple of four.
    fn decode(offset: usize) -> Self {
        match offset {
            0x000 => Self::Control,
            0x004 => Self::Type,
            0x008 => Self::Implementer,
            0x800..0xbfc if (offset - 0x800) / 32 < BANKS => Self::Targets((offset - 0x800) as u8),
            0x800..0xbfc | 0xe00..0xf00 => Self::Zero,
            0xf00 => Self::SoftwareInterrupt,
            0xf10..0xf20 => Self::ClearSenders((offset - 0xf10) as u8),
            0xf20..0xf30 => Self::SetSenders((offset - 0xf20) as u8),
            0xfd0..0x1000 => Self::Identification(((offset - 0xfd0) / 4) as u8),
            _ => Self::Unknown,
        }
    }
}

/// Whether an access is that of one register, as most are.
fn is_one_word(width: Width, offset: u64) -> bool {
    width == Width::Word && offset.is_multiple_of(4)
}

impl Gic {
    /// A load of `width` at `offset` in GICv2's distributor by `vcpu`; `None` where there is no register.
    pub fn read_v2(&self, vcpu: VcpuId, offset: u64, width: Width) -> Option<u64> {
        if is_one_word(width, offset) {
            return self.read_v2_word(vcpu, offset as usize).map(u64::from);
        }
        self.read_v2_parts(vcpu, offset, width)
    }

    #[inline(never)]
    fn read_v2_parts(&self, vcpu: VcpuId, offset: u64, width: Width) -> Option<u64> {
        load(width, offset, |offset| self.read_v2_word(vcpu, offset as usize))
    }

    /// A store of `width` at `offset` in GICv2's distributor by `vcpu`; `None` where there is no register.
    pub fn write_v2(&mut self, vcpu: VcpuId, offset: u64, width: Width, value: u64) -> Option<()> {
        if is_one_word(width, offset) {
            return self.write_v2_word(vcpu, offset as usize, value as u32, u32::MAX);
        }
        self.write_v2_parts(vcpu, offset, width, value)
    }

    #[inline(never)]
    fn write_v2_parts(&mut self, vcpu: VcpuId, offset: u64, width: Width, value: u64) -> Option<()> {
        store(width, offset, value, |offset, value, mask| self.write_v2_word(vcpu, offset as usize, value, mask))
    }

    /// The register at `offset`, which is a multiple of four.
    #[inline(never)]
    fn read_v2_word(&self, vcpu: VcpuId, offset: usize) -> Option<u32> {
        match Banked::decode(offset) {
            Some(Place::Here(register)) => Some(self.read_banked(vcpu, register)),
            Some(Place::Absent) => Some(0),
            None => self.read_v2_other(vcpu, offset),
        }
    }

    #[inline(never)]
    fn read_v2_other(&self, vcpu: VcpuId, offset: usize) -> Option<u32> {
        let register = Register::decode(offset);
        Some(match register {
            Register::Control => self.groups.0.into(),
            // ITLinesNumber and CPUNumber.
            Register::Type => (BANKS - 1) as u32 | ((self.vcpus - 1) as u32) << 5,
            Register::Implementer => IIDR,
            // With one vCPU there is nothing to choose (IHI 0048B 4.3.12).
            Register::Targets(_) if self.vcpus == 1 => 0,
            Register::Targets(id) if id < 32 => bytes(|_| vcpu.bit()),
            Register::Targets(id) => {
                let id = usize::from(id);
                bytes(|i| self.targets.get(id / 32 - 1).and_then(|t| t.get(id % 32 + i)).copied().unwrap_or(0))
            }
            Register::SoftwareInterrupt | Register::Zero => 0,
            Register::ClearSenders(id) | Register::SetSenders(id) => {
                bytes(|i| self.cpus[vcpu.index()].senders.get(usize::from(id) + i).copied().unwrap_or(0))
            }
            Register::Identification(n) => IDENTIFICATION.get(usize::from(n)).copied().unwrap_or(0).into(),
            Register::Unknown => return None,
        })
    }

    /// Writes the bits of `value` that are set in `mask` to the register at `offset`, which is a multiple of four.
    #[inline(never)]
    fn write_v2_word(&mut self, vcpu: VcpuId, offset: usize, value: u32, mask: u32) -> Option<()> {
        match Banked::decode(offset) {
            Some(Place::Here(register)) => {
                // Otherwise nothing can be delivered that could not be before.
                if self.write_banked(vcpu, register, value, mask) {
                    self.touch_all();
                }
                Some(())
            }
            Some(Place::Absent) => Some(()),
            None => self.write_v2_other(vcpu, offset, value, mask),
        }
    }

    #[inline(never)]
    fn write_v2_other(&mut self, vcpu: VcpuId, offset: usize, value: u32, mask: u32) -> Option<()> {
        let register = Register::decode(offset);
        match register {
            Register::Control => self.groups.0 = (merge(self.groups.0.into(), value, mask) & 3) as u8,
            Register::Type | Register::Implementer | Register::Identification(_) | Register::Zero => {}
            Register::Targets(id) => {
                // Those of private interrupts are read-only, as are all where there is one vCPU.
                let (id, all) = (usize::from(id), self.all());
                let bank = (self.vcpus > 1).then_some(id / 32).and_then(|b| b.checked_sub(1));
                let Some(targets) = bank.and_then(|b| self.targets.get_mut(b)) else { return Some(()) };
                for (i, byte) in written(value, mask) {
                    if let Some(t) = targets.get_mut(id % 32 + i) {
                        *t = byte & all;
                    }
                }
            }
            Register::SoftwareInterrupt => {
                if mask == u32::MAX {
                    self.generate(vcpu, value);
                }
            }
            Register::ClearSenders(id) | Register::SetSenders(id) => {
                let (id, set, all) = (usize::from(id), matches!(register, Register::SetSenders(_)), self.all());
                let cpu = &mut self.cpus[vcpu.index()];
                for (i, byte) in written(value, mask) {
                    if let Some(senders) = cpu.senders.get_mut(id + i) {
                        *senders = if set { *senders | byte & all } else { *senders & !byte };
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

    /// `GICD_SGIR`: makes a software-generated interrupt pending (IHI 0048B 4.3.15).
    fn generate(&mut self, sender: VcpuId, value: u32) {
        let targets = match value >> 24 & 3 {
            0 => (value >> 16) as u8 & self.all(),
            1 => self.all() & !sender.bit(),
            2 => sender.bit(),
            _ => return,
        };
        let intid = IntId((value & 0xf) as u8);
        let mut rest = targets;
        while rest != 0 {
            let cpu = &mut self.cpus[rest.trailing_zeros() as usize % MAX_VCPUS];
            rest &= rest - 1;
            cpu.senders[intid.index() % 16] |= sender.bit();
            cpu.private.latch |= intid.bit();
        }
    }
}
