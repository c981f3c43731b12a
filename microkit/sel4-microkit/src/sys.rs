// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The system calls. AArch64 convention: x0 is the capability and returns the badge, x1 the message info, x2 to x5 the first
//! four words of the message, x6 the reply object, x7 the call's number, x8 the destination of the send half of NBSendRecv.
//! The kernel preserves every other register and the flags.

use core::arch::asm;

use crate::abi;
use crate::message::MessageInfo;

/// What a receiving call returns.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    pub(crate) badge: u64,
    pub(crate) info: MessageInfo,
    pub(crate) words: [u64; 4],
}

/// The words of the IPC buffer's message, after its tag.
#[inline(always)]
pub(crate) fn message() -> *mut u64 {
    core::ptr::with_exposed_provenance_mut::<u64>(abi::IPC_BUFFER).wrapping_add(1)
}

/// `seL4_Send` without words.
#[inline(always)]
pub(crate) fn send(capability: u64, info: MessageInfo) {
    // SAFETY: the kernel reads the registers named and changes at most those marked; it writes no memory of this PD.
    unsafe {
        asm!("svc #0", inlateout("x0") capability => _, inlateout("x1") info.word() => _, in("x7") abi::SYS_SEND,
             options(nostack, preserves_flags));
    }
}

/// `seL4_Send` of a message, whose first four words are in `words`.
#[inline(always)]
pub(crate) fn send_message(capability: u64, info: MessageInfo, words: [u64; 4]) {
    // SAFETY: as for `send`.
    unsafe { message_call::<{ abi::SYS_SEND }>(capability, info, words, 0) };
}

/// `seL4_NBSend`: as `send_message`, but an invocation's error is dropped silently.
#[inline(always)]
pub(crate) fn nb_send(capability: u64, info: MessageInfo, words: [u64; 4]) {
    // SAFETY: as for `send`.
    unsafe { message_call::<{ abi::SYS_NB_SEND }>(capability, info, words, 0) };
}

/// `seL4_Call`: an invocation with its result, or a protected procedure call.
#[inline(always)]
pub(crate) fn call(capability: u64, info: MessageInfo, words: [u64; 4]) -> Received {
    // SAFETY: the kernel changes the registers marked and writes the IPC buffer, which is only accessed by raw pointers.
    unsafe { message_call::<{ abi::SYS_CALL }>(capability, info, words, 0) }
}

/// `seL4_ReplyRecv` on the PD's input.
#[inline(always)]
pub(crate) fn reply_recv(info: MessageInfo, words: [u64; 4]) -> Received {
    // SAFETY: as for `call`.
    unsafe { message_call::<{ abi::SYS_REPLY_RECV }>(abi::INPUT, info, words, 0) }
}

/// `seL4_NBSendRecv`: sends to `capability`, dropping errors, and receives on the PD's input.
#[inline(always)]
pub(crate) fn nb_send_recv(capability: u64, info: MessageInfo, words: [u64; 4]) -> Received {
    // SAFETY: as for `call`.
    unsafe { message_call::<{ abi::SYS_NB_SEND_RECV }>(abi::INPUT, info, words, capability) }
}

/// `seL4_Recv` on the PD's input.
#[inline(always)]
pub(crate) fn recv() -> Received {
    // SAFETY: as for `call`.
    unsafe { receive::<{ abi::SYS_RECV }>() }
}

/// `seL4_NBRecv` on the PD's input: the badge is 0 if there was nothing.
#[inline(always)]
pub(crate) fn nb_recv() -> Received {
    // SAFETY: as for `call`.
    unsafe { receive::<{ abi::SYS_NB_RECV }>() }
}

/// One character to the kernel's serial port.
#[inline(always)]
pub(crate) fn debug_put_char(number: i64, character: u8) {
    // SAFETY: the kernel reads x0.
    unsafe { asm!("svc #0", in("x0") u64::from(character), in("x7") number, options(nostack, preserves_flags)) };
}

/// # Safety
///
/// `NUMBER` is a call with this convention.
#[inline(always)]
unsafe fn message_call<const NUMBER: i64>(
    capability: u64,
    info: MessageInfo,
    mut words: [u64; 4],
    destination: u64,
) -> Received {
    let (badge, tag);
    // SAFETY: by the caller. Memory may change: the assembly is not `nomem`.
    unsafe {
        asm!("svc #0", inlateout("x0") capability => badge, inlateout("x1") info.word() => tag,
             inlateout("x2") words[0], inlateout("x3") words[1], inlateout("x4") words[2], inlateout("x5") words[3],
             in("x6") abi::REPLY, in("x7") NUMBER, in("x8") destination, options(nostack, preserves_flags));
    }
    Received { badge, info: MessageInfo::from_word(tag), words }
}

/// # Safety
///
/// As for [`message_call`].
#[inline(always)]
unsafe fn receive<const NUMBER: i64>() -> Received {
    let (badge, tag);
    let mut words = [0; 4];
    // SAFETY: as in `message_call`.
    unsafe {
        asm!("svc #0", inlateout("x0") abi::INPUT => badge, lateout("x1") tag,
             lateout("x2") words[0], lateout("x3") words[1], lateout("x4") words[2], lateout("x5") words[3],
             in("x6") abi::REPLY, in("x7") NUMBER, options(nostack, preserves_flags));
    }
    Received { badge, info: MessageInfo::from_word(tag), words }
}
