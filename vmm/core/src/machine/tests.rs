// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

mod gic;

use super::*;
use crate::device::pl011::tests::FakeConsole;
use crate::exit::SysReg;
use crate::virtio::testing::slots;
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};
use queue::monitor::EXITS;

/// Registers that remember what they were asked.
#[derive(Debug, Default)]
pub(crate) struct FakeRegs(Vec<(Reg, u64)>);

impl Regs for FakeRegs {
    fn get(&mut self, reg: Reg) -> u64 {
        self.0.iter().find(|(r, _)| *r == reg).map_or(0, |(_, value)| *value)
    }
    fn set(&mut self, reg: Reg, value: u64) {
        self.0.retain(|(r, _)| *r != reg);
        self.0.push((reg, value));
    }
}

const RAM: usize = 4 << 20;
const BOOT: VcpuId = VcpuId::BOOT;

type TestMachine<'a> = Machine<&'a mut [u8], FakeConsole>;

fn machine(ram: &mut [u8], vcpus: usize) -> TestMachine<'_> {
    let console = FakeConsole { room: 64, ..FakeConsole::default() };
    Machine::new(ram, vcpus, Version::V2, console, Clock { now: || 0, frequency: 1 })
}

fn images(kernel: &[u8]) -> Images<'_> {
    Images { kernel, initramfs: b"ramdisk", dtb: b"", dtb_fragment: b"", bootargs: "console=ttyAMA0" }
}

fn abort(gpa: u64, width: u64, write: bool) -> Exit {
    Exit::Abort { gpa, esr: 0x24 << 26 | 3 << 24 | width << 22 | 1 << 16 | u64::from(write) << 6 | 7, fetch: false }
}

fn trap(class: u64, iss: u64) -> Exit {
    Exit::Trap { esr: class << 26 | 1 << 25 | iss }
}

/// The device tree that the guest finds at start.
fn device_tree(ram: &[u8], start: Start) -> Fdt<'_> {
    let dtb = &ram[(start.context - map::RAM_BASE) as usize..];
    let size = u32::from_be_bytes(dtb[4..8].try_into().unwrap());
    Fdt::new(&dtb[..size as usize]).unwrap()
}

/// Stores `value` from x1.
fn store(machine: &mut TestMachine<'_>, gpa: u64, value: u64) {
    let mut regs = FakeRegs::default();
    regs.set(Reg::X(1), value);
    assert_eq!(machine.exit(BOOT, abort(gpa, 2, true), &mut regs), Resume::Advance);
}

/// Loads into x1.
fn load(machine: &mut TestMachine<'_>, gpa: u64) -> u64 {
    let mut regs = FakeRegs::default();
    assert_eq!(machine.exit(BOOT, abort(gpa, 2, false), &mut regs), Resume::Advance);
    regs.get(Reg::X(1))
}

#[test]
fn images_and_device_tree_are_where_the_guest_is_told() {
    let mut ram = vec![0; RAM];
    let start = machine(&mut ram, 2).load(&images(b"kernel")).unwrap();
    assert_eq!((start.vcpu, start.entry), (BOOT, map::RAM_BASE));
    assert_eq!(&ram[..6], b"kernel");

    let fdt = device_tree(&ram, start);
    let value = |path: &str, name: &str| fdt.find_node(path).expect(path).property(name).expect(name).value().to_vec();
    assert_eq!(value("/chosen", "bootargs"), b"console=ttyAMA0\0");
    let stdout = String::from_utf8(value("/chosen", "stdout-path")).unwrap();
    assert_eq!(value(stdout.trim_end_matches('\0'), "compatible"), b"arm,pl011\0arm,primecell\0");
    let gpa = |name| u64::from_be_bytes(value("/chosen", name).try_into().unwrap()) - map::RAM_BASE;
    assert_eq!(&ram[gpa("linux,initrd-start") as usize..gpa("linux,initrd-end") as usize], b"ramdisk");
    assert_eq!(value("/memory@40000000", "reg")[8..], (RAM as u64).to_be_bytes());
    assert_eq!(value("/cpus/cpu@1", "reg"), [0, 0, 0, 1]);
    assert_eq!(value("/timer", "interrupt-names"), b"virt\0", "the physical timer is not the guest's");
    assert_eq!(value("/timer", "interrupts"), [0, 0, 0, 1, 0, 0, 0, 11, 0, 0, 3, 8]);
}

