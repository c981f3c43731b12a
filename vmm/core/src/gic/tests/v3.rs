// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! GICv3: what differs from GICv2.

use super::super::v3::{Generator, REDISTRIBUTOR_SIZE};
use super::*;

/// Offset of the frame of private interrupts.
const PRIVATE: u64 = 0x1_0000;

/// A controller that forwards both groups, with four list registers, and every redistributor awake.
fn gic(vcpus: usize) -> Gic {
    let mut gic = Gic::new(Version::V3, vcpus);
    gic.set_list_registers(4);
    write(&mut gic, 0, 3);
    for n in 0..vcpus {
        write_private(&mut gic, n, 0x14, 0);
    }
    gic
}

fn write(gic: &mut Gic, offset: u64, value: u64) {
    gic.write_v3(ZERO, offset, Width::Word, value).expect("a register");
}

fn read(gic: &Gic, offset: u64) -> u64 {
    gic.read_v3(ZERO, offset, Width::Word).expect("a register")
}

fn write_private(gic: &mut Gic, owner: usize, offset: u64, value: u64) {
    gic.write_redistributor(owner as u64 * REDISTRIBUTOR_SIZE + offset, Width::Word, value).expect("a register");
}

fn read_private(gic: &Gic, owner: usize, offset: u64, width: Width) -> u64 {
    gic.read_redistributor(owner as u64 * REDISTRIBUTOR_SIZE + offset, width).expect("a register")
}

#[test]
fn distributor_registers_read_back_what_the_architecture_keeps() {
    // (offset, written, read back)
    let cases: &[(u64, u64, u64)] = &[
        (0x0000, 0xffff_ffff, 0x53),
        (0x0004, 0, 0x0148_0007),
        (0x0008, 0, 0x43b),
        (0x000c, u64::MAX, 0),
        (0x0010, u64::MAX, 0),
        (0x0080, u64::MAX, 0),
        (0x0084, 0xff, 0xff),
        (0x0100, u64::MAX, 0),
        (0x0104, 0xf0, 0xf0),
        (0x0200, u64::MAX, 0),
        (0x0204, 0x3, 0x3),
        (0x0304, 0x5, 0x5),
        (0x0400, u64::MAX, 0),
        (0x0420, 0xa7a7_a7a7, 0xa0a0_a0a0),
        (0x0820, u64::MAX, 0),
        (0x0c00, u64::MAX, 0),
        (0x0c04, u64::MAX, 0),
        (0x0c08, u64::MAX, 0xaaaa_aaaa),
        (0x0d04, u64::MAX, 0),
        (0x0f00, u64::MAX, 0),
        (0x0f20, u64::MAX, 0),
        (0x6100, u64::MAX, 0x80ff_ffff),
        (0x6104, u64::MAX, 0xff),
        (0x6800, u64::MAX, 0),
        (0xffe8, 0, 0x3b),
    ];
    let mut gic = gic(2);
    for (offset, written, expected) in cases {
        write(&mut gic, *offset, *written);
        assert_eq!(read(&gic, *offset), *expected, "offset {offset:#x}");
    }
    for offset in [0x0040, 0x5fff, 0x8000, 0xffcc, 0x1_0000, u64::MAX] {
        assert_eq!(gic.read_v3(ZERO, offset, Width::Word), None, "{offset:#x}");
        assert_eq!(gic.write_v3(ZERO, offset, Width::Word, u64::MAX), None, "{offset:#x}");
    }
}

#[test]
fn each_redistributor_is_its_vcpus() {
    let mut gic = Gic::new(Version::V3, 3);
    for (owner, typer) in [0x0u64, 0x1_0000_0100, 0x2_0000_0210].into_iter().enumerate() {
        assert_eq!(read_private(&gic, owner, 0x08, Width::Double), typer);
        assert_eq!(read_private(&gic, owner, 0x0c, Width::Word), owner as u64, "the upper half by itself");
    }
    // (offset, written, read back)
    let cases: &[(u64, u64, u64)] = &[
        (0x00, u64::MAX, 0),
        (0x04, 0, 0x43b),
        (0x10, u64::MAX, 0),
        (0x14, 0, 0),
        (0x14, u64::MAX, 0x6),
        (0xffe8, 0, 0x3b),
        (PRIVATE + 0x080, 0xf0f, 0xf0f),
        (PRIVATE + 0x100, 0x0800_0001, 0x0800_0001),
        (PRIVATE + 0x180, 1, 0x0800_0000),
        (PRIVATE + 0x200, 0xf, 0xf),
        (PRIVATE + 0x280, 0x3, 0xc),
        (PRIVATE + 0x300, 0x10, 0x10),
        (PRIVATE + 0x41c, 0xffff_ffff, 0xf8f8_f8f8),
        (PRIVATE + 0x420, u64::MAX, 0),
        (PRIVATE + 0xc00, 0, 0xaaaa_aaaa),
        (PRIVATE + 0xc04, u64::MAX, 0xaaaa_aaaa),
        (PRIVATE + 0xd00, u64::MAX, 0),
        (PRIVATE + 0x104, u64::MAX, 0),
    ];
    for (offset, written, expected) in cases {
        let before = read_private(&gic, 0, *offset, Width::Word);
        write_private(&mut gic, 1, *offset, *written);
        assert_eq!(read_private(&gic, 1, *offset, Width::Word), *expected, "offset {offset:#x}");
        assert_eq!(read_private(&gic, 0, *offset, Width::Word), before, "offset {offset:#x} of another");
    }
    for offset in [0x18, 0x70, PRIVATE + 0x800, PRIVATE + 0xfff0 - 0x30, 3 * REDISTRIBUTOR_SIZE, u64::MAX] {
        assert_eq!(gic.read_redistributor(offset, Width::Word), None, "{offset:#x}");
        assert_eq!(gic.write_redistributor(offset, Width::Word, 0), None, "{offset:#x}");
    }
}

