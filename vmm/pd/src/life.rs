// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest's life: what this PD does where [`Life`](vmm_core::Life) decides.
//!
//! A guest is stopped in two steps. First its vCPUs are suspended, each behind what it has already exited for; a fault that is
//! still queued would be lost, so all are received before. Then the drivers of its devices finish what they have begun.
//!
//! Before a restart each vCPU executes [`stub`](crate::stub). Then the RAM is cleared, in pieces between which other guests
//! get the processor, and the images are put there again.

use crate::wait::Task;
use crate::{Vmm, members, stub};
use config::{Ending, LogLevel};
use core::mem::{replace, take};
use pd::counter;
use sel4_microkit::{Error, Event, Fault, MessageInfo, REGISTER_COUNT, Vcpu, VcpuReg, poll, reply};
use vmm_core::gic::Version;
use vmm_core::life::{End, Goal, Policy, State};
use vmm_core::machine::Images;
use vmm_core::psci::Start;
use vmm_core::{GuestMemory, Lifecycle, Resume, VcpuId, map};

/// `SPSR` of a vCPU that starts: EL1 with its own stack pointer, all exceptions masked (PSCI 6.4.3.4).
const SPSR_START: u64 = 0x3c5;
/// `MPIDR_EL1` has this bit set, the vCPU's index in its lowest field, and nothing else.
const MPIDR_RES1: u64 = 1 << 31;
/// `SCTLR_EL1` of a vCPU that starts: MMU and caches off, and the bits that are one in Armv8.0.
const SCTLR_START: u64 = 0x30d0_0800;
/// The other system registers of a vCPU, which are zero when it starts.
const ZERO: [VcpuReg; 20] = [
    VcpuReg::Cpacr,
    VcpuReg::Ttbr0,
    VcpuReg::Ttbr1,
    VcpuReg::Tcr,
    VcpuReg::Mair,
    VcpuReg::Amair,
    VcpuReg::Contextidr,
    VcpuReg::Afsr0,
    VcpuReg::Afsr1,
    VcpuReg::Esr,
    VcpuReg::Far,
    VcpuReg::Par,
    VcpuReg::Vbar,
    VcpuReg::Tpidr,
    VcpuReg::Sp,
    VcpuReg::Elr,
    VcpuReg::Spsr,
    VcpuReg::CntvCtl,
    VcpuReg::CntvCval,
    VcpuReg::Cntkctl,
];
/// How much RAM is cleared in one go, in bytes: some milliseconds' work.
const CLEARED_AT_ONCE: u64 = 8 << 20;

/// What there is to know of a guest that has been stopped.
#[derive(Default)]
pub struct Stopped {
    /// Its vCPUs are suspended.
    still: bool,
    /// vCPUs, a bit each, that were suspended where they were, and go on there.
    frozen: u8,
    /// vCPUs that have run since the RAM was last cleared.
    used: u8,
    /// vCPUs that execute the stub.
    in_stub: u8,
    /// How much of the RAM has been cleared.
    cleared: u64,
    /// Until when this PD leaves the processor to others.
    rest: u64,
    /// When it was stopped.
    since: u64,
    /// How much the guest's virtual counters are behind the system counter, because it was paused.
    offset: u64,
}

impl Stopped {
    /// How much the guest's virtual counters are behind the system counter.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// What `config` says of a guest that ends by itself.
pub fn policy(config: &config::Vmm) -> Policy {
    let goal = |ending| match ending {
        Ending::Off => Goal::Off,
        Ending::Halt => Goal::Halt,
        Ending::Restart => Goal::Restart,
    };
    let restart_limit = u32::try_from(config.restart_limit).unwrap_or(u32::MAX);
    Policy { on_crash: goal(config.on_crash), on_reset: goal(config.on_reset), restart_limit }
}

impl Vmm {
    /// Whether [`Self::proceed`] may have something to do.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.stopped.still || !self.life.is_running()
    }

    /// Does the next step in the life of a guest that is stopped, or is to be.
    #[cold]
    pub fn proceed(&mut self) {
        match self.life.state() {
            State::Waiting => self.boot(),
            State::Stopping(_) => self.stop(),
            State::Starting if self.stopped.in_stub == 0 => self.clear(),
            State::Running => self.resume(),
            State::Starting | State::Paused | State::Halted | State::Off => {}
        }
        self.power.tell(self.life.state() == State::Off);
        self.tell_state();
        self.machine.console().flush();
    }

    /// The guest has ended by itself.
    pub fn ended(&mut self, end: End) {
        let Some(goal) = self.life.ended(end, counter()) else { return };
        match end {
            End::Crash => {
                let crashes = self.life.crashes();
                self.log(LogLevel::Error, format_args!("guest crashed ({crashes} in a row), and is {goal}"));
            }
            End::Reset => self.log(LogLevel::Info, format_args!("guest asked for a reset, and is {goal}")),
            End::Off | End::Unstartable => {}
        }
    }

