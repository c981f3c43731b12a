// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Virtual CPUs of this PD's virtual machine.

use crate::abi;
use crate::message::{Error, MessageInfo};
use crate::sys;
use crate::tcb::{Child, Tcb};

/// A vCPU, by the id that the system file gives it.
///
/// On a kernel for several cores, registers of a vCPU on another core can be read and written only in part: see the kernel's
/// manual and `docs/limits.md`. Injection works across cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vcpu(u8);

impl Vcpu {
    /// The vCPU with this id.
    ///
    /// # Panics
    ///
    /// If `index` is above 61, the largest id of the Microkit.
    pub const fn new(index: usize) -> Self {
        assert!(index < abi::ID_COUNT, "vCPU ids are 0 to 61");
        Self(index as u8)
    }

    /// The id.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The thread that executes the vCPU: its general registers, and whether it runs.
    pub const fn tcb(self) -> Tcb {
        Tcb::from_slot(abi::VCPU_TCBS + self.0 as u64)
    }

    /// Writes list register `index` of the vCPU's interrupt controller: `virq` (below 1024) becomes pending with `priority`
    /// (below 32, 0 is highest) in `group` (0 or 1), and its end of interrupt is a fault.
    ///
    /// The kernel overwrites a pending interrupt in that list register without a word.
    ///
    /// # Errors
    ///
    /// [`Error::RangeError`] for an argument out of range: the way to find how many list registers there are.
    /// [`Error::DeleteFirst`] if the list register holds an active interrupt.
    #[inline]
    pub fn inject_irq(self, virq: u16, priority: u8, group: u8, index: u8) -> Result<(), Error> {
        let word = injection(virq, priority, group, index);
        sys::call(self.slot(), MessageInfo::new(abi::VCPU_INJECT_IRQ, 1), [word, 0, 0, 0]).info.into_result()
    }

    /// Acknowledges a virtual private interrupt (that of the virtual timer, 27), which unmasks it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] or [`Error::RangeError`] if `irq` is not one.
    #[inline]
    pub fn ack_vppi(self, irq: u64) -> Result<(), Error> {
        sys::call(self.slot(), MessageInfo::new(abi::VCPU_ACK_VPPI, 1), [irq, 0, 0, 0]).info.into_result()
    }

    /// Reads a system register of the vCPU.
    #[inline]
    pub fn read_reg(self, register: VcpuReg) -> Result<u64, Error> {
        let reply = sys::call(self.slot(), MessageInfo::new(abi::VCPU_READ_REG, 1), [register as u64, 0, 0, 0]);
        reply.info.into_result().map(|()| reply.words[0])
    }

    /// Writes a system register of the vCPU.
    #[inline]
    pub fn write_reg(self, register: VcpuReg, value: u64) -> Result<(), Error> {
        let words = [register as u64, value, 0, 0];
        sys::call(self.slot(), MessageInfo::new(abi::VCPU_WRITE_REG, 2), words).info.into_result()
    }

    pub(crate) const fn slot(self) -> u64 {
        abi::VCPUS + self.0 as u64
    }
}

/// The vCPU of a fault. Only the system file says whether an id is a vCPU's or a child PD's.
impl From<Child> for Vcpu {
    fn from(child: Child) -> Self {
        Self::new(child.index())
    }
}

/// The argument of an injection, as `seL4_ARM_VCPU_InjectIRQ` packs it.
#[inline]
pub(crate) const fn injection(virq: u16, priority: u8, group: u8, index: u8) -> u64 {
    virq as u64 | (priority as u64) << 16 | (group as u64) << 24 | (index as u64) << 32
}

/// The system registers of a vCPU that the kernel gives access to (`seL4_VCPUReg`), by their architectural names at EL1 unless
/// the name says otherwise. No configuration changes their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub enum VcpuReg {
    Sctlr = 0,
    Cpacr = 1,
    Ttbr0 = 2,
    Ttbr1 = 3,
    Tcr = 4,
    Mair = 5,
    Amair = 6,
    Contextidr = 7,
    Actlr = 8,
    Afsr0 = 9,
    Afsr1 = 10,
    Esr = 11,
    Far = 12,
    Par = 13,
    Vbar = 14,
    Tpidr = 15,
    VmpidrEl2 = 16,
    Sp = 17,
    Elr = 18,
    Spsr = 19,
    CntvCtl = 20,
    CntvCval = 21,
    Cntvoff = 22,
    Cntkctl = 23,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Call, answer, calls};

    #[test]
    fn invocations_are_marshalled_as_the_kernel_reads_them() {
        let vcpu = Vcpu::new(1);
        calls();
        vcpu.inject_irq(0x3ff, 31, 1, 3).unwrap();
        vcpu.ack_vppi(27).unwrap();
        vcpu.write_reg(VcpuReg::CntvCval, 0x1234).unwrap();
        answer(0, MessageInfo::new(0, 1), [0xabcd, 0, 0, 0]);
        assert_eq!(vcpu.read_reg(VcpuReg::Cntkctl), Ok(0xabcd));
        let call = |label, count, words| Call(abi::SYS_CALL, 331, MessageInfo::new(label, count), words);
        assert_eq!(
            calls(),
            [
                call(abi::VCPU_INJECT_IRQ, 1, [0x3_011f_03ff, 0, 0, 0]),
                call(abi::VCPU_ACK_VPPI, 1, [27, 0, 0, 0]),
                call(abi::VCPU_WRITE_REG, 2, [21, 0x1234, 0, 0]),
                call(abi::VCPU_READ_REG, 1, [23, 0, 0, 0]),
            ]
        );
        answer(0, MessageInfo::new(8, 0), [0; 4]);
        assert_eq!(vcpu.inject_irq(5, 0, 1, 0), Err(Error::DeleteFirst));
        answer(0, MessageInfo::new(1, 0), [5; 4]);
        assert_eq!(vcpu.read_reg(VcpuReg::Sctlr), Err(Error::InvalidArgument));
        assert_eq!(vcpu.tcb(), Tcb::from_slot(267));
        assert_eq!(Vcpu::from(Child::new(1)), vcpu);
    }
}
