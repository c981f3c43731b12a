// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Virtio 1.2 devices.
//!
//! A device model implements [`VirtioDevice`] and knows no transport. [`Function`] adds what every transport gives a
//! device: status, features, queues, causes of interrupts. A transport, of which [`mmio`] is the one there is, maps
//! registers onto that.
//!
//! Each run of a device does all there is to do in both directions, between its queues and the link to its driver domain,
//! and shows the guest the results at once. A run takes at most [`RUN_LIMIT`] chains; what is then left has one more run at the
//! end of each exit.

pub mod blk;
pub mod chain;
pub mod console;
pub mod device;
pub mod function;
pub mod mmio;
pub mod net;
pub mod ring;
pub mod rng;

pub use device::Device;
pub use function::{Function, Ignored};

use crate::memory::{GuestMemory, OutOfRange};
use chain::Chain;
use core::fmt;
use queue::Mark;
use ring::{Ring, RingError};

/// Most queues of a device.
pub const MAX_QUEUES: usize = 3;
/// Size of a device's configuration space, in bytes.
pub const CONFIG_SIZE: usize = 64;

/// What of a queue can wait after a kick, which more of them will follow: until the guest rests, or a millisecond or two.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lazy {
    /// The last chains, if they would interrupt the driver, which is in no hurry to get them back.
    Chains,
    /// Interrupts, because the driver looks for its chains by itself, and notifications of the driver domain.
    Signals,
}

/// Most chains that wait so: with so many, Linux does not ask for an interrupt as long as it sends.
const KEPT: u16 = 2;

/// Most chains that are taken in one run of a device.
pub const RUN_LIMIT: u16 = 2 * ring::MAX_SIZE;

/// Bits of the device status (2.1).
pub mod status {
    /// The driver has noticed the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The driver knows how to drive the device.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// The features are agreed.
    pub const FEATURES_OK: u8 = 8;
    /// The device cannot go on without a reset.
    pub const NEEDS_RESET: u8 = 0x40;
    /// The driver has given up.
    pub const FAILED: u8 = 0x80;
}

/// Features that do not depend on the kind of device (6).
pub mod feature {
    /// Indirect descriptor tables.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Event indices in the rings.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// Virtio 1.0 or later.
    pub const VERSION_1: u64 = 1 << 32;
    /// The device reaches memory as the platform says. Ours reach all RAM by its guest-physical addresses, so that it is only for
    /// guests that need it.
    pub const ACCESS_PLATFORM: u64 = 1 << 33;
    /// Single queues can be reset.
    pub const RING_RESET: u64 = 1 << 40;

    /// All that are always offered.
    pub const OFFERED: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1 | RING_RESET;
}

/// Why a device cannot go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeviceError {
    /// The guest's driver broke a rule of the queues.
    Ring(RingError),
    /// A block request is shorter than its header (5.2.6).
    BlockHeader,
    /// A block request has no room for its status (5.2.6).
    BlockStatus,
    /// The driver domain broke the rules of the link.
    Link,
}

impl From<RingError> for DeviceError {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl From<OutOfRange> for DeviceError {
    fn from(_: OutOfRange) -> Self {
        Self::Ring(RingError::BufferOutOfRange)
    }
}

impl From<queue::Broken> for DeviceError {
    fn from(_: queue::Broken) -> Self {
        Self::Link
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(error) => write!(f, "the guest's driver broke a rule: {error}"),
            Self::BlockHeader => f.write_str("the guest's driver broke a rule: a request is shorter than its header"),
            Self::BlockStatus => f.write_str("the guest's driver broke a rule: a request has no room for its status"),
            Self::Link => f.write_str("the driver domain broke the rules of the queues"),
        }
    }
}

impl core::error::Error for DeviceError {}

/// A device model.
pub trait VirtioDevice {
    /// The device id (5).
    fn id(&self) -> u32;

    /// The features of this kind of device that are offered.
    fn features(&self) -> u64;

    /// The number of queues, at most [`MAX_QUEUES`].
    fn queues(&self) -> usize;

    /// The configuration space.
    fn config(&self) -> [u8; CONFIG_SIZE];

    /// The driver has agreed to `features`.
    fn start(&mut self, features: u64);

    /// Does all there is to do. Called when the driver notifies, the link's other side does, and at the start; never
    /// before the driver is ready, nor after an error until the reset.
    ///
    /// # Errors
    /// [`DeviceError`]; the device then needs a reset.
    fn run<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError>;

    /// Takes back what comes from the driver domain while the driver is not ready. Neither this nor [`Self::run`] is called
    /// after a [`DeviceError::Link`].
    ///
    /// # Errors
    /// [`DeviceError::Link`].
    fn take_back(&mut self) -> Result<(), DeviceError>;

    /// Forgets the chains of `queue`. What is under way in the driver domain is no longer reported to the guest.
    fn reset_queue(&mut self, queue: usize);

