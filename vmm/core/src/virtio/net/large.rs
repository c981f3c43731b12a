// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Segmentation (virtio 1.2, 5.1.6.2): what is more of a TCP stream than a frame may have is sent as several frames.

use queue::net::{HEADER_LEN, checksum};

/// Most bytes of a frame that is to be segmented, more than IPv4 can say.
pub const MAX_LARGE: usize = 0x1_0000 + HEADER_LEN + TAG;

/// Bytes of the longest headers: Ethernet's with a VLAN tag, IPv4's and TCP's with all options.
const MAX_HEADERS: usize = HEADER_LEN + TAG + 60 + 60;
const TAG: usize = 4;
/// Where TCP has the checksum (RFC 9293, 3.1).
const CHECKSUM: usize = 16;
/// Its flags that only the last segment has.
const FIN_PSH: u8 = 0x9;

/// The first bytes of a frame.
pub type Headers = [u8; MAX_HEADERS];

/// What the segments of a frame have in common. Positions are offsets into the frame.
pub struct Large {
    /// Where the payload begins, and the headers of IPv4 and TCP.
    pub payload: usize,
    network: usize,
    transport: usize,
    id: u16,
    sequence: u32,
    flags: u8,
    /// The sum of IPv4's header without what differs.
    sum: u64,
    /// The sum of TCP's pseudo-header without the length.
    pseudo_sum: u64,
}

impl Large {
    /// The frame that begins with `headers`, of which `len` bytes are there, and whose sender says where the checksum is.
    /// `None` if it is not TCP over IPv4.
    pub fn new(headers: &Headers, len: usize, start: u16, offset: u16) -> Option<Self> {
        let transport = usize::from(start);
        let is_tagged = headers.get(12..HEADER_LEN)? == [0x81, 0x00];
        let network = HEADER_LEN + if is_tagged { TAG } else { 0 };
        let ip = headers.get(network..transport)?;
        let tcp = headers.get(transport..)?;
        let [version, _, len0, len1, id0, id1, _, _, _, protocol, sum0, sum1, addresses @ ..] =
            ip.first_chunk::<20>()?;
        let [_, _, _, _, s0, s1, s2, s3, _, _, _, _, size, flags, ..] = tcp.first_chunk::<20>()?;
        let payload = transport + usize::from(size >> 4) * 4;
        let is_tcp = usize::from(*version) * 4 == 0x40 * 4 + ip.len() && *protocol == 6;
        let is_known = is_tcp && usize::from(offset) == CHECKSUM && payload >= transport + 20 && payload <= len;
        is_known.then(|| Self {
            payload,
            network,
            transport,
            id: u16::from_be_bytes([*id0, *id1]),
            sequence: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
            flags: *flags,
            sum: checksum::sum(ip) - checksum::sum(&[*len0, *len1, *id0, *id1, *sum0, *sum1]),
            pseudo_sum: checksum::sum(addresses) + u64::from(*protocol),
        })
    }

    /// Makes `headers` those of segment `number`, which has `len` bytes of payload, from `done` bytes behind the payload's
    /// start on.
    pub fn adapt(&self, headers: &mut Headers, number: usize, done: usize, len: usize, is_last: bool) {
        let len = self.payload + len;
        let [len0, len1] = ((len - self.network) as u16).to_be_bytes();
        let [id0, id1] = self.id.wrapping_add(number as u16).to_be_bytes();
        let variable = [len0, len1, id0, id1];
        put(headers, self.network + 2, variable);
        let sum = checksum::fold(self.sum + checksum::sum(&variable));
        put(headers, self.network + 10, (!sum).to_be_bytes());
        put(headers, self.transport + 4, self.sequence.wrapping_add(done as u32).to_be_bytes());
        put(headers, self.transport + 13, [self.flags & if is_last { 0xff } else { !FIN_PSH }]);
        let pseudo_sum = checksum::fold(self.pseudo_sum + (len - self.transport) as u64);
        put(headers, self.transport + CHECKSUM, pseudo_sum.to_be_bytes());
    }
}

fn put<const N: usize>(headers: &mut Headers, at: usize, bytes: [u8; N]) {
    if let Some(place) = headers.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}
