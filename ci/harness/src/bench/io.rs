// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! What input and output cost: `/io` (guests/bench) in a guest, between two, and on QEMU without a hypervisor.

use super::counts::{self, Counts};
use super::{Report, Setup};
use crate::boot_tests::focus;
use crate::machine::Machine;
use crate::peer::network_up;
use crate::qemu::{COUNTED, Console};
use crate::realtime::Core;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(300);
const PROMPT: &str = "^[a-z]*# ";
/// Size of the disk's image.
const DISK: u64 = 64 << 20;

/// How a figure is shown, and which is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// Microseconds for each operation: less is better.
    Microseconds,
    /// Operations of so many bytes, in megabytes in a second.
    Megabytes(f64),
    /// Thousands of operations in a second.
    Thousands,
}

/// A figure, with what libvmm 0.2.0 on Microkit 2.3.0 (release) once gave, and the limit.
pub(super) struct Figure {
    /// As `/io` calls it.
    pub name: &'static str,
    pub what: &'static str,
    unit: Unit,
    libvmm: Option<f64>,
    limit: Option<f64>,
}

const fn figure(name: &'static str, what: &'static str, unit: Unit, libvmm: f64, limit: f64) -> Figure {
    Figure { name, what, unit, libvmm: Some(libvmm), limit: Some(limit) }
}

/// In the order of the marks of `/io`.
pub(super) const FIGURES: [Figure; 14] = [
    figure("read-4k", "read 4 KiB, µs", Unit::Microseconds, 82.9, 62.0),
    figure("read-64k", "read 64 KiB, MB/s", Unit::Megabytes(65_536.0), 535.0, 950.0),
    figure("read-64k-scattered", "read 64 KiB to pages, MB/s", Unit::Megabytes(65_536.0), 203.0, 650.0),
    figure("read-1m", "read 1 MiB, MB/s", Unit::Megabytes(1_048_576.0), 679.0, 4200.0),
    figure("write-1m", "write 1 MiB, MB/s", Unit::Megabytes(1_048_576.0), 903.0, 4600.0),
    figure("read-4k-random", "read 4 KiB, depth 32, k/s", Unit::Thousands, 40.2, 48.0),
    figure("write-512", "write 512 B, µs", Unit::Microseconds, 107.4, 70.0),
    figure("write-4k-sync", "write 4 KiB, sync, µs", Unit::Microseconds, 169.2, 130.0),
    figure("ping", "ping, µs", Unit::Microseconds, 145.4, 75.0),
    figure("udp-send-64", "UDP send 64 B, k/s", Unit::Thousands, 17.1, 36.0),
    figure("tcp-send", "TCP to host, MB/s", Unit::Megabytes(1.0), 53.9, 70.0),
    figure("tcp-receive", "TCP from host, MB/s", Unit::Megabytes(1.0), 112.4, 140.0),
    figure("console-write", "virtio console, kB/s", Unit::Thousands, 644.0, 1000.0),
    Figure {
        name: "tcp-guests",
        what: "TCP guest to guest, MB/s",
        unit: Unit::Megabytes(1.0),
        libvmm: None,
        limit: None,
    },
];

impl Figure {
    /// The figure for so many operations in so many nanoseconds.
    fn value(&self, operations: f64, nanoseconds: f64) -> f64 {
        match self.unit {
            Unit::Microseconds => nanoseconds / 1e3 / operations,
            Unit::Megabytes(bytes) => operations * bytes * 1e3 / nanoseconds,
            Unit::Thousands => operations * 1e6 / nanoseconds,
        }
    }

    /// Whether `value` is worse than the limit.
    fn exceeds(&self, value: f64) -> bool {
        self.limit.is_some_and(|limit| if self.unit == Unit::Microseconds { value > limit } else { value < limit })
    }
}

/// By name.
type Figures = HashMap<String, f64>;

/// What `/io` measured, by the figure's name: how many operations took how many nanoseconds.
pub(super) type Measured = HashMap<String, (f64, f64)>;

