// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! What a child or a vCPU stopped at.

use crate::abi;
use crate::message::{MessageInfo, get_mr, set_mr};

/// A fault, decoded from its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An access that the thread's address space does not allow. A vCPU's accesses outside its stage-2 mappings arrive so.
    VmFault {
        /// Address of the instruction.
        ip: u64,
        /// The address it accessed; of a vCPU, guest-physical.
        addr: u64,
        /// Whether it was fetching the instruction.
        prefetch: bool,
        /// The syndrome, ESR_EL2.
        fsr: u64,
    },
    /// A vCPU executed something that traps to the hypervisor: SMC, WFI, system registers.
    Vcpu {
        /// The syndrome, ESR_EL2.
        esr: u64,
    },
    /// A vCPU ended an injected interrupt, or its list registers need service.
    VgicMaintenance {
        /// The list register that was freed, if the kernel names one.
        index: Option<u8>,
    },
    /// A virtual private interrupt of a vCPU (its virtual timer); masked until acknowledged.
    Vppi {
        /// The interrupt.
        irq: u64,
    },
    /// A system call that the kernel does not know; of a vCPU, an HVC. Continue by [`unknown_syscall_reply`].
    UnknownSyscall {
        /// x0 to x7. The number is in x7.
        x: [u64; 8],
        /// Address of the instruction.
        ip: u64,
    },
    /// An exception of the processor, such as an undefined instruction.
    UserException {
        /// Address of the instruction.
        ip: u64,
        /// The syndrome, ESR.
        number: u64,
    },
    /// An invalid capability was used; of a vCPU, an HVC whose x7 is the number of a system call.
    CapFault {
        /// Address of the instruction.
        ip: u64,
        /// The capability's address.
        addr: u64,
        /// Whether it was to receive from.
        in_recv: bool,
    },
    /// A fault of another kind, by its label.
    Other(u64),
}

impl MessageInfo {
    /// Decodes the fault whose message is in the message registers.
    #[inline]
    pub fn fault(self) -> Fault {
        match self.label() {
            abi::FAULT_VM => {
                Fault::VmFault { ip: get_mr(0), addr: get_mr(1), prefetch: get_mr(2) != 0, fsr: get_mr(3) }
            }
            abi::FAULT_VCPU => Fault::Vcpu { esr: get_mr(0) },
            // -1 if the kernel knows no index.
            abi::FAULT_VGIC_MAINTENANCE => Fault::VgicMaintenance { index: u8::try_from(get_mr(0)).ok() },
            abi::FAULT_VPPI => Fault::Vppi { irq: get_mr(0) },
            abi::FAULT_UNKNOWN_SYSCALL => Fault::UnknownSyscall { x: core::array::from_fn(get_mr), ip: get_mr(8) },
            abi::FAULT_USER_EXCEPTION => Fault::UserException { ip: get_mr(0), number: get_mr(3) },
            abi::FAULT_CAP => Fault::CapFault { ip: get_mr(0), addr: get_mr(1), in_recv: get_mr(2) != 0 },
            label => Fault::Other(label),
        }
    }
}

/// The reply to a [`Fault::UnknownSyscall`] that sets x0 to x7 and continues at `pc`: normally the fault's `ip` plus 4.
pub fn unknown_syscall_reply(x: &[u64; 8], pc: u64) -> MessageInfo {
    for (index, value) in x.iter().enumerate() {
        set_mr(index, *value);
    }
    set_mr(8, pc);
    MessageInfo::new(0, 9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_decoded_from_label_and_words() {
        (0..13).for_each(|index| set_mr(index, 0x10 + index as u64));
        for (label, expected) in [
            (abi::FAULT_VM, Fault::VmFault { ip: 0x10, addr: 0x11, prefetch: true, fsr: 0x13 }),
            (abi::FAULT_VCPU, Fault::Vcpu { esr: 0x10 }),
            (abi::FAULT_VGIC_MAINTENANCE, Fault::VgicMaintenance { index: Some(0x10) }),
            (abi::FAULT_VPPI, Fault::Vppi { irq: 0x10 }),
            (
                abi::FAULT_UNKNOWN_SYSCALL,
                Fault::UnknownSyscall { x: [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17], ip: 0x18 },
            ),
            (abi::FAULT_USER_EXCEPTION, Fault::UserException { ip: 0x10, number: 0x13 }),
            (abi::FAULT_CAP, Fault::CapFault { ip: 0x10, addr: 0x11, in_recv: true }),
            (0, Fault::Other(0)),
            (99, Fault::Other(99)),
        ] {
            assert_eq!(MessageInfo::new(label, 4).fault(), expected);
        }
        set_mr(0, u64::MAX);
        let none = Fault::VgicMaintenance { index: None };
        assert_eq!(MessageInfo::new(abi::FAULT_VGIC_MAINTENANCE, 1).fault(), none);
    }

    #[test]
    fn unknown_syscalls_are_answered_with_registers() {
        let info = unknown_syscall_reply(&[1, 2, 3, 4, 5, 6, 7, 8], 0x4004);
        assert_eq!(info, MessageInfo::new(0, 9));
        assert!([1, 2, 3, 4, 5, 6, 7, 8, 0x4004].into_iter().enumerate().all(|(index, word)| get_mr(index) == word));
    }
}
