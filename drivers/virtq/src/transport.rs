// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The virtio-mmio transport, version 2 (virtio 1.2, 4.2), and a device's life over it (3.1).

use crate::queue::{Addresses, Queue};
use core::fmt;
use core::hint::spin_loop;
use core::ops::BitOr;

/// Size of a device's registers, configuration included.
pub(crate) const REGISTERS_SIZE: usize = 0x200;

const MAGIC: usize = 0x00;
const VERSION: usize = 0x04;
const DEVICE_ID: usize = 0x08;
const DEVICE_FEATURES: usize = 0x10;
const DEVICE_FEATURES_SELECT: usize = 0x14;
const DRIVER_FEATURES: usize = 0x20;
const DRIVER_FEATURES_SELECT: usize = 0x24;
const QUEUE_SELECT: usize = 0x30;
const QUEUE_SIZE_MAX: usize = 0x34;
const QUEUE_SIZE: usize = 0x38;
const QUEUE_READY: usize = 0x44;
const QUEUE_NOTIFY: usize = 0x50;
const INTERRUPT_STATUS: usize = 0x60;
const INTERRUPT_ACKNOWLEDGE: usize = 0x64;
const STATUS: usize = 0x70;
const QUEUE_DESCRIPTORS: usize = 0x80;
const QUEUE_DRIVER: usize = 0x90;
const QUEUE_DEVICE: usize = 0xa0;
const CONFIG_GENERATION: usize = 0xfc;
const CONFIG: usize = 0x100;

/// "virt".
const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"virt");
/// 2.1.
const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;
const NEEDS_RESET: u32 = 64;

/// In the interrupt status (4.2.2).
const CONFIG_CHANGED: u32 = 2;

/// How often a register is read while the driver waits for the device.
const PATIENCE: u32 = 1_000_000;

/// The registers of a device. Accesses are of 32 bits, at multiples of four below 0x200.
pub trait Registers {
    /// Reads the register at `offset`.
    fn read(&self, offset: usize) -> u32;
    /// Writes the register at `offset`.
    fn write(&mut self, offset: usize, value: u32);
}

/// Feature bits (virtio 1.2, 6 and each device's section).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Features(pub u64);

impl Features {
    /// Chains may be in indirect tables.
    pub const INDIRECT_DESC: Self = Self(1 << 28);
    /// Either side says at which index it wants to be told.
    pub const EVENT_IDX: Self = Self(1 << 29);
    /// The device keeps to virtio 1.0 and later.
    pub const VERSION_1: Self = Self(1 << 32);

    /// Whether all of `other` are there.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why a device cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Error {
    /// No virtio-mmio device has its registers there.
    NoRegisters,
    /// The registers are those of a legacy device.
    Legacy,
    /// The device is another one; 0 is none.
    OtherDevice(u32),
    /// The device does not come out of a reset.
    Reset,
    /// The device lacks these required features.
    Lacks(Features),
    /// The device does not accept a subset of its features.
    Features,
    /// The device does not have this queue.
    NoQueue(u32),
    /// The device's queue is smaller than the driver's.
    QueueTooSmall {
        /// The queue.
        index: u32,
        /// How many descriptors it may have.
        max: u32,
    },
    /// The device's configuration does not stay the same while it is read.
    Config,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRegisters => f.write_str("no virtio-mmio registers; remedy: check the region `registers`"),
            Self::Legacy => {
                f.write_str("a legacy device; remedy: start QEMU with `-global virtio-mmio.force-legacy=false`")
            }
            Self::OtherDevice(0) => f.write_str("no device at these registers; remedy: check QEMU's `bus=`"),
            Self::OtherDevice(id) => write!(f, "a device of another kind (virtio device ID {id}) at these registers"),
            Self::Reset => f.write_str("the device does not come out of its reset"),
            Self::Lacks(Features(bits)) => write!(f, "the device lacks the features {bits:#x}"),
            Self::Features => f.write_str("the device refuses the features that it offers"),
            Self::NoQueue(index) => write!(f, "the device has no queue {index}"),
            Self::QueueTooSmall { index, max } => write!(f, "queue {index} of the device has only {max} descriptors"),
            Self::Config => f.write_str("the device's configuration does not settle"),
        }
    }
}

impl core::error::Error for Error {}

/// Why a device interrupts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// It has used chains.
    Queues,
    /// Its configuration has changed. It may also have used chains.
    Config,
    /// It is not well, and must be reset (2.1.2).
    NeedsReset,
}

/// A device of a known kind.
pub struct Device<R> {
    registers: R,
    features: Features,
}

impl<R: Registers> Device<R> {
    /// The device with virtio's device ID `id` (virtio 1.2, 5) at `registers`, not yet touched.
    ///
    /// # Errors
    /// [`Error::NoRegisters`], [`Error::Legacy`], [`Error::OtherDevice`].
    pub fn new(registers: R, id: u32) -> Result<Self, Error> {
        if registers.read(MAGIC) != MAGIC_VALUE {
            return Err(Error::NoRegisters);
        }
        match (registers.read(DEVICE_ID), registers.read(VERSION)) {
            (found, _) if found != id => Err(Error::OtherDevice(found)),
            (_, 2) => Ok(Self { registers, features: Features(0) }),
            _ => Err(Error::Legacy),
        }
    }

