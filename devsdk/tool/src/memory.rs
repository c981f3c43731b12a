// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Physical memory: what lies where, and what of it the image carries.

use std::ops::Range;

use devsdk_image::{LOAD_ADDRESS, PAGE_SIZE, RAM};

use crate::rule::Rule;

/// Blocks at least as large as this are aligned to it, so that the kernel can map them with few entries.
const LARGE: u64 = 0x20_0000;

/// Distributor, CPU interface and virtual interface control of the board's GICv2: the real SDK keeps them from domains,
/// too. The virtual CPU interface is a guest's.
const KERNEL_DEVICES: [Range<u64>; 3] = [0x0800_0000..0x0800_1000, 0x0801_0000..0x0801_1000, 0x0803_0000..0x0803_1000];

/// Contiguous memory with one purpose.
#[derive(Debug)]
pub struct Block {
    /// What it is, for the report and for diagnostics.
    pub what: String,
    /// Bytes, whole pages.
    pub size: u64,
    /// Where it must be.
    pub fixed: Option<u64>,
    /// What it holds at its start; the rest is zeroes.
    pub contents: Vec<u8>,
    /// Whether it need not be cleared.
    pub dirty: bool,
    /// Where it is.
    pub address: u64,
}

impl Block {
    /// A block of `size` bytes that starts with `contents`.
    pub fn new(what: String, size: u64, mut contents: Vec<u8>) -> Self {
        let used = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        contents.truncate(used);
        Self { what, size, fixed: None, contents, dirty: false, address: 0 }
    }

    /// Its memory.
    pub fn range(&self) -> Range<u64> {
        self.address..self.address + self.size
    }

    fn alignment(&self) -> u64 {
        if self.size >= LARGE { LARGE } else { PAGE_SIZE }
    }
}

/// Contents that wait in the image for their block at a fixed address.
#[derive(Debug)]
pub struct Payload {
    /// Index of the block.
    pub block: usize,
    /// Where they wait.
    pub address: u64,
}

/// Where everything is.
#[derive(Debug, Default)]
pub struct Layout {
    taken: Vec<Range<u64>>,
    /// Contents of fixed blocks.
    pub payloads: Vec<Payload>,
    /// First address after the image.
    pub image_end: u64,
}

impl Layout {
    /// The memory of an image that starts with `reserved` bytes of kernel and description.
    pub fn new(reserved: u64) -> Self {
        let end = LOAD_ADDRESS + reserved;
        let mut layout = Self { image_end: end, ..Self::default() };
        layout.taken.push(LOAD_ADDRESS..end);
        layout
    }

    /// Takes the memory of the fixed ones among `blocks`; on failure, also tells the index of the block.
    pub fn fix(&mut self, blocks: &mut [Block]) -> Result<(), (usize, Rule)> {
        for (index, block) in blocks.iter_mut().enumerate() {
            let Some(address) = block.fixed else { continue };
            block.address = address;
            let Range { start, end } = block.range();
            let overlaps = |other: &Range<u64>| start < other.end && other.start < end;
            let rule = |other: &str| Rule::Overlap { start, end, other: other.to_owned() };
            if self.taken.first().is_some_and(overlaps) {
                return Err((index, rule("devsdk's kernel")));
            }
            if KERNEL_DEVICES.iter().any(overlaps) {
                return Err((index, rule("the kernel's interrupt controller")));
            }
            self.taken.push(start..end);
        }
        Ok(())
    }

    /// Places `blocks`, the first of which has the number `first`; on failure, also tells the index of the block.
    pub fn place(&mut self, blocks: &mut [Block], first: usize) -> Result<(), (usize, Rule)> {
        // What the image carries comes first, small blocks before large ones: less padding.
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|index| blocks.get(*index).map(|b| (b.contents.is_empty(), b.alignment(), b.size)));
        for index in order {
            let Some(block) = blocks.get_mut(index) else { continue };
            let carried = (block.contents.len() as u64).next_multiple_of(PAGE_SIZE);
            let from = if carried > 0 { LOAD_ADDRESS } else { RAM.start };
            let exhausted = |rule| (index, rule);
            if block.fixed.is_none() {
                block.address = self.allocate(from, block.size, block.alignment(), &block.what).map_err(exhausted)?;
                if carried > 0 {
                    self.image_end = self.image_end.max(block.address + carried);
                }
            } else if carried > 0 {
                let address = self.allocate(from, carried, PAGE_SIZE, &block.what).map_err(exhausted)?;
                self.payloads.push(Payload { block: first + index, address });
                self.image_end = self.image_end.max(address + carried);
            }
        }
        Ok(())
    }

    /// The lowest free memory at or above `from`.
    fn allocate(&mut self, from: u64, size: u64, alignment: u64, what: &str) -> Result<u64, Rule> {
        let mut start = from;
        while let Some(taken) = self.taken.iter().find(|taken| start < taken.end && taken.start < start + size) {
            start = taken.end.next_multiple_of(alignment);
        }
        if start + size > RAM.end {
            return Err(Rule::OutOfMemory { size, what: what.to_owned() });
        }
        self.taken.push(start..start + size);
        Ok(start)
    }

    /// The parts of `block` that must be cleared: RAM that the image does not cover.
    pub fn cleared(&self, block: &Block) -> Vec<Range<u64>> {
        let Range { start, end } = block.range();
        // A payload is copied over cleared memory; contents in place are in the image.
        let parts = if block.dirty {
            vec![]
        } else {
            vec![start.max(RAM.start)..end.min(LOAD_ADDRESS), start.max(self.image_end)..end.min(RAM.end)]
        };
        parts.into_iter().filter(|part| part.start < part.end).collect()
    }
}
