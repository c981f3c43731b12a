// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! docs/errors.md has a row for each message of this crate, and no others.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use vmm_core::boot::BootError;
use vmm_core::exit::Width;
use vmm_core::life::{Goal, Refused, State};
use vmm_core::machine::UnmappedAccess;
use vmm_core::virtio::DeviceError;
use vmm_core::virtio::ring::RingError;
use vmm_core::{Event, VcpuId};

/// The messages in the section of docs/errors.md about `kind`.
fn documented(kind: &str) -> Vec<String> {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md")).unwrap();
    let (_, section) = docs.split_once(&format!("<!-- vmm-core: {kind} -->")).expect(kind);
    let (section, _) = section.split_once("<!-- end of vmm-core -->").expect("the section's end");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `` ")?.split_once(" `` |"));
    rows.map(|(message, _)| message.to_owned()).collect()
}

/// Whether `message` is `template` with words for the names in braces.
fn matches(template: &str, message: &str) -> bool {
    let Some((literal, rest)) = template.split_once('{') else { return template == message };
    let Some(message) = message.strip_prefix(literal) else { return false };
    let rest = rest.split_once('}').expect("a closing brace").1;
    (1..=message.len()).any(|at| message.get(at..).is_some_and(|message| matches(rest, message)))
}

fn compare(kind: &str, messages: &[&dyn Display]) {
    let rows = documented(kind);
    let messages: Vec<String> = messages.iter().map(ToString::to_string).collect();
    for message in &messages {
        assert!(rows.iter().any(|row| matches(row, message)), "docs/errors.md lacks {kind}: {message}");
    }
    for row in &rows {
        assert!(messages.iter().any(|message| matches(row, message)), "docs/errors.md has one too many: {row}");
    }
}

/// The variants of the enumeration that `source` declares as `pub enum kind`.
fn variants<'a>(source: &'a str, kind: &str) -> Vec<&'a str> {
    let (_, body) = source.split_once(&format!("pub enum {kind} {{\n")).expect(kind);
    let (body, _) = body.split_once("\n}").expect("its end");
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = lines.filter(|line| line.starts_with(char::is_uppercase));
    names.map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(line)).collect()
}

/// The names of all variants, as `Debug` writes them, are those in `source`: none was forgotten here.
fn complete(kind: &str, source: &str, debug: &[String]) {
    for variant in variants(source, kind) {
        assert!(
            debug.iter().any(|value| value.starts_with(variant)),
            "{kind}::{variant} is not compared with the docs"
        );
    }
}

#[test]
fn each_reason_not_to_start_a_guest_is_documented() {
    let errors = [
        BootError::RamUnaligned { ram: 0x10 },
        BootError::NoKernel,
        BootError::KernelTooLarge { need: 0x20, have: 0x10 },
        BootError::InitramfsOverlaps { need: 0x20, have: 0x10 },
        BootError::DeviceTree,
    ];
    complete("BootError", include_str!("../src/boot.rs"), &errors.map(|error| format!("{error:?}")));
    compare("BootError", &errors.each_ref().map(|error| error as &dyn Display));
}

#[test]
fn each_event_is_documented() {
    let unmapped = |access, last| Event::Unmapped { gpa: 0x980_0000, access, pc: 0x4000_0000, last };
    let events = [
        unmapped(UnmappedAccess::Fetch, false),
        unmapped(UnmappedAccess::Load(Width::Word), false),
        unmapped(UnmappedAccess::Store(Width::Byte), false),
        unmapped(UnmappedAccess::Undescribed, false),
        unmapped(UnmappedAccess::Load(Width::Double), true),
        Event::Unemulated { gpa: 0x900_0000, pc: 0x4000_0000, last: false },
        Event::Undefined { esr: 0x6200_0000, pc: 0x4000_0000 },
        Event::Fatal { vcpu: VcpuId::BOOT, pc: 0x4000_0000 },
        Event::Lost { vcpu: VcpuId::BOOT, pc: 0x200 },
        Event::Virtio { slot: 0, error: DeviceError::Ring(RingError::ChainTooLong) },
        Event::Virtio { slot: 0, error: DeviceError::BlockHeader },
        Event::Virtio { slot: 0, error: DeviceError::BlockStatus },
        Event::Virtio { slot: 0, error: DeviceError::Link },
    ];
    complete("Event", include_str!("../src/machine/effects.rs"), &events.map(|event| format!("{event:?}")));
    compare("Event", &events.each_ref().map(|event| event as &dyn Display));
}

#[test]
fn each_refusal_of_a_command_is_documented() {
    let states = [
        State::Waiting,
        State::Running,
        State::Stopping(Goal::Off),
        State::Paused,
        State::Starting,
        State::Halted,
        State::Off,
    ];
    complete("State", include_str!("../src/life.rs"), &states.map(|state| format!("{state:?}")));
    compare("Refused", &states.map(Refused).each_ref().map(|refused| refused as &dyn Display));
}
