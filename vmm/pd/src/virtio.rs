// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest's virtio devices: where they are, and which driver PD serves each.
//!
//! What a disk or a network interface is like, its driver tells when it is up; until then the guest does not start.

use config::{Link, LogLevel};
use core::fmt;
use pd::Static;
use queue::blk::Medium;
use queue::monitor::DEVICES as NAMES;
use queue::{AtomicU64, TooSmall, blk, net, rng, serial};
use sel4_microkit::{Channel, ChannelSet};
use vmm_core::map::VIRTIO_SLOTS;
use vmm_core::virtio::Device;
use vmm_core::virtio::blk::Blk;
use vmm_core::virtio::console::{Console, Size};
use vmm_core::virtio::mmio::Slots;
use vmm_core::virtio::net::Net;
use vmm_core::virtio::rng::Rng;

const _: () = assert!(NAMES.len() <= VIRTIO_SLOTS);

/// This end of a link.
enum End {
    Blk(blk::Client<'static>),
    Net(net::Client<'static>),
    Rng(rng::Client<'static>),
    Console(serial::Client<'static>),
}

/// Makes this end of a link.
type New = fn(&'static [AtomicU64]) -> Result<End, TooSmall>;
/// The same for each of [`NAMES`].
const NEW: [New; NAMES.len()] = {
    let blk: New = |region| blk::Client::new(region).map(End::Blk);
    let net: New = |region| net::Client::new(region).map(End::Net);
    let rng: New = |region| rng::Client::new(region).map(End::Rng);
    let console: New = |region| serial::Client::new(region).map(End::Console);
    [blk, blk, net, net, rng, console]
};

/// Too large for the stack.
static SLOTS: Static<Slots> = Static::new(Slots::new());

/// The driver PDs' side of the devices.
pub struct Virtio {
    /// The links whose devices have not been made.
    ends: [Option<End>; NAMES.len()],
    channels: [Option<Channel>; NAMES.len()],
    config: &'static config::Vmm,
}

impl Virtio {
    /// The links that `config` describes.
    pub fn new(config: &'static config::Vmm) -> Self {
        let ([blk0, blk1], [net0, net1]) = (config.blk, config.net);
        let links = [blk0, blk1, net0, net1, config.rng, config.console.link];
        let mut ends = [const { None }; NAMES.len()];
        for ((to, name), (link, new)) in ends.iter_mut().zip(NAMES).zip(links.iter().zip(NEW)) {
            *to = end(name, *link, new);
        }
        Self { ends, channels: links.map(|link| pd::channel(link.channel)), config }
    }

    /// A device whose driver has not yet said what it is like, if there is one.
    pub fn unknown(&self) -> Option<&'static str> {
        let is_unknown = |end: &Option<End>| match end {
            Some(End::Blk(client)) => client.medium() == Ok(Medium::Unknown),
            Some(End::Net(client)) => client.info() == Ok(None),
            Some(End::Rng(_) | End::Console(_)) | None => false,
        };
        self.ends.iter().zip(NAMES).find(|(end, _)| is_unknown(end)).map(|(_, name)| name)
    }

    /// The devices; none without links, and only once. One whose driver cannot serve it is left out, and `log` told.
    pub fn make(
        &mut self,
        config: &config::Vmm,
        log: &mut dyn FnMut(LogLevel, fmt::Arguments<'_>),
    ) -> Option<&'static mut Slots> {
        if self.ends.iter().all(Option::is_none) {
            return None;
        }
        // SAFETY: the window is of this PD's record, mapped writable, and used only here; the guest only reads it.
        let page = unsafe { pd::words32(config.virtio) };
        let slots = SLOTS.take()?;
        let config::Size { columns, rows } = config.console.size;
        let size = Size { columns, rows };
        slots.set_page(page);
        for (slot, (end, name)) in self.ends.iter_mut().zip(NAMES).enumerate() {
            let device = match end.take() {
                None => continue,
                Some(End::Blk(client)) => match client.medium() {
                    Ok(Medium::Present(info)) => Ok(Device::Blk(Blk::new(client, info, name))),
                    Ok(Medium::Unknown | Medium::Absent) => Err("has no disk for this guest"),
                    Err(queue::Broken) => Err("broke the rules of the queues"),
                },
                Some(End::Net(client)) => match client.info() {
                    Ok(Some(info)) => Ok(Device::Net(Net::new(client, info))),
                    Ok(None) => Err("has no network for this guest"),
                    Err(queue::Broken) => Err("broke the rules of the queues"),
                },
                Some(End::Rng(client)) => Ok(Device::Rng(Rng::new(client))),
                Some(End::Console(client)) => Ok(Device::Console(Console::new(client, size))),
            };
            match device {
                Ok(device) => slots.attach(slot, device, config.virtio_features),
                Err(why) => log(LogLevel::Error, format_args!("{name} is left out: its driver {why}")),
            }
        }
        Some(slots)
    }

    /// The names of the device in `slot` and of its driver; the latter is empty for a console.
    pub fn names(&self, slot: usize) -> (&'static str, &'static str) {
        let ([blk0, blk1], [net0, net1]) = (&self.config.blk_drivers, &self.config.net_drivers);
        let driver = [blk0, blk1, net0, net1, &self.config.rng_driver].get(slot).map_or("", |name| name.as_str());
        (NAMES.get(slot).copied().unwrap_or_default(), driver)
    }

    /// The slots, a bit each, whose drivers have notified over `channels`.
    pub fn slots(&self, channels: ChannelSet) -> u8 {
        let notified = |channel: &Option<Channel>| channel.is_some_and(|channel| channels.contains(channel));
        let slots = self.channels.iter().enumerate().filter(|(_, channel)| notified(channel));
        slots.fold(0, |mask, (slot, _)| mask | 1 << slot)
    }

    /// The channels to the drivers of `slots`, a bit each.
    pub fn channels(&self, slots: u8) -> impl Iterator<Item = Channel> + use<> {
        let drivers = self.channels.into_iter().enumerate().filter(move |(slot, _)| slots & 1 << slot != 0);
        drivers.filter_map(|(_, channel)| channel)
    }
}

/// This end of `link`, if there is one.
fn end(name: &str, link: Link, new: New) -> Option<End> {
    if link.queues.is_empty() {
        return None;
    }
    // SAFETY: the window is of this PD's record, mapped writable, and used only here.
    match new(unsafe { pd::words(link.queues) }) {
        Ok(end) => Some(end),
        Err(error) => panic!("{name}: {error}"),
    }
}
