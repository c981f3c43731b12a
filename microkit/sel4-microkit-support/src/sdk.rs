// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Finding a kernel in a Microkit SDK, and everything that can be wrong with one.

use std::path::{Path, PathBuf};

use crate::Kernel;

/// The release of the Microkit SDK that `sel4-microkit` is written for. Its kernel is seL4 16.0.0.
pub const VERSION: &str = "2.3.0";

/// Why no kernel's numbers could be derived. Each message is one line and names the remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An environment variable that selects the kernel is missing.
    #[error("{0} is not set; set MICROKIT_SDK, MICROKIT_BOARD and MICROKIT_CONFIG, or build with make, which does")]
    Unset(&'static str),
    /// `MICROKIT_SDK` does not name a directory.
    #[error("{}: no such directory; set MICROKIT_SDK to an unpacked Microkit SDK {VERSION}", .0.display())]
    NoSdk(PathBuf),
    /// `MICROKIT_SDK` names a directory that holds something else.
    #[error("{}: not a Microkit SDK (no file VERSION); set MICROKIT_SDK to an unpacked Microkit SDK {VERSION}", .0.display())]
    NotAnSdk(PathBuf),
    /// The SDK is of another release, whose kernel has another ABI.
    #[error("{}: this is Microkit SDK {found}, but {VERSION} is needed; set MICROKIT_SDK to a Microkit SDK {VERSION}", .sdk.display())]
    Version {
        /// The SDK.
        sdk: PathBuf,
        /// What its file `VERSION` says.
        found: String,
    },
    /// The SDK does not support the board.
    #[error("{}: no board {board:?}; this SDK has: {}", .sdk.display(), .present.join(", "))]
    NoBoard {
        /// The SDK.
        sdk: PathBuf,
        /// The board that was asked for.
        board: String,
        /// The boards of this SDK.
        present: Vec<String>,
    },
    /// The SDK has no kernel of that configuration for the board.
    #[error("{}: no configuration {config:?} of board {board}; this SDK has: {}", .sdk.display(), .present.join(", "))]
    NoConfig {
        /// The SDK.
        sdk: PathBuf,
        /// The board.
        board: String,
        /// The configuration that was asked for.
        config: String,
        /// The configurations of that board.
        present: Vec<String>,
    },
    /// A file of the SDK is missing or is not what it should be.
    #[error("{}: {reason}; unpack the Microkit SDK {VERSION} afresh", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel was built in a way that `sel4-microkit` does not support.
    #[error("{}: this kernel has {option}={found}, but {needed} is needed; choose another board", .path.display())]
    Kernel {
        /// The kernel's configuration file.
        path: PathBuf,
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// The value that is needed.
        needed: &'static str,
    },
}

/// A Microkit SDK of the supported version.
#[derive(Debug, PartialEq, Eq)]
pub struct Sdk(PathBuf);

impl Sdk {
    /// Opens the SDK in `directory`.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = directory.into();
        if !directory.is_dir() {
            return Err(Error::NoSdk(directory));
        }
        match std::fs::read_to_string(directory.join("VERSION")) {
            Err(_) => Err(Error::NotAnSdk(directory)),
            Ok(found) if found.trim() == VERSION => Ok(Self(directory)),
            Ok(found) => Err(Error::Version { sdk: directory, found: found.trim().into() }),
        }
    }

    /// The kernel that `MICROKIT_SDK`, `MICROKIT_BOARD` and `MICROKIT_CONFIG` name. For build scripts.
    pub fn kernel_from_env() -> Result<Kernel, Error> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or(Error::Unset(name));
        Self::open(variable("MICROKIT_SDK")?)?.kernel(&variable("MICROKIT_BOARD")?, &variable("MICROKIT_CONFIG")?)
    }

    /// The names of the SDK's boards, sorted.
    pub fn boards(&self) -> Vec<String> {
        subdirectories(&self.0.join("board"))
    }

    /// The names of a board's configurations, sorted.
    pub fn configs(&self, board: &str) -> Vec<String> {
        subdirectories(&self.0.join("board").join(board))
    }

    /// Reads the description of one kernel.
    pub fn kernel(&self, board: &str, config: &str) -> Result<Kernel, Error> {
        let boards = self.boards();
        if !boards.iter().any(|present| present == board) {
            return Err(Error::NoBoard { sdk: self.0.clone(), board: board.into(), present: boards });
        }
        let configs = self.configs(board);
        if !configs.iter().any(|present| present == config) {
            return Err(Error::NoConfig {
                sdk: self.0.clone(),
                board: board.into(),
                config: config.into(),
                present: configs,
            });
        }
        Kernel::read(&self.0.join("board").join(board).join(config))
    }
}

fn subdirectories(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FIXTURE;

    const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

    /// What a person reads when the SDK, the board or the configuration is wrong, word for word.
    #[test]
    fn a_wrong_sdk_is_one_line_that_names_the_remedy() {
        let found = |sdk: String, board, config| {
            let error = Sdk::open(sdk).and_then(|sdk| sdk.kernel(board, config)).err().expect("an error").to_string();
            error.replace(MANIFEST, "")
        };
        let fixture = |name| format!("{MANIFEST}/{name}");
        for (found, expected) in [
            (
                found(fixture("nowhere"), "any", "any"),
                "/nowhere: no such directory; set MICROKIT_SDK to an unpacked Microkit SDK 2.3.0",
            ),
            (
                found(fixture("src"), "any", "any"),
                "/src: not a Microkit SDK (no file VERSION); set MICROKIT_SDK to an unpacked Microkit SDK 2.3.0",
            ),
            (
                found(fixture("fixtures/sdk-2.2.0"), "any", "any"),
                "/fixtures/sdk-2.2.0: this is Microkit SDK 2.2.0, but 2.3.0 is needed; \
                 set MICROKIT_SDK to a Microkit SDK 2.3.0",
            ),
            (found(FIXTURE.into(), "toaster", "any"), "/fixtures/sdk: no board \"toaster\"; this SDK has: any, riscv"),
            (
                found(FIXTURE.into(), "any", "fast"),
                "/fixtures/sdk: no configuration \"fast\" of board any; this SDK has: any",
            ),
            (
                found(FIXTURE.into(), "riscv", "any"),
                "/fixtures/sdk/board/riscv/any/include/kernel/gen_config.json: \
                 this kernel has SEL4_ARCH=riscv64, but aarch64 is needed; choose another board",
            ),
        ] {
            assert_eq!(found, expected);
        }
        assert_eq!(
            Error::Unset("MICROKIT_BOARD").to_string(),
            "MICROKIT_BOARD is not set; set MICROKIT_SDK, MICROKIT_BOARD and MICROKIT_CONFIG, or build with make, which does"
        );
    }

    /// A board is named by one directory below `board`: a path does not lead out of the SDK.
    #[test]
    fn a_path_is_not_a_board() {
        let sdk = Sdk::open(FIXTURE).unwrap();
        for board in ["", ".", "..", "any/any", "../board/any"] {
            assert!(matches!(sdk.kernel(board, "any"), Err(Error::NoBoard { .. })), "{board:?}");
        }
    }
}
