// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Every message of the tool, word for word.
//!
//! A file `rules/NAME.case` is a change to `base.xml`, `rules/virtio/NAME.case` to `virtio.xml`, `rules/supervised/NAME.case`
//! to `supervised.xml`, and what the tool says to it:
//! `- line` names a line (`-2 line` its second occurrence), which the `+ line`s below replace; `@ board` turns to
//! `board.dtd`; `= message` is a line of the output.

mod fixture;

use fixture::Fixture;
use std::fs;
use std::path::{Path, PathBuf};

const SYSTEM: &str = include_str!("base.xml");
const VIRTIO: &str = include_str!("virtio.xml");
const SUPERVISED: &str = include_str!("supervised.xml");
const BOARD: &str = include_str!("board.dtd");

struct Case {
    name: String,
    system: String,
    board: String,
    expected: Vec<String>,
}

impl Case {
    fn read(path: &Path, system: &str) -> Self {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let originals = [system, BOARD];
        let mut files = originals.map(|text| text.lines().map(|line| vec![line]).collect::<Vec<_>>());
        let (mut file, mut line, mut expected) = (0, 0, Vec::new());
        let text = fs::read_to_string(path).unwrap();
        for step in text.lines() {
            let (mark, text) = step.split_once(' ').unwrap();
            match mark {
                "@" => file = 1,
                "-" | "-2" => {
                    let nth = usize::from(mark == "-2");
                    let mut found = originals[file].lines().enumerate().filter(|(_, line)| line.trim() == text);
                    line = found.nth(nth).unwrap_or_else(|| panic!("{name}: no line `{text}`")).0;
                    files[file][line].clear();
                }
                "+" => files[file][line].push(text),
                "=" => expected.push(text.to_owned()),
                _ => panic!("{name}: {step}"),
            }
        }
        let [system, board] = files.map(|lines| lines.concat().join("\n") + "\n");
        Self { name, system, board, expected }
    }

    fn all() -> Vec<Self> {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
        let of = |directory: PathBuf, system| {
            let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
            let mut paths: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
            paths.sort();
            paths.into_iter().map(move |path| Self::read(&path, system))
        };
        let supervised = of(rules.join("supervised"), SUPERVISED);
        of(rules.clone(), SYSTEM).chain(of(rules.join("virtio"), VIRTIO)).chain(supervised).collect()
    }
}

#[test]
fn each_case_is_answered_word_for_word() {
    for (n, case) in Case::all().iter().enumerate() {
        let fixture = Fixture::new(&format!("rules/{n}-{}", case.name), &case.system, &case.board);
        let lines = fixture.expand().expect_err(&case.name);
        assert_eq!(lines, case.expected, "{}", case.name);
        assert!(!fixture.dir.join("out").exists(), "{}: nothing is written", case.name);
    }
}

/// Arguments, and what the tool says to them where `Fixture::sdk` is.
const COMMANDS: [(&[&str], &str); 8] = [
    (
        &["check-sdk", "--sdk", "nowhere", "--board", "qemu", "--config", "debug"],
        "no Microkit SDK at nowhere; remedy: unpack microkit-sdk-2.3.0 there, or set MICROKIT_SDK to where it is",
    ),
    (
        &["check-sdk", "--sdk", "sdk/board", "--board", "qemu", "--config", "debug"],
        "sdk/board is not a Microkit SDK, it has no VERSION; remedy: set MICROKIT_SDK to an unpacked microkit-sdk-2.3.0",
    ),
    (
        &["check-sdk", "--sdk", "old-sdk", "--board", "qemu", "--config", "debug"],
        "old-sdk is Microkit SDK 1.4.1, not 2.3.0; remedy: set MICROKIT_SDK to a microkit-sdk-2.3.0",
    ),
    (
        &["check-sdk", "--sdk", "sdk", "--board", "quemu", "--config", "debug"],
        "the SDK has no board `quemu`; remedy: set BOARD to one of: odroid, qemu",
    ),
    (
        &["check-sdk", "--sdk", "sdk", "--board", "qemu", "--config", "fast"],
        "the SDK has no config `fast` for board `qemu`; remedy: set CONFIG to one of: debug, release",
    ),
    (
        &["--board-dtd", "boards/quemu/board.dtd", "--output", "out", "system.xml"],
        "no board description boards/quemu/board.dtd; remedy: set BOARD to one of: qemu",
    ),
    (
        &["--board-dtd", "board.dtd", "--output", "out", "systems.xml"],
        "`systems.xml` cannot be read (No such file or directory (os error 2)); \
         remedy: correct the path, or the file's permissions",
    ),
    (
        &["--board-dtd", "board.dtd", "--search-path", ".", "--output", "flat", "system.xml"],
        "`flat/config/a_vmm.bin` cannot be written (Not a directory (os error 20)); \
         remedy: remove what is in the way, or name another output directory",
    ),
];

