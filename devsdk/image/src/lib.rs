// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The boot description: what `bin/microkit` of devsdk tells its kernel.
//!
//! The image is raw memory, loaded at [`LOAD_ADDRESS`] and entered at its first byte. It holds, in this order:
//!
//! 1. the kernel's segments, its `.bss` included as zeroes;
//! 2. at the next page boundary, the boot description: a [`Header`] and the tables that it names;
//! 3. pages of program images and prefilled regions, each at the physical address where it is used.
//!
//! Regions that must lie outside the image at a fixed address are carried in it and listed as [`Load`]. Memory that starts
//! as zeroes and is not part of the image is listed as [`Zero`]: a reset does not clear RAM. The kernel does nothing else to
//! memory. All addresses are physical unless a field says otherwise; every address and length is a multiple of the page
//! size of 4 KiB, except where noted. Records are little-endian and have no implicit padding.
//!
//! The tool has checked everything the kernel relies on: indices are in bounds ([`Boot::parse`] checks them again),
//! mappings of one address space do not overlap, slots are unique.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const _: () = assert!(cfg!(target_endian = "little"));

/// Where the image is loaded and entered, at EL2 with the MMU off.
pub const LOAD_ADDRESS: u64 = 0x7000_0000;
/// The RAM that the tool assigns; RAM below it is left alone, as by the real SDK's board.
pub const RAM: core::ops::Range<u64> = 0x6000_0000..0xc000_0000;
/// Granule of all addresses and lengths.
pub const PAGE_SIZE: u64 = 0x1000;
/// Size of the address space of a protection domain and of a guest: 40 bits.
pub const ADDRESS_SPACE: u64 = 1 << 40;
/// Virtual address of every protection domain's IPC buffer: its last page.
pub const IPC_BUFFER: u64 = ADDRESS_SPACE - PAGE_SIZE;
/// Initial stack pointer of every protection domain. One page below the IPC buffer stays unmapped.
pub const STACK_TOP: u64 = IPC_BUFFER - PAGE_SIZE;
/// First eight bytes of a boot description.
pub const MAGIC: [u8; 8] = *b"devsdk\x01\x00";
/// An index that names nothing.
pub const NONE: u32 = u32::MAX;

/// Fixed slots of a protection domain's capability space, and the first of each class.
pub mod slot {
    /// What the event loop receives on: the domain's endpoint if it has one, else its notification.
    pub const INPUT: u64 = 1;
    /// The endpoint that receives this domain's own faults.
    pub const FAULT: u64 = 2;
    /// The domain's own address space.
    pub const VSPACE: u64 = 3;
    /// The reply object.
    pub const REPLY: u64 = 4;
    /// Where a passive domain tells that `init` has returned.
    pub const MONITOR: u64 = 5;
    /// SMC calls.
    pub const SMC: u64 = 7;
    /// Notification of the peer of channel 0.
    pub const NOTIFICATION: u64 = 10;
    /// Endpoint of the peer of channel 0.
    pub const ENDPOINT: u64 = 74;
    /// Handler of the interrupt with id 0.
    pub const IRQ: u64 = 138;
    /// Thread of the child with id 0.
    pub const CHILD_TCB: u64 = 202;
    /// Thread of the virtual CPU with id 0.
    pub const VCPU_TCB: u64 = 266;
    /// Virtual CPU with id 0.
    pub const VCPU: u64 = 330;
    /// Slots in the space at index 0 of a domain's root.
    pub const COUNT: u64 = 512;
    /// A slot `n` of the root itself (1–63) is addressed as `n << ROOT_SHIFT`.
    pub const ROOT_SHIFT: u32 = 58;
}

/// Badge bit of a protected procedure call; the rest is the receiver's channel.
pub const BADGE_CALL: u64 = 1 << 63;
/// Badge bit of a fault; the rest is the id of the child or virtual CPU.
pub const BADGE_FAULT: u64 = 1 << 62;

/// A table of the boot description, or a part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Span {
    /// In the header: byte offset from the header. In a record: index of the first element in its table.
    pub start: u32,
    /// Number of elements.
    pub count: u32,
}

impl Span {
    /// The indices of the elements, for a span within a table.
    pub fn indices(self) -> core::ops::Range<usize> {
        let start = self.start as usize;
        start..start.saturating_add(self.count as usize)
    }
}

