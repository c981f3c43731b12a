// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! `make trace`: a run on QEMU, and its exits, injections and notifications as a file for Perfetto or `chrome://tracing`.
//!
//! Each VMM keeps its last events in a ring (`vmm/pd/src/trace.rs`). The machine's memory is a file here, which is looked
//! through for the rings, and read as long as the machine runs: nothing in the machine takes part in that.

use crate::boot_tests::Setup;
use crate::machine::{Stop, die_with_parent};
use crate::qemu::Qemu;
use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{SeekFrom, seek};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long the machine runs between two looks.
const PAUSE: Duration = Duration::from_millis(1);
/// How long it runs at first between two searches of the memory for more rings.
const SEARCH: Duration = Duration::from_millis(100);

const PAGE: u64 = 4096;
const MAGIC: &[u8; 16] = b"seL4 guest trace";
/// Of a ring: its header, its events, and how many words each has.
const HEADER: u64 = 80;
const KEPT: u64 = 1024;
const WORDS: usize = 4;
/// Labels of faults; events that are none have this much more than their number.
const LABELS: u64 = 16;

/// As in `queue::monitor`.
const EVENTS: [&str; 9] = ["unknown", "abort", "trap", "hvc", "eoi", "timer", "fatal", "inject", "notified"];
const ABORT: usize = 1;
const TRAP: usize = 2;
const NOTIFIED: usize = 8;
/// The exception class of WFI and WFE in a syndrome.
const WFX: u64 = 1;
/// The track of the VMM, beside those of the vCPUs.
const VMM: u64 = 100;

/// Where an exit's address is, and what is there.
const DEVICES: [(u64, u64, &str); 6] = [
    (0x800_0000, 0x1_0000, "GIC distributor"),
    (0x80a_0000, 0x10_0000, "GIC redistributor"),
    (0x900_0000, 0x1000, "UART"),
    (0x901_0000, 0x1000, "RTC"),
    (0xa00_0000, 0x1000, "virtio"),
    (0x4000_0000, u64::MAX - 0x4000_0000, "RAM"),
];

/// An event as a ring has it.
#[derive(Clone, Copy, Debug)]
struct Event {
    ticks: u64,
    detail: [u64; 2],
    what: u64,
}

/// One guest's ring in the machine's memory, and what was found there.
#[derive(Debug)]
struct Ring {
    offset: u64,
    name: String,
    frequency: u64,
    /// What a fault with a label is.
    labels: [u8; LABELS as usize],
    /// How many events were read or missed.
    seen: u64,
    lost: u64,
    events: Vec<Event>,
}

impl Ring {
    /// The ring at `offset`, if there is one.
    fn at(memory: &File, offset: u64) -> Result<Option<Self>> {
        let mut header = [0; HEADER as usize];
        memory.read_exact_at(&mut header, offset)?;
        let (words, rest) = header.split_at(16);
        let (magic, rest) = rest.split_at(16);
        let (name, labels) = rest.split_at(32);
        let frequency = u64::from_le_bytes(words[8..].try_into()?);
        if magic != MAGIC || frequency == 0 {
            return Ok(None);
        }
        let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        let labels = labels.try_into()?;
        Ok(Some(Self { offset, name, frequency, labels, seen: 0, lost: 0, events: Vec::new() }))
    }

    fn count(&self, memory: &File) -> Result<u64> {
        let mut count = [0; 8];
        memory.read_exact_at(&mut count, self.offset)?;
        Ok(u64::from_le_bytes(count))
    }