#[test]
fn a_given_device_tree_replaces_or_extends_the_machines_own() {
    let mut given = [0; 256];
    let space = Range { base: map::RAM_BASE, size: 256 };
    let content = |tree: &mut Tree<'_>| tree.node("soc", |tree| tree.string("model", "given"));
    let size = Tree::write(&mut &mut given[..], space, content).unwrap() as usize;
    for (dtb, dtb_fragment, has_chosen) in [(&given[..size], &b""[..], false), (&b""[..], &given[..size], true)] {
        let mut ram = vec![0; RAM];
        let start = machine(&mut ram, 1).load(&Images { dtb, dtb_fragment, ..images(b"kernel") }).unwrap();
        let fdt = device_tree(&ram, start);
        assert!(fdt.find_node("/soc").is_some());
        assert_eq!(fdt.find_node("/chosen").is_some(), has_chosen);
    }
    for images in [Images { dtb: b"none", ..images(b"k") }, Images { dtb_fragment: b"none", ..images(b"k") }] {
        assert_eq!(machine(&mut vec![0; RAM], 1).load(&images), Err(BootError::DeviceTree));
    }
}

#[test]
fn output_is_announced_once_for_a_line_or_when_the_guest_turns_to_something_else() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 1);
    let uart = map::PL011.base;
    for (byte, announced) in [(b'a', false), (b'b', false), (b'\n', true), (b'$', false)] {
        store(&mut machine, uart, byte.into());
        load(&mut machine, uart + 0x18);
        assert_eq!(machine.effects().console, announced, "{}", byte as char);
    }
    machine.exit(BOOT, trap(class::WFX, 1), &mut FakeRegs::default());
    assert!(machine.effects().console, "the prompt");
    assert_eq!(machine.console().sent, b"ab\n$");
    machine.console().room = 1;
    store(&mut machine, uart, b'c'.into());
    assert!(machine.effects().console, "no room is left");
}

#[test]
fn input_interrupts_the_guest_until_it_is_read() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 1);
    let (gicd, uart) = (map::GICD.base, map::PL011.base);
    store(&mut machine, uart + 0x38, 1 << 4);
    store(&mut machine, gicd, 1);
    store(&mut machine, gicd + 0x104, 1 << 1);
    machine.console().input.extend(*b"xy");
    machine.console_notified();
    for byte in *b"xy" {
        let injection = machine.next_injection(BOOT).expect("an interrupt");
        assert_eq!((injection.intid, injection.lr), (map::PL011_INTID, 0));
        assert_eq!(machine.next_injection(BOOT), None, "once only");
        assert_eq!(load(&mut machine, uart), u64::from(byte));
        machine.exit(BOOT, Exit::Maintenance { lr: Some(0) }, &mut FakeRegs::default());
    }
    assert_eq!(machine.next_injection(BOOT), None);
}

#[test]
fn nothing_at_an_address_is_an_external_abort_and_reported_once_for_each_page() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 1);
    let mut report = |gpa, exit| {
        let mut regs = FakeRegs::default();
        regs.set(Reg::Pc, 0x4000_1000);
        regs.set(Reg::Spsr, 0x3c5);
        assert_eq!(machine.exit(BOOT, exit, &mut regs), Resume::Retry, "{gpa:#x}");
        assert_eq!(regs.get(Reg::Pc), 0x200, "the vector");
        assert_eq!(regs.get(Reg::Sys(SysReg::Esr)) & 0x3f, 0x10, "an external abort");
        machine.effects().event.map(|event| event.to_string())
    };
    let text = |what: &str| format!("guest {what}, where nothing is (pc 0x40001000); it gets an external abort");
    let fetch = Exit::Abort { gpa: 0x3000, esr: 0x20 << 26, fetch: true };
    let pair = Exit::Abort { gpa: 0x4000, esr: 0x24 << 26, fetch: false };
    assert_eq!(report(0x1000, abort(0x1000, 2, false)), Some(text("read 4 bytes at 0x1000")));
    assert_eq!(report(0x1008, abort(0x1008, 2, false)), None, "the same page");
    assert_eq!(report(0x2000, abort(0x2000, 0, true)), Some(text("wrote 1 bytes at 0x2000")));
    assert_eq!(report(0x3000, fetch), Some(text("fetched an instruction at 0x3000")));
    assert_eq!(report(0x4000, pair), Some(text("accessed memory at 0x4000")));
    let all = (5..40).filter_map(|page| report(page << 12, abort(page << 12, 0, true))).collect::<Vec<_>>();
    assert_eq!(all.len(), REPORTED_PAGES - 4);
    assert!(all.last().unwrap().ends_with("; further ones are only counted"));
}

