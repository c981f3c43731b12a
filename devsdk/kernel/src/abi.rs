// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Numbers and layouts of the seL4 16.0.0 interface (MCS, AArch64, hypervisor).

/// System calls, in x7.
pub mod syscall {
    pub const CALL: i64 = -1;
    pub const REPLY_RECV: i64 = -2;
    pub const NB_SEND_RECV: i64 = -3;
    pub const NB_SEND_WAIT: i64 = -4;
    pub const SEND: i64 = -5;
    pub const NB_SEND: i64 = -6;
    pub const RECV: i64 = -7;
    pub const NB_RECV: i64 = -8;
    pub const WAIT: i64 = -9;
    pub const NB_WAIT: i64 = -10;
    pub const YIELD: i64 = -11;
    pub const DEBUG_PUT_CHAR: i64 = -12;
    /// The last call that only debug kernels have.
    pub const DEBUG_LAST: i64 = -17;
}

/// Invocation labels. Debug kernels have four more for breakpoints, after [`TCB_RESUME`](label::TCB_RESUME).
pub mod label {
    use core::ops::RangeInclusive;

    const DEBUG: u64 = if cfg!(feature = "debug") { 4 } else { 0 };
    pub const TCB_READ_REGISTERS: u64 = 2;
    pub const TCB_WRITE_REGISTERS: u64 = 3;
    pub const TCB_SUSPEND: u64 = 12;
    pub const TCB_RESUME: u64 = 13;
    /// All labels of a thread.
    pub const TCB_ALL: RangeInclusive<u64> = 2..=17 + DEBUG;
    pub const IRQ_ACK: u64 = 27 + DEBUG;
    /// All labels of an interrupt handler.
    pub const IRQ_ALL: RangeInclusive<u64> = 27 + DEBUG..=29 + DEBUG;
    pub const SMC_CALL: u64 = 43 + DEBUG;
    pub const VCPU_SET_TCB: u64 = 55 + DEBUG;
    pub const VCPU_INJECT_IRQ: u64 = 56 + DEBUG;
    pub const VCPU_READ_REGISTER: u64 = 57 + DEBUG;
    pub const VCPU_WRITE_REGISTER: u64 = 58 + DEBUG;
    pub const VCPU_ACK_VPPI: u64 = 59 + DEBUG;
}

/// Labels of fault messages.
pub mod fault {
    pub const CAP: u64 = 1;
    pub const UNKNOWN_SYSCALL: u64 = 2;
    pub const USER_EXCEPTION: u64 = 3;
    pub const DEBUG_EXCEPTION: u64 = 4;
    pub const VM: u64 = 6;
    pub const VGIC_MAINTENANCE: u64 = 7;
    pub const VCPU: u64 = 8;
    pub const VPPI_EVENT: u64 = 9;
}

/// Words of a message that travel in registers, x2–x5.
pub const MESSAGE_REGISTERS: usize = 4;
/// Words of a message.
pub const MESSAGE_LENGTH: u64 = 120;

/// The word that describes a message (x1).
#[derive(Clone, Copy)]
pub struct MessageInfo(pub u64);

impl MessageInfo {
    /// A message without capabilities.
    pub const fn new(label: u64, length: usize) -> Self {
        Self(label << 12 | length as u64)
    }

    /// Label.
    pub const fn label(self) -> u64 {
        self.0 >> 12
    }

    /// Words, at most [`MESSAGE_LENGTH`].
    pub const fn length(self) -> usize {
        let length = self.0 & 0x7f;
        (if length > MESSAGE_LENGTH { MESSAGE_LENGTH } else { length }) as usize
    }

    /// Number of capabilities that are sent along.
    pub const fn extra_caps(self) -> u64 {
        self.0 >> 7 & 3
    }
}

/// An error that a call returns to its caller, with the words of its message.
#[derive(Clone, Copy)]
pub enum Error {
    /// Which argument.
    InvalidArgument(u64),
    /// Which capability.
    InvalidCapability(u64),
    IllegalOperation,
    /// The limits.
    Range(u64, u64),
    TruncatedMessage,
    DeleteFirst,
}

impl Error {
    /// Label and words.
    pub fn message(self) -> (u64, [u64; 2], usize) {
        match self {
            Self::InvalidArgument(number) => (1, [number, 0], 1),
            Self::InvalidCapability(number) => (2, [number, 0], 1),
            Self::IllegalOperation => (3, [0; 2], 0),
            Self::Range(min, max) => (4, [min, max], 2),
            Self::TruncatedMessage => (7, [0; 2], 0),
            Self::DeleteFirst => (8, [0; 2], 0),
        }
    }
}

/// Why a capability address names nothing.
#[derive(Clone, Copy)]
pub enum Lookup {
    /// No capability, with this many bits of the address unresolved.
    Missing(u64),
    /// With `left` bits unresolved, the address differs from a node's guard: zero, of this many `bits`.
    Guard { left: u64, bits: u64 },
}

/// SPSR of a thread at EL0: FIQ masked; release kernels mask SError as well.
pub const PSTATE_USER: u64 = 1 << 6 | if cfg!(feature = "debug") { 0 } else { 1 << 8 };

/// What seL4 makes of an SPSR that is written to a thread: a thread with a vCPU may choose EL0 or EL1, others are at EL0.
pub fn sanitise_spsr(spsr: u64, vcpu: bool) -> u64 {
    if vcpu && matches!(spsr & 0x1f, 0 | 4 | 5) { spsr } else { spsr & 0xf000_0000 | PSTATE_USER }
}

/// A register of a thread: its restart address, SP_EL0, SPSR, x0–x30 and the thread registers.
#[derive(Clone, Copy)]
pub enum Register {
    Pc,
    Sp,
    Spsr,
    X(u8),
    Tpidr,
    Tpidrro,
}

/// Number of registers of a thread.
pub const REGISTERS: u64 = 36;

/// The order of TCB_ReadRegisters and TCB_WriteRegisters.
pub const REGISTER_ORDER: [Register; REGISTERS as usize] = {
    let mut order = [Register::Pc; REGISTERS as usize];
    order[1] = Register::Sp;
    order[2] = Register::Spsr;
    let x: [u8; 31] = [
        0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 18, 29, 30, 9, 10, 11, 12, 13, 14, 15, 19, 20, 21, 22, 23, 24, 25, 26, 27,
        28,
    ];
    let mut i = 0;
    while i < x.len() {
        order[3 + i] = Register::X(x[i]);
        i += 1;
    }
    order[34] = Register::Tpidr;
    order[35] = Register::Tpidrro;
    order
};
