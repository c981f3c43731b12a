// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The network device (virtio 1.2, 5.1), over a [`queue::net`] link.
//!
//! The headers of a frame to send are copied, once; its payload stays in the guest's RAM unless the driver domain has to
//! read it or it is short, or the frame is segmented here ([`large`]). So no frame is longer than the MTU allows.

mod filter;
mod large;

use super::chain::{Buffer, Chain};
use super::{CONFIG_SIZE, DeviceError, Lazy, Owed, Queues, VirtioDevice, config_space};
use crate::map;
use crate::memory::GuestMemory;
use filter::Filter;
use large::{Headers, Large, MAX_LARGE};
use queue::net::{
    Checksum, Client, EthernetHeader, FRAME_OFFSET, HEADER_LEN, Info, MAX_FRAME, MAX_SEGMENTS, Payload, Received,
    Segment, checksum,
};
use queue::{AtomicU64, Broken, Mark, cells};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const CONTROL: usize = 2;

/// Features (5.1.3).
mod feature {
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
    pub const CTRL_VQ: u64 = 1 << 17;
    pub const CTRL_RX: u64 = 1 << 18;
    pub const CTRL_RX_EXTRA: u64 = 1 << 20;
}

/// Flags in the header of a frame (5.1.6).
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// How it is to be segmented: not at all, or as TCP over IPv4.
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
/// Bytes of the header that precedes a frame, and where its `num_buffers` is.
const HEADER: usize = 12;
const NUM_BUFFERS: u64 = 10;
/// `VIRTIO_NET_S_LINK_UP` (5.1.4).
const LINK_UP: u16 = 1;
/// Results of a command (5.1.6.5).
const OK: u8 = 0;
const ERROR: u8 = 1;

/// Longest payload that is copied where it could be left: copying it costs less than its completion.
const COPIED: usize = 256;
/// Most frames to send whose payload is left in the guest's RAM.
const MAX_FRAMES: usize = 256;
/// Most buffers for a received frame.
const MAX_BUFFERS: usize = 32;
/// Most received frames that are taken in one run, and most segments that are sent.
const RUN_FRAMES: usize = 256;

/// A frame that the network device reads from the guest's RAM.
#[derive(Clone, Copy, Debug)]
struct Entry {
    head: u16,
    /// Tells apart the frames that have used this entry.
    generation: u8,
    stage: Stage,
    /// Whether a driver domain that starts again has lost it.
    mark: Mark,
}

/// Where a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Nowhere: the entry is free.
    Free,
    /// With the driver domain.
    UnderWay,
    /// With the driver domain, but the guest has forgotten it.
    Forgotten,
}

/// The network device.
pub struct Net {
    link: Client<'static>,
    info: Info,
    features: u64,
    filter: Filter,
    up: bool,
    up_changed: bool,
    entries: [Entry; MAX_FRAMES],
    free: heapless::Vec<u8, MAX_FRAMES>,
    /// How many segments of the next frame to send have been sent.
    segments: usize,
    /// The checksum of the oldest received frame has been completed.
    completed: bool,
    /// Frames that could not be sent or delivered.
    dropped: u64,
    /// What had been sent when it was last asked whether something is overdue.
    looked: Mark,
}

impl Net {
    /// The device on the connection that `info` describes.
    #[must_use]
    pub fn new(link: Client<'static>, info: Info) -> Self {
        Self {
            up: link.is_up(),
            looked: link.mark(),
            link,
            info,
            features: 0,
            filter: Filter::new(),
            up_changed: false,
            entries: [Entry { head: 0, generation: 0, stage: Stage::Free, mark: Mark::default() }; MAX_FRAMES],
            free: (0..MAX_FRAMES).rev().map(|n| n as u8).collect(),
            segments: 0,
            completed: false,
            dropped: 0,
        }
    }

    fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// Takes back the frames that have been read, and tells of each that the guest waits for.
    fn complete(&mut self, mut tell: impl FnMut(u16) -> Result<(), DeviceError>) -> Result<(), DeviceError> {
        let restarted = self.link.restarted();
        for _ in 0..MAX_FRAMES {
            let Some(id) = self.link.sent()? else { break };
            let [index, generation] = id.to_le_bytes();
            let entry = self.entries.get(usize::from(index)).filter(|entry| entry.generation == generation);
            if entry.is_none_or(|entry| entry.stage == Stage::Free) {
                return Err(Broken.into());
            }
            self.release(index, &mut tell)?;
        }
        let Some(begun) = restarted else { return Ok(()) };
        // A driver domain that starts again has lost what it had taken, as networks may.
        for index in 0..MAX_FRAMES {
            let lost = |entry: &&Entry| entry.stage != Stage::Free && entry.mark.is_before(begun);
            if self.entries.get(index).filter(lost).is_some() {
                self.link.forget();
                self.dropped += 1;
                self.release(index as u8, &mut tell)?;
            }
        }
        Ok(())
    }

    /// The frame of an entry is not read any more.
    fn release(&mut self, index: u8, mut tell: impl FnMut(u16) -> Result<(), DeviceError>) -> Result<(), DeviceError> {
        let entry = self.entries.get_mut(usize::from(index)).ok_or(Broken)?;
        if entry.stage == Stage::UnderWay {
            tell(entry.head)?;
        }
        entry.stage = Stage::Free;
        entry.generation = entry.generation.wrapping_add(1);
        // There is room for every entry.
        let _ = self.free.push(index);
        Ok(())
    }

    fn has_room(&self) -> Result<bool, Broken> {
        Ok(!self.free.is_empty() && self.link.has_room()?)
    }