#[test]
fn a_trapped_instruction_without_meaning_is_undefined() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 1);
    let mut regs = FakeRegs::default();
    // A syndrome without a class, and a system register.
    for exit in [trap(class::UNKNOWN, 0), trap(class::SYSTEM, 0x30_0000)] {
        regs.set(Reg::Pc, 0x1234);
        regs.set(Reg::Spsr, 0x3c5);
        assert_eq!(machine.exit(BOOT, exit, &mut regs), Resume::Retry);
        assert_eq!(regs.get(Reg::Sys(SysReg::Esr)), 1 << 25);
        assert_eq!((regs.get(Reg::Sys(SysReg::Elr)), regs.get(Reg::Pc)), (0x1234, 0x200));
    }
    assert_eq!(
        machine.effects().event.unwrap().to_string(),
        "guest executed an instruction that nothing emulates (esr 0x62300000, pc 0x1234); it gets an undefined \
         instruction exception"
    );
}

#[test]
fn calls_that_change_the_power_state_reach_the_outside() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 2);
    machine.load(&images(b"kernel")).unwrap();
    let one = VcpuId::new(1).unwrap();
    let mut smc = |vcpu, x: [u64; 4]| {
        let mut regs = FakeRegs::default();
        for (n, value) in x.into_iter().enumerate() {
            regs.set(Reg::X(n as u8), value);
        }
        let resume = machine.exit(vcpu, trap(class::SMC64, 0), &mut regs);
        (resume, regs.get(Reg::X(0)).cast_signed(), machine.effects())
    };
    let on = [0xc400_0003, 1, map::RAM_BASE, 9];
    let start = Start { vcpu: one, entry: map::RAM_BASE, context: 9 };
    assert_eq!(smc(BOOT, on), (Resume::Advance, 0, Effects { start: Some(start), ..Effects::default() }));
    assert_eq!(smc(BOOT, on), (Resume::Advance, -4, Effects::default()), "already on");
    assert_eq!(smc(one, [0x8400_0002, 0, 0, 0]).0, Resume::Off);
    assert_eq!(smc(BOOT, on).1, 0, "off, so it can be turned on again");
    let off = smc(BOOT, [0x8400_0008, 0, 0, 0]);
    assert_eq!((off.0, off.2.system), (Resume::Off, Some(End::Off)));
    assert!(off.2.console, "the last words are not kept back");
}

#[test]
fn a_guest_waits_only_while_nothing_is_pending() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 1);
    let wfi = trap(class::WFX, 0);
    assert_eq!(machine.exit(BOOT, wfi, &mut FakeRegs::default()), Resume::Block);
    store(&mut machine, map::GICD.base, 1);
    store(&mut machine, map::GICD.base + 0xf00, 2 << 24 | 3);
    assert_eq!(machine.exit(BOOT, wfi, &mut FakeRegs::default()), Resume::Advance, "before it is in a list register");
    assert!(machine.next_injection(BOOT).is_some());
    assert_eq!(machine.exit(BOOT, wfi, &mut FakeRegs::default()), Resume::Advance, "and in it");
}

