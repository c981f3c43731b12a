// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Finding a client's part of the disk.

use crate::disk::ReadError;
use bytemuck::{Pod, pod_read_unaligned};
use config::{Part, PartKind};
use core::fmt;
use gpt_disk_types::{Crc32, GptHeader, GptPartitionEntry, GptPartitionType, MasterBootRecord, crc};

/// Bytes of a sector.
const SECTOR: u64 = queue::blk::SECTOR as u64;
/// Size of the buffer for reading tables, which bounds the blocks of the disk and the entries of a GPT.
const BUFFER: usize = 4096;
/// Most entries that a GPT may have. The usual number is 128; the limit bounds the time that reading them takes.
const MAX_ENTRIES: u32 = 1024;
/// In an MBR, marks a disk whose partitions are in a GPT (UEFI 2.10, 5.2.3).
const PROTECTIVE: u8 = 0xee;
const MBR_SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// A disk whose sectors can be read.
pub trait Sectors {
    /// How many sectors of 512 bytes it has.
    fn sectors(&self) -> u64;

    /// Bytes of its logical block, the unit of positions in partition tables: a power of two, at least 512.
    fn block_size(&self) -> u32;

    /// Fills `buffer`, whole blocks of at most 4 KiB altogether, from `sector` on.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read(&mut self, sector: u64, buffer: &mut [u8]) -> Result<(), ReadError>;
}

/// Part of a disk, in sectors of 512 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extent {
    /// The first sector.
    pub first: u64,
    /// The number of sectors.
    pub sectors: u64,
}

impl Extent {
    /// The part of a disk of `disk` sectors, if it is not empty and lies on it.
    #[must_use]
    pub fn new(first: u64, sectors: u64, disk: u64) -> Option<Self> {
        let end = first.checked_add(sectors)?;
        (sectors > 0 && end <= disk).then_some(Self { first, sectors })
    }

    /// Where on the disk the `count` sectors from the extent's sector `sector` on begin, if all lie in the extent.
    #[must_use]
    pub fn resolve(self, sector: u64, count: u64) -> Option<u64> {
        let end = sector.checked_add(count)?;
        if end > self.sectors { None } else { self.first.checked_add(sector) }
    }

    /// Whether the two have sectors in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let lies_before = |a: Self, b: Self| a.first.saturating_add(a.sectors) <= b.first;
        !lies_before(self, other) && !lies_before(other, self)
    }
}

/// Why there is no such part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PartError {
    /// The partition table cannot be read.
    Read(ReadError),
    /// The disk has neither an MBR nor a GPT.
    NoTable,
    /// Both copies of the GPT are damaged.
    Damaged,
    /// The GPT has more or larger entries than the driver reads, or the disk larger blocks.
    TooLarge,
    /// No partition has this number or name. Of an MBR, only primary partitions are known.
    NoPartition,
    /// Several partitions have this name.
    Ambiguous,
    /// An MBR has no names.
    NoNames,
    /// The part is empty, or not all of it lies on the disk.
    BeyondDisk,
}

impl From<ReadError> for PartError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl fmt::Display for PartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read(error) => return write!(f, "the partition table cannot be read: {error}"),
            Self::NoTable => "the disk has no partition table",
            Self::Damaged => "both copies of the disk's GPT are damaged",
            Self::TooLarge => "the disk's partition table is larger than the driver can read",
            Self::NoPartition => "the disk has no such partition",
            Self::Ambiguous => "the disk has several partitions of this name",
            Self::NoNames => "the disk's partitions have no names, because it has an MBR; remedy: give a number",
            Self::BeyondDisk => "the part is empty or reaches beyond the disk",
        })
    }
}

impl core::error::Error for PartError {}

/// The part that `part` names.
///
/// # Errors
/// [`PartError`].
pub fn find(disk: &mut impl Sectors, part: &Part) -> Result<Extent, PartError> {
    let size = disk.sectors();
    let extent = match part.kind {
        PartKind::Disk => Extent::new(0, size, size),
        PartKind::Sectors => Extent::new(part.first, part.sectors, size),
        PartKind::Index | PartKind::Name => return Table::new(disk)?.find(part),
    };
    extent.ok_or(PartError::BeyondDisk)
}

/// Reads a disk's partition table.
struct Table<'a, D> {
    disk: &'a mut D,
    /// Sectors of a block.
    unit: u64,
    buffer: [u8; BUFFER],
}

impl<'a, D: Sectors> Table<'a, D> {
    fn new(disk: &'a mut D) -> Result<Self, PartError> {
        let unit = u64::from(disk.block_size()) / SECTOR;
        if unit == 0 || unit * SECTOR > BUFFER as u64 {
            return Err(PartError::TooLarge);
        }
        Ok(Self { disk, unit, buffer: [0; BUFFER] })
    }

    /// Reads `len` bytes, and what is left of the last block, from block `block` on.
    fn read(&mut self, block: u64, len: usize) -> Result<&[u8], PartError> {
        let whole = len.next_multiple_of((self.unit * SECTOR) as usize);
        let buffer = self.buffer.get_mut(..whole).ok_or(PartError::TooLarge)?;
        let sector = block.checked_mul(self.unit).ok_or(PartError::BeyondDisk)?;
        Extent::new(sector, whole as u64 / SECTOR, self.disk.sectors()).ok_or(PartError::BeyondDisk)?;
        self.disk.read(sector, buffer)?;
        buffer.get(..len).ok_or(PartError::TooLarge)
    }

