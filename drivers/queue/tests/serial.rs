// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A serial link between two correct ends.

#![cfg(not(loom))]

use proptest::prelude::*;
use queue::monitor::{Answer, Request, State, Subject};
use queue::serial::{Client, LOG_LINE_MAX, Log, MIN_SIZE, Server};
use queue::{AtomicU64, TooSmall};

fn region(bytes: usize) -> Vec<AtomicU64> {
    (0..bytes / 8).map(|_| AtomicU64::new(0)).collect()
}

fn next_line(server: &mut Server<'_>) -> Option<String> {
    match server.next_log().unwrap()? {
        Log::Line(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
        Log::Answer(answer) => Some(format!("answer {answer}")),
        Log::Lost(lines) => Some(format!("{lines} lost")),
    }
}

#[test]
fn the_region_has_a_least_size_and_the_rings_grow_with_it() {
    assert_eq!(Client::new(&region(MIN_SIZE - 8)).err(), Some(TooSmall));
    assert_eq!(Server::new(&region(MIN_SIZE - 8)).err(), Some(TooSmall));
    // (region, console output in words, console input in words)
    for (size, output, input) in [(MIN_SIZE, 512, 128), (MIN_SIZE * 2 - 8, 512, 128), (0x4000, 1024, 256)] {
        let region = region(size);
        let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
        assert_eq!(client.write(&[0; 10_000]), Ok(output * 7), "{size:#x}");
        assert_eq!(server.write(&[0; 10_000]), Ok(input * 7), "{size:#x}");
    }
}

#[test]
fn a_byte_costs_a_word_and_seven_bytes_cost_no_more() {
    let region = region(MIN_SIZE);
    let mut client = Client::new(&region).unwrap();
    let free = client.free().unwrap();
    for (bytes, words) in [(0, 0), (1, 1), (7, 1), (8, 2), (14, 2)] {
        let before = client.free().unwrap();
        assert_eq!(client.write(&vec![b'x'; bytes]), Ok(bytes));
        assert_eq!(before - client.free().unwrap(), words, "{bytes} bytes");
    }
    assert_eq!(free, 512);
}

#[test]
fn the_log_carries_lines_and_cuts_long_ones_between_characters() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    let most = "m".repeat(LOG_LINE_MAX);
    let long = "l".repeat(LOG_LINE_MAX + 1);
    // Its cut would fall within a character of three bytes.
    let wide = format!("{}{}", "w".repeat(LOG_LINE_MAX - 4), "\u{2026}".repeat(3));
    let cut = format!("{}...", "l".repeat(LOG_LINE_MAX - 3));
    let wide_cut = format!("{}...", "w".repeat(LOG_LINE_MAX - 4));
    let cases =
        [("", ""), ("seven b", "seven b"), ("eight by", "eight by"), (&most, &most), (&long, &cut), (&wide, &wide_cut)];
    for (sent, shown) in cases {
        client.log(format_args!("{sent}")).unwrap();
        assert_eq!(next_line(&mut server).as_deref(), Some(shown));
        assert_eq!(next_line(&mut server), None);
    }
}

#[test]
fn a_full_log_loses_whole_lines_and_says_how_many() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    server.ask(true);
    // Lines of three words in a ring of 256.
    for n in 0..90 {
        client.log(format_args!("line number {n:06}")).unwrap();
    }
    assert!(client.wake_wanted());
    for n in 0..85 {
        assert_eq!(next_line(&mut server), Some(format!("line number {n:06}")));
    }
    assert_eq!(next_line(&mut server).as_deref(), Some("5 lost"));
    assert_eq!(next_line(&mut server), None);
}

