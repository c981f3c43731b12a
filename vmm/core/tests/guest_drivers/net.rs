// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

use crate::world::{Domain, GuestHal, Ram, Registers, World, region};
use queue::cells;
use queue::net::{Checksum, Client, FRAME_OFFSET, FramePayload, HEADER_LEN, Info, MIN_SIZE, Mac, Server};
use std::cell::RefCell;
use std::rc::Rc;
use virtio_drivers::device::net::VirtIONetRaw;
use vmm_core::GuestMemory;
use vmm_core::map::RAM_BASE;
use vmm_core::virtio::Device;
use vmm_core::virtio::net::Net;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 2];
const REMOTE: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// A network that sends every frame back to where it came from, and remembers it.
struct Mirror {
    link: Server<'static>,
    frames: Vec<Vec<u8>>,
    copied: usize,
}

impl Domain for Mirror {
    fn serve(&mut self) -> bool {
        loop {
            while let Some(frame) = self.link.next().unwrap() {
                let mut bytes = frame.header.0.to_vec();
                match frame.payload {
                    FramePayload::Window { id, segments, count } => {
                        for segment in &segments[..count] {
                            let mut part = vec![0; segment.len as usize];
                            Ram.read(RAM_BASE + segment.offset, &mut part).unwrap();
                            bytes.extend(part);
                        }
                        self.link.sent(id).unwrap();
                    }
                    FramePayload::Copied(buffer) => {
                        let mut payload = vec![0; frame.len - HEADER_LEN];
                        cells::read(buffer, 0, &mut payload);
                        bytes.extend(payload);
                        self.copied += 1;
                    }
                }
                self.link.release();
                let back = [&bytes[6..12], &bytes[..6], &bytes[12..]].concat();
                if let Some(buffer) = self.link.receive_buffer().unwrap() {
                    cells::write(buffer, FRAME_OFFSET, &back);
                    self.link.deliver(back.len(), Checksum::Unknown).unwrap();
                }
                self.frames.push(bytes);
            }
            if self.link.sleep() {
                return self.link.wake_wanted();
            }
        }
    }
}

fn world() -> Rc<RefCell<World<Mirror>>> {
    let region = region(MIN_SIZE);
    let mut neighbours = [None; 8];
    neighbours[0] = Some(Mac(NEIGHBOUR));
    let info = Info { mac: Mac(OWN), mtu: 1500, completes_checksums: true, neighbours };
    let mut link = Server::new(region).unwrap();
    link.announce(&info);
    link.set_up(true);
    assert!(link.sleep());
    let device = Device::Net(Net::new(Client::new(region).unwrap(), info));
    World::new(device, Mirror { link, frames: Vec::new(), copied: 0 })
}

fn frame(to: [u8; 6], len: usize) -> Vec<u8> {
    let payload = (0..len).map(|n| (n * 7 + len) as u8);
    to.into_iter().chain(OWN).chain([8, 0]).chain(payload).collect()
}

#[test]
fn a_driver_sends_and_receives() {
    let world = world();
    let mut driver = VirtIONetRaw::<GuestHal, _, 16>::new(Registers(world.clone())).unwrap();
    assert_eq!(driver.mac_address(), OWN);
    let mut buffer = [0; 2048];
    let mut copied = 0;
    for n in 0..300 {
        let (to, len) = ([REMOTE, NEIGHBOUR][n % 2], (n * 41) % 1500);
        let sent = frame(to, len);
        // SAFETY: the buffer lives, untouched, until the frame is complete below.
        let token = unsafe { driver.receive_begin(&mut buffer) }.unwrap();
        driver.send(&sent).unwrap();
        assert_eq!(driver.poll_receive(), Some(token));
        // SAFETY: the same buffer.
        let (header, payload) = unsafe { driver.receive_complete(token, &mut buffer) }.unwrap();
        let received = &buffer[header..header + payload];
        assert_eq!((&received[..6], &received[6..12], &received[12..]), (&OWN[..], &to[..], &sent[12..]));
        copied += usize::from(to == NEIGHBOUR || len <= 256);
        assert_eq!(world.borrow().domain.copied, copied, "{n}");
    }
    assert_eq!(world.borrow().domain.frames.len(), 300);
    assert_eq!(world.borrow().events, [""; 0]);
}

#[test]
fn frames_wait_for_the_guest_up_to_a_bound() {
    let world = world();
    let mut driver = VirtIONetRaw::<GuestHal, _, 16>::new(Registers(world.clone())).unwrap();
    for len in 0..40 {
        driver.send(&frame(REMOTE, len)).unwrap();
    }
    let mut buffer = [0; 2048];
    // The first ones are kept, as many as the link holds.
    for len in 0..16 {
        let (_, received) = driver.receive_wait(&mut buffer).unwrap();
        assert_eq!(received, len + HEADER_LEN);
    }
    assert_eq!(driver.poll_receive(), None);
    assert_eq!(world.borrow().domain.frames.len(), 40);
}
