// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Packs a system: reads its programs, sets their symbols, places everything in memory.

use std::ops::Range;

use devsdk_image::{ADDRESS_SPACE, IPC_BUFFER, LOAD_ADDRESS, Load, Map, PAGE_SIZE, STACK_TOP, Zero};

use crate::describe::Description;
use crate::memory::{Block, Layout};
use crate::program::Program;
use crate::rule::{Result, Rule};
use crate::sdf::{self, System, Value};
use crate::search::Search;

/// A packed system.
#[derive(Debug)]
pub struct Packed {
    /// Every use of memory: regions in the order of the description, then programs, then the pool.
    pub blocks: Vec<Block>,
    /// The raw image.
    pub image: Vec<u8>,
    /// Memory of the kernel and the boot description.
    pub kernel: Range<u64>,
}

/// The kernel as it is in memory from [`LOAD_ADDRESS`], whole pages.
pub fn kernel(program: &Program) -> std::result::Result<Vec<u8>, String> {
    let start = program.segments.first().map(|segment| segment.start);
    if start != Some(LOAD_ADDRESS) || program.entry != LOAD_ADDRESS {
        return Err(format!("the kernel must start and be entered at {LOAD_ADDRESS:#x}"));
    }
    let mut bytes = Vec::new();
    for segment in &program.segments {
        bytes.resize(offset(segment.start), 0);
        bytes.extend_from_slice(&segment.bytes);
    }
    Ok(bytes)
}

/// Packs `system` for `kernel`; programs are looked for in `search`.
pub fn pack(system: &System, search: &Search, kernel: Vec<u8>) -> Result<Packed> {
    let mut programs = system.domains.iter().map(|domain| program(domain, search)).collect::<Result<Vec<_>>>()?;
    for (domain, program) in system.domains.iter().zip(&programs) {
        spaces_apart(system, domain, program)?;
    }
    let mut description = Description::new(system);
    let segments: usize = programs.iter().map(|program| program.segments.len()).sum();
    let own = segments + 2 * system.domains.len();
    let maps: usize = own
        + system.domains.iter().map(|d| d.maps.len() + d.machine.as_ref().map_or(0, |vm| vm.maps.len())).sum::<usize>();
    let size = description.size(maps, system.regions.len() + own + 1);
    let reserved = (kernel.len() + size) as u64;
    let mut layout = Layout::new(reserved.next_multiple_of(PAGE_SIZE));

    let mut blocks: Vec<Block> = system.regions.iter().map(region).collect();
    let at = |index| system.regions.get(index).map_or(&system.at, |region: &sdf::Region| &region.at);
    layout.fix(&mut blocks).map_err(|(index, rule)| at(index).attribute("phys_addr", rule))?;
    layout.place(&mut blocks, 0).map_err(|(index, rule)| at(index).attribute("size", rule))?;
    let exhausted = |(_, rule)| system.at.element(rule);

    let mut own = Vec::new();
    for (index, (domain, program)) in system.domains.iter().zip(&mut programs).enumerate() {
        set_symbols(system, index, domain, program, &blocks)?;
        own.extend(program.segments.iter().map(|segment| {
            let what = format!("program of {}", domain.name);
            Block::new(what, segment.bytes.len() as u64, segment.bytes.clone())
        }));
        own.push(Block::new(format!("stack of {}", domain.name), domain.stack_size, Vec::new()));
        own.push(Block::new(format!("IPC buffer of {}", domain.name), PAGE_SIZE, Vec::new()));
    }
    let first = blocks.len();
    layout.place(&mut own, first).map_err(exhausted)?;
    blocks.append(&mut own);

    let mut own = blocks.get(first..).unwrap_or_default().iter();
    for (index, (domain, program)) in system.domains.iter().zip(&programs).enumerate() {
        let mut maps: Vec<Map> = program
            .segments
            .iter()
            .zip(own.by_ref())
            .map(|(segment, block)| mapping(segment.start, block, segment.flags))
            .collect();
        let data = Map::READ | Map::WRITE | Map::CACHED;
        let stack = own.next().map(|block| mapping(STACK_TOP - domain.stack_size, block, data));
        let buffer = own.next().map(|block| mapping(IPC_BUFFER, block, data));
        maps.extend(domain.maps.iter().filter_map(|map| Some(mapping(map.vaddr, blocks.get(map.region)?, map.flags))));
        maps.extend(stack.into_iter().chain(buffer));
        description.set_domain(index, program.entry, buffer.map_or(0, |map| map.phys), maps);
        if let Some(machine) = &domain.machine {
            let maps = machine.maps.iter();
            let maps = maps.filter_map(|map| Some(mapping(map.vaddr, blocks.get(map.region)?, map.flags))).collect();
            description.set_machine(index, maps);
        }
    }

    let pool_size = pool_size(&description.maps, 2 * system.domains.len());
    let mut pool = [Block { dirty: true, ..Block::new("page tables".to_owned(), pool_size, Vec::new()) }];
    layout.place(&mut pool, blocks.len()).map_err(exhausted)?;
    blocks.extend(pool);
    let image = image(&kernel, &blocks, &layout, &mut description);
    Ok(Packed { blocks, image, kernel: LOAD_ADDRESS..LOAD_ADDRESS + reserved })
}

