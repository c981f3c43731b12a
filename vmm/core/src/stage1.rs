// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest's own address translation, EL1&0 stage 1 (Arm ARM D8.2), walked in software to read an instruction that
//! aborted.
//!
//! Permissions are not looked at, since the processor has fetched the instruction. Descriptors are read from the guest's
//! RAM only, four at most.

use crate::exit::{Reg, Regs, SysReg};
use crate::memory::GuestMemory;

/// `SCTLR_EL1.M`: address translation is on.
const SCTLR_M: u64 = 1;
/// `SCTLR_EL1.EE`: descriptors are big-endian.
const SCTLR_EE: u64 = 1 << 25;
/// The address bits of a descriptor and of `TTBRn_EL1`. Addresses of more than 48 bits are not the guest's RAM.
const ADDRESS: u64 = 0xffff_ffff_f000;
/// The level of page descriptors.
const LAST: u32 = 3;

/// Why an address has no translation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Untranslated {
    /// It is in neither range of virtual addresses, or a descriptor is not valid: the guest has changed its tables.
    Unmapped,
    /// A descriptor is not in RAM.
    OutsideRam {
        /// At which level of the walk, 0 to 3.
        level: u32,
        /// Its guest-physical address.
        gpa: u64,
    },
}

/// One half of the virtual addresses: `TTBR0_EL1`'s or `TTBR1_EL1`'s.
struct Half {
    table: u64,
    /// log2 of its size.
    size: u32,
    /// log2 of a page.
    granule: u32,
}

/// The guest-physical address of virtual address `va`.
///
/// # Errors
/// [`Untranslated`] if it has none.
pub fn translate(va: u64, memory: &impl GuestMemory, regs: &mut impl Regs) -> Result<u64, Untranslated> {
    let sctlr = regs.get(Reg::Sys(SysReg::Sctlr));
    if sctlr & SCTLR_M == 0 {
        return Ok(va);
    }
    let Half { table, size, granule } = half(va, regs).ok_or(Untranslated::Unmapped)?;
    // Each level but the first resolves this many bits.
    let stride = granule - 3;
    let levels = (size - granule).div_ceil(stride);
    let mut level = (LAST + 1).checked_sub(levels).ok_or(Untranslated::Unmapped)?;
    let mut table = table;
    let mut unresolved = size;
    loop {
        let shift = granule + stride * (LAST - level);
        let index = va >> shift & ((1 << (unresolved - shift)) - 1);
        let mut bytes = [0; 8];
        let gpa = table.wrapping_add(index * 8);
        memory.read(gpa, &mut bytes).map_err(|_| Untranslated::OutsideRam { level, gpa })?;
        let descriptor = if sctlr & SCTLR_EE == 0 { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) };
        let low = (1 << shift) - 1;
        match (descriptor & 0b11, level) {
            (0b11, LAST) => return Ok(descriptor & ADDRESS & !low | va & low),
            (0b11, _) => table = descriptor & ADDRESS & !((1 << granule) - 1),
            // A block; which levels may have one is the processor's to check.
            (0b01, 1 | 2) => return Ok(descriptor & ADDRESS & !low | va & low),
            _ => return Err(Untranslated::Unmapped),
        }
        unresolved = shift;
        level += 1;
    }
}

