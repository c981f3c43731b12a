// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A serial link: a console and a log between a client, such as a VMM, and the serial driver.
//!
//! One region holds three rings of one-word records: console output (half of the region), the log (a quarter) and console
//! input (an eighth). A word carries up to seven bytes, the first in bits 0 to 7, and in its top byte their count; in the
//! log, bit 63 ends a line. So a one-byte write costs one word, and longer ones a word for seven bytes.
//!
//! An answer to the monitor is a line of the log that carries numbers; its last word is marked.
//!
//! Where the peer reads too slowly, console output waits with the writer: [`Client::write`] says how much was taken. The
//! log never waits: lines that do not fit are lost whole, counted, and the count is shown in their place.

use crate::monitor::{Answer, Request, State};
use crate::{AtomicU64, Broken, Consumer, Producer, PushError, TooSmall, ring};
use core::fmt;
use core::mem::take;
use core::sync::atomic::Ordering::Relaxed;

/// Size of the smallest region of a link, in bytes.
pub const MIN_SIZE: usize = 0x2000;
/// Longest line of the log, in bytes; longer ones are cut and end in `...`.
pub const LOG_LINE_MAX: usize = LOG_LINE_WORDS * WORD_BYTES;

const LOG_LINE_WORDS: usize = 32;
/// Bytes that a word carries.
const WORD_BYTES: usize = 7;
/// In a word's top byte: the word ends a line of the log.
const END_OF_LINE: u8 = 0x80;
/// Besides: that line is an answer to the monitor.
const ANSWER: u8 = 0x40;
/// What a cut line ends in.
const CUT: &[u8] = b"...";
/// Words before the rings: see [`Layout`].
const HEADER: usize = 8;
/// Of a request's word: the request; above it, the number of requests before, by which the client tells it from the last.
const REQUEST_BITS: u32 = 8;

/// The memory of a link, divided.
struct Layout<'a> {
    /// Lines that the client could not log.
    lost: &'a AtomicU64,
    /// What the client's guest does.
    state: &'a AtomicU64,
    /// The monitor's last request.
    request: &'a AtomicU64,
    /// The last request that the client has taken.
    taken: &'a AtomicU64,
    output: &'a [AtomicU64],
    log: &'a [AtomicU64],
    input: &'a [AtomicU64],
}

impl<'a> Layout<'a> {
    fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        if region.len() < MIN_SIZE / size_of::<u64>() {
            return Err(TooSmall);
        }
        let unit = 1 << region.len().ilog2();
        let mut rest = region;
        let mut part = |words| rest.split_off(..words).ok_or(TooSmall);
        let [lost, state, request, taken, ..] = part(HEADER)? else { return Err(TooSmall) };
        Ok(Self {
            lost,
            state,
            request,
            taken,
            output: part(unit / 2 + ring::HEADER)?,
            log: part(unit / 4 + ring::HEADER)?,
            input: part(unit / 8 + ring::HEADER)?,
        })
    }
}

/// `bytes`, at most seven of them, as a word.
fn pack(bytes: &[u8], end: u8) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes.iter().take(WORD_BYTES)) {
        *to = *from;
    }
    word[WORD_BYTES] = bytes.len().min(WORD_BYTES) as u8 | end;
    u64::from_le_bytes(word)
}

/// What a word carries, whoever wrote it.
#[derive(Clone, Copy, Default)]
struct Unpacked {
    bytes: [u8; 8],
    next: usize,
    end: usize,
}

impl Unpacked {
    fn new(word: u64) -> Self {
        let bytes = word.to_le_bytes();
        Self { bytes, next: 0, end: usize::from(bytes[WORD_BYTES] & !(END_OF_LINE | ANSWER)).min(WORD_BYTES) }
    }

    fn ends_answer(&self) -> bool {
        self.bytes[WORD_BYTES] & (END_OF_LINE | ANSWER) == END_OF_LINE | ANSWER
    }

