// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The rules between the parts of a system: who maps what, and who runs before whom. [`crate::link`] has those on queues.

use crate::driver::{Class, Driver};
use crate::image::SearchPath;
use crate::problem::{Problem, Report, Role, list};
use crate::source::{At, Sources};
use crate::system::{Domain, Guest, Map, Region, System};
use crate::vmm::Vmm;
use config::Text;
use roxmltree::NodeId;

/// The record of one PD.
pub struct Configuration {
    /// Its `protection_domain`.
    pub node: NodeId,
    /// Its name.
    pub pd: String,
    /// The record.
    pub bytes: Vec<u8>,
    /// Symbols that get the physical address of a region, by name.
    pub paddrs: Vec<(String, String)>,
}

/// What goes with the system.
#[derive(Default)]
pub struct Products {
    /// One for every VMM and driver.
    pub configurations: Vec<Configuration>,
    /// Kernels that were compressed, by the name of their region.
    pub unpacked: Vec<(String, Vec<u8>)>,
}

/// A region's role in a PD.
#[derive(Clone, Copy)]
struct Use<'a> {
    at: At,
    role: Role,
    region: &'a Region,
    owner: &'a Domain,
    /// Of a queue, who is at its other end.
    class: Option<Class>,
}

/// How a region must be mapped.
#[derive(Clone, Copy)]
pub struct Access {
    /// Exactly these, in the order `rwx`.
    pub perms: &'static str,
    /// `None` if it does not matter.
    pub cached: Option<bool>,
}

impl Access {
    /// Data that is only read.
    pub const READ: Self = Self { perms: "r", cached: None };
    /// Memory that others use too: all maps need the same attributes, or the caches disagree.
    pub const SHARED: Self = Self { perms: "rw", cached: Some(true) };
    /// A guest's RAM in the guest.
    pub const GUEST_RAM: Self = Self { perms: "rwx", cached: Some(true) };
    /// What a guest reads of its VMM as if it were a device.
    pub const GUEST_REGISTERS: Self = Self { perms: "r", cached: Some(false) };
    /// A device.
    pub const DEVICE: Self = Self { perms: "rw", cached: Some(false) };
}

/// A PD or a guest, as one that maps regions.
#[derive(Clone, Copy)]
pub struct Mapper<'a> {
    at: At,
    name: &'a str,
    maps: &'a [Map],
}

impl<'a> From<&'a Domain> for Mapper<'a> {
    fn from(domain: &'a Domain) -> Self {
        Self { at: domain.at, name: &domain.name, maps: &domain.maps }
    }
}

impl<'a> From<&'a Guest> for Mapper<'a> {
    fn from(guest: &'a Guest) -> Self {
        Self { at: guest.at, name: &guest.name, maps: &guest.maps }
    }
}

/// The state of the check.
pub struct Checker<'a> {
    pub system: &'a System,
    pub sources: &'a Sources,
    pub files: &'a SearchPath,
    pub products: Products,
    report: &'a mut Report,
    uses: Vec<Use<'a>>,
}

/// Checks `system`; the products are whole if `report` stays empty.
pub fn check(system: &System, sources: &Sources, files: &SearchPath, report: &mut Report) -> Products {
    let mut checker = Checker { system, sources, files, products: Products::default(), report, uses: Vec::new() };
    let mut vmms: Vec<Vmm> = system.domains.iter().filter_map(|domain| Vmm::read(&mut checker, domain)).collect();
    let mut drivers: Vec<Driver> =
        system.domains.iter().filter_map(|domain| Driver::read(&mut checker, domain)).collect();
    for vmm in &mut vmms {
        checker.link_devices(vmm, &mut drivers);
        checker.link_power(vmm, &mut drivers);
        checker.link_timer(vmm, &mut drivers);
    }
    checker.link_logs(&mut drivers);
    checker.check_clients(&drivers);
    checker.check_shares(&drivers);
    checker.check_unnamed_queues(&vmms, &drivers);
    checker.check_uses(&drivers);
    checker.check_priorities(&vmms, &drivers);
    let supervisors = drivers.iter().filter(|driver| driver.class == Class::Supervisor);
    checker.check_parents(&supervisors.map(|driver| driver.domain).collect::<Vec<_>>());
    let vmms = vmms.iter().map(|vmm| (vmm.domain, vmm.record(), Vec::new()));
    let drivers = drivers.iter().map(|driver| (driver.domain, driver.record(), driver.paddrs()));
    let configuration = |(domain, bytes, paddrs): (&Domain, _, _)| Configuration {
        node: domain.node,
        pd: domain.name.clone(),
        bytes,
        paddrs,
    };
    checker.products.configurations = vmms.chain(drivers).map(configuration).collect();
    checker.products
}

