// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The PL011 UART (DDI 0183G), as much of it as has meaning without a wire: data, flags, interrupts, identification.
//!
//! The FIFOs are the console's queues. Baud rate and line control are stored and have no effect; the enable bits of the
//! control register are not asked, so that early consoles work before a driver sets them.

use super::Device;
use crate::exit::Width;
use crate::fdt::{CLOCK_PHANDLE, Full, Interrupt, Tree};
use crate::life::Lifecycle;
use crate::map;

/// Where the characters go and come from.
pub trait Console {
    /// Sends a character; false if there is no room, and then it was not taken.
    fn put(&mut self, byte: u8) -> bool;
    /// Whether [`Console::put`] would find room.
    fn has_room(&self) -> bool;
    /// Receives a character, if there is one.
    fn get(&mut self) -> Option<u8>;
    /// Whether [`Console::get`] would find a character.
    fn has_input(&self) -> bool;
}

/// Bits of `UARTFR`.
mod flag {
    pub const RX_EMPTY: u32 = 1 << 4;
    pub const TX_FULL: u32 = 1 << 5;
    pub const TX_EMPTY: u32 = 1 << 7;
}

/// Bits of the interrupt registers.
mod interrupt {
    pub const RX: u32 = 1 << 4;
    pub const TX: u32 = 1 << 5;
    pub const RX_TIMEOUT: u32 = 1 << 6;
    pub const ALL: u32 = 0x7ff;
}

/// `UARTPeriphID0` to `3` and `UARTPCellID0` to `3` of revision r1p5.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The UART.
#[derive(Debug)]
pub struct Pl011<C> {
    console: C,
    integer_divisor: u32,
    fractional_divisor: u32,
    line_control: u32,
    control: u32,
    fifo_level: u32,
    mask: u32,
    /// Raw status of the interrupts that are remembered; those of reception follow the input instead.
    raised: u32,
    dma_control: u32,
}

impl<C: Console> Pl011<C> {
    /// The UART after reset, on `console`.
    pub const fn new(console: C) -> Self {
        Self {
            console,
            integer_divisor: 0,
            fractional_divisor: 0,
            line_control: 0,
            control: 0x300,
            fifo_level: 0x12,
            mask: 0,
            raised: 0,
            dma_control: 0,
        }
    }

    /// The console's other side.
    pub fn console(&mut self) -> &mut C {
        &mut self.console
    }

    /// The console's state may have changed: raises the transmit interrupt if there is room again.
    pub fn poll(&mut self) {
        if self.console.has_room() {
            self.raised |= interrupt::TX;
        }
    }

    fn status(&self) -> u32 {
        let receive = if self.console.has_input() { interrupt::RX | interrupt::RX_TIMEOUT } else { 0 };
        self.raised | receive
    }
}

impl<C: Console> Lifecycle for Pl011<C> {
    fn reset(&mut self) {
        self.integer_divisor = 0;
        self.fractional_divisor = 0;
        self.line_control = 0;
        self.control = 0x300;
        self.fifo_level = 0x12;
        self.mask = 0;
        self.raised = 0;
        self.dma_control = 0;
    }
}

impl<C: Console> Device for Pl011<C> {
    fn read(&mut self, offset: u64, _width: Width) -> Option<u64> {
        let value = match offset {
            0x000 => self.console.get().unwrap_or(0).into(),
            // Errors of reception do not happen.
            0x004 => 0,
            0x018 => {
                let rx = if self.console.has_input() { 0 } else { flag::RX_EMPTY };
                rx | if self.console.has_room() { flag::TX_EMPTY } else { flag::TX_FULL }
            }
            0x020 => 0,
            0x024 => self.integer_divisor,
            0x028 => self.fractional_divisor,
            0x02c => self.line_control,
            0x030 => self.control,
            0x034 => self.fifo_level,
            0x038 => self.mask,
            0x03c => self.status(),
            0x040 => self.status() & self.mask,
            0x048 => self.dma_control,
            0xfe0..=0xffc => (*IDENTIFICATION.get((offset - 0xfe0) as usize / 4)?).into(),
            _ => return None,
        };
        Some(value.into())
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64) -> Option<()> {
        let value = value as u32;
        match offset {
            0x000 => {
                // A character for a full FIFO is lost, as on hardware; the driver looks at UARTFR first.
                self.console.put(value as u8);
                if self.console.has_room() {
                    self.raised |= interrupt::TX;
                } else {
                    self.raised &= !interrupt::TX;
                }
            }
            0x004 | 0x020 => {}
            0x024 => self.integer_divisor = value & 0xffff,
            0x028 => self.fractional_divisor = value & 0x3f,
            0x02c => self.line_control = value & 0xff,
            0x030 => self.control = value & 0xffff,
            0x034 => self.fifo_level = value & 0x3f,
            0x038 => self.mask = value & interrupt::ALL,
            0x044 => self.raised &= !value,
            0x048 => self.dma_control = value & 7,
            _ => return None,
        }
        Some(())
    }

