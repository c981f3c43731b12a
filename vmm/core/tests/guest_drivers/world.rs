// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The guest's world: RAM, a machine, and the domain that serves its device.

use queue::AtomicU64;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::AtomicU32;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use vmm_core::device::pl011::Console;
use vmm_core::device::pl031::Clock;
use vmm_core::map::{RAM_BASE, VIRTIO, VIRTIO_SLOT_SIZE};
use vmm_core::memory::offset;
use vmm_core::virtio::Device;
use vmm_core::virtio::mmio::{PAGE_WORDS, Slots};
use vmm_core::{Exit, GuestMemory, Lifecycle, Machine, OutOfRange, Reg, Regs, Resume, VcpuId};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const RAM: usize = 8 << 20;
const SLOT: usize = 1;

thread_local! {
    /// The RAM of the guest of this test.
    static ARENA: Arena = Arena::new();
}

/// A RAM, and what of it the guest's driver uses.
struct Arena {
    base: *mut u8,
    next: Cell<usize>,
    /// Places to use again, by size.
    free: RefCell<HashMap<usize, Vec<usize>>>,
}

impl Arena {
    fn new() -> Self {
        let words = vec![[0_u64; 512]; RAM / PAGE_SIZE + 1].leak();
        let bytes = words.as_mut_ptr().cast::<u8>();
        let base = bytes.wrapping_add(bytes.align_offset(PAGE_SIZE));
        // The first page stays unused: no buffer is at the start of RAM.
        Self { base, next: Cell::new(PAGE_SIZE), free: RefCell::default() }
    }

    fn allocate(&self, len: usize) -> usize {
        let len = len.next_multiple_of(16);
        if let Some(place) = self.free.borrow_mut().get_mut(&len).and_then(Vec::pop) {
            return place;
        }
        let place = if len >= PAGE_SIZE { self.next.get().next_multiple_of(PAGE_SIZE) } else { self.next.get() };
        self.next.set(place + len);
        assert!(self.next.get() <= RAM, "the guest has used up its RAM");
        place
    }

    fn free(&self, place: usize, len: usize) {
        self.free.borrow_mut().entry(len.next_multiple_of(16)).or_default().push(place);
    }

    fn pointer(&self, place: usize) -> *mut u8 {
        assert!(place < RAM);
        self.base.wrapping_add(place)
    }
}

/// The guest's memory management.
pub struct GuestHal;

// SAFETY: allocations are disjoint parts of the arena, page-aligned where they are pages, and zeroed.
unsafe impl Hal for GuestHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        ARENA.with(|arena| {
            let place = arena.allocate(pages * PAGE_SIZE);
            let pointer = NonNull::new(arena.pointer(place)).unwrap();
            // SAFETY: the allocation is in the arena and nobody else's.
            unsafe { pointer.write_bytes(0, pages * PAGE_SIZE) };
            (RAM_BASE + place as u64, pointer)
        })
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _vaddr: NonNull<u8>, pages: usize) -> i32 {
        ARENA.with(|arena| arena.free((paddr - RAM_BASE) as usize, pages * PAGE_SIZE));
        0
    }

    unsafe fn mmio_phys_to_virt(_paddr: PhysAddr, _size: usize) -> NonNull<u8> {
        unreachable!("there is no PCI")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        ARENA.with(|arena| {
            let place = arena.allocate(buffer.len());
            if direction != BufferDirection::DeviceToDriver {
                // SAFETY: the caller gives a valid buffer, and the allocation is as long.
                unsafe { arena.pointer(place).copy_from(buffer.as_ptr().cast(), buffer.len()) };
            }
            RAM_BASE + place as u64
        })
    }

    unsafe fn unshare(paddr: PhysAddr, buffer: NonNull<[u8]>, direction: BufferDirection) {
        ARENA.with(|arena| {
            let place = (paddr - RAM_BASE) as usize;
            if direction != BufferDirection::DriverToDevice {
                // SAFETY: as in `share`.
                unsafe { arena.pointer(place).copy_to(buffer.as_ptr().cast(), buffer.len()) };
            }
            arena.free(place, buffer.len());
        });
    }
}

/// The RAM as the machine, and a device's DMA, reaches it.
#[derive(Clone, Copy)]
pub struct Ram;

impl GuestMemory for Ram {
    fn size(&self) -> u64 {
        RAM as u64
    }

    fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfRange> {
        let start = offset(gpa, buf.len(), self.size())?;
        // SAFETY: the bytes are in the arena, and only this thread touches them.
        ARENA.with(|arena| unsafe { arena.base.add(start).copy_to(buf.as_mut_ptr(), buf.len()) });
        Ok(())
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        let start = offset(gpa, bytes.len(), self.size())?;
        // SAFETY: as in `read`.
        ARENA.with(|arena| unsafe { arena.base.add(start).copy_from(bytes.as_ptr(), bytes.len()) });
        Ok(())
    }
}

impl Ram {
    /// How much of it the guest's driver has used.
    pub fn used(self) -> usize {
        ARENA.with(|arena| arena.next.get())
    }
}

/// No UART.
struct NoConsole;

impl Console for NoConsole {
    fn put(&mut self, _byte: u8) -> bool {
        true
    }
    fn has_room(&self) -> bool {
        true
    }
    fn get(&mut self) -> Option<u8> {
        None
    }
    fn has_input(&self) -> bool {
        false
    }
}

/// Registers of a vCPU that executes one load or store of x1.
struct OneRegister(u64);

