// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Address translation (Arm ARM D5): the kernel's identity mapping, and the second stages of domains and guests.
//!
//! As in seL4, domains run at EL0 with only a second stage: 40 bits in 4 KiB granules, two concatenated tables at level 1.
//! Nothing is ever unmapped and every space has its own VMID, so no translation is ever invalidated.

use core::cell::UnsafeCell;

use devsdk_image::{Map, PAGE_SIZE};

use crate::arch::{self, msr};

const VALID: u64 = 1;
const TABLE: u64 = 1 << 1;
const ACCESSED: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
const EXECUTE_NEVER: u64 = 1 << 54;
/// Bits of a descriptor that hold an address.
const ADDRESS: u64 = 0xffff_ffff_f000;

/// MAIR_EL2: attribute 0 is Device-nGnRnE, attribute 1 is normal write-back memory.
const MAIR: u64 = 0xff00;
/// TCR_EL2: 39 bits from level 1, 40 bits out, write-back inner-shareable tables; RES1 bits 31 and 23.
const TCR: u64 = 1 << 31 | 1 << 23 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | (64 - 39);
/// SCTLR_EL2: MMU, data and instruction caches, and the RES1 bits.
const SCTLR: u64 = 0x30c5_0830 | 1 << 12 | 1 << 2 | 1;
/// VTCR_EL2: 40 bits from level 1, 40 bits out, write-back inner-shareable tables; RES1 bit 31.
const VTCR: u64 = 1 << 31 | 2 << 16 | 3 << 12 | 1 << 10 | 1 << 8 | 1 << 6 | (64 - 40);

#[repr(C, align(4096))]
struct Root(UnsafeCell<[u64; 512]>);

// SAFETY: written once, before the MMU is on, on the one core; only the MMU reads it.
unsafe impl Sync for Root {}

static KERNEL: Root = Root(UnsafeCell::new(
    const {
        // The first GiB holds the devices, the next three hold RAM.
        let ram = VALID | ACCESSED | INNER_SHAREABLE | 1 << 2;
        let mut entries = [0; 512];
        entries[0] = VALID | ACCESSED | EXECUTE_NEVER;
        entries[1] = ram | 1 << 30;
        entries[2] = ram | 2 << 30;
        entries[3] = ram | 3 << 30;
        entries
    },
));

/// Turns the kernel's own translation on and configures that of domains and guests.
pub fn init() {
    arch::invalidate();
    msr!("mair_el2", MAIR);
    msr!("tcr_el2", TCR);
    msr!("ttbr0_el2", KERNEL.0.get() as u64);
    msr!("vtcr_el2", VTCR);
    arch::isb();
    msr!("sctlr_el2", SCTLR);
    arch::isb();
}

/// Memory for tables, handed out once.
pub struct Pool {
    next: u64,
    end: u64,
}

/// The pool has no memory for another table.
#[derive(Debug)]
pub struct Exhausted;

impl Pool {
    /// A pool of the memory at a page-aligned address.
    ///
    /// # Safety
    ///
    /// Nothing else uses this memory.
    pub unsafe fn new(address: u64, size: u64) -> Self {
        Self { next: address, end: address + size }
    }

    /// A cleared block of `pages` pages, aligned to its size.
    fn allocate(&mut self, pages: u64) -> Result<u64, Exhausted> {
        let size = pages * PAGE_SIZE;
        let address = self.next.next_multiple_of(size);
        if address + size > self.end {
            return Err(Exhausted);
        }
        self.next = address + size;
        // SAFETY: the memory is the pool's and was not handed out before.
        unsafe { arch::clear(address, size) };
        Ok(address)
    }
}

/// A second stage.
#[derive(Clone, Copy)]
pub struct Space {
    root: u64,
    vmid: u64,
}

impl Space {
    /// An empty space; every space has another `vmid`, not zero and below 256.
    pub fn new(vmid: u64, pool: &mut Pool) -> Result<Self, Exhausted> {
        Ok(Self { root: pool.allocate(2)?, vmid })
    }

    /// Value of VTTBR_EL2.
    pub fn vttbr(self) -> u64 {
        self.vmid << 48 | self.root
    }

    /// Maps memory with the largest blocks that the addresses allow.
    pub fn map(self, map: &Map, pool: &mut Pool) -> Result<(), Exhausted> {
        let has = |flag| map.flags & flag != 0;
        let attributes = ACCESSED
            | if has(Map::CACHED) { 0xf << 2 | INNER_SHAREABLE } else { 0 }
            | if has(Map::READ) { 1 << 6 } else { 0 }
            | if has(Map::WRITE) { 1 << 7 } else { 0 }
            | if has(Map::EXECUTE) { 0 } else { EXECUTE_NEVER };
        let mut done = 0;
        while done < map.size {
            let (virt, phys) = (map.virt + done, map.phys + done);
            let level = [1, 2]
                .into_iter()
                .find(|level| (virt | phys).is_multiple_of(block(*level)) && map.size - done >= block(*level));
            let level = level.unwrap_or(3);
            let entry = self.entry(virt, level, pool)?;
            // SAFETY: `entry` points into a table of this space, which only this code and the MMU use.
            unsafe { entry.write(phys | attributes | VALID | if level == 3 { TABLE } else { 0 }) };
            done += block(level);
        }
        arch::dsb();
        Ok(())
    }

    /// The entry for `virt` at `level`, with the tables on the way to it.
    fn entry(self, virt: u64, level: u32, pool: &mut Pool) -> Result<*mut u64, Exhausted> {
        // The two concatenated tables are one of 1024 entries.
        let mut entry = (self.root + (virt >> 30 & 0x3ff) * 8) as *mut u64;
        for level in 2..=level {
            // SAFETY: `entry` points into a table of this space: tables come from the pool, cleared and identity-mapped, and
            // the tool gives mappings that do not overlap, so a valid entry on the way is a table's.
            let table = unsafe {
                if entry.read() & VALID == 0 {
                    entry.write(pool.allocate(1)? | TABLE | VALID);
                }
                entry.read() & ADDRESS
            };
            entry = (table + virt / block(level) % 512 * 8) as *mut u64;
        }
        Ok(entry)
    }
}

/// Bytes that an entry of a level maps.
fn block(level: u32) -> u64 {
    PAGE_SIZE << (9 * (3 - level))
}
