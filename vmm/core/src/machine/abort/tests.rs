// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use super::*;
use crate::device::pl011::tests::FakeConsole;
use crate::device::pl031::Clock;
use crate::exit::{Exit, SysReg};
use crate::gic::Version;
use crate::machine::tests::FakeRegs;
use crate::map;

const BOOT: VcpuId = VcpuId::BOOT;
/// Where the instruction is.
const PC: u64 = map::RAM_BASE + 0x1000;
/// A register of the distributor that keeps what is written: the priorities of interrupts 32 to 35, and on.
const DEVICE: u64 = map::GICD.base + 0x420;
/// Where nothing is.
const NOWHERE: u64 = 0x0980_0000;
const VBAR: u64 = 0x4008_0000;
const STORE: u64 = 1 << 6;

struct Bench {
    ram: Vec<u8>,
    regs: FakeRegs,
    esr: u64,
}

impl Bench {
    /// A vCPU at EL1 with its MMU off that has executed `word`, with x1 as given.
    fn new(word: u32, x1: u64, write: bool) -> Self {
        let mut ram = vec![0; 4 << 20];
        ram[0x1000..0x1004].copy_from_slice(&word.to_le_bytes());
        let mut regs = FakeRegs::default();
        for (register, value) in [
            (Reg::Pc, PC),
            (Reg::Spsr, 0x3c5),
            (Reg::X(1), x1),
            (Reg::X(2), 0x5050_5050_4040_4040),
            (Reg::X(3), 0x7070_7070_6060_6060),
            (Reg::Sys(SysReg::Sp), x1),
            (Reg::Sys(SysReg::Vbar), VBAR),
        ] {
            regs.set(register, value);
        }
        Self { ram, regs, esr: 0x24 << 26 | 1 << 25 | 7 | if write { STORE } else { 0 } }
    }

    /// What comes of the abort at `gpa`: the resumption, and the words from [`DEVICE`] on.
    fn abort(&mut self, gpa: u64) -> (Resume, [u64; 4], Option<Event>) {
        let console = FakeConsole { room: 64, ..FakeConsole::default() };
        let clock = Clock { now: || 0, frequency: 1 };
        let mut machine = Machine::new(&mut self.ram[..], 2, Version::V2, console, clock);
        for (i, word) in [0x1010_1010, 0x8080_8080, 0x2020_2020, 0x3030_3030].into_iter().enumerate() {
            let offset = DEVICE - map::GICD.base + 4 * i as u64;
            machine.gic.write_v2(BOOT, offset, crate::exit::Width::Word, word).unwrap();
        }
        let resume = machine.exit(BOOT, Exit::Abort { gpa, esr: self.esr, fetch: false }, &mut self.regs);
        let read =
            |i: u64| machine.gic.read_v2(BOOT, DEVICE - map::GICD.base + 4 * i, crate::exit::Width::Word).unwrap();
        let words = [0, 1, 2, 3].map(read);
        (resume, words, machine.effects().event)
    }

    /// ESR without EC and IL, and FAR if it is valid, of the exception that the guest takes.
    fn taken(&mut self) -> (u64, Option<u64>) {
        assert_eq!(self.regs.get(Reg::Pc), VBAR + 0x200);
        assert_eq!(self.regs.get(Reg::Sys(SysReg::Elr)), PC);
        let esr = self.regs.get(Reg::Sys(SysReg::Esr));
        assert_eq!(esr >> 26, 0x25);
        let far = (esr & 1 << 10 == 0).then(|| self.regs.get(Reg::Sys(SysReg::Far)));
        (esr & 0x1ff_ffff, far)
    }
}

