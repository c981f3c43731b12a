// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A block link: a client, such as a VMM, asks a disk driver to move sectors to and from the client's *window*, memory
//! whose physical address only the driver knows. No data pass through the link.
//!
//! One region holds what the driver says of the medium ([`Info`]), a ring of requests (half of the region) and a ring of
//! completions (an eighth). A request is a head record and, where its segments do not fit in that, continuation records,
//! all put in at once:
//!
//! | record | words 0 to 3 |
//! |---|---|
//! | head | id, operation, number of segments; first sector; segment or number of sectors; segment |
//! | continuation | four segments |
//!
//! A segment is one word: see [`Segment`].
//!
//! # Who checks what
//! The ends check that records are well formed; one that no correct peer writes is [`Broken`]. The driver checks segments
//! against the client's window and sectors against the client's part of the medium. The client checks that the id of a
//! completion is one that it waits for. Requests may complete in any order. There are never more under way than the ring
//! of completions holds, so that a correct driver never waits for room.

use crate::mark::{self, Begun, Mark};
pub use crate::segment::{MAX_SEGMENT_LEN, MAX_WINDOW, Segment};
use crate::{AtomicU64, Broken, Consumer, Producer, PushError, TooSmall, ring};
use core::mem::take;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Size of the smallest region of a link, in bytes. It holds 64 requests of up to two segments.
pub const MIN_SIZE: usize = 0x1000;
/// Bytes of a sector, the unit of all positions on the medium.
pub const SECTOR: u32 = 512;
/// Most segments of a request.
pub const MAX_SEGMENTS: usize = 126;
/// Words of a record of the request ring.
const RECORD: usize = 4;
/// Segments in a head record.
const HEAD_SEGMENTS: usize = 2;
/// Words before the rings.
const HEADER: usize = 8;

/// What to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Fill the segments from the medium.
    Read,
    /// Write the segments to the medium.
    Write,
    /// Make all writes that have completed durable.
    Flush,
    /// The contents of so many sectors are no longer needed.
    Discard {
        /// Number of sectors.
        sectors: u32,
    },
    /// Make so many sectors zero.
    WriteZeroes {
        /// Number of sectors.
        sectors: u32,
        /// Whether the medium may give back the space.
        unmap: bool,
    },
}

/// What an operation looks like in a record.
mod code {
    pub const READ: u8 = 0;
    pub const WRITE: u8 = 1;
    pub const FLUSH: u8 = 2;
    pub const DISCARD: u8 = 3;
    pub const WRITE_ZEROES: u8 = 4;
    pub const WRITE_ZEROES_UNMAP: u8 = 5;
}

impl Operation {
    fn code(self) -> u8 {
        match self {
            Self::Read => code::READ,
            Self::Write => code::WRITE,
            Self::Flush => code::FLUSH,
            Self::Discard { .. } => code::DISCARD,
            Self::WriteZeroes { unmap: false, .. } => code::WRITE_ZEROES,
            Self::WriteZeroes { unmap: true, .. } => code::WRITE_ZEROES_UNMAP,
        }
    }

    /// The number of sectors, where it is not given by segments.
    fn sectors(self) -> Option<u32> {
        match self {
            Self::Read | Self::Write | Self::Flush => None,
            Self::Discard { sectors } | Self::WriteZeroes { sectors, .. } => Some(sectors),
        }
    }

    fn new(code: u8, sectors: u32) -> Option<Self> {
        Some(match code {
            code::READ => Self::Read,
            code::WRITE => Self::Write,
            code::FLUSH => Self::Flush,
            code::DISCARD => Self::Discard { sectors },
            code::WRITE_ZEROES => Self::WriteZeroes { sectors, unmap: false },
            code::WRITE_ZEROES_UNMAP => Self::WriteZeroes { sectors, unmap: true },
            _ => return None,
        })
    }

    /// Whether segments belong to it.
    #[must_use]
    pub fn moves_data(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

/// A request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request<'a> {
    /// Chosen by the client; comes back with the completion.
    pub id: u32,
    /// What to do.
    pub operation: Operation,
    /// The first sector; without meaning for a flush.
    pub sector: u64,
    /// Where the data are, for an operation that moves any; else empty.
    pub segments: &'a [Segment],
}

impl Request<'_> {
    /// The sum of the segments' lengths, in bytes.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.len)).sum()
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// It was done.
    Done,
    /// It was not, or not wholly, done.
    Failed,
    /// The medium cannot do this.
    Unsupported,
}

