// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A virtio network device (virtio 1.2, 5.1).

use crate::checksum::copy_and_complete;
use core::fmt;
use core::sync::atomic::AtomicU64;
use queue::cells;
use queue::net::{Checksum, EthernetHeader, FRAME_OFFSET, HEADER_LEN, MAX_FRAME, MAX_SEGMENTS};
use virtq::{Broken, Cause, Device, Dma, Error, Features, Ledger, NoMemory, Queue, Registers, Segment, TooLong};

/// Virtio's device ID of a network device.
const DEVICE_ID: u32 = 1;
/// Its queues (5.1.2).
const RECEIVE: u32 = 0;
const SEND: u32 = 1;
/// How many frames the device can have received and the driver not yet taken.
const RECEIVE_SLOTS: usize = 256;
/// How many frames the device sends at once.
pub(crate) const SEND_SLOTS: usize = 128;
/// Segments of a frame to send: what the driver has of it, and what is in a client's RAM.
const CHAIN: usize = 1 + MAX_SEGMENTS;

/// Features (5.1.3).
const CSUM: Features = Features(1 << 0);
const GUEST_CSUM: Features = Features(1 << 1);
const MTU: Features = Features(1 << 3);
const STATUS: Features = Features(1 << 16);
const WANTED: Features = Features(CSUM.0 | GUEST_CSUM.0 | MTU.0 | STATUS.0 | Features::EVENT_IDX.0);

/// Flags of a frame's header (5.1.6).
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// Bytes of that header.
const VIRTIO_HEADER: usize = 12;
/// Words of a buffer.
const BUFFER: usize = 256;
/// Where that header begins in a buffer: then the frame, behind it, is aligned as it is in the clients' buffers, and can be
/// copied in words.
const HEADER_AT: usize = 6;
const FRAME_AT: usize = HEADER_AT + VIRTIO_HEADER;
/// The word of a buffer that the client's buffers begin with.
const FRAME_WORD: usize = (FRAME_AT - FRAME_OFFSET) / size_of::<u64>();
/// The word that the payload begins at.
const PAYLOAD_WORD: usize = (FRAME_AT + HEADER_LEN) / size_of::<u64>();

/// Longest payload of a frame that the clients can send.
const MAX_MTU: u16 = 1500;

/// Why the NIC cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenError {
    /// The driver's memory does not suffice.
    NoMemory,
    /// The device cannot be used.
    Device(Error),
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
        }
    }
}

impl core::error::Error for OpenError {}

/// A frame from the network, until its buffer is given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub len: usize,
    pub checksum: Checksum,
    /// As a client's buffer of a received frame.
    pub buffer: &'a [AtomicU64],
}

/// What is sent behind the header.
pub(crate) enum Body<'a, I> {
    /// What these segments hold.
    Segments(I),
    /// So many bytes, from the start of this buffer.
    Copied(&'a [AtomicU64], usize),
}

/// What a NIC notes of the frames under way. It is not in the NIC itself, to keep that small enough for a stack.
#[derive(Debug)]
pub struct Notes {
    receive: Ledger<RECEIVE_SLOTS>,
    send: Ledger<SEND_SLOTS>,
}

impl Notes {
    /// Notes for one NIC.
    #[must_use]
    pub const fn new() -> Self {
        Self { receive: Ledger::new(), send: Ledger::new() }
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self::new()
    }
}

/// The device.
pub struct Nic<'a, R> {
    device: Device<R>,
    receive: Queue<'a, RECEIVE_SLOTS, 1>,
    send: Queue<'a, SEND_SLOTS, CHAIN>,
    receive_buffers: &'a [[AtomicU64; BUFFER]],
    receive_paddr: u64,
    send_buffers: &'a [[AtomicU64; BUFFER]],
    send_paddr: u64,
    features: Features,
}

