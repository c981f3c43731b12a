// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The driver of a virtio source of entropy (virtio 1.2, 5.4), which keeps a supply for each client.
//!
//! Each word of entropy is given to one client once. If the source fails, the clients' rings run dry: they wait, and never
//! get anything weaker.

#![no_std]
#![forbid(unsafe_code)]

use config::MAX_CLIENTS;
use core::fmt;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use queue::rng;
use virtq::{Broken, Cause, Device, Dma, Error, Features, Ledger, NoMemory, Queue, Registers, Segment};

/// Virtio's device ID of a source of entropy.
const DEVICE_ID: u32 = 4;
/// Its only queue.
const QUEUE: u32 = 0;
/// How many words the source is asked for at once.
const WORDS: usize = 64;

/// Why the source cannot be used.
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

/// What came out of [`Server::serve`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pass {
    /// The clients that are to be notified: bit n is the n-th.
    pub wake: u64,
    /// The source has given more already: `serve` is to be called again.
    pub again: bool,
}

/// The driver's state.
pub struct Server<'a, R> {
    device: Device<R>,
    queue: Queue<'a, 1, 1>,
    buffer: &'a [AtomicU64],
    buffer_paddr: u64,
    /// `None`: no such client, or one that broke the rules of its ring.
    clients: [Option<rng::Server<'a>>; MAX_CLIENTS],
    /// Who gets the next word.
    turn: usize,
    /// The source broke its rules.
    is_broken: bool,
}

impl<'a, R: Registers> Server<'a, R> {
    /// The source at `registers`, set to work with memory from `dma`, less than a page, and `ledger`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(registers: R, dma: &mut Dma<'a>, ledger: &'a mut Ledger<1>) -> Result<Self, OpenError> {
        let mut device = Device::new(registers, DEVICE_ID)?;
        let mut queue = Queue::new(dma, ledger)?;
        let (buffer, buffer_paddr) = dma.take(WORDS, 64)?;
        device.negotiate(Features(0), Features::EVENT_IDX)?;
        device.attach(QUEUE, &mut queue)?;
        device.start();
        let clients = [const { None }; MAX_CLIENTS];
        Ok(Self { device, queue, buffer, buffer_paddr, clients, turn: 0, is_broken: false })
    }

    /// Lets client `index` have entropy.
    ///
    /// # Panics
    /// If `index` is not less than [`MAX_CLIENTS`].
    pub fn add(&mut self, index: usize, link: rng::Server<'a>) {
        self.clients[index] = Some(link);
    }

    /// Acknowledges the device's interrupt, before [`Self::serve`] is called for it.
    ///
    /// # Errors
    /// [`Broken`]: the source is used no more. Told once.
    pub fn interrupted(&mut self) -> Result<(), Broken> {
        if self.device.interrupted() != Cause::NeedsReset || self.is_broken {
            return Ok(());
        }
        self.is_broken = true;
        Err(Broken)
    }

    /// Deals out what the source has given, and asks it for more if some client has room.
    ///
    /// # Errors
    /// [`Broken`]: the source is used no more. Told once.
    pub fn serve(&mut self) -> Result<Pass, Broken> {
        if self.is_broken {
            return Ok(Pass { wake: 0, again: false });
        }
        let words = self.take();
        self.is_broken = words.is_err();
        let wake = self.deal(words?);
        if self.queue.free() > 0 && self.has_room() {
            self.ask();
        }
        Ok(Pass { wake, again: !self.queue.sleep() })
    }

    /// How many whole words the source has given.
    fn take(&mut self) -> Result<usize, Broken> {
        let Some(completion) = self.queue.pop()? else { return Ok(0) };
        // 5.4.6.2: at least a byte. One that gives nothing would be asked for ever.
        if completion.written == 0 { Err(Broken) } else { Ok(completion.written as usize / size_of::<u64>()) }
    }

    /// Gives one word after the other to the clients in turn. What nobody has room for is lost.
    fn deal(&mut self, words: usize) -> u64 {
        for word in self.buffer.iter().take(words) {
            // No word stays behind for another reader.
            let word = word.swap(0, Relaxed).to_le_bytes();
            for _ in 0..MAX_CLIENTS {
                let client = &mut self.clients[self.turn];
                self.turn = (self.turn + 1) % MAX_CLIENTS;
                match client.as_mut().map(|link| link.give(&word)) {
                    None | Some(Ok(0)) => {}
                    Some(Ok(_)) => break,
                    Some(Err(_)) => *client = None,
                }
            }
        }
        let wakes = |client: &mut Option<rng::Server<'_>>| client.as_mut().is_some_and(rng::Server::wake_wanted);
        (0..).zip(&mut self.clients).fold(0, |wake, (index, client)| wake | u64::from(wakes(client)) << index)
    }

    /// Whether some client has room; those that have none will tell when they do.
    fn has_room(&mut self) -> bool {
        let mut has_room = false;
        for client in &mut self.clients {
            if let Some(link) = client {
                match link.room() {
                    Ok(0) => has_room |= !link.sleep(),
                    Ok(_) => has_room = true,
                    Err(_) => *client = None,
                }
            }
        }
        has_room
    }

    /// Asks the source for entropy.
    fn ask(&mut self) {
        if let Some(mut chain) = self.queue.begin() {
            let segment = Segment { paddr: self.buffer_paddr, len: size_of_val(self.buffer) as u32 };
            if chain.write(segment).is_ok() {
                chain.submit();
            }
        }
        if self.queue.publish() {
            self.device.notify(QUEUE);
        }
    }
}
