// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The machine: its devices behind the address map, and what happens at each exit.

mod abort;
mod counters;
mod describe;
mod effects;

pub use counters::{Counters, Kind};
pub use effects::{Effects, Event, UnmappedAccess};

use crate::boot::{self, BootError, DTB_SIZE};
use crate::device::Device;
use crate::device::pl011::{Console, Pl011};
use crate::device::pl031::{Clock, Pl031};
use crate::exception::{self, Exception};
use crate::exit::{Access, Exit, Reg, Regs, Resume, Syndrome, Width, class};
use crate::fdt::{Full, Tree, is_device_tree};
use crate::gic::v3::Generator;
use crate::gic::{Gic, Injection, Version};
use crate::life::{End, Lifecycle};
use crate::map::{self, Range};
use crate::memory::{GuestMemory, OutOfRange};
use crate::psci::{self, Call, Start};
use crate::virtio::mmio::{self, Slots, Written};
use crate::virtio::{Counts, Owed};
use crate::{MAX_VCPUS, VcpuId, trng};
use describe::{describe, describe_interrupt_controller};

/// `SPSR.I`: interrupts are masked.
const SPSR_I: u64 = 1 << 7;
/// How many pages outside the map are reported one by one.
const REPORTED_PAGES: usize = 16;

/// What a guest boots from. `dtb` replaces the machine's own device tree, `dtb_fragment` adds to it; either may be empty.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// An arm64 `Image` or a flat binary.
    pub kernel: &'a [u8],
    /// The initial ramdisk, or nothing.
    pub initramfs: &'a [u8],
    /// A whole device tree, or nothing.
    pub dtb: &'a [u8],
    /// A device tree whose root's children are added to the machine's own, or nothing.
    pub dtb_fragment: &'a [u8],
    /// The kernel command line.
    pub bootargs: &'a str,
}

/// One guest's machine.
#[derive(Debug)]
pub struct Machine<M, C> {
    memory: M,
    vcpus: usize,
    /// A bit for each vCPU that is on.
    on: u8,
    /// A bit for each vCPU that waits.
    waiting: u8,
    gic: Gic,
    uart: Pl011<C>,
    rtc: Pl031,
    virtio: Option<&'static mut Slots>,
    counters: Counters,
    effects: Effects,
    /// There may be something in `effects`.
    pending: bool,
    /// The console holds output of which its other side has not been told.
    console_waits: bool,
    /// The console waits, or a virtio device is due to be run once more.
    unfinished: bool,
    reported: heapless::Vec<u64, REPORTED_PAGES>,
    /// The last exclusive load from a device: by whom, and where; a store ends it.
    monitor: Option<(VcpuId, u64)>,
}

impl<M: GuestMemory, C: Console> Machine<M, C> {
    /// A machine after power-on with `vcpus` vCPUs, of which none is on.
    pub fn new(memory: M, vcpus: usize, gic: Version, console: C, clock: Clock) -> Self {
        let vcpus = vcpus.clamp(1, MAX_VCPUS);
        Self {
            memory,
            vcpus,
            on: 0,
            waiting: 0,
            gic: Gic::new(gic, vcpus),
            uart: Pl011::new(console),
            rtc: Pl031::new(clock),
            virtio: None,
            counters: Counters::default(),
            effects: Effects::default(),
            pending: false,
            console_waits: false,
            unfinished: false,
            reported: heapless::Vec::new(),
            monitor: None,
        }
    }

    /// Gives the machine its virtio devices; before [`Machine::load`], which describes them to the guest.
    pub fn attach(&mut self, devices: &'static mut Slots) {
        self.virtio = Some(devices);
    }