fn sdks(name: &str) -> Fixture {
    let fixture = Fixture::new(name, SYSTEM, BOARD);
    fixture.write("old-sdk/VERSION", b"1.4.1\n");
    fixture.write("sdk/VERSION", b"2.3.0\n");
    fixture.write("boards/qemu/board.dtd", b"");
    fixture.write("boards/README.md", b"");
    for file in ["bin/microkit", "board/qemu/debug/lib", "board/qemu/release/lib", "board/odroid/debug/lib"] {
        fixture.write(&format!("sdk/{file}"), b"");
    }
    fixture
}

#[test]
fn what_is_wrong_outside_the_files_is_answered_word_for_word() {
    let fixture = sdks("commands");
    for (arguments, expected) in COMMANDS {
        let lines = fixture.run(arguments).expect_err(expected);
        assert_eq!(lines.first().map(String::as_str), Some(expected));
    }
    assert_eq!(fixture.run(&["check-sdk", "--sdk", "sdk", "--board", "qemu", "--config", "release"]), Ok(()));
}

const NINE_GUESTS: &str = "driver `serial` has 9 clients; remedy: leave it 8, and add a second driver for the others";

#[test]
fn a_driver_serves_eight_guests_and_not_nine() {
    // `a`, `b`, and as many more.
    let system = |guests: usize| {
        let vmms = (2..guests).map(|n| {
            let vm = format!(
                "<virtual_machine name=\"g{n}\"><map mr=\"r{n}\" vaddr=\"0x4000_0000\" perms=\"rwx\" />&gicv_map;"
            );
            let maps = format!(
                "<map mr=\"r{n}\" vaddr=\"0x4000_0000\" /><map mr=\"b_kernel\" vaddr=\"0x5000_0000\" perms=\"r\" />\
                 <map mr=\"q{n}\" vaddr=\"0x8000_0000\" />"
            );
            format!(
                "<memory_region name=\"r{n}\" size=\"0x40_0000\" /><memory_region name=\"q{n}\" size=\"0x4000\" />\
                 <protection_domain name=\"v{n}\" priority=\"100\">\
                 <?vmm ram=\"r{n}\" kernel=\"b_kernel\" kernel-format=\"flat\"?><?vmm serial0 queue=\"q{n}\"?>\
                 {maps}{vm}</virtual_machine></protection_domain>\
                 <channel><end pd=\"v{n}\" id=\"0\" /><end pd=\"serial\" id=\"1{n}\" /></channel>"
            )
        });
        let queues = (2..guests).map(|n| format!("<map mr=\"q{n}\" vaddr=\"0x{n}100_0000\" />"));
        let uart = "<?driver class=\"serial\" registers=\"uart\"?>";
        SYSTEM
            .replace(uart, &format!("{uart}{}", queues.collect::<String>()))
            .replace("</system>", &format!("{}</system>", vmms.collect::<String>()))
    };
    assert_eq!(Fixture::new("eight-guests", &system(8), BOARD).expand(), Ok(()));
    let at_driver = format!("system.xml:46: {NINE_GUESTS}");
    assert_eq!(Fixture::new("nine-guests", &system(9), BOARD).expand(), Err(vec![at_driver]));
}