    fn ends_line(&self) -> bool {
        self.bytes[WORD_BYTES] & END_OF_LINE != 0
    }
}

impl Iterator for Unpacked {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.next..self.end)?.first()?;
        self.next += 1;
        Some(byte)
    }
}

/// The sending end of a console.
struct Sender<'a>(Producer<'a, 1>);

impl Sender<'_> {
    /// Sends what there is room for, and returns how many bytes that was.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut taken = 0;
        for chunk in bytes.chunks(WORD_BYTES) {
            match self.0.push(&[pack(chunk, 0)]) {
                Ok(()) => taken += chunk.len(),
                Err(PushError::Full) => break,
                Err(PushError::Broken) => return Err(Broken),
            }
        }
        Ok(taken)
    }
}

/// The receiving end of a console.
struct Receiver<'a> {
    ring: Consumer<'a, 1>,
    /// What is left of the last word.
    rest: Unpacked,
}

impl Receiver<'_> {
    /// Fills `buffer` with what is there, and returns how many bytes that was.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        // Looked at once, so that a peer that goes on writing cannot hold the reader.
        let mut words = self.ring.len()?;
        let mut count = 0;
        while let Some(to) = buffer.get_mut(count) {
            if let Some(byte) = self.rest.next() {
                *to = byte;
                count += 1;
            } else if words > 0 {
                words -= 1;
                self.rest = self.ring.pop()?.map_or(Unpacked::default(), |[word]| Unpacked::new(word));
            } else {
                break;
            }
        }
        Ok(count)
    }

    /// The next byte, if there is one. Most words hold several, so most calls do not look at the ring.
    fn read_byte(&mut self) -> Result<Option<u8>, Broken> {
        let rest = self.rest.next();
        if rest.is_some() {
            return Ok(rest);
        }
        let mut byte = [0];
        Ok((self.read(&mut byte)? > 0).then_some(byte[0]))
    }

    fn is_empty(&self) -> bool {
        self.rest.next == self.rest.end && self.ring.is_empty() == Ok(true)
    }
}

/// A line of the log in the making.
struct Line {
    bytes: [u8; LOG_LINE_MAX],
    len: usize,
}

impl Line {
    const EMPTY: Self = Self { bytes: [0; LOG_LINE_MAX], len: 0 };

    /// Adds what fits.
    fn extend(&mut self, bytes: impl Iterator<Item = u8>) {
        for (to, from) in self.bytes.iter_mut().skip(self.len).zip(bytes) {
            *to = from;
            self.len += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl fmt::Write for Line {
    /// An error means that the line has been cut.
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = LOG_LINE_MAX - self.len;
        if s.len() <= room {
            self.extend(s.bytes());
            return Ok(());
        }
        self.extend(s.bytes());
        self.len = LOG_LINE_MAX - CUT.len();
        // Not in the middle of a character.
        while self.bytes.get(self.len).is_some_and(|byte| byte & 0xc0 == 0x80) {
            self.len -= 1;
        }
        self.extend(CUT.iter().copied());
        Err(fmt::Error)
    }
}

/// The client's end of a link.
pub struct Client<'a> {
    output: Sender<'a>,
    log: Producer<'a, 1>,
    input: Receiver<'a>,
    lost: &'a AtomicU64,
    lost_lines: u64,
    state: &'a AtomicU64,
    request: &'a AtomicU64,
    taken: &'a AtomicU64,
    /// The last request that was taken.
    last_request: u64,
    /// Whether the driver has still to be asked whether it sleeps: for console output, for the log.
    wrote: bool,
    logged: bool,
}

impl<'a> Client<'a> {
    /// The client's end of the link in `region`, which both ends must hand over with the same length.
    ///
    /// # Errors
    /// [`TooSmall`]: less than [`MIN_SIZE`].
    pub fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        let layout = Layout::new(region)?;
        Ok(Self {
            output: Sender(Producer::new(layout.output)?),
            log: Producer::new(layout.log)?,
            input: Receiver { ring: Consumer::new(layout.input)?, rest: Unpacked::default() },
            lost: layout.lost,
            lost_lines: 0,
            state: layout.state,
            request: layout.request,
            taken: layout.taken,
            // A client that starts again does not take a request twice.
            last_request: layout.taken.load(Relaxed),
            wrote: false,
            logged: false,
        })
    }

