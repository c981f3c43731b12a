// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What exits cost, in executed instructions.
//!
//! QEMU counts one nanosecond of virtual time per instruction, so that the guest `exits` measures instructions with its
//! counter. Which of them are whose tells the plugin `ci/counter`.

use super::counts::{self, Count, Counts, LIMIT};
use super::{Report, Setup, wakes};
use crate::qemu::Console;
use anyhow::{Context, Result};

/// As in the guest.
const ITERATIONS: u64 = 10_000;

/// An operation, with what libvmm 0.2.0 on Microkit 2.3.0 (release) once took for it, and the limit.
struct Row {
    /// As the guest calls it.
    name: &'static str,
    what: &'static str,
    libvmm: Option<u64>,
    limit: Option<u64>,
}

const fn row(name: &'static str, what: &'static str, libvmm: Option<u64>, limit: Option<u64>) -> Row {
    Row { name, what, libvmm, limit }
}

/// In the order of the guest's marks.
const ROWS: [Row; 8] = [
    row("gicd-write", "trapped GICD write", Some(4434), Some(3250)),
    row("gicd-read", "trapped GICD read", Some(4418), Some(3350)),
    row("psci-version", "PSCI_VERSION by SMC", Some(5461), Some(3300)),
    row("self-sgi", "SGI to itself, to handler", Some(5129), Some(3850)),
    row("timer", "timer to handler, busy", Some(2867), Some(2680)),
    row("wake-up", "timer to handler, in WFI", None, None),
    row("queue-notify", "QueueNotify, queue empty", None, Some(2700)),
    row("register-read", "virtio register read", None, Some(1)),
];

/// Measures, and adds to the report.
pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    if let Some(image) = &setup.exits_image {
        let command = setup.qemu.sel4(&setup.board, &setup.config, image, None, Console::Plain)?;
        let mut totals = Vec::new();
        let mut alone = Vec::new();
        let counts = counts::run(setup, "exits", command, |machine| {
            for row in &ROWS {
                let found = machine.expect(row.what, &format!("^exits: {} ([0-9]+)$", row.name), LIMIT)?;
                totals.push(found[1].parse().context("a number in the transcript")?);
            }
            alone = wakes::read(machine)?;
            Ok(())
        })?;
        report.exits(&totals, &counts);
        if let Some(image) = &setup.beside_image {
            let command = setup.qemu.sel4(&setup.board, &setup.config, image, None, Console::Plain)?;
            report.wakes(&alone, &wakes::beside(setup, command)?, &setup.logs)?;
        }
    }
    Ok(())
}

impl Report {
    fn exits(&mut self, totals: &[u64], counts: &Counts) {
        let head = ["libvmm", "ours", "kernel", "domains", "limit"];
        self.line(format_args!(
            "\n{:<28}{:>8}{:>8}{:>8}{:>8}{:>8}",
            "instructions for each", head[0], head[1], head[2], head[3], head[4]
        ));
        let shown = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        for (index, (row, total)) in ROWS.iter().zip(totals).enumerate() {
            let share = |of: fn(&Count) -> u64| {
                shown(counts.get(&index).map(|count| (of(count) + ITERATIONS / 2) / ITERATIONS))
            };
            let (kernel, domains) = (share(|count| count.kernel), share(Count::in_domains));
            let (libvmm, limit) = (shown(row.libvmm), shown(row.limit));
            self.line(format_args!("{:<28}{libvmm:>8}{total:>8}{kernel:>8}{domains:>8}{limit:>8}", row.what));
            if let Some(limit) = row.limit.filter(|limit| total > limit) {
                self.exceeded.push(format!("{} takes {total} instructions, more than {limit}", row.what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_checked() {
        let limits: Vec<u64> = ROWS.iter().map(|row| row.limit.unwrap_or(1)).collect();
        let mut report = Report::default();
        report.exits(&limits, &Counts::new());
        assert!(report.exceeded.is_empty(), "{:?}", report.exceeded);
        let above: Vec<u64> = limits.iter().map(|limit| limit + 1).collect();
        report.exits(&above, &Counts::new());
        assert_eq!(report.exceeded.len(), ROWS.iter().filter(|row| row.limit.is_some()).count());
        assert_eq!(report.exceeded[0], "trapped GICD write takes 3251 instructions, more than 3250");
    }

    #[test]
    fn shares_are_rounded_and_beside_their_total() {
        let mut report = Report::default();
        let domains = vec![("vmm".to_owned(), 2_140_214)];
        let count = Count { kernel: 29_859_786, guest: 40_000, domains, ..Count::default() };
        report.exits(&[3200], &Counts::from([(0, count)]));
        assert!(
            report.text.ends_with("trapped GICD write              4434    3200    2986     214    3250\n"),
            "{}",
            report.text
        );
    }
}