    /// Reads what is new. What is overwritten meanwhile is lost.
    fn drain(&mut self, memory: &File) -> Result<()> {
        let count = self.count(memory)?;
        if count == self.seen {
            return Ok(());
        }
        let mut bytes = vec![0; KEPT as usize * WORDS * 8];
        memory.read_exact_at(&mut bytes, self.offset + HEADER)?;
        // One more may be half written.
        let oldest = (self.count(memory)? + 1).saturating_sub(KEPT);
        let first = self.seen.max(oldest).min(count);
        self.lost += first - self.seen;
        for n in first..count {
            let entry = (n % KEPT) as usize * WORDS * 8;
            let word = |index: usize| {
                let at = entry + index * 8;
                bytes[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
            };
            self.events.push(Event { ticks: word(0), detail: [word(1), word(2)], what: word(3) });
        }
        self.seen = count;
        Ok(())
    }

    /// The number of the event in [`EVENTS`].
    fn kind(&self, event: &Event) -> usize {
        let label = event.what >> 12 & 0xf_ffff;
        let kind = self.labels.get(label as usize).map_or(label.saturating_sub(LABELS), |kind| (*kind).into());
        usize::try_from(kind).ok().filter(|kind| *kind < EVENTS.len()).unwrap_or(0)
    }

    /// The ring's events for the process `pid` of the trace, in the order of time.
    fn chrome(&self, pid: usize) -> Vec<Value> {
        let microseconds = |ticks: u64| ticks as f64 * 1e6 / self.frequency as f64;
        let mut all = vec![json!({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": self.name}})];
        let mut tracks: Vec<u64> = Vec::new();
        for (n, event) in self.events.iter().enumerate() {
            let kind = self.kind(event);
            let [first, second] = event.detail;
            let tid = if kind == NOTIFIED { VMM } else { event.what & 0xfff };
            if !tracks.contains(&tid) {
                tracks.push(tid);
                let name = if tid == VMM { "VMM".into() } else { format!("vCPU {tid}") };
                all.push(json!({"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}));
            }
            let hex = |value: u64| format!("{value:#x}");
            let (name, args) = match kind {
                ABORT => {
                    let device = DEVICES.iter().find(|(base, size, _)| second.wrapping_sub(*base) < *size);
                    let name = format!("exit: {}", device.map_or("nothing", |(_, _, name)| name));
                    (name, json!({"address": hex(second), "pc": hex(first), "esr": hex(event.what >> 32)}))
                }
                TRAP => ("exit: trap".into(), json!({"esr": hex(first)})),
                NOTIFIED => ("notified".into(), json!({"channels": hex(first)})),
                kind if EVENTS[kind] == "inject" => (format!("inject {first}"), json!({"interrupt": first})),
                kind => (format!("exit: {}", EVENTS[kind]), json!({"detail": hex(first)})),
            };
            let ts = microseconds(event.ticks);
            all.push(json!({"ph": "i", "s": "t", "name": name, "ts": ts, "pid": pid, "tid": tid, "args": args}));
            if kind == TRAP && first >> 26 & 0x3f == WFX {
                // It waits until the next event of this vCPU.
                let ends =
                    self.events[n + 1..].iter().find(|next| self.kind(next) != NOTIFIED && next.what & 0xfff == tid);
                if let Some(end) = ends {
                    let dur = microseconds(end.ticks.saturating_sub(event.ticks));
                    all.push(json!({"ph": "X", "name": "waits", "ts": ts, "dur": dur, "pid": pid, "tid": tid}));
                }
            }
        }
        all
    }
}

/// Runs `command`, a machine of [`Qemu::sel4`], and writes the trace to `output`.
pub fn run(mut command: Command, output: &Path, stop: &Stop) -> Result<()> {
    let memory = &output.with_extension("ram");
    Qemu::memory_in(&mut command, memory);
    let file = File::options().read(true).write(true).create(true).truncate(true).open(memory);
    let file = file.with_context(|| memory.display().to_string())?;
    die_with_parent(&mut command);
    let mut child = command.spawn().with_context(|| {
        format!("cannot start {}; remedy: ci/setup/packages installs what is needed", command.get_program().display())
    })?;
    let mut rings: Vec<Ring> = Vec::new();
    let (mut searched, mut pause) = (Instant::now(), SEARCH);
    let status = loop {
        let status = child.try_wait()?;
        if searched.elapsed() > pause || status.is_some() {
            let known = rings.len();
            search(&file, &mut rings)?;
            // No ring is read meanwhile, and once there is one, the others are mostly there, too.
            pause = if rings.is_empty() || rings.len() > known { SEARCH } else { pause * 2 };
            searched = Instant::now();
        }
        rings.iter_mut().try_for_each(|ring| ring.drain(&file))?;
        if let Some(status) = status {
            break status;
        }
        if stop.is_set() {
            child.kill()?;
        }
        thread::sleep(PAUSE);
    };
    std::fs::remove_file(memory)?;
    ensure!(!rings.is_empty(), "no VMM has left a trace; remedy: look whether it started, with CONFIG=debug");
    std::fs::write(output, serde_json::to_vec(&document(&rings))?).with_context(|| output.display().to_string())?;
    for Ring { name, events, lost, .. } in &rings {
        eprintln!("{name}: {} events, {lost} lost", events.len());
    }
    eprintln!("{}: for https://ui.perfetto.dev or chrome://tracing", output.display());
    if !status.success() && !stop.is_set() {
        bail!("QEMU ended: {status}");
    }
    Ok(())
}

/// Looks through all pages of the memory that were ever written for rings that are not known.
fn search(memory: &File, rings: &mut Vec<Ring>) -> Result<()> {
    let mut at = 0;
    while let Ok(data) = seek(memory, SeekFrom::Data(at)) {
        let hole = seek(memory, SeekFrom::Hole(data))?;
        for offset in (data.next_multiple_of(PAGE)..hole.saturating_sub(HEADER)).step_by(PAGE as usize) {
            if rings.iter().all(|ring| ring.offset != offset)
                && let Some(ring) = Ring::at(memory, offset)?
            {
                rings.push(ring);
            }
        }
        at = hole;
    }
    Ok(())
}

/// The trace of all rings, each a process, in the order of time.
fn document(rings: &[Ring]) -> Value {
    let mut events: Vec<Value> = rings.iter().enumerate().flat_map(|(n, ring)| ring.chrome(n + 1)).collect();
    let time = |event: &Value| event["ts"].as_f64().unwrap_or(-1.0);
    events.sort_by(|a, b| time(a).total_cmp(&time(b)));
    let lost: u64 = rings.iter().map(|ring| ring.lost).sum();
    json!({"displayTimeUnit": "ns", "traceEvents": events, "otherData": {"events lost": lost}})
}

/// The boot test: what is written of a run of the probe is a trace.
pub fn boot_test(setup: &Setup) -> Result<()> {
    let output = setup.logs.join(format!("{}-{}-trace.json", setup.board, setup.config));
    std::fs::create_dir_all(&setup.logs)?;
    let mut command = setup.command(Some("probe"), None)?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    run(command, &output, &setup.stop)?;
    check(&output)
}

/// Checks that `path` holds a trace: JSON, sorted by time, on each track one wait after the other, with exits and injections.
fn check(path: &Path) -> Result<()> {
    let document: Value = serde_json::from_slice(&std::fs::read(path)?).context("the trace is no JSON")?;
    let events = document["traceEvents"].as_array().context("the trace has no events")?;
    let timed: Vec<&Value> = events.iter().filter(|event| event["ph"] != "M").collect();
    let time = |event: &Value| event["ts"].as_f64().unwrap_or(f64::NAN);
    ensure!(timed.iter().all(|event| time(event) > 0.0), "the trace has an event without a time");
    ensure!(timed.is_sorted_by(|a, b| time(a) <= time(b)), "the trace is not sorted");
    let waits: Vec<&&Value> = timed.iter().filter(|event| event["ph"] == "X").collect();
    for wait in &waits {
        let end = time(wait) + wait["dur"].as_f64().context("a wait without a duration")?;
        let inside = |other: &&&&Value| {
            other["pid"] == wait["pid"]
                && other["tid"] == wait["tid"]
                && time(other) > time(wait)
                && time(other) < end - 0.001
        };
        ensure!(waits.iter().find(inside).is_none(), "two waits of one vCPU overlap");
    }
    for name in ["exit: ", "inject "] {
        let found = timed.iter().any(|event| event["name"].as_str().is_some_and(|it| it.starts_with(name)));
        ensure!(found, "the trace has no event `{name}`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of 1100 events, of which the first 77 are overwritten or may be.
    #[test]
    fn a_ring_is_found_read_and_written_as_a_trace() {
        let path = std::env::temp_dir().join(format!("trace-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        let at = 5 * PAGE;
        let put = |offset: u64, word: u64| file.write_all_at(&word.to_le_bytes(), at + offset).unwrap();
        put(0, 1100);
        put(8, 1_000_000);
        file.write_all_at(MAGIC, at + 16).unwrap();
        file.write_all_at(b"guest", at + 32).unwrap();
        let mut labels = [6; 16];
        (labels[5], labels[7], labels[9]) = (1, 4, 2);
        file.write_all_at(&labels, at + 64).unwrap();
        for n in 0..1100 {
            let what = [5 << 12 | 0x9300_0046 << 32, 9 << 12, (LABELS + 7) << 12, (LABELS + 8) << 12][n as usize % 4];
            let words = [n + 1, if n % 4 == 1 { WFX << 26 } else { 33 }, 0xa00_0050, what];
            for (index, word) in words.into_iter().enumerate() {
                put(HEADER + (n % KEPT * 4 + index as u64) * 8, word);
            }
        }
        let mut rings = Vec::new();
        search(&file, &mut rings).unwrap();
        search(&file, &mut rings).unwrap();
        assert_eq!(rings.len(), 1);
        rings[0].drain(&file).unwrap();
        rings[0].drain(&file).unwrap();
        assert_eq!((rings[0].name.as_str(), rings[0].lost, rings[0].events.len()), ("guest", 77, 1023));
        let text = document(&rings);
        std::fs::write(&path, text.to_string()).unwrap();
        check(&path).unwrap();
        let names =
            |name: &str| text["traceEvents"].as_array().unwrap().iter().filter(|event| event["name"] == name).count();
        let counts = ["exit: virtio", "exit: trap", "inject 33", "notified", "waits"].map(names);
        assert_eq!(counts, [255, 256, 256, 256, 256]);
        for (from, to) in [("\"ts\":500.0", "\"ts\":5.0"), ("inject", "other"), ("{", "[")] {
            std::fs::write(&path, text.to_string().replace(from, to)).unwrap();
            assert!(check(&path).is_err(), "{from}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