    /// Sends what the guest has made available.
    fn transmit<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        let mut left = RUN_FRAMES;
        loop {
            while left > 0 && self.has_room()? {
                if !queues.take(TRANSMIT, None)? {
                    break;
                }
                match self.send(queues, &mut left)? {
                    Sent::Copied => queues.give_back(TRANSMIT, queues.chain.head(), 0)?,
                    Sent::Named => {}
                    Sent::Partly => queues.put_back(TRANSMIT, 1),
                }
            }
            if left == 0 {
                queues.run_again();
            }
            if left == 0 || !self.has_room()? {
                return Ok(queues.suppress(TRANSMIT)?);
            }
            if !queues.sleep(TRANSMIT)? {
                return Ok(());
            }
        }
    }

    /// Sends the frame in `queues.chain`, in at most `left` segments, or drops it.
    fn send<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>, left: &mut usize) -> Result<Sent, DeviceError> {
        let chain = &*queues.chain;
        let mut headers = [0; HEADER + HEADER_LEN];
        let complete = chain.read(queues.memory, 0, &mut headers)? == headers.len();
        let len = (chain.readable_len() as usize).saturating_sub(HEADER);
        let [_, segmentation, _, _, size0, size1, ..] = headers;
        let max_len = match segmentation {
            GSO_NONE => MAX_FRAME,
            GSO_TCPV4 if self.has(feature::HOST_TSO4) => MAX_LARGE,
            _ => 0,
        };
        let (Some(checksum), true) = (self.outgoing_checksum(&headers, len), complete && len <= max_len) else {
            self.dropped += 1;
            return Ok(Sent::Copied);
        };
        let mut header = EthernetHeader::default();
        header.0.iter_mut().zip(headers.iter().skip(HEADER)).for_each(|(to, from)| *to = *from);
        if segmentation != GSO_NONE {
            return self.send_large(queues, left, &header, checksum, u16::from_le_bytes([size0, size1]).into());
        }
        let payload_len = len - HEADER_LEN;
        let to_complete = matches!(checksum, Checksum::Partial { .. }) && !self.info.completes_checksums;
        let copy = to_complete || payload_len <= COPIED || self.info.is_local(header.destination());
        let segments = if copy { None } else { segments(chain) };
        let Some(segments) = segments else {
            copy_payload(queues, (HEADER + HEADER_LEN, payload_len), self.link.send_buffer(), 0)?;
            self.hand_over(&header, checksum, Payload::Copied(payload_len))?;
            return Ok(Sent::Copied);
        };
        let index = self.free.pop().ok_or(Broken)?;
        let entry = self.entries.get(usize::from(index)).ok_or(Broken)?;
        let (head, generation) = (chain.head(), entry.generation);
        let id = u16::from_le_bytes([index, generation]);
        let mark = self.hand_over(&header, checksum, Payload::Window { id, segments: &segments })?;
        if let Some(entry) = self.entries.get_mut(usize::from(index)) {
            *entry = Entry { head, generation, stage: Stage::UnderWay, mark };
        }
        Ok(Sent::Named)
    }

    /// Sends the frame in `queues.chain` in segments with `size` bytes of payload each: the next ones, as far as there is
    /// room.
    fn send_large<M: GuestMemory>(
        &mut self,
        queues: &mut Queues<'_, M>,
        left: &mut usize,
        header: &EthernetHeader,
        checksum: Checksum,
        size: usize,
    ) -> Result<Sent, DeviceError> {
        let mut number = core::mem::take(&mut self.segments);
        let mut headers: Headers = [0; _];
        let read = queues.chain.read(queues.memory, HEADER as u64, &mut headers)?;
        let large = match checksum {
            Checksum::Partial { start, offset } => Large::new(&headers, read, start, offset),
            _ => None,
        };
        let Some(large) = large.filter(|large| size > 0 && large.payload + size <= MAX_FRAME) else {
            self.dropped += 1;
            return Ok(Sent::Copied);
        };
        let len = (queues.chain.readable_len() as usize).saturating_sub(HEADER + large.payload);
        while *left > 0 && self.has_room()? {
            let done = number * size;
            let rest = len.saturating_sub(done);
            let part = rest.min(size);
            large.adapt(&mut headers, number, done, part, part == rest);
            let headers = headers.get(HEADER_LEN..large.payload).unwrap_or(&[]);
            let buffer = self.link.send_buffer();
            cells::write(buffer, 0, headers);
            copy_payload(queues, (HEADER + large.payload + done, part), buffer, headers.len())?;
            self.hand_over(header, checksum, Payload::Copied(headers.len() + part))?;
            *left -= 1;
            if part == rest {
                return Ok(Sent::Copied);
            }
            number += 1;
        }
        self.segments = number;
        Ok(Sent::Partly)
    }

    fn hand_over(
        &mut self,
        header: &EthernetHeader,
        checksum: Checksum,
        payload: Payload<'_>,
    ) -> Result<Mark, DeviceError> {
        // There was room, and the frame has been checked.
        self.link.send(header, checksum, payload).map_err(|_| DeviceError::Link)
    }

    /// What the headers say of the checksum of a frame of `len` bytes; `None` if that was not negotiated or is wrong.
    fn outgoing_checksum(&self, headers: &[u8; HEADER + HEADER_LEN], len: usize) -> Option<Checksum> {
        let [flags, _, _, _, _, _, start_low, start_high, offset_low, offset_high, ..] = *headers;
        if flags & NEEDS_CSUM == 0 {
            return Some(Checksum::Unknown);
        }
        let start = u16::from_le_bytes([start_low, start_high]);
        let offset = u16::from_le_bytes([offset_low, offset_high]);
        let inside = usize::from(start) >= HEADER_LEN && usize::from(start) + usize::from(offset) + 2 <= len;
        (self.has(feature::CSUM) && inside).then_some(Checksum::Partial { start, offset })
    }

    /// Gives the guest what was received, as far as it has made buffers available: whether that was all.
    fn receive<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<bool, DeviceError> {
        for _ in 0..RUN_FRAMES {
            let Some(frame) = self.link.received()? else {
                // Only with a frame at hand do more buffers matter.
                queues.suppress(RECEIVE)?;
                return Ok(true);
            };
            if self.filter.wants(frame.destination()) {
                let header = self.incoming_header(&frame);
                match self.deliver(queues, &frame, &header)? {
                    Delivery::Done => {}
                    Delivery::Impossible => self.dropped += 1,
                    Delivery::Later => return Ok(false),
                }
            }
            self.link.release();
            self.completed = false;
        }
        queues.run_again();
        Ok(true)
    }

    /// The header of a received frame, whose checksum is completed if the guest cannot do that.
    fn incoming_header(&mut self, frame: &Received<'_>) -> [u8; HEADER] {
        let (flags, start, offset) = match frame.checksum {
            Checksum::Partial { start, offset } if self.has(feature::GUEST_CSUM) => (NEEDS_CSUM, start, offset),
            Checksum::Partial { start, offset } => {
                // Once, though the frame may have to wait for buffers afterwards.
                if !core::mem::replace(&mut self.completed, true) {
                    let first = FRAME_OFFSET + usize::from(start);
                    checksum::complete(frame.buffer, first, FRAME_OFFSET + frame.len, first + usize::from(offset));
                }
                (0, 0, 0)
            }
            Checksum::Verified if self.has(feature::GUEST_CSUM) => (DATA_VALID, 0, 0),
            Checksum::Verified | Checksum::Unknown => (0, 0, 0),
        };
        let ([s0, s1], [o0, o1]) = (start.to_le_bytes(), offset.to_le_bytes());
        // One buffer, unless that turns out otherwise.
        [flags, 0, 0, 0, 0, 0, s0, s1, o0, o1, 1, 0]
    }

    /// Copies a frame into the guest's buffers.
    fn deliver<M: GuestMemory>(
        &self,
        queues: &mut Queues<'_, M>,
        frame: &Received<'_>,
        header: &[u8; HEADER],
    ) -> Result<Delivery, DeviceError> {
        // The chains that the frame takes, and how much of each.
        let mut taken = heapless::Vec::<(u16, u32), MAX_BUFFERS>::new();
        // Where the first one says how many they are, if there are more.
        let mut number = [None; 2];
        let mut done = 0;
        while done < frame.len {
            if !queues.take(RECEIVE, None)? {
                if queues.sleep(RECEIVE)? {
                    continue;
                }
                queues.put_back(RECEIVE, taken.len() as u16);
                return Ok(Delivery::Later);
            }
            let chain = &*queues.chain;
            let before = if taken.is_empty() { HEADER as u64 } else { 0 };
            let needed = before + if self.has(feature::MRG_RXBUF) { 0 } else { frame.len as u64 };
            if taken.is_full() || chain.writable_len() < needed {
                queues.put_back(RECEIVE, taken.len() as u16 + 1);
                return Ok(Delivery::Impossible);
            }
            if taken.is_empty() {
                chain.write(queues.memory, 0, header)?;
                if chain.writable_len() < before + frame.len as u64 {
                    number = [NUM_BUFFERS, NUM_BUFFERS + 1].map(|at| chain.writable(at, 1).next());
                }
            }
            let start = done;
            for part in chain.writable(before, (frame.len - done) as u64) {
                let len = part.len as usize;
                queues.memory.write_from_cells(part.gpa, frame.buffer, FRAME_OFFSET + done, len)?;
                done += len;
            }
            // There is room, as was checked.
            let _ = taken.push((chain.head(), before as u32 + (done - start) as u32));
        }
        if taken.len() > 1 {
            for (place, byte) in number.iter().flatten().zip((taken.len() as u16).to_le_bytes()) {
                queues.memory.write(place.gpa, &[byte])?;
            }
        }
        for (head, written) in &taken {
            queues.give_back(RECEIVE, *head, *written)?;
        }
        Ok(Delivery::Done)
    }

    /// Executes commands (5.1.6.5).
    fn control<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        loop {
            while queues.take(CONTROL, None)? {
                let result = if self.filter.command(queues.memory, queues.chain) { OK } else { ERROR };
                let written = queues.chain.write(queues.memory, 0, &[result])?;
                queues.give_back(CONTROL, queues.chain.head(), written as u32)?;
            }
            if !queues.sleep(CONTROL)? {
                return Ok(());
            }
        }
    }

    /// Does all there is to do but to ask to be woken: whether all that was received has been taken.
    fn exchange<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<bool, DeviceError> {
        self.look_up();
        self.complete(|head| Ok(queues.give_back(TRANSMIT, head, 0)?))?;
        self.transmit(queues)?;
        self.control(queues)?;
        self.receive(queues)
    }

    /// Looks whether the connection has come up or gone.
    fn look_up(&mut self) {
        let up = self.link.is_up();
        self.up_changed |= up != self.up;
        self.up = up;
    }
}

