// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Exceptions that the guest takes at its EL1 instead of what it asked for (Arm ARM D1.3.1, D1.3.3).

use crate::exit::{Reg, Regs, SysReg, class};

/// The processor state fields that taking an exception to EL1 reads or writes.
mod pstate {
    pub const FLAGS: u64 = 0xf << 28;
    pub const DIT: u64 = 1 << 24;
    pub const PAN: u64 = 1 << 22;
    pub const DAIF: u64 = 0xf << 6;
    pub const AARCH32: u64 = 1 << 4;
    pub const EL1H: u64 = 0b0101;
    pub const MODE: u64 = 0b1111;
    pub const EL0T: u64 = 0b0000;
    pub const EL1T: u64 = 0b0100;
}

/// `SCTLR_EL1.M`: address translation is on.
const SCTLR_M: u64 = 1;
/// `SCTLR_EL1.SPAN`: taking an exception leaves `PSTATE.PAN` alone.
const SCTLR_SPAN: u64 = 1 << 23;

/// Syndrome of a synchronous external abort, not on a translation table walk.
const EXTERNAL_ABORT: u64 = 0b01_0000;
/// `FnV`: `FAR_EL1` is not valid.
const FAR_NOT_VALID: u64 = 1 << 10;
/// `IL`: a 32-bit instruction.
const IL: u64 = 1 << 25;
/// `WnR`: the abort was on a write.
const WRITE: u64 = 1 << 6;

/// What the guest is to take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exception {
    /// A synchronous external abort on a load or store, as an address without a device gives on hardware.
    DataAbort {
        /// The guest-physical address. The guest sees it only while its address translation is off; seL4 does not tell
        /// the virtual one.
        gpa: u64,
        /// Whether it was a store.
        write: bool,
    },
    /// A synchronous external abort on an instruction fetch.
    InstructionAbort,
    /// An undefined instruction.
    Undefined,
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
        Exception::InstructionAbort => {
            regs.set(Reg::Sys(SysReg::Far), pc);
            let ec = if lower { class::INSTRUCTION_ABORT_LOWER } else { class::INSTRUCTION_ABORT_SAME };
            ec << 26 | EXTERNAL_ABORT
        }
        Exception::DataAbort { gpa, write } => {
            let ec = if lower { class::DATA_ABORT_LOWER } else { class::DATA_ABORT_SAME };
            let far = if sctlr & SCTLR_M == 0 {
                regs.set(Reg::Sys(SysReg::Far), gpa);
                0
            } else {
                FAR_NOT_VALID
            };
            ec << 26 | EXTERNAL_ABORT | far | if write { WRITE } else { 0 }
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
    regs.set(Reg::Spsr, spsr & (pstate::FLAGS | pstate::DIT) | pan | pstate::DAIF | pstate::EL1H);
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
        let abort = Exception::DataAbort { gpa: 0xdead_0000, write: true };
        // (SPSR, exception, vector offset, EC)
        let cases = [
            (0x3c5, abort, 0x200, 0x25),
            (0x3c4, abort, 0x000, 0x25),
            (0x000, abort, 0x400, 0x24),
            (0x010, abort, 0x600, 0x24),
            (0x3c5, Exception::InstructionAbort, 0x200, 0x21),
            (0x000, Exception::InstructionAbort, 0x400, 0x20),
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
    fn an_address_is_reported_only_where_physical_and_virtual_are_one() {
        let abort = Exception::DataAbort { gpa: 0xdead_0000, write: false };
        for (sctlr, far, fnv) in [(0, 0xdead_0000, 0), (SCTLR_M, 0xfa, FAR_NOT_VALID)] {
            let mut regs = regs(0x3c5, sctlr);
            take(abort, &mut regs);
            assert_eq!(regs.get(Reg::Sys(SysReg::Far)), far);
            assert_eq!(regs.get(Reg::Sys(SysReg::Esr)) & 0x1ff_ffff, fnv | EXTERNAL_ABORT);
        }
    }

    #[test]
    fn interrupts_are_masked_flags_kept_and_pan_follows_sctlr() {
        for (sctlr, spsr, new) in [(0, 0x6000_0005, 0x6040_03c5), (SCTLR_SPAN, 0x6000_0005, 0x6000_03c5)] {
            let mut regs = regs(spsr, sctlr);
            take(Exception::Undefined, &mut regs);
            assert_eq!(regs.get(Reg::Spsr), new);
        }
    }
}
