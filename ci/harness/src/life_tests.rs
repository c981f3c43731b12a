// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of a guest's life: how it ends, and starts anew.

use crate::boot_tests::{ANSWER, BOOT, PROMPT, Setup, at_prompt, expect_sum};
use crate::linux_tests::put_under_load;
use crate::machine::Machine;
use crate::peer::{Disk, Host, network_up, numbers, sha256};
use crate::qemu::COUNTED;
use anyhow::{Context, Result, ensure};
use std::thread;
use std::time::{Duration, Instant};

/// A restarted guest takes at most this much longer to /init than after power-on.
const SLOWER: f64 = 1.01;

/// How long a guest runs between pauses, and how long it is paused.
const RUNS: Duration = Duration::from_millis(300);
const RESTS: Duration = Duration::from_millis(500);

/// A few restarts, for each run of the tests.
pub fn linux_reboot(setup: &Setup) -> Result<()> {
    reboot(setup, "linux-reboot", 3)
}

/// A hundred restarts in a row.
pub fn soak_reboot(setup: &Setup) -> Result<()> {
    reboot(setup, "soak-reboot", 100)
}

/// A guest that reboots while its disk is being read is as after power-on each time, and as fast: by the instructions that
/// it has executed at /init, which its own clock shows.
fn reboot(setup: &Setup, test: &str, count: usize) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of(test)?)?;
    let mut command = setup.command(None, Some(&disk))?;
    command.args(COUNTED);
    let mut machine = setup.start(test, command)?;
    let first = seconds_to_init(&mut machine)?;
    for n in 1..=count {
        at_prompt(&mut machine, PROMPT, "mount -o ro -t ext4 /dev/vda /mnt; echo mount $?", "^mount 0$")?;
        expect_sum(&mut machine, PROMPT, "sha256sum /mnt/known", &numbers(200_000))?;
        machine.send("while :; do cat /dev/vda; done >/dev/null & sleep 0.1; reboot -f")?;
        let seconds = seconds_to_init(&mut machine)?;
        ensure!(
            seconds <= first * SLOWER,
            "restart {n} took {seconds:.4} s to /init, more than 1 % above the {first:.4} s after power-on"
        );
    }
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// Seconds of the guest's clock from the start of its kernel to that of /init.
fn seconds_to_init(machine: &mut Machine) -> Result<f64> {
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    let found = at_prompt(machine, PROMPT, "dmesg | grep 'Run /init'", r"^\[ *([0-9.]+)\] Run /init")?;
    found[1].parse().context("the time of /init")
}

/// A few pauses, for each run of the tests.
pub fn linux_pause(setup: &Setup) -> Result<()> {
    pause(setup, "linux-pause", 5)
}

/// Thirty pauses.
pub fn soak_pause(setup: &Setup) -> Result<()> {
    pause(setup, "soak-pause", 30)
}

/// A guest that is paused and resumed while it reads its disk, writes to it, and exchanges data with a host notices nothing:
/// all data are right, and its clock has not counted the pauses.
fn pause(setup: &Setup, test: &str, count: u32) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of(test)?)?;
    let sent = numbers(1_000_000).repeat(count as usize);
    let (sent_sum, known_sum) = (sha256(&sent)?, sha256(&numbers(200_000))?);
    let host = Host::listen(sent)?;
    let mut machine = setup.boot_with(test, None, Some(&disk))?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    for command in ["mount -t ext4 /dev/vda /mnt; echo ready $?", &format!("{}; echo ready $?", network_up(15))] {
        at_prompt(&mut machine, PROMPT, command, "^ready 0$")?;
    }
    let port = host.port;
    machine.send("cd /tmp; rest() { while [ ! -e stop ]; do sleep 0.1; done; }")?;
    machine.send(&format!(
        "(nc 10.0.2.2 {port} </dev/null | sha256sum >net; rest; seq 1 600000 | nc 10.0.2.2 {port}) &"
    ))?;
    let read = "echo 3 >/proc/sys/vm/drop_caches; sha256sum </mnt/known";
    let write = "seq 1 300000 >/mnt/written; sync";
    machine.send(&format!("while [ ! -e stop ]; do {read}; {write}; done >disk &"))?;
    at_prompt(&mut machine, PROMPT, "echo begun $((40+2))", "^begun 42$")?;
    let (start, mut paused) = (Instant::now(), Duration::ZERO);
    let uptime = |machine: &mut Machine| -> Result<f64> {
        at_prompt(machine, PROMPT, "read -r up _ </proc/uptime; echo up $up", "^up ([0-9.]+)$")?[1]
            .parse()
            .context("uptime")
    };
    let before = uptime(&mut machine)?;
    for _ in 0..count {
        thread::sleep(RUNS);
        paused += rest(&mut machine)?;
    }
    let counted = uptime(&mut machine)? - before;
    let most = (start.elapsed() - paused).as_secs_f64();
    ensure!(counted <= most, "the guest counted {counted} s in the {most} s in which it was not paused");
    machine.send("touch stop; wait")?;
    let pattern = format!("^{known_sum} - {sent_sum} -$");
    at_prompt(&mut machine, PROMPT, "echo $(sort -u disk) $(cat net)", &pattern)?;
    at_prompt(&mut machine, PROMPT, "umount /mnt; echo unmount $?", "^unmount 0$")?;
    machine.send("poweroff -f")?;
    machine.expect_exit(0, BOOT)?;
    let received = host.received()?;
    ensure!(received == numbers(600_000), "the host received {} bytes, not what the guest sent", received.len());
    disk.expect_file(None, "written", &numbers(300_000))
}

/// Pauses the guest and lets it go on: for how long it was paused at least.
fn rest(machine: &mut Machine) -> Result<Duration> {
    machine.send_bytes(b"\x1dp")?;
    machine.expect("the guest's state", "^-- linux is paused$", BOOT)?;
    let since = Instant::now();
    thread::sleep(RESTS);
    let paused = since.elapsed();
    machine.send_bytes(b"\x1dr")?;
    machine.expect("the guest's state", "^-- linux runs$", BOOT)?;
    Ok(paused)
}

/// One guest crashes as soon as it starts, and is restarted as often as it may be; another one is kept as it is.
pub fn crash(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("crash", Some("crash"))?;
    for (n, fate) in [(1, "restarted"), (2, "restarted"), (3, "off")] {
        let line = format!(r"^loops\| guest crashed \({n} in a row\), and is {fate}$");
        machine.expect("the crash", &line, BOOT)?;
    }
    machine.expect_exit(0, ANSWER)?;
    let text = machine.transcript().text();
    for line in [
        "halts| vCPU 0 has no exception vectors at 0x200; the guest crashes",
        "halts| guest crashed (1 in a row), and is halted",
    ] {
        ensure!(text.lines().filter(|seen| seen.trim_end() == line).count() == 1, "expected once: {line}");
    }
    Ok(())
}

/// A guest whose CPUs are on four cores, all under load, is paused and resumed, restarted, and paused and resumed.
pub fn cores_life(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("cores-life", Some("linux-cores"))?;
    for last in [false, true] {
        put_under_load(&mut machine, 4)?;
        for _ in 0..3 {
            rest(&mut machine)?;
            // Each CPU does something, and is interrupted for it.
            let each = "for cpu in 0 1 2 3; do taskset -p -c $cpu $$ >/dev/null && n=$((n+1)); done; echo ran $n; n=0";
            at_prompt(&mut machine, PROMPT, each, "^ran 4$")?;
        }
        machine.send(if last { "poweroff -f" } else { "reboot -f" })?;
    }
    Ok(machine.expect_exit(0, BOOT)?)
}
