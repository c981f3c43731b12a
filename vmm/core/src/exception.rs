// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Exceptions that the guest takes at its EL1 instead of what it asked for (Arm ARM D1.3.1, D1.3.3).

use crate::exit::{Reg, Regs, SysReg, class};

/// The processor state fields that taking an exception to EL1 reads or writes.
mod pstate {
    pub const FLAGS: u64 = 0xf << 28;
    pub const DIT: u64 = 1 << 24;
    pub const PAN: u64 = 1 << 22;
    pub const SSBS: u64 = 1 << 12;
    pub const DAIF: u64 = 0xf << 6;
    pub const AARCH32: u64 = 1 << 4;
    pub const EL1H: u64 = 0b0101;
    pub const MODE: u64 = 0b1111;
    pub const EL0T: u64 = 0b0000;
    pub const EL1T: u64 = 0b0100;
}

/// `SCTLR_EL1.SPAN`: taking an exception leaves `PSTATE.PAN` alone.
const SCTLR_SPAN: u64 = 1 << 23;
/// `SCTLR_EL1.DSSBS`: what taking an exception makes of `PSTATE.SSBS`.
const SCTLR_DSSBS: u64 = 1 << 44;

/// `FnV`: `FAR_EL1` is not valid.
const FAR_NOT_VALID: u64 = 1 << 10;
/// `IL`: a 32-bit instruction.
const IL: u64 = 1 << 25;
/// `WnR`: the abort was on a write.
const WRITE: u64 = 1 << 6;

/// What the guest is to take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exception {
    /// An abort of a load or store.
    DataAbort {
        /// What went wrong.
        fault: Fault,
        /// The virtual address, where it is known: seL4 does not tell it.
        va: Option<u64>,
        /// Whether it was a store.
        write: bool,
    },
    /// An abort of an instruction fetch.
    InstructionAbort(Fault),
    /// An undefined instruction.
    Undefined,
}

/// Why an access aborts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A synchronous external abort, as an address without a device gives on hardware.
    External,
    /// The same, on the descriptor at this level (0 to 3) of a walk of the guest's own tables.
    ExternalOnWalk(u32),
    /// An exclusive or atomic access to what does not support it.
    Unsupported,
}

impl Fault {
    /// `DFSC` or `IFSC` (Arm ARM, `ESR_EL1`).
    fn status(self) -> u64 {
        match self {
            Self::External => 0b01_0000,
            Self::ExternalOnWalk(level) => 0b01_0100 | u64::from(level & 3),
            Self::Unsupported => 0b11_0101,
        }
    }
}

