// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

mod v3;

use super::*;
use crate::exit::Width;

const ZERO: VcpuId = VcpuId::BOOT;

fn vcpu(n: usize) -> VcpuId {
    VcpuId::new(n).unwrap()
}

/// A distributor that forwards group 0, with four list registers.
fn gic(vcpus: usize) -> Gic {
    let mut gic = Gic::new(Version::V2, vcpus);
    gic.set_list_registers(4);
    write(&mut gic, 0, 1);
    gic
}

fn write(gic: &mut Gic, offset: u64, value: u64) {
    gic.write_v2(ZERO, offset, Width::Word, value).expect("a register");
}

fn read(gic: &Gic, offset: u64) -> u64 {
    gic.read_v2(ZERO, offset, Width::Word).expect("a register")
}

fn drain(gic: &mut Gic, vcpu: VcpuId) -> Vec<u16> {
    std::iter::from_fn(|| gic.next_injection(vcpu)).map(|i| i.intid.id()).collect()
}

#[test]
fn registers_read_back_what_the_architecture_keeps() {
    // (offset, written, read back)
    let cases: &[(u64, u64, u64)] = &[
        (0x000, 0xffff_ffff, 0x3),
        (0x004, 0xffff_ffff, 0x27),
        (0x008, 0, 0x43b),
        (0x080, 0x1, 0x1),
        (0x100, 0x8000_0000, 0x8000_ffff),
        (0x104, 0xf0, 0xf0),
        (0x184, 0x30, 0xc0),
        (0x200, 0xffff, 0),
        (0x204, 0x3, 0x3),
        (0x284, 0x1, 0x2),
        (0x304, 0x5, 0x5),
        (0x384, 0x4, 0x1),
        (0x400, 0x0102_ffff, 0x0000_f8f8),
        (0x420, 0xa7a7_a7a7, 0xa0a0_a0a0),
        (0x800, 0, 0x0101_0101),
        (0x820, 0xff02_0103, 0x0302_0103),
        (0xc00, 0, 0xaaaa_aaaa),
        (0xc04, 0xffff_ffff, 0xaaaa_aaaa),
        (0xc08, 0xffff_ffff, 0xaaaa_aaaa),
        (0xf20, 0x0102, 0x0102),
        (0xf10, 0x0002, 0x0100),
        (0xfe8, 0, 0x2b),
        (0xfd0, 0xff, 0x04),
        (0xffc, 0, 0xb1),
    ];
    let mut gic = gic(2);
    for (offset, written, expected) in cases {
        write(&mut gic, *offset, *written);
        assert_eq!(read(&gic, *offset), *expected, "offset {offset:#x}");
    }
}

#[test]
fn a_single_vcpu_is_the_target_of_everything_and_there_is_no_register_for_it() {
    let mut gic = gic(1);
    write(&mut gic, 0x820, 0);
    assert_eq!((read(&gic, 0x800), read(&gic, 0x820)), (0, 0));
    write(&mut gic, 0x104, 1);
    write(&mut gic, 0x204, 1);
    assert_eq!(drain(&mut gic, ZERO), [32]);
}

#[test]
fn registers_of_interrupts_that_do_not_exist_are_zero_and_other_offsets_are_said_to_be_nothing() {
    let mut gic = gic(2);
    let first = [0x0a0, 0x120, 0x1a0, 0x220, 0x2a0, 0x320, 0x3a0, 0x500, 0x900, 0xc40, 0xe00];
    let last = [0x0fc, 0x17c, 0x1fc, 0x27c, 0x2fc, 0x37c, 0x3fc, 0x7f8, 0xbf8, 0xcfc, 0xefc];
    for offset in first.into_iter().chain(last) {
        write(&mut gic, offset, u64::MAX);
        assert_eq!(read(&gic, offset), 0, "{offset:#x}");
    }
    for offset in [0x00c, 0x040, 0x07c, 0x7fc, 0xbfc, 0xd00, 0xf04, 0xf30, 0xfcc, 0x1000, 0xffff, u64::MAX] {
        assert_eq!(gic.read_v2(ZERO, offset, Width::Word), None, "{offset:#x}");
        assert_eq!(gic.write_v2(ZERO, offset, Width::Word, u64::MAX), None, "{offset:#x}");
    }
}