#[test]
fn routers_choose_one_vcpu_or_any() {
    // (router, who may take it)
    let cases: &[(u64, &[usize])] = &[
        (0, &[0]),
        (2, &[2]),
        (3, &[]),
        (0x100, &[]),
        (0x1_0000_0001, &[]),
        (1 << 31, &[0, 1, 2]),
        (1 << 31 | 9, &[0, 1, 2]),
    ];
    for (router, takers) in cases {
        for n in 0..3 {
            let mut gic = gic(3);
            gic.write_v3(ZERO, 0x6108, Width::Double, *router).unwrap();
            assert_eq!(gic.read_v3(ZERO, 0x6108, Width::Double), Some(*router));
            write(&mut gic, 0x104, 1 << 1);
            gic.set_line(IntId::spi(1), true);
            let taken = drain(&mut gic, vcpu(n));
            assert_eq!(taken, if takers.contains(&n) { vec![33] } else { vec![] }, "router {router:#x}, vCPU {n}");
        }
    }
}

#[test]
fn nothing_is_forwarded_to_a_vcpu_whose_redistributor_sleeps() {
    let mut gic = gic(1);
    write_private(&mut gic, 0, 0x14, 2);
    write_private(&mut gic, 0, PRIVATE + 0x100, 1 << 27);
    write_private(&mut gic, 0, PRIVATE + 0x200, 1 << 27);
    assert_eq!(drain(&mut gic, ZERO), []);
    write_private(&mut gic, 0, 0x14, 0);
    assert_eq!(drain(&mut gic, ZERO), [27]);
}

#[test]
fn software_interrupts_are_enabled_and_pended_like_others() {
    let mut gic = gic(1);
    write_private(&mut gic, 0, PRIVATE + 0x200, 1 << 3);
    assert_eq!(drain(&mut gic, ZERO), []);
    write_private(&mut gic, 0, PRIVATE + 0x100, 1 << 3);
    assert_eq!(drain(&mut gic, ZERO), [3]);
}

#[test]
fn system_registers_generate_interrupts() {
    // (what it shows, generator, value, who gets it)
    let cases: &[(&str, Generator, u64, &[usize])] = &[
        ("a list", Generator::Group1, 0b101 | 5 << 24, &[0, 2]),
        ("itself", Generator::Group1, 0b010 | 5 << 24, &[1]),
        ("nobody", Generator::Group1, 5 << 24, &[]),
        ("beyond the vCPUs", Generator::Group1, 0xfff8 | 5 << 24, &[]),
        ("all others, whatever the list", Generator::Group1, 1 << 40 | 0xffff | 5 << 24, &[0, 2]),
        ("another cluster", Generator::Group1, 1 << 16 | 1 | 5 << 24, &[]),
        ("another cluster of clusters", Generator::Group1, 1 << 32 | 1 | 5 << 24, &[]),
        ("another system", Generator::Group1, 1 << 48 | 1 | 5 << 24, &[]),
        ("another range", Generator::Group1, 1 << 44 | 1 | 5 << 24, &[]),
        ("another group", Generator::Group0, 0b111 | 5 << 24, &[]),
        ("its group", Generator::Group0, 0b001 | 6 << 24, &[0]),
        ("another security state", Generator::Other, 0b111 | 5 << 24, &[]),
    ];
    for (name, generator, value, receivers) in cases {
        let mut gic = gic(3);
        for n in 0..3 {
            write_private(&mut gic, n, PRIVATE + 0x080, 1 << 5);
            write_private(&mut gic, n, PRIVATE + 0x100, 3 << 5);
        }
        gic.generate_v3(vcpu(1), *generator, *value);
        let got: Vec<_> = (0..3).filter(|n| !drain(&mut gic, vcpu(*n)).is_empty()).collect();
        assert_eq!(got, *receivers, "{name}");
    }
}

#[test]
fn traps_of_the_system_registers_are_told_apart() {
    // ISS of MSR ICC_SGI1R_EL1, x7 and so on (Arm ARM, ESR_EL2, EC 0x18).
    let iss = |crm: u64, op2: u64, read: u64| 3 << 20 | op2 << 17 | 12 << 10 | 7 << 5 | crm << 1 | read;
    let cases = [
        (iss(11, 5, 0), Some(Generator::Group1)),
        (iss(11, 6, 0), Some(Generator::Other)),
        (iss(11, 7, 0), Some(Generator::Group0)),
        (iss(11, 5, 1), None),
        (iss(12, 5, 0), None),
        (iss(11, 4, 0), None),
    ];
    for (iss, expected) in cases {
        assert_eq!(Generator::decode(iss), expected, "{iss:#x}");
    }
}
