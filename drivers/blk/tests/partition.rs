// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Which part of a disk a client gets, for sound, damaged and hostile partition tables.

use blk::{Extent, PartError, ReadError, Sectors, find};
use bytemuck::bytes_of;
use config::{Part, PartKind, Text};
use gpt_disk_types::{Crc32, GptHeader, GptPartitionEntry, GptPartitionType, LbaLe, MasterBootRecord, U32Le, crc};
use proptest::prelude::*;
use zerocopy::FromZeros;

/// A disk in memory.
struct Disk {
    bytes: Vec<u8>,
    block_size: u32,
    /// A sector that cannot be read.
    bad: Option<u64>,
}

impl Sectors for Disk {
    fn sectors(&self) -> u64 {
        self.bytes.len() as u64 / 512
    }

    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let count = buffer.len() as u64 / 512;
        assert!(buffer.len() <= 4096 && buffer.len().is_multiple_of(self.block_size as usize));
        if self.bad.is_some_and(|bad| (sector..sector + count).contains(&bad)) {
            return Err(ReadError::Failed);
        }
        buffer.copy_from_slice(&self.bytes[sector as usize * 512..][..buffer.len()]);
        Ok(())
    }
}

/// Blocks of the test disks.
const BLOCKS: u64 = 1000;
const ENTRIES: u32 = 128;

impl Disk {
    fn blank(block_size: u32) -> Self {
        Self { bytes: vec![0; BLOCKS as usize * block_size as usize], block_size, bad: None }
    }

    fn at(&mut self, block: u64) -> &mut [u8] {
        &mut self.bytes[block as usize * self.block_size as usize..]
    }

    fn put(&mut self, block: u64, bytes: &[u8]) {
        self.at(block)[..bytes.len()].copy_from_slice(bytes);
    }

    /// A disk with an MBR of these records: type, first block, number of blocks.
    fn mbr(block_size: u32, records: &[(u8, u32, u32)]) -> Self {
        let mut mbr = MasterBootRecord { signature: [0x55, 0xaa], ..Default::default() };
        for (to, (kind, first, count)) in mbr.partitions.iter_mut().zip(records) {
            to.os_indicator = *kind;
            to.starting_lba = U32Le::from_u32(*first);
            to.size_in_lba = U32Le::from_u32(*count);
        }
        let mut disk = Self::blank(block_size);
        disk.put(0, bytes_of(&mbr));
        disk
    }

    /// A disk with both copies of a GPT of these partitions: number, name, first and last block.
    fn gpt(block_size: u32, partitions: &[(usize, &str, u64, u64)]) -> Self {
        let mut disk = Self::mbr(block_size, &[(0xee, 1, u32::MAX)]);
        let mut entries = vec![0; ENTRIES as usize * 128];
        for (number, name, first, last) in partitions {
            let entry = GptPartitionEntry {
                partition_type_guid: GptPartitionType::BASIC_DATA,
                starting_lba: LbaLe::from_u64(*first),
                ending_lba: LbaLe::from_u64(*last),
                name: name.parse().unwrap(),
                ..Default::default()
            };
            entries[(number - 1) * 128..][..128].copy_from_slice(bytes_of(&entry));
        }
        let table = entries.len().div_ceil(block_size as usize) as u64;
        for (my, other, at) in [(1, BLOCKS - 1, 2), (BLOCKS - 1, 1, BLOCKS - 1 - table)] {
            disk.put(at, &entries);
            disk.put_header(GptHeader {
                my_lba: LbaLe::from_u64(my),
                alternate_lba: LbaLe::from_u64(other),
                partition_entry_lba: LbaLe::from_u64(at),
                number_of_partition_entries: U32Le::from_u32(ENTRIES),
                partition_entry_array_crc32: Crc32(U32Le::from_u32(
                    crc::Crc::<u32>::new(&Crc32::ALGORITHM).checksum(&entries),
                )),
                ..Default::default()
            });
        }
        disk
    }

