// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What every transport gives a device: status, features, queues, causes of interrupts.

use super::chain::Chain;
use super::ring::{Areas, MAX_SIZE, Options, Ring};
use super::{
    CONFIG_SIZE, Counts, DeviceError, Lazy, MAX_QUEUES, Owed, Queues, RUN_LIMIT, VirtioDevice, feature, status,
};
use crate::memory::GuestMemory;
use core::mem::replace;

/// Causes of an interrupt: a bit each, as in `InterruptStatus` (4.2.2) and the ISR (4.1.4.5).
pub mod cause {
    /// Buffers were used.
    pub const USED: u8 = 1;
    /// The configuration has changed, or the device needs a reset.
    pub const CONFIG: u8 = 2;
}

/// The driver wrote what has no meaning in the present state; nothing happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ignored;

/// One of a device's queues.
#[derive(Debug)]
struct Queue {
    size: u16,
    areas: Areas,
    /// The driver has made the queue ready and the device may use it.
    ring: Option<Ring>,
    /// The queue is being stopped, and reads as ready until nothing of it is under way.
    stopping: Option<Stop>,
}

/// Why a queue is being stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stop {
    /// It is no longer ready.
    Unready,
    /// It is reset.
    Reset,
}

impl Queue {
    const RESET: Self =
        Self { size: MAX_SIZE, areas: Areas { descriptors: 0, driver: 0, device: 0 }, ring: None, stopping: None };

    fn is_ready(&self) -> bool {
        self.ring.is_some() || self.stopping.is_some()
    }
}

/// An area of a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Area {
    /// The descriptor table.
    Descriptors,
    /// The available ring.
    Driver,
    /// The used ring.
    Device,
}

/// A device and its state.
#[derive(Debug)]
pub struct Function<D> {
    device: D,
    /// The features that are offered.
    features: u64,
    status: u8,
    driver_features: u64,
    queues: [Queue; MAX_QUEUES],
    causes: u8,
    /// The driver has asked for a reset, which waits for what is under way.
    resetting: bool,
    /// How many kicks are served without keeping anything back.
    eager: u8,
    /// The guest is paused: what is under way is completed, and nothing more is taken.
    paused: bool,
    /// Another run is due.
    again: bool,
    config: [u8; CONFIG_SIZE],
    /// How often `config` has changed.
    config_version: u32,
    /// Why the device needs a reset, until this is asked.
    error: Option<DeviceError>,
    counts: Counts,
    /// The driver domain owes an answer, and has been reported for it.
    overdue: bool,
    /// The driver domain broke the rules of the link, which no reset mends. It is not asked any more.
    link_broken: bool,
}

impl<D: VirtioDevice> Function<D> {
    /// `device` after reset. It offers its own features, [`feature::OFFERED`], and `more`.
    pub fn new(device: D, more: u64) -> Self {
        let config = device.config();
        Self {
            features: device.features() | feature::OFFERED | more,
            device,
            status: 0,
            driver_features: 0,
            queues: [Queue::RESET; MAX_QUEUES],
            causes: 0,
            resetting: false,
            eager: 0,
            paused: false,
            again: false,
            config,
            config_version: 0,
            error: None,
            counts: Counts::default(),
            overdue: false,
            link_broken: false,
        }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, to be changed.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// The features that are offered.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    /// The configuration space.
    #[must_use]
    pub fn config(&self) -> &[u8; CONFIG_SIZE] {
        &self.config
    }

    /// A number that changes with [`Self::config`].
    #[must_use]
    pub fn config_version(&self) -> u32 {
        self.config_version
    }

    /// Takes the features in `mask` from `value`.
    ///
    /// # Errors
    /// [`Ignored`] once the features are agreed, here and below in the wrong state.
    pub fn set_driver_features(&mut self, mask: u64, value: u64) -> Result<(), Ignored> {
        if self.status & status::FEATURES_OK != 0 || self.resetting {
            return Err(Ignored);
        }
        self.driver_features = self.driver_features & !mask | value & mask;
        Ok(())
    }

    /// The device status.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status
    }