/// A template of a message: literal text with names in braces between.
fn matches(template: &str, message: &str) -> bool {
    let literals: Vec<&str> =
        template.split('{').map(|part| part.split_once('}').map_or(part, |(_, after)| after)).collect();
    let (Some((first, middle)), true) = (literals.split_first(), literals.len() > 1) else {
        return template == message;
    };
    let Some(mut rest) = message.strip_prefix(first) else { return false };
    let (last, middle) = middle.split_last().unwrap();
    for literal in middle {
        let Some((_, after)) = rest.split_once(literal) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn docs_list_exactly_the_messages_that_there_are_and_each_is_tested() {
    // The templates are the attributes of `Problem`; its own source is the one place that has them all.
    let source = include_str!("../src/problem.rs");
    let literal = |rest: &str| {
        let (attribute, _) = rest.split_once(")]\n").unwrap();
        let quoted = attribute.trim().strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap();
        quoted.replace("\\\"", "\"")
    };
    let templates: Vec<String> = source.split("#[error(").skip(1).map(literal).collect();
    assert!(templates.len() > 50, "templates are found");

    let mut tested: Vec<String> = COMMANDS.iter().map(|(_, message)| (*message).to_owned()).collect();
    tested.push(NINE_GUESTS.to_owned());
    for message in Case::all().iter().flat_map(|case| &case.expected) {
        let (_, message) = message.split_once(": ").unwrap();
        tested.push(message.to_owned());
    }
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md")).unwrap();
    let (_, section) = docs.split_once("<!-- vmm-tool -->\n").expect("start of the tool's messages");
    let (section, _) = section.split_once("<!-- end of vmm-tool -->").expect("end of the tool's messages");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ``")).collect();
    for template in &templates {
        let (what, remedy) = template.split_once("; remedy: ").expect(template);
        let start = format!("| `` {what} `` | ");
        let end = format!(" | {remedy} |");
        assert!(rows.iter().any(|row| row.starts_with(&start) && row.ends_with(&end)), "docs lack: {start}… {end}");
        assert!(tested.iter().any(|message| matches(template, message)), "no test of: {template}");
    }
    assert_eq!(rows.len(), templates.len(), "docs list messages that do not exist");
}

#[test]
fn no_damage_to_the_input_makes_the_tool_fail_otherwise_than_with_a_message() {
    for (name, system) in [("damage", SYSTEM), ("damage-virtio", VIRTIO), ("damage-supervised", SUPERVISED)] {
        damage(&Fixture::new(name, system, BOARD), system);
    }
}

fn damage(fixture: &Fixture, original: &str) {
    let lines: Vec<&str> = original.lines().collect();
    let without = (0..lines.len()).map(|gone| {
        let rest = lines.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, line)| format!("{line}\n"));
        (rest.collect::<String>(), BOARD.to_owned())
    });
    let cut = (0..original.len()).step_by(37).map(|n| (original[..n].to_owned(), BOARD.to_owned()));
    let cut_board = (0..BOARD.len()).step_by(17).map(|n| (original.to_owned(), BOARD[..n].to_owned()));
    let replaced = ["", "0", "0xffff_ffff_ffff_ffff", "0xffff_ffff_ffe0_0000", "a_ram"].into_iter().flat_map(|value| {
        original.match_indices('"').step_by(2).map(move |(at, _)| {
            let end = at + 1 + original[at + 1..].find('"').unwrap();
            ([&original[..=at], value, &original[end..]].concat(), BOARD.to_owned())
        })
    });
    for (system, board) in without.chain(cut).chain(cut_board).chain(replaced) {
        fixture.write("system.xml", system.as_bytes());
        fixture.write("board.dtd", board.as_bytes());
        // `Fixture::run` asserts that the status is 0 without a message, or else 1: a panic has 101.
        for line in fixture.expand().err().unwrap_or_default() {
            assert!(line.contains("; remedy: "), "{line}");
        }
    }
}
