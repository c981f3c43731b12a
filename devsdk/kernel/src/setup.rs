// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Makes the objects that the boot description lists.

use core::{fmt, str};

use devsdk_image::{BADGE_FAULT, Boot, Cap, Domain, Error, NONE, STACK_TOP, slot};

use crate::abi;
use crate::arch;
use crate::gic;
use crate::kernel::{Id, Kernel, MAX_DOMAINS, MAX_VCPUS, State, VcpuId};
use crate::mmu::{Exhausted, Pool, Space};
use crate::schedule::SchedContext;

/// Why the system cannot start.
pub enum Refusal {
    Description(Error),
    TooMany,
    Pool,
    Core,
    Interrupt(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Description(error) => write!(f, "the boot description is broken: {error:?}"),
            Self::TooMany => f.write_str("too many protection domains, virtual CPUs or capabilities"),
            Self::Pool => f.write_str("not enough memory for page tables"),
            Self::Core => f.write_str("there is only one core"),
            Self::Interrupt(number) => write!(f, "interrupt {number} cannot be given to a protection domain"),
        }
    }
}

impl From<Exhausted> for Refusal {
    fn from(_: Exhausted) -> Self {
        Self::Pool
    }
}

impl Kernel {
    /// Fills memory as described and creates every object; domains are ready to run.
    pub fn set_up(&mut self, description: &'static [u8]) -> Result<(), Refusal> {
        let boot = Boot::parse(description).map_err(Refusal::Description)?;
        if boot.domains.len() > MAX_DOMAINS || boot.vcpus.len() > MAX_VCPUS || boot.caps.len() > usize::from(u16::MAX) {
            return Err(Refusal::TooMany);
        }
        if boot.domains.iter().any(|domain| domain.cpu != 0) || boot.vcpus.iter().any(|vcpu| vcpu.cpu != 0) {
            return Err(Refusal::Core);
        }
        fill_memory(&boot);
        // SAFETY: the tool reserves this memory for the kernel's tables.
        let mut pool = unsafe { Pool::new(boot.header.pool, boot.header.pool_size) };
        let mut vmid = 1..256;
        let mut space = |maps: &[devsdk_image::Map]| -> Result<u64, Refusal> {
            let space = Space::new(vmid.next().ok_or(Refusal::TooMany)?, &mut pool)?;
            maps.iter().try_for_each(|map| space.map(map, &mut pool))?;
            Ok(space.vttbr())
        };

        self.boot = Some(boot);
        for (index, domain) in boot.domains.iter().enumerate() {
            let vttbr = space(&boot.maps[domain.maps.indices()])?;
            self.add_domain(Id(index), domain, &boot.caps[domain.caps.indices()], vttbr);
        }
        for (index, machine) in boot.machines.iter().enumerate() {
            let vttbr = space(&boot.maps[machine.maps.indices()])?;
            for number in (0..boot.vcpus.len()).filter(|number| boot.vcpus[*number].machine as usize == index) {
                let id = Id(boot.domains.len() + number);
                let context = SchedContext::new(id, machine.budget, machine.period);
                let thread = self.thread(id);
                thread.handler = Some((Id(machine.domain as usize), BADGE_FAULT | u64::from(boot.vcpus[number].id)));
                thread.vcpu = Some(VcpuId(number));
                thread.fpu_allowed = true;
                thread.name = text(&machine.name);
                self.add_thread(id, machine.priority, context, vttbr);
            }
        }
        for irq in boot.irqs {
            let kernels = [gic::TIMER, gic::VTIMER, gic::MAINTENANCE].contains(&irq.number);
            match self.interrupts.get_mut(irq.number as usize) {
                Some(entry) if entry.is_none() && !kernels => {
                    *entry = Some((Id(irq.domain as usize), 1 << irq.id));
                    gic::set_edge(irq.number, irq.edge != 0);
                    gic::set_enabled(irq.number, true);
                }
                _ => return Err(Refusal::Interrupt(irq.number)),
            }
        }
        (0..boot.domains.len()).for_each(|index| self.enqueue(Id(index), false));
        Ok(())
    }

    fn add_domain(&mut self, id: Id, record: &'static Domain, caps: &[Cap], vttbr: u64) {
        let context = SchedContext::new(id, record.budget, record.period);
        let thread = self.thread(id);
        if record.parent != NONE {
            thread.handler = Some((Id(record.parent as usize), BADGE_FAULT | u64::from(record.id)));
        }
        thread.state = State::Running;
        thread.context.elr = record.entry;
        thread.context.fault_ip = record.entry;
        thread.context.sp = STACK_TOP;
        thread.fpu_allowed = record.flags & Domain::FPU != 0;
        thread.ipc_buffer = record.ipc_buffer;
        thread.name = text(&record.name);
        self.add_thread(id, record.priority, context, vttbr);
        let domain = &mut self.domains[id.0];
        domain.has_endpoint = record.flags & Domain::ENDPOINT != 0;
        domain.passive = record.flags & Domain::PASSIVE != 0;
        for (index, cap) in record.caps.indices().zip(caps).filter(|(_, cap)| cap.slot < slot::COUNT) {
            domain.slots[cap.slot as usize] = index as u16 + 1;
        }
    }

    fn add_thread(&mut self, id: Id, priority: u32, context: SchedContext, vttbr: u64) {
        self.contexts[id.0] = context;
        let thread = self.thread(id);
        // A virtual CPU has no PSTATE before its monitor gives it one.
        thread.context.spsr = if thread.vcpu.is_some() { 0 } else { abi::PSTATE_USER };
        thread.context_used = Some(id);
        // The tool has checked that it is at most 254.
        thread.priority = priority as u8;
        thread.vttbr = vttbr;
    }
}

fn fill_memory(boot: &Boot) {
    for zero in boot.zeroes {
        // SAFETY: the tool lists memory of domains and guests, outside the image, that is not in use yet.
        unsafe { arch::clear(zero.address, zero.size) };
    }
    for load in boot.loads {
        // SAFETY: from inside the image to memory that the tool gives to a region; the two do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(load.from as *const u8, load.to as *mut u8, load.size as usize) };
    }
    arch::dsb();
}

fn text(name: &'static [u8; 64]) -> &'static str {
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    str::from_utf8(&name[..length]).unwrap_or("?")
}
