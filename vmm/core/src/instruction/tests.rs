// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use super::*;
use crate::machine::tests::FakeRegs;
use proptest::prelude::*;

#[test]
fn addresses_and_write_back_follow_the_registers() {
    // (what, instruction, SPSR.M, address, register of the base, its value afterwards)
    let x1 = Reg::X(1);
    let cases = [
        ("ldr x0, [x1, #8]", 0xf940_0420, 5, 0x1008, x1, 0x1000),
        ("ldr w0, [x1, #8]!", 0xb840_8c20, 5, 0x1008, x1, 0x1008),
        ("ldr x0, [x1], #8", 0xf840_8420, 5, 0x1000, x1, 0x1008),
        ("ldp x0, x2, [x1], #-16", 0xa8ff_0820, 5, 0x1000, x1, 0xff0),
        ("ldr x2, [x1, w3, sxtw #3]", 0xf863_d822, 5, 0xff0, x1, 0x1000),
        ("ldr x2, [x1, w3, uxtw]", 0xf863_4822, 5, 0x1_0000_0ffe, x1, 0x1000),
        ("ldr x2, [x1, xzr]", 0xf87f_6822, 5, 0x1000, x1, 0x1000),
        ("stp x29, x30, [sp, #-16]! at EL1h", 0xa9bf_7bfd, 5, 0x7ff0, Reg::Sys(SysReg::Sp), 0x7ff0),
        ("stp x29, x30, [sp, #-16]! at EL1t", 0xa9bf_7bfd, 4, 0x8ff0, Reg::Sp0, 0x8ff0),
        ("stp x29, x30, [sp, #-16]! at EL0", 0xa9bf_7bfd, 0, 0x8ff0, Reg::Sp0, 0x8ff0),
        ("ldr x0, .+8", 0x5800_0040, 5, 0x4008, x1, 0x1000),
    ];
    for (what, word, mode, address, base, after) in cases {
        let mut regs = FakeRegs::default();
        for (register, value) in [
            (Reg::Pc, 0x4000),
            (Reg::Spsr, mode),
            (Reg::X(1), 0x1000),
            (Reg::X(3), 0xffff_fffe),
            (Reg::Sys(SysReg::Sp), 0x8000),
            (Reg::Sp0, 0x9000),
        ] {
            regs.set(register, value);
        }
        let insn = LoadStore::decode(word).expect(what);
        assert_eq!(insn.virtual_address(&mut regs), address, "{what}");
        insn.write_back(&mut regs);
        assert_eq!(regs.get(base), after, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, ..ProptestConfig::default() })]

    #[test]
    fn an_independent_disassembler_agrees(word: u32) {
        let word = word & !(1 << 25) | 1 << 27;
        let word = if oracle::knows(word) { word } else { word | 1 << 29 };
        let ours = LoadStore::decode(word).map(|insn| oracle::assembly(&insn));
        prop_assert_eq!(ours, oracle::disassemble(word), "{:#010x}", word);
    }

    #[test]
    fn what_is_in_another_class_is_no_load_or_store(word: u32) {
        prop_assert_eq!(LoadStore::decode(word & !(1 << 27)), None);
        prop_assert_eq!(LoadStore::decode(word | 1 << 25), None);
    }
}
