// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The PL031 real-time clock (DDI 0224C).
//!
//! It counts seconds from zero at start, so a guest lives in 1970 until it sets the clock. The match interrupt is checked
//! when the guest exits, as there is no other time source here; it can be late, never early.

use super::Device;
use crate::exit::Width;
use crate::fdt::{CLOCK_PHANDLE, Full, Interrupt, Tree};
use crate::life::Lifecycle;
use crate::map;

/// A counter that only rises, and its frequency: the architecture's system counter.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The counter's value.
    pub now: fn() -> u64,
    /// Counts in a second.
    pub frequency: u64,
}

impl Clock {
    fn seconds(&self) -> u32 {
        ((self.now)() / self.frequency.max(1)) as u32
    }
}

/// `RTCPeriphID0` to `3` and `RTCPCellID0` to `3`.
const IDENTIFICATION: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The real-time clock.
#[derive(Debug)]
pub struct Pl031 {
    clock: Clock,
    /// What was last loaded.
    loaded: u32,
    /// The time, less the counter's seconds.
    offset: u32,
    /// The time up to which the match has been looked for.
    checked: u32,
    alarm: u32,
    mask: bool,
    /// Raw interrupt status.
    raised: bool,
}

impl Pl031 {
    /// The clock after reset: at zero, running.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let offset = 0u32.wrapping_sub(clock.seconds());
        Self { clock, loaded: 0, offset, checked: 0, alarm: 0, mask: false, raised: false }
    }

    /// Seconds.
    fn time(&self) -> u32 {
        self.clock.seconds().wrapping_add(self.offset)
    }

    /// Whether [`Pl031::poll`] could raise the interrupt line.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.mask && !self.raised
    }

    /// Raises the interrupt if the time of the match register has come since this was last asked.
    pub fn poll(&mut self) {
        let now = self.time();
        let until_alarm = self.alarm.wrapping_sub(self.checked);
        if until_alarm != 0 && until_alarm <= now.wrapping_sub(self.checked) {
            self.raised = true;
        }
        self.checked = now;
    }
}

impl Lifecycle for Pl031 {
    fn reset(&mut self) {
        *self = Self::new(self.clock);
    }
}

impl Device for Pl031 {
    fn read(&mut self, offset: u64, _width: Width) -> Option<u64> {
        let value = match offset {
            0x000 => self.time(),
            0x004 => self.alarm,
            0x008 => self.loaded,
            // Once started, it cannot be stopped.
            0x00c => 1,
            0x010 => self.mask.into(),
            0x014 => {
                self.poll();
                self.raised.into()
            }
            0x018 => (self.raised && self.mask).into(),
            0xfe0..=0xffc => (*IDENTIFICATION.get((offset - 0xfe0) as usize / 4)?).into(),
            _ => return None,
        };
        Some(value.into())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Option<()> {
        let value = value as u32;
        match offset {
            0x004 => {
                self.poll();
                self.alarm = value;
                self.raised |= value == self.checked;
            }
            0x008 => {
                self.loaded = value;
                self.offset = value.wrapping_sub(self.clock.seconds());
                self.checked = value;
                self.raised |= value == self.alarm;
            }
            0x000 | 0x00c => {}
            0x010 => self.mask = value & 1 != 0,
            0x01c => self.raised &= value & 1 == 0,
            _ => return None,
        }
        Some(())
    }

    fn line(&self) -> bool {
        self.raised && self.mask
    }

    fn describe(&self, tree: &mut Tree<'_>) -> Result<(), Full> {
        tree.node_at("pl031", map::PL031.base, |tree| {
            tree.strings("compatible", &["arm,pl031", "arm,primecell"])?;
            tree.reg(&[map::PL031])?;
            tree.interrupts(&[Interrupt::level(map::PL031_INTID)])?;
            tree.cells("clocks", &[CLOCK_PHANDLE])?;
            tree.strings("clock-names", &["apb_pclk"])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn it_counts_seconds_from_what_was_loaded_and_matches_once() {
        static NOW: AtomicU64 = AtomicU64::new(5_000);
        let mut rtc = Pl031::new(Clock { now: || NOW.load(Ordering::Relaxed), frequency: 1_000 });
        let read = |rtc: &mut Pl031, offset| rtc.read(offset, Width::Word).unwrap();
        assert_eq!(read(&mut rtc, 0), 0, "zero at start");
        rtc.write(0x8, Width::Word, 0xffff_fffe).unwrap();
        rtc.write(0x4, Width::Word, 1).unwrap();
        rtc.write(0x10, Width::Word, 1).unwrap();
        for (now, time, line) in [(6_999, 0xffff_ffff, false), (7_000, 0, false), (9_000, 2, true)] {
            NOW.store(now, Ordering::Relaxed);
            rtc.poll();
            assert_eq!((read(&mut rtc, 0), rtc.line()), (time, line), "at {now}");
        }
        rtc.write(0x1c, Width::Word, 1).unwrap();
        rtc.poll();
        assert!(!rtc.line(), "cleared, and the match is past");
        assert_eq!(read(&mut rtc, 0x8), 0xffff_fffe);
        rtc.reset();
        assert_eq!((read(&mut rtc, 0), read(&mut rtc, 0x8), rtc.is_armed()), (0, 0, false));
    }
}
