// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What the host tool tells each protection domain (PD).
//!
//! The tool reads `system.xml`, checks it, and writes one record per PD into a file that Microkit maps into that PD as a
//! prefilled, read-only memory region. The PD finds its address in the `setvar` symbol `config` and takes the record as it
//! is: what the host could parse or check, no PD parses or checks again. The records are plain data with a fixed layout;
//! [`VERSION`] changes with every change of that layout, so that an old file meets a new PD with a clear error.
//!
//! Addresses are virtual addresses of the PD that the record is for, unless a name says `gpa` (guest-physical address).
//! All sizes are in bytes.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod virtio;

pub use virtio::{
    Access, BLK_DMA, Blk, BlkClient, DmaDevice, MAX_PARTITION_NAME, NET_DMA, Net, NetClient, Part, PartKind, RNG_DMA,
    Rng,
};

use core::fmt;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// Guest-physical address of the first byte of a guest's RAM, on every board.
pub const RAM_GPA: u64 = 0x4000_0000;
/// Size and alignment of a configuration file: one page.
pub const FILE_SIZE: usize = 4096;
/// Largest number of vCPUs of a guest.
pub const MAX_VCPUS: usize = 8;
/// Largest number of clients of one driver PD, and of guests that the power PD waits for.
pub const MAX_CLIENTS: usize = 8;
/// Largest number of disks of a guest.
pub const MAX_DISKS: usize = 2;
/// Largest number of network interfaces of a guest.
pub const MAX_INTERFACES: usize = 2;
/// Largest number of drivers of one supervisor PD.
pub const MAX_CHILDREN: usize = 16;
/// Longest kernel command line, in bytes (Linux takes 2048 on arm64; the record has to fit its page).
pub const MAX_BOOTARGS: usize = 1024;
/// Longest name of a guest or a PD, in bytes.
pub const MAX_NAME: usize = 32;

/// Layout version of all records.
pub const VERSION: u32 = 6;
const MAGIC: u32 = u32::from_le_bytes(*b"vmmc");

/// Which record a configuration file holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u32)]
pub enum Kind {
    /// [`Vmm`].
    Vmm = 1,
    /// [`Serial`].
    Serial = 2,
    /// [`Power`].
    Power = 3,
    /// [`Blk`].
    Blk = 4,
    /// [`Net`].
    Net = 5,
    /// [`Rng`].
    Rng = 6,
    /// [`Timer`].
    Timer = 7,
    /// [`Supervisor`].
    Supervisor = 8,
}

/// The first words of every record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    magic: u32,
    version: u32,
    kind: Kind,
    size: u32,
}

/// A record that a configuration file can hold.
pub trait Record: TryFromBytes + IntoBytes + Immutable + KnownLayout + Sized + 'static {
    /// The kind that marks this record.
    const KIND: Kind;

    /// Where the messages of such a PD go, of those that have any: to the serial PD, or nowhere.
    const LOG: Option<fn(&Self) -> Link> = None;

    /// The header that this record must carry.
    fn header() -> Header {
        Header { magic: MAGIC, version: VERSION, kind: Self::KIND, size: size_of::<Self>() as u32 }
    }

    /// The record at the start of `file`.
    ///
    /// # Errors
    /// [`Mismatch`] where the file was written for another PD or by another version of the tool.
    fn from_file(file: &[u8]) -> Result<&Self, Mismatch> {
        let (header, _) = Header::try_ref_from_prefix(file).map_err(|_| Mismatch)?;
        if *header != Self::header() {
            return Err(Mismatch);
        }
        Self::try_ref_from_prefix(file).map(|(record, _)| record).map_err(|_| Mismatch)
    }
}

/// The file does not hold the record that the PD was built for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mismatch;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration of another version or for another PD; remedy: rebuild with `make clean all`")
    }
}

impl core::error::Error for Mismatch {}

/// Part of the PD's address space; empty (size 0) where the system has none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Window {
    /// First address.
    pub vaddr: u64,
    /// Size in bytes.
    pub size: u64,
}

impl Window {
    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.size == 0
    }
}

/// A Microkit channel or IRQ id of the PD, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Channel(u64);

impl Channel {
    /// No channel.
    pub const NONE: Self = Self(u64::MAX);

    /// The channel with Microkit's id `id`.
    #[must_use]
    pub const fn new(id: u8) -> Self {
        Self(id as u64)
    }

    /// Microkit's id, if there is a channel.
    #[must_use]
    pub fn id(self) -> Option<u8> {
        u8::try_from(self.0).ok().filter(|id| *id < 62)
    }
}

/// Shared memory with one other PD, and the channel by which either side wakes the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Link {
    /// The queues, as the `queue` crate lays them out. Both PDs may write all of it.
    pub queues: Window,
    /// The channel to the other PD.
    pub channel: Channel,
}

