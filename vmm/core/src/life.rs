// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The life of a guest: which state it is in, and what may come next.
//!
//! [`Life`] decides, and does nothing: whoever runs the vCPUs stops them in [`State::Stopping`], tells by [`Life::stopped`]
//! when nothing of the guest is under way any more, and acts on the state that follows.

use core::fmt;

/// A guest that ran for this long, in seconds, has no crash behind it that counts against [`Policy::restart_limit`].
pub const CRASH_WINDOW: u64 = 60;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Stop for a while.
    Pause,
    /// Go on after [`Command::Pause`].
    Resume,
    /// Start anew, as after power-on.
    Reset,
    /// Stop for good.
    Off,
}

/// What becomes of a guest that stops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Goal {
    /// It can go on.
    Pause,
    /// It starts anew.
    Restart,
    /// It is kept as it is, to be looked at.
    Halt,
    /// Nothing more.
    Off,
}

/// The state of a guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Not started yet: the drivers of its devices are not up.
    Waiting,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are stopped, and requests to the drivers of its devices are still under way.
    Stopping(Goal),
    /// Stopped, and able to go on.
    Paused,
    /// Its RAM and its vCPUs are being made as after power-on.
    Starting,
    /// Stopped after a crash, to be looked at.
    Halted,
    /// Stopped.
    Off,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "paused",
            Self::Restart => "restarted",
            Self::Halt => "halted",
            Self::Off => "off",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopping(_) => "stopping",
            Self::Paused => "paused",
            Self::Starting => "starting",
            Self::Halted => "halted",
            Self::Off => "off",
        })
    }
}

/// Why a guest ends by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It powered off.
    Off,
    /// It asked for a reset.
    Reset,
    /// It cannot go on.
    Crash,
    /// Its images cannot be started, now or later.
    Unstartable,
}

/// What the system file says of a guest that ends by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Policy {
    /// What becomes of it after a crash.
    pub on_crash: Goal,
    /// What becomes of it when it asks for a reset.
    pub on_reset: Goal,
    /// How often it is restarted after crashes, each less than [`CRASH_WINDOW`] after its start; then it is off.
    pub restart_limit: u32,
}

/// A command makes no sense in this state of the guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refused(pub State);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            State::Waiting => "the guest waits for its drivers; remedy: try again when they are up",
            State::Running => "the guest is running; remedy: pause it first",
            State::Stopping(_) => "the guest waits for requests under way; remedy: try again",
            State::Paused => "the guest is paused; remedy: resume it first",
            State::Starting => "the guest is being restarted; remedy: try again",
            State::Halted => "the guest has crashed; remedy: reset it or turn it off",
            State::Off => "the guest is off; remedy: reset it, which starts it",
        })
    }
}

impl core::error::Error for Refused {}

/// What every device does in the life of its guest, the machine of all devices, and whoever runs the vCPUs for the guest as a
/// whole. Each call is legal only where it says so.
pub trait Lifecycle {
    /// Begins nothing more outside of this part, and lets what is under way come to its end. Legal at any time, also again.
    fn pause(&mut self) {}

    /// Whether nothing that this part began is still under way outside of it. Legal at any time; once paused, it stays so.
    fn is_quiesced(&self) -> bool {
        true
    }

    /// Goes on. Legal when paused and quiesced.
    fn resume(&mut self) {}

    /// Is as after power-on, and no longer paused. Legal when paused and quiesced. A part of a guest that is off stays paused.
    fn reset(&mut self);
}

/// The life of one guest.
#[derive(Clone, Debug)]
pub struct Life {
    state: State,
    policy: Policy,
    /// Crashes in a row, each within the window.
    crashes: u32,
    started: u64,
    window: u64,
}

