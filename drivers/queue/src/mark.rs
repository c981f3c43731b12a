// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Which requests are lost when a driver starts again.
//!
//! A driver that starts again goes on at the oldest request that the one before it had not taken. It says in a word of the
//! link which one that is. So the client knows of each request that is still under way, once it has taken the completions
//! that are there: what comes before that point will not complete any more. The driver has reset its device by then, which
//! so does not reach the client's memory for it either.

use crate::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Release};

/// A point in the requests of a client.
///
/// That of a request is behind its last record. Points are compared by their distance, which is far less than 2³¹ between
/// requests that are under way together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mark(u32);

impl Mark {
    /// The point behind the last record before `index`.
    pub(crate) fn new(index: u64) -> Self {
        Self(index as u32)
    }

    /// Whether a request with this mark comes before the point at which a driver began.
    #[must_use]
    pub fn is_before(self, begun: Self) -> bool {
        begun.0.wrapping_sub(self.0) < 1 << 31
    }
}

/// The client's view of the word.
pub(crate) struct Begun<'a> {
    word: &'a AtomicU64,
    seen: u64,
}

impl<'a> Begun<'a> {
    pub fn new(word: &'a AtomicU64) -> Self {
        Self { seen: word.load(Acquire), word }
    }

    /// Where the driver has begun, if that is news.
    pub fn news(&mut self) -> Option<Mark> {
        let index = self.word.load(Acquire);
        (core::mem::replace(&mut self.seen, index) != index).then(|| Mark::new(index))
    }
}

/// The driver begins at the record `index`.
pub(crate) fn begin(word: &AtomicU64, index: u64) {
    word.store(index, Release);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn marks_are_ordered_also_where_they_wrap() {
        for (request, begun, before) in [
            (0, 0, true),
            (1, 0, false),
            (5, 7, true),
            (7, 7, true),
            (8, 7, false),
            (u64::MAX, 3, true),
            (2, u64::MAX, false),
        ] {
            assert_eq!(Mark::new(request).is_before(Mark::new(begun)), before, "{request} {begun}");
        }
    }

    #[test]
    fn a_beginning_is_news_once() {
        let word = AtomicU64::new(0);
        let mut begun = Begun::new(&word);
        assert_eq!(begun.news(), None);
        begin(&word, 3);
        assert_eq!((begun.news(), begun.news()), (Some(Mark(3)), None));
    }
}
