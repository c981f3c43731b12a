// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A virtqueue of arbitrary contents.

use super::{Bytes, saw};
use crate::map::RAM_BASE;
use crate::memory::{self, GuestMemory, OutOfRange};
use crate::virtio::Lazy;
use crate::virtio::chain::{Buffer, Chain};
use crate::virtio::ring::{Areas, MAX_SIZE, Options, Ring, RingError};
use std::cell::Cell;
use std::vec;
use std::vec::Vec;

const RAM: u64 = 0x8000;
/// Most accesses for one chain: two for each descriptor, of which one enters an indirect table, and a few for the rings.
const MOST_ACCESSES: u32 = 2 * (MAX_SIZE as u32 + 1) + 8;

/// A RAM that counts its accesses.
struct Counting {
    ram: Vec<u8>,
    accesses: Cell<u32>,
}

impl GuestMemory for Counting {
    fn size(&self) -> u64 {
        RAM
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfRange> {
        self.accesses.set(self.accesses.get() + 1);
        let start = memory::offset(gpa, buf.len(), RAM)?;
        buf.copy_from_slice(&self.ram[start..start + buf.len()]);
        Ok(())
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        self.accesses.set(self.accesses.get() + 1);
        let start = memory::offset(gpa, bytes.len(), RAM)?;
        self.ram[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

impl Counting {
    /// A descriptor at `gpa`, with values of which many are nearly right.
    fn put_descriptor(&mut self, gpa: u64, bytes: &mut Bytes<'_>) {
        let address = match bytes.byte() % 8 {
            0 => bytes.double(),
            _ => RAM_BASE + u64::from(bytes.half()) % RAM,
        };
        let len = match bytes.byte() % 8 {
            0 => bytes.word(),
            1 | 2 => 16 * u32::from(bytes.byte() % 8),
            _ => bytes.byte().into(),
        };
        let (flags, next) = (u16::from(bytes.byte() % 8), u16::from(bytes.byte()));
        let descriptor = [address, u64::from(len) | u64::from(flags) << 32 | u64::from(next % 40) << 48];
        for (n, word) in descriptor.into_iter().enumerate() {
            let _ = self.write(gpa + 8 * n as u64, &word.to_le_bytes());
        }
    }
}

/// Descriptor tables and rings of arbitrary contents: what is taken lies in RAM and is as long as it says, each step is short,
/// and a rule that is broken is told.
pub fn rings(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let choice = bytes.byte();
    let options = Options { indirect: choice & 1 != 0, event_index: choice & 2 != 0 };
    let size = 1 << ((choice >> 2) % 9);
    let mut area = |usual: u64| match bytes.byte() {
        0 => bytes.double(),
        near => RAM_BASE + usual + u64::from(near & 1),
    };
    let areas = Areas { descriptors: area(0), driver: area(0x1000), device: area(0x2000) };
    let mut memory = Counting { ram: vec![0; RAM as usize], accesses: Cell::new(0) };
    let mut ring = match Ring::new(&memory, areas, size, options) {
        Ok(ring) => ring,
        Err(error) => return saw(error),
    };
    let mut chain = Chain::new();
    let mut heads = Vec::new();
    let mut available = 0_u16;
    while !bytes.is_empty() {
        memory.accesses.set(0);
        let done = match bytes.byte() % 12 {
            0..=2 => {
                memory.put_descriptor(areas.descriptors + 16 * u64::from(bytes.byte() % 40), &mut bytes);
                Ok(())
            }
            // Where an indirect table may be.
            3 => {
                memory.put_descriptor(RAM_BASE + u64::from(bytes.half()) % RAM, &mut bytes);
                Ok(())
            }
            4 | 5 => {
                let head = if bytes.byte() % 8 == 0 { bytes.half() } else { bytes.byte().into() };
                let _ = memory.store_u16(areas.driver + 4 + 2 * u64::from(available % size), head);
                available = available.wrapping_add(1);
                let shown = if bytes.byte() % 16 == 0 { bytes.half() } else { available };
                let _ = memory.store_u16(areas.driver + 2, shown);
                Ok(())
            }
            6 => ring.sleep(&mut memory).map(|_| ()),
            7 => ring.suppress(&mut memory),
            8 => match heads.pop() {
                Some(head) => ring.give_back(&mut memory, head, bytes.word()),
                None => Ok(()),
            },
            9 => ring
                .publish(&mut memory, [None, Some(Lazy::Chains), Some(Lazy::Signals)][usize::from(bytes.byte() % 3)])
                .map(|_| ()),
            10 => match heads.last() {
                Some(head) => ring.take(&memory, &mut chain, Some(*head)).map(|_| ()),
                None => Ok(()),
            },
            _ => take(&mut ring, &memory, &mut chain, &mut heads),
        };
        assert!(memory.accesses.get() <= MOST_ACCESSES, "{} accesses", memory.accesses.get());
        if let Err(error) = done {
            return saw(error);
        }
    }
}

fn take(ring: &mut Ring, memory: &Counting, chain: &mut Chain, heads: &mut Vec<u16>) -> Result<(), RingError> {
    if !ring.take(memory, chain, None)? {
        saw("no chain");
        return Ok(());
    }
    saw("a chain");
    let parts: Vec<Buffer> = chain.readable(0, u64::MAX).chain(chain.writable(0, u64::MAX)).collect();
    assert!(parts.len() <= usize::from(MAX_SIZE));
    let inside = |part: &Buffer| memory::offset(part.gpa, part.len as usize, RAM).is_ok();
    assert!(parts.iter().all(inside), "a buffer outside RAM: {parts:?}");
    let sum: u64 = parts.iter().map(|part| u64::from(part.len)).sum();
    assert_eq!(sum, chain.readable_len() + chain.writable_len());
    heads.push(chain.head());
    Ok(())
}
