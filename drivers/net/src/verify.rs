// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Verifying checksums where a frame is copied anyway: that costs less than to let the receiver look at all bytes again.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use queue::cells;
use queue::net::{Checksum, FRAME_OFFSET, HEADER_LEN, checksum};

/// IPv4 as an Ethernet frame says it, and in the first byte of a header without options.
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const IPV4: u8 = 0x45;
const IPV4_HEADER_LEN: u16 = 20;
/// In the header's seventh byte, of a packet that is not whole: more fragments, or the upper bits of an offset.
const FRAGMENT: u8 = 0x3f;
const TCP: u8 = 6;
/// Where a received frame's buffer has the destination.
const DESTINATION: usize = FRAME_OFFSET + HEADER_LEN + 16;

/// Copies a frame of `len` bytes from one buffer of a received frame to another, and looks whether the checksum is right if it
/// is that of TCP over IPv4.
pub(crate) fn copy_and_verify(from: &[AtomicU64], to: &[AtomicU64], len: usize) -> Checksum {
    // The words that hold the end of the Ethernet header, and the IPv4 header up to the source.
    let [first, second, third] = [1, 2, 3].map(|n| from.get(n).map_or([0; 8], |cell| cell.load(Relaxed).to_le_bytes()));
    let [.., type0, type1] = first;
    let [version, _, len0, len1, _, _, fragment0, fragment1] = second;
    let [_, protocol, _, _, source @ ..] = third;
    let ip_len = u16::from_be_bytes([len0, len1]);
    let is_whole = HEADER_LEN + usize::from(ip_len) == len && fragment0 & FRAGMENT == 0 && fragment1 == 0;
    if [type0, type1] != ETHERTYPE_IPV4 || version != IPV4 || protocol != TCP || !is_whole {
        cells::copy(from, to, FRAME_OFFSET + len);
        return Checksum::Unknown;
    }
    // From the destination on, as if the pseudo-header's end were there. The words are little-endian (RFC 1071, 2 B).
    let sum = checksum::fold(cells::copy_and_sum(from, to, DESTINATION, FRAME_OFFSET + len)).swap_bytes();
    let others = checksum::sum(&source) + u64::from(TCP) + u64::from(ip_len.wrapping_sub(IPV4_HEADER_LEN));
    if checksum::fold(u64::from(sum) + others) == 0xffff { Checksum::Verified } else { Checksum::Unknown }
}
