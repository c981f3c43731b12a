// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Reads the description, element by element. Rules that concern several elements are in `check`.

use std::fs;
use std::path::PathBuf;

use devsdk_image::{ADDRESS_SPACE, Cap, Map as Access, PAGE_SIZE, STACK_TOP};

use super::xml::Element;
use super::{
    Domain, End, Irq, MAX_ID, MAX_IRQ, MAX_PRIORITY, MAX_ROOT_SLOT, Machine, Map, Program, Region, RootCap, Scheduling,
    SetVar, System, Value, check,
};
use crate::rule::{At, Result, Rule};
use crate::search::Search;

const LARGE_PAGE_SIZE: u64 = 0x20_0000;
const DEFAULT_BUDGET: u64 = 1000;
const DEFAULT_STACK: u64 = 0x2000;
const MAX_STACK: u64 = 0x100_0000;

/// Reads and checks the description in `xml`; prefill files are looked for in `search`.
pub fn read(xml: &str, search: &Search) -> Result<System> {
    let document = roxmltree::Document::parse(xml).map_err(|error| {
        let at = At { element: String::new(), line: error.pos().row };
        at.element(Rule::Xml(error))
    })?;
    let root = Element::new(document.root_element());
    if root.name() != "system" {
        return Err(root.at.element(Rule::Root));
    }
    if root.has_text() {
        return Err(root.at.element(Rule::Text));
    }
    let mut system = System { at: root.at.clone(), ..System::default() };
    // Mappings name regions, and channels name domains, that may be declared later.
    for element in root.children() {
        match element.name() {
            "memory_region" => system.regions.push(region(&element, search)?),
            "protection_domain" | "channel" => (),
            "virtual_machine" => return Err(element.at.element(Rule::MachineOutside)),
            "domains" => return Err(element.at.element(Rule::Devsdk("scheduling domains"))),
            "io_address_space" => return Err(element.at.element(Rule::Architecture("I/O address spaces"))),
            _ => return element.unknown(),
        }
    }
    for element in root.children().filter(|element| element.name() == "protection_domain") {
        domain(&mut system, &element, None)?;
    }
    for element in root.children().filter(|element| element.name() == "channel") {
        channel(&mut system, &element)?;
    }
    if system.domains.is_empty() {
        return Err(root.at.element(Rule::MissingElement("protection_domain")));
    }
    check::check(&system)?;
    Ok(system)
}

fn region(element: &Element, search: &Search) -> Result<Region> {
    element.known(&["name", "size", "page_size", "phys_addr", "prefill_path", "prefill_bootinfo"])?;
    let at = &element.at;
    let page_size = element.number("page_size")?.unwrap_or(PAGE_SIZE);
    if ![PAGE_SIZE, LARGE_PAGE_SIZE].contains(&page_size) {
        return Err(at.attribute("page_size", Rule::choice(&format!("{page_size:#x}"), "0x1000 or 0x200000")));
    }
    if element.get("prefill_bootinfo").is_some() {
        return Err(at.attribute("prefill_bootinfo", Rule::Devsdk("boot information records")));
    }
    let prefill = element.get("prefill_path").map(|name| prefill(at, name, search)).transpose()?;
    let size = match (element.number("size")?, &prefill) {
        (Some(size), _) => aligned(at, "size", size, page_size)?,
        (None, Some(bytes)) => (bytes.len() as u64).next_multiple_of(page_size),
        (None, None) => return Err(at.attribute("size", Rule::SizeUnknown)),
    };
    if let Some(file) = prefill.as_ref().map(|bytes| bytes.len() as u64).filter(|file| *file > size) {
        return Err(at.attribute("prefill_path", Rule::PrefillTooLong { file, region: size }));
    }
    outside(at, "size", 0, size, ADDRESS_SPACE)?;
    let phys_addr = element.number("phys_addr")?;
    if let Some(start) = phys_addr {
        aligned(at, "phys_addr", start, page_size)?;
        outside(at, "phys_addr", start, size, ADDRESS_SPACE)?;
    }
    let name = element.require("name")?.to_owned();
    Ok(Region { at: at.clone(), name, size, page_size, phys_addr, prefill })
}

