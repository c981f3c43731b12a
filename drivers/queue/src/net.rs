// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A network link: a client, such as a VMM, exchanges Ethernet frames with a network driver that is also the switch
//! between its clients.
//!
//! One region holds what the driver says ([`Info`]), a ring of frames to send with a buffer beside each record (a quarter
//! of the region), a ring of received frames likewise (half), and a ring of completions.
//!
//! # Sending
//! The Ethernet header is always in the record: the driver switches, and checks the sender, on what it has copied out, so
//! that nobody can change it afterwards. The payload is either
//!
//! - named as up to [`MAX_SEGMENTS`] segments of the client's window, from where the network device fetches it. Such a
//!   frame has an id, which comes back when the window is not read any more; or
//! - copied into the record's buffer. Such a frame is done with for the client when it is sent.
//!
//! The driver cannot read windows, so what other clients are to receive must be copied: frames to a group address or to
//! one of [`Info::neighbours`], and what it has to complete the checksum of. The driver drops a frame that it cannot read and
//! has to. Copying is also cheaper for short frames, which then need no completion.
//!
//! # Receiving
//! The driver puts whole frames into buffers, [`FRAME_OFFSET`] bytes behind their start, so that the payload is aligned in
//! both kinds of buffers. A frame that finds no room is dropped by the driver, and counted there.
//!
//! # Checksums
//! A frame may leave its sender with the checksum of its transport protocol still to be completed: [`Checksum::Partial`].
//! Between clients it stays so; a client completes it after receiving where its guest cannot. To the network, the device
//! completes it, or the driver where [`Info::completes_checksums`] is false: it must then be able to read such a frame.

pub mod checksum;
mod frame;
mod info;

pub use crate::segment::{MAX_SEGMENT_LEN, MAX_WINDOW, Segment};
pub use frame::{Checksum, EthernetHeader, HEADER_LEN, Mac};
pub use info::{Info, MAX_NEIGHBOURS};

use crate::mark::{self, Begun, Mark};
use crate::{AtomicU64, Broken, Consumer, Producer, PushError, TooSmall, cells, ring};
use core::mem::take;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use frame::flag;
use info::INFO_WORDS;

/// Size of the smallest region of a link, in bytes. It holds 8 frames to send and 16 received ones.
pub const MIN_SIZE: usize = 0x1_0000;
/// Longest frame in bytes, without its check sequence: 1500 of payload, with a VLAN tag.
pub const MAX_FRAME: usize = 1518;
/// Most segments of a payload.
pub const MAX_SEGMENTS: usize = 3;
/// Where a frame begins in the buffer of a received one.
pub const FRAME_OFFSET: usize = 2;

/// Words of a buffer.
const BUFFER: usize = 256;
/// Words of a record of a frame to send.
const RECORD: usize = 8;
/// Words before the rings.
const HEADER: usize = 16;
/// Values of the state word.
const UNKNOWN: u64 = 0;
const PRESENT: u64 = 1;

/// Where the payload of a frame to send is.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// In the client's window. There is at least one segment.
    Window {
        /// Chosen by the client; comes back when the window is not read any more.
        id: u16,
        /// Where.
        segments: &'a [Segment],
    },
    /// So many bytes in the record's buffer, from its start.
    Copied(usize),
}

/// The memory of a link, divided.
struct Layout<'a> {
    state: &'a AtomicU64,
    link: &'a AtomicU64,
    begun: &'a AtomicU64,
    info: &'a [AtomicU64; INFO_WORDS],
    send: &'a [AtomicU64],
    send_buffers: &'a [[AtomicU64; BUFFER]],
    sent: &'a [AtomicU64],
    receive: &'a [AtomicU64],
    receive_buffers: &'a [[AtomicU64; BUFFER]],
}

impl<'a> Layout<'a> {
    fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        if region.len() < MIN_SIZE / size_of::<u64>() {
            return Err(TooSmall);
        }
        let unit = 1_usize << region.len().ilog2();
        let (send, receive) = (unit / 4 / BUFFER, unit / 2 / BUFFER);
        let mut rest = region;
        let mut part = |words| rest.split_off(..words).ok_or(TooSmall);
        let [state, link, begun, info @ ..] = part(HEADER)? else { return Err(TooSmall) };
        Ok(Self {
            state,
            link,
            begun,
            info: info.first_chunk().ok_or(TooSmall)?,
            send: part(send * RECORD + ring::HEADER)?,
            sent: part(send + ring::HEADER)?,
            receive: part(receive + ring::HEADER)?,
            send_buffers: part(send * BUFFER)?.as_chunks().0,
            receive_buffers: part(receive * BUFFER)?.as_chunks().0,
        })
    }
}