#[test]
fn private_interrupts_have_a_register_for_each_vcpu() {
    // (offset, written by 0, read by 0, read by 1)
    let cases: &[(u64, u64, u64, u64)] = &[
        (0x080, 0xff00_0001, 0xff00_0001, 0),
        (0x100, 0x0800_0000, 0x0800_ffff, 0xffff),
        (0x200, 0x0800_0000, 0x0800_0000, 0),
        (0x300, 0x0800_0002, 0x0800_0002, 0),
        (0x400, 0xf8f0_e8e0, 0xf8f0_e8e0, 0),
        (0x800, 0, 0x0101_0101, 0x0202_0202),
        (0xc04, 0xaaaa_aaaa, 0xaaaa_aaaa, 0),
        (0xf20, 0x0300_0201, 0x0300_0201, 0),
        (0x084, 1, 1, 1),
        (0x104, 1, 1, 1),
        (0x820, 2, 2, 2),
    ];
    let mut gic = gic(2);
    for (offset, written, zero, one) in cases {
        write(&mut gic, *offset, *written);
        let read = |n| gic.read_v2(vcpu(n), *offset, Width::Word).unwrap();
        assert_eq!((read(0), read(1)), (*zero, *one), "offset {offset:#x}");
    }
    assert_eq!(gic.read_v2(vcpu(1), 0x200, Width::Word), Some(0), "pending where it was sent to, and nowhere else");
}

#[test]
fn pending_software_interrupts_are_set_and_cleared_by_sender() {
    let mut gic = gic(3);
    write(&mut gic, 0xf24, 0xff00_0500);
    assert_eq!(read(&gic, 0xf24), 0x0700_0500, "there are three vCPUs");
    assert_eq!(read(&gic, 0x200), 0xa0);
    write(&mut gic, 0x280, 0xffff);
    assert_eq!(read(&gic, 0x200), 0xa0, "not by the register of the others");
    write(&mut gic, 0xf14, 0x0700_0100);
    assert_eq!((read(&gic, 0xf14), read(&gic, 0x200)), (0x400, 0x20));
    gic.write_v2(ZERO, 0xf15, Width::Byte, 0x04).unwrap();
    assert_eq!((read(&gic, 0xf24), read(&gic, 0x200)), (0, 0));
    assert_eq!(drain(&mut gic, ZERO), []);
}

#[test]
fn an_interrupt_made_active_by_software_waits_until_it_is_not() {
    let mut gic = gic(1);
    write(&mut gic, 0x104, 1);
    write(&mut gic, 0x304, 1);
    write(&mut gic, 0x204, 1);
    assert_eq!(drain(&mut gic, ZERO), []);
    write(&mut gic, 0x384, 1);
    assert_eq!(drain(&mut gic, ZERO), [32]);
}

#[test]
fn a_level_interrupt_pended_by_software_is_pending_until_taken_or_cleared() {
    let mut gic = gic(1);
    write(&mut gic, 0x204, 2);
    gic.set_line(IntId::spi(1), true);
    write(&mut gic, 0x284, 2);
    assert_eq!(read(&gic, 0x204), 2, "the line is still high");
    write(&mut gic, 0x204, 2);
    gic.set_line(IntId::spi(1), false);
    assert_eq!(read(&gic, 0x204), 2, "and now it is software's");
    write(&mut gic, 0x284, 2);
    assert_eq!(read(&gic, 0x204), 0);
}

#[test]
fn what_is_in_a_list_register_reads_as_active_and_perhaps_as_pending() {
    for (masked, pending) in [(false, 0), (true, 1)] {
        let mut gic = gic(2);
        write(&mut gic, 0x104, 1);
        gic.write_v2(ZERO, 0x820, Width::Byte, 1).unwrap();
        write(&mut gic, 0x204, 1);
        gic.set_masked(ZERO, masked);
        assert_eq!(drain(&mut gic, ZERO), [32]);
        assert_eq!((read(&gic, 0x204), read(&gic, 0x304)), (pending, 1));
        gic.end_of_interrupt(ZERO, 0);
        assert_eq!((read(&gic, 0x204), read(&gic, 0x304)), (0, 0));
    }
}