/// The half that `va` is in (Arm ARM, `TCR_EL1`).
fn half(va: u64, regs: &mut impl Regs) -> Option<Half> {
    let tcr = regs.get(Reg::Sys(SysReg::Tcr));
    let upper = va >> 55 & 1 != 0;
    let (size_offset, disabled, granule, tagged, table) = if upper {
        (
            tcr >> 16 & 0x3f,
            tcr >> 23 & 1,
            [None, Some(14), Some(12), Some(16)][(tcr >> 30 & 3) as usize],
            38,
            SysReg::Ttbr1,
        )
    } else {
        (tcr & 0x3f, tcr >> 7 & 1, [Some(12), Some(16), Some(14), None][(tcr >> 14 & 3) as usize], 37, SysReg::Ttbr0)
    };
    let (granule, size) = (granule?, 64u32.checked_sub(size_offset as u32)?);
    // 16 to 48 bits of address, and no tag where tags are not ignored.
    if disabled != 0 || !(granule + 4..=48).contains(&size) {
        return None;
    }
    let ignored = if tcr >> tagged & 1 != 0 { 8 } else { 0 };
    let rest = (va << ignored).cast_signed() >> (ignored + size);
    if rest != if upper { -1 } else { 0 } {
        return None;
    }
    let table = regs.get(Reg::Sys(table)) & (ADDRESS | 0xfc0);
    Some(Half { table, size, granule })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::FakeRegs;
    use crate::map::RAM_BASE;
    use proptest::prelude::*;

    const TABLE: u64 = RAM_BASE + 0x1_0000;

    fn regs(tcr: u64, sctlr: u64) -> FakeRegs {
        let mut regs = FakeRegs::default();
        for (register, value) in [
            (SysReg::Sctlr, sctlr),
            (SysReg::Tcr, tcr),
            (SysReg::Ttbr0, TABLE | 0x0042_0000_0000_0001),
            (SysReg::Ttbr1, TABLE | 1),
        ] {
            regs.set(Reg::Sys(register), value);
        }
        regs
    }

    #[test]
    fn each_granule_and_size_is_walked() {
        // (what it shows, TCR, address, descriptors as (address, value), translation)
        type Walk = (&'static str, u64, u64, &'static [(u64, u64)], u64);
        let walks: &[Walk] = &[
            (
                "4 KiB, 48 bits",
                16,
                0x1234,
                &[
                    (TABLE, (TABLE + 0x1000) | 3),
                    (TABLE + 0x1000, (TABLE + 0x2000) | 3),
                    (TABLE + 0x2000, (TABLE + 0x3000) | 3),
                    (TABLE + 0x3008, 0x0060_0000_4123_0403 | 3),
                ],
                0x4123_0234,
            ),
            (
                "4 KiB, 39 bits, block of 2 MiB",
                25,
                0x4040_1234,
                &[(TABLE + 8, (TABLE + 0x1000) | 3), (TABLE + 0x1010, 0x0060_0000_5020_0401)],
                0x5020_1234,
            ),
            ("4 KiB, 39 bits, block of 1 GiB", 25, 0x4040_1234, &[(TABLE + 8, 0x4000_0401)], 0x4040_1234),
            (
                "4 KiB, upper half",
                25 << 16 | 2 << 30,
                0xffff_ff80_0000_1234,
                &[(TABLE, (TABLE + 0x1000) | 3), (TABLE + 0x1000, (TABLE + 0x2000) | 3), (TABLE + 0x2008, 0x4123_0003)],
                0x4123_0234,
            ),
            (
                "16 KiB, 47 bits",
                17 | 2 << 14,
                0x5234,
                &[(TABLE, (TABLE + 0x4000) | 3), (TABLE + 0x4000, (TABLE + 0x8000) | 3), (TABLE + 0x8008, 0x4123_0003)],
                0x4123_1234,
            ),
            (
                "64 KiB, 42 bits",
                22 | 1 << 14,
                0x1_2345,
                &[(TABLE, (TABLE + 0x1_0000) | 3), (TABLE + 0x1_0008, 0x4123_0003)],
                0x4123_2345,
            ),
            ("a tag that is ignored", 25 | 1 << 37, 0xab00_0000_4040_1234, &[(TABLE + 8, 0x4000_0401)], 0x4040_1234),
        ];
        for (name, tcr, va, descriptors, translation) in walks {
            for sctlr in [SCTLR_M, SCTLR_M | SCTLR_EE] {
                let mut bytes = vec![0; 0x10_0000];
                let mut ram = &mut bytes[..];
                for (gpa, value) in *descriptors {
                    let value = if sctlr & SCTLR_EE == 0 { value.to_le_bytes() } else { value.to_be_bytes() };
                    ram.write(*gpa, &value).unwrap();
                }
                assert_eq!(translate(*va, &ram, &mut regs(*tcr, sctlr)), Ok(*translation), "{name}");
            }
        }
    }

    #[test]
    fn what_has_no_translation_is_said_so() {
        let mut bytes = vec![0; 0x10_0000];
        let mut ram = &mut bytes[..];
        ram.write(TABLE, &(0x1000u64 | 3).to_le_bytes()).unwrap();
        // (what it shows, TCR, address, error)
        let cases = [
            ("a table outside RAM", 25, 0, Untranslated::OutsideRam { level: 2, gpa: 0x1000 }),
            ("no descriptor", 25, 0x4000_0000, Untranslated::Unmapped),
            ("beyond the range", 25, 0x80_0000_0000, Untranslated::Unmapped),
            ("a tag that counts", 25, 0xab00_0000_0000_0000, Untranslated::Unmapped),
            ("walks disabled", 25 | 1 << 7, 0, Untranslated::Unmapped),
            ("no such granule", 25 | 3 << 14, 0, Untranslated::Unmapped),
            ("too large a range", 15, 0, Untranslated::Unmapped),
            ("too small a range", 63, 0, Untranslated::Unmapped),
        ];
        for (name, tcr, va, error) in cases {
            assert_eq!(translate(va, &ram, &mut regs(tcr, SCTLR_M)), Err(error), "{name}");
        }
        assert_eq!(translate(0x1234, &ram, &mut regs(0, 0)), Ok(0x1234), "off: nothing is translated");
    }

    proptest! {
        #[test]
        fn no_registers_or_tables_break_the_walk(
            tcr: u64, ttbr: u64, va: u64, upper: bool, fill in prop::collection::vec(any::<u64>(), 512)
        ) {
            let mut bytes: Vec<u8> = fill.iter().flat_map(|word| (word & 0xf_ffff | RAM_BASE).to_le_bytes()).collect();
            let ram = &mut bytes[..];
            let mut regs = regs(tcr, SCTLR_M);
            regs.set(Reg::Sys(SysReg::Ttbr0), RAM_BASE | ttbr & 0xfff);
            regs.set(Reg::Sys(SysReg::Ttbr1), ttbr);
            let va = if upper { va | 0xffff << 48 } else { va & 0xffff_ffff_ffff };
            let _ = translate(va, &ram, &mut regs);
        }
    }
}
