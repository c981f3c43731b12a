// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests, as a table. Each boots one image and says what must be seen.

use crate::machine::{Machine, Stop};
use crate::probe::{self, Deviations};
use crate::qemu::{Console, Qemu};
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the tests run on.
#[derive(Debug)]
pub struct Setup {
    /// QEMU.
    pub qemu: Qemu,
    /// The board's name.
    pub board: String,
    /// The Microkit configuration's name.
    pub config: String,
    /// Holds the image of `system.xml`, and in `tests/NAME` that of `ci/systems/NAME.xml`.
    pub images: PathBuf,
    /// The file name of each image.
    pub image: String,
    /// The probe, a flat binary.
    pub probe: PathBuf,
    /// Where transcripts go.
    pub logs: PathBuf,
    /// Ends the run.
    pub stop: Stop,
}

/// A boot test.
struct Test {
    name: &'static str,
    run: fn(&Setup) -> Result<()>,
}

const TESTS: &[Test] = &[
    Test { name: "probe-bare", run: probe_bare },
    Test { name: "probe", run: probe_on_sel4 },
    Test { name: "probe-fault-log", run: probe_fault_log },
    Test { name: "linux-shell", run: linux_shell },
    Test { name: "linux-log", run: linux_log },
    Test { name: "run-ctrl-c", run: run_ctrl_c },
    Test { name: "run-ctrl-a-x", run: run_ctrl_a_x },
    Test { name: "run-power-off", run: run_power_off },
];

/// What the probe prints on bare QEMU.
const EXPECTED: &str = include_str!("../../../guests/probe/expected.txt");
/// What differs from that on seL4.
const DEVIATIONS: &str = include_str!("../../../guests/probe/deviations.txt");

// Limits are for hanging, not for speed: a loaded machine with two slow cores needs a quarter of them.
const BOOT: Duration = Duration::from_secs(180);
const ANSWER: Duration = Duration::from_secs(30);
const PROMPT: &str = "^guest# ";

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
}

/// The names of all tests.
pub fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().map(|test| test.name)
}

/// Runs the tests with these names, or all, and prints a line for each and a closing line.
pub fn run(setup: &Setup, chosen: &[String]) -> Result<Count> {
    if let Some(unknown) = chosen.iter().find(|name| !names().any(|known| known == name.as_str())) {
        bail!("no boot test {unknown}: there are {}", names().collect::<Vec<_>>().join(", "));
    }
    let mut count = Count::default();
    for test in TESTS.iter().filter(|test| chosen.is_empty() || chosen.iter().any(|name| name == test.name)) {
        let start = Instant::now();
        let result = (test.run)(setup);
        if setup.stop.is_set() {
            bail!("stopped by a signal");
        }
        let seconds = start.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                println!("{:<16} ok       {seconds:.1} s", test.name);
                count.passed += 1;
            }
            Err(error) => {
                println!("{:<16} FAILED   {seconds:.1} s\n{error:#}", test.name);
                println!("    transcript: {}", setup.log(test.name).display());
                count.failed += 1;
            }
        }
    }
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(count)
}

impl Setup {
    fn log(&self, test: &str) -> PathBuf {
        self.logs.join(format!("{}-{}-{test}.log", self.board, self.config))
    }

    /// The image of `ci/systems/{system}.xml`, or of `system.xml`.
    fn image(&self, system: Option<&str>) -> Result<PathBuf> {
        let directory = system.map_or(self.images.clone(), |name| self.images.join("tests").join(name));
        let image = directory.join(&self.image);
        ensure!(image.is_file(), "no image {}: `make test` builds it", image.display());
        Ok(image)
    }

    fn boot(&self, test: &str, system: Option<&str>) -> Result<Machine> {
        let command = self.qemu.sel4(&self.board, &self.config, &self.image(system)?, Console::Plain)?;
        Ok(Machine::start(command, &self.log(test), &self.stop)?)
    }

