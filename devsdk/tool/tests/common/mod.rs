// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! What the tests run the tool on: small ELF files, and a directory that holds an SDK, programs and prefill files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const AARCH64: u16 = 183;
/// Where the test programs' only segment begins.
pub const START: u64 = 0x20_0000;

/// An ELF file (System V ABI, chapters 4 and 5), 64-bit and little-endian.
pub struct Elf {
    pub machine: u16,
    pub entry: u64,
    /// Address, contents, size in memory.
    pub segments: Vec<(u64, Vec<u8>, u64)>,
    /// Name, address, size.
    pub symbols: Vec<(&'static str, u64, u64)>,
}

impl Elf {
    /// A protection domain's program: 0x1010 bytes, with the symbols that the tool always sets.
    pub fn program() -> Self {
        let symbols = vec![
            ("microkit_name", START, 64),
            ("microkit_passive", START + 0x40, 1),
            ("microkit_irqs", START + 0x48, 8),
            ("microkit_notifications", START + 0x50, 8),
            ("microkit_pps", START + 0x58, 8),
            ("microkit_ioports", START + 0x60, 8),
            ("value", START + 0x68, 8),
            ("other", START + 0x70, 8),
            ("third", START + 0x1008, 8),
            ("four", START + 0x78, 4),
            ("twice", START + 0x80, 8),
            ("twice", START + 0x88, 8),
        ];
        Self { machine: AARCH64, entry: START, segments: vec![(START, vec![0x11; 0x100], 0x1010)], symbols }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut names = vec![0];
        let mut symbols = vec![0; 24];
        for (name, address, size) in &self.symbols {
            symbols.extend((names.len() as u32).to_le_bytes());
            symbols.extend([0x11, 0, 1, 0]); // a global object of section 1
            symbols.extend(address.to_le_bytes());
            symbols.extend(size.to_le_bytes());
            names.extend(name.bytes().chain([0]));
        }
        let data = 0x40 + 0x38 * self.segments.len() as u64;
        let contents: u64 = self.segments.iter().map(|(_, bytes, _)| bytes.len() as u64).sum();
        let symbols_at = data + contents;
        let names_at = symbols_at + symbols.len() as u64;
        let sections_at = names_at + names.len() as u64;

        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        half(&mut file, &[2, self.machine]);
        word(&mut file, &[1]);
        long(&mut file, &[self.entry, 0x40, sections_at]);
        word(&mut file, &[0]);
        half(&mut file, &[0x40, 0x38, self.segments.len() as u16, 0x40, 3, 2]);
        let mut offset = data;
        for (address, bytes, size) in &self.segments {
            word(&mut file, &[1, 7]);
            long(&mut file, &[offset, *address, *address, bytes.len() as u64, *size, 1]);
            offset += bytes.len() as u64;
        }
        self.segments.iter().for_each(|(_, bytes, _)| file.extend(bytes));
        file.extend(&symbols);
        file.extend(&names);
        file.resize(file.len() + 0x40, 0);
        for (kind, offset, size, link, info, entry) in
            [(2, symbols_at, symbols.len(), 2, 1, 24), (3, names_at, names.len(), 0, 0, 0)]
        {
            word(&mut file, &[0, kind]);
            long(&mut file, &[0, 0, offset, size as u64]);
            word(&mut file, &[link, info]);
            long(&mut file, &[8, entry]);
        }
        file
    }
}

fn half(file: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| file.extend(value.to_le_bytes()));
}

fn word(file: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| file.extend(value.to_le_bytes()));
}

fn long(file: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| file.extend(value.to_le_bytes()));
}

/// A fresh directory with the files that the descriptions name, and an SDK in `sdk`.
pub fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    let kernel = directory.join("sdk/board/qemu_virt_aarch64/debug/elf");
    fs::create_dir_all(&kernel).unwrap();
    let image = vec![(devsdk_image::LOAD_ADDRESS, vec![0x4b; 0x123], 0x2100)];
    let elf = Elf { machine: AARCH64, entry: devsdk_image::LOAD_ADDRESS, segments: image, symbols: vec![] };
    fs::write(kernel.join("sel4.elf"), elf.bytes()).unwrap();

    fs::create_dir(directory.join("directory")).unwrap();
    fs::write(directory.join("empty"), []).unwrap();
    fs::write(directory.join("long"), [0x22; 0x1001]).unwrap();
    let program = Elf::program;
    let own = || program().symbols;
    let without = |name| own().into_iter().filter(move |(symbol, _, _)| *symbol != name);
    for (name, elf) in [
        ("program.elf", program()),
        ("machine.elf", Elf { machine: 62, ..program() }),
        ("no_segments.elf", Elf { segments: vec![], ..program() }),
        ("bare.elf", Elf { symbols: without("microkit_pps").collect(), ..program() }),
        (
            "short_name.elf",
            Elf { symbols: without("microkit_name").chain([("microkit_name", START, 0)]).collect(), ..program() },
        ),
        (
            "symbol_outside.elf",
            Elf { symbols: without("microkit_irqs").chain([("microkit_irqs", 0x1000, 8)]).collect(), ..program() },
        ),
        (
            "shared_page.elf",
            Elf { segments: [program().segments, vec![(START + 0x1800, vec![1], 1)]].concat(), ..program() },
        ),
        (
            "high.elf",
            Elf {
                segments: [program().segments, vec![(devsdk_image::STACK_TOP - 1, vec![1], 1)]].concat(),
                ..program()
            },
        ),
    ] {
        fs::write(directory.join(name), elf.bytes()).unwrap();
    }
    directory
}

/// Runs `tool` of the SDK `sdk` in `directory` on `description`.
pub fn run(tool: &Path, sdk: &Path, directory: &Path, description: &Path, image: &str) -> Output {
    Command::new(tool)
        .current_dir(directory)
        .env("MICROKIT_SDK", sdk)
        .arg(description)
        .args(["--board", "qemu_virt_aarch64", "--config", "debug"])
        .args(["--output", image, "--report", &format!("{image}.txt")])
        .output()
        .unwrap()
}
