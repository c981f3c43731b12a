// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A VMM and its guest.

use crate::check::{Access, Checker};
use crate::device::{self, Device};
use crate::image::{self, KernelFormat};
use crate::instruction::Target;
use crate::problem::{Hex, Problem, Role, list};
use crate::settings::Settings;
use crate::system::{Domain, Guest, Region};
use config::{
    Channel, Console, Ending, Gic, Link, LogLevel, MAX_DISKS, MAX_INTERFACES, MAX_VCPUS, RAM_GPA, Record, Window,
};
use vmm_core::boot::{self, BootError, RAM_UNIT};
use vmm_core::fdt::is_device_tree;
use vmm_core::map::VIRTIO;
use vmm_core::virtio::feature;
use zerocopy::{FromZeros, IntoBytes};

/// Guest-physical address of the GICv2 CPU interface, on every board that has one.
const GICC_GPA: u64 = 0x0801_0000;
/// GICv2 architecture 4.1.2: the CPU interface is two pages, with GICC_DIR in the second.
const GICC_SIZE: u64 = 0x2000;
/// The board's entity with the map of that interface. A GICv3 board defines it as empty.
const GICV_MAP: &str = "gicv_map";
const PAGE: u64 = 0x1000;
/// The largest guest-physical address space that seL4 has on Arm.
const ADDRESS_SPACE: u64 = 1 << 48;

const SETTINGS: [&str; 13] = [
    "ram",
    "kernel",
    "kernel-format",
    "initramfs",
    "dtb",
    "dtb-fragment",
    "virtio",
    "access-platform",
    "bootargs",
    "log",
    "on-crash",
    "on-reset",
    "restart-limit",
];
const LOG_LEVELS: [(&str, LogLevel); 4] =
    [("error", LogLevel::Error), ("warn", LogLevel::Warn), ("info", LogLevel::Info), ("debug", LogLevel::Debug)];

/// What devices offer for it.
const ACCESS_PLATFORM: [(&str, u64); 2] = [("true", feature::ACCESS_PLATFORM), ("false", 0)];
const ENDINGS: [(&str, Ending); 3] = [("restart", Ending::Restart), ("halt", Ending::Halt), ("off", Ending::Off)];
/// How often a guest is restarted after crashes in a row, unless it is said.
const RESTART_LIMIT: u64 = 5;

/// A file that is copied to the guest's RAM.
struct Image<'a> {
    region: &'a Region,
    path: &'a str,
    bytes: Vec<u8>,
}

impl Image<'_> {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A VMM's part of the system.
pub struct Vmm<'a> {
    /// Its PD.
    pub domain: &'a Domain,
    /// Its guest.
    pub guest: Option<&'a Guest>,
    /// The guest's RAM.
    pub ram: Option<&'a Region>,
    /// The guest's devices that drivers serve.
    pub devices: Vec<Device<'a>>,
    /// Its record.
    pub config: config::Vmm,
    settings: Settings<'a>,
}

impl<'a> Vmm<'a> {
    /// The VMM in `domain`, if it is one.
    pub fn read(checker: &mut Checker<'a>, domain: &'a Domain) -> Option<Self> {
        if domain.is(Target::Driver) {
            // `Driver` reports it if it is both.
            return None;
        }
        let settings = Settings::collect(checker, domain, Target::Vmm, &device::names().collect::<Vec<_>>());
        let guest = domain.guest.as_ref();
        let pd = || domain.name.clone();
        match (&settings, guest) {
            (None, Some(guest)) => checker.add(guest.at, Problem::NoVmmInstruction { pd: pd() }),
            (Some(settings), None) => checker.add(settings.at, Problem::NoVirtualMachine { pd: pd() }),
            _ => {}
        }
        let settings = settings?;
        settings.check_known(checker, &SETTINGS);
        let devices = device::read(checker, domain, &settings);
        let mut vmm = Self { domain, guest, ram: None, devices, config: empty(), settings };
        vmm.read_settings(checker);
        vmm.ram = vmm.read_ram(checker);
        vmm.read_images(checker, vmm.ram);
        vmm.read_register_page(checker);
        if let Some(guest) = guest {
            vmm.read_guest(checker, guest, vmm.ram);
        }
        Some(vmm)
    }

    /// Whether `device` is described, rightly or not.
    pub fn describes(&self, device: &str) -> bool {
        self.settings.describes(device)
    }

