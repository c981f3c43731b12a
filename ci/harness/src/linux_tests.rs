// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of a Linux guest with a shell: the console, the kernel's log, CPUs, and `make run`.

use crate::boot_tests::{ANSWER, BOOT, PROMPT, Setup, at_prompt};
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// A person at the shell: what is typed is echoed and run, and powering off ends QEMU with status 0.
pub fn linux_shell(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("linux-shell", None)?;
    use_shell(&mut machine)
}

fn use_shell(machine: &mut Machine) -> Result<()> {
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    machine.send("echo answer $((6*7))")?;
    machine.expect("the echo of what was typed", r"echo answer \$\(\(6\*7\)\)$", ANSWER)?;
    machine.expect("the command's output", "^answer 42$", ANSWER)?;
    machine.expect("the next prompt", PROMPT, ANSWER)?;
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// The kernel's log arrives whole on the emulated PL011, from its first line: as many lines as the kernel counts. The
/// VMM's own messages arrive too (`log="info"`), in every configuration.
pub fn linux_log(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("linux-log", Some("linux-log"))?;
    machine.expect("the VMM's own message", r"^linux\| guest starts at 0x40[0-9a-f]+$", BOOT)?;
    machine.expect("the log's first line", r"^\[    0\.000000\] Booting Linux on physical CPU 0x0", BOOT)?;
    machine.expect("the console", r"9000000\.pl011: ttyAMA0 at MMIO 0x9000000 \(irq = [0-9]+.*\) is a PL011", BOOT)?;
    machine.expect("/init", "^init: uptime [0-9.]+$", BOOT)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    let seen = machine.transcript().text().lines().filter(|line| is_kernels(line)).count();
    machine.send("dmesg | wc -l")?;
    let counted = machine.expect("the kernel's count", "^([0-9]+)$", ANSWER)?;
    let counted: usize = counted[1].parse().context("the kernel's count")?;
    ensure!(seen == counted, "the console showed {seen} lines of the kernel's log, which has {counted}");
    machine.send("poweroff -f")?;
    machine.expect("the VMM's last message", r"^linux\| guest is off$", BOOT)?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// `[    1.234567] …`
fn is_kernels(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    stamp.is_some_and(|(stamp, _)| stamp.trim_start().parse::<f64>().is_ok())
}

/// Four vCPUs under load, of which three are in turn taken off line and put back, fifty times in all.
pub fn linux_smp(setup: &Setup) -> Result<()> {
    go_off_and_on(setup.boot("linux-smp", Some("linux-smp"))?, 4, 50)
}

/// The same with as many vCPUs as a guest can have.
pub fn linux_eight(setup: &Setup) -> Result<()> {
    go_off_and_on(setup.boot("linux-eight", Some("linux-eight"))?, 8, 14)
}

/// Four, each on a core of its own.
pub fn linux_cores(setup: &Setup) -> Result<()> {
    go_off_and_on(setup.boot("linux-cores", Some("linux-cores"))?, 4, 50)
}

/// Waits for the shell, and puts load on the guest's CPUs, all `cpus` of which are on line.
pub fn put_under_load(machine: &mut Machine, cpus: usize) -> Result<()> {
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    at_prompt(machine, PROMPT, "cat /sys/devices/system/cpu/online", &format!("^0-{}$", cpus - 1))?;
    machine.send(&format!("for i in $(seq {cpus}); do while :; do :; done & done"))?;
    machine.expect("the prompt again", PROMPT, ANSWER)?;
    Ok(())
}

/// What taking CPUs off line and putting them back takes, when a core of the host has to be two.
const TURNS: Duration = Duration::from_secs(600);

/// Puts load on the guest's `cpus` CPUs, and takes all but the first in turn off line and back, `times` in all.
fn go_off_and_on(mut machine: Machine, cpus: usize, times: usize) -> Result<()> {
    put_under_load(&mut machine, cpus)?;
    machine.send("line() { echo $2 >/sys/devices/system/cpu/cpu$1/online || bad=$((bad+1)); }")?;
    machine.expect("the prompt again", PROMPT, ANSWER)?;
    let turn = format!("n=$((n+1)); cpu=$((n%{}+1)); line $cpu 0; line $cpu 1", cpus - 1);
    machine.send(&format!("n=0; bad=0; while [ $n -lt {times} ]; do {turn}; done; echo done $n $bad"))?;
    machine.expect("the last turn, without a failure", &format!("^done {times} 0$"), TURNS)?;
    // The kernel says so each time that AFFINITY_INFO has told it that a CPU is off.
    at_prompt(&mut machine, PROMPT, "dmesg | grep -c 'psci: CPU[0-9] killed'", &format!("^{times}$"))?;
    at_prompt(&mut machine, PROMPT, "cat /sys/devices/system/cpu/online", &format!("^0-{}$", cpus - 1))?;
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

pub fn run_ctrl_c(setup: &Setup) -> Result<()> {
    end_by_key(setup, "run-ctrl-c", b"\x03")
}

pub fn run_ctrl_a_x(setup: &Setup) -> Result<()> {
    end_by_key(setup, "run-ctrl-a-x", b"\x01x")
}

/// The key ends `make run` with status 0 and nothing left running.
fn end_by_key(setup: &Setup, test: &str, key: &[u8]) -> Result<()> {
    let mut machine = setup.run(test)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    machine.send_bytes(key)?;
    Ok(machine.expect_exit(0, ANSWER)?)
}

/// `make run` is a terminal to the shell, and returns QEMU's status.
pub fn run_power_off(setup: &Setup) -> Result<()> {
    use_shell(&mut setup.run("run-power-off")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_line_has_a_time_stamp() {
        for (line, is) in
            [("[    0.000000] Booting", true), ("[12345.678901] x", true), ("[  ok  ] x", false), ("x", false)]
        {
            assert_eq!(is_kernels(line), is, "{line}");
        }
    }
}
