// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Which received frames the guest wants (virtio 1.2, 5.1.6.5.1 and 5.1.6.5.2).
//!
//! The switch delivers to a guest only what is for its own address or for a group: the modes that ask for others' frames
//! are accepted and change nothing, and so is the list of unicast addresses.

use super::super::chain::Chain;
use crate::memory::GuestMemory;
use queue::net::Mac;

/// Most group addresses that are told apart; with more, the guest gets the frames of all groups.
const MAX_GROUPS: usize = 64;
/// Bytes of an address.
const MAC: u64 = 6;

/// Classes and commands of the control queue.
mod command {
    pub const RX: u8 = 0;
    pub const PROMISC: u8 = 0;
    pub const ALLMULTI: u8 = 1;
    pub const ALLUNI: u8 = 2;
    pub const NOMULTI: u8 = 3;
    pub const NOUNI: u8 = 4;
    pub const NOBCAST: u8 = 5;
    pub const MAC: u8 = 1;
    pub const TABLE_SET: u8 = 0;
}

/// The receive mode.
#[derive(Debug)]
pub struct Filter {
    /// Every group is wanted.
    promiscuous: bool,
    all_groups: bool,
    no_groups: bool,
    no_unicast: bool,
    no_broadcast: bool,
    groups: heapless::Vec<Mac, MAX_GROUPS>,
    /// There were more groups than there is room for.
    overflow: bool,
}

impl Filter {
    /// Everything is wanted, as it is until the driver says otherwise.
    pub const fn new() -> Self {
        Self {
            promiscuous: true,
            all_groups: false,
            no_groups: false,
            no_unicast: false,
            no_broadcast: false,
            groups: heapless::Vec::new(),
            overflow: false,
        }
    }

    /// Whether the guest wants a frame to `destination`.
    pub fn wants(&self, destination: Mac) -> bool {
        if self.promiscuous {
            return true;
        }
        if destination == Mac([0xff; 6]) {
            !self.no_broadcast
        } else if destination.is_group() {
            !self.no_groups && (self.all_groups || self.overflow || self.groups.contains(&destination))
        } else {
            !self.no_unicast
        }
    }

    /// Executes the command in `chain`: whether it could be.
    pub fn command(&mut self, memory: &impl GuestMemory, chain: &Chain) -> bool {
        let mut head = [0; 3];
        let count = chain.read(memory, 0, &mut head).unwrap_or(0);
        match (head, count) {
            ([command::RX, command, value @ (0 | 1)], 3) if chain.readable_len() == 3 => {
                let on = value == 1;
                match command {
                    command::PROMISC => self.promiscuous = on,
                    command::ALLMULTI => self.all_groups = on,
                    // The switch delivers no others.
                    command::ALLUNI => {}
                    command::NOMULTI => self.no_groups = on,
                    command::NOUNI => self.no_unicast = on,
                    command::NOBCAST => self.no_broadcast = on,
                    _ => return false,
                }
                true
            }
            ([command::MAC, command::TABLE_SET, _], 3) => self.set_table(memory, chain).is_some(),
            _ => false,
        }
    }

    /// Takes the list of groups, which follows the list of unicast addresses.
    fn set_table(&mut self, memory: &impl GuestMemory, chain: &Chain) -> Option<()> {
        let entries = |at| {
            let mut bytes = [0; 4];
            (chain.read(memory, at, &mut bytes) == Ok(4)).then(|| u64::from(u32::from_le_bytes(bytes)))
        };
        let groups = 2 + 4 + MAC * entries(2)?;
        let count = entries(groups)?;
        let first = groups + 4;
        if chain.readable_len() != first + MAC * count {
            return None;
        }
        self.groups.clear();
        self.overflow = count > MAX_GROUPS as u64;
        for n in 0..count.min(MAX_GROUPS as u64) {
            let mut address = [0; MAC as usize];
            chain.read(memory, first + MAC * n, &mut address).ok()?;
            self.groups.push(Mac(address)).ok()?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::RAM_BASE;
    use crate::virtio::chain::Buffer;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const BROADCAST: Mac = Mac([0xff; 6]);
    const GROUP: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([0x33, 0x33, 0, 0, 0, 2]);

    fn execute(filter: &mut Filter, bytes: &[u8]) -> bool {
        let mut ram = bytes.to_vec();
        let mut chain = Chain::new();
        chain.begin(0);
        // Cut in two, as a driver does.
        let cut = bytes.len().min(2);
        for (gpa, len) in [(0, cut), (cut, bytes.len() - cut)] {
            if len > 0 {
                chain.push(Buffer { gpa: RAM_BASE + gpa as u64, len: len as u32 }, false);
            }
        }
        filter.command(&&mut ram[..], &chain)
    }

    fn wanted(filter: &Filter) -> [bool; 4] {
        [OWN, BROADCAST, GROUP, OTHER].map(|mac| filter.wants(mac))
    }

    fn table(unicast: &[Mac], groups: &[Mac]) -> Vec<u8> {
        let list = |macs: &[Mac]| {
            let count = (macs.len() as u32).to_le_bytes().to_vec();
            [count, macs.iter().flat_map(|mac| mac.0).collect()].concat()
        };
        [vec![1, 0], list(unicast), list(groups)].concat()
    }

    #[test]
    fn each_mode_lets_through_what_it_should() {
        let on = |command| vec![0, command, 1];
        let off = |command| vec![0, command, 0];
        let mut filter = Filter::new();
        // One after the other: command, wanted afterwards (own, broadcast, two groups)
        let steps = [
            (on(0), [true; 4]),
            (off(0), [true, true, false, false]),
            (on(1), [true; 4]),
            (on(3), [true, true, false, false]),
            (off(3), [true; 4]),
            (off(1), [true, true, false, false]),
            (table(&[OWN], &[GROUP]), [true, true, true, false]),
            (on(5), [true, false, true, false]),
            (on(4), [false, false, true, false]),
            (on(2), [false, false, true, false]),
            (on(0), [true; 4]),
            (off(0), [false, false, true, false]),
            (off(4), [true, false, true, false]),
            (table(&[], &[OTHER; MAX_GROUPS]), [true, false, false, true]),
            (table(&[], &[OTHER; MAX_GROUPS + 1]), [true, false, true, true]),
            (table(&[], &[]), [true, false, false, false]),
        ];
        for (n, (command, expected)) in steps.into_iter().enumerate() {
            assert!(execute(&mut filter, &command), "step {n}");
            assert_eq!(wanted(&filter), expected, "step {n}");
        }
    }

    #[test]
    fn a_command_that_is_none_changes_nothing() {
        let mut filter = Filter::new();
        assert!(execute(&mut filter, &table(&[], &[GROUP])) && execute(&mut filter, &[0, 0, 0]));
        let mut short = table(&[OWN], &[OTHER]);
        short.pop();
        let long = [table(&[], &[OTHER]), vec![0]].concat();
        let huge = [vec![1, 0], u32::MAX.to_le_bytes().to_vec(), vec![0; 40]].concat();
        let commands = [
            vec![],
            vec![0],
            vec![0, 0],
            vec![0, 0, 2],
            vec![0, 6, 1],
            vec![0, 0, 1, 1],
            vec![1, 1, 0],
            vec![1, 0, 0],
            vec![2, 0, 0],
            short,
            long,
            huge,
        ];
        for command in commands {
            assert!(!execute(&mut filter, &command), "{command:?}");
            assert_eq!(wanted(&filter), [true, true, true, false], "{command:?}");
        }
    }
}
