// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Access to the guest's RAM.

use crate::map;
use core::fmt;
use queue::{AtomicU64, cells};

/// An access reaches outside the guest's RAM.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outside the guest's RAM")
    }
}

/// The guest's RAM, by guest-physical address.
///
/// The guest may write the same bytes at the same time, so implementations copy, and callers read what they decide on
/// once. The aligned loads and stores are single accesses, as atomic ones with relaxed ordering are: the callers put
/// fences between them.
pub trait GuestMemory {
    /// Size of the RAM in bytes; its first address is [`map::RAM_BASE`].
    fn size(&self) -> u64;

    /// Copies `buf.len()` bytes from `gpa` on.
    ///
    /// # Errors
    /// [`OutOfRange`] if any byte lies outside the RAM; nothing is then copied.
    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfRange>;

    /// Copies `bytes` to `gpa` and on.
    ///
    /// # Errors
    /// [`OutOfRange`] if any byte lies outside the RAM; nothing is then copied.
    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutOfRange>;

    /// Makes the `len` bytes at `gpa`, which were written here, visible to a vCPU whose caches are off.
    fn clean(&mut self, _gpa: u64, _len: usize) {}

    /// Loads the little-endian word at `gpa`, a multiple of 2.
    ///
    /// # Errors
    /// [`OutOfRange`], here and below.
    fn load_u16(&self, gpa: u64) -> Result<u16, OutOfRange> {
        let mut bytes = [0; 2];
        self.read(gpa, &mut bytes)?;
        Ok(u16::from_le_bytes(bytes))
    }

    /// Loads the two little-endian words at `gpa`, which need not be aligned.
    fn load_u64_pair(&self, gpa: u64) -> Result<[u64; 2], OutOfRange> {
        let mut bytes = [[0; 8]; 2];
        self.read(gpa, bytes.as_flattened_mut())?;
        Ok(bytes.map(u64::from_le_bytes))
    }

    /// Copies `len` bytes from `gpa` on to `offset` bytes behind the start of `cells`, which hold that many.
    fn read_to_cells(&self, gpa: u64, cells: &[AtomicU64], offset: usize, len: usize) -> Result<(), OutOfRange> {
        pieces(len, |done, buf| {
            self.read(gpa + done as u64, buf)?;
            cells::write(cells, offset + done, buf);
            Ok(())
        })
    }

    /// Copies `len` bytes from `offset` bytes behind the start of `cells`, which hold that many, to `gpa` and on.
    fn write_from_cells(&mut self, gpa: u64, cells: &[AtomicU64], offset: usize, len: usize) -> Result<(), OutOfRange> {
        pieces(len, |done, buf| {
            cells::read(cells, offset + done, buf);
            self.write(gpa + done as u64, buf)
        })
    }

    /// Stores the byte `value` at `gpa`.
    fn store_u8(&mut self, gpa: u64, value: u8) -> Result<(), OutOfRange> {
        self.write(gpa, &[value])
    }

    /// Stores the little-endian word `value` at `gpa`, a multiple of 2.
    fn store_u16(&mut self, gpa: u64, value: u16) -> Result<(), OutOfRange> {
        self.write(gpa, &value.to_le_bytes())
    }

    /// Stores two little-endian words at `gpa`, a multiple of 4.
    fn store_u32_pair(&mut self, gpa: u64, values: [u32; 2]) -> Result<(), OutOfRange> {
        self.write(gpa, values.map(u32::to_le_bytes).as_flattened())
    }
}

/// Copies `len` bytes in pieces: `copy` is told how many are done, and given a buffer for the next ones.
fn pieces(len: usize, mut copy: impl FnMut(usize, &mut [u8]) -> Result<(), OutOfRange>) -> Result<(), OutOfRange> {
    let mut piece = [0; 256];
    (0..len).step_by(piece.len()).try_for_each(|done| {
        let size = piece.len().min(len - done);
        copy(done, piece.get_mut(..size).ok_or(OutOfRange)?)
    })
}

/// The offset into the RAM of the `len` bytes at `gpa`, for a RAM of `size` bytes.
///
/// # Errors
/// [`OutOfRange`] if any byte lies outside.
pub fn offset(gpa: u64, len: usize, size: u64) -> Result<usize, OutOfRange> {
    // From how many addresses of the RAM on so many bytes are inside: none, if there are more bytes than RAM.
    let starts = size.wrapping_add(1).saturating_sub(len as u64);
    // Of an address below the RAM, this is more than any size.
    let start = gpa.wrapping_sub(map::RAM_BASE);
    usize::try_from(start).ok().filter(|_| start < starts).ok_or(OutOfRange)
}

/// RAM that nobody else writes, for tests on the host.
impl GuestMemory for &mut [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfRange> {
        let start = offset(gpa, buf.len(), self.size())?;
        buf.copy_from_slice(self.get(start..start + buf.len()).ok_or(OutOfRange)?);
        Ok(())
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        let start = offset(gpa, bytes.len(), self.size())?;
        self.get_mut(start..start + bytes.len()).ok_or(OutOfRange)?.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_is_whole_or_refused() {
        let mut bytes = [0u8; 16];
        let mut ram = &mut bytes[..];
        assert_eq!(ram.write(map::RAM_BASE + 12, &[1, 2, 3, 4]), Ok(()));
        for (gpa, len) in [(map::RAM_BASE + 13, 4), (map::RAM_BASE - 1, 1), (u64::MAX, 2), (0, 1), (map::RAM_BASE, 17)]
        {
            assert_eq!(ram.read(gpa, &mut [0; 17][..len]), Err(OutOfRange), "{gpa:#x}+{len}");
            assert_eq!(ram.write(gpa, &[9; 17][..len]), Err(OutOfRange), "{gpa:#x}+{len}");
        }
        assert_eq!(bytes[12..], [1, 2, 3, 4]);
    }
}
