// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The block device (virtio 1.2, 5.2), served over a [`queue::blk`] link.
//!
//! A request's data stay where they are: the driver domain is given their places in the guest's RAM. Only the header is
//! read here, and the status written.

use super::chain::{Buffer, Chain};
use super::{CONFIG_SIZE, DeviceError, Owed, Queues, VirtioDevice, config_space};
use crate::map;
use crate::memory::GuestMemory;
use queue::blk::{
    Client, Completion, Info, MAX_SEGMENT_LEN, MAX_SEGMENTS, Operation, Request, SECTOR, Segment, Status, SubmitError,
};
use queue::{Broken, Mark};

/// The only queue.
const QUEUE: usize = 0;
/// Most requests that are under way.
const MAX_REQUESTS: usize = 128;
/// Length of the name that a guest can ask for, in bytes (5.2.6).
pub const ID_LEN: usize = 20;

/// Features (5.2.3).
mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const RO: u64 = 1 << 5;
    pub const BLK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Types of requests (5.2.6).
mod kind {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// Bytes of a request's header, and of the range that a discard or a write of zeroes names (5.2.6).
const HEADER: usize = 16;
/// The flag of such a range that lets the device give back the space.
const UNMAP: u32 = 1;

/// What the guest learns of a request's end (5.2.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        match status {
            Status::Done => Self::Ok,
            Status::Failed => Self::IoError,
            Status::Unsupported => Self::Unsupported,
        }
    }
}

/// Where a request is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Nowhere: the entry is free.
    Free,
    /// With the driver domain.
    UnderWay,
    /// With the driver domain, as a write that has then to be made durable.
    Write,
    /// It was written and waits for room to be made durable.
    Written,
    /// With the driver domain, but the guest has forgotten it.
    Forgotten,
    /// The driver domain has lost it: it is to be repeated.
    Lost,
}

/// A request that has been taken from the guest.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Guest-physical address of the status byte.
    status: u64,
    /// How much the guest is told was written, if the request succeeds.
    written: u32,
    head: u16,
    /// Tells apart the requests that have used this entry.
    generation: u8,
    stage: Stage,
    /// Whether a driver domain that starts again has lost it.
    mark: Mark,
}

/// The block device.
pub struct Blk {
    link: Client<'static>,
    info: Info,
    name: [u8; ID_LEN],
    /// The driver knows of no cache that would have to be flushed, so that every write must be durable (5.2.6.2).
    write_through: bool,
    entries: [Entry; MAX_REQUESTS],
    free: heapless::Vec<u8, MAX_REQUESTS>,
    /// How many entries are at [`Stage::Written`].
    unflushed: usize,
    /// How many entries are at [`Stage::Lost`].
    lost: usize,
    /// What had been submitted when it was last asked whether something is overdue.
    looked: Mark,
    /// Those of the request that is being handed over. Here, because they are too many to be moved about.
    segments: heapless::Vec<Segment, MAX_SEGMENTS>,
}

impl Blk {
    /// The device on the medium that `info` describes; `name` is what the guest gets as its id, cut to [`ID_LEN`] bytes.
    #[must_use]
    pub fn new(link: Client<'static>, info: Info, name: &str) -> Self {
        let mut id = [0; ID_LEN];
        id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        let free = Entry { status: 0, written: 0, head: 0, generation: 0, stage: Stage::Free, mark: Mark::default() };
        Self {
            looked: link.mark(),
            link,
            info,
            name: id,
            write_through: true,
            entries: [free; MAX_REQUESTS],
            free: (0..MAX_REQUESTS).rev().map(|n| n as u8).collect(),
            unflushed: 0,
            lost: 0,
            segments: heapless::Vec::new(),
        }
    }

    /// Takes what the driver domain has completed, and tells of each request that the guest waits for.
    fn complete(&mut self, mut tell: impl FnMut(Entry, Outcome) -> Result<(), DeviceError>) -> Result<(), DeviceError> {
        let restarted = self.link.restarted();
        for _ in 0..MAX_REQUESTS {
            let Some(Completion { id, status }) = self.link.complete()? else { break };
            let index = id as usize % (1 << 16);
            let entry = self.entries.get_mut(index).ok_or(Broken)?;
            if u32::from(entry.generation) != id >> 16 {
                return Err(Broken.into());
            }
            match entry.stage {
                Stage::Free | Stage::Written | Stage::Lost => return Err(Broken.into()),
                Stage::Write if status == Status::Done => {
                    entry.stage = Stage::Written;
                    self.unflushed += 1;
                    continue;
                }
                Stage::Write | Stage::UnderWay => tell(*entry, status.into())?,
                Stage::Forgotten => {}
            }
            self.release(index);
        }
        if let Some(mark) = restarted {
            self.lose(mark);
        }
        self.flush_written()
    }