impl Regs for OneRegister {
    fn get(&mut self, reg: Reg) -> u64 {
        if reg == Reg::X(1) { self.0 } else { 0 }
    }
    fn set(&mut self, reg: Reg, value: u64) {
        if reg == Reg::X(1) {
            self.0 = value;
        }
    }
}

/// The domain that serves a device: called when it is notified, says whether it notifies the VMM.
pub trait Domain {
    fn serve(&mut self) -> bool;
}

/// A machine with one virtio device and the domain behind it.
pub struct World<D> {
    machine: Machine<Ram, NoConsole>,
    pub domain: D,
    /// What the machine reported.
    pub events: Vec<String>,
}

impl<D: Domain> World<D> {
    pub fn new(device: Device, domain: D) -> Rc<RefCell<Self>> {
        let page: &[AtomicU32] = Vec::leak((0..PAGE_WORDS).map(|_| AtomicU32::new(0)).collect());
        let slots = Box::leak(Box::new(Slots::new()));
        slots.set_page(page);
        slots.attach(SLOT, device, 0);
        let mut machine =
            Machine::new(Ram, 1, vmm_core::gic::Version::V2, NoConsole, Clock { now: || 0, frequency: 1 });
        machine.attach(slots);
        Rc::new(RefCell::new(Self { machine, domain, events: Vec::new() }))
    }

    /// The domain's side happens of itself: input comes, or a device is done.
    pub fn poke(&mut self) {
        if self.domain.serve() {
            self.machine.virtio_notified(1 << SLOT);
        }
        self.settle();
    }

    /// Does what the machine asks for, until it asks for nothing.
    fn settle(&mut self) {
        loop {
            let effects = self.machine.effects();
            self.events.extend(effects.event.map(|event| event.to_string()));
            if effects.notify == 0 && !effects.keeps {
                return;
            }
            assert_eq!(effects.notify & !(1 << SLOT), 0);
            if effects.notify != 0 && self.domain.serve() {
                self.machine.virtio_notified(1 << SLOT);
            }
            if effects.keeps {
                // Time passes at once.
                self.machine.hurry();
            }
        }
    }

    fn access(&mut self, register: u64, write: bool, size: u64, value: u64) -> u64 {
        let gpa = VIRTIO.base + SLOT as u64 * VIRTIO_SLOT_SIZE + register;
        let esr = 0x24 << 26 | 3 << 24 | u64::from(size.ilog2()) << 22 | 1 << 16 | u64::from(write) << 6 | 7;
        let mut regs = OneRegister(value);
        let resume = self.machine.exit(VcpuId::BOOT, Exit::Abort { gpa, esr, fetch: false }, &mut regs);
        self.settle();
        assert!(resume == Resume::Advance || resume == Resume::Hold && self.machine.is_quiesced(), "{resume:?}");
        regs.0
    }
}

/// The driver's way to the registers: each access is an exit.
pub struct Registers<D>(pub Rc<RefCell<World<D>>>);

impl<D: Domain> Registers<D> {
    fn read(&self, register: u64) -> u32 {
        self.0.borrow_mut().access(register, false, 4, 0) as u32
    }

    fn write(&mut self, register: u64, value: u32) {
        self.0.borrow_mut().access(register, true, 4, value.into());
    }
}

impl<D: Domain> Transport for Registers<D> {
    fn device_type(&self) -> DeviceType {
        self.read(0x008).try_into().unwrap()
    }

    fn read_device_features(&mut self) -> u64 {
        self.write(0x014, 0);
        let low = u64::from(self.read(0x010));
        self.write(0x014, 1);
        low | u64::from(self.read(0x010)) << 32
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        for (select, value) in [(0, driver_features as u32), (1, (driver_features >> 32) as u32)] {
            self.write(0x024, select);
            self.write(0x020, value);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.write(0x030, queue.into());
        self.read(0x034)
    }

    fn notify(&mut self, queue: u16) {
        self.write(0x050, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read(0x070))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(0x070, status.bits());
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        self.read(0x004) == 1
    }

    fn queue_set(&mut self, queue: u16, size: u32, descriptors: u64, driver_area: u64, device_area: u64) {
        self.write(0x030, queue.into());
        self.write(0x038, size);
        for (register, address) in [(0x080, descriptors), (0x090, driver_area), (0x0a0, device_area)] {
            self.write(register, address as u32);
            self.write(register + 4, (address >> 32) as u32);
        }
        self.write(0x044, 1);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.write(0x030, queue.into());
        self.write(0x044, 0);
        assert_eq!(self.read(0x044), 0);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.write(0x030, queue.into());
        self.read(0x044) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let causes = self.read(0x060);
        if causes != 0 {
            self.write(0x064, causes);
        }
        InterruptStatus::from_bits_truncate(causes)
    }

    fn read_config_generation(&self) -> u32 {
        self.read(0x0fc)
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> virtio_drivers::Result<T> {
        let mut value = T::new_zeroed();
        for (n, byte) in value.as_mut_bytes().iter_mut().enumerate() {
            *byte = self.0.borrow_mut().access(0x100 + (offset + n) as u64, false, 1, 0) as u8;
        }
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> virtio_drivers::Result<()> {
        for (n, byte) in value.as_bytes().iter().enumerate() {
            self.0.borrow_mut().access(0x100 + (offset + n) as u64, true, 1, (*byte).into());
        }
        Ok(())
    }
}

/// A link's region.
pub fn region(bytes: usize) -> &'static [AtomicU64] {
    Vec::leak((0..bytes / 8).map(|_| AtomicU64::new(0)).collect())
}
