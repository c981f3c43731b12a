// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The registers of GICv3 with affinity routing and one security state, without LPIs: the distributor (IHI 0069H 12.9),
//! the redistributors (12.11) and the system registers that generate interrupts (12.2).

use super::banks::{Banked, IIDR, Place, load, merge, store};
use super::{BANKS, Gic};
use crate::VcpuId;
use crate::exit::Width;

/// Size of one vCPU's redistributor: a frame of control registers and one of private interrupts.
pub const REDISTRIBUTOR_SIZE: u64 = 2 * FRAME;
/// Size of a frame.
const FRAME: u64 = 0x1_0000;

/// `GICD_CTLR`: `ARE` and `DS`, both fixed.
const AFFINITY_ROUTING: u32 = 1 << 4;
const ONE_SECURITY_STATE: u32 = 1 << 6;
/// `GICD_TYPER`: `A3V`, and an `IDbits` of 10.
const ANY_AFFINITY_3: u32 = 1 << 24;
const ID_BITS: u32 = 9 << 19;
/// `GICD_IROUTER.Interrupt_Routing_Mode`: any vCPU.
const ANY: u64 = 1 << 31;
/// `GICD_IROUTER`: the mode and the four affinity fields.
const ROUTER: u64 = 0xff_80ff_ffff;
/// `GICR_TYPER.Last`: no redistributor follows.
const LAST: u64 = 1 << 4;
/// `GICR_WAKER`: `ProcessorSleep`, and `ChildrenAsleep`, which follows it.
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;

/// Identification registers 0xffd0 to 0xfffc of the distributor and of a redistributor, which differ in the part number:
/// architecture version 3 (`PIDR2`), by Arm.
const DISTRIBUTOR_IDENTIFICATION: [u8; 12] = [0x44, 0, 0, 0, 0x92, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];
const REDISTRIBUTOR_IDENTIFICATION: [u8; 12] = [0x44, 0, 0, 0, 0x93, 0xb4, 0x3b, 0, 0x0d, 0xf0, 0x05, 0xb1];

/// A system register that generates interrupts, as decoded from a trap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Generator {
    /// `ICC_SGI0R_EL1`: interrupts of group 0.
    Group0,
    /// `ICC_SGI1R_EL1`: interrupts of group 1.
    Group1,
    /// `ICC_ASGI1R_EL1`: interrupts of the other security state, of which there is none.
    Other,
}

impl Generator {
    /// The register that `ISS` of a trapped MSR names (Arm ARM, `ESR_EL2`, EC 0x18).
    #[must_use]
    pub fn decode(iss: u64) -> Option<Self> {
        // Op0, Op2, Op1, CRn, CRm and the direction; not Rt.
        match iss & 0x3f_fc1f {
            iss if iss == write_to(3, 0, 12, 11, 5) => Some(Self::Group1),
            iss if iss == write_to(3, 0, 12, 11, 6) => Some(Self::Other),
            iss if iss == write_to(3, 0, 12, 11, 7) => Some(Self::Group0),
            _ => None,
        }
    }
}