impl<'a> Checker<'a> {
    /// Notes a problem.
    pub fn add(&mut self, at: At, problem: Problem) {
        self.report.add(self.sources.place(at), problem);
    }

    /// The region that a setting of `owner` names, noted as having `role` there.
    pub fn region(&mut self, at: At, name: &str, role: Role, owner: &'a Domain) -> Option<&'a Region> {
        self.used_region(at, name, role, owner, None)
    }

    /// The region that a setting of `owner` names as its queue to a driver of `class`.
    pub fn queue(&mut self, at: At, name: &str, class: Class, owner: &'a Domain) -> Option<&'a Region> {
        self.used_region(at, name, Role::Queue, owner, Some(class))
    }

    fn used_region(
        &mut self,
        at: At,
        name: &str,
        role: Role,
        owner: &'a Domain,
        class: Option<Class>,
    ) -> Option<&'a Region> {
        let region = self.system.region(name);
        match region {
            Some(region) => self.uses.push(Use { at, role, region, owner, class }),
            None => {
                let known = list(self.system.regions.iter().map(|region| &region.name));
                self.add(at, Problem::RegionUnknown { role, region: name.to_owned(), known });
            }
        }
        region
    }

    /// The size that a region states, which it must.
    pub fn size(&mut self, region: &Region) -> Option<u64> {
        if !region.is_sized {
            let element = "memory_region".to_owned();
            self.add(region.at, Problem::AttributeMissing { element, attribute: "size" });
        }
        region.size
    }

    /// The address where `mapper` maps `region`, once, as `access` says; `place` is where it has to be, if that matters.
    pub fn mapped<'m>(
        &mut self,
        mapper: impl Into<Mapper<'m>>,
        role: Role,
        region: &Region,
        access: Access,
        place: &str,
    ) -> Option<u64> {
        let mapper: Mapper = mapper.into();
        let (who, name) = (mapper.name.to_owned(), region.name.clone());
        let mut maps = mapper.maps.iter().filter(|map| map.region == name);
        let Some(map) = maps.next() else {
            let cached = if access.cached == Some(false) { " cached=\"false\"" } else { "" };
            let map = format!("<map mr=\"{name}\" vaddr=\"{place}\" perms=\"{}\"{cached} />", access.perms);
            self.add(mapper.at, Problem::MapMissing { who, role, map });
            return None;
        };
        if let Some(second) = maps.next() {
            self.add(second.at, Problem::MapTwice { who: who.clone(), role, region: name.clone() });
        }
        self.check_access(&who, map, role, access);
        map.vaddr
    }

    /// Checks that `map`, one of `who`, allows what `access` says and no more.
    pub fn check_access(&mut self, who: &str, map: &Map, role: Role, access: Access) {
        let (who, region) = (who.to_owned(), map.region.clone());
        if map.perms != access.perms {
            let (perms, wanted) = (map.perms.clone(), access.perms);
            self.add(map.at, Problem::MapPerms { who: who.clone(), role, region: region.clone(), perms, wanted });
        }
        if let Some(wanted) = access.cached.filter(|wanted| *wanted != map.cached) {
            self.add(map.at, Problem::MapCached { who, role, region, cached: map.cached, wanted });
        }
    }