impl Link {
    /// No link.
    pub const NONE: Self = Self { queues: Window { vaddr: 0, size: 0 }, channel: Channel::NONE };
}

/// A short text: a name or the kernel command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Text<const N: usize> {
    // Without alignment, because zerocopy cannot see that no `N` in use makes padding.
    len: U64,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// The text `s`, or none if it is longer than `N` bytes.
    #[must_use]
    pub fn new(s: &str) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..s.len())?.copy_from_slice(s.as_bytes());
        Some(Self { len: U64::new(s.len() as u64), bytes })
    }

    /// The text; empty if the record does not hold UTF-8.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = usize::try_from(self.len.get()).unwrap_or(0);
        self.bytes.get(..len).and_then(|b| str::from_utf8(b).ok()).unwrap_or("")
    }
}

/// Which messages a PD sends to the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u32)]
pub enum LogLevel {
    /// Only what stops a guest or the PD.
    Error = 1,
    /// Also what the guest does wrong (the default).
    Warn = 2,
    /// Also the steps of a guest's life.
    Info = 3,
    /// Also single events, for work on the VMM itself.
    Debug = 4,
}

/// What becomes of a guest that crashes or asks for a reset.
#[derive(Clone, Copy, Debug, Eq, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u32)]
pub enum Ending {
    /// It is off.
    Off = 0,
    /// It is stopped, and kept to be looked at.
    Halt = 1,
    /// It starts anew.
    Restart = 2,
}

/// The interrupt controller that the board's hardware can virtualize.
#[derive(Clone, Copy, Debug, Eq, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u32)]
pub enum Gic {
    /// GICv2: the guest's CPU interface is the mapped GICV frame.
    V2 = 2,
    /// GICv3: the guest's CPU interface is its system registers.
    V3 = 3,
}

/// What a VMM PD has.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vmm {
    /// [`Record::header`].
    pub header: Header,
    /// The guest's name: that of its `virtual_machine`.
    pub name: Text<MAX_NAME>,
    /// The guest's RAM, mapped read-write; in the guest it begins at [`RAM_GPA`]. A multiple of 2 MiB.
    pub ram: Window,
    /// The kernel or other first image, mapped read-only, to the byte.
    pub kernel: Window,
    /// The initial ramdisk, mapped read-only, to the byte; or empty.
    pub initramfs: Window,
    /// A device tree that replaces the VMM's own, mapped read-only; or empty.
    pub dtb: Window,
    /// A device tree fragment that is merged into the VMM's own, mapped read-only; or empty.
    pub dtb_fragment: Window,
    /// The kernel command line.
    pub bootargs: Text<MAX_BOOTARGS>,
    /// Number of vCPUs, 1 to [`MAX_VCPUS`]; their Microkit ids are 0 to this, less one.
    pub vcpus: u32,
    /// The guest's interrupt controller.
    pub gic: Gic,
    /// What goes to the log.
    pub log_level: LogLevel,
    /// A bit for each vCPU that runs on another core than this PD.
    pub remote: u32,
    /// What becomes of the guest when it crashes.
    pub on_crash: Ending,
    /// What becomes of the guest when it asks for a reset.
    pub on_reset: Ending,
    /// How often the guest is restarted after crashes in a row.
    pub restart_limit: u64,
    /// The guest's console and this PD's log, served by the serial PD.
    pub serial: Link,
    /// The features that the guest's virtio devices offer and need not: `VIRTIO_F_ACCESS_PLATFORM` or none (virtio 1.2, 6).
    pub virtio_features: u64,
    /// The page of the virtio devices' registers, mapped uncached, and read-only for the guest; empty without such devices.
    pub virtio: Window,
    /// The guest's disks, served by disk drivers; or none.
    pub blk: [Link; MAX_DISKS],
    /// The names of these drivers, for people.
    pub blk_drivers: [Text<MAX_NAME>; MAX_DISKS],
    /// The guest's network interfaces, served by network drivers; or none.
    pub net: [Link; MAX_INTERFACES],
    /// The names of these drivers.
    pub net_drivers: [Text<MAX_NAME>; MAX_INTERFACES],
    /// The guest's source of entropy, served by its driver; or none.
    pub rng: Link,
    /// The name of this driver.
    pub rng_driver: Text<MAX_NAME>,
    /// The guest's virtio console, served by the serial PD; or none.
    pub console: Console,
    /// The power PD, told when the guest is off; or none.
    pub power: Channel,
    /// The timer PD, which this PD calls; or none.
    pub timer: Channel,
}

impl Record for Vmm {
    const KIND: Kind = Kind::Vmm;
    const LOG: Option<fn(&Self) -> Link> = Some(|record| record.serial);
}

