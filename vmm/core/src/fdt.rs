// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The flattened device tree that the guest gets (Devicetree Specification 0.4, chapter 5).
//!
//! [`Tree`] writes front to back into the guest's RAM, so that a VMM needs neither a heap nor a buffer.

use crate::gic::IntId;
use crate::map::Range;
use crate::memory::GuestMemory;
use core::fmt::{self, Write};

/// What the interrupt controller is called in `interrupt-parent`.
pub const GIC_PHANDLE: u32 = 1;
/// What the clock of the emulated peripherals is called in `clocks`.
pub const CLOCK_PHANDLE: u32 = 2;

const MAGIC: u32 = 0xd00d_feed;
const HEADER: u64 = 40;
/// One empty entry: no reserved memory.
const RESERVATIONS: u64 = 16;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;
/// Room for the names of all properties.
const STRINGS: usize = 1024;

/// The space for the device tree is full, or a fragment is no device tree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

/// A device tree being written.
pub struct Tree<'a> {
    memory: &'a mut dyn GuestMemory,
    space: Range,
    /// How much of the space is used.
    at: u64,
    strings: heapless::Vec<u8, STRINGS>,
}

/// Whether `bytes` begin with a device tree blob and hold all of it (5.2).
#[must_use]
pub fn is_device_tree(bytes: &[u8]) -> bool {
    word(bytes, 0) == Some(MAGIC as usize)
        && word(bytes, 4).is_some_and(|size| (HEADER as usize..=bytes.len()).contains(&size))
}

/// The 32-bit word at `at`.
fn word(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
}

/// The string at `at`, without the zero at its end.
fn string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    bytes.get(at..)?.split(|byte| *byte == 0).next()
}

/// An interrupt as a device tree describes it to a GIC: type, number, flags.
#[derive(Clone, Copy, Debug)]
pub struct Interrupt([u32; 3]);

impl Interrupt {
    /// A level-sensitive one, active high.
    #[must_use]
    pub fn level(intid: IntId) -> Self {
        Self::new(intid, 4)
    }

    /// A private, active-low one, as the Arm timers' are; `vcpus` says who has it.
    #[must_use]
    pub fn timer(intid: IntId, vcpus: usize) -> Self {
        Self::new(intid, 8 | ((1 << vcpus) - 1) << 8)
    }

    fn new(intid: IntId, flags: u32) -> Self {
        let id = u32::from(intid.id());
        match id.checked_sub(32) {
            Some(spi) => Self([0, spi, flags]),
            None => Self([1, id.wrapping_sub(16), flags]),
        }
    }
}

impl<'a> Tree<'a> {
    /// Writes a whole tree to the start of `space` in the guest's RAM: `content` adds to the root. Returns its size.
    ///
    /// # Errors
    /// [`Full`] if `space` is too small.
    pub fn write(
        memory: &'a mut dyn GuestMemory,
        space: Range,
        content: impl FnOnce(&mut Self) -> Result<(), Full>,
    ) -> Result<u64, Full> {
        let mut tree = Self { memory, space, at: 0, strings: heapless::Vec::new() };
        tree.bytes(&[0; (HEADER + RESERVATIONS) as usize])?;
        tree.node("", content)?;
        tree.word(END)?;
        tree.finish()
    }

    fn finish(mut self) -> Result<u64, Full> {
        let strings = core::mem::take(&mut self.strings);
        let structure = HEADER + RESERVATIONS;
        let structure_end = self.at;
        self.bytes(&strings)?;
        let total = core::mem::take(&mut self.at);
        let strings = strings.len() as u64;
        let header =
            [total, structure, structure_end, HEADER, 17, 16, 0, strings, structure_end - structure].map(|n| n as u32);
        self.word(MAGIC)?;
        header.into_iter().try_for_each(|word| self.word(word))?;
        Ok(total)
    }

    /// Adds a node; `content` adds its properties, then its children.
    ///
    /// # Errors
    /// [`Full`] if the space is, here and in every method below.
    pub fn node(&mut self, name: &str, content: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        self.node_named(format_args!("{name}"), content)
    }

    /// Adds a node named after its address.
    pub fn node_at(
        &mut self,
        name: &str,
        address: u64,
        content: impl FnOnce(&mut Self) -> Result<(), Full>,
    ) -> Result<(), Full> {
        self.node_named(format_args!("{name}@{address:x}"), content)
    }

    fn node_named(
        &mut self,
        name: fmt::Arguments<'_>,
        content: impl FnOnce(&mut Self) -> Result<(), Full>,
    ) -> Result<(), Full> {
        self.begin_node(name)?;
        content(self)?;
        self.word(END_NODE)
    }

    // The parts of the generic methods that depend on no closure are functions of their own: there are many closures.
    #[inline(never)]
    fn begin_node(&mut self, name: fmt::Arguments<'_>) -> Result<(), Full> {
        self.word(BEGIN_NODE)?;
        self.write_fmt(name).map_err(|fmt::Error| Full)?;
        self.bytes(&[0])?;
        self.align()
    }

