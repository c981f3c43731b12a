// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A driver PD.

use crate::check::{Access, Checker};
use crate::instruction::Target;
use crate::problem::{Problem, Role};
use crate::settings::Settings;
use crate::source::At;
use crate::system::Domain;
use config::{Channel, Client, Power, Record, Serial, Window};
use zerocopy::{FromZeros, IntoBytes};

/// Least size of the queues between a VMM and a serial driver.
pub const QUEUE_SIZE: u64 = queue::serial::MIN_SIZE as u64;

/// What a driver drives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// A UART, which every guest's console and log share.
    Serial,
    /// Turns the machine off.
    Power,
}

impl Class {
    const NAMES: [(&'static str, Self); 2] = [("serial", Self::Serial), ("power", Self::Power)];

    /// As in the setting `class`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Power => "power",
        }
    }
}

/// A driver's part of the system.
pub struct Driver<'a> {
    /// Its first instruction.
    pub at: At,
    /// Its PD.
    pub domain: &'a Domain,
    /// What it drives.
    pub class: Class,
    /// Whom it serves, in the order of the VMMs.
    pub clients: Vec<Client>,
    registers: Window,
    settings: Settings<'a>,
}

impl<'a> Driver<'a> {
    /// The driver in `domain`, if it is one of a known class.
    pub fn read(checker: &mut Checker<'a>, domain: &'a Domain) -> Option<Self> {
        let settings = Settings::collect(checker, domain, Target::Driver, &[])?;
        if domain.is(Target::Vmm) {
            checker.add(settings.at, Problem::InstructionMixed { pd: domain.name.clone() });
            return None;
        }
        settings.required(checker, "class")?;
        let class = settings.choice(checker, "class", &Class::NAMES)?;
        let at = settings.at;
        let mut driver = Self { at, domain, class, clients: Vec::new(), registers: Window::default(), settings };
        match class {
            Class::Serial => driver.read_serial(checker),
            Class::Power => {
                driver.settings.check_known(checker, &["class"]);
                if !domain.smc {
                    checker.add(domain.at, Problem::PowerSmc { driver: domain.name.clone() });
                }
            }
        }
        Some(driver)
    }

    fn read_serial(&mut self, checker: &mut Checker<'a>) {
        self.settings.check_known(checker, &["class", "registers"]);
        let driver = || self.domain.name.clone();
        let count = self.domain.irqs.len();
        if count != 1 {
            checker.add(self.domain.at, Problem::DriverIrq { driver: driver(), count });
        }
        let Some(setting) = self.settings.required(checker, "registers") else { return };
        let Some(region) = checker.region(setting.at, setting.value, Role::Registers, self.domain) else { return };
        if !region.is_device {
            checker.add(region.at, Problem::NotDevice { role: Role::Registers, region: region.name.clone() });
        }
        let size = checker.size(region).unwrap_or(0);
        let vaddr = checker.mapped(self.domain, Role::Registers, region, Access::DEVICE, "…").unwrap_or(0);
        self.registers = Window { vaddr, size };
    }

    /// Whether it is the serial driver's end of the queue `region`.
    pub fn serves(&self, region: &str) -> bool {
        self.class == Class::Serial && !self.names(region) && self.domain.maps.iter().any(|map| map.region == region)
    }

    /// Whether a setting names `region`.
    pub fn names(&self, region: &str) -> bool {
        self.settings.get("registers").is_some_and(|setting| setting.value == region)
    }

    /// The record as bytes.
    pub fn record(&self) -> Vec<u8> {
        match self.class {
            Class::Serial => {
                let mut clients: [Client; config::MAX_CLIENTS] = FromZeros::new_zeroed();
                clients.iter_mut().zip(&self.clients).for_each(|(to, from)| *to = *from);
                let irq = self.domain.irqs.first().map_or(Channel::NONE, |id| Channel::new(*id));
                let count = self.clients.len() as u64;
                Serial { header: Serial::header(), registers: self.registers, irq, count, clients }.as_bytes().to_vec()
            }
            Class::Power => {
                let ids = self.clients.iter().filter_map(|client| client.link.channel.id());
                let guests = ids.fold(0, |mask, id| mask | 1 << id);
                Power { header: Power::header(), guests }.as_bytes().to_vec()
            }
        }
    }
}
