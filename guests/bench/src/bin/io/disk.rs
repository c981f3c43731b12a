// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The disk, without the page cache.

use crate::{repeat, time};
use bench::linux::{Errno, call, nr, open, write_all};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const PAGE: usize = 4 * KIB;
/// How much of the disk is used.
const AREA: usize = 32 * MIB;

/// A disk, and where its data go.
struct Disk {
    file: usize,
    /// The address of two mebibytes, which only the kernel accesses.
    memory: usize,
}

pub fn measure() -> Result<(), Errno> {
    const O_RDWR_DIRECT: usize = 0o200_002;
    let disk = Disk { file: open(c"/dev/vda", O_RDWR_DIRECT)?, memory: contiguous_pages()? };
    let at = |n: usize, len: usize| n * len % AREA;
    repeat::<0>("read-4k", 1000, |n| disk.read(4 * KIB, at(n, 4 * KIB)))?;
    repeat::<1>("read-64k", 400, |n| disk.read(64 * KIB, at(n, 64 * KIB)))?;
    repeat::<2>("read-64k-scattered", 400, |n| disk.read_scattered(at(n, 64 * KIB)))?;
    repeat::<3>("read-1m", 100, |n| disk.read(MIB, at(n, MIB)))?;
    repeat::<4>("write-1m", 100, |n| disk.write(MIB, at(n, MIB)))?;
    disk.read_at_random(8000)?;
    repeat::<6>("write-512", 1000, |n| disk.write(512, at(n, 512)))?;
    repeat::<7>("write-4k-sync", 1000, |n| disk.write(4 * KIB, at(n, 4 * KIB)).and_then(|()| disk.sync()))
}

/// Two mebibytes of small pages that lie one behind the other in physical memory too.
fn contiguous_pages() -> Result<usize, Errno> {
    const O_WRONLY: usize = 1;
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
    const MADV_HUGEPAGE: usize = 14;
    const MADV_COLD: usize = 20;
    const MADV_POPULATE_WRITE: usize = 23;
    // In a small guest Linux has huge pages turned off.
    write_all(open(c"/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY)?, b"madvise")?;
    // SAFETY: mmap(NULL, 4 MiB, …) makes new memory, and madvise touches only that.
    unsafe {
        let start = call(nr::MMAP, [0, 4 * MIB, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX, 0])?;
        let aligned = start.next_multiple_of(2 * MIB);
        call(nr::MADVISE, [aligned, 2 * MIB, MADV_HUGEPAGE, 0, 0, 0])?;
        call(nr::MADVISE, [aligned, 2 * MIB, MADV_POPULATE_WRITE, 0, 0, 0])?;
        // Only a part of the huge page is: Linux splits it.
        call(nr::MADVISE, [aligned, PAGE, MADV_COLD, 0, 0, 0])?;
        Ok(aligned)
    }
}

impl Disk {
    fn read(&self, len: usize, position: usize) -> Result<(), Errno> {
        // SAFETY: pread(file, memory, len, position) writes memory that no reference covers.
        whole(len, unsafe { call(nr::PREAD64, [self.file, self.memory, len, position, 0, 0]) })
    }

    fn write(&self, len: usize, position: usize) -> Result<(), Errno> {
        // SAFETY: pwrite(file, memory, len, position) reads that memory.
        whole(len, unsafe { call(nr::PWRITE64, [self.file, self.memory, len, position, 0, 0]) })
    }

    /// Reads into sixteen pages, none of which is beside another.
    fn read_scattered(&self, position: usize) -> Result<(), Errno> {
        // `struct iovec`: address and length.
        let mut pages = [[0, PAGE]; 16];
        (0..).zip(&mut pages).for_each(|(n, [address, _])| *address = self.memory + 2 * PAGE * n);
        // SAFETY: preadv(file, pages, count, position) reads `pages`, and writes memory that no reference covers.
        let done = unsafe { call(nr::PREADV, [self.file, pages.as_ptr() as usize, pages.len(), position, 0, 0]) };
        whole(pages.len() * PAGE, done)
    }

    fn sync(&self) -> Result<(), Errno> {
        // SAFETY: fdatasync(file) touches no memory of this program.
        unsafe { call(nr::FDATASYNC, [self.file, 0, 0, 0, 0, 0]) }.map(|_| ())
    }

    /// Keeps 32 reads of 4 KiB under way.
    fn read_at_random(&self, count: usize) -> Result<(), Errno> {
        const DEPTH: usize = 32;
        let mut context = 0_usize;
        // SAFETY: io_setup(DEPTH, &context) writes the context's handle.
        unsafe { call(nr::IO_SETUP, [DEPTH, &raw mut context as usize, 0, 0, 0, 0]) }?;
        let mut seed = 1_u32;
        let mut controls = [Control::default(); DEPTH];
        for (slot, control) in (0..).zip(&mut controls) {
            let address = self.memory + PAGE * slot;
            *control = Control { slot, file: self.file as u32, address, len: PAGE, ..Control::default() };
        }
        // Those that are to be submitted next.
        let mut ready: [usize; DEPTH] = core::array::from_fn(|slot| slot);
        let mut events = [[0_usize; 4]; DEPTH];
        time::<5>("read-4k-random", count, || {
            let (mut submitted, mut completed, mut free) = (0, 0, DEPTH);
            while completed < count {
                let batch = free.min(count - submitted);
                let mut pointers = [core::ptr::null_mut::<Control>(); DEPTH];
                for (pointer, slot) in pointers.iter_mut().zip(&ready[..batch]) {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    controls[*slot].position = (seed >> 8) as usize % (AREA / PAGE) * PAGE;
                    *pointer = &raw mut controls[*slot];
                }
                if batch > 0 {
                    // SAFETY: io_submit(context, batch, pointers) reads the control blocks, of reads into memory that no
                    // reference covers.
                    let done = unsafe { call(nr::IO_SUBMIT, [context, batch, pointers.as_ptr() as usize, 0, 0, 0]) };
                    whole(batch, done)?;
                }
                submitted += batch;
                let into = events.as_mut_ptr() as usize;
                // SAFETY: io_getevents(context, 1, DEPTH, events, NULL) writes as many events as it returns.
                free = unsafe { call(nr::IO_GETEVENTS, [context, 1, DEPTH, into, 0, 0]) }?;
                completed += free;
                for (slot, [data, _, result, _]) in ready.iter_mut().zip(&events[..free]) {
                    whole(PAGE, Ok(*result))?;
                    *slot = *data;
                }
            }
            Ok(())
        })
    }
}

/// `struct iocb` of a read.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Control {
    /// Comes back with the event.
    slot: usize,
    key: u32,
    flags: u32,
    operation: u16,
    priority: i16,
    file: u32,
    address: usize,
    len: usize,
    position: usize,
    reserved: u64,
    more_flags: u32,
    event_file: u32,
}

fn whole(len: usize, done: Result<usize, Errno>) -> Result<(), Errno> {
    if done? == len { Ok(()) } else { Err(Errno(5)) }
}