/// What became of a frame to send.
enum Sent {
    /// It was copied, or dropped: its chain can come back.
    Copied,
    /// The driver domain reads it from the guest's RAM.
    Named,
    /// Some segments of it were copied.
    Partly,
}

/// What became of a received frame.
enum Delivery {
    /// The guest has it.
    Done,
    /// The guest's buffers are not made for it.
    Impossible,
    /// It waits for more buffers.
    Later,
}

/// Copies bytes from an offset on, so many, of what `queues.chain` has to read, to `at` bytes behind the start of `buffer`.
fn copy_payload<M: GuestMemory>(
    queues: &Queues<'_, M>,
    (offset, len): (usize, usize),
    buffer: &[AtomicU64],
    mut at: usize,
) -> Result<(), DeviceError> {
    for part in queues.chain.readable(offset as u64, len as u64) {
        queues.memory.read_to_cells(part.gpa, buffer, at, part.len as usize)?;
        at += part.len as usize;
    }
    Ok(())
}

/// The payload of the frame in `chain`, or `None` if it is in too many pieces.
fn segments(chain: &Chain) -> Option<heapless::Vec<Segment, MAX_SEGMENTS>> {
    let mut segments = heapless::Vec::new();
    for Buffer { gpa, len } in chain.readable((HEADER + HEADER_LEN) as u64, u64::MAX) {
        segments.push(Segment { offset: gpa - map::RAM_BASE, len }).ok()?;
    }
    Some(segments)
}

