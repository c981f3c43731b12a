// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The protection domain that runs one guest.
//!
//! It turns Microkit's events into calls of [`vmm_core`], and what comes out of these into the fewest system calls. A vCPU
//! that goes on behind its instruction is resumed by writing its program counter, without a reply; the last interrupt to
//! inject is folded into the system call that receives the next event.

#![no_std]
#![no_main]

mod ram;
mod registers;
mod serial;

use config::LogLevel;
use core::arch::asm;
use ram::Ram;
use registers::Registers;
use sel4_microkit::{
    Channel, ChannelSet, Child, DeferredAction, Error, Fault, Handler, Infallible, MessageInfo, Vcpu, VcpuReg,
    protection_domain,
};
use serial::Serial;
use vmm_core::device::pl031::Clock;
use vmm_core::gic::Injection;
use vmm_core::machine::Images;
use vmm_core::psci::{Start, SystemEvent};
use vmm_core::{Exit, Machine, Resume, VcpuId, map};

/// `SPSR` of a vCPU that starts: EL1 with its own stack pointer, all exceptions masked (PSCI 6.4.3.4).
const SPSR_START: u64 = 0x3c5;
/// `MPIDR_EL1` has this bit set, the vCPU's index in its lowest field, and nothing else.
const MPIDR_RES1: u64 = 1 << 31;

struct Vmm {
    machine: Machine<Ram, Serial>,
    vcpus: usize,
    power: Option<Channel>,
    /// How many list registers have been seen to exist.
    list_registers: u8,
    deferred: Option<DeferredAction>,
}

#[protection_domain]
fn init() -> impl Handler {
    let config = pd::config::<config::Vmm>();
    let clock = Clock { now: counter, frequency: counter_frequency() };
    let vcpus = config.vcpus as usize;
    let mut vmm = Vmm {
        machine: Machine::new(Ram::new(config.ram), vcpus, Serial::new(config), clock),
        vcpus,
        power: pd::channel(config.power),
        list_registers: 0,
        deferred: None,
    };
    vmm.boot(config);
    vmm
}

impl Vmm {
    fn boot(&mut self, config: &config::Vmm) {
        // SAFETY: the windows are of this PD's record, mapped read-only here and nowhere writable.
        let [kernel, initramfs, dtb, dtb_fragment] =
            [config.kernel, config.initramfs, config.dtb, config.dtb_fragment].map(|image| unsafe { pd::bytes(image) });
        let images = Images { kernel, initramfs, dtb, dtb_fragment, bootargs: config.bootargs.as_str() };
        match self.machine.load(&images) {
            Ok(start) => {
                self.log(LogLevel::Info, format_args!("guest starts at {:#x}", start.entry));
                self.start(start);
            }
            Err(error) => self.log(LogLevel::Error, format_args!("guest not started: {error}")),
        }
        self.machine.console().flush();
    }

    fn start(&mut self, start: Start) {
        let vcpu = Vcpu::new(start.vcpu.index());
        let registers = [start.entry, 0, SPSR_START, start.context];
        let done = vcpu
            .write_reg(VcpuReg::VmpidrEl2, MPIDR_RES1 | start.vcpu.index() as u64)
            .and_then(|()| vcpu.tcb().write_registers(true, &registers));
        if let Err(error) = done {
            let index = vcpu.index();
            self.log(
                LogLevel::Error,
                format_args!("vCPU {index} not started: {error}; remedy: declare it in system.xml"),
            );
        }
    }

    /// Does what the machine asks for. A vCPU that goes on is resumed by the caller, afterwards.
    fn apply_effects(&mut self) {
        // First, as it can find that a timer is to be sampled anew.
        self.inject();
        let effects = self.machine.effects();
        for vcpu in self.vcpus() {
            if effects.timer_acks & vcpu.bit() != 0 {
                // Cannot fail: the interrupt is the virtual timer's.
                let _ = Vcpu::new(vcpu.index()).ack_vppi(map::VTIMER_INTID.id().into());
            }
        }
        if let Some(start) = effects.start {
            self.start(start);
        }
        if let Some(event) = effects.event {
            self.log(LogLevel::Warn, format_args!("{event}"));
        }
        if let Some(event) = effects.system {
            self.stop(event);
        }
        if effects.console {
            self.machine.console().flush();
        }
    }

