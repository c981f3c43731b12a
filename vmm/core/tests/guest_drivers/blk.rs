// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use crate::world::{Domain, GuestHal, Ram, Registers, World, region};
use proptest::prelude::*;
use queue::blk::{Client, Completion, Info, Operation, Request, Segments, Server, Status};
use std::cell::RefCell;
use std::rc::Rc;
use virtio_drivers::Error;
use virtio_drivers::device::blk::{BlkReq, BlkResp, VirtIOBlk};
use vmm_core::GuestMemory;
use vmm_core::map::RAM_BASE;
use vmm_core::virtio::Device;
use vmm_core::virtio::blk::Blk;

const SECTORS: u64 = 64;

/// A disk driver with its medium in memory.
struct Disk {
    link: Server<'static>,
    medium: Vec<u8>,
    flushes: usize,
    /// Requests are left lying for so many notifications.
    delay: usize,
}

impl Disk {
    fn execute(&mut self, request: &Request<'_>) -> Status {
        let mut at = request.sector as usize * 512;
        match request.operation {
            Operation::Flush => self.flushes += 1,
            Operation::Read | Operation::Write => {
                for segment in request.segments {
                    let (gpa, len) = (RAM_BASE + segment.offset, segment.len as usize);
                    let Some(sectors) = self.medium.get_mut(at..at + len) else { return Status::Failed };
                    let moved = match request.operation {
                        Operation::Read => Ram.write(gpa, sectors),
                        _ => Ram.read(gpa, sectors),
                    };
                    if moved.is_err() {
                        return Status::Failed;
                    }
                    at += len;
                }
            }
            Operation::Discard { .. } | Operation::WriteZeroes { .. } => return Status::Unsupported,
        }
        Status::Done
    }
}

impl Domain for Disk {
    fn serve(&mut self) -> bool {
        if self.delay > 0 {
            self.delay -= 1;
            return false;
        }
        loop {
            let mut room = Segments::new();
            while let Some(request) = self.link.next(&mut room).unwrap() {
                let status = self.execute(&request);
                self.link.complete(Completion { id: request.id, status }).unwrap();
            }
            if self.link.sleep() {
                return self.link.wake_wanted();
            }
        }
    }
}

type Driver = VirtIOBlk<GuestHal, Registers<Disk>>;

fn world(read_only: bool) -> Rc<RefCell<World<Disk>>> {
    let region = region(0x4000);
    let info = Info {
        sectors: SECTORS,
        block_size: 512,
        read_only,
        flush: true,
        discard_sectors: 0,
        discard_alignment: 0,
        write_zeroes_sectors: 0,
        write_zeroes_unmap: false,
    };
    let mut link = Server::new(region).unwrap();
    link.announce(Some(info));
    assert!(link.sleep());
    let medium = (0..SECTORS as usize * 512).map(|n| (n / 512) as u8).collect();
    let device = Device::Blk(Blk::new(Client::new(region).unwrap(), info, "test"));
    World::new(device, Disk { link, medium, flushes: 0, delay: 0 })
}

fn driver(world: &Rc<RefCell<World<Disk>>>) -> Driver {
    Driver::new(Registers(world.clone())).unwrap()
}

#[test]
fn a_driver_reads_and_writes_and_flushes() {
    let world = world(false);
    let mut driver = driver(&world);
    assert_eq!((driver.capacity(), driver.readonly()), (SECTORS, false));
    let mut id = [0; 20];
    let len = driver.device_id(&mut id).unwrap();
    assert_eq!(&id[..len], b"test");
    let mut buffer = vec![0; 512 * 5];
    driver.read_blocks(3, &mut buffer).unwrap();
    assert!(buffer.chunks(512).zip(3..).all(|(sector, n)| sector.iter().all(|byte| *byte == n)));
    // Far more requests than the rings have places.
    for n in 0..1000_usize {
        let block = [n as u8 ^ 0x5a; 512];
        driver.write_blocks(n % 64, &block).unwrap();
        driver.read_blocks(n % 64, &mut buffer[..512]).unwrap();
        assert_eq!(buffer[..512], block);
    }
    driver.flush().unwrap();
    assert_eq!(world.borrow().domain.flushes, 1);
    assert_eq!(world.borrow().domain.medium[511 * 3], (2 + 960) as u8 ^ 0x5a);
    assert_eq!(driver.read_blocks(64, &mut buffer[..512]), Err(Error::IoError));
    assert_eq!(driver.write_blocks(62, &buffer), Err(Error::IoError));
    assert_eq!(world.borrow().events, [""; 0]);
}

