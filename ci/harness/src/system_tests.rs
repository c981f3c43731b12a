// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of `systems/`: many guests, which share a console, a disk and a network.

use crate::boot_tests::{ANSWER, BOOT, Setup, at_prompt, expect_sum, focus};
use crate::machine::Machine;
use crate::peer::{Disk, network_up, numbers};
use anyhow::Result;

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
