// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of load: what goes to a disk or over a network comes back unchanged, however much it is.

use crate::boot_tests::{ANSWER, BOOT, PROMPT, Setup, at_prompt, focus};
use crate::device_tests::network;
use crate::machine::Machine;
use crate::peer::{Disk, numbers, sha256};
use anyhow::{Result, bail, ensure};
use std::process::Command;
use std::time::{Duration, Instant};

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

/// The network with more than 256 MiB each way.
pub fn soak_net(setup: &Setup) -> Result<()> {
    network(setup, "soak-net", 80)
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
    two_disks(setup, "load-two-guests", &SHORT)
}

/// The full one.
pub fn soak_two_guests(setup: &Setup) -> Result<()> {
    two_disks(setup, "soak-two-guests", &FULL)
}

/// Five seconds of load beside a hostile guest. It is what both guests do together that is compared: in so short a time, one is now
/// and then ahead of the other one.
pub fn hostile(setup: &Setup) -> Result<()> {
    beside_hostile(setup, "hostile", 5, |rates| vec![rates.iter().sum()])
}

/// A minute of it, in which each guest has what it has beside an idle one.
pub fn soak_hostile(setup: &Setup) -> Result<()> {
    beside_hostile(setup, "soak-hostile", 60, |rates| rates.to_vec())
}

/// The prompts of the two guests.
const PROMPTS: [&str; 2] = ["^a# ", "^b# "];
/// How much slower two guests may be beside a hostile one than beside an idle one.
const SLOWER: f64 = 1.05;
/// How often both are measured at most, until their means say that the guests are not slower. The noise of a host that does other
/// things too averages out; what a hostile guest takes from the others does not.
const MEASUREMENTS: u32 = 4;
/// What `guests/linux/rate` writes, reads and sends in a round, in bytes.
const BLOCK: usize = 128 << 10;
const GET_RATE: &str = "mount -t ext4 /dev/vda /mnt && cp /mnt/tools/rate /tmp; echo rate $?";

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

/// Has a guest's flush end in the host's memory: how long the host takes to get data onto its own disk is not what is tested.
fn on_fast_disk(mut command: Command) -> Command {
    command.args(["-set", "drive.disk.cache=unsafe"]);
    command
}

/// A file system that the guest makes, four writers fill at once, and another mount reads.
fn disk(setup: &Setup, test: &str, &Load { size, each }: &Load) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of(test)?)?;
    let mut machine = setup.start(test, on_fast_disk(setup.command(None, Some(&disk))?))?;
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

/// The same in two guests at the same time, on two partitions of one disk. When they are off, their counters balance.
fn two_disks(setup: &Setup, test: &str, &Load { size, each }: &Load) -> Result<()> {
    let disk = Disk::partitioned(&setup.disk, setup.disk_of(test)?)?;
    let mut machine = setup.start(test, on_fast_disk(setup.command(Some("two-guests"), Some(&disk))?))?;
    machine.expect("the first guest's prompt", PROMPTS[0], BOOT)?;
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, BOOT)?;
        at_prompt(&mut machine, prompt, GET_LOAD, "^tools 0$")?;
    }
    in_both(&mut machine, |_| format!("sh /tmp/tools/load /dev/vda {size} {each} >/tmp/load &"))?;
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, ANSWER)?;
        machine.send("wait; cat /tmp/load")?;
        expect_load(&mut machine, "", each)?;
        machine.expect("the next prompt", prompt, ANSWER)?;
    }
    power_off(&mut machine)?;
    (0..2).try_for_each(|partition| disk.expect_file(Some(partition), "4", &written(4, each)))
}

/// Turns off two guests, and checks the counters of their disks.
fn power_off(machine: &mut Machine) -> Result<()> {
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(machine, n)?;
        machine.expect("the guest's prompt", prompt, ANSWER)?;
        machine.send("poweroff -f")?;
        machine.expect("the VMM's last counter", r"^[ab]\| rng0: [0-9]+ requests", BOOT)?;
    }
    machine.expect_exit(0, BOOT)?;
    let disks = balance(machine)?;
    ["a", "b"].into_iter().try_for_each(|guest| interrupts_balance(machine, guest))?;
    ensure!(disks == 2, "expected the counters of two disks, got those of {disks}");
    Ok(())
}

