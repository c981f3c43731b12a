// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The decoder against `disarm64`, which nobody here wrote: what is decoded is written as assembly and compared.

use super::*;
use crate::machine::tests::FakeRegs;
use disarm64::decoder_load_store;
use proptest::prelude::*;

/// The assembly of `insn`, with one mnemonic for all forms that transfer the same.
fn assembly(insn: &LoadStore) -> String {
    let name = |n: u8, wide: bool| match (n, wide) {
        (31, true) => "xzr".into(),
        (31, false) => "wzr".into(),
        (n, true) => format!("x{n}"),
        (n, false) => format!("w{n}"),
    };
    let base = |n: u8| if n == 31 { "sp".into() } else { format!("x{n}") };
    let address = match insn.address {
        Address::Literal(offset) => format!("{:#x}", offset),
        Address::Offset { base: n, offset: 0 } => format!("[{}]", base(n)),
        Address::Offset { base: n, offset } => format!("[{}, #{offset}]", base(n)),
        Address::Pre { base: n, offset } => format!("[{}, #{offset}]!", base(n)),
        Address::Post { base: n, offset } => format!("[{}], #{offset}", base(n)),
        Address::Indexed { base: n, index, extend, shift } => {
            let how = match (extend, shift) {
                (None, 0) => String::new(),
                (None, shift) => format!(", lsl #{shift}"),
                (Some(extend), shift) => {
                    let extend = if extend == Extend::Sign { "sxtw" } else { "uxtw" };
                    if shift == 0 { format!(", {extend}") } else { format!(", {extend} #{shift}") }
                }
            };
            format!("[{}, {}{how}]", base(n), name(index, extend.is_none()))
        }
    };
    let suffix = |access: Access| match (access.width, access.sign_extend) {
        (Width::Byte, false) => "b",
        (Width::Half, false) => "h",
        (Width::Byte, true) => "sb",
        (Width::Half, true) => "sh",
        (Width::Word, true) => "sw",
        _ => "",
    };
    let direction = |access: Access| if access.write { "st" } else { "ld" };
    let first = |access: Access| name(access.register, access.register_64);
    match insn.transfer {
        Transfer::One(access) => format!("{}r{} {}, {address}", direction(access), suffix(access), first(access)),
        Transfer::Two(access, second) => {
            let second = name(second, access.register_64);
            format!("{}p{} {}, {second}, {address}", direction(access), suffix(access), first(access))
        }
        Transfer::Exclusive { access, second, status } => {
            let status = if access.write { format!("{}, ", name(status, false)) } else { String::new() };
            let (kind, second) = match second {
                None => (format!("xr{}", suffix(access)), String::new()),
                Some(second) => ("xp".into(), format!(", {}", name(second, access.register_64))),
            };
            format!("{}{kind} {status}{}{second}, {address}", direction(access), first(access))
        }
        Transfer::Atomic => format!("atomic {address}"),
        Transfer::Vector { write } => format!("{} vector {address}", if write { "st" } else { "ld" }),
    }
}

/// What `disarm64` says, likewise; nothing for what is no load or store of the base instruction set and its atomics.
fn oracle(word: u32) -> Option<String> {
    let text = decoder_load_store::decode(word)?.to_string();
    let (mnemonic, operands) = text.split_once("\t\t")?;
    if operands.contains("<undefined>") {
        return None;
    }
    let operands = operands.trim().replace(", sxtx #", ", lsl #").replace(", sxtx]", "]").replace("xtw #0", "xtw");
    let operands = operands.replace(", lsl #0", "");
    let operands = if operands.ends_with('!') { operands } else { operands.replace(", #0]", "]") };
    let address = || {
        let at = operands.find('[').or_else(|| operands.rfind("0x").or_else(|| operands.rfind("-0x")))?;
        Some(&operands[at..])
    };
    let vector = operands.starts_with(['b', 'h', 's', 'd', 'q', 'v', '{']);
    let atomics = ["ldadd", "ldclr", "ldeor", "ldset", "ldsmax", "ldsmin", "ldumax", "ldumin", "swp", "cas"]
        .into_iter()
        .chain(["stadd", "stclr", "steor", "stset", "stsmax", "stsmin", "stumax", "stumin"]);
    if !vector && atomics.into_iter().any(|name| mnemonic.starts_with(name)) {
        // Those of 128 bits, and the unprivileged ones, are other extensions.
        let other = mnemonic.starts_with("cas") && mnemonic.ends_with('t')
            || ["swpp", "swpt", "ldclrp", "ldsetp"].into_iter().any(|name| mnemonic.starts_with(name));
        return if other { None } else { Some(format!("atomic {}", address()?)) };
    }
    let direction = mnemonic.get(..2).filter(|d| ["ld", "st"].contains(d))?;
    let form = match mnemonic.get(2..)? {
        form @ ("xr" | "xrb" | "xrh" | "xp" | "r" | "rb" | "rh" | "rsb" | "rsh" | "rsw" | "p" | "psw") => form,
        "axr" | "lxr" => "xr",
        "axrb" | "lxrb" => "xrb",
        "axrh" | "lxrh" => "xrh",
        "axp" | "lxp" => "xp",
        "ar" | "lar" | "lr" | "llr" | "tr" | "ur" => "r",
        "arb" | "larb" | "lrb" | "llrb" | "trb" | "urb" => "rb",
        "arh" | "larh" | "lrh" | "llrh" | "trh" | "urh" => "rh",
        "ursb" | "trsb" => "rsb",
        "ursh" | "trsh" => "rsh",
        "ursw" | "trsw" => "rsw",
        "np" => "p",
        _ => return None,
    };
    if vector {
        return Some(format!("{direction} vector {}", address()?));
    }
    Some(format!("{direction}{form} {operands}"))
}

/// `text` with every immediate in decimal.
fn decimal(text: &str) -> String {
    let mut parts = text.split("#0x");
    let mut decimal = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(part.len());
        let value = u64::from_str_radix(&part[..end], 16).unwrap();
        decimal.push_str(&format!("#{value}{}", &part[end..]));
    }
    decimal
}

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

    /// Over the whole class of loads and stores, but for the SIMD structures, which the oracle does not know.
    #[test]
    fn an_independent_disassembler_agrees(word: u32) {
        let word = word & !(1 << 25) | 1 << 27;
        let structures = word >> 26 & 0b1011 == 0b0011;
        let word = if structures { word | 1 << 29 } else { word };
        let ours = LoadStore::decode(word).map(|insn| assembly(&insn));
        prop_assert_eq!(ours, oracle(word).map(|text| decimal(&text)), "{:#010x}", word);
    }

    /// What is not in the class is no load or store.
    #[test]
    fn other_classes_are_nothing(word: u32) {
        prop_assert_eq!(LoadStore::decode(word & !(1 << 27)), None);
        prop_assert_eq!(LoadStore::decode(word | 1 << 25), None);
    }
}
