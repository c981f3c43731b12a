// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Checksums of frames that are copied anyway: to look at them then costs less than to look at all bytes once more.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use queue::cells;
use queue::net::{Checksum, FRAME_OFFSET, HEADER_LEN, checksum};

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// IPv4 as an Ethernet frame says it, and in the first byte of a header without options.
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const IPV4: u8 = 0x45;
const IPV4_HEADER_LEN: u16 = 20;
/// In the header's seventh byte, of a packet that is not whole: more fragments, or the upper bits of an offset.
const FRAGMENT: u8 = 0x3f;
const TCP: u8 = 6;
/// Where a received frame's buffer has the header.
const HEADER_AT: usize = FRAME_OFFSET + HEADER_LEN;

/// Copies the first `len` bytes of `from` to `to`, in whole words, and returns the sum modulo 2^16 - 1 of the little-endian
/// words from `start` on, which is at most `len`.
fn copy_and_sum(from: &[AtomicU64], to: &[AtomicU64], start: usize, len: usize) -> u16 {
    let count = len.div_ceil(WORD);
    let mut sum = virtq::copy_and_sum(from.get(..count).unwrap_or(&[]), to.get(..count).unwrap_or(&[]));
    // What does not belong to it: words, and bytes of the first word and the last.
    let mut take_off = |part: u64| sum = sum.wrapping_sub(part).wrapping_sub(u64::from(sum < part));
    to.iter().take(start / WORD).for_each(|cell| take_off(cell.load(Relaxed)));
    for (at, mask) in [(start, !(u64::MAX << (8 * (start % WORD)))), (len, u64::MAX << (8 * (len % WORD)))] {
        if !at.is_multiple_of(WORD) {
            take_off(to.get(at / WORD).map_or(0, |cell| cell.load(Relaxed) & mask));
        }
    }
    let sum = checksum::fold((sum >> 32) + (sum & 0xffff_ffff));
    // From an odd byte on the sum is the same but for its byte order (RFC 1071, 2 B).
    if start.is_multiple_of(2) { sum } else { sum.swap_bytes() }
}

/// Copies the first `len` bytes of `from` to `to`, and completes there the checksum at `at` of those from `start` on.
pub(crate) fn copy_and_complete(from: &[AtomicU64], to: &[AtomicU64], start: usize, len: usize, at: usize) {
    // The other byte order has the same sum in its own.
    checksum::store(to, at, copy_and_sum(from, to, start, len).swap_bytes());
}

/// Copies a frame of `len` bytes from one buffer of a received frame to another, and looks whether the checksum is right if it
/// is that of TCP over IPv4.
pub(crate) fn copy_and_verify(from: &[AtomicU64], to: &[AtomicU64], len: usize) -> Checksum {
    // The words that hold the end of the Ethernet header, and that of IPv4.
    let words = [1, 2, 3, 4].map(|n| from.get(n).map_or(0, |cell| cell.load(Relaxed)));
    let [[.., type0, type1], second, [_, protocol, ..], _] = words.map(u64::to_le_bytes);
    let [version, _, len0, len1, _, _, fragment0, fragment1] = second;
    let ip_len = u16::from_be_bytes([len0, len1]);
    let is_whole = HEADER_LEN + usize::from(ip_len) == len && fragment0 & FRAGMENT == 0 && fragment1 == 0;
    if [type0, type1] != ETHERTYPE_IPV4 || version != IPV4 || protocol != TCP || !is_whole {
        cells::copy(from, to, FRAME_OFFSET + len);
        return Checksum::Unknown;
    }
    // IPv4's header has a checksum of its own, so that it adds nothing. If it does, nobody takes the packet anyway.
    let sum = u64::from(copy_and_sum(from, to, HEADER_AT, FRAME_OFFSET + len));
    let addresses = (words[2] >> 32) + (words[3] & 0xffff_ffff);
    let others = [u16::from(TCP), ip_len.wrapping_sub(IPV4_HEADER_LEN)].map(|word| u64::from(word.swap_bytes()));
    let pseudo_header = addresses + others.iter().sum::<u64>();
    if checksum::fold(sum + pseudo_header) == 0xffff { Checksum::Verified } else { Checksum::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn what_is_copied_is_summed_from_where_it_is_asked_for() {
        const LEN: usize = 200;
        for fill in [0x35, 0xff] {
            let bytes: Vec<u8> = (0..LEN).map(|n| (n * 37) as u8 | fill).collect();
            let from: Vec<_> = (0..LEN / WORD).map(|_| AtomicU64::new(0)).collect();
            cells::write(&from, 0, &bytes);
            for len in [0, 1, 7, 8, 9, 63, 64, 65, 130, LEN] {
                for start in (0..=len).filter(|start| *start < 20 || *start + 20 > len) {
                    let to: Vec<_> = from.iter().map(|_| AtomicU64::new(u64::MAX)).collect();
                    let sum = copy_and_sum(&from, &to, start, len);
                    let mut copied = [0; LEN];
                    cells::read(&to, 0, &mut copied);
                    assert_eq!(copied[..len], bytes[..len], "{start} to {len}");
                    assert_eq!(copied[len.next_multiple_of(WORD)..], [0xff; LEN][len.next_multiple_of(WORD)..]);
                    assert_eq!(
                        u64::from(sum.swap_bytes()) % 0xffff,
                        checksum::sum(&bytes[start..len]) % 0xffff,
                        "{start} to {len}"
                    );
                }
            }
        }
    }
}
