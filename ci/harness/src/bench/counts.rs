// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What QEMU's plugin `ci/counter` counts between marks in a guest.

use super::{Setup, programs};
use crate::machine::Machine;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of all intervals of an operation.
#[derive(Debug, Default, PartialEq)]
pub struct Count {
    /// Instructions in seL4.
    pub kernel: u64,
    /// Returns from seL4, to a domain or a guest.
    pub returns: u64,
    /// Instructions in guests, and in whatever else is no protection domain.
    pub guest: u64,
    /// Instructions in protection domains, by the name of the program.
    pub domains: Vec<(String, u64)>,
}

impl Count {
    /// Instructions in all protection domains.
    pub fn in_domains(&self) -> u64 {
        self.domains.iter().map(|(_, count)| count).sum()
    }

    /// Instructions of the whole machine.
    pub fn all(&self) -> u64 {
        self.kernel + self.guest + self.in_domains()
    }
}

/// By the number of the operation.
pub type Counts = HashMap<usize, Count>;

/// Loads the plugin into the QEMU that `command` starts. When that has ended, [`read`] the file that this returns.
pub fn load(setup: &Setup, name: &str, command: &mut Command) -> Result<PathBuf> {
    let file = setup.log(name).with_extension("counts");
    let mut plugin = format!("{},out={}", setup.counter.display(), file.display());
    for program in programs(&setup.programs)? {
        plugin.push_str(&format!(",program={}", program.display()));
    }
    command.arg("-plugin").arg(plugin);
    Ok(file)
}

/// Time for a run in which instructions are counted.
pub const LIMIT: Duration = Duration::from_secs(600);

/// Boots with the plugin, one nanosecond of virtual time for each instruction, and returns what was counted.
pub fn run(
    setup: &Setup,
    name: &str,
    mut command: Command,
    expect: impl FnOnce(&mut Machine) -> Result<()>,
) -> Result<Counts> {
    command.args(["-icount", "shift=0,sleep=off"]);
    let file = load(setup, name, &mut command)?;
    let mut machine = Machine::start(command, &setup.log(name), &setup.stop)?;
    expect(&mut machine)?;
    machine.expect_exit(0, LIMIT)?;
    read(&file)
}

/// Reads what the plugin wrote.
pub fn read(path: &Path) -> Result<Counts> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    parse(&text).with_context(|| format!("{}: {text}", path.display()))
}

fn parse(text: &str) -> Option<Counts> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split(' ').skip(4).collect();
    let line = |line: &str| {
        let numbers = line.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        let [operation, kernel, returns, guest, programs @ ..] = &numbers[..] else { return None };
        let domains = names.iter().map(|name| name.to_string()).zip(programs.iter().copied()).collect();
        let count = Count { kernel: *kernel, returns: *returns, guest: *guest, domains };
        (names.len() == programs.len()).then_some((usize::try_from(*operation).ok()?, count))
    };
    lines.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_by_its_columns() {
        let counts = parse("operation seL4 returns elsewhere vmm blk\n0 10 2 30 4 5\n7 1 0 2 0 0\n").unwrap();
        let domains = vec![("vmm".to_owned(), 4), ("blk".to_owned(), 5)];
        assert_eq!(counts[&0], Count { kernel: 10, returns: 2, guest: 30, domains });
        assert_eq!((counts[&0].in_domains(), counts[&0].all(), counts[&7].all()), (9, 49, 3));
        for wrong in ["", "operation seL4 returns elsewhere\n0 1 2", "operation seL4 returns elsewhere vmm\n0 1 2 3"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
