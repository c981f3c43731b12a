// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! How often a driver is started again.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

/// Seconds in which a driver may be started again as often as its supervisor's `restart-limit` says.
pub const PERIOD: u64 = 10;

/// The faults of one driver.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// When the first one of the period was.
    since: u64,
    /// How many there were in it.
    count: u64,
}

impl Faults {
    /// None yet.
    pub const NONE: Self = Self { since: 0, count: 0 };

    /// Counts a fault at `now`, of a counter that counts `frequency` times a second: whether the driver may be started again,
    /// which is so for the first `limit` faults in [`PERIOD`] seconds.
    pub fn count(&mut self, now: u64, frequency: u64, limit: u64) -> bool {
        if now.wrapping_sub(self.since) >= PERIOD.saturating_mul(frequency) {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_started_again_as_often_as_the_limit_says() {
        // (seconds, limit, whether it may be started again), one after the other.
        for steps in [
            &[(100, 0, false)][..],
            &[(100, 2, true), (100, 2, true), (100, 2, false), (109, 2, false)],
            &[(100, 2, true), (109, 2, true), (110, 2, true), (111, 2, true), (119, 2, false), (120, 2, true)],
        ] {
            let mut faults = Faults::NONE;
            for (step, &(seconds, limit, allowed)) in steps.iter().enumerate() {
                assert_eq!(faults.count(seconds * 1000, 1000, limit), allowed, "step {step} of {steps:?}");
            }
        }
    }
}