    /// Puts the images and the device tree into RAM and turns the first vCPU on: returns how to start it.
    ///
    /// # Errors
    /// [`BootError`] where an image does not fit or a device tree is not one.
    pub fn load(&mut self, images: &Images<'_>) -> Result<Start, BootError> {
        let (kernel, initramfs) = (images.kernel, images.initramfs);
        let placement = boot::place(kernel, kernel.len() as u64, initramfs.len() as u64, self.memory.size())?;
        for (gpa, bytes) in [(placement.kernel.base, kernel), (placement.initramfs.base, initramfs)] {
            self.memory.write(gpa, bytes).map_err(|OutOfRange| BootError::NoKernel)?;
        }
        if images.dtb.is_empty() {
            let Self { memory, vcpus, gic, uart, rtc, virtio, .. } = self;
            let ram = Range { base: map::RAM_BASE, size: memory.size() };
            let devices: [&dyn Device; 2] = [uart, rtc];
            Tree::write(memory, placement.dtb, |tree| {
                describe(tree, *vcpus, ram, images, &placement, &devices, virtio.as_deref())?;
                describe_interrupt_controller(tree, gic.version(), *vcpus)
            })
            .map_err(|Full| BootError::DeviceTree)?;
        } else {
            if !is_device_tree(images.dtb) || images.dtb.len() > DTB_SIZE {
                return Err(BootError::DeviceTree);
            }
            self.memory.write(placement.dtb.base, images.dtb).map_err(|OutOfRange| BootError::DeviceTree)?;
        }
        for Range { base, size } in [placement.kernel, placement.initramfs, placement.dtb] {
            self.memory.clean(base, size as usize);
        }
        self.on = VcpuId::BOOT.bit();
        (1..self.vcpus).filter_map(VcpuId::new).for_each(|vcpu| self.gic.stop(vcpu));
        Ok(Start { vcpu: VcpuId::BOOT, entry: placement.kernel.base, context: placement.dtb.base })
    }

    /// Handles an exit of `vcpu` and says what it does next. [`Machine::effects`] and [`Machine::next_injection`] are to
    /// be asked before it goes on.
    // Inlined where the exit is decoded, so that this need not be done twice.
    #[inline(always)]
    pub fn exit(&mut self, vcpu: VcpuId, exit: Exit, regs: &mut impl Regs) -> Resume {
        let (kind, resume) = match exit {
            Exit::Abort { gpa, esr, fetch: false } => self.data_abort(vcpu, gpa, Syndrome(esr), regs),
            Exit::Abort { gpa, esr, fetch: true } => self.fetch_abort(vcpu, gpa, Syndrome(esr), regs),
            Exit::Maintenance { lr } => {
                if let Some(lr) = lr {
                    self.gic.end_of_interrupt(vcpu, lr);
                }
                (Kind::Maintenance, Resume::Retry)
            }
            Exit::Timer => {
                self.gic.timer_fired(vcpu);
                if self.rtc.is_armed() {
                    self.rtc.poll();
                    self.gic.set_line(map::PL031_INTID, self.rtc.line());
                }
                (Kind::Timer, Resume::Retry)
            }
            Exit::Trap { esr } => {
                // Perhaps a rest, before which the guest is to have all.
                self.show_kept();
                self.trap(vcpu, Syndrome(esr), regs)
            }
            Exit::Hvc => {
                regs.set(Reg::X(0), psci::NOT_SUPPORTED);
                (Kind::Hvc, Resume::Advance)
            }
            Exit::Fatal => (Kind::Fatal, self.crash(vcpu, regs)),
        };
        self.counters.count(kind);
        if self.unfinished {
            self.finish(kind);
        }
        resume
    }

    /// Goes on with what the last exits left, of which this one is of `kind`.
    #[inline(never)]
    fn finish(&mut self, kind: Kind) {
        self.unfinished = false;
        self.run_due();
        // A guest writes to the console character by character: the other side is told once it does something else.
        if self.console_waits {
            if kind == Kind::Uart { self.unfinished = true } else { self.tell_console() }
        }
    }

    /// `vcpu` cannot go on, and so the guest ends.
    #[cold]
    pub fn crash(&mut self, vcpu: VcpuId, regs: &mut impl Regs) -> Resume {
        let effects = self.effect();
        effects.event = Some(Event::Fatal { vcpu, pc: regs.get(Reg::Pc) });
        effects.system = Some(End::Crash);
        Resume::Off
    }