/// The buffer at a place. There is one for each record, so the fallback is never taken.
fn buffer(buffers: &[[AtomicU64; BUFFER]], place: usize) -> &[AtomicU64] {
    buffers.get(place).map_or(&[], |buffer| &buffer[..])
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SendError {
    /// The driver has not yet made room.
    Full,
    /// See [`Broken`].
    Broken,
    /// The frame is too long, its payload is in none or too many pieces, or one of these beyond what a record can say, or
    /// its checksum does not lie in it.
    Malformed,
}

/// A received frame.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its length in bytes, at least [`HEADER_LEN`], at most [`MAX_FRAME`].
    pub len: usize,
    /// What is known of its checksum.
    pub checksum: Checksum,
    /// Its bytes, [`FRAME_OFFSET`] behind the start. The driver might change them.
    pub buffer: &'a [AtomicU64],
}

impl Received<'_> {
    /// Whom it is for.
    #[must_use]
    #[inline]
    pub fn destination(&self) -> Mac {
        Mac::unpack(self.buffer.first().map_or(0, |word| word.load(Relaxed) >> (8 * FRAME_OFFSET)))
    }
}

/// The client's end of a link.
pub struct Client<'a> {
    state: &'a AtomicU64,
    link: &'a AtomicU64,
    info: &'a [AtomicU64; INFO_WORDS],
    send: Producer<'a, RECORD>,
    send_buffers: &'a [[AtomicU64; BUFFER]],
    sent: Consumer<'a, 1>,
    receive: Consumer<'a, 1>,
    receive_buffers: &'a [[AtomicU64; BUFFER]],
    begun: Begun<'a>,
    under_way: usize,
    /// Whether the driver has still to be asked whether it sleeps.
    sending: bool,
}

impl<'a> Client<'a> {
    /// The client's end of the link in `region`, which both ends must hand over with the same length.
    ///
    /// # Errors
    /// [`TooSmall`]: less than [`MIN_SIZE`].
    pub fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        let layout = Layout::new(region)?;
        Ok(Self {
            state: layout.state,
            link: layout.link,
            info: layout.info,
            send: Producer::new(layout.send)?,
            send_buffers: layout.send_buffers,
            sent: Consumer::new(layout.sent)?,
            receive: Consumer::new(layout.receive)?,
            receive_buffers: layout.receive_buffers,
            begun: Begun::new(layout.begun),
            under_way: 0,
            sending: false,
        })
    }

    /// What the driver says of the connection; `None` until it does, and then it notifies the client. Asked once for all,
    /// since the answer of a hostile driver may change.
    ///
    /// # Errors
    /// [`Broken`].
    #[inline]
    pub fn info(&self) -> Result<Option<Info>, Broken> {
        match self.state.load(Acquire) {
            UNKNOWN => return Ok(None),
            PRESENT => {}
            _ => return Err(Broken),
        }
        let words = self.info.each_ref().map(|word| word.load(Relaxed));
        Info::unpack(words).map(Some).ok_or(Broken)
    }

    /// Whether the network can be reached. The driver notifies the client of a change.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.link.load(Relaxed) != 0
    }

    /// Number of frames that name the window and have not come back.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether there is room for a frame.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn has_room(&self) -> Result<bool, Broken> {
        Ok(self.under_way < self.sent.capacity() && self.send.free()? > 0)
    }

    /// The buffer of the next frame to send, for a payload that is copied. There must be room for a frame.
    #[must_use]
    pub fn send_buffer(&self) -> &'a [AtomicU64] {
        buffer(self.send_buffers, self.send.place())
    }

    /// Sends a frame, if there is room. The mark tells whether a driver that starts again has lost it.
    ///
    /// # Errors
    /// [`SendError`]; nothing is then sent.
    pub fn send(
        &mut self,
        header: &EthernetHeader,
        checksum: Checksum,
        payload: Payload<'_>,
    ) -> Result<Mark, SendError> {
        let (id, segments, copied) = match payload {
            Payload::Window { id, segments } => (id, segments, None),
            Payload::Copied(len) => (0, &[][..], Some(len)),
        };
        let pieces = if copied.is_some() { 0..=0 } else { 1..=MAX_SEGMENTS };
        let well_formed = pieces.contains(&segments.len()) && segments.iter().all(|segment| segment.fits());
        let len = copied.unwrap_or_else(|| payload_len(segments)).saturating_add(HEADER_LEN);
        let (flags, start, offset) = checksum.pack();
        if !well_formed || len > MAX_FRAME || Checksum::unpack(flags, start, offset, len).is_none() {
            return Err(SendError::Malformed);
        }
        if !self.has_room().map_err(|Broken| SendError::Broken)? {
            return Err(SendError::Full);
        }
        let flags = flags | if copied.is_some() { flag::COPIED } else { 0 };
        let [h0, h1] = header.pack();
        let segment = |n: usize| segments.get(n).map_or(0, |segment| segment.word());
        let record = [
            len as u64 | u64::from(flags) << 16 | (segments.len() as u64) << 24 | u64::from(id) << 32,
            h0,
            h1 | u64::from(start) << 48,
            offset.into(),
            segment(0),
            segment(1),
            segment(2),
            0,
        ];
        self.send.push(&record).map_err(|error| match error {
            PushError::Full => SendError::Full,
            PushError::Broken => SendError::Broken,
        })?;
        self.under_way += usize::from(copied.is_none());
        self.sending = true;
        Ok(self.mark())
    }

    /// What has been sent so far: the mark of the last frame.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark::new(self.send.index())
    }

    /// Where the driver has started again, if it has since this was last asked. To be asked before [`Self::sent`]: once that
    /// has no frame left, those before that point are lost, and [`Self::forget`] is to be told of each that has an id.
    pub fn restarted(&mut self) -> Option<Mark> {
        self.begun.news()
    }

    /// A frame with an id is lost.
    pub fn forget(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The id of the next frame whose window is not read any more.
    ///
    /// # Errors
    /// [`Broken`], also if there are more of them than were sent.
    pub fn sent(&mut self) -> Result<Option<u16>, Broken> {
        let Some([word]) = self.sent.pop()? else { return Ok(None) };
        self.under_way = self.under_way.checked_sub(1).ok_or(Broken)?;
        u16::try_from(word).map(Some).map_err(|_| Broken)
    }

    /// The oldest received frame, until [`Self::release`].
    ///
    /// # Errors
    /// [`Broken`], also for a frame that no correct driver delivers.
    pub fn received(&self) -> Result<Option<Received<'a>>, Broken> {
        let Some([word]) = self.receive.peek()? else { return Ok(None) };
        let len = usize::from(word as u16);
        if !(HEADER_LEN..=MAX_FRAME).contains(&len) {
            return Err(Broken);
        }
        let checksum = Checksum::unpack((word >> 16) as u8, (word >> 32) as u16, (word >> 48) as u16, len);
        Ok(Some(Received {
            len,
            checksum: checksum.ok_or(Broken)?,
            buffer: buffer(self.receive_buffers, self.receive.place()),
        }))
    }

    /// Gives back the buffer of the frame that [`Self::received`] has returned.
    pub fn release(&mut self) {
        self.receive.advance();
    }

    /// Asks to be woken when a frame has been sent from the window, if there is no room now when there is, and if
    /// `receiving` when a frame is received. `false` if there is something to do already.
    pub fn sleep(&mut self, receiving: bool) -> bool {
        let received = receiving && !self.receive.sleep();
        let sent = !self.sent.sleep();
        let room = self.send.free() == Ok(0) && !self.send.sleep();
        !received && !sent && !room
    }

    /// Whether the driver must be notified; asked after a batch of calls. `true` counts as told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        take(&mut self.sending) && self.send.wake_wanted()
    }
}

