// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Serving the clients.

use crate::disk::{Command, Disk, SLOTS};
use crate::partition::{self, Extent, PartError};
use config::{Access, MAX_CLIENTS, Part};
use core::fmt::Arguments;
use queue::blk::{Completion, Info, Operation, Request, SECTOR, Segment, Segments, Status};
use virtq::{Cause, Registers, Window};

/// What came out of [`Server::serve`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pass {
    /// The clients that are to be notified: bit n is the n-th.
    pub wake: u64,
    /// There is more to do already: `serve` is to be called again, and told whether the device is done with something.
    pub again: Option<bool>,
}

struct Client<'a> {
    link: queue::blk::Server<'a>,
    ram: Window,
    extent: Extent,
    access: Access,
    /// How many of its requests the device works on.
    under_way: usize,
    /// It broke the rules of its queue.
    is_broken: bool,
}

/// A request that the device works on.
#[derive(Clone, Copy)]
struct Pending {
    id: u32,
    client: u8,
}

/// What a server notes of requests. It is not in the server itself, to keep that small enough for a stack.
pub struct Requests {
    /// Those that the device works on.
    pending: [Option<Pending>; SLOTS],
    /// Of the one that is being taken.
    segments: Segments,
}

impl Requests {
    /// Room for the notes of one server.
    #[must_use]
    pub const fn new() -> Self {
        Self { pending: [None; SLOTS], segments: Segments::new() }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a request is not handed to the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    /// It is outside of what the client may do.
    Failed,
    /// The disk cannot do it.
    Unsupported,
    /// There is nothing to do.
    Done,
}

/// The driver's state.
pub struct Server<'a, R> {
    disk: Disk<'a, R>,
    /// `None` where a client has no part of the disk.
    clients: [Option<Client<'a>>; MAX_CLIENTS],
    /// There are none from this index on.
    count: usize,
    /// Of each client, most requests that the device works on at once.
    share: usize,
    requests: &'a mut Requests,
    is_dead: bool,
}

impl<'a, R: Registers> Server<'a, R> {
    /// A server of `disk` to at most `clients` clients.
    #[must_use]
    pub fn new(disk: Disk<'a, R>, clients: usize, requests: &'a mut Requests) -> Self {
        Self {
            disk,
            clients: [const { None }; MAX_CLIENTS],
            count: 0,
            share: SLOTS / clients.clamp(1, MAX_CLIENTS),
            requests,
            is_dead: false,
        }
    }

    /// The part of the disk that `part` names. Waits for the device without sleeping: for use before the clients are served.
    ///
    /// # Errors
    /// [`PartError`].
    pub fn find(&mut self, part: &Part) -> Result<Extent, PartError> {
        partition::find(&mut self.disk, part)
    }

    /// Lets the client `index`, with its queue `link` and its RAM, have `extent` of the disk, and tells it so. The caller
    /// then notifies it.
    ///
    /// # Errors
    /// The other client that has sectors in common with it, if either may write; the client is then told that it has none.
    ///
    /// # Panics
    /// If `index` is not less than [`MAX_CLIENTS`].
    pub fn add(
        &mut self,
        index: usize,
        mut link: queue::blk::Server<'a>,
        ram: Window,
        extent: Extent,
        access: Access,
    ) -> Result<(), usize> {
        let disk = self.disk.properties;
        let access = if disk.read_only { Access::ReadOnly } else { access };
        let conflicts = |other: &Client<'_>| {
            extent.overlaps(other.extent) && (access == Access::ReadWrite || other.access == Access::ReadWrite)
        };
        if let Some(other) = self.clients.iter().position(|other| other.as_ref().is_some_and(conflicts)) {
            link.announce(None);
            return Err(other);
        }
        let read_only = access == Access::ReadOnly;
        let unless_read_only = |count| if read_only { 0 } else { count };
        link.announce(Some(Info {
            sectors: extent.sectors,
            block_size: disk.block_size,
            read_only,
            flush: disk.flush,
            discard_sectors: unless_read_only(disk.discard.0),
            discard_alignment: disk.discard.1,
            write_zeroes_sectors: unless_read_only(disk.write_zeroes.0),
            write_zeroes_unmap: disk.write_zeroes.1,
        }));
        self.clients[index] = Some(Client { link, ram, extent, access, under_way: 0, is_broken: false });
        self.count = self.count.max(index + 1);
        Ok(())
    }

