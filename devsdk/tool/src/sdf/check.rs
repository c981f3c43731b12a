// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Rules that concern several elements.

use super::{At, Domain, MAX_DOMAINS, Map, System};
use crate::rule::{Result, Rule};

/// Checks `system`.
pub fn check(system: &System) -> Result<()> {
    let count = system.domains.len();
    if count > MAX_DOMAINS {
        return Err(system.at.element(Rule::TooMany { count, max: MAX_DOMAINS }));
    }
    let machines = || system.domains.iter().filter_map(|domain| domain.machine.as_ref());
    unique("name", system.regions.iter().map(|region| (&region.at, region.name.clone())))?;
    unique("name", system.domains.iter().map(|domain| (&domain.at, domain.name.clone())))?;
    unique("name", machines().map(|machine| (&machine.at, machine.name.clone())))?;
    unique("irq", system.domains.iter().flat_map(|domain| &domain.irqs).map(|irq| (&irq.at, irq.number)))?;
    for (index, domain) in system.domains.iter().enumerate() {
        if domain.name == "monitor" {
            return Err(domain.at.attribute("name", Rule::Reserved("monitor")));
        }
        ids(system, index, domain)?;
        maps(system, &domain.maps)?;
        maps(system, domain.machine.as_ref().map_or(&[], |machine| &machine.maps))?;
        for cap in &domain.caps {
            if system.domain(&cap.owner).is_none() {
                let rule = Rule::Unknown { kind: "protection domain", name: cap.owner.clone() };
                return Err(cap.at.attribute("pd", rule));
            }
        }
    }
    calls(system)?;
    physical(system)
}

/// Rejects the second element with the same value of `attribute`.
fn unique<'a, T: Ord + ToString>(attribute: &str, items: impl Iterator<Item = (&'a At, T)>) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for (at, item) in items {
        let text = item.to_string();
        if !seen.insert(item) {
            return Err(at.attribute(attribute, Rule::Duplicate(text)));
        }
    }
    Ok(())
}

/// The ids of a domain's channels and interrupts are bits of one badge; those of its children and virtual CPUs name the
/// source of a fault.
fn ids(system: &System, index: usize, domain: &Domain) -> Result<()> {
    let irqs = domain.irqs.iter().map(|irq| (&irq.at, irq.id));
    unique("id", irqs.chain(system.ends(index).map(|(end, _)| (&end.at, end.id))))?;
    let children = system.domains.iter().filter_map(|child| match child.parent {
        Some((parent, id)) if parent == index => Some((&child.at, id)),
        _ => None,
    });
    let vcpus = domain.machine.iter().flat_map(|machine| machine.vcpus.iter().map(|id| (&machine.at, *id)));
    unique("id", vcpus.chain(children))
}

/// Mappings of one address space do not overlap.
fn maps(system: &System, maps: &[Map]) -> Result<()> {
    let mut seen: Vec<(u64, u64, &str)> = Vec::new();
    for map in maps {
        let Some(region) = system.regions.get(map.region) else { continue };
        let (start, end) = (map.vaddr, map.vaddr + region.size);
        if let Some((_, _, other)) = seen.iter().find(|(other, other_end, _)| start < *other_end && *other < end) {
            let rule = Rule::Overlap { start, end, other: format!("the mapping of '{other}'") };
            return Err(map.at.attribute("vaddr", rule));
        }
        seen.push((start, end, &region.name));
    }
    Ok(())
}

/// A call goes to a higher priority: the callee runs on the caller's time.
fn calls(system: &System) -> Result<()> {
    for [a, b] in &system.channels {
        if a.call && b.call {
            return Err(b.at.attribute("pp", Rule::BothCall));
        }
        for (from, to) in [(a, b), (b, a)] {
            if let (true, Some(caller), Some(callee)) =
                (from.call, system.domains.get(from.domain), system.domains.get(to.domain))
                && caller.scheduling.priority >= callee.scheduling.priority
            {
                let rule = Rule::CallDown {
                    caller: caller.name.clone(),
                    low: caller.scheduling.priority,
                    callee: callee.name.clone(),
                    high: callee.scheduling.priority,
                };
                return Err(from.at.attribute("pp", rule));
            }
        }
    }
    Ok(())
}

/// Regions at fixed physical addresses do not overlap.
fn physical(system: &System) -> Result<()> {
    let mut seen: Vec<(u64, u64, &str)> = Vec::new();
    for region in &system.regions {
        let Some(start) = region.phys_addr else { continue };
        let end = start + region.size;
        if let Some((_, _, other)) = seen.iter().find(|(other, other_end, _)| start < *other_end && *other < end) {
            let rule = Rule::Overlap { start, end, other: format!("memory region '{other}'") };
            return Err(region.at.attribute("phys_addr", rule));
        }
        seen.push((start, end, &region.name));
    }
    Ok(())
}
