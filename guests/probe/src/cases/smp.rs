// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Several CPUs: PSCI turns them on and off, and interrupts find the right one. These cases are for 2 to 8 CPUs, with the
//! same answers.

use crate::boot::Boot;
use crate::console::Line;
use crate::cpu::{self, entry, finish, is_off, run, start, starts, turn_off, turn_on};
use crate::exception::{Quiet, attempt, take};
use crate::gic::*;
use crate::mmio::{read8, read32, write32};
use crate::psci::call;
use crate::timer::{self, ENABLE, long, milliseconds, now, read, short};
use crate::{Case, psci::Conduit};
use core::arch::asm;
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering::*};
use smccc::psci::*;

pub const CASES: &[Case] = &[
    Case { name: "smp.typer", ask: typer },
    Case { name: "smp.bad-entry", ask: bad_entry },
    Case { name: "smp.off-at-start", ask: off_at_start },
    Case { name: "smp.on", ask: on },
    Case { name: "smp.on-again", ask: on_again },
    Case { name: "smp.state", ask: state_at_start },
    Case { name: "smp.mpidr", ask: mpidr },
    Case { name: "smp.banked", ask: banked },
    Case { name: "smp.targets", ask: targets },
    Case { name: "smp.sgi-each", ask: sgi_each },
    Case { name: "smp.sgi-others", ask: sgi_others },
    Case { name: "smp.sgi-sender", ask: sgi_sender },
    Case { name: "smp.sgi-two-senders", ask: sgi_two_senders },
    Case { name: "smp.spi", ask: spi },
    Case { name: "smp.spi-moved", ask: spi_moved },
    Case { name: "smp.spi-any", ask: spi_any },
    Case { name: "smp.timers", ask: timers },
    Case { name: "smp.wfi", ask: wfi },
    Case { name: "smp.wfe", ask: wfe },
    Case { name: "smp.suspend", ask: suspend },
    Case { name: "smp.psci", ask: psci },
    Case { name: "smp.pair", ask: pair },
    Case { name: "smp.abort", ask: abort },
    Case { name: "smp.undefined", ask: undefined },
    Case { name: "smp.off", ask: off },
    Case { name: "smp.pended-while-off", ask: pended_while_off },
    Case { name: "smp.off-and-on", ask: off_and_on },
];

/// A shared interrupt that no device of either machine asserts.
const SPI: u32 = 62;
const TIMER: u32 = 27;

/// How many CPUs the device tree has.
pub fn count(boot: &Boot) -> usize {
    use dtoolkit::Node;
    let cpus = boot.tree.as_ref().and_then(|tree| tree.find_node("/cpus"));
    let is_cpu = |name: &str| name.starts_with("cpu@");
    cpus.map_or(1, |cpus| cpus.children().filter(|node| is_cpu(node.name())).count()).clamp(1, cpu::MOST_CPUS)
}

fn others(boot: &Boot) -> core::ops::Range<usize> {
    1..count(boot)
}

/// Writes `all`, or which CPU is the first without it.
fn each(boot: &Boot, line: &mut Line, what: &str, mut holds: impl FnMut(usize) -> bool) -> fmt::Result {
    match others(boot).find(|cpu| !holds(*cpu)) {
        None => write!(line, "{what}"),
        Some(cpu) => write!(line, "not CPU {cpu}"),
    }
}

fn typer(boot: &Boot, line: &mut Line) -> fmt::Result {
    let cpus = (read32(TYPER) >> 5 & 7) as usize + 1;
    line.write_str(if cpus == count(boot) { "as many CPUs as the device tree" } else { "another number of CPUs" })
}

/// Where there is no code.
fn bad_entry(boot: &Boot, line: &mut Line) -> fmt::Result {
    let on = |entry| call(boot.conduit, PSCI_CPU_ON_64, [1, entry, 0]);
    write!(line, "unaligned {}", on(0x4008_0002))
}

fn off_at_start(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "all off", |cpu| call(boot.conduit, PSCI_AFFINITY_INFO_64, [cpu as u64, 0, 0]) == 1)
}