impl VirtioDevice for Net {
    fn id(&self) -> u32 {
        1
    }

    fn features(&self) -> u64 {
        feature::CSUM
            | feature::GUEST_CSUM
            | feature::MTU
            | feature::MAC
            | feature::HOST_TSO4
            | feature::MRG_RXBUF
            | feature::STATUS
            | feature::CTRL_VQ
            | feature::CTRL_RX
            | feature::CTRL_RX_EXTRA
    }

    fn queues(&self) -> usize {
        3
    }

    /// 5.1.4.
    fn config(&self) -> [u8; CONFIG_SIZE] {
        let status = if self.up { LINK_UP } else { 0 };
        config_space(&[(0, &self.info.mac.0), (6, &status.to_le_bytes()), (10, &self.info.mtu.to_le_bytes())])
    }

    fn start(&mut self, features: u64) {
        self.features = features;
        self.filter = Filter::new();
    }

    fn run<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        let received = self.exchange(queues)?;
        if !self.link.sleep(received) {
            let received = self.exchange(queues)?;
            if !self.link.sleep(received) {
                queues.run_again();
            }
        }
        Ok(())
    }

    fn take_back(&mut self) -> Result<(), DeviceError> {
        self.look_up();
        // The second turn is for what comes between looking and asking. What is received waits, and then is dropped by
        // the driver domain.
        for _ in 0..2 {
            self.complete(|_| Ok(()))?;
            if self.link.sleep(false) {
                break;
            }
        }
        Ok(())
    }

    fn reset_queue(&mut self, queue: usize) {
        if queue == TRANSMIT {
            self.segments = 0;
            let under_way = self.entries.iter_mut().filter(|entry| entry.stage == Stage::UnderWay);
            under_way.for_each(|entry| entry.stage = Stage::Forgotten);
        }
    }

    fn under_way(&self, queue: usize) -> usize {
        // By the entries: what a driver says that broke the rules does not count.
        if queue == TRANSMIT { MAX_FRAMES - self.free.len() } else { 0 }
    }

    fn config_changed(&mut self) -> bool {
        core::mem::take(&mut self.up_changed)
    }

    fn owed(&mut self) -> Owed {
        let before = core::mem::replace(&mut self.looked, self.link.mark());
        Owed::since(before, self.entries.iter().filter(|entry| entry.stage != Stage::Free).map(|entry| entry.mark))
    }

    fn wake_wanted(&mut self) -> bool {
        self.link.wake_wanted()
    }

    fn lazy_queue(&self) -> Option<(usize, Lazy)> {
        Some((TRANSMIT, Lazy::Chains))
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod large_tests;
#[cfg(test)]
mod tests;