    /// Sets the device status. Zero resets the device: done once [`Self::is_resetting`] is false.
    pub fn set_status(&mut self, memory: &mut impl GuestMemory, chain: &mut Chain, value: u8) -> Result<(), Ignored> {
        if value == 0 {
            self.reset();
            return Ok(());
        }
        if self.resetting {
            return Err(Ignored);
        }
        let before = self.status;
        self.status |= value & (status::ACKNOWLEDGE | status::DRIVER | status::FAILED);
        let set = |bit, now: u8| value & bit != 0 && now & bit == 0;
        let known = status::ACKNOWLEDGE | status::DRIVER;
        if set(status::FEATURES_OK, self.status) && self.status & known == known && self.features_agree() {
            self.status |= status::FEATURES_OK;
            self.device.start(self.driver_features);
        }
        if set(status::DRIVER_OK, self.status) && self.status & status::FEATURES_OK != 0 {
            self.status |= status::DRIVER_OK;
            self.run(memory, chain, false);
        }
        // Bits are not cleared but by a reset (2.1.1). A driver that writes back what it knows may miss the device's own.
        let refused = value & !self.status & !status::FEATURES_OK;
        let cleared = before & !value & !status::NEEDS_RESET;
        if refused | cleared == 0 { Ok(()) } else { Err(Ignored) }
    }

    /// Whether the device can work with what the driver wants (2.2.2, 6.1, 6.2).
    fn features_agree(&self) -> bool {
        self.driver_features & !self.features() == 0 && self.driver_features & feature::VERSION_1 != 0
    }

    /// Whether a reset waits for what is under way.
    #[must_use]
    pub fn is_resetting(&self) -> bool {
        self.resetting
    }

    /// Resets the device, as far as nothing is under way: see [`Self::is_resetting`].
    pub fn reset(&mut self) {
        for (index, queue) in self.queues.iter_mut().enumerate() {
            self.counts.forgotten += queue.ring.as_ref().map_or(0, |ring| ring.outstanding().into());
            *queue = Queue::RESET;
            self.device.reset_queue(index);
        }
        (self.causes, self.again, self.resetting) = (0, false, true);
        self.finish_resets();
    }

    /// Sets whether the guest is paused. What then waits is taken by the next run after that.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether nothing is under way in the driver domain.
    #[must_use]
    pub fn is_quiesced(&self) -> bool {
        (0..MAX_QUEUES).all(|queue| self.device.under_way(queue) == 0)
    }

    /// How many chains the device has had.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What the driver domain owes: that something is overdue is told once.
    pub fn owed(&mut self) -> Owed {
        // What one owes that broke the rules will not come.
        let owed = if self.link_broken { Owed::Nothing } else { self.device.owed() };
        let told = replace(&mut self.overdue, owed == Owed::Overdue);
        if told { owed.min(Owed::Answer) } else { owed }
    }

    /// Whether the device or a queue is being reset.
    pub fn has_resets(&self) -> bool {
        self.resetting || self.queues.iter().any(|queue| queue.stopping.is_some())
    }

    /// Ends the resets, of the device and of queues, that wait for nothing any more.
    fn finish_resets(&mut self) {
        if !self.has_resets() {
            return;
        }
        if self.resetting && self.is_quiesced() {
            (self.status, self.driver_features, self.resetting) = (0, 0, false);
        }
        for (index, queue) in self.queues.iter_mut().enumerate() {
            if queue.stopping.is_some() && self.device.under_way(index) == 0 {
                let (size, areas) = (queue.size, queue.areas);
                *queue = match queue.stopping {
                    Some(Stop::Unready) => Queue { size, areas, ..Queue::RESET },
                    _ => Queue::RESET,
                };
            }
        }
    }

    /// Largest size of queue `index`; zero if there is no such queue.
    #[must_use]
    pub fn queue_max(&self, index: usize) -> u16 {
        if index < self.device.queues() { MAX_SIZE } else { 0 }
    }