    /// Runs the virtio devices whose last run had its share.
    #[inline]
    fn run_due(&mut self) {
        let due = self.virtio.as_ref().map_or(0, |devices| devices.due());
        if due != 0 {
            self.virtio_notified(due);
        }
    }

    /// The driver domains of the virtio devices in `slots`, a bit each, have notified.
    pub fn virtio_notified(&mut self, slots: u8) {
        let mut rest = slots;
        while rest != 0 {
            let slot = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if let Some(devices) = &mut self.virtio {
                devices.notified(&mut self.memory, slot);
            }
            self.settle_virtio(slot);
        }
    }

    /// Shows the guest what virtio devices keep back.
    #[inline]
    fn show_kept(&mut self) {
        let keeping = self.virtio.as_ref().map_or(0, |devices| devices.keeping());
        if keeping != 0 {
            self.virtio_notified(keeping);
        }
    }

    /// The time has come that [`Effects::keeps`] is about.
    pub fn hurry(&mut self) {
        let kept = self.virtio.as_mut().map_or(0, |devices| devices.hurry());
        self.virtio_notified(kept);
        self.effect().keeps = self.virtio.as_ref().is_some_and(|devices| devices.keeping() != 0);
    }

    /// What the driver domain of the virtio device in `slot` owes: that something is overdue is told once.
    pub fn virtio_owed(&mut self, slot: usize) -> Owed {
        self.virtio.as_mut().map_or(Owed::Nothing, |devices| devices.owed(slot))
    }

    /// How many chains the virtio device in `slot` has had, if there is one.
    #[must_use]
    pub fn virtio_counts(&self, slot: usize) -> Option<Counts> {
        self.virtio.as_ref()?.counts(slot)
    }

    /// The console's other side has given input or made room.
    pub fn console_notified(&mut self) {
        self.uart.poll();
        self.gic.set_line(map::PL011_INTID, self.uart.line());
    }

    /// The next interrupt for a list register of `vcpu`, as [`Gic::next_injection`].
    pub fn next_injection(&mut self, vcpu: VcpuId) -> Option<Injection> {
        let injection = self.gic.next_injection(vcpu);
        if injection.is_some() {
            self.counters.injections += 1;
            self.wake(vcpu.bit());
        }
        injection
    }

    /// Whether the virtual timer of `vcpu`, which waits, ends that when it fires.
    #[must_use]
    pub fn timer_wakes(&self, vcpu: VcpuId) -> bool {
        self.gic.takes_timer(vcpu)
    }

    /// The deadline of the virtual timer of `vcpu`, which waits, has come.
    pub fn timer_expired(&mut self, vcpu: VcpuId) {
        self.gic.timer_expired(vcpu);
        self.wake(vcpu.bit());
    }

    /// Lets those of `vcpus`, a bit each, that wait go on; a wait may end at any time (Arm ARM D1.6).
    pub fn wake(&mut self, vcpus: u8) {
        let woken = self.waiting & vcpus;
        if woken != 0 {
            self.waiting &= !woken;
            self.effect().wakes |= woken;
        }
    }

    /// A vCPU for which [`Machine::next_injection`] may have one.
    #[inline]
    #[must_use]
    pub fn injectable(&self) -> Option<VcpuId> {
        self.gic.dirty()
    }

    /// What is to be done outside since this was last asked.
    pub fn effects(&mut self) -> Effects {
        core::mem::take(self.pending_effects())
    }

    /// Whether [`Machine::next_injection`] or [`Machine::effects`] may have something.
    #[inline]
    #[must_use]
    pub fn has_effects(&self) -> bool {
        self.gic.is_dirty() | self.pending
    }

    /// The same, to be taken piece by piece: most exits have none, and few have many. What is left, [`Machine::has_effects`]
    /// does not tell of before the guest was paused and goes on.
    #[inline]
    pub fn pending_effects(&mut self) -> &mut Effects {
        let acks = self.gic.take_timer_acks();
        if acks != 0 {
            self.effects.timer_acks |= acks;
            // Only running shows whether it still fires.
            self.wake(acks);
        }
        self.pending = false;
        &mut self.effects
    }

