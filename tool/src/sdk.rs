// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Whether a directory is the SDK that everything downstream needs.

use crate::problem::{Problem, list};
use std::fs;
use std::path::Path;

/// The one version whose facts docs and code rely on.
const VERSION: &str = "2.3.0";

/// Checks that `sdk` is a Microkit SDK of the right version that has `board` and `config`.
///
/// # Errors
/// The first rule that it breaks: the later ones say nothing about a wrong directory.
pub fn check(sdk: &Path, board: &str, config: &str) -> Result<(), Problem> {
    let path = || sdk.display().to_string();
    let wanted = VERSION;
    if !sdk.is_dir() {
        return Err(Problem::SdkMissing { path: path(), wanted });
    }
    let missing = |part| Problem::SdkIncomplete { path: path(), part, wanted };
    let version = fs::read_to_string(sdk.join("VERSION")).map_err(|_| missing("VERSION"))?;
    let found = version.trim();
    if found != VERSION {
        return Err(Problem::SdkVersion { path: path(), found: found.to_owned(), wanted });
    }
    for part in ["bin/microkit", "board"] {
        if !sdk.join(part).exists() {
            return Err(missing(part));
        }
    }
    let boards = directories(&sdk.join("board"));
    let (board, config) = (board.to_owned(), config.to_owned());
    if !boards.contains(&board) {
        return Err(Problem::BoardUnknown { board, known: list(boards) });
    }
    let configs = directories(&sdk.join("board").join(&board));
    if !configs.contains(&config) {
        return Err(Problem::ConfigUnknown { board, config, known: list(configs) });
    }
    Ok(())
}

/// How many cores the kernel with this `gen_config.json` runs on.
///
/// # Errors
/// [`Problem::Unreadable`].
pub fn cpus(kernel_config: &Path) -> Result<u64, Problem> {
    let unreadable = |why| Problem::Unreadable { path: kernel_config.display().to_string(), why };
    let text = fs::read_to_string(kernel_config).map_err(|error| unreadable(error.to_string()))?;
    let config: serde_json::Value = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let count = config.get("MAX_NUM_NODES").and_then(|nodes| nodes.as_str()?.parse().ok());
    count.ok_or_else(|| unreadable("it has no MAX_NUM_NODES".to_owned()))
}

fn directories(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