/// A virtio console.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Console {
    /// Its queues, besides those of [`Vmm::serial`].
    pub link: Link,
    /// Its size.
    pub size: Size,
    /// Zero.
    pub reserved: [u8; 4],
}

impl Console {
    /// No console.
    pub const NONE: Self = Self { link: Link::NONE, size: Size { columns: 0, rows: 0 }, reserved: [0; 4] };
}

/// The size of a console, in characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Size {
    /// Characters of a row.
    pub columns: u16,
    /// Number of rows.
    pub rows: u16,
}

/// One client of a driver PD.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Client {
    /// Name for people: of the guest where the client is a VMM, else of the PD.
    pub name: Text<MAX_NAME>,
    /// The queues shared with it.
    pub link: Link,
}

/// What a serial PD has.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Serial {
    /// [`Record::header`].
    pub header: Header,
    /// The UART's registers, mapped uncached.
    pub registers: Window,
    /// The UART's interrupt.
    pub irq: Channel,
    /// How many of `clients` there are.
    pub count: u64,
    /// The clients: the consoles of the VMMs in the order of `system.xml`, then the drivers that log.
    pub clients: [Client; MAX_CLIENTS],
}

impl Record for Serial {
    const KIND: Kind = Kind::Serial;
}

impl Serial {
    /// The clients that there are.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        let count = usize::try_from(self.count).unwrap_or(0);
        self.clients.get(..count).unwrap_or(&[])
    }
}

/// What the power PD has.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Power {
    /// [`Record::header`].
    pub header: Header,
    /// Bit n: a VMM at channel n, whose guest must be off before the machine is turned off.
    pub guests: u64,
}

impl Record for Power {
    const KIND: Kind = Kind::Power;
}

/// What the timer PD has.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timer {
    /// [`Record::header`].
    pub header: Header,
    /// The timer's interrupt.
    pub irq: Channel,
    /// Bit n: a VMM at channel n, which sets deadlines.
    pub clients: u64,
}

impl Record for Timer {
    const KIND: Kind = Kind::Timer;
}

/// A driver that a supervisor PD starts again.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Child {
    /// Its PD's name.
    pub name: Text<MAX_NAME>,
    /// Microkit's id of it.
    pub id: u64,
    /// Address of its first instruction.
    pub entry: u64,
}

/// What a supervisor PD has.
#[derive(Clone, Copy, Debug, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Supervisor {
    /// [`Record::header`].
    pub header: Header,
    /// Where its log goes: to the serial PD, or nowhere.
    pub log: Link,
    /// How often a driver is started again in ten seconds.
    pub restart_limit: u64,
    /// How many of `children` there are.
    pub count: u64,
    /// The drivers.
    pub children: [Child; MAX_CHILDREN],
}

impl Record for Supervisor {
    const KIND: Kind = Kind::Supervisor;
    const LOG: Option<fn(&Self) -> Link> = Some(|record| record.log);
}

impl Supervisor {
    /// The drivers that there are.
    #[must_use]
    pub fn children(&self) -> &[Child] {
        let count = usize::try_from(self.count).unwrap_or(0);
        self.children.get(..count).unwrap_or(&[])
    }
}

const _: () = assert!(size_of::<Supervisor>() <= FILE_SIZE);
const _: () = assert!(size_of::<Vmm>() <= FILE_SIZE && size_of::<Serial>() <= FILE_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_from_its_file() {
        let power = Power { header: Power::header(), guests: 0b101 };
        let mut file = [0; 4096];
        power.write_to_prefix(&mut file).unwrap();
        let buffer = AlignedPage(file);
        assert_eq!(Power::from_file(&buffer.0).unwrap().guests, 0b101);
    }

    #[test]
    fn a_file_of_another_kind_version_or_size_is_refused() {
        let good = Power { header: Power::header(), guests: 0 };
        let mut page = AlignedPage([0; 4096]);
        for damage in [0, 4, 8, 12] {
            good.write_to_prefix(&mut page.0).unwrap();
            page.0[damage] ^= 2;
            assert_eq!(Power::from_file(&page.0).err(), Some(Mismatch), "byte {damage}");
        }
        assert_eq!(Power::from_file(&page.0[..8]).err(), Some(Mismatch), "cut short");
    }

    #[test]
    fn a_text_holds_what_fits() {
        assert_eq!(Text::<4>::new("four").unwrap().as_str(), "four");
        assert!(Text::<4>::new("fives").is_none());
    }

    #[test]
    fn a_channel_is_one_of_microkits_62_or_none() {
        assert_eq!(Channel::new(61).id(), Some(61));
        assert_eq!(Channel::new(62).id(), None);
        assert_eq!(Channel::NONE.id(), None);
    }

    #[repr(align(4096))]
    struct AlignedPage([u8; 4096]);
}