/// Two guests use a disk and the network between them while a third one is off, and while it does all that a guest must not,
/// for `seconds` of their time each: no data are wrong, and what `compared` makes of their two rates in KiB/s is nowhere
/// slower by more than [`SLOWER`], in the mean of up to [`MEASUREMENTS`].
///
/// Time is counted in instructions, and goes on as the host's when there are none. So the guests' budgets are what decides:
/// beside them, the host does not count.
fn beside_hostile(setup: &Setup, test: &str, seconds: u32, compared: fn([u32; 2]) -> Vec<u32>) -> Result<()> {
    let disk = Disk::partitioned(&setup.disk, setup.disk_of(test)?)?;
    let mut command = on_fast_disk(setup.command(Some("hostile"), Some(&disk))?);
    command.args(["-icount", "shift=2"]);
    let mut machine = setup.start(test, command)?;
    machine.expect("the end of the third guest", "^-- hostile is off$", BOOT)?;
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, BOOT)?;
        at_prompt(&mut machine, prompt, GET_RATE, "^rate 0$")?;
    }
    in_both(&mut machine, |n| format!("sh /tmp/rate load 10.0.2.2{n} 10.0.2.2{} >/tmp/load &", 1 - n))?;
    // At first they wait for each other.
    rates(&mut machine, 1, watch)?;
    let (mut idle, mut beside) = ([0; 2], [0; 2]);
    for measurement in 1.. {
        let mut mean = |sums: &mut [u32; 2], meanwhile| -> Result<Vec<u32>> {
            let now = rates(&mut machine, seconds, meanwhile)?;
            sums.iter_mut().zip(now).for_each(|(sum, rate)| *sum += rate);
            Ok(compared(sums.map(|sum| sum / measurement)))
        };
        let (idle, beside) = (mean(&mut idle, watch)?, mean(&mut beside, attack)?);
        let mut both = idle.iter().zip(&beside);
        let Some((idle, beside)) = both.find(|(idle, beside)| f64::from(**beside) * SLOWER < f64::from(**idle)) else {
            break;
        };
        ensure!(measurement < MEASUREMENTS, "{beside} KiB/s beside a hostile guest, {idle} KiB/s beside an idle one");
    }
    in_both(&mut machine, |_| "touch /tmp/stop".into())?;
    let block = &numbers(BLOCK as u32)[..BLOCK];
    let mut ends = Vec::new();
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, ANSWER)?;
        let line = "load: rounds ([0-9]+) [0-9]+ read ([0-9a-f]+) - received ([0-9a-f]+) -$";
        ends.push(at_prompt(&mut machine, prompt, "wait; echo $(cat /tmp/load)", line)?);
    }
    for (end, peer) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        ensure!(end[2] == sha256(block)?, "what was read has the checksum {}", end[2]);
        let sent = block.repeat(peer[1].parse()?);
        ensure!(end[3] == sha256(&sent)?, "the {} bytes received have the checksum {}", sent.len(), end[3]);
    }
    power_off(&mut machine)?;
    (0..2).try_for_each(|partition| disk.expect_file(Some(partition), "copy", block))
}

/// Has both guests execute what `command` says for each.
fn in_both(machine: &mut Machine, command: impl Fn(usize) -> String) -> Result<()> {
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(machine, n)?;
        machine.expect("the guest's prompt", prompt, ANSWER)?;
        machine.send(&command(n))?;
        machine.expect("the prompt again", prompt, ANSWER)?;
    }
    Ok(())
}

/// How many KiB per second the load of each guest moves in the next `seconds`, while `meanwhile` is done again and again.
fn rates(machine: &mut Machine, seconds: u32, meanwhile: fn(&mut Machine) -> Result<()>) -> Result<[u32; 2]> {
    in_both(machine, |_| format!("sh /tmp/rate of {seconds} &"))?;
    // With the focus elsewhere, each line says whose it is.
    machine.send_bytes(b"\x1d3")?;
    machine.expect("the third guest's focus", "^-- hostile$", ANSWER)?;
    let start = machine.transcript().text().len();
    let since = Instant::now();
    loop {
        meanwhile(machine)?;
        let text = &machine.transcript().text()[start..];
        let rate = |guest: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(guest));
            lines.find_map(|line| line.split_once("rate: ")?.1.strip_suffix(" KiB/s")?.parse().ok())
        };
        if let (Some(a), Some(b)) = (rate("[a]"), rate("[b]")) {
            return Ok([a, b]);
        }
        ensure!(since.elapsed() < LOAD, "a guest did not say how fast its load is");
    }
}

/// Waits until a guest says how fast its load is.
fn watch(machine: &mut Machine) -> Result<()> {
    machine.expect("the rate of a guest", r"^\[[ab]\] .*rate: [0-9]+ KiB/s$", LOAD)?;
    Ok(())
}

/// Lets the third guest, which is the probe, do everything that a guest must not.
fn attack(machine: &mut Machine) -> Result<()> {
    machine.send_bytes(b"\x1d3\x1dR")?;
    machine.expect("the first line of the probe", "^probe: [0-9]+ cases$", BOOT)?;
    machine.expect("its last line", "^probe: done$", BOOT)?;
    machine.expect("its end", "^-- hostile is off$", BOOT)?;
    Ok(())
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

/// Checks that `guest` has ended every interrupt that its VMM has given it, but for what list registers held when it went off.
fn interrupts_balance(machine: &Machine, guest: &str) -> Result<()> {
    const LIST_REGISTERS: u64 = 4;
    let counter = |name: &str| -> Option<u64> {
        let line =
            machine.transcript().text().lines().find_map(|line| line.strip_prefix(&format!("{guest}| {name}: ")))?;
        line.split(',').next()?.parse().ok()
    };
    let counters = counter("injections").zip(counter("exits eoi"));
    let Some((injected, ended)) = counters else { bail!("{guest} has no counters of interrupts") };
    let balanced = injected > 0 && (ended..=ended + LIST_REGISTERS).contains(&injected);
    ensure!(balanced, "{guest} was given {injected} interrupts and ended {ended}");
    Ok(())
}
