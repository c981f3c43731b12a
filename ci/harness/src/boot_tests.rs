// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests, as a table. Each boots one image and says what must be seen.

use crate::device_tests::{linux_console, linux_disk, linux_disk_faults, linux_net, linux_rng};
use crate::driver_tests::{bad_driver, driver_faults, starved_rng};
use crate::life_tests::{cores_life, crash, linux_pause, linux_reboot, soak_pause, soak_reboot};
use crate::linux_tests::{
    linux_cores, linux_eight, linux_log, linux_shell, linux_smp, run_ctrl_a_x, run_ctrl_c, run_power_off,
};
use crate::load_tests::{hostile, load_disk, load_two_guests, soak_disk, soak_hostile, soak_net, soak_two_guests};
use crate::machine::{Machine, Stop};
use crate::peer::{Disk, sha256};
use crate::probe_tests::{probe_bare, probe_fault_log, probe_on_sel4, probe_smp_bare, probe_smp_on_sel4};
use crate::qemu::{Console, Qemu};
use crate::system_tests::{four_linux, linux_bare_metal, monitor, no_partition, two_guests, two_linux};
use crate::trace;
use anyhow::{Context, Result, bail, ensure};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
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
    /// Holds the image of `system.xml`, and in `tests/NAME` those of `ci/systems/NAME.xml` and `systems/NAME.xml`.
    pub images: PathBuf,
    /// The file name of each image.
    pub image: String,
    /// The probe, a flat binary.
    pub probe: PathBuf,
    /// The disk image that the build makes.
    pub disk: PathBuf,
    /// Where transcripts go, and copies of the disk image.
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
    // Takes longest, so that it must not begin last.
    Test { name: "hostile", run: hostile },
    Test { name: "probe-bare", run: probe_bare },
    Test { name: "probe-smp-bare", run: probe_smp_bare },
    Test { name: "probe", run: probe_on_sel4 },
    Test { name: "probe-smp", run: |setup| probe_smp_on_sel4(setup, "probe-smp") },
    Test { name: "probe-smp-2", run: |setup| probe_smp_on_sel4(setup, "probe-smp-2") },
    Test { name: "probe-smp-4", run: |setup| probe_smp_on_sel4(setup, "probe-smp-4") },
    Test { name: "probe-fault-log", run: probe_fault_log },
    Test { name: "linux-shell", run: linux_shell },
    Test { name: "linux-log", run: linux_log },
    Test { name: "linux-smp", run: linux_smp },
    Test { name: "linux-eight", run: linux_eight },
    Test { name: "linux-disk", run: linux_disk },
    Test { name: "driver-faults", run: driver_faults },
    Test { name: "bad-driver", run: bad_driver },
    Test { name: "linux-disk-faults", run: linux_disk_faults },
    Test { name: "linux-net", run: linux_net },
    Test { name: "linux-rng", run: linux_rng },
    Test { name: "starved-rng", run: starved_rng },
    Test { name: "linux-console", run: linux_console },
    Test { name: "linux-reboot", run: linux_reboot },
    Test { name: "linux-pause", run: linux_pause },
    Test { name: "crash", run: crash },
    Test { name: "two-guests", run: two_guests },
    Test { name: "monitor", run: monitor },
    Test { name: "trace", run: trace::boot_test },
    Test { name: "two-linux", run: two_linux },
    Test { name: "linux-bare-metal", run: linux_bare_metal },
    Test { name: "four-linux", run: four_linux },
    Test { name: "no-partition", run: no_partition },
    Test { name: "load-disk", run: load_disk },
    Test { name: "load-two-guests", run: load_two_guests },
    Test { name: "run-ctrl-c", run: run_ctrl_c },
    Test { name: "run-ctrl-a-x", run: run_ctrl_a_x },
    Test { name: "run-power-off", run: run_power_off },
];

/// Those of the configurations `smp-…`, whose kernel is for several cores.
const CORES: &[Test] = &[Test { name: "linux-cores", run: linux_cores }, Test { name: "cores-life", run: cores_life }];

/// Those that take long.
const SOAK: &[Test] = &[
    Test { name: "soak-reboot", run: soak_reboot },
    Test { name: "soak-pause", run: soak_pause },
    Test { name: "soak-disk", run: soak_disk },
    Test { name: "soak-two-guests", run: soak_two_guests },
    Test { name: "soak-hostile", run: soak_hostile },
    Test { name: "soak-net", run: soak_net },
];

// Limits are for hanging, not for speed: a loaded machine with two slow cores needs a quarter of them.
pub(crate) const BOOT: Duration = Duration::from_secs(180);
pub(crate) const ANSWER: Duration = Duration::from_secs(60);
pub(crate) const PROMPT: &str = "^guest# ";

/// As many tests at a time at most: the one that takes longest takes an eighth of the time of all.
const MOST: usize = 8;

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
    TESTS.iter().chain(SOAK).chain(CORES).map(|test| test.name)
}

