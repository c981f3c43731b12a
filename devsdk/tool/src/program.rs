// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! ELF files: segments to load, and symbols in them to set.

use std::fs;
use std::path::Path;

use object::elf::{EM_AARCH64, FileHeader64, PF_R, PF_W, PF_X};
use object::read::elf::{ElfFile64, FileHeader};
use object::{LittleEndian, Object, ObjectSegment, ObjectSymbol, SegmentFlags};

use crate::rule::Rule;
use devsdk_image::{Map, PAGE_SIZE};

/// The result of reading a program.
pub type Result<T> = std::result::Result<T, Rule>;

/// A program to load.
#[derive(Debug)]
pub struct Program {
    path: String,
    /// Address of its first instruction.
    pub entry: u64,
    /// Its segments, whole pages each.
    pub segments: Vec<Segment>,
    symbols: Vec<Symbol>,
}

/// Pages of a program.
#[derive(Debug)]
pub struct Segment {
    /// Virtual address of the first page.
    pub start: u64,
    /// Contents.
    pub bytes: Vec<u8>,
    /// Permissions, flags of [`Map`].
    pub flags: u64,
}

#[derive(Debug)]
struct Symbol {
    name: String,
    address: u64,
    size: u64,
}

impl Program {
    /// Reads the ELF file at `path`, and its symbols from the one at `symbols` if that is another.
    pub fn read(path: &Path, symbols: Option<&Path>) -> Result<Self> {
        let mut program = Self::parse(path)?;
        if let Some(symbols) = symbols {
            let Self { symbols, path, .. } = Self::parse(symbols)?;
            program.symbols = symbols;
            program.path = path;
        }
        Ok(program)
    }

    fn parse(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let fail = |reason: String| Rule::Program { path: name.clone(), reason };
        let bytes = fs::read(path).map_err(|error| Rule::File { path: name.clone(), reason: error.to_string() })?;
        let elf = ElfFile64::<LittleEndian>::parse(&*bytes).map_err(|error| fail(error.to_string()))?;
        let machine = FileHeader64::e_machine(elf.elf_header(), LittleEndian);
        if machine != EM_AARCH64 {
            return Err(fail(format!("it is for machine {machine}, not for AArch64")));
        }
        let mut segments = Vec::new();
        for segment in elf.segments() {
            let data = segment.data().map_err(|error| fail(error.to_string()))?;
            if segment.size() == 0 {
                continue;
            }
            let start = segment.address() & !(PAGE_SIZE - 1);
            let lead = segment.address() - start;
            let size = segment
                .size()
                .checked_add(lead)
                .filter(|size| start.checked_add(*size).is_some_and(|end| end <= devsdk_image::ADDRESS_SPACE))
                .and_then(|size| usize::try_from(size.next_multiple_of(PAGE_SIZE)).ok())
                .ok_or_else(|| fail("a segment is outside the address space".to_owned()))?;
            let mut bytes = vec![0; size];
            let lead = usize::try_from(lead).unwrap_or(0);
            if let Some(place) = bytes.get_mut(lead..).and_then(|rest| rest.get_mut(..data.len())) {
                place.copy_from_slice(data);
            }
            segments.push(Segment { start, bytes, flags: flags(segment.flags()) });
        }
        if segments.is_empty() {
            return Err(fail("it has nothing to load".to_owned()));
        }
        segments.sort_by_key(|segment: &Segment| segment.start);
        if segments.windows(2).any(|pair| matches!(pair, [a, b] if a.end() > b.start)) {
            return Err(fail("two of its segments share a page".to_owned()));
        }
        let symbols = elf
            .symbols()
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| !name.is_empty())?.to_owned();
                Some(Symbol { name, address: symbol.address(), size: symbol.size() })
            })
            .collect();
        Ok(Self { entry: elf.entry(), segments, symbols, path: name })
    }

    /// Sets the symbol called `name`, which must have the size of `value`.
    pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
        self.write(name, &value.to_le_bytes(), 8..=8)
    }

    /// Sets the first bytes of the symbol called `name`, which must have room for them.
    pub fn set_bytes(&mut self, name: &str, value: &[u8]) -> Result<()> {
        self.write(name, value, value.len() as u64..=u64::MAX)
    }

    fn write(&mut self, name: &str, value: &[u8], sizes: std::ops::RangeInclusive<u64>) -> Result<()> {
        let (path, symbol) = (self.path.clone(), name.to_owned());
        let mut matching = self.symbols.iter().filter(|symbol| symbol.name == name);
        let Some(&Symbol { address, size, .. }) = matching.next() else {
            return Err(Rule::NoSymbol { path, symbol });
        };
        if matching.next().is_some() {
            return Err(Rule::SymbolTwice { path, symbol });
        }
        if !sizes.contains(&size) {
            return Err(Rule::SymbolSize { path, symbol, size, expected: *sizes.start() });
        }
        let place = self.segments.iter_mut().find_map(|segment| {
            let offset = usize::try_from(address.checked_sub(segment.start)?).ok()?;
            segment.bytes.get_mut(offset..)?.get_mut(..value.len())
        });
        match place {
            Some(place) => place.copy_from_slice(value),
            None => return Err(Rule::SymbolPlace { path, symbol }),
        }
        Ok(())
    }
}

impl Segment {
    /// Virtual address after the last page.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

fn flags(flags: SegmentFlags) -> u64 {
    let SegmentFlags::Elf { p_flags, .. } = flags else { return 0 };
    let flag = |elf, map| if (p_flags & elf) == elf { map } else { 0 };
    Map::CACHED | flag(PF_R, Map::READ) | flag(PF_W, Map::WRITE) | flag(PF_X, Map::EXECUTE)
}
