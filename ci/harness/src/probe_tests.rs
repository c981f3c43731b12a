// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of the probe: what its transcript is, on bare QEMU and on seL4.

use crate::boot_tests::{ANSWER, BOOT, Setup};
use crate::machine::Machine;
use crate::probe::{self, Deviations};
use anyhow::{Context, Result, bail, ensure};

/// What the probe prints on bare QEMU.
const EXPECTED: &str = include_str!("../../../guests/probe/expected.txt");
/// What differs from that on seL4.
const DEVIATIONS: &str = include_str!("../../../guests/probe/deviations.txt");
/// The same of several CPUs.
const EXPECTED_SMP: &str = include_str!("../../../guests/probe/expected-smp.txt");
const DEVIATIONS_SMP: &str = include_str!("../../../guests/probe/deviations-smp.txt");
/// The one case that QEMU 10 answers otherwise than QEMU 7: as this machine does.
const SPI_MOVED: [&str; 2] = ["smp.spi-moved: took none", "smp.spi-moved: took 62"];

/// Waits for the probe to end the machine, and compares its transcript.
fn compare(machine: Machine, expected: &str) -> Result<()> {
    compare_with(machine, |_| expected.to_owned())
}

/// The same with what is expected where the probe's lines are these.
fn compare_with(mut machine: Machine, expected: impl FnOnce(&[&str]) -> String) -> Result<()> {
    machine.expect("the probe's first line", "^probe: [0-9]+ cases$", BOOT)?;
    machine.expect("the probe's last line", "^probe: done$", BOOT)?;
    machine.expect_exit(0, ANSWER)?;
    let lines = probe::lines(machine.transcript().text());
    match probe::difference(&expected(&lines), &lines) {
        Some(difference) => bail!("the probe's transcript differs (- expected, + got)\n{difference}"),
        None => Ok(()),
    }
}

/// `expected.txt` is what bare QEMU does, not what somebody thought that it does.
pub fn probe_bare(setup: &Setup) -> Result<()> {
    let machine = setup.start("probe-bare", setup.qemu.bare(&setup.probe))?;
    compare(machine, EXPECTED)
}

/// With several CPUs the answers are the same, however many there are.
pub fn probe_smp_bare(setup: &Setup) -> Result<()> {
    let [qemu_7, qemu_10] = SPI_MOVED;
    let expected = |got: &[&str]| EXPECTED_SMP.replace(qemu_7, if got.contains(&qemu_10) { qemu_10 } else { qemu_7 });
    for cpus in ["2", "4", "8"] {
        let mut command = setup.qemu.bare(&setup.probe);
        command.args(["-smp", cpus]);
        let machine = setup.start("probe-smp-bare", command)?;
        compare_with(machine, expected).with_context(|| format!("{cpus} CPUs"))?;
    }
    Ok(())
}

/// In a guest the probe sees what it sees on bare QEMU, but for the deviations that are listed.
pub fn probe_on_sel4(setup: &Setup) -> Result<()> {
    let expected = Deviations::parse(DEVIATIONS).and_then(|deviations| deviations.apply(EXPECTED));
    compare(setup.boot("probe", Some("probe"))?, &expected.context("guests/probe/deviations.txt")?)
}

pub fn probe_smp_on_sel4(setup: &Setup, test: &str) -> Result<()> {
    let expected = Deviations::parse(DEVIATIONS_SMP).and_then(|deviations| deviations.apply(EXPECTED_SMP));
    compare(setup.boot(test, Some(test))?, &expected.context("guests/probe/deviations-smp.txt")?)
}

/// An access outside the guest's map is logged with address, width and program counter, and once however often it is
/// repeated. The probe's `fault.rs` makes them, from the fixed addresses of its access functions.
pub fn probe_fault_log(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("probe-fault-log", Some("probe"))?;
    machine.expect("the probe's last line", "^probe: done$", BOOT)?;
    machine.expect_exit(0, ANSWER)?;
    let text = machine.transcript().text();
    for [address, report] in [
        ["0x9800000", "guest read 4 bytes at 0x9800000, where nothing is (pc 0x40080050)"],
        ["0x9801001", "guest wrote 1 bytes at 0x9801001, where nothing is (pc 0x40080060)"],
    ] {
        let own = probe::lines(text);
        let logged: Vec<&str> = text.lines().filter(|line| line.contains(address) && !own.contains(line)).collect();
        ensure!(logged.len() == 1, "expected one line of the log about {address}, got {}: {logged:#?}", logged.len());
        ensure!(logged[0].contains(report), "expected `{report}`, got `{}`", logged[0]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_tables_fit_each_other() {
        for (bare, deviations) in [(EXPECTED, DEVIATIONS), (EXPECTED_SMP, DEVIATIONS_SMP)] {
            let expected = Deviations::parse(deviations).and_then(|deviations| deviations.apply(bare)).unwrap();
            assert_eq!(expected.lines().count(), bare.lines().count());
            assert_eq!(probe::lines(bare), bare.lines().collect::<Vec<_>>());
        }
        assert!(EXPECTED_SMP.lines().any(|line| line == SPI_MOVED[0]), "the case is QEMU 7's");
    }
}