    /// `make run`, on a terminal of its own.
    fn run(&self, test: &str) -> Result<Machine> {
        let mut command = std::process::Command::new(std::env::current_exe().context("finding this program")?);
        command.args(["run", "--qemu", &self.qemu.program, "--board", &self.board, "--config", &self.config]);
        command.arg("--image").arg(self.image(None)?);
        Ok(Machine::start_on_terminal(command, &self.log(test), &self.stop)?)
    }
}

/// Waits for the probe to end the machine, and compares its transcript.
fn compare(mut machine: Machine, expected: &str) -> Result<()> {
    machine.expect("the probe's first line", "^probe: [0-9]+ cases$", BOOT)?;
    machine.expect("the probe's last line", "^probe: done$", BOOT)?;
    machine.expect_exit(0, ANSWER)?;
    match probe::difference(expected, &probe::lines(machine.transcript().text())) {
        Some(difference) => bail!("the probe's transcript differs (- expected, + got)\n{difference}"),
        None => Ok(()),
    }
}

/// `expected.txt` is what bare QEMU does, not what somebody thought that it does.
fn probe_bare(setup: &Setup) -> Result<()> {
    let machine = Machine::start(setup.qemu.bare(&setup.probe), &setup.log("probe-bare"), &setup.stop)?;
    compare(machine, EXPECTED)
}

/// In a guest the probe sees what it sees on bare QEMU, but for the deviations that are listed.
fn probe_on_sel4(setup: &Setup) -> Result<()> {
    let expected = Deviations::parse(DEVIATIONS).and_then(|deviations| deviations.apply(EXPECTED));
    compare(setup.boot("probe", Some("probe"))?, &expected.context("guests/probe/deviations.txt")?)
}

/// An access outside the guest's map is logged with address, width and program counter, and once however often it is
/// repeated. The probe's `fault.rs` makes them, from the fixed addresses of its access functions.
fn probe_fault_log(setup: &Setup) -> Result<()> {
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

/// A person at the shell: what is typed is echoed and run, and powering off ends QEMU with status 0.
fn linux_shell(setup: &Setup) -> Result<()> {
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
fn linux_log(setup: &Setup) -> Result<()> {
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

fn run_ctrl_c(setup: &Setup) -> Result<()> {
    end_by_key(setup, "run-ctrl-c", b"\x03")
}

fn run_ctrl_a_x(setup: &Setup) -> Result<()> {
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
fn run_power_off(setup: &Setup) -> Result<()> {
    use_shell(&mut setup.run("run-power-off")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_tables_fit_each_other() {
        let expected = Deviations::parse(DEVIATIONS).and_then(|deviations| deviations.apply(EXPECTED)).unwrap();
        assert_eq!(expected.lines().count(), EXPECTED.lines().count());
        assert_eq!(probe::lines(EXPECTED), EXPECTED.lines().collect::<Vec<_>>());
    }

    #[test]
    fn a_kernels_line_has_a_time_stamp() {
        for (line, is) in
            [("[    0.000000] Booting", true), ("[12345.678901] x", true), ("[  ok  ] x", false), ("x", false)]
        {
            assert_eq!(is_kernels(line), is, "{line}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_names() {
        let setup = Setup {
            qemu: Qemu { program: "/nonexistent".into() },
            board: "b".into(),
            config: "c".into(),
            images: "/nonexistent".into(),
            image: "loader.img".into(),
            probe: "/nonexistent".into(),
            logs: "/nonexistent".into(),
            stop: Stop::default(),
        };
        let error = run(&setup, &["linus".into()]).unwrap_err().to_string();
        assert!(error.starts_with("no boot test linus: there are probe-bare, "), "{error}");
        let failed = run(&setup, &["linux-shell".into(), "probe".into()]).unwrap();
        assert_eq!(failed, Count { failed: 2, ..Count::default() }, "no image is a failure");
    }
}