/// A frame to send.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its length in bytes with the header, at most [`MAX_FRAME`].
    pub len: usize,
    /// Its header, which nobody can change any more.
    pub header: EthernetHeader,
    /// What is known of its checksum.
    pub checksum: Checksum,
    /// Where its payload is.
    pub payload: FramePayload<'a>,
}

/// Where the payload of a frame to send is, for the driver.
#[derive(Clone, Copy, Debug)]
pub enum FramePayload<'a> {
    /// In the client's window.
    Window {
        /// To be given back.
        id: u16,
        /// Where.
        segments: [Segment; MAX_SEGMENTS],
        /// How many segments there are, at least one.
        count: usize,
    },
    /// At the start of this buffer, which the client might change.
    Copied(&'a [AtomicU64]),
}

/// The driver's end of a link.
pub struct Server<'a> {
    state: &'a AtomicU64,
    link: &'a AtomicU64,
    info: &'a [AtomicU64; INFO_WORDS],
    send: Consumer<'a, RECORD>,
    send_buffers: &'a [[AtomicU64; BUFFER]],
    sent: Producer<'a, 1>,
    receive: Producer<'a, 1>,
    receive_buffers: &'a [[AtomicU64; BUFFER]],
    /// Whether the client has still to be asked whether it sleeps: for completions, for frames.
    completed: bool,
    delivered: bool,
}

