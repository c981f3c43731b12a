// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The system description: what it says, once every rule about it alone has been checked.
//!
//! What needs the programs themselves (symbols, segments) or the board's memory is checked when the image is planned.

mod check;
mod read;
mod xml;

use std::path::PathBuf;

use crate::rule::At;
pub use read::read;

/// The largest id of a channel, an interrupt, a child or a virtual CPU: each is a bit of a badge, whose top two mark
/// calls and faults.
const MAX_ID: u64 = 61;
/// The largest priority of a protection domain. The real SDK's monitor has 255.
const MAX_PRIORITY: u64 = 254;
/// Protection domains at most, as in the real SDK, whose monitor has tables of that size.
const MAX_DOMAINS: usize = 63;
/// Interrupts that a GIC can deliver have ids below this (GICv2 architecture, 2.2.1).
const MAX_IRQ: u64 = 1019;
/// The slots of a domain's root that it may fill, besides slot 0.
const MAX_ROOT_SLOT: u64 = 63;

/// A system.
#[derive(Debug, Default)]
pub struct System {
    /// Its root element.
    pub at: At,
    /// Memory regions.
    pub regions: Vec<Region>,
    /// Protection domains: each parent comes right before its first child.
    pub domains: Vec<Domain>,
    /// Channels: two ends each.
    pub channels: Vec<[End; 2]>,
}

/// A memory region.
#[derive(Debug)]
pub struct Region {
    /// Where it is declared.
    pub at: At,
    /// Unique name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Alignment of its addresses.
    pub page_size: u64,
    /// Physical address, if it is fixed.
    pub phys_addr: Option<u64>,
    /// Contents at its start.
    pub prefill: Option<Vec<u8>>,
}

/// A mapping of a memory region.
#[derive(Debug)]
pub struct Map {
    /// Where it is declared.
    pub at: At,
    /// Index of the region.
    pub region: usize,
    /// Virtual, or guest-physical, address.
    pub vaddr: u64,
    /// Flags of [`devsdk_image::Map`].
    pub flags: u64,
}

/// A protection domain.
#[derive(Debug)]
pub struct Domain {
    /// Where it is declared.
    pub at: At,
    /// Unique name.
    pub name: String,
    /// Parent's index and the id it gives to this domain.
    pub parent: Option<(usize, u64)>,
    /// Priority and time.
    pub scheduling: Scheduling,
    /// Whether it gives up its own time after its start.
    pub passive: bool,
    /// Whether it may use floating point.
    pub fpu: bool,
    /// Whether it may make SMC calls.
    pub smc: bool,
    /// Bytes of stack.
    pub stack_size: u64,
    /// Its program.
    pub program: Program,
    /// Mappings.
    pub maps: Vec<Map>,
    /// Interrupts.
    pub irqs: Vec<Irq>,
    /// Symbols of its program to set.
    pub setvars: Vec<SetVar>,
    /// Further capabilities.
    pub caps: Vec<RootCap>,
    /// Its virtual machine.
    pub machine: Option<Machine>,
}

/// Priority and time of a domain, or of each virtual CPU of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Scheduling {
    /// Priority.
    pub priority: u8,
    /// Microseconds of a period that it may run.
    pub budget: u64,
    /// Microseconds.
    pub period: u64,
}

/// The files of a program.
#[derive(Debug)]
pub struct Program {
    /// Where it is declared.
    pub at: At,
    /// The ELF file that is loaded.
    pub path: PathBuf,
    /// The ELF file that has its symbols, where that is another.
    pub symbols: Option<PathBuf>,
}

/// An interrupt.
#[derive(Debug)]
pub struct Irq {
    /// Where it is declared.
    pub at: At,
    /// INTID.
    pub number: u32,
    /// Badge bit.
    pub id: u64,
    /// Whether it is edge-triggered.
    pub edge: bool,
}

/// A symbol to set.
#[derive(Debug)]
pub struct SetVar {
    /// The element that asks for it.
    pub at: At,
    /// The attribute that names the symbol.
    pub attribute: &'static str,
    /// Symbol.
    pub symbol: String,
    /// What it is set to.
    pub value: Value,
}

/// What a symbol is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number of the description.
    Number(u64),
    /// The physical address of the region with this index.
    Paddr(usize),
}

/// A capability to another domain's object in a slot of this domain's root.
#[derive(Debug)]
pub struct RootCap {
    /// Where it is declared.
    pub at: At,
    /// A kind of [`devsdk_image::Cap`].
    pub kind: u32,
    /// Slot, 1 to [`MAX_ROOT_SLOT`].
    pub slot: u64,
    /// Name of the domain.
    pub owner: String,
}

/// A virtual machine.
#[derive(Debug)]
pub struct Machine {
    /// Where it is declared.
    pub at: At,
    /// Unique name.
    pub name: String,
    /// Priority and time of each virtual CPU.
    pub scheduling: Scheduling,
    /// Ids of its virtual CPUs.
    pub vcpus: Vec<u64>,
    /// Guest-physical memory.
    pub maps: Vec<Map>,
}

/// An end of a channel.
#[derive(Clone, Debug)]
pub struct End {
    /// Where it is declared.
    pub at: At,
    /// Index of the domain.
    pub domain: usize,
    /// The domain's id for the channel.
    pub id: u64,
    /// Whether this end may notify the other.
    pub notify: bool,
    /// Whether this end may call the other.
    pub call: bool,
}

impl System {
    /// The index of the domain called `name`.
    pub fn domain(&self, name: &str) -> Option<usize> {
        self.domains.iter().position(|domain| domain.name == name)
    }

    /// The ends at `domain`, each with the opposite end.
    pub fn ends(&self, domain: usize) -> impl Iterator<Item = (&End, &End)> {
        self.channels.iter().flat_map(|[a, b]| [(a, b), (b, a)]).filter(move |(end, _)| end.domain == domain)
    }

    /// Whether `domain` receives calls or faults.
    pub fn has_endpoint(&self, domain: usize) -> bool {
        self.domains.get(domain).is_some_and(|d| d.machine.is_some())
            || self.domains.iter().any(|d| d.parent.is_some_and(|(parent, _)| parent == domain))
            || self.ends(domain).any(|(_, other)| other.call)
    }

    /// The regions that nobody maps.
    pub fn unused(&self) -> impl Iterator<Item = &Region> {
        let mapped = |index| {
            let machines = self.domains.iter().filter_map(|domain| domain.machine.as_ref());
            let maps = self.domains.iter().map(|domain| &domain.maps).chain(machines.map(|machine| &machine.maps));
            maps.flatten().any(|map| map.region == index)
        };
        self.regions.iter().enumerate().filter(move |(index, _)| !mapped(*index)).map(|(_, region)| region)
    }
}
