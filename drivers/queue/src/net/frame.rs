// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What is said of a frame: addresses, the Ethernet header, the checksum.

use core::fmt;

/// Bytes of an Ethernet header.
pub const HEADER_LEN: usize = 14;

/// The address of a network interface.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether frames to it are for several receivers: multicast, or broadcast.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    pub(super) fn pack(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    pub(super) fn unpack(word: u64) -> Self {
        let [a, b, c, d, e, f, ..] = word.to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// An Ethernet header, as it is in the frame.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct EthernetHeader(pub [u8; HEADER_LEN]);

impl EthernetHeader {
    pub(super) fn pack(&self) -> [u64; 2] {
        let mut bytes = [[0; 8]; 2];
        bytes.as_flattened_mut().iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        bytes.map(u64::from_le_bytes)
    }

    /// What is above the header in the second word does not matter.
    pub(super) fn unpack(words: [u64; 2]) -> Self {
        let bytes = words.map(u64::to_le_bytes);
        let mut header = Self::default();
        header.0.iter_mut().zip(bytes.as_flattened()).for_each(|(to, from)| *to = *from);
        header
    }

    /// Whom the frame is for.
    #[must_use]
    pub fn destination(&self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0;
        Mac([a, b, c, d, e, f])
    }

    /// Whom the frame says that it is from.
    #[must_use]
    pub fn source(&self) -> Mac {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = self.0;
        Mac([a, b, c, d, e, f])
    }
}

/// What is known of the checksum of a frame's transport protocol.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Checksum {
    /// Nothing: if there is one, the frame has it.
    #[default]
    Unknown,
    /// It has been found right.
    Verified,
    /// It has still to be completed: summed from `start` bytes into the frame to its end, and stored `offset` bytes behind
    /// that, where the sum of the pseudo-header is now.
    Partial {
        /// Where the sum begins, from the start of the frame.
        start: u16,
        /// Where it is stored, from `start`.
        offset: u16,
    },
}

/// Bits of a record's flags.
pub(super) mod flag {
    pub const PARTIAL: u8 = 1;
    pub const VERIFIED: u8 = 2;
    pub const COPIED: u8 = 4;
}

impl Checksum {
    /// Flags, start and offset.
    pub(super) fn pack(self) -> (u8, u16, u16) {
        match self {
            Self::Unknown => (0, 0, 0),
            Self::Verified => (flag::VERIFIED, 0, 0),
            Self::Partial { start, offset } => (flag::PARTIAL, start, offset),
        }
    }

    /// Of a frame of `len` bytes; `None` if the checksum does not lie in it.
    pub(super) fn unpack(flags: u8, start: u16, offset: u16, len: usize) -> Option<Self> {
        Some(match (flags & flag::PARTIAL != 0, flags & flag::VERIFIED != 0) {
            (false, false) => Self::Unknown,
            (false, true) => Self::Verified,
            (true, false) => {
                let end = usize::from(start) + usize::from(offset) + 2;
                (usize::from(start) >= HEADER_LEN && end <= len).then_some(Self::Partial { start, offset })?
            }
            (true, true) => return None,
        })
    }
}
