// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Arm's PL011 UART (Arm DDI 0183).

use arm_pl011_uart::{
    DataBits, FifoLevel, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart as Registers, UniqueMmioPointer,
};
use core::ptr::NonNull;
use mux::Uart;

/// The UART's clock on QEMU `virt`, which is in its device tree and nowhere else to be read.
const CLOCK_HZ: u32 = 24_000_000;
const BAUD: u32 = 115_200;
const LINE: LineConfig = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
/// Received bytes wait for 4 of them or for a pause on the line (DDI 0183, UARTRXINTR and UARTRTINTR).
const RECEIVE: Interrupts = Interrupts::RXI.union(Interrupts::RTI);

/// The UART.
pub struct Pl011(Registers<'static>);

impl Pl011 {
    /// Sets the UART to 115200 baud, 8N1, with its interrupts off until [`Uart::end`].
    ///
    /// # Safety
    /// `registers` are a PL011's, mapped as device memory for good, and accessed by nothing else.
    pub unsafe fn new(registers: NonNull<PL011Registers>) -> Self {
        // SAFETY: the caller's promise.
        let mut uart = Registers::new(unsafe { UniqueMmioPointer::new(registers) });
        uart.set_interrupt_masks(Interrupts::empty());
        if let Err(error) = uart.enable(LINE, BAUD, CLOCK_HZ) {
            panic!("the UART's speed: {error}");
        }
        uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes4);
        Self(uart)
    }
}

impl Uart for Pl011 {
    fn receive(&mut self) -> Option<u8> {
        // A byte received in error is none: the line is noisy, or sent a break.
        while !self.0.is_rx_fifo_empty() {
            if let Ok(byte) = self.0.read_word() {
                return byte;
            }
        }
        None
    }

    fn send(&mut self, byte: u8) -> bool {
        let room = !self.0.is_tx_fifo_full();
        if room {
            self.0.write_word(byte);
        }
        room
    }

    fn begin(&mut self) {
        // The transmit interrupt is raised when the FIFO drains to its level, and stays until it is cleared (DDI 0183, UARTTXINTR).
        // That of reception goes with the bytes.
        self.0.clear_interrupts(Interrupts::TXI);
    }

    fn end(&mut self, wake_for_room: bool) {
        let transmit = if wake_for_room { Interrupts::TXI } else { Interrupts::empty() };
        self.0.set_interrupt_masks(RECEIVE | transmit);
    }
}
