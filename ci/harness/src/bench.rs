// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! `make bench`: times in executed instructions, and sizes, against their limits; and what an idle guest takes of the host.
//!
//! QEMU counts 2 ns of virtual time per instruction and skips idle time, so the figures repeat. The guest runs `/origin`
//! (guests/bench), which prints at which virtual time its uptime was zero.

mod counts;
mod exits;
mod idle;
mod io;
mod split;
mod wakes;

use crate::machine::{Machine, Stop};
use crate::qemu::{COUNTED, Console, Qemu};
use crate::size;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is measured, and with what.
#[derive(Debug)]
pub struct Setup {
    /// QEMU.
    pub qemu: Qemu,
    /// The board's name.
    pub board: String,
    /// The Microkit configuration's name.
    pub config: String,
    /// The image of `ci/systems/bench.xml`; none without an SDK.
    pub image: Option<PathBuf>,
    /// The image of `system.xml` with the programs of `guests/bench`; none without an SDK.
    pub io_image: Option<PathBuf>,
    /// The image of `systems/two-linux.xml` with the programs of `guests/bench`; there is one if there is `io_image`.
    pub pair_image: Option<PathBuf>,
    /// The image of `ci/systems/exits.xml`; none without an SDK.
    pub exits_image: Option<PathBuf>,
    /// The image of `ci/systems/exits-beside.xml`; none without an SDK.
    pub beside_image: Option<PathBuf>,
    /// The image of `ci/systems/idle.xml`; none without an SDK.
    pub idle_image: Option<PathBuf>,
    /// QEMU's plugin that counts instructions (`ci/counter`).
    pub counter: PathBuf,
    /// The guest's kernel, for bare QEMU.
    pub kernel: PathBuf,
    /// The guest's initramfs with the programs of `guests/bench`, for bare QEMU.
    pub initramfs: PathBuf,
    /// Directory of the PDs' ELF files.
    pub programs: PathBuf,
    /// The repository.
    pub source: PathBuf,
    /// Where transcripts go.
    pub logs: PathBuf,
    /// Ends the run.
    pub stop: Stop,
}

impl Setup {
    /// Where the transcript of a run goes.
    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{}-{}-{name}.log", self.board, self.config))
    }

    /// Bare QEMU that boots the guest, whose /init then runs `program`: as the guests of ci/systems/bench.xml and idle.xml do.
    fn bare(&self, program: &str) -> Command {
        let mut command = self.qemu.bare(&self.kernel);
        command.arg("-initrd").arg(&self.initramfs);
        command.arg("-append").arg(format!("console=ttyAMA0 quiet -- {program}"));
        command
    }
}

const LIMIT: Duration = Duration::from_secs(300);

/// At most this multiple of the uptime on bare QEMU.
const UPTIME_FACTOR: f64 = 1.10;
/// Seconds from power-on to /init, at most.
const POWER_ON: f64 = 3.0;
/// Bytes of the VMM's text, less than.
const VMM_TEXT: u64 = 96 * 1024;

/// Measured once for comparison: libvmm 0.2.0 with a passed-through UART on Microkit 2.3.0, release. Bare QEMU took 1.65 and
/// 1.90 s with the kernel and initramfs of that measurement.
const LIBVMM: Boot = Boot { uptime: 2.04, power_on: 3.23 };

/// Seconds of virtual time at /init.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Boot {
    uptime: f64,
    power_on: f64,
}

/// Measures, prints the table, and says whether every limit holds.
pub fn run(setup: &Setup) -> Result<bool> {
    let bare = boot(setup, "bare", setup.bare("/origin"))?;
    let ours = match &setup.image {
        Some(image) => {
            Some(boot(setup, "bench", setup.qemu.sel4(&setup.board, &setup.config, image, None, Console::Plain)?)?)
        }
        None => None,
    };
    let mut report = Report::default();
    report.times(bare, ours);
    exits::measure(setup, &mut report)?;
    idle::measure(setup, &mut report)?;
    io::measure(setup, &mut report)?;
    report.programs(&setup.programs)?;
    report.source(&setup.source)?;
    print!("{}", report.text);
    for exceeded in &report.exceeded {
        println!("bench: {exceeded}");
    }
    Ok(report.exceeded.is_empty())
}