    fn extent(&self, first: u64, count: u64) -> Result<Extent, PartError> {
        let sectors = |blocks: u64| blocks.checked_mul(self.unit);
        let extent = sectors(first).zip(sectors(count));
        extent.and_then(|(first, count)| Extent::new(first, count, self.disk.sectors())).ok_or(PartError::BeyondDisk)
    }

    fn find(&mut self, part: &Part) -> Result<Extent, PartError> {
        let mbr = decode::<MasterBootRecord>(self.read(0, size_of::<MasterBootRecord>())?)?;
        if mbr.signature != MBR_SIGNATURE {
            return Err(PartError::NoTable);
        }
        let partitions = mbr.partitions;
        if partitions.iter().any(|record| record.os_indicator == PROTECTIVE) {
            return self.find_in_gpt(part);
        }
        if part.kind == PartKind::Name {
            return Err(PartError::NoNames);
        }
        let index = usize::try_from(part.index).ok().and_then(|number| number.checked_sub(1));
        let record = index.and_then(|index| partitions.get(index)).filter(|record| record.os_indicator != 0);
        let record = record.ok_or(PartError::NoPartition)?;
        self.extent(record.starting_lba.to_u32().into(), record.size_in_lba.to_u32().into())
    }

    /// UEFI 2.10, 5.3.2: the backup is in the last block, and counts if the primary is damaged.
    fn find_in_gpt(&mut self, part: &Part) -> Result<Extent, PartError> {
        let last = (self.disk.sectors() / self.unit).saturating_sub(1);
        match self.find_in_copy(1, part) {
            Err(PartError::Damaged | PartError::BeyondDisk | PartError::Read(_)) => self.find_in_copy(last, part),
            result => result,
        }
        .and_then(|(first, count)| self.extent(first, count))
    }

    /// First block and number of blocks of the partition, according to the table whose header is in block `block`.
    fn find_in_copy(&mut self, block: u64, part: &Part) -> Result<(u64, u64), PartError> {
        let header = decode::<GptHeader>(self.read(block, size_of::<GptHeader>())?)?;
        let is_sound = header.is_signature_valid()
            && { header.header_size }.to_u32() as usize == size_of::<GptHeader>()
            && { header.header_crc32 } == header.calculate_header_crc32()
            && { header.my_lba }.to_u64() == block;
        if !is_sound {
            return Err(PartError::Damaged);
        }
        let count = { header.number_of_partition_entries }.to_u32();
        let size = { header.size_of_partition_entry }.to_u32() as usize;
        if count > MAX_ENTRIES || size > BUFFER {
            return Err(PartError::TooLarge);
        }
        // UEFI 2.10, table 5.5: 128 times a power of two, so that entries do not straddle the buffer's end.
        if size < size_of::<GptPartitionEntry>() || !size.is_power_of_two() {
            return Err(PartError::Damaged);
        }
        let crc = crc::Crc::<u32>::new(&Crc32::ALGORITHM);
        let mut digest = crc.digest();
        let mut found = Err(PartError::NoPartition);
        let mut number = 0;
        let mut block = { header.partition_entry_lba }.to_u64();
        let mut rest = count as usize * size;
        while rest > 0 {
            let bytes = self.read(block, rest.min(BUFFER))?;
            digest.update(bytes);
            for bytes in bytes.chunks_exact(size) {
                number += 1;
                let entry = decode::<GptPartitionEntry>(bytes)?;
                if selects(part, number, &entry) {
                    found = if found.is_ok() { Err(PartError::Ambiguous) } else { span(&entry) };
                }
            }
            rest -= bytes.len();
            block = block.checked_add(BUFFER as u64 / SECTOR / self.unit).ok_or(PartError::Damaged)?;
        }
        if digest.finalize() != { header.partition_entry_array_crc32 }.0.to_u32() {
            return Err(PartError::Damaged);
        }
        found
    }
}

fn selects(part: &Part, number: u64, entry: &GptPartitionEntry) -> bool {
    let is_used = { entry.partition_type_guid } != GptPartitionType::UNUSED;
    is_used
        && match part.kind {
            PartKind::Name => { entry.name }.chars().eq(part.name.as_str().chars()),
            _ => part.index == number,
        }
}

/// First block and number of blocks.
fn span(entry: &GptPartitionEntry) -> Result<(u64, u64), PartError> {
    let (first, last) = ({ entry.starting_lba }.to_u64(), { entry.ending_lba }.to_u64());
    let count = last.checked_sub(first).and_then(|more| more.checked_add(1)).ok_or(PartError::BeyondDisk)?;
    Ok((first, count))
}

fn decode<T: Pod>(bytes: &[u8]) -> Result<T, PartError> {
    bytes.get(..size_of::<T>()).map(pod_read_unaligned).ok_or(PartError::TooLarge)
}
