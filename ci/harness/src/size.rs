// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Sizes: of ELF files, and of the source.

use anyhow::{Context, Result};
use object::elf::{SHF_ALLOC, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{ElfFile64, SectionHeader};
use object::{Object, ObjectSection};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// What a program occupies, in bytes, as size(1) counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramSize {
    /// Code and constants.
    pub text: u64,
    /// Initialized data.
    pub data: u64,
    /// Zeroed data.
    pub bss: u64,
}

/// Sizes of the ELF file at `path`.
pub fn program(path: &Path) -> Result<ProgramSize> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let file = ElfFile64::<object::Endianness>::parse(bytes.as_slice()).with_context(|| path.display().to_string())?;
    let mut size = ProgramSize::default();
    for section in file.sections() {
        let header = section.elf_section_header();
        let (flags, kind) = (header.sh_flags(file.endian()), header.sh_type(file.endian()));
        let field = match (flags.contains(SHF_ALLOC), flags.contains(SHF_WRITE), kind == SHT_NOBITS) {
            (false, ..) => continue,
            (true, _, true) => &mut size.bss,
            (true, true, false) => &mut size.data,
            (true, false, false) => &mut size.text,
        };
        *field += section.size();
    }
    Ok(size)
}

/// Lines of source that are neither blank nor comments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// What is built into the product.
    pub code: usize,
    /// Tests: files under `tests/` and named `tests.rs`, and what follows a file's `#[cfg(test)]`.
    pub tests: usize,
}

/// Lines of each crate below `root`, sorted by path. A crate is a directory with a Cargo.toml that names a package.
pub fn crates(root: &Path) -> Result<Vec<(PathBuf, Lines)>> {
    let mut found = Vec::new();
    find_crates(root, root, &mut found)?;
    found.sort();
    Ok(found.into_iter().map(|(path, lines)| (path, Lines { code: lines.0, tests: lines.1 })).collect())
}

fn find_crates(root: &Path, directory: &Path, found: &mut Vec<(PathBuf, (usize, usize))>) -> Result<()> {
    let manifest = directory.join("Cargo.toml");
    if fs::read_to_string(manifest).is_ok_and(|text| text.lines().any(|line| line == "[package]")) {
        let mut lines = Lines::default();
        count_directory(directory, false, &mut lines)?;
        let name = directory.strip_prefix(root).unwrap_or(directory).to_owned();
        found.push((name, (lines.code, lines.tests)));
    }
    for path in entries(directory)?.into_iter().filter(|path| path.is_dir()) {
        find_crates(root, &path, found)?;
    }
    Ok(())
}

fn count_directory(directory: &Path, tests: bool, lines: &mut Lines) -> Result<()> {
    for path in entries(directory)? {
        if path.is_dir() {
            // A crate inside a crate is counted by itself.
            if !path.join("Cargo.toml").exists() {
                count_directory(&path, tests || path.ends_with("tests"), lines)?;
            }
        } else if path.extension() == Some(OsStr::new("rs")) {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let here = count(&text);
            if tests || path.ends_with("tests.rs") {
                lines.tests += here.code + here.tests;
            } else {
                lines.code += here.code;
                lines.tests += here.tests;
            }
        }
    }
    Ok(())
}

/// Everything in `directory` that is not hidden and not built.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let skipped = |name: &str| name.starts_with('.') || name == "build" || name == "target";
    paths.retain(|path| !path.file_name().and_then(OsStr::to_str).is_none_or(skipped));
    Ok(paths)
}

fn count(text: &str) -> Lines {
    let mut lines = Lines::default();
    let mut tests = false;
    let mut rest = text.lines().peekable();
    while let Some(line) = rest.next() {
        // A module of tests ends the file; one in a file of its own is a single line.
        tests |=
            line == "#[cfg(test)]" && rest.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        let line = line.trim();
        if !line.is_empty() && !line.starts_with("//") {
            *if tests { &mut lines.tests } else { &mut lines.code } += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_do_not_count() {
        let cases = [
            ("// a\n\nfn f() {} // b\n/// c\n", 1, 0),
            ("fn f() {}\n#[cfg(test)]\nmod tests {\n    // x\n    fn g() {}\n}\n", 1, 4),
            ("#[cfg(test)]\nmod tests;\nfn f() {}\n", 3, 0),
        ];
        for (text, code, tests) in cases {
            assert_eq!(count(text), Lines { code, tests }, "{text}");
        }
    }

    #[test]
    fn this_crate_is_found_with_its_tests() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = crates(root.parent().unwrap()).unwrap();
        let (_, lines) = found.iter().find(|(path, _)| path == Path::new("harness")).unwrap();
        assert!(lines.code > 500 && lines.tests > 100, "{lines:?}");
    }

    #[test]
    fn this_program_has_a_size() {
        let size = program(&std::env::current_exe().unwrap()).unwrap();
        assert!(size.text > 100_000 && size.data > 0 && size.bss > 0, "{size:?}");
        assert!(program(Path::new(file!())).is_err());
    }
}
