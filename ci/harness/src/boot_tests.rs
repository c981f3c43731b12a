// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The boot tests, as a table. Each boots one image and says what must be seen.

use crate::driver_tests::{bad_driver, driver_faults, starved_rng};
use crate::life_tests::{cores_life, crash, linux_pause, linux_reboot, soak_pause, soak_reboot};
use crate::load_tests::{hostile, load_disk, load_two_guests, soak_disk, soak_hostile, soak_net, soak_two_guests};
use crate::machine::{Machine, Stop};
use crate::peer::{Disk, Host, network_up, numbers, sha256};
use crate::probe::{self, Deviations};
use crate::qemu::{Console, Qemu};
use crate::system_tests::{four_linux, linux_bare_metal, two_linux};
use crate::trace;
use anyhow::{Context, Result, bail, ensure};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// What the tests run on.
#[derive(Debug)]
pub struct Setup {
    /// QEMU.
    pub qemu: Qemu,
    /// The board's name.
    pub board: String,
    /// The Microkit configuration's name.
    pub config: String,
    /// Holds the image of `system.xml`, and in `tests/NAME` those of `ci/systems/NAME.xml` and `systems/NAME.xml`.
    pub images: PathBuf,
    /// The file name of each image.
    pub image: String,
    /// The probe, a flat binary.
    pub probe: PathBuf,
    /// The disk image that the build makes.
    pub disk: PathBuf,
    /// Where transcripts go, and copies of the disk image.
    pub logs: PathBuf,
    /// Ends the run.
    pub stop: Stop,
}

/// A boot test.
struct Test {
    name: &'static str,
    run: fn(&Setup) -> Result<()>,
}

const TESTS: &[Test] = &[
    // Takes longest, so that it must not begin last.
    Test { name: "hostile", run: hostile },
    Test { name: "probe-bare", run: probe_bare },
    Test { name: "probe-smp-bare", run: probe_smp_bare },
    Test { name: "probe", run: probe_on_sel4 },
    Test { name: "probe-smp", run: |setup| probe_smp_on_sel4(setup, "probe-smp") },
    Test { name: "probe-smp-2", run: |setup| probe_smp_on_sel4(setup, "probe-smp-2") },
    Test { name: "probe-smp-4", run: |setup| probe_smp_on_sel4(setup, "probe-smp-4") },
    Test { name: "probe-fault-log", run: probe_fault_log },
    Test { name: "linux-shell", run: linux_shell },
    Test { name: "linux-log", run: linux_log },
    Test { name: "linux-smp", run: linux_smp },
    Test { name: "linux-eight", run: linux_eight },
    Test { name: "linux-disk", run: linux_disk },
    Test { name: "driver-faults", run: driver_faults },
    Test { name: "bad-driver", run: bad_driver },
    Test { name: "linux-disk-faults", run: linux_disk_faults },
    Test { name: "linux-net", run: linux_net },
    Test { name: "linux-rng", run: linux_rng },
    Test { name: "starved-rng", run: starved_rng },
    Test { name: "linux-console", run: linux_console },
    Test { name: "linux-reboot", run: linux_reboot },
    Test { name: "linux-pause", run: linux_pause },
    Test { name: "crash", run: crash },
    Test { name: "two-guests", run: two_guests },
    Test { name: "monitor", run: monitor },
    Test { name: "trace", run: trace::boot_test },
    Test { name: "two-linux", run: two_linux },
    Test { name: "linux-bare-metal", run: linux_bare_metal },
    Test { name: "four-linux", run: four_linux },
    Test { name: "no-partition", run: no_partition },
    Test { name: "load-disk", run: load_disk },
    Test { name: "load-two-guests", run: load_two_guests },
    Test { name: "run-ctrl-c", run: run_ctrl_c },
    Test { name: "run-ctrl-a-x", run: run_ctrl_a_x },
    Test { name: "run-power-off", run: run_power_off },
];

