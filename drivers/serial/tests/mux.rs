// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The multiplexer between a fake UART and the clients' ends of real links.

use config::MAX_CLIENTS;
use mux::{Mux, Uart};
use proptest::prelude::*;
use queue::AtomicU64;
use queue::monitor::{Answer, Request, State, Subject};
use queue::serial::{Client, LOG_LINE_MAX, MIN_SIZE};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

/// A UART whose other end the test holds.
#[derive(Default)]
struct Wire {
    to_mux: VecDeque<u8>,
    from_mux: Vec<u8>,
    /// How many bytes the UART takes now.
    room: usize,
    /// Whether bytes were sent since `begin`, or refused.
    active: bool,
    wake_for_room: bool,
}

#[derive(Clone, Default)]
struct FakeUart(Rc<RefCell<Wire>>);

impl Uart for FakeUart {
    fn receive(&mut self) -> Option<u8> {
        self.0.borrow_mut().to_mux.pop_front()
    }

    fn send(&mut self, byte: u8) -> bool {
        let mut wire = self.0.borrow_mut();
        wire.active = true;
        let room = wire.room > 0;
        if room {
            wire.room -= 1;
            wire.from_mux.push(byte);
        }
        room
    }

    fn begin(&mut self) {
        self.0.borrow_mut().active = false;
    }

    fn end(&mut self, wake_for_room: bool) {
        self.0.borrow_mut().wake_for_room = wake_for_room;
    }
}

/// The multiplexer with clients called `a`, `b`, and so on.
struct Setup {
    uart: FakeUart,
    mux: Mux<'static, FakeUart>,
    clients: Vec<Client<'static>>,
    regions: Vec<&'static [AtomicU64]>,
    /// Clients that were notified.
    notified: Vec<usize>,
}

impl Setup {
    fn new(count: usize) -> Self {
        let uart = FakeUart::default();
        uart.0.borrow_mut().room = usize::MAX;
        let mut mux = Mux::new(uart.clone(), Box::leak(Box::default()));
        let mut clients = Vec::new();
        let mut regions = Vec::new();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().take(count) {
            let region: &[AtomicU64] = Vec::leak((0..MIN_SIZE / 8).map(|_| AtomicU64::new(0)).collect());
            mux.add(name, region).unwrap();
            clients.push(Client::new(region).unwrap());
            regions.push(region);
        }
        let mut setup = Self { uart, mux, clients, regions, notified: Vec::new() };
        // The cursor may be anywhere when a driver starts; here it is on a fresh line.
        setup.write(count - 1, "\n");
        assert!(setup.shown().ends_with('\n'));
        setup
    }

    /// One event.
    fn run(&mut self) {
        self.mux.run(|client| self.notified.push(client));
    }

    /// Events until the driver waits for nothing but clients and typing; what it then has shown.
    fn shown(&mut self) -> String {
        for _ in 0..1000 {
            self.run();
            let wire = self.uart.0.borrow();
            if !wire.wake_for_room {
                drop(wire);
                return String::from_utf8_lossy(&std::mem::take(&mut self.uart.0.borrow_mut().from_mux)).into_owned();
            }
            assert!(wire.active, "it waits for an interrupt that does not come");
        }
        panic!("it does not come to rest");
    }

    fn write(&mut self, client: usize, text: &str) {
        assert_eq!(self.clients[client].write(text.as_bytes()), Ok(text.len()));
    }

    fn log(&mut self, client: usize, text: &str) {
        self.clients[client].log(format_args!("{text}")).unwrap();
    }

    fn type_in(&mut self, text: &str) {
        self.uart.0.borrow_mut().to_mux.extend(text.bytes());
    }

