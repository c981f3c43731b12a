// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! `disarm64`, a disassembler that nobody here wrote, as the measure of the decoder: what either decodes is written as
//! assembly, with one mnemonic for all forms that transfer the same.

use super::*;
use disarm64::decoder_load_store;
use std::{format, string::String};

/// Whether it has to say something about `word`: not about the loads and stores of SIMD structures.
pub fn knows(word: u32) -> bool {
    word >> 25 & 0b101 == 0b100 && word >> 26 & 0b1011 != 0b0011
}

/// The assembly of `insn`.
pub fn assembly(insn: &LoadStore) -> String {
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

/// What it says; nothing for what is no load or store of the base instruction set and its atomics.
pub fn disassemble(word: u32) -> Option<String> {
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
        return if other { None } else { Some(decimal(&format!("atomic {}", address()?))) };
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
        return Some(decimal(&format!("{direction} vector {}", address()?)));
    }
    Some(decimal(&format!("{direction}{form} {operands}")))
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