    /// How much of `queue` is still under way in the driver domain, which may reach the guest's memory for it.
    fn under_way(&self, queue: usize) -> usize;

    /// Whether the configuration space has changed since this was last asked.
    fn config_changed(&mut self) -> bool;

    /// Whether the driver domain must be notified. `true` counts as told.
    fn wake_wanted(&mut self) -> bool;

    /// What the driver domain owes.
    fn owed(&mut self) -> Owed {
        Owed::Nothing
    }

    /// A queue of which something can wait after a kick.
    fn lazy_queue(&self) -> Option<(usize, Lazy)> {
        None
    }

    /// How often the device has dropped what it could not pass on, as a network device may.
    fn dropped(&self) -> u64 {
        0
    }
}

/// What a driver domain owes a device.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Owed {
    /// Nothing.
    #[default]
    Nothing,
    /// An answer.
    Answer,
    /// An answer that it owed already when this was last asked.
    Overdue,
}

impl Owed {
    /// What is owed for requests with these `marks`, if this was last asked at the mark `before`.
    fn since(before: Mark, marks: impl Iterator<Item = Mark>) -> Self {
        marks.map(|mark| if mark.is_before(before) { Self::Overdue } else { Self::Answer }).max().unwrap_or_default()
    }
}

/// How many chains a device has had of its driver. Each request is completed, forgotten, or still with the device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Chains that the device took.
    pub requests: u64,
    /// Those that it gave back.
    pub completions: u64,
    /// Those that it had when the driver reset it or their queue.
    pub forgotten: u64,
}

/// What a device's run works with.
pub struct Queues<'a, M> {
    /// The guest's RAM.
    pub memory: &'a mut M,
    /// The chain that was taken last.
    pub chain: &'a mut Chain,
    rings: [Option<&'a mut Ring>; MAX_QUEUES],
    left: u16,
    again: bool,
}

impl<'a, M: GuestMemory> Queues<'a, M> {
    /// A run that takes at most `limit` chains.
    fn new(memory: &'a mut M, chain: &'a mut Chain, rings: [Option<&'a mut Ring>; MAX_QUEUES], limit: u16) -> Self {
        Self { memory, chain, rings, left: limit, again: false }
    }

    fn ring(&mut self, queue: usize) -> Option<(&mut Ring, &mut M, &mut Chain)> {
        let ring = self.rings.get_mut(queue)?.as_deref_mut()?;
        Some((ring, self.memory, self.chain))
    }

    /// Takes the next chain of `queue` into [`Self::chain`], or `again` the one that begins there, and was taken before: false if
    /// there is none, or the run has had its share.
    ///
    /// # Errors
    /// [`RingError`], here and below.
    pub fn take(&mut self, queue: usize, again: Option<u16>) -> Result<bool, RingError> {
        if self.left == 0 && again.is_none() {
            return Ok(false);
        }
        let Some((ring, memory, chain)) = self.ring(queue) else { return Ok(false) };
        let taken = ring.take(memory, chain, again)?;
        self.left -= u16::from(taken && again.is_none());
        Ok(taken)
    }

    /// Gives a chain of `queue` back, of which `written` bytes were written.
    pub fn give_back(&mut self, queue: usize, head: u16, written: u32) -> Result<(), RingError> {
        match self.ring(queue) {
            Some((ring, memory, _)) => ring.give_back(memory, head, written),
            None => Ok(()),
        }
    }

    /// Leaves the last `count` chains of `queue` that were taken to be taken again.
    pub fn put_back(&mut self, queue: usize, count: u16) {
        if let Some((ring, _, _)) = self.ring(queue) {
            ring.put_back(count);
        }
    }

    /// Asks the driver to notify of the next chain of `queue`. True if there is one to be taken already.
    pub fn sleep(&mut self, queue: usize) -> Result<bool, RingError> {
        let Some((ring, memory, _)) = self.ring(queue) else { return Ok(false) };
        let more = ring.sleep(memory)?;
        if more && self.left == 0 {
            self.again = true;
            return Ok(false);
        }
        Ok(more)
    }

    /// Asks the driver not to notify of more chains of `queue`, for which there is no room now.
    pub fn suppress(&mut self, queue: usize) -> Result<(), RingError> {
        match self.ring(queue) {
            Some((ring, memory, _)) => ring.suppress(memory),
            None => Ok(()),
        }
    }

    /// The run ends before everything is done: another one is due.
    pub fn run_again(&mut self) {
        self.again = true;
    }
}

/// A configuration space of `fields`: offset and value.
fn config_space(fields: &[(usize, &[u8])]) -> [u8; CONFIG_SIZE] {
    let mut space = [0; CONFIG_SIZE];
    for (offset, value) in fields {
        space.iter_mut().skip(*offset).zip(*value).for_each(|(to, from)| *to = *from);
    }
    space
}

#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), expect(dead_code, reason = "the fuzzer needs less than the tests"))]
pub(crate) mod testing;
