// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of load: what goes to a disk or over a network comes back unchanged, however much it is.

use crate::boot_tests::{ANSWER, BOOT, PROMPT, Setup, at_prompt, focus, network};
use crate::machine::Machine;
use crate::peer::{Disk, sha256};
use anyhow::{Result, bail, ensure};
use std::time::Duration;

/// What a load takes, in full.
const LOAD: Duration = Duration::from_secs(600);

/// How much a load is.
struct Load {
    /// KiB of the file system.
    size: u32,
    /// KiB of each of the four files that fill it.
    each: usize,
}

/// What a run of all tests has time for.
const SHORT: Load = Load { size: 12 << 10, each: 2 << 10 };
/// What the disk has room for.
const FULL: Load = Load { size: 64 << 10, each: 13 << 10 };

/// The network with 256 MiB each way.
pub fn soak_net(setup: &Setup) -> Result<()> {
    network(setup, "soak-net", 31_000_000, 31_000_001)
}

/// A short load of a guest's disk.
pub fn load_disk(setup: &Setup) -> Result<()> {
    disk(setup, "load-disk", &SHORT)
}

/// The full one.
pub fn soak_disk(setup: &Setup) -> Result<()> {
    disk(setup, "soak-disk", &FULL)
}

/// A short load of two guests' disks.
pub fn load_two_guests(setup: &Setup) -> Result<()> {
    two_disks(setup, "load-two-guests", "two-guests", &SHORT, |_| Ok(()))
}

/// The full one.
pub fn soak_two_guests(setup: &Setup) -> Result<()> {
    two_disks(setup, "soak-two-guests", "two-guests", &FULL, |_| Ok(()))
}

/// A short load of two guests' disks beside a hostile guest.
pub fn hostile(setup: &Setup) -> Result<()> {
    two_disks(setup, "hostile", "hostile", &SHORT, |machine| attack(machine, 2))
}

/// The full one.
pub fn soak_hostile(setup: &Setup) -> Result<()> {
    two_disks(setup, "soak-hostile", "hostile", &FULL, |machine| attack(machine, 20))
}

/// Lets the third guest, which is the probe, do everything that a guest must not, `times` over.
fn attack(machine: &mut Machine, times: usize) -> Result<()> {
    for _ in 0..times {
        machine.send_bytes(b"\x1d3\x1dR")?;
        machine.expect("the first line of the probe", "^probe: [0-9]+ cases$", BOOT)?;
        machine.expect("its last line", "^probe: done$", BOOT)?;
        machine.expect("its end", "^-- hostile is off$", ANSWER)?;
    }
    Ok(())
}

/// Where a guest has the program, from the disk that the program then overwrites.
const GET_LOAD: &str = "mount -t ext4 -o ro /dev/vda /mnt && cp -r /mnt/tools /tmp && umount /mnt; echo tools $?";

/// What the writer `n` of four wrote into its file of `kib` KiB.
fn written(n: u32, kib: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut number = n;
    while bytes.len() < kib << 10 {
        bytes.extend_from_slice(format!("{number}\n").as_bytes());
        number += 4;
    }
    bytes.truncate(kib << 10);
    bytes
}

/// Waits until a guest has read back what its writers wrote; its lines begin with `prefix`.
fn expect_load(machine: &mut Machine, prefix: &str, kib: usize) -> Result<()> {
    for n in 1..=4 {
        let line = format!("^{prefix}load: {n} ([0-9a-f]+) ");
        let sum = machine.expect("a checksum of the load", &line, LOAD)?;
        let expected = sha256(&written(n, kib))?;
        ensure!(
            sum[1] == expected,
            "writer {n} of {prefix:?} got back a file with checksum {}, not {expected}",
            sum[1]
        );
    }
    machine.expect("the end of the load", &format!("^{prefix}load: done$"), LOAD)?;
    Ok(())
}

/// A file system that the guest makes, four writers fill at once, and another mount reads.
fn disk(setup: &Setup, test: &str, &Load { size, each }: &Load) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of(test)?)?;
    let mut machine = setup.boot_with(test, None, Some(&disk))?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    at_prompt(&mut machine, PROMPT, GET_LOAD, "^tools 0$")?;
    machine.send(&format!("sh /tmp/tools/load /dev/vda {size} {each}"))?;
    expect_load(&mut machine, "", each)?;
    machine.expect("the next prompt", PROMPT, ANSWER)?;
    machine.send("poweroff -f")?;
    machine.expect_exit(0, BOOT)?;
    balance(&machine)?;
    disk.expect_file(None, "1", &written(1, each))
}

/// The same in two guests at the same time, on two partitions of one disk, while `meanwhile` happens. When they are off, their
/// counters balance.
fn two_disks(
    setup: &Setup,
    test: &str,
    system: &str,
    &Load { size, each }: &Load,
    meanwhile: impl FnOnce(&mut Machine) -> Result<()>,
) -> Result<()> {
    const PROMPTS: [&str; 2] = ["^a# ", "^b# "];
    let disk = Disk::partitioned(&setup.disk, setup.disk_of(test)?)?;
    let mut machine = setup.boot_with(test, Some(system), Some(&disk))?;
    machine.expect("the first guest's prompt", PROMPTS[0], BOOT)?;
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, BOOT)?;
        at_prompt(&mut machine, prompt, GET_LOAD, "^tools 0$")?;
    }
    let start = format!("sh /tmp/tools/load /dev/vda {size} {each} >/tmp/load");
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, ANSWER)?;
        machine.send(&format!("{start} &"))?;
        machine.expect("the prompt again", prompt, ANSWER)?;
    }
    meanwhile(&mut machine)?;
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, ANSWER)?;
        machine.send("wait; cat /tmp/load")?;
        expect_load(&mut machine, "", each)?;
        machine.expect("the next prompt", prompt, ANSWER)?;
        machine.send("poweroff -f")?;
        machine.expect("the VMM's last counter", r"^[ab]\| rng0: [0-9]+ requests", BOOT)?;
    }
    machine.expect_exit(0, BOOT)?;
    let disks = balance(&machine)?;
    ensure!(disks == 2, "expected the counters of two disks, got those of {disks}");
    (0..2).try_for_each(|partition| disk.expect_file(Some(partition), "4", &written(4, each)))
}

/// Checks the counters that VMMs have logged: what each disk was asked is answered, and no driver owed an answer for long.
/// Returns how many disks there are.
fn balance(machine: &Machine) -> Result<usize> {
    let text = machine.transcript().text();
    ensure!(!text.contains("owes an answer"), "a request was under way for more than a second");
    let mut disks = 0;
    for line in text.lines().filter(|line| line.contains("| blk0: ") && line.contains(" requests, ")) {
        let numbers: Vec<u64> = line.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        let &[requests, completed, forgotten] = numbers.as_slice() else { bail!("not three counters: {line}") };
        ensure!(requests > 0 && requests == completed + forgotten, "the counters do not balance: {line}");
        disks += 1;
    }
    Ok(disks)
}
