// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What a guest costs that sleeps for ten seconds: instructions of the whole machine, and processor time of the host.

use super::counts::{self, LIMIT};
use super::{Report, Setup};
use crate::machine::Machine;
use crate::qemu::Console;
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// At most this multiple of the instructions on bare QEMU, and so many more.
const FACTOR: f64 = 1.5;
const ALLOWANCE: u64 = 1_000_000;

/// At most this much of one of the host's processors, in percent.
const HOST: f64 = 2.0;
/// Measured once for comparison: libvmm 0.2.0, whose guest never stops running.
const LIBVMM_HOST: f64 = 96.0;

/// After /init's line: until the guest sleeps, and how long it is then watched, which is less than it sleeps.
const SETTLED: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(8);

/// Measures, and adds to the report.
pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let Some(image) = &setup.idle_image else { return Ok(()) };
    let bare = || setup.bare("/idle");
    let ours = || setup.qemu.sel4(&setup.board, &setup.config, image, None, Console::Plain);
    report.instructions(instructions(setup, "bare-idle", bare())?, instructions(setup, "idle", ours()?)?);
    report.host(host(setup, "bare-idle-host", bare())?, host(setup, "idle-host", ours()?)?);
    Ok(())
}

fn instructions(setup: &Setup, name: &str, command: Command) -> Result<u64> {
    let counts = counts::run(setup, name, command, |machine| {
        machine.expect("the end of the sleep", "^init: status 0$", LIMIT)?;
        Ok(())
    })?;
    Ok(counts.get(&0).context("the marks of /idle")?.all())
}

/// How much of a processor QEMU uses while the guest sleeps, in percent.
fn host(setup: &Setup, name: &str, command: Command) -> Result<f64> {
    let mut machine = Machine::start(command, &setup.log(name), &setup.stop)?;
    machine.expect("/init", "^init: uptime [0-9.]+$", LIMIT)?;
    thread::sleep(SETTLED);
    let (since, before) = (Instant::now(), processor_time(machine.id())?);
    thread::sleep(WATCHED);
    let used = processor_time(machine.id())? - before;
    let percent = 100.0 * used / since.elapsed().as_secs_f64();
    machine.expect("the end of the sleep", "^init: status 0$", LIMIT)?;
    machine.expect_exit(0, LIMIT)?;
    Ok(percent)
}

/// What a process has used, in seconds: fields 14 and 15 of its line (proc(5)), of which the second is its name in parentheses.
fn processor_time(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let line = fs::read_to_string(&path).with_context(|| path.clone())?;
    let fields = line.rsplit_once(')').map_or("", |(_, after)| after).split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse).collect::<Result<Vec<u64>, _>>().context(path)?;
    Ok(ticks.iter().sum::<u64>() as f64 / rustix::param::clock_ticks_per_second() as f64)
}

impl Report {
    fn instructions(&mut self, bare: u64, ours: u64) {
        let limit = (FACTOR * bare as f64) as u64 + ALLOWANCE;
        let head = ["Linux asleep", "bare", "libvmm", "ours", "limit"];
        self.line(format_args!("\n{:<28}{:>12}{:>12}{:>12}{:>12}", head[0], head[1], head[2], head[3], head[4]));
        self.line(format_args!("{:<28}{bare:>12}{:>12}{ours:>12}{limit:>12}", "instructions in 10 s", "-"));
        if ours > limit {
            self.exceeded.push(format!("an idle guest takes {ours} instructions in 10 s, more than {limit}"));
        }
    }

    fn host(&mut self, bare: f64, ours: f64) {
        self.line(format_args!(
            "{:<28}{bare:>12.2}{LIBVMM_HOST:>12.2}{ours:>12.2}{HOST:>12.2}",
            "% of a host's processor"
        ));
        if ours > HOST {
            self.exceeded
                .push(format!("QEMU uses {ours:.2} % of a processor for an idle guest, more than {HOST:.2} %"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    #[test]
    fn each_limit_is_checked() {
        let mut report = Report::default();
        report.instructions(2_000_000, 4_000_000);
        report.host(0.29, 2.0);
        assert!(report.exceeded.is_empty(), "{:?}", report.exceeded);
        report.instructions(2_000_000, 4_000_001);
        report.host(0.29, 2.01);
        assert_eq!(report.exceeded.len(), 2);
    }

    #[test]
    fn a_process_that_works_uses_a_processor() {
        let (since, before) = (Instant::now(), processor_time(process::id()).unwrap());
        while since.elapsed() < Duration::from_millis(100) {}
        assert!(processor_time(process::id()).unwrap() > before);
    }
}
