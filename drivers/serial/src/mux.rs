// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The multiplexer.

use crate::keys::{Action, Keys};
use crate::line::Line;
use crate::monitor::{HELP, History, describe, is_news, refusal};
use crate::screen::{Screen, TEXT_MAX, is_printable};
use crate::{ESCAPE, Uart};
use config::MAX_CLIENTS;
use core::fmt::Write;
use core::mem::{replace, take};
use heapless::{String, Vec};
use queue::monitor::{Request, State};
use queue::serial::{Log, Server};
use queue::{AtomicU64, Broken, TooSmall};

/// Most bytes received in one event; the rest raises the interrupt again.
const RECEIVE_MAX: usize = 64;
/// Most pieces of work on output in one event.
const TURNS: usize = 64;
/// Most bytes of console output in one unit.
const CHUNK: usize = 128;
/// A line of the client with the focus longer than this no longer holds back other output.
const LONG_LINE: usize = 512;

const _: () = assert!(ESCAPE == b']' & 0x1f && MAX_CLIENTS <= 9 && CHUNK <= TEXT_MAX);

/// One client.
struct Client<'a> {
    name: &'a str,
    server: Server<'a>,
    /// The line of console output that it has begun. With the focus it is on the terminal.
    line: Line,
    /// Typed bytes that it had no room for.
    typing_lost: u64,
    /// Its queues broke, which has still to be shown.
    show_broken: bool,
    /// It is to be notified: its queues are mended, or it is asked for something.
    notify: bool,
    /// What its guest did when that was looked at last.
    state: State,
    history: History,
}

impl Client<'_> {
    /// Reads on in the line of console output. Nothing if there is nothing to read; else whether the line is complete, or
    /// has come so far that it is shown in pieces.
    fn read_line(&mut self) -> Result<Option<bool>, Broken> {
        let mut worked = None;
        for _ in 0..CHUNK {
            let Some(byte) = self.server.read_byte()? else { break };
            if byte == b'\n' {
                return Ok(Some(true));
            }
            self.line.push(byte);
            worked = Some(self.line.is_full());
            if worked == Some(true) {
                break;
            }
        }
        Ok(worked)
    }

    /// Starts again on queues whose other side broke them.
    fn mend(&mut self) {
        self.server.resync();
        self.show_broken = true;
        self.notify = true;
    }
}

/// Room for the clients, apart from the multiplexer because of its size.
#[derive(Default)]
pub struct Clients<'a>(Vec<Client<'a>, MAX_CLIENTS>);

impl Clients<'_> {
    /// Without clients.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }
}

/// Text of the multiplexer itself that is to be shown.
#[derive(Clone, Copy)]
enum Notice {
    /// Who has the focus.
    Focus,
    /// A line of the help, and all after it.
    Help(usize),
    /// A client's line of the list, and all after it.
    List(usize),
    /// Whose log comes again.
    Replay,
    /// The log of the client with the focus, from this byte of it on.
    Again(usize),
    /// The client with the focus cannot do this in its state.
    Refused(Request, State),
    /// The client with the focus has not taken the last request.
    Busy,
    /// There is no such command.
    Unknown,
    /// There is no such client.
    NoClient,
}

/// Multiplexes clients over the UART `U`.
pub struct Mux<'a, U> {
    uart: U,
    clients: &'a mut Vec<Client<'a>, MAX_CLIENTS>,
    focus: usize,
    /// Whose turn it is to send.
    turn: usize,
    keys: Keys,
    notice: Option<Notice>,
    screen: Screen,
}

impl<'a, U: Uart> Mux<'a, U> {
    /// With the clients that are in `clients`, and room for more.
    #[must_use]
    pub fn new(uart: U, clients: &'a mut Clients<'a>) -> Self {
        Self {
            uart,
            clients: &mut clients.0,
            focus: 0,
            turn: 0,
            keys: Keys::default(),
            notice: None,
            screen: Screen::new(),
        }
    }

    /// Adds a client with its link's region; clients count from 0. The first one has the focus. Those after
    /// [`MAX_CLIENTS`] are not served.
    ///
    /// # Errors
    /// [`TooSmall`].
    pub fn add(&mut self, name: &'a str, region: &'a [AtomicU64]) -> Result<(), TooSmall> {
        let client = Client {
            name,
            server: Server::new(region)?,
            line: Line::default(),
            typing_lost: 0,
            show_broken: false,
            notify: false,
            state: State::None,
            history: History::default(),
        };
        let _ = self.clients.push(client);
        Ok(())
    }

