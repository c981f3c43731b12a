// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Exits of a vCPU: why it stopped, what it may do next, and its registers.

/// Why a vCPU stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// A stage-2 abort: the guest touched an address that is not mapped for it.
    Abort {
        /// The guest-physical address.
        gpa: u64,
        /// `ESR_EL2` as the kernel reports it.
        esr: u64,
        /// Whether it was an instruction fetch.
        fetch: bool,
    },
    /// An instruction that traps: WFI, WFE, SMC, a system register.
    Trap {
        /// `ESR_EL2`.
        esr: u64,
    },
    /// An HVC, which seL4 hands over as a system call that it does not know.
    Hvc,
    /// The guest ended an interrupt; names the list register that became free, if the kernel could tell.
    Maintenance {
        /// Index of the list register.
        lr: Option<u8>,
    },
    /// The vCPU's virtual timer fired; its interrupt is masked until acknowledged.
    Timer,
    /// Anything else; the vCPU cannot go on.
    Fatal,
}

/// What a stopped vCPU does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resume {
    /// Go on behind the instruction that exited.
    Advance,
    /// Go on at the current program counter.
    Retry,
    /// Stay stopped, and go on behind the instruction when [`Effects::wakes`](crate::Effects::wakes) names the vCPU, or when
    /// its virtual timer fires, if [`Machine::timer_wakes`](crate::Machine::timer_wakes).
    Block,
    /// As [`Resume::Block`], but only for a moment.
    Pause,
    /// Stay stopped until [`Effects::released`](crate::Effects::released), and then go on behind the instruction.
    Hold,
    /// Stay stopped until started anew.
    Off,
}

/// A register that a vCPU's exit is handled with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reg {
    /// Program counter.
    Pc,
    /// Processor state at the exit.
    Spsr,
    /// General-purpose register 0 to 30.
    X(u8),
    /// `SP_EL0`.
    Sp0,
    /// System register of EL1.
    Sys(SysReg),
}

/// The system registers that taking an exception to EL1 (Arm ARM D1.3.1) and reading an instruction need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SysReg {
    /// `SCTLR_EL1`.
    Sctlr,
    /// `VBAR_EL1`.
    Vbar,
    /// `ESR_EL1`.
    Esr,
    /// `FAR_EL1`.
    Far,
    /// `ELR_EL1`.
    Elr,
    /// `SPSR_EL1`.
    Spsr,
    /// `SP_EL1`.
    Sp,
    /// `TCR_EL1`.
    Tcr,
    /// `TTBR0_EL1`.
    Ttbr0,
    /// `TTBR1_EL1`.
    Ttbr1,
}

/// The registers of the vCPU that exited.
///
/// An implementation fetches and stores lazily: each fetch and each store is a system call.
pub trait Regs {
    /// The value of `reg`.
    fn get(&mut self, reg: Reg) -> u64;
    /// Sets `reg`.
    fn set(&mut self, reg: Reg, value: u64);

    /// The value of general-purpose register `n` of an instruction, of which the one numbered 31 is always zero.
    fn get_x(&mut self, n: u8) -> u64 {
        if n < 31 { self.get(Reg::X(n)) } else { 0 }
    }

    /// Sets general-purpose register `n` of an instruction, of which the one numbered 31 takes no value.
    fn set_x(&mut self, n: u8, value: u64) {
        if n < 31 {
            self.set(Reg::X(n), value);
        }
    }
}

/// Exception classes of `ESR_ELx` (Arm ARM, `ESR_ELx.EC`).
pub mod class {
    /// Unknown reason: an undefined instruction.
    pub const UNKNOWN: u64 = 0x00;
    /// WFI or WFE.
    pub const WFX: u64 = 0x01;
    /// SMC from AArch64.
    pub const SMC64: u64 = 0x17;
    /// MSR, MRS or system instruction.
    pub const SYSTEM: u64 = 0x18;
    /// Instruction abort from a lower exception level.
    pub const INSTRUCTION_ABORT_LOWER: u64 = 0x20;
    /// Instruction abort without a change of exception level.
    pub const INSTRUCTION_ABORT_SAME: u64 = 0x21;
    /// Data abort from a lower exception level.
    pub const DATA_ABORT_LOWER: u64 = 0x24;
    /// Data abort without a change of exception level.
    pub const DATA_ABORT_SAME: u64 = 0x25;
}

/// A value of `ESR_EL2` (Arm ARM, D24.2.40).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Syndrome(pub u64);

impl Syndrome {
    /// `EC`: the exception class, as in [`class`].
    #[must_use]
    pub fn class(self) -> u64 {
        self.0 >> 26 & 0x3f
    }

    /// `IL`: whether the instruction had 32 bits. A 16-bit one can only be AArch32 at EL0.
    #[must_use]
    pub fn is_32_bit(self) -> bool {
        self.bit(25)
    }

    /// For WFx: whether it was WFE (`TI` bit 0).
    #[must_use]
    pub fn is_wfe(self) -> bool {
        self.bit(0)
    }

