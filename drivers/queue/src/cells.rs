// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Bytes in shared memory, which is made of atomic words: the byte at offset n is bits 8·(n mod 8) and up of word n / 8.

use crate::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// The words that hold the `len` bytes at `offset`: for each its cell, the first byte in it, and how many bytes.
fn words(cells: &[AtomicU64], offset: usize, len: usize) -> impl Iterator<Item = (&AtomicU64, usize, usize)> {
    let mut skip = offset % WORD;
    let mut left = len;
    cells.get(offset / WORD..).unwrap_or(&[]).iter().map_while(move |cell| {
        let count = left.min(WORD - skip);
        let first = core::mem::take(&mut skip);
        left -= count;
        (count > 0).then_some((cell, first, count))
    })
}

/// Copies `bytes` to `offset` bytes behind the start of `cells`, as far as these go: returns how many that were. Only one
/// side may write a word at a time: the others bytes of the first and the last word are written back.
pub fn write(cells: &[AtomicU64], offset: usize, bytes: &[u8]) -> usize {
    let mut rest = bytes;
    for (cell, first, count) in words(cells, offset, bytes.len()) {
        let Some(part) = rest.split_off(..count) else { break };
        let mut word = if count == WORD { [0; WORD] } else { cell.load(Relaxed).to_le_bytes() };
        word.iter_mut().skip(first).zip(part).for_each(|(to, from)| *to = *from);
        cell.store(u64::from_le_bytes(word), Relaxed);
    }
    bytes.len() - rest.len()
}

/// Fills `bytes` from `offset` bytes behind the start of `cells`, as far as these go: returns how many that were.
pub fn read(cells: &[AtomicU64], offset: usize, bytes: &mut [u8]) -> usize {
    let len = bytes.len();
    let mut rest = bytes;
    for (cell, first, count) in words(cells, offset, len) {
        let Some(part) = rest.split_off_mut(..count) else { break };
        let word = cell.load(Relaxed).to_le_bytes();
        part.iter_mut().zip(word.iter().skip(first)).for_each(|(to, from)| *to = *from);
    }
    len - rest.len()
}

/// Copies the first `len` bytes of `from` to `to`, in whole words and as far as both go.
pub fn copy(from: &[AtomicU64], to: &[AtomicU64], len: usize) {
    for (from, to) in from.iter().zip(to).take(len.div_ceil(WORD)) {
        to.store(from.load(Relaxed), Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_where_they_were_put() {
        for offset in 0..20 {
            for len in 0..20 {
                let cells: Vec<_> = (0..3).map(|_| AtomicU64::new(u64::MAX)).collect();
                let bytes: Vec<u8> = (1..=len as u8).collect();
                let fit = len.min(24 - offset);
                assert_eq!(write(&cells, offset, &bytes), fit, "{offset}+{len}");
                let mut all = [0; 30];
                assert_eq!(read(&cells, 0, &mut all), 24);
                let mut expected = [0xff; 24];
                expected[offset..offset + fit].copy_from_slice(&bytes[..fit]);
                assert_eq!(all[..24], expected, "{offset}+{len}");
                let mut back = vec![0; len];
                assert_eq!(read(&cells, offset, &mut back), fit);
                assert_eq!(back[..fit], bytes[..fit]);
            }
        }
        assert_eq!((write(&[], 0, &[1]), read(&[], 9, &mut [0])), (0, 0));
    }
}
