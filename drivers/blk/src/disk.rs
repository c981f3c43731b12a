// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A virtio block device (virtio 1.2, 5.2).

use crate::partition::Sectors;
use core::fmt;
use core::hint::spin_loop;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use queue::blk::{MAX_SEGMENT_LEN, MAX_SEGMENTS, SECTOR, Status};
use virtq::{Broken, Cause, Device, Dma, Error, Features, Ledger, NoMemory, Queue, Registers, Segment, TooLong};

/// Virtio's device ID of a block device.
const DEVICE_ID: u32 = 2;
/// Its only queue.
const QUEUE: u32 = 0;
/// How many requests the device works on at once.
pub(crate) const SLOTS: usize = 128;
/// Segments of a request: its header, its data, its status.
const CHAIN: usize = MAX_SEGMENTS + 2;

/// Features (5.2.3).
const SIZE_MAX: Features = Features(1 << 1);
const SEG_MAX: Features = Features(1 << 2);
const READ_ONLY: Features = Features(1 << 5);
const BLK_SIZE: Features = Features(1 << 6);
const FLUSH: Features = Features(1 << 9);
const DISCARD: Features = Features(1 << 13);
const WRITE_ZEROES: Features = Features(1 << 14);
const WANTED: Features = Features(
    SIZE_MAX.0 | SEG_MAX.0 | READ_ONLY.0 | BLK_SIZE.0 | FLUSH.0 | DISCARD.0 | WRITE_ZEROES.0 | Features::EVENT_IDX.0,
);

/// Request types (5.2.6).
const IN: u32 = 0;
const OUT: u32 = 1;
const T_FLUSH: u32 = 4;
const T_DISCARD: u32 = 11;
const T_WRITE_ZEROES: u32 = 13;
/// Flag of a write of zeroes.
const UNMAP: u32 = 1;
/// Statuses.
const S_OK: u8 = 0;
const S_UNSUPPORTED: u8 = 2;
/// What no device writes as a status.
const S_NONE: u8 = 0xff;

/// Bytes of the driver's own buffer.
const BUFFER: usize = 4096;
/// How often the driver looks while it waits for its own reads, at start.
const PATIENCE: u64 = 1_000_000_000;

/// What a request asks of the device. Positions are in sectors from the start of the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Fills the segments from this sector on.
    Read(u64),
    /// Writes the segments from this sector on.
    Write(u64),
    /// Makes completed writes durable.
    Flush,
    /// Gives up the contents of sectors.
    Discard {
        /// The first one.
        sector: u64,
        /// Their number.
        count: u32,
    },
    /// Makes sectors zero.
    WriteZeroes {
        /// The first one.
        sector: u64,
        /// Their number.
        count: u32,
        /// Whether the space may be given back.
        unmap: bool,
    },
}

/// The device works on as many requests as it can, or it cannot work on these segments: there are too many, or a place is
/// missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unfit;

impl From<TooLong> for Unfit {
    fn from(_: TooLong) -> Self {
        Self
    }
}

/// Why the disk cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// The driver's memory does not suffice.
    NoMemory,
    /// The device cannot be used.
    Device(Error),
    /// The device takes only requests of fewer segments than clients may make.
    FewSegments(u32),
    /// The device takes only segments shorter than clients may make.
    ShortSegments(u32),
    /// The device's logical block is not a power of two of at least 512 bytes.
    BlockSize(u32),
    /// The size is more than positions in bytes can say.
    Capacity(u64),
}

impl From<NoMemory> for OpenError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

impl From<Error> for OpenError {
    fn from(error: Error) -> Self {
        Self::Device(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => NoMemory.fmt(f),
            Self::Device(error) => error.fmt(f),
            Self::FewSegments(max) => write!(f, "the disk takes {max} segments, {MAX_SEGMENTS} are needed"),
            Self::ShortSegments(max) => write!(f, "the disk takes segments of {max}, {MAX_SEGMENT_LEN} are needed"),
            Self::BlockSize(size) => write!(f, "the disk has blocks of {size} bytes"),
            Self::Capacity(sectors) => write!(f, "the disk has {sectors} sectors"),
        }
    }
}

impl core::error::Error for OpenError {}

/// Why the driver could not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadError {
    /// The device reports an error, or breaks its rules.
    Failed,
    /// The device does not answer.
    NoAnswer,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the disk reports an error",
            Self::NoAnswer => "the disk does not answer",
        })
    }
}

impl core::error::Error for ReadError {}

/// What the disk is and can do.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Properties {
    /// Size in sectors.
    pub sectors: u64,
    pub block_size: u32,
    pub read_only: bool,
    /// Whether the disk has a cache to flush.
    pub flush: bool,
    /// Most sectors of a discard, zero if there is none; and the unit that frees space.
    pub discard: (u32, u32),
    /// Most sectors of a write of zeroes, zero if there is none; and whether it may give back the space.
    pub write_zeroes: (u32, bool),
}

