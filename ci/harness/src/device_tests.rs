// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of a guest's virtio devices: disk, network, entropy and console.

use crate::boot_tests::{ANSWER, BOOT, PROMPT, Setup, at_prompt, expect_sum, focus};
use crate::machine::Machine;
use crate::peer::{Disk, Host, network_up, numbers};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// What the build put on the disk the guest reads, and what the guest writes is on the disk.
pub fn linux_disk(setup: &Setup) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of("linux-disk")?)?;
    let mut machine = setup.boot_with("linux-disk", None, Some(&disk))?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    use_disk(&mut machine, PROMPT)?;
    machine.send("poweroff -f")?;
    machine.expect_exit(0, BOOT)?;
    disk.expect_file(None, "written", &numbers(WRITTEN))
}

/// A sector that the disk cannot read is an error of that request alone, and a disk that does not answer for long is told
/// of, by device and driver, while the guest runs on.
pub fn linux_disk_faults(setup: &Setup) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of("linux-disk-faults")?)?;
    let mut command = setup.command(None, None)?;
    let drive = format!(
        "if=none,id=disk,format=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={},\
         file.inject-error.0.event=read_aio,file.inject-error.0.sector=100000,file.inject-error.0.errno=5,\
         throttling.bps-total=65536,throttling.bps-total-max=8388608",
        disk.path.display().to_string().replace(',', ",,")
    );
    command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=disk,bus=virtio-mmio-bus.31"]);
    let mut machine = setup.start("linux-disk-faults", command)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    for (sector, status) in [(100_000, 1), (90_000, 0)] {
        let read = format!("dd if=/dev/vda of=/dev/null bs=4k skip={} count=1; echo read $?", sector / 8);
        at_prompt(&mut machine, PROMPT, &read, &format!("^read {status}$"))?;
    }
    machine.send("dd if=/dev/vda of=/dev/null bs=1M count=40 &")?;
    machine.expect("the VMM's message", "^linux\\| blk0: driver `blk` owes an answer for a second or more; ", BOOT)?;
    at_prompt(&mut machine, PROMPT, "echo alive $((6*7))", "^alive 42$")?;
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// The last number in a file that a guest writes.
pub const WRITTEN: u32 = 300_000;

pub fn use_disk(machine: &mut Machine, prompt: &str) -> Result<()> {
    at_prompt(machine, prompt, "mount -t ext4 /dev/vda /mnt; echo mount $?", "^mount 0$")?;
    expect_sum(machine, prompt, "sha256sum /mnt/known", &numbers(200_000))?;
    let write = format!("seq 1 {WRITTEN} >/mnt/written; sync; echo write $?");
    at_prompt(machine, prompt, &write, "^write 0$")?;
    at_prompt(machine, prompt, "umount /mnt; echo unmount $?", "^unmount 0$")?;
    Ok(())
}

/// A few megabytes each way.
pub fn linux_net(setup: &Setup) -> Result<()> {
    network(setup, "linux-net", 1)
}

/// Time for a guest to send 330 MB through a pipe, at 1.5 MB/s on a busy host.
const SENDING: Duration = Duration::from_secs(600);

/// The guest reaches a host over QEMU's network, and what goes over it either way arrives unchanged: some megabytes, `times`
/// times.
pub fn network(setup: &Setup, test: &str, times: usize) -> Result<()> {
    const TO_HOST: u32 = 600_000;
    let sent = numbers(500_000).repeat(times);
    let host = Host::listen(sent.clone())?;
    let mut machine = setup.boot(test, None)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    at_prompt(&mut machine, PROMPT, &format!("{}; echo up $?", network_up(15)), "^up 0$")?;
    at_prompt(
        &mut machine,
        PROMPT,
        "ping -c 3 10.0.2.2",
        "^3 packets transmitted, 3 packets received, 0% packet loss$",
    )?;
    let port = host.port;
    expect_sum(&mut machine, PROMPT, &format!("nc 10.0.2.2 {port} </dev/null | sha256sum"), &sent)?;
    // The guest would need longer to write the numbers than to send them.
    let send = format!("for i in $(seq {times}); do cat /tmp/numbers; done | nc 10.0.2.2 {port}; echo sent $?");
    at_prompt(&mut machine, PROMPT, &format!("seq 1 {TO_HOST} >/tmp/numbers; echo written $?"), "^written 0$")?;
    machine.send(&send)?;
    machine.expect("the end of sending", "^sent 0$", SENDING)?;
    let received = host.received()?;
    ensure!(
        received == numbers(TO_HOST).repeat(times),
        "the host received {} bytes, not what the guest sent",
        received.len()
    );
    machine.expect("the next prompt", PROMPT, ANSWER)?;
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// The guest's source of entropy is the virtio device, and gives something else each time.
pub fn linux_rng(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("linux-rng", None)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    at_prompt(&mut machine, PROMPT, "cat /sys/class/misc/hw_random/rng_current", r"^virtio_rng\.0$")?;
    let mut sums = Vec::new();
    for _ in 0..2 {
        let command = "echo sum $(dd if=/dev/hwrng bs=1k count=4 iflag=fullblock 2>/dev/null | tee /tmp/r | sha256sum)";
        sums.push(at_prompt(&mut machine, PROMPT, command, "^sum ([0-9a-f]+) ")?[1].clone());
        at_prompt(&mut machine, PROMPT, "wc -c /tmp/r", "^4096 ")?;
    }
    ensure!(sums[0] != sums[1], "/dev/hwrng gave the same twice");
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// A second shell is on the virtio console, of the size that the device has: what is typed there arrives, and no output
/// is lost.
pub fn linux_console(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("linux-console", None)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    focus(&mut machine, 1)?;
    machine.expect("the console's name", "^-- linux/console0$", ANSWER)?;
    machine.expect("its shell's prompt", PROMPT, ANSWER)?;
    at_prompt(&mut machine, PROMPT, "tty", "^/dev/hvc0$")?;
    at_prompt(&mut machine, PROMPT, "stty size", "^24 80$")?;
    at_prompt(&mut machine, PROMPT, &format!("echo {} | wc -c", "x".repeat(999)), "^1000$")?;
    machine.send("seq 1 5000")?;
    machine.expect("the numbers", "^1$", ANSWER)?;
    let start = machine.transcript().text().len();
    machine.expect("the last number", "^5000$", BOOT)?;
    machine.expect("the next prompt", PROMPT, ANSWER)?;
    let text = machine.transcript().text();
    let first = text.get(..start).and_then(|text| text.rfind("\n1\n")).context("the first number")?;
    let seen: String = text[first + 1..].lines().take(5000).map(|line| format!("{line}\n")).collect();
    ensure!(seen.as_bytes() == numbers(5000), "the console lost or changed output");
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}