#[test]
fn every_exit_is_counted_by_its_kind() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 1);
    machine.attach(Box::leak(Box::new(slots())));
    let exits = [
        abort(map::GICD.base, 2, false),
        abort(map::PL011.base, 2, false),
        abort(map::PL031.base, 2, false),
        abort(map::VIRTIO.base, 2, false),
        abort(0, 2, false),
        trap(class::WFX, 0),
        trap(class::WFX, 1),
        trap(class::SMC64, 0),
        Exit::Hvc,
        trap(0x3f, 0),
        Exit::Maintenance { lr: None },
        Exit::Timer,
        Exit::Fatal,
    ];
    assert_eq!(exits.len(), EXITS.len());
    for (n, exit) in exits.into_iter().enumerate() {
        machine.exit(BOOT, exit, &mut FakeRegs::default());
        assert_eq!(machine.counters().exits[n], 1, "{}", EXITS[n]);
    }
    load(&mut machine, map::PL011.base + 0x500);
    assert_eq!(machine.counters().unimplemented, 1);
}

#[test]
fn a_wait_ends_with_an_interrupt_with_the_timer_or_with_a_change_of_what_may_end_it() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 2);
    machine.load(&images(b"kernel")).unwrap();
    let one = VcpuId::new(1).unwrap();
    let on = [(Reg::X(0), 0xc400_0003), (Reg::X(1), 1), (Reg::X(2), map::RAM_BASE)];
    let mut regs = FakeRegs::default();
    on.into_iter().for_each(|(reg, value)| regs.set(reg, value));
    machine.exit(BOOT, trap(class::SMC64, 0), &mut regs);
    machine.effects();
    let wait = |machine: &mut TestMachine<'_>| {
        assert_eq!(machine.exit(one, trap(class::WFX, 0), &mut FakeRegs::default()), Resume::Block);
        assert_eq!(machine.effects().wakes, 0);
    };

    wait(&mut machine);
    assert!(!machine.timer_wakes(one), "its interrupt is disabled");
    store(&mut machine, map::GICD.base, 1);
    assert_eq!(machine.effects().wakes, one.bit(), "the distributor was enabled");

    wait(&mut machine);
    store(&mut machine, map::GICD.base + 0xf00, 1 << 24 | 3);
    assert!(machine.next_injection(one).is_some());
    assert_eq!(machine.effects().wakes, one.bit(), "an interrupt from another vCPU");
    machine.exit(one, Exit::Maintenance { lr: Some(0) }, &mut FakeRegs::default());
    assert_eq!(machine.next_injection(one), None);

    let mut regs = FakeRegs::default();
    regs.set(Reg::X(1), 1 << 27);
    machine.exit(one, abort(map::GICD.base + 0x100, 2, true), &mut regs);
    wait(&mut machine);
    assert!(machine.timer_wakes(one));
    machine.timer_expired(one);
    assert_eq!(machine.effects().wakes, one.bit());
    assert_eq!(machine.next_injection(one).map(|injection| injection.intid), Some(map::VTIMER_INTID));
    machine.wake(one.bit());
    assert_eq!(machine.effects().wakes, 0, "it waits no more");
}

#[test]
fn wfe_stops_a_vcpu_only_while_no_other_runs_that_could_send_the_event() {
    let mut ram = vec![0; RAM];
    let mut machine = machine(&mut ram, 2);
    machine.load(&images(b"kernel")).unwrap();
    let (one, wfe) = (VcpuId::new(1).unwrap(), trap(class::WFX, 1));
    assert_eq!(machine.exit(BOOT, wfe, &mut FakeRegs::default()), Resume::Pause);
    machine.wake(BOOT.bit());
    let mut regs = FakeRegs::default();
    [(0, 0xc400_0003), (1, 1), (2, map::RAM_BASE)].into_iter().for_each(|(n, value)| regs.set(Reg::X(n), value));
    machine.exit(BOOT, trap(class::SMC64, 0), &mut regs);
    assert_eq!(machine.exit(BOOT, wfe, &mut FakeRegs::default()), Resume::Advance);
    assert_eq!(machine.exit(one, trap(class::WFX, 0), &mut FakeRegs::default()), Resume::Block);
    assert_eq!(machine.exit(BOOT, wfe, &mut FakeRegs::default()), Resume::Pause);
}
