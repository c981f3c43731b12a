// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The last exits, injections and notifications, with their times.
//!
//! The monitor shows the newest ones. Who can look at the machine's memory from outside, as `make trace` does at that of
//! QEMU, finds all by the magic number and needs no help of this PD: the layout is that of `ci/harness/src/trace.rs`.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, Release};
use pd::{Static, counter_frequency, recent_counter};
use queue::monitor::{Answer, Event, Subject};
use sel4_microkit::{Fault, MessageInfo, get_mr};

/// How many events are kept: for an onlooker who comes every few milliseconds.
const KEPT: usize = 1024;
/// How many of them the monitor shows.
const SHOWN: u64 = 32;
/// Labels of faults are less than this, and no label of an event that is no fault is.
const LABELS: usize = 16;

const MAGIC: [u8; 16] = *b"seL4 guest trace";

/// When it was, by the system counter; two words of detail, of a fault's message the first ones; and what it was: in bits 0
/// to 11 the vCPU, 12 to 31 a fault's label or 16 more than the [`Event`], 32 to 63 the syndrome of an abort.
type Entry = [u64; 4];

/// A ring of events, at the beginning of a page, where it is searched for. What is recorded of an exit is what is at hand,
/// since each exit pays for it.
#[repr(C, align(4096))]
pub struct Trace {
    /// How many events there were. The next one goes to the place of this number modulo [`KEPT`]. Here it costs least.
    count: AtomicU64,
    /// How often the system counter counts in a second.
    frequency: u64,
    magic: [u8; 16],
    /// The guest's name, padded with zeros.
    name: [u8; config::MAX_NAME],
    /// The event that a fault with a label is.
    events: [u8; LABELS],
    entries: [Entry; KEPT],
}

/// Too large for the stack.
static TRACE: Static<Trace> = Static::new(Trace::new());

impl Trace {
    const fn new() -> Self {
        Self {
            count: AtomicU64::new(0),
            frequency: 0,
            magic: [0; 16],
            name: [0; config::MAX_NAME],
            events: [0; LABELS],
            entries: [[0; 4]; KEPT],
        }
    }

    /// Begins the trace of the guest with this name.
    ///
    /// # Panics
    /// The second time.
    pub fn begin(name: &str) -> &'static mut Self {
        let Some(trace) = TRACE.take() else { panic!("initialised twice") };
        trace.name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        trace.frequency = counter_frequency();
        for (label, event) in trace.events.iter_mut().enumerate() {
            // Only the kind counts, whatever message is at hand.
            *event = match MessageInfo::new(label as u64, 0).fault() {
                Fault::VmFault { .. } => Event::Abort,
                Fault::Vcpu { .. } => Event::Trap,
                Fault::VgicMaintenance { .. } => Event::Eoi,
                Fault::Vppi { .. } => Event::Timer,
                Fault::UnknownSyscall { .. } | Fault::CapFault { .. } => Event::Hvc,
                Fault::UserException { .. } | Fault::Other(_) => Event::Fatal,
            } as u8;
        }
        trace.magic = MAGIC;
        trace
    }

    /// Adds the exit of the vCPU with index `vcpu` that `message` tells of.
    #[inline]
    pub fn exit(&mut self, vcpu: usize, message: MessageInfo) {
        let what = vcpu as u64 | message.label() << 12 | get_mr(3) << 32;
        self.add([recent_counter(), get_mr(0), get_mr(1), what]);
    }

    /// Adds an event that is no exit.
    #[inline]
    pub fn other(&mut self, event: Event, vcpu: usize, detail: u64) {
        self.add([recent_counter(), detail, 0, vcpu as u64 | (LABELS as u64 + event as u64) << 12]);
    }

    #[inline]
    fn add(&mut self, entry: Entry) {
        let count = *self.count.get_mut();
        self.entries[count as usize % KEPT] = entry;
        // An onlooker who sees the count sees the event.
        self.count.store(count + 1, Release);
    }

    /// The newest events, oldest first.
    pub fn newest(&self) -> impl Iterator<Item = Answer> {
        let count = self.count.load(Relaxed);
        (count.saturating_sub(SHOWN)..count).map(|n| {
            let [ticks, first, second, what] = self.entries[n as usize % KEPT];
            let label = what as u32 as usize >> 12;
            let index = self.events.get(label).copied().unwrap_or((label - LABELS) as u8);
            let time = ticks / self.frequency * 1_000_000 + ticks % self.frequency * 1_000_000 / self.frequency;
            let values = match index {
                ABORT => [time, second, first, what >> 32],
                TRAP => [time, 0, 0, first],
                _ => [time, first, 0, 0],
            };
            Answer { subject: Subject::Event, index, vcpu: what as u8, values }
        })
    }
}

const ABORT: u8 = Event::Abort as u8;
const TRAP: u8 = Event::Trap as u8;
