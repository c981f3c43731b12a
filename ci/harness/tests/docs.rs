// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The documentation keeps up with what it is about.

use regex_lite::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// `text` with `{}` for each part that `hole` matches: what a message and its row in the docs have in common.
fn template(text: &str, hole: &str) -> String {
    regex(hole).replace_all(text, "{}").into_owned()
}

/// The messages in a Rust file: what panics, is logged, or is an error's text. The tests in it are left out; what follows a
/// line break is a transcript.
fn rust_messages(source: &str) -> BTreeSet<String> {
    let (source, _) = source.split_once("#[cfg(test)]").unwrap_or((source, ""));
    let start =
        r"(?:panic!\(|bail!\(|ensure!\([^;]*?,|\.log\([^;]*?format_args!\(|#\[error\(|with_context\(\|\| format!\()";
    let message = regex(&format!(r#"{start}\s*"((?:[^"\\]|\\.|\\\n)*)""#));
    let found = message.captures_iter(source).map(|found| found[1].to_owned());
    found
        .map(|text| text.split("\\n").next().unwrap_or_default().replace("\\\"", "\""))
        .map(|text| template(&text, r"\{[^{}]*\}"))
        // Only passes on another message, which has its own row.
        .filter(|text| text != "{}")
        .collect()
}

/// The messages in a shell script that say what to do: those with a semicolon.
fn shell_messages(source: &str) -> BTreeSet<String> {
    let message = regex(r#"\b(?:die|fail|say) "((?:[^"$]|\$\([^)]*\)|\$)*)""#);
    let found = message.captures_iter(source).map(|found| found[1].to_owned());
    found
        .map(|text| template(&text, r"\$\{[^}]*\}|\$\([^)]*\)|\$[A-Za-z_0-9]+|\$[*@]"))
        .filter(|text| text.contains(';'))
        .collect()
}

#[test]
fn errors_lists_exactly_the_messages_that_there_are() {
    let docs = read("docs/errors.md");
    let sections: Vec<&str> = docs.split("<!-- from ").skip(1).collect();
    assert!(!sections.is_empty(), "sections are found");
    for section in sections {
        let (files, rest) = section.split_once(" -->").expect("the list of files ends");
        let (table, _) = rest.split_once("<!-- end -->").expect("the section ends");
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `` ")?.split_once(" `` |"));
        let rows: BTreeSet<String> = rows.map(|(row, _)| template(&row.replace("\\|", "|"), r"\{[^{}]*\}")).collect();
        let mut messages = BTreeSet::new();
        for file in files.split_whitespace() {
            let source = read(file);
            let found = if file.ends_with(".rs") { rust_messages(&source) } else { shell_messages(&source) };
            assert!(!found.is_empty(), "{file} has messages");
            messages.extend(found);
        }
        let missing: Vec<&String> = messages.difference(&rows).collect();
        let stale: Vec<&String> = rows.difference(&messages).collect();
        assert!(missing.is_empty() && stale.is_empty(), "{files}: docs lack {missing:#?}, and list in vain {stale:#?}");
    }
}

#[test]
fn limits_explains_each_deviation_of_the_probe() {
    let limits = read("docs/limits.md");
    let table = read("guests/probe/deviations.txt");
    let cases = table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" | "));
    let cases: Vec<&str> = cases.map(|(case, _)| case).collect();
    assert!(!cases.is_empty(), "deviations are found");
    for case in cases {
        let rows = limits.lines().filter(|line| line.starts_with('|') && line.contains(&format!("`{case}`")));
        assert_eq!(rows.count(), 1, "docs/limits.md has one row with `{case}`");
    }
}

/// A relative link leads to a file, and one with `#` to a heading in it.
#[test]
fn links_lead_somewhere() {
    let link = regex(r"\]\(([^)\s]+)\)");
    let mut count = 0;
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for path in docs.chain([root().join("README.md"), root().join("board/qemu_virt_aarch64/README.md")]) {
        let text = fs::read_to_string(&path).unwrap();
        for target in link.captures_iter(&text).map(|found| found[1].to_owned()).filter(|to| !to.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(to.exists(), "{}: {target}", path.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&to).unwrap();
                let is = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-") == heading;
                assert!(text.lines().any(|line| line.starts_with('#') && is(line)), "{}: {target}", path.display());
            }
            count += 1;
        }
    }
    assert!(count > 5, "links are found");
}
