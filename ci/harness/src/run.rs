// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! `make run`: QEMU on the user's terminal.
//!
//! The harness becomes QEMU, so that there is one process to end and QEMU's status is the command's. QEMU leaves the
//! terminal's signals on: Ctrl-C ends it. Ctrl-A x ends it too; Ctrl-A h lists what else Ctrl-A does. A Ctrl-C for the
//! guest is the price.

use crate::qemu::{Console, Qemu};
use anyhow::Context;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// Replaces this process by QEMU; returns only if that failed.
pub fn run(qemu: &Qemu, board: &str, config: &str, image: &Path, disk: Option<&Path>) -> anyhow::Result<()> {
    anyhow::ensure!(image.is_file(), "no image {}: `make` builds it", image.display());
    if let Some(disk) = disk {
        anyhow::ensure!(disk.is_file(), "no disk image {}; remedy: set DISK to one, or leave it unset", disk.display());
    }
    let mut command = qemu.sel4(board, config, image, disk, Console::Terminal)?;
    eprintln!("Ctrl-C or Ctrl-A x ends QEMU, as does powering off the last guest.");
    let parent = rustix::process::getppid();
    // Kept across exec: if `make` is killed, so is QEMU.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    anyhow::ensure!(rustix::process::getppid() == parent, "the calling process is gone");
    Err(command.exec())
        .with_context(|| format!("cannot start {}; remedy: ci/setup/packages installs what is needed", qemu.program))
}
