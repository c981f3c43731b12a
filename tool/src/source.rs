// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The two inputs as one XML text: the board description becomes the internal DTD of `system.xml`.
//!
//! The XML parser then expands the entities itself, and every node keeps its position in that one text, so that a
//! problem is reported where a person wrote it: also inside markup that comes from a board's entity.

use crate::problem::{Place, Problem, Report, list};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A line of the combined text, counted from 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct At(u32);

impl At {
    /// Where `node` begins.
    pub fn node(node: &roxmltree::Node) -> Self {
        Self(node.document().text_pos_at(node.range().start).row)
    }

    /// Where `word` is in the text `node`, which begins at the end of the element before it.
    pub fn word(node: &roxmltree::Node, word: &str) -> Self {
        let (document, range) = (node.document(), node.range());
        let offset = document.input_text().get(range.clone()).and_then(|text| text.find(word)).unwrap_or(0);
        Self(document.text_pos_at(range.start + offset).row)
    }
}

/// What a board gives names to.
pub type Entities = BTreeMap<String, String>;

/// The combined text and where its lines come from.
pub struct Sources {
    board: PathBuf,
    system: PathBuf,
    board_lines: u32,
    text: String,
    entities: Entities,
}

const START: &str = "<!DOCTYPE system [";
/// The line break keeps the last line of the board description apart from the first of `system.xml`.
const END: &str = "\n]>";
const PREDEFINED: [(&str, &str); 5] = [("lt", "<"), ("gt", ">"), ("amp", "&"), ("quot", "\""), ("apos", "'")];

impl Sources {
    /// Reads both files. `None` if no tree can be made of them, for reasons that `report` then has.
    pub fn read(board: &Path, system: &Path, report: &mut Report) -> Option<Self> {
        let board_text = match fs::read_to_string(board) {
            Ok(text) => text,
            Err(_) if !board.exists() => {
                report.add_bare(Problem::NoBoard { path: board.display().to_string(), known: boards_beside(board) });
                return None;
            }
            Err(error) => {
                report.add_unreadable(board, &error);
                return None;
            }
        };
        let system_text = match fs::read_to_string(system) {
            Ok(text) => without_declaration(&text),
            Err(error) => {
                report.add_unreadable(system, &error);
                return None;
            }
        };
        let mut sources = Self {
            board: board.to_path_buf(),
            system: system.to_path_buf(),
            board_lines: lines_before(&board_text, board_text.len()),
            text: [START, &board_text, END, &system_text].concat(),
            entities: Entities::new(),
        };
        let mut found = Vec::new();
        if sources.read_board(&board_text, &mut found) {
            sources.check_system(&system_text, &mut found);
        }
        let ok = found.is_empty();
        for (at, problem) in found {
            report.add(sources.place(at), problem);
        }
        ok.then_some(sources)
    }

    /// The combined text, for the XML parser.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The board's entities.
    pub fn entities(&self) -> &Entities {
        &self.entities
    }

    /// The file and line of a line of the combined text.
    pub fn place(&self, At(line): At) -> Place {
        if line <= self.board_lines {
            Place { file: self.board.clone(), line }
        } else {
            Place { file: self.system.clone(), line: line - self.board_lines }
        }
    }

    /// Where and why the XML parser gave up.
    pub fn xml_problem(&self, error: &roxmltree::Error) -> (Place, Problem) {
        let pos = error.pos();
        // The parser knows no position for what is missing at the end, and says 1:1, where nothing of ours is.
        let at = if pos.row == 1 && pos.col == 1 {
            At(lines_before(&self.text, self.text.trim_end().len()))
        } else {
            At(pos.row)
        };
        (self.place(at), Problem::Xml { error: error.to_string().replace(&format!(" at {pos}"), "") })
    }

    /// Whether all entities are known afterwards.
    fn read_board(&mut self, text: &str, found: &mut Vec<(At, Problem)>) -> bool {
        let mut declared = Vec::new();
        let mut rest = text.trim_start_matches('\u{feff}').trim_start();
        while !rest.is_empty() {
            let at = At(lines_before(text, text.len() - rest.len()));
            let after = match rest.strip_prefix("<!--") {
                Some(comment) => comment.split_once("-->").map(|(_, after)| after),
                None => declaration(rest).map(|(name, value, after)| {
                    declared.push((at, name, value));
                    after
                }),
            };
            let Some(after) = after else {
                found.push((at, Problem::BoardSyntax));
                return false;
            };
            rest = after.trim_start();
        }
        for (at, name, value) in &declared {
            if self.entities.insert((*name).to_owned(), (*value).to_owned()).is_some() {
                found.push((*at, Problem::EntityTwice { name: (*name).to_owned() }));
            }
        }
        for (at, name, value) in &declared {
            for (_, used) in references(value) {
                self.check_defined(used, *at, found);
            }
            if is_looped(&self.entities, name) {
                found.push((*at, Problem::EntityLoop { name: (*name).to_owned() }));
            }
        }
        true
    }