    /// Handles everything there is to do, up to the bounds of an event: to be called at start, at the UART's interrupt,
    /// and when a client notifies. Calls `notify` for each client that is to be notified.
    pub fn run(&mut self, mut notify: impl FnMut(usize)) {
        self.uart.begin();
        // Asked before looking, so that no client's output is both unseen and unannounced.
        self.ask_clients(true);
        self.receive();
        let idle = match self.transmit() {
            Transmitted::All => true,
            Transmitted::Enough => false,
            Transmitted::UntilFull => {
                // The UART will wake this driver: what clients have until then can wait.
                self.ask_clients(false);
                false
            }
        };
        self.uart.end(!idle);
        for (index, client) in self.clients.iter_mut().enumerate() {
            if client.server.wake_wanted() | take(&mut client.notify) {
                notify(index);
            }
        }
    }

    fn ask_clients(&mut self, on: bool) {
        self.clients.iter_mut().for_each(|client| client.server.ask(on));
    }

    fn receive(&mut self) {
        let mut typed = Vec::<u8, RECEIVE_MAX>::new();
        for _ in 0..RECEIVE_MAX {
            let Some(byte) = self.uart.receive() else { break };
            match self.keys.next(byte) {
                // Never more than were received.
                Some(Action::Type(byte)) => typed.push(byte).unwrap_or(()),
                Some(action) => {
                    self.type_in(&typed);
                    typed.clear();
                    self.act(action);
                }
                None => {}
            }
        }
        self.type_in(&typed);
    }

    /// Sends typing to the client with the focus.
    fn type_in(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(client) = self.clients.get_mut(self.focus) {
            let taken = client.server.write(bytes).unwrap_or_else(|Broken| {
                client.mend();
                0
            });
            client.typing_lost = client.typing_lost.saturating_add((bytes.len() - taken) as u64);
        }
    }

    fn act(&mut self, action: Action) {
        self.notice = match action {
            Action::Focus(index) => self.focus_on((index < self.clients.len()).then_some(index)),
            Action::Next => self.focus_on(Some((self.focus + 1) % self.clients.len().max(1))),
            Action::Help => Some(Notice::Help(0)),
            Action::List => Some(Notice::List(0)),
            Action::Replay => Some(Notice::Replay),
            Action::Ask(request) => self.ask_for(request),
            // Typing does not come here.
            Action::Unknown | Action::Type(_) => Some(Notice::Unknown),
        };
    }

    fn focus_on(&mut self, index: Option<usize>) -> Option<Notice> {
        let Some(index) = index else { return Some(Notice::NoClient) };
        for (index, shown) in [(self.focus, false), (index, true)] {
            self.clients.get_mut(index).into_iter().for_each(|client| client.line.change_focus(shown));
        }
        self.focus = index;
        Some(Notice::Focus)
    }

    /// Asks the client with the focus, which answers in its log and its state.
    fn ask_for(&mut self, request: Request) -> Option<Notice> {
        let client = self.clients.get_mut(self.focus)?;
        let state = client.server.state();
        if refusal(request, state).is_some() {
            return Some(Notice::Refused(request, state));
        }
        // A client that was busy with something else is told once more.
        client.notify = true;
        (!client.server.ask_for(request)).then_some(Notice::Busy)
    }

    fn transmit(&mut self) -> Transmitted {
        for _ in 0..TURNS {
            if !self.screen.flush(&mut self.uart) {
                return Transmitted::UntilFull;
            }
            if !self.stage() {
                return Transmitted::All;
            }
        }
        if self.screen.flush(&mut self.uart) { Transmitted::Enough } else { Transmitted::UntilFull }
    }

