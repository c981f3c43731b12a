// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The devices of a guest that drivers serve, and what each gets of the driver's device.

use crate::check::Checker;
use crate::driver::Class;
use crate::problem::Problem;
use crate::settings::{Setting, Settings};
use crate::source::At;
use crate::system::{Domain, Region, number};
use config::{Access, MAX_DISKS, MAX_INTERFACES, MAX_PARTITION_NAME, Part, PartKind, Size, Text};
use zerocopy::FromZeros;

/// Every device that a guest can have.
const DEVICES: [(&str, Class, usize); 7] = [
    (UART, Class::Serial, 0),
    (CONSOLE, Class::Serial, 0),
    ("blk0", Class::Blk, 0),
    ("blk1", Class::Blk, 1),
    ("net0", Class::Net, 0),
    ("net1", Class::Net, 1),
    ("rng0", Class::Rng, 0),
];
const _: () = assert!(MAX_DISKS == 2 && MAX_INTERFACES == 2);

/// The only device that is not virtio, and the only one that every guest has.
const UART: &str = "serial0";
/// Served by a serial driver as the UART is.
const CONSOLE: &str = "console0";
/// What a console has without a setting: what terminals have had since the VT100.
const SIZE: Size = Size { columns: 80, rows: 24 };

/// GPT has 36 UTF-16 units for a partition's name (UEFI 2.10, 5.3.3).
const PARTITION_NAME_UNITS: usize = 36;

/// What a device gets of the driver's.
#[derive(Clone, Copy)]
pub enum Share {
    /// Nothing of its own.
    Whole,
    /// Part of a disk.
    Part(Part),
    /// An address in a network.
    Mac([u8; 6]),
    /// A console of its own besides the UART.
    Console(Size),
}

/// A device of a guest.
pub struct Device<'a> {
    /// Where its queue is set.
    pub at: At,
    /// Its name.
    pub name: &'static str,
    /// What kind of driver serves it.
    pub class: Class,
    /// Its number among those of its class.
    pub index: usize,
    /// Its queue.
    pub queue: &'a Region,
    /// What it gets.
    pub share: Share,
}

impl Device<'_> {
    /// Whether the guest finds it among its virtio devices.
    pub fn is_virtio(&self) -> bool {
        self.name != UART
    }
}

/// The names of all devices.
pub fn names() -> impl Iterator<Item = &'static str> {
    DEVICES.iter().map(|(name, ..)| *name)
}

/// The names of the devices of a class.
pub fn names_of(class: Class) -> impl Iterator<Item = &'static str> {
    DEVICES.iter().filter(move |(_, of, _)| *of == class).map(|(name, ..)| *name)
}

/// The devices that `settings` of the VMM in `domain` describe.
pub fn read<'a>(checker: &mut Checker<'a>, domain: &'a Domain, settings: &Settings<'a>) -> Vec<Device<'a>> {
    if !settings.describes(UART) {
        checker.add(settings.at, Problem::DeviceMissing { pd: domain.name.clone(), device: UART });
    }
    let mut devices = Vec::new();
    for (name, class, index) in DEVICES {
        let Some(own) = settings.device(name) else { continue };
        own.check_known(
            checker,
            match (name, class) {
                (_, Class::Blk) => &["queue", "partition", "sectors", "read-only"],
                (_, Class::Net) => &["queue", "mac"],
                (CONSOLE, _) => &["queue", "size"],
                _ => &["queue"],
            },
        );
        let queue = own.required(checker, "queue").and_then(|setting| {
            let region = checker.queue(setting.at, setting.value, class, domain)?;
            Some((setting.at, region))
        });
        let share = match (name, class) {
            (_, Class::Blk) => part(checker, name, &own).map(Share::Part),
            (_, Class::Net) => own.required(checker, "mac").and_then(|setting| mac(checker, setting)).map(Share::Mac),
            (CONSOLE, _) => own.get("size").map_or(Some(SIZE), |setting| size(checker, setting)).map(Share::Console),
            _ => Some(Share::Whole),
        };
        if let (Some((at, queue)), Some(share)) = (queue, share) {
            devices.push(Device { at, name, class, index, queue, share });
        }
    }
    devices
}