#[test]
fn loads_that_the_processor_does_not_describe_are_decoded() {
    // (instruction, its word, x1, address, x2, x3, x1 or sp afterwards)
    let keep = 0x7070_7070_6060_6060;
    let cases: &[(&str, u32, u64, u64, u64, u64, u64)] = &[
        ("ldr w2, [x1], #4", 0xb840_4422, DEVICE, DEVICE, 0x1010_1010, keep, DEVICE + 4),
        ("ldr w2, [x1, #4]!", 0xb840_4c22, DEVICE, DEVICE + 4, 0x8080_8080, keep, DEVICE + 4),
        ("ldrsw x2, [x1, #4]!", 0xb880_4c22, DEVICE, DEVICE + 4, 0xffff_ffff_8080_8080, keep, DEVICE + 4),
        ("ldrsb w2, [x1, #5]!", 0x38c0_5c22, DEVICE, DEVICE + 5, 0xffff_ff80, keep, DEVICE + 5),
        ("ldr x2, [x1], #-8", 0xf85f_8422, DEVICE, DEVICE, 0x8080_8080_1010_1010, keep, DEVICE - 8),
        ("ldp w2, w3, [x1]", 0x2940_0c22, DEVICE, DEVICE, 0x1010_1010, 0x8080_8080, DEVICE),
        (
            "ldp x2, x3, [x1], #16",
            0xa8c1_0c22,
            DEVICE,
            DEVICE,
            0x8080_8080_1010_1010,
            0x3030_3030_2020_2020,
            DEVICE + 16,
        ),
        ("ldpsw x2, x3, [x1]", 0x6940_0c22, DEVICE, DEVICE, 0x1010_1010, 0xffff_ffff_8080_8080, DEVICE),
        ("ldxr w2, [x1]", 0x885f_7c22, DEVICE, DEVICE, 0x1010_1010, keep, DEVICE),
        ("ldaxp w2, w3, [x1]", 0x887f_8c22, DEVICE, DEVICE, 0x1010_1010, 0x8080_8080, DEVICE),
        ("ldtr w2, [x1, #8]", 0xb840_8822, DEVICE, DEVICE + 8, 0x2020_2020, keep, DEVICE),
        ("ldr w2, [sp], #4", 0xb840_47e2, DEVICE, DEVICE, 0x1010_1010, keep, DEVICE),
    ];
    for (name, word, x1, gpa, x2, x3, after) in cases {
        let mut bench = Bench::new(*word, *x1, false);
        assert_eq!(bench.abort(*gpa).0, Resume::Advance, "{name}");
        let got = [2, 3, 1].map(|n| bench.regs.get(Reg::X(n)));
        assert_eq!(got, [*x2, *x3, *after], "{name}");
        let stack = if name.contains("sp") { DEVICE + 4 } else { DEVICE };
        assert_eq!(bench.regs.get(Reg::Sys(SysReg::Sp)), stack, "{name}");
    }
}

#[test]
fn stores_that_the_processor_does_not_describe_are_decoded() {
    let old = [0x1010_1010, 0x8080_8080, 0x2020_2020, 0x3030_3030];
    let one = [0x4040_4040, old[1], old[2], old[3]];
    // (instruction, its word, words of the device, x1 afterwards)
    let cases: &[(&str, u32, [u64; 4], u64)] = &[
        ("str w2, [x1], #4", 0xb800_4422, one, DEVICE + 4),
        ("strh w2, [x1, #0]!", 0x7800_0c22, [0x1010_4040, old[1], old[2], old[3]], DEVICE),
        ("stp w2, w3, [x1]", 0x2900_0c22, [0x4040_4040, 0x6060_6060, old[2], old[3]], DEVICE),
        ("stp x2, x3, [x1], #16", 0xa881_0c22, [0x4040_4040, 0x5050_5050, 0x6060_6060, 0x7070_7070], DEVICE + 16),
        ("stp w2, wzr, [x1]", 0x2900_7c22, [0x4040_4040, 0, old[2], old[3]], DEVICE),
        ("stxr w3, w2, [x1], which nothing precedes", 0x8803_7c22, old, DEVICE),
    ];
    for (name, word, words, after) in cases {
        let mut bench = Bench::new(*word, DEVICE, true);
        let (resume, got, event) = bench.abort(DEVICE);
        assert_eq!((resume, got, event), (Resume::Advance, *words, None), "{name}");
        assert_eq!(bench.regs.get(Reg::X(1)), *after, "{name}");
    }
}