    /// Acknowledges the device's interrupt, before [`Self::serve`] is called for it.
    pub fn interrupted(&mut self, log: &mut impl FnMut(Arguments<'_>)) {
        if self.disk.interrupted() == Cause::NeedsReset {
            self.restart(log);
        }
    }

    /// Takes back what the device is done with, if `completed` says that there may be something, and takes what the clients
    /// ask for. The work is bounded by the size of the device's queue. The device interrupts only for what it does afterwards:
    /// if it is quick, it does not have to.
    pub fn serve(&mut self, completed: bool, log: &mut impl FnMut(Arguments<'_>)) -> Pass {
        self.disk.quiet();
        if completed {
            self.take_back(log);
        }
        for index in 0..self.count {
            self.accept(index, log);
        }
        self.disk.publish();
        // Asked only now: answers to refused requests, and room in the queue, count as well.
        let mut wake = 0;
        let mut has_requests = false;
        for (index, client) in (0..).zip(&mut self.clients[..self.count]) {
            let Some(client) = client.as_mut().filter(|client| !client.is_broken) else { continue };
            if client.link.wake_wanted() {
                wake |= 1 << index;
            }
            // One that has used up its share is looked at when the device is done with a request.
            has_requests |= client.under_way < self.share && !client.link.sleep();
        }
        let completed = !self.is_dead && !self.disk.sleep();
        Pass { wake, again: (completed || has_requests).then_some(completed) }
    }

    fn take_back(&mut self, log: &mut impl FnMut(Arguments<'_>)) {
        // The device cannot be done with more than it has got.
        for _ in 0..SLOTS {
            match self.disk.complete() {
                Ok(Some((slot, status))) => self.answer(slot, status, log),
                Ok(None) => return,
                Err(broken) => {
                    log(format_args!("{broken}"));
                    return self.restart(log);
                }
            }
        }
    }

    /// Hands the request in `slot` back to its client.
    fn answer(&mut self, slot: usize, status: Status, log: &mut impl FnMut(Arguments<'_>)) {
        let Some(Pending { id, client }) = self.requests.pending.get_mut(slot).and_then(Option::take) else { return };
        let index = usize::from(client);
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        client.under_way = client.under_way.saturating_sub(1);
        if !client.is_broken {
            client.complete(index, id, status, log);
        }
    }

    /// Resets a device that is not well. What it was working on fails.
    fn restart(&mut self, log: &mut impl FnMut(Arguments<'_>)) {
        if self.is_dead {
            return;
        }
        let result = self.disk.restart();
        if let Err(error) = result {
            log(format_args!("the disk is lost: {error}"));
            self.is_dead = true;
        } else {
            log(format_args!("the disk was reset"));
        }
        // A device that did not come out of its reset may still write to the clients' RAM: then nobody is told that it
        // may be used again.
        if result != Err(crate::OpenError::Device(virtq::Error::Reset)) {
            for slot in 0..SLOTS {
                self.answer(slot, Status::Failed, log);
            }
        }
    }

    /// Takes what the client `index` asks for, as far as its share goes.
    fn accept(&mut self, index: usize, log: &mut impl FnMut(Arguments<'_>)) {
        let Self { disk, clients, share, requests, is_dead, .. } = self;
        let Requests { pending, segments } = &mut **requests;
        let Some(client) = clients[index].as_mut() else { return };
        // Refused requests count as well, so that nobody can hold the driver.
        for _ in client.under_way..*share {
            if client.is_broken {
                return;
            }
            let request = match client.link.next(segments) {
                Ok(Some(request)) => request,
                Ok(None) => return,
                Err(broken) => return client.give_up(index, broken, log),
            };
            let id = request.id;
            let command = if *is_dead { Err(Refusal::Failed) } else { command(disk, client, &request) };
            let (ram, data) = (client.ram, request.segments.iter());
            let status = match command
                .map(|command| disk.submit(command, data.map(|data| ram.segment(data.offset, data.len))))
            {
                Ok(Ok(slot)) => {
                    pending[slot] = Some(Pending { id, client: index as u8 });
                    client.under_way += 1;
                    continue;
                }
                // For its segments: the shares together are not more than the slots.
                Ok(Err(_)) | Err(Refusal::Failed) => Status::Failed,
                Err(Refusal::Unsupported) => Status::Unsupported,
                Err(Refusal::Done) => Status::Done,
            };
            client.complete(index, id, status, log);
        }
    }
}

impl Client<'_> {
    fn complete(&mut self, index: usize, id: u32, status: Status, log: &mut impl FnMut(Arguments<'_>)) {
        if let Err(broken) = self.link.complete(Completion { id, status }) {
            self.give_up(index, broken, log);
        }
    }

    fn give_up(&mut self, index: usize, broken: queue::Broken, log: &mut impl FnMut(Arguments<'_>)) {
        self.is_broken = true;
        log(format_args!("client {index} is served no more: {broken}"));
    }
}

/// What the device is to do for `request`, if the client may ask that.
fn command<R: Registers>(disk: &Disk<'_, R>, client: &Client<'_>, request: &Request<'_>) -> Result<Command, Refusal> {
    let writes = !matches!(request.operation, Operation::Read | Operation::Flush);
    if writes && client.access == Access::ReadOnly {
        return Err(Refusal::Failed);
    }
    let resolve = |count: u64| client.extent.resolve(request.sector, count).ok_or(Refusal::Failed);
    // Of a discard or write of zeroes, `most` is what the disk can do at once.
    let range = |count: u32, most: u32| match (count, most) {
        (_, 0) => Err(Refusal::Unsupported),
        (count, most) if count == 0 || count > most => Err(Refusal::Failed),
        _ => resolve(count.into()),
    };
    match request.operation {
        Operation::Flush if disk.properties.flush => Ok(Command::Flush),
        Operation::Flush => Err(Refusal::Done),
        Operation::Read => Ok(Command::Read(resolve(data_sectors(request.segments)?)?)),
        Operation::Write => Ok(Command::Write(resolve(data_sectors(request.segments)?)?)),
        Operation::Discard { sectors: count } => {
            Ok(Command::Discard { sector: range(count, disk.properties.discard.0)?, count })
        }
        Operation::WriteZeroes { sectors: count, unmap } => {
            let (most, may_unmap) = disk.properties.write_zeroes;
            Ok(Command::WriteZeroes { sector: range(count, most)?, count, unmap: unmap && may_unmap })
        }
    }
}

/// How many sectors the data take. Whether they are in the client's RAM is seen when the device is given their places.
fn data_sectors(segments: &[Segment]) -> Result<u64, Refusal> {
    let len = segments.iter().map(|segment| u64::from(segment.len)).sum::<u64>();
    if len == 0 || !len.is_multiple_of(SECTOR.into()) { Err(Refusal::Failed) } else { Ok(len / u64::from(SECTOR)) }
}
