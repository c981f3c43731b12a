// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Every way in which the input can be wrong, with its remedy. docs/errors.md lists the same messages; a test compares.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A number as SDF writes addresses and sizes: hexadecimal, in groups of four digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:x}", self.0);
        f.write_str("0x")?;
        for (i, digit) in digits.char_indices() {
            let left = digits.len() - i;
            if i > 0 && left.is_multiple_of(4) {
                f.write_str("_")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// The names for a message, or `none`.
pub fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<T> = names.into_iter().collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ")
}

/// One violated rule. Each message is one line: what is wrong, and the remedy.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Problem {
    // Files.
    #[error("`{path}` cannot be read ({why}); remedy: correct the path, or the file's permissions")]
    Unreadable { path: String, why: String },
    #[error("`{path}` cannot be written ({why}); remedy: remove what is in the way, or name another output directory")]
    Unwritable { path: String, why: String },
    #[error("no board description {path}; remedy: set BOARD to one of: {known}")]
    NoBoard { path: String, known: String },

    // Markup and entities.
    #[error("neither a comment nor `<!ENTITY name \"value\">`; remedy: a board description holds only these two")]
    BoardSyntax,
    #[error("entity `{name}` is declared twice; remedy: remove one of the declarations")]
    EntityTwice { name: String },
    #[error("entity `{name}` contains itself; remedy: remove the reference from its value")]
    EntityLoop { name: String },
    #[error("entity `&{name};` is not defined; remedy: declare it in {board}, or use one of: {known}")]
    EntityUndefined { name: String, board: String, known: String },
    #[error("a DOCTYPE; remedy: remove it, and declare entities in {board}")]
    Doctype { board: String },
    #[error("not well-formed XML: {error}; remedy: correct the markup")]
    Xml { error: String },
    #[error("text `{text}` between elements; remedy: remove it, or write `&name;` if an entity was meant")]
    StrayText { text: String },

    // Values of SDF that the configuration needs.
    #[error("`{element}` has no `{attribute}`; remedy: add {attribute}=\"…\"")]
    AttributeMissing { element: String, attribute: &'static str },
    #[error("`{attribute}=\"{value}\"` is not a number; remedy: write it in decimal, or in hexadecimal after 0x")]
    NumberSyntax { attribute: &'static str, value: String },
    #[error("`{attribute}=\"{value}\"` is not a plain decimal number; remedy: Microkit takes nothing but digits here")]
    DecimalSyntax { attribute: &'static str, value: String },
    #[error(
        "no cpu {cpu}, as this CONFIG has {count}; remedy: number cores from 0, or set CONFIG to smp-debug or smp-release"
    )]
    CpuMissing { cpu: u64, count: u64 },

    // Processing instructions.
    #[error("unknown instruction `<?{target} …?>`; remedy: use `<?vmm …?>` or `<?driver …?>`")]
    InstructionUnknown { target: String },
    #[error("`<?{target} …?>` is not directly in a protection_domain; remedy: move it into the one that it concerns")]
    InstructionOutside { target: String },
    #[error("`<?{target} …?>` cannot be read from `{near}` on; remedy: write name=\"value\" pairs with spaces between")]
    InstructionSyntax { target: String, near: String },
    #[error("`{pd}` has both `<?vmm …?>` and `<?driver …?>`; remedy: keep the one that fits its program image")]
    InstructionMixed { pd: String },
    #[error("`&` in `{setting}` begins no entity; remedy: write `&amp;`")]
    Ampersand { setting: String },
    #[error("unknown setting `{setting}`; remedy: use one of: {known}")]
    SettingUnknown { setting: String, known: String },
    #[error("`{setting}` is set twice; remedy: keep one of the two")]
    SettingTwice { setting: String },
    #[error("`{pd}` has no setting `{setting}`; remedy: add `<?{target} {setting}=\"…\"?>` to it")]
    SettingMissing { pd: String, target: String, setting: &'static str },
    #[error("`{setting}=\"{value}\"` is not known; remedy: use one of: {known}")]
    SettingValue { setting: &'static str, value: String, known: String },
    #[error("unknown device `{device}`; remedy: use one of: {known}")]
    DeviceUnknown { device: String, known: String },
    #[error("device `{device}` is described twice; remedy: keep one of the two")]
    DeviceTwice { device: String },
    #[error("`{pd}` has no `{device}`, which its log goes over; remedy: add `<?vmm {device} queue=\"…\"?>` to it")]
    DeviceMissing { pd: String, device: &'static str },
    #[error("{what} has {length} bytes; remedy: shorten it to {max}")]
    TooLong { what: String, length: usize, max: usize },
    #[error(
        "`partition=\"{value}\"` names no partition; remedy: use its number, from 1, or its name of at most 36 characters"
    )]
    PartitionName { value: String },
    #[error(
        "`sectors=\"{value}\"` is no range of sectors; remedy: write the first sector and their number as FIRST+COUNT"
    )]
    SectorsSyntax { value: String },
    #[error("`{device}` has both `partition` and `sectors`; remedy: keep one of the two")]
    PartTwice { device: String },
    #[error("`size=\"{value}\"` is no size of a console; remedy: write COLUMNSxROWS, each at least 1, as in 80x24")]
    SizeSyntax { value: String },
    #[error("`mac=\"{value}\"` is no address; remedy: write six bytes in hexadecimal, as in 52:54:00:12:34:56")]
    MacSyntax { value: String },
    #[error(
        "`mac=\"{value}\"` is not the address of one interface; remedy: make the first byte even, and not all zero"
    )]
    MacGroup { value: String },
    #[error("`{pd}` has `<?vmm …?>` but no virtual_machine; remedy: add the guest's virtual_machine to it")]
    NoVirtualMachine { pd: String },
    #[error("`{pd}` has a virtual_machine but no `<?vmm …?>`; remedy: add `<?vmm ram=\"…\" kernel=\"…\"?>` to it")]
    NoVmmInstruction { pd: String },

    // Regions and who maps them.
    #[error("no memory_region `{region}` for the {role}; remedy: declare it, or use one of: {known}")]
    RegionUnknown { role: Role, region: String, known: String },
    #[error(
        "`{region}` is both {first} of `{first_of}` and {second} of `{second_of}`; remedy: give each its own region"
    )]
    RegionReused { region: String, first: Role, first_of: String, second: Role, second_of: String },
    #[error("{role} `{region}` of `{owner}` is mapped by `{other}` too; remedy: remove this map")]
    RegionIntruded { role: Role, region: String, owner: String, other: String },
    #[error("{role} `{region}` has no phys_addr; remedy: add the physical address of the device")]
    NotDevice { role: Role, region: String },
    #[error("`{who}` does not map its {role}; remedy: add `{map}` to it")]
    MapMissing { who: String, role: Role, map: String },
    #[error("`{who}` maps {role} `{region}` twice; remedy: keep one of the two maps")]
    MapTwice { who: String, role: Role, region: String },
    #[error("`{who}` maps {role} `{region}` with perms \"{perms}\"; remedy: set perms=\"{wanted}\"")]
    MapPerms { who: String, role: Role, region: String, perms: String, wanted: &'static str },
    #[error("`{who}` maps {role} `{region}` with cached=\"{cached}\"; remedy: set cached=\"{wanted}\"")]
    MapCached { who: String, role: Role, region: String, cached: bool, wanted: bool },
    #[error("guest `{guest}` has {role} `{region}` at {vaddr}; remedy: set vaddr=\"{wanted}\"")]
    MapAddress { guest: String, role: Role, region: String, vaddr: Hex, wanted: Hex },
    #[error("RAM `{region}` has size {size}, which is not a multiple of 2 MiB; remedy: set size=\"{wanted}\"")]
    RamSize { region: String, size: Hex, wanted: Hex },
    #[error("RAM `{region}` has size {size}, of which devices reach {max}; remedy: set size=\"{max}\" or less")]
    RamReach { region: String, size: Hex, max: Hex },
    #[error("guest `{guest}` has no GICv2 CPU interface at {vaddr}; remedy: put `&{entity};` into its virtual_machine")]
    GicMissing { guest: String, vaddr: Hex, entity: &'static str },
    #[error("{role} `{region}` has size {size}; remedy: set size=\"{wanted}\"")]
    RegionSize { role: Role, region: String, size: Hex, wanted: Hex },
    #[error(
        "{role} `{region}` has no {needed} bytes at offset {offset}; remedy: correct the offset, or set a larger size"
    )]
    RegistersOffset { role: Role, region: String, needed: Hex, offset: Hex },

    // Images.
    #[error("{role} `{region}` has no prefill_path; remedy: add prefill_path=\"FILE\" to the region")]
    ImageUnnamed { role: Role, region: String },
    #[error("no file `{path}` in {dirs}; remedy: build it, or correct prefill_path")]
    ImageMissing { path: String, dirs: String },
    #[error("`{path}` is empty; remedy: build it again, or correct prefill_path")]
    ImageEmpty { path: String },
    #[error("`{path}` cannot be unpacked as gzip ({why}); remedy: build it again, or replace it by a whole one")]
    ImageGzip { path: String, why: String },
    #[error("`{path}` is not an arm64 Image; remedy: name one, or add kernel-format=\"flat\" for a bare binary")]
    ImageFormat { path: String },
    #[error("`{path}` is not a whole device tree blob; remedy: make it with `dtc -O dtb`")]
    DtbFormat { path: String },
    #[error(
        "kernel `{path}` needs {needed} of RAM `{region}`, which has {room} for it; remedy: set size=\"{wanted}\" or more"
    )]
    KernelTooLarge { path: String, needed: Hex, region: String, room: Hex, wanted: Hex },
    #[error(
        "initramfs `{path}` needs {needed} of RAM `{region}`, which has {room} beside the kernel; remedy: set size=\"{wanted}\" or more"
    )]
    InitramfsTooLarge { path: String, needed: Hex, region: String, room: Hex, wanted: Hex },

    // Guests and priorities.
    #[error("guest `{guest}` has vCPU ids {ids}; remedy: number them from 0 without gaps")]
    VcpuIds { guest: String, ids: String },
    #[error("guest `{guest}` has {count} vCPUs; remedy: remove all but {max}")]
    VcpuCount { guest: String, count: usize, max: usize },
    #[error(
        "{high} has priority {high_priority}, not above the {low_priority} of {low}; remedy: put the timer above drivers, those above VMMs, and each VMM above its guest"
    )]
    Priority { high: String, high_priority: u64, low: String, low_priority: u64 },

    // Queues, drivers and channels.
    #[error("queue `{region}` has size {size}; remedy: set size=\"{wanted}\", or more in pages of 0x1000")]
    QueueSize { region: String, size: Hex, wanted: Hex },
    #[error(
        "queue `{region}` of `{pd}` is mapped by no {class} driver; remedy: map it in a PD with `<?driver class=\"{class}\" …?>`"
    )]
    QueueUnserved { region: String, pd: String, class: &'static str },
    #[error("queue `{region}` of `{pd}` is mapped by two drivers, `{first}` and `{second}`; remedy: keep one map")]
    QueueServedTwice { region: String, pd: String, first: String, second: String },
    #[error(
        "`{vmm}` and `{driver}` share `{region}`, which is no device's queue; remedy: add `<?vmm {device} queue=\"{region}\"?>`"
    )]
    QueueUnnamed { vmm: String, driver: String, region: String, device: &'static str },
    #[error("no channel joins `{pd}` and `{driver}`; remedy: add a channel with an end in each")]
    ChannelMissing { pd: String, driver: String },
    #[error("a second channel joins `{pd}` and `{driver}`; remedy: keep one of the two")]
    ChannelTwice { pd: String, driver: String },
    #[error("`{pd}` may not notify over its channel to `{other}`; remedy: remove notify=\"false\"")]
    ChannelMute { pd: String, other: String },
    #[error("driver `{driver}` has {count} clients; remedy: leave it {max}, and add a second driver for the others")]
    ClientCount { driver: String, count: usize, max: usize },
    #[error(
        "`{first}` and `{second}` have sectors of one disk in common, and one may write them; remedy: give each its own"
    )]
    DiskShared { first: String, second: String },
    #[error("`{first}` and `{second}` have the same address; remedy: give each its own mac")]
    MacTwice { first: String, second: String },
    #[error("driver `{driver}` has {count} irq elements; remedy: give it exactly one")]
    DriverIrq { driver: String, count: usize },
    #[error("`{driver}` cannot turn the machine off; remedy: add smc=\"true\" to it")]
    PowerSmc { driver: String },
    #[error("`{vmm}` has channels to two {class} drivers, `{first}` and `{second}`; remedy: keep one of the two")]
    DriverTwice { vmm: String, class: &'static str, first: String, second: String },
    #[error("`{vmm}` may not call over its channel to `{driver}`; remedy: add pp=\"true\" to its end")]
    ChannelNoCall { vmm: String, driver: String },

    // Supervisors.
    #[error("supervisor `{supervisor}` has no driver; remedy: move those into it that it is to start again")]
    SupervisorEmpty { supervisor: String },
    #[error(
        "supervisor `{supervisor}` has {count} drivers; remedy: leave it {max}, and add a second one for the others"
    )]
    ChildCount { supervisor: String, count: usize, max: usize },
    #[error("`{pd}` cannot be started again, as {why}; remedy: move it out of `{supervisor}`")]
    ChildUnfit { pd: String, why: &'static str, supervisor: String },
    #[error(
        "`{pd}` is in `{parent}`, which is no supervisor; remedy: move it out, or add `<?driver class=\"supervisor\"?>`"
    )]
    ChildUnsupervised { pd: String, parent: String },
    #[error("no program `{path}` in {dirs}; remedy: build it, or correct the path of its program_image")]
    ProgramMissing { path: String, dirs: String },
    #[error(
        "`{path}` is no program for AArch64 ({why}); remedy: build it again, or correct the path of its program_image"
    )]
    ProgramFormat { path: String, why: String },

    // The SDK.
    #[error(
        "no Microkit SDK at {path}; remedy: unpack microkit-sdk-{wanted} there, or set MICROKIT_SDK to where it is"
    )]
    SdkMissing { path: String, wanted: &'static str },
    #[error(
        "{path} is not a Microkit SDK, it has no {part}; remedy: set MICROKIT_SDK to an unpacked microkit-sdk-{wanted}"
    )]
    SdkIncomplete { path: String, part: &'static str, wanted: &'static str },
    #[error("{path} is Microkit SDK {found}, not {wanted}; remedy: set MICROKIT_SDK to a microkit-sdk-{wanted}")]
    SdkVersion { path: String, found: String, wanted: &'static str },
    #[error("the SDK has no board `{board}`; remedy: set BOARD to one of: {known}")]
    BoardUnknown { board: String, known: String },
    #[error("the SDK has no config `{config}` for board `{board}`; remedy: set CONFIG to one of: {known}")]
    ConfigUnknown { board: String, config: String, known: String },
}

