// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Multiplexes the consoles and logs of several clients over one UART.
//!
//! # What the terminal shows
//! One client has the *focus*: typing goes to it, and its console output passes unmodified. Output of the others comes in
//! whole lines, `[name] text`; so does everyone's log, `name| text`. A line without an end stays until its client gets the
//! focus, so a prompt is there when its turn comes. Control characters and sequences, with which a line could pass for
//! another client's or make the terminal answer, are left out of these lines. They start on a fresh line of the terminal,
//! and wait while the client with the focus is in the middle of one and has more to say.
//!
//! A line that they interrupt all the same, such as a prompt with half a command, is shown again before it goes on, so
//! that the one with the cursor is whole. What is visible is repeated, up to 160 bytes, never a control sequence: the
//! terminal would answer a question twice. One that has no end yet is cancelled (CAN) and sent anew: so no sequence is
//! cut, and no guest can hold back the others by half of one. A longer line, and one in which a sequence has moved the
//! cursor, is not shown again. A driver that starts again knows of no line, and begins on a fresh one.
//!
//! # The monitor
//! [`ESCAPE`] (Ctrl-\]) and one more key move the focus, list the clients, show a client's log again, or ask the VMM with the
//! focus to pause, resume, reset or turn off its guest, or to tell its counters, registers or last exits: see [`keys`]. Lines
//! of the multiplexer itself begin with `-- `, and tell too when a guest is paused, goes on, or is off. What makes no sense
//! in a guest's state is refused here, and once more by the VMM, which alone knows it for certain.
//!
//! # Who waits for whom
//! Nothing here waits. When the UART takes no more, console output stays in its queue until the UART has room, and so the
//! client waits. Typing that a client does not read is lost, the newest bytes first, and counted in the help: holding it
//! back would also hold back the escape key, and so the way to the other clients. Each event is bounded in work, which
//! goes to the clients in turn.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod keys;
mod line;
mod monitor;
mod mux;
mod screen;

pub use keys::ESCAPE;
pub use mux::{Clients, Mux};

/// A serial port with an interrupt.
pub trait Uart {
    /// The next byte received, if there is one. The interrupt stays raised as long as there is.
    fn receive(&mut self) -> Option<u8>;

    /// Sends a byte. `false` if there is no room for it.
    fn send(&mut self, byte: u8) -> bool;

    /// Forgets that there was room. Called before a batch of [`Self::send`].
    fn begin(&mut self);

    /// Whether to raise the interrupt when what was sent since [`Self::begin`] has made room again. That is so after
    /// [`Self::send`] returned `false`, and after it sent much.
    fn end(&mut self, wake_for_room: bool);
}
