// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! `bin/microkit` of devsdk: packs a system description and its programs into an image for devsdk's kernel.
//!
//! Command line and input are those of the seL4 Microkit tool 2.3.0, so that a build does not care which SDK it uses. What
//! that tool rejects this one rejects, with one line that names file, line, element, attribute and rule ([`rule::Rule`]).
//! Input passes through four steps, each a module: `sdf` reads and checks the description, `program` the ELF files,
//! `pack` places everything in `memory` and sets symbols, `describe` writes it down for the kernel.
#![forbid(unsafe_code)]

mod describe;
mod memory;
mod pack;
mod program;
mod report;
mod rule;
mod sdf;
mod search;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use program::Program;
use search::Search;

#[derive(Parser)]
#[command(name = "microkit", about = "Packs a system for devsdk, a development stand-in for the seL4 Microkit SDK")]
struct Arguments {
    /// System description
    system: PathBuf,
    /// Image to write
    #[arg(short, long, default_value = "loader.img")]
    output: PathBuf,
    /// Report to write
    #[arg(short, long, default_value = "report.txt")]
    report: PathBuf,
    /// Board, a directory of the SDK
    #[arg(long)]
    board: String,
    /// Configuration, a directory of the board
    #[arg(long)]
    config: String,
    /// Directories of programs and prefill files; the working directory comes last
    #[arg(long, num_args = 0..)]
    search_path: Vec<PathBuf>,
    /// Kind of image
    #[arg(long, value_enum, default_value_t = ImageType::Binary)]
    image_type: ImageType,
}

#[derive(Clone, Copy, ValueEnum)]
enum ImageType {
    Binary,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("microkit: error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let ImageType::Binary = arguments.image_type;
    let sdk = sdk()?;
    let configuration = sdk.join("board").join(&arguments.board).join(&arguments.config);
    if !configuration.is_dir() {
        let (board, config, sdk) = (arguments.board, arguments.config, sdk.display());
        return Err(format!("the SDK in {sdk} has no board {board} with configuration {config}"));
    }
    let mut search = arguments.search_path;
    search.push(PathBuf::new());
    let search = Search(search);

    let name = arguments.system.display();
    let xml = fs::read_to_string(&arguments.system).map_err(|error| format!("{name}: {error}"))?;
    let system = sdf::read(&xml, &search).map_err(|error| format!("{name}:{error}"))?;
    for region in system.unused() {
        println!("microkit: warning: {name}:{}: memory region '{}' is not mapped", region.at.line, region.name);
    }
    let path = configuration.join("elf/sel4.elf");
    let kernel = Program::read(&path, None)
        .map_err(|rule| rule.to_string())
        .and_then(|program| pack::kernel(&program))
        .map_err(|reason| format!("{}: {reason}", path.display()))?;
    let packed = pack::pack(&system, &search, kernel).map_err(|error| format!("{name}:{error}"))?;
    write(&arguments.output, &packed.image)?;
    write(&arguments.report, report::report(&system, &packed).as_bytes())?;
    println!("microkit: devsdk image {}, {} KiB", arguments.output.display(), packed.image.len() / 1024);
    Ok(())
}

/// The SDK: named by `MICROKIT_SDK`, else where this program is installed.
fn sdk() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("MICROKIT_SDK") {
        return Ok(named.into());
    }
    let program = std::env::current_exe().map_err(|error| format!("cannot find the SDK: {error}"))?;
    match program.ancestors().nth(2) {
        Some(directory) => Ok(directory.to_owned()),
        None => Err("cannot find the SDK: MICROKIT_SDK is not set".to_owned()),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
