// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The buffers of a descriptor chain, copied out of the guest's memory.
//!
//! A device must not assume how a request is cut into descriptors (virtio 1.2, 2.7.4), so all access is by offset into
//! the device-readable or the device-writable bytes as a whole.

use super::ring::MAX_SIZE;
use crate::memory::{GuestMemory, OutOfRange};

/// Part of the guest's RAM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Buffer {
    /// Guest-physical address.
    pub gpa: u64,
    /// Length in bytes, not zero.
    pub len: u32,
}

/// What a chain consists of. All buffers lie in RAM.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    buffers: heapless::Vec<Buffer, { MAX_SIZE as usize }>,
    /// How many of the buffers the device may only read; it may only write the others.
    readable: usize,
    readable_len: u64,
    writable_len: u64,
    head: u16,
}

impl Chain {
    /// An empty chain.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffers: heapless::Vec::new(), readable: 0, readable_len: 0, writable_len: 0, head: 0 }
    }

    /// What the used ring calls the chain.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Number of bytes that the device may read.
    #[must_use]
    pub fn readable_len(&self) -> u64 {
        self.readable_len
    }

    /// Number of bytes that the device may write.
    #[must_use]
    pub fn writable_len(&self) -> u64 {
        self.writable_len
    }

    /// Guest-physical address of the last byte that the device may write.
    #[must_use]
    pub fn last_writable(&self) -> Option<u64> {
        let last = self.buffers.get(self.readable..)?.last()?;
        Some(last.gpa + u64::from(last.len) - 1)
    }

    /// The first 16 bytes that the device may read, as little-endian words, if there are so many.
    ///
    /// # Errors
    /// As of [`Self::read`].
    pub fn first_words(&self, memory: &impl GuestMemory) -> Result<Option<[u64; 2]>, OutOfRange> {
        const LEN: usize = size_of::<[u64; 2]>();
        match self.buffers.first() {
            // Nearly always they are in one piece.
            Some(first) if self.readable > 0 && first.len as usize >= LEN => memory.load_u64_pair(first.gpa).map(Some),
            _ => {
                let mut bytes = [[0; 8]; 2];
                let read = self.read(memory, 0, bytes.as_flattened_mut())?;
                Ok((read == LEN).then(|| bytes.map(u64::from_le_bytes)))
            }
        }
    }

    /// The buffers with the `len` readable bytes from `offset` on, or as many as there are.
    pub fn readable(&self, offset: u64, len: u64) -> impl Iterator<Item = Buffer> {
        part(self.buffers.get(..self.readable).unwrap_or(&[]), offset, len)
    }

    /// The buffers with the `len` writable bytes from `offset` on, or as many as there are.
    pub fn writable(&self, offset: u64, len: u64) -> impl Iterator<Item = Buffer> {
        part(self.buffers.get(self.readable..).unwrap_or(&[]), offset, len)
    }

    /// Copies from the readable bytes from `offset` on, until `buf` is full or they end: returns how many that were.
    ///
    /// # Errors
    /// [`OutOfRange`] never happens to a chain that came from a queue of the same memory; here and below.
    pub fn read(&self, memory: &impl GuestMemory, offset: u64, buf: &mut [u8]) -> Result<usize, OutOfRange> {
        let mut done = 0;
        for Buffer { gpa, len } in self.readable(offset, buf.len() as u64) {
            let to = buf.get_mut(done..done + len as usize).ok_or(OutOfRange)?;
            memory.read(gpa, to)?;
            done += len as usize;
        }
        Ok(done)
    }

    /// Copies to the writable bytes from `offset` on, until `bytes` or they end: returns how many that were.
    pub fn write(&self, memory: &mut impl GuestMemory, offset: u64, bytes: &[u8]) -> Result<usize, OutOfRange> {
        // Nearly always they go into one buffer.
        if let Some(first) = self.buffers.get(self.readable)
            && offset == 0
            && first.len as usize >= bytes.len()
        {
            memory.write(first.gpa, bytes)?;
            return Ok(bytes.len());
        }
        let mut done = 0;
        for Buffer { gpa, len } in self.writable(offset, bytes.len() as u64) {
            memory.write(gpa, bytes.get(done..done + len as usize).ok_or(OutOfRange)?)?;
            done += len as usize;
        }
        Ok(done)
    }

    pub(super) fn begin(&mut self, head: u16) {
        self.buffers.clear();
        (self.readable, self.readable_len, self.writable_len, self.head) = (0, 0, 0, head);
    }

    /// Adds a buffer: false if it is a readable one behind a writable one, or one too many.
    pub(super) fn push(&mut self, buffer: Buffer, writable: bool) -> bool {
        if writable {
            self.writable_len += u64::from(buffer.len);
        } else if self.readable == self.buffers.len() {
            self.readable += 1;
            self.readable_len += u64::from(buffer.len);
        } else {
            return false;
        }
        self.buffers.push(buffer).is_ok()
    }
}

