// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The checksum of the Internet protocols (RFC 1071).

use crate::{AtomicU64, cells};

/// The sum of 16-bit words, big-endian ones; an odd byte counts as the first of a pair.
#[must_use]
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks();
    let last = rest.first().map_or(0, |byte| u64::from(*byte) << 8);
    pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum::<u64>() + last
}

/// The same number modulo 2^16 - 1, in 16 bits.
#[must_use]
#[inline]
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Completes a checksum: sums the bytes from `start` to `end`, among which are the two at `at` that hold the sum of the
/// pseudo-header, and stores the result there.
#[inline]
pub fn complete(buffer: &[AtomicU64], start: usize, end: usize, at: usize) {
    let mut total = 0;
    let mut piece = [0; 64];
    for from in (start..end).step_by(piece.len()) {
        let read = cells::read(buffer, from, &mut piece).min(end - from);
        total += sum(piece.get(..read).unwrap_or(&[]));
    }
    store(buffer, at, fold(total));
}

/// Stores the checksum of what has the sum `sum`.
pub fn store(buffer: &[AtomicU64], at: usize, sum: u16) {
    // Zero would mean to UDP that there is no checksum; its complement is the same number (RFC 768).
    let complement = if sum == 0xffff { sum } else { !sum };
    cells::write(buffer, at, &complement.to_be_bytes());
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn completed(bytes: &[u8], offset: usize, at: usize) -> Vec<u8> {
        let buffer: Vec<_> = (0..64).map(|_| AtomicU64::new(u64::MAX)).collect();
        cells::write(&buffer, offset, bytes);
        complete(&buffer, offset, offset + bytes.len(), offset + at);
        let mut out = vec![0; bytes.len() + 1];
        cells::read(&buffer, offset, &mut out);
        assert_eq!(out.pop(), Some(0xff), "nothing behind the end");
        out
    }

    #[test]
    fn known_checksums_come_out() {
        // The header of RFC 1071's example and the well-known one of an IPv4 header, its checksum field zero.
        let ipv4 = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        for offset in [0, 1, 2, 7, 16] {
            assert_eq!(completed(&ipv4, offset, 10)[10..12], [0xb8, 0x61], "{offset}");
        }
        assert_eq!(completed(&[0, 0, 0x12], 3, 0), [0xed, 0xff, 0x12], "an odd byte counts as the first of a pair");
        assert_eq!(completed(&[0, 0, 0xff, 0xff], 0, 0), [0xff, 0xff, 0xff, 0xff], "never zero");
        assert_eq!(completed(&[0, 0], 0, 0), [0xff, 0xff]);
    }

    #[test]
    fn with_the_pseudo_header_the_sum_is_all_ones() {
        for len in [2, 3, 127, 128, 129, 256, 401] {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 37 + 11) as u8).collect();
            for offset in 0..9 {
                let out = completed(&bytes, offset, 0);
                let total = sum(&bytes[..2]) + sum(&out);
                assert_eq!((total % 0xffff, out[2..] == bytes[2..]), (0, true), "{len}");
            }
        }
    }
}
