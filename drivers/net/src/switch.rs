// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Delivering frames.

use crate::checksum::copy_and_verify;
use crate::nic::{Arrival, Body, Nic, SEND_SLOTS};
use config::MAX_CLIENTS;
use core::fmt::{self, Arguments};
use queue::cells;
use queue::net::{Checksum, FRAME_OFFSET, Frame, FramePayload, HEADER_LEN, Info, MAX_NEIGHBOURS, Mac, Segment, Server};
use virtq::{Cause, Error, Registers, Window};

/// Most frames of one client that are taken before the others have their turn.
const BATCH: usize = 64;
/// Most frames from the network that are taken before the clients have their turn.
const ARRIVALS: usize = 256;
/// Longest payload of a frame where there is no NIC that says otherwise.
const MTU: u16 = 1500;

/// What came out of [`Switch::serve`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pass {
    /// The clients that are to be notified: bit n is the n-th.
    pub wake: u64,
    /// There is more to do already: `serve` is to be called again, and told whether there are frames from the network.
    pub again: Option<bool>,
}

/// How many frames were dropped, by the reason. Of each, the client is the one that the reason concerns.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// To the client: it had no room.
    pub no_room: u64,
    /// From the client: the source is not its address.
    pub foreign_source: u64,
    /// From the client: the driver has to read the payload and cannot, or a segment does not lie in the client's RAM.
    pub unreadable: u64,
    /// From the client: there is no network.
    pub no_network: u64,
}

/// A reason to drop a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Drop {
    NoRoom,
    ForeignSource,
    Unreadable,
    NoNetwork,
}

impl fmt::Display for Drop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "frames to it dropped, because it takes them too slowly",
            Self::ForeignSource => "frames from it dropped, because their source is not its address",
            Self::Unreadable => "frames from it dropped, because their payload cannot be read",
            Self::NoNetwork => "frames from it dropped, because the network cannot take them",
        })
    }
}

impl Counters {
    /// Counts a dropped frame. The count, when it is one to tell of: at each power of two, so that the log stays short.
    fn count(&mut self, drop: Drop) -> Option<u64> {
        let counter = match drop {
            Drop::NoRoom => &mut self.no_room,
            Drop::ForeignSource => &mut self.foreign_source,
            Drop::Unreadable => &mut self.unreadable,
            Drop::NoNetwork => &mut self.no_network,
        };
        *counter = counter.saturating_add(1);
        counter.is_power_of_two().then_some(*counter)
    }
}

struct Client<'a> {
    link: Server<'a>,
    ram: Window,
    mac: Mac,
    /// How many of its frames the NIC is sending.
    under_way: usize,
    counters: Counters,
    /// It broke the rules of its queue.
    is_broken: bool,
}

/// What the NIC is sending in a slot. The first one is all zeroes in memory, so that the frames need no initial data.
#[derive(Clone, Copy, Default)]
#[repr(u8)]
enum Slot {
    /// Nothing.
    #[default]
    Free,
    /// A frame of this client that was copied.
    Copied(u8),
    /// A frame of this client that is in its RAM: what the client is told when that is not read any more.
    Named(u8, u16),
}

/// The frames that the NIC is sending. They are not in the switch itself, to keep that small enough for a stack.
pub struct Frames([Slot; SEND_SLOTS]);