fn on(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "all on", |cpu| turn_on(boot.conduit, cpu) == 0 && starts(cpu, 1) == 1)
}

fn on_again(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "already on", |cpu| turn_on(boot.conduit, cpu) == -4)?;
    let on = |cpu| call(boot.conduit, PSCI_AFFINITY_INFO_64, [cpu as u64, 0, 0]) == 0;
    each(boot, line, ", and so is its affinity", on)
}

fn state_at_start(boot: &Boot, line: &mut Line) -> fmt::Result {
    let (level, daif, mmu) = entry(1);
    write!(line, "EL{}, DAIF {daif:#x}, SCTLR.M {mmu}, ", level >> 2)?;
    each(boot, line, "all", |cpu| entry(cpu) == entry(1))
}

fn mpidr(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "all by their numbers", |cpu| {
        run(cpu, |_| read!("mpidr_el1"), 0).is_some_and(|mpidr| mpidr & 0xff_00ff_ffff == cpu as u64)
    })
}

/// A private interrupt's registers are each CPU's own.
fn banked(boot: &Boot, line: &mut Line) -> fmt::Result {
    enable_at(TIMER, 0x40);
    let own = |_| u64::from(read32(ISENABLER)) | u64::from(read8(IPRIORITYR + u64::from(TIMER))) << 32;
    let result = each(boot, line, "all their own", |cpu| run(cpu, own, 0) == Some(0xffff));
    disable(TIMER);
    result
}

fn targets(boot: &Boot, line: &mut Line) -> fmt::Result {
    set_targets(SPI, 0xff);
    let all = read8(ITARGETSR + u64::from(SPI));
    set_targets(SPI, 1);
    // Those of CPUs that do not exist are not asked for: QEMU keeps them.
    let every = 0xff >> (8 - count(boot));
    line.write_str(if all & every == every { "every CPU" } else { "not every CPU" })?;
    let own = |cpu| run(cpu, |_| u64::from(read32(ITARGETSR)), 0) == Some(0x0101_0101 << cpu);
    each(boot, line, ", private ones the CPU that reads", own)
}

/// Work: takes interrupts until one came or a second has passed; returns how many, and the last one's GICC_IAR.
fn take_one(_: u64) -> u64 {
    let taken = take(1, long(), Quiet::Nothing);
    (taken.as_slice().len() as u64) << 32 | u64::from(taken.as_slice().last().copied().unwrap_or(INTID))
}

fn took(result: Option<u64>) -> Option<u32> {
    result.filter(|result| result >> 32 == 1).map(|result| result as u32)
}

fn sgi_each(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "all took theirs", |cpu| {
        start(cpu, take_one, 0);
        send(cpu as u32, 1 << cpu);
        took(finish(cpu)).is_some_and(|iar| iar & INTID == cpu as u32)
    })
}

fn sgi_others(boot: &Boot, line: &mut Line) -> fmt::Result {
    others(boot).for_each(|cpu| start(cpu, take_one, 0));
    write32(SGIR, 1 << 24 | 6);
    each(boot, line, "all others took 6", |cpu| took(finish(cpu)).is_some_and(|iar| iar & INTID == 6))?;
    write!(line, ", this one {}", take(1, short(), Quiet::Nothing))
}

/// Who sent it, as GICC_IAR says.
fn sgi_sender(_: &Boot, line: &mut Line) -> fmt::Result {
    run(
        1,
        |_| {
            send(7, 1);
            0
        },
        0,
    );
    let taken = take(1, long(), Quiet::Nothing);
    let iar = taken.as_slice().first().copied().unwrap_or(INTID);
    write!(line, "took {}, from CPU {}", iar & INTID, iar >> 10)
}

/// The same one from two CPUs is taken twice.
fn sgi_two_senders(_: &Boot, line: &mut Line) -> fmt::Result {
    run(
        1,
        |_| {
            send(7, 1);
            0
        },
        0,
    );
    send(7, 1);
    let pending = read8(SPENDSGIR + 7).count_ones();
    let taken = take(2, long(), Quiet::Nothing);
    let again = take(1, short(), Quiet::Nothing);
    write!(line, "took {taken}, then {again}; {} senders were pending", if pending > 0 { "some" } else { "no" })
}

