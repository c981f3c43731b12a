// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The transport over memory-mapped registers, version 2 (virtio 1.2, 4.2).
//!
//! Reading a register has no effect, so all that can be read is kept in the *register page*, which the guest may map
//! read-only: then only writes exit. Where it does not, a read exits and is answered from the page all the same.

use super::chain::Chain;
use super::function::{Area, Function, Ignored, cause};
use super::rng::Rng;
use super::{CONFIG_SIZE, Counts, Device, DeviceError, Lazy, Owed, VirtioDevice};
use crate::VcpuId;
use crate::exit::Width;
use crate::fdt::{Full, Interrupt, Tree};
use crate::life::Lifecycle;
use crate::map::{self, Range, VIRTIO_SLOT_SIZE, VIRTIO_SLOTS};
use crate::memory::GuestMemory;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

/// Words of the register page.
pub const PAGE_WORDS: usize = map::VIRTIO.size as usize / size_of::<u32>();

const SLOT_WORDS: usize = VIRTIO_SLOT_SIZE as usize / size_of::<u32>();
const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
const VENDOR: u32 = u32::from_le_bytes(*b"seL4");
/// Offset of the configuration space.
const CONFIG: u64 = 0x100;

/// The registers by their offsets (4.2.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Register {
    MagicValue = 0x000,
    Version = 0x004,
    DeviceId = 0x008,
    VendorId = 0x00c,
    DeviceFeatures = 0x010,
    DeviceFeaturesSel = 0x014,
    DriverFeatures = 0x020,
    DriverFeaturesSel = 0x024,
    QueueSel = 0x030,
    QueueSizeMax = 0x034,
    QueueSize = 0x038,
    QueueReady = 0x044,
    QueueNotify = 0x050,
    InterruptStatus = 0x060,
    InterruptAck = 0x064,
    Status = 0x070,
    QueueDescLow = 0x080,
    QueueDescHigh = 0x084,
    QueueDriverLow = 0x090,
    QueueDriverHigh = 0x094,
    QueueDeviceLow = 0x0a0,
    QueueDeviceHigh = 0x0a4,
    ShmSel = 0x0ac,
    ShmLenLow = 0x0b0,
    ShmLenHigh = 0x0b4,
    ShmBaseLow = 0x0b8,
    ShmBaseHigh = 0x0bc,
    QueueReset = 0x0c0,
    ConfigGeneration = 0x0fc,
}

impl Register {
    /// Every register, and whether it can be read.
    const ALL: [(Self, bool); 29] = [
        (Self::MagicValue, true),
        (Self::Version, true),
        (Self::DeviceId, true),
        (Self::VendorId, true),
        (Self::DeviceFeatures, true),
        (Self::DeviceFeaturesSel, false),
        (Self::DriverFeatures, false),
        (Self::DriverFeaturesSel, false),
        (Self::QueueSel, false),
        (Self::QueueSizeMax, true),
        (Self::QueueSize, false),
        (Self::QueueReady, true),
        (Self::QueueNotify, false),
        (Self::InterruptStatus, true),
        (Self::InterruptAck, false),
        (Self::Status, true),
        (Self::QueueDescLow, false),
        (Self::QueueDescHigh, false),
        (Self::QueueDriverLow, false),
        (Self::QueueDriverHigh, false),
        (Self::QueueDeviceLow, false),
        (Self::QueueDeviceHigh, false),
        (Self::ShmSel, false),
        (Self::ShmLenLow, true),
        (Self::ShmLenHigh, true),
        (Self::ShmBaseLow, true),
        (Self::ShmBaseHigh, true),
        (Self::QueueReset, true),
        (Self::ConfigGeneration, true),
    ];

    fn new(offset: u64) -> Option<(Self, bool)> {
        Self::ALL.iter().copied().find(|(register, _)| *register as u64 == offset)
    }
}

/// The registers whose value changes.
const CHANGING: [Register; 6] = [
    Register::InterruptStatus,
    Register::Status,
    Register::QueueReady,
    Register::QueueReset,
    Register::QueueSizeMax,
    Register::DeviceFeatures,
];