    /// Whether a setting names `region`.
    pub fn names(&self, region: &str) -> bool {
        SETTINGS.iter().any(|name| self.settings.get(name).is_some_and(|setting| setting.value == region))
            || device::names().any(|device| {
                let queue = self.settings.device(device).and_then(|settings| settings.get("queue"));
                queue.is_some_and(|queue| queue.value == region)
            })
    }

    /// The record as bytes.
    pub fn record(&self) -> Vec<u8> {
        self.config.as_bytes().to_vec()
    }

    fn read_settings(&mut self, checker: &mut Checker<'a>) {
        if let Some(bootargs) = self.settings.get("bootargs") {
            self.config.bootargs = checker.limited(bootargs.at, "bootargs", bootargs.value);
        }
        if let Some(level) = self.settings.choice(checker, "log", &LOG_LEVELS) {
            self.config.log_level = level;
        }
        if let Some(features) = self.settings.choice(checker, "access-platform", &ACCESS_PLATFORM) {
            self.config.virtio_features = features;
        }
        if let Some(ending) = self.settings.choice(checker, "on-crash", &ENDINGS) {
            self.config.on_crash = ending;
        }
        if let Some(ending) = self.settings.choice(checker, "on-reset", &ENDINGS) {
            self.config.on_reset = ending;
        }
        if let Some(limit) = self.settings.number(checker, "restart-limit") {
            self.config.restart_limit = limit;
        }
    }

