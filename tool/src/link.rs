// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Who talks to whom: the links between VMMs and drivers follow from the maps of the queues, and from the channels.

use crate::check::{Access, Checker};
use crate::device::{self, Share};
use crate::driver::{Class, Driver, Served};
use crate::problem::{Hex, Problem, Role};
use crate::source::At;
use crate::system::{Domain, Region};
use crate::vmm::Vmm;
use config::{Access as DiskAccess, Channel, Client, Console, Link, MAX_CLIENTS, Window};

const PAGE: u64 = 0x1000;

impl<'a> Checker<'a> {
    /// Joins each device of a VMM to the one driver of its class that maps its queue.
    pub fn link_devices(&mut self, vmm: &mut Vmm<'a>, drivers: &mut [Driver<'a>]) {
        for device in &vmm.devices {
            let (at, domain) = (device.at, vmm.domain);
            let Some((driver, own, other)) = self.link(at, domain, device.queue, device.class, drivers) else {
                continue;
            };
            let config = &mut vmm.config;
            let mut name = config.name;
            match (device.class, device.share) {
                (Class::Serial, Share::Console(size)) => {
                    config.console = Console { link: own, size, reserved: [0; 4] };
                    name = self.name(at, &format!("{}/{}", name.as_str(), device.name));
                }
                (Class::Serial, _) => config.serial = own,
                (Class::Blk, _) => {
                    config.blk[device.index] = own;
                    config.blk_drivers[device.index] = self.name(driver.domain.at, &driver.domain.name);
                }
                (Class::Net, _) => {
                    config.net[device.index] = own;
                    config.net_drivers[device.index] = self.name(driver.domain.at, &driver.domain.name);
                }
                (Class::Rng, _) => {
                    config.rng = own;
                    config.rng_driver = self.name(driver.domain.at, &driver.domain.name);
                }
                // No device of a guest.
                (Class::Power | Class::Timer | Class::Supervisor, _) => {}
            }
            if device.class.reaches_ram()
                && let Some(ram) = vmm.ram
                && let Some(size) = ram.size.filter(|size| *size > queue::blk::MAX_WINDOW)
            {
                let (region, max) = (ram.name.clone(), Hex(queue::blk::MAX_WINDOW));
                self.add(ram.at, Problem::RamReach { region, size: Hex(size), max });
            }
            driver.clients.push(Served {
                at,
                what: format!("{} of {}", device.name, domain.name),
                client: Client { name, link: other },
                ram: vmm.ram,
                share: device.share,
            });
        }
    }

    /// Joins the logs of drivers to the serial drivers that map their queues.
    pub fn link_logs(&mut self, drivers: &mut [Driver<'a>]) {
        for index in 0..drivers.len() {
            let (domain, Some((at, region))) = (drivers[index].domain, drivers[index].log) else { continue };
            let Some((serial, own, other)) = self.link(at, domain, region, Class::Serial, drivers) else { continue };
            let client = Client { name: self.name(domain.at, &domain.name), link: other };
            serial.clients.push(Served { at, what: domain.name.clone(), client, ram: None, share: Share::Whole });
            drivers[index].log_link = own;
        }
    }

    /// The driver of `class` that maps `region`, a queue of `domain`, with each side's link to the other.
    fn link<'d>(
        &mut self,
        at: At,
        domain: &Domain,
        region: &Region,
        class: Class,
        drivers: &'d mut [Driver<'a>],
    ) -> Option<(&'d mut Driver<'a>, Link, Link)> {
        let size = self.queue_size(region, class.queue_size());
        let vaddr = self.mapped(domain, Role::Queue, region, Access::SHARED, "…");
        let mut serving = drivers.iter_mut().filter(|driver| driver.serves(class, &region.name));
        let name = || (region.name.clone(), domain.name.clone());
        let Some(driver) = serving.next() else {
            let (region, pd) = name();
            self.add(at, Problem::QueueUnserved { region, pd, class: class.name() });
            return None;
        };
        if let Some(second) = serving.next() {
            let ((region, pd), first) = (name(), driver.domain.name.clone());
            self.add(at, Problem::QueueServedTwice { region, pd, first, second: second.domain.name.clone() });
        }
        let driver_vaddr = self.mapped(driver.domain, Role::Queue, region, Access::SHARED, "…");
        let (own, other) = self.channel(at, domain, driver.domain).unwrap_or((Channel::NONE, Channel::NONE));
        let link = |vaddr: Option<u64>, channel| Link { queues: Window { vaddr: vaddr.unwrap_or(0), size }, channel };
        Some((driver, link(vaddr, own), link(driver_vaddr, other)))
    }

    /// Joins a VMM to the power driver that it has a channel to, if any.
    pub fn link_power(&mut self, vmm: &mut Vmm<'a>, drivers: &mut [Driver<'a>]) {
        vmm.config.power = self.link_by_channel(vmm, drivers, Class::Power);
    }

    /// Joins a VMM to the timer driver that it has a channel to, if any, which it calls.
    pub fn link_timer(&mut self, vmm: &mut Vmm<'a>, drivers: &mut [Driver<'a>]) {
        vmm.config.timer = self.link_by_channel(vmm, drivers, Class::Timer);
        for timer in drivers.iter().filter(|driver| driver.class == Class::Timer) {
            for (at, own, _) in self.system.channels_between(&vmm.domain.name, &timer.domain.name) {
                if !own.pp {
                    let (vmm, driver) = (vmm.domain.name.clone(), timer.domain.name.clone());
                    self.add(at, Problem::ChannelNoCall { vmm, driver });
                }
            }
        }
    }

    /// Joins a VMM to the one driver of `class` that it has a channel to, if any: returns the VMM's end.
    fn link_by_channel(&mut self, vmm: &Vmm<'a>, drivers: &mut [Driver<'a>], class: Class) -> Channel {
        let (system, domain) = (self.system, vmm.domain);
        let joined = |driver: &Driver| {
            driver.class == class && system.channels_between(&domain.name, &driver.domain.name).next().is_some()
        };
        let mut joined = drivers.iter_mut().filter(|driver| joined(driver));
        let Some(driver) = joined.next() else { return Channel::NONE };
        if let Some(second) = joined.next() {
            let (vmm, class, first) = (domain.name.clone(), class.name(), driver.domain.name.clone());
            self.add(domain.at, Problem::DriverTwice { vmm, class, first, second: second.domain.name.clone() });
        }
        let Some((own, other)) = self.channel(domain.at, domain, driver.domain) else { return Channel::NONE };
        driver.clients.push(Served {
            at: domain.at,
            what: domain.name.clone(),
            client: Client { name: vmm.config.name, link: Link { channel: other, ..Link::NONE } },
            ram: None,
            share: Share::Whole,
        });
        own
    }

    /// No driver has more clients than its record.
    pub fn check_clients(&mut self, drivers: &[Driver]) {
        for driver in drivers.iter().filter(|driver| driver.clients.len() > MAX_CLIENTS) {
            let (name, count) = (driver.domain.name.clone(), driver.clients.len());
            self.add(driver.at, Problem::ClientCount { driver: name, count, max: MAX_CLIENTS });
        }
    }

    /// What each client gets of a disk or a network is its own.
    pub fn check_shares(&mut self, drivers: &[Driver]) {
        for clients in drivers.iter().map(|driver| &driver.clients) {
            let pairs = clients.iter().enumerate().flat_map(|(n, b)| clients[..n].iter().map(move |a| (a, b)));
            for (first, second) in pairs {
                let at = second.at;
                let names = || (first.what.clone(), second.what.clone());
                match (first.share, second.share) {
                    (Share::Part(a), Share::Part(b)) => {
                        let written = [a.access, b.access].contains(&DiskAccess::ReadWrite);
                        if written && device::overlap(&a, &b) {
                            let (first, second) = names();
                            self.add(at, Problem::DiskShared { first, second });
                        }
                    }
                    (Share::Mac(a), Share::Mac(b)) if a == b => {
                        let (first, second) = names();
                        self.add(at, Problem::MacTwice { first, second });
                    }
                    _ => {}
                }
            }
        }
    }

    /// A region that a VMM shares with a driver, but that no instruction mentions, is a forgotten instruction.
    pub fn check_unnamed_queues(&mut self, vmms: &[Vmm<'a>], drivers: &[Driver<'a>]) {
        for vmm in vmms {
            for driver in drivers {
                let (described, not): (Vec<&str>, Vec<&str>) =
                    device::names_of(driver.class).partition(|device| vmm.describes(device));
                // What one that is described wrongly has for its queue is not known.
                let is_right = |name: &&str| vmm.devices.iter().any(|device| device.name == *name);
                let Some(device) = not.first().copied().filter(|_| described.iter().all(is_right)) else { continue };
                for map in &vmm.domain.maps {
                    if driver.domain.maps.iter().any(|other| other.region == map.region)
                        && !vmm.names(&map.region)
                        && !driver.names(&map.region)
                    {
                        let (vmm, driver) = (vmm.domain.name.clone(), driver.domain.name.clone());
                        let region = map.region.clone();
                        self.add(map.at, Problem::QueueUnnamed { vmm, driver, region, device });
                    }
                }
            }
        }
    }

    /// The size of a queue, which is at least `least`.
    fn queue_size(&mut self, region: &Region, least: u64) -> u64 {
        let size = self.size(region).unwrap_or(least);
        if size < least || !size.is_multiple_of(PAGE) {
            let wanted = Hex(size.max(least).checked_next_multiple_of(PAGE).unwrap_or(least));
            self.add(region.at, Problem::QueueSize { region: region.name.clone(), size: Hex(size), wanted });
        }
        size
    }

    /// The two ends of the one channel between `pd` and `driver`, by which each may notify the other.
    fn channel(&mut self, at: At, pd: &Domain, driver: &Domain) -> Option<(Channel, Channel)> {
        let names = || (pd.name.clone(), driver.name.clone());
        let mut channels = self.system.channels_between(&pd.name, &driver.name);
        let Some((channel_at, own, other)) = channels.next() else {
            let (pd, driver) = names();
            self.add(at, Problem::ChannelMissing { pd, driver });
            return None;
        };
        if let Some((second, ..)) = channels.next() {
            let (pd, driver) = names();
            self.add(second, Problem::ChannelTwice { pd, driver });
        }
        for (end, peer) in [(own, other), (other, own)] {
            if !end.notify {
                self.add(channel_at, Problem::ChannelMute { pd: end.pd.clone(), other: peer.pd.clone() });
            }
        }
        Some((Channel::new(own.id), Channel::new(other.id)))
    }
}
