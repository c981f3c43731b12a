// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What `system.xml` says, as far as the configuration depends on it.
//!
//! The Microkit tool checks the rest of the format afterwards: unknown elements and attributes, duplicate names and ids,
//! overlapping maps, limits of the kernel.

use crate::instruction::{Instruction, Target};
use crate::problem::{Problem, Report};
use crate::source::{At, Sources};
use roxmltree::{Document, Node, NodeId};
use std::str::FromStr;

/// A `memory_region`.
pub struct Region {
    pub at: At,
    pub name: String,
    /// `None` if the file decides, or if it is no number.
    pub size: Option<u64>,
    /// Has a `size`, be it a number or not.
    pub is_sized: bool,
    /// Has a physical address.
    pub is_device: bool,
    pub prefill_path: Option<String>,
}

/// A `map` of a PD or of a virtual machine.
pub struct Map {
    pub at: At,
    pub region: String,
    /// `None` if it is no number.
    pub vaddr: Option<u64>,
    /// In the order `rwx`.
    pub perms: String,
    pub cached: bool,
}

/// A `virtual_machine`.
pub struct Guest {
    pub at: At,
    pub name: String,
    /// `None` if it is no number.
    pub priority: Option<u64>,
    /// `None` for one that is no number.
    pub vcpus: Vec<Option<u64>>,
    /// The core of each vCPU, where it says.
    pub cores: Vec<Option<u64>>,
    pub maps: Vec<Map>,
}

/// A `protection_domain`.
pub struct Domain {
    pub at: At,
    pub node: NodeId,
    pub name: String,
    /// Of one in another domain, that domain and Microkit's id in it.
    pub parent: Option<(NodeId, u8)>,
    /// The path of its program image, if it has one.
    pub program: Option<String>,
    /// `None` if it is no number.
    pub priority: Option<u64>,
    /// The core, if it says.
    pub core: Option<u64>,
    pub smc: bool,
    pub passive: bool,
    pub maps: Vec<Map>,
    /// Microkit's ids of its interrupts.
    pub irqs: Vec<u8>,
    pub guest: Option<Guest>,
    pub instructions: Vec<Instruction>,
}

impl Domain {
    /// Whether an instruction says that it is a `target`.
    pub fn is(&self, target: Target) -> bool {
        self.instructions.iter().any(|instruction| instruction.target == target)
    }
}

/// One end of a channel.
pub struct End {
    pub pd: String,
    pub id: u8,
    pub notify: bool,
    pub pp: bool,
}

/// A `channel`.
pub struct Channel {
    pub at: At,
    pub ends: Vec<End>,
}

/// The whole system, in document order.
#[derive(Default)]
pub struct System {
    pub regions: Vec<Region>,
    pub domains: Vec<Domain>,
    pub channels: Vec<Channel>,
    /// Every `cpu` of a PD or a vCPU.
    pub cpus: Vec<(At, u64)>,
}

impl System {
    /// Reads `document`; what cannot be read is in `report`, and left out.
    pub fn read(document: &Document, sources: &Sources, report: &mut Report) -> Self {
        let mut reader = Reader { sources, report };
        let mut system = Self::default();
        for node in document.root_element().descendants() {
            if node.is_element() {
                if let Some(cpu) = node.attribute("cpu").and_then(number) {
                    system.cpus.push((At::node(&node), cpu));
                }
                match node.tag_name().name() {
                    "memory_region" => system.regions.push(reader.region(node)),
                    "protection_domain" => system.domains.push(reader.domain(node)),
                    "channel" => system.channels.push(reader.channel(node)),
                    _ => {}
                }
            } else if let Some(text) = node.text().filter(|text| node.is_text() && !text.trim().is_empty()) {
                let words: Vec<&str> = text.split_whitespace().collect();
                let at = words.first().map_or(At::node(&node), |word| At::word(&node, word));
                let text = words.join(" ");
                reader.report.add(sources.place(at), Problem::StrayText { text });
            } else if let Some(pi) = node.pi().filter(|pi| !in_domain(node) && !pi.target.starts_with("xml")) {
                reader.add(&node, Problem::InstructionOutside { target: pi.target.to_owned() });
            }
        }
        system
    }

    /// The region called `name`.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name == name)
    }

    /// Every map of `region` with its owner: the PD, and the guest if it is the guest's.
    pub fn maps_of<'a>(&'a self, region: &'a str) -> impl Iterator<Item = (&'a Domain, Option<&'a Guest>, &'a Map)> {
        let all = self.domains.iter().flat_map(|domain| {
            let own = domain.maps.iter().map(move |map| (domain, None, map));
            let guests = domain.guest.iter().flat_map(move |g| g.maps.iter().map(move |map| (domain, Some(g), map)));
            own.chain(guests)
        });
        all.filter(move |(_, _, map)| map.region == region)
    }

    /// The channels between two PDs, each with the end of `a` first.
    pub fn channels_between<'a>(&'a self, a: &'a str, b: &'a str) -> impl Iterator<Item = (At, &'a End, &'a End)> {
        self.channels.iter().filter_map(move |channel| match channel.ends.as_slice() {
            [x, y] if x.pd == a && y.pd == b => Some((channel.at, x, y)),
            [y, x] if x.pd == a && y.pd == b => Some((channel.at, x, y)),
            _ => None,
        })
    }
}