/// Measures and reports. Figures without what they need are shown, but as invalid.
pub fn measure(setup: &Setup, report: &mut Report) -> Result<()> {
    let (Some(image), Some(pair)) = (&setup.io_image, &setup.pair_image) else { return Ok(()) };
    let disk = Disk::new()?;
    let core = Core::last()?;
    let mut invalid = disk.invalid.clone();
    let mut measured = |name, command, is_pair| -> Result<Measured> {
        let (measured, refused) = run(setup, core, name, command, is_pair)?;
        invalid = invalid.take().or(refused);
        Ok(measured)
    };
    let mut bare = setup.qemu.bare_with_devices(&setup.kernel, &disk.path);
    bare.arg("-initrd").arg(&setup.initramfs).args(["-append", "console=ttyAMA0 quiet"]);
    let bare = measured("bare-io", bare, false)?;
    let (mut timed, mut counted, mut counts) = (Measured::new(), Measured::new(), Counts::new());
    for (image, names, is_pair) in
        [(image, ["bench-io", "split-io"], false), (pair, ["bench-pair", "split-pair"], true)]
    {
        let ours = || setup.qemu.sel4(&setup.board, &setup.config, image, Some(&disk.path), Console::Plain);
        timed.extend(measured(names[0], ours()?, is_pair)?);
        // Once more, for the plugin has QEMU take longer.
        let mut command = ours()?;
        let file = counts::load(setup, names[1], &mut command)?;
        counted.extend(measured(names[1], command, is_pair)?);
        counts.extend(counts::read(&file)?);
    }
    report.figures(&values(&bare), &values(&timed), invalid.as_deref());
    report.split(&counts, &counted);
    Ok(())
}

fn values(measured: &Measured) -> Figures {
    let value = |figure: &Figure| {
        let (operations, nanoseconds) = *measured.get(figure.name)?;
        Some((figure.name.to_owned(), figure.value(operations, nanoseconds)))
    };
    FIGURES.iter().filter_map(value).collect()
}

/// Boots, runs `/io` in the guest or between two, and returns what that measured, and why it is invalid if it is.
fn run(
    setup: &Setup,
    core: Core,
    name: &str,
    mut command: Command,
    is_pair: bool,
) -> Result<(Measured, Option<String>)> {
    command.args(COUNTED);
    core.pin(&mut command);
    let mut machine = Machine::start(command, &setup.log(name), &setup.stop)?;
    machine.expect("the shell's prompt", PROMPT, LIMIT)?;
    let mut invalid = core.raise(machine.id()).err().map(|error| format!("{error:#}"));
    let mut measured = Measured::new();
    if is_pair {
        between_two(&mut machine, &mut measured)?;
    } else {
        let (port, refused) = peer(core)?;
        invalid = invalid.or(refused);
        machine.send(&network_up(15))?;
        for command in ["/io disk", &format!("/io net {port}"), "/io console /dev/hvc0"] {
            machine.expect("the shell's prompt", PROMPT, LIMIT)?;
            figures(&mut machine, command, &mut measured)?;
        }
    }
    machine.send("poweroff -f")?;
    machine.expect_exit(0, LIMIT)?;
    Ok((measured, invalid))
}

/// The second guest sends to the first, which is left at its prompt.
fn between_two(machine: &mut Machine, measured: &mut Measured) -> Result<()> {
    let [first, second] = ["^first# ", "^second# "];
    focus(machine, 0)?;
    machine.expect("the first guest's prompt", first, LIMIT)?;
    machine.send(&format!("{}; /io receive", network_up(15)))?;
    machine.expect("the first guest's socket", "^io: listening$", LIMIT)?;
    focus(machine, 1)?;
    machine.expect("the second guest's prompt", second, LIMIT)?;
    machine.send(&network_up(16))?;
    machine.expect("the second guest's prompt", second, LIMIT)?;
    figures(machine, "/io send", measured)?;
    machine.send("poweroff -f")?;
    machine.expect("the end of the second guest", "^-- second is off$", LIMIT)?;
    focus(machine, 0)?;
    machine.expect("the first guest's prompt", first, LIMIT)?;
    Ok(())
}

/// Runs `command`, and adds the figures that it prints.
fn figures(machine: &mut Machine, command: &str, measured: &mut Measured) -> Result<()> {
    machine.send(&format!("{command}; echo status $?"))?;
    loop {
        let line = machine.expect("a figure", r"^(?:io: ([a-z0-9-]+) ([0-9]+) ([0-9]+)|status ([0-9]+))$", LIMIT)?;
        let [_, name, operations, nanoseconds, status] = &line[..] else { bail!("a figure: {line:?}") };
        match status.as_str() {
            "" => _ = measured.insert(name.clone(), (operations.parse()?, nanoseconds.parse()?)),
            "0" => return Ok(()),
            status => bail!("`{command}` ends with status {status}"),
        }
    }
}