#[test]
fn a_read_only_disk_is_not_written() {
    let world = world(true);
    let mut driver = driver(&world);
    assert!(driver.readonly());
    assert_eq!(driver.write_blocks(0, &[0xff; 512]), Err(Error::IoError));
    assert_eq!(world.borrow().domain.medium[0], 0);
}

#[test]
fn many_requests_are_under_way_and_end_in_an_interrupt() {
    let world = world(false);
    let mut driver = driver(&world);
    driver.enable_interrupts();
    world.borrow_mut().domain.delay = 100;
    let mut requests: Vec<_> = (0..16).map(|_| (BlkReq::default(), [0; 512], BlkResp::default())).collect();
    let mut tokens = Vec::new();
    for (n, (request, buffer, response)) in requests.iter_mut().enumerate() {
        // SAFETY: the buffers live, untouched, until the request is completed below.
        tokens.push(unsafe { driver.read_blocks_nb(n, request, buffer, response) }.unwrap());
    }
    assert_eq!((driver.peek_used(), driver.ack_interrupt().bits()), (None, 0));
    world.borrow_mut().domain.delay = 0;
    world.borrow_mut().poke();
    assert_eq!(driver.ack_interrupt().bits(), 1);
    assert_eq!(driver.ack_interrupt().bits(), 0);
    for (n, (token, (request, buffer, response))) in tokens.into_iter().zip(&mut requests).enumerate() {
        assert_eq!(driver.peek_used(), Some(token));
        // SAFETY: the same buffers as above.
        unsafe { driver.complete_read_blocks(token, request, buffer, response) }.unwrap();
        assert!(buffer.iter().all(|byte| *byte == n as u8));
    }
}

#[test]
fn a_driver_may_come_and_go() {
    let world = world(false);
    for n in 0..20 {
        let mut driver = driver(&world);
        driver.write_blocks(n, &[0xaa; 512]).unwrap();
    }
    assert!(world.borrow().domain.medium[..20 * 512].iter().all(|byte| *byte == 0xaa));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// While a driver works, its RAM is overwritten at random: the machine survives, and serves the next driver.
    #[test]
    fn a_misbehaving_ram_harms_only_its_guest(
        pokes in prop::collection::vec((any::<u32>(), 0..12_u8, any::<u64>()), 1..60),
    ) {
        let world = world(false);
        let mut first = driver(&world);
        let mut ram = Ram;
        for (n, (at, width, value)) in pokes.into_iter().enumerate() {
            let used = (ram.used() - 4096) as u64;
            let gpa = RAM_BASE + 4096 + u64::from(at) % used;
            // Small values too, where the borders are.
            let bytes = if width >= 8 { (value % 20).to_le_bytes() } else { value.to_le_bytes() };
            let _ = ram.write(gpa, &bytes[..usize::from(width % 8) + 1]);
            let request = Box::leak(Box::new((BlkReq::default(), [0; 512], BlkResp::default())));
            // SAFETY: the buffers live for ever.
            let _ = unsafe { first.read_blocks_nb(n % 64, &mut request.0, &mut request.1, &mut request.2) };
            world.borrow_mut().poke();
        }
        drop(first);
        let mut second = driver(&world);
        let mut buffer = [0; 512];
        second.read_blocks(9, &mut buffer).unwrap();
        prop_assert!(buffer.iter().all(|byte| *byte == 9));
    }
}
