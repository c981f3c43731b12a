// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Entropy from the firmware (TRNG, Arm DEN 0098).

use crate::Case;
use crate::boot::Boot;
use crate::console::Line;
use crate::psci::{call, call_all};
use crate::timer::{milliseconds, now};
use core::fmt::{self, Write};

pub const CASES: &[Case] = &[
    Case { name: "trng.version", ask: version },
    Case { name: "trng.features", ask: features },
    Case { name: "trng.uuid", ask: uuid },
    Case { name: "trng.random", ask: random },
    Case { name: "trng.bad-sizes", ask: bad_sizes },
    Case { name: "trng.drained", ask: drained },
];

const VERSION: u32 = 0x8400_0050;
const FEATURES: u32 = 0x8400_0051;
const GET_UUID: u32 = 0x8400_0052;
const RND_32: u32 = 0x8400_0053;
const RND_64: u32 = 0xc400_0053;
const NO_ENTROPY: i32 = -3;

fn version(boot: &Boot, line: &mut Line) -> fmt::Result {
    let version = call(boot.conduit, VERSION, [0; 3]);
    if version < 0 { write!(line, "{version}") } else { write!(line, "{}.{}", version >> 16, version & 0xffff) }
}

fn features(boot: &Boot, line: &mut Line) -> fmt::Result {
    let feature = |function: u32| call(boot.conduit, FEATURES, [function.into(), 0, 0]);
    write!(line, "VERSION {}, FEATURES {}, ", feature(VERSION), feature(FEATURES))?;
    write!(line, "GET_UUID {}, RND {} {}, ", feature(GET_UUID), feature(RND_32), feature(RND_64))?;
    write!(line, "others {} {}", feature(RND_32 + 1), feature(GET_UUID | 1 << 30))
}

fn uuid(boot: &Boot, line: &mut Line) -> fmt::Result {
    let [first, second, third, fourth, ..] = call_all(boot.conduit, GET_UUID.into(), [0; 17]);
    if first as i32 == -1 {
        line.write_str("-1")
    } else {
        write!(line, "{first:08x} {second:08x} {third:08x} {fourth:08x}")
    }
}

/// Asks for `bits`, again for a while where there is too little entropy.
fn ask(boot: &Boot, function: u32, bits: u64) -> [u64; 4] {
    let deadline = now() + milliseconds(1000);
    loop {
        let mut arguments = [0; 17];
        arguments[0] = bits;
        let [status, first, second, third, ..] = call_all(boot.conduit, function.into(), arguments);
        if status as i32 != NO_ENTROPY || now() > deadline {
            return [status, first, second, third];
        }
    }
}

/// As many bits as asked for, and never the same.
fn random(boot: &Boot, line: &mut Line) -> fmt::Result {
    let (mut above, mut lowest) = (0, [0; 5]);
    let sizes = [(RND_64, 192), (RND_64, 65), (RND_64, 64), (RND_32, 96), (RND_32, 40)];
    for ((function, bits), lowest) in sizes.into_iter().zip(&mut lowest) {
        let [status, answer @ ..] = ask(boot, function, bits);
        write!(line, "{bits}: {}, ", status as i32)?;
        if status != 0 {
            continue;
        }
        let width = if function == RND_64 { 64 } else { 32 };
        for (n, register) in (0..).zip(answer.iter().rev()) {
            let here = bits.saturating_sub(n * width).min(width) as u32;
            above |= register & u64::MAX.checked_shl(here).unwrap_or(0);
        }
        *lowest = answer[2] as u32;
    }
    let same = (1..lowest.len()).filter(|n| lowest[..*n].contains(&lowest[*n])).count();
    write!(line, "above {above:#x}, {same} the same")
}

fn bad_sizes(boot: &Boot, line: &mut Line) -> fmt::Result {
    let ask = |function, bits| call(boot.conduit, function, [bits, 0, 0]);
    write!(line, "0: {} {}, 97: {}, 193: {}, ", ask(RND_32, 0), ask(RND_64, 0), ask(RND_32, 97), ask(RND_64, 193))?;
    write!(line, "all ones: {} {}", ask(RND_32, u64::MAX), ask(RND_64, u64::MAX))
}

/// However much is asked for, each call ends at once, and later there is entropy again.
fn drained(boot: &Boot, line: &mut Line) -> fmt::Result {
    let calls = (0..1000).map(|_| call(boot.conduit, RND_64, [192, 0, 0]));
    let otherwise = calls.filter(|status| ![0, NO_ENTROPY].contains(status)).count();
    write!(line, "{otherwise} of 1000 otherwise, in the end {}", ask(boot, RND_64, 192)[0] as i32)
}
