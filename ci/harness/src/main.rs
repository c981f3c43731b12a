// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The command: `harness test`, `harness bench`, `harness run`. The Makefile calls it.

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use harness::machine::Stop;
use harness::qemu::{Console, Qemu};
use harness::{bench, boot_tests, run, trace};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the system on QEMU: tests it, measures it, or lets you use it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Args)]
struct Target {
    #[command(flatten)]
    qemu: Qemu,
    /// The board.
    #[arg(long, default_value = "qemu_virt_aarch64")]
    board: String,
    /// The Microkit configuration.
    #[arg(long, default_value = "debug")]
    config: String,
}

#[derive(Subcommand)]
enum Action {
    /// Boots an image on this terminal. Ctrl-C or Ctrl-A x ends it; the status is QEMU's.
    Run {
        #[command(flatten)]
        target: Target,
        /// The image that bin/microkit made.
        #[arg(long)]
        image: PathBuf,
        /// An image of a disk.
        #[arg(long)]
        disk: Option<PathBuf>,
    },
    /// Boots an image on the terminal, and writes a trace of its guests.
    Trace {
        #[command(flatten)]
        target: Target,
        /// The image that bin/microkit made.
        #[arg(long)]
        image: PathBuf,
        /// An image of a disk.
        #[arg(long)]
        disk: Option<PathBuf>,
        /// The trace.
        #[arg(long)]
        output: PathBuf,
    },
    /// Runs boot tests: all, or those named.
    Test {
        #[command(flatten)]
        target: Target,
        /// Directory with the image of system.xml, and in tests/NAME that of ci/systems/NAME.xml.
        #[arg(long)]
        images: PathBuf,
        /// The file name of each image.
        #[arg(long, default_value = "loader.img")]
        image: String,
        /// The probe guest.
        #[arg(long)]
        probe: PathBuf,
        /// The disk image that guests/linux/disk makes, of which tests use copies.
        #[arg(long)]
        disk: PathBuf,
        /// Directory for transcripts.
        #[arg(long, default_value = "build/logs")]
        logs: PathBuf,
        /// Run the tests that take long instead.
        #[arg(long)]
        soak: bool,
        /// Names of tests.
        names: Vec<String>,
    },
    /// Measures boot time and sizes; fails if a limit is exceeded.
    Bench {
        #[command(flatten)]
        target: Target,
        /// The image of ci/systems/bench.xml; without it only bare QEMU is timed.
        #[arg(long)]
        image: Option<PathBuf>,
        /// The image of system.xml with the programs of guests/bench; without it input and output are not measured.
        #[arg(long, requires = "pair_image")]
        io_image: Option<PathBuf>,
        /// The image of systems/two-linux.xml with the programs of guests/bench.
        #[arg(long)]
        pair_image: Option<PathBuf>,
        /// The image of ci/systems/exits.xml; without it exits are not measured.
        #[arg(long)]
        exits_image: Option<PathBuf>,
        /// The image of ci/systems/exits-beside.xml; without it time isolation is not measured.
        #[arg(long)]
        beside_image: Option<PathBuf>,
        /// The image of ci/systems/idle.xml; without it idle guests are not measured.
        #[arg(long)]
        idle_image: Option<PathBuf>,
        /// QEMU's plugin that counts instructions.
        #[arg(long)]
        counter: PathBuf,
        /// The Linux guest's kernel.
        #[arg(long)]
        kernel: PathBuf,
        /// The Linux guest's initramfs, with the programs of guests/bench.
        #[arg(long)]
        initramfs: PathBuf,
        /// Directory with the PDs' ELF files.
        #[arg(long)]
        programs: PathBuf,
        /// The repository, whose lines are counted.
        #[arg(long, default_value = ".")]
        source: PathBuf,
        /// Directory for transcripts.
        #[arg(long, default_value = "build/logs")]
        logs: PathBuf,
    },
}

fn main() -> ExitCode {
    match act(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("harness: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does it; false if something failed and was reported.
fn act(action: Action) -> Result<bool> {
    match action {
        Action::Run { target, image, disk } => {
            run::run(&target.qemu, &target.board, &target.config, &image, disk.as_deref()).map(|()| false)
        }
        Action::Trace { target, image, disk, output } => {
            let stop = Stop::on_signals()?;
            let command =
                target.qemu.sel4(&target.board, &target.config, &image, disk.as_deref(), Console::Terminal)?;
            trace::run(command, &output, &stop).map(|()| true)
        }
        Action::Test { target, images, image, probe, disk, logs, soak, names } => {
            let (Target { qemu, board, config }, stop) = (target, Stop::on_signals()?);
            let setup = boot_tests::Setup { qemu, board, config, images, image, probe, disk, logs, stop };
            Ok(boot_tests::run(&setup, soak, &names)?.failed == 0)
        }
        Action::Bench {
            target,
            image,
            io_image,
            pair_image,
            exits_image,
            beside_image,
            idle_image,
            counter,
            kernel,
            initramfs,
            programs,
            source,
            logs,
        } => {
            let (Target { qemu, board, config }, stop) = (target, Stop::on_signals()?);
            bench::run(&bench::Setup {
                qemu,
                board,
                config,
                image,
                io_image,
                pair_image,
                exits_image,
                beside_image,
                idle_image,
                counter,
                kernel,
                initramfs,
                programs,
                source,
                logs,
                stop,
            })
        }
    }
}
