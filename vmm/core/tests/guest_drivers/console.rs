// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use crate::world::{Domain, GuestHal, Registers, World, region};
use queue::serial::{Client, MIN_SIZE, Server};
use virtio_drivers::device::console::VirtIOConsole;
use vmm_core::virtio::Device;
use vmm_core::virtio::console::{Console, Size};

/// A terminal.
struct Terminal {
    link: Server<'static>,
    shown: Vec<u8>,
    typed: Vec<u8>,
}

impl Domain for Terminal {
    fn serve(&mut self) -> bool {
        self.link.ask(true);
        let mut buffer = [0; 100];
        loop {
            let count = self.link.read(&mut buffer).unwrap();
            self.shown.extend(&buffer[..count]);
            if count == 0 {
                break;
            }
        }
        let taken = self.link.write(&self.typed).unwrap();
        self.typed.drain(..taken);
        self.link.wake_wanted()
    }
}

#[test]
fn a_driver_writes_and_reads() {
    let region = region(MIN_SIZE);
    let mut link = Server::new(region).unwrap();
    link.ask(true);
    let terminal = Terminal { link, shown: Vec::new(), typed: Vec::new() };
    let size = Size { columns: 132, rows: 43 };
    let world = World::new(Device::Console(Console::new(Client::new(region).unwrap(), size)), terminal);
    let mut driver = VirtIOConsole::<GuestHal, _>::new(Registers(world.clone())).unwrap();
    let size = driver.size().unwrap().unwrap();
    assert_eq!((size.columns, size.rows), (132, 43));

    let text: Vec<u8> = (0..20_000_u32).map(|n| (n ^ n >> 8) as u8).collect();
    // Far longer than the link, at once and in pieces.
    driver.send_bytes(&text[..15_000]).unwrap();
    text[15_000..].chunks(7).for_each(|piece| driver.send_bytes(piece).unwrap());
    assert!(world.borrow().domain.shown == text);

    assert_eq!(driver.recv(true).unwrap(), None);
    let typed = b"what a person types".repeat(300);
    world.borrow_mut().domain.typed = typed.clone();
    world.borrow_mut().poke();
    let mut read = Vec::new();
    while let Some(byte) = driver.recv(true).unwrap() {
        read.push(byte);
        world.borrow_mut().poke();
    }
    assert!(read == typed);
}