/// What the guest reads.
#[derive(Clone, Copy, Debug)]
struct Page(&'static [AtomicU32]);

impl Page {
    fn set_word(self, slot: usize, offset: u64, value: u32) {
        if let Some(word) = self.0.get(slot * SLOT_WORDS + offset as usize / size_of::<u32>()) {
            word.store(value, Relaxed);
        }
    }

    fn set(self, slot: usize, register: Register, value: u32) {
        self.set_word(slot, register as u64, value);
    }

    fn word(self, slot: usize, offset: u64) -> u32 {
        let word = self.0.get(slot * SLOT_WORDS + offset as usize / size_of::<u32>());
        word.map_or(0, |word| word.load(Relaxed))
    }
}

/// A device at its place, and what the driver has selected there.
#[derive(Debug)]
struct Slot {
    function: Function<Device>,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    /// What is in the page of [`CHANGING`].
    shown: [u32; CHANGING.len()],
    generation: u32,
    /// Of the configuration space in the page.
    config_version: u32,
    /// vCPUs, a bit each, that asked for a reset and wait for its end.
    held: u8,
    /// More of what is shown may have changed than status and causes of interrupts.
    changed: bool,
}

/// The virtio devices of a guest.
#[derive(Debug)]
pub struct Slots {
    page: Page,
    slots: [Option<Slot>; VIRTIO_SLOTS],
    /// The slots whose devices are to be run once more, a bit each.
    due: u8,
    /// The slots whose devices keep something back, a bit each.
    keeping: u8,
    /// The slots that have been kicked since [`Self::hurry`], a bit each.
    kicked: u8,
    /// Where chains are copied to.
    chain: Chain,
}

/// What came of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// There was nothing to do, and nothing has changed.
    Nothing,
    /// It is done.
    Done,
    /// It is not done until the vCPU is released.
    Hold,
}

/// What came of a write or a notification, besides what the guest reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Changes {
    /// The level of the interrupt line.
    pub line: bool,
    /// The driver domain must be notified.
    pub notify: bool,
    /// vCPUs, a bit each, that waited for a reset and go on.
    pub released: u8,
    /// The device now keeps something back, and did not before.
    pub keeps: bool,
    /// The device is to be run once more.
    pub again: bool,
    /// Why the device now needs a reset.
    pub error: Option<DeviceError>,
}

