// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! How a client names a part of its window, memory whose physical address only the driver knows.

/// Length of the longest segment, in bytes: 24 bits, in whole pages.
pub const MAX_SEGMENT_LEN: u32 = 0xff_f000;
/// Size of the largest window, in bytes.
pub const MAX_WINDOW: u64 = 1 << OFFSET_BITS;

const OFFSET_BITS: u32 = 40;

/// Part of the client's window. In a record it is one word: the offset in bits 0 to 39, the length in bits 40 to 63.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Segment {
    /// Where it begins in the window, in bytes; less than [`MAX_WINDOW`].
    pub offset: u64,
    /// Its length in bytes, at most [`MAX_SEGMENT_LEN`].
    pub len: u32,
}

impl Segment {
    /// Whether a word can say it.
    pub(crate) fn fits(self) -> bool {
        self.offset < MAX_WINDOW && self.len <= MAX_SEGMENT_LEN
    }

    /// The word, of one that fits.
    pub(crate) fn word(self) -> u64 {
        self.offset | u64::from(self.len) << OFFSET_BITS
    }

    pub(crate) fn unpack(word: u64) -> Self {
        Self { offset: word & (MAX_WINDOW - 1), len: (word >> OFFSET_BITS) as u32 }
    }
}
