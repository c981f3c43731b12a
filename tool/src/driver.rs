// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A driver PD.

use crate::check::{Access, Checker};
use crate::device::Share;
use crate::instruction::Target;
use crate::problem::{Hex, Problem, Role};
use crate::settings::Settings;
use crate::source::At;
use crate::system::{Domain, Region};
use config::{
    Blk, BlkClient, Channel, Child, Client, DmaDevice, Link, Net, NetClient, Power, Record, Rng, Serial, Supervisor,
    Timer, Window,
};
use zerocopy::{FromZeros, IntoBytes};

/// What a driver drives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// A UART, which every guest's console and log share.
    Serial,
    /// A disk, of which every guest has a part.
    Blk,
    /// A network interface, and the switch between it and the guests.
    Net,
    /// A source of entropy.
    Rng,
    /// Turns the machine off.
    Power,
    /// A timer, by which guests wait.
    Timer,
    /// Drivers, which it starts again when they fault.
    Supervisor,
}

impl Class {
    const NAMES: [(&'static str, Self); 7] = [
        ("serial", Self::Serial),
        ("blk", Self::Blk),
        ("net", Self::Net),
        ("rng", Self::Rng),
        ("power", Self::Power),
        ("timer", Self::Timer),
        ("supervisor", Self::Supervisor),
    ];

    /// As in the setting `class`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Blk => "blk",
            Self::Net => "net",
            Self::Rng => "rng",
            Self::Power => "power",
            Self::Timer => "timer",
            Self::Supervisor => "supervisor",
        }
    }

    /// Least size of the queues between a client and such a driver, if it has any.
    pub const fn queue_size(self) -> u64 {
        match self {
            Self::Serial => queue::serial::MIN_SIZE as u64,
            Self::Blk => queue::blk::MIN_SIZE as u64,
            Self::Net => queue::net::MIN_SIZE as u64,
            Self::Rng => queue::rng::MIN_SIZE as u64,
            Self::Power | Self::Timer | Self::Supervisor => 0,
        }
    }

    /// Whether such a driver's device reaches its clients' RAM.
    pub const fn reaches_ram(self) -> bool {
        matches!(self, Self::Blk | Self::Net)
    }
}

/// Size of the registers of a virtio-mmio device, with its configuration (virtio 1.2, 4.2.2).
const VIRTIO_REGISTERS: u64 = 0x200;