    /// Boots the guest for the first time, when the drivers of all its devices are up.
    fn boot(&mut self) {
        if let Some(device) = self.virtio.unknown() {
            return self.log(LogLevel::Info, format_args!("guest waits for the driver of {device}"));
        }
        let console = self.machine.console();
        if let Some(devices) = self.virtio.make(self.config, &mut |level, message| console.log(level, message)) {
            self.machine.attach(devices);
            // A source of entropy is only asked for more when it has given something.
            self.waits.schedule(Task::Look, self.patience);
        }
        for vcpu in self.vcpus() {
            // Now, as it is only right for a vCPU that never ran, if that is on another core. A missing one is reported
            // when it is to start.
            let _ = Vcpu::new(vcpu.index()).write_reg(VcpuReg::VmpidrEl2, MPIDR_RES1 | vcpu.index() as u64);
        }
        self.load();
    }

    /// Puts the images into the RAM, and starts the first vCPU.
    fn load(&mut self) {
        let config = self.config;
        // SAFETY: the windows are of this PD's record, mapped read-only here and nowhere writable.
        let [kernel, initramfs, dtb, dtb_fragment] =
            [config.kernel, config.initramfs, config.dtb, config.dtb_fragment].map(|image| unsafe { pd::bytes(image) });
        let images = Images { kernel, initramfs, dtb, dtb_fragment, bootargs: config.bootargs.as_str() };
        match self.machine.load(&images) {
            Ok(start) => {
                self.log(LogLevel::Info, format_args!("guest starts at {:#x}", start.entry));
                self.life.started(counter());
                self.stopped.still = false;
                self.start(start);
            }
            Err(error) => {
                self.log(LogLevel::Error, format_args!("guest not started: {error}"));
                self.ended(End::Unstartable);
                self.stop();
            }
        }
    }

    /// Starts a vCPU, or has it ready to go on with the others.
    pub fn start(&mut self, start: Start) {
        let Start { vcpu, entry, context } = start;
        let runs = self.life.is_running();
        match enter(Vcpu::new(vcpu.index()), entry, context, self.stopped.offset, runs) {
            Ok(()) => {
                self.stopped.used |= vcpu.bit();
                self.stopped.frozen |= if runs { 0 } else { vcpu.bit() };
            }
            Err(error) => {
                let index = vcpu.index();
                self.log(
                    LogLevel::Error,
                    format_args!("vCPU {index} not started: {error}; remedy: declare it in system.xml"),
                );
            }
        }
    }

    /// Leaves `vcpu` suspended, which has exited, while the guest stops; it goes on as `resume` says when the guest does.
    pub fn hold_back(&mut self, vcpu: VcpuId, resume: Resume) {
        match resume {
            Resume::Advance | Resume::Retry => {
                let pc = self.registers.suspend(resume == Resume::Advance);
                self.waits.begin(vcpu, pc, timer::NEVER, timer::NEVER);
                self.machine.pending_effects().wakes |= vcpu.bit();
            }
            Resume::Off | Resume::Hold | Resume::Block | Resume::Pause => {}
        }
    }

    /// Suspends all vCPUs.
    fn freeze(&mut self) {
        self.stopped.since = counter();
        while let Some(event) = poll() {
            match event {
                Event::Notified(channels) => self.on_notified(channels),
                Event::Fault(child, message) => {
                    if let Some(vcpu) = VcpuId::new(child.index()) {
                        let resume = self.on_exit(vcpu, message);
                        self.hold_back(vcpu, resume);
                    }
                }
                Event::Protected(..) => reply(MessageInfo::new(0, 0)),
            }
        }
        for vcpu in self.vcpus() {
            // Fails only for a vCPU that system.xml does not have, which then does not run either.
            let _ = Vcpu::new(vcpu.index()).tcb().suspend();
        }
        self.stopped.frozen |= self.machine.on() & !self.waits.waiting();
    }

    /// Stops the guest, as far as nothing is under way.
    fn stop(&mut self) {
        self.pause();
        if !self.is_quiesced() {
            return;
        }
        let state = self.life.stopped();
        if state == State::Starting {
            return self.reset();
        }
        self.log(LogLevel::Info, format_args!("guest is {state}"));
        if state != State::Paused && self.machine.console().logs(LogLevel::Info) {
            self.tell_counters();
        }
    }