    fn check_system(&self, text: &str, found: &mut Vec<(At, Problem)>) {
        let line = |offset| At(self.board_lines + lines_before(text, offset));
        for (offset, name) in references(text) {
            self.check_defined(name, line(offset), found);
        }
        if let Some(offset) = text.find("<!DOCTYPE") {
            found.push((line(offset), Problem::Doctype { board: self.board.display().to_string() }));
        }
    }

    fn check_defined(&self, name: &str, at: At, found: &mut Vec<(At, Problem)>) {
        if !self.entities.contains_key(name) && !PREDEFINED.iter().any(|(known, _)| *known == name) {
            let board = self.board.display().to_string();
            found.push((
                at,
                Problem::EntityUndefined { name: name.to_owned(), board, known: list(self.entities.keys()) },
            ));
        }
    }
}

/// `value` with the references in it replaced; `None` where an `&` begins none. XML itself leaves instructions alone.
pub fn expand(value: &str, entities: &Entities) -> Option<String> {
    let mut expanded = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('&') {
        let (name, after) = after.split_once(';')?;
        expanded.push_str(before);
        match PREDEFINED.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => expanded.push_str(text),
            None => expanded.push_str(&expand(entities.get(name)?, entities)?),
        }
        rest = after;
    }
    expanded.push_str(rest);
    Some(expanded)
}

/// Name and value of the entity declaration at the start of `text`, and what follows it.
fn declaration(text: &str) -> Option<(&str, &str, &str)> {
    let text = text.strip_prefix("<!ENTITY")?;
    let (name, text) = text.trim_start().split_once(char::is_whitespace)?;
    let text = text.trim_start();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, text) = text.get(1..)?.split_once(quote)?;
    Some((name, value, text.trim_start().strip_prefix('>')?)).filter(|_| is_name(name))
}

/// Every entity reference in `text`, with its offset; not in comments and CDATA, where `&` means nothing.
fn references(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(rest) = text.get(offset..).filter(|rest| !rest.is_empty()) {
        let skipped = [("<!--", "-->"), ("<![CDATA[", "]]>")].iter().find(|(start, _)| rest.starts_with(start));
        if let Some((_, end)) = skipped {
            offset += rest.find(end).unwrap_or(rest.len());
        } else if let Some((name, _)) = rest.strip_prefix('&').and_then(|rest| rest.split_once(';'))
            && is_name(name)
        {
            found.push((offset, name));
        }
        offset += text.get(offset..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8);
    }
    found
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Whether the expansion of the entity `name` needs `name` itself.
fn is_looped(entities: &Entities, name: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![name];
    while let Some(value) = open.pop().and_then(|next| entities.get(next)) {
        for (_, used) in references(value) {
            if used == name {
                return true;
            }
            if entities.contains_key(used) && seen.insert(used) {
                open.push(used);
            }
        }
    }
    false
}

/// `text` with its XML declaration, which may only stand at the very start, blanked.
fn without_declaration(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    match text.split_once("?>") {
        Some((declaration, rest)) if declaration.starts_with("<?xml ") => {
            let lines: String = declaration.chars().filter(|c| *c == '\n').collect();
            lines + rest
        }
        _ => text.to_owned(),
    }
}

/// The line, counted from 1, of the byte at `offset`.
fn lines_before(text: &str, offset: usize) -> u32 {
    let newlines = text.get(..offset).unwrap_or(text).matches('\n').count();
    u32::try_from(newlines).map_or(u32::MAX, |n| n.saturating_add(1))
}

/// The boards that have a description where `board`, of the form `DIR/NAME/board.dtd`, has none.
fn boards_beside(board: &Path) -> String {
    let Some(entries) = board.parent().and_then(Path::parent).and_then(|dir| fs::read_dir(dir).ok()) else {
        return list(std::iter::empty::<&str>());
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("board.dtd").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    list(&names)
}
