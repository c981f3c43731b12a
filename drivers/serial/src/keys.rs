// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What is typed: text for the client with the focus, or, after the escape key, a command.

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
}

/// The state between two bytes.
#[derive(Debug, Default)]
pub struct Keys {
    escaped: bool,
}

impl Keys {
    /// What `byte`, the next one typed, asks for. Nothing: the escape key itself. An unknown command shows the help.
    pub fn next(&mut self, byte: u8) -> Option<Action> {
        if !core::mem::take(&mut self.escaped) {
            self.escaped = byte == ESCAPE;
            return (!self.escaped).then_some(Action::Type(byte));
        }
        Some(match byte {
            ESCAPE => Action::Type(ESCAPE),
            b'1'..=b'9' => Action::Focus(usize::from(byte - b'1')),
            b'n' => Action::Next,
            _ => Action::Help,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_key_makes_the_next_byte_a_command() {
        use Action::{Focus, Help, Next, Type};
        let cases: [(&[u8], &[Action]); 7] = [
            (b"ab\r", &[Type(b'a'), Type(b'b'), Type(b'\r')]),
            (b"\x1d", &[]),
            (b"\x1d1n", &[Focus(0), Type(b'n')]),
            (b"\x1d9\x1dn", &[Focus(8), Next]),
            (b"\x1d\x1d\x1d?", &[Type(ESCAPE), Help]),
            (b"\x1d0x", &[Help, Type(b'x')]),
            (b"\x1d\xff", &[Help]),
        ];
        for (typed, actions) in cases {
            let mut keys = Keys::default();
            let seen: Vec<_> = typed.iter().filter_map(|byte| keys.next(*byte)).collect();
            assert_eq!(seen, actions, "{typed:?}");
        }
    }
}
