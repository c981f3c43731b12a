// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The entropy device (virtio 1.2, 5.4), fed over a [`queue::rng`] link.
//!
//! Where the driver domain has nothing to give yet, the guest's request waits: it never gets anything else.

use super::{CONFIG_SIZE, DeviceError, Owed, Queues, VirtioDevice};
use crate::memory::GuestMemory;
use core::mem::replace;
use queue::rng::Client;

/// The only queue.
const QUEUE: usize = 0;
/// Bytes that are copied at once: a multiple of the link's words.
const PIECE: usize = 64;

/// The entropy device.
pub struct Rng {
    link: Client<'static>,
    /// It had no entropy when [`VirtioDevice::owed`] was last asked, and has had none since.
    starves: bool,
}

impl Rng {
    /// The device that `link` feeds.
    #[must_use]
    pub const fn new(link: Client<'static>) -> Self {
        Self { link, starves: false }
    }

    /// A word of entropy, if there is one. The driver may then have to be woken.
    pub fn word(&mut self) -> Option<u64> {
        let mut word = [0; 8];
        // A broken link has none; a request will tell.
        let taken = self.link.take(&mut word) == Ok(word.len());
        self.starves &= !taken;
        taken.then(|| u64::from_le_bytes(word))
    }

    /// Answers requests for as long as there are some and there is entropy.
    fn answer<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        loop {
            while !self.link.is_empty()? && queues.take(QUEUE, None)? {
                let written = self.fill(queues)?;
                queues.give_back(QUEUE, queues.chain.head(), written)?;
            }
            if self.link.is_empty()? {
                return Ok(queues.suppress(QUEUE)?);
            }
            if !queues.sleep(QUEUE)? {
                return Ok(());
            }
        }
    }

    /// Fills the chain as far as there is entropy, at least with a byte if it has room for one.
    fn fill<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<u32, DeviceError> {
        let mut written = 0;
        loop {
            let left = queues.chain.writable_len().saturating_sub(written);
            let mut piece = [0; PIECE];
            let wanted = piece.get_mut(..left.min(PIECE as u64) as usize).unwrap_or(&mut []);
            let count = self.link.take(wanted)?;
            if count == 0 {
                return Ok(written as u32);
            }
            self.starves = false;
            queues.chain.write(queues.memory, written, piece.get(..count).unwrap_or(&[]))?;
            written += count as u64;
        }
    }
}

impl VirtioDevice for Rng {
    fn id(&self) -> u32 {
        4
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> usize {
        1
    }

    fn config(&self) -> [u8; CONFIG_SIZE] {
        [0; CONFIG_SIZE]
    }

    fn start(&mut self, _features: u64) {}

    fn run<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        self.answer(queues)?;
        // With entropy left, the driver domain is not needed: the next request comes from the guest.
        if self.link.is_empty()? && !self.link.sleep() {
            self.answer(queues)?;
            if self.link.is_empty()? && !self.link.sleep() {
                queues.run_again();
            }
        }
        Ok(())
    }

    fn take_back(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn reset_queue(&mut self, _queue: usize) {}

    fn under_way(&self, _queue: usize) -> usize {
        0
    }

    fn config_changed(&mut self) -> bool {
        false
    }

    fn owed(&mut self) -> Owed {
        let starves = self.link.is_empty() == Ok(true);
        match (starves, replace(&mut self.starves, starves)) {
            (false, _) => Owed::Nothing,
            (true, false) => Owed::Answer,
            (true, true) => Owed::Overdue,
        }
    }

    fn wake_wanted(&mut self) -> bool {
        self.link.wake_wanted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::Device;
    use crate::virtio::testing::{DATA, Guest, SLOT, reg, region};
    use queue::rng::{MIN_SIZE, Server};

    fn working() -> (Guest, Server<'static>) {
        let region = region(MIN_SIZE);
        let (client, server) = (Client::new(region).unwrap(), Server::new(region).unwrap());
        let mut guest = Guest::new(Device::Rng(Rng::new(client)));
        guest.bring_up(0, 1);
        (guest, server)
    }

    #[test]
    fn a_request_gets_what_there_is_and_each_byte_once() {
        let (mut guest, mut server) = working();
        assert_eq!(guest.read(reg::DEVICE_ID), 4);
        let entropy: Vec<u8> = (0..=255).collect();
        server.give(&entropy).unwrap();
        let head = guest.offer(0, &[(DATA, 50, true), (DATA + 0x100, 100, true)]);
        guest.offer(0, &[(DATA + 0x200, 500, true)]);
        guest.notify(0);
        assert_eq!(guest.used(0), Some((head, 150)));
        assert_eq!(guest.used(0).unwrap().1, 104, "all that is left; two bytes of a word were not used");
        assert_eq!(guest.bytes(DATA, 50), &entropy[..50]);
        assert_eq!(guest.bytes(DATA + 0x100, 100), &entropy[50..150]);
        assert_eq!(guest.bytes(DATA + 0x200, 105), [&entropy[152..], &[0]].concat());
        assert_eq!(guest.interrupt(), 1);
    }

    #[test]
    fn without_entropy_the_guest_waits() {
        let (mut guest, mut server) = working();
        guest.offer(0, &[(DATA, 16, true)]);
        guest.notify(0);
        assert_eq!((guest.used(0), guest.changes.line), (None, false));
        server.give(&[7; 16]).unwrap();
        assert!(server.wake_wanted());
        guest.notified();
        assert_eq!((guest.used(0).unwrap().1, guest.bytes(DATA, 16)), (16, &[7; 16][..]));
    }

    /// A driver domain that has nothing to give is told of once, from the second look on, and again after it gave something.
    #[test]
    fn entropy_that_is_owed_for_long_is_told_once() {
        let (mut guest, mut server) = working();
        let looks = |guest: &mut Guest| [(); 3].map(|()| guest.slots.owed(SLOT));
        assert_eq!(looks(&mut guest), [Owed::Answer, Owed::Overdue, Owed::Answer]);
        server.give(&[7; 16]).unwrap();
        assert_eq!(looks(&mut guest), [Owed::Nothing; 3]);
        assert_eq!(guest.slots.owed(SLOT), Owed::Nothing);
        guest.offer(0, &[(DATA, 16, true)]);
        guest.notify(0);
        assert_eq!(looks(&mut guest), [Owed::Answer, Owed::Overdue, Owed::Answer]);
        // Given and used up between two looks: no look has seen it.
        server.give(&[7; 16]).unwrap();
        guest.offer(0, &[(DATA, 16, true)]);
        guest.notify(0);
        assert_eq!(looks(&mut guest), [Owed::Answer, Owed::Overdue, Owed::Answer]);
    }

    #[test]
    fn the_driver_is_woken_when_half_is_used_up() {
        let (mut guest, mut server) = working();
        server.give(&[1; 2048]).unwrap();
        assert!(server.sleep());
        for (len, woken) in [(1016, false), (8, true), (8, false)] {
            guest.offer(0, &[(DATA, len, true)]);
            guest.notify(0);
            assert_eq!(guest.changes.notify, woken, "{len}");
        }
    }

    #[test]
    fn a_request_without_room_is_given_back() {
        let (mut guest, mut server) = working();
        server.give(&[1; 64]).unwrap();
        let head = guest.offer(0, &[(DATA, 16, false)]);
        guest.notify(0);
        assert_eq!(guest.used(0), Some((head, 0)));
    }
}