impl<'a> Server<'a> {
    /// The driver's end of the link in `region`: see [`Client::new`]. For a driver that starts again, its device must no
    /// longer read what it was given before.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        let layout = Layout::new(region)?;
        let send = Consumer::new(layout.send)?;
        mark::begin(layout.begun, send.index());
        Ok(Self {
            state: layout.state,
            link: layout.link,
            info: layout.info,
            send,
            send_buffers: layout.send_buffers,
            sent: Producer::new(layout.sent)?,
            receive: Producer::new(layout.receive)?,
            receive_buffers: layout.receive_buffers,
            completed: false,
            delivered: false,
        })
    }

    /// Tells the client of its connection, once. The caller then notifies the client.
    pub fn announce(&mut self, info: &Info) {
        for (cell, word) in self.info.iter().zip(info.pack()) {
            cell.store(word, Relaxed);
        }
        self.state.store(PRESENT, Release);
    }

    /// Tells the client whether the network can be reached. The caller then notifies the client.
    pub fn set_up(&mut self, up: bool) {
        self.link.store(up.into(), Relaxed);
    }

    /// The oldest frame to send, until [`Self::release`].
    ///
    /// # Errors
    /// [`Broken`], also for a frame that no correct client sends. Such a client can then only be given up.
    pub fn next(&self) -> Result<Option<Frame<'a>>, Broken> {
        let Some([first, h0, h1, offset, segments @ .., _]) = self.send.peek()? else { return Ok(None) };
        let (len, flags, count) = (usize::from(first as u16), (first >> 16) as u8, usize::from((first >> 24) as u8));
        let segments = segments.map(Segment::unpack);
        let checksum = Checksum::unpack(flags, (h1 >> 48) as u16, offset as u16, len).ok_or(Broken)?;
        let copied = flags & flag::COPIED != 0;
        let named = segments.get(..count).ok_or(Broken)?;
        let consistent = if copied { count == 0 } else { count > 0 && payload_len(named) + HEADER_LEN == len };
        if !consistent || !(HEADER_LEN..=MAX_FRAME).contains(&len) {
            return Err(Broken);
        }
        let payload = if copied {
            FramePayload::Copied(buffer(self.send_buffers, self.send.place()))
        } else {
            FramePayload::Window { id: (first >> 32) as u16, segments, count }
        };
        Ok(Some(Frame { len, header: EthernetHeader::unpack([h0, h1]), checksum, payload }))
    }

    /// Gives back the place, and the buffer, of the frame that [`Self::next`] has returned.
    pub fn release(&mut self) {
        self.send.advance();
    }

    /// The window of frame `id` is not read any more. There is room unless the client is not a correct one.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn sent(&mut self, id: u16) -> Result<(), Broken> {
        self.completed = true;
        self.sent.push(&[id.into()]).map_err(|_| Broken)
    }

    /// The buffer of the next frame to deliver, or `None` if the client has no room.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn receive_buffer(&self) -> Result<Option<&'a [AtomicU64]>, Broken> {
        Ok((self.receive.free()? > 0).then(|| buffer(self.receive_buffers, self.receive.place())))
    }

    /// Delivers the frame of `len` bytes that was put into [`Self::receive_buffer`]. A wrong `checksum` is left out.
    ///
    /// # Errors
    /// [`PushError`], also where the frame is longer than [`MAX_FRAME`].
    pub fn deliver(&mut self, len: usize, checksum: Checksum) -> Result<(), PushError> {
        let (flags, start, offset) = checksum.pack();
        let known = Checksum::unpack(flags, start, offset, len).is_some();
        let (flags, start, offset) = if known { (flags, start, offset) } else { (0, 0, 0) };
        if !(HEADER_LEN..=MAX_FRAME).contains(&len) {
            return Err(PushError::Full);
        }
        self.delivered = true;
        let word = len as u64 | u64::from(flags) << 16 | u64::from(start) << 32 | u64::from(offset) << 48;
        self.receive.push(&[word])
    }

    /// Copies `frame`, which another client sends, to this client: false if there is no room for it.
    ///
    /// # Errors
    /// [`Broken`]: this client is.
    pub fn forward(&mut self, frame: &Frame<'_>) -> Result<bool, Broken> {
        let (FramePayload::Copied(payload), Some(to)) = (frame.payload, self.receive_buffer()?) else {
            return Ok(false);
        };
        cells::write(to, FRAME_OFFSET, &frame.header.0);
        let begin = (FRAME_OFFSET + HEADER_LEN) / size_of::<u64>();
        cells::copy(payload, to.get(begin..).unwrap_or(&[]), frame.len - HEADER_LEN);
        match self.deliver(frame.len, frame.checksum) {
            Ok(()) => Ok(true),
            Err(PushError::Full) => Ok(false),
            Err(PushError::Broken) => Err(Broken),
        }
    }

    /// Asks to be woken when there is a frame to send. `false` if there is one already.
    pub fn sleep(&mut self) -> bool {
        self.send.sleep()
    }

    /// Whether the client must be notified; asked after a batch of calls. `true` counts as told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        // All flags are to be cleared: no short circuit.
        (take(&mut self.completed) && self.sent.wake_wanted())
            | (take(&mut self.delivered) && self.receive.wake_wanted())
            | self.send.wake_wanted()
    }
}

fn payload_len(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.len as usize).sum()
}