    /// Adds a property.
    pub fn property(&mut self, name: &str, value: &[u8]) -> Result<(), Full> {
        self.property_parts(name, value.len(), |tree| tree.bytes(value))
    }

    /// Adds a property without a value.
    pub fn flag(&mut self, name: &str) -> Result<(), Full> {
        self.property(name, &[])
    }

    /// Adds a property of 32-bit cells.
    pub fn cells(&mut self, name: &str, cells: &[u32]) -> Result<(), Full> {
        self.property_parts(name, cells.len() * 4, |tree| cells.iter().try_for_each(|c| tree.word(*c)))
    }

    /// Adds a property that is a list of strings.
    pub fn strings(&mut self, name: &str, strings: &[&str]) -> Result<(), Full> {
        let len = strings.iter().map(|s| s.len() + 1).sum();
        self.property_parts(name, len, |tree| {
            strings.iter().try_for_each(|s| {
                tree.bytes(s.as_bytes())?;
                tree.bytes(&[0])
            })
        })
    }

    /// Adds a property that is a string.
    pub fn string(&mut self, name: &str, string: &str) -> Result<(), Full> {
        self.strings(name, &[string])
    }

    /// Adds `reg`, with two cells for each address and each size.
    pub fn reg(&mut self, ranges: &[Range]) -> Result<(), Full> {
        self.property_parts("reg", ranges.len() * 16, |tree| {
            ranges.iter().try_for_each(|r| {
                tree.bytes(&r.base.to_be_bytes())?;
                tree.bytes(&r.size.to_be_bytes())
            })
        })
    }

    /// Adds `interrupts`.
    pub fn interrupts(&mut self, interrupts: &[Interrupt]) -> Result<(), Full> {
        self.property_parts("interrupts", interrupts.len() * 12, |tree| {
            interrupts.iter().flat_map(|i| i.0).try_for_each(|cell| tree.word(cell))
        })
    }

    /// Adds the children of the root of a fragment, a device tree blob (5.4).
    ///
    /// # Errors
    /// [`Full`] also if it is none.
    pub fn merge(&mut self, fragment: &[u8]) -> Result<(), Full> {
        if !is_device_tree(fragment) {
            return Err(Full);
        }
        let next = |at: usize| word(fragment, at).ok_or(Full);
        let (mut at, strings, mut depth) = (next(8)?, next(12)?, 0u32);
        loop {
            let token = next(at)? as u32;
            at += 4;
            match token {
                BEGIN_NODE => {
                    let name = string(fragment, at).ok_or(Full)?;
                    at = (at + name.len() + 1).next_multiple_of(4);
                    depth += 1;
                    if depth > 1 {
                        self.word(BEGIN_NODE)?;
                        self.bytes(name)?;
                        self.bytes(&[0])?;
                        self.align()?;
                    }
                }
                END_NODE => {
                    depth = depth.checked_sub(1).ok_or(Full)?;
                    if depth == 0 {
                        return Ok(());
                    }
                    self.word(END_NODE)?;
                }
                PROP => {
                    let (size, name) = (next(at)?, next(at + 4)?);
                    let value = fragment.get(at + 8..).and_then(|rest| rest.get(..size)).ok_or(Full)?;
                    at = (at + 8 + size).next_multiple_of(4);
                    if depth > 1 {
                        self.begin_property(string(fragment, strings + name).ok_or(Full)?, size)?;
                        self.bytes(value)?;
                        self.align()?;
                    }
                }
                NOP => {}
                _ => return Err(Full),
            }
        }
    }

    fn property_parts(
        &mut self,
        name: &str,
        len: usize,
        value: impl FnOnce(&mut Self) -> Result<(), Full>,
    ) -> Result<(), Full> {
        self.begin_property(name.as_bytes(), len)?;
        value(self)?;
        self.align()
    }

    #[inline(never)]
    fn begin_property(&mut self, name: &[u8], len: usize) -> Result<(), Full> {
        let name = self.intern(name)?;
        [PROP, len as u32, name].into_iter().try_for_each(|word| self.word(word))
    }

    /// The offset of `name` in the strings block, where each name is once.
    fn intern(&mut self, name: &[u8]) -> Result<u32, Full> {
        let mut offset = 0;
        for known in self.strings.split(|byte| *byte == 0) {
            if known == name && offset < self.strings.len() {
                return Ok(offset as u32);
            }
            offset += known.len() + 1;
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(name).map_err(|_| Full)?;
        self.strings.push(0).map_err(|_| Full)?;
        Ok(offset)
    }

    #[inline(never)]
    fn word(&mut self, word: u32) -> Result<(), Full> {
        self.bytes(&word.to_be_bytes())
    }

    #[inline(never)]
    fn align(&mut self) -> Result<(), Full> {
        let padding = self.at.next_multiple_of(4) - self.at;
        self.bytes(&[0; 3][..padding as usize])
    }

    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.at + bytes.len() as u64;
        if end > self.space.size {
            return Err(Full);
        }
        self.memory.write(self.space.base + self.at, bytes).map_err(|_| Full)?;
        self.at = end;
        Ok(())
    }
}