    /// Resets the device and negotiates features: all of `required`, which includes [`Features::VERSION_1`] in any case,
    /// and those of `wanted` that the device has. Returns what was agreed on. Then follow [`Self::attach`] for each queue
    /// and [`Self::start`].
    ///
    /// # Errors
    /// [`Error::Reset`], [`Error::Lacks`], [`Error::Features`].
    pub fn negotiate(&mut self, required: Features, wanted: Features) -> Result<Features, Error> {
        let required = required | Features::VERSION_1;
        self.reset()?;
        self.registers.write(STATUS, ACKNOWLEDGE);
        self.registers.write(STATUS, ACKNOWLEDGE | DRIVER);
        let mut offered = 0;
        for half in 0..2 {
            self.registers.write(DEVICE_FEATURES_SELECT, half);
            offered |= u64::from(self.registers.read(DEVICE_FEATURES)) << (32 * half);
        }
        if !Features(offered).has(required) {
            return Err(Error::Lacks(Features(required.0 & !offered)));
        }
        let agreed = offered & (required | wanted).0;
        for half in 0..2 {
            self.registers.write(DRIVER_FEATURES_SELECT, half);
            self.registers.write(DRIVER_FEATURES, (agreed >> (32 * half)) as u32);
        }
        self.registers.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
        if self.registers.read(STATUS) & FEATURES_OK == 0 {
            return Err(Error::Features);
        }
        self.features = Features(agreed);
        Ok(self.features)
    }

    /// Resets the device. Afterwards it does not access memory.
    ///
    /// # Errors
    /// [`Error::Reset`]: it may still access what it was given.
    pub fn reset(&mut self) -> Result<(), Error> {
        self.registers.write(STATUS, 0);
        // 4.2.2.1: the reset is complete when the status reads zero.
        for _ in 0..PATIENCE {
            if self.registers.read(STATUS) == 0 {
                return Ok(());
            }
            spin_loop();
        }
        Err(Error::Reset)
    }

    /// Gives the device its queue `index`, emptied, between [`Self::negotiate`] and [`Self::start`].
    ///
    /// # Errors
    /// [`Error::NoQueue`], [`Error::QueueTooSmall`], or [`Error::Lacks`] where indirect tables were not agreed on and the
    /// queue has them.
    pub fn attach<const N: usize, const S: usize>(
        &mut self,
        index: u32,
        queue: &mut Queue<'_, N, S>,
    ) -> Result<(), Error> {
        if S > 1 && !self.features.has(Features::INDIRECT_DESC) {
            return Err(Error::Lacks(Features::INDIRECT_DESC));
        }
        queue.event_idx = self.features.has(Features::EVENT_IDX);
        queue.reset();
        self.registers.write(QUEUE_SELECT, index);
        match self.registers.read(QUEUE_SIZE_MAX) {
            0 => return Err(Error::NoQueue(index)),
            max if (max as usize) < N => return Err(Error::QueueTooSmall { index, max }),
            _ => {}
        }
        self.registers.write(QUEUE_SIZE, N as u32);
        let Addresses { descriptors, driver, device } = queue.addresses;
        for (register, address) in [(QUEUE_DESCRIPTORS, descriptors), (QUEUE_DRIVER, driver), (QUEUE_DEVICE, device)] {
            self.registers.write(register, address as u32);
            self.registers.write(register + 4, (address >> 32) as u32);
        }
        self.registers.write(QUEUE_READY, 1);
        Ok(())
    }

    /// Sets the device to work.
    pub fn start(&mut self) {
        self.registers.write(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Tells the device that its queue `index` has new chains.
    pub fn notify(&mut self, index: u32) {
        self.registers.write(QUEUE_NOTIFY, index);
    }

    /// Acknowledges what the device's interrupt was for.
    pub fn interrupted(&mut self) -> Cause {
        let cause = self.registers.read(INTERRUPT_STATUS);
        self.registers.write(INTERRUPT_ACKNOWLEDGE, cause);
        if cause & CONFIG_CHANGED == 0 {
            Cause::Queues
        } else if self.registers.read(STATUS) & NEEDS_RESET == 0 {
            Cause::Config
        } else {
            Cause::NeedsReset
        }
    }

    /// What `read` makes of the configuration, of which `read` gets the word at an offset, a multiple of four.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn config<T>(&self, read: impl Fn(&dyn Fn(usize) -> u32) -> T) -> Result<T, Error> {
        // 4.2.2.2: what was read is good if the generation has not changed meanwhile.
        for _ in 0..PATIENCE {
            let generation = self.registers.read(CONFIG_GENERATION);
            let value = read(&|offset| self.registers.read(CONFIG + offset));
            if self.registers.read(CONFIG_GENERATION) == generation {
                return Ok(value);
            }
        }
        Err(Error::Config)
    }
}
