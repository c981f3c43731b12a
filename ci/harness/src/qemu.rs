// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! QEMU's command lines.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// A QEMU executable.
#[derive(clap::Args, Clone, Debug)]
pub struct Qemu {
    /// QEMU's executable.
    #[arg(long = "qemu", default_value = "qemu-system-aarch64")]
    pub program: String,
    /// QEMU's plugin for a host with fewer cores than the board (`ci/yielding`).
    #[arg(long, default_value = "build/cargo/release/libyielding.so")]
    pub yielding: PathBuf,
}

/// The cores of a board with a kernel for several.
const CORES: usize = 4;

/// Where the console goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Standard input and output, and nothing else: for a [`crate::machine::Machine`].
    Plain,
    /// The user's terminal, with QEMU's monitor behind Ctrl-A and Ctrl-C ending the machine.
    Terminal,
}

/// Makes virtual time a function of the instructions executed, 2 ns each, and skips over idle time: a run then repeats
/// exactly, on any host.
pub const COUNTED: [&str; 2] = ["-icount", "shift=1,sleep=off"];

/// A board that QEMU does not emulate.
#[derive(Debug, thiserror::Error)]
#[error(
    "no QEMU machine for board {0}: `make run`, `test` and `bench` know qemu_virt_aarch64; deploy to others as board/{0}/README.md says"
)]
pub struct UnknownBoard(String);

impl Qemu {
    /// The machine that boots a Microkit image of `board` and `config`, with the devices of the board's `board.dtd`: the disk
    /// if there is an image for it, a network in which the host is 10.0.2.2, and a source of entropy.
    pub fn sel4(
        &self,
        board: &str,
        config: &str,
        image: &Path,
        disk: Option<&Path>,
        console: Console,
    ) -> Result<Command, UnknownBoard> {
        if board != "qemu_virt_aarch64" {
            return Err(UnknownBoard(board.into()));
        }
        let mut command = self.command(console);
        command.args(["-machine", "virt,virtualization=on", "-cpu", "cortex-a53", "-m", "size=2G"]);
        if config.starts_with("smp-") {
            command.args(["-smp", &CORES.to_string()]);
            if thread::available_parallelism().is_ok_and(|host| host.get() < CORES) {
                command.arg("-plugin").arg(&self.yielding);
            }
        }
        let loader = format!("loader,file={},addr=0x70000000,cpu-num=0", image.display());
        command.args(["-device", &loader]);
        devices(&mut command, disk);
        Ok(command)
    }

    /// Lets the machine of `command`, which [`Self::sel4`] made, have its RAM in a file.
    pub fn memory_in(command: &mut Command, file: &Path) {
        let path = file.display().to_string().replace(',', ",,");
        command.args(["-machine", "memory-backend=ram"]);
        command.args(["-object", &format!("memory-backend-file,id=ram,size=2G,share=on,mem-path={path}")]);
    }

    /// The machine that our guests resemble, without a hypervisor: what transcripts and times are compared with.
    pub fn bare(&self, kernel: &Path) -> Command {
        let mut command = self.command(Console::Plain);
        command.args(["-machine", "virt,gic-version=2", "-cpu", "cortex-a53", "-m", "256"]);
        command.args([OsStr::new("-kernel"), kernel.as_os_str()]);
        command
    }

    /// The same with the devices of [`Self::sel4`] and a virtio console that goes nowhere, for the guest itself to drive.
    pub fn bare_with_devices(&self, kernel: &Path, disk: &Path) -> Command {
        let mut command = self.bare(kernel);
        devices(&mut command, Some(disk));
        command.args(["-chardev", "null,id=console", "-device", "virtio-serial-device"]);
        command.args(["-device", "virtconsole,chardev=console"]);
        command
    }

    fn command(&self, console: Console) -> Command {
        let mut command = Command::new(&self.program);
        // Not even the network interface that QEMU adds by itself, whose firmware is a package of its own.
        command.args(["-display", "none", "-nic", "none"]);
        match console {
            Console::Plain => command.args(["-monitor", "none", "-serial", "stdio"]),
            Console::Terminal => command
                .args(["-chardev", "stdio,id=terminal,mux=on,signal=on", "-serial", "chardev:terminal"])
                .args(["-mon", "chardev=terminal,mode=readline"]),
        };
        command
    }
}

/// Adds the virtio devices of the board, with the disk if there is an image for it.
fn devices(command: &mut Command, disk: Option<&Path>) {
    command.args(["-global", "virtio-mmio.force-legacy=false"]);
    if let Some(disk) = disk {
        // QEMU wants commas doubled.
        let drive = format!("if=none,id=disk,format=raw,file={}", disk.display().to_string().replace(',', ",,"));
        command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=disk,bus=virtio-mmio-bus.31"]);
    }
    command.args(["-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net,bus=virtio-mmio-bus.23"]);
    command.args(["-device", "virtio-rng-device,bus=virtio-mmio-bus.15"]);
}