    /// For SMC64: the immediate of the instruction.
    #[must_use]
    pub fn immediate(self) -> u16 {
        self.0 as u16
    }

    /// For a trapped MSR or MRS: the general-purpose register; 31 is zero.
    #[must_use]
    pub fn system_target(self) -> u8 {
        (self.0 >> 5 & 0x1f) as u8
    }

    /// For a data abort: the access, if the processor describes it (`ISV`).
    #[must_use]
    #[inline(always)]
    pub fn access(self) -> Option<Access> {
        self.bit(24).then(|| Access {
            width: match self.0 >> 22 & 3 {
                0 => Width::Byte,
                1 => Width::Half,
                2 => Width::Word,
                _ => Width::Double,
            },
            write: self.bit(6),
            sign_extend: self.bit(21),
            register: (self.0 >> 16 & 0x1f) as u8,
            register_64: self.bit(15),
        })
    }

    /// For a data abort: whether a cache maintenance instruction caused it (`CM`).
    #[must_use]
    pub fn is_cache_maintenance(self) -> bool {
        self.bit(8)
    }

    /// For an abort: whether it was on a walk of the guest's own translation tables (`S1PTW`).
    #[must_use]
    pub fn is_on_walk(self) -> bool {
        self.bit(7)
    }

    /// For a data abort: whether it was on a store (`WnR`).
    #[must_use]
    pub fn is_write(self) -> bool {
        self.bit(6)
    }

    fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 != 0
    }
}

/// A load or store to an emulated device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Access {
    /// How much is loaded or stored.
    pub width: Width,
    /// Whether it is a store.
    pub write: bool,
    /// Whether a load extends the sign.
    pub sign_extend: bool,
    /// The general-purpose register; 31 is the zero register.
    pub register: u8,
    /// Whether the register is used as X (64 bits) or as W.
    pub register_64: bool,
}

impl Access {
    /// What a load puts into the register when the device answers `value`.
    #[must_use]
    pub fn extend(&self, value: u64) -> u64 {
        let unused = 64 - self.width.bits();
        let value = value << unused;
        if !self.sign_extend {
            return value >> unused;
        }
        let extended = (value.cast_signed() >> unused).cast_unsigned();
        if self.register_64 { extended } else { extended & 0xffff_ffff }
    }
}

/// The width of a load or store; as a number, the binary logarithm of its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Width {
    /// 8 bits.
    Byte = 0,
    /// 16 bits.
    Half = 1,
    /// 32 bits.
    Word = 2,
    /// 64 bits.
    Double = 3,
}

impl Width {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self as u32
    }

    /// In bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.bytes() as u32 * 8
    }

    /// The bits of `value` that an access of this width carries.
    #[must_use]
    pub const fn truncate(self, value: u64) -> u64 {
        value & (u64::MAX >> (64 - self.bits()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_abort_syndromes_decode_as_the_architecture_says() {
        // ESR_EL2 values as an assembler and the ISS tables give them: EC 0x24, IL, ISV, SAS, SSE, SRT, SF, WnR, DFSC 7.
        let esr = |sas: u64, sse: u64, srt: u64, sf: u64, wnr: u64| {
            0x24 << 26 | 1 << 25 | 1 << 24 | sas << 22 | sse << 21 | srt << 16 | sf << 15 | wnr << 6 | 7
        };
        let cases = [
            ("strb w3", esr(0, 0, 3, 0, 1), Width::Byte, true, 3),
            ("ldrh w30", esr(1, 0, 30, 0, 0), Width::Half, false, 30),
            ("ldrsw x1", esr(2, 1, 1, 1, 0), Width::Word, false, 1),
            ("str xzr", esr(3, 0, 31, 1, 1), Width::Double, true, 31),
        ];
        for (name, esr, width, write, register) in cases {
            let access = Syndrome(esr).access().expect(name);
            assert_eq!((access.width, access.write, access.register), (width, write, register), "{name}");
        }
        assert_eq!(Syndrome(0x24 << 26 | 1 << 25 | 7).access(), None, "no ISV, no access");
    }

    #[test]
    fn loads_extend_zeros_or_the_sign() {
        let load =
            |width, sign_extend, register_64| Access { width, write: false, sign_extend, register: 0, register_64 };
        let cases = [
            (load(Width::Byte, false, false), 0x1ff, 0xff),
            (load(Width::Byte, true, false), 0x80, 0xffff_ff80),
            (load(Width::Byte, true, true), 0x80, 0xffff_ffff_ffff_ff80),
            (load(Width::Half, true, true), 0x7fff, 0x7fff),
            (load(Width::Word, true, true), 0x8000_0000, 0xffff_ffff_8000_0000),
            (load(Width::Word, false, true), u64::MAX, 0xffff_ffff),
            (load(Width::Double, false, true), u64::MAX, u64::MAX),
        ];
        for (access, from_device, in_register) in cases {
            assert_eq!(access.extend(from_device), in_register, "{access:?}");
        }
    }
}
