// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A driver of disks without a disk, which answers requests as no driver should. The boot test `bad-driver` has it.
//!
//! How it misbehaves, a request says by its first sector: n times [`SPACING`] for the nth way of [`answers`].

#![no_std]
#![no_main]

use config::{Blk, MAX_CLIENTS};
use queue::blk::{Completion, Info, Request, Segments, Server, Status};
use sel4_microkit::{Channel, ChannelSet, Handler, Infallible, protection_domain};

/// Sectors from one way to the next.
const SPACING: u64 = 4096;

/// What every client is told that it has.
const DISK: Info = Info {
    sectors: 8 * SPACING,
    block_size: 512,
    read_only: false,
    flush: false,
    discard_sectors: 0,
    discard_alignment: 0,
    write_zeroes_sectors: 0,
    write_zeroes_unmap: false,
};

/// The answers to a request. What it asks for is never done.
fn answers(request: &Request<'_>) -> [Option<Completion>; 2] {
    let answer = |status| Some(Completion { id: request.id, status });
    let way = if request.sector.is_multiple_of(SPACING) { request.sector / SPACING } else { 0 };
    match way {
        1 => [answer(Status::Failed), None],
        2 => [answer(Status::Unsupported), None],
        3 => [answer(Status::Done), answer(Status::Done)],
        // To what was never asked.
        4 => [Some(Completion { id: !request.id, status: Status::Done }), None],
        5 => [None, None],
        _ => [answer(Status::Done), None],
    }
}

struct Domain {
    clients: [Option<(Server<'static>, Channel)>; MAX_CLIENTS],
    segments: Segments,
}

#[protection_domain]
fn init() -> impl Handler {
    let config = pd::config::<Blk>();
    // Neither is of use here, but the symbols must be there for the addresses that the image's maker puts into them.
    // SAFETY: the device is that of this PD's record, and this is the only call.
    let _ = (unsafe { virtq::domain::parts(&config.device) }, virtq::domain::client_ram());
    let mut domain = Domain { clients: [const { None }; MAX_CLIENTS], segments: Segments::new() };
    for (place, client) in domain.clients.iter_mut().zip(config.clients()) {
        let link = client.client.link;
        // SAFETY: the window is of this PD's record, and is used only here.
        let server = Server::new(unsafe { pd::words(link.queues) }).ok();
        if let Some((mut server, channel)) = server.zip(pd::channel(link.channel)) {
            server.announce(Some(DISK));
            channel.notify();
            *place = Some((server, channel));
        }
    }
    domain.serve();
    domain
}

impl Domain {
    fn serve(&mut self) {
        for (server, channel) in self.clients.iter_mut().flatten() {
            loop {
                while let Ok(Some(request)) = server.next(&mut self.segments) {
                    // A client that has given up on this driver does not make room; that is not looked at.
                    answers(&request).into_iter().flatten().for_each(|answer| _ = server.complete(answer));
                }
                if server.wake_wanted() {
                    channel.notify();
                }
                if server.sleep() {
                    break;
                }
            }
        }
    }
}

impl Handler for Domain {
    type Error = Infallible;

    fn notified(&mut self, _channels: ChannelSet) -> Result<(), Infallible> {
        self.serve();
        Ok(())
    }
}