fn prefill(at: &At, name: &str, search: &Search) -> Result<Vec<u8>> {
    let fail = |rule| at.attribute("prefill_path", rule);
    let path = search.find(name.as_ref()).ok_or_else(|| fail(Rule::NotFound(name.to_owned())))?;
    let bytes = fs::read(&path)
        .map_err(|error| fail(Rule::File { path: path.display().to_string(), reason: error.to_string() }))?;
    if bytes.is_empty() { Err(fail(Rule::Empty(name.to_owned()))) } else { Ok(bytes) }
}

fn aligned(at: &At, attribute: &str, value: u64, unit: u64) -> Result<u64> {
    if value.is_multiple_of(unit) { Ok(value) } else { Err(at.attribute(attribute, Rule::Unaligned { value, unit })) }
}

fn outside(at: &At, attribute: &str, start: u64, size: u64, limit: u64) -> Result<()> {
    let end = u128::from(start) + u128::from(size);
    if start < limit && end <= limit.into() {
        Ok(())
    } else {
        Err(at.attribute(attribute, Rule::Outside { start, end, limit }))
    }
}

fn domain(system: &mut System, element: &Element, parent: Option<usize>) -> Result<()> {
    let mut known =
        vec!["name", "priority", "budget", "period", "passive", "stack_size", "smc", "cpu", "domain", "fpu"];
    if parent.is_some() {
        known.extend(["id", "setvar_id"]);
    }
    element.known(&known)?;
    let at = &element.at;
    if element.get("domain").is_some() {
        return Err(at.attribute("domain", Rule::Devsdk("scheduling domains")));
    }
    element.number_within("cpu", 0, 0..=0)?;
    let stack_size = element.number_within("stack_size", DEFAULT_STACK, PAGE_SIZE..=MAX_STACK)?;
    aligned(at, "stack_size", stack_size, PAGE_SIZE)?;
    let parent = match parent {
        Some(parent) => {
            element.require("id")?;
            Some((parent, element.number_within("id", 0, 0..=MAX_ID)?))
        }
        None => None,
    };
    let index = system.domains.len();
    let mut domain = Domain {
        at: at.clone(),
        name: element.require("name")?.to_owned(),
        parent,
        scheduling: scheduling(element, MAX_PRIORITY)?,
        passive: element.bool("passive", false)?,
        fpu: element.bool("fpu", true)?,
        smc: element.bool("smc", false)?,
        stack_size,
        program: program(element)?,
        maps: Vec::new(),
        irqs: Vec::new(),
        setvars: Vec::new(),
        caps: Vec::new(),
        machine: None,
    };
    let mut children = Vec::new();
    let mut spaces = 0;
    for inner in element.children() {
        match inner.name() {
            "program_image" => (),
            "map" => {
                let map = map(system, &inner, true, STACK_TOP - stack_size)?;
                map_setvars(system, &inner, &map, &mut domain.setvars)?;
                domain.maps.push(map);
            }
            "irq" => {
                let irq = irq(&inner)?;
                setvar(&inner, "setvar_id", Value::Number(irq.id), &mut domain.setvars)?;
                domain.irqs.push(irq);
            }
            "setvar" => {
                inner.known(&["symbol", "region_paddr"])?;
                inner.require("symbol")?;
                let region = region_index(system, &inner, "region_paddr")?;
                setvar(&inner, "symbol", Value::Paddr(region), &mut domain.setvars)?;
            }
            "protection_domain" => children.push(inner),
            "virtual_machine" if domain.machine.is_some() => {
                return Err(inner.at.element(Rule::Repeated("virtual_machine")));
            }
            "virtual_machine" => domain.machine = Some(machine(system, &inner)?),
            "cspace" if spaces > 0 => return Err(inner.at.element(Rule::Repeated("cspace"))),
            "cspace" => {
                spaces += 1;
                domain.caps = root_caps(&inner)?;
            }
            "ioport" => return Err(inner.at.element(Rule::Architecture("I/O ports"))),
            _ => return inner.unknown(),
        }
    }
    system.domains.push(domain);
    for child in children {
        let position = system.domains.len();
        self::domain(system, &child, Some(index))?;
        let id = system.domains.get(position).and_then(|domain| domain.parent).map_or(0, |(_, id)| id);
        if let Some(parent) = system.domains.get_mut(index) {
            setvar(&child, "setvar_id", Value::Number(id), &mut parent.setvars)?;
        }
    }
    Ok(())
}

