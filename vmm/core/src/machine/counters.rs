// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! How often what happened.

/// The kinds of exit that are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A register of the interrupt distributor.
    Distributor,
    /// A register of the UART.
    Uart,
    /// A register of the real-time clock.
    Rtc,
    /// A register of a virtio device.
    Virtio,
    /// An address where nothing is.
    Unmapped,
    /// WFI.
    Wfi,
    /// WFE.
    Wfe,
    /// A firmware call.
    Smc,
    /// A hypervisor call.
    Hvc,
    /// Another trapped instruction.
    Trap,
    /// An interrupt was ended.
    Maintenance,
    /// The virtual timer fired.
    Timer,
    /// An unknown reason.
    Fatal,
}

impl Kind {
    /// All kinds with their names, in the order of [`Counters::exits`].
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Distributor, "gic"),
        (Self::Uart, "uart"),
        (Self::Rtc, "rtc"),
        (Self::Virtio, "virtio"),
        (Self::Unmapped, "unmapped"),
        (Self::Wfi, "wfi"),
        (Self::Wfe, "wfe"),
        (Self::Smc, "smc"),
        (Self::Hvc, "hvc"),
        (Self::Trap, "trap"),
        (Self::Maintenance, "eoi"),
        (Self::Timer, "timer"),
        (Self::Fatal, "fatal"),
    ];
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Exits, by [`Kind`].
    pub exits: [u64; Kind::ALL.len()],
    /// Interrupts given to the guest.
    pub injections: u64,
    /// Loads and stores of registers that no device implements, or that mean nothing in the device's state.
    pub unimplemented: u64,
}

impl Counters {
    pub(super) fn count(&mut self, kind: Kind) {
        if let Some(n) = self.exits.get_mut(kind as usize) {
            *n += 1;
        }
    }
}
