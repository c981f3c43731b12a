// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Bytes in shared memory, which is made of atomic words: the byte at offset n is bits 8·(n mod 8) and up of word n / 8.

use crate::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// Copies `bytes` to `offset` bytes behind the start of `cells`, as far as these go: returns how many that were. Only one
/// side may write a word at a time: the others bytes of the first and the last word are written back.
pub fn write(cells: &[AtomicU64], offset: usize, bytes: &[u8]) -> usize {
    let (first, skip) = (offset / WORD, offset % WORD);
    let mut cells = cells.get(first..).unwrap_or(&[]).iter();
    let len = bytes.len().min((cells.len() * WORD).saturating_sub(skip));
    let (head, rest) = bytes.split_at(len).0.split_at(if skip == 0 { 0 } else { len.min(WORD - skip) });
    let (words, tail) = rest.as_chunks::<WORD>();
    if !head.is_empty() {
        cells.next().into_iter().for_each(|cell| merge(cell, skip, head));
    }
    for (word, cell) in words.iter().zip(&mut cells) {
        cell.store(u64::from_le_bytes(*word), Relaxed);
    }
    if !tail.is_empty() {
        cells.next().into_iter().for_each(|cell| merge(cell, 0, tail));
    }
    len
}

/// Writes less than a word, `skip` bytes into `cell`.
fn merge(cell: &AtomicU64, skip: usize, bytes: &[u8]) {
    let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
    let mask = (1 << (8 * bytes.len())) - 1;
    let old = cell.load(Relaxed);
    cell.store(old & !(mask << (8 * skip)) | value << (8 * skip), Relaxed);
}

/// Fills `bytes` from `offset` bytes behind the start of `cells`, as far as these go: returns how many that were.
pub fn read(cells: &[AtomicU64], offset: usize, bytes: &mut [u8]) -> usize {
    let (first, skip) = (offset / WORD, offset % WORD);
    let mut cells = cells.get(first..).unwrap_or(&[]).iter();
    let len = bytes.len().min((cells.len() * WORD).saturating_sub(skip));
    let (head, rest) = bytes.split_at_mut(len).0.split_at_mut(if skip == 0 { 0 } else { len.min(WORD - skip) });
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    if !head.is_empty() {
        cells.next().into_iter().for_each(|cell| split(cell, skip, head));
    }
    for (word, cell) in words.iter_mut().zip(&mut cells) {
        *word = cell.load(Relaxed).to_le_bytes();
    }
    if !tail.is_empty() {
        cells.next().into_iter().for_each(|cell| split(cell, 0, tail));
    }
    len
}

/// Reads less than a word, `skip` bytes into `cell`.
fn split(cell: &AtomicU64, skip: usize, bytes: &mut [u8]) {
    let mut value = cell.load(Relaxed) >> (8 * skip);
    for byte in bytes {
        *byte = value as u8;
        value >>= 8;
    }
}

/// Copies the first `len` bytes of `from` to `to`, in whole words and as far as both go.
#[inline(never)] // Where it is called, it would be made small, and slow.
pub fn copy(from: &[AtomicU64], to: &[AtomicU64], len: usize) {
    let count = len.div_ceil(WORD).min(from.len()).min(to.len());
    let (from, from_rest) = from.split_at(count).0.as_chunks::<8>();
    let (to, to_rest) = to.split_at(count).0.as_chunks::<8>();
    // A cache line a turn.
    for (from, to) in from.iter().zip(to) {
        copy_words(from, to);
    }
    copy_words(from_rest, to_rest);
}

#[inline(always)]
fn copy_words(from: &[AtomicU64], to: &[AtomicU64]) {
    for (from, to) in from.iter().zip(to) {
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
