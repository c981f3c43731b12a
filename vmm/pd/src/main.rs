// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The protection domain that runs one guest.
//!
//! It turns Microkit's events into calls of [`vmm_core`], and what comes out of these into the fewest system calls. A vCPU
//! that goes on behind its instruction is resumed by writing its program counter, without a reply; the last interrupt to
//! inject is folded into the system call that receives the next event.

#![no_std]
#![no_main]

mod life;
mod monitor;
mod power;
mod ram;
mod registers;
mod serial;
mod stub;
mod trace;
mod virtio;
mod wait;

use config::LogLevel;
use core::mem::take;
use life::Stopped;
use pd::{counter, counter_frequency};
use power::Power;
use queue::monitor::Event;
use ram::Ram;
use registers::Registers;
use sel4_microkit::{
    Channel, ChannelSet, Child, DeferredAction, Error, Fault, Handler, Infallible, MessageInfo, Vcpu, protection_domain,
};
use serial::Serial;
use trace::Trace;
use virtio::Virtio;
use vmm_core::device::pl031::Clock;
use vmm_core::gic::{Injection, Version};
use vmm_core::life::State;
use vmm_core::map::VIRTIO_SLOTS;
use vmm_core::virtio::Owed;
use vmm_core::{Exit, Life, MAX_VCPUS, Machine, Resume, VcpuId, map};
use wait::{End, Task, Waits, timer_deadline};

/// How often a vCPU that pauses looks again: no rarer than the event stream that Linux asks for, 10 kHz.
const PAUSES_PER_SECOND: u64 = 20_000;

/// How many seconds a driver may owe an answer before that is told.
const PATIENCE: u64 = 1;

/// What a device keeps back, because the guest will hardly wait for it, is kept no longer than a millisecond.
const HURRIES_PER_SECOND: u64 = 1000;

struct Vmm {
    machine: Machine<Ram, Serial>,
    registers: Registers,
    vcpus: usize,
    waits: Waits,
    /// How long a driver may owe an answer before that is told, in ticks of the system counter.
    patience: u64,
    power: Power,
    virtio: Virtio,
    config: &'static config::Vmm,
    life: Life,
    stopped: Stopped,
    /// How many list registers have been seen to exist.
    list_registers: u8,
    deferred: Option<DeferredAction>,
    trace: &'static mut Trace,
}

#[protection_domain]
fn init() -> impl Handler {
    let config = pd::config::<config::Vmm>();
    let clock = Clock { now: counter, frequency: counter_frequency() };
    let vcpus = config.vcpus as usize;
    let gic = match config.gic {
        config::Gic::V2 => Version::V2,
        config::Gic::V3 => Version::V3,
    };
    let mut vmm = Vmm {
        machine: Machine::new(Ram::new(config.ram), vcpus, gic, Serial::new(config), clock),
        registers: Registers::new(config.remote),
        vcpus,
        waits: Waits::new(pd::channel(config.timer)),
        patience: clock.frequency * PATIENCE,
        power: Power::new(pd::channel(config.power)),
        virtio: Virtio::new(config),
        config,
        life: Life::new(life::policy(config), counter_frequency()),
        stopped: Stopped::default(),
        list_registers: 0,
        deferred: None,
        trace: Trace::begin(config.name.as_str()),
    };
    vmm.proceed();
    vmm
}

impl Vmm {
    fn on_notified(&mut self, channels: ChannelSet) {
        if self.waits.is_timer(channels) {
            if self.waits.is_time_for(Task::Look) {
                self.look_after_drivers();
            }
            if self.waits.is_time_for(Task::Hurry) {
                self.machine.hurry();
            }
            let machine = &mut self.machine;
            self.waits.expire(self.life.is_running(), |vcpu, end| end_wait(machine, vcpu, end));
        }
        let machine = &mut self.machine;
        machine.virtio_notified(self.virtio.slots(channels));
        if machine.console().is_served_over(channels) {
            machine.console().receive();
            machine.console_notified();
        }
        if self.power.answered(channels) {
            self.power.tell(self.life.state() == State::Off);
        }
        self.apply_effects(false);
    }

    /// Handles an exit of `vcpu`, whose fault is `message`, but for its resumption.
    fn on_exit(&mut self, vcpu: VcpuId, message: MessageInfo) -> Resume {
        self.registers.begin(Vcpu::new(vcpu.index()));
        let exit = decode(message.fault(), &mut self.registers);
        let mut resume = self.machine.exit(vcpu, exit, &mut self.registers);
        if self.registers.take_missed() {
            resume = self.halt_remote(vcpu);
        }
        match resume {
            Resume::Advance | Resume::Retry => {}
            Resume::Hold => {
                let pc = self.registers.suspend(true);
                self.waits.begin(vcpu, pc, timer::NEVER, timer::NEVER);
                self.waits.schedule(Task::Look, self.patience);
            }
            Resume::Block => self.wait(vcpu, timer::NEVER),
            Resume::Pause => {
                let limit = counter() + counter_frequency() / PAUSES_PER_SECOND;
                self.wait(vcpu, limit);
            }
            Resume::Off => {}
        }
        // Nothing can go with a reply.
        self.apply_effects(resume == Resume::Retry && !self.registers.changed());
        resume
    }

