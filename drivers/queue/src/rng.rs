// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! An entropy link: the driver keeps a ring full of random words, and the client takes what it needs.
//!
//! The ring takes half of the region; a word is handed out once.

use crate::{AtomicU64, Broken, Consumer, Producer, PushError, TooSmall, ring};

/// Size of the smallest region of a link, in bytes. It holds 256 words.
pub const MIN_SIZE: usize = 0x1000;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

fn ring_memory(region: &[AtomicU64]) -> Result<&[AtomicU64], TooSmall> {
    if region.len() < MIN_SIZE / WORD {
        return Err(TooSmall);
    }
    region.get(..(1 << region.len().ilog2()) / 2 + ring::HEADER).ok_or(TooSmall)
}

/// The client's end of a link.
pub struct Client<'a>(Consumer<'a, 1>);

impl<'a> Client<'a> {
    /// The client's end of the link in `region`, which both ends must hand over with the same length.
    ///
    /// # Errors
    /// [`TooSmall`]: less than [`MIN_SIZE`].
    pub fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        Ok(Self(Consumer::new(ring_memory(region)?)?))
    }

    /// Whether there is any entropy.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn is_empty(&self) -> Result<bool, Broken> {
        self.0.is_empty()
    }

    /// Fills `buffer` as far as there is entropy, and returns how many bytes that was.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let mut count = 0;
        for chunk in buffer.chunks_mut(WORD) {
            let Some([word]) = self.0.pop()? else { break };
            chunk.iter_mut().zip(word.to_le_bytes()).for_each(|(to, from)| *to = from);
            count += chunk.len();
        }
        Ok(count)
    }

    /// Asks to be woken when there is entropy. `false` if there is some already.
    pub fn sleep(&mut self) -> bool {
        self.0.sleep()
    }

    /// Whether the driver must be notified, for half of the ring is used up; asked after a batch of calls. `true` counts as
    /// told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        self.0.wake_wanted()
    }
}

/// The driver's end of a link.
pub struct Server<'a> {
    ring: Producer<'a, 1>,
    /// Whether the client has still to be asked whether it sleeps.
    gave: bool,
}

impl<'a> Server<'a> {
    /// The driver's end of the link in `region`: see [`Client::new`].
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        Ok(Self { ring: Producer::new(ring_memory(region)?)?, gave: false })
    }

    /// Number of bytes that [`Self::give`] takes now, a multiple of 8.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn room(&self) -> Result<usize, Broken> {
        Ok(self.ring.free()? * WORD)
    }

    /// Gives the whole words of `entropy`, as far as there is room: returns how many bytes that was.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn give(&mut self, entropy: &[u8]) -> Result<usize, Broken> {
        let (words, _) = entropy.as_chunks::<WORD>();
        let mut given = 0;
        for word in words {
            match self.ring.push(&[u64::from_le_bytes(*word)]) {
                Ok(()) => given += WORD,
                Err(PushError::Full) => break,
                Err(PushError::Broken) => return Err(Broken),
            }
        }
        self.gave |= given > 0;
        Ok(given)
    }

    /// Asks to be woken when half of the ring is used up. `false` if there is room already.
    pub fn sleep(&mut self) -> bool {
        self.ring.sleep()
    }

    /// Whether the client must be notified; asked after a batch of calls. `true` counts as told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        core::mem::take(&mut self.gave) && self.ring.wake_wanted()
    }
}