impl Slots {
    /// No devices, and no register page.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            page: Page(&[]),
            slots: [const { None }; VIRTIO_SLOTS],
            due: 0,
            keeping: 0,
            kicked: 0,
            chain: Chain::new(),
        }
    }

    /// Sets the register page, before any device is attached. It has [`PAGE_WORDS`] words, which are zero and which nobody
    /// else writes.
    pub fn set_page(&mut self, page: &'static [AtomicU32]) {
        self.page = Page(page);
        for slot in 0..VIRTIO_SLOTS {
            // A slot without a device has device id zero (4.2.3.1.1).
            self.page.set(slot, Register::MagicValue, MAGIC);
            self.page.set(slot, Register::Version, VERSION);
        }
    }

    /// Puts `device` into slot `index`, less than [`VIRTIO_SLOTS`]. `features` are those that it offers besides its own and
    /// [`super::feature::OFFERED`].
    pub fn attach(&mut self, index: usize, device: Device, features: u64) {
        let Some(place) = self.slots.get_mut(index) else { return };
        let slot = place.insert(Slot::new(device, features));
        let page = self.page;
        page.set(index, Register::DeviceId, slot.function.device().id());
        page.set(index, Register::VendorId, VENDOR);
        // A shared memory region that does not exist has a length of all ones (4.2.2).
        for register in [Register::ShmLenLow, Register::ShmLenHigh, Register::ShmBaseLow, Register::ShmBaseHigh] {
            page.set(index, register, u32::MAX);
        }
        slot.show_config(page, index);
        slot.show(page, index);
    }

    /// A load at `offset` bytes behind the first slot. `None` if no register can be read there.
    #[must_use]
    pub fn read(&self, offset: u64, width: Width) -> Option<u64> {
        let (index, offset) = split(offset);
        if offset >= CONFIG {
            let known = offset < CONFIG + CONFIG_SIZE as u64 && offset.is_multiple_of(width.bytes());
            let low = u64::from(self.page.word(index, offset));
            let high = if width == Width::Double { u64::from(self.page.word(index, offset + 4)) } else { 0 };
            return known.then(|| width.truncate((low | high << 32) >> (offset % 4 * 8)));
        }
        let (_, readable) = Register::new(offset).filter(|_| width == Width::Word)?;
        readable.then(|| self.page.word(index, offset).into())
    }

    /// A store of `value` by `vcpu` at `offset` bytes behind the first slot. `None` if the store has no meaning there, or not
    /// now. [`Self::settle`] is to be asked afterwards, unless it did nothing.
    pub fn write(
        &mut self,
        memory: &mut impl GuestMemory,
        vcpu: VcpuId,
        offset: u64,
        width: Width,
        value: u64,
    ) -> Option<Written> {
        let (index, offset) = split(offset);
        let slot = self.slots.get_mut(index)?.as_mut()?;
        if width != Width::Word {
            return None;
        }
        if offset == Register::QueueNotify as u64 {
            // Which queue does not matter: a run looks at all.
            if !slot.function.has_news(memory) {
                return Some(Written::Nothing);
            }
            slot.run(memory, &mut self.chain, true);
            self.kicked |= 1 << index;
            return Some(Written::Done);
        }
        if offset == Register::InterruptAck as u64 {
            let acknowledged = if slot.acknowledges_used() { cause::USED } else { value as u8 };
            slot.function.acknowledge(acknowledged);
            return Some(Written::Done);
        }
        let (register, _) = Register::new(offset)?;
        slot.changed = true;
        slot.write(memory, &mut self.chain, register, value as u32).ok()?;
        if register == Register::Status && slot.function.is_resetting() {
            slot.held |= vcpu.bit();
            return Some(Written::Hold);
        }
        Some(Written::Done)
    }

    /// Whether [`Self::write`] does not look at the value of a word at `offset` bytes behind the first slot.
    #[must_use]
    pub fn ignores_value(&self, offset: u64) -> bool {
        let (index, offset) = split(offset);
        let acknowledges = offset == Register::InterruptAck as u64
            && self.slots.get(index).and_then(Option::as_ref).is_some_and(Slot::acknowledges_used);
        acknowledges || offset == Register::QueueNotify as u64
    }

    /// The link's other side of the device in slot `index` has notified. [`Self::settle`] is to be asked afterwards.
    pub fn notified(&mut self, memory: &mut impl GuestMemory, index: usize) {
        if let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) {
            slot.run(memory, &mut self.chain, false);
        }
    }

    /// The slots whose devices keep something back, a bit each, until they are run: when the guest rests, or soon.
    #[must_use]
    pub fn keeping(&self) -> u8 {
        self.keeping
    }

    /// The slots whose devices have kept something back for long enough, a bit each: they are to be run.
    pub fn hurry(&mut self) -> u8 {
        let kicked = core::mem::take(&mut self.kicked);
        self.slots.iter_mut().enumerate().fold(0, |slots, (index, slot)| {
            let due = slot.as_mut().is_some_and(|slot| slot.function.hurry(kicked >> index & 1 != 0));
            slots | u8::from(due) << index
        })
    }

    /// The slots whose devices are to be run once more, a bit each, because their last run had its share.
    #[must_use]
    pub fn due(&self) -> u8 {
        self.due
    }

    /// Shows the guest how the device in slot `index` now is, and says what else is to be done.
    pub fn settle(&mut self, index: usize) -> Option<Changes> {
        let page = self.page;
        let slot = self.slots.get_mut(index)?.as_mut()?;
        if slot.config_version != slot.function.config_version() {
            slot.show_config(page, index);
        }
        slot.show(page, index);
        self.due = self.due & !(1 << index) | u8::from(slot.function.is_run_due()) << index;
        let (before, keeps) = (self.keeping, slot.function.keeps());
        self.keeping = before & !(1 << index) | u8::from(keeps.is_some()) << index;
        let released = if slot.function.is_resetting() { 0 } else { core::mem::take(&mut slot.held) };
        Some(Changes {
            line: slot.function.causes() != 0,
            notify: keeps != Some(Lazy::Signals) && slot.function.wake_wanted(),
            released,
            keeps: self.keeping & !before != 0,
            again: slot.function.is_run_due(),
            error: slot.function.take_error(),
        })
    }

    /// What the driver domain of the device in slot `index` owes: that something is overdue is told once.
    pub fn owed(&mut self, index: usize) -> Owed {
        self.slots.get_mut(index).and_then(Option::as_mut).map_or(Owed::Nothing, |slot| slot.function.owed())
    }

    /// How many chains the device in slot `index` has had, if there is one.
    #[must_use]
    pub fn counts(&self, index: usize) -> Option<Counts> {
        Some(self.slots.get(index)?.as_ref()?.function.counts())
    }

    /// The source of entropy and its slot, if there is one. After something was taken, [`Self::settle`] is to be asked.
    pub fn entropy(&mut self) -> Option<(usize, &mut Rng)> {
        self.slots.iter_mut().enumerate().find_map(|(index, slot)| match slot.as_mut()?.function.device_mut() {
            Device::Rng(source) => Some((index, source)),
            _ => None,
        })
    }

    /// How often the devices have dropped what they could not pass on.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.slots.iter().flatten().map(|slot| slot.function.device().dropped()).sum()
    }

    /// Adds each device's node to the tree.
    ///
    /// # Errors
    /// [`Full`] when the tree's buffer is.
    pub fn describe(&self, tree: &mut Tree<'_>) -> Result<(), Full> {
        for (index, _) in self.slots.iter().enumerate().filter(|(_, slot)| slot.is_some()) {
            let base = map::VIRTIO.base + index as u64 * VIRTIO_SLOT_SIZE;
            tree.node_at("virtio_mmio", base, |tree| {
                tree.string("compatible", "virtio,mmio")?;
                tree.reg(&[Range { base, size: VIRTIO_SLOT_SIZE }])?;
                tree.interrupts(&[Interrupt::level(map::virtio_intid(index))])?;
                tree.flag("dma-coherent")
            })?;
        }
        Ok(())
    }
}