/// What a disk notes of the requests under way. It is not in the disk itself, to keep that small enough for a stack.
#[derive(Debug)]
pub struct Notes {
    ledger: Ledger<SLOTS>,
    /// For each slot, how many bytes the device must write for the request to be done.
    expected: [u32; SLOTS],
}

impl Notes {
    /// Notes for one disk.
    #[must_use]
    pub const fn new() -> Self {
        Self { ledger: Ledger::new(), expected: [0; SLOTS] }
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self::new()
    }
}

/// The device. A request is named by its slot, of which there are 128.
pub struct Disk<'a, R> {
    device: Device<R>,
    queue: Queue<'a, SLOTS, CHAIN>,
    pub(crate) properties: Properties,
    /// For each slot, header of a request (5.2.6) and range of a discard or write of zeroes.
    headers: &'a [[AtomicU64; 2]; SLOTS],
    headers_paddr: u64,
    ranges: &'a [[AtomicU32; 4]; SLOTS],
    ranges_paddr: u64,
    statuses: &'a [AtomicU8; SLOTS],
    statuses_paddr: u64,
    /// See [`Notes`].
    expected: &'a mut [u32; SLOTS],
    buffer: &'a [AtomicU64],
    buffer_paddr: u64,
}

impl<'a, R: Registers> Disk<'a, R> {
    /// The disk at `registers`, set to work with memory from `dma`, about 300 KiB.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(registers: R, dma: &mut Dma<'a>, notes: &'a mut Notes) -> Result<Self, OpenError> {
        let device = Device::new(registers, DEVICE_ID)?;
        let queue = Queue::new(dma, &mut notes.ledger)?;
        let (headers, headers_paddr) = dma.take(SLOTS, 16)?;
        let (ranges, ranges_paddr) = dma.take(SLOTS, 16)?;
        let (statuses, statuses_paddr) = dma.take(SLOTS, 1)?;
        let (buffer, buffer_paddr) = dma.take(BUFFER / size_of::<u64>(), BUFFER)?;
        let mut disk = Self {
            device,
            queue,
            properties: Properties::default(),
            headers: headers.try_into().map_err(|_| NoMemory)?,
            headers_paddr,
            ranges: ranges.try_into().map_err(|_| NoMemory)?,
            ranges_paddr,
            statuses: statuses.try_into().map_err(|_| NoMemory)?,
            statuses_paddr,
            expected: &mut notes.expected,
            buffer,
            buffer_paddr,
        };
        disk.properties = disk.begin()?;
        Ok(disk)
    }

    fn begin(&mut self) -> Result<Properties, OpenError> {
        let features = self.device.negotiate(Features::INDIRECT_DESC, WANTED)?;
        let properties = self.properties_with(features)?;
        self.device.attach(QUEUE, &mut self.queue)?;
        self.device.start();
        // The device says with the queue's flags what it wants, and is asked for its first interrupt.
        self.queue.sleep();
        Ok(properties)
    }

    /// Reads the configuration (5.2.4).
    fn properties_with(&self, features: Features) -> Result<Properties, OpenError> {
        let words =
            self.device.config(|word| [0, 4, 8, 12, 20, 36, 44, 48, 56].map(|offset| (offset, word(offset))))?;
        let word = |offset, feature, default| {
            let found = words.iter().find(|(at, _)| *at == offset).map(|(_, value)| *value);
            found.filter(|_| features.has(feature)).unwrap_or(default)
        };
        let always = Features(0);
        let properties = Properties {
            sectors: u64::from(word(0, always, 0)) | u64::from(word(4, always, 0)) << 32,
            block_size: word(20, BLK_SIZE, SECTOR),
            read_only: features.has(READ_ONLY),
            flush: features.has(FLUSH),
            discard: (word(36, DISCARD, 0), word(44, DISCARD, 0)),
            write_zeroes: (word(48, WRITE_ZEROES, 0), word(56, WRITE_ZEROES, 0) & 0xff != 0),
        };
        let (longest, segments) = (word(8, SIZE_MAX, u32::MAX), word(12, SEG_MAX, u32::MAX));
        if (segments as usize) < MAX_SEGMENTS {
            return Err(OpenError::FewSegments(segments));
        }
        if longest < MAX_SEGMENT_LEN {
            return Err(OpenError::ShortSegments(longest));
        }
        if !properties.block_size.is_power_of_two() || properties.block_size < SECTOR {
            return Err(OpenError::BlockSize(properties.block_size));
        }
        if properties.sectors.checked_mul(SECTOR.into()).is_none() {
            return Err(OpenError::Capacity(properties.sectors));
        }
        Ok(properties)
    }

    /// Prepares a request, with the data in `segments`, at most [`MAX_SEGMENTS`] and none of them empty, and returns its
    /// slot. [`Self::publish`] shows it to the device.
    ///
    /// # Errors
    /// [`Unfit`], also if a segment is `None`: the device then gets none of them.
    pub fn submit(
        &mut self,
        command: Command,
        segments: impl Iterator<Item = Option<Segment>>,
    ) -> Result<usize, Unfit> {
        let mut chain = self.queue.begin().ok_or(Unfit)?;
        let slot = chain.id();
        let (kind, sector) = match command {
            Command::Read(sector) => (IN, sector),
            Command::Write(sector) => (OUT, sector),
            Command::Flush => (T_FLUSH, 0),
            Command::Discard { .. } => (T_DISCARD, 0),
            Command::WriteZeroes { .. } => (T_WRITE_ZEROES, 0),
        };
        let [head, place] = &self.headers[slot];
        head.store(kind.into(), Relaxed);
        place.store(sector, Relaxed);
        self.statuses[slot].store(S_NONE, Relaxed);
        let at = |base: u64, size: u32| Segment { paddr: base + slot as u64 * u64::from(size), len: size };

        chain.read(at(self.headers_paddr, 16))?;
        let mut expected = 1;
        match command {
            Command::Read(_) => {
                for segment in segments {
                    let segment = segment.ok_or(Unfit)?;
                    chain.write(segment)?;
                    expected += segment.len;
                }
            }
            Command::Write(_) => {
                for segment in segments {
                    chain.read(segment.ok_or(Unfit)?)?;
                }
            }
            Command::Flush => {}
            Command::Discard { sector, count } => {
                store_range(&self.ranges[slot], sector, count, 0);
                chain.read(at(self.ranges_paddr, 16))?;
            }
            Command::WriteZeroes { sector, count, unmap } => {
                store_range(&self.ranges[slot], sector, count, if unmap { UNMAP } else { 0 });
                chain.read(at(self.ranges_paddr, 16))?;
            }
        }
        chain.write(at(self.statuses_paddr, 1))?;
        chain.submit();
        self.expected[slot] = expected;
        Ok(slot)
    }

    /// Shows the device what was submitted.
    pub fn publish(&mut self) {
        if self.queue.publish() {
            self.device.notify(QUEUE);
        }
    }

    /// The next request that the device is done with.
    ///
    /// # Errors
    /// [`Broken`]: see [`Self::restart`].
    pub fn complete(&mut self) -> Result<Option<(usize, Status)>, Broken> {
        let Some(completion) = self.queue.pop()? else { return Ok(None) };
        let slot = completion.id;
        let status = match self.statuses[slot].load(Relaxed) {
            S_OK if completion.written >= self.expected[slot] => Status::Done,
            S_UNSUPPORTED => Status::Unsupported,
            _ => Status::Failed,
        };
        Ok(Some((slot, status)))
    }

    /// Asks for no interrupt until [`Self::sleep`].
    pub fn quiet(&mut self) {
        self.queue.quiet();
    }

    /// Asks for an interrupt when the device is done with a request. `false` if it is with one already, or is broken: then
    /// no interrupt may come.
    pub fn sleep(&mut self) -> bool {
        self.queue.sleep()
    }

    /// Acknowledges the device's interrupt. A device that needs a reset gets it by [`Self::restart`].
    pub fn interrupted(&mut self) -> Cause {
        self.device.interrupted()
    }

    /// Resets the device and sets it to work again. It has then forgotten every request that was under way, and touches no
    /// memory for them.
    ///
    /// # Errors
    /// [`OpenError::Device`] with [`Error::Reset`]: nothing is known of the requests under way. With other errors they are
    /// forgotten. In both cases the disk is of no more use.
    pub fn restart(&mut self) -> Result<(), OpenError> {
        match self.begin() {
            Ok(properties) if properties == self.properties => Ok(()),
            // Another disk than the clients know.
            Ok(properties) => {
                self.device.reset()?;
                Err(OpenError::Capacity(properties.sectors))
            }
            Err(error) => Err(error),
        }
    }
}