    /// Ends the guest, of which `vcpu` needs an exception that goes through registers of another core.
    #[cold]
    fn halt_remote(&mut self, vcpu: VcpuId) -> Resume {
        let index = vcpu.index();
        self.log(
            LogLevel::Error,
            format_args!("vCPU {index} needs an exception that cannot reach its core; remedy: remove its `cpu`"),
        );
        self.machine.crash(vcpu, &mut self.registers)
    }

    /// Does what the machine asks for, injections `at_once` or with the next receive. A vCPU that goes on is resumed by the
    /// caller, afterwards.
    #[inline(always)]
    fn apply_effects(&mut self, at_once: bool) {
        if self.machine.has_effects() {
            self.apply_all_effects(at_once);
        }
    }

    #[inline(never)]
    fn apply_all_effects(&mut self, at_once: bool) {
        // First, as it can find that a timer is to be sampled anew.
        while let Some(vcpu) = self.machine.injectable() {
            if let Some(injection) = self.machine.next_injection(vcpu) {
                self.inject(injection, at_once);
            }
        }
        if self.machine.has_effects() {
            self.apply_other_effects();
        }
    }

    /// All but injections.
    #[inline(never)]
    fn apply_other_effects(&mut self) {
        let effects = self.machine.pending_effects();
        let acks = take(&mut effects.timer_acks);
        // As long as the guest is stopped, these wait.
        let awake = if self.life.is_running() { take(&mut effects.wakes) | take(&mut effects.released) } else { 0 };
        let notify = take(&mut effects.notify);
        let (console, keeps) = (take(&mut effects.console), take(&mut effects.keeps));
        if effects.start.is_some() || effects.event.is_some() || effects.system.is_some() {
            self.apply_rare_effects();
        }
        for vcpu in members(acks) {
            self.settle(vcpu, DeferredAction::new_ack_vppi(vcpu, map::VTIMER_INTID.id().into()));
        }
        for vcpu in members(awake) {
            self.waits.end(vcpu);
        }
        if console {
            self.machine.console().flush();
        }
        if keeps {
            self.waits.schedule(Task::Hurry, self.patience / PATIENCE / HURRIES_PER_SECOND);
        }
        if notify != 0 {
            self.waits.schedule(Task::Look, self.patience);
            for channel in self.virtio.channels(notify) {
                self.defer(DeferredAction::new_notify(channel));
            }
        }
    }

    #[cold]
    fn apply_rare_effects(&mut self) {
        let effects = self.machine.pending_effects();
        let (start, event, system) = (effects.start.take(), effects.event.take(), effects.system.take());
        if let Some(start) = start {
            self.start(start);
        }
        if let Some(event) = event {
            self.log(LogLevel::Warn, format_args!("{event}"));
        }
        if let Some(event) = system {
            self.ended(event);
        }
    }

    fn inject(&mut self, injection: Injection, at_once: bool) {
        let Injection { vcpu, lr, intid, priority, group } = injection;
        self.trace.other(Event::Inject, vcpu.index(), intid.id().into());
        if lr >= self.list_registers {
            // By reference, so that this rare case does not need all of it in one register.
            return self.try_list_register(&Injection { vcpu, lr, intid, priority, group });
        }
        // Legal: the list register exists and is free, and the machine gives no other number out of range.
        let vcpu = Vcpu::new(vcpu.index());
        let action = DeferredAction::new_inject_irq(vcpu, intid.id(), priority, group, lr);
        if at_once { action.perform() } else { self.settle(vcpu, action) }
    }

    /// Does `action` to `vcpu` before that runs on.
    #[inline]
    fn settle(&mut self, vcpu: Vcpu, action: DeferredAction) {
        if !self.registers.is_remote(vcpu) {
            // This PD runs above its vCPUs, and so up to the next receive.
            self.defer(action);
        } else {
            action.perform();
        }
    }

    /// Lets `action` wait for the next receive, where it costs least. One can.
    #[inline]
    fn defer(&mut self, action: DeferredAction) {
        if let Some(earlier) = self.deferred {
            earlier.perform();
        }
        self.deferred = Some(action);
    }

    /// Injects into a list register that is not known to exist.
    #[cold]
    fn try_list_register(&mut self, injection: &Injection) {
        let Injection { vcpu, lr, intid, priority, group } = *injection;
        match Vcpu::new(vcpu.index()).inject_irq(intid.id(), priority, group, lr) {
            Ok(()) => self.list_registers = lr + 1,
            Err(Error::RangeError) => self.machine.gic().refused(*injection),
            Err(error) => self.log(LogLevel::Error, format_args!("interrupt {} is lost: {error}", intid.id())),
        }
    }