/// The parts of `buffers` that hold the `len` bytes from `offset` on.
fn part(buffers: &[Buffer], offset: u64, len: u64) -> impl Iterator<Item = Buffer> {
    let (mut skip, mut take) = (offset, len);
    buffers
        .iter()
        .map_while(move |buffer| {
            let skipped = skip.min(buffer.len.into());
            let taken = take.min(u64::from(buffer.len) - skipped);
            skip -= skipped;
            let more = take > 0;
            take -= taken;
            more.then_some(Buffer { gpa: buffer.gpa + skipped, len: taken as u32 })
        })
        .filter(|buffer| buffer.len > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::RAM_BASE;

    /// Readable: 3 and 5 bytes; writable: 2 and 6.
    fn chain() -> Chain {
        let mut chain = Chain::new();
        chain.begin(7);
        for (gpa, len, writable) in [(0, 3, false), (10, 5, false), (20, 2, true), (30, 6, true)] {
            assert!(chain.push(Buffer { gpa: RAM_BASE + gpa, len }, writable));
        }
        chain
    }

    #[test]
    fn a_part_is_found_wherever_the_cuts_are() {
        let chain = chain();
        assert_eq!((chain.readable_len(), chain.writable_len(), chain.head()), (8, 8, 7));
        type Parts = &'static [(u64, u32)];
        let cases: [(u64, u64, Parts, Parts); 7] = [
            (0, 8, &[(0, 3), (10, 5)], &[(20, 2), (30, 6)]),
            (0, 2, &[(0, 2)], &[(20, 2)]),
            (1, 3, &[(1, 2), (10, 1)], &[(21, 1), (30, 2)]),
            (3, 1, &[(10, 1)], &[(31, 1)]),
            (7, 9, &[(14, 1)], &[(35, 1)]),
            (8, 1, &[], &[]),
            (0, 0, &[], &[]),
        ];
        let parts = |parts: Vec<Buffer>| parts.iter().map(|b| (b.gpa - RAM_BASE, b.len)).collect::<Vec<_>>();
        for (offset, len, readable, writable) in cases {
            assert_eq!(parts(chain.readable(offset, len).collect()), readable, "{offset}+{len}");
            assert_eq!(parts(chain.writable(offset, len).collect()), writable, "{offset}+{len}");
        }
    }

    #[test]
    fn bytes_are_gathered_and_scattered() {
        let mut bytes: Vec<u8> = (0..40).collect();
        let mut ram = &mut bytes[..];
        let chain = chain();
        let mut buf = [0xff; 6];
        assert_eq!(chain.read(&ram, 2, &mut buf), Ok(6));
        assert_eq!(buf, [2, 10, 11, 12, 13, 14]);
        assert_eq!(chain.read(&ram, 6, &mut buf), Ok(2));
        assert_eq!(chain.write(&mut ram, 1, b"abcdefghij"), Ok(7));
        assert_eq!(&bytes[20..22], b"\x14a");
        assert_eq!(&bytes[30..37], b"bcdefg\x24");
    }

    #[test]
    fn a_readable_buffer_does_not_follow_a_writable_one() {
        let mut chain = chain();
        assert!(!chain.push(Buffer { gpa: RAM_BASE, len: 1 }, false));
    }
}
