// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Replays the corpora, and checks what they cover.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::string::String;
use std::{fs, println};

std::thread_local! {
    /// What happened since the target began.
    pub static SEEN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// A target's name, which is also its corpus's, its function, and what its corpus reaches at least.
struct Target {
    name: &'static str,
    run: fn(&[u8]),
    reaches: &'static [&'static str],
}

const TARGETS: [Target; 10] = [
    Target { name: "distributor", run: distributor, reaches: INTERRUPTS },
    Target { name: "redistributor", run: redistributor, reaches: INTERRUPTS },
    Target { name: "psci", run: psci, reaches: PSCI },
    Target { name: "instruction", run: instruction, reaches: &["decoded", "unknown"] },
    Target { name: "exits", run: exits, reaches: EXITS },
    Target { name: "rings", run: rings, reaches: RINGS },
    Target { name: "registers", run: registers, reaches: REGISTERS },
    Target { name: "blk", run: blk, reaches: BLK },
    Target { name: "net", run: net, reaches: NET },
    Target { name: "queues", run: queues, reaches: QUEUES },
];

const INTERRUPTS: &[&str] = &["injected", "all list registers in use", "ended"];
/// The results of DEN0022, 5.2.2, that a call can have here.
const PSCI: &[&str] = &[
    "returns 0",
    "returns -1",
    "returns -2",
    "returns -4",
    "returns -9",
    "starts a vCPU",
    "suspends",
    "turns off",
    "resets or turns the guest off",
    "has entropy and returns 0",
    "has entropy and returns -1",
    "has entropy and returns -2",
    "has entropy and returns -3",
    "has entropy and returns 65536",
    "has entropy and returns 424058502",
];
const EXITS: &[&str] = &["Advance", "Retry", "Block", "Pause", "Off", "Unmapped", "Unemulated", "Undefined"];
/// Every [`RingError`](crate::virtio::ring::RingError).
const RINGS: &[&str] = &[
    "AreaMisaligned",
    "AreaOutOfRange",
    "AvailableIndex",
    "HeadOutOfRange",
    "NextOutOfRange",
    "ChainTooLong",
    "ChainTooLarge",
    "BufferOutOfRange",
    "ReadableAfterWritable",
    "IndirectNotNegotiated",
    "IndirectNested",
    "IndirectWithNext",
    "IndirectSize",
    "IndirectOutOfRange",
    "no chain",
    "a chain",
];
const REGISTERS: &[&str] = &[
    "Done",
    "Hold",
    "store ignored",
    "loaded",
    "nothing to load",
    "came back",
    "Ring(AreaMisaligned)",
    "Ring(AreaOutOfRange)",
    "Link",
];
const BLK: &[&str] = &[
    "Read",
    "Write",
    "Flush",
    "Discard",
    "WriteZeroes",
    "status 0 at once",
    "status 1 at once",
    "status 2 at once",
    "BlockHeader",
    "BlockStatus",
    "Link",
    "used",
    "came back",
];
const NET: &[&str] = &["a frame copied", "a frame left in place", "a segment", "dropped", "Link", "used", "came back"];
const QUEUES: &[&str] = &[
    "blk client, medium: Broken",
    "blk client, submit: Full",
    "blk client, submit: Broken",
    "blk client, submit: Malformed",
    "blk client, complete: Broken",
    "blk client, room: Broken",
    "blk server, next: Broken",
    "blk server, complete: Broken",
    "net client, info: Broken",
    "net client, send: Full",
    "net client, send: Broken",
    "net client, send: Malformed",
    "net client, sent: Broken",
    "net client, received: Broken",
    "net server, next: Broken",
    "net server, sent: Broken",
    "net server, buffer: Broken",
    "net server, deliver: Full",
    "net server, deliver: Broken",
    "serial client, read: Broken",
    "serial client, write: Broken",
    "serial client, log: Broken",
    "serial client, free: Broken",
    "serial server, read: Broken",
    "serial server, write: Broken",
    "serial server, log: Broken",
    "serial server, line",
    "serial server, lost",
    "rng client, take: Broken",
    "rng client, empty: Broken",
    "rng server, give: Broken",
    "rng server, room: Broken",
];

/// What happens in `run` with `bytes`.
fn seen(run: fn(&[u8]), bytes: &[u8]) -> BTreeSet<String> {
    SEEN.take();
    run(bytes);
    SEEN.take()
}

fn corpus(name: &str) -> Vec<PathBuf> {
    let directory = std::format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(&directory).expect(&directory).flatten();
    let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} is empty");
    files
}

#[test]
fn the_corpora_hold_and_reach_what_they_are_kept_for() {
    let mut missing = Vec::new();
    for Target { name, run, reaches } in TARGETS {
        let files = corpus(name);
        let seen: BTreeSet<String> = files.iter().flat_map(|file| seen(run, &fs::read(file).unwrap())).collect();
        println!("{name}: {} inputs reach", files.len());
        seen.iter().for_each(|what| println!("    {what}"));
        missing.extend(reaches.iter().filter(|what| !seen.contains(**what)).map(|what| (name, *what)));
    }
    assert!(missing.is_empty(), "the corpora do not reach {missing:?}");
}

/// Chooses from what the fuzzer has found, in the directory `FOUND`/NAME, those that reach what the corpus does not, and adds
/// them: `FOUND=… cargo test -p vmm-core -- --ignored what_the_fuzzer_found`.
#[test]
#[ignore = "changes the corpora"]
fn what_the_fuzzer_found_is_added() {
    let Ok(found) = std::env::var("FOUND") else { return };
    for Target { name, run, .. } in TARGETS {
        let directory = std::format!("{}/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        fs::create_dir_all(&directory).unwrap();
        let mut known: BTreeSet<String> = BTreeSet::new();
        for file in fs::read_dir(&directory).unwrap().flatten() {
            known.extend(seen(run, &fs::read(file.path()).unwrap()));
        }
        let Ok(files) = fs::read_dir(std::format!("{found}/{name}")) else { continue };
        let mut inputs: Vec<Vec<u8>> = files.flatten().map(|file| fs::read(file.path()).unwrap()).collect();
        inputs.sort_by_key(Vec::len);
        for input in inputs {
            let new = seen(run, &input);
            if !new.is_subset(&known) {
                known.extend(new);
                let number = fs::read_dir(&directory).unwrap().count() + 1;
                fs::write(std::format!("{directory}/{number:02}"), input).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..2400)) {
        for Target { run, .. } in TARGETS {
            run(&bytes);
        }
    }
}
