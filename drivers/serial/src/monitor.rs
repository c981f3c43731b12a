// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The monitor's words, what may be asked of a guest in which state, and the lines of a log that are kept.

use heapless::Deque;
use queue::monitor::{Request, State};

/// The commands.
pub(crate) const HELP: [&str; 3] = [
    "Ctrl-], then: ? = help, l = list, digit = focus on that one, n = on the next, Ctrl-] = Ctrl-] itself",
    "on the one with the focus: h = its log again, c = counters, d = registers, t = its last exits",
    "p = pause, r = resume, R = reset, O = turn off",
];

/// What a client's guest does, behind the client's name.
pub(crate) fn describe(state: State) -> &'static str {
    match state {
        State::None => "has no guest",
        State::Waits => "waits for a driver",
        State::Runs => "runs",
        State::Stops => "waits for requests under way",
        State::Starts => "is being started",
        State::Paused => "is paused",
        State::Halted => "is halted",
        State::Off => "is off",
        State::Supervises => "starts drivers again",
    }
}

/// Whether a change of state is told: guests that start show enough by themselves.
pub(crate) fn is_news(before: State, now: State) -> bool {
    !matches!(before, State::None | State::Waits | State::Starts) || matches!(now, State::Off | State::Halted)
}

/// Why `request` makes no sense in `state`, behind what [`describe`] says of that.
pub(crate) fn refusal(request: Request, state: State) -> Option<[&'static str; 2]> {
    use State::{Halted, None, Off, Paused, Runs, Starts, Stops, Supervises, Waits};
    let (verb, legal): (_, &[State]) = match request {
        Request::Pause => ("paused", &[Runs]),
        Request::Resume => ("resumed", &[Paused]),
        Request::Reset => ("reset", &[Runs, Stops, Paused, Halted, Off, Supervises]),
        Request::Off => ("turned off", &[Runs, Stops, Paused, Halted]),
        Request::Counters | Request::Registers | Request::Trace => {
            ("inspected", &[Waits, Runs, Stops, Starts, Paused, Halted, Off])
        }
    };
    let remedy = match state {
        None => "Ctrl-] l lists the guests",
        Waits | Stops => "try again, or look into the drivers' logs by Ctrl-] h",
        Starts => "try again",
        Runs => "Ctrl-] p pauses it",
        Paused => "Ctrl-] r resumes it",
        Halted | Off => "Ctrl-] R starts it anew",
        Supervises => "Ctrl-] R starts its drivers again",
    };
    (!legal.contains(&state)).then_some([verb, remedy])
}

/// How much of a client's log is kept, in bytes.
const HISTORY: usize = 4096;

/// The last lines of a client's log.
#[derive(Default)]
pub(crate) struct History(Deque<u8, HISTORY>);

impl History {
    /// Keeps `line`, which is shorter than [`HISTORY`] and holds no end of a line, and forgets the oldest ones for it.
    pub(crate) fn push(&mut self, line: impl Iterator<Item = u8>) {
        for byte in line.chain([b'\n']) {
            if self.0.is_full() {
                while self.0.pop_front().is_some_and(|byte| byte != b'\n') {}
            }
            let _ = self.0.push_back(byte);
        }
    }

    /// The line that begins at `offset`; empty at the end.
    pub(crate) fn line(&self, offset: usize) -> impl Iterator<Item = u8> {
        self.0.iter().skip(offset).copied().take_while(|byte| *byte != b'\n')
    }

    /// How many bytes the lines have, with their ends.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_whole() {
        let mut history = History::default();
        for n in 0..1000 {
            history.push(format!("line {n}").bytes());
        }
        let mut lines = Vec::new();
        let mut offset = 0;
        while offset < history.len() {
            let line: Vec<u8> = history.line(offset).collect();
            offset += line.len() + 1;
            lines.push(String::from_utf8(line).unwrap());
        }
        let kept = HISTORY / "line 000\n".len();
        assert_eq!(lines, (1000 - kept..1000).map(|n| format!("line {n}")).collect::<Vec<_>>());
    }

    #[test]
    fn each_request_is_legal_in_some_states_and_refused_with_a_remedy_in_the_others() {
        use State::{Halted, Off, Paused, Runs, Starts, Stops, Supervises, Waits};
        let all = [Waits, Runs, Stops, Starts, Paused, Halted, Off];
        for (request, legal) in [
            (Request::Pause, &[Runs][..]),
            (Request::Resume, &[Paused]),
            (Request::Reset, &[Runs, Stops, Paused, Halted, Off, Supervises]),
            (Request::Off, &[Runs, Stops, Paused, Halted]),
            (Request::Counters, &all),
            (Request::Registers, &all),
            (Request::Trace, &all),
        ] {
            for state in State::ALL {
                assert_eq!(refusal(request, state).is_none(), legal.contains(&state), "{request:?} {state:?}");
            }
        }
        assert_eq!(refusal(Request::Pause, Off), Some(["paused", "Ctrl-] R starts it anew"]));
    }
}