    /// A vCPU that executes the stub has exited.
    pub fn on_stub_exit(&mut self, vcpu: VcpuId, fault: Fault) -> Option<MessageInfo> {
        match fault {
            Fault::VgicMaintenance { index } => {
                if let Some(lr) = index {
                    self.machine.gic().end_of_interrupt(vcpu, lr);
                }
                Some(MessageInfo::new(0, 0))
            }
            // Its timer is off, and this a late event of the guest's; the acknowledgement at the start unmasks it.
            Fault::Vppi { .. } => Some(MessageInfo::new(0, 0)),
            _ => {
                // It exists, so this cannot fail.
                let _ = Vcpu::new(vcpu.index()).tcb().suspend();
                self.stopped.in_stub &= !vcpu.bit();
                self.proceed();
                None
            }
        }
    }

    /// Clears the RAM, or goes on with that, and then starts the guest.
    fn clear(&mut self) {
        let size = self.machine.memory().size();
        while self.stopped.cleared < size {
            let begin = counter();
            if begin < self.stopped.rest {
                self.waits.arm(self.stopped.rest);
                return;
            }
            self.machine.memory().clear(self.stopped.cleared, CLEARED_AT_ONCE);
            self.stopped.cleared += CLEARED_AT_ONCE;
            let end = counter();
            let rest = end + (end - begin);
            // Without a timer PD, nobody could wake this.
            self.stopped.rest = if self.waits.arm(rest) { rest } else { 0 };
        }
        self.load();
    }
}

/// The guest as a whole: its vCPUs, which the kernel holds, and the machine around them.
impl Lifecycle for Vmm {
    /// Stops the vCPUs before the machine.
    fn pause(&mut self) {
        if !replace(&mut self.stopped.still, true) {
            self.freeze();
        }
        self.machine.pause();
    }

    /// No driver works for the guest; its vCPUs do nothing outside of it.
    fn is_quiesced(&self) -> bool {
        self.machine.is_quiesced()
    }

    /// Goes on after a pause, of which the guest's virtual counters do not know.
    fn resume(&mut self) {
        let time = counter() - self.stopped.since;
        self.stopped.offset = self.stopped.offset.wrapping_add(time);
        self.stopped.still = false;
        for vcpu in self.vcpus().map(|vcpu| Vcpu::new(vcpu.index())) {
            // As in `freeze`.
            let _ = vcpu.write_reg(VcpuReg::Cntvoff, self.stopped.offset);
            if self.registers.is_remote(vcpu) {
                // It may have faulted between the last receive and its suspension.
                let _ = vcpu.ack_vppi(map::VTIMER_INTID.id().into());
            }
        }
        self.waits.postpone(time);
        self.machine.resume();
        self.apply_effects(false);
        for vcpu in members(take(&mut self.stopped.frozen)) {
            vcpu.tcb().resume_again();
        }
        self.log(LogLevel::Info, format_args!("guest goes on"));
    }

    /// Begins to make the guest as after power-on; [`Self::load`] is the end of that.
    fn reset(&mut self) {
        // An injection would meet the stub.
        if let Some(action) = self.deferred.take() {
            action.perform();
        }
        self.machine.reset();
        self.waits.forget();
        let used = take(&mut self.stopped.used);
        // The stub knows GICv2 alone.
        let in_stub = if self.machine.gic().version() == Version::V2 { used } else { 0 };
        self.stopped = Stopped { still: true, in_stub, ..Stopped::default() };
        // Fails only for a RAM that is smaller than a page, which would not have been started.
        let _ = self.machine.memory().write(map::RAM_BASE, stub::code());
        self.machine.memory().clean(map::RAM_BASE, stub::code().len());
        for vcpu in members(in_stub) {
            if enter(vcpu, map::RAM_BASE, 0, 0, true).is_err() {
                self.stopped.in_stub &= !(1 << vcpu.index());
            }
        }
        if self.stopped.in_stub == 0 {
            self.clear();
        }
    }
}

/// Lets `vcpu` run at `entry`, or have it there if not `runs`, with its registers as after power-on. The kernel lets `SCTLR_EL1`
/// and the timer's registers be written also for a vCPU of another core, once it is off.
fn enter(vcpu: Vcpu, entry: u64, context: u64, offset: u64, runs: bool) -> Result<(), Error> {
    for register in ZERO {
        vcpu.write_reg(register, 0)?;
    }
    vcpu.write_reg(VcpuReg::Sctlr, SCTLR_START)?;
    vcpu.write_reg(VcpuReg::Cntvoff, offset)?;
    // It may be masked since an earlier life.
    vcpu.ack_vppi(map::VTIMER_INTID.id().into())?;
    let mut registers = [0; REGISTER_COUNT];
    registers[..4].copy_from_slice(&[entry, 0, SPSR_START, context]);
    vcpu.tcb().write_registers(runs, &registers)
}
