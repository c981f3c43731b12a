// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! How often what happened.

use queue::monitor::EXITS;

/// The kinds of exit that are counted, in the order of [`EXITS`], their names.
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

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Exits, by [`Kind`].
    pub exits: [u64; EXITS.len()],
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