    /// Whether queue `index` is ready.
    #[must_use]
    pub fn is_queue_ready(&self, index: usize) -> bool {
        self.queues.get(index).is_some_and(Queue::is_ready)
    }

    /// Whether queue `index` is being reset.
    #[must_use]
    pub fn is_queue_resetting(&self, index: usize) -> bool {
        self.queues.get(index).is_some_and(|queue| queue.stopping == Some(Stop::Reset))
    }

    /// Queue `index`, if the driver may set it up now.
    fn queue_to_set_up(&mut self, index: usize) -> Result<&mut Queue, Ignored> {
        let agreed = self.status & (status::FEATURES_OK | status::NEEDS_RESET) == status::FEATURES_OK;
        let allowed = agreed && !self.resetting && index < self.device.queues();
        self.queues.get_mut(index).filter(|queue| allowed && !queue.is_ready()).ok_or(Ignored)
    }

    /// Sets the size of queue `index`.
    pub fn set_queue_size(&mut self, index: usize, size: u32) -> Result<(), Ignored> {
        let size =
            u16::try_from(size).ok().filter(|size| size.is_power_of_two() && *size <= MAX_SIZE).ok_or(Ignored)?;
        self.queue_to_set_up(index)?.size = size;
        Ok(())
    }

    /// Sets the low or the high half of the address of an area of queue `index`.
    pub fn set_area(&mut self, index: usize, area: Area, high: bool, value: u32) -> Result<(), Ignored> {
        let areas = &mut self.queue_to_set_up(index)?.areas;
        let address = match area {
            Area::Descriptors => &mut areas.descriptors,
            Area::Driver => &mut areas.driver,
            Area::Device => &mut areas.device,
        };
        let shift = if high { 32 } else { 0 };
        *address = *address & !(0xffff_ffff << shift) | u64::from(value) << shift;
        Ok(())
    }

    /// Makes queue `index` ready.
    pub fn start_queue(&mut self, memory: &impl GuestMemory, index: usize) -> Result<(), Ignored> {
        let options = Options {
            indirect: self.driver_features & feature::INDIRECT_DESC != 0,
            event_index: self.driver_features & feature::EVENT_IDX != 0,
        };
        let queue = self.queue_to_set_up(index)?;
        match Ring::new(memory, queue.areas, queue.size, options) {
            Ok(ring) => queue.ring = Some(ring),
            Err(error) => self.fail(error.into()),
        }
        Ok(())
    }

    /// Makes queue `index` no longer ready (4.2.2.2): done once it does not read as ready.
    pub fn stop_queue(&mut self, index: usize) -> Result<(), Ignored> {
        self.stop(index, Stop::Unready)
    }

    /// Resets queue `index` (2.6.1): done once it does not read as resetting.
    pub fn reset_queue(&mut self, index: usize) -> Result<(), Ignored> {
        if self.driver_features & feature::RING_RESET == 0 {
            return Err(Ignored);
        }
        self.stop(index, Stop::Reset)
    }

    fn stop(&mut self, index: usize, stop: Stop) -> Result<(), Ignored> {
        let queue = self.queues.get_mut(index).filter(|queue| queue.is_ready()).ok_or(Ignored)?;
        self.counts.forgotten += queue.ring.take().map_or(0, |ring| ring.outstanding().into());
        queue.stopping = Some(stop);
        self.device.reset_queue(index);
        self.finish_resets();
        Ok(())
    }

    /// Whether the driver has made chains available that were not seen before. If not, its kick is no reason for a run: the
    /// link's other side notifies of what it does, and a run that had only its share is followed by another anyway.
    pub fn has_news(&mut self, memory: &impl GuestMemory) -> bool {
        self.queues.iter_mut().filter_map(|queue| queue.ring.as_mut()).any(|ring| ring.has_news(memory))
    }

