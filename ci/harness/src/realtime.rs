// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! One core of the host on which everything comes before the vCPU.
//!
//! When QEMU counts virtual time in instructions, what its other threads do takes none, as long as they are done before the
//! vCPU executes its next instruction. They are if all share a core, and all but the vCPU have a real-time priority there.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The name of the thread in which QEMU executes guests' instructions, as `-name debug-threads=on` makes it.
const VCPU: &str = "/TCG";

/// A core of the host.
#[derive(Clone, Copy, Debug)]
pub struct Core(usize);

impl Core {
    /// The last one that this process may use.
    pub fn last() -> Result<Self> {
        let usable = sched_getaffinity(None)?;
        let last = (0..CpuSet::MAX_CPU).rev().find(|core| usable.is_set(*core));
        Ok(Self(last.context("no core to run on")?))
    }

    /// Makes the process that `command` becomes run on this core.
    pub fn pin(self, command: &mut Command) {
        // QEMU names its threads, so that the vCPU's is found.
        command.args(["-name", "bench,debug-threads=on"]);
        let set = self.set();
        // SAFETY: between fork and exec only a system call is made, which neither allocates nor takes a lock.
        unsafe { command.pre_exec(move || Ok(sched_setaffinity(None, &set)?)) };
    }

    /// Gives all threads of the process `id` but the vCPU's a real-time priority. Those that they start inherit it.
    pub fn raise(self, id: u32) -> Result<()> {
        for task in fs::read_dir(format!("/proc/{id}/task"))? {
            let task = task?;
            let name = fs::read_to_string(task.path().join("comm"))?;
            let thread = task.file_name().to_string_lossy().parse()?;
            if !name.trim_end().ends_with(VCPU) {
                set_real_time(thread).context("SCHED_FIFO is refused; remedy: run as root")?;
            }
        }
        Ok(())
    }

    /// Lets the calling thread run on this core with a real-time priority.
    pub fn join(self) -> Result<()> {
        sched_setaffinity(None, &self.set())?;
        set_real_time(0).context("SCHED_FIFO is refused; remedy: run as root")
    }

    fn set(self) -> CpuSet {
        let mut set = CpuSet::new();
        set.set(self.0);
        set
    }
}

/// Sets the policy of `thread` to SCHED_FIFO; zero is the calling thread.
fn set_real_time(thread: libc::pid_t) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads the parameters.
    match unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
