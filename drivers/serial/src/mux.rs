// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The multiplexer.

use crate::keys::{Action, Keys};
use crate::screen::{Screen, TEXT_MAX, is_printable};
use crate::{ESCAPE, Uart};
use config::MAX_CLIENTS;
use core::fmt::Write;
use core::mem::take;
use heapless::{String, Vec};
use queue::serial::{Log, Server};
use queue::{AtomicU64, Broken, TooSmall};

/// Most bytes received in one event; the rest raises the interrupt again.
const RECEIVE_MAX: usize = 64;
/// Most pieces of work on output in one event.
const TURNS: usize = 64;
/// Most bytes of console output in one unit.
const CHUNK: usize = 64;
/// A line of the client with the focus longer than this no longer holds back other output.
const LONG_LINE: usize = 512;
/// Longest line of a client without the focus, in bytes; longer ones are shown in pieces.
const LINE_MAX: usize = 160;

const HELP: &[u8] = b"-- Ctrl-], then: digit = focus on that guest, n = on the next, ? = help, Ctrl-] = Ctrl-] itself";

const _: () = assert!(ESCAPE == b']' & 0x1f && MAX_CLIENTS <= 9 && LINE_MAX <= TEXT_MAX && CHUNK <= TEXT_MAX);

/// One client.
struct Client<'a> {
    name: &'a str,
    server: Server<'a>,
    /// Console output of the line that a client without the focus has begun.
    line: Vec<u8, LINE_MAX>,
    /// Typed bytes that it had no room for.
    typing_lost: u64,
    /// Its queues broke, which has still to be shown and, as they are mended, told to it.
    show_broken: bool,
    notify_mended: bool,
}

impl Client<'_> {
    /// Reads on in the line of console output. Nothing if there is nothing to read; else whether the line is complete.
    fn read_line(&mut self) -> Result<Option<bool>, Broken> {
        let mut worked = None;
        for _ in 0..CHUNK {
            let mut byte = [0];
            if self.server.read(&mut byte)? == 0 {
                break;
            }
            let [byte] = byte;
            let full = is_printable(byte) && self.line.push(byte).is_ok() && self.line.is_full();
            worked = Some(byte == b'\n' || full);
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
        self.notify_mended = true;
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
    /// The help, from this line on: the commands, then a line per client.
    Help(usize),
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
            screen: Screen::default(),
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
            line: Vec::new(),
            typing_lost: 0,
            show_broken: false,
            notify_mended: false,
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
            if client.server.wake_wanted() | take(&mut client.notify_mended) {
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
        let focus = match action {
            Action::Focus(index) if index < self.clients.len() => index,
            Action::Next if self.focus + 1 < self.clients.len() => self.focus + 1,
            Action::Next => 0,
            Action::Focus(_) | Action::Help | Action::Type(_) => {
                self.notice = Some(Notice::Help(0));
                return;
            }
        };
        self.focus = focus;
        self.notice = Some(Notice::Focus);
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
        false
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
            match client.server.next_log()? {
                Some(Log::Line(text)) => {
                    self.screen.line(&[name, b"| ", text]);
                    return Ok(true);
                }
                Some(Log::Lost(lines)) => {
                    self.screen.line(&[name, b"| ", text(format_args!("{lines} lines lost")).as_bytes()]);
                    return Ok(true);
                }
                None => {}
            }
        }
        if index == self.focus {
            if !client.line.is_empty() {
                self.screen.raw(&client.line);
                client.line.clear();
                return Ok(true);
            }
            let mut chunk = [0; CHUNK];
            let count = client.server.read(&mut chunk)?;
            self.screen.raw(chunk.get(..count).unwrap_or(&[]));
            return Ok(count > 0);
        }
        if !may_interrupt {
            return Ok(false);
        }
        let read = client.read_line()?;
        if read == Some(true) {
            self.screen.line(&[b"[", name, b"] ", &client.line]);
            client.line.clear();
        }
        Ok(read.is_some())
    }

    /// Stages one line of `notice`; returns what is left of it.
    fn show(&mut self, notice: Notice) -> Option<Notice> {
        let line = match notice {
            Notice::Focus => {
                let name = self.clients.get(self.focus).map_or("", |client| client.name);
                self.screen.line(&[b"-- ", name.as_bytes()]);
                return None;
            }
            Notice::Help(line) => line,
        };
        match line.checked_sub(1).and_then(|index| self.clients.get(index)) {
            None => self.screen.line(&[HELP]),
            Some(client) => {
                let focus = if line == self.focus + 1 { ", has the focus" } else { "" };
                let counts = text(format_args!(": {} typed bytes lost", client.typing_lost));
                let number = text(format_args!("-- {line} "));
                self.screen.line(&[number.as_bytes(), client.name.as_bytes(), focus.as_bytes(), counts.as_bytes()]);
            }
        }
        (line < self.clients.len()).then_some(Notice::Help(line + 1))
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
fn text(text: core::fmt::Arguments<'_>) -> String<48> {
    let mut string = String::new();
    // Longer ones would be cut; all are constants and a number.
    let _ = string.write_fmt(text);
    string
}
