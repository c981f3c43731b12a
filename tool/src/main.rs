// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Makes of `system.xml` and a board's description what the Microkit tool and the protection domains (PDs) take.
//!
//! 1. [`source`] makes one XML text of both, so that the parser expands the board's entities.
//! 2. [`system`] reads from the tree what the configuration depends on, [`instruction`] the processing instructions.
//! 3. [`check`] holds the rules, with [`vmm`], [`device`], [`driver`], [`image`] and [`link`] for each part; it yields the PDs' records.
//! 4. [`output`] writes plain SDF and one configuration file per PD, unless anything is wrong.
//!
//! Every problem found is one line on standard error, `file:line: what is wrong; remedy: what to do`. All of them are
//! in [`problem`].

#![forbid(unsafe_code)]

mod check;
mod device;
mod driver;
mod image;
mod instruction;
mod link;
mod output;
mod problem;
mod sdk;
mod settings;
mod source;
mod supervisor;
mod system;
mod vmm;

use clap::{Args, Parser, Subcommand};
use image::SearchPath;
use problem::{Problem, Report};
use source::Sources;
use std::path::PathBuf;
use std::process::ExitCode;

/// Expands and checks a system description, and writes plain Microkit SDF with each PD's configuration.
///
/// Whatever is wrong is printed, one line each with file, line and remedy, and nothing is written then.
#[derive(Parser)]
#[command(name = "vmm-tool", version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(flatten)]
    expand: Option<Expand>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args)]
struct Expand {
    /// The system description: Microkit SDF with `&entity;`, `<?vmm …?>` and `<?driver …?>`
    #[arg(value_name = "SYSTEM.XML")]
    system: PathBuf,
    /// The board's entities, board/BOARD/board.dtd
    #[arg(long, value_name = "FILE")]
    board_dtd: PathBuf,
    /// Where `prefill_path` is looked for; may be given more than once, first match wins, the current directory is last
    #[arg(long, value_name = "DIR")]
    search_path: Vec<PathBuf>,
    /// The kernel's include/kernel/gen_config.json in the SDK, which says how many cores there are; without it, any will do
    #[arg(long, value_name = "FILE")]
    kernel_config: Option<PathBuf>,
    /// Where to write system.xml, maps.txt, config/PD.bin and images/REGION (kernels that were compressed); it has to be in the
    /// Microkit tool's search path
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Check that a Microkit SDK is there, has the right version, and knows the board and the config
    CheckSdk {
        /// The unpacked SDK
        #[arg(long, value_name = "DIR")]
        sdk: PathBuf,
        /// One of the SDK's boards
        #[arg(long)]
        board: String,
        /// One of the board's configs: debug, release, …
        #[arg(long)]
        config: String,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut report = Report::default();
    match (cli.command, cli.expand) {
        (Some(Command::CheckSdk { sdk, board, config }), _) => {
            if let Err(problem) = sdk::check(&sdk, &board, &config) {
                report.add_bare(problem);
            }
        }
        (None, Some(args)) => expand(args, &mut report),
        (None, None) => {}
    }
    let status = if report.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    for line in report.lines() {
        eprintln!("{line}");
    }
    status
}

fn expand(args: Expand, report: &mut Report) {
    let Some(sources) = Sources::read(&args.board_dtd, &args.system, report) else { return };
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = match roxmltree::Document::parse_with_options(sources.text(), options) {
        Ok(document) => document,
        Err(error) => {
            let (place, problem) = sources.xml_problem(&error);
            return report.add(place, problem);
        }
    };
    let system = system::System::read(&document, &sources, report);
    match args.kernel_config.map(|path| sdk::cpus(&path)).transpose() {
        Ok(count) => {
            for (at, cpu) in &system.cpus {
                if let Some(count) = count.filter(|count| cpu >= count) {
                    report.add(sources.place(*at), Problem::CpuMissing { cpu: *cpu, count });
                }
            }
        }
        Err(problem) => report.add_bare(problem),
    }
    let files = SearchPath(args.search_path.into_iter().chain([PathBuf::from(".")]).collect());
    let products = check::check(&system, &sources, &files, report);
    if report.is_empty() {
        output::write(&args.output, &document, &system, &products, report);
    }
}
