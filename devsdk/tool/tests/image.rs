// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! What the image of a system with one of everything holds, seen as the kernel sees it.

mod common;

use std::fs;
use std::ops::Range;
use std::path::Path;

use devsdk_image::{
    BADGE_CALL, Boot, Cap, Domain, IPC_BUFFER, LOAD_ADDRESS, Map, NONE, PAGE_SIZE, RAM, STACK_TOP, Zero, slot,
};
use zerocopy::{FromBytes, IntoBytes};

const SYSTEM: &str = r#"<system>
    <memory_region name="ram" size="0x400000" page_size="0x200000" />
    <memory_region name="file" size="0x3000" prefill_path="long" />
    <memory_region name="fixed" size="0x2000" phys_addr="0x71000000" prefill_path="long" />
    <memory_region name="uart" size="0x1000" phys_addr="0x9000000" />
    <protection_domain name="parent" priority="100" fpu="false" smc="true" stack_size="0x4000">
        <program_image path="program.elf" />
        <map mr="ram" vaddr="0x40000000" setvar_size="value" />
        <map mr="file" vaddr="0x50000000" perms="r" setvar_prefill_size="other" />
        <setvar symbol="third" region_paddr="ram" />
        <virtual_machine name="guest" priority="50" budget="10" period="20">
            <vcpu id="3" />
            <vcpu id="4" />
            <map mr="ram" vaddr="0x80000000" perms="rwx" />
        </virtual_machine>
        <protection_domain name="child" id="5" passive="true">
            <program_image path="program.elf" />
            <map mr="uart" vaddr="0x60000000" cached="false" setvar_vaddr="value" />
            <irq irq="33" id="7" trigger="edge" setvar_id="third" />
            <cspace>
                <cap_tcb slot="9" pd="parent" />
            </cspace>
        </protection_domain>
    </protection_domain>
    <protection_domain name="server" priority="200">
        <program_image path="program.elf" />
        <map mr="fixed" vaddr="0x70000000" />
    </protection_domain>
    <channel>
        <end pd="parent" id="1" pp="true" />
        <end pd="server" id="2" notify="false" setvar_id="value" />
    </channel>
</system>"#;

/// Where the test kernel's pages end: see `common::directory`.
const DESCRIPTION: usize = 0x3000;

struct Image {
    words: Vec<u64>,
}

impl Image {
    /// Packs [`SYSTEM`] into `name`.
    fn new(name: &str) -> Self {
        let directory = common::directory(name);
        fs::write(directory.join("system.xml"), SYSTEM).unwrap();
        let tool = Path::new(env!("CARGO_BIN_EXE_microkit"));
        let output = common::run(tool, &directory.join("sdk"), &directory, "system.xml".as_ref(), "loader.img");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bytes = fs::read(directory.join("loader.img")).unwrap();
        // Cleared memory follows the image.
        let mut words = vec![0u64; bytes.len().div_ceil(8) + 0x1000];
        words.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
        Self { words }
    }

    fn boot(&self) -> Boot<'_> {
        Boot::parse(&self.words.as_bytes()[DESCRIPTION..]).unwrap()
    }

    /// The image's bytes at a physical address.
    fn bytes(&self, address: u64, length: usize) -> &[u8] {
        let start = usize::try_from(address - LOAD_ADDRESS).unwrap();
        &self.words.as_bytes()[start..start + length]
    }

    /// A word of the program of a domain.
    fn word(&self, domain: &Domain, virt: u64) -> u64 {
        let map = map(&self.boot(), domain, virt & !(PAGE_SIZE - 1));
        u64::read_from_bytes(self.bytes(map.phys + (virt - map.virt), 8)).unwrap()
    }
}

fn domain<'a>(boot: &Boot<'a>, name: &str) -> &'a Domain {
    boot.domains.iter().find(|domain| domain.name == devsdk_image::name(name)).unwrap()
}

/// The mapping of a domain's page.
fn map<'a>(boot: &Boot<'a>, domain: &Domain, virt: u64) -> &'a Map {
    let maps = &boot.maps[domain.maps.indices()];
    maps.iter().find(|map| (map.virt..map.virt + map.size).contains(&virt)).unwrap()
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