/// A request has ended: the window is not touched for it any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Completion {
    /// [`Request::id`].
    pub id: u32,
    /// How it ended.
    pub status: Status,
}

impl Completion {
    fn pack(self) -> u64 {
        u64::from(self.id) | (self.status as u64) << 32
    }

    fn unpack(word: u64) -> Option<Self> {
        let status = match word >> 32 {
            0 => Status::Done,
            1 => Status::Failed,
            2 => Status::Unsupported,
            _ => return None,
        };
        Some(Self { id: word as u32, status })
    }
}

/// What the driver says of the client's part of the medium.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Info {
    /// Its size in sectors.
    pub sectors: u64,
    /// Bytes of the medium's own block: a power of two, at least [`SECTOR`]. Requests need not keep to it.
    pub block_size: u32,
    /// The client may only read.
    pub read_only: bool,
    /// Writes may complete before they are durable; a flush makes them so.
    pub flush: bool,
    /// Most sectors of a discard; zero if the medium has none.
    pub discard_sectors: u32,
    /// The unit of a discard that frees space, in sectors, or zero.
    pub discard_alignment: u32,
    /// Most sectors of a write of zeroes; zero if the medium has none.
    pub write_zeroes_sectors: u32,
    /// Whether a write of zeroes may give back the space.
    pub write_zeroes_unmap: bool,
}

const READ_ONLY: u64 = 1 << 0;
const FLUSH: u64 = 1 << 1;
const UNMAP: u64 = 1 << 2;

impl Info {
    fn pack(self) -> [u64; 4] {
        let flag = |set: bool, bit| if set { bit } else { 0 };
        let flags = flag(self.read_only, READ_ONLY) | flag(self.flush, FLUSH) | flag(self.write_zeroes_unmap, UNMAP);
        [
            self.sectors,
            flags | u64::from(self.block_size) << 32,
            u64::from(self.discard_sectors) | u64::from(self.discard_alignment) << 32,
            self.write_zeroes_sectors.into(),
        ]
    }

    fn unpack([sectors, flags, discard, write_zeroes]: [u64; 4]) -> Option<Self> {
        let info = Self {
            sectors,
            block_size: (flags >> 32) as u32,
            read_only: flags & READ_ONLY != 0,
            flush: flags & FLUSH != 0,
            discard_sectors: discard as u32,
            discard_alignment: (discard >> 32) as u32,
            write_zeroes_sectors: write_zeroes as u32,
            write_zeroes_unmap: flags & UNMAP != 0,
        };
        let fits = info.sectors.checked_mul(SECTOR.into()).is_some();
        (fits && info.block_size.is_power_of_two() && info.block_size >= SECTOR).then_some(info)
    }
}

/// What the client can expect of its part of the medium.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Medium {
    /// The driver has not yet looked; it will notify the client.
    Unknown,
    /// It is there.
    Present(Info),
    /// It does not exist or does not work. The driver's log says why.
    Absent,
}

const UNKNOWN: u64 = 0;
const PRESENT: u64 = 1;
const ABSENT: u64 = 2;

/// The memory of a link, divided.
struct Layout<'a> {
    state: &'a AtomicU64,
    begun: &'a AtomicU64,
    info: &'a [AtomicU64; 4],
    requests: &'a [AtomicU64],
    completions: &'a [AtomicU64],
}

impl<'a> Layout<'a> {
    fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        if region.len() < MIN_SIZE / size_of::<u64>() {
            return Err(TooSmall);
        }
        let unit = 1 << region.len().ilog2();
        let mut rest = region;
        let mut part = |words| rest.split_off(..words).ok_or(TooSmall);
        let [state, begun, info @ ..] = part(HEADER)? else { return Err(TooSmall) };
        Ok(Self {
            state,
            begun,
            info: info.first_chunk().ok_or(TooSmall)?,
            requests: part(unit / 2 + ring::HEADER)?,
            completions: part(unit / 8 + ring::HEADER)?,
        })
    }
}