/// Runs the tests with these names, or all that are for the configuration, or if `soak` those that take long, and prints a line
/// for each and a closing line. As many run at the same time as the host has cores, up to [`MOST`]; those of several cores, and
/// those that take long, one after the other.
pub fn run(setup: &Setup, soak: bool, chosen: &[String]) -> Result<Count> {
    if let Some(unknown) = chosen.iter().find(|name| !names().any(|known| known == name.as_str())) {
        bail!("no boot test {unknown}: there are {}", names().collect::<Vec<_>>().join(", "));
    }
    let all = match soak {
        true => SOAK,
        false if setup.config.starts_with("smp-") => CORES,
        false => TESTS,
    };
    let is_chosen = |test: &&Test| chosen.iter().any(|name| name == test.name);
    let tests: Vec<&Test> = if chosen.is_empty() {
        all.iter().collect()
    } else {
        TESTS.iter().chain(SOAK).chain(CORES).filter(is_chosen).collect()
    };
    let alone = soak || setup.config.starts_with("smp-");
    let jobs = if alone { 1 } else { thread::available_parallelism().map_or(1, NonZero::get).min(MOST) };
    let (tests, passed, failed) = (Mutex::new(tests.into_iter()), AtomicUsize::new(0), AtomicUsize::new(0));
    let next = || tests.lock().ok()?.next().filter(|_| !setup.stop.is_set());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(test) = next() {
                    let count = if run_one(setup, test) { &passed } else { &failed };
                    count.fetch_add(1, Relaxed);
                }
            });
        }
    });
    ensure!(!setup.stop.is_set(), "stopped by a signal");
    let count = Count { passed: passed.into_inner(), failed: failed.into_inner() };
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(count)
}

/// Runs a test, and prints its line; whether it passed.
fn run_one(setup: &Setup, test: &Test) -> bool {
    let start = Instant::now();
    let result = (test.run)(setup);
    let seconds = start.elapsed().as_secs_f32();
    match &result {
        _ if setup.stop.is_set() => {}
        Ok(()) => println!("{:<17} ok       {seconds:.1} s", test.name),
        Err(error) => println!(
            "{:<17} FAILED   {seconds:.1} s\n{error:#}\n    transcript: {}",
            test.name,
            setup.log(test.name).display()
        ),
    }
    result.is_ok()
}

impl Setup {
    fn log(&self, test: &str) -> PathBuf {
        self.logs.join(format!("{}-{}-{test}.log", self.board, self.config))
    }

    /// The image of `ci/systems/{system}.xml` or `systems/{system}.xml`, or of `system.xml`.
    fn image(&self, system: Option<&str>) -> Result<PathBuf> {
        let directory = system.map_or(self.images.clone(), |name| self.images.join("tests").join(name));
        let image = directory.join(&self.image);
        ensure!(image.is_file(), "no image {}: `make test` builds it", image.display());
        Ok(image)
    }

    pub(crate) fn boot(&self, test: &str, system: Option<&str>) -> Result<Machine> {
        self.boot_with(test, system, None)
    }

    pub(crate) fn boot_with(&self, test: &str, system: Option<&str>, disk: Option<&Disk>) -> Result<Machine> {
        self.start(test, self.command(system, disk)?)
    }

    /// The command that boots a system.
    pub(crate) fn command(&self, system: Option<&str>, disk: Option<&Disk>) -> Result<Command> {
        let disk = disk.map(|disk| disk.path.as_path());
        Ok(self.qemu.sel4(&self.board, &self.config, &self.image(system)?, disk, Console::Plain)?)
    }

    /// The machine that `command` boots.
    pub(crate) fn start(&self, test: &str, command: Command) -> Result<Machine> {
        Ok(Machine::start(command, &self.log(test), &self.stop)?)
    }

    /// Where a test has its disk's image.
    pub(crate) fn disk_of(&self, test: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.logs)?;
        Ok(self.log(test).with_extension("img"))
    }

    /// `make run`, on a terminal of its own.
    pub(crate) fn run(&self, test: &str) -> Result<Machine> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.args(["run", "--qemu", &self.qemu.program, "--board", &self.board, "--config", &self.config]);
        command.arg("--image").arg(self.image(None)?);
        Ok(Machine::start_on_terminal(command, &self.log(test), &self.stop)?)
    }
}

/// Runs a command at the prompt, and returns what matched `pattern` before the next prompt.
pub(crate) fn at_prompt(machine: &mut Machine, prompt: &str, command: &str, pattern: &str) -> Result<Vec<String>> {
    machine.send(command)?;
    let found = machine.expect(&format!("the outcome of `{command}`"), pattern, BOOT)?;
    machine.expect("the next prompt", prompt, ANSWER)?;
    Ok(found)
}

/// A command that ends with a checksum on the line `sum …`.
pub(crate) fn expect_sum(machine: &mut Machine, prompt: &str, command: &str, bytes: &[u8]) -> Result<()> {
    let sum = at_prompt(machine, prompt, &format!("echo sum $({command})"), "^sum ([0-9a-f]+) ")?;
    let expected = sha256(bytes)?;
    ensure!(sum[1] == expected, "`{command}` got a file with checksum {}, not {expected}", sum[1]);
    Ok(())
}

/// Types to guest `n`, counted from 0: Ctrl-] and its number; then return, for a prompt.
pub(crate) fn focus(machine: &mut Machine, n: usize) -> Result<()> {
    machine.send_bytes(format!("\x1d{}\r", n + 1).as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_names() {
        let setup = Setup {
            qemu: Qemu { program: "/nonexistent".into(), yielding: "/nonexistent".into() },
            board: "b".into(),
            config: "c".into(),
            images: "/nonexistent".into(),
            image: "loader.img".into(),
            probe: "/nonexistent".into(),
            disk: "/nonexistent".into(),
            logs: "/nonexistent".into(),
            stop: Stop::default(),
        };
        let error = run(&setup, false, &["linus".into()]).unwrap_err().to_string();
        assert!(error.starts_with("no boot test linus: there are hostile, "), "{error}");
        let failed = run(&setup, false, &["linux-shell".into(), "probe".into()]).unwrap();
        assert_eq!(failed, Count { failed: 2, ..Count::default() }, "no image is a failure");
    }
}
