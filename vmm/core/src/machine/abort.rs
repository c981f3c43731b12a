// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Aborts: loads and stores to devices, and what becomes of an access where none is.
//!
//! The processor describes a load or store of one register without write-back (Arm ARM, `ESR_EL2.ISV`); any other is
//! decoded from the instruction. The guest may change that in the meantime, so it is used only if it fits the syndrome.

use super::{Event, Kind, Machine, UnmappedAccess};
use crate::VcpuId;
use crate::device::pl011::Console;
use crate::exception::{self, Exception, Fault};
use crate::exit::{Access, Reg, Regs, Resume, Syndrome};
use crate::instruction::{LoadStore, Transfer};
use crate::life::End;
use crate::map;
use crate::memory::GuestMemory;
use crate::stage1::{self, Untranslated};

/// Size of the smallest page: devices are as large or larger.
const PAGE: u64 = 0x1000;
/// `SPSR.M[4]`: AArch32.
const AARCH32: u64 = 1 << 4;

impl<M: GuestMemory, C: Console> Machine<M, C> {
    /// An abort of a load or store.
    #[inline(never)]
    pub(super) fn data_abort(&mut self, vcpu: VcpuId, gpa: u64, esr: Syndrome, regs: &mut impl Regs) -> (Kind, Resume) {
        if let Some(access) = esr.access() {
            if access.write
                && esr.is_32_bit()
                && let Some(offset) = map::VIRTIO.offset_of(gpa)
                && self.virtio.as_ref().is_some_and(|devices| devices.ignores_value(offset))
            {
                // Needs no register but the program counter: then AArch32 is resumed as what it is, and nothing has to be
                // asked, which is a system call. That is what virtio drivers do for each request.
                return self.virtio_write(vcpu, offset, access.width, 0);
            }
            if let Some(value) = value(access, regs)
                && let Some(done) = self.device_access(vcpu, gpa, access, value, regs)
            {
                return done;
            }
        }
        self.rare_data_abort(vcpu, gpa, esr, regs)
    }

    /// An abort of a load or store that is not one of a device as the processor describes it.
    #[cold]
    fn rare_data_abort(&mut self, vcpu: VcpuId, gpa: u64, esr: Syndrome, regs: &mut impl Regs) -> (Kind, Resume) {
        match esr.access() {
            Some(access) if value(access, regs).is_some() => {
                let what = if access.write { UnmappedAccess::Store } else { UnmappedAccess::Load };
                let va = self.instruction(gpa, esr, regs).map(|(_, va)| va);
                self.unmapped(gpa, what(access.width), Fault::External, va, esr, regs)
            }
            // Nothing is cached of what is not there.
            None if esr.is_cache_maintenance() => (Kind::Unmapped, Resume::Advance),
            None if esr.is_on_walk() => self.walk_abort(gpa, esr, regs),
            _ => self.undescribed(vcpu, gpa, esr, regs),
        }
    }

    /// An abort of an instruction fetch.
    pub(super) fn fetch_abort(
        &mut self,
        vcpu: VcpuId,
        gpa: u64,
        esr: Syndrome,
        regs: &mut impl Regs,
    ) -> (Kind, Resume) {
        let walk = if esr.is_on_walk() { self.walk(regs.get(Reg::Pc), regs) } else { None };
        let (gpa, access, fault) = match walk {
            Some((level, gpa)) => (gpa, UnmappedAccess::Walk, Fault::ExternalOnWalk(level)),
            None => (gpa, UnmappedAccess::Fetch, Fault::External),
        };
        self.report_unmapped(gpa, access, regs);
        let pc = regs.get(Reg::Pc);
        exception::take(Exception::InstructionAbort(fault), regs);
        if regs.get(Reg::Pc) != pc {
            return (Kind::Unmapped, Resume::Retry);
        }
        // What cannot be fetched is the handler of just this.
        let effects = self.effect();
        effects.event = Some(Event::Lost { vcpu, pc });
        effects.system = Some(End::Crash);
        (Kind::Unmapped, Resume::Off)
    }

    /// An abort of the walk for a load or store.
    fn walk_abort(&mut self, gpa: u64, esr: Syndrome, regs: &mut impl Regs) -> (Kind, Resume) {
        // seL4 can then tell no more of the physical address than its offset in a page, which is that of the virtual one.
        let va = self.instruction(gpa, esr, regs).map(|(_, va)| va);
        let walk = va.and_then(|va| self.walk(va, regs));
        let (gpa, fault) = match walk {
            Some((level, gpa)) => (gpa, Fault::ExternalOnWalk(level)),
            None => (gpa, Fault::External),
        };
        self.unmapped(gpa, UnmappedAccess::Walk, fault, va, esr, regs)
    }

    /// The level of the descriptor for `va` that is outside RAM, and its address.
    fn walk(&self, va: u64, regs: &mut impl Regs) -> Option<(u32, u64)> {
        match stage1::translate(va, &self.memory, regs) {
            Err(Untranslated::OutsideRam { level, gpa }) => Some((level, gpa)),
            _ => None,
        }
    }

    /// [`Self::device_access`] by an instruction that is decoded here.
    #[inline(never)]
    fn device_access_by(
        &mut self,
        vcpu: VcpuId,
        gpa: u64,
        access: Access,
        regs: &mut impl Regs,
    ) -> Option<(Kind, Resume)> {
        let value = if access.write { regs.get_x(access.register) } else { 0 };
        self.device_access(vcpu, gpa, access, value, regs)
    }

