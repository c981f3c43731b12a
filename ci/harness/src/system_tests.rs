// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of whole systems: the monitor, and guests that share a console, a disk and a network.

use crate::boot_tests::{ANSWER, BOOT, PROMPT, Setup, at_prompt, expect_sum, focus};
use crate::device_tests::{WRITTEN, use_disk};
use crate::machine::Machine;
use crate::peer::{Disk, network_up, numbers};
use anyhow::Result;

/// The monitor tells of the guest and of a driver what there is to tell, and pauses, resets and turns off the guest.
pub fn monitor(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("monitor", None)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    // Until it answers, the shell has the terminal to itself, which asks it things, and does not echo what is typed.
    machine.send("echo begun $((40+2)); cat")?;
    machine.expect("the shell's answer", "^begun 42$", ANSWER)?;
    for (keys, lines) in [
        ("?", &[r"^-- Ctrl-\], then: .*$", "^-- 1 linux runs, has the focus$"][..]),
        (
            "c",
            &[
                r"^linux\| exits gic: [1-9][0-9]*$",
                r"^linux\| injections: [1-9][0-9]*, unimplemented registers: [0-9]+$",
                r"^linux\| rng0: [1-9][0-9]* requests, [1-9][0-9]* completed, 0 forgotten in resets$",
            ],
        ),
        // In the kernel's half of the addresses.
        (
            "d",
            &[r"^linux\| vCPU 0: pc 0x[0-9a-f]{16} spsr 0x", " x30 0x[0-9a-f]{16} ", " vbar_el1 0xffff[0-9a-f]{12}$"],
        ),
        (
            "t",
            &[
                r"^linux\| [0-9]+\.[0-9]{6} s, vCPU 0: (trap esr|abort 0x[0-9a-f]+ at pc) 0x",
                "vCPU 0: (eoi|inject|notified)",
            ],
        ),
        ("z", &["^-- no such command; remedy: Ctrl-\\] \\? lists them$"]),
    ] {
        machine.send_bytes(format!("\x1d{keys}").as_bytes())?;
        for line in lines {
            machine.expect(&format!("the answer to Ctrl-] {keys}"), line, ANSWER)?;
        }
    }
    machine.send_bytes(b"\x1dl")?;
    let number = machine.expect("the network driver in the list", "^-- ([0-9]) net has no guest$", ANSWER)?.remove(1);
    machine.send_bytes(format!("\x1d{number}\x1dh").as_bytes())?;
    machine.expect("the network driver's log", "^-- the log of net$", ANSWER)?;
    machine.expect("a line of it", r"^net\| linux: 52:54:00:00:00:01$", ANSWER)?;
    machine.send_bytes(b"\x1d1")?;
    machine.expect("the focus", "^-- linux$", ANSWER)?;
    machine.send_bytes(b"\x1dp")?;
    machine.expect("the guest's state", "^-- linux is paused$", ANSWER)?;
    machine.send_bytes(b"\x1dp")?;
    let refusal = r"^-- linux is paused and cannot be paused; remedy: Ctrl-\] r resumes it$";
    machine.expect("a refusal", refusal, ANSWER)?;
    machine.send("typed while paused")?;
    machine.send_bytes(b"\x1dr")?;
    machine.expect("the guest's state", "^-- linux runs$", ANSWER)?;
    machine.expect("the echo", "^typed while paused$", ANSWER)?;
    machine.expect("what was read", "^typed while paused$", ANSWER)?;
    machine.send_bytes(b"\x1dR")?;
    machine.expect("/init after a reset", "^init: uptime [0-9.]+$", BOOT)?;
    machine.expect("the shell's prompt after a reset", PROMPT, BOOT)?;
    machine.send("cat")?;
    machine.expect("the echo", "cat$", ANSWER)?;
    machine.send_bytes(b"\x1dO")?;
    machine.expect("the guest's state", "^-- linux is off$", ANSWER)?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// Two guests, each with a partition of one disk, reach each other.
pub fn two_guests(setup: &Setup) -> Result<()> {
    const PROMPTS: [&str; 2] = ["^a# ", "^b# "];
    let disk = Disk::partitioned(&setup.disk, setup.disk_of("two-guests")?)?;
    let mut machine = setup.boot_with("two-guests", Some("two-guests"), Some(&disk))?;
    machine.expect("the first guest's prompt", PROMPTS[0], BOOT)?;
    for (n, prompt) in PROMPTS.into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, BOOT)?;
        // VIRTIO_F_ACCESS_PLATFORM, which the second guest has been given; the disk has the first driver.
        let platform = "cut -c 34 /sys/bus/virtio/devices/virtio0/features";
        at_prompt(&mut machine, prompt, platform, &format!("^{n}$"))?;
        use_disk(&mut machine, prompt)?;
        let interface = format!("{}; echo up $?", network_up(20 + n));
        at_prompt(&mut machine, prompt, &interface, "^up 0$")?;
    }
    let received = "^3 packets transmitted, 3 packets received, 0% packet loss$";
    at_prompt(&mut machine, PROMPTS[1], "ping -c 3 10.0.2.20", received)?;
    at_prompt(&mut machine, PROMPTS[1], "ping -c 3 10.0.2.2", received)?;
    machine.send("poweroff -f")?;
    focus(&mut machine, 0)?;
    machine.expect("the first guest's prompt", PROMPTS[0], ANSWER)?;
    machine.send("poweroff -f")?;
    machine.expect_exit(0, BOOT)?;
    for partition in 0..2 {
        disk.expect_file(Some(partition), "written", &numbers(WRITTEN))?;
    }
    Ok(())
}