    /// Suspends `vcpu`, which asked to wait: until an interrupt comes, its virtual timer fires, or `limit`.
    fn wait(&mut self, vcpu: VcpuId, limit: u64) {
        let pc = self.registers.suspend(true);
        let timer = if self.machine.timer_wakes(vcpu) {
            timer_deadline(Vcpu::new(vcpu.index()), self.stopped.offset())
        } else {
            timer::NEVER
        };
        if let Some(end) = self.waits.begin(vcpu, pc, timer, limit) {
            end_wait(&mut self.machine, vcpu, end);
        }
    }

    /// Tells of drivers that owe an answer for too long.
    #[cold]
    fn look_after_drivers(&mut self) {
        let mut most = Owed::Nothing;
        for slot in 0..VIRTIO_SLOTS {
            let owed = self.machine.virtio_owed(slot);
            most = most.max(owed);
            if owed != Owed::Overdue {
                continue;
            }
            let (name, driver) = self.virtio.names(slot);
            self.log(
                LogLevel::Warn,
                format_args!(
                    "{name}: driver `{driver}` owes an answer for a second or more; what waits for it stands still"
                ),
            );
        }
        self.machine.console().flush();
        if most != Owed::Nothing {
            self.waits.schedule(Task::Look, self.patience);
        }
    }

    fn log(&mut self, level: LogLevel, message: core::fmt::Arguments<'_>) {
        self.machine.console().log(level, message);
    }

    fn vcpus(&self) -> impl Iterator<Item = VcpuId> + use<> {
        (0..self.vcpus).filter_map(VcpuId::new)
    }
}

impl Handler for Vmm {
    type Error = Infallible;

    fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
        self.trace.other(Event::Notified, 0, channels.bits());
        self.on_notified(channels);
        // Not where all events are received before the vCPUs are suspended: a command would find the guest half stopped.
        if let Some(request) = self.machine.console().request() {
            self.serve(request);
            self.machine.console().flush();
        }
        if self.is_stopped() {
            self.proceed();
        }
        Ok(())
    }

    /// Nobody has a reason to call a VMM; a caller that does gets an empty answer.
    fn protected(&mut self, _channel: Channel, _message: MessageInfo) -> Result<MessageInfo, Infallible> {
        Ok(MessageInfo::new(0, 0))
    }

    fn fault(&mut self, child: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Infallible> {
        self.trace.exit(child.index(), message);
        let Some(vcpu) = VcpuId::new(child.index()) else { return Ok(None) };
        if self.life.state() == State::Starting {
            return Ok(self.on_stub_exit(vcpu, message.fault()));
        }
        let resume = self.on_exit(vcpu, message);
        if !self.life.is_running() {
            self.hold_back(vcpu, resume);
            self.proceed();
            return Ok(None);
        }
        Ok(match resume {
            Resume::Hold | Resume::Block | Resume::Pause => None,
            Resume::Advance => {
                self.registers.advance();
                None
            }
            Resume::Retry if self.registers.changed() => {
                self.registers.resume();
                None
            }
            Resume::Retry => Some(MessageInfo::new(0, 0)),
            Resume::Off => {
                // Fails only for a vCPU that does not exist, and this one exited.
                let _ = Vcpu::from(child).tcb().suspend();
                None
            }
        })
    }

    fn take_deferred_action(&mut self) -> Option<DeferredAction> {
        // Mostly there is none, and then this need not be written.
        if self.deferred.is_some() { self.deferred.take() } else { None }
    }
}

/// What a fault of a vCPU means to the machine.
#[inline(always)]
fn decode(fault: Fault, registers: &mut Registers) -> Exit {
    match fault {
        Fault::VmFault { ip, addr, prefetch, fsr } => {
            registers.know_pc(ip);
            Exit::Abort { gpa: addr, esr: fsr, fetch: prefetch }
        }
        Fault::Vcpu { esr } => Exit::Trap { esr },
        Fault::VgicMaintenance { index } => Exit::Maintenance { lr: index },
        Fault::Vppi { irq } if irq == map::VTIMER_INTID.id().into() => Exit::Timer,
        // An HVC enters the kernel as a system call, unknown or with a capability that a vCPU does not have.
        Fault::UnknownSyscall { ip, .. } | Fault::CapFault { ip, .. } => {
            registers.know_pc(ip);
            Exit::Hvc
        }
        // A syndrome without a class: an instruction that nobody knows.
        Fault::UserException { ip, number } => {
            registers.know_pc(ip);
            Exit::Trap { esr: number }
        }
        Fault::Vppi { .. } | Fault::Other(_) => Exit::Fatal,
    }
}

fn end_wait(machine: &mut Machine<Ram, Serial>, vcpu: VcpuId, end: End) {
    match end {
        End::Timer => machine.timer_expired(vcpu),
        End::Limit => machine.wake(vcpu.bit()),
    }
}

/// The vCPUs whose bits are set.
fn members(bits: u8) -> impl Iterator<Item = Vcpu> {
    let mut rest = bits;
    core::iter::from_fn(move || {
        let index = rest.trailing_zeros() as usize;
        rest &= rest.wrapping_sub(1);
        (index < MAX_VCPUS).then(|| Vcpu::new(index))
    })
}
