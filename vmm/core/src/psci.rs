// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Firmware calls: PSCI 1.1 (DEN0022F) and SMCCC 1.2 (DEN0028E), by SMC.

use crate::exit::{Reg, Regs};
use crate::life::End;
use crate::{VcpuId, map, trng};
use smccc::{arch, psci};

const PSCI_1_1: u64 = 0x1_0001;
const SMCCC_1_2: u64 = 0x1_0002;
/// `MIGRATE_INFO_TYPE`: there is no trusted OS that would have to migrate.
const NO_TRUSTED_OS: u64 = 2;

/// `power_state` of CPU_SUSPEND: the state's type and id, for this CPU alone; the other levels have no states.
const POWER_STATE: u64 = 0x1_ffff;

/// What a call answers in x0 (DEN0022F 5.2.2, DEN0028E 5.1), sign-extended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(i64)]
enum Status {
    Success = 0,
    NotSupported = -1,
    InvalidParameters = -2,
    AlreadyOn = -4,
    InvalidAddress = -9,
}

impl From<Status> for u64 {
    fn from(status: Status) -> Self {
        (status as i64).cast_unsigned()
    }
}

/// What x0 holds after a call that is not known.
pub const NOT_SUPPORTED: u64 = u64::MAX;

/// What the caller's machine does about a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// Answers with this in x0.
    Return(u64),
    /// Waits for an interrupt, then answers with success.
    Suspend,
    /// Starts another vCPU and answers with success.
    Start(Start),
    /// The caller goes off.
    Off,
    /// Answers as [`trng::call`] does where the guest has a source of entropy, else with [`NOT_SUPPORTED`].
    Entropy,
    /// The whole guest goes off, or asks for a reset.
    System(End),
}

/// A vCPU to start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Start {
    /// Which.
    pub vcpu: VcpuId,
    /// Guest-physical address of its first instruction.
    pub entry: u64,
    /// What it finds in x0.
    pub context: u64,
}

/// What a call is decided on.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Who calls.
    pub caller: VcpuId,
    /// How many vCPUs the guest has.
    pub vcpus: usize,
    /// A bit for each vCPU that is on.
    pub on: u8,
    /// Size of the guest's RAM in bytes.
    pub ram: u64,
}

/// Decodes and decides the call in the caller's registers.
pub fn call(state: State, regs: &mut impl Regs) -> Call {
    let function = regs.get(Reg::X(0)) as u32;
    // Bit 30 of a function says whether its arguments are 64 bits wide (DEN0028E 2.5).
    let mut argument = |n| {
        let value = regs.get(Reg::X(n));
        if function & 1 << 30 == 0 { value & 0xffff_ffff } else { value }
    };
    match function {
        psci::PSCI_VERSION => Call::Return(PSCI_1_1),
        psci::PSCI_FEATURES => Call::Return(psci_features(argument(1) as u32).into()),
        psci::PSCI_CPU_SUSPEND_32 | psci::PSCI_CPU_SUSPEND_64 => match argument(1) & !POWER_STATE {
            // Every power state is served by the shallowest, standby, which is always allowed (DEN0022F 5.4.5).
            0 => Call::Suspend,
            _ => Call::Return(Status::InvalidParameters.into()),
        },
        psci::PSCI_CPU_OFF => Call::Off,
        psci::PSCI_CPU_ON_32 | psci::PSCI_CPU_ON_64 => {
            let Some(vcpu) = state.vcpu_of(argument(1)) else { return Call::Return(Status::InvalidParameters.into()) };
            let start = Start { vcpu, entry: argument(2), context: argument(3) };
            match state.check(start) {
                Status::Success => Call::Start(start),
                error => Call::Return(error.into()),
            }
        }
        psci::PSCI_AFFINITY_INFO_32 | psci::PSCI_AFFINITY_INFO_64 => {
            Call::Return(state.affinity_info(argument(1), argument(2)))
        }
        psci::PSCI_MIGRATE_INFO_TYPE => Call::Return(NO_TRUSTED_OS),
        psci::PSCI_SYSTEM_OFF => Call::System(End::Off),
        psci::PSCI_SYSTEM_RESET => Call::System(End::Reset),
        psci::PSCI_SYSTEM_RESET2_32 | psci::PSCI_SYSTEM_RESET2_64 => match argument(1) {
            // The architectural warm reset; there are no vendor-specific ones.
            0 => Call::System(End::Reset),
            _ => Call::Return(Status::InvalidParameters.into()),
        },
        arch::SMCCC_VERSION => Call::Return(SMCCC_1_2),
        arch::SMCCC_ARCH_FEATURES => Call::Return(match argument(1) as u32 {
            arch::SMCCC_VERSION | arch::SMCCC_ARCH_FEATURES => Status::Success.into(),
            _ => Status::NotSupported.into(),
        }),
        trng::VERSION..=trng::RND_32 | trng::RND_64 => Call::Entropy,
        _ => Call::Return(NOT_SUPPORTED),
    }
}