/// An address, size or count as SDF writes it: decimal, or hexadecimal after 0x, with `_` between digits.
pub fn number(value: &str) -> Option<u64> {
    let digits = value.replace('_', "");
    match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

fn in_domain(node: Node) -> bool {
    node.parent_element().is_some_and(|parent| parent.has_tag_name("protection_domain"))
}

struct Reader<'a> {
    sources: &'a Sources,
    report: &'a mut Report,
}

impl Reader<'_> {
    fn add(&mut self, node: &Node, problem: Problem) {
        self.report.add(self.sources.place(At::node(node)), problem);
    }

    fn region(&mut self, node: Node) -> Region {
        Region {
            at: At::node(&node),
            name: self.text(node, "name"),
            size: self.number(node, "size"),
            is_sized: node.has_attribute("size"),
            is_device: node.has_attribute("phys_addr"),
            prefill_path: node.attribute("prefill_path").map(str::to_owned),
        }
    }

    fn domain(&mut self, node: Node) -> Domain {
        let mut domain = Domain {
            at: At::node(&node),
            node: node.id(),
            name: self.text(node, "name"),
            parent: node.parent_element().filter(|parent| parent.has_tag_name("protection_domain")).map(|parent| {
                let id = self.decimal(node, "id").unwrap_or(0);
                (parent.id(), id)
            }),
            program: None,
            priority: self.priority(node),
            core: self.number(node, "cpu"),
            smc: node.attribute("smc") == Some("true"),
            passive: node.attribute("passive") == Some("true"),
            maps: Vec::new(),
            irqs: Vec::new(),
            guest: None,
            instructions: Vec::new(),
        };
        for child in node.children() {
            if let Some(pi) = child.pi() {
                let at = At::node(&child);
                match Instruction::read(at, pi.target, pi.value.unwrap_or(""), self.sources.entities()) {
                    Ok(instruction) => domain.instructions.extend(instruction),
                    Err(problem) => self.add(&child, problem),
                }
            }
            match child.tag_name().name() {
                "map" => domain.maps.push(self.map(child)),
                "irq" => {
                    self.decimal::<u64>(child, "irq");
                    domain.irqs.push(self.decimal(child, "id").unwrap_or(0));
                }
                "virtual_machine" => domain.guest = Some(self.guest(child)),
                "program_image" => domain.program = child.attribute("path").map(str::to_owned),
                _ => {}
            }
        }
        domain
    }

    fn guest(&mut self, node: Node) -> Guest {
        let named = |name| node.children().filter(move |child| child.has_tag_name(name));
        Guest {
            at: At::node(&node),
            name: self.text(node, "name"),
            priority: self.priority(node),
            vcpus: named("vcpu").map(|vcpu| self.decimal(vcpu, "id")).collect(),
            cores: named("vcpu").map(|vcpu| self.number(vcpu, "cpu")).collect(),
            maps: named("map").map(|map| self.map(map)).collect(),
        }
    }

    fn map(&mut self, node: Node) -> Map {
        let given = node.attribute("perms").unwrap_or("rw");
        Map {
            at: At::node(&node),
            region: self.text(node, "mr"),
            vaddr: {
                self.text(node, "vaddr");
                self.number(node, "vaddr")
            },
            perms: "rwx".chars().filter(|c| given.contains(*c)).collect(),
            cached: node.attribute("cached") != Some("false"),
        }
    }

    fn channel(&mut self, node: Node) -> Channel {
        let ends = node.children().filter(|child| child.has_tag_name("end"));
        let ends = ends.map(|end| End {
            pd: self.text(end, "pd"),
            id: self.decimal(end, "id").unwrap_or(0),
            notify: end.attribute("notify") != Some("false"),
            pp: end.attribute("pp") == Some("true"),
        });
        Channel { at: At::node(&node), ends: ends.collect() }
    }

    /// The value of a mandatory attribute; empty if it is missing.
    fn text(&mut self, node: Node, attribute: &'static str) -> String {
        if !node.has_attribute(attribute) {
            let element = node.tag_name().name().to_owned();
            self.add(&node, Problem::AttributeMissing { element, attribute });
        }
        node.attribute(attribute).unwrap_or("").to_owned()
    }

    /// An address, size or priority, where there is one.
    fn number(&mut self, node: Node, attribute: &'static str) -> Option<u64> {
        let value = node.attribute(attribute)?;
        let number = number(value);
        if number.is_none() {
            self.add(&node, Problem::NumberSyntax { attribute, value: value.to_owned() });
        }
        number
    }

    /// Microkit's default is the lowest priority.
    fn priority(&mut self, node: Node) -> Option<u64> {
        if node.has_attribute("priority") { self.number(node, "priority") } else { Some(0) }
    }

    /// A mandatory id or interrupt number, which the Microkit tool reads in decimal only, and panics on anything else.
    fn decimal<T: FromStr>(&mut self, node: Node, attribute: &'static str) -> Option<T> {
        let value = self.text(node, attribute);
        let number = value.parse().ok().filter(|_| value.chars().all(|c| c.is_ascii_digit()));
        if number.is_none() && !value.is_empty() {
            self.add(&node, Problem::DecimalSyntax { attribute, value });
        }
        number
    }
}