#[test]
fn a_request_is_taken_once_and_the_next_waits_for_that() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    assert_eq!(client.request(), None);
    for request in Request::ALL.into_iter().chain([Request::Trace]) {
        assert!(server.ask_for(request));
        assert!(!server.ask_for(Request::Off), "the last one is not taken");
        assert_eq!(client.request(), Some(request));
        assert_eq!(client.request(), None);
    }
    assert!(server.ask_for(Request::Pause));
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    assert_eq!(client.request(), Some(Request::Pause), "not lost where the ends start again");
    assert_eq!(Client::new(&region).unwrap().request(), None, "nor taken twice");
    assert!(server.ask_for(Request::Pause));
    assert_eq!(client.request(), Some(Request::Pause), "the same once more");
}

#[test]
fn the_state_and_answers_wake_the_driver() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
    assert_eq!(server.state(), State::None);
    for state in State::ALL {
        server.ask(true);
        client.set_state(state);
        assert!(client.wake_wanted());
        assert_eq!(server.state(), state);
    }
    server.ask(true);
    let answer = Answer { subject: Subject::Exits, index: 1, vcpu: 0, values: [7, 0, 0, 0] };
    client.answer(answer).unwrap();
    assert!(client.wake_wanted());
    client.log(format_args!("message")).unwrap();
    assert_eq!(next_line(&mut server).as_deref(), Some("answer exits uart: 7"));
    assert_eq!(next_line(&mut server).as_deref(), Some("message"));
    // Answers have five words, in a ring of 256.
    (0..53).for_each(|_| client.answer(answer).unwrap());
    (0..51).for_each(|_| assert!(next_line(&mut server).is_some()));
    assert_eq!(next_line(&mut server).as_deref(), Some("2 lost"));
}

#[test]
fn both_ends_sleep_until_there_is_something_for_them() {
    let region = region(MIN_SIZE);
    let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());

    server.ask(true);
    assert!(client.sleep());
    assert!(!client.wake_wanted() && !server.wake_wanted());
    client.write(b"0123456789").unwrap();
    assert!(client.wake_wanted() && !client.wake_wanted());
    assert_eq!(server.read(&mut [0; 8]), Ok(8));
    assert!(server.has_output(), "part of a word is left");
    assert_eq!(server.read(&mut [0; 8]), Ok(2));
    assert!(!server.has_output());
    server.ask(true);
    server.ask(false);
    client.write(b"x").unwrap();
    assert!(!client.wake_wanted(), "the driver took back its question");
    server.read(&mut [0; 8]).unwrap();
    server.ask(true);
    client.log(format_args!("message")).unwrap();
    assert!(client.wake_wanted());

    server.write(b"typed").unwrap();
    assert!(server.wake_wanted() && !server.wake_wanted());
    assert!(!client.sleep());
    assert_eq!(client.read(&mut [0; 8]), Ok(5));
    assert!(client.sleep());

    // Out of room: the client sleeps for that too, and is woken at half.
    let taken = client.write(&[0; 10_000]).unwrap();
    assert!(client.sleep());
    server.read(&mut vec![0; taken / 2 - 7]).unwrap();
    assert!(!server.wake_wanted());
    server.read(&mut [0; 7]).unwrap();
    assert!(server.wake_wanted());
}

proptest! {
    /// Both consoles carry every byte that they took, in order, whatever the pieces.
    #[test]
    fn consoles_carry_streams(pieces in prop::collection::vec((0..3000_usize, 0..3000_usize), 1..40), up: bool) {
        let region = region(MIN_SIZE);
        let (mut client, mut server) = (Client::new(&region).unwrap(), Server::new(&region).unwrap());
        let mut sent = 0_usize;
        let mut received = 0_usize;
        for (write, read) in pieces {
            let bytes: Vec<u8> = (sent..sent + write).map(|n| n as u8 ^ (n >> 8) as u8).collect();
            sent += if up { client.write(&bytes) } else { server.write(&bytes) }.unwrap();
            let mut buffer = vec![0; read];
            let count = if up { server.read(&mut buffer) } else { client.read(&mut buffer) }.unwrap();
            for byte in &buffer[..count] {
                prop_assert_eq!(*byte, received as u8 ^ (received >> 8) as u8);
                received += 1;
            }
            prop_assert!(count == read || received == sent, "less than asked for, though there was more");
        }
    }
}