/// `ISS` of a write to a system register from x0.
const fn write_to(op0: u64, op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | crm << 1
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Register {
    Control,
    Type,
    Implementer,
    Banked(Banked),
    /// Of shared interrupt 32 + n; whether its upper half.
    Router(usize, bool),
    Identification(usize),
    Zero,
    Unknown,
}

impl Register {
    /// The distributor's register at `offset`, which is a multiple of four.
    fn decode(offset: u64) -> Self {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        match offset {
            0x0000 => Self::Control,
            0x0004 => Self::Type,
            0x0008 => Self::Implementer,
            // GICD_TYPER2 and GICD_STATUSR: nothing optional is there, and no error is reported.
            0x000c | 0x0010 => Self::Zero,
            // GICD_ITARGETSR, _IGRPMODR, _NSACR, _SGIR, _CPENDSGIR, _SPENDSGIR: reserved with affinity routing, or with one
            // security state.
            0x0800..0x0c00 | 0x0d00..0x0d80 | 0x0e00..0x0f30 => Self::Zero,
            0x6100..0x7fe0 if offset - 0x6000 < BANKS * 32 * 8 => Self::Router((offset - 0x6100) / 8, offset & 4 != 0),
            0x6000..0x7fe0 => Self::Zero,
            0xffd0..0x1_0000 => Self::Identification((offset - 0xffd0) / 4),
            _ => match Banked::decode(offset) {
                // The redistributors have those of private interrupts.
                Some(Place::Here(register)) if !register.is_private() => Self::Banked(register),
                Some(_) => Self::Zero,
                None => Self::Unknown,
            },
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Private {
    Implementer,
    /// The upper half: the affinity.
    Type(bool),
    Waker,
    Banked(Banked),
    Identification(usize),
    Zero,
    Unknown,
}

impl Private {
    /// The register at `offset`, which is a multiple of four, in a redistributor's two frames.
    fn decode(offset: u64) -> Self {
        let in_frame = usize::try_from(offset % FRAME).unwrap_or(usize::MAX);
        let control = offset < FRAME;
        match in_frame {
            0x0004 if control => Self::Implementer,
            0x0008 if control => Self::Type(false),
            0x000c if control => Self::Type(true),
            0x0014 if control => Self::Waker,
            // GICR_CTLR without LPIs, GICR_STATUSR.
            0x0000 | 0x0010 if control => Self::Zero,
            0xffd0..0x1_0000 => Self::Identification((in_frame - 0xffd0) / 4),
            // GICR_IGRPMODR0 and GICR_NSACR with one security state.
            0x0d00 | 0x0e00 if !control => Self::Zero,
            _ if control => Self::Unknown,
            _ => match Banked::decode(in_frame) {
                Some(Place::Here(register)) if register.is_private() => Self::Banked(register),
                Some(_) => Self::Zero,
                None => Self::Unknown,
            },
        }
    }
}

impl Gic {
    /// A load of `width` at `offset` in GICv3's distributor by `vcpu`; `None` where there is no register.
    pub fn read_v3(&self, vcpu: VcpuId, offset: u64, width: Width) -> Option<u64> {
        load(width, offset, |offset| self.read_v3_word(vcpu, Register::decode(offset)))
    }

    /// A store of `width` at `offset` in GICv3's distributor by `vcpu`; `None` where there is no register.
    pub fn write_v3(&mut self, vcpu: VcpuId, offset: u64, width: Width, value: u64) -> Option<()> {
        store(width, offset, value, |offset, value, mask| {
            self.write_v3_word(vcpu, Register::decode(offset), value, mask)
        })
    }

    /// A load of `width` at `offset` in the redistributors; `None` where there is no register.
    pub fn read_redistributor(&self, offset: u64, width: Width) -> Option<u64> {
        let owner = self.owner(offset)?;
        load(width, offset % REDISTRIBUTOR_SIZE, |offset| self.read_private(owner, Private::decode(offset)))
    }

    /// A store of `width` at `offset` in the redistributors; `None` where there is no register.
    pub fn write_redistributor(&mut self, offset: u64, width: Width, value: u64) -> Option<()> {
        let owner = self.owner(offset)?;
        store(width, offset % REDISTRIBUTOR_SIZE, value, |offset, value, mask| {
            self.write_private(owner, Private::decode(offset), value, mask)
        })
    }

    /// A write of `value` to `generator` by `sender` (IHI 0069H, `ICC_SGI1R_EL1`).
    pub fn generate_v3(&mut self, sender: VcpuId, generator: Generator, value: u64) {
        let group1 = match generator {
            Generator::Group0 => false,
            Generator::Group1 => true,
            Generator::Other => return,
        };
        let bit = 1 << (value >> 24 & 0xf);
        let targets = if value >> 40 & 1 != 0 {
            self.all() & !sender.bit()
        } else if value >> 16 & 0xff != 0
            || value >> 32 & 0xff != 0
            || value >> 48 & 0xff != 0
            || value >> 44 & 0xf != 0
        {
            // All vCPUs have an affinity of zero but for the lowest field, which is below 16.
            0
        } else {
            value as u8 & self.all()
        };
        for (i, cpu) in self.cpus.iter_mut().enumerate() {
            // An interrupt of the other group is not generated.
            if targets >> i & 1 != 0 && (cpu.private.group & bit != 0) == group1 {
                cpu.private.latch |= bit;
                self.dirty |= 1 << i;
            }
        }
    }

    /// Whose redistributor `offset` lies in.
    fn owner(&self, offset: u64) -> Option<VcpuId> {
        let index = usize::try_from(offset / REDISTRIBUTOR_SIZE).ok()?;
        VcpuId::new(index).filter(|_| index < self.vcpus)
    }

    fn read_v3_word(&self, vcpu: VcpuId, register: Register) -> Option<u32> {
        Some(match register {
            Register::Control => u32::from(self.groups.0) | AFFINITY_ROUTING | ONE_SECURITY_STATE,
            Register::Type => (BANKS - 1) as u32 | ID_BITS | ANY_AFFINITY_3,
            Register::Implementer => IIDR,
            Register::Banked(register) => self.read_banked_v3(vcpu, register),
            Register::Router(n, upper) => {
                let router = self.routers.get(n / 32).and_then(|r| r.get(n % 32)).copied().unwrap_or(0);
                (if upper { router >> 32 } else { router }) as u32
            }
            Register::Identification(n) => DISTRIBUTOR_IDENTIFICATION.get(n).copied().unwrap_or(0).into(),
            Register::Zero => 0,
            Register::Unknown => return None,
        })
    }

    fn write_v3_word(&mut self, vcpu: VcpuId, register: Register, value: u32, mask: u32) -> Option<()> {
        match register {
            Register::Control => self.groups.0 = (merge(self.groups.0.into(), value, mask) & 3) as u8,
            Register::Banked(register) => self.write_banked_v3(vcpu, register, value, mask),
            Register::Router(n, upper) => {
                let all = self.all();
                let router = self.routers.get_mut(n / 32)?.get_mut(n % 32)?;
                let shift = if upper { 32 } else { 0 };
                *router = (*router & !(u64::from(mask) << shift) | u64::from(value & mask) << shift) & ROUTER;
                let target = if *router & ANY != 0 { all } else { target(*router) & all };
                *self.targets.get_mut(n / 32)?.get_mut(n % 32)? = target;
            }
            Register::Type | Register::Implementer | Register::Identification(_) | Register::Zero => {}
            Register::Unknown => return None,
        }
        self.touch_all();
        Some(())
    }

    #[inline(never)]
    fn read_banked_v3(&self, vcpu: VcpuId, register: Banked) -> u32 {
        self.read_banked(vcpu, register)
    }

    #[inline(never)]
    fn write_banked_v3(&mut self, vcpu: VcpuId, register: Banked, value: u32, mask: u32) {
        self.write_banked(vcpu, register, value, mask);
    }

    fn read_private(&self, owner: VcpuId, register: Private) -> Option<u32> {
        Some(match register {
            Private::Implementer => IIDR,
            Private::Type(true) => owner.index() as u32,
            Private::Type(false) => {
                let last = if owner.index() + 1 == self.vcpus { LAST } else { 0 };
                (last | (owner.index() as u64) << 8) as u32
            }
            Private::Waker => {
                let asleep = self.cpus[owner.index()].asleep;
                if asleep { PROCESSOR_SLEEP | CHILDREN_ASLEEP } else { 0 }
            }
            Private::Banked(register) => self.read_banked_v3(owner, register),
            Private::Identification(n) => REDISTRIBUTOR_IDENTIFICATION.get(n).copied().unwrap_or(0).into(),
            Private::Zero => 0,
            Private::Unknown => return None,
        })
    }

    fn write_private(&mut self, owner: VcpuId, register: Private, value: u32, mask: u32) -> Option<()> {
        match register {
            Private::Waker => {
                if mask & PROCESSOR_SLEEP != 0 {
                    self.cpus[owner.index()].asleep = value & PROCESSOR_SLEEP != 0;
                }
            }
            Private::Banked(register) => self.write_banked_v3(owner, register, value, mask),
            Private::Implementer | Private::Type(_) | Private::Identification(_) | Private::Zero => {}
            Private::Unknown => return None,
        }
        self.dirty |= owner.bit();
        Some(())
    }
}

/// The bit of the vCPU with the affinity of `router`, if a guest can have it.
fn target(router: u64) -> u8 {
    let affinity = router & ROUTER & !ANY;
    usize::try_from(affinity).ok().and_then(VcpuId::new).map_or(0, VcpuId::bit)
}