/// Start of the boot description.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`]; its seventh byte is the version.
    pub magic: [u8; 8],
    /// Bytes of the description, header included.
    pub length: u64,
    /// First byte after the image in memory.
    pub image_end: u64,
    /// Memory for the kernel's page tables: enough for every mapping with 4 KiB pages. Not cleared.
    pub pool: u64,
    /// Bytes of the pool.
    pub pool_size: u64,
    /// [`Zero`] records.
    pub zeroes: Span,
    /// [`Load`] records.
    pub loads: Span,
    /// [`Domain`] records: parents come before their children.
    pub domains: Span,
    /// [`Machine`] records.
    pub machines: Span,
    /// [`Vcpu`] records.
    pub vcpus: Span,
    /// [`Irq`] records.
    pub irqs: Span,
    /// [`Map`] records.
    pub maps: Span,
    /// [`Cap`] records.
    pub caps: Span,
}

/// Memory to be cleared at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Zero {
    /// Start of the memory.
    pub address: u64,
    /// Bytes.
    pub size: u64,
}

/// Contents to be copied to a fixed address at start, after all [`Zero`] records are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Load {
    /// Where the contents lie in the image.
    pub from: u64,
    /// Where they go.
    pub to: u64,
    /// Bytes, a multiple of 16.
    pub size: u64,
}

/// A protection domain. Its slots that are the same for every domain ([`slot::INPUT`], [`slot::FAULT`], [`slot::VSPACE`],
/// [`slot::REPLY`], [`slot::MONITOR`] of a passive one) follow from the record and are not listed among its capabilities.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Domain {
    /// Name, padded with zero bytes.
    pub name: [u8; 64],
    /// Initial program counter.
    pub entry: u64,
    /// Physical address of the IPC buffer, which is also among the mappings.
    pub ipc_buffer: u64,
    /// Lowest virtual address of the stack; the page below is not mapped.
    pub stack_bottom: u64,
    /// Budget in microseconds.
    pub budget: u64,
    /// Period in microseconds, at least the budget.
    pub period: u64,
    /// Index of the parent, which receives this domain's faults, or [`NONE`].
    pub parent: u32,
    /// The parent's id for this domain: its faults carry the badge [`BADGE_FAULT`] `| id`. Zero without a parent.
    pub id: u32,
    /// Index of the virtual machine, or [`NONE`].
    pub machine: u32,
    /// Core.
    pub cpu: u32,
    /// Priority, also the maximum controlled priority: 0–254.
    pub priority: u32,
    /// [`Domain::PASSIVE`] and the like.
    pub flags: u32,
    /// Its address space: program, stack, IPC buffer and regions, in [`Header::maps`].
    pub maps: Span,
    /// Its capabilities, in [`Header::caps`].
    pub caps: Span,
}

impl Domain {
    /// The domain gives up its scheduling context once it has initialised.
    pub const PASSIVE: u32 = 1 << 0;
    /// The domain has an endpoint: it is called, has children or a virtual machine.
    pub const ENDPOINT: u32 = 1 << 1;
    /// The domain may use floating point.
    pub const FPU: u32 = 1 << 2;
}

/// A virtual machine: an address space that its virtual CPUs share. They start suspended.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Machine {
    /// Name, padded with zero bytes.
    pub name: [u8; 64],
    /// Budget of each virtual CPU in microseconds.
    pub budget: u64,
    /// Period in microseconds.
    pub period: u64,
    /// Index of the domain that handles its faults.
    pub domain: u32,
    /// Priority of each virtual CPU.
    pub priority: u32,
    /// Guest-physical memory, in [`Header::maps`].
    pub maps: Span,
    /// In [`Header::vcpus`].
    pub vcpus: Span,
}

/// A virtual CPU. Its faults go to the machine's domain with the badge [`BADGE_FAULT`] `| id`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vcpu {
    /// Index of its machine.
    pub machine: u32,
    /// Id, unique among the ids of its domain's virtual CPUs and children.
    pub id: u32,
    /// Core.
    pub cpu: u32,
    /// Zero.
    pub reserved: u32,
}

/// An interrupt that a domain handles.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Irq {
    /// INTID of the GIC.
    pub number: u32,
    /// Zero if level-triggered, one if edge-triggered.
    pub edge: u32,
    /// Index of the domain whose notification it signals.
    pub domain: u32,
    /// Badge bit that it sets.
    pub id: u32,
}

