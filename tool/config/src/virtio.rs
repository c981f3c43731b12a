// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the drivers of disks, networks and sources of entropy have.

use crate::{Channel, Client, FILE_SIZE, Header, Kind, Link, MAX_CLIENTS, Record, Text, Window};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Size of the memory that a disk driver shares with its device.
pub const BLK_DMA: u64 = 0x8_0000;
/// Size of the memory that a network driver shares with its device.
pub const NET_DMA: u64 = 0x10_0000;
/// Size of the memory that the driver of a source of entropy shares with its device.
pub const RNG_DMA: u64 = 0x2000;

/// Longest name of a partition, in bytes: GPT allows 36 UTF-16 units.
pub const MAX_PARTITION_NAME: usize = 112;

/// A device that moves data by DMA, as its driver has it. The physical address of `dma` is in the driver's symbol
/// `dma_paddr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DmaDevice {
    /// The device's registers, mapped uncached.
    pub registers: Window,
    /// Memory that the driver shares with the device, mapped read-write; physically contiguous.
    pub dma: Window,
    /// The device's interrupt.
    pub irq: Channel,
    /// Where the driver's log goes: to the serial PD, or nowhere.
    pub log: Link,
}

/// What a client of a disk may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromZeros, IntoBytes, Immutable, KnownLayout)]
#[repr(u32)]
pub enum Access {
    /// Read and write.
    ReadWrite = 0,
    /// Only read.
    ReadOnly = 1,
}

/// How a client's part of a disk is named.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromZeros, IntoBytes, Immutable, KnownLayout)]
#[repr(u32)]
pub enum PartKind {
    /// Not at all: the whole disk.
    Disk = 0,
    /// By [`Part::index`]: the partition with that number in the disk's GPT or MBR.
    Index = 1,
    /// By [`Part::name`]: the partition with that name in the disk's GPT.
    Name = 2,
    /// By [`Part::first`] and [`Part::sectors`].
    Sectors = 3,
}

/// A client's part of a disk.
#[derive(Clone, Copy, Debug, FromZeros, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Part {
    /// How it is named; fields that other kinds use are zero.
    pub kind: PartKind,
    /// What the client may do with it.
    pub access: Access,
    /// Number of the partition, from 1.
    pub index: u64,
    /// Name of the partition.
    pub name: Text<MAX_PARTITION_NAME>,
    /// First sector, of 512 bytes.
    pub first: u64,
    /// Number of sectors, of 512 bytes.
    pub sectors: u64,
}

/// A client of a disk driver.
#[derive(Clone, Copy, Debug, FromZeros, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BlkClient {
    /// The client.
    pub client: Client,
    /// Size of the client's RAM. Its physical address is in the driver's symbol `client0_ram`, where 0 stands for the
    /// client's index. The driver does not map it.
    pub ram: u64,
    /// What the client has of the disk.
    pub part: Part,
}

/// What a disk driver has.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Blk {
    /// [`Record::header`].
    pub header: Header,
    /// The disk.
    pub device: DmaDevice,
    /// How many of `clients` there are.
    pub count: u64,
    /// The clients, in the order of their VMMs in `system.xml`.
    pub clients: [BlkClient; MAX_CLIENTS],
}

impl Record for Blk {
    const KIND: Kind = Kind::Blk;
    const LOG: Option<fn(&Self) -> Link> = Some(|record| record.device.log);
}

impl Blk {
    /// The clients that there are.
    #[must_use]
    pub fn clients(&self) -> &[BlkClient] {
        first(&self.clients, self.count)
    }
}

/// A client of a network driver.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NetClient {
    /// The client.
    pub client: Client,
    /// Size of the client's RAM: as in [`BlkClient::ram`].
    pub ram: u64,
    /// The only address that the client may send from: a unicast address, unlike that of any other client.
    pub mac: [u8; 6],
    /// Zero.
    pub reserved: [u8; 2],
}

/// What a network driver has.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Net {
    /// [`Record::header`].
    pub header: Header,
    /// The network interface.
    pub device: DmaDevice,
    /// How many of `clients` there are.
    pub count: u64,
    /// The clients, in the order of their VMMs in `system.xml`.
    pub clients: [NetClient; MAX_CLIENTS],
}

impl Record for Net {
    const KIND: Kind = Kind::Net;
    const LOG: Option<fn(&Self) -> Link> = Some(|record| record.device.log);
}

impl Net {
    /// The clients that there are.
    #[must_use]
    pub fn clients(&self) -> &[NetClient] {
        first(&self.clients, self.count)
    }
}

/// What the driver of a source of entropy has.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rng {
    /// [`Record::header`].
    pub header: Header,
    /// The source.
    pub device: DmaDevice,
    /// How many of `clients` there are.
    pub count: u64,
    /// The clients, in the order of their VMMs in `system.xml`.
    pub clients: [Client; MAX_CLIENTS],
}

impl Record for Rng {
    const KIND: Kind = Kind::Rng;
    const LOG: Option<fn(&Self) -> Link> = Some(|record| record.device.log);
}

impl Rng {
    /// The clients that there are.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        first(&self.clients, self.count)
    }
}

fn first<T>(clients: &[T], count: u64) -> &[T] {
    usize::try_from(count).ok().and_then(|count| clients.get(..count)).unwrap_or(&[])
}

const _: () = assert!(size_of::<Blk>() <= FILE_SIZE && size_of::<Net>() <= FILE_SIZE && size_of::<Rng>() <= FILE_SIZE);
