// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The report: what the image holds, for people.

use std::fmt::{self, Write};

use devsdk_image::Map as Access;

use crate::pack::Packed;
use crate::sdf::{Map, Scheduling, System};

/// The report about `system`, which became `packed`.
pub fn report(system: &System, packed: &Packed) -> String {
    let mut text = String::new();
    match write(&mut text, system, packed) {
        Ok(()) => text,
        Err(fmt::Error) => unreachable!("a string takes all text"),
    }
}

fn write(out: &mut String, system: &System, packed: &Packed) -> fmt::Result {
    writeln!(out, "This image runs on devsdk, a development stand-in. It is not seL4 and is not verified.")?;
    writeln!(out, "\nPhysical memory")?;
    let mut uses: Vec<_> = packed.blocks.iter().map(|block| (block.range(), block.what.as_str())).collect();
    uses.push((packed.kernel.clone(), "kernel and boot description"));
    uses.sort_by_key(|(range, _)| range.start);
    for (range, what) in uses {
        writeln!(out, "  {:#012x}–{:#012x}  {what}", range.start, range.end)?;
    }
    for (index, domain) in system.domains.iter().enumerate() {
        writeln!(out, "\nProtection domain {}", domain.name)?;
        scheduling(out, domain.scheduling)?;
        writeln!(out, "  program       {}", domain.program.path.display())?;
        writeln!(out, "  stack         {:#x} bytes", domain.stack_size)?;
        for (set, what) in [(domain.passive, "passive"), (domain.smc, "SMC calls"), (!domain.fpu, "no FPU")] {
            if set {
                writeln!(out, "  {what}")?;
            }
        }
        if let Some(parent) = domain.parent.and_then(|(parent, _)| system.domains.get(parent)) {
            writeln!(out, "  child of      {}, as {}", parent.name, domain.parent.map_or(0, |(_, id)| id))?;
        }
        maps(out, system, &domain.maps)?;
        for irq in &domain.irqs {
            let trigger = if irq.edge { "edge" } else { "level" };
            writeln!(out, "  interrupt {:3} is {}, {trigger}-triggered", irq.id, irq.number)?;
        }
        for (end, other) in system.ends(index) {
            let peer = system.domains.get(other.domain).map_or("", |peer| &peer.name);
            let rights = match (end.notify, end.call) {
                (true, true) => "notifies and calls",
                (true, false) => "notifies",
                (false, true) => "calls",
                (false, false) => "listens to",
            };
            writeln!(out, "  channel {:5} {rights} {peer}, channel {}", end.id, other.id)?;
        }
        for setvar in &domain.setvars {
            writeln!(out, "  sets          {}", setvar.symbol)?;
        }
        if let Some(machine) = &domain.machine {
            writeln!(out, "\nVirtual machine {} of {}", machine.name, domain.name)?;
            scheduling(out, machine.scheduling)?;
            let ids: Vec<String> = machine.vcpus.iter().map(u64::to_string).collect();
            writeln!(out, "  virtual CPUs  {}", ids.join(", "))?;
            maps(out, system, &machine.maps)?;
        }
    }
    Ok(())
}

fn scheduling(out: &mut String, scheduling: Scheduling) -> fmt::Result {
    let Scheduling { priority, budget, period } = scheduling;
    writeln!(out, "  priority      {priority}\n  time          {budget} µs in {period} µs")
}

fn maps(out: &mut String, system: &System, maps: &[Map]) -> fmt::Result {
    for map in maps {
        let Some(region) = system.regions.get(map.region) else { continue };
        let letter = |flag, letter| if map.flags & flag != 0 { letter } else { '-' };
        let perms = [letter(Access::READ, 'r'), letter(Access::WRITE, 'w'), letter(Access::EXECUTE, 'x')];
        let cached = if map.flags & Access::CACHED != 0 { "cached" } else { "device" };
        let perms = perms.iter().collect::<String>();
        writeln!(out, "  {:#012x}–{:#012x}  {perms} {cached}  {}", map.vaddr, map.vaddr + region.size, region.name)?;
    }
    Ok(())
}
