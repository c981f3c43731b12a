// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Firmware calls for entropy: the TRNG interface 1.0 (Arm DEN0098).

use crate::exit::{Reg, Regs};

/// TRNG_VERSION.
pub const VERSION: u32 = 0x8400_0050;
/// TRNG_FEATURES.
pub const FEATURES: u32 = 0x8400_0051;
/// TRNG_GET_UUID.
pub const GET_UUID: u32 = 0x8400_0052;
/// TRNG_RND, of at most 96 bits.
pub const RND_32: u32 = 0x8400_0053;
/// TRNG_RND, of at most 192 bits.
pub const RND_64: u32 = 0xc400_0053;

const TRNG_1_0: u64 = 0x1_0000;
/// Names this source: any that is not another's (DEN0098 2.3).
const UUID: [u64; 4] = [0x1946_9e86, 0x9493_4127, 0x85c1_77ad, 0x6139_c0ff];

const NOT_SUPPORTED: u64 = -1_i64 as u64;
const INVALID_PARAMETERS: u64 = -2_i64 as u64;
const NO_ENTROPY: u64 = -3_i64 as u64;

/// Answers the call in the caller's registers, with what `word` gives: a word of entropy, if there is one.
pub fn call(regs: &mut impl Regs, word: impl FnMut() -> Option<u64>) {
    let function = regs.get(Reg::X(0)) as u32;
    let argument = regs.get(Reg::X(1));
    let mut answer = [0; 4];
    let [status, entropy @ ..] = &mut answer;
    match function {
        VERSION => *status = TRNG_1_0,
        FEATURES => match argument as u32 {
            VERSION..=RND_32 | RND_64 => {}
            _ => *status = NOT_SUPPORTED,
        },
        GET_UUID => answer = UUID,
        RND_64 => *status = random(entropy, 64, argument, word),
        _ => *status = random(entropy, 32, argument & 0xffff_ffff, word),
    }
    (0..).zip(answer).for_each(|(n, value)| regs.set(Reg::X(n), value));
}

/// Puts so many bits into registers of `width` bits each, the lowest into the last; those above are zero (2.4, 2.5).
fn random(entropy: &mut [u64; 3], width: u64, bits: u64, mut word: impl FnMut() -> Option<u64>) -> u64 {
    if bits == 0 || bits > entropy.len() as u64 * width {
        return INVALID_PARAMETERS;
    }
    let mut left = bits;
    for register in entropy.iter_mut().rev() {
        let here = left.min(width);
        if here > 0 {
            let Some(word) = word() else {
                *entropy = [0; 3];
                return NO_ENTROPY;
            };
            *register = word >> (64 - here);
        }
        left -= here;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::FakeRegs;

    #[test]
    fn calls_answer_as_the_specification_says() {
        const ONES: u64 = u64::MAX;
        let short = u64::from(u32::MAX);
        // (what it shows, x0 and x1, x0 to x3 of the answer where the source gives ones)
        let cases = [
            ("version", [VERSION.into(), 0], [TRNG_1_0, 0, 0, 0]),
            ("features: itself", [FEATURES.into(), FEATURES.into()], [0; 4]),
            ("features: entropy, 64 bits", [FEATURES.into(), RND_64.into()], [0; 4]),
            ("features: UUID, 64 bits", [FEATURES.into(), 0xc400_0052], [NOT_SUPPORTED, 0, 0, 0]),
            ("features: what is next", [FEATURES.into(), 0x8400_0054], [NOT_SUPPORTED, 0, 0, 0]),
            ("UUID", [GET_UUID.into(), 0], UUID),
            ("no bits", [RND_64.into(), 0], [INVALID_PARAMETERS, 0, 0, 0]),
            ("a bit", [RND_64.into(), 1], [0, 0, 0, 1]),
            ("a word", [RND_64.into(), 64], [0, 0, 0, ONES]),
            ("a word and a bit", [RND_64.into(), 65], [0, 0, 1, ONES]),
            ("all bits but one", [RND_64.into(), 191], [0, ONES >> 1, ONES, ONES]),
            ("all", [RND_64.into(), 192], [0, ONES, ONES, ONES]),
            ("one too many", [RND_64.into(), 193], [INVALID_PARAMETERS, 0, 0, 0]),
            ("far too many", [RND_64.into(), ONES], [INVALID_PARAMETERS, 0, 0, 0]),
            ("32 bits: 40", [RND_32.into(), 40], [0, 0, 0xff, short]),
            ("32 bits: all", [RND_32.into(), 96], [0, short, short, short]),
            ("32 bits: one too many", [RND_32.into(), 97], [INVALID_PARAMETERS, 0, 0, 0]),
            ("32 bits: the upper half is not looked at", [RND_32.into(), ONES << 32 | 8], [0, 0, 0, 0xff]),
        ];
        for (name, [function, argument], expected) in cases {
            let mut regs = FakeRegs::default();
            regs.set(Reg::X(0), function);
            regs.set(Reg::X(1), argument);
            call(&mut regs, || Some(ONES));
            assert_eq!([0, 1, 2, 3].map(|n| regs.get(Reg::X(n))), expected, "{name}");
        }
    }

    #[test]
    fn too_little_entropy_is_none() {
        let mut regs = FakeRegs::default();
        regs.set(Reg::X(0), RND_64.into());
        regs.set(Reg::X(1), 128);
        let mut words = [0x5a].into_iter();
        call(&mut regs, || words.next());
        assert_eq!([0, 1, 2, 3].map(|n| regs.get(Reg::X(n))), [NO_ENTROPY, 0, 0, 0]);
    }
}
