// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests of drivers that fault, or misbehave.

use crate::boot_tests::{ANSWER, BOOT, PROMPT, Setup, at_prompt, expect_sum, focus};
use crate::peer::{Disk, Host, network_up, numbers, sha256};
use anyhow::{Result, ensure};

/// How many drivers are in the supervisor of `system.xml`.
const DRIVERS: usize = 4;
/// How often the drivers are made to fault.
const FAULTS: usize = 20;
/// The last number in a file that the guest writes again and again.
const WRITTEN: u32 = 100_000;
/// The last number of what the host sends.
const SENT: u32 = 500_000;

/// All drivers fault, many times, while the guest writes to its disk, reads from it and receives from the network: nothing
/// arrives wrong, no request fails, and the guest runs on.
pub fn driver_faults(setup: &Setup) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of("driver-faults")?)?;
    let host = Host::listen(numbers(SENT))?;
    let mut machine = setup.start("driver-faults", setup.command(None, Some(&disk))?)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    at_prompt(&mut machine, PROMPT, "mount -t ext4 /dev/vda /mnt; echo mount $?", "^mount 0$")?;
    at_prompt(&mut machine, PROMPT, &format!("{}; echo up $?", network_up(15)), "^up 0$")?;
    machine.send(&format!("nc 10.0.2.2 {} </dev/null | sha256sum >/tmp/net &", host.port))?;
    machine.expect("the shell's prompt", PROMPT, ANSWER)?;
    machine.send(&format!(
        "while [ ! -e /tmp/stop ]; do seq 1 {WRITTEN} >/mnt/written; sync; echo 3 >/proc/sys/vm/drop_caches; \
         sha256sum /mnt/known /mnt/written; done >/tmp/disk 2>&1 &"
    ))?;
    machine.expect("the shell's prompt", PROMPT, ANSWER)?;

    machine.send_bytes(b"\x1dl")?;
    let found = machine.expect("the supervisor in the list", "^-- ([0-9]) supervisor starts drivers again$", ANSWER)?;
    for n in 1..=FAULTS {
        machine.send_bytes(format!("\x1d{}\x1dR", found[1]).as_bytes())?;
        for driver in 1..=DRIVERS {
            let line = r"^supervisor\| [a-z]+: VmFault \{ ip: 0, .*; it was started again$";
            machine.expect(&format!("fault {n} of driver {driver} of {DRIVERS}"), line, ANSWER)?;
        }
    }

    // The serial driver began with the focus on its first client, the guest.
    machine.send("touch /tmp/stop; wait")?;
    for (file, last) in [("known", 200_000), ("written", WRITTEN)] {
        let sums = format!("grep {file} /tmp/disk | sort -u; echo that is all");
        machine.send(&sums)?;
        let sum = format!("^{}  /mnt/{file}$", sha256(&numbers(last))?);
        machine.expect(&format!("the checksum of {file}"), &sum, BOOT)?;
        machine.expect("no other one", "^that is all$", ANSWER)?;
    }
    expect_sum(&mut machine, PROMPT, "cat /tmp/net", &numbers(SENT))?;
    at_prompt(&mut machine, PROMPT, "echo errors $(dmesg | grep -c 'I/O error')", "^errors 0$")?;
    at_prompt(&mut machine, PROMPT, "umount /mnt; echo unmount $?", "^unmount 0$")?;
    machine.send("poweroff -f")?;
    machine.expect_exit(0, BOOT)?;
    let text = machine.transcript().text();
    ensure!(text.matches("init: uptime").count() == 1, "the guest was restarted");
    disk.expect_file(None, "written", &numbers(WRITTEN))
}

/// A source of entropy that gives sixteen bytes in ten minutes is told of, while the guest runs on.
pub fn starved_rng(setup: &Setup) -> Result<()> {
    let mut command = setup.command(None, None)?;
    for slow in ["max-bytes=16", "period=600000"] {
        command.arg("-global").arg(format!("virtio-rng-device.{slow}"));
    }
    let mut machine = setup.start("starved-rng", command)?;
    let overdue = r"^linux\| rng0: driver `rng` owes an answer for a second or more; what waits for it stands still$";
    machine.expect("the VMM's message", overdue, BOOT)?;
    // Where the prompt came before, it is shown again after the message.
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    at_prompt(&mut machine, PROMPT, "echo alive $((6 * 7))", "^alive 42$")?;
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// A driver of disks (`ci/bad-blk`) fails requests of three guests, answers twice, answers what was never asked, and does not
/// answer. A guest gets an error, or what waits for the disk stands still; it runs on, and so do the others.
pub fn bad_driver(setup: &Setup) -> Result<()> {
    let prompt = |guest| format!("^{guest}# ");
    // Reads where the driver misbehaves in the nth way, from its 4096 n-th sector on. Of others each is read once.
    let read = |n: u32| format!("dd if=/dev/vda of=/dev/null bs=4096 count=1 skip={}", 512 * n);
    let mut machine = setup.boot("bad-driver", Some("bad-driver"))?;
    machine.expect("the first guest's prompt", &prompt("a"), BOOT)?;
    at_prompt(&mut machine, &prompt("a"), &format!("{}; echo first $?", read(1)), "^first 1$")?;
    at_prompt(&mut machine, &prompt("a"), &format!("{}; echo second $?", read(2)), "^second 1$")?;
    at_prompt(&mut machine, &prompt("a"), &format!("{}; echo third $?", read(6)), "^third 0$")?;
    let broken = |guest| {
        format!(r"^({guest}\| )?virtio device 0 needs a reset: the driver domain broke the rules of the queues$")
    };
    let overdue = "blk0: driver `blk` owes an answer for a second or more; what waits for it stands still$";
    for (n, guest, way, report) in [(0, "a", 3, broken("a")), (1, "b", 4, broken("b")), (2, "c", 5, overdue.to_owned())]
    {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", &prompt(guest), BOOT)?;
        at_prompt(&mut machine, &prompt(guest), &format!("{}; echo before $?", read(7)), "^before 0$")?;
        machine.send(&format!("{} &", read(way)))?;
        machine.expect("the VMM's report", &report, ANSWER)?;
    }
    for (n, guest) in ["a", "b", "c"].into_iter().enumerate() {
        focus(&mut machine, n)?;
        machine.expect("the guest's prompt", &prompt(guest), ANSWER)?;
        at_prompt(&mut machine, &prompt(guest), "echo alive $((6 * 7))", "^alive 42$")?;
    }
    Ok(())
}
