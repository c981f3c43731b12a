// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the tool writes for a system in which nothing is wrong.

mod fixture;

use config::{
    Access, Blk, Channel, Ending, Gic, Link, LogLevel, Net, PartKind, Power, Record, Rng, Serial, Size, Supervisor,
    Timer, Vmm, Window,
};
use fixture::{Fixture, gzip};
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

const SYSTEM: &str = include_str!("base.xml");
const VIRTIO: &str = include_str!("virtio.xml");
const SUPERVISED: &str = include_str!("supervised.xml");
const BOARD: &str = include_str!("board.dtd");

fn output(fixture: &Fixture, path: &str) -> Vec<u8> {
    fs::read(fixture.dir.join("out").join(path)).unwrap()
}

/// A file at the alignment that a page has.
#[repr(align(4096))]
struct Page([u8; 4096]);

impl Page {
    fn read(fixture: &Fixture, path: &str) -> Self {
        Self(output(fixture, path).try_into().expect("a configuration is one page"))
    }
}

fn link(vaddr: u64, size: u64, channel: u8) -> Link {
    Link { queues: window(vaddr, size), channel: Channel::new(channel) }
}

fn window(vaddr: u64, size: u64) -> Window {
    Window { vaddr, size }
}

#[test]
fn the_system_is_plain_sdf_with_a_configuration_for_each_pd() {
    let fixture = Fixture::new("plain", SYSTEM, BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let written = String::from_utf8(output(&fixture, "system.xml")).unwrap();
    assert_eq!(written, include_str!("expected.xml"));
}

#[test]
fn a_guests_ram_is_mapped_by_its_vmm_and_the_guest_alone() {
    let fixture = Fixture::new("maps", VIRTIO, BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let text = String::from_utf8(output(&fixture, "maps.txt")).unwrap();
    let of = |region: &str| {
        let (_, rest) = text.split_once(&format!("\n{region}: ")).expect(region);
        rest.split("\n\n").next().unwrap().trim_end()
    };
    for guest in ["a", "b"] {
        let expected = format!(
            "0x40_0000 bytes\n  domain {:<32}    0x4000_0000 rw\n  guest  {guest:<32}    0x4000_0000 rwx",
            format!("{guest}_vmm")
        );
        assert_eq!(of(&format!("{guest}_ram")), expected);
    }
    let domains =
        |region| of(region).lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect::<Vec<_>>();
    assert_eq!(domains("a_blk0"), ["a_vmm", "blk"], "and a queue by both ends");
}

#[test]
fn a_vmm_is_told_its_windows_texts_and_channels() {
    let policy = "kernel-format=\"flat\" on-crash=\"restart\" on-reset=\"halt\" restart-limit=\"3\"";
    let fixture = Fixture::new("vmm", &SYSTEM.replace("kernel-format=\"flat\"", policy), BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let page = Page::read(&fixture, "config/a_vmm.bin");
    let a = Vmm::from_file(&page.0).unwrap();
    assert_eq!(a.name.as_str(), "a");
    assert_eq!(a.ram, window(0x4000_0000, 0x40_0000));
    assert_eq!(a.kernel, window(0x5000_0000, 0x1000));
    assert_eq!(a.initramfs, window(0x6000_0000, 0x123), "to the byte");
    assert_eq!(a.dtb, window(0x7000_0000, 0x48));
    assert_eq!(a.dtb_fragment, window(0x7100_0000, 0x48));
    assert_eq!(a.bootargs.as_str(), "console=ttyAMA0 a&b", "entities within entities and of XML are expanded");
    assert_eq!((a.vcpus, a.gic, a.log_level), (2, Gic::V2, LogLevel::Info));
    assert_eq!((a.serial.queues, a.serial.channel), (window(0x8000_0000, 0x4000), Channel::new(1)));
    assert_eq!((a.power, a.timer), (Channel::new(5), Channel::new(6)));
    assert_eq!((a.on_crash, a.on_reset, a.restart_limit), (Ending::Off, Ending::Restart, 5), "unless set");

    let page = Page::read(&fixture, "config/b_vmm.bin");
    let b = Vmm::from_file(&page.0).unwrap();
    assert_eq!((b.name.as_str(), b.bootargs.as_str(), b.vcpus, b.log_level), ("b", "", 1, LogLevel::Warn));
    assert_eq!((b.on_crash, b.on_reset, b.restart_limit), (Ending::Restart, Ending::Halt, 3));
    assert_eq!(b.kernel, window(0x5000_0000, 0x30), "a flat binary");
    assert!(b.initramfs.is_empty() && b.dtb.is_empty() && b.dtb_fragment.is_empty());
    assert_eq!((b.serial.channel, b.power, b.timer), (Channel::new(4), Channel::NONE, Channel::NONE));
}

#[test]
fn drivers_are_told_their_device_and_their_clients_in_order() {
    let fixture = Fixture::new("drivers", SYSTEM, BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let page = Page::read(&fixture, "config/serial.bin");
    let serial = Serial::from_file(&page.0).unwrap();
    assert_eq!((serial.registers, serial.irq), (window(0x1000_0000, 0x1000), Channel::new(7)));
    let clients: Vec<_> =
        serial.clients().iter().map(|client| (client.name.as_str(), client.link.queues, client.link.channel)).collect();
    let expected =
        [("a", window(0x3000_0000, 0x4000), Channel::new(2)), ("b", window(0x2000_0000, 0x4000), Channel::new(3))];
    assert_eq!(clients, expected);

    let page = Page::read(&fixture, "config/power.bin");
    assert_eq!(Power::from_file(&page.0).unwrap().guests, 1 << 6, "only `a` has a channel to it");

    let page = Page::read(&fixture, "config/timer.bin");
    let timer = Timer::from_file(&page.0).unwrap();
    assert_eq!((timer.irq, timer.clients), (Channel::new(9), 1 << 3), "as to this");
}

#[test]
fn a_vmm_is_told_its_virtio_devices() {
    let system = VIRTIO.replace("virtio=\"b_page\"", "virtio=\"b_page\" access-platform=\"true\"");
    let fixture = Fixture::new("virtio-vmm", &system, BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let page = Page::read(&fixture, "config/a_vmm.bin");
    let a = Vmm::from_file(&page.0).unwrap();
    assert_eq!(a.virtio, window(0x5100_0000, 0x1000));
    assert_eq!(a.blk, [link(0x6000_0000, 0x1000, 1), link(0x6100_0000, 0x2000, 1)]);
    assert_eq!(a.blk_drivers.map(|name| name.as_str().to_owned()), ["blk", "blk"]);
    assert_eq!(a.net_drivers.map(|name| name.as_str().to_owned()), ["net", "net"]);
    assert_eq!(a.rng_driver.as_str(), "rng");
    assert_eq!(a.net, [link(0x6200_0000, 0x1_0000, 5), link(0x6300_0000, 0x1_0000, 5)]);
    assert_eq!((a.rng, a.serial), (link(0x6400_0000, 0x1000, 9), link(0x5200_0000, 0x4000, 13)));
    assert_eq!((a.console.link, a.console.size), (link(0x6500_0000, 0x2000, 13), Size { columns: 132, rows: 43 }));

    let page = Page::read(&fixture, "config/b_vmm.bin");
    let b = Vmm::from_file(&page.0).unwrap();
    assert_eq!(b.blk, [link(0x6000_0000, 0x1000, 3), Link::NONE]);
    assert_eq!((a.virtio_features, b.virtio_features), (0, 1 << 33), "VIRTIO_F_ACCESS_PLATFORM only where it is set");
    assert_eq!((b.net[1], b.rng, b.console.link), (Link::NONE, Link::NONE, Link::NONE));
}

#[test]
fn drivers_of_virtio_devices_are_told_their_device_and_what_each_client_gets() {
    let fixture = Fixture::new("virtio-drivers", VIRTIO, BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let page = Page::read(&fixture, "config/blk.bin");
    let blk = Blk::from_file(&page.0).unwrap();
    assert_eq!(blk.device.registers, window(0x1000_0e00, 0x200), "from the offset on");
    assert_eq!((blk.device.dma, blk.device.irq), (window(0x2000_0000, 0x8_0000), Channel::new(0)));
    assert_eq!(blk.device.log, link(0x3000_0000, 0x2000, 11));
    let [root, range, second] = blk.clients() else { panic!("three clients") };
    assert_eq!((root.client.name.as_str(), root.client.link, root.ram), ("a", link(0x6000_0000, 0x1000, 2), 0x40_0000));
    assert_eq!((root.part.kind, root.part.name.as_str()), (PartKind::Name, "root"));
    assert_eq!(root.part.access, Access::ReadWrite);
    assert_eq!(range.client.link, link(0x6100_0000, 0x2000, 2));
    assert_eq!((range.part.kind, range.part.first, range.part.sectors), (PartKind::Sectors, 0x800, 0x800));
    assert_eq!(range.part.access, Access::ReadOnly);
    assert_eq!((second.client.name.as_str(), second.part.kind, second.part.index), ("b", PartKind::Index, 2));

    let page = Page::read(&fixture, "config/net.bin");
    let net = Net::from_file(&page.0).unwrap();
    let clients: Vec<_> = net.clients().iter().map(|net| (net.client.link.channel, net.ram, net.mac[5])).collect();
    let (six, eight) = (Channel::new(6), Channel::new(8));
    assert_eq!(clients, [(six, 0x40_0000, 0xa), (six, 0x40_0000, 0x1a), (eight, 0x40_0000, 0xb)]);
    assert_eq!(net.device.log, Link::NONE);

    let page = Page::read(&fixture, "config/rng.bin");
    let rng = Rng::from_file(&page.0).unwrap();
    assert_eq!(rng.device.registers, window(0x1000_0000, 0x1000), "no offset is 0");
    assert_eq!(rng.clients().iter().map(|client| client.link).collect::<Vec<_>>(), [link(0x6000_0000, 0x1000, 10)]);

    let page = Page::read(&fixture, "config/serial.bin");
    let serial = Serial::from_file(&page.0).unwrap();
    let [a, console, b, log] = serial.clients() else { panic!("four clients") };
    assert_eq!((a.name.as_str(), a.link), ("a", link(0x2020_0000, 0x4000, 14)));
    assert_eq!((console.name.as_str(), console.link), ("a/console0", link(0x2010_0000, 0x2000, 14)));
    assert_eq!((b.name.as_str(), b.link), ("b", link(0x2030_0000, 0x4000, 16)));
    assert_eq!((log.name.as_str(), log.link), ("blk", link(0x2000_0000, 0x2000, 12)));
}

#[test]
fn only_drivers_with_dma_get_physical_addresses() {
    let fixture = Fixture::new("virtio-paddrs", VIRTIO, BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let written = String::from_utf8(output(&fixture, "system.xml")).unwrap();
    let variables: Vec<&str> = written.lines().filter(|line| line.contains("<setvar")).map(str::trim).collect();
    let expected = [
        ("dma_paddr", "blk_dma"),
        ("client0_ram", "a_ram"),
        ("client1_ram", "a_ram"),
        ("client2_ram", "b_ram"),
        ("dma_paddr", "net_dma"),
        ("client0_ram", "a_ram"),
        ("client1_ram", "a_ram"),
        ("client2_ram", "b_ram"),
        ("dma_paddr", "rng_dma"),
    ];
    assert_eq!(
        variables,
        expected.map(|(symbol, region)| format!("<setvar symbol=\"{symbol}\" region_paddr=\"{region}\" />"))
    );
}

#[test]
fn a_board_without_gicv2_gives_its_guests_gicv3() {
    let board: String = BOARD.lines().filter(|line| !line.contains("gicv")).map(|line| format!("{line}\n")).collect();
    let board = board + "<!ENTITY gicv_region \"\">\n<!ENTITY gicv_map \"\">\n";
    let fixture = Fixture::new("gicv3", SYSTEM, &board);
    assert_eq!(fixture.expand(), Ok(()));
    let page = Page::read(&fixture, "config/a_vmm.bin");
    assert_eq!(Vmm::from_file(&page.0).unwrap().gic, Gic::V3);
}

#[test]
fn a_compressed_kernel_is_unpacked_and_the_region_filled_from_that() {
    let fixture = Fixture::new("gzip", &SYSTEM.replace("\"Image\"", "\"Image.gz\""), BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    assert_eq!(output(&fixture, "images/a_kernel"), fs::read(fixture.dir.join("Image")).unwrap());
    let page = Page::read(&fixture, "config/a_vmm.bin");
    assert_eq!(Vmm::from_file(&page.0).unwrap().kernel.size, 0x1000, "the unpacked size");
    let written = String::from_utf8(output(&fixture, "system.xml")).unwrap();
    let plain = include_str!("expected.xml").replace("prefill_path=\"Image\"", "prefill_path=\"images/a_kernel\"");
    assert_eq!(written, plain);
}

#[test]
fn a_supervisor_is_told_how_its_drivers_start() {
    let fixture = Fixture::new("supervised", SUPERVISED, BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let page = Page::read(&fixture, "config/drivers.bin");
    let supervisor = Supervisor::from_file(&page.0).unwrap();
    assert_eq!((supervisor.log, supervisor.restart_limit), (link(0x3000_0000, 0x2000, 3), 9));
    let drivers = supervisor.children().iter().map(|driver| (driver.name.as_str(), driver.id, driver.entry));
    assert_eq!(drivers.collect::<Vec<_>>(), [("serial", 5, 0x20_0040), ("power", 6, 0x20_0040)]);
    let page = Page::read(&fixture, "config/serial.bin");
    assert_eq!(Serial::from_file(&page.0).unwrap().clients()[0].name.as_str(), "drivers");
}

#[test]
fn what_has_not_changed_is_not_written_again() {
    let fixture = Fixture::new("unchanged", SYSTEM, BOARD);
    assert_eq!(fixture.expand(), Ok(()));
    let paths = ["system.xml", "config/a_vmm.bin", "config/b_vmm.bin"].map(|path| fixture.dir.join("out").join(path));
    let long_ago = UNIX_EPOCH;
    for path in &paths {
        fs::File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    fixture.write("system.xml", SYSTEM.replace("log=\"info\"", "log=\"debug\"").as_bytes());
    assert_eq!(fixture.expand(), Ok(()));
    let untouched = paths.map(|path| fs::metadata(path).unwrap().modified().unwrap() == long_ago);
    assert_eq!(untouched, [true, false, true]);
}

#[test]
fn the_repositorys_own_system_is_right_for_every_board() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let system = fs::read_to_string(root.join("system.xml")).unwrap();
    for board in fs::read_dir(root.join("board")).unwrap() {
        let board = board.unwrap().path().join("board.dtd");
        let entities = fs::read_to_string(&board).unwrap();
        let fixture = Fixture::new("own", &system, &entities);
        let driver = fs::read(fixture.dir.join("driver.elf")).unwrap();
        for program in entities.split('"').filter(|value| value.ends_with(".elf")) {
            fixture.write(program, &driver);
        }
        let image = fs::read(fixture.dir.join("Image")).unwrap();
        fixture.write("guests/linux/Image", &gzip(&image));
        fixture.write("guests/linux/initramfs.cpio", b"070701");
        assert_eq!(fixture.expand(), Ok(()), "{}", board.display());
    }
}
