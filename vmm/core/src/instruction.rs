// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The A64 loads and stores (Arm ARM C4.1.94), for data aborts whose syndrome does not describe the access.
//!
//! Every one of the base instruction set is decoded to its address; those of one or two general-purpose registers also to
//! what they transfer. An encoding that is none decodes to nothing.

use crate::exit::{Access, Reg, Regs, SysReg, Width};

/// `SPSR.M` at EL1 with its own stack pointer.
const EL1H: u64 = 0b0101;
/// The register number that stands for the stack pointer, or for zero.
const SP: u8 = 31;

/// A load or store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoadStore {
    /// Where.
    pub address: Address,
    /// What.
    pub transfer: Transfer,
}

/// How the address is computed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Address {
    /// The program counter and an offset.
    Literal(i64),
    /// A base register (31: the stack pointer) and an offset.
    Offset {
        /// The base.
        base: u8,
        /// In bytes.
        offset: i64,
    },
    /// As [`Address::Offset`], and the base takes the new value.
    Pre {
        /// The base.
        base: u8,
        /// In bytes.
        offset: i64,
    },
    /// The base register; then it takes the value with the offset.
    Post {
        /// The base.
        base: u8,
        /// In bytes.
        offset: i64,
    },
    /// A base register and an index register.
    Indexed {
        /// The base.
        base: u8,
        /// The register that is added; 31 is zero.
        index: u8,
        /// How its lower half is extended, if that is what is added.
        extend: Option<Extend>,
        /// By how many bits it is then shifted.
        shift: u32,
    },
}

/// How a word becomes 64 bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extend {
    /// With zeros.
    Zero,
    /// With the sign.
    Sign,
}

/// What is moved.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transfer {
    /// One general-purpose register.
    One(Access),
    /// Two of them: `Access` is the first one's, the second one lies behind it.
    Two(Access, u8),
    /// One or two of them, exclusively. A store has a register that takes its status: 0 done, 1 not done.
    Exclusive {
        /// The first register's access.
        access: Access,
        /// The second register.
        second: Option<u8>,
        /// What takes the status of a store.
        status: u8,
    },
    /// A read and a write in one: a compare-and-swap.
    Atomic,
    /// Vector registers.
    Vector {
        /// Whether it is a store.
        write: bool,
    },
}

impl Transfer {
    /// Whether it stores.
    #[must_use]
    pub fn is_write(self) -> bool {
        match self {
            Self::One(access) | Self::Two(access, _) | Self::Exclusive { access, .. } => access.write,
            Self::Atomic => true,
            Self::Vector { write } => write,
        }
    }
}

impl LoadStore {
    /// The load or store that `word` encodes.
    #[must_use]
    pub fn decode(word: u32) -> Option<Self> {
        let word = Word(word);
        match (word.bits(27, 3), word.bits(24, 2)) {
            (0b001, 0b00) if !word.bit(26) => word.exclusive(),
            (0b001, 0b00 | 0b01) if word.bit(26) => word.structure(),
            (0b011, 0b00) => word.literal(),
            (0b101, _) => word.pair(),
            (0b111, 0b01) => word.unsigned_offset(),
            (0b111, 0b00) => word.other_offset(),
            _ => None,
        }
    }

    /// The virtual address, from the registers at the instruction.
    pub fn virtual_address(&self, regs: &mut impl Regs) -> u64 {
        match self.address {
            Address::Literal(offset) => regs.get(Reg::Pc).wrapping_add_signed(offset),
            Address::Offset { base, offset } | Address::Pre { base, offset } => {
                stack_or_x(base, regs).wrapping_add_signed(offset)
            }
            Address::Post { base, .. } => stack_or_x(base, regs),
            Address::Indexed { base, index, extend, shift } => {
                let index = regs.get_x(index);
                let index = match extend {
                    None => index,
                    Some(Extend::Zero) => u64::from(index as u32),
                    Some(Extend::Sign) => i64::from(index as i32).cast_unsigned(),
                };
                stack_or_x(base, regs).wrapping_add(index << shift)
            }
        }
    }

