// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Processing instructions: `<?vmm [device] name="value" …?>` and `<?driver name="value" …?>`.

use crate::problem::Problem;
use crate::source::{At, Entities, expand};

/// What an instruction speaks about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// A guest and its VMM.
    Vmm,
    /// A driver PD.
    Driver,
}

impl Target {
    /// As written after `<?`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vmm => "vmm",
            Self::Driver => "driver",
        }
    }
}

/// One instruction.
pub struct Instruction {
    /// Where it is.
    pub at: At,
    /// What it is about.
    pub target: Target,
    /// The device, if one is named.
    pub device: Option<String>,
    /// Names and values, expanded.
    pub settings: Vec<(String, String)>,
}

impl Instruction {
    /// Reads the instruction `<?target body?>`. `None` for one that is another tool's: names in `xml` are XML's own.
    ///
    /// # Errors
    /// The rule of syntax that it breaks.
    pub fn read(at: At, target: &str, body: &str, entities: &Entities) -> Result<Option<Self>, Problem> {
        let target = match target {
            "vmm" => Target::Vmm,
            "driver" => Target::Driver,
            xml if xml.starts_with("xml") => return Ok(None),
            _ => return Err(Problem::InstructionUnknown { target: target.to_owned() }),
        };
        let syntax = |near: &str| Problem::InstructionSyntax {
            target: target.name().to_owned(),
            near: near.split_whitespace().next().unwrap_or("its start").to_owned(),
        };
        let (device, mut rest) = device(body.trim());
        if let Some(device) = device.filter(|_| target == Target::Driver) {
            return Err(syntax(device));
        }
        let mut settings = Vec::new();
        while !rest.is_empty() {
            let (name, value, after) = setting(rest).ok_or_else(|| syntax(rest))?;
            // As in XML attributes, a line break in a value is a space.
            let value = expand(value, entities)
                .ok_or_else(|| Problem::Ampersand { setting: name.to_owned() })?
                .replace(char::is_whitespace, " ");
            settings.push((name.to_owned(), value));
            if after.starts_with(|c: char| !c.is_whitespace()) {
                return Err(syntax(after));
            }
            rest = after.trim_start();
        }
        if settings.is_empty() {
            return Err(syntax(body));
        }
        Ok(Some(Self { at, target, device: device.map(str::to_owned), settings }))
    }
}

/// The device at the start of `body`, which is a word without `=`, and the rest.
fn device(body: &str) -> (Option<&str>, &str) {
    let (word, rest) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
    let rest = rest.trim_start();
    if word.is_empty() || word.contains('=') || rest.starts_with('=') { (None, body) } else { (Some(word), rest) }
}

/// Name and value at the start of `text`, and what follows.
fn setting(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_end();
    let rest = rest.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, after) = rest.get(1..)?.split_once(quote)?;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    plain.then_some((name, value, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Option<String>, Vec<(String, String)>);

    fn read(body: &str) -> Result<Read, Problem> {
        let entities = [("tty".to_owned(), "ttyS0".to_owned()), ("console".to_owned(), "console=&tty;".to_owned())];
        let doc = roxmltree::Document::parse("<a/>").unwrap();
        let at = At::node(&doc.root());
        let read = Instruction::read(at, "vmm", body, &Entities::from(entities))?.unwrap();
        Ok((read.device, read.settings))
    }

    #[test]
    fn settings_are_read_with_entities_expanded() {
        let cases = [
            (r#"ram="a""#, None, vec![("ram", "a")]),
            (r#"  ram = 'a'  kernel="b" "#, None, vec![("ram", "a"), ("kernel", "b")]),
            (r#"serial0 queue="q""#, Some("serial0"), vec![("queue", "q")]),
            (r#"bootargs="a='b' &console; &amp;tty;""#, None, vec![("bootargs", "a='b' console=ttyS0 &tty;")]),
            ("bootargs=\"a\n\tb\"", None, vec![("bootargs", "a  b")]),
        ];
        for (body, device, settings) in cases {
            let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(read(body), Ok((device.map(str::to_owned), settings)), "{body}");
        }
    }

    #[test]
    fn a_syntax_error_names_where_it_begins() {
        let cases = [
            ("", "its start"),
            ("serial0", "serial0"),
            (r#"ram="a" kernel=b log="warn""#, "kernel=b"),
            (r#"ram="a"kernel="b""#, "kernel=\"b\""),
            (r#"ram="a" kernel"#, "kernel"),
            (r#"ram="a"#, "ram=\"a"),
            (r#"ra!m="a""#, "ra!m=\"a\""),
        ];
        for (body, near) in cases {
            let expected = Problem::InstructionSyntax { target: "vmm".to_owned(), near: near.to_owned() };
            assert_eq!(read(body), Err(expected), "{body}");
        }
    }
}
