// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Numbers that the kernel and the Microkit tool share with a PD.

include!(concat!(env!("OUT_DIR"), "/kernel.rs"));

// The capability slots of a PD's CSpace (Microkit 2.3.0, `microkit.h`).
pub(crate) const INPUT: u64 = 1;
pub(crate) const REPLY: u64 = 4;
pub(crate) const MONITOR: u64 = 5;
pub(crate) const SMC: u64 = 7;
pub(crate) const NOTIFICATIONS: u64 = 10;
pub(crate) const ENDPOINTS: u64 = 74;
pub(crate) const IRQS: u64 = 138;
pub(crate) const CHILD_TCBS: u64 = 202;
pub(crate) const VCPU_TCBS: u64 = 266;
pub(crate) const VCPUS: u64 = 330;

/// Where the Microkit tool lets a PD's stack begin: the page between it and the IPC buffer is unmapped.
pub(crate) const STACK_TOP: u64 = IPC_BUFFER as u64 - 0x1000;

/// The Microkit numbers channels, children and vCPUs 0 to 61 each.
pub(crate) const ID_COUNT: usize = 62;
/// The bits of a badge that hold such a number.
pub(crate) const ID_MASK: u64 = 0x3f;
/// Set in the badge of a protected procedure call.
pub(crate) const BADGE_PROTECTED: u64 = 1 << 63;
/// Set in the badge of a child's or vCPU's fault.
pub(crate) const BADGE_FAULT: u64 = 1 << 62;
