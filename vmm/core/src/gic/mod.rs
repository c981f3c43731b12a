// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The interrupt controller: the state of every interrupt, and which are in a list register.
//!
//! The state is that of the GIC architecture (IHI 0048B, chapter 3; IHI 0069H, chapter 4), and the same for both versions:
//! [`v2`] and [`v3`] give it the registers of GICv2 and GICv3, [`banks`] those that they share. The CPU interface is the
//! hardware's own virtual one. What reaches the guest goes through its *list registers*, of which each vCPU has a few:
//! [`Gic::next_injection`] picks the interrupt of highest priority and the list register to write. seL4 neither reads a
//! list register back nor takes an interrupt out of one, so a list register belongs to its interrupt until the guest ends
//! it ([`Gic::end_of_interrupt`]). In the meantime the interrupt reads as active: whether the guest has taken it is not
//! known. One that the vCPU made pending itself while it masked interrupts reads as pending besides.

mod banks;
pub mod v2;
pub mod v3;

use crate::life::Lifecycle;
use crate::{MAX_VCPUS, VcpuId, map};

/// Interrupt ids (INTIDs) that exist: 32 private ones and 224 shared ones.
pub const INTIDS: usize = 256;
const BANKS: usize = INTIDS / 32;
/// Most list registers that a vCPU has (`GICH_VTR`; hardware has 4 or 16).
pub const MAX_LIST_REGISTERS: usize = 16;
/// The software-generated interrupts' bits in the bank of private interrupts.
const SGIS: u32 = 0xffff;
/// Implemented bits of an interrupt's priority: a list register holds five.
const PRIORITY_MASK: u8 = 0xf8;

/// Which version of the architecture the guest sees: the board's, as hardware virtualizes only its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// GICv2: a distributor and a memory-mapped CPU interface.
    V2,
    /// GICv3 with affinity routing and one security state: a distributor, a redistributor for each vCPU, and a CPU
    /// interface of system registers.
    V3,
}

/// An interrupt id.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct IntId(u8);

impl IntId {
    /// Private peripheral interrupt `n`, 0 to 15.
    #[must_use]
    pub const fn ppi(n: u8) -> Self {
        assert!(n < 16);
        Self(16 + n)
    }

    /// Shared peripheral interrupt `n`, 0 to 223.
    #[must_use]
    pub const fn spi(n: u8) -> Self {
        assert!((n as usize) < INTIDS - 32);
        Self(32 + n)
    }

    /// The id itself.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.0 as u16
    }

    const fn new(bank: usize, bit: u32) -> Self {
        Self((bank * 32) as u8 | bit as u8)
    }

    const fn bank(self) -> usize {
        (self.0 / 32) as usize
    }

    const fn bit(self) -> u32 {
        1 << (self.0 % 32)
    }

    const fn index(self) -> usize {
        (self.0 % 32) as usize
    }

    const fn is_sgi(self) -> bool {
        self.0 < 16
    }
}

/// An interrupt to write into a list register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Injection {
    /// For which vCPU.
    pub vcpu: VcpuId,
    /// Which list register.
    pub lr: u8,
    /// Which interrupt.
    pub intid: IntId,
    /// Its priority, 0 (highest) to 31.
    pub priority: u8,
    /// Its group, 0 or 1.
    pub group: u8,
}

/// The state of 32 interrupts, a bit for each.
#[derive(Clone, Debug)]
struct Bank {
    group: u32,
    enabled: u32,
    /// Pending by an edge or by software: remembered until taken.
    latch: u32,
    /// The input lines.
    line: u32,
    /// Configured as edge-triggered.
    edge: u32,
    /// Made active by software (`GICD_ISACTIVER`).
    active: u32,
    /// In a list register.
    listed: u32,
    /// Four in a word, the first in its low bits, as in the registers.
    priorities: [u32; 8],
}

impl Bank {
    const RESET: Self =
        Self { group: 0, enabled: 0, latch: 0, line: 0, edge: 0, active: 0, listed: 0, priorities: [0; 8] };

    fn pending(&self) -> u32 {
        self.latch | self.line & !self.edge
    }

    /// The priority of interrupt `index`, less than 32.
    #[inline]
    fn priority(&self, index: usize) -> u8 {
        (self.priorities[index / 4 % 8] >> (index % 4 * 8)) as u8
    }