    fn read_ram(&mut self, checker: &mut Checker<'a>) -> Option<&'a Region> {
        let setting = self.settings.required(checker, "ram")?;
        let region = checker.region(setting.at, setting.value, Role::Ram, self.domain)?;
        if let Some(size) = checker.size(region) {
            if size == 0 || !size.is_multiple_of(RAM_UNIT) {
                let wanted = Hex(size.max(1).checked_next_multiple_of(RAM_UNIT).unwrap_or(RAM_UNIT));
                checker.add(region.at, Problem::RamSize { region: region.name.clone(), size: Hex(size), wanted });
            }
            self.config.ram.size = size;
        }
        let vaddr = checker.mapped(self.domain, Role::Ram, region, Access::SHARED, "…");
        self.config.ram.vaddr = vaddr.unwrap_or(0);
        Some(region)
    }

    fn read_images(&mut self, checker: &mut Checker<'a>, ram: Option<&'a Region>) {
        let format = match self.settings.get("kernel-format") {
            None => KernelFormat::Image,
            // Where it is unknown, nothing is said about the kernel.
            Some(_) => {
                self.settings.choice(checker, "kernel-format", &KernelFormat::NAMES).unwrap_or(KernelFormat::Flat)
            }
        };
        self.settings.required(checker, "kernel");
        let kernel = self.image(checker, "kernel", Role::Kernel).and_then(|image| {
            let (bytes, is_unpacked) = match image::kernel(image.path, image.bytes, format) {
                Ok(kernel) => kernel,
                Err(problem) => {
                    checker.add(image.region.at, problem);
                    return None;
                }
            };
            if is_unpacked {
                checker.products.unpacked.push((image.region.name.clone(), bytes.clone()));
            }
            Some(Image { bytes, ..image })
        });
        let initramfs = self.image(checker, "initramfs", Role::Initramfs);
        let dtb = self.device_tree(checker, "dtb", Role::Dtb);
        let fragment = self.device_tree(checker, "dtb-fragment", Role::DtbFragment);
        self.config.kernel = self.window(checker, Role::Kernel, kernel.as_ref());
        self.config.initramfs = self.window(checker, Role::Initramfs, initramfs.as_ref());
        self.config.dtb = self.window(checker, Role::Dtb, dtb.as_ref());
        self.config.dtb_fragment = self.window(checker, Role::DtbFragment, fragment.as_ref());
        // Microkit has no room for more, and says so.
        let ram = ram.filter(|_| self.config.ram.size <= ADDRESS_SPACE);
        if let (Some(ram), Some(kernel)) = (ram, kernel) {
            self.check_placement(checker, ram, &kernel, initramfs.as_ref());
        }
    }

    /// Everything fits where the VMM will put it.
    fn check_placement(&self, checker: &mut Checker<'a>, ram: &Region, kernel: &Image, initramfs: Option<&Image>) {
        let size = self.config.ram.size;
        let region = || ram.name.clone();
        let wanted = |more: u64| Hex(size.saturating_add(more).checked_next_multiple_of(RAM_UNIT).unwrap_or(u64::MAX));
        let problem = match boot::place(&kernel.bytes, kernel.length(), initramfs.map_or(0, Image::length), size) {
            // What is wrong with the RAM itself is known already.
            Ok(_) | Err(BootError::RamUnaligned { .. } | BootError::NoKernel | BootError::DeviceTree) => return,
            Err(BootError::KernelTooLarge { need, have }) => Problem::KernelTooLarge {
                path: kernel.path.to_owned(),
                needed: Hex(need),
                region: region(),
                room: Hex(have),
                wanted: wanted(need - have),
            },
            Err(BootError::InitramfsOverlaps { need, have }) => Problem::InitramfsTooLarge {
                path: initramfs.map_or("", |image| image.path).to_owned(),
                needed: Hex(need),
                region: region(),
                room: Hex(have),
                // Its start is rounded down to a page.
                wanted: wanted(need.saturating_sub(have) + PAGE),
            },
        };
        checker.add(ram.at, problem);
    }

    /// The image that `setting` names, if it does.
    fn image(&mut self, checker: &mut Checker<'a>, setting: &str, role: Role) -> Option<Image<'a>> {
        let setting = self.settings.get(setting)?;
        let region = checker.region(setting.at, setting.value, role, self.domain)?;
        let Some(path) = &region.prefill_path else {
            checker.add(region.at, Problem::ImageUnnamed { role, region: region.name.clone() });
            return None;
        };
        match checker.files.load(path) {
            Ok(bytes) => Some(Image { region, path, bytes }),
            Err(problem) => {
                checker.add(region.at, problem);
                None
            }
        }
    }

    fn device_tree(&mut self, checker: &mut Checker<'a>, setting: &str, role: Role) -> Option<Image<'a>> {
        let image = self.image(checker, setting, role)?;
        let (at, path) = (image.region.at, image.path);
        if !is_device_tree(&image.bytes) {
            checker.add(at, Problem::DtbFormat { path: path.to_owned() });
        } else if image.bytes.len() > boot::DTB_SIZE {
            let (what, length) = (format!("{role} `{path}`"), image.bytes.len());
            checker.add(at, Problem::TooLong { what, length, max: boot::DTB_SIZE });
        }
        Some(image)
    }

    /// Where the PD finds `image`.
    fn window(&self, checker: &mut Checker<'a>, role: Role, image: Option<&Image>) -> Window {
        let window = image.map(|image| {
            let vaddr = checker.mapped(self.domain, role, image.region, Access::READ, "…");
            Window { vaddr: vaddr.unwrap_or(0), size: image.length() }
        });
        window.unwrap_or_default()
    }

    /// The page of which the guest reads its virtio devices' registers.
    fn read_register_page(&mut self, checker: &mut Checker<'a>) {
        let setting = if self.devices.iter().any(Device::is_virtio) {
            self.settings.required(checker, "virtio")
        } else {
            self.settings.get("virtio")
        };
        let Some(setting) = setting else { return };
        let Some(region) = checker.region(setting.at, setting.value, Role::VirtioPage, self.domain) else { return };
        if let Some(size) = checker.size(region).filter(|size| *size != VIRTIO.size) {
            let (role, region_name, wanted) = (Role::VirtioPage, region.name.clone(), Hex(VIRTIO.size));
            let problem = Problem::RegionSize { role, region: region_name, size: Hex(size), wanted };
            checker.add(region.at, problem);
        }
        let vaddr = checker.mapped(self.domain, Role::VirtioPage, region, Access::DEVICE, "…").unwrap_or(0);
        self.config.virtio = Window { vaddr, size: VIRTIO.size };
        if let Some(guest) = self.guest {
            mapped_at(checker, guest, Role::VirtioPage, region, Access::GUEST_REGISTERS, VIRTIO.base);
        }
    }

    fn read_guest(&mut self, checker: &mut Checker<'a>, guest: &'a Guest, ram: Option<&'a Region>) {
        self.config.name = checker.name(guest.at, &guest.name);
        if let Some(ram) = ram {
            mapped_at(checker, guest, Role::Ram, ram, Access::GUEST_RAM, RAM_GPA);
        }
        self.config.gic = gic(checker, guest);
        let count = guest.vcpus.len();
        if count > MAX_VCPUS {
            checker.add(guest.at, Problem::VcpuCount { guest: guest.name.clone(), count, max: MAX_VCPUS });
        }
        let mut ids: Vec<u64> = guest.vcpus.iter().copied().flatten().collect();
        ids.sort_unstable();
        if ids.len() == count && ids.iter().zip(0..).any(|(id, expected)| *id != expected) {
            let ids = list(ids.iter().map(u64::to_string));
            checker.add(guest.at, Problem::VcpuIds { guest: guest.name.clone(), ids });
        }
        self.config.vcpus = u32::try_from(count).unwrap_or(u32::MAX);
        // Microkit's default is the PD's core, and that of a PD the first.
        let own = self.domain.core.unwrap_or(0);
        let remote = guest.vcpus.iter().zip(&guest.cores).filter(|(_, core)| core.unwrap_or(own) != own);
        let bits = remote.filter_map(|(id, _)| id.and_then(|id| 1u32.checked_shl(u32::try_from(id).ok()?)));
        self.config.remote = bits.fold(0, |mask, bit| mask | bit);
    }
}

/// Checks that `guest` maps `region` at `gpa`.
fn mapped_at(checker: &mut Checker, guest: &Guest, role: Role, region: &Region, access: Access, gpa: u64) {
    let wanted = Hex(gpa);
    let vaddr = checker.mapped(guest, role, region, access, &wanted.to_string());
    if let Some(vaddr) = vaddr.filter(|vaddr| *vaddr != gpa) {
        let at = guest.maps.iter().find(|map| map.region == region.name).map_or(guest.at, |map| map.at);
        let (guest, region) = (guest.name.clone(), region.name.clone());
        checker.add(at, Problem::MapAddress { guest, role, region, vaddr: Hex(vaddr), wanted });
    }
}

/// The GIC that `guest` can have: version 2 is the one whose CPU interface is mapped.
fn gic(checker: &mut Checker, guest: &Guest) -> Gic {
    let Some(map) = guest.maps.iter().find(|map| map.vaddr == Some(GICC_GPA)) else {
        if checker.sources.entities().get(GICV_MAP).is_some_and(|map| !map.trim().is_empty()) {
            let (guest_name, vaddr) = (guest.name.clone(), Hex(GICC_GPA));
            checker.add(guest.at, Problem::GicMissing { guest: guest_name, vaddr, entity: GICV_MAP });
        }
        return Gic::V3;
    };
    checker.check_access(&guest.name, map, Role::Gic, Access::DEVICE);
    if let Some(region) = checker.system.region(&map.region) {
        let name = || region.name.clone();
        if !region.is_device {
            checker.add(region.at, Problem::NotDevice { role: Role::Gic, region: name() });
        }
        if let Some(size) = checker.size(region).filter(|size| *size < GICC_SIZE) {
            let (role, size, wanted) = (Role::Gic, Hex(size), Hex(GICC_SIZE));
            checker.add(region.at, Problem::RegionSize { role, region: name(), size, wanted });
        }
    }
    Gic::V2
}

fn empty() -> config::Vmm {
    config::Vmm {
        header: config::Vmm::header(),
        name: FromZeros::new_zeroed(),
        ram: Window::default(),
        kernel: Window::default(),
        initramfs: Window::default(),
        dtb: Window::default(),
        dtb_fragment: Window::default(),
        bootargs: FromZeros::new_zeroed(),
        vcpus: 0,
        gic: Gic::V3,
        log_level: LogLevel::Warn,
        remote: 0,
        on_crash: Ending::Off,
        on_reset: Ending::Restart,
        restart_limit: RESTART_LIMIT,
        serial: Link::NONE,
        virtio_features: 0,
        virtio: Window::default(),
        blk: [Link::NONE; MAX_DISKS],
        blk_drivers: FromZeros::new_zeroed(),
        net: [Link::NONE; MAX_INTERFACES],
        net_drivers: FromZeros::new_zeroed(),
        rng: Link::NONE,
        rng_driver: FromZeros::new_zeroed(),
        console: Console::NONE,
        power: Channel::NONE,
        timer: Channel::NONE,
    }
}