/// The part of the disk that `settings` name: all of it if they name none.
fn part<'a>(checker: &mut Checker<'a>, device: &str, settings: &Settings<'a>) -> Option<Part> {
    let access = [("true", Access::ReadOnly), ("false", Access::ReadWrite)];
    let access = match settings.get("read-only") {
        Some(_) => settings.choice(checker, "read-only", &access)?,
        None => Access::ReadWrite,
    };
    let disk = Part { kind: PartKind::Disk, access, index: 0, name: FromZeros::new_zeroed(), first: 0, sectors: 0 };
    match (settings.get("partition"), settings.get("sectors")) {
        (None, None) => Some(disk),
        (Some(partition), None) => {
            let named = named(disk, partition.value);
            if named.is_none() {
                checker.add(partition.at, Problem::PartitionName { value: partition.value.to_owned() });
            }
            named
        }
        (None, Some(sectors)) => {
            let (at, value) = (sectors.at, sectors.value);
            let range = value.split_once('+').and_then(|(first, count)| Some((number(first)?, number(count)?)));
            let range = range.filter(|(first, count)| *count > 0 && first.checked_add(*count).is_some());
            let Some((first, sectors)) = range else {
                checker.add(at, Problem::SectorsSyntax { value: value.to_owned() });
                return None;
            };
            Some(Part { kind: PartKind::Sectors, first, sectors, ..disk })
        }
        (Some(_), Some(sectors)) => {
            checker.add(sectors.at, Problem::PartTwice { device: device.to_owned() });
            None
        }
    }
}

/// The partition with the number or name `value`.
fn named(disk: Part, value: &str) -> Option<Part> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let index = value.parse().ok().filter(|index| *index > 0)?;
        return Some(Part { kind: PartKind::Index, index, ..disk });
    }
    let fits = !value.is_empty() && value.encode_utf16().count() <= PARTITION_NAME_UNITS;
    let name = Text::<MAX_PARTITION_NAME>::new(value).filter(|_| fits)?;
    Some(Part { kind: PartKind::Name, name, ..disk })
}

/// Six bytes in hexadecimal, with colons between: the address of one interface.
fn mac(checker: &mut Checker, setting: Setting) -> Option<[u8; 6]> {
    let value = || setting.value.to_owned();
    let byte = |text: &str| u8::from_str_radix(text, 16).ok().filter(|_| text.len() == 2 && !text.starts_with('+'));
    let bytes: Option<Vec<u8>> = setting.value.split(':').map(byte).collect();
    let Some(mac) = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) else {
        checker.add(setting.at, Problem::MacSyntax { value: value() });
        return None;
    };
    // IEEE 802, 8.2.2: bit 0 of the first byte marks the address of a group.
    if mac[0] & 1 != 0 || mac == [0; 6] {
        checker.add(setting.at, Problem::MacGroup { value: value() });
        return None;
    }
    Some(mac)
}

/// Columns and rows, which the device has 16 bits each for.
fn size(checker: &mut Checker, setting: Setting) -> Option<Size> {
    let count = |text: &str| text.parse::<u16>().ok().filter(|count| *count > 0);
    let size = setting.value.split_once('x').and_then(|(columns, rows)| Some((count(columns)?, count(rows)?)));
    if size.is_none() {
        checker.add(setting.at, Problem::SizeSyntax { value: setting.value.to_owned() });
    }
    size.map(|(columns, rows)| Size { columns, rows })
}

/// Whether the host can tell that two parts of one disk have sectors in common. Names and numbers are known only there.
pub fn overlap(a: &Part, b: &Part) -> bool {
    match (a.kind, b.kind) {
        (PartKind::Disk, _) | (_, PartKind::Disk) => true,
        (PartKind::Index, PartKind::Index) => a.index == b.index,
        (PartKind::Name, PartKind::Name) => a.name == b.name,
        (PartKind::Sectors, PartKind::Sectors) => a.first < b.first + b.sectors && b.first < a.first + a.sectors,
        _ => false,
    }
}