#[test]
fn an_exclusive_store_is_done_only_after_the_load() {
    let mut ram = vec![0; 4 << 20];
    for (i, word) in [0x885f_7c22u32, 0x8803_7c22, 0xb900_0022].into_iter().enumerate() {
        ram[0x1000 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
    }
    let console = FakeConsole { room: 64, ..FakeConsole::default() };
    let mut machine = Machine::new(&mut ram[..], 2, Version::V2, console, Clock { now: || 0, frequency: 1 });
    // Executes the load, the exclusive store or the plain store; returns the status.
    let mut run = |vcpu, index: u64| {
        let mut regs = FakeRegs::default();
        for (register, value) in
            [(Reg::Pc, PC + 4 * index), (Reg::Spsr, 0x3c5), (Reg::X(1), DEVICE), (Reg::X(2), index), (Reg::X(3), 9)]
        {
            regs.set(register, value);
        }
        let write = if index > 0 { STORE } else { 0 };
        let described = if index == 2 { 1 << 24 | 2 << 22 | 2 << 16 } else { 0 };
        let esr = 0x24 << 26 | 1 << 25 | 7 | write | described;
        assert_eq!(machine.exit(vcpu, Exit::Abort { gpa: DEVICE, esr, fetch: false }, &mut regs), Resume::Advance);
        regs.get(Reg::X(3))
    };
    let one = VcpuId::new(1).unwrap();
    let (load, store, plain) = (0, 1, 2);
    // (who, what, status): one sequence.
    for (step, (vcpu, what, status)) in [
        (BOOT, load, 9),
        (BOOT, store, 0),
        (BOOT, store, 1),
        (BOOT, load, 9),
        (one, store, 1),
        (BOOT, store, 1),
        (BOOT, load, 9),
        (one, plain, 9),
        (BOOT, store, 1),
        (BOOT, load, 9),
        (one, load, 9),
        (one, store, 0),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(run(vcpu, what), status, "step {step}");
    }
}

#[test]
fn what_cannot_be_emulated_aborts() {
    let last = map::PL011.base + map::PL011.size - 4;
    // (what, instruction, x1, gpa, write, ESR, FAR, what the operator is told)
    let device = Some("guest accessed the device at");
    let nothing = Some("guest accessed memory at");
    type Case = (&'static str, u32, u64, u64, bool, u64, Option<u64>, Option<&'static str>);
    let cases: &[Case] = &[
        ("str q0, [x1]", 0x3d80_0020, DEVICE, DEVICE, true, 0x50, Some(DEVICE), device),
        ("ldr d0, [x1, #8]", 0xfd40_0420, DEVICE - 8, DEVICE, false, 0x10, Some(DEVICE), device),
        ("ld1 {v0.16b}, [x1]", 0x4c40_7020, DEVICE, DEVICE, false, 0x10, Some(DEVICE), device),
        ("ldadd w2, w3, [x1]", 0xb822_0023, DEVICE, DEVICE, true, 0x75, Some(DEVICE), device),
        ("ldp w2, w3 across pages", 0x2940_0c22, last, last, false, 0x10, Some(last), nothing),
        ("ldp where nothing is", 0x2940_0c22, NOWHERE, NOWHERE, false, 0x10, Some(NOWHERE), nothing),
        ("ldr, post-indexed, where nothing is", 0xb840_4422, NOWHERE, NOWHERE, false, 0x10, Some(NOWHERE), nothing),
        ("ldr, but the abort was of a store", 0xb840_4422, DEVICE, DEVICE, true, 0x450, None, nothing),
        ("ldr, but of another address", 0xb840_4422, DEVICE, DEVICE + 4, false, 0x410, None, nothing),
        ("no load or store", 0xd503_201f, DEVICE, DEVICE, false, 0x410, None, nothing),
    ];
    for (name, word, x1, gpa, write, esr, far, told) in cases {
        let mut bench = Bench::new(*word, *x1, *write);
        let before = [1, 2, 3].map(|n| bench.regs.get(Reg::X(n)));
        let (resume, words, event) = bench.abort(*gpa);
        assert_eq!(resume, Resume::Retry, "{name}");
        assert_eq!(bench.taken(), (*esr, *far), "{name}");
        assert_eq!([1, 2, 3].map(|n| bench.regs.get(Reg::X(n))), before, "{name}");
        assert_eq!(words, [0x1010_1010, 0x8080_8080, 0x2020_2020, 0x3030_3030], "{name}");
        let event = event.map(|event| event.to_string()).unwrap_or_default();
        assert!(told.is_some_and(|told| event.starts_with(told)), "{name}: {event}");
    }
}

/// Tables with the first GiB at `va`, mapped by one block, in a space of 39 bits; MMU on.
fn map_block(bench: &mut Bench, descriptor: u64) {
    bench.ram[0x2008..0x2010].copy_from_slice(&descriptor.to_le_bytes());
    for (register, value) in [(SysReg::Sctlr, 1), (SysReg::Tcr, 25), (SysReg::Ttbr0, map::RAM_BASE + 0x2000)] {
        bench.regs.set(Reg::Sys(register), value);
    }
}

#[test]
fn with_the_mmu_on_the_instruction_is_found_through_the_guests_tables() {
    let va = 0x1_2345_0420;
    let mut bench = Bench::new(0xb840_4422, va, false);
    map_block(&mut bench, map::RAM_BASE | 0x401);
    assert_eq!(bench.abort(DEVICE).0, Resume::Advance);
    assert_eq!((bench.regs.get(Reg::X(2)), bench.regs.get(Reg::X(1))), (0x1010_1010, va + 4));
    // What is nowhere is reported at its virtual address, also where the syndrome describes the access.
    for described in [0, 1 << 24 | 2 << 22] {
        let mut bench = Bench::new(0xb940_0022, va, false);
        map_block(&mut bench, map::RAM_BASE | 0x401);
        bench.esr |= described;
        bench.abort(NOWHERE + 0x420);
        assert_eq!(bench.taken(), (0x10, Some(va)));
    }
    // The instruction cannot be read: the address stays open.
    let mut bench = Bench::new(0xb940_0022, va, false);
    map_block(&mut bench, 0);
    bench.abort(NOWHERE + 0x420);
    assert_eq!(bench.taken(), (0x410, None));
}

#[test]
fn an_abort_on_the_walk_says_at_which_level() {
    let on_walk = 1 << 7;
    // A load whose tables are nowhere: the second entry of the first table leads outside RAM.
    let va = 0x8000_0420;
    let mut bench = Bench::new(0xb940_0022, va, false);
    map_block(&mut bench, map::RAM_BASE | 0x401);
    bench.ram[0x2010..0x2018].copy_from_slice(&(NOWHERE | 3).to_le_bytes());
    bench.esr |= on_walk;
    let event = bench.abort(0x420).2.unwrap().to_string();
    assert_eq!(bench.taken(), (0x16, Some(va)));
    assert!(event.starts_with("guest had a translation table at 0x9800000, where nothing is"), "{event}");

    // A fetch, likewise.
    let mut bench = Bench::new(0, 0, false);
    map_block(&mut bench, NOWHERE | 3);
    let console = FakeConsole::default();
    let mut machine = Machine::new(&mut bench.ram[..], 1, Version::V2, console, Clock { now: || 0, frequency: 1 });
    for (on_walk, status) in [(on_walk, 0x16), (0, 0x10)] {
        bench.regs.set(Reg::Pc, PC);
        let exit = Exit::Abort { gpa: 0, esr: 0x20 << 26 | 1 << 25 | on_walk | 7, fetch: true };
        assert_eq!(machine.exit(BOOT, exit, &mut bench.regs), Resume::Retry);
        assert_eq!(bench.regs.get(Reg::Sys(SysReg::Esr)), 0x21 << 26 | 1 << 25 | status);
        assert_eq!(bench.regs.get(Reg::Sys(SysReg::Far)), PC);
    }
}

#[test]
fn nothing_is_emulated_for_aarch32() {
    // Without a valid syndrome, and with one.
    for described in [0, 1 << 24 | 2 << 22] {
        let mut bench = Bench::new(0xb840_4422, DEVICE, false);
        bench.regs.set(Reg::Spsr, 0x1f0);
        bench.esr |= described;
        assert_eq!(bench.abort(DEVICE).0, Resume::Retry);
        assert_eq!(bench.regs.get(Reg::Pc), VBAR + 0x600);
        assert_eq!(bench.regs.get(Reg::Sys(SysReg::Esr)), 0x24 << 26 | 1 << 25 | 0x410);
    }
}

#[test]
fn a_wait_of_16_bits_ends_behind_them() {
    let mut ram = vec![0; 4 << 20];
    let console = FakeConsole::default();
    let mut machine = Machine::new(&mut ram[..], 1, Version::V2, console, Clock { now: || 0, frequency: 1 });
    for iss in [0, 1] {
        let mut regs = FakeRegs::default();
        regs.set(Reg::Pc, PC);
        assert_eq!(machine.exit(BOOT, Exit::Trap { esr: 1 << 26 | iss }, &mut regs), Resume::Retry);
        assert_eq!(regs.get(Reg::Pc), PC + 2);
    }
}

#[test]
fn a_guest_that_cannot_fetch_its_exception_handler_has_crashed() {
    let mut ram = vec![0; 2 << 20];
    let console = FakeConsole { room: 64, ..FakeConsole::default() };
    let mut machine = Machine::new(&mut ram[..], 1, Version::V2, console, Clock { now: || 0, frequency: 1 });
    let fetch = |gpa| Exit::Abort { gpa, esr: 0x20 << 26 | 1 << 25 | 7, fetch: true };
    let mut regs = FakeRegs::default();
    // Nothing is at 0, where the vectors are after power-on.
    regs.set(Reg::Spsr, 0x3c5);
    regs.set(Reg::Pc, 0x1000);
    assert_eq!(machine.exit(BOOT, fetch(0x1000), &mut regs), Resume::Retry);
    assert_eq!((regs.get(Reg::Pc), machine.effects().system), (0x200, None), "it may have vectors there");
    assert_eq!(machine.exit(BOOT, fetch(0x200), &mut regs), Resume::Off);
    let effects = machine.effects();
    assert_eq!(effects.event, Some(Event::Lost { vcpu: VcpuId::BOOT, pc: 0x200 }));
    assert_eq!(effects.system, Some(End::Crash));
}
