// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use crate::world::{Domain, GuestHal, Registers, World, region};
use queue::rng::{Client, MIN_SIZE, Server};
use virtio_drivers::device::rng::VirtIORng;
use vmm_core::virtio::Device;
use vmm_core::virtio::rng::Rng;

/// A source of bytes that count up.
struct Source {
    link: Server<'static>,
    next: u8,
}

impl Domain for Source {
    fn serve(&mut self) -> bool {
        while self.link.room().unwrap() > 0 {
            let bytes: [u8; 8] = std::array::from_fn(|n| self.next.wrapping_add(n as u8));
            self.next = self.next.wrapping_add(8);
            self.link.give(&bytes).unwrap();
        }
        assert!(self.link.sleep());
        self.link.wake_wanted()
    }
}

#[test]
fn a_driver_gets_entropy() {
    let region = region(MIN_SIZE);
    let source = Source { link: Server::new(region).unwrap(), next: 0 };
    let world = World::new(Device::Rng(Rng::new(Client::new(region).unwrap())), source);
    world.borrow_mut().poke();
    let mut driver = VirtIORng::<GuestHal, _>::new(Registers(world.clone())).unwrap();
    let mut expected = 0;
    for _ in 0..100 {
        let mut buffer = [0; 200];
        assert_eq!(driver.request_entropy(&mut buffer).unwrap(), buffer.len());
        for byte in buffer {
            assert_eq!(byte, expected);
            expected = expected.wrapping_add(1);
        }
    }
}