    /// Does all there is to do: the driver, if `kicked`, or the link's other side has notified.
    ///
    /// What a driver kicks is often followed by more. So something of a lazy queue then waits, until the next run: see
    /// [`Lazy`] and [`Self::keeps`].
    pub fn run(&mut self, memory: &mut impl GuestMemory, chain: &mut Chain, kicked: bool) {
        self.again = false;
        let ready = status::DRIVER_OK | status::NEEDS_RESET;
        let active = self.status & ready == status::DRIVER_OK && !self.resetting;
        let done = match (self.link_broken, active) {
            (true, _) => Err(DeviceError::Link),
            (false, true) => self.run_device(memory, chain, kicked),
            (false, false) => self.device.take_back(),
        };
        match done {
            Ok(()) => {}
            Err(error) if active => self.fail(error),
            Err(error) => self.report(error),
        }
        self.finish_resets();
        if self.device.config_changed() {
            self.config = self.device.config();
            self.config_version = self.config_version.wrapping_add(1);
            self.causes |= if self.status & status::DRIVER_OK != 0 { cause::CONFIG } else { 0 };
        }
    }

    fn run_device(
        &mut self,
        memory: &mut impl GuestMemory,
        chain: &mut Chain,
        kicked: bool,
    ) -> Result<(), DeviceError> {
        let (lazy_queue, lazy) = self.device.lazy_queue().filter(|_| kicked && self.eager == 0).unzip();
        self.eager = self.eager.saturating_sub(kicked.into());
        let rings = self.queues.each_mut().map(|queue| queue.ring.as_mut());
        let limit = if self.paused { 0 } else { RUN_LIMIT };
        let mut queues = Queues::new(memory, chain, rings, limit);
        let done = self.device.run(&mut queues);
        self.again = queues.again;
        // What was done before an error is shown as well.
        let rings = self.queues.iter_mut().enumerate();
        for (index, ring) in rings.filter_map(|(index, queue)| Some((index, queue.ring.as_mut()?))) {
            let (requests, completions) = ring.news();
            self.counts.requests += u64::from(requests);
            self.counts.completions += u64::from(completions);
            if ring.publish(memory, lazy.filter(|_| lazy_queue == Some(index)))? {
                self.causes |= cause::USED;
            }
        }
        done
    }

    /// What is kept back, so that a run is due soon.
    #[must_use]
    pub fn keeps(&self) -> Option<Lazy> {
        let (index, lazy) = self.device.lazy_queue()?;
        self.queues.get(index)?.ring.as_ref().filter(|ring| ring.keeps()).map(|_| lazy)
    }

    /// Something has been kept back for long enough: whether a run is due, where the driver has kicked in that time or not.
    ///
    /// If chains were followed neither by more nor by a rest, the driver may be looking for them: nothing is kept back for
    /// some time.
    pub fn hurry(&mut self, kicked: bool) -> bool {
        match self.keeps() {
            None => false,
            Some(Lazy::Signals) => true,
            Some(Lazy::Chains) => {
                self.eager = if kicked { self.eager } else { u8::MAX };
                !kicked
            }
        }
    }

    /// The device cannot go on: the driver learns it (2.1.2).
    fn fail(&mut self, error: DeviceError) {
        self.report(error);
        self.again = false;
        self.status |= status::NEEDS_RESET;
        if self.status & status::DRIVER_OK != 0 {
            self.causes |= cause::CONFIG;
        }
    }

    fn report(&mut self, error: DeviceError) {
        if !self.link_broken {
            self.error = Some(error);
        }
        self.link_broken |= error == DeviceError::Link;
    }

    /// Whether another run is due, because the last one had its share.
    #[must_use]
    pub fn is_run_due(&self) -> bool {
        self.again
    }

    /// The causes of interrupts that the driver has not acknowledged.
    #[must_use]
    pub fn causes(&self) -> u8 {
        self.causes
    }

    /// The driver acknowledges causes of interrupts.
    pub fn acknowledge(&mut self, causes: u8) {
        self.causes &= !causes;
    }

    /// Why the device needs a reset, if that is news.
    pub fn take_error(&mut self) -> Option<DeviceError> {
        self.error.take()
    }

    /// Whether the driver domain must be notified. `true` counts as told.
    pub fn wake_wanted(&mut self) -> bool {
        self.device.wake_wanted()
    }
}