fn spi(boot: &Boot, line: &mut Line) -> fmt::Result {
    enable(SPI);
    let result = each(boot, line, "each took it when it was the target", |cpu| {
        set_targets(SPI, 1 << cpu);
        start(cpu, take_one, 0);
        pend(SPI);
        took(finish(cpu)) == Some(SPI)
    });
    set_targets(SPI, 1);
    write!(line, ", this one {}", take(1, short(), Quiet::Nothing))?;
    disable(SPI);
    result
}

/// Pending for one CPU, disabled, and then given to another.
fn spi_moved(_: &Boot, line: &mut Line) -> fmt::Result {
    disable(SPI);
    set_targets(SPI, 2);
    pend(SPI);
    set_targets(SPI, 1);
    enable(SPI);
    let taken = take(1, long(), Quiet::Nothing);
    disable(SPI);
    write!(line, "took {taken}")
}

/// Every CPU is its target: one takes it.
fn spi_any(boot: &Boot, line: &mut Line) -> fmt::Result {
    set_targets(SPI, 0xff);
    enable(SPI);
    others(boot).for_each(|cpu| start(cpu, take_one, 0));
    pend(SPI);
    let own = take(1, long(), Quiet::Nothing).as_slice() == [SPI];
    // Another one may have been interrupted in vain.
    let theirs = others(boot).filter(|cpu| finish(*cpu).is_some_and(|result| result as u32 == SPI)).count();
    disable(SPI);
    set_targets(SPI, 1);
    line.write_str(match usize::from(own) + theirs {
        0 => "not taken",
        1 => "taken once",
        _ => "taken more than once",
    })
}

/// Work: the CPU's own timer, ten times; returns how often it fired.
fn fire(_: u64) -> u64 {
    enable(TIMER);
    let mut fired = 0;
    for _ in 0..10 {
        timer::arm(now() + milliseconds(1), ENABLE);
        fired += u64::from(take(1, long(), Quiet::Timer).as_slice() == [TIMER]);
    }
    disable(TIMER);
    fired
}

fn timers(boot: &Boot, line: &mut Line) -> fmt::Result {
    others(boot).for_each(|cpu| start(cpu, fire, 0));
    let own = fire(0);
    each(boot, line, "10 times each", |cpu| finish(cpu) == Some(10))?;
    write!(line, ", this one {own}")
}

/// Work: waits for an interrupt, with interrupts masked, until one is pending; returns what it takes then.
fn wait(_: u64) -> u64 {
    timer::wait_for_interrupt();
    take_one(0)
}

/// A CPU that waits is woken by another.
fn wfi(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "all woke up", |cpu| {
        start(cpu, wait, 0);
        let until = now() + milliseconds(5);
        while now() < until {}
        send(9, 1 << cpu);
        took(finish(cpu)).is_some_and(|iar| iar & INTID == 9)
    })
}

/// Work: waits for events until `EVENT` is the argument.
fn wait_for_event(argument: u64) -> u64 {
    while EVENT.load(Acquire) != argument {
        // SAFETY: WFE changes no state but the event register.
        unsafe { asm!("wfe", options(nostack)) };
    }
    1
}

static EVENT: AtomicU64 = AtomicU64::new(0);

/// A CPU that waits for an event goes on after another has sent one.
fn wfe(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "all went on", |cpu| {
        start(cpu, wait_for_event, cpu as u64);
        let until = now() + milliseconds(5);
        while now() < until {}
        EVENT.store(cpu as u64, Release);
        timer::send_event();
        finish(cpu) == Some(1)
    })
}

/// Work: PSCI's standby until an interrupt is pending; returns what it takes then. The argument is the conduit.
fn standby(hvc: u64) -> u64 {
    match call(conduit(hvc), PSCI_CPU_SUSPEND_64, [0; 3]) {
        0 => take_one(0),
        _ => 0,
    }
}

fn conduit(hvc: u64) -> Conduit {
    if hvc != 0 { Conduit::Hvc } else { Conduit::Smc }
}