    fn read(&mut self, client: usize) -> String {
        let mut buffer = [0; 4096];
        let count = self.clients[client].read(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }
}

#[test]
fn one_client_is_passed_on_unmodified() {
    let mut setup = Setup::new(1);
    let text: String = (0..=127_u8).map(char::from).chain("\r\n\u{1b}[2J# ".chars()).collect();
    setup.write(0, &text);
    assert_eq!(setup.shown(), text);
    setup.type_in("ls -l\r\u{3}\u{1}");
    assert_eq!(setup.shown(), "");
    assert_eq!(setup.read(0), "ls -l\r\u{3}\u{1}");
}

#[test]
fn without_the_focus_output_comes_in_named_lines() {
    // (what client b writes, what is shown)
    for (written, shown) in [
        ("hello\r\n", "[b] hello\r\n"),
        ("one\ntwo\n", "[b] one\r\n[b] two\r\n"),
        ("\n", "[b] \r\n"),
        ("a prompt # ", ""),
        ("tab\there \u{e9}\u{2026}\n", "[b] tab\there \u{e9}\u{2026}\r\n"),
        ("\u{7}forged\n[a] \u{7f}line\n", "[b] forged\r\n[b] [a] line\r\n"),
        ("\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}[1mbold\u{1b}[0m \u{1b}(Btext\n", "[b] bold text\r\n"),
        (" 9 %\r100 %\r\n", "[b] 100 %\r\n"),
        ("3\u{8}2\u{8}1 \u{e9}\u{8}e\n", "[b] 1 e\r\n"),
    ] {
        let mut setup = Setup::new(2);
        setup.write(1, written);
        assert_eq!(setup.shown(), shown, "{written:?}");
    }
    let mut setup = Setup::new(2);
    setup.write(1, &"x".repeat(161));
    setup.write(1, "\n");
    assert_eq!(setup.shown(), format!("[b] {}\r\n[b] x\r\n", "x".repeat(160)), "long lines come in pieces");
}

#[test]
fn lines_start_on_a_fresh_line_and_do_not_cut_one_that_goes_on() {
    let mut setup = Setup::new(2);
    setup.write(0, "login: ");
    assert_eq!(setup.shown(), "login: ");
    setup.log(1, "started");
    setup.log(1, "again");
    assert_eq!(setup.shown(), "\r\nb| started\r\nb| again\r\nlogin: ", "the line goes on below");
    setup.write(0, "half a li");
    assert_eq!(setup.shown(), "half a li");
    setup.log(1, "waits");
    setup.write(1, "waits too\n");
    setup.write(0, "ne\r\nnext line\r\n");
    let shown = setup.shown();
    assert!(shown.starts_with("ne\r\n"), "{shown:?}");
    assert!(shown.contains("\nb| waits\r\n") && shown.contains("[b] waits too\r\n"), "{shown:?}");
}

#[test]
fn the_line_with_the_focus_is_whole_again_after_lines_of_others() {
    let long = "x".repeat(160);
    let cut = format!("\u{1b}[{}", "1;".repeat(31));
    // (what client a has written, what is shown below a line of another, what a then writes)
    for (written, again, rest) in [
        ("# ls -", "# ls -", "l\r\n"),
        ("done\r\n", "", "# "),
        ("tab\t\u{e9}\u{2026}", "tab\t\u{e9}\u{2026}", "\r\n"),
        // Keys that erase.
        ("# lx\u{8} \u{8}s", "# ls", ""),
        ("# \u{e9}\u{8}", "# ", ""),
        // A line that is about to be written anew, and one that was.
        (" 9 %\r", "", "10 %"),
        (" 9 %\r10 %", "10 %", "\r\n"),
        // A question is not asked again; one that is not complete, and is dropped by the terminal, is.
        ("# \u{1b}[6n", "# ", "ls"),
        ("\u{1b}[1;31mred\u{1b}[0m # \u{1b}[J\u{1b}[K\u{1b}[?2004h", "red # ", "ls"),
        ("\u{1b}]0;title\u{7}# ", "# ", "ls"),
        ("\u{1b}]0;title\u{1b}\\# ", "# ", "ls"),
        ("# \u{1b}", "\u{18}# \u{1b}", "[6n"),
        ("# \u{1b}[6", "\u{18}# \u{1b}[6", "n"),
        ("\n\u{1b}[", "\u{18}\u{1b}[", "6n"),
        ("# \u{1b}]0;ti", "\u{18}# \u{1b}]0;ti", "tle\u{7}"),
        ("# \u{1b}[1;\u{1b}[", "\u{18}# \u{1b}[", "6n"),
        // Where the cursor went is not known until the line ends.
        ("text\u{1b}[2J\u{1b}[Hmore", "", "and more"),
        ("text\u{1b}[1Kmore", "", "and more"),
        ("text\u{1b}Mmore\u{1b}[", "\u{18}\u{1b}[", "6n"),
        ("text\u{1b}[A\n# ", "# ", ""),
        // Longest line that is kept, and longest sequence.
        (&long, &long, "\r\n"),
        (&format!("{long}x"), "", "\r\n"),
        (&cut, &format!("\u{18}{cut}"), "m"),
        (&format!("# {cut}1m"), "", "\r\n"),
    ] {
        let mut setup = Setup::new(2);
        setup.write(0, written);
        assert_eq!(setup.shown(), written);
        setup.log(1, "heard");
        let (cancel, again) = again.strip_prefix('\u{18}').map_or(("", again), |again| ("\u{18}", again));
        let fresh = if written.ends_with('\n') { "" } else { "\r\n" };
        assert_eq!(setup.shown(), format!("{cancel}{fresh}b| heard\r\n{again}"), "{written:?}");
        setup.write(0, rest);
        assert_eq!(setup.shown(), rest, "{written:?}");
    }
}

#[test]
fn others_need_not_wait_for_the_end_of_a_control_sequence() {
    let mut setup = Setup::new(2);
    setup.write(0, "\u{1b}[");
    setup.shown();
    for n in 0..3 {
        setup.log(1, &format!("{n}"));
        assert_eq!(setup.shown(), format!("\u{18}\r\nb| {n}\r\n\u{1b}["));
    }
    setup.type_in("\u{1d}2");
    assert_eq!(setup.shown(), "\u{18}\r\n-- b\r\n");
}

#[test]
fn a_line_comes_again_before_it_goes_on() {
    let mut setup = Setup::new(2);
    setup.write(0, "# ");
    setup.shown();
    setup.log(1, "heard");
    setup.write(0, "ls\r\n");
    setup.type_in("\u{1d}z");
    let shown = setup.shown();
    let line = "-- no such command; remedy: Ctrl-] ? lists them\r\n";
    assert_eq!(shown, format!("\r\n{line}b| heard\r\n# ls\r\n"));
}

#[test]
fn a_driver_that_starts_knows_nothing_of_the_terminal() {
    let mut setup = Setup::new(2);
    setup.write(0, "# \u{1b}[");
    setup.shown();
    let mut mux = Mux::new(setup.uart.clone(), Box::leak(Box::default()));
    setup.regions.iter().zip(["a", "b"]).for_each(|(region, name)| mux.add(name, region).unwrap());
    setup.mux = mux;
    setup.log(1, "heard");
    assert_eq!(setup.shown(), "\u{18}\r\nb| heard\r\n");
}

#[test]
fn the_line_of_a_guest_that_is_no_more_does_not_come_again() {
    for (state, shown) in [
        (State::Paused, "\r\n-- a is paused\r\n# "),
        (State::Off, "\r\n-- a is off\r\n"),
        (State::Halted, "\r\n-- a is halted\r\n"),
        (State::Starts, "\r\n-- a is being started\r\n"),
    ] {
        let mut setup = Setup::new(1);
        setup.clients[0].set_state(State::Runs);
        setup.write(0, "# ");
        setup.shown();
        setup.clients[0].set_state(state);
        setup.run();
        assert_eq!(setup.shown(), shown);
    }
}

#[test]
fn a_line_without_end_does_not_hold_back_the_others() {
    let mut setup = Setup::new(2);
    setup.write(0, &"endless ".repeat(200));
    setup.log(1, "heard");
    let shown = setup.shown();
    let at = shown.find("\r\nb| heard\r\n").unwrap();
    assert!((512..1000).contains(&at), "at {at}");
}

#[test]
fn the_log_of_all_comes_in_named_lines() {
    let mut setup = Setup::new(3);
    let most = "m".repeat(LOG_LINE_MAX);
    for (client, text, shown) in [
        (0, "message", "a| message\r\n"),
        (2, "", "c| \r\n"),
        (1, "x\r\na| forged\u{1b}[1m", "b| xa| forged[1m\r\n"),
        (1, most.as_str(), &format!("b| {most}\r\n")),
    ] {
        setup.log(client, text);
        assert_eq!(setup.shown(), shown);
    }
    for _ in 0..300 {
        setup.log(0, "1234567");
    }
    assert_eq!(setup.shown(), "a| 1234567\r\n".repeat(256) + "a| 44 lines lost\r\n");
}

#[test]
fn the_escape_key_moves_the_focus() {
    let mut setup = Setup::new(3);
    setup.write(0, "a# ");
    setup.write(1, "b starts\nb# ");
    assert_eq!(setup.shown(), "a# \r\n[b] b starts\r\na# ");
    setup.type_in("to a\u{1d}2to b\u{1d}\u{1d}");
    assert_eq!(setup.shown(), "\r\n-- b\r\nb# ", "its prompt has waited");
    assert_eq!((setup.read(0).as_str(), setup.read(1).as_str()), ("to a", "to b\u{1d}"));
    setup.write(1, "\u{1b}[2J");
    assert_eq!(setup.shown(), "\u{1b}[2J");
    setup.type_in("\u{1d}n");
    assert_eq!(setup.shown(), "\r\n-- c\r\n");
    setup.type_in("\u{1d}n to a");
    assert_eq!(setup.shown(), "-- a\r\na# ", "as it was left");
    assert_eq!(setup.read(0), " to a");
    setup.write(0, "ls\r\n");
    setup.write(1, "not known\n");
    assert_eq!(setup.shown(), "ls\r\n[b] not known\r\n");
}

#[test]
fn help_names_the_commands_and_the_list_the_clients() {
    let help = "-- Ctrl-], then: ? = help, l = list, digit = focus on that one, n = on the next, Ctrl-] = Ctrl-] itself\r\n\
                -- on the one with the focus: h = its log again, c = counters, d = registers, t = its last exits\r\n\
                -- p = pause, r = resume, R = reset, O = turn off\r\n";
    let list = "-- 1 a is paused, has the focus\r\n-- 2 b has no guest\r\n";
    let mut setup = Setup::new(2);
    setup.clients[0].set_state(State::Paused);
    setup.type_in("\u{1d}?");
    assert_eq!(setup.shown(), format!("{help}{list}"));
    setup.type_in("\u{1d}l");
    assert_eq!(setup.shown(), list);
    assert_eq!(setup.read(0), "");
}

#[test]
fn what_is_no_command_is_refused_with_a_remedy() {
    for (keys, line) in [
        ("0", "no such command; remedy: Ctrl-] ? lists them"),
        ("x", "no such command; remedy: Ctrl-] ? lists them"),
        ("\r", "no such command; remedy: Ctrl-] ? lists them"),
        ("3", "nobody has that number; remedy: Ctrl-] l lists all"),
        ("O", "a has no guest and cannot be turned off; remedy: Ctrl-] l lists the guests"),
    ] {
        let mut setup = Setup::new(2);
        setup.type_in("\u{1d}");
        setup.type_in(keys);
        assert_eq!(setup.shown(), format!("-- {line}\r\n"), "{keys:?}");
        assert_eq!(setup.notified, []);
    }
}

#[test]
fn a_command_reaches_the_vmm_with_the_focus_if_its_state_allows() {
    use State::{Halted, Off, Paused, Runs, Starts, Stops, Waits};
    for (state, key, outcome) in [
        (Runs, "p", Ok(Request::Pause)),
        (Paused, "r", Ok(Request::Resume)),
        (Off, "R", Ok(Request::Reset)),
        (Halted, "O", Ok(Request::Off)),
        (Halted, "c", Ok(Request::Counters)),
        (Off, "d", Ok(Request::Registers)),
        (Waits, "t", Ok(Request::Trace)),
        (State::None, "t", Err("b has no guest and cannot be inspected; remedy: Ctrl-] l lists the guests")),
        (Runs, "r", Err("b runs and cannot be resumed; remedy: Ctrl-] p pauses it")),
        (Paused, "p", Err("b is paused and cannot be paused; remedy: Ctrl-] r resumes it")),
        (Off, "O", Err("b is off and cannot be turned off; remedy: Ctrl-] R starts it anew")),
        (Halted, "p", Err("b is halted and cannot be paused; remedy: Ctrl-] R starts it anew")),
        (Starts, "R", Err("b is being started and cannot be reset; remedy: try again")),
        (
            Waits,
            "R",
            Err(
                "b waits for a driver and cannot be reset; remedy: try again, or look into the drivers' logs by Ctrl-] h",
            ),
        ),
        (
            Stops,
            "r",
            Err("b waits for requests under way and cannot be resumed; \
                 remedy: try again, or look into the drivers' logs by Ctrl-] h"),
        ),
    ] {
        let mut setup = Setup::new(2);
        setup.clients[1].set_state(state);
        setup.type_in("\u{1d}2");
        setup.shown();
        setup.type_in(&format!("\u{1d}{key}"));
        let refusal = outcome.err().map_or(String::new(), |line| format!("-- {line}\r\n"));
        assert_eq!(setup.shown(), refusal);
        assert_eq!(setup.notified, if outcome.is_ok() { vec![1] } else { vec![] });
        assert_eq!((setup.clients[0].request(), setup.clients[1].request()), (None, outcome.ok()));
    }
}

#[test]
fn a_vmm_that_does_not_take_a_command_is_named() {
    let mut setup = Setup::new(1);
    setup.clients[0].set_state(State::Runs);
    setup.type_in("\u{1d}c");
    assert_eq!(setup.shown(), "");
    setup.type_in("\u{1d}t");
    assert_eq!(
        setup.shown(),
        "-- a has not answered the last command; remedy: try again, and if it never does, its VMM is at fault\r\n"
    );
    assert_eq!(setup.clients[0].request(), Some(Request::Counters));
    setup.type_in("\u{1d}t");
    assert_eq!(setup.shown(), "");
}

#[test]
fn changes_of_state_are_told_but_not_that_guests_start() {
    use State::{Halted, None, Off, Paused, Runs, Starts, Stops, Waits};
    for (states, shown) in [
        (&[Waits, Runs][..], ""),
        (&[Off], "-- a is off\r\n"),
        (&[Runs, Stops, Paused, Runs], "-- a waits for requests under way\r\n-- a is paused\r\n-- a runs\r\n"),
        (&[Runs, Halted, Starts, Runs], "-- a is halted\r\n-- a is being started\r\n"),
        (&[None], ""),
    ] {
        let mut setup = Setup::new(1);
        let mut seen = String::new();
        for state in states {
            setup.clients[0].set_state(*state);
            seen += &setup.shown();
        }
        assert_eq!(seen, shown);
    }
}

#[test]
fn an_answer_is_shown_as_text_and_the_log_comes_again_without_it() {
    let mut setup = Setup::new(2);
    setup.log(0, "first");
    let answer = Answer { subject: Subject::Machine, index: 0, vcpu: 0, values: [1, 2, 0, 0] };
    setup.clients[0].answer(answer).unwrap();
    setup.log(0, "\u{1b}[2Jsecond");
    setup.log(1, "another's");
    let shown = setup.shown();
    assert!(shown.contains("a| injections: 1, unimplemented registers: 2\r\n"), "{shown}");
    setup.type_in("\u{1d}h");
    assert_eq!(setup.shown(), "-- the log of a\r\na| first\r\na| [2Jsecond\r\n");
    setup.type_in("\u{1d}2\u{1d}h");
    assert_eq!(setup.shown(), "-- the log of b\r\nb| another's\r\n");
}

#[test]
fn typing_that_is_not_read_is_lost_newest_first_and_counted() {
    let mut setup = Setup::new(2);
    // The input ring has 128 words; an event receives 64 bytes, which are 10 words.
    let typed: String = (0..1000_u32).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    setup.type_in(&typed);
    for _ in 0..20 {
        setup.run();
    }
    let kept = 12 * 64 + 8 * 7;
    setup.type_in("\u{1d}?");
    let shown = setup.shown();
    assert!(
        shown.contains(&format!("-- 1 a has no guest, has the focus, {} typed bytes lost\r\n", 1000 - kept)),
        "{shown}"
    );
    assert_eq!(setup.read(0), typed[..kept]);
    setup.type_in("more");
    setup.run();
    assert_eq!(setup.read(0), "more");
}

#[test]
fn clients_are_notified_when_they_sleep_for_it_and_only_then() {
    let mut setup = Setup::new(2);
    setup.run();
    setup.type_in("x");
    setup.run();
    assert_eq!(setup.notified, [], "nobody sleeps");
    assert_eq!(setup.read(0), "x");
    assert!(setup.clients[0].sleep() && setup.clients[1].sleep());
    setup.type_in("y");
    setup.run();
    assert_eq!(setup.notified, [0]);
    setup.run();
    assert_eq!(setup.notified, [0], "once");
}

#[test]
fn the_driver_asks_to_be_woken_unless_the_uart_will() {
    let mut setup = Setup::new(1);
    setup.run();
    setup.write(0, "first");
    assert!(setup.clients[0].wake_wanted());
    setup.uart.0.borrow_mut().room = 3;
    setup.run();
    assert!(setup.uart.0.borrow().wake_for_room);
    setup.write(0, "second");
    assert!(!setup.clients[0].wake_wanted(), "the UART's interrupt is enough");
    setup.uart.0.borrow_mut().room = usize::MAX;
    assert_eq!(setup.shown(), "firstsecond");
    setup.write(0, "third");
    assert!(setup.clients[0].wake_wanted());
}

#[test]
fn a_full_uart_holds_the_client_back_and_loses_nothing() {
    let mut setup = Setup::new(1);
    let text: String = (0..9000_u32).map(|n| char::from(b' ' + (n % 90) as u8)).collect();
    let mut sent = 0;
    setup.uart.0.borrow_mut().room = 0;
    while sent < text.len() {
        let taken = setup.clients[0].write(&text.as_bytes()[sent..]).unwrap();
        sent += taken;
        if taken == 0 {
            // As a FIFO of 16 bytes, which interrupts when it is empty, until the driver wakes the client.
            assert!(setup.clients[0].sleep());
            setup.notified.clear();
            for _ in 0..1000 {
                setup.uart.0.borrow_mut().room = 16;
                setup.run();
                if setup.notified == [0] {
                    break;
                }
            }
            assert_eq!(setup.notified, [0]);
            assert!(setup.clients[0].free().unwrap() >= 256, "half of the ring");
        }
    }
    setup.uart.0.borrow_mut().room = usize::MAX;
    assert_eq!(setup.shown(), text);
}

#[test]
fn an_event_is_bounded_and_its_share_is_equal() {
    let mut setup = Setup::new(4);
    for client in 1..4 {
        for n in 0..64 {
            setup.write(client, &format!("line {n}\n"));
        }
    }
    setup.run();
    assert!(setup.uart.0.borrow().wake_for_room, "there is more");
    let shown = String::from_utf8(setup.uart.0.borrow().from_mux.clone()).unwrap();
    let counts = ["[b]", "[c]", "[d]"].map(|name| shown.matches(name).count());
    assert!(counts.iter().all(|count| (20..=22).contains(count)), "{counts:?}");
}

#[test]
fn a_client_that_breaks_its_queues_is_named_mended_and_told() {
    let mut setup = Setup::new(2);
    setup.write(1, "dropped");
    // The first ring's index of what was pushed: word 8 of the region.
    setup.regions[1][8].store(1 << 40, Relaxed);
    assert_eq!(setup.shown(), "b| broke the rules of its serial queues, which are emptied\r\n");
    assert_eq!(setup.notified, [1]);
    setup.write(0, "fine");
    assert_eq!(setup.shown(), "fine");
}

proptest! {
    /// A client that writes anything anywhere in its region stops nobody: the other one's output and typing pass.
    #[test]
    fn a_hostile_client_harms_only_itself(
        pokes in prop::collection::vec((0..MIN_SIZE / 8, prop_oneof![any::<u64>(), 0..600_u64]), 0..200),
        fill: u64,
        focus: bool,
    ) {
        let mut setup = Setup::new(2);
        let (hostile, other) = if focus { (0, 1) } else { (1, 0) };
        setup.regions[hostile].iter().for_each(|word| word.store(fill, Relaxed));
        for (n, (word, value)) in pokes.iter().enumerate() {
            setup.regions[hostile][*word].store(*value, Relaxed);
            if n % 8 == 0 {
                setup.run();
            }
        }
        setup.write(other, "still here\r\n");
        let mut shown = String::new();
        for _ in 0..40 {
            setup.run();
            shown = String::from_utf8_lossy(&setup.uart.0.borrow().from_mux).into_owned();
        }
        prop_assert!(shown.contains("still here\r\n"));
        setup.type_in(if focus { "\u{1d}2typed" } else { "typed" });
        setup.run();
        prop_assert_eq!(setup.read(other), "typed");
    }
}

#[test]
fn more_clients_than_there_can_be_are_not_served() {
    assert_eq!(MAX_CLIENTS, 8);
    let mut setup = Setup::new(MAX_CLIENTS);
    let region: &[AtomicU64] = Vec::leak((0..MIN_SIZE / 8).map(|_| AtomicU64::new(0)).collect());
    setup.mux.add("i", region).unwrap();
    Client::new(region).unwrap().write(b"unheard\n").unwrap();
    setup.write(7, "heard\n");
    assert_eq!(setup.shown(), "[h] heard\r\n");
}