    /// What may be taken, were it the right vCPU and a list register free.
    fn deliverable(&self, groups: Groups) -> u32 {
        self.takeable(groups) & self.pending()
    }

    /// What of this could be, were it pending.
    fn takeable(&self, groups: Groups) -> u32 {
        let allowed = |group: u8| 0u32.wrapping_sub(u32::from(groups.0 >> group & 1));
        self.enabled & !self.listed & !self.active & (!self.group & allowed(0) | self.group & allowed(1))
    }

    /// The interrupt is in no list register after all, and pending as before.
    fn unlist(&mut self, bit: u32) {
        self.listed &= !bit;
        self.latch |= bit & !(self.line & !self.edge);
    }

    fn set_line(&mut self, bit: u32, high: bool) {
        if high {
            self.latch |= self.edge & !self.line & bit;
            self.line |= bit;
        } else {
            self.line &= !bit;
        }
    }
}

/// `GICD_CTLR`: which groups are forwarded.
#[derive(Clone, Copy, Debug)]
struct Groups(u8);

/// An interrupt that a vCPU may take.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    intid: IntId,
    /// With all bits.
    priority: u8,
    /// There is no other.
    only: bool,
}

/// What a list register holds.
#[derive(Clone, Copy, Debug)]
struct Listed {
    intid: IntId,
    /// For a software-generated interrupt of GICv2, the bit of the vCPU that sent it.
    sender: u8,
    /// As [`Injection::priority`].
    priority: u8,
    /// Listed while the vCPU masked interrupts: perhaps not taken yet.
    masked: bool,
    /// The vCPU was turned off before it ended it, and the interrupt is no longer here.
    stale: bool,
}

/// What each vCPU has of its own.
#[derive(Clone, Debug)]
struct Cpu {
    private: Bank,
    /// For each software-generated interrupt, a bit for each vCPU that sent it.
    senders: [u8; 16],
    lists: [Option<Listed>; MAX_LIST_REGISTERS],
    /// The vCPU has made an interrupt pending at this very exit, with interrupts masked.
    masked: bool,
    /// `GICR_WAKER.ProcessorSleep`: nothing is forwarded.
    asleep: bool,
    /// Turned off: shared interrupts are not for it.
    off: bool,
    /// The list registers that hold an interrupt, a bit each.
    used: u16,
    /// The virtual timer's line was seen high at this very exit, not before.
    timer_fresh: bool,
    /// The virtual timer's interrupt is masked in the kernel until acknowledged.
    timer_masked: bool,
}

impl Cpu {
    /// Software-generated interrupts are edge-triggered, and with GICv2 always enabled (IHI 0048B 4.3.5, 4.3.13). A
    /// redistributor is asleep until woken (IHI 0069H, `GICR_WAKER`).
    const fn reset(version: Version) -> Self {
        let (enabled, asleep) = match version {
            Version::V2 => (SGIS, false),
            Version::V3 => (0, true),
        };
        Self {
            private: Bank { enabled, edge: SGIS, ..Bank::RESET },
            senders: [0; 16],
            lists: [None; MAX_LIST_REGISTERS],
            masked: false,
            asleep,
            off: false,
            used: 0,
            timer_fresh: false,
            timer_masked: false,
        }
    }
}

/// The interrupt controller of one guest.
#[derive(Clone, Debug)]
pub struct Gic {
    version: Version,
    vcpus: usize,
    /// The list registers that each vCPU has, a bit each.
    list_registers: u16,
    groups: Groups,
    cpus: [Cpu; MAX_VCPUS],
    /// Interrupts 32 and up.
    shared: [Bank; BANKS - 1],
    /// For each of these, a bit for each vCPU that may take it.
    targets: [[u8; 32]; BANKS - 1],
    /// With GICv3, what `GICD_IROUTER` reads as; `targets` follows from it.
    routers: [[u64; 32]; BANKS - 1],
    /// vCPUs whose virtual timer is to be acknowledged.
    timer_acks: u8,
    /// vCPUs for which something changed since it was last found that nothing can be injected.
    dirty: u8,
    /// Banks of shared interrupts of which one is enabled, a bit each.
    live: u8,
}

