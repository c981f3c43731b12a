// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the monitor in the serial driver asks of a guest's VMM, and what that answers.
//!
//! A VMM answers in numbers, an [`Answer`] for each line, which become text only in the serial driver: a VMM holds no more
//! code than it needs, and the driver believes nobody's text.

use core::fmt;

/// What the monitor asks a VMM to do or to tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Request {
    /// Let the guest stand still.
    Pause = 1,
    /// Let it go on.
    Resume = 2,
    /// Start it anew from its images. Of a supervisor, start its drivers again.
    Reset = 3,
    /// Turn it off.
    Off = 4,
    /// Tell the counters.
    Counters = 5,
    /// Tell the registers of the vCPUs.
    Registers = 6,
    /// Tell the last events of the trace.
    Trace = 7,
}

impl Request {
    /// Every request.
    pub const ALL: [Self; 7] =
        [Self::Pause, Self::Resume, Self::Reset, Self::Off, Self::Counters, Self::Registers, Self::Trace];

    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|request| *request as u8 == bits)
    }
}

/// What a client's guest does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum State {
    /// The client has none, or is not up yet.
    #[default]
    None = 0,
    /// It starts once the drivers of its devices are up.
    Waits = 1,
    /// It runs, or waits for interrupts.
    Runs = 2,
    /// It stops once what it has asked of drivers is done.
    Stops = 3,
    /// It is being made as after power-on.
    Starts = 4,
    /// The operator has paused it.
    Paused = 5,
    /// It cannot go on, and is kept to be looked at.
    Halted = 6,
    /// It is off.
    Off = 7,
    /// The client has no guest but drivers, which it starts again.
    Supervises = 8,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Waits,
        Self::Runs,
        Self::Stops,
        Self::Starts,
        Self::Paused,
        Self::Halted,
        Self::Off,
        Self::Supervises,
    ];

    /// The state that a client's word means; none if the client wrote something else.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self::ALL.into_iter().find(|state| *state as u64 == bits).unwrap_or_default()
    }
}

/// The kinds of exit that a VMM counts, in the order in which it does.
pub const EXITS: [&str; 13] =
    ["gic", "uart", "rtc", "virtio", "unmapped", "wfi", "wfe", "smc", "hvc", "trap", "eoi", "timer", "fatal"];

/// The virtio devices that a guest can have, by their slots.
pub const DEVICES: [&str; 6] = ["blk0", "blk1", "net0", "net1", "rng0", "console0"];

/// The registers of a vCPU that are told.
#[rustfmt::skip]
pub const REGISTERS: [&str; 44] = [
    "pc", "spsr", "sp_el0", "sp_el1",
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
    "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x29", "x30",
    "esr_el1", "far_el1", "elr_el1", "spsr_el1", "sctlr_el1", "tcr_el1", "ttbr0_el1", "ttbr1_el1", "vbar_el1",
];

/// What an event of the trace is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Event {
    /// An exit: the guest touched an address that is not mapped for it, which is the detail.
    Abort = 1,
    /// An exit: an instruction that traps.
    Trap = 2,
    /// An exit: HVC.
    Hvc = 3,
    /// An exit: it ended an interrupt. The detail is the list register.
    Eoi = 4,
    /// An exit: its virtual timer fired.
    Timer = 5,
    /// An exit for another reason.
    Fatal = 6,
    /// The VMM gave the guest an interrupt. The detail is its id.
    Inject = 7,
    /// Other domains notified the VMM. The detail is the channels, a bit each.
    Notified = 8,
}

impl Event {
    /// Every event with its name.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Abort, "abort"),
        (Self::Trap, "trap"),
        (Self::Hvc, "hvc"),
        (Self::Eoi, "eoi"),
        (Self::Timer, "timer"),
        (Self::Fatal, "fatal"),
        (Self::Inject, "inject"),
        (Self::Notified, "notified"),
    ];
}

/// One line of an answer, as numbers. [`fmt::Display`] gives the text, whatever a client has put into it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// What the numbers are.
    pub subject: Subject,
    /// Which of them: see [`Subject`].
    pub index: u8,
    /// The vCPU that they concern, if they concern one.
    pub vcpu: u8,
    /// The numbers.
    pub values: [u64; 4],
}

/// What an [`Answer`] is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Subject {
    /// `index` is one of [`EXITS`]: how often the guest exited for that.
    Exits = 1,
    /// Interrupts given to the guest, and accesses of registers that are not implemented.
    Machine = 2,
    /// `index` is one of [`DEVICES`]: requests taken, completed, and forgotten in resets.
    Device = 3,
    /// Four of [`REGISTERS`], from `index` on.
    Registers = 4,
    /// `index` is an [`Event`]: when it was, in microseconds; the detail; where the guest was, and the syndrome, each 0 where
    /// there is none.
    Event = 5,
}