fn scheduling(element: &Element, max_priority: u64) -> Result<Scheduling> {
    let budget = element.number("budget")?.unwrap_or(DEFAULT_BUDGET);
    let period = element.number("period")?.unwrap_or(budget);
    if budget > period {
        return Err(element.at.attribute("budget", Rule::Budget { budget, period }));
    }
    let priority = element.number_within("priority", 0, 0..=max_priority)?;
    Ok(Scheduling { priority: u8::try_from(priority).unwrap_or(u8::MAX), budget, period })
}

fn program(element: &Element) -> Result<Program> {
    let mut images = element.children().filter(|inner| inner.name() == "program_image");
    let Some(image) = images.next() else {
        return Err(element.at.element(Rule::MissingElement("program_image")));
    };
    if let Some(second) = images.next() {
        return Err(second.at.element(Rule::Repeated("program_image")));
    }
    image.known(&["path", "path_for_symbols"])?;
    Ok(Program {
        at: image.at.clone(),
        path: image.require("path")?.into(),
        symbols: image.get("path_for_symbols").map(PathBuf::from),
    })
}

fn map(system: &System, element: &Element, setvars: bool, limit: u64) -> Result<Map> {
    let mut known = vec!["mr", "vaddr", "perms", "cached"];
    if setvars {
        known.extend(["setvar_vaddr", "setvar_size", "setvar_prefill_size"]);
    }
    element.known(&known)?;
    let at = &element.at;
    let index = region_index(system, element, "mr")?;
    let vaddr = element.require_number("vaddr")?;
    let perms = element.get("perms").unwrap_or("rw");
    let mut flags = perms.chars().try_fold(0, |flags, letter| match letter {
        'r' => Ok(flags | Access::READ),
        'w' => Ok(flags | Access::WRITE),
        'x' => Ok(flags | Access::EXECUTE),
        _ => Err(at.attribute("perms", Rule::choice(perms, "a combination of 'r', 'w' and 'x'"))),
    })?;
    if flags == Access::WRITE {
        return Err(at.attribute("perms", Rule::WriteOnly));
    }
    if flags & Access::READ == 0 {
        // seL4 grants nothing without the right to read.
        flags = 0;
    }
    if element.bool("cached", true)? {
        flags |= Access::CACHED;
    }
    if let Some(region) = system.regions.get(index) {
        if region.size == 0 {
            return Err(at.attribute("mr", Rule::EmptyRegion(region.name.clone())));
        }
        aligned(at, "vaddr", vaddr, region.page_size)?;
        outside(at, "vaddr", vaddr, region.size, limit)?;
    }
    Ok(Map { at: at.clone(), region: index, vaddr, flags })
}

fn region_index(system: &System, element: &Element, attribute: &str) -> Result<usize> {
    let name = element.require(attribute)?;
    system
        .regions
        .iter()
        .position(|region| region.name == name)
        .ok_or_else(|| element.at.attribute(attribute, Rule::Unknown { kind: "memory region", name: name.to_owned() }))
}

fn map_setvars(system: &System, element: &Element, map: &Map, setvars: &mut Vec<SetVar>) -> Result<()> {
    let Some(region) = system.regions.get(map.region) else { return Ok(()) };
    setvar(element, "setvar_vaddr", Value::Number(map.vaddr), setvars)?;
    setvar(element, "setvar_size", Value::Number(region.size), setvars)?;
    match &region.prefill {
        Some(bytes) => setvar(element, "setvar_prefill_size", Value::Number(bytes.len() as u64), setvars),
        None if element.get("setvar_prefill_size").is_some() => {
            Err(element.at.attribute("setvar_prefill_size", Rule::NotPrefilled(region.name.clone())))
        }
        None => Ok(()),
    }
}

/// Sets the symbol that `attribute` names, if it is there, to `value`.
fn setvar(element: &Element, attribute: &'static str, value: Value, setvars: &mut Vec<SetVar>) -> Result<()> {
    let Some(symbol) = element.get(attribute) else { return Ok(()) };
    if setvars.iter().any(|other| other.symbol == symbol) {
        return Err(element.at.attribute(attribute, Rule::Duplicate(symbol.to_owned())));
    }
    setvars.push(SetVar { at: element.at.clone(), attribute, symbol: symbol.to_owned(), value });
    Ok(())
}