    /// Sends to the console what there is room for, and returns how many bytes that was.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        self.wrote = true;
        self.output.write(bytes)
    }

    /// How often [`Self::write`] can take a single byte now.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn free(&self) -> Result<usize, Broken> {
        self.output.0.free()
    }

    /// Fills `buffer` with what was typed, and returns how many bytes that was.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        self.input.read(buffer)
    }

    /// Sends a line, given without its end, to the log. Lost, and counted, if there is no room for all of it.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn log(&mut self, message: fmt::Arguments<'_>) -> Result<(), Broken> {
        let mut line = Line::EMPTY;
        // An error means that the line was cut, which it shows.
        let _ = fmt::write(&mut line, message);
        self.push_line(line.as_bytes(), END_OF_LINE)
    }

    /// Sends an answer to the monitor. Lost, and counted as a line, if there is no room for it.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn answer(&mut self, answer: Answer) -> Result<(), Broken> {
        self.push_line(&answer.to_bytes(), END_OF_LINE | ANSWER)
    }

    fn push_line(&mut self, line: &[u8], mark: u8) -> Result<(), Broken> {
        self.logged = true;
        let words = line.len().div_ceil(WORD_BYTES).max(1);
        if self.log.free()? < words {
            self.lost_lines = self.lost_lines.wrapping_add(1);
            // The fences of `wake_wanted` and `ask` order it too.
            self.lost.store(self.lost_lines, Relaxed);
            return Ok(());
        }
        for n in 0..words {
            let chunk = line.chunks(WORD_BYTES).nth(n).unwrap_or(&[]);
            let end = if n + 1 == words { mark } else { 0 };
            self.log.push(&[pack(chunk, end)]).map_err(|_| Broken)?;
        }
        Ok(())
    }

    /// Says what the guest does.
    pub fn set_state(&mut self, state: State) {
        // The fences of `wake_wanted` and `ask` order it.
        self.state.store(state as u64, Relaxed);
        self.logged = true;
    }

    /// What the monitor asks for, once. It notifies when it does.
    pub fn request(&mut self) -> Option<Request> {
        let request = self.request.load(Relaxed);
        if request == self.last_request {
            return None;
        }
        self.last_request = request;
        self.taken.store(request, Relaxed);
        Request::from_bits(request as u8)
    }

    /// Asks to be woken when something is typed and, if the console takes no more output now, when it does. `false` if
    /// there is something to do already.
    pub fn sleep(&mut self) -> bool {
        let typed = !self.input.ring.sleep();
        let writable = self.output.0.free() == Ok(0) && !self.output.0.sleep();
        !typed && !writable
    }

    /// Whether the driver must be notified; asked after a batch of calls. `true` counts as told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        // Both flags are to be cleared: no short circuit.
        (take(&mut self.wrote) && self.output.0.wake_wanted()) | (take(&mut self.logged) && self.log.wake_wanted())
    }
}

/// What the log has next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Log<'a> {
    /// A line, without its end. Any bytes.
    Line(&'a [u8]),
    /// An answer to the monitor.
    Answer(Answer),
    /// So many lines were lost since this was last said.
    Lost(u64),
}