#[test]
fn narrow_and_wide_accesses_reach_their_part() {
    let mut gic = gic(2);
    gic.write_v2(ZERO, 0x421, Width::Byte, 0x48).unwrap();
    gic.write_v2(ZERO, 0x422, Width::Half, 0x1020).unwrap();
    assert_eq!(read(&gic, 0x420), 0x1020_4800);
    assert_eq!(gic.read_v2(ZERO, 0x421, Width::Byte), Some(0x48));
    gic.write_v2(ZERO, 0x104, Width::Double, 0x2_0000_0001).unwrap();
    assert_eq!((read(&gic, 0x104), read(&gic, 0x108)), (1, 2));
    assert_eq!(gic.read_v2(ZERO, 0x104, Width::Double), Some(0x2_0000_0001));
    gic.write_v2(ZERO, 0x185, Width::Byte, 0xff).unwrap();
    assert_eq!(read(&gic, 0x104), 1, "only the byte that was written clears");
}

#[test]
fn an_interrupt_pended_while_disabled_is_delivered_when_enabled() {
    let mut gic = gic(1);
    write(&mut gic, 0x204, 1 << 3);
    assert_eq!(drain(&mut gic, ZERO), []);
    write(&mut gic, 0x104, 1 << 3);
    assert_eq!(drain(&mut gic, ZERO), [35]);
    gic.end_of_interrupt(ZERO, 0);
    assert_eq!(drain(&mut gic, ZERO), [], "once");
}

#[test]
fn a_level_line_still_asserted_is_delivered_again_and_an_edge_is_not() {
    for (edge, again) in [(0, vec![33]), (2 << 2, vec![])] {
        let mut gic = gic(1);
        write(&mut gic, 0xc08, edge);
        write(&mut gic, 0x104, 1 << 1);
        gic.set_line(IntId::spi(1), true);
        assert_eq!(drain(&mut gic, ZERO), [33]);
        gic.set_line(IntId::spi(1), true);
        gic.end_of_interrupt(ZERO, 0);
        assert_eq!(drain(&mut gic, ZERO), again);
    }
}

#[test]
fn an_edge_while_active_is_delivered_after_the_end() {
    let mut gic = gic(1);
    write(&mut gic, 0xc08, 2 << 2);
    write(&mut gic, 0x104, 1 << 1);
    for high in [true, false, true] {
        gic.set_line(IntId::spi(1), high);
    }
    assert_eq!(drain(&mut gic, ZERO), [33]);
    for high in [false, true] {
        gic.set_line(IntId::spi(1), high);
    }
    assert_eq!(drain(&mut gic, ZERO), []);
    gic.end_of_interrupt(ZERO, 0);
    assert_eq!(drain(&mut gic, ZERO), [33]);
}

#[test]
fn priority_orders_delivery_and_nothing_is_lost_when_list_registers_are_full() {
    let mut gic = gic(1);
    write(&mut gic, 0x104, 0xff);
    for (offset, priorities) in [(0x420, 0x8090_a0b0), (0x424, 0x4050_6070)] {
        write(&mut gic, offset, priorities);
    }
    write(&mut gic, 0x204, 0xff);
    assert_eq!(drain(&mut gic, ZERO), [39, 38, 37], "the last list register is kept");
    gic.end_of_interrupt(ZERO, 2);
    let next = gic.next_injection(ZERO).unwrap();
    assert_eq!((next.intid.id(), next.lr, next.priority), (36, 2, 0x70 >> 3));
    write(&mut gic, 0x208, 1);
    write(&mut gic, 0x108, 1);
    assert_eq!(drain(&mut gic, ZERO), [64], "for what is more urgent than all others");
    for lr in 0..4 {
        gic.end_of_interrupt(ZERO, lr);
    }
    assert_eq!(drain(&mut gic, ZERO), [35, 34, 33]);
    gic.end_of_interrupt(ZERO, 0);
    assert_eq!(drain(&mut gic, ZERO), [32]);
}