    /// Gives the vCPUs what is pending. What is known to be legal can wait for the next receive, and the last one does.
    fn inject(&mut self) {
        for vcpu in self.vcpus() {
            while let Some(injection) = self.machine.next_injection(vcpu) {
                if injection.lr >= self.list_registers {
                    self.try_list_register(injection);
                } else if let Some(earlier) = self.deferred.replace(deferred(injection)) {
                    perform(earlier);
                }
            }
        }
    }

    /// Injects into a list register that is not known to exist.
    fn try_list_register(&mut self, injection: Injection) {
        let Injection { vcpu, lr, intid, priority, group } = injection;
        match Vcpu::new(vcpu.index()).inject_irq(intid.id(), priority, group, lr) {
            Ok(()) => self.list_registers = lr + 1,
            Err(Error::RangeError) => self.machine.gic().refused(injection),
            Err(error) => self.log(LogLevel::Error, format_args!("interrupt {} is lost: {error}", intid.id())),
        }
    }

    /// The guest is off: stops its vCPUs and tells who turns the machine off.
    fn stop(&mut self, event: SystemEvent) {
        for vcpu in self.vcpus() {
            // Fails only for a vCPU that system.xml does not have, which then does not run either.
            let _ = Vcpu::new(vcpu.index()).tcb().suspend();
        }
        match event {
            SystemEvent::Off => self.log(LogLevel::Info, format_args!("guest is off")),
            SystemEvent::Reset => self.log(LogLevel::Error, format_args!("guest asked for a reset and is off instead")),
        }
        self.log_counters();
        self.machine.console().flush();
        if let Some(power) = self.power {
            power.notify();
        }
    }

    fn log_counters(&mut self) {
        let counters = *self.machine.counters();
        for ((_, name), count) in vmm_core::machine::Kind::ALL.iter().zip(counters.exits) {
            if count > 0 {
                self.log(LogLevel::Info, format_args!("exits {name}: {count}"));
            }
        }
        let (injections, unimplemented) = (counters.injections, counters.unimplemented);
        self.log(LogLevel::Info, format_args!("injections: {injections}, unimplemented registers: {unimplemented}"));
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

    fn notified(&mut self, _channels: ChannelSet) -> Result<(), Infallible> {
        // The serial PD is the only one that notifies a VMM.
        self.machine.console().receive();
        self.machine.console_notified();
        self.apply_effects();
        Ok(())
    }

    fn fault(&mut self, child: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Infallible> {
        let Some(vcpu) = VcpuId::new(child.index()) else { return Ok(None) };
        let mut registers = Registers::new(Vcpu::from(child));
        let exit = decode(message.fault(), &mut registers);
        let resume = self.machine.exit(vcpu, exit, &mut registers);
        self.apply_effects();
        Ok(match resume {
            // A wait may end at any time, and so it does at once.
            Resume::Advance | Resume::Block => {
                registers.advance();
                None
            }
            Resume::Retry if registers.changed() => {
                registers.resume();
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
        self.deferred.take()
    }
}

/// What a fault of a vCPU means to the machine.
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
        Fault::Vppi { .. } | Fault::UserException { .. } | Fault::Other(_) => Exit::Fatal,
    }
}

fn deferred(injection: Injection) -> DeferredAction {
    let Injection { vcpu, lr, intid, priority, group } = injection;
    DeferredAction::InjectIrq { vcpu: Vcpu::new(vcpu.index()), virq: intid.id(), priority, group, index: lr }
}

fn perform(action: DeferredAction) {
    if let DeferredAction::InjectIrq { vcpu, virq, priority, group, index } = action {
        // Cannot fail: the list register exists and is free, and the machine gives no other number out of range.
        let _ = vcpu.inject_irq(virq, priority, group, index);
    }
}

/// The system counter.
fn counter() -> u64 {
    let count: u64;
    // SAFETY: reads a register that the kernel lets protection domains read (`KernelArmExportPCNTUser`).
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) count, options(nomem, nostack)) };
    count
}

/// How often the system counter counts in a second.
fn counter_frequency() -> u64 {
    let frequency: u64;
    // SAFETY: reads a register that protection domains can read.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) frequency, options(nomem, nostack, pure)) };
    frequency
}