/// A host that receives from the first who connects to the port it returns, sends to the second, and is sent datagrams;
/// and why it is not as fast as it must be.
fn peer(core: Core) -> Result<(u16, Option<String>)> {
    const AMOUNT: usize = 32 << 20;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).context("a port for datagrams")?;
    let (sender, joined) = channel();
    thread::spawn(move || -> std::io::Result<()> {
        let _ = sender.send(core.join());
        // Nobody reads them; they must only not be refused.
        let _datagrams = datagrams;
        let mut buffer = vec![0; 1 << 20];
        let (mut first, _) = listener.accept()?;
        while first.read(&mut buffer)? > 0 {}
        drop(first);
        let (mut second, _) = listener.accept()?;
        (0..AMOUNT / buffer.len()).try_for_each(|_| second.write_all(&buffer))
    });
    Ok((port, joined.recv()?.err().map(|error| format!("{error:#}"))))
}

/// An image of a disk, in RAM if possible.
struct Disk {
    path: PathBuf,
    /// Why figures taken with it are invalid.
    invalid: Option<String>,
}

impl Disk {
    fn new() -> Result<Self> {
        const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
        let shm = Path::new("/dev/shm");
        let in_ram = rustix::fs::statfs(shm).is_ok_and(|found| found.f_type == TMPFS_MAGIC);
        let directory = if in_ram { shm.to_owned() } else { std::env::temp_dir() };
        let path = directory.join(format!("bench-{}.img", std::process::id()));
        let image = File::create(&path).with_context(|| path.display().to_string())?;
        let disk =
            Self { path, invalid: (!in_ram).then(|| "/dev/shm is not in RAM; remedy: mount a tmpfs there".into()) };
        // Not sparse: what is read comes from pages that are there.
        (0..DISK >> 20).try_for_each(|n| (&image).write_all(&[n as u8; 1 << 20]))?;
        Ok(disk)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left of it is a file that the user can see.
        let _ = fs::remove_file(&self.path);
    }
}

impl Report {
    fn figures(&mut self, bare: &Figures, ours: &Figures, invalid: Option<&str>) {
        self.line(format_args!("\n{:<28}{:>8}{:>8}{:>8}{:>8}", "input and output", "bare", "libvmm", "ours", "limit"));
        for figure in &FIGURES {
            let Figure { name, what, libvmm, limit, .. } = *figure;
            let [bare, ours] = [bare, ours].map(|figures| figures.get(name).copied());
            let show = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
            let [shown_bare, libvmm, shown, shown_limit] = [bare, libvmm, ours, limit].map(show);
            let mark = if invalid.is_some() { " invalid" } else { "" };
            self.line(format_args!("{what:<28}{shown_bare:>8}{libvmm:>8}{shown:>8}{shown_limit:>8}{mark}"));
            match ours {
                None => self.exceeded.push(format!("{what}: no figure")),
                Some(ours) if invalid.is_none() && figure.exceeds(ours) => {
                    self.exceeded.push(format!("{what}: {ours:.1} is beyond the limit of {shown_limit}"));
                }
                Some(_) => {}
            }
        }
        if let Some(invalid) = invalid {
            self.line(format_args!("invalid: {invalid}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_checked_where_the_figures_are_valid() {
        let all = |factor: f64| -> Figures {
            let at = |figure: &Figure| {
                let factor = if figure.unit == Unit::Microseconds { factor } else { 1.0 / factor };
                (figure.name.to_owned(), figure.limit.unwrap_or(1.0) * factor)
            };
            FIGURES.iter().map(at).collect()
        };
        let exceeded = |ours: &Figures, invalid| {
            let mut report = Report::default();
            report.figures(&all(0.5), ours, invalid);
            report.exceeded.len()
        };
        assert_eq!(exceeded(&all(1.0), None), 0);
        assert_eq!(exceeded(&all(1.01), None), FIGURES.iter().filter(|figure| figure.limit.is_some()).count());
        assert_eq!(exceeded(&all(1.01), Some("slow")), 0);
        assert_eq!(exceeded(&Figures::new(), Some("slow")), FIGURES.len());
    }

    #[test]
    fn a_figure_has_its_unit() {
        let value = |unit| figure("", "", unit, 0.0, 0.0).value(1000.0, 2e6);
        assert_eq!(value(Unit::Microseconds), 2.0);
        assert_eq!(value(Unit::Thousands), 500.0);
        assert_eq!(value(Unit::Megabytes(4000.0)), 2000.0);
    }
}
