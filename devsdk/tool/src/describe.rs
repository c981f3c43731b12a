// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The boot description of a system.

use devsdk_image::{
    BADGE_CALL, Cap, Domain, Header, Irq, Load, MAGIC, Machine, Map, NONE, STACK_TOP, Span, Vcpu, Zero, name, slot,
};
use zerocopy::{Immutable, IntoBytes};

use crate::sdf::System;

/// The tables of a boot description.
#[derive(Debug, Default)]
pub struct Description {
    /// See [`Header::zeroes`].
    pub zeroes: Vec<Zero>,
    /// See [`Header::loads`].
    pub loads: Vec<Load>,
    /// See [`Header::maps`].
    pub maps: Vec<Map>,
    domains: Vec<Domain>,
    machines: Vec<Machine>,
    vcpus: Vec<Vcpu>,
    irqs: Vec<Irq>,
    caps: Vec<Cap>,
}

impl Description {
    /// Everything about `system` but its memory.
    pub fn new(system: &System) -> Self {
        let mut description = Self::default();
        for index in 0..system.domains.len() {
            description.domain(system, index);
        }
        description
    }

    fn domain(&mut self, system: &System, index: usize) {
        let Some(domain) = system.domains.get(index) else { return };
        let mut caps = Vec::new();
        let mut cap = |slot, kind, object, badge| caps.push(Cap { slot, kind, object, badge });
        for (end, other) in system.ends(index) {
            if end.notify {
                cap(slot::NOTIFICATION + end.id, Cap::NOTIFICATION, number(other.domain), 1 << other.id);
            }
            if end.call {
                cap(slot::ENDPOINT + end.id, Cap::ENDPOINT, number(other.domain), BADGE_CALL | other.id);
            }
        }
        for irq in &domain.irqs {
            cap(slot::IRQ + irq.id, Cap::IRQ, number(self.irqs.len()), 0);
            let (edge, id) = (irq.edge.into(), number(irq.id));
            self.irqs.push(Irq { number: irq.number, edge, domain: number(index), id });
        }
        for (child, id) in system.domains.iter().enumerate().filter_map(|(child, d)| match d.parent {
            Some((parent, id)) if parent == index => Some((child, id)),
            _ => None,
        }) {
            cap(slot::CHILD_TCB + id, Cap::TCB, number(child), 0);
        }
        let mut machine = NONE;
        if let Some(vm) = &domain.machine {
            machine = number(self.machines.len());
            let vcpus = Span { start: number(self.vcpus.len()), count: number(vm.vcpus.len()) };
            for id in &vm.vcpus {
                let vcpu = number(self.vcpus.len());
                cap(slot::VCPU_TCB + id, Cap::VCPU_TCB, vcpu, 0);
                cap(slot::VCPU + id, Cap::VCPU, vcpu, 0);
                self.vcpus.push(Vcpu { machine, id: number(*id), cpu: 0, reserved: 0 });
            }
            self.machines.push(Machine {
                name: name(&vm.name),
                budget: vm.scheduling.budget,
                period: vm.scheduling.period,
                domain: number(index),
                priority: vm.scheduling.priority.into(),
                maps: Span::default(),
                vcpus,
            });
        }
        if domain.smc {
            cap(slot::SMC, Cap::SMC, 0, 0);
        }
        for root in &domain.caps {
            cap(root.slot << slot::ROOT_SHIFT, root.kind, system.domain(&root.owner).map_or(NONE, number), 0);
        }
        let flags = [
            (domain.passive, Domain::PASSIVE),
            (system.has_endpoint(index), Domain::ENDPOINT),
            (domain.fpu, Domain::FPU),
        ];
        self.domains.push(Domain {
            name: name(&domain.name),
            entry: 0,
            ipc_buffer: 0,
            stack_bottom: STACK_TOP - domain.stack_size,
            budget: domain.scheduling.budget,
            period: domain.scheduling.period,
            parent: domain.parent.map_or(NONE, |(parent, _)| number(parent)),
            id: domain.parent.map_or(0, |(_, id)| number(id)),
            machine,
            cpu: 0,
            priority: domain.scheduling.priority.into(),
            flags: flags.iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag),
            maps: Span::default(),
            caps: Span { start: number(self.caps.len()), count: number(caps.len()) },
        });
        self.caps.append(&mut caps);
    }

    /// Adds the address space of the domain `index`.
    pub fn set_domain(&mut self, index: usize, entry: u64, ipc_buffer: u64, maps: Vec<Map>) {
        let span = Span { start: number(self.maps.len()), count: number(maps.len()) };
        self.maps.extend(maps);
        if let Some(domain) = self.domains.get_mut(index) {
            (domain.entry, domain.ipc_buffer, domain.maps) = (entry, ipc_buffer, span);
        }
    }

    /// Adds the address space of the machine of the domain `index`.
    pub fn set_machine(&mut self, index: usize, maps: Vec<Map>) {
        let span = Span { start: number(self.maps.len()), count: number(maps.len()) };
        self.maps.extend(maps);
        if let Some(machine) = self.machines.iter_mut().find(|machine| machine.domain == number(index)) {
            machine.maps = span;
        }
    }

    /// Bytes of the description if it gets `maps` mappings and `blocks` blocks of memory.
    pub fn size(&self, maps: usize, blocks: usize) -> usize {
        // A block has at most two parts to clear and one to load.
        size_of::<Header>()
            + blocks * (2 * size_of::<Zero>() + size_of::<Load>())
            + maps * size_of::<Map>()
            + self.fixed_tables().iter().map(|bytes| bytes.len()).sum::<usize>()
    }

    fn fixed_tables(&self) -> [&[u8]; 5] {
        [
            self.domains.as_bytes(),
            self.machines.as_bytes(),
            self.vcpus.as_bytes(),
            self.irqs.as_bytes(),
            self.caps.as_bytes(),
        ]
    }

    /// The description, as it is in memory.
    pub fn to_bytes(&self, image_end: u64, pool: &std::ops::Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Header>()];
        let mut header = Header {
            magic: MAGIC,
            image_end,
            pool: pool.start,
            pool_size: pool.end - pool.start,
            zeroes: append(&mut bytes, &self.zeroes),
            loads: append(&mut bytes, &self.loads),
            domains: append(&mut bytes, &self.domains),
            machines: append(&mut bytes, &self.machines),
            vcpus: append(&mut bytes, &self.vcpus),
            irqs: append(&mut bytes, &self.irqs),
            maps: append(&mut bytes, &self.maps),
            caps: append(&mut bytes, &self.caps),
            length: 0,
        };
        header.length = bytes.len() as u64;
        if let Some(place) = bytes.get_mut(..size_of::<Header>()) {
            place.copy_from_slice(header.as_bytes());
        }
        bytes
    }
}

fn append<T: IntoBytes + Immutable>(bytes: &mut Vec<u8>, table: &[T]) -> Span {
    let span = Span { start: number(bytes.len()), count: number(table.len()) };
    bytes.extend_from_slice(table.as_bytes());
    span
}

/// An index or id as the description has it; [`NONE`] if it does not fit, which the kernel rejects.
fn number<T: TryInto<u32>>(value: T) -> u32 {
    value.try_into().unwrap_or(NONE)
}