fn psci_features(function: u32) -> Status {
    match function {
        psci::PSCI_VERSION
        | psci::PSCI_FEATURES
        | psci::PSCI_CPU_SUSPEND_32
        | psci::PSCI_CPU_SUSPEND_64
        | psci::PSCI_CPU_OFF
        | psci::PSCI_CPU_ON_32
        | psci::PSCI_CPU_ON_64
        | psci::PSCI_AFFINITY_INFO_32
        | psci::PSCI_AFFINITY_INFO_64
        | psci::PSCI_MIGRATE_INFO_TYPE
        | psci::PSCI_SYSTEM_OFF
        | psci::PSCI_SYSTEM_RESET
        | psci::PSCI_SYSTEM_RESET2_32
        | psci::PSCI_SYSTEM_RESET2_64
        | arch::SMCCC_VERSION => Status::Success,
        _ => Status::NotSupported,
    }
}

impl State {
    /// The vCPU with the affinity fields `mpidr`: its index in the lowest, zero in the others.
    fn vcpu_of(self, mpidr: u64) -> Option<VcpuId> {
        usize::try_from(mpidr).ok().filter(|index| *index < self.vcpus).and_then(VcpuId::new)
    }

    fn check(self, start: Start) -> Status {
        let in_ram = start.entry.checked_sub(map::RAM_BASE).is_some_and(|offset| offset < self.ram);
        if self.on & start.vcpu.bit() != 0 {
            Status::AlreadyOn
        } else if in_ram && start.entry.is_multiple_of(4) {
            Status::Success
        } else {
            Status::InvalidAddress
        }
    }