impl Frames {
    /// None yet, for one switch.
    #[must_use]
    pub const fn new() -> Self {
        Self([Slot::Free; SEND_SLOTS])
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

/// The driver's state.
pub struct Switch<'a, R> {
    /// `None` if it cannot be used: then only the clients reach each other.
    nic: Option<Nic<'a, R>>,
    clients: [Option<Client<'a>>; MAX_CLIENTS],
    /// How many of them there are at most.
    count: usize,
    /// Of each client, most frames that the NIC sends at once.
    share: usize,
    frames: &'a mut Frames,
    /// How many of `frames` some client waits for.
    awaited: usize,
}

impl<'a, R: Registers> Switch<'a, R> {
    /// A switch between at most `clients` clients and `nic`.
    #[must_use]
    pub fn new(nic: Option<Nic<'a, R>>, clients: usize, frames: &'a mut Frames) -> Self {
        let count = clients.clamp(1, MAX_CLIENTS);
        Self { nic, clients: [const { None }; MAX_CLIENTS], count, share: SEND_SLOTS / count, frames, awaited: 0 }
    }

    /// Connects client `index`, with its queues `link` and its RAM, under the address `mac`.
    ///
    /// # Panics
    /// If `index` is not less than [`MAX_CLIENTS`].
    pub fn add(&mut self, index: usize, link: Server<'a>, ram: Window, mac: Mac) {
        let counters = Counters::default();
        self.clients[index] = Some(Client { link, ram, mac, under_way: 0, counters, is_broken: false });
    }

    /// Tells the clients of their connections, when all have been added. The caller then notifies them.
    pub fn announce(&mut self) {
        let macs = self.clients.each_ref().map(|client| client.as_ref().map(|client| client.mac));
        let nic = self.nic.as_ref();
        let is_up = nic.is_some_and(Nic::is_up);
        for client in self.clients.iter_mut().flatten() {
            let mut neighbours = [None; MAX_NEIGHBOURS];
            let others = macs.iter().flatten().filter(|mac| **mac != client.mac);
            neighbours.iter_mut().zip(others).for_each(|(to, mac)| *to = Some(*mac));
            client.link.announce(&Info {
                mac: client.mac,
                mtu: nic.map_or(MTU, Nic::mtu),
                completes_checksums: nic.is_some_and(Nic::completes_checksums),
                neighbours,
            });
            client.link.set_up(is_up);
        }
    }

    /// What was dropped of client `index`.
    #[must_use]
    pub fn counters(&self, index: usize) -> Counters {
        self.clients.get(index).and_then(Option::as_ref).map_or_else(Counters::default, |client| client.counters)
    }

    /// Acknowledges the NIC's interrupt, before [`Self::serve`] is called for it. Whether all clients are to be notified.
    pub fn interrupted(&mut self, log: &mut impl FnMut(Arguments<'_>)) -> bool {
        match self.nic.as_mut().map(Nic::interrupted) {
            None | Some(Cause::Queues) => false,
            Some(Cause::Config) => {
                self.tell_link();
                true
            }
            Some(Cause::NeedsReset) => {
                self.restart(log);
                true
            }
        }
    }

    fn tell_link(&mut self) {
        let is_up = self.nic.as_ref().is_some_and(Nic::is_up);
        self.clients.iter_mut().flatten().for_each(|client| client.link.set_up(is_up));
    }

    /// Delivers frames: what the clients send and, if `arrived` says that there may be any, what comes from the network.
    /// The work is bounded. The NIC interrupts only for what it does afterwards: if it is quick, it does not have to.
    pub fn serve(&mut self, arrived: bool, log: &mut impl FnMut(Arguments<'_>)) -> Pass {
        self.nic.iter_mut().for_each(Nic::quiet);
        let taken_back = self.take_back(log);
        let received = if arrived { self.receive(log) } else { Ok(()) };
        if taken_back.is_err() || received.is_err() {
            log(format_args!("{}", virtq::Broken));
            self.restart(log);
        }
        for index in 0..MAX_CLIENTS {
            self.accept(index, log);
        }
        if let Some(nic) = &mut self.nic {
            nic.publish();
        }
        let mut wake = 0;
        let mut has_frames = false;
        let mut is_held_up = false;
        for (index, client) in (0..).zip(&mut self.clients) {
            let Some(client) = client.as_mut().filter(|client| !client.is_broken) else { continue };
            if client.link.wake_wanted() {
                wake |= 1 << index;
            }
            // One that has used up its share is looked at when the NIC has sent something.
            is_held_up |= client.under_way >= self.share;
            has_frames |= client.under_way < self.share && !client.link.sleep();
        }
        let mut arrivals = false;
        if let Some(nic) = &mut self.nic {
            arrivals = !nic.sleep_for_arrivals();
            // Nobody waits for frames that were copied: they are taken back at some other occasion.
            has_frames |= (is_held_up || self.awaited > 0) && !nic.sleep_for_sent();
        }
        Pass { wake, again: (arrivals || has_frames).then_some(arrivals) }
    }

    /// Takes back what the NIC has sent.
    fn take_back(&mut self, log: &mut impl FnMut(Arguments<'_>)) -> Result<(), virtq::Broken> {
        // The NIC cannot have sent more than it has got.
        for _ in 0..SEND_SLOTS {
            let Some(slot) = self.nic.as_mut().map_or(Ok(None), Nic::sent)? else { break };
            self.give_back(slot, log);
        }
        Ok(())
    }

    fn give_back(&mut self, slot: usize, log: &mut impl FnMut(Arguments<'_>)) {
        let (client, id) = match self.frames.0.get_mut(slot).map(core::mem::take) {
            None | Some(Slot::Free) => return,
            Some(Slot::Copied(client)) => (client, None),
            Some(Slot::Named(client, id)) => (client, Some(id)),
        };
        let index = usize::from(client);
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        client.under_way = client.under_way.saturating_sub(1);
        if let Some(id) = id {
            self.awaited = self.awaited.saturating_sub(1);
            client.sent(index, id, log);
        }
    }

    /// Resets a NIC that is not well. What it was sending is lost.
    fn restart(&mut self, log: &mut impl FnMut(Arguments<'_>)) {
        let result = match &mut self.nic {
            Some(nic) => nic.restart(),
            None => return,
        };
        if let Err(error) = result {
            log(format_args!("the network is lost: {error}"));
            self.nic = None;
        } else {
            log(format_args!("the network interface was reset"));
        }
        // A NIC that did not come out of its reset may still read the clients' RAM.
        if result != Err(Error::Reset) {
            (0..SEND_SLOTS).for_each(|slot| self.give_back(slot, log));
        }
        self.tell_link();
    }

    /// Takes frames from the network.
    fn receive(&mut self, log: &mut impl FnMut(Arguments<'_>)) -> Result<(), virtq::Broken> {
        let Some(nic) = &mut self.nic else { return Ok(()) };
        for _ in 0..ARRIVALS {
            let Some(arrival) = nic.arrival()? else { break };
            // What is no frame, or comes from one of the clients and has gone round, is not delivered.
            let Some((header, arrival)) =
                arrival.filter(|(header, _)| find(&self.clients[..self.count], header.source()).is_none())
            else {
                continue;
            };
            let destination = header.destination();
            if destination.is_group() {
                for (index, client) in self.clients.iter_mut().enumerate() {
                    if let Some(client) = client {
                        client.deliver(index, &arrival, log);
                    }
                }
            } else if let Some(index) = find(&self.clients[..self.count], destination)
                && let Some(client) = &mut self.clients[index]
            {
                client.deliver(index, &arrival, log);
            }
        }
        nic.refill();
        Ok(())
    }

    /// Takes what client `index` sends, as far as its share goes.
    fn accept(&mut self, index: usize, log: &mut impl FnMut(Arguments<'_>)) {
        for _ in 0..BATCH {
            let Some(client) = &mut self.clients[index] else { return };
            if client.is_broken || client.under_way >= self.share {
                return;
            }
            let frame = match client.link.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(broken) => return client.give_up(index, broken, log),
            };
            let result = self.deliver(index, &frame, log);
            let Some(client) = &mut self.clients[index] else { return };
            client.link.release();
            if let Err(drop) = result {
                client.drop(index, drop, log);
            }
            // Its payload is not read, or was copied.
            if let (FramePayload::Window { id, .. }, Err(_)) = (frame.payload, result) {
                client.sent(index, id, log);
            }
        }
    }

    /// Delivers a frame of client `from`. An error means that it goes nowhere.
    fn deliver(&mut self, from: usize, frame: &Frame<'_>, log: &mut impl FnMut(Arguments<'_>)) -> Result<(), Drop> {
        let sender = self.clients[from].as_ref().ok_or(Drop::Unreadable)?;
        if frame.header.source() != sender.mac {
            return Err(Drop::ForeignSource);
        }
        let destination = frame.header.destination();
        let to = find(&self.clients[..self.count], destination);
        if to.is_none() && !destination.is_group() {
            return self.send(from, frame);
        }
        if !matches!(frame.payload, FramePayload::Copied(_)) {
            return Err(Drop::Unreadable);
        }
        for (index, client) in self.clients.iter_mut().enumerate() {
            if let Some(client) = client
                && index != from
                && to.is_none_or(|to| to == index)
            {
                client.forward(index, frame, log);
            }
        }
        // A group's network may be only that of the clients.
        if destination.is_group() && self.nic.is_some() { self.send(from, frame) } else { Ok(()) }
    }

    /// Sends a frame of client `from` to the network.
    fn send(&mut self, from: usize, frame: &Frame<'_>) -> Result<(), Drop> {
        let Self { nic: Some(nic), clients, frames, awaited, .. } = self else { return Err(Drop::NoNetwork) };
        let client = clients[from].as_mut().ok_or(Drop::Unreadable)?;
        let (slot, id) = match frame.payload {
            FramePayload::Copied(payload) => {
                let body = Body::<core::iter::Empty<_>>::Copied(payload, frame.len - HEADER_LEN);
                (nic.send(&frame.header, frame.checksum, body), None)
            }
            FramePayload::Window { id, segments, count } => {
                if matches!(frame.checksum, Checksum::Partial { .. }) && !nic.completes_checksums() {
                    return Err(Drop::Unreadable);
                }
                let resolve = |segment: &Segment| client.ram.segment(segment.offset, segment.len);
                let segments = segments.get(..count).unwrap_or(&[]);
                if segments.iter().any(|segment| resolve(segment).is_none()) {
                    return Err(Drop::Unreadable);
                }
                let body = Body::Segments(segments.iter().filter_map(resolve));
                (nic.send(&frame.header, frame.checksum, body), Some(id))
            }
        };
        // The shares together are not more than the slots.
        let slot = slot.ok_or(Drop::NoNetwork)?;
        frames.0[slot] = id.map_or(Slot::Copied(from as u8), |id| Slot::Named(from as u8, id));
        client.under_way += 1;
        *awaited += usize::from(id.is_some());
        Ok(())
    }
}

/// The client with the address `mac`.
fn find(clients: &[Option<Client<'_>>], mac: Mac) -> Option<usize> {
    clients.iter().position(|client| client.as_ref().is_some_and(|client| client.mac == mac))
}

impl Client<'_> {
    /// Delivers a frame from the network to this client.
    fn deliver(&mut self, index: usize, arrival: &Arrival<'_>, log: &mut impl FnMut(Arguments<'_>)) {
        if self.is_broken {
            return;
        }
        match self.link.receive_buffer() {
            Ok(Some(buffer)) => {
                let mut checksum = arrival.checksum;
                if checksum == Checksum::Unknown {
                    checksum = copy_and_verify(arrival.buffer, buffer, arrival.len);
                } else {
                    cells::copy(arrival.buffer, buffer, FRAME_OFFSET + arrival.len);
                }
                // There was room: what can fail is found when the client is next looked at.
                let _ = self.link.deliver(arrival.len, checksum);
            }
            Ok(None) => self.drop(index, Drop::NoRoom, log),
            Err(broken) => self.give_up(index, broken, log),
        }
    }

    /// Delivers a frame of another client to this one.
    fn forward(&mut self, index: usize, frame: &Frame<'_>, log: &mut impl FnMut(Arguments<'_>)) {
        if self.is_broken {
            return;
        }
        match self.link.forward(frame) {
            Ok(true) => {}
            Ok(false) => self.drop(index, Drop::NoRoom, log),
            Err(broken) => self.give_up(index, broken, log),
        }
    }

    fn sent(&mut self, index: usize, id: u16, log: &mut impl FnMut(Arguments<'_>)) {
        if self.is_broken {
            return;
        }
        if let Err(broken) = self.link.sent(id) {
            self.give_up(index, broken, log);
        }
    }

    fn drop(&mut self, index: usize, drop: Drop, log: &mut impl FnMut(Arguments<'_>)) {
        if let Some(count) = self.counters.count(drop) {
            log(format_args!("client {index}: {count} {drop}"));
        }
    }

    fn give_up(&mut self, index: usize, broken: queue::Broken, log: &mut impl FnMut(Arguments<'_>)) {
        self.is_broken = true;
        log(format_args!("client {index} is served no more: {broken}"));
    }
}