    /// The driver domain has started again and lost what came before `begun`.
    fn lose(&mut self, begun: Mark) {
        for index in 0..MAX_REQUESTS {
            let Some(entry) = self.entries.get_mut(index).filter(|entry| entry.mark.is_before(begun)) else { continue };
            match entry.stage {
                Stage::Free | Stage::Written | Stage::Lost => continue,
                Stage::UnderWay | Stage::Write => {
                    entry.stage = Stage::Lost;
                    self.lost += 1;
                }
                Stage::Forgotten => self.release(index),
            }
            self.link.forget();
        }
    }

    /// A request that is lost, which is to be repeated: its entry is free then, and what the guest asked for is read again. No
    /// request does harm when it is done twice, for the guest has not been told that it was done.
    fn take_lost(&mut self) -> Option<u16> {
        if self.lost == 0 {
            return None;
        }
        let index = self.entries.iter().position(|entry| entry.stage == Stage::Lost)?;
        self.lost -= 1;
        self.release(index);
        self.entries.get(index).map(|entry| entry.head)
    }

    /// Makes durable what was written, as far as there is room.
    fn flush_written(&mut self) -> Result<(), DeviceError> {
        if self.unflushed == 0 {
            return Ok(());
        }
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.stage != Stage::Written {
                continue;
            }
            let request = Request { id: id(index, entry), operation: Operation::Flush, sector: 0, segments: &[] };
            match self.link.submit(&request) {
                Ok(mark) => (entry.stage, entry.mark) = (Stage::UnderWay, mark),
                // The next completion makes room.
                Err(SubmitError::Full) => break,
                Err(SubmitError::Broken | SubmitError::Malformed) => return Err(DeviceError::Link),
            }
            self.unflushed -= 1;
        }
        Ok(())
    }

    fn release(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.stage = Stage::Free;
            entry.generation = entry.generation.wrapping_add(1);
            // There is room for every entry.
            let _ = self.free.push(index as u8);
        }
    }

    /// How many requests can be taken, of whatever size. Those that are lost leave their entries.
    fn room(&self) -> Result<usize, Broken> {
        Ok(self.link.room()?.min(self.free.len() + self.lost))
    }

    /// Handles the request in `queues.chain`.
    fn handle<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        let [kind, sector] = queues.chain.first_words(queues.memory)?.ok_or(DeviceError::BlockHeader)?;
        let header = Header { kind: kind as u32, sector };
        // The status is the last byte (5.2.6).
        let status = queues.chain.last_writable().ok_or(DeviceError::BlockStatus)?;
        let data_in = queues.chain.writable_len() - 1;
        let head = queues.chain.head();
        if header.kind == kind::GET_ID {
            let len = data_in.min(ID_LEN as u64);
            queues.chain.write(queues.memory, 0, self.name.get(..len as usize).unwrap_or(&[]))?;
            return finish(queues, head, status, Outcome::Ok, len as u32 + u32::from(len == data_in));
        }
        let (operation, sector, written) = match self.plan(queues, header, data_in) {
            Ok(Plan::Submit { operation, sector, written }) => (operation, sector, written),
            Ok(Plan::Nothing) => return finish(queues, head, status, Outcome::Ok, 1),
            Err(outcome) => return finish(queues, head, status, outcome, 0),
        };
        if !gather(queues.chain, operation, data_in, &mut self.segments) {
            return finish(queues, head, status, Outcome::IoError, 0);
        }
        let index = self.free.pop().ok_or(Broken)?;
        let entry = self.entries.get_mut(usize::from(index)).ok_or(Broken)?;
        let durable = operation == Operation::Write && self.write_through && self.info.flush;
        let stage = if durable { Stage::Write } else { Stage::UnderWay };
        let request = Request { id: id(index.into(), entry), operation, sector, segments: &self.segments };
        let mark = self.link.submit(&request).map_err(|_| DeviceError::Link)?;
        *entry = Entry { status, written, head, generation: entry.generation, stage, mark };
        Ok(())
    }

    /// What is to be done for a request with `data_in` bytes for data to the guest.
    fn plan<M: GuestMemory>(&self, queues: &Queues<'_, M>, header: Header, data_in: u64) -> Result<Plan, Outcome> {
        let data_out = queues.chain.readable_len() - HEADER as u64;
        let Header { kind, sector } = header;
        match kind {
            kind::IN if data_out == 0 => {
                self.check(sector, data_in)?;
                // The used length tells of as much as its 32 bits can (2.7.8).
                let written = u32::try_from(data_in + 1).unwrap_or(u32::MAX);
                Ok(Plan::new(Operation::Read, sector, data_in, written))
            }
            kind::OUT if data_in == 0 && !self.info.read_only => {
                self.check(sector, data_out)?;
                Ok(Plan::new(Operation::Write, sector, data_out, 1))
            }
            // Data in the wrong direction, or a write to what is only read (5.2.6.2).
            kind::IN | kind::OUT => Err(Outcome::IoError),
            kind::FLUSH => Ok(Plan::new(Operation::Flush, 0, self.info.flush.into(), 1)),
            kind::DISCARD if self.features() & feature::DISCARD != 0 => {
                let range = Range::read(queues)?;
                if range.flags != 0 {
                    return Err(Outcome::Unsupported);
                }
                self.check_range(range, self.info.discard_sectors)?;
                let operation = Operation::Discard { sectors: range.sectors };
                Ok(Plan::new(operation, range.sector, range.sectors.into(), 1))
            }
            kind::WRITE_ZEROES if self.features() & feature::WRITE_ZEROES != 0 => {
                let range = Range::read(queues)?;
                if range.flags & !UNMAP != 0 {
                    return Err(Outcome::Unsupported);
                }
                self.check_range(range, self.info.write_zeroes_sectors)?;
                let unmap = range.flags & UNMAP != 0 && self.info.write_zeroes_unmap;
                let operation = Operation::WriteZeroes { sectors: range.sectors, unmap };
                Ok(Plan::new(operation, range.sector, range.sectors.into(), 1))
            }
            _ => Err(Outcome::Unsupported),
        }
    }

    /// Whether `len` bytes are whole sectors, and lie on the medium from `sector` on.
    fn check(&self, sector: u64, len: u64) -> Result<(), Outcome> {
        let whole = len.is_multiple_of(SECTOR.into());
        let end = sector.checked_add(len / u64::from(SECTOR)).filter(|end| *end <= self.info.sectors);
        if whole && end.is_some() { Ok(()) } else { Err(Outcome::IoError) }
    }

    fn check_range(&self, range: Range, most: u32) -> Result<(), Outcome> {
        if range.sectors > most {
            return Err(Outcome::IoError);
        }
        self.check(range.sector, u64::from(range.sectors) * u64::from(SECTOR))
    }

    /// Does all there is to do but to ask to be woken.
    fn exchange<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        self.complete(|entry, outcome| finish(queues, entry.head, entry.status, outcome, entry.written))?;
        loop {
            let mut room = self.room()?;
            if room == 0 {
                return Ok(queues.suppress(QUEUE)?);
            }
            while room > 0 && queues.take(QUEUE, self.take_lost())? {
                self.handle(queues)?;
                room -= 1;
            }
            if room > 0 && !queues.sleep(QUEUE)? {
                return Ok(());
            }
        }
    }
}