const _: () = assert!(BANKS <= u8::BITS as usize && MAX_LIST_REGISTERS == u16::BITS as usize);

impl Gic {
    /// The controller of a guest with `vcpus` vCPUs, 1 to [`MAX_VCPUS`], after reset.
    #[must_use]
    pub const fn new(version: Version, vcpus: usize) -> Self {
        // With one vCPU, GICv2's targets are fixed (IHI 0048B 4.3.12); GICv3 routes all to the first vCPU at reset.
        let target = if vcpus == 1 || matches!(version, Version::V3) { 1 } else { 0 };
        Self {
            version,
            vcpus: match vcpus {
                0 => 1,
                1..=MAX_VCPUS => vcpus,
                _ => MAX_VCPUS,
            },
            list_registers: u16::MAX,
            groups: Groups(0),
            cpus: match version {
                Version::V2 => [const { Cpu::reset(Version::V2) }; MAX_VCPUS],
                Version::V3 => [const { Cpu::reset(Version::V3) }; MAX_VCPUS],
            },
            shared: [Bank::RESET; BANKS - 1],
            targets: [[target; 32]; BANKS - 1],
            routers: [[0; 32]; BANKS - 1],
            timer_acks: 0,
            dirty: 0,
            live: 0,
        }
    }

    /// Which version the guest sees.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Tells whether `vcpu` masks interrupts at this exit, where it makes one pending.
    pub fn set_masked(&mut self, vcpu: VcpuId, masked: bool) {
        self.cpus[vcpu.index()].masked = masked;
    }

    /// Tells how many list registers each vCPU has, once known.
    pub fn set_list_registers(&mut self, count: usize) {
        self.list_registers = u16::MAX.checked_shr((MAX_LIST_REGISTERS.saturating_sub(count)) as u32).unwrap_or(0);
    }

    /// Sets the input line of a shared interrupt.
    pub fn set_line(&mut self, intid: IntId, high: bool) {
        let Some(bank) = self.shared.get_mut(intid.bank().wrapping_sub(1)) else { return };
        let before = bank.line;
        bank.set_line(intid.bit(), high);
        if high && bank.line != before {
            self.touch_all();
        }
    }

    /// The virtual timer of `vcpu` fired; the kernel has masked it.
    pub fn timer_fired(&mut self, vcpu: VcpuId) {
        self.cpus[vcpu.index()].timer_masked = true;
        self.timer_expired(vcpu);
    }

    /// The deadline of the virtual timer of `vcpu`, which does not run, has come; so it is asserted, and the kernel will
    /// find that too once the vCPU runs.
    #[inline]
    pub fn timer_expired(&mut self, vcpu: VcpuId) {
        let cpu = &mut self.cpus[vcpu.index()];
        cpu.private.set_line(map::VTIMER_INTID.bit(), true);
        cpu.timer_fresh = true;
        self.dirty |= vcpu.bit();
    }

    /// The guest ended the interrupt in list register `lr` of `vcpu`. What is still asserted becomes pending again.
    pub fn end_of_interrupt(&mut self, vcpu: VcpuId, lr: u8) {
        let cpu = &mut self.cpus[vcpu.index()];
        let Some(ended) = cpu.lists.get_mut(usize::from(lr)).and_then(Option::take) else { return };
        cpu.used &= !(1 << lr);
        self.dirty |= vcpu.bit();
        let Listed { intid, stale: false, .. } = ended else { return };
        if intid == map::VTIMER_INTID {
            self.resample_timer(vcpu);
        }
        if let Some(bank) = self.bank_mut(vcpu, intid.bank()) {
            bank.listed &= !intid.bit();
        }
        if intid.bank() > 0 {
            self.touch_all();
        }
    }

    /// A vCPU for which [`Gic::next_injection`] may have one.
    #[inline]
    #[must_use]
    pub fn dirty(&self) -> Option<VcpuId> {
        // The check comes first, as it is what is mostly needed.
        if self.dirty == 0 { None } else { VcpuId::new(self.dirty.trailing_zeros() as usize) }
    }

