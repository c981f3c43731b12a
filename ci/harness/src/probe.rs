// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Comparing the probe's transcript with the one it prints on bare QEMU.

use std::collections::BTreeMap;

/// The lines of `console` that are the probe's: `probe: …` and `area.case: …`. Others come from the VMM, the kernel or a driver.
pub fn lines(console: &str) -> Vec<&str> {
    console.lines().filter(|line| line.split_once(": ").is_some_and(|(name, _)| is_name(name))).collect()
}

fn is_name(name: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name == "probe" || name.split_once('.').is_some_and(|(area, case)| word(area) && word(case))
}

/// Results that differ in a guest on seL4, by the case's name, each with the reason.
#[derive(Debug)]
pub struct Deviations<'a>(BTreeMap<&'a str, (&'a str, &'a str)>);

/// A line of the table of deviations that does not say `case | result on seL4 | reason`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    /// Not three fields, or an empty one.
    #[error("line {0}: not `case | result | reason`")]
    Fields(usize),
    /// The case has a line already.
    #[error("line {0}: {1} has a line already")]
    Twice(usize, String),
    /// The case is not in the expected transcript, or its result there is the same.
    #[error("{0}: no such case, or no deviation")]
    Idle(String),
}

impl<'a> Deviations<'a> {
    /// Reads the table: `case | result | reason`, with `#` before a comment.
    pub fn parse(table: &'a str) -> Result<Self, BadTable> {
        let mut deviations = BTreeMap::new();
        for (number, line) in (1..).zip(table.lines()).filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let mut fields = line.splitn(3, " | ").map(str::trim).filter(|field| !field.is_empty());
            let (Some(case), Some(result), Some(reason)) = (fields.next(), fields.next(), fields.next()) else {
                return Err(BadTable::Fields(number));
            };
            if deviations.insert(case, (result, reason)).is_some() {
                return Err(BadTable::Twice(number, case.into()));
            }
        }
        Ok(Self(deviations))
    }

    /// The transcript expected on seL4, from the one expected on bare QEMU.
    pub fn apply(&self, bare: &str) -> Result<String, BadTable> {
        let mut left: Vec<&str> = self.0.keys().copied().collect();
        let mut transcript = String::new();
        for line in bare.lines() {
            let (name, result) = line.split_once(": ").unwrap_or((line, ""));
            let ours = match self.0.get(name) {
                Some((ours, _)) if *ours != result => {
                    left.retain(|case| *case != name);
                    ours
                }
                _ => result,
            };
            transcript.push_str(&format!("{name}: {ours}\n"));
        }
        left.first().map_or(Ok(transcript), |case| Err(BadTable::Idle((*case).into())))
    }
}

/// What differs between two transcripts, case by case; `None` if nothing does.
pub fn difference(expected: &str, got: &[&str]) -> Option<String> {
    let expected: Vec<&str> = expected.lines().collect();
    if expected == got {
        return None;
    }
    let mut report = String::new();
    for line in expected.iter().filter(|line| !got.contains(line)) {
        report.push_str(&format!("    - {line}\n"));
    }
    for line in got.iter().filter(|line| !expected.contains(line)) {
        report.push_str(&format!("    + {line}\n"));
    }
    if report.is_empty() {
        report.push_str("    the lines are in another order, or repeated\n");
    }
    Some(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_probes_lines_are_compared() {
        let console = "LDR|INFO: x\nprobe: 2 cases\nlinux_vmm: warn: y\ngic.sgi: took 5\nfoo.bar baz\nEtc.Dir: z\n";
        assert_eq!(lines(console), ["probe: 2 cases", "gic.sgi: took 5"]);
    }

    #[test]
    fn deviations_replace_results() {
        let table = "# why\ncpu.conduit | smc | HVC is seL4's own\n";
        let expected = Deviations::parse(table).unwrap().apply("cpu.conduit: hvc\ngic.sgi: took 5\n").unwrap();
        assert_eq!(expected, "cpu.conduit: smc\ngic.sgi: took 5\n");
    }

    #[test]
    fn a_table_that_is_not_exact_is_refused() {
        let cases: &[(&str, BadTable)] = &[
            ("a.b | c\n", BadTable::Fields(1)),
            ("#\na.b |  | c\n", BadTable::Fields(2)),
            ("a.b | 1 | c\na.b | 2 | c\n", BadTable::Twice(2, "a.b".into())),
            ("a.c | 1 | no such case\n", BadTable::Idle("a.c".into())),
            ("a.b | 0 | no deviation\n", BadTable::Idle("a.b".into())),
        ];
        for (table, error) in cases {
            let result = Deviations::parse(table).and_then(|deviations| deviations.apply("a.b: 0\n"));
            assert_eq!(result.as_ref(), Err(error), "{table}");
        }
    }

    #[test]
    fn a_difference_names_the_lines() {
        assert_eq!(difference("a.a: 1\na.b: 2\n", &["a.a: 1", "a.b: 2"]), None);
        let report = difference("a.a: 1\na.b: 2\n", &["a.a: 1", "a.b: 3"]).unwrap();
        assert_eq!(report, "    - a.b: 2\n    + a.b: 3\n");
        for got in [&["a.b: 2", "a.a: 1"][..], &["a.a: 1", "a.b: 2", "a.b: 2"], &["a.a: 1"]] {
            assert!(difference("a.a: 1\na.b: 2\n", got).is_some(), "{got:?}");
        }
    }
}