/// Those of the configurations `smp-…`, whose kernel is for several cores.
const CORES: &[Test] = &[Test { name: "linux-cores", run: linux_cores }, Test { name: "cores-life", run: cores_life }];

/// Those that take long.
const SOAK: &[Test] = &[
    Test { name: "soak-reboot", run: soak_reboot },
    Test { name: "soak-pause", run: soak_pause },
    Test { name: "soak-disk", run: soak_disk },
    Test { name: "soak-two-guests", run: soak_two_guests },
    Test { name: "soak-hostile", run: soak_hostile },
    Test { name: "soak-net", run: soak_net },
];

/// What the probe prints on bare QEMU.
const EXPECTED: &str = include_str!("../../../guests/probe/expected.txt");
/// What differs from that on seL4.
const DEVIATIONS: &str = include_str!("../../../guests/probe/deviations.txt");
/// The same of several CPUs.
const EXPECTED_SMP: &str = include_str!("../../../guests/probe/expected-smp.txt");
const DEVIATIONS_SMP: &str = include_str!("../../../guests/probe/deviations-smp.txt");

// Limits are for hanging, not for speed: a loaded machine with two slow cores needs a quarter of them.
pub(crate) const BOOT: Duration = Duration::from_secs(180);
pub(crate) const ANSWER: Duration = Duration::from_secs(60);
pub(crate) const PROMPT: &str = "^guest# ";

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
}

/// The names of all tests.
pub fn names() -> impl Iterator<Item = &'static str> {
    TESTS.iter().chain(SOAK).chain(CORES).map(|test| test.name)
}

/// Runs the tests with these names, or all that are for the configuration, or if `soak` those that take long, and prints a line
/// for each and a closing line. As many run at the same time as the host has cores.
pub fn run(setup: &Setup, soak: bool, chosen: &[String]) -> Result<Count> {
    if let Some(unknown) = chosen.iter().find(|name| !names().any(|known| known == name.as_str())) {
        bail!("no boot test {unknown}: there are {}", names().collect::<Vec<_>>().join(", "));
    }
    let all = match soak {
        true => SOAK,
        false if setup.config.starts_with("smp-") => CORES,
        false => TESTS,
    };
    let is_chosen = |test: &&Test| chosen.iter().any(|name| name == test.name);
    let tests: Vec<&Test> = if chosen.is_empty() {
        all.iter().collect()
    } else {
        TESTS.iter().chain(SOAK).chain(CORES).filter(is_chosen).collect()
    };
    // Several cores, or what takes long, are for the whole host.
    let alone = soak || setup.config.starts_with("smp-");
    let jobs = if alone { 1 } else { thread::available_parallelism().map_or(1, NonZero::get) };
    let (tests, passed, failed) = (Mutex::new(tests.into_iter()), AtomicUsize::new(0), AtomicUsize::new(0));
    let next = || tests.lock().ok()?.next().filter(|_| !setup.stop.is_set());
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(test) = next() {
                    let count = if run_one(setup, test) { &passed } else { &failed };
                    count.fetch_add(1, Relaxed);
                }
            });
        }
    });
    ensure!(!setup.stop.is_set(), "stopped by a signal");
    let count = Count { passed: passed.into_inner(), failed: failed.into_inner() };
    println!("{} passed, {} failed", count.passed, count.failed);
    Ok(count)
}

/// Runs a test, and prints its line; whether it passed.
fn run_one(setup: &Setup, test: &Test) -> bool {
    let start = Instant::now();
    let result = (test.run)(setup);
    let seconds = start.elapsed().as_secs_f32();
    match &result {
        _ if setup.stop.is_set() => {}
        Ok(()) => println!("{:<17} ok       {seconds:.1} s", test.name),
        Err(error) => println!(
            "{:<17} FAILED   {seconds:.1} s\n{error:#}\n    transcript: {}",
            test.name,
            setup.log(test.name).display()
        ),
    }
    result.is_ok()
}

impl Setup {
    fn log(&self, test: &str) -> PathBuf {
        self.logs.join(format!("{}-{}-{test}.log", self.board, self.config))
    }