    /// Gives the base register its new value, if it takes one.
    pub fn write_back(&self, regs: &mut impl Regs) {
        let (Address::Pre { base, offset } | Address::Post { base, offset }) = self.address else { return };
        let value = stack_or_x(base, regs).wrapping_add_signed(offset);
        if base == SP {
            let stack = stack(regs);
            regs.set(stack, value);
        } else {
            regs.set_x(base, value);
        }
    }
}

fn stack_or_x(base: u8, regs: &mut impl Regs) -> u64 {
    if base == SP {
        let stack = stack(regs);
        regs.get(stack)
    } else {
        regs.get_x(base)
    }
}

/// The stack pointer that the instruction uses.
fn stack(regs: &mut impl Regs) -> Reg {
    if regs.get(Reg::Spsr) & 0xf == EL1H { Reg::Sys(SysReg::Sp) } else { Reg::Sp0 }
}

/// An instruction.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    fn bits(self, low: u32, count: u32) -> u32 {
        self.0 >> low & ((1 << count) - 1)
    }

    fn bit(self, n: u32) -> bool {
        self.bits(n, 1) != 0
    }

    fn signed(self, low: u32, count: u32) -> i64 {
        let unused = 32 - count;
        i64::from((self.bits(low, count) << unused).cast_signed() >> unused)
    }

    fn register(self, low: u32) -> u8 {
        self.bits(low, 5) as u8
    }

    /// `Rt`.
    fn target(self) -> u8 {
        self.register(0)
    }

    /// `Rn`.
    fn base(self) -> u8 {
        self.register(5)
    }

    /// `size` of an integer load or store, log2 of bytes.
    fn width(self) -> Width {
        match self.bits(30, 2) {
            0 => Width::Byte,
            1 => Width::Half,
            2 => Width::Word,
            _ => Width::Double,
        }
    }

    /// Load/store exclusive, ordered, and compare-and-swap.
    fn exclusive(self) -> Option<LoadStore> {
        let address = Address::Offset { base: self.base(), offset: 0 };
        let (ordered, pair) = (self.bit(23), self.bit(21));
        let access = |width| Access {
            width,
            write: !self.bit(22),
            sign_extend: false,
            register: self.target(),
            register_64: width == Width::Double,
        };
        // Fields without a meaning are all ones.
        let (status, second) = (self.register(16), self.register(10));
        let no_status = status == 31 || !self.bit(22);
        let transfer = match (ordered, pair) {
            (false, false) if second == 31 && no_status => {
                Transfer::Exclusive { access: access(self.width()), second: None, status }
            }
            (false, true) if self.bit(31) && no_status => {
                Transfer::Exclusive { access: access(self.width()), second: Some(second), status }
            }
            (true, false) if second == 31 && status == 31 => Transfer::One(access(self.width())),
            // CAS, and CASP of the even one of two pairs.
            (true, true) if second == 31 => Transfer::Atomic,
            (false, true) if second == 31 && !self.bit(31) && !self.bit(16) && !self.bit(0) => Transfer::Atomic,
            _ => return None,
        };
        Some(LoadStore { address, transfer })
    }

    /// Advanced SIMD load/store of structures, not decoded further: none is emulated.
    fn structure(self) -> Option<LoadStore> {
        let address = Address::Offset { base: self.base(), offset: 0 };
        let transfer = Transfer::Vector { write: !self.bit(22) };
        (!self.bit(31)).then_some(LoadStore { address, transfer })
    }

    fn literal(self) -> Option<LoadStore> {
        let address = Address::Literal(self.signed(5, 19) * 4);
        let load = |width, sign_extend, register_64| {
            Some(Transfer::One(Access { width, write: false, sign_extend, register: self.target(), register_64 }))
        };
        let transfer = match (self.bits(30, 2), self.bit(26)) {
            (0, false) => load(Width::Word, false, false),
            (1, false) => load(Width::Double, false, true),
            (2, false) => load(Width::Word, true, true),
            (0..=2, true) => Some(Transfer::Vector { write: false }),
            _ => None,
        };
        Some(LoadStore { address, transfer: transfer? })
    }

    fn pair(self) -> Option<LoadStore> {
        let (opc, vector, write) = (self.bits(30, 2), self.bit(26), !self.bit(22));
        let no_allocate = self.bits(23, 3) == 0;
        let scale = match (opc, vector) {
            (0, false) => 2,
            // LDPSW; its store is that of a tag, and it has no non-temporal form.
            (1, false) if !write && !no_allocate => 2,
            (2, false) => 3,
            (0..=2, true) => 2 + opc,
            _ => return None,
        };
        let (base, offset) = (self.base(), self.signed(15, 7) << scale);
        let address = match self.bits(23, 3) {
            0b000 | 0b010 => Address::Offset { base, offset },
            0b001 => Address::Post { base, offset },
            0b011 => Address::Pre { base, offset },
            _ => return None,
        };
        let transfer = if vector {
            Transfer::Vector { write }
        } else {
            let width = if scale == 3 { Width::Double } else { Width::Word };
            let (sign_extend, register_64) = (opc == 1, opc != 0);
            let access = Access { width, write, sign_extend, register: self.target(), register_64 };
            Transfer::Two(access, self.register(10))
        };
        Some(LoadStore { address, transfer })
    }

    /// What a load or store of one register transfers, and log2 of its bytes.
    fn single(self) -> Option<(Transfer, u32)> {
        let (size, opc) = (self.bits(30, 2), self.bits(22, 2));
        if self.bit(26) {
            let scale = match (size, opc) {
                (_, 0 | 1) => size,
                (0, _) => 4,
                _ => return None,
            };
            return Some((Transfer::Vector { write: opc & 1 == 0 }, scale));
        }
        let (write, sign_extend, register_64) = match (size, opc) {
            (_, 0) => (true, false, size == 3),
            (_, 1) => (false, false, size == 3),
            (0..=2, 2) => (false, true, true),
            (0 | 1, 3) => (false, true, false),
            // A prefetch does not abort.
            _ => return None,
        };
        let access = Access { width: self.width(), write, sign_extend, register: self.target(), register_64 };
        Some((Transfer::One(access), size))
    }

    fn unsigned_offset(self) -> Option<LoadStore> {
        let (transfer, scale) = self.single()?;
        let address = Address::Offset { base: self.base(), offset: i64::from(self.bits(10, 12)) << scale };
        Some(LoadStore { address, transfer })
    }

    fn other_offset(self) -> Option<LoadStore> {
        let base = self.base();
        if self.bit(21) {
            return match self.bits(10, 2) {
                0b10 => self.indexed(),
                0b00 => self.atomic(),
                _ => None,
            };
        }
        let (transfer, _) = self.single()?;
        let offset = self.signed(12, 9);
        let address = match self.bits(10, 2) {
            0b01 => Address::Post { base, offset },
            0b11 => Address::Pre { base, offset },
            // The unprivileged ones have no vector form.
            0b10 if self.bit(26) => return None,
            _ => Address::Offset { base, offset },
        };
        Some(LoadStore { address, transfer })
    }

    fn indexed(self) -> Option<LoadStore> {
        let (transfer, scale) = self.single()?;
        let extend = match self.bits(13, 3) {
            0b010 => Some(Extend::Zero),
            0b110 => Some(Extend::Sign),
            0b011 | 0b111 => None,
            _ => return None,
        };
        let shift = if self.bit(12) { scale } else { 0 };
        Some(LoadStore {
            address: Address::Indexed { base: self.base(), index: self.register(16), extend, shift },
            transfer,
        })
    }

    /// `LDADD` and its like, `SWP`.
    fn atomic(self) -> Option<LoadStore> {
        let known = matches!((self.bit(15), self.bits(12, 3)), (false, _) | (true, 0));
        (known && !self.bit(26)).then(|| LoadStore {
            address: Address::Offset { base: self.base(), offset: 0 },
            transfer: Transfer::Atomic,
        })
    }
}

#[cfg(any(test, fuzzing))]
pub mod oracle;
#[cfg(test)]
mod tests;
