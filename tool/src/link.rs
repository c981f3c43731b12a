// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Who talks to whom: the links between VMMs and drivers follow from the maps of the queues, and from the channels.

use crate::check::{Access, Checker};
use crate::driver::{Class, Driver, QUEUE_SIZE};
use crate::problem::{Hex, Problem, Role};
use crate::source::At;
use crate::system::{Domain, Region};
use crate::vmm::Vmm;
use config::{Channel, Client, Link, MAX_CLIENTS, Window};

const PAGE: u64 = 0x1000;

impl<'a> Checker<'a> {
    /// Joins a VMM's console to the one serial driver that maps its queue.
    pub fn link_serial(&mut self, vmm: &mut Vmm<'a>, drivers: &mut [Driver<'a>]) {
        let Some((at, region)) = vmm.serial else { return };
        let size = self.queue_size(region);
        let vaddr = self.mapped(vmm.domain, Role::Queue, region, Access::SHARED, "…");
        let mut serving = drivers.iter_mut().filter(|driver| driver.serves(&region.name));
        let name = || (region.name.clone(), vmm.domain.name.clone());
        let Some(driver) = serving.next() else {
            let (region, vmm) = name();
            self.add(at, Problem::QueueUnserved { region, vmm, class: Class::Serial.name() });
            return;
        };
        if let Some(second) = serving.next() {
            let ((region, vmm), first) = (name(), driver.domain.name.clone());
            self.add(at, Problem::QueueServedTwice { region, vmm, first, second: second.domain.name.clone() });
        }
        let driver_vaddr = self.mapped(driver.domain, Role::Queue, region, Access::SHARED, "…");
        let channel = self.channel(at, vmm.domain, driver.domain);
        let window = |vaddr: Option<u64>| Window { vaddr: vaddr.unwrap_or(0), size };
        let (own, other) = channel.unwrap_or((Channel::NONE, Channel::NONE));
        vmm.config.serial = Link { queues: window(vaddr), channel: own };
        let link = Link { queues: window(driver_vaddr), channel: other };
        driver.clients.push(Client { name: vmm.config.name, link });
    }

    /// Joins a VMM to the power driver that it has a channel to, if any.
    pub fn link_power(&mut self, vmm: &mut Vmm<'a>, drivers: &mut [Driver<'a>]) {
        let (system, domain) = (self.system, vmm.domain);
        let joined = |driver: &Driver| {
            driver.class == Class::Power && system.channels_between(&domain.name, &driver.domain.name).next().is_some()
        };
        let mut joined = drivers.iter_mut().filter(|driver| joined(driver));
        let Some(driver) = joined.next() else { return };
        if let Some(second) = joined.next() {
            let (vmm, first) = (domain.name.clone(), driver.domain.name.clone());
            self.add(domain.at, Problem::PowerTwice { vmm, first, second: second.domain.name.clone() });
        }
        if let Some((own, other)) = self.channel(domain.at, domain, driver.domain) {
            vmm.config.power = own;
            driver.clients.push(Client { name: vmm.config.name, link: Link { channel: other, ..Link::NONE } });
        }
    }

    /// No driver has more clients than its record.
    pub fn check_clients(&mut self, drivers: &[Driver]) {
        for driver in drivers.iter().filter(|driver| driver.clients.len() > MAX_CLIENTS) {
            let (name, count) = (driver.domain.name.clone(), driver.clients.len());
            self.add(driver.at, Problem::ClientCount { driver: name, count, max: MAX_CLIENTS });
        }
    }

    /// A region that a VMM shares with a driver, but that no instruction mentions, is a forgotten instruction.
    pub fn check_unnamed_queues(&mut self, vmms: &[Vmm<'a>], drivers: &[Driver<'a>]) {
        for vmm in vmms.iter().filter(|vmm| !vmm.has_serial()) {
            for driver in drivers.iter().filter(|driver| driver.class == Class::Serial) {
                for map in &vmm.domain.maps {
                    if driver.domain.maps.iter().any(|other| other.region == map.region)
                        && !vmm.names(&map.region)
                        && !driver.names(&map.region)
                    {
                        let (vmm, driver) = (vmm.domain.name.clone(), driver.domain.name.clone());
                        let (region, device) = (map.region.clone(), Vmm::SERIAL);
                        self.add(map.at, Problem::QueueUnnamed { vmm, driver, region, device });
                    }
                }
            }
        }
    }

    fn queue_size(&mut self, region: &Region) -> u64 {
        let size = self.size(region).unwrap_or(QUEUE_SIZE);
        if size < QUEUE_SIZE || !size.is_multiple_of(PAGE) {
            let wanted = Hex(size.max(QUEUE_SIZE).checked_next_multiple_of(PAGE).unwrap_or(QUEUE_SIZE));
            self.add(region.at, Problem::QueueSize { region: region.name.clone(), size: Hex(size), wanted });
        }
        size
    }

    /// The two ends of the one channel between `vmm` and `driver`, by which each may notify the other.
    fn channel(&mut self, at: At, vmm: &Domain, driver: &Domain) -> Option<(Channel, Channel)> {
        let names = || (vmm.name.clone(), driver.name.clone());
        let mut channels = self.system.channels_between(&vmm.name, &driver.name);
        let Some((channel_at, own, other)) = channels.next() else {
            let (vmm, driver) = names();
            self.add(at, Problem::ChannelMissing { vmm, driver });
            return None;
        };
        if let Some((second, ..)) = channels.next() {
            let (vmm, driver) = names();
            self.add(second, Problem::ChannelTwice { vmm, driver });
        }
        for (end, peer) in [(own, other), (other, own)] {
            if !end.notify {
                self.add(channel_at, Problem::ChannelMute { pd: end.pd.clone(), other: peer.pd.clone() });
            }
        }
        Some((Channel::new(own.id), Channel::new(other.id)))
    }
}