/// Writes a `virtio_blk_discard_write_zeroes` (5.2.6).
fn store_range(range: &[AtomicU32; 4], sector: u64, count: u32, flags: u32) {
    for (cell, word) in range.iter().zip([sector as u32, (sector >> 32) as u32, count, flags]) {
        cell.store(word, Relaxed);
    }
}

impl<R: Registers> Sectors for Disk<'_, R> {
    fn sectors(&self) -> u64 {
        self.properties.sectors
    }

    fn block_size(&self) -> u32 {
        self.properties.block_size
    }

    /// Waits for the device without sleeping: for use before the clients are served.
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let len = buffer.len().min(BUFFER) as u32;
        let segment = Segment { paddr: self.buffer_paddr, len };
        self.submit(Command::Read(sector), [Some(segment)].into_iter()).map_err(|_| ReadError::Failed)?;
        self.publish();
        for _ in 0..PATIENCE {
            match self.complete() {
                Ok(None) => spin_loop(),
                Ok(Some((_, Status::Done))) => {
                    for (bytes, word) in buffer.chunks_mut(size_of::<u64>()).zip(self.buffer) {
                        let word = word.load(Relaxed).to_ne_bytes();
                        bytes.iter_mut().zip(word).for_each(|(to, from)| *to = from);
                    }
                    return Ok(());
                }
                Ok(Some(_)) | Err(Broken) => return Err(ReadError::Failed),
            }
        }
        Err(ReadError::NoAnswer)
    }
}