#[test]
fn the_kernel_starts_the_image() {
    let image = Image::new("kernel");
    assert_eq!(image.bytes(LOAD_ADDRESS, 0x123), [0x4b; 0x123]);
    assert!(image.bytes(LOAD_ADDRESS + 0x123, 0x2100 - 0x123).iter().all(|byte| *byte == 0));
}

#[test]
fn domains_are_as_described() {
    let image = Image::new("domains");
    let boot = image.boot();
    let [parent, child, server] = boot.domains else { panic!("three domains") };
    for (domain, name, priority, flags, parent, id) in [
        (parent, "parent", 100, Domain::ENDPOINT, NONE, 0),
        (child, "child", 0, Domain::PASSIVE | Domain::FPU, 0, 5),
        (server, "server", 200, Domain::ENDPOINT | Domain::FPU, NONE, 0),
    ] {
        assert_eq!(domain.name, devsdk_image::name(name));
        assert_eq!((domain.priority, domain.flags, domain.parent, domain.id), (priority, flags, parent, id), "{name}");
        assert_eq!((domain.budget, domain.period, domain.entry), (1000, 1000, common::START), "{name}");
        let buffer = map(&boot, domain, IPC_BUFFER);
        assert_eq!((buffer.virt, buffer.phys, buffer.size), (IPC_BUFFER, domain.ipc_buffer, PAGE_SIZE), "{name}");
        let stack = map(&boot, domain, STACK_TOP - 1);
        assert_eq!(
            (stack.virt, stack.size),
            (domain.stack_bottom, if name == "parent" { 0x4000 } else { 0x2000 }),
            "{name}"
        );
    }
    let [machine] = boot.machines else { panic!("one machine") };
    assert_eq!((parent.machine, machine.domain, machine.priority, machine.budget, machine.period), (0, 0, 50, 10, 20));
    assert_eq!(boot.vcpus.iter().map(|vcpu| (vcpu.machine, vcpu.id)).collect::<Vec<_>>(), [(0, 3), (0, 4)]);
    let [irq] = boot.irqs else { panic!("one interrupt") };
    assert_eq!((irq.number, irq.edge, irq.domain, irq.id), (33, 1, 1, 7));
}

#[test]
fn capabilities_are_in_microkit_slots() {
    let image = Image::new("caps");
    let boot = image.boot();
    let caps = |name| {
        let mut caps: Vec<_> = boot.caps[domain(&boot, name).caps.indices()]
            .iter()
            .map(|cap| (cap.slot, cap.kind, cap.object, cap.badge))
            .collect();
        caps.sort();
        caps
    };
    assert_eq!(
        caps("parent"),
        [
            (7, Cap::SMC, 0, 0),
            (10 + 1, Cap::NOTIFICATION, 2, 1 << 2),
            (74 + 1, Cap::ENDPOINT, 2, BADGE_CALL | 2),
            (202 + 5, Cap::TCB, 1, 0),
            (266 + 3, Cap::VCPU_TCB, 0, 0),
            (266 + 4, Cap::VCPU_TCB, 1, 0),
            (330 + 3, Cap::VCPU, 0, 0),
            (330 + 4, Cap::VCPU, 1, 0),
        ]
    );
    assert_eq!(caps("child"), [(138 + 7, Cap::IRQ, 0, 0), (9 << slot::ROOT_SHIFT, Cap::TCB, 0, 0)]);
    assert_eq!(caps("server"), []);
}

#[test]
fn programs_know_what_the_description_says() {
    let image = Image::new("symbols");
    let boot = image.boot();
    let ram = map(&boot, domain(&boot, "parent"), 0x4000_0000).phys;
    // In the order of `common::Elf::program`: passive, irqs, notifications, pps, ioports, value, other, third.
    let offsets = [0x40, 0x48, 0x50, 0x58, 0x60, 0x68, 0x70, 0x1008];
    let kept = 0x1111_1111_1111_1111;
    for (name, expected) in [
        ("parent", [kept & !0xff, 0, 1 << 1, 1 << 1, 0, 0x40_0000, 0x1001, ram]),
        ("child", [kept & !0xff | 1, 1 << 7, 0, 0, 0, 0x6000_0000, kept, 7]),
        ("server", [kept & !0xff, 0, 0, 0, 0, 2, kept, 0]),
    ] {
        let domain = domain(&boot, name);
        let words = offsets.map(|offset| image.word(domain, common::START + offset));
        assert_eq!(words, expected, "{name}");
        let start = map(&boot, domain, common::START).phys;
        assert_eq!(image.bytes(start, name.len()), name.as_bytes());
    }
}