/// Guests whose partitions are not on the disk are told of, and boot without a disk.
pub fn no_partition(setup: &Setup) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of("no-partition")?)?;
    let mut machine = setup.boot_with("no-partition", Some("two-guests"), Some(&disk))?;
    for guest in ["a", "b"] {
        let absent = format!(r"^blk\| {guest}: no disk: the disk has no partition table$");
        machine.expect("the disk driver's message", &absent, BOOT)?;
    }
    let left_out = r"^a\| blk0 is left out: its driver has no disk for this guest$";
    machine.expect("the VMM's message", left_out, BOOT)?;
    let prompt = "^a# ";
    machine.expect("the first guest's prompt", prompt, BOOT)?;
    at_prompt(&mut machine, prompt, "[ -e /dev/vda ]; echo disk $?", "^disk 1$")?;
    Ok(())
}

/// The operator turns the second guest off and on again; the machine then outlives the first one.
pub fn two_linux(setup: &Setup) -> Result<()> {
    let mut machine = boot(setup, "two-linux")?;
    // What is typed before the serial driver is up may be lost.
    machine.expect("the first guest's prompt", "^first# ", BOOT)?;
    focus(&mut machine, 1)?;
    machine.expect("the guest's prompt", "^second# ", BOOT)?;
    machine.send_bytes(b"\x1dO")?;
    machine.expect("the guest's state", "^-- second is off$", BOOT)?;
    machine.send_bytes(b"\x1dR")?;
    machine.expect("/init", "^init: uptime [0-9.]+$", BOOT)?;
    use_guests(machine, &["first", "second"])
}

pub fn four_linux(setup: &Setup) -> Result<()> {
    let machine = boot(setup, "four-linux")?;
    use_guests(machine, &["north", "east", "south", "west"])
}

/// The bare-metal guest, which comes first, is done before Linux is up.
pub fn linux_bare_metal(setup: &Setup) -> Result<()> {
    let mut machine = boot(setup, "linux-bare-metal")?;
    machine.expect("the bare-metal guest's last line", r"^\[probe\] probe: done$", BOOT)?;
    use_guests(machine, &["linux"])
}

fn boot(setup: &Setup, system: &str) -> Result<Machine> {
    let disk = Disk::copy(&setup.disk, setup.disk_of(system)?)?;
    setup.boot_with(system, Some(system), Some(&disk))
}

/// Each guest reads the disk and reaches its neighbour and the host. The machine is off when all guests are.
fn use_guests(mut machine: Machine, names: &[&str]) -> Result<()> {
    let prompts: Vec<String> = names.iter().map(|name| format!("^{name}# ")).collect();
    for (n, prompt) in prompts.iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, BOOT)?;
        let interface = format!("{}; echo up $?", network_up(20 + n));
        at_prompt(&mut machine, prompt, &interface, "^up 0$")?;
    }
    let received = "^3 packets transmitted, 3 packets received, 0% packet loss$";
    for (n, prompt) in prompts.iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, ANSWER)?;
        at_prompt(&mut machine, prompt, "mount -o ro -t ext4 /dev/vda /mnt; echo mount $?", "^mount 0$")?;
        expect_sum(&mut machine, prompt, "sha256sum /mnt/known", &numbers(200_000))?;
        at_prompt(&mut machine, prompt, "ping -c 3 10.0.2.2", received)?;
        let neighbour = (n + 1) % prompts.len();
        if neighbour != n {
            at_prompt(&mut machine, prompt, &format!("ping -c 3 10.0.2.2{neighbour}"), received)?;
        }
    }
    for (n, prompt) in prompts.iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", prompt, ANSWER)?;
        machine.send("poweroff -f")?;
    }
    Ok(machine.expect_exit(0, BOOT)?)
}
