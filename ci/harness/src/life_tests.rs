// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of a guest's life: how it ends, and starts anew.

use crate::boot_tests::{ANSWER, BOOT, PROMPT, Setup, at_prompt, expect_sum};
use crate::machine::Machine;
use crate::peer::{Disk, numbers};
use crate::qemu::COUNTED;
use anyhow::{Context, Result, ensure};

/// A restarted guest takes at most this much longer to /init than after power-on.
const SLOWER: f64 = 1.01;

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