impl Lifecycle for Slots {
    fn pause(&mut self) {
        self.slots.iter_mut().flatten().for_each(|slot| slot.function.set_paused(true));
    }

    /// Nothing is under way in any driver domain.
    fn is_quiesced(&self) -> bool {
        self.slots.iter().flatten().all(|slot| slot.function.is_quiesced())
    }

    fn resume(&mut self) {
        for (index, slot) in self.slots.iter_mut().enumerate().filter_map(|(n, slot)| Some((n, slot.as_mut()?))) {
            slot.function.set_paused(false);
            // For what has been left.
            self.due |= 1 << index;
        }
    }

    fn reset(&mut self) {
        let page = self.page;
        (self.due, self.keeping) = (0, 0);
        for (index, slot) in self.slots.iter_mut().enumerate().filter_map(|(n, slot)| Some((n, slot.as_mut()?))) {
            slot.function.set_paused(false);
            slot.function.reset();
            (slot.device_features_sel, slot.driver_features_sel, slot.queue_sel, slot.held) = (0, 0, 0, 0);
            slot.changed = true;
            slot.show(page, index);
        }
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self::new()
    }
}

impl Slot {
    fn new(device: Device, features: u64) -> Self {
        let function = Function::new(device, features);
        Self {
            config_version: 0,
            function,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            shown: [0; CHANGING.len()],
            generation: 0,
            held: 0,
            changed: true,
        }
    }

    fn run(&mut self, memory: &mut impl GuestMemory, chain: &mut Chain, kicked: bool) {
        self.changed |= self.function.has_resets();
        self.function.run(memory, chain, kicked);
    }