    /// No region plays two roles, and nobody maps one who has no part in its role.
    fn check_uses(&mut self, drivers: &[Driver]) {
        let uses = std::mem::take(&mut self.uses);
        for (i, second) in uses.iter().enumerate() {
            let earlier = uses.iter().take(i).find(|first| first.region.name == second.region.name);
            if let Some(first) = earlier.filter(|first| first.role != second.role || !is_image(first.role)) {
                self.add(
                    second.at,
                    Problem::RegionReused {
                        region: second.region.name.clone(),
                        first: first.role,
                        first_of: first.owner.name.clone(),
                        second: second.role,
                        second_of: second.owner.name.clone(),
                    },
                );
            }
        }
        for Use { role, region, owner, class, .. } in uses {
            for (domain, guest, map) in self.system.maps_of(&region.name) {
                let who = guest.map_or(&domain.name, |guest| &guest.name);
                if is_image(role) {
                    // A guest is restarted from its images: nobody may change them.
                    if map.perms.contains('w') {
                        self.check_access(who, map, role, Access::READ);
                    }
                    continue;
                }
                let of_owner = domain.node == owner.node;
                let allowed = match role {
                    Role::Ram | Role::VirtioPage => of_owner,
                    Role::Queue => {
                        let serves = |driver: &Driver| driver.domain.node == domain.node && Some(driver.class) == class;
                        guest.is_none() && (of_owner || drivers.iter().any(serves))
                    }
                    _ => of_owner && guest.is_none(),
                };
                let (region, owner) = (region.name.clone(), owner.name.clone());
                // A region with two roles is reported as such.
                if !allowed && !self.is_reused(&region) {
                    self.add(map.at, Problem::RegionIntruded { role, region, owner, other: who.clone() });
                }
            }
        }
    }

    fn is_reused(&self, name: &str) -> bool {
        self.report.problems().any(|p| matches!(p, Problem::RegionReused { region, .. } if region == name))
    }

    /// Nobody keeps one from running who serves him. The power driver serves no guest that runs.
    fn check_priorities(&mut self, vmms: &[Vmm<'a>], drivers: &[Driver<'a>]) {
        let priority = |domain: &'a Domain| domain.priority.map(|priority| (&domain.name, priority));
        let highest = vmms.iter().filter_map(|vmm| priority(vmm.domain)).max_by_key(|(_, p)| *p);
        let Some(highest) = highest else { return };
        let timed = |driver: &&Driver| driver.class == Class::Timer;
        let device = |driver: &&Driver| driver.class != Class::Power && !timed(driver);
        let of_drivers = drivers.iter().filter(device).filter_map(|driver| priority(driver.domain));
        let below_timer = of_drivers.max_by_key(|(_, p)| *p);
        let timers = drivers.iter().filter(timed).filter_map(|driver| {
            let below = below_timer.map_or(("VMM", highest), |below| ("driver", below));
            Some((driver.domain.at, ("driver", priority(driver.domain)?), below))
        });
        let devices = drivers.iter().filter(device).map(|driver| driver.domain);
        let over = devices.filter_map(|domain| Some((domain.at, ("driver", priority(domain)?), ("VMM", highest))));
        let over = over.chain(timers);
        let under = vmms.iter().filter_map(|vmm| {
            let guest = vmm.guest?;
            Some((guest.at, ("VMM", priority(vmm.domain)?), ("guest", (&guest.name, guest.priority?))))
        });
        for (at, (high_kind, (high, high_priority)), (low_kind, (low, low_priority))) in over.chain(under) {
            if high_priority <= low_priority {
                let (high, low) = (format!("{high_kind} `{high}`"), format!("{low_kind} `{low}`"));
                self.add(at, Problem::Priority { high, high_priority, low, low_priority });
            }
        }
    }

    /// A name for a record.
    pub fn name(&mut self, at: At, name: &str) -> Text<{ config::MAX_NAME }> {
        self.limited(at, &format!("name `{name}`"), name)
    }

    /// `text` for a record, where `what` it is.
    pub fn limited<const N: usize>(&mut self, at: At, what: &str, text: &str) -> Text<N> {
        Text::new(text).unwrap_or_else(|| {
            self.add(at, Problem::TooLong { what: what.to_owned(), length: text.len(), max: N });
            zerocopy::FromZeros::new_zeroed()
        })
    }
}

/// Whether a region in this role is only read.
fn is_image(role: Role) -> bool {
    matches!(role, Role::Kernel | Role::Initramfs | Role::Dtb | Role::DtbFragment)
}