impl<'a, R: Registers> Nic<'a, R> {
    /// The NIC at `registers`, set to work with memory from `dma`, about 800 KiB.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(registers: R, dma: &mut Dma<'a>, notes: &'a mut Notes) -> Result<Self, OpenError> {
        let device = Device::new(registers, DEVICE_ID)?;
        let receive = Queue::new(dma, &mut notes.receive)?;
        let send = Queue::new(dma, &mut notes.send)?;
        let (receive_buffers, receive_paddr) = dma.take(RECEIVE_SLOTS, size_of::<[AtomicU64; BUFFER]>())?;
        let (send_buffers, send_paddr) = dma.take(SEND_SLOTS, size_of::<[AtomicU64; BUFFER]>())?;
        let features = Features(0);
        let mut nic =
            Self { device, receive, send, receive_buffers, receive_paddr, send_buffers, send_paddr, features };
        nic.restart()?;
        Ok(nic)
    }

    /// Resets the device and sets it to work again. It has then forgotten every frame that it was to send.
    ///
    /// # Errors
    /// [`Error`]. With [`Error::Reset`], nothing is known of the frames that it was to send.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.features = self.device.negotiate(Features::INDIRECT_DESC, WANTED)?;
        self.device.attach(RECEIVE, &mut self.receive)?;
        self.device.attach(SEND, &mut self.send)?;
        self.device.start();
        self.refill();
        self.receive.sleep();
        Ok(())
    }

    /// Longest payload of a frame.
    pub(crate) fn mtu(&self) -> u16 {
        let mtu = self.device.config(|word| word(8) >> 16).map_or(MAX_MTU, |mtu| mtu as u16);
        if self.features.has(MTU) { mtu.min(MAX_MTU) } else { MAX_MTU }
    }

    /// Whether there is a network to send to.
    pub(crate) fn is_up(&self) -> bool {
        // The status follows the six bytes of the address.
        !self.features.has(STATUS) || self.device.config(|word| word(4) >> 16 & 1) == Ok(1)
    }

    /// Whether the device completes checksums.
    pub(crate) fn completes_checksums(&self) -> bool {
        self.features.has(CSUM)
    }

    /// Acknowledges the device's interrupt.
    pub(crate) fn interrupted(&mut self) -> Cause {
        self.device.interrupted()
    }

    /// The next frame from the network and its header, or `None` in their place for what is none. The buffers are given back by
    /// [`Self::refill`].
    pub(crate) fn arrival(&mut self) -> Result<Option<Option<(EthernetHeader, Arrival<'a>)>>, Broken> {
        let Some(completion) = self.receive.pop()? else { return Ok(None) };
        let len = (completion.written as usize).saturating_sub(VIRTIO_HEADER);
        let buffer = self.receive_buffers.get(completion.id).filter(|_| (HEADER_LEN..=MAX_FRAME).contains(&len));
        Ok(Some(buffer.map(|buffer| {
            let mut bytes = [0; VIRTIO_HEADER];
            cells::read(buffer, HEADER_AT, &mut bytes);
            let mut header = EthernetHeader::default();
            cells::read(buffer, FRAME_AT, &mut header.0);
            let [flags, _, _, _, _, _, start0, start1, offset0, offset1, ..] = bytes;
            let checksum = if flags & NEEDS_CSUM != 0 {
                let (start, offset) = (u16::from_le_bytes([start0, start1]), u16::from_le_bytes([offset0, offset1]));
                Checksum::Partial { start, offset }
            } else if flags & DATA_VALID != 0 {
                Checksum::Verified
            } else {
                Checksum::Unknown
            };
            (header, Arrival { len, checksum, buffer: buffer.get(FRAME_WORD..).unwrap_or(&[]) })
        })))
    }

    /// Gives the device every buffer that it has not got, for frames from the network. What [`Self::arrival`] returned is
    /// not valid after that.
    pub(crate) fn refill(&mut self) {
        while let Some(mut chain) = self.receive.begin() {
            let buffer = self.receive_paddr + (chain.id() * size_of::<[AtomicU64; BUFFER]>()) as u64;
            let len = size_of::<[AtomicU64; BUFFER]>() - HEADER_AT;
            if chain.write(Segment { paddr: buffer + HEADER_AT as u64, len: len as u32 }).is_err() {
                break;
            }
            chain.submit();
        }
        if self.receive.publish() {
            self.device.notify(RECEIVE);
        }
    }

    /// Prepares a frame, and returns its slot; `None` if the device sends as many as it can, or there are too many segments.
    /// [`Self::publish`] shows it to the device. The checksum of a body in segments is completed only by a device that can.
    pub(crate) fn send<I: Iterator<Item = Segment>>(
        &mut self,
        header: &EthernetHeader,
        checksum: Checksum,
        body: Body<'_, I>,
    ) -> Option<usize> {
        let mut chain = self.send.begin()?;
        let slot = chain.id();
        let buffer = self.send_buffers.get(slot)?;
        let mut bytes = [0; VIRTIO_HEADER + HEADER_LEN];
        let (virtio, ethernet) = bytes.split_at_mut(VIRTIO_HEADER);
        ethernet.copy_from_slice(&header.0);
        if let Checksum::Partial { start, offset } = checksum
            && self.features.has(CSUM)
        {
            let ([start0, start1], [offset0, offset1]) = (start.to_le_bytes(), offset.to_le_bytes());
            virtio.copy_from_slice(&[NEEDS_CSUM, 0, 0, 0, 0, 0, start0, start1, offset0, offset1, 0, 0]);
        }
        cells::write(buffer, HEADER_AT, &bytes);

        let mut first = |copied: usize| -> Result<(), TooLong> {
            let paddr = self.send_paddr + (slot * size_of::<[AtomicU64; BUFFER]>() + HEADER_AT) as u64;
            chain.read(Segment { paddr, len: (bytes.len() + copied) as u32 })
        };
        match body {
            Body::Copied(payload, len) => {
                let buffer = buffer.get(PAYLOAD_WORD..)?;
                match checksum {
                    Checksum::Partial { start, offset } if !self.features.has(CSUM) => {
                        let start = usize::from(start).checked_sub(HEADER_LEN)?;
                        copy_and_complete(payload, buffer, start, len, start + usize::from(offset));
                    }
                    _ => cells::copy(payload, buffer, len),
                }
                first(len).ok()?;
            }
            Body::Segments(segments) => {
                first(0).ok()?;
                for segment in segments {
                    chain.read(segment).ok()?;
                }
            }
        }
        chain.submit();
        Some(slot)
    }

    /// Shows the device what is to be sent.
    pub(crate) fn publish(&mut self) {
        if self.send.publish() {
            self.device.notify(SEND);
        }
    }

    /// The slot of the next frame that the device has sent.
    pub(crate) fn sent(&mut self) -> Result<Option<usize>, Broken> {
        Ok(self.send.pop()?.map(|completion| completion.id))
    }

    /// Asks for no interrupt until one of the following.
    pub(crate) fn quiet(&mut self) {
        self.receive.quiet();
        self.send.quiet();
    }

    /// Asks for an interrupt when there is a frame from the network. `false` if there is one already, or the device is
    /// broken: then no interrupt may come.
    pub(crate) fn sleep_for_arrivals(&mut self) -> bool {
        self.receive.sleep()
    }

    /// Asks for an interrupt when the device has sent most of what it has. `false` as above.
    pub(crate) fn sleep_for_sent(&mut self) -> bool {
        let under_way = (SEND_SLOTS - self.send.free()) as u16;
        self.send.sleep_for(under_way / 4 * 3)
    }
}