#[test]
fn the_lowest_priority_never_passes_and_takes_no_list_register() {
    let mut gic = gic(1);
    write(&mut gic, 0x104, 3);
    write(&mut gic, 0x420, 0xf0ff);
    write(&mut gic, 0x204, 3);
    assert_eq!(drain(&mut gic, ZERO), [33]);
}

#[test]
fn groups_are_forwarded_by_their_own_bits() {
    let mut gic = gic(1);
    write(&mut gic, 0x084, 1 << 2);
    write(&mut gic, 0x104, 0b110);
    write(&mut gic, 0x204, 0b110);
    assert_eq!(drain(&mut gic, ZERO), [33]);
    write(&mut gic, 0, 2);
    let one = gic.next_injection(ZERO).unwrap();
    assert_eq!((one.intid.id(), one.group), (34, 1));
}

#[test]
fn each_sender_of_a_software_interrupt_is_delivered_by_itself() {
    let mut gic = gic(3);
    for sender in [0, 1] {
        gic.write_v2(vcpu(sender), 0xf00, Width::Word, 1 << 24 | 5).unwrap();
    }
    assert_eq!(drain(&mut gic, ZERO), [5], "from 1");
    assert_eq!(drain(&mut gic, vcpu(2)), [5], "from 0, and then");
    gic.end_of_interrupt(vcpu(2), 0);
    assert_eq!(drain(&mut gic, vcpu(2)), [5], "from 1");
    gic.end_of_interrupt(vcpu(2), 0);
    assert_eq!(drain(&mut gic, vcpu(2)), []);
    gic.write_v2(ZERO, 0xf00, Width::Word, 0b110 << 16 | 6).unwrap();
    gic.write_v2(ZERO, 0xf00, Width::Word, 2 << 24 | 7).unwrap();
    gic.write_v2(ZERO, 0xf00, Width::Word, 3 << 24 | 8).unwrap();
    assert_eq!([0, 1, 2].map(|n| drain(&mut gic, vcpu(n))), [vec![7], vec![5, 6], vec![6]]);
}

#[test]
fn a_shared_interrupt_goes_to_one_of_its_targets() {
    let mut gic = gic(2);
    write(&mut gic, 0x104, 1 << 1);
    gic.write_v2(ZERO, 0x821, Width::Byte, 0b10).unwrap();
    gic.set_line(IntId::spi(1), true);
    assert_eq!(drain(&mut gic, ZERO), []);
    assert_eq!(drain(&mut gic, vcpu(1)), [33]);
    gic.write_v2(ZERO, 0x821, Width::Byte, 0b11).unwrap();
    assert_eq!(drain(&mut gic, ZERO), [], "the other one has it");
    gic.end_of_interrupt(vcpu(1), 0);
    assert_eq!(drain(&mut gic, ZERO), [33]);
    assert_eq!(drain(&mut gic, vcpu(1)), []);
}

#[test]
fn the_timer_is_acknowledged_when_its_interrupt_ends() {
    let mut gic = gic(1);
    write(&mut gic, 0x100, 1 << 27);
    gic.timer_fired(ZERO);
    assert_eq!(drain(&mut gic, ZERO), [27]);
    assert_eq!(gic.take_timer_acks(), 0);
    gic.end_of_interrupt(ZERO, 0);
    assert_eq!(gic.take_timer_acks(), 1);
    assert_eq!(drain(&mut gic, ZERO), [], "whether it still fires is the hardware's to say");
}

#[test]
fn a_timer_that_fired_while_disabled_is_sampled_anew_when_enabled() {
    let mut gic = gic(1);
    gic.timer_fired(ZERO);
    assert_eq!(drain(&mut gic, ZERO), []);
    assert_eq!(gic.take_timer_acks(), 0, "no acknowledgement, so no storm of exits");
    write(&mut gic, 0x100, 1 << 27);
    assert_eq!(drain(&mut gic, ZERO), [], "the guest may have set it anew");
    assert_eq!(gic.take_timer_acks(), 1);
    gic.timer_fired(ZERO);
    assert_eq!(drain(&mut gic, ZERO), [27]);
}