/// The client's end of a link.
pub struct Client<'a> {
    state: &'a AtomicU64,
    info: &'a [AtomicU64; 4],
    requests: Producer<'a, RECORD>,
    completions: Consumer<'a, 1>,
    begun: Begun<'a>,
    under_way: usize,
    /// Whether the driver has still to be asked whether it sleeps.
    submitted: bool,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubmitError {
    /// The driver has not yet made room. There will be room after a completion.
    Full,
    /// See [`Broken`].
    Broken,
    /// A segment reaches beyond what a record can say, there are more than [`MAX_SEGMENTS`], or the operation moves no
    /// data but has some.
    Malformed,
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
            info: layout.info,
            requests: Producer::new(layout.requests)?,
            completions: Consumer::new(layout.completions)?,
            begun: Begun::new(layout.begun),
            under_way: 0,
            submitted: false,
        })
    }

    /// What the driver says of the medium. Asked once for all, since the answer of a hostile driver may change.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn medium(&self) -> Result<Medium, Broken> {
        match self.state.load(Acquire) {
            UNKNOWN => Ok(Medium::Unknown),
            PRESENT => {
                let words = self.info.each_ref().map(|word| word.load(Relaxed));
                Info::unpack(words).map(Medium::Present).ok_or(Broken)
            }
            ABSENT => Ok(Medium::Absent),
            _ => Err(Broken),
        }
    }

    /// Number of requests that have not come back.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// For how many requests there is room, of whatever size.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn room(&self) -> Result<usize, Broken> {
        let completions = self.completions.capacity().saturating_sub(self.under_way);
        Ok(completions.min(self.requests.free()? / records(MAX_SEGMENTS)))
    }

    /// Hands over a request, if there is room for all of it. The mark tells whether a driver that starts again has lost it.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing is then handed over.
    pub fn submit(&mut self, request: &Request<'_>) -> Result<Mark, SubmitError> {
        let Request { id, operation, sector, segments } = *request;
        let data = operation.moves_data();
        let word = |index: usize| segments.get(index).map_or(0, |segment| segment.word());
        // Most have no more than the head takes, which so are looked at once.
        let head = |index: usize| segments.get(index).is_none_or(|segment| segment.fits()).then(|| word(index));
        let well_formed = segments.len() <= MAX_SEGMENTS && segments.is_empty() != data;
        let (Some(first), Some(second)) = (head(0), head(1)) else { return Err(SubmitError::Malformed) };
        if !well_formed || !segments.iter().skip(HEAD_SEGMENTS).all(|segment| segment.fits()) {
            return Err(SubmitError::Malformed);
        }
        if self.under_way >= self.completions.capacity() {
            return Err(SubmitError::Full);
        }
        let head = [
            u64::from(id) | u64::from(operation.code()) << 32 | (segments.len() as u64) << 40,
            sector,
            operation.sectors().map_or(first, u64::from),
            second,
        ];
        let records = (0..records(segments.len())).map(|record| match record.checked_sub(1) {
            None => head,
            Some(rest) => [0, 1, 2, 3].map(|n| word(HEAD_SEGMENTS + rest * RECORD + n)),
        });
        self.requests.push_all(records).map_err(|error| match error {
            PushError::Full => SubmitError::Full,
            PushError::Broken => SubmitError::Broken,
        })?;
        self.under_way += 1;
        self.submitted = true;
        Ok(self.mark())
    }

    /// What has been submitted so far: the mark of the last request.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark::new(self.requests.index())
    }

    /// Where the driver has started again, if it has since this was last asked. To be asked before [`Self::complete`]: once
    /// there is no completion left, the requests before that point are lost, each of which [`Self::forget`] is to be told.
    pub fn restarted(&mut self) -> Option<Mark> {
        self.begun.news()
    }

    /// A request is lost and will not complete.
    pub fn forget(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The next completion.
    ///
    /// # Errors
    /// [`Broken`], also if the driver completes more than it was asked.
    pub fn complete(&mut self) -> Result<Option<Completion>, Broken> {
        let Some([word]) = self.completions.pop()? else { return Ok(None) };
        self.under_way = self.under_way.checked_sub(1).ok_or(Broken)?;
        Completion::unpack(word).map(Some).ok_or(Broken)
    }

    /// Asks to be woken when there is a completion. `false` if there is one already.
    pub fn sleep(&mut self) -> bool {
        self.completions.sleep()
    }

    /// Whether the driver must be notified; asked after a batch of requests. `true` counts as told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        take(&mut self.submitted) && self.requests.wake_wanted()
    }
}

