// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the fuzzer runs: each function takes any bytes as what a hostile guest does, and checks what must hold then.
//!
//! `make fuzz` explores, two minutes for each target; `cargo test` replays what was found worth keeping, in
//! `fuzz/corpus/NAME`, and checks that it reaches every error that the target's module has. What a corpus reaches is printed
//! by `make fuzz`. To add to the corpora what `make fuzz` has found and they do not reach:
//!
//! ```sh
//! FOUND=$PWD/build/fuzz/found cargo test -p vmm-core --lib -- --ignored what_the_fuzzer_found
//! ```

use crate::device::pl011::Console;
use crate::device::pl031::Clock;
use crate::exit::{Exit, Reg, Regs, Resume, SysReg, Width};
use crate::gic::v3::Generator;
use crate::gic::{Gic, IntId, Version};
use crate::instruction::{LoadStore, oracle};
use crate::machine::Machine;
use crate::psci::{self, Call, NOT_SUPPORTED, State};
use crate::{VcpuId, map, trng};
use queue::AtomicU64;
use std::collections::HashMap;
use std::vec::Vec;

mod queues;
mod ring;
mod virtio;

pub use queues::queues;
pub use ring::rings;
pub use virtio::{blk, net, registers};

use crate::virtio::mmio::PAGE_WORDS;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;
use std::fmt::Debug;

/// The largest link that a target has.
const REGION: usize = queue::net::MIN_SIZE;

std::thread_local! {
    /// Memory for a link and for a register page, which live as long as the program: the devices want that.
    static MEMORY: (&'static [AtomicU64], &'static [AtomicU32]) = (
        Vec::leak((0..REGION / 8).map(|_| AtomicU64::new(0)).collect()),
        Vec::leak((0..PAGE_WORDS).map(|_| AtomicU32::new(0)).collect()),
    );
}

/// The memory of a link, of `size` bytes, in place of the one before.
fn zeroed(size: usize) -> &'static [AtomicU64] {
    let (region, _) = MEMORY.with(|memory| *memory);
    region.iter().for_each(|word| word.store(0, Relaxed));
    &region[..size / 8]
}

/// A register page, in place of the one before.
fn page() -> &'static [AtomicU32] {
    let (_, page) = MEMORY.with(|memory| *memory);
    page.iter().for_each(|word| word.store(0, Relaxed));
    page
}

/// Notes, for the list of what a corpus covers, that something happened.
#[cfg(test)]
fn saw(what: impl Debug) {
    tests::SEEN.with_borrow_mut(|seen| seen.insert(std::format!("{what:?}").trim_matches('"').to_owned()));
}

/// The fuzzer has a list of its own.
#[cfg(not(test))]
fn saw(_what: impl Debug) {}