impl Write for Tree<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.bytes(s.as_bytes()).map_err(|Full| fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::RAM_BASE;
    use dtoolkit::fdt::Fdt;
    use dtoolkit::{Node, Property};

    /// The tree that `content` writes into `size` bytes.
    fn written(size: usize, content: impl FnOnce(&mut Tree<'_>) -> Result<(), Full>) -> Result<Vec<u8>, Full> {
        let mut bytes = vec![0xaa; size];
        let size = Tree::write(&mut &mut bytes[..], Range { base: RAM_BASE, size: size as u64 }, content)?;
        bytes.truncate(size as usize);
        Ok(bytes)
    }

    fn example(tree: &mut Tree<'_>) -> Result<(), Full> {
        tree.cells("#address-cells", &[2])?;
        tree.cells("#size-cells", &[2])?;
        tree.string("model", "example")?;
        tree.node("chosen", |tree| tree.string("bootargs", "a b"))?;
        tree.node_at("uart", 0x900_0000, |tree| {
            tree.strings("compatible", &["arm,pl011", "arm,primecell"])?;
            tree.string("model", "again")?;
            tree.reg(&[Range { base: 0x900_0000, size: 0x1000 }])?;
            tree.interrupts(&[Interrupt::level(IntId::spi(1)), Interrupt::timer(IntId::ppi(11), 2)])?;
            tree.flag("dma-coherent")
        })
    }

    #[test]
    fn an_independent_reader_finds_what_was_written() {
        let bytes = written(1024, example).unwrap();
        let fdt = Fdt::new(&bytes).unwrap();
        assert_eq!(fdt.find_node("/chosen").unwrap().property("bootargs").unwrap().value(), b"a b\0");
        let uart = fdt.find_node("/uart@9000000").unwrap();
        let value = |name| uart.property(name).unwrap().value().to_vec();
        assert_eq!(value("compatible"), b"arm,pl011\0arm,primecell\0");
        assert_eq!(value("model"), b"again\0");
        let cells = |cells: &[u32]| cells.iter().flat_map(|c| c.to_be_bytes()).collect::<Vec<_>>();
        assert_eq!(value("reg"), cells(&[0, 0x900_0000, 0, 0x1000]));
        assert_eq!(value("interrupts"), cells(&[0, 1, 4, 1, 11, 0x308]));
        assert_eq!(value("dma-coherent"), b"");
    }

    fn fragment() -> Vec<u8> {
        let content = |tree: &mut Tree<'_>| {
            tree.string("model", "of the root: not copied")?;
            tree.node("soc", |tree| {
                tree.string("compatible", "x")?;
                tree.node_at("gpio", 0x10, |tree| tree.cells("phandle", &[7]))
            })?;
            tree.word(NOP)?;
            tree.node("leds", |tree| tree.flag("off"))
        };
        written(512, content).unwrap()
    }

    #[test]
    fn a_fragment_is_copied_with_all_below_it() {
        let bytes = written(1024, |tree| {
            tree.string("model", "merged")?;
            tree.merge(&fragment())
        })
        .unwrap();
        let fdt = Fdt::new(&bytes).unwrap();
        let value = |path: &str, name| fdt.find_node(path).unwrap().property(name).unwrap().value().to_vec();
        assert_eq!(value("/", "model"), b"merged\0");
        assert_eq!(value("/soc", "compatible"), b"x\0");
        assert_eq!(value("/soc/gpio@10", "phandle"), [0, 0, 0, 7]);
        assert_eq!(value("/leds", "off"), b"");
    }

    #[test]
    fn what_is_no_fragment_is_refused_and_does_no_harm() {
        let whole = fragment();
        let merge = |fragment: &[u8]| written(4096, |tree| tree.merge(fragment));
        assert!(merge(&whole).is_ok());
        for size in 0..whole.len() {
            assert_eq!(merge(&whole[..size]), Err(Full), "{size} bytes of it");
        }
        let structure = u32::from_be_bytes(whole[8..12].try_into().unwrap()) as usize;
        for at in (0..whole.len()).filter(|at| !(16..structure).contains(at)) {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = byte;
                // Not every byte matters; none may make it panic or go on for ever.
                let _ = merge(&broken);
            }
        }
        let mut unknown = whole.clone();
        unknown[structure + 3] = 5;
        assert_eq!(merge(&unknown), Err(Full), "a token that does not exist");
    }

    #[test]
    fn a_space_of_any_size_is_full_or_enough() {
        let whole = written(1024, example).unwrap();
        for short in 0..whole.len() {
            assert_eq!(written(short, example), Err(Full), "{short} bytes");
        }
        assert_eq!(written(whole.len(), example), Ok(whole));
    }
}