/// What a memory region is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The guest's RAM.
    Ram,
    /// First image.
    Kernel,
    /// Initial ramdisk.
    Initramfs,
    /// Device tree in place of the VMM's.
    Dtb,
    /// Device tree to merge into the VMM's.
    DtbFragment,
    /// Shared memory of a VMM and a driver.
    Queue,
    /// A driver's device.
    Registers,
    /// Memory that a driver shares with its device.
    Dma,
    /// Registers of a guest's virtio devices.
    VirtioPage,
    /// GICV frame.
    Gic,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ram => "RAM",
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::Dtb => "device tree",
            Self::DtbFragment => "device tree fragment",
            Self::Queue => "queue",
            Self::Registers => "register block",
            Self::Dma => "DMA region",
            Self::VirtioPage => "virtio register page",
            Self::Gic => "GICv2 CPU interface",
        })
    }
}

/// A line of an input file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// As named on the command line.
    pub file: PathBuf,
    /// From 1.
    pub line: u32,
}

/// The problems found so far, each at its place or about no file.
#[derive(Default)]
pub struct Report(Vec<(Option<Place>, Problem)>);

impl Report {
    /// Adds a problem with a line of a file; once, however often it is found.
    pub fn add(&mut self, place: Place, problem: Problem) {
        let found = (Some(place), problem);
        if !self.0.contains(&found) {
            self.0.push(found);
        }
    }

    /// Adds a problem that is not in a file.
    pub fn add_bare(&mut self, problem: Problem) {
        self.0.push((None, problem));
    }

    /// Adds that `file` cannot be read.
    pub fn add_unreadable(&mut self, file: &Path, error: &io::Error) {
        self.add_bare(Problem::Unreadable { path: file.display().to_string(), why: error.to_string() });
    }

    /// Adds that `file` cannot be written.
    pub fn add_unwritable(&mut self, file: &Path, error: &io::Error) {
        self.add_bare(Problem::Unwritable { path: file.display().to_string(), why: error.to_string() });
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems so far.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().map(|(_, problem)| problem)
    }

    /// The problems in the order of the files' lines, one line of text each.
    pub fn lines(mut self) -> Vec<String> {
        self.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        let line = |(place, problem): &(Option<Place>, Problem)| match place {
            None => problem.to_string(),
            Some(Place { file, line }) => format!("{}:{line}: {problem}", file.display()),
        };
        self.0.iter().map(line).collect()
    }
}