#[test]
fn memory_holds_what_was_asked_for_and_nothing_twice() {
    let image = Image::new("memory");
    let boot = image.boot();
    let (parent, server) = (domain(&boot, "parent"), domain(&boot, "server"));
    let ram = map(&boot, parent, 0x4000_0000);
    assert_eq!((ram.size, ram.phys % 0x20_0000, ram.flags), (0x40_0000, 0, Map::READ | Map::WRITE | Map::CACHED));
    let guest = &boot.maps[boot.machines[0].maps.indices()];
    let all = Map::READ | Map::WRITE | Map::EXECUTE | Map::CACHED;
    assert_eq!(guest, [Map { virt: 0x8000_0000, phys: ram.phys, size: 0x40_0000, flags: all }]);
    let uart = map(&boot, domain(&boot, "child"), 0x6000_0000);
    assert_eq!((uart.phys, uart.flags), (0x900_0000, Map::READ | Map::WRITE));

    // A prefilled region is in place; one at a fixed address waits to be loaded there.
    let file = map(&boot, parent, 0x5000_0000);
    assert_eq!(file.flags, Map::READ | Map::CACHED);
    let [load] = boot.loads else { panic!("one load") };
    assert_eq!((load.to, map(&boot, server, 0x7000_0000).phys, load.size), (0x7100_0000, 0x7100_0000, 0x1010));
    for start in [file.phys, load.from] {
        assert_eq!(image.bytes(start, 0x1001), [0x22; 0x1001]);
        assert!(image.bytes(start + 0x1001, 0xf).iter().all(|byte| *byte == 0));
    }

    // No memory has two uses, and all of it that the image does not cover is cleared.
    let carried = LOAD_ADDRESS..boot.header.image_end;
    let mut uses: Vec<Range<u64>> = boot
        .domains
        .iter()
        .flat_map(|domain| &boot.maps[domain.maps.indices()])
        .map(|map| map.phys..map.phys + map.size)
        .collect();
    uses.push(LOAD_ADDRESS..LOAD_ADDRESS + DESCRIPTION as u64 + boot.header.length);
    uses.push(load.from..load.from + load.size);
    uses.push(boot.header.pool..boot.header.pool + boot.header.pool_size);
    for (index, a) in uses.iter().enumerate() {
        assert!(uses.iter().skip(index + 1).all(|b| !overlap(a, b)), "{a:x?} in {uses:x?}");
    }
    let cleared = |address| {
        carried.contains(&address)
            || boot.zeroes.iter().any(|Zero { address: start, size }| (*start..start + size).contains(&address))
    };
    for used in boot.maps.iter().map(|map| map.phys..map.phys + map.size).filter(|used| RAM.contains(&used.start)) {
        assert!(used.clone().step_by(0x1000).all(cleared), "{used:x?}");
    }
    for zero in boot.zeroes {
        assert!(!overlap(&(zero.address..zero.address + zero.size), &carried));
    }
}

#[test]
fn the_report_says_where_everything_is() {
    Image::new("report");
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report/loader.img.txt");
    let report = fs::read_to_string(report).unwrap();
    for line in [
        "This image runs on devsdk, a development stand-in. It is not seL4 and is not verified.",
        "  0x0071000000–0x0071002000  region fixed",
        "  0x0060000000–0x0060001000  rw- device  uart",
        "  interrupt   7 is 33, edge-triggered",
        "  channel     1 notifies and calls server, channel 2",
        "  child of      parent, as 5",
        "Virtual machine guest of parent",
    ] {
        assert!(report.lines().any(|found| found == line), "no line {line:?} in\n{report}");
    }
}
