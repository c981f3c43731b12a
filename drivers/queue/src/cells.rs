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
    copy_words(from, to, len.div_ceil(WORD), |_| {});
}

/// As [`copy`], and returns the sum, modulo 2^64 - 1, of the words with the bytes from `start` on, which is at most `len`;
/// other bytes count as zero.
#[inline(never)] // As above.
pub fn copy_and_sum(from: &[AtomicU64], to: &[AtomicU64], start: usize, len: usize) -> u64 {
    let (first, count) = (start / WORD, len.div_ceil(WORD));
    copy(from, to, first * WORD);
    let (from, to) = (from.get(first..).unwrap_or(&[]), to.get(first..).unwrap_or(&[]));
    let mut sum = 0;
    copy_words(from, to, count.saturating_sub(first), |words| sum = add_all(sum, words));
    // What does not belong to it, of the first word and the last: its complement is its negative.
    let before = to.first().map_or(0, |cell| cell.load(Relaxed) & !(u64::MAX << (8 * (start % WORD))));
    let behind = match len % WORD {
        0 => 0,
        used => {
            to.get((len / WORD).wrapping_sub(first)).map_or(0, |cell| cell.load(Relaxed) & (u64::MAX << (8 * used)))
        }
    };
    add_all(sum, &[!before, !behind])
}

/// The sum modulo 2^64 - 1: what is carried out at the top comes in at the bottom.
#[inline(always)]
fn add_all(sum: u64, words: &[u64]) -> u64 {
    let add = |(sum, carry), word: &u64| u64::carrying_add(sum, *word, carry);
    let (sum, carry) = words.iter().fold((sum, false), add);
    // It does not overflow: all ones and a carry come only from all ones and a carry.
    sum + u64::from(carry)
}

/// Copies up to `count` words, and hands them to `seen`, a cache line a turn.
#[inline(always)]
fn copy_words(from: &[AtomicU64], to: &[AtomicU64], count: usize, mut seen: impl FnMut(&[u64])) {
    let count = count.min(from.len()).min(to.len());
    let (lines, rest) = from.split_at(count).0.as_chunks::<8>();
    let (to_lines, to_rest) = to.split_at(count).0.as_chunks::<8>();
    for (from, to) in lines.iter().zip(to_lines) {
        let words = from.each_ref().map(|cell| cell.load(Relaxed));
        to.iter().zip(words).for_each(|(to, word)| to.store(word, Relaxed));
        seen(&words);
    }
    for (from, to) in rest.iter().zip(to_rest) {
        let word = from.load(Relaxed);
        to.store(word, Relaxed);
        seen(&[word]);
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

    #[test]
    fn what_is_copied_is_summed_from_where_it_is_asked_for() {
        const LEN: usize = 200;
        for fill in [0x35, 0xff] {
            let bytes: Vec<u8> = (0..LEN).map(|n| (n * 37) as u8 | fill).collect();
            let from: Vec<_> = (0..LEN / WORD).map(|_| AtomicU64::new(0)).collect();
            write(&from, 0, &bytes);
            for len in [0, 1, 7, 8, 9, 63, 64, 65, 130, LEN] {
                for start in (0..=len).filter(|start| *start < 20 || *start + 20 > len) {
                    let to: Vec<_> = from.iter().map(|_| AtomicU64::new(u64::MAX)).collect();
                    let sum = copy_and_sum(&from, &to, start, len);
                    let mut copied = [0; LEN];
                    read(&to, 0, &mut copied);
                    assert_eq!(copied[..len], bytes[..len], "{start} to {len}");
                    assert_eq!(copied[len.next_multiple_of(WORD)..], [0xff; LEN][len.next_multiple_of(WORD)..]);
                    let place = |(n, byte): (usize, &u8)| u128::from(*byte) << (8 * (n % WORD));
                    let expected: u128 = bytes[..len].iter().enumerate().skip(start).map(place).sum();
                    assert_eq!((expected - u128::from(sum % u64::MAX)) % u128::from(u64::MAX), 0, "{start} to {len}");
                }
            }
        }
    }
}