    /// Whether there is one cause of an interrupt: a driver acknowledges what it has read (4.2.2.2). If that can only be
    /// this, it is this.
    fn acknowledges_used(&self) -> bool {
        self.function.causes() == cause::USED
    }

    /// The registers whose value is needed.
    fn write(
        &mut self,
        memory: &mut impl GuestMemory,
        chain: &mut Chain,
        register: Register,
        value: u32,
    ) -> Result<(), Ignored> {
        let (function, queue) = (&mut self.function, self.queue_sel as usize);
        match register {
            Register::DeviceFeaturesSel => self.device_features_sel = value,
            Register::DriverFeaturesSel => self.driver_features_sel = value,
            Register::DriverFeatures => match self.driver_features_sel {
                0 => function.set_driver_features(0xffff_ffff, value.into())?,
                1 => function.set_driver_features(0xffff_ffff << 32, u64::from(value) << 32)?,
                _ => return Err(Ignored),
            },
            Register::QueueSel => self.queue_sel = value,
            Register::QueueSize => function.set_queue_size(queue, value)?,
            Register::QueueReady => match value {
                0 => function.stop_queue(queue)?,
                1 => function.start_queue(memory, queue)?,
                _ => return Err(Ignored),
            },
            Register::QueueReset if value == 1 => function.reset_queue(queue)?,
            Register::Status => {
                function.set_status(memory, chain, u8::try_from(value).map_err(|_| Ignored)?)?;
            }
            Register::QueueDescLow => function.set_area(queue, Area::Descriptors, false, value)?,
            Register::QueueDescHigh => function.set_area(queue, Area::Descriptors, true, value)?,
            Register::QueueDriverLow => function.set_area(queue, Area::Driver, false, value)?,
            Register::QueueDriverHigh => function.set_area(queue, Area::Driver, true, value)?,
            Register::QueueDeviceLow => function.set_area(queue, Area::Device, false, value)?,
            Register::QueueDeviceHigh => function.set_area(queue, Area::Device, true, value)?,
            // There are no shared memory regions, whichever is selected.
            Register::ShmSel => {}
            // Only read, or handled before.
            _ => return Err(Ignored),
        }
        Ok(())
    }

    /// Writes what has changed but the configuration space.
    fn show(&mut self, page: Page, index: usize) {
        let (function, queue) = (&self.function, self.queue_sel as usize);
        let mut show = |place: usize, now: u32| {
            if let (Some(register), Some(shown)) = (CHANGING.get(place), self.shown.get_mut(place))
                && *shown != now
            {
                *shown = now;
                page.set(index, *register, now);
            }
        };
        show(0, function.causes().into());
        show(1, function.status().into());
        if core::mem::take(&mut self.changed) {
            show(2, function.is_queue_ready(queue).into());
            show(3, function.is_queue_resetting(queue).into());
            show(4, function.queue_max(queue).into());
            let features = match self.device_features_sel {
                0 => function.features() as u32,
                1 => (function.features() >> 32) as u32,
                _ => 0,
            };
            show(5, features);
        }
    }

    /// Writes the configuration space. The generation changes before and after it, so that a driver that reads meanwhile
    /// sees a change whatever it has read (4.2.2.1).
    fn show_config(&mut self, page: Page, index: usize) {
        self.config_version = self.function.config_version();
        let mut next_generation = || {
            self.generation = self.generation.wrapping_add(1);
            page.set(index, Register::ConfigGeneration, self.generation);
        };
        next_generation();
        let (words, _) = self.function.config().as_chunks::<4>();
        for (n, word) in words.iter().enumerate() {
            page.set_word(index, CONFIG + 4 * n as u64, u32::from_le_bytes(*word));
        }
        next_generation();
    }
}

/// The slot whose registers are `offset` bytes behind the first one's.
#[must_use]
pub fn slot(offset: u64) -> usize {
    (offset / VIRTIO_SLOT_SIZE) as usize
}

/// Slot and offset in it.
fn split(offset: u64) -> (usize, u64) {
    (slot(offset), offset % VIRTIO_SLOT_SIZE)
}

#[cfg(test)]
mod tests;