impl Life {
    /// A guest that has not started; `frequency` is that of the times below, in Hz.
    #[must_use]
    pub fn new(policy: Policy, frequency: u64) -> Self {
        let window = frequency.saturating_mul(CRASH_WINDOW);
        Self { state: State::Waiting, policy, crashes: 0, started: 0, window }
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the vCPUs may run.
    #[inline]
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// Crashes in a row.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// The operator's `command`. The guest is then in [`State::Stopping`], or in [`State::Running`] again.
    ///
    /// # Errors
    /// [`Refused`] where it makes no sense; nothing has changed.
    pub fn command(&mut self, command: Command) -> Result<(), Refused> {
        self.state = match (command, self.state) {
            (Command::Pause, State::Running) => State::Stopping(Goal::Pause),
            (Command::Resume, State::Paused) => State::Running,
            (Command::Reset | Command::Off, State::Waiting | State::Starting | State::Stopping(Goal::Off))
            | (Command::Reset, State::Stopping(Goal::Restart))
            | (Command::Off, State::Off)
            | (Command::Pause | Command::Resume, _) => return Err(Refused(self.state)),
            (Command::Reset, _) => {
                self.crashes = 0;
                State::Stopping(Goal::Restart)
            }
            (Command::Off, _) => State::Stopping(Goal::Off),
        };
        Ok(())
    }

    /// The guest ended by itself at time `now`: what becomes of it. It is then in [`State::Stopping`], unless it was to end
    /// anyway: that holds.
    pub fn ended(&mut self, end: End, now: u64) -> Option<Goal> {
        if !matches!(self.state, State::Waiting | State::Starting | State::Running | State::Stopping(Goal::Pause)) {
            return None;
        }
        let goal = match end {
            End::Off => Goal::Off,
            End::Reset => self.policy.on_reset,
            // A restart would not help.
            End::Unstartable if self.policy.on_crash == Goal::Restart => Goal::Off,
            End::Unstartable => self.policy.on_crash,
            End::Crash => {
                let again = now.saturating_sub(self.started) < self.window;
                self.crashes = if again { self.crashes.saturating_add(1) } else { 1 };
                match self.policy.on_crash {
                    Goal::Restart if self.crashes > self.policy.restart_limit => Goal::Off,
                    goal => goal,
                }
            }
        };
        self.state = State::Stopping(goal);
        Some(goal)
    }

    /// Nothing of the guest, which is in [`State::Stopping`], is under way any more: the state that follows.
    pub fn stopped(&mut self) -> State {
        if let State::Stopping(goal) = self.state {
            self.state = match goal {
                Goal::Pause => State::Paused,
                Goal::Restart => State::Starting,
                Goal::Halt => State::Halted,
                Goal::Off => State::Off,
            };
        }
        self.state
    }

    /// The guest starts at time `now`.
    pub fn started(&mut self, now: u64) {
        self.state = State::Running;
        self.started = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy { on_crash: Goal::Restart, on_reset: Goal::Restart, restart_limit: 2 };

    fn in_state(state: State) -> Life {
        Life { state, ..Life::new(POLICY, 1) }
    }

    #[test]
    fn each_command_in_each_state_leads_on_or_is_refused() {
        use State::*;
        let (pausing, restarting, halting, ending) =
            (Stopping(Goal::Pause), Stopping(Goal::Restart), Stopping(Goal::Halt), Stopping(Goal::Off));
        let commands = [Command::Pause, Command::Resume, Command::Reset, Command::Off];
        // For each state, what each of these commands leads to.
        let table = [
            (Waiting, [None, None, None, None]),
            (Running, [Some(pausing), None, Some(restarting), Some(ending)]),
            (pausing, [None, None, Some(restarting), Some(ending)]),
            (restarting, [None, None, None, Some(ending)]),
            (halting, [None, None, Some(restarting), Some(ending)]),
            (ending, [None, None, None, None]),
            (Paused, [None, Some(Running), Some(restarting), Some(ending)]),
            (Starting, [None, None, None, None]),
            (Halted, [None, None, Some(restarting), Some(ending)]),
            (Off, [None, None, Some(restarting), None]),
        ];
        for (state, expected) in table {
            for (command, next) in commands.into_iter().zip(expected) {
                let mut life = in_state(state);
                let answer = life.command(command);
                assert_eq!(answer.err(), next.is_none().then_some(Refused(state)), "{command:?} in {state:?}");
                assert_eq!(life.state(), next.unwrap_or(state), "{command:?} in {state:?}");
            }
        }
    }

    #[test]
    fn a_guest_that_stopped_is_what_it_stopped_for() {
        let table = [
            (State::Stopping(Goal::Pause), State::Paused),
            (State::Stopping(Goal::Restart), State::Starting),
            (State::Stopping(Goal::Halt), State::Halted),
            (State::Stopping(Goal::Off), State::Off),
            (State::Running, State::Running),
        ];
        for (before, after) in table {
            assert_eq!(in_state(before).stopped(), after, "{before:?}");
        }
        let mut life = in_state(State::Starting);
        life.started(7);
        assert_eq!(life.state(), State::Running);
    }

    #[test]
    fn the_policy_decides_what_becomes_of_a_guest_that_ends() {
        let table = [
            (Goal::Restart, End::Off, Goal::Off),
            (Goal::Restart, End::Reset, Goal::Restart),
            (Goal::Restart, End::Crash, Goal::Restart),
            (Goal::Restart, End::Unstartable, Goal::Off),
            (Goal::Halt, End::Off, Goal::Off),
            (Goal::Halt, End::Reset, Goal::Halt),
            (Goal::Halt, End::Crash, Goal::Halt),
            (Goal::Halt, End::Unstartable, Goal::Halt),
            (Goal::Off, End::Reset, Goal::Off),
            (Goal::Off, End::Crash, Goal::Off),
        ];
        for (policy, end, goal) in table {
            let policy = Policy { on_crash: policy, on_reset: policy, restart_limit: 1 };
            let mut life = Life { state: State::Running, ..Life::new(policy, 1) };
            assert_eq!(life.ended(end, 0), Some(goal), "{end:?} with {policy:?}");
            assert_eq!(life.state(), State::Stopping(goal));
            assert_eq!((life.ended(End::Off, 0), life.state()), (None, State::Stopping(goal)), "it ends once");
        }
    }

    #[test]
    fn a_guest_that_keeps_crashing_is_restarted_so_often_and_no_more() {
        let mut life = Life::new(POLICY, 10);
        let mut crash = |after| {
            life.started(1000);
            life.ended(End::Crash, 1000 + after).unwrap()
        };
        let window = CRASH_WINDOW * 10;
        assert_eq!([1, 2].map(&mut crash), [Goal::Restart; 2]);
        assert_eq!(crash(window), Goal::Restart, "it ran long enough to begin anew");
        assert_eq!(crash(window - 1), Goal::Restart);
        assert_eq!(crash(0), Goal::Off, "the third in a row");
        assert_eq!(life.command(Command::Reset), Err(Refused(State::Stopping(Goal::Off))));
        assert_eq!(life.stopped(), State::Off);
        assert_eq!(life.command(Command::Reset), Ok(()));
        assert_eq!(life.crashes(), 0, "the operator begins anew");
        let restart = |life: &mut Life| {
            life.started(0);
            life.ended(End::Reset, 1)
        };
        assert_eq!((0..9).map(|_| restart(&mut life)).find(|goal| *goal != Some(Goal::Restart)), None);
    }
}