fn boot(setup: &Setup, name: &str, mut command: Command) -> Result<Boot> {
    command.args(COUNTED);
    let mut machine = Machine::start(command, &setup.log(&format!("bench-{name}")), &setup.stop)?;
    let seconds = |found: Vec<String>| found[1].parse::<f64>().context("a time in the transcript");
    let uptime = seconds(machine.expect("/init", "^init: uptime ([0-9.]+)$", LIMIT)?)?;
    let origin = seconds(machine.expect("the uptime's origin", "^origin: ([0-9.]+)$", LIMIT)?)?;
    machine.expect_exit(0, LIMIT)?;
    Ok(Boot { uptime, power_on: origin + uptime })
}

/// The ELF files of protection domains in `directory`, sorted.
fn programs(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = directory.read_dir().with_context(|| directory.display().to_string())?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "elf"));
    paths.sort();
    Ok(paths)
}

#[derive(Default)]
struct Report {
    text: String,
    exceeded: Vec<String>,
}

impl Report {
    fn line(&mut self, text: std::fmt::Arguments) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{text}");
    }

    fn times(&mut self, bare: Boot, ours: Option<Boot>) {
        let limit = Boot { uptime: UPTIME_FACTOR * bare.uptime, power_on: POWER_ON };
        self.line(format_args!("{:<28}{:>8}{:>8}{:>8}{:>8}", "seconds to /init", "bare", "libvmm", "ours", "limit"));
        for (what, get) in
            [("guest's uptime", (|boot| boot.uptime) as fn(Boot) -> f64), ("from power-on", |boot| boot.power_on)]
        {
            let (bare, limit) = (get(bare), get(limit));
            let shown = ours.map_or("-".to_owned(), |ours| format!("{:.2}", get(ours)));
            self.line(format_args!("{what:<28}{bare:>8.2}{:>8.2}{shown:>8}{limit:>8.2}", get(LIBVMM)));
            if let Some(ours) = ours.map(get).filter(|ours| *ours > limit) {
                self.exceeded.push(format!("{what} at /init is {ours:.2} s, more than {limit:.2} s"));
            }
        }
    }

    fn programs(&mut self, directory: &Path) -> Result<()> {
        self.line(format_args!("\n{:<28}{:>8}{:>8}{:>8}{:>8}", "bytes", "text", "data", "bss", "limit"));
        for path in programs(directory)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let size = size::program(&path)?;
            let limit = if name == "vmm.elf" { VMM_TEXT.to_string() } else { String::new() };
            self.line(format_args!("{name:<28}{:>8}{:>8}{:>8}{limit:>8}", size.text, size.data, size.bss));
            if name == "vmm.elf" && size.text >= VMM_TEXT {
                self.exceeded.push(format!("vmm.elf has {} bytes of text, not less than {VMM_TEXT}", size.text));
            }
        }
        Ok(())
    }

    fn source(&mut self, root: &Path) -> Result<()> {
        self.line(format_args!("\n{:<28}{:>8}{:>8}", "lines of Rust", "code", "tests"));
        let crates = size::crates(root)?;
        for (path, lines) in &crates {
            self.line(format_args!("{:<28}{:>8}{:>8}", path.display(), lines.code, lines.tests));
        }
        let sum = |get: fn(&size::Lines) -> usize| crates.iter().map(|(_, lines)| get(lines)).sum::<usize>();
        let (code, tests) = (sum(|lines| lines.code), sum(|lines| lines.tests));
        self.line(format_args!("{:<28}{code:>8}{tests:>8}", "all"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_checked() {
        let bare = Boot { uptime: 1.5, power_on: 1.8 };
        let cases: [(Option<Boot>, &[&str]); 4] = [
            (None, &[]),
            (Some(Boot { uptime: 1.65, power_on: 3.0 }), &[]),
            (Some(Boot { uptime: 1.66, power_on: 3.0 }), &["guest's uptime at /init is 1.66 s, more than 1.65 s"]),
            (Some(Boot { uptime: 1.5, power_on: 3.01 }), &["from power-on at /init is 3.01 s, more than 3.00 s"]),
        ];
        for (ours, exceeded) in cases {
            let mut report = Report::default();
            report.times(bare, ours);
            assert_eq!(report.exceeded, exceeded);
        }
    }
}