    /// A load or store that the processor does not describe.
    fn undescribed(&mut self, vcpu: VcpuId, gpa: u64, esr: Syndrome, regs: &mut impl Regs) -> (Kind, Resume) {
        let Some((insn, va)) = self.instruction(gpa, esr, regs) else {
            return self.unmapped(gpa, UnmappedAccess::Undescribed, Fault::External, None, esr, regs);
        };
        let done = match insn.transfer {
            Transfer::One(access) => self.device_access_by(vcpu, gpa, access, regs),
            Transfer::Two(access, second) => self.device_pair(vcpu, gpa, access, second, regs),
            Transfer::Exclusive { access, second, status } => self.exclusive(vcpu, gpa, access, second, status, regs),
            Transfer::Atomic => return self.unemulated(gpa, Fault::Unsupported, va, esr, regs),
            Transfer::Vector { .. } => return self.unemulated(gpa, Fault::External, va, esr, regs),
        };
        match done {
            Some(done) => {
                insn.write_back(regs);
                done
            }
            None => self.unmapped(gpa, UnmappedAccess::Undescribed, Fault::External, Some(va), esr, regs),
        }
    }

    /// Two registers, to or from the same page.
    fn device_pair(
        &mut self,
        vcpu: VcpuId,
        gpa: u64,
        access: Access,
        second: u8,
        regs: &mut impl Regs,
    ) -> Option<(Kind, Resume)> {
        let bytes = access.width.bytes();
        if gpa % PAGE + 2 * bytes > PAGE {
            return None;
        }
        let first = self.device_access_by(vcpu, gpa, access, regs)?;
        let second = self.device_access_by(vcpu, gpa + bytes, Access { register: second, ..access }, regs)?;
        // The vCPU is held if either access holds it.
        Some(if first.1 == Resume::Advance { second } else { first })
    }

    /// An exclusive access. Where one is emulated the processor's own monitor does not see it, so a store that comes here
    /// is decided by the machine's.
    fn exclusive(
        &mut self,
        vcpu: VcpuId,
        gpa: u64,
        access: Access,
        second: Option<u8>,
        status: u8,
        regs: &mut impl Regs,
    ) -> Option<(Kind, Resume)> {
        if access.write && self.monitor.take() != Some((vcpu, gpa)) {
            regs.set_x(status, 1);
            return Some((Kind::Trap, Resume::Advance));
        }
        let done = match second {
            None => self.device_access_by(vcpu, gpa, access, regs),
            Some(second) => self.device_pair(vcpu, gpa, access, second, regs),
        }?;
        if access.write {
            regs.set_x(status, 0);
        } else {
            self.monitor = Some((vcpu, gpa));
        }
        Some(done)
    }

    /// The instruction that aborted and the virtual address that it accesses, if it can be read, is a load or store, and
    /// fits the abort.
    fn instruction(&self, gpa: u64, esr: Syndrome, regs: &mut impl Regs) -> Option<(LoadStore, u64)> {
        if regs.get(Reg::Spsr) & AARCH32 != 0 {
            return None;
        }
        let pc = stage1::translate(regs.get(Reg::Pc), &self.memory, regs).ok()?;
        let mut word = [0; 4];
        self.memory.read(pc, &mut word).ok()?;
        let insn = LoadStore::decode(u32::from_le_bytes(word))?;
        let va = insn.virtual_address(regs);
        let same_direction = insn.transfer == Transfer::Atomic || insn.transfer.is_write() == esr.is_write();
        (same_direction && va % PAGE == gpa % PAGE).then_some((insn, va))
    }

    /// An access to a device with an instruction that is decoded but not emulated.
    fn unemulated(&mut self, gpa: u64, fault: Fault, va: u64, esr: Syndrome, regs: &mut impl Regs) -> (Kind, Resume) {
        if let Some(last) = self.report(gpa) {
            self.effect().event = Some(Event::Unemulated { gpa, pc: regs.get(Reg::Pc), last });
        }
        exception::take(Exception::DataAbort { fault, va: Some(va), write: esr.is_write() }, regs);
        (Kind::Unmapped, Resume::Retry)
    }

    fn unmapped(
        &mut self,
        gpa: u64,
        access: UnmappedAccess,
        fault: Fault,
        va: Option<u64>,
        esr: Syndrome,
        regs: &mut impl Regs,
    ) -> (Kind, Resume) {
        self.report_unmapped(gpa, access, regs);
        exception::take(Exception::DataAbort { fault, va, write: esr.is_write() }, regs);
        (Kind::Unmapped, Resume::Retry)
    }

    fn report_unmapped(&mut self, gpa: u64, access: UnmappedAccess, regs: &mut impl Regs) {
        if let Some(last) = self.report(gpa) {
            self.effect().event = Some(Event::Unmapped { gpa, access, pc: regs.get(Reg::Pc), last });
        }
    }

    /// Whether the page of `gpa` is to be reported, and if so, whether it is the last one.
    fn report(&mut self, gpa: u64) -> Option<bool> {
        let page = gpa / PAGE;
        (!self.reported.contains(&page) && self.reported.push(page).is_ok()).then(|| self.reported.is_full())
    }
}

/// The value of the register of an access. `None` in AArch32, of which nothing is emulated: seL4 resumes a vCPU whose
/// registers it set in AArch64.
#[inline(always)]
fn value(access: Access, regs: &mut impl Regs) -> Option<u64> {
    if access.register == 31 {
        // The zero register, which AArch32 does not have.
        return Some(0);
    }
    // First the register that is needed anyway: the processor state is then known with it.
    let value = regs.get_x(access.register);
    (regs.get(Reg::Spsr) & AARCH32 == 0).then_some(value)
}

#[cfg(test)]
mod tests;