    /// The image of `ci/systems/{system}.xml` or `systems/{system}.xml`, or of `system.xml`.
    fn image(&self, system: Option<&str>) -> Result<PathBuf> {
        let directory = system.map_or(self.images.clone(), |name| self.images.join("tests").join(name));
        let image = directory.join(&self.image);
        ensure!(image.is_file(), "no image {}: `make test` builds it", image.display());
        Ok(image)
    }

    pub(crate) fn boot(&self, test: &str, system: Option<&str>) -> Result<Machine> {
        self.boot_with(test, system, None)
    }

    pub(crate) fn boot_with(&self, test: &str, system: Option<&str>, disk: Option<&Disk>) -> Result<Machine> {
        self.start(test, self.command(system, disk)?)
    }

    /// The command that boots a system.
    pub(crate) fn command(&self, system: Option<&str>, disk: Option<&Disk>) -> Result<Command> {
        let disk = disk.map(|disk| disk.path.as_path());
        Ok(self.qemu.sel4(&self.board, &self.config, &self.image(system)?, disk, Console::Plain)?)
    }

    /// The machine that `command` boots.
    pub(crate) fn start(&self, test: &str, command: Command) -> Result<Machine> {
        Ok(Machine::start(command, &self.log(test), &self.stop)?)
    }

    /// Where a test has its disk's image.
    pub(crate) fn disk_of(&self, test: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(&self.logs)?;
        Ok(self.log(test).with_extension("img"))
    }

    /// `make run`, on a terminal of its own.
    fn run(&self, test: &str) -> Result<Machine> {
        let mut command = Command::new(std::env::current_exe().context("finding this program")?);
        command.args(["run", "--qemu", &self.qemu.program, "--board", &self.board, "--config", &self.config]);
        command.arg("--image").arg(self.image(None)?);
        Ok(Machine::start_on_terminal(command, &self.log(test), &self.stop)?)
    }
}

/// Waits for the probe to end the machine, and compares its transcript.
fn compare(mut machine: Machine, expected: &str) -> Result<()> {
    machine.expect("the probe's first line", "^probe: [0-9]+ cases$", BOOT)?;
    machine.expect("the probe's last line", "^probe: done$", BOOT)?;
    machine.expect_exit(0, ANSWER)?;
    match probe::difference(expected, &probe::lines(machine.transcript().text())) {
        Some(difference) => bail!("the probe's transcript differs (- expected, + got)\n{difference}"),
        None => Ok(()),
    }
}

/// `expected.txt` is what bare QEMU does, not what somebody thought that it does.
fn probe_bare(setup: &Setup) -> Result<()> {
    let machine = Machine::start(setup.qemu.bare(&setup.probe), &setup.log("probe-bare"), &setup.stop)?;
    compare(machine, EXPECTED)
}

/// With several CPUs the answers are the same, however many there are.
fn probe_smp_bare(setup: &Setup) -> Result<()> {
    for cpus in ["2", "4", "8"] {
        let mut command = setup.qemu.bare(&setup.probe);
        command.args(["-smp", cpus]);
        let machine = Machine::start(command, &setup.log("probe-smp-bare"), &setup.stop)?;
        compare(machine, EXPECTED_SMP).with_context(|| format!("{cpus} CPUs"))?;
    }
    Ok(())
}

/// In a guest the probe sees what it sees on bare QEMU, but for the deviations that are listed.
fn probe_on_sel4(setup: &Setup) -> Result<()> {
    let expected = Deviations::parse(DEVIATIONS).and_then(|deviations| deviations.apply(EXPECTED));
    compare(setup.boot("probe", Some("probe"))?, &expected.context("guests/probe/deviations.txt")?)
}

fn probe_smp_on_sel4(setup: &Setup, test: &str) -> Result<()> {
    let expected = Deviations::parse(DEVIATIONS_SMP).and_then(|deviations| deviations.apply(EXPECTED_SMP));
    compare(setup.boot(test, Some(test))?, &expected.context("guests/probe/deviations-smp.txt")?)
}

