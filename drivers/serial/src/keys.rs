// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What is typed: text for the client with the focus, or, after the escape key, a command.

use queue::monitor::Request;

/// Ctrl-]. QEMU has Ctrl-A; shells and editors have most others.
pub const ESCAPE: u8 = 0x1d;

/// What a typed byte asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// The byte goes to the client with the focus.
    Type(u8),
    /// The client with this index, from 0, gets the focus.
    Focus(usize),
    /// The next client gets the focus.
    Next,
    /// The commands and the clients are to be shown.
    Help,
    /// The clients are to be shown.
    List,
    /// The log of the client with the focus is to be shown again.
    Replay,
    /// The client with the focus is asked for something.
    Ask(Request),
    /// There is no such command.
    Unknown,
}

/// The state between two bytes.
#[derive(Debug, Default)]
pub struct Keys {
    escaped: bool,
}

impl Keys {
    /// What `byte`, the next one typed, asks for. Nothing: the escape key itself. What a guest does not survive is in upper
    /// case, so that it is not typed by mistake.
    pub fn next(&mut self, byte: u8) -> Option<Action> {
        if !core::mem::take(&mut self.escaped) {
            self.escaped = byte == ESCAPE;
            return (!self.escaped).then_some(Action::Type(byte));
        }
        Some(match byte {
            ESCAPE => Action::Type(ESCAPE),
            b'1'..=b'9' => Action::Focus(usize::from(byte - b'1')),
            b'n' => Action::Next,
            b'?' => Action::Help,
            b'l' => Action::List,
            b'h' => Action::Replay,
            b'p' => Action::Ask(Request::Pause),
            b'r' => Action::Ask(Request::Resume),
            b'R' => Action::Ask(Request::Reset),
            b'O' => Action::Ask(Request::Off),
            b'c' => Action::Ask(Request::Counters),
            b'd' => Action::Ask(Request::Registers),
            b't' => Action::Ask(Request::Trace),
            _ => Action::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_key_makes_the_next_byte_a_command() {
        use Action::{Ask, Focus, Help, List, Next, Replay, Type, Unknown};
        use Request::{Counters, Off, Pause, Registers, Reset, Resume, Trace};
        let cases: [(&[u8], &[Action]); 9] = [
            (b"ab\r", &[Type(b'a'), Type(b'b'), Type(b'\r')]),
            (b"\x1d", &[]),
            (b"\x1d1n", &[Focus(0), Type(b'n')]),
            (b"\x1d9\x1dn", &[Focus(8), Next]),
            (b"\x1d\x1d\x1d?", &[Type(ESCAPE), Help]),
            (b"\x1d0x", &[Unknown, Type(b'x')]),
            (b"\x1d\xff", &[Unknown]),
            (b"\x1dl\x1dh", &[List, Replay]),
            (
                b"\x1dp\x1dr\x1dR\x1dO\x1dc\x1dd\x1dt",
                &[Ask(Pause), Ask(Resume), Ask(Reset), Ask(Off), Ask(Counters), Ask(Registers), Ask(Trace)],
            ),
        ];
        for (typed, actions) in cases {
            let mut keys = Keys::default();
            let seen: Vec<_> = typed.iter().filter_map(|byte| keys.next(*byte)).collect();
            assert_eq!(seen, actions, "{typed:?}");
        }
    }
}