fn program(domain: &sdf::Domain, search: &Search) -> Result<Program> {
    let files = &domain.program;
    let find = |attribute, path: &std::path::Path| {
        search.find(path).ok_or_else(|| files.at.attribute(attribute, Rule::NotFound(path.display().to_string())))
    };
    let path = find("path", &files.path)?;
    let symbols = files.symbols.as_deref().map(|path| find("path_for_symbols", path)).transpose()?;
    Program::read(&path, symbols.as_deref()).map_err(|rule| files.at.attribute("path", rule))
}

/// The program overlaps neither the domain's mappings, nor its stack, nor its IPC buffer.
fn spaces_apart(system: &System, domain: &sdf::Domain, program: &Program) -> Result<()> {
    let own = [
        (STACK_TOP - domain.stack_size..STACK_TOP, "the domain's stack"),
        (IPC_BUFFER..ADDRESS_SPACE, "the domain's IPC buffer"),
    ];
    for segment in &program.segments {
        let range = segment.start..segment.end();
        if let Some((_, other)) = own.iter().find(|(own, _)| own.start < range.end && range.start < own.end) {
            let rule = Rule::Overlap { start: range.start, end: range.end, other: (*other).to_owned() };
            return Err(domain.program.at.attribute("path", rule));
        }
        for map in &domain.maps {
            let size = system.regions.get(map.region).map_or(0, |region| region.size);
            let (start, end) = (map.vaddr, map.vaddr + size);
            if start < range.end && range.start < end {
                let other = format!("the program's [{:#x}, {:#x})", range.start, range.end);
                return Err(map.at.attribute("vaddr", Rule::Overlap { start, end, other }));
            }
        }
    }
    Ok(())
}

fn region(region: &sdf::Region) -> Block {
    let contents = region.prefill.clone().unwrap_or_default();
    Block { fixed: region.phys_addr, ..Block::new(format!("region {}", region.name), region.size, contents) }
}

/// Tells a program who it is, and what the description wants it to know.
fn set_symbols(
    system: &System,
    index: usize,
    domain: &sdf::Domain,
    program: &mut Program,
    regions: &[Block],
) -> Result<()> {
    let bits = |ids: &mut dyn Iterator<Item = u64>| ids.fold(0u64, |bits, id| bits | 1 << id);
    let irqs = bits(&mut domain.irqs.iter().map(|irq| irq.id));
    let notifications = bits(&mut system.ends(index).filter(|(end, _)| end.notify).map(|(end, _)| end.id));
    let calls = bits(&mut system.ends(index).filter(|(end, _)| end.call).map(|(end, _)| end.id));
    let name = domain.name.as_bytes();
    let name = name.get(..64).unwrap_or(name);
    for (symbol, value) in [
        ("microkit_name", name),
        ("microkit_passive", &[domain.passive.into()]),
        ("microkit_irqs", &irqs.to_le_bytes()),
        ("microkit_notifications", &notifications.to_le_bytes()),
        ("microkit_pps", &calls.to_le_bytes()),
        ("microkit_ioports", &0u64.to_le_bytes()),
    ] {
        program.set_bytes(symbol, value).map_err(|rule| domain.program.at.attribute("path", rule))?;
    }
    for setvar in &domain.setvars {
        let value = match setvar.value {
            Value::Number(value) => value,
            Value::Paddr(region) => regions.get(region).map_or(0, |block| block.address),
        };
        program.set(&setvar.symbol, value).map_err(|rule| setvar.at.attribute(setvar.attribute, rule))?;
    }
    Ok(())
}

fn mapping(virt: u64, block: &Block, flags: u64) -> Map {
    Map { virt, phys: block.address, size: block.size, flags }
}

/// Enough for `spaces` address spaces with `maps`: roots with room for their alignment, and for each mapping a table for
/// each gibibyte and each 2 MiB that it touches.
fn pool_size(maps: &[Map], spaces: usize) -> u64 {
    let tables: u64 = maps.iter().map(|map| (map.size >> 30) + 2 + (map.size >> 21) + 2).sum();
    (tables + 4 * spaces as u64) * PAGE_SIZE
}

fn image(kernel: &[u8], blocks: &[Block], layout: &Layout, description: &mut Description) -> Vec<u8> {
    let cleared = blocks.iter().flat_map(|block| layout.cleared(block));
    description.zeroes = cleared.map(|range| Zero { address: range.start, size: range.end - range.start }).collect();
    let mut image = vec![0; offset(layout.image_end)];
    let mut put = |address: u64, bytes: &[u8]| {
        if let Some(place) = image.get_mut(offset(address)..).and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    };
    put(LOAD_ADDRESS, kernel);
    for block in blocks.iter().filter(|block| block.fixed.is_none()) {
        put(block.address, &block.contents);
    }
    for payload in &layout.payloads {
        let Some(block) = blocks.get(payload.block) else { continue };
        put(payload.address, &block.contents);
        let size = (block.contents.len() as u64).next_multiple_of(16);
        description.loads.push(Load { from: payload.address, to: block.address, size });
    }
    let pool = blocks.last().map_or(0..0, Block::range);
    put(LOAD_ADDRESS + kernel.len() as u64, &description.to_bytes(layout.image_end, &pool));
    image
}

/// Offset in the image of what is at `address`, which is below [`ADDRESS_SPACE`].
fn offset(address: u64) -> usize {
    usize::try_from(address.min(ADDRESS_SPACE).saturating_sub(LOAD_ADDRESS)).unwrap_or(usize::MAX)
}