/// A mapping of contiguous memory, with blocks as large as the alignment of the two addresses allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Map {
    /// Virtual, for a machine guest-physical, address.
    pub virt: u64,
    /// Physical address.
    pub phys: u64,
    /// Bytes.
    pub size: u64,
    /// [`Map::READ`] and the like.
    pub flags: u64,
}

impl Map {
    /// May be read.
    pub const READ: u64 = 1 << 0;
    /// May be written.
    pub const WRITE: u64 = 1 << 1;
    /// May be executed.
    pub const EXECUTE: u64 = 1 << 2;
    /// Normal write-back memory; otherwise device memory.
    pub const CACHED: u64 = 1 << 3;
}

/// A capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Cap {
    /// Its address: a slot below [`slot::COUNT`], or a root slot shifted by [`slot::ROOT_SHIFT`].
    pub slot: u64,
    /// Badge of a notification or endpoint; zero otherwise.
    pub badge: u64,
    /// [`Cap::NOTIFICATION`] and the like.
    pub kind: u32,
    /// Index of the object in the table of its kind.
    pub object: u32,
}

impl Cap {
    /// Signals the notification of a domain.
    pub const NOTIFICATION: u32 = 1;
    /// Calls the endpoint of a domain.
    pub const ENDPOINT: u32 = 2;
    /// Acknowledges an [`Irq`].
    pub const IRQ: u32 = 3;
    /// The thread of a domain.
    pub const TCB: u32 = 4;
    /// The thread of a [`Vcpu`].
    pub const VCPU_TCB: u32 = 5;
    /// A [`Vcpu`].
    pub const VCPU: u32 = 6;
    /// SMC calls; the object is zero.
    pub const SMC: u32 = 7;
    /// The scheduling context of a domain.
    pub const SCHED_CONTEXT: u32 = 8;
    /// The address space of a domain.
    pub const VSPACE: u32 = 9;
}

/// Why bytes are not a boot description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes end before the header does.
    Header,
    /// [`Header::magic`] is another.
    Magic,
    /// A table leaves the description or is misaligned.
    Table,
    /// A record names an element that does not exist.
    Reference,
}

/// A boot description whose tables and references are in bounds.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The header.
    pub header: &'a Header,
    /// See [`Header::zeroes`].
    pub zeroes: &'a [Zero],
    /// See [`Header::loads`].
    pub loads: &'a [Load],
    /// See [`Header::domains`].
    pub domains: &'a [Domain],
    /// See [`Header::machines`].
    pub machines: &'a [Machine],
    /// See [`Header::vcpus`].
    pub vcpus: &'a [Vcpu],
    /// See [`Header::irqs`].
    pub irqs: &'a [Irq],
    /// See [`Header::maps`].
    pub maps: &'a [Map],
    /// See [`Header::caps`].
    pub caps: &'a [Cap],
}

impl<'a> Boot<'a> {
    /// Reads the description at the start of `bytes`, which must be aligned to 8 bytes and may be longer.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, _) = Header::ref_from_prefix(bytes).map_err(|_| Error::Header)?;
        if header.magic != MAGIC {
            return Err(Error::Magic);
        }
        let length = usize::try_from(header.length).map_err(|_| Error::Table)?;
        let bytes = bytes.get(..length).ok_or(Error::Table)?;
        let boot = Self {
            header,
            zeroes: table(bytes, header.zeroes)?,
            loads: table(bytes, header.loads)?,
            domains: table(bytes, header.domains)?,
            machines: table(bytes, header.machines)?,
            vcpus: table(bytes, header.vcpus)?,
            irqs: table(bytes, header.irqs)?,
            maps: table(bytes, header.maps)?,
            caps: table(bytes, header.caps)?,
        };
        if boot.references() { Ok(boot) } else { Err(Error::Reference) }
    }

    /// Whether every index that a record holds names an element.
    fn references(&self) -> bool {
        let within = |index: u32, len: usize| (index as usize) < len;
        let domain = |index| within(index, self.domains.len());
        self.domains.iter().all(|d| {
            (d.parent == NONE || domain(d.parent))
                && (d.machine == NONE || within(d.machine, self.machines.len()))
                && self.maps.get(d.maps.indices()).is_some()
                && self.caps.get(d.caps.indices()).is_some()
        }) && self.machines.iter().all(|m| {
            domain(m.domain) && self.maps.get(m.maps.indices()).is_some() && self.vcpus.get(m.vcpus.indices()).is_some()
        }) && self.vcpus.iter().all(|v| within(v.machine, self.machines.len()))
            && self.irqs.iter().all(|i| domain(i.domain))
            && self.caps.iter().all(|c| match c.kind {
                Cap::NOTIFICATION | Cap::ENDPOINT | Cap::TCB | Cap::SCHED_CONTEXT | Cap::VSPACE => domain(c.object),
                Cap::IRQ => within(c.object, self.irqs.len()),
                Cap::VCPU_TCB | Cap::VCPU => within(c.object, self.vcpus.len()),
                Cap::SMC => c.object == 0,
                _ => false,
            })
    }
}

