// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What a machine wrote on its console, as text that patterns can be matched against.

/// Number of lines that a failure shows.
const TAIL: usize = 40;

/// Console output with carriage returns and terminal control sequences removed.
#[derive(Debug, Default)]
pub struct Transcript {
    text: String,
    /// The beginning of a control sequence or of a UTF-8 character whose rest has not arrived.
    partial: Vec<u8>,
}

impl Transcript {
    /// Appends what the console wrote.
    pub fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.partial);
        let mut rest = bytes.as_slice();
        let mut plain = Vec::with_capacity(rest.len());
        while let Some((&byte, after)) = rest.split_first() {
            match byte {
                0x1b => match control_sequence(after) {
                    Some(length) => rest = &after[length..],
                    None => break,
                },
                b'\r' | 0 | 7 | 8 | 0x18 => rest = after,
                _ => {
                    plain.push(byte);
                    rest = after;
                }
            }
        }
        // Only an unfinished character at the very end may still become valid.
        let incomplete = match std::str::from_utf8(&plain) {
            Err(error) if error.error_len().is_none() && rest.is_empty() => plain.len() - error.valid_up_to(),
            _ => 0,
        };
        let split = plain.len() - incomplete;
        self.text.push_str(&String::from_utf8_lossy(&plain[..split]));
        self.partial.extend_from_slice(&plain[split..]);
        self.partial.extend_from_slice(rest);
    }

    /// Everything so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The last lines, indented, for a failure's message.
    pub fn tail(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| format!("    | {line}\n")).collect()
    }
}

/// Length of the control sequence (ECMA-48) that follows an escape character; `None` if its end has not arrived.
fn control_sequence(after: &[u8]) -> Option<usize> {
    match after.first()? {
        // CSI: parameters and intermediates, then one final byte. The serial domain cancels one to begin a line.
        b'[' => {
            let ends = |byte: &u8| (0x40..=0x7e).contains(byte) || *byte < b' ';
            let at = 1 + after.iter().skip(1).position(ends)?;
            Some(if after[at] < b' ' { at } else { at + 1 })
        }
        // Two-character sequences, with one more character where the first selects a set.
        b'(' | b')' | b'#' => (after.len() >= 2).then_some(2),
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_are_removed_wherever_the_stream_is_cut() {
        let cases: &[(&str, &str)] = &[
            ("a\r\nb\r\n", "a\nb\n"),
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("guest# \x1b[6n", "guest# "),
            ("\x1b(Bx\x1b7y", "xy"),
            ("guest# \x1b[\x18\r\n-- linux\r\nguest# \x1b[6n", "guest# \n-- linux\nguest# "),
            ("bell\x07\0", "bell"),
            ("1–2 é", "1–2 é"),
        ];
        for (input, expected) in cases {
            for cut in 0..=input.len() {
                let mut transcript = Transcript::default();
                transcript.push(&input.as_bytes()[..cut]);
                transcript.push(&input.as_bytes()[cut..]);
                assert_eq!(transcript.text(), *expected, "{input:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_what_follows() {
        let mut transcript = Transcript::default();
        transcript.push(b"\xff\xfeok\xc3");
        transcript.push(b"(");
        assert!(transcript.text().ends_with("ok\u{fffd}("), "{:?}", transcript.text());
    }

    #[test]
    fn tail_is_the_last_forty_lines() {
        let mut transcript = Transcript::default();
        for line in 0..100 {
            transcript.push(format!("line {line}\r\n").as_bytes());
        }
        let tail = transcript.tail();
        assert_eq!(tail.lines().count(), TAIL);
        assert!(tail.starts_with("    | line 60\n") && tail.ends_with("    | line 99\n"));
    }
}