impl VirtioDevice for Blk {
    fn id(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        let when = |condition, feature| if condition { feature } else { 0 };
        let Info { read_only, flush, discard_sectors, write_zeroes_sectors, .. } = self.info;
        feature::SIZE_MAX
            | feature::SEG_MAX
            | feature::BLK_SIZE
            | when(read_only, feature::RO)
            | when(flush, feature::FLUSH)
            | when(!read_only && discard_sectors > 0, feature::DISCARD)
            | when(!read_only && write_zeroes_sectors > 0, feature::WRITE_ZEROES)
    }

    fn queues(&self) -> usize {
        1
    }

    /// 5.2.4. Discards and writes of zeroes name one range each.
    fn config(&self) -> [u8; CONFIG_SIZE] {
        let info = &self.info;
        let fields: [(usize, &[u8]); 11] = [
            (0, &info.sectors.to_le_bytes()),
            (8, &MAX_SEGMENT_LEN.to_le_bytes()),
            (12, &(MAX_SEGMENTS as u32).to_le_bytes()),
            (20, &info.block_size.to_le_bytes()),
            (34, &1_u16.to_le_bytes()),
            (36, &info.discard_sectors.to_le_bytes()),
            (40, &1_u32.to_le_bytes()),
            (44, &info.discard_alignment.to_le_bytes()),
            (48, &info.write_zeroes_sectors.to_le_bytes()),
            (52, &1_u32.to_le_bytes()),
            (56, &[info.write_zeroes_unmap.into()]),
        ];
        config_space(&fields)
    }

    fn start(&mut self, features: u64) {
        self.write_through = features & feature::FLUSH == 0;
    }

