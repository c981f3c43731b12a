// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The console device (virtio 1.2, 5.3) with one port, over a [`queue::serial`] link of its own.

use super::chain::Chain;
use super::{CONFIG_SIZE, DeviceError, Lazy, Queues, VirtioDevice, config_space};
use crate::memory::GuestMemory;
use core::mem::take;
use queue::serial::Client;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// `VIRTIO_CONSOLE_F_SIZE` (5.3.3).
const SIZE: u64 = 1 << 0;
/// Bytes that are copied at once: a multiple of what a word of the link carries.
const PIECE: usize = 63;
/// Most pieces that are sent in one run.
const RUN_PIECES: usize = 1024;

/// The size of a console in characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// Characters of a row.
    pub columns: u16,
    /// Number of rows.
    pub rows: u16,
}

/// The console device.
pub struct Console {
    link: Client<'static>,
    size: Size,
    /// What was typed and the guest has not yet taken.
    typed: heapless::Vec<u8, PIECE>,
    /// Output that waits for room.
    waiting: Option<Waiting>,
    /// The driver is still to be told of the size.
    announce: bool,
}

/// A chain that has been sent in part.
struct Waiting {
    chain: Chain,
    sent: u64,
}

impl Console {
    /// The device whose output goes to `link`, and whose input comes from there.
    #[must_use]
    pub const fn new(link: Client<'static>, size: Size) -> Self {
        Self { link, size, typed: heapless::Vec::new(), waiting: None, announce: false }
    }

    /// Gives the guest what was typed.
    fn receive<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        loop {
            if self.typed.is_empty() {
                let mut piece = [0; PIECE];
                let count = self.link.read(&mut piece)?;
                // As long as the piece, so it fits.
                let _ = self.typed.extend_from_slice(piece.get(..count).unwrap_or(&[]));
            }
            if self.typed.is_empty() {
                return Ok(());
            }
            if queues.take(RECEIVE, None)? {
                let count = queues.chain.write(queues.memory, 0, &self.typed)?;
                self.typed.rotate_left(count);
                self.typed.truncate(self.typed.len() - count);
                queues.give_back(RECEIVE, queues.chain.head(), count as u32)?;
            } else if !queues.sleep(RECEIVE)? {
                return Ok(());
            }
        }
    }

    /// Sends what the guest has written.
    fn transmit<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        let mut pieces = RUN_PIECES;
        if let Some(waiting) = &mut self.waiting {
            let Waiting { chain, sent } = waiting;
            if !send(&mut self.link, queues.memory, chain, sent, &mut pieces)? {
                return again_if(pieces == 0, queues);
            }
            queues.give_back(TRANSMIT, chain.head(), 0)?;
            self.waiting = None;
        }
        loop {
            while queues.take(TRANSMIT, None)? {
                let mut sent = 0;
                if !send(&mut self.link, queues.memory, queues.chain, &mut sent, &mut pieces)? {
                    self.waiting = Some(Waiting { chain: queues.chain.clone(), sent });
                    queues.suppress(TRANSMIT)?;
                    return again_if(pieces == 0, queues);
                }
                queues.give_back(TRANSMIT, queues.chain.head(), 0)?;
            }
            if !queues.sleep(TRANSMIT)? {
                return Ok(());
            }
        }
    }

    fn exchange<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        self.receive(queues)?;
        self.transmit(queues)
    }
}

fn again_if<M: GuestMemory>(condition: bool, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
    if condition {
        queues.run_again();
    }
    Ok(())
}

/// Sends the readable bytes of `chain` from `sent` on: false if the link takes no more now, or `pieces` are used up.
fn send(
    link: &mut Client<'_>,
    memory: &impl GuestMemory,
    chain: &Chain,
    sent: &mut u64,
    pieces: &mut usize,
) -> Result<bool, DeviceError> {
    while *sent < chain.readable_len() {
        let Some(left) = pieces.checked_sub(1) else { return Ok(false) };
        *pieces = left;
        let mut piece = [0; PIECE];
        let count = chain.read(memory, *sent, &mut piece)?;
        let taken = link.write(piece.get(..count).unwrap_or(&[]))?;
        *sent += taken as u64;
        if taken < count {
            return Ok(false);
        }
    }
    Ok(true)
}

impl VirtioDevice for Console {
    fn id(&self) -> u32 {
        3
    }

    fn features(&self) -> u64 {
        SIZE
    }

    fn queues(&self) -> usize {
        2
    }

    /// 5.3.4.
    fn config(&self) -> [u8; CONFIG_SIZE] {
        config_space(&[
            (0, &self.size.columns.to_le_bytes()),
            (2, &self.size.rows.to_le_bytes()),
            (4, &1_u32.to_le_bytes()),
        ])
    }

    /// Linux's driver reads the size only when it is told of a change, so it is told once (5.3.5).
    fn start(&mut self, features: u64) {
        self.announce = features & SIZE != 0;
    }

    fn run<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        self.exchange(queues)?;
        if !self.link.sleep() {
            self.exchange(queues)?;
            let awake = !self.link.sleep();
            // Input that the guest has no room for is no reason: the guest tells when it has.
            let output = self.waiting.is_some() && self.link.free()? > 0;
            if awake && (self.typed.is_empty() || output) {
                queues.run_again();
            }
        }
        Ok(())
    }

    fn take_back(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reset_queue(&mut self, queue: usize) {
        if queue == TRANSMIT {
            self.waiting = None;
        }
    }

    fn under_way(&self, _queue: usize) -> usize {
        0
    }

    fn config_changed(&mut self) -> bool {
        take(&mut self.announce)
    }

    fn wake_wanted(&mut self) -> bool {
        self.link.wake_wanted()
    }

    /// Linux writes sixteen bytes at a time, and spins until it has them back.
    fn lazy_queue(&self) -> Option<(usize, Lazy)> {
        Some((TRANSMIT, Lazy::Signals))
    }
}

#[cfg(test)]
mod tests;