fn is_hvc(boot: &Boot) -> u64 {
    u64::from(boot.conduit == Conduit::Hvc)
}

fn suspend(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "all woke up", |cpu| {
        start(cpu, standby, is_hvc(boot));
        let until = now() + milliseconds(5);
        while now() < until {}
        send(9, 1 << cpu);
        took(finish(cpu)).is_some_and(|iar| iar & INTID == 9)
    })
}

/// Firmware answers each CPU: its version, and that this one is on.
fn psci(boot: &Boot, line: &mut Line) -> fmt::Result {
    let ask = |hvc| {
        let version = call(conduit(hvc), PSCI_VERSION, [0; 3]);
        let own = call(conduit(hvc), PSCI_AFFINITY_INFO_64, [cpu::this() as u64, 0, 0]);
        u64::from(version == 0x1_0001 && own == 0)
    };
    each(boot, line, "all answered", |cpu| run(cpu, ask, is_hvc(boot)) == Some(1))
}

/// A load of two registers at once from a device, which has no syndrome: each CPU's goes into its own.
fn pair(boot: &Boot, line: &mut Line) -> fmt::Result {
    // Priorities of eight interrupts of which nobody makes use.
    const REGISTERS: u64 = IPRIORITYR + 64;
    let word = |n: u64| n << 28;
    (0..2).for_each(|n| write32(REGISTERS + 4 * n, word(n + 1) as u32));
    let load = |address: u64| {
        let (low, high): (u64, u64);
        // SAFETY: reading priorities has no side effect.
        unsafe { asm!("ldp {0:w}, {1:w}, [{2}]", out(reg) low, out(reg) high, in(reg) address, options(nostack)) };
        low | high << 32
    };
    let result = each(boot, line, "all both", |cpu| run(cpu, load, REGISTERS) == Some(word(1) | word(2) << 32));
    (0..2).for_each(|n| write32(REGISTERS + 4 * n, 0));
    result
}

/// Nothing is where a CPU reads: the external abort is that CPU's own.
fn abort(boot: &Boot, line: &mut Line) -> fmt::Result {
    const NOWHERE: u64 = 0x0980_0000;
    let read = |address| match attempt(|| read32(address)) {
        Err(fault) if fault.far == address => fault.esr,
        _ => 0,
    };
    each(boot, line, "all their own", |cpu| run(cpu, read, NOWHERE + 8 * cpu as u64) == Some(0x9600_0010))
}

/// A register that nobody has.
fn undefined(boot: &Boot, line: &mut Line) -> fmt::Result {
    let read = |_| match attempt(|| read!("s3_3_c15_c15_7")) {
        Err(fault) => fault.esr,
        Ok(_) => 0,
    };
    each(boot, line, "all their own", |cpu| run(cpu, read, 0) == Some(1 << 25))
}

fn off(boot: &Boot, line: &mut Line) -> fmt::Result {
    each(boot, line, "all off", |cpu| {
        start(cpu, turn_off, 0);
        is_off(boot.conduit, cpu)
    })
}

/// What is sent to a CPU that is off is there when it is turned on.
fn pended_while_off(boot: &Boot, line: &mut Line) -> fmt::Result {
    send(10, 2);
    if turn_on(boot.conduit, 1) != 0 || starts(1, 2) != 2 {
        return line.write_str("not turned on");
    }
    let taken = took(run(1, take_one, 0)).map(|iar| iar & INTID);
    start(1, turn_off, 0);
    let off = is_off(boot.conduit, 1);
    write!(line, "took {}, {}", taken.unwrap_or(INTID), if off { "off" } else { "not off" })
}

fn off_and_on(boot: &Boot, line: &mut Line) -> fmt::Result {
    let mut rounds = 0;
    let round = |conduit: Conduit, n: u64| {
        turn_on(conduit, 1) == 0 && starts(1, n + 3) == n + 3 && {
            start(1, turn_off, 0);
            is_off(conduit, 1)
        }
    };
    while rounds < 50 && round(boot.conduit, rounds) {
        rounds += 1;
    }
    write!(line, "{rounds} rounds")
}
