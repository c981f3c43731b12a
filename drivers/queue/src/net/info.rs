// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the driver says of a client's connection.

use super::frame::Mac;

/// Most neighbours.
pub const MAX_NEIGHBOURS: usize = 8;
/// Longest payload of a frame, in bytes.
const MAX_MTU: u16 = 1500;
/// Words of an [`Info`] in the link's header.
pub(super) const INFO_WORDS: usize = 1 + MAX_NEIGHBOURS;

/// What the driver says of the client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Info {
    /// The client's address. The driver drops frames from another one.
    pub mac: Mac,
    /// Longest payload of a frame, in bytes; at most 1500.
    pub mtu: u16,
    /// Whether the network device completes checksums.
    pub completes_checksums: bool,
    /// The other clients of the switch.
    pub neighbours: [Option<Mac>; MAX_NEIGHBOURS],
}

/// In the word of a neighbour: there is one. In the first word: the network device completes checksums.
const SET: u64 = 1 << 63;
/// Where the first word has the longest payload.
const MTU_SHIFT: u32 = 48;
const MTU_MASK: u16 = 0x7fff;

impl Info {
    pub(super) fn pack(&self) -> [u64; INFO_WORDS] {
        let checksums = if self.completes_checksums { SET } else { 0 };
        let first = self.mac.pack() | u64::from(self.mtu & MTU_MASK) << MTU_SHIFT | checksums;
        let mut words = [first; INFO_WORDS];
        let neighbours = self.neighbours.iter().map(|mac| mac.map_or(0, |mac| mac.pack() | SET));
        words.iter_mut().skip(1).zip(neighbours).for_each(|(to, from)| *to = from);
        words
    }

    /// `None` for what no correct driver says.
    #[inline]
    pub(super) fn unpack([first, neighbours @ ..]: [u64; INFO_WORDS]) -> Option<Self> {
        let info = Self {
            mac: Mac::unpack(first),
            mtu: (first >> MTU_SHIFT) as u16 & MTU_MASK,
            completes_checksums: first & SET != 0,
            neighbours: neighbours.map(|word| (word & SET != 0).then(|| Mac::unpack(word))),
        };
        (info.mtu <= MAX_MTU && !info.mac.is_group()).then_some(info)
    }

    /// Whether the driver must be able to read a frame to `destination`.
    #[must_use]
    #[inline]
    pub fn is_local(&self, destination: Mac) -> bool {
        destination.is_group() || self.neighbours.contains(&Some(destination))
    }
}