    fn put_header(&mut self, mut header: GptHeader) {
        header.update_header_crc32();
        self.put({ header.my_lba }.to_u64(), bytes_of(&header));
    }

    /// Changes the header of both copies, and makes its checksum right again.
    fn change_headers(&mut self, change: impl Fn(&mut GptHeader)) {
        for block in [1, BLOCKS - 1] {
            let mut header = bytemuck::pod_read_unaligned(&self.at(block)[..92]);
            change(&mut header);
            header.update_header_crc32();
            self.put(block, bytes_of(&header));
        }
    }
}

fn index(index: u64) -> Part {
    Part { kind: PartKind::Index, index, ..Part::new_zeroed() }
}

fn name(name: &str) -> Part {
    Part { kind: PartKind::Name, name: Text::new(name).unwrap(), ..Part::new_zeroed() }
}

fn sectors(first: u64, sectors: u64) -> Part {
    Part { kind: PartKind::Sectors, first, sectors, ..Part::new_zeroed() }
}

const GPT: &[(usize, &str, u64, u64)] = &[(1, "boot", 40, 99), (3, "Wurzel ü", 100, 199), (128, "last", 200, 200)];

#[test]
fn a_part_is_found_by_what_names_it() {
    let gpt = || Disk::gpt(512, GPT);
    let mbr = || Disk::mbr(512, &[(0x83, 63, 100), (0, 0, 0), (0x0c, 163, 1)]);
    let cases: [(Disk, Part, u64, u64); 14] = [
        (Disk::blank(512), Part::new_zeroed(), 0, 1000),
        (Disk::blank(512), sectors(7, 993), 7, 993),
        (Disk::blank(8192), sectors(16, 1), 16, 1),
        (gpt(), index(1), 40, 60),
        (gpt(), index(3), 100, 100),
        (gpt(), index(128), 200, 1),
        (gpt(), name("boot"), 40, 60),
        (gpt(), name("Wurzel ü"), 100, 100),
        (gpt(), name("last"), 200, 1),
        (Disk::gpt(4096, GPT), name("boot"), 320, 480),
        (mbr(), index(1), 63, 100),
        (mbr(), index(3), 163, 1),
        (Disk::mbr(4096, &[(0x83, 2, 3)]), index(1), 16, 24),
        // A hybrid MBR: the GPT counts.
        (Disk { bytes: gpt().bytes, ..Disk::blank(512) }, index(1), 40, 60),
    ];
    for (n, (mut disk, part, first, sectors)) in cases.into_iter().enumerate() {
        assert_eq!(find(&mut disk, &part), Ok(Extent { first, sectors }), "case {n}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    type Change = fn(&mut Disk);
    let none: Change = |_| {};
    let gpt = || Disk::gpt(512, GPT);
    let entries = |first, last| Disk::gpt(512, &[(1, "one", first, last)]);
    let mbr = |first, count| Disk::mbr(512, &[(0x83, first, count)]);
    let cases: [(Disk, Change, Part, PartError); 21] = [
        (gpt(), none, index(2), PartError::NoPartition),
        (gpt(), none, index(0), PartError::NoPartition),
        (gpt(), none, index(129), PartError::NoPartition),
        (gpt(), none, index(u64::MAX), PartError::NoPartition),
        (gpt(), none, name("boo"), PartError::NoPartition),
        (gpt(), none, name("boot2"), PartError::NoPartition),
        (Disk::gpt(512, &[(1, "a", 40, 41), (2, "a", 42, 43)]), none, name("a"), PartError::Ambiguous),
        (entries(50, 1000), none, index(1), PartError::BeyondDisk),
        (entries(50, 49), none, index(1), PartError::BeyondDisk),
        (entries(0, u64::MAX), none, index(1), PartError::BeyondDisk),
        (entries(u64::MAX - 1, u64::MAX), none, index(1), PartError::BeyondDisk),
        (gpt(), |disk| disk.bad = Some(0), index(1), PartError::Read(ReadError::Failed)),
        (gpt(), |disk| disk.change_headers(|h| h.signature.0.0[0] = 0), index(1), PartError::Damaged),
        (
            gpt(),
            |disk| disk.change_headers(|h| h.number_of_partition_entries = U32Le::from_u32(u32::MAX)),
            index(1),
            PartError::TooLarge,
        ),
        (
            gpt(),
            |disk| disk.change_headers(|h| h.size_of_partition_entry = U32Le::from_u32(192)),
            index(1),
            PartError::Damaged,
        ),
        (
            gpt(),
            |disk| disk.change_headers(|h| h.partition_entry_lba = LbaLe::from_u64(u64::MAX)),
            index(1),
            PartError::BeyondDisk,
        ),
        (Disk::blank(512), none, index(1), PartError::NoTable),
        (mbr(63, 1), none, name("a"), PartError::NoNames),
        (mbr(63, 1), none, index(5), PartError::NoPartition),
        (mbr(63, u32::MAX), none, index(1), PartError::BeyondDisk),
        (mbr(63, 0), none, index(1), PartError::BeyondDisk),
    ];
    for (n, (mut disk, change, part, error)) in cases.into_iter().enumerate() {
        change(&mut disk);
        assert_eq!(find(&mut disk, &part), Err(error), "case {n}");
    }
    for part in [sectors(0, 0), sectors(1000, 1), sectors(999, 2), sectors(u64::MAX, 2), sectors(2, u64::MAX)] {
        assert_eq!(find(&mut Disk::blank(512), &part), Err(PartError::BeyondDisk));
    }
    assert_eq!(find(&mut Disk::blank(8192), &index(1)), Err(PartError::TooLarge));
}

/// One damaged copy of a GPT does no harm, wherever the damage is.
#[test]
fn the_backup_stands_in_for_a_damaged_table() {
    for byte in [512, 512 + 16, 512 + 24, 512 + 72, 512 + 80, 1024, 1024 + 127 * 128 + 40] {
        let mut disk = Disk::gpt(512, GPT);
        disk.bytes[byte] ^= 1;
        assert_eq!(find(&mut disk, &name("boot")), Ok(Extent { first: 40, sectors: 60 }), "byte {byte}");
        disk.at(999)[16] ^= 1;
        assert_eq!(find(&mut disk, &name("boot")), Err(PartError::Damaged), "byte {byte}, and the backup");
    }
    let mut disk = Disk::gpt(512, GPT);
    disk.bad = Some(5);
    assert_eq!(find(&mut disk, &name("boot")), Ok(Extent { first: 40, sectors: 60 }));
}

proptest! {
    /// Whatever a table says, a part lies on the disk.
    #[test]
    fn a_part_never_leaves_the_disk(
        first: u64, last: u64, changes in proptest::collection::vec((0..92usize, any::<u8>()), 0..4), number in 0..4u64,
    ) {
        let mut disk = Disk::gpt(512, &[(1, "one", first, last), (2, "two", first % 2000, last % 2000)]);
        for (at, value) in changes {
            for block in [1, BLOCKS - 1] {
                disk.at(block)[at] = value;
            }
            disk.change_headers(|_| {});
        }
        if let Ok(extent) = find(&mut disk, &index(number)) {
            prop_assert!(extent.sectors > 0 && extent.first.checked_add(extent.sectors).unwrap() <= BLOCKS);
        }
    }

    /// An extent resolves exactly what lies in it.
    #[test]
    fn an_extent_is_not_left(first in 0..1u64 << 54, sectors in 1..1u64 << 54, sector: u64, count: u64) {
        let extent = Extent::new(first, sectors, 1 << 55).unwrap();
        let inside = u128::from(sector) + u128::from(count) <= u128::from(sectors);
        prop_assert_eq!(extent.resolve(sector, count), inside.then(|| first + sector));
    }
}