    fn run<M: GuestMemory>(&mut self, queues: &mut Queues<'_, M>) -> Result<(), DeviceError> {
        self.exchange(queues)?;
        if !self.link.sleep() {
            // A completion came after it was looked for.
            self.exchange(queues)?;
            if !self.link.sleep() {
                queues.run_again();
            }
        }
        Ok(())
    }

    fn take_back(&mut self) -> Result<(), DeviceError> {
        // The second turn is for what comes between looking and asking.
        for _ in 0..2 {
            self.complete(|_, _| Ok(()))?;
            if self.link.sleep() {
                break;
            }
        }
        Ok(())
    }

    fn reset_queue(&mut self, _queue: usize) {
        for index in 0..MAX_REQUESTS {
            let Some(entry) = self.entries.get_mut(index) else { return };
            match entry.stage {
                Stage::Free | Stage::Forgotten => {}
                Stage::UnderWay | Stage::Write => entry.stage = Stage::Forgotten,
                Stage::Written => {
                    self.unflushed -= 1;
                    self.release(index);
                }
                Stage::Lost => {
                    self.lost -= 1;
                    self.release(index);
                }
            }
        }
    }

    fn under_way(&self, queue: usize) -> usize {
        // By the entries: what a driver says that broke the rules does not count.
        if queue == QUEUE { MAX_REQUESTS - self.free.len() } else { 0 }
    }

    fn config_changed(&mut self) -> bool {
        false
    }

    fn owed(&mut self) -> Owed {
        let before = core::mem::replace(&mut self.looked, self.link.mark());
        Owed::since(before, self.entries.iter().filter(|entry| entry.stage != Stage::Free).map(|entry| entry.mark))
    }

    fn wake_wanted(&mut self) -> bool {
        self.link.wake_wanted()
    }
}

/// What is to be done for a request.
enum Plan {
    /// It goes to the driver domain.
    Submit { operation: Operation, sector: u64, written: u32 },
    /// It is done already.
    Nothing,
}

impl Plan {
    /// Nothing is done with an `amount` of zero.
    fn new(operation: Operation, sector: u64, amount: u64, written: u32) -> Self {
        if amount == 0 { Self::Nothing } else { Self::Submit { operation, sector, written } }
    }
}

/// The header of a request.
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    sector: u64,
}

/// What a discard or a write of zeroes is about.
#[derive(Clone, Copy)]
struct Range {
    sector: u64,
    sectors: u32,
    flags: u32,
}

impl Range {
    /// The one range of the request in `queues.chain`.
    fn read<M: GuestMemory>(queues: &Queues<'_, M>) -> Result<Self, Outcome> {
        let mut bytes = [0; HEADER];
        let one = queues.chain.readable_len() == 2 * HEADER as u64;
        let read = queues.chain.read(queues.memory, HEADER as u64, &mut bytes);
        if !one || read != Ok(HEADER) {
            return Err(Outcome::IoError);
        }
        let word = u128::from_le_bytes(bytes);
        Ok(Self { sector: word as u64, sectors: (word >> 64) as u32, flags: (word >> 96) as u32 })
    }
}

/// What the driver domain calls an entry.
fn id(index: usize, entry: &Entry) -> u32 {
    index as u32 | u32::from(entry.generation) << 16
}

/// Puts the data of a request into `segments`: false if it is in too many pieces.
fn gather(
    chain: &Chain,
    operation: Operation,
    data_in: u64,
    segments: &mut heapless::Vec<Segment, MAX_SEGMENTS>,
) -> bool {
    segments.clear();
    let mut add = |buffer: Buffer| {
        let (mut offset, mut rest) = (buffer.gpa - map::RAM_BASE, buffer.len);
        while rest > 0 {
            let len = rest.min(MAX_SEGMENT_LEN);
            segments.push(Segment { offset, len }).ok()?;
            (offset, rest) = (offset + u64::from(len), rest - len);
        }
        Some(())
    };
    let all = match operation {
        Operation::Read => chain.writable(0, data_in).try_for_each(&mut add),
        Operation::Write => chain.readable(HEADER as u64, u64::MAX).try_for_each(&mut add),
        _ => Some(()),
    };
    all.is_some()
}

/// Tells the guest how a request ended.
fn finish<M: GuestMemory>(
    queues: &mut Queues<'_, M>,
    head: u16,
    status: u64,
    outcome: Outcome,
    written: u32,
) -> Result<(), DeviceError> {
    queues.memory.store_u8(status, outcome as u8)?;
    // Of a request that failed, the status is written but not all before it: nothing is claimed (2.7.8.2).
    let written = if outcome == Outcome::Ok { written } else { 0 };
    Ok(queues.give_back(QUEUE, head, written)?)
}

#[cfg(test)]
pub(crate) mod tests;
