// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The system calls on a host: each is recorded, and answered with what a test has prepared, otherwise with zeros. And the
//! system file: it declares every channel, unless a test says otherwise.

use std::cell::{Cell, RefCell, UnsafeCell};
use std::collections::VecDeque;
use std::io::Write;

use crate::abi;
use crate::message::{MAX_MESSAGE_WORDS, MessageInfo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) badge: u64,
    pub(crate) info: MessageInfo,
    pub(crate) words: [u64; 4],
}

/// One system call: its number, capability, message info and first four words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call(pub(crate) i64, pub(crate) u64, pub(crate) MessageInfo, pub(crate) [u64; 4]);

/// What the tool would have written into the PD's symbols.
#[derive(Clone, Copy)]
pub(crate) struct Declared {
    pub(crate) passive: bool,
    pub(crate) irqs: u64,
    pub(crate) notifications: u64,
    pub(crate) pps: u64,
}

thread_local! {
    static DECLARED: Cell<Declared> =
        const { Cell::new(Declared { passive: false, irqs: u64::MAX, notifications: u64::MAX, pps: u64::MAX }) };
    static BUFFER: UnsafeCell<[u64; MAX_MESSAGE_WORDS]> = const { UnsafeCell::new([0; MAX_MESSAGE_WORDS]) };
    static KERNEL: RefCell<(Vec<Call>, VecDeque<Received>)> = const { RefCell::new((Vec::new(), VecDeque::new())) };
}

pub(crate) fn declared() -> Declared {
    DECLARED.get()
}

#[cfg(test)]
pub(crate) fn declare(declared: Declared) {
    DECLARED.set(declared);
}

/// Prepares the answer to the next call that has none.
#[cfg(test)]
pub(crate) fn answer(badge: u64, info: MessageInfo, words: [u64; 4]) {
    KERNEL.with_borrow_mut(|kernel| kernel.1.push_back(Received { badge, info, words }));
}

/// The calls of this thread since the last time it asked.
#[cfg(test)]
pub(crate) fn calls() -> Vec<Call> {
    KERNEL.with_borrow_mut(|kernel| std::mem::take(&mut kernel.0))
}

fn syscall(number: i64, capability: u64, info: MessageInfo, words: [u64; 4]) {
    KERNEL.with_borrow_mut(|kernel| kernel.0.push(Call(number, capability, info, words)));
}

fn receive(number: i64, capability: u64, info: MessageInfo, words: [u64; 4]) -> Received {
    syscall(number, capability, info, words);
    let answer = KERNEL.with_borrow_mut(|kernel| kernel.1.pop_front());
    answer.unwrap_or(Received { badge: 0, info: MessageInfo::default(), words: [0; 4] })
}

pub(crate) fn message() -> *mut u64 {
    BUFFER.with(|buffer| buffer.get().cast())
}

pub(crate) fn send(capability: u64, info: MessageInfo) {
    syscall(abi::SYS_SEND, capability, info, [0; 4]);
}

pub(crate) fn send_message(capability: u64, info: MessageInfo, words: [u64; 4]) {
    syscall(abi::SYS_SEND, capability, info, words);
}

pub(crate) fn nb_send(capability: u64, info: MessageInfo, words: [u64; 4]) {
    syscall(abi::SYS_NB_SEND, capability, info, words);
}

pub(crate) fn call(capability: u64, info: MessageInfo, words: [u64; 4]) -> Received {
    receive(abi::SYS_CALL, capability, info, words)
}

pub(crate) fn reply_recv(info: MessageInfo, words: [u64; 4]) -> Received {
    receive(abi::SYS_REPLY_RECV, abi::INPUT, info, words)
}

pub(crate) fn nb_send_recv(capability: u64, info: MessageInfo, words: [u64; 4]) -> Received {
    receive(abi::SYS_NB_SEND_RECV, capability, info, words)
}

pub(crate) fn recv() -> Received {
    receive(abi::SYS_RECV, abi::INPUT, MessageInfo::default(), [0; 4])
}

pub(crate) fn nb_recv() -> Received {
    receive(abi::SYS_NB_RECV, abi::INPUT, MessageInfo::default(), [0; 4])
}

/// To standard output; a host that cannot write there has nowhere to say so.
pub(crate) fn debug_put_char(_number: i64, character: u8) {
    let _ = std::io::stdout().write_all(&[character]);
}