/// Bytes that are read one value after the other; behind their end everything is zero.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let (now, rest) = self.0.split_at(self.0.len().min(N));
        bytes[..now.len()].copy_from_slice(now);
        self.0 = rest;
        bytes
    }

    fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }

    fn half(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn double(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn width(&mut self) -> Width {
        [Width::Byte, Width::Half, Width::Word, Width::Double][usize::from(self.byte() % 4)]
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Registers that remember what they were set to.
#[derive(Default)]
struct Registers(HashMap<(u8, u8), u64>);

impl Registers {
    fn key(reg: Reg) -> (u8, u8) {
        match reg {
            Reg::Pc => (0, 0),
            Reg::Spsr => (1, 0),
            Reg::X(n) => {
                assert!(n < 31, "there is no register x{n}");
                (2, n)
            }
            Reg::Sp0 => (3, 0),
            Reg::Sys(register) => (4, register as u8),
        }
    }
}

impl Regs for Registers {
    fn get(&mut self, reg: Reg) -> u64 {
        self.0.get(&Self::key(reg)).copied().unwrap_or(0)
    }

    fn set(&mut self, reg: Reg, value: u64) {
        self.0.insert(Self::key(reg), value);
    }
}

/// Stores and loads in GICv2's distributor, ends of interrupts, lines and timers, by three vCPUs with four list registers.
pub fn distributor(bytes: &[u8]) {
    interrupts(Version::V2, bytes);
}

/// The same of GICv3: its distributor, its redistributors, and the system registers that generate interrupts.
pub fn redistributor(bytes: &[u8]) {
    interrupts(Version::V3, bytes);
}

/// A list register is never given out twice, an interrupt is never in two, and what is injected is legal.
fn interrupts(version: Version, bytes: &[u8]) {
    const VCPUS: usize = 3;
    const LISTS: usize = 4;
    let mut bytes = Bytes(bytes);
    let mut gic = Gic::new(version, VCPUS);
    gic.set_list_registers(LISTS);
    let mut lists = [[None; LISTS]; VCPUS];
    while !bytes.is_empty() {
        let index = usize::from(bytes.byte()) % VCPUS;
        let Some(vcpu) = VcpuId::new(index) else { return };
        // So that most offsets are near registers of some frame.
        let offset = u64::from(bytes.half()) | u64::from(bytes.byte() % 7) << 16;
        let (near, width, value) = (offset & 0x0fff, bytes.width(), bytes.double());
        match (bytes.byte() % 10, version) {
            (0 | 1, Version::V2) => drop(gic.write_v2(vcpu, near, width, value)),
            (0 | 1, Version::V3) => drop(gic.write_v3(vcpu, offset & 0xffff, width, value)),
            (2, Version::V2) => drop(gic.read_v2(vcpu, offset, width)),
            (2, Version::V3) => drop((gic.read_v3(vcpu, offset, width), gic.read_redistributor(offset, width))),
            (3 | 4, Version::V2) => drop(gic.write_v2(vcpu, offset, width, value)),
            (3 | 4, Version::V3) => drop(gic.write_redistributor(offset, width, value)),
            (5, Version::V2) => gic.set_masked(vcpu, value & 1 != 0),
            (5, Version::V3) => {
                let generators = [Generator::Group0, Generator::Group1, Generator::Other];
                gic.generate_v3(vcpu, generators[(offset % 3) as usize], value);
            }
            (6, _) => gic.set_line(IntId::spi((value % 224) as u8), offset & 1 != 0),
            (7, _) => gic.timer_fired(vcpu),
            _ => {
                let lr = (value % 6) as u8;
                gic.end_of_interrupt(vcpu, lr);
                saw("ended");
                if let Some(list) = lists[index].get_mut(usize::from(lr)) {
                    *list = None;
                }
            }
        }
        while let Some(injection) = gic.next_injection(vcpu) {
            assert_eq!(injection.vcpu, vcpu);
            assert!(injection.priority < 31 && injection.group < 2, "{injection:?}");
            let list = &mut lists[index][usize::from(injection.lr)];
            assert_eq!(*list, None, "list register {} is in use", injection.lr);
            *list = Some(injection.intid);
            saw("injected");
            if lists[index].iter().all(Option::is_some) {
                saw("all list registers in use");
            }
            let shared = injection.intid.id() >= 32;
            let others = lists.iter().enumerate().filter(|(n, _)| shared || *n == index);
            let holders = others.flat_map(|(_, lists)| lists).filter(|list| **list == Some(injection.intid)).count();
            assert_eq!(holders, 1, "interrupt {} is listed twice", injection.intid.id());
        }
        assert!(gic.take_timer_acks() < 1 << VCPUS);
    }
}

/// The arguments of a firmware call: what it starts exists, is off and begins in RAM, and what is not known is answered so.
pub fn psci(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let vcpus = usize::from(bytes.byte() % 8) + 1;
    let state = State {
        caller: VcpuId::BOOT,
        vcpus,
        on: bytes.byte() & u8::MAX >> (8 - vcpus) | VcpuId::BOOT.bit(),
        ram: u64::from(bytes.word()),
    };
    while !bytes.is_empty() {
        let mut regs = Registers::default();
        // Half of them in the ranges that have functions.
        let function = match bytes.byte() % 6 {
            0 => 0x8400_0000 | u32::from(bytes.byte()),
            1 => 0xc400_0000 | u32::from(bytes.byte()),
            2 => 0x8000_0000 | u32::from(bytes.half()),
            _ => bytes.word(),
        };
        regs.set(Reg::X(0), u64::from(function) | u64::from(bytes.word()) << 32);
        for n in 1..4 {
            regs.set(Reg::X(n), bytes.double());
        }
        match psci::call(state, &mut regs) {
            Call::Return(value) => {
                let status = value.cast_signed();
                assert!((-9..=0x7fff_ffff).contains(&status), "{function:#x} answers {status}");
                saw(std::format!("returns {status}"));
            }
            Call::Start(start) => {
                assert!(start.vcpu.index() < vcpus && state.on & start.vcpu.bit() == 0);
                assert!(start.entry.wrapping_sub(map::RAM_BASE) < state.ram && start.entry.is_multiple_of(4));
                saw("starts a vCPU");
            }
            Call::Entropy => {
                let mut given = 0..bytes.byte() % 4;
                trng::call(&mut regs, || given.next().map(u64::from));
                let status = regs.get(Reg::X(0)).cast_signed();
                assert!((-3..=0x7fff_ffff).contains(&status), "{function:#x} answers {status}");
                saw(std::format!("has entropy and returns {status}"));
            }
            Call::Suspend => saw("suspends"),
            Call::Off => saw("turns off"),
            Call::System(_) => saw("resets or turns the guest off"),
        }
        // Only the architecture's own service and the standard one have functions (DEN0028E 6).
        if !matches!(function >> 24, 0x80 | 0x84 | 0xc4) {
            assert_eq!(psci::call(state, &mut regs), Call::Return(NOT_SUPPORTED), "{function:#x}");
        }
    }
}

/// Words as instructions: an independent disassembler says the same of them.
pub fn instruction(bytes: &[u8]) {
    let (words, _) = bytes.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word);
        let decoded = LoadStore::decode(word);
        saw(if decoded.is_some() { "decoded" } else { "unknown" });
        if oracle::knows(word) {
            assert_eq!(decoded.map(|insn| oracle::assembly(&insn)), oracle::disassemble(word), "{word:#010x}");
        }
        if let Some(insn) = decoded {
            let mut regs = Registers::default();
            insn.virtual_address(&mut regs);
            insn.write_back(&mut regs);
        }
    }
}

/// A console that takes everything and says nothing.
struct Silence;

impl Console for Silence {
    fn put(&mut self, _byte: u8) -> bool {
        true
    }
    fn has_room(&self) -> bool {
        true
    }
    fn get(&mut self) -> Option<u8> {
        None
    }
    fn has_input(&self) -> bool {
        false
    }
}

/// Exits of every kind, with any registers, instructions and translation tables: each has an outcome, and a vCPU goes on
/// only where it may.
pub fn exits(bytes: &[u8]) {
    const RAM: usize = 0x1_0000;
    let mut bytes = Bytes(bytes);
    let version = if bytes.byte() & 1 == 0 { Version::V2 } else { Version::V3 };
    let mut ram: Vec<u8> = Vec::new();
    // Words of RAM that are either instructions or descriptors that lead back into it.
    for n in 0..RAM as u64 / 8 {
        let word = if n < 16 { bytes.double() } else { n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        ram.extend((if word & 4 == 0 { word & 0xffff | map::RAM_BASE | 3 } else { word }).to_le_bytes());
    }
    let mut machine = Machine::new(&mut ram[..], 2, version, Silence, Clock { now: || 0, frequency: 1 });
    // What is near one of them is also what the guest has in its registers: the last but one are functions of PSCI.
    let devices = [
        map::GICD.base,
        map::GICR.base,
        map::PL011.base,
        map::PL031.base,
        map::RAM_BASE,
        0x0980_0000,
        0x8400_0000,
        !0xfff,
    ];
    while !bytes.is_empty() {
        let Some(vcpu) = VcpuId::new(usize::from(bytes.byte() % 2)) else { return };
        let mut regs = Registers::default();
        let address = map::RAM_BASE | u64::from(bytes.half() & 0x7c);
        for (register, value) in [
            (SysReg::Sctlr, u64::from(bytes.byte() & 1) | u64::from(bytes.byte() & 1) << 25),
            (SysReg::Tcr, bytes.double()),
            (SysReg::Ttbr0, map::RAM_BASE | u64::from(bytes.half())),
            (SysReg::Ttbr1, bytes.double()),
        ] {
            regs.set(Reg::Sys(register), value);
        }
        let at = devices[usize::from(bytes.byte() % 8)].wrapping_add(u64::from(bytes.half()));
        for n in 0..31 {
            regs.set(Reg::X(n), at);
        }
        regs.set(Reg::Pc, address);
        regs.set(Reg::Spsr, u64::from(bytes.half()));
        let esr = u64::from(bytes.word());
        let exit = match bytes.byte() % 12 {
            0 => Exit::Maintenance { lr: Some(bytes.byte()) },
            1 => Exit::Maintenance { lr: None },
            2 => Exit::Timer,
            3 => Exit::Hvc,
            4 => Exit::Trap { esr },
            5 => Exit::Abort { gpa: at, esr, fetch: true },
            _ => Exit::Abort { gpa: at, esr: 0x24 << 26 | esr & 0x3ff_ffff, fetch: false },
        };
        let before = regs.get(Reg::Pc);
        let resume = machine.exit(vcpu, exit, &mut regs);
        if resume == Resume::Advance {
            assert_eq!(regs.get(Reg::Pc), before, "{exit:?}");
        }
        while machine.next_injection(vcpu).is_some() {}
        saw(resume);
        let effects = machine.effects();
        if let Some(event) = effects.event {
            saw(std::format!("{event:?}").split(' ').next().unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;
