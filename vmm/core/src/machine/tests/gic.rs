// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The interrupt controller behind the address map, of each version.

use super::*;

fn of_version(ram: &mut [u8], version: Version) -> TestMachine<'_> {
    let console = FakeConsole { room: 64, ..FakeConsole::default() };
    Machine::new(ram, 2, version, console, Clock { now: || 0, frequency: 1 })
}

#[test]
fn the_device_tree_describes_the_version() {
    let cells = |cells: [u32; 8]| cells.into_iter().flat_map(u32::to_be_bytes).collect::<Vec<_>>();
    let cases: [(_, &[u8], _); 2] = [
        (Version::V2, b"arm,cortex-a15-gic\0", cells([0, 0x800_0000, 0, 0x1_0000, 0, 0x801_0000, 0, 0x2000])),
        (Version::V3, b"arm,gic-v3\0", cells([0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0x4_0000])),
    ];
    for (version, compatible, reg) in cases {
        let mut ram = vec![0; RAM];
        let start = of_version(&mut ram, version).load(&images(b"kernel")).unwrap();
        let fdt = device_tree(&ram, start);
        let controller = fdt.find_node("/intc@8000000").unwrap();
        let value = |name| controller.property(name).unwrap().value().to_vec();
        assert_eq!((value("compatible"), value("reg")), (compatible.to_vec(), reg), "{version:?}");
    }
}

#[test]
fn redistributors_are_gicv3s_alone() {
    for (version, mapped) in [(Version::V2, false), (Version::V3, true)] {
        let mut ram = vec![0; RAM];
        let mut machine = of_version(&mut ram, version);
        let resume = machine.exit(BOOT, abort(map::GICR.base + 0x14, 2, false), &mut FakeRegs::default());
        assert_eq!(resume == Resume::Advance, mapped, "{version:?}");
    }
}

#[test]
fn a_system_register_of_gicv3_sends_an_interrupt_and_is_undefined_with_gicv2() {
    let one = VcpuId::new(1).unwrap();
    // MSR ICC_SGI1R_EL1, x2.
    let iss = 3 << 20 | 5 << 17 | 12 << 10 | 2 << 5 | 11 << 1;
    for (version, resumed, sent) in [(Version::V2, Resume::Retry, false), (Version::V3, Resume::Advance, true)] {
        let mut ram = vec![0; RAM];
        let mut machine = of_version(&mut ram, version);
        if version == Version::V3 {
            store(&mut machine, map::GICD.base, 3);
            for (offset, value) in [(0x2_0014, 0), (0x3_0080, 1 << 4), (0x3_0100, 1 << 4)] {
                store(&mut machine, map::GICR.base + offset, value);
            }
        }
        let mut regs = FakeRegs::default();
        regs.set(Reg::X(2), 4 << 24 | 0b10);
        assert_eq!(machine.exit(BOOT, trap(class::SYSTEM, iss), &mut regs), resumed, "{version:?}");
        assert_eq!(machine.next_injection(one).is_some(), sent, "{version:?}");
    }
}

#[test]
fn what_a_vcpu_pends_while_it_masks_interrupts_reads_as_pending() {
    for (spsr, pending) in [(0x3c5, 1 << 2), (0x345, 0)] {
        let mut ram = vec![0; RAM];
        let mut machine = machine(&mut ram, 1);
        store(&mut machine, map::GICD.base, 1);
        store(&mut machine, map::GICD.base + 0x104, 1 << 2);
        let mut regs = FakeRegs::default();
        regs.set(Reg::X(1), 1 << 2);
        regs.set(Reg::Spsr, spsr);
        machine.exit(BOOT, abort(map::GICD.base + 0x204, 2, true), &mut regs);
        assert!(machine.next_injection(BOOT).is_some());
        assert_eq!(load(&mut machine, map::GICD.base + 0x204), pending, "SPSR {spsr:#x}");
        assert_eq!(load(&mut machine, map::GICD.base + 0x304), 1 << 2, "SPSR {spsr:#x}");
    }
}