    /// Stages the next unit of output. `false` if there is nothing to do.
    fn stage(&mut self) -> bool {
        if let Some(notice) = self.notice {
            self.notice = self.show(notice);
            return true;
        }
        let count = self.clients.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let worked = self.serve(index).unwrap_or_else(|Broken| {
                self.clients.get_mut(index).into_iter().for_each(Client::mend);
                true
            });
            if worked {
                self.turn = (index + 1) % count;
                return true;
            }
        }
        self.clients.get(self.focus).is_some_and(|client| self.screen.resume(&client.line))
    }

    /// Works on one client's output, and stages a unit of it if one is complete. `false` if there is nothing to do now.
    fn serve(&mut self, index: usize) -> Result<bool, Broken> {
        let column = self.screen.column();
        let may_interrupt = column == 0
            || column > LONG_LINE
            || self.clients.get(self.focus).is_none_or(|client| !client.server.has_output());
        let Some(client) = self.clients.get_mut(index) else { return Ok(false) };
        let name = client.name.as_bytes();
        if may_interrupt {
            if take(&mut client.show_broken) {
                self.screen.line(&[name, b"| broke the rules of its serial queues, which are emptied"]);
                return Ok(true);
            }
            let before = replace(&mut client.state, client.server.state());
            if before != client.state
                && index == self.focus
                && matches!(client.state, State::Starts | State::Halted | State::Off)
            {
                // The line of a guest that is no more is not gone on with.
                client.line = Line::default();
            }
            if before != client.state && is_news(before, client.state) {
                self.screen.line(&[b"-- ", name, b" ", describe(client.state).as_bytes()]);
                return Ok(true);
            }
            let own;
            let (line, keep) = match client.server.next_log()? {
                Some(Log::Line(line)) => (Some(line), true),
                Some(Log::Answer(answer)) => {
                    own = text(format_args!("{answer}"));
                    (Some(own.as_bytes()), false)
                }
                Some(Log::Lost(lines)) => {
                    own = text(format_args!("{lines} lines lost"));
                    (Some(own.as_bytes()), true)
                }
                None => (None, false),
            };
            if let Some(line) = line {
                if keep {
                    client.history.push(line.iter().copied().filter(|byte| is_printable(*byte)));
                }
                self.screen.line(&[name, b"| ", line]);
                return Ok(true);
            }
        }
        if index == self.focus {
            if client.server.has_output() && self.screen.resume(&client.line) {
                return Ok(true);
            }
            let mut chunk = [0; CHUNK];
            let count = client.server.read(&mut chunk)?;
            self.screen.raw(chunk.get(..count).unwrap_or(&[]), &mut client.line);
            return Ok(count > 0);
        }
        if !may_interrupt {
            return Ok(false);
        }
        let read = client.read_line()?;
        if read == Some(true) {
            self.screen.line(&[b"[", name, b"] ", client.line.text()]);
            client.line = Line::default();
        }
        Ok(read.is_some())
    }

    /// Stages one line of `notice`; returns what is left of it.
    fn show(&mut self, notice: Notice) -> Option<Notice> {
        let client = self.clients.get(self.focus);
        let name = client.map_or("", |client| client.name);
        let mut say = |words: &[&str]| {
            let mut parts = Vec::<&[u8], 8>::new();
            parts.extend([b"-- " as &[u8]].into_iter().chain(words.iter().map(|word| word.as_bytes())).take(8));
            self.screen.line(&parts);
        };
        match notice {
            Notice::Focus => say(&[name]),
            Notice::Help(line) => {
                if let Some(help) = HELP.get(line) {
                    say(&[help]);
                    return Some(Notice::Help(line + 1));
                }
                return Some(Notice::List(0));
            }
            Notice::List(index) => {
                let client = self.clients.get(index)?;
                let focus = if index == self.focus { ", has the focus" } else { "" };
                let lost = match client.typing_lost {
                    0 => String::new(),
                    count => text(format_args!(", {count} typed bytes lost")),
                };
                say(&[
                    &text(format_args!("{} ", index + 1)),
                    client.name,
                    " ",
                    describe(client.server.state()),
                    focus,
                    &lost,
                ]);
                return Some(Notice::List(index + 1));
            }
            Notice::Replay => {
                say(&["the log of ", name]);
                return Some(Notice::Again(0));
            }
            Notice::Again(offset) => {
                let history = &client?.history;
                if offset >= history.len() {
                    return None;
                }
                let line: Vec<u8, TEXT_MAX> = history.line(offset).take(TEXT_MAX).collect();
                self.screen.line(&[name.as_bytes(), b"| ", &line]);
                return Some(Notice::Again(offset + line.len() + 1));
            }
            Notice::Refused(request, state) => {
                let [verb, remedy] = refusal(request, state)?;
                say(&[name, " ", describe(state), " and cannot be ", verb, "; remedy: ", remedy]);
            }
            Notice::Busy => say(&[
                name,
                " has not answered the last command; remedy: try again, and if it never does, its VMM is at fault",
            ]),
            Notice::Unknown => say(&["no such command; remedy: Ctrl-] ? lists them"]),
            Notice::NoClient => say(&["nobody has that number; remedy: Ctrl-] l lists all"]),
        }
        None
    }
}

/// How a batch of output ended.
enum Transmitted {
    /// There is no more.
    All,
    /// The event's share of work is done.
    Enough,
    /// The UART is full.
    UntilFull,
}

/// A short text.
fn text(text: core::fmt::Arguments<'_>) -> String<TEXT_MAX> {
    let mut string = String::new();
    // Longer ones would be cut; an answer has at most so much.
    let _ = string.write_fmt(text);
    string
}