    /// 0: on, 1: off. All vCPUs are in one cluster, whose state is the caller's: on.
    fn affinity_info(self, mpidr: u64, level: u64) -> u64 {
        match (level, self.vcpu_of(mpidr)) {
            (0, Some(vcpu)) => (self.on & vcpu.bit() == 0).into(),
            (1..=3, _) if mpidr >> 8 == 0 => 0,
            _ => Status::InvalidParameters.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::FakeRegs;

    const STATE: State = State { caller: VcpuId::BOOT, vcpus: 2, on: 0b01, ram: 0x20_0000 };
    const RAM: u64 = map::RAM_BASE;

    #[test]
    fn calls_answer_as_the_specifications_say() {
        let one = VcpuId::new(1).unwrap();
        let start = |entry| Call::Start(Start { vcpu: one, entry, context: 7 });
        let status = |status: Status| Call::Return(status.into());
        // (what it shows, x0 to x3, what is done)
        let cases = [
            ("version", [0x8400_0000, 0, 0, 0], Call::Return(PSCI_1_1)),
            ("the upper half of x0 is not looked at", [0xffff_ffff_8400_0000, 0, 0, 0], Call::Return(PSCI_1_1)),
            ("feature", [0x8400_000a, 0xc400_0003, 0, 0], status(Status::Success)),
            ("feature that is not", [0x8400_000a, 0x8400_000e, 0, 0], status(Status::NotSupported)),
            ("suspend", [0xc400_0001, 0, RAM, 7], Call::Suspend),
            ("suspend, 32 bits", [0x8400_0001, 0xf_0001_0001, RAM, 7], Call::Suspend),
            ("suspend, the cluster too", [0xc400_0001, 1 << 24, RAM, 7], status(Status::InvalidParameters)),
            ("suspend, reserved bits", [0xc400_0001, 1 << 32, RAM, 7], status(Status::InvalidParameters)),
            ("migrate", [0xc400_0005, 0, 0, 0], status(Status::NotSupported)),
            ("a 64-bit version", [0xc400_0000, 0, 0, 0], status(Status::NotSupported)),
            ("entropy: the first function", [0x8400_0050, 0, 0, 0], Call::Entropy),
            ("entropy: the last one", [0x8400_0053, 0, 0, 0], Call::Entropy),
            ("entropy: behind it", [0x8400_0054, 0, 0, 0], status(Status::NotSupported)),
            ("entropy, 64 bits", [0xc400_0053, 0, 0, 0], Call::Entropy),
            ("a 64-bit version of it", [0xc400_0050, 0, 0, 0], status(Status::NotSupported)),
            ("off", [0x8400_0002, 0, 0, 0], Call::Off),
            ("on", [0xc400_0003, 1, RAM, 7], start(RAM)),
            ("on, 32 bits", [0x8400_0003, 0xf_0000_0001, RAM, 7], start(RAM)),
            ("on, no such vCPU", [0xc400_0003, 2, RAM, 7], status(Status::InvalidParameters)),
            ("on, other affinity", [0xc400_0003, 0x101, RAM, 7], status(Status::InvalidParameters)),
            ("on, already", [0xc400_0003, 0, RAM, 7], status(Status::AlreadyOn)),
            ("on, behind the RAM", [0xc400_0003, 1, RAM + STATE.ram, 7], status(Status::InvalidAddress)),
            ("on, before the RAM", [0xc400_0003, 1, RAM - 4, 7], status(Status::InvalidAddress)),
            ("on, unaligned", [0xc400_0003, 1, RAM + 2, 7], status(Status::InvalidAddress)),
            ("affinity of one on", [0xc400_0004, 0, 0, 0], Call::Return(0)),
            ("affinity of one off", [0xc400_0004, 1, 0, 0], Call::Return(1)),
            ("affinity of the cluster", [0xc400_0004, 0, 1, 0], Call::Return(0)),
            ("affinity of none", [0xc400_0004, 9, 0, 0], status(Status::InvalidParameters)),
            ("affinity level too high", [0xc400_0004, 0, 4, 0], status(Status::InvalidParameters)),
            ("migration", [0x8400_0006, 0, 0, 0], Call::Return(2)),
            ("system off", [0x8400_0008, 0, 0, 0], Call::System(End::Off)),
            ("system reset", [0x8400_0009, 0, 0, 0], Call::System(End::Reset)),
            ("warm reset", [0xc400_0012, 0, 0, 0], Call::System(End::Reset)),
            ("vendor reset", [0xc400_0012, 0x8000_0000, 0, 0], status(Status::InvalidParameters)),
            ("SMCCC version", [0x8000_0000, 0, 0, 0], Call::Return(SMCCC_1_2)),
            ("SMCCC features: itself", [0x8000_0001, 0x8000_0001, 0, 0], status(Status::Success)),
            ("SMCCC features: workaround 1", [0x8000_0001, 0x8000_8000, 0, 0], status(Status::NotSupported)),
            ("SMCCC features: workaround 2", [0x8000_0001, 0x8000_7fff, 0, 0], status(Status::NotSupported)),
            ("workaround 1 itself", [0x8000_8000, 0, 0, 0], status(Status::NotSupported)),
            ("unknown PSCI", [0x8400_00ff, 0, 0, 0], status(Status::NotSupported)),
            ("other service", [0xc600_0000, 0, 0, 0], status(Status::NotSupported)),
        ];
        for (name, x, expected) in cases {
            let mut regs = FakeRegs::default();
            for (n, value) in x.into_iter().enumerate() {
                regs.set(Reg::X(n as u8), value);
            }
            assert_eq!(call(STATE, &mut regs), expected, "{name}");
        }
    }
}
