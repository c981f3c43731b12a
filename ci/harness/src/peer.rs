// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The other side of a guest's devices: the image behind its disk, and a host in its network.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What a guest's shell does to reach the host over QEMU's network, as 10.0.2.`host`.
pub fn network_up(host: usize) -> String {
    format!("ip addr add 10.0.2.{host}/24 dev eth0; ip link set eth0 up")
}

/// Alignment of partitions.
const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// The numbers from 1 to `last`, a line each: what `seq` prints.
pub fn numbers(last: u32) -> Vec<u8> {
    let mut lines = Vec::new();
    for n in 1..=last {
        lines.extend_from_slice(format!("{n}\n").as_bytes());
    }
    lines
}

/// The SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> Result<String> {
    let mut program = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = program.stdin.take().context("sha256sum")?;
    input.write_all(bytes)?;
    drop(input);
    let output = String::from_utf8(program.wait_with_output()?.stdout)?;
    Ok(output.split_whitespace().next().context("sha256sum")?.to_owned())
}

/// A copy of the disk image that the build makes: whole, or as each of several partitions.
#[derive(Debug)]
pub struct Disk {
    /// The image.
    pub path: PathBuf,
    size: u64,
}

impl Disk {
    /// Copies `original` to `path`.
    pub fn copy(original: &Path, path: PathBuf) -> Result<Self> {
        let size = fs::copy(original, &path).with_context(|| format!("cannot copy {}", original.display()))?;
        Ok(Self { path, size })
    }

    /// Makes an image with an MBR, and in each of two partitions a copy of `original`.
    pub fn partitioned(original: &Path, path: PathBuf) -> Result<Self> {
        let content = fs::read(original).with_context(|| format!("cannot copy {}", original.display()))?;
        let disk = Self { path, size: content.len() as u64 };
        let image = File::create(&disk.path)?;
        for partition in 0..2 {
            let start = disk.start(partition);
            // Type 0x83, Linux, in bytes 4; first sector and number of sectors in bytes 8 to 15.
            let mut entry = [0; 16];
            entry[4] = 0x83;
            entry[8..12].copy_from_slice(&((start / SECTOR) as u32).to_le_bytes());
            entry[12..].copy_from_slice(&((disk.size / SECTOR) as u32).to_le_bytes());
            image.write_all_at(&entry, 446 + 16 * partition)?;
            image.write_all_at(&content, start)?;
        }
        image.write_all_at(&[0x55, 0xaa], 510)?;
        Ok(disk)
    }

    /// Where a partition begins, counted from 0.
    fn start(&self, partition: u64) -> u64 {
        MIB + partition * self.size.next_multiple_of(MIB)
    }

    /// Checks that the file system is in order, and that its file `name` holds `expected`; in a partition if one is named.
    pub fn expect_file(&self, partition: Option<u64>, name: &str, expected: &[u8]) -> Result<()> {
        let place = match partition {
            None => self.path.display().to_string(),
            Some(partition) => format!("{}?offset={}", self.path.display(), self.start(partition)),
        };
        let check = tool("e2fsck").args(["-f", "-n", &place]).output().context("e2fsck")?;
        let report = String::from_utf8_lossy(&check.stdout);
        ensure!(check.status.success(), "the guest left a damaged file system\n{report}");
        let read = tool("debugfs").args(["-R", &format!("cat /{name}"), &place]).output().context("debugfs")?;
        ensure!(
            read.stdout == expected,
            "{name} on the disk has {} bytes, not the {} that the guest wrote, or others",
            read.stdout.len(),
            expected.len()
        );
        Ok(())
    }
}

/// A program of e2fsprogs, which Debian has where users' paths do not lead.
fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("env");
    command.arg(format!("PATH={path}:/usr/sbin:/sbin")).arg(name);
    command
}

/// How long what a guest has sent may be under way: it is in buffers of the guest and of QEMU.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// A host that sends to the first who connects, and receives from the second.
#[derive(Debug)]
pub struct Host {
    /// Where it listens, on the loopback interface.
    pub port: u16,
    served: JoinHandle<std::io::Result<Vec<u8>>>,
}

impl Host {
    /// Listens, to send `bytes`.
    pub fn listen(bytes: Vec<u8>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let served = thread::spawn(move || {
            listener.accept()?.0.write_all(&bytes)?;
            let mut received = Vec::new();
            listener.accept()?.0.read_to_end(&mut received)?;
            Ok(received)
        });
        Ok(Self { port, served })
    }

    /// What the second one sent; asked once he has closed the connection. Some of it may still be under way then.
    pub fn received(self) -> Result<Vec<u8>> {
        let closed = Instant::now();
        while !self.served.is_finished() {
            ensure!(closed.elapsed() < UNDER_WAY, "the guest did not connect twice");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(self.served.join().ok().context("the host's thread")??)
    }
}