/// One whom a driver serves.
pub struct Served<'a> {
    /// Where it says so.
    pub at: At,
    /// What it is called in messages.
    pub what: String,
    /// Its name and the link to it.
    pub client: Client,
    /// Its RAM, if it is a VMM.
    pub ram: Option<&'a Region>,
    /// What it gets of the device.
    pub share: Share,
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
    pub clients: Vec<Served<'a>>,
    /// The queue of its log, and where that is set.
    pub log: Option<(At, &'a Region)>,
    /// The link that its log goes over.
    pub log_link: Link,
    registers: Window,
    dma: Option<(&'a Region, Window)>,
    children: Vec<Child>,
    restart_limit: u64,
    settings: Settings<'a>,
}

/// The settings that name a region.
const REGIONS: [&str; 3] = ["registers", "dma", "log"];

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
        let mut driver = Self {
            at: settings.at,
            domain,
            class,
            clients: Vec::new(),
            log: None,
            log_link: Link::NONE,
            registers: Window::default(),
            dma: None,
            children: Vec::new(),
            restart_limit: 0,
            settings,
        };
        match class {
            Class::Serial => {
                driver.settings.check_known(checker, &["class", "registers"]);
                driver.read_registers(checker, 0, 1);
            }
            Class::Blk => driver.read_virtio(checker, config::BLK_DMA),
            Class::Net => driver.read_virtio(checker, config::NET_DMA),
            Class::Rng => driver.read_virtio(checker, config::RNG_DMA),
            Class::Power => {
                driver.settings.check_known(checker, &["class"]);
                if !domain.smc {
                    checker.add(domain.at, Problem::PowerSmc { driver: domain.name.clone() });
                }
            }
            Class::Timer => {
                driver.settings.check_known(checker, &["class"]);
                driver.check_irq(checker);
            }
            Class::Supervisor => {
                driver.settings.check_known(checker, &["class", "log", "restart-limit"]);
                driver.read_log(checker);
                driver.restart_limit = checker.restart_limit(&driver.settings);
                driver.children = checker.children(domain);
            }
        }
        Some(driver)
    }

    /// The driver of a virtio device, which shares at least `dma_size` bytes with it.
    fn read_virtio(&mut self, checker: &mut Checker<'a>, dma_size: u64) {
        self.settings.check_known(checker, &["class", "registers", "offset", "dma", "log"]);
        let offset = self.settings.number(checker, "offset").unwrap_or(0);
        self.read_registers(checker, offset, VIRTIO_REGISTERS);
        if let Some(setting) = self.settings.required(checker, "dma")
            && let Some(region) = checker.region(setting.at, setting.value, Role::Dma, self.domain)
        {
            let size = checker.size(region).unwrap_or(dma_size);
            if size < dma_size {
                let (role, region_name) = (Role::Dma, region.name.clone());
                let problem = Problem::RegionSize { role, region: region_name, size: Hex(size), wanted: Hex(dma_size) };
                checker.add(region.at, problem);
            }
            let vaddr = checker.mapped(self.domain, Role::Dma, region, Access::SHARED, "…").unwrap_or(0);
            self.dma = Some((region, Window { vaddr, size }));
        }
        self.read_log(checker);
    }

    fn read_log(&mut self, checker: &mut Checker<'a>) {
        self.log = self.settings.get("log").and_then(|setting| {
            let region = checker.queue(setting.at, setting.value, Class::Serial, self.domain)?;
            Some((setting.at, region))
        });
    }

    /// The device's interrupt and its registers: `needed` bytes at `offset` in their region.
    fn read_registers(&mut self, checker: &mut Checker<'a>, offset: u64, needed: u64) {
        self.check_irq(checker);
        let Some(setting) = self.settings.required(checker, "registers") else { return };
        let Some(region) = checker.region(setting.at, setting.value, Role::Registers, self.domain) else { return };
        let (role, name) = (Role::Registers, || region.name.clone());
        if !region.is_device {
            checker.add(region.at, Problem::NotDevice { role, region: name() });
        }
        let vaddr = checker.mapped(self.domain, role, region, Access::DEVICE, "…").unwrap_or(0);
        let Some(size) = checker.size(region) else { return };
        match size.checked_sub(offset).filter(|left| *left >= needed && offset.is_multiple_of(8)) {
            Some(left) => self.registers = Window { vaddr: vaddr.wrapping_add(offset), size: left },
            None => {
                let (needed, offset) = (Hex(needed), Hex(offset));
                checker.add(setting.at, Problem::RegistersOffset { role, region: name(), needed, offset });
            }
        }
    }

    /// It has its device's interrupt, and no other.
    fn check_irq(&self, checker: &mut Checker<'a>) {
        let count = self.domain.irqs.len();
        if count != 1 {
            checker.add(self.domain.at, Problem::DriverIrq { driver: self.domain.name.clone(), count });
        }
    }

    /// Whether it is the `class` driver's end of the queue `region`.
    pub fn serves(&self, class: Class, region: &str) -> bool {
        self.class == class && !self.names(region) && self.domain.maps.iter().any(|map| map.region == region)
    }

    /// Whether a setting names `region`.
    pub fn names(&self, region: &str) -> bool {
        REGIONS.iter().any(|name| self.settings.get(name).is_some_and(|setting| setting.value == region))
    }

    /// The symbols that get a physical address, each with the region's name.
    pub fn paddrs(&self) -> Vec<(String, String)> {
        let dma = self.dma.iter().map(|(region, _)| ("dma_paddr".to_owned(), region.name.clone()));
        let clients = self.clients.iter().enumerate().filter(|_| self.class.reaches_ram());
        let rams = clients.filter_map(|(n, client)| Some((format!("client{n}_ram"), client.ram?.name.clone())));
        dma.chain(rams).collect()
    }

    /// The record as bytes.
    pub fn record(&self) -> Vec<u8> {
        let irq = self.domain.irqs.first().map_or(Channel::NONE, |id| Channel::new(*id));
        let (registers, count) = (self.registers, self.clients.len() as u64);
        let dma = self.dma.map_or(Window::default(), |(_, window)| window);
        let device = DmaDevice { registers, dma, irq, log: self.log_link };
        match self.class {
            Class::Serial => {
                let clients = self.clients(|served| served.client);
                Serial { header: Serial::header(), registers, irq, count, clients }.as_bytes().to_vec()
            }
            Class::Blk => {
                let clients = self.clients(|served| BlkClient {
                    client: served.client,
                    ram: served.ram_size(),
                    part: match served.share {
                        Share::Part(part) => part,
                        _ => FromZeros::new_zeroed(),
                    },
                });
                Blk { header: Blk::header(), device, count, clients }.as_bytes().to_vec()
            }
            Class::Net => {
                let clients = self.clients(|served| NetClient {
                    client: served.client,
                    ram: served.ram_size(),
                    mac: match served.share {
                        Share::Mac(mac) => mac,
                        _ => [0; 6],
                    },
                    reserved: [0; 2],
                });
                Net { header: Net::header(), device, count, clients }.as_bytes().to_vec()
            }
            Class::Rng => {
                let clients = self.clients(|served| served.client);
                Rng { header: Rng::header(), device, count, clients }.as_bytes().to_vec()
            }
            Class::Power => Power { header: Power::header(), guests: self.client_mask() }.as_bytes().to_vec(),
            Class::Supervisor => Supervisor {
                header: Supervisor::header(),
                log: self.log_link,
                restart_limit: self.restart_limit,
                count: self.children.len() as u64,
                children: entries(&self.children, |child| *child),
            }
            .as_bytes()
            .to_vec(),
            Class::Timer => Timer { header: Timer::header(), irq, clients: self.client_mask() }.as_bytes().to_vec(),
        }
    }

    /// The ids of its ends of the channels to its clients, a bit for each.
    fn client_mask(&self) -> u64 {
        let ids = self.clients.iter().filter_map(|served| served.client.link.channel.id());
        ids.fold(0, |mask, id| mask | 1 << id)
    }

    /// The clients' entries in a record.
    fn clients<T: FromZeros>(&self, entry: impl Fn(&Served) -> T) -> [T; config::MAX_CLIENTS] {
        entries(&self.clients, entry)
    }
}

/// The entries of `items` in a record that has room for `N`.
fn entries<T: FromZeros, S, const N: usize>(items: &[S], entry: impl Fn(&S) -> T) -> [T; N] {
    std::array::from_fn(|n| items.get(n).map_or_else(T::new_zeroed, &entry))
}

impl Served<'_> {
    fn ram_size(&self) -> u64 {
        self.ram.and_then(|ram| ram.size).unwrap_or(0)
    }
}
