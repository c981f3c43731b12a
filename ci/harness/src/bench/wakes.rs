// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Isolation in time: how late a guest of high priority wakes up, alone and beside one of low priority that never rests.
//!
//! The guest `exits` waits by WFI for a deadline, again and again, and tells by how many nanoseconds, which are instructions,
//! its interrupt handler was late.

use super::{Report, Setup};
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(600);
/// Lines of wake-ups, as in the guest.
const LINES: usize = 50;

/// Reads how late the guest was each time, in nanoseconds; shortest first.
pub fn read(machine: &mut Machine) -> Result<Vec<u64>> {
    let mut wakes = Vec::new();
    for _ in 0..LINES {
        let line = machine.expect("wake-ups", r"exits: woken \[([0-9, ]+)\]$", LIMIT)?;
        for number in line[1].split(", ") {
            wakes.push(number.parse().context("a number in the transcript")?);
        }
    }
    wakes.sort_unstable();
    Ok(wakes)
}

/// Boots the system with the neighbour, which never ends.
pub fn beside(setup: &Setup, mut command: Command) -> Result<Vec<u64>> {
    command.args(["-icount", "shift=0,sleep=off"]);
    read(&mut Machine::start(command, &setup.log("exits-beside"), &setup.stop)?)
}

impl Report {
    /// Adds both distributions, each sorted, and draws them into `wake-ups.svg` in `directory`.
    pub(super) fn wakes(&mut self, alone: &[u64], beside: &[u64], directory: &Path) -> Result<()> {
        ensure!(!alone.is_empty() && !beside.is_empty(), "no wake-ups were measured");
        self.line(format_args!(
            "\n{:<28}{:>8}{:>8}{:>8}{:>8}",
            "ns late at a deadline", "least", "median", "99 %", "most"
        ));
        for (what, wakes) in [("alone", alone), ("beside one that spins", beside)] {
            let [least, median, most_of, most] = [0, 50, 99, 100].map(|percent| quantile(wakes, percent));
            self.line(format_args!("{what:<28}{least:>8}{median:>8}{most_of:>8}{most:>8}"));
        }
        let path = directory.join("wake-ups.svg");
        fs::write(&path, plot(&[("alone", "#1f77b4", alone), ("beside one that spins", "#d62728", beside)]))
            .with_context(|| path.display().to_string())?;
        self.line(format_args!("drawn in {}", path.display()));
        Ok(())
    }
}

/// The least value that `percent` of the sorted `values` do not exceed.
fn quantile(values: &[u64], percent: usize) -> u64 {
    let rank = (values.len() * percent).div_ceil(100).max(1) - 1;
    values.get(rank).copied().unwrap_or(0)
}

/// Width and height of the plot, and the margin for its labels, in pixels.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 50.0;

/// The share of wake-ups that were at most so late, for each series of sorted nanoseconds.
fn plot(series: &[(&str, &str, &[u64])]) -> String {
    let most = series.iter().filter_map(|(_, _, values)| values.last()).max().copied().unwrap_or(1).max(1) as f64;
    let x = |value: f64| MARGIN + value / most * (WIDTH - 2.0 * MARGIN);
    let y = |share: f64| HEIGHT - MARGIN - share * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    // Writing to a string does not fail.
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        let _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {0}H{1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{0}\" text-anchor=\"end\">{3} %</text>\n\
             <text x=\"{4}\" y=\"{5}\" text-anchor=\"middle\">{6:.1} µs</text>",
            y(share),
            WIDTH - MARGIN,
            MARGIN - 5.0,
            share * 100.0,
            x(share * most),
            HEIGHT - MARGIN + 18.0,
            share * most / 1000.0
        );
    }
    for (n, (name, colour, values)) in series.iter().enumerate() {
        let mut path = format!("M{:.1} {:.1}", x(0.0), y(0.0));
        for (rank, value) in values.iter().enumerate() {
            let _ = write!(path, "H{:.1}V{:.1}", x(*value as f64), y((rank + 1) as f64 / values.len() as f64));
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            MARGIN + 10.0,
            MARGIN + 16.0 * n as f64
        );
    }
    svg + "<text x=\"50%\" y=\"20\" text-anchor=\"middle\">from the deadline to the guest's handler</text>\n</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values = [1, 2, 3, 4];
        assert_eq!([0, 25, 26, 50, 99, 100].map(|percent| quantile(&values, percent)), [1, 1, 2, 2, 4, 4]);
    }

    #[test]
    fn a_plot_has_a_line_for_each_series() {
        let svg = plot(&[("a", "red", &[1000, 2000]), ("b", "blue", &[4000])]);
        assert!(roxmltree::Document::parse(&svg).is_ok(), "{svg}");
        assert!(svg.contains("M50.0 350.0H205.0V200.0H360.0V50.0"), "{svg}");
        assert!(svg.contains(">4.0 µs<") && svg.contains("fill=\"blue\">b<"), "{svg}");
    }
}
