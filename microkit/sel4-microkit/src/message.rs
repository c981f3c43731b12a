// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Messages and the kernel's errors.

use core::fmt;

use crate::sys;

/// The longest message that the kernel transfers, in words (`seL4_MsgMaxLength`).
pub const MAX_MESSAGE_WORDS: usize = 120;

/// The label and length of a message; corresponds to `microkit_msginfo`.
///
/// The words of the message are the *message registers*: see [`get_mr`] and [`set_mr`].
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct MessageInfo(u64);

impl MessageInfo {
    const LABEL_SHIFT: u32 = 12;
    const LENGTH_MASK: u64 = 0x7f;

    /// A message of `count` words without capabilities. The kernel keeps the low 52 bits of `label` and transfers at most
    /// [`MAX_MESSAGE_WORDS`].
    pub const fn new(label: u64, count: usize) -> Self {
        let count = if count < MAX_MESSAGE_WORDS { count } else { MAX_MESSAGE_WORDS };
        Self(label << Self::LABEL_SHIFT | count as u64)
    }

    /// The label: the meaning of a protected call or its reply, or the kind of a fault.
    pub const fn label(self) -> u64 {
        self.0 >> Self::LABEL_SHIFT
    }

    /// How many message registers are filled.
    pub const fn count(self) -> usize {
        (self.0 & Self::LENGTH_MASK) as usize
    }

    #[cfg(any(target_os = "none", test))]
    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[cfg(target_os = "none")]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    /// The result of an invocation: the kernel answers with an error number as the label.
    #[inline]
    pub(crate) fn into_result(self) -> Result<(), Error> {
        match self.label() {
            0 => Ok(()),
            label => Err(Error::from_label(label)),
        }
    }
}

impl fmt::Debug for MessageInfo {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("MessageInfo").field("label", &self.label()).field("count", &self.count()).finish()
    }
}

/// Word `index` of the message at hand; corresponds to `microkit_mr_get`.
///
/// A received message stays until the next [`Channel::pp_call`](crate::Channel::pp_call) or [`poll`](crate::poll) replaces it; its
/// words from the fifth on also until the next [`smc`](crate::smc) or transfer of more registers than fit in four words.
///
/// # Panics
///
/// If `index` is not below [`MAX_MESSAGE_WORDS`].
#[inline]
pub fn get_mr(index: usize) -> u64 {
    assert!(index < MAX_MESSAGE_WORDS, "a message has 120 words");
    // SAFETY: the word lies in the IPC buffer, which is mapped for as long as the PD runs and to which no reference is ever
    // made; the kernel writes it only during a system call of this, the PD's only thread.
    unsafe { sys::message().add(index).read() }
}

/// Sets word `index` of the message to be sent next; corresponds to `microkit_mr_set`.
///
/// # Panics
///
/// If `index` is not below [`MAX_MESSAGE_WORDS`].
#[inline]
pub fn set_mr(index: usize, value: u64) {
    assert!(index < MAX_MESSAGE_WORDS, "a message has 120 words");
    // SAFETY: as in `get_mr`.
    unsafe { sys::message().add(index).write(value) }
}

/// Why the kernel refused an invocation (`seL4_Error`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Error {
    /// An argument has no meaning.
    InvalidArgument = 1,
    /// The invoked capability, or one that was passed, is of the wrong type. So is an empty slot.
    InvalidCapability = 2,
    /// The operation is not allowed on this object.
    IllegalOperation = 3,
    /// An argument is outside the allowed range.
    RangeError = 4,
    /// An argument is not aligned.
    AlignmentError = 5,
    /// A capability could not be looked up.
    FailedLookup = 6,
    /// The message is too short.
    TruncatedMessage = 7,
    /// The destination is in use. For [`Vcpu::inject_irq`](crate::Vcpu::inject_irq): the list register holds an active interrupt.
    DeleteFirst = 8,
    /// The object has derived capabilities.
    RevokeFirst = 9,
    /// There is not enough untyped memory.
    NotEnoughMemory = 10,
    /// A number that seL4 16.0.0 does not use.
    Unknown = u64::MAX,
}

impl Error {
    pub(crate) const fn from_label(label: u64) -> Self {
        match label {
            1 => Self::InvalidArgument,
            2 => Self::InvalidCapability,
            3 => Self::IllegalOperation,
            4 => Self::RangeError,
            5 => Self::AlignmentError,
            6 => Self::FailedLookup,
            7 => Self::TruncatedMessage,
            8 => Self::DeleteFirst,
            9 => Self::RevokeFirst,
            10 => Self::NotEnoughMemory,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "seL4 error {self:?}")
    }
}

impl core::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of `seL4_MessageInfo`: label in bits 63:12, length in bits 6:0, no capabilities between them.
    #[test]
    fn message_info_is_packed_as_the_kernel_packs_it() {
        for (label, count, word) in
            [(0, 0, 0), (1, 0, 0x1000), (0, 120, 120), (0xf_ffff_ffff_ffff, 3, 0xffff_ffff_ffff_f003), (2, 500, 0x2078)]
        {
            let info = MessageInfo::new(label, count);
            assert_eq!(info, MessageInfo::from_word(word));
            assert_eq!((info.label(), info.count()), (label, count.min(120)));
        }
        // extraCaps and capsUnwrapped are not part of either.
        assert_eq!(MessageInfo::from_word(0x5f81).count(), 1);
        assert_eq!(MessageInfo::from_word(0x5f81).label(), 5);
    }

    #[test]
    fn errors_are_read_from_their_number() {
        for number in 1..=10 {
            assert_eq!(Error::from_label(number) as u64, number);
        }
        assert_eq!(Error::from_label(11), Error::Unknown);
        assert_eq!(MessageInfo::new(0, 4).into_result(), Ok(()));
        assert_eq!(MessageInfo::new(4, 0).into_result(), Err(Error::RangeError));
    }

    #[test]
    fn message_registers_are_words_of_the_buffer() {
        for index in 0..MAX_MESSAGE_WORDS {
            set_mr(index, index as u64 * 3);
        }
        assert!((0..MAX_MESSAGE_WORDS).all(|index| get_mr(index) == index as u64 * 3));
        assert!(std::panic::catch_unwind(|| get_mr(MAX_MESSAGE_WORDS)).is_err());
    }
}