/// The driver's end of a link.
pub struct Server<'a> {
    output: Receiver<'a>,
    log: Consumer<'a, 1>,
    input: Sender<'a>,
    lost: &'a AtomicU64,
    state: &'a AtomicU64,
    request: &'a AtomicU64,
    taken: &'a AtomicU64,
    /// The last request that was made.
    last_request: u64,
    /// How many of the lost lines [`Self::next_log`] has told of.
    told: u64,
    line: Line,
    /// Words that `line` has taken.
    words: usize,
    /// Whether the client has still to be asked whether it sleeps for input.
    typed: bool,
}

impl<'a> Server<'a> {
    /// The driver's end of the link in `region`: see [`Client::new`].
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn new(region: &'a [AtomicU64]) -> Result<Self, TooSmall> {
        let layout = Layout::new(region)?;
        Ok(Self {
            output: Receiver { ring: Consumer::new(layout.output)?, rest: Unpacked::default() },
            log: Consumer::new(layout.log)?,
            input: Sender(Producer::new(layout.input)?),
            lost: layout.lost,
            state: layout.state,
            request: layout.request,
            taken: layout.taken,
            // A request of an earlier server may still be in its word, and the next must differ.
            last_request: layout.request.load(Relaxed),
            told: layout.lost.load(Relaxed),
            line: Line::EMPTY,
            words: 0,
            typed: false,
        })
    }

    /// Fills `buffer` with console output, and returns how many bytes that was.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        self.output.read(buffer)
    }

    /// The next byte of console output, if there is one.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn read_byte(&mut self) -> Result<Option<u8>, Broken> {
        self.output.read_byte()
    }

    /// Whether the console has more output.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Sends to the client what was typed, as far as there is room, and returns how many bytes that was.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        self.typed = true;
        self.input.write(bytes)
    }

    /// What the log has next. A line that has come only in part stays here for the next call.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn next_log(&mut self) -> Result<Option<Log<'_>>, Broken> {
        if self.words == 0 {
            self.line.len = 0;
        }
        while let Some([word]) = self.log.pop()? {
            let word = Unpacked::new(word);
            self.line.extend(word);
            self.words += 1;
            // A client's own lines are never longer; another's are taken in pieces.
            if word.ends_line() || self.words == LOG_LINE_WORDS {
                self.words = 0;
                let line = self.line.as_bytes();
                let answer = if word.ends_answer() { Answer::from_bytes(line) } else { None };
                return Ok(Some(answer.map_or(Log::Line(line), Log::Answer)));
            }
        }
        let lost = self.lost.load(Relaxed).wrapping_sub(self.told);
        self.told = self.told.wrapping_add(lost);
        Ok((lost != 0).then_some(Log::Lost(lost)))
    }

    /// What the client's guest does.
    #[must_use]
    pub fn state(&self) -> State {
        State::from_bits(self.state.load(Relaxed))
    }

    /// Asks the client for something; it is to be notified. `false`: it has not yet taken the last request.
    #[must_use]
    pub fn ask_for(&mut self, request: Request) -> bool {
        if self.taken.load(Relaxed) != self.last_request {
            return false;
        }
        let number = (self.last_request >> REQUEST_BITS).wrapping_add(1);
        self.last_request = number << REQUEST_BITS | request as u64;
        self.request.store(self.last_request, Relaxed);
        true
    }

    /// Asks to be woken for what [`Self::read`] and [`Self::next_log`], called from now on, do not find. Or takes that back.
    pub fn ask(&mut self, on: bool) {
        self.output.ring.ask(on);
        self.log.ask(on);
    }

    /// Whether the client must be notified; asked after a batch of calls. `true` counts as told.
    #[must_use]
    pub fn wake_wanted(&mut self) -> bool {
        (take(&mut self.typed) && self.input.0.wake_wanted()) | self.output.ring.wake_wanted()
    }

    /// Drops all that is under way in both directions, and mends broken rings. The caller then notifies the client.
    pub fn resync(&mut self) {
        self.output.ring.resync();
        self.output.rest = Unpacked::default();
        self.log.resync();
        self.words = 0;
        self.input.0.resync();
    }
}