    /// Whether there is an interrupt to put into a list register, perhaps, or a timer to acknowledge.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty | self.timer_acks != 0
    }

    /// The next interrupt to put into a list register of `vcpu`, if there is one and a list register is free. The
    /// caller does so, or calls [`Gic::refused`].
    #[inline]
    pub fn next_injection(&mut self, vcpu: VcpuId) -> Option<Injection> {
        if self.dirty & vcpu.bit() == 0 {
            return None;
        }
        let injection = self.pick(vcpu);
        if injection.is_none() {
            self.clean(vcpu);
        }
        injection
    }

    /// There is nothing more to inject.
    fn clean(&mut self, vcpu: VcpuId) {
        self.dirty &= !vcpu.bit();
        let cpu = &mut self.cpus[vcpu.index()];
        (cpu.timer_fresh, cpu.masked) = (false, false);
    }

    /// As [`Gic::next_injection`].
    #[inline]
    fn pick(&mut self, vcpu: VcpuId) -> Option<Injection> {
        let free = !self.cpus[vcpu.index()].used & self.list_registers;
        if free == 0 {
            return None;
        }
        let mut best = self.highest(vcpu)?;
        if best.intid == map::VTIMER_INTID && !self.cpus[vcpu.index()].timer_fresh {
            // It fired some time ago and could not be taken then. The guest may since have set the timer anew, so
            // let the hardware say whether it still fires.
            self.resample_timer(vcpu);
            best = self.highest(vcpu)?;
        }
        let (intid, priority, only) = (best.intid, best.priority >> 3, best.only);
        let cpu = &mut self.cpus[vcpu.index()];
        // Interrupts that the guest masks by their priority must not keep away more urgent ones: the last list register
        // is for one that is more urgent than all others.
        if free & free.wrapping_sub(1) == 0 && cpu.lists.iter().flatten().any(|listed| listed.priority <= priority) {
            return None;
        }
        let (mut sender, mut more) = (0, false);
        if intid.is_sgi() {
            // The list register cannot name the sender, so each sender's interrupt is delivered by itself.
            let senders = &mut cpu.senders[intid.index() % 16];
            sender = *senders & senders.wrapping_neg();
            *senders &= !sender;
            more = *senders != 0;
        }
        let lr = free.trailing_zeros() as usize % MAX_LIST_REGISTERS;
        cpu.used |= 1 << lr;
        cpu.lists[lr] = Some(Listed { intid, sender, priority, masked: cpu.masked, stale: false });
        let bank = self.bank_mut(vcpu, intid.bank())?;
        bank.listed |= intid.bit();
        if !more {
            bank.latch &= !intid.bit();
        }
        let group = u8::from(bank.group & intid.bit() != 0);
        if only && !more {
            self.clean(vcpu);
        }
        Some(Injection { vcpu, lr: lr as u8, intid, priority, group })
    }

    /// The kernel did not take `injection`: its list register does not exist. The interrupt is pending again.
    pub fn refused(&mut self, injection: Injection) {
        self.list_registers &= (1 << (injection.lr % 16)) - 1;
        let cpu = &mut self.cpus[injection.vcpu.index()];
        let list = cpu.lists.get_mut(usize::from(injection.lr)).and_then(Option::take);
        let Some(Listed { intid, sender, .. }) = list else { return };
        cpu.used &= !(1 << injection.lr);
        self.dirty |= injection.vcpu.bit();
        if let Some(senders) = intid.is_sgi().then(|| cpu.senders.get_mut(intid.index())).flatten() {
            *senders |= sender;
        }
        if let Some(bank) = self.bank_mut(injection.vcpu, intid.bank()) {
            bank.unlist(intid.bit());
        }
    }

    /// Whether an interrupt waits for `vcpu` to run: in a list register, or about to be.
    #[must_use]
    pub fn is_pending(&self, vcpu: VcpuId) -> bool {
        self.cpus[vcpu.index()].used != 0 || self.highest(vcpu).is_some()
    }

    /// Whether `vcpu` would take its virtual timer's interrupt if that fired now.
    #[must_use]
    pub fn takes_timer(&self, vcpu: VcpuId) -> bool {
        self.cpus[vcpu.index()].private.takeable(self.groups) & map::VTIMER_INTID.bit() != 0
    }

    /// `vcpu` is off. The shared interrupts that it did not end are for others again; what its list registers hold stays
    /// there, so that it may take one once more when it is on again.
    pub fn stop(&mut self, vcpu: VcpuId) {
        let cpu = &mut self.cpus[vcpu.index()];
        cpu.off = true;
        for listed in cpu.lists.iter_mut().flatten().filter(|listed| listed.intid.bank() > 0 && !listed.stale) {
            listed.stale = true;
            if let Some(bank) = self.shared.get_mut(listed.intid.bank() - 1) {
                bank.unlist(listed.intid.bit());
            }
        }
        self.touch_all();
    }

    /// `vcpu` starts from reset, with its virtual timer off.
    pub fn restart(&mut self, vcpu: VcpuId) {
        self.cpus[vcpu.index()].off = false;
        self.dirty |= vcpu.bit();
        self.resample_timer(vcpu);
    }

    /// vCPUs whose virtual timer is to be acknowledged in the kernel; asking clears it.
    pub fn take_timer_acks(&mut self) -> u8 {
        core::mem::take(&mut self.timer_acks)
    }

    fn resample_timer(&mut self, vcpu: VcpuId) {
        let cpu = &mut self.cpus[vcpu.index()];
        cpu.private.set_line(map::VTIMER_INTID.bit(), false);
        cpu.timer_fresh = false;
        if core::mem::take(&mut cpu.timer_masked) {
            self.timer_acks |= vcpu.bit();
        }
    }

    /// The interrupt of highest priority, then lowest id, that `vcpu` may take.
    fn highest(&self, vcpu: VcpuId) -> Option<Candidate> {
        let Cpu { private, asleep: false, off, .. } = &self.cpus[vcpu.index()] else { return None };
        let mut best: Option<Candidate> = None;
        let mut consider = |number: usize, bank: &Bank, targets: Option<&[u8; 32]>| {
            let mut bits = bank.deliverable(self.groups);
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                let index = bit as usize % 32;
                let priority = bank.priority(index);
                // No priority mask lets the lowest priority pass (IHI 0048B 4.4.2), so it would never leave.
                if targets.is_some_and(|targets| targets[index] & vcpu.bit() == 0) || priority >= PRIORITY_MASK {
                    continue;
                }
                best = match best {
                    Some(best) if priority >= best.priority => Some(Candidate { only: false, ..best }),
                    earlier => Some(Candidate { intid: IntId::new(number, bit), priority, only: earlier.is_none() }),
                };
            }
        };
        consider(0, private, None);
        let mut live = if *off { 0 } else { self.live };
        while live != 0 {
            let number = live.trailing_zeros() as usize;
            live &= live - 1;
            if let (Some(bank), Some(targets)) = (self.shared.get(number - 1), self.targets.get(number - 1)) {
                consider(number, bank, Some(targets));
            }
        }
        best
    }

    /// Bank 0 is the vCPU's own, the others are shared.
    fn bank(&self, vcpu: VcpuId, number: usize) -> Option<&Bank> {
        match number.checked_sub(1) {
            None => Some(&self.cpus[vcpu.index()].private),
            Some(shared) => self.shared.get(shared),
        }
    }

    fn bank_mut(&mut self, vcpu: VcpuId, number: usize) -> Option<&mut Bank> {
        match number.checked_sub(1) {
            None => Some(&mut self.cpus[vcpu.index()].private),
            Some(shared) => self.shared.get_mut(shared),
        }
    }

    /// The bit of every vCPU that the guest has.
    fn all(&self) -> u8 {
        u8::MAX >> (MAX_VCPUS - self.vcpus)
    }

    fn touch_all(&mut self) {
        self.dirty = self.all();
    }
}

impl Lifecycle for Gic {
    /// The list registers keep what they hold until it is seen to be ended: it is no longer of any interrupt.
    fn reset(&mut self) {
        let lists = self.cpus.each_ref().map(|cpu| (cpu.lists, cpu.used));
        *self = Self { list_registers: self.list_registers, ..Self::new(self.version, self.vcpus) };
        for (cpu, (lists, used)) in self.cpus.iter_mut().zip(lists) {
            cpu.lists = lists.map(|listed| listed.map(|listed| Listed { stale: true, ..listed }));
            cpu.used = used;
        }
    }
}

#[cfg(test)]
mod tests;