/// An access outside the guest's map is logged with address, width and program counter, and once however often it is
/// repeated. The probe's `fault.rs` makes them, from the fixed addresses of its access functions.
fn probe_fault_log(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("probe-fault-log", Some("probe"))?;
    machine.expect("the probe's last line", "^probe: done$", BOOT)?;
    machine.expect_exit(0, ANSWER)?;
    let text = machine.transcript().text();
    for [address, report] in [
        ["0x9800000", "guest read 4 bytes at 0x9800000, where nothing is (pc 0x40080050)"],
        ["0x9801001", "guest wrote 1 bytes at 0x9801001, where nothing is (pc 0x40080060)"],
    ] {
        let own = probe::lines(text);
        let logged: Vec<&str> = text.lines().filter(|line| line.contains(address) && !own.contains(line)).collect();
        ensure!(logged.len() == 1, "expected one line of the log about {address}, got {}: {logged:#?}", logged.len());
        ensure!(logged[0].contains(report), "expected `{report}`, got `{}`", logged[0]);
    }
    Ok(())
}

/// A person at the shell: what is typed is echoed and run, and powering off ends QEMU with status 0.
fn linux_shell(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("linux-shell", None)?;
    use_shell(&mut machine)
}

fn use_shell(machine: &mut Machine) -> Result<()> {
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    machine.send("echo answer $((6*7))")?;
    machine.expect("the echo of what was typed", r"echo answer \$\(\(6\*7\)\)$", ANSWER)?;
    machine.expect("the command's output", "^answer 42$", ANSWER)?;
    machine.expect("the next prompt", PROMPT, ANSWER)?;
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// The kernel's log arrives whole on the emulated PL011, from its first line: as many lines as the kernel counts. The
/// VMM's own messages arrive too (`log="info"`), in every configuration.
fn linux_log(setup: &Setup) -> Result<()> {
    let mut machine = setup.boot("linux-log", Some("linux-log"))?;
    machine.expect("the VMM's own message", r"^linux\| guest starts at 0x40[0-9a-f]+$", BOOT)?;
    machine.expect("the log's first line", r"^\[    0\.000000\] Booting Linux on physical CPU 0x0", BOOT)?;
    machine.expect("the console", r"9000000\.pl011: ttyAMA0 at MMIO 0x9000000 \(irq = [0-9]+.*\) is a PL011", BOOT)?;
    machine.expect("/init", "^init: uptime [0-9.]+$", BOOT)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    let seen = machine.transcript().text().lines().filter(|line| is_kernels(line)).count();
    machine.send("dmesg | wc -l")?;
    let counted = machine.expect("the kernel's count", "^([0-9]+)$", ANSWER)?;
    let counted: usize = counted[1].parse().context("the kernel's count")?;
    ensure!(seen == counted, "the console showed {seen} lines of the kernel's log, which has {counted}");
    machine.send("poweroff -f")?;
    machine.expect("the VMM's last message", r"^linux\| guest is off$", BOOT)?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// Runs a command at the prompt, and returns what matched `pattern` before the next prompt.
pub(crate) fn at_prompt(machine: &mut Machine, prompt: &str, command: &str, pattern: &str) -> Result<Vec<String>> {
    machine.send(command)?;
    let found = machine.expect(&format!("the outcome of `{command}`"), pattern, BOOT)?;
    machine.expect("the next prompt", prompt, ANSWER)?;
    Ok(found)
}

/// A command that ends with a checksum on the line `sum …`.
pub(crate) fn expect_sum(machine: &mut Machine, prompt: &str, command: &str, bytes: &[u8]) -> Result<()> {
    let sum = at_prompt(machine, prompt, &format!("echo sum $({command})"), "^sum ([0-9a-f]+) ")?;
    let expected = sha256(bytes)?;
    ensure!(sum[1] == expected, "`{command}` got a file with checksum {}, not {expected}", sum[1]);
    Ok(())
}

/// What the build put on the disk the guest reads, and what the guest writes is on the disk.
fn linux_disk(setup: &Setup) -> Result<()> {
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
fn linux_disk_faults(setup: &Setup) -> Result<()> {
    let disk = Disk::copy(&setup.disk, setup.disk_of("linux-disk-faults")?)?;
    let mut command = setup.qemu.sel4(&setup.board, &setup.config, &setup.image(None)?, None, Console::Plain)?;
    let drive = format!(
        "if=none,id=disk,format=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={},\
         file.inject-error.0.event=read_aio,file.inject-error.0.sector=100000,file.inject-error.0.errno=5,\
         throttling.bps-total=65536,throttling.bps-total-max=8388608",
        disk.path.display().to_string().replace(',', ",,")
    );
    command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=disk,bus=virtio-mmio-bus.31"]);
    let mut machine = Machine::start(command, &setup.log("linux-disk-faults"), &setup.stop)?;
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
const WRITTEN: u32 = 300_000;

fn use_disk(machine: &mut Machine, prompt: &str) -> Result<()> {
    at_prompt(machine, prompt, "mount -t ext4 /dev/vda /mnt; echo mount $?", "^mount 0$")?;
    expect_sum(machine, prompt, "sha256sum /mnt/known", &numbers(200_000))?;
    let write = format!("seq 1 {WRITTEN} >/mnt/written; sync; echo write $?");
    at_prompt(machine, prompt, &write, "^write 0$")?;
    at_prompt(machine, prompt, "umount /mnt; echo unmount $?", "^unmount 0$")?;
    Ok(())
}

/// A few megabytes each way.
fn linux_net(setup: &Setup) -> Result<()> {
    network(setup, "linux-net", 1)
}

/// Time for a guest to send 330 MB through a pipe, at 1.5 MB/s on a busy host.
const SENDING: Duration = Duration::from_secs(600);

/// The guest reaches a host over QEMU's network, and what goes over it either way arrives unchanged: some megabytes, `times`
/// times.
pub(crate) fn network(setup: &Setup, test: &str, times: usize) -> Result<()> {
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
fn linux_rng(setup: &Setup) -> Result<()> {
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
fn linux_console(setup: &Setup) -> Result<()> {
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

/// The monitor tells of the guest and of a driver what there is to tell, and pauses, resets and turns off the guest.
fn monitor(setup: &Setup) -> Result<()> {
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
fn two_guests(setup: &Setup) -> Result<()> {
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
fn no_partition(setup: &Setup) -> Result<()> {
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

/// Types to guest `n`, counted from 0: Ctrl-] and its number; then return, for a prompt.
pub(crate) fn focus(machine: &mut Machine, n: usize) -> Result<()> {
    machine.send_bytes(format!("\x1d{}\r", n + 1).as_bytes())?;
    Ok(())
}

/// Four vCPUs under load, of which three are in turn taken off line and put back, fifty times in all.
fn linux_smp(setup: &Setup) -> Result<()> {
    go_off_and_on(setup.boot("linux-smp", Some("linux-smp"))?, 4, 50)
}

/// The same with as many vCPUs as a guest can have.
fn linux_eight(setup: &Setup) -> Result<()> {
    go_off_and_on(setup.boot("linux-eight", Some("linux-eight"))?, 8, 14)
}

/// Four, each on a core of its own.
fn linux_cores(setup: &Setup) -> Result<()> {
    go_off_and_on(setup.boot("linux-cores", Some("linux-cores"))?, 4, 50)
}

/// Waits for the shell, and puts load on the guest's CPUs, all `cpus` of which are on line.
pub(crate) fn put_under_load(machine: &mut Machine, cpus: usize) -> Result<()> {
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    at_prompt(machine, PROMPT, "cat /sys/devices/system/cpu/online", &format!("^0-{}$", cpus - 1))?;
    machine.send(&format!("for i in $(seq {cpus}); do while :; do :; done & done"))?;
    machine.expect("the prompt again", PROMPT, ANSWER)?;
    Ok(())
}

/// What taking CPUs off line and putting them back takes, when a core of the host has to be two.
const TURNS: Duration = Duration::from_secs(600);

/// Puts load on the guest's `cpus` CPUs, and takes all but the first in turn off line and back, `times` in all.
fn go_off_and_on(mut machine: Machine, cpus: usize, times: usize) -> Result<()> {
    put_under_load(&mut machine, cpus)?;
    machine.send("line() { echo $2 >/sys/devices/system/cpu/cpu$1/online || bad=$((bad+1)); }")?;
    machine.expect("the prompt again", PROMPT, ANSWER)?;
    let turn = format!("n=$((n+1)); cpu=$((n%{}+1)); line $cpu 0; line $cpu 1", cpus - 1);
    machine.send(&format!("n=0; bad=0; while [ $n -lt {times} ]; do {turn}; done; echo done $n $bad"))?;
    machine.expect("the last turn, without a failure", &format!("^done {times} 0$"), TURNS)?;
    // The kernel says so each time that AFFINITY_INFO has told it that a CPU is off.
    at_prompt(&mut machine, PROMPT, "dmesg | grep -c 'psci: CPU[0-9] killed'", &format!("^{times}$"))?;
    at_prompt(&mut machine, PROMPT, "cat /sys/devices/system/cpu/online", &format!("^0-{}$", cpus - 1))?;
    machine.send("poweroff -f")?;
    Ok(machine.expect_exit(0, BOOT)?)
}

/// `[    1.234567] …`
fn is_kernels(line: &str) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    stamp.is_some_and(|(stamp, _)| stamp.trim_start().parse::<f64>().is_ok())
}

fn run_ctrl_c(setup: &Setup) -> Result<()> {
    end_by_key(setup, "run-ctrl-c", b"\x03")
}

fn run_ctrl_a_x(setup: &Setup) -> Result<()> {
    end_by_key(setup, "run-ctrl-a-x", b"\x01x")
}

/// The key ends `make run` with status 0 and nothing left running.
fn end_by_key(setup: &Setup, test: &str, key: &[u8]) -> Result<()> {
    let mut machine = setup.run(test)?;
    machine.expect("the shell's prompt", PROMPT, BOOT)?;
    machine.send_bytes(key)?;
    Ok(machine.expect_exit(0, ANSWER)?)
}

/// `make run` is a terminal to the shell, and returns QEMU's status.
fn run_power_off(setup: &Setup) -> Result<()> {
    use_shell(&mut setup.run("run-power-off")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probes_tables_fit_each_other() {
        for (bare, deviations) in [(EXPECTED, DEVIATIONS), (EXPECTED_SMP, DEVIATIONS_SMP)] {
            let expected = Deviations::parse(deviations).and_then(|deviations| deviations.apply(bare)).unwrap();
            assert_eq!(expected.lines().count(), bare.lines().count());
            assert_eq!(probe::lines(bare), bare.lines().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_kernels_line_has_a_time_stamp() {
        for (line, is) in
            [("[    0.000000] Booting", true), ("[12345.678901] x", true), ("[  ok  ] x", false), ("x", false)]
        {
            assert_eq!(is_kernels(line), is, "{line}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_names() {
        let setup = Setup {
            qemu: Qemu { program: "/nonexistent".into(), yielding: "/nonexistent".into() },
            board: "b".into(),
            config: "c".into(),
            images: "/nonexistent".into(),
            image: "loader.img".into(),
            probe: "/nonexistent".into(),
            disk: "/nonexistent".into(),
            logs: "/nonexistent".into(),
            stop: Stop::default(),
        };
        let error = run(&setup, false, &["linus".into()]).unwrap_err().to_string();
        assert!(error.starts_with("no boot test linus: there are hostile, "), "{error}");
        let failed = run(&setup, false, &["linux-shell".into(), "probe".into()]).unwrap();
        assert_eq!(failed, Count { failed: 2, ..Count::default() }, "no image is a failure");
    }
}