fn irq(element: &Element) -> Result<Irq> {
    if element.get("pin").is_some() || element.get("pcidev").is_some() {
        return Err(element.at.element(Rule::Architecture("I/O APIC and PCI interrupts")));
    }
    element.known(&["irq", "id", "setvar_id", "trigger"])?;
    let id = element.decimal("id", 0..=MAX_ID)?;
    let number = element.decimal("irq", 0..=MAX_IRQ)?;
    let edge = match element.get("trigger") {
        None | Some("level") => false,
        Some("edge") => true,
        Some(other) => {
            return Err(element.at.attribute("trigger", Rule::choice(other, "'level' or 'edge'")));
        }
    };
    Ok(Irq { at: element.at.clone(), number: u32::try_from(number).unwrap_or(u32::MAX), id, edge })
}

fn machine(system: &System, element: &Element) -> Result<Machine> {
    element.known(&["name", "budget", "period", "priority"])?;
    let mut machine = Machine {
        at: element.at.clone(),
        name: element.require("name")?.to_owned(),
        scheduling: scheduling(element, u8::MAX.into())?,
        vcpus: Vec::new(),
        maps: Vec::new(),
    };
    for inner in element.children() {
        match inner.name() {
            // The real tool allows `setvar_id` here and does nothing with it.
            "vcpu" => {
                inner.known(&["id", "setvar_id", "cpu"])?;
                let id = inner.decimal("id", 0..=MAX_ID)?;
                if machine.vcpus.contains(&id) {
                    return Err(inner.at.attribute("id", Rule::Duplicate(id.to_string())));
                }
                inner.number_within("cpu", 0, 0..=0)?;
                machine.vcpus.push(id);
            }
            "map" => machine.maps.push(map(system, &inner, false, ADDRESS_SPACE)?),
            _ => return inner.unknown(),
        }
    }
    if machine.vcpus.is_empty() {
        return Err(element.at.element(Rule::MissingElement("vcpu")));
    }
    Ok(machine)
}

fn root_caps(element: &Element) -> Result<Vec<RootCap>> {
    element.known(&[])?;
    let mut caps: Vec<RootCap> = Vec::new();
    for inner in element.children() {
        let kind = match inner.name() {
            "cap_tcb" => Cap::TCB,
            "cap_sc" => Cap::SCHED_CONTEXT,
            "cap_vspace" => Cap::VSPACE,
            _ => return inner.unknown(),
        };
        inner.known(&["slot", "pd"])?;
        inner.require("slot")?;
        let slot = inner.number_within("slot", 0, 1..=MAX_ROOT_SLOT)?;
        if caps.iter().any(|other| other.slot == slot) {
            return Err(inner.at.attribute("slot", Rule::Duplicate(slot.to_string())));
        }
        caps.push(RootCap { at: inner.at.clone(), kind, slot, owner: inner.require("pd")?.to_owned() });
    }
    Ok(caps)
}

fn channel(system: &mut System, element: &Element) -> Result<()> {
    element.known(&[])?;
    let mut ends = Vec::new();
    for inner in element.children() {
        if inner.name() != "end" {
            return inner.unknown();
        }
        inner.known(&["pd", "id", "pp", "notify", "setvar_id"])?;
        let name = inner.require("pd")?;
        let Some(domain) = system.domain(name) else {
            let rule = Rule::Unknown { kind: "protection domain", name: name.to_owned() };
            return Err(inner.at.attribute("pd", rule));
        };
        let id = inner.decimal("id", 0..=MAX_ID)?;
        let (notify, call) = (inner.bool("notify", true)?, inner.bool("pp", false)?);
        if let Some(domain) = system.domains.get_mut(domain) {
            setvar(&inner, "setvar_id", Value::Number(id), &mut domain.setvars)?;
        }
        ends.push(End { at: inner.at.clone(), domain, id, notify, call });
    }
    let count = ends.len();
    let ends: [End; 2] = ends.try_into().map_err(|_| element.at.element(Rule::Ends(count)))?;
    system.channels.push(ends);
    Ok(())
}