    fn line(&self) -> bool {
        self.status() & self.mask != 0
    }

    fn describe(&self, tree: &mut Tree<'_>) -> Result<(), Full> {
        tree.node_at("pl011", map::PL011.base, |tree| {
            tree.strings("compatible", &["arm,pl011", "arm,primecell"])?;
            tree.reg(&[map::PL011])?;
            tree.interrupts(&[Interrupt::level(map::PL011_INTID)])?;
            tree.cells("clocks", &[CLOCK_PHANDLE, CLOCK_PHANDLE])?;
            tree.strings("clock-names", &["uartclk", "apb_pclk"])
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A console with room for a fixed number of characters.
    #[derive(Debug, Default)]
    pub(crate) struct FakeConsole {
        pub(crate) sent: Vec<u8>,
        pub(crate) room: usize,
        pub(crate) input: VecDeque<u8>,
    }

    impl Console for FakeConsole {
        fn put(&mut self, byte: u8) -> bool {
            if self.room == 0 {
                return false;
            }
            self.room -= 1;
            self.sent.push(byte);
            true
        }
        fn has_room(&self) -> bool {
            self.room > 0
        }
        fn get(&mut self) -> Option<u8> {
            self.input.pop_front()
        }
        fn has_input(&self) -> bool {
            !self.input.is_empty()
        }
    }

    fn uart(room: usize) -> Pl011<FakeConsole> {
        Pl011::new(FakeConsole { room, ..FakeConsole::default() })
    }

    #[test]
    fn what_is_written_is_sent_and_a_full_console_holds_the_guest_back() {
        let mut uart = uart(2);
        uart.write(0x38, Width::Word, interrupt::TX.into()).unwrap();
        for (byte, flags, line) in [(b'a', flag::TX_EMPTY, true), (b'b', flag::TX_FULL, false)] {
            uart.write(0, Width::Byte, byte.into()).unwrap();
            assert_eq!(uart.read(0x18, Width::Word), Some(u64::from(flags | flag::RX_EMPTY)));
            assert_eq!(uart.line(), line);
        }
        uart.console().room = 1;
        uart.poll();
        assert!(uart.line(), "room again: the transmit interrupt");
        assert_eq!(uart.console().sent, b"ab");
    }

    #[test]
    fn input_raises_the_receive_interrupt_until_it_is_read() {
        let mut uart = uart(1);
        uart.write(0x38, Width::Word, interrupt::RX.into()).unwrap();
        uart.console().input.extend(*b"xy");
        for byte in *b"xy" {
            assert!(uart.line());
            uart.write(0x44, Width::Word, 0x7ff).unwrap();
            assert!(uart.line(), "clearing does not help while characters wait");
            assert_eq!(uart.read(0, Width::Word), Some(byte.into()));
        }
        assert!(!uart.line());
        assert_eq!(uart.read(0, Width::Word), Some(0), "an empty FIFO reads as zero");
    }

    #[test]
    fn the_primecell_identification_is_that_of_a_pl011() {
        let mut uart = uart(0);
        let id = [0xfe0, 0xfe4, 0xfe8, 0xfec].map(|offset| uart.read(offset, Width::Word).unwrap());
        assert_eq!(id, [0x11, 0x10, 0x34, 0x00]);
        assert_eq!(uart.read(0x100, Width::Word), None, "no such register");
    }

    #[test]
    fn reset_forgets_everything_but_the_console() {
        let mut uart = uart(9);
        for offset in [0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x48] {
            uart.write(offset, Width::Word, u64::MAX).unwrap();
        }
        uart.write(0, Width::Byte, 1).unwrap();
        uart.reset();
        assert!(!uart.line());
        for (offset, value) in [(0x24, 0), (0x2c, 0), (0x30, 0x300), (0x34, 0x12), (0x38, 0), (0x3c, 0)] {
            assert_eq!(uart.read(offset, Width::Word), Some(value), "offset {offset:#x}");
        }
    }
}