fn table<T: FromBytes + Immutable + KnownLayout>(bytes: &[u8], span: Span) -> Result<&[T], Error> {
    let bytes = bytes.get(span.start as usize..).ok_or(Error::Table)?;
    let (table, _) = <[T]>::ref_from_prefix_with_elems(bytes, span.count as usize).map_err(|_| Error::Table)?;
    Ok(table)
}

/// `text` as a name field, cut to 63 bytes and padded with zeroes.
pub fn name(text: &str) -> [u8; 64] {
    let mut field = [0; 64];
    field.iter_mut().take(63).zip(text.bytes()).for_each(|(to, from)| *to = from);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description with one capability.
    fn description(length: u64, caps: Span, cap: Cap) -> [u64; 32] {
        let header = Header { magic: MAGIC, length, caps, ..Header::default() };
        let mut words = [0; 32];
        words.as_mut_bytes()[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        words.as_mut_bytes()[size_of::<Header>()..][..size_of::<Cap>()].copy_from_slice(cap.as_bytes());
        words
    }

    #[test]
    fn what_is_out_of_bounds_is_rejected() {
        let start = size_of::<Header>() as u32;
        let end = u64::from(start) + size_of::<Cap>() as u64;
        let one = Span { start, count: 1 };
        let smc = Cap { kind: Cap::SMC, ..Cap::default() };
        for (length, span, cap, expected) in [
            (end, one, smc, Ok(())),
            (257, one, smc, Err(Error::Table)),
            (u64::MAX, one, smc, Err(Error::Table)),
            (end - 1, one, smc, Err(Error::Table)),
            (end, Span { start: start + 1, count: 0 }, smc, Err(Error::Table)),
            (end, Span { start: u32::MAX, count: 1 }, smc, Err(Error::Table)),
            (end, Span { start, count: u32::MAX }, smc, Err(Error::Table)),
            (end, one, Cap { object: 1, ..smc }, Err(Error::Reference)),
            (end, one, Cap { kind: Cap::TCB, ..smc }, Err(Error::Reference)),
            (end, one, Cap { kind: Cap::IRQ, ..smc }, Err(Error::Reference)),
            (end, one, Cap { kind: Cap::VCPU, ..smc }, Err(Error::Reference)),
            (end, one, Cap { kind: 0, ..smc }, Err(Error::Reference)),
        ] {
            let words = description(length, span, cap);
            let result = Boot::parse(words.as_bytes()).map(|boot| assert_eq!(boot.caps, [cap]));
            assert_eq!(result, expected, "{length} {span:?} {cap:?}");
        }
    }

    #[test]
    fn only_a_complete_header_of_this_version_is_read() {
        let words = description(size_of::<Header>() as u64, Span::default(), Cap::default());
        let bytes = words.as_bytes();
        assert_eq!(Boot::parse(&bytes[..size_of::<Header>() - 1]).err(), Some(Error::Header));
        assert_eq!(Boot::parse(&bytes[1..]).err(), Some(Error::Header), "misaligned");
        let mut other = words;
        other.as_mut_bytes()[6] += 1;
        assert_eq!(Boot::parse(other.as_bytes()).err(), Some(Error::Magic));
    }

    #[test]
    fn names_end_with_a_zero() {
        assert_eq!(name("ab")[..3], *b"ab\0");
        let long = name(&"x".repeat(99));
        assert_eq!((long[62], long[63]), (b'x', 0));
    }
}
