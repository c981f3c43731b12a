// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What comes out of the machine: things to do outside, and things to tell the operator.

use crate::VcpuId;
use crate::exit::Width;
use crate::life::End;
use crate::psci::Start;
use crate::virtio::DeviceError;
use core::fmt;

/// What is to be done outside the machine, besides injecting interrupts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Effects {
    /// A bit for each vCPU whose virtual timer is to be acknowledged.
    pub timer_acks: u8,
    /// The console's other side is to be told that there is output.
    pub console: bool,
    /// A vCPU to start.
    pub start: Option<Start>,
    /// A bit for each vCPU that waited ([`Resume::Block`]) and goes on.
    pub wakes: u8,
    /// The guest has ended; all its vCPUs are to be stopped.
    pub system: Option<End>,
    /// Something to tell the operator.
    pub event: Option<Event>,
    /// A bit for each virtio slot whose driver domain is to be notified.
    pub notify: u8,
    /// A bit for each vCPU that was held and goes on behind its instruction.
    pub released: u8,
    /// A virtio device keeps something back that the guest may wait for: [`Machine::hurry`] is due soon.
    pub keeps: bool,
}

/// Something that an operator wants to know of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The guest touched an address where nothing is.
    Unmapped {
        /// Guest-physical address.
        gpa: u64,
        /// What it did there.
        access: UnmappedAccess,
        /// Where it was.
        pc: u64,
        /// Whether this is the last such report.
        last: bool,
    },
    /// The guest accessed a device with an instruction that is not emulated.
    Unemulated {
        /// Guest-physical address.
        gpa: u64,
        /// Where it was.
        pc: u64,
        /// Whether this is the last report of an address.
        last: bool,
    },
    /// The guest executed an instruction that traps and means nothing here.
    Undefined {
        /// The syndrome.
        esr: u64,
        /// Where it was.
        pc: u64,
    },
    /// A vCPU stopped for a reason that the VMM does not know.
    Fatal {
        /// Which.
        vcpu: VcpuId,
        /// Where it was.
        pc: u64,
    },
    /// A vCPU takes an exception to where no instruction can be fetched, and so will again and again.
    Lost {
        /// Which.
        vcpu: VcpuId,
        /// Where its exception vectors are.
        pc: u64,
    },
    /// A virtio device cannot go on.
    Virtio {
        /// Its slot.
        slot: usize,
        /// Why.
        error: DeviceError,
    },
}

/// What a guest did where nothing is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UnmappedAccess {
    /// It fetched an instruction.
    Fetch,
    /// It loaded this much.
    Load(Width),
    /// It stored this much.
    Store(Width),
    /// It loaded or stored with an instruction that is not known.
    Undescribed,
    /// It had its translation tables there.
    Walk,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unmapped { gpa, access, pc, last } => {
                match access {
                    UnmappedAccess::Fetch => write!(f, "guest fetched an instruction")?,
                    UnmappedAccess::Load(width) => write!(f, "guest read {} bytes", width.bytes())?,
                    UnmappedAccess::Store(width) => write!(f, "guest wrote {} bytes", width.bytes())?,
                    UnmappedAccess::Undescribed => write!(f, "guest accessed memory")?,
                    UnmappedAccess::Walk => write!(f, "guest had a translation table")?,
                }
                write!(f, " at {gpa:#x}, where nothing is (pc {pc:#x}); it gets an external abort")?;
                if last { f.write_str("; further ones are only counted") } else { Ok(()) }
            }
            Self::Unemulated { gpa, pc, last } => {
                write!(f, "guest accessed the device at {gpa:#x} with an instruction that is not emulated ")?;
                write!(f, "(pc {pc:#x}); it gets an external abort")?;
                if last { f.write_str("; further ones are only counted") } else { Ok(()) }
            }
            Self::Undefined { esr, pc } => {
                write!(
                    f,
                    "guest executed an instruction that nothing emulates (esr {esr:#x}, pc {pc:#x}); it gets an "
                )?;
                f.write_str("undefined instruction exception")
            }
            Self::Fatal { vcpu, pc } => {
                write!(f, "vCPU {} stopped for an unknown reason (pc {pc:#x}); the guest crashes", vcpu.index())
            }
            Self::Lost { vcpu, pc } => {
                write!(f, "vCPU {} has no exception vectors at {pc:#x}; the guest crashes", vcpu.index())
            }
            Self::Virtio { slot, error } => write!(f, "virtio device {slot} needs a reset: {error}"),
        }
    }
}