/// Number of records of a request with so many segments.
const fn records(segments: usize) -> usize {
    1 + segments.saturating_sub(HEAD_SEGMENTS).div_ceil(RECORD)
}

/// Room for the segments of a request.
#[derive(Clone, Debug)]
pub struct Segments([Segment; MAX_SEGMENTS]);

impl Segments {
    /// Room.
    #[must_use]
    pub const fn new() -> Self {
        Self([Segment { offset: 0, len: 0 }; MAX_SEGMENTS])
    }
}

impl Default for Segments {
    fn default() -> Self {
        Self::new()
    }
}

/// The driver's end of a link.
pub struct Server<'a> {
    state: &'a AtomicU64,
    info: &'a [AtomicU64; 4],
    requests: Consumer<'a, RECORD>,
    completions: Producer<'a, 1>,
    /// Whether the client has still to be asked whether it sleeps.
    completed: bool,
}

impl<'a> Server<'a> {
    /// The driver's end of the link in `region`: see [`Client::new`]. For a driver that starts again, its device must no
    /// longer work on what it was given before.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        let layout = Layout::new(region)?;
        let requests = Consumer::new(layout.requests)?;
        mark::begin(layout.begun, requests.index());
        Ok(Self {
            state: layout.state,
            info: layout.info,
            requests,
            completions: Producer::new(layout.completions)?,
            completed: false,
        })
    }

    /// Tells the client of its part of the medium, once: `None` if there is none. The caller then notifies the client.
    pub fn announce(&mut self, info: Option<Info>) {
        if let Some(info) = info {
            for (cell, word) in self.info.iter().zip(info.pack()) {
                cell.store(word, Relaxed);
            }
        }
        self.state.store(if info.is_some() { PRESENT } else { ABSENT }, Release);
    }

    /// The next request; its segments are copied to `room`.
    ///
    /// # Errors
    /// [`Broken`], also for a request that no correct client makes. Such a client can then only be given up.
    pub fn next<'b>(&mut self, room: &'b mut Segments) -> Result<Option<Request<'b>>, Broken> {
        let Some([head, sector, third, fourth]) = self.requests.peek()? else { return Ok(None) };
        let operation = Operation::new((head >> 32) as u8, third as u32).ok_or(Broken)?;
        let count = usize::try_from(head >> 40).map_err(|_| Broken)?;
        let segments = room.0.get_mut(..count).ok_or(Broken)?;
        if (count == 0) == operation.moves_data() {
            return Err(Broken);
        }
        let (first, rest) = segments.split_at_mut(count.min(HEAD_SEGMENTS));
        for (segment, word) in first.iter_mut().zip([third, fourth]) {
            *segment = Segment::unpack(word);
        }
        for (ahead, part) in (1..).zip(rest.chunks_mut(RECORD)) {
            // They came with the head.
            let words = self.requests.peek_ahead(ahead)?.ok_or(Broken)?;
            for (segment, word) in part.iter_mut().zip(words) {
                *segment = Segment::unpack(word);
            }
        }
        self.requests.advance_by(records(count));
        Ok(Some(Request { id: head as u32, operation, sector, segments }))
    }

    /// Hands back a request. There is room unless the client is not a correct one.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn complete(&mut self, completion: Completion) -> Result<(), Broken> {
        self.completed = true;
        self.completions.push(&[completion.pack()]).map_err(|_| Broken)
    }

    /// Asks to be woken when there is a request. `false` if there is one already.
    pub fn sleep(&mut self) -> bool {
        self.requests.sleep()
    }

    /// Whether the client must be notified; asked after a batch of completions. `true` counts as told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        take(&mut self.completed) && self.completions.wake_wanted()
    }
}