#[test]
fn a_list_register_that_does_not_exist_is_not_tried_again() {
    let mut gic = gic(1);
    gic.set_list_registers(16);
    write(&mut gic, 0x104, 0xff);
    write(&mut gic, 0x204, 0x3f);
    let mut taken = vec![];
    while let Some(injection) = gic.next_injection(ZERO) {
        if injection.lr < 4 { taken.push(injection.intid.id()) } else { gic.refused(injection) }
    }
    assert_eq!(taken, [32, 33, 34, 35]);
    gic.end_of_interrupt(ZERO, 3);
    gic.end_of_interrupt(ZERO, 2);
    assert_eq!(drain(&mut gic, ZERO), [36]);
}

#[test]
fn a_software_interrupt_that_was_refused_keeps_its_sender() {
    let mut gic = gic(2);
    gic.write_v2(vcpu(1), 0xf00, Width::Word, 0b01 << 16 | 5).unwrap();
    let injection = gic.next_injection(ZERO).unwrap();
    assert_eq!(read(&gic, 0xf24), 0);
    gic.refused(injection);
    assert_eq!((read(&gic, 0xf24), read(&gic, 0x200)), (0x200, 0x20));
}

#[test]
fn what_a_vcpu_had_not_ended_when_it_went_off_is_taken_by_another() {
    let mut gic = gic(2);
    write(&mut gic, 0x104, 0b111);
    for interrupt in 0..3 {
        gic.write_v2(ZERO, 0x820 + interrupt, Width::Byte, 0b10).unwrap();
    }
    gic.set_line(IntId::spi(1), true);
    write(&mut gic, 0x204, 0b101);
    gic.write_v2(ZERO, 0xf00, Width::Word, 0b10 << 16 | 5).unwrap();
    assert_eq!(drain(&mut gic, vcpu(1)), [5, 32, 33]);
    gic.stop(vcpu(1));
    assert_eq!(read(&gic, 0x204), 0b111);
    assert_eq!(drain(&mut gic, vcpu(1)), [], "not by a vCPU that is off");
    for interrupt in 0..3 {
        gic.write_v2(ZERO, 0x820 + interrupt, Width::Byte, 0b01).unwrap();
    }
    assert_eq!(drain(&mut gic, ZERO), [32, 33, 34]);
    gic.end_of_interrupt(ZERO, 0);
    assert_eq!(read(&gic, 0x304), 0b110);
    gic.restart(vcpu(1));
    for lr in 0..3 {
        gic.end_of_interrupt(vcpu(1), lr);
    }
    assert_eq!(read(&gic, 0x304), 0b110, "the other vCPU has them still");
    assert_eq!(drain(&mut gic, vcpu(1)), []);
}

#[test]
fn a_reset_forgets_everything_but_what_the_list_registers_hold() {
    let mut gic = gic(2);
    write(&mut gic, 0x100, 1 << 27);
    gic.timer_fired(ZERO);
    assert_eq!(drain(&mut gic, ZERO), [27]);
    gic.reset();
    for (offset, value) in [(0, 0), (0x100, 0xffff), (0x200, 0), (0x300, 0), (0x400, 0)] {
        assert_eq!(read(&gic, offset), value, "{offset:#x}");
    }
    assert_eq!((gic.take_timer_acks(), gic.next_injection(ZERO)), (0, None));
    write(&mut gic, 0, 1);
    write(&mut gic, 0xf00, 1 << 16 | 5);
    assert_eq!(gic.next_injection(ZERO).map(|injection| injection.lr), Some(1), "the first list register is not free");
    gic.end_of_interrupt(ZERO, 0);
    write(&mut gic, 0xf00, 1 << 16 | 6);
    assert_eq!(gic.next_injection(ZERO).map(|injection| injection.lr), Some(0), "it is now");
}