impl Subject {
    const ALL: [Self; 5] = [Self::Exits, Self::Machine, Self::Device, Self::Registers, Self::Event];
}

/// Bytes of an answer: five words of the log.
pub(crate) const ANSWER_SIZE: usize = 3 + 4 * size_of::<u64>();

impl Answer {
    pub(crate) fn to_bytes(self) -> [u8; ANSWER_SIZE] {
        let mut bytes = [0; ANSWER_SIZE];
        let values = self.values.iter().flat_map(|value| value.to_le_bytes());
        let all = [self.subject as u8, self.index, self.vcpu].into_iter().chain(values);
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[subject, index, vcpu], rest) = bytes.split_first_chunk()?;
        let subject = Subject::ALL.into_iter().find(|known| *known as u8 == subject)?;
        let (words, _) = rest.as_chunks();
        let words: &[[u8; 8]; 4] = words.try_into().ok()?;
        Some(Self { subject, index, vcpu, values: words.map(u64::from_le_bytes) })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, index, vcpu, values: [a, b, c, d] } = *self;
        let index = usize::from(index);
        let name = |names: &[&'static str]| names.get(index).copied().unwrap_or("?");
        match subject {
            Subject::Exits => write!(f, "exits {}: {a}", name(&EXITS)),
            Subject::Machine => write!(f, "injections: {a}, unimplemented registers: {b}"),
            Subject::Device => write!(f, "{}: {a} requests, {b} completed, {c} forgotten in resets", name(&DEVICES)),
            Subject::Registers => {
                write!(f, "vCPU {vcpu}:")?;
                let names = REGISTERS.get(index..).unwrap_or(&[]);
                names.iter().zip(self.values).try_for_each(|(name, value)| write!(f, " {name} {value:#018x}"))
            }
            Subject::Event => {
                let name =
                    Event::ALL.into_iter().find(|(event, _)| *event as usize == index).map_or("?", |(_, name)| name);
                write!(f, "{}.{:06} s, vCPU {vcpu}: {name}", a / 1_000_000, a % 1_000_000)?;
                let rest = [("", b), (" at pc", c), (" esr", d)].into_iter().filter(|(_, value)| *value != 0);
                rest.into_iter().try_for_each(|(what, value)| write!(f, "{what} {value:#x}"))
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_line() {
        for (subject, index, vcpu, values, line) in [
            (Subject::Exits, 0, 0, [185, 0, 0, 0], "exits gic: 185"),
            (Subject::Exits, 13, 0, [1, 0, 0, 0], "exits ?: 1"),
            (Subject::Machine, 0, 0, [417, 2, 0, 0], "injections: 417, unimplemented registers: 2"),
            (Subject::Device, 2, 0, [12, 9, 1, 0], "net0: 12 requests, 9 completed, 1 forgotten in resets"),
            (
                Subject::Registers,
                41,
                1,
                [1, u64::MAX, 3, 4],
                "vCPU 1: ttbr0_el1 0x0000000000000001 ttbr1_el1 0xffffffffffffffff vbar_el1 0x0000000000000003",
            ),
            (Subject::Registers, 255, 1, [0; 4], "vCPU 1:"),
            (
                Subject::Event,
                Event::Abort as u8,
                0,
                [1_000_002, 0x800_0100, 0x4008_0000, 0x9382_0046],
                "1.000002 s, vCPU 0: abort 0x8000100 at pc 0x40080000 esr 0x93820046",
            ),
            (Subject::Event, Event::Timer as u8, 255, [7, 0, 0, 0], "0.000007 s, vCPU 255: timer"),
            (Subject::Event, 0, 0, [0; 4], "0.000000 s, vCPU 0: ?"),
        ] {
            let answer = Answer { subject, index, vcpu, values };
            assert_eq!(answer.to_string(), line);
            assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
        }
    }

    #[test]
    fn bytes_of_a_hostile_client_are_no_answer_or_one_that_fits_a_line() {
        let longest = |subject: Subject| {
            let answer = |index| Answer { subject, index, vcpu: 255, values: [u64::MAX; 4] };
            (0..=255).map(|index| answer(index).to_string().len()).max()
        };
        for subject in Subject::ALL {
            assert!(longest(subject) <= Some(crate::serial::LOG_LINE_MAX), "{subject:?}");
        }
        for bytes in
            [&[][..], &[1, 0], &[0; ANSWER_SIZE], &[6; ANSWER_SIZE], &[1; ANSWER_SIZE - 1], &[1; ANSWER_SIZE + 8]]
        {
            assert_eq!(Answer::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
