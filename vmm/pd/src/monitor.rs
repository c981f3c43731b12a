// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the monitor in the serial PD is told, and what it may do.

use crate::Vmm;
use config::LogLevel;
use queue::monitor::{self, Answer, DEVICES, REGISTERS, Request, Subject};
use sel4_microkit::{REGISTER_COUNT, Register, Vcpu, VcpuReg};
use vmm_core::life::{Command, State};
use vmm_core::virtio::Counts;

/// The last of [`REGISTERS`].
const SYSTEM: [VcpuReg; 9] = [
    VcpuReg::Esr,
    VcpuReg::Far,
    VcpuReg::Elr,
    VcpuReg::Spsr,
    VcpuReg::Sctlr,
    VcpuReg::Tcr,
    VcpuReg::Ttbr0,
    VcpuReg::Ttbr1,
    VcpuReg::Vbar,
];

impl Vmm {
    /// Does what the monitor asks for. What follows from a command, [`Vmm::proceed`] does.
    #[cold]
    pub(crate) fn serve(&mut self, request: Request) {
        let command = match request {
            Request::Pause => Command::Pause,
            Request::Resume => Command::Resume,
            Request::Reset => Command::Reset,
            Request::Off => Command::Off,
            Request::Counters => return self.tell_counters(),
            Request::Registers => return self.tell_registers(),
            Request::Trace => return self.tell_trace(),
        };
        // The monitor refuses too, by what it last saw of the state.
        if let Err(refused) = self.life.command(command) {
            self.log(LogLevel::Error, format_args!("{refused}"));
        }
    }

    /// Tells what the guest does.
    pub(crate) fn tell_state(&mut self) {
        let state = match self.life.state() {
            State::Waiting => monitor::State::Waits,
            State::Running => monitor::State::Runs,
            State::Stopping(_) => monitor::State::Stops,
            State::Starting => monitor::State::Starts,
            State::Paused => monitor::State::Paused,
            State::Halted => monitor::State::Halted,
            State::Off => monitor::State::Off,
        };
        self.machine.console().set_state(state);
    }

    pub(crate) fn tell_counters(&mut self) {
        let counters = *self.machine.counters();
        for (index, count) in counters.exits.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            self.answer(Subject::Exits, index, 0, [count, 0, 0, 0]);
        }
        self.answer(Subject::Machine, 0, 0, [counters.injections, counters.unimplemented, 0, 0]);
        for index in 0..DEVICES.len() {
            if let Some(Counts { requests, completions, forgotten }) = self.machine.virtio_counts(index) {
                self.answer(Subject::Device, index, 0, [requests, completions, forgotten, 0]);
            }
        }
    }

    /// The registers of a vCPU that runs are those at its last exit. Of one that runs on another core they may be older.
    pub(crate) fn tell_registers(&mut self) {
        for id in self.vcpus() {
            let vcpu = Vcpu::new(id.index());
            let mut general = [0; REGISTER_COUNT];
            // Fails only for a vCPU that system.xml does not have.
            let _ = vcpu.tcb().read_registers(&mut general);
            let system = |register| vcpu.read_reg(register).unwrap_or(0);
            let x = (0..31).filter_map(Register::x);
            let first =
                [Register::Pc, Register::Spsr, Register::Sp].into_iter().map(|register| general[register as usize]);
            let mut rest = first
                .chain([system(VcpuReg::Sp)])
                .chain(x.map(|register| general[register as usize]))
                .chain(SYSTEM.into_iter().map(system));
            for index in (0..REGISTERS.len()).step_by(4) {
                let values = core::array::from_fn(|_| rest.next().unwrap_or(0));
                self.answer(Subject::Registers, index, id.index(), values);
            }
        }
    }

    pub(crate) fn tell_trace(&mut self) {
        for event in self.trace.newest() {
            self.machine.console().answer(event);
        }
    }

    fn answer(&mut self, subject: Subject, index: usize, vcpu: usize, values: [u64; 4]) {
        self.machine.console().answer(Answer { subject, index: index as u8, vcpu: vcpu as u8, values });
    }
}