    /// The effects, to be added to.
    #[inline]
    fn effect(&mut self) -> &mut Effects {
        self.pending = true;
        &mut self.effects
    }

    /// The vCPUs that are on, a bit each.
    #[must_use]
    pub fn on(&self) -> u8 {
        self.on
    }

    /// The guest's RAM.
    pub fn memory(&mut self) -> &mut M {
        &mut self.memory
    }

    /// The interrupt controller.
    pub fn gic(&mut self) -> &mut Gic {
        &mut self.gic
    }

    /// The console's side of the machine.
    pub fn console(&mut self) -> &mut C {
        self.uart.console()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// A load, or a store of `value`, of one register where a device is; `None` where nothing is.
    // Inlined where the processor describes the access, so that its parts stay in registers.
    #[inline(always)]
    fn device_access(
        &mut self,
        vcpu: VcpuId,
        gpa: u64,
        access: Access,
        value: u64,
        regs: &mut impl Regs,
    ) -> Option<(Kind, Resume)> {
        let width = access.width;
        let distributor = map::GICD.offset_of(gpa).filter(|_| self.gic.version() == Version::V2);
        let (kind, is_known) = if access.write {
            let value = width.truncate(value);
            self.monitor = None;
            match (distributor, map::VIRTIO.offset_of(gpa)) {
                (Some(offset), _) => {
                    let written = self.gic.write_v2(vcpu, offset, width, value);
                    self.gic_written(vcpu, offset < 4, regs);
                    (Kind::Distributor, written.is_some())
                }
                (None, Some(offset)) if self.virtio.is_some() => {
                    return Some(self.virtio_write(vcpu, offset, width, value));
                }
                _ => self.other_store(vcpu, gpa, width, value, regs)?,
            }
        } else {
            let (kind, loaded) = match distributor {
                Some(offset) => (Kind::Distributor, self.gic.read_v2(vcpu, offset, width)),
                None => self.other_load(vcpu, gpa, width)?,
            };
            regs.set_x(access.register, access.extend(loaded.unwrap_or(0)));
            (kind, loaded.is_some())
        };
        if !is_known {
            self.counters.unimplemented += 1;
        }
        Some((kind, Resume::Advance))
    }

    /// `vcpu` has written to the interrupt controller, perhaps to what decides which interrupts a vCPU waits for.
    #[inline(always)]
    fn gic_written(&mut self, vcpu: VcpuId, perhaps_gate: bool, regs: &mut impl Regs) {
        if self.gic.is_dirty() {
            self.gic.set_masked(vcpu, regs.get(Reg::Spsr) & SPSR_I != 0);
        }
        if self.waiting != 0 && perhaps_gate {
            self.wake(u8::MAX);
        }
    }

    /// A store to a device but those of [`Self::device_access`]; `None` where none is. Says whether there is such a register.
    #[inline(never)]
    fn other_store(
        &mut self,
        vcpu: VcpuId,
        gpa: u64,
        width: Width,
        value: u64,
        regs: &mut impl Regs,
    ) -> Option<(Kind, bool)> {
        if let Some(offset) = map::PL011.offset_of(gpa) {
            let written = self.uart.write(offset, width, value);
            self.gic.set_line(map::PL011_INTID, self.uart.line());
            if offset == 0 {
                (self.console_waits, self.unfinished) = (true, true);
                if value as u8 == b'\n' || !self.uart.console().has_room() {
                    self.tell_console();
                }
            }
            return Some((Kind::Uart, written.is_some()));
        }
        if let Some(offset) = map::PL031.offset_of(gpa) {
            let written = self.rtc.write(offset, width, value);
            self.gic.set_line(map::PL031_INTID, self.rtc.line());
            return Some((Kind::Rtc, written.is_some()));
        }
        if self.gic.version() != Version::V3 {
            return None;
        }
        let distributor = map::GICD.offset_of(gpa);
        let written = match distributor {
            Some(offset) => self.gic.write_v3(vcpu, offset, width, value),
            None => self.gic.write_redistributor(map::GICR.offset_of(gpa)?, width, value),
        };
        // `GICD_CTLR`, or a register of the own redistributor.
        self.gic_written(vcpu, distributor.is_none_or(|offset| offset < 4), regs);
        Some((Kind::Distributor, written.is_some()))
    }

    /// A load from a device but those of [`Self::device_access`]; `None` where none is. Within, `None` if it has no such
    /// register.
    #[inline(never)]
    fn other_load(&mut self, vcpu: VcpuId, gpa: u64, width: Width) -> Option<(Kind, Option<u64>)> {
        if let Some(offset) = map::PL011.offset_of(gpa) {
            let loaded = self.uart.read(offset, width);
            self.gic.set_line(map::PL011_INTID, self.uart.line());
            return Some((Kind::Uart, loaded));
        }
        if let Some(offset) = map::PL031.offset_of(gpa) {
            let loaded = self.rtc.read(offset, width);
            self.gic.set_line(map::PL031_INTID, self.rtc.line());
            return Some((Kind::Rtc, loaded));
        }
        if let Some((offset, devices)) = map::VIRTIO.offset_of(gpa).zip(self.virtio.as_ref()) {
            return Some((Kind::Virtio, devices.read(offset, width)));
        }
        if self.gic.version() != Version::V3 {
            return None;
        }
        let loaded = match map::GICD.offset_of(gpa) {
            Some(offset) => self.gic.read_v3(vcpu, offset, width),
            None => self.gic.read_redistributor(map::GICR.offset_of(gpa)?, width),
        };
        Some((Kind::Distributor, loaded))
    }

    /// A store of `value` by `vcpu` at `offset` in the virtio devices' registers.
    #[inline(never)]
    fn virtio_write(&mut self, vcpu: VcpuId, offset: u64, width: Width, value: u64) -> (Kind, Resume) {
        self.monitor = None;
        let Some(devices) = &mut self.virtio else { return (Kind::Virtio, Resume::Advance) };
        let written = devices.write(&mut self.memory, vcpu, offset, width, value);
        if written == Some(Written::Nothing) {
            return (Kind::Virtio, Resume::Advance);
        }
        self.counters.unimplemented += u64::from(written.is_none());
        self.settle_virtio(mmio::slot(offset));
        (Kind::Virtio, if written == Some(Written::Hold) { Resume::Hold } else { Resume::Advance })
    }

    /// Passes on what came of the last access to the virtio device in `slot`, or of its last run.
    fn settle_virtio(&mut self, slot: usize) {
        let Some(changes) = self.virtio.as_mut().and_then(|devices| devices.settle(slot)) else { return };
        self.gic.set_line(map::virtio_intid(slot), changes.line);
        self.unfinished |= changes.again;
        if changes.notify | changes.keeps | (changes.released != 0) {
            let effects = self.effect();
            effects.notify |= u8::from(changes.notify) << slot;
            effects.released |= changes.released;
            effects.keeps |= changes.keeps;
        }
        if let Some(error) = changes.error {
            self.effect().event = Some(Event::Virtio { slot, error });
        }
    }

    #[inline(never)]
    fn trap(&mut self, vcpu: VcpuId, esr: Syndrome, regs: &mut impl Regs) -> (Kind, Resume) {
        match esr.class() {
            // An instruction of 16 bits is AArch32's, at EL0; a wait may end at once.
            class::WFX if !esr.is_32_bit() => {
                let next = regs.get(Reg::Pc).wrapping_add(2);
                regs.set(Reg::Pc, next);
                (if esr.is_wfe() { Kind::Wfe } else { Kind::Wfi }, Resume::Retry)
            }
            class::WFX if esr.is_wfe() => (Kind::Wfe, self.wait_for_event(vcpu)),
            class::WFX => (Kind::Wfi, self.wait(vcpu)),
            class::SMC64 if esr.immediate() == 0 => (Kind::Smc, self.firmware_call(vcpu, regs)),
            class::SMC64 => {
                regs.set(Reg::X(0), psci::NOT_SUPPORTED);
                (Kind::Smc, Resume::Advance)
            }
            class::SYSTEM if let Some(generator) = self.generator(esr) => {
                let value = regs.get_x(esr.system_target());
                self.gic.generate_v3(vcpu, generator, value);
                (Kind::Distributor, Resume::Advance)
            }
            _ => {
                self.effect().event = Some(Event::Undefined { esr: esr.0, pc: regs.get(Reg::Pc) });
                exception::take(Exception::Undefined, regs);
                (Kind::Trap, Resume::Retry)
            }
        }
    }

    /// The register of GICv3 that generates interrupts and that the guest wrote to, if it was that.
    fn generator(&self, esr: Syndrome) -> Option<Generator> {
        Generator::decode(esr.0).filter(|_| self.gic.version() == Version::V3)
    }

    fn wait(&mut self, vcpu: VcpuId) -> Resume {
        if self.gic.is_pending(vcpu) {
            return Resume::Advance;
        }
        self.waiting |= vcpu.bit();
        Resume::Block
    }

    /// WFE. Events of other vCPUs do not exit, so while another runs, one may come at any time. Otherwise only an interrupt
    /// or the event stream ends the wait, which are some time off.
    fn wait_for_event(&mut self, vcpu: VcpuId) -> Resume {
        if self.on & !self.waiting & !vcpu.bit() != 0 {
            return Resume::Advance;
        }
        match self.wait(vcpu) {
            Resume::Block => Resume::Pause,
            resume => resume,
        }
    }

    fn firmware_call(&mut self, vcpu: VcpuId, regs: &mut impl Regs) -> Resume {
        let state = psci::State { caller: vcpu, vcpus: self.vcpus, on: self.on, ram: self.memory.size() };
        match psci::call(state, regs) {
            Call::Return(value) => {
                regs.set(Reg::X(0), value);
                Resume::Advance
            }
            Call::Entropy => {
                self.entropy(regs);
                Resume::Advance
            }
            Call::Suspend => {
                regs.set(Reg::X(0), 0);
                self.wait(vcpu)
            }
            Call::Start(start) => {
                self.on |= start.vcpu.bit();
                self.gic.restart(start.vcpu);
                self.effect().start = Some(start);
                regs.set(Reg::X(0), 0);
                Resume::Advance
            }
            Call::Off => {
                self.on &= !vcpu.bit();
                self.gic.stop(vcpu);
                if self.on == 0 {
                    self.effect().system = Some(End::Off);
                }
                Resume::Off
            }
            Call::System(event) => {
                self.on = 0;
                self.effect().system = Some(event);
                self.tell_console();
                Resume::Off
            }
        }
    }

    #[cold]
    fn entropy(&mut self, regs: &mut impl Regs) {
        if let Some((slot, source)) = self.virtio.as_mut().and_then(|devices| devices.entropy()) {
            trng::call(regs, || source.word());
            self.settle_virtio(slot);
        } else {
            regs.set(Reg::X(0), psci::NOT_SUPPORTED);
        }
    }

    fn tell_console(&mut self) {
        self.console_waits = false;
        self.effect().console = true;
    }
}

impl<M: GuestMemory, C: Console> Lifecycle for Machine<M, C> {
    fn pause(&mut self) {
        if let Some(devices) = &mut self.virtio {
            devices.pause();
        }
    }

    /// No driver domain may still reach the guest's RAM.
    fn is_quiesced(&self) -> bool {
        self.virtio.as_ref().is_none_or(|devices| devices.is_quiesced())
    }

    fn resume(&mut self) {
        if let Some(devices) = &mut self.virtio {
            devices.resume();
        }
        self.run_due();
        // What waited.
        self.pending = true;
    }

    /// No vCPU is on; RAM stays as it is, for [`Machine::load`].
    fn reset(&mut self) {
        self.uart.reset();
        self.rtc.reset();
        if let Some(devices) = &mut self.virtio {
            devices.reset();
        }
        self.gic.reset();
        (self.on, self.waiting, self.monitor) = (0, 0, None);
        *self.effect() = Effects { console: true, ..Effects::default() };
        self.reported.clear();
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod virtio_tests;