/// Makes the vCPU take `exception` at its EL1: sets the syndrome, the return state, the vector and the processor state.
/// The vCPU then goes on at its program counter ([`Retry`](crate::Resume::Retry)).
pub fn take(exception: Exception, regs: &mut impl Regs) {
    let pc = regs.get(Reg::Pc);
    let spsr = regs.get(Reg::Spsr);
    let sctlr = regs.get(Reg::Sys(SysReg::Sctlr));
    let lower = spsr & pstate::AARCH32 != 0 || spsr & pstate::MODE == pstate::EL0T;

    let esr = match exception {
        Exception::Undefined => class::UNKNOWN << 26,
        Exception::InstructionAbort(fault) => {
            regs.set(Reg::Sys(SysReg::Far), pc);
            let ec = if lower { class::INSTRUCTION_ABORT_LOWER } else { class::INSTRUCTION_ABORT_SAME };
            ec << 26 | fault.status()
        }
        Exception::DataAbort { fault, va, write } => {
            let ec = if lower { class::DATA_ABORT_LOWER } else { class::DATA_ABORT_SAME };
            // Only a plain external abort can leave the address open.
            let (status, not_valid) = match va {
                Some(va) => {
                    regs.set(Reg::Sys(SysReg::Far), va);
                    (fault.status(), 0)
                }
                None => (Fault::External.status(), FAR_NOT_VALID),
            };
            ec << 26 | status | not_valid | if write { WRITE } else { 0 }
        }
    };
    regs.set(Reg::Sys(SysReg::Esr), esr | IL);
    regs.set(Reg::Sys(SysReg::Elr), pc);
    regs.set(Reg::Sys(SysReg::Spsr), spsr);

    let offset = if spsr & pstate::AARCH32 != 0 {
        0x600
    } else {
        match spsr & pstate::MODE {
            pstate::EL0T => 0x400,
            pstate::EL1T => 0x000,
            _ => 0x200,
        }
    };
    let vector = regs.get(Reg::Sys(SysReg::Vbar)).wrapping_add(offset);
    regs.set(Reg::Pc, vector);
    let pan = if sctlr & SCTLR_SPAN == 0 { pstate::PAN } else { spsr & pstate::PAN };
    let ssbs = if sctlr & SCTLR_DSSBS == 0 { 0 } else { pstate::SSBS };
    regs.set(Reg::Spsr, spsr & (pstate::FLAGS | pstate::DIT) | pan | ssbs | pstate::DAIF | pstate::EL1H);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::FakeRegs;

    const VBAR: u64 = 0xffff_8000_0801_0000;

    fn regs(spsr: u64, sctlr: u64) -> FakeRegs {
        let mut regs = FakeRegs::default();
        for (reg, value) in [
            (Reg::Pc, 0x1234),
            (Reg::Spsr, spsr),
            (Reg::Sys(SysReg::Sctlr), sctlr),
            (Reg::Sys(SysReg::Vbar), VBAR),
            (Reg::Sys(SysReg::Far), 0xfa),
        ] {
            regs.set(reg, value);
        }
        regs
    }

    #[test]
    fn the_vector_and_the_class_depend_on_where_the_guest_was() {
        let abort = Exception::DataAbort { fault: Fault::External, va: Some(0xdead_0000), write: true };
        let fetch = Exception::InstructionAbort(Fault::External);
        // (SPSR, exception, vector offset, EC)
        let cases = [
            (0x3c5, abort, 0x200, 0x25),
            (0x3c4, abort, 0x000, 0x25),
            (0x000, abort, 0x400, 0x24),
            (0x010, abort, 0x600, 0x24),
            (0x1f0, abort, 0x600, 0x24),
            (0x3c5, fetch, 0x200, 0x21),
            (0x000, fetch, 0x400, 0x20),
            (0x010, fetch, 0x600, 0x20),
            (0x3c5, Exception::Undefined, 0x200, 0x00),
            (0x000, Exception::Undefined, 0x400, 0x00),
        ];
        for (spsr, exception, offset, ec) in cases {
            let mut regs = regs(spsr, 0);
            take(exception, &mut regs);
            assert_eq!(regs.get(Reg::Pc), VBAR + offset, "{exception:?} from {spsr:#x}");
            assert_eq!(regs.get(Reg::Sys(SysReg::Esr)) >> 26, ec, "{exception:?} from {spsr:#x}");
            assert_eq!(regs.get(Reg::Sys(SysReg::Elr)), 0x1234);
            assert_eq!(regs.get(Reg::Sys(SysReg::Spsr)), spsr);
        }
    }

    #[test]
    fn syndromes_and_addresses_say_what_is_known() {
        let data = |fault, va, write| Exception::DataAbort { fault, va, write };
        // (exception, ESR without EC and IL, FAR)
        let cases = [
            (data(Fault::External, Some(0xdead), false), 0x10, 0xdead),
            (data(Fault::External, Some(0xdead), true), 0x50, 0xdead),
            (data(Fault::External, None, true), 0x450, 0xfa),
            (data(Fault::ExternalOnWalk(2), Some(0xdead), false), 0x16, 0xdead),
            (data(Fault::ExternalOnWalk(2), None, false), 0x410, 0xfa),
            (data(Fault::Unsupported, Some(0xdead), true), 0x75, 0xdead),
            (Exception::InstructionAbort(Fault::External), 0x10, 0x1234),
            (Exception::InstructionAbort(Fault::ExternalOnWalk(3)), 0x17, 0x1234),
            (Exception::Undefined, 0, 0xfa),
        ];
        for (exception, esr, far) in cases {
            let mut regs = regs(0x3c5, 1);
            take(exception, &mut regs);
            assert_eq!(regs.get(Reg::Sys(SysReg::Esr)) & 0x1ff_ffff, esr, "{exception:?}");
            assert_eq!(regs.get(Reg::Sys(SysReg::Far)), far, "{exception:?}");
        }
    }

    #[test]
    fn interrupts_are_masked_flags_kept_and_pan_follows_sctlr() {
        let cases = [
            (0, 0x6000_0005, 0x6040_03c5),
            (SCTLR_SPAN, 0x6000_0005, 0x6000_03c5),
            (SCTLR_SPAN, 0x7140_0000, 0x7140_03c5),
            (SCTLR_SPAN, 0x00a0_1c05, 0x0000_03c5),
            (SCTLR_SPAN | SCTLR_DSSBS, 0x0000_0005, 0x0000_13c5),
        ];
        for (sctlr, spsr, new) in cases {
            let mut regs = regs(spsr, sctlr);
            take(Exception::Undefined, &mut regs);
            assert_eq!(regs.get(Reg::Spsr), new);
        }
    }
}
