// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The runtime of a protection domain (PD) of the seL4 Microkit 2.3.0 on AArch64, in Rust alone.
//!
//! ```no_run
//! #![no_std]
//! #![no_main]
//! use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, debug_println, protection_domain};
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     type Error = Infallible;
//!     fn notified(&mut self, channels: ChannelSet) -> Result<(), Infallible> {
//!         channels.iter().for_each(|channel| channel.notify());
//!         Ok(())
//!     }
//! }
//!
//! #[protection_domain]
//! fn init() -> impl Handler {
//!     debug_println!("ready");
//!     Echo
//! }
//! ```
//!
//! Where this crate and rust-sel4's crate of the same name overlap, names and meanings agree, so that a PD can move between
//! them. This one adds what a virtual-machine monitor needs: [`Vcpu`], reading and writing a prefix of a thread's registers
//! ([`Tcb`]), decoded [`Fault`]s, and injections folded into the receiving system call ([`DeferredAction`]).
//!
//! # Principles
//!
//! - **Nothing between a PD and the kernel.** A call here is one system call with its words in registers; the IPC buffer is
//!   touched only for the words after the fourth. Errors of the kernel come back as [`Error`].
//! - **The numbers are the kernel's.** They are derived at build time from the SDK that `MICROKIT_SDK`, `MICROKIT_BOARD` and
//!   `MICROKIT_CONFIG` name (see `sel4-microkit-support`). The bare-metal target must be built for the configuration it runs on.
//! - **One thread.** A PD has exactly one thread and never shares its IPC buffer; nothing here is locked.
//! - **Capabilities come from the system file.** A [`Channel`] that the system file does not declare for the use made of it is a
//!   programming error and panics; the kernel refuses everything else.
//!
//! On a host the crate compiles against a stand-in that records system calls, so that code using it can be checked and tested.

#![cfg_attr(target_os = "none", no_std)]

mod abi;
mod channel;
mod fault;
mod handler;
mod ipc;
mod message;
pub mod panicking;
mod print;
mod smc;
mod start;
mod symbols;
#[cfg(target_os = "none")]
mod sys;
#[cfg(not(target_os = "none"))]
#[path = "sys_host.rs"]
mod sys;
mod tcb;
mod vcpu;

pub use channel::{Channel, ChannelSet, ChannelSetIter};
pub use core::convert::Infallible;
pub use fault::{Fault, unknown_syscall_reply};
pub use handler::{DeferredAction, Handler, NullHandler};
pub use ipc::{Event, poll, reply};
pub use message::{Error, MAX_MESSAGE_WORDS, MessageInfo, get_mr, set_mr};
pub use print::PRINTING;
pub use smc::smc;
pub use symbols::{pd_is_passive, pd_name};
pub use tcb::{Child, REGISTER_COUNT, REGISTER_ORDER, Register, Tcb};
pub use vcpu::{Vcpu, VcpuReg};

/// Makes a function the initialisation of the protection domain.
///
/// The function takes nothing and returns a [`Handler`], which then serves the PD's events for good. There is one such
/// function in a PD. The stack is the Microkit's: its size is `stack_size` of the `protection_domain` in the system file
/// (8 KiB unless told), and the page below it is unmapped, so that an overflow is a fault and never silent. So the attribute
/// takes no options:
///
/// ```compile_fail
/// # use sel4_microkit::{Handler, NullHandler, protection_domain};
/// #[protection_domain(stack_size = 0x10000)]
/// fn init() -> impl Handler {
///     NullHandler::new()
/// }
/// ```
pub use sel4_microkit_macros::protection_domain;

/// What the macros of this crate expand to.
#[doc(hidden)]
pub mod _private {
    pub use crate::print::print;
    pub use crate::start::start;
    pub use crate::symbols::Patched;
}
