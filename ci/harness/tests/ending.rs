// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Whatever is started is ended, and a failure explains itself. The machines here are shell scripts.

use harness::machine::{Failure, Machine, Stop};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);
const BRIEF: Duration = Duration::from_millis(300);

fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn start(test: &str, script: &str) -> Machine {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Machine::start(command, &directory(test).join("log"), &Stop::default()).unwrap()
}

/// Whether a process exists that is not merely waiting to be reaped.
fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn expectations_are_met_in_sequence_and_the_status_is_checked() {
    let script = r"printf 'one\r\n\033[1mtwo 2'; sleep 0.3; printf '2\033[0m\r\n# three'; read x; echo got $x; exit 3";
    let mut machine = start("sequence", script);
    // The line is complete only after a while.
    assert_eq!(machine.expect("two", "^two ([0-9]+)$", SOON).unwrap(), ["two 22\n", "22"]);
    machine.expect("prompt", "^# ", SOON).unwrap();
    for (name, pattern) in
        [("one, which is past", "one"), ("three, where no line begins", "^three"), ("no line", "three$")]
    {
        assert!(matches!(machine.expect(name, pattern, BRIEF), Err(Failure::Late { .. })), "{name}");
    }
    machine.send("word\n").unwrap();
    machine.expect("answer", "got word", SOON).unwrap();
    machine.expect_exit(3, SOON).unwrap();
}

#[test]
fn a_failure_names_the_expectation_its_limit_and_the_end_of_the_transcript() {
    let mut machine = start("late", "echo here; exec sleep 1000");
    let error = machine.expect("the prompt", "^guest# ", Duration::from_millis(1500)).unwrap_err();
    assert_eq!(error.to_string(), "expected the prompt, not seen within 1.5 s: /^guest# /\n    | here\n");
    let mut machine = start("ended", "echo here; echo there >&2; exit 7");
    let error = machine.expect("the prompt", "^guest# ", SOON).unwrap_err().to_string();
    assert!(error.starts_with("expected the prompt within 20 s, but the machine ended: exit status: 7\n"), "{error}");
    assert!(error.contains("    | here\n") && error.contains("    | there\n"), "{error}");
    let error = start("fault", "echo 'MON|ERROR: faulting PD: vmm'; echo why; exec sleep 1000").expect("x", "^x", SOON);
    let text = "expected x, but a protection domain faulted: vmm\n    | MON|ERROR: faulting PD: vmm\n    | why\n";
    assert_eq!(error.unwrap_err().to_string(), text);
    let error = start("status", "exit 1").expect_exit(0, SOON).unwrap_err().to_string();
    assert_eq!(error, "expected the machine to end with status 0, but: exit status: 1\n");
    let error = start("running", "exec sleep 1000").expect_exit(0, BRIEF).unwrap_err().to_string();
    assert_eq!(error, "expected the machine to end, still running after 0.3 s\n");
}

#[test]
fn what_the_machine_leaves_behind_is_a_failure() {
    let mut machine = start("behind", "sleep 1000 >/dev/null 2>&1 </dev/null & exit 0");
    assert!(matches!(machine.expect_exit(0, BRIEF), Err(Failure::LeftBehind { .. })));
}

#[test]
fn the_raw_transcript_is_saved() {
    let log = directory("saved").join("logs/raw.log");
    let mut command = Command::new("printf");
    command.arg(r"a\r\n\033[0m");
    let mut machine = Machine::start(command, &log, &Stop::default()).unwrap();
    machine.expect_exit(0, SOON).unwrap();
    drop(machine);
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains("a\r\n\x1b[0m"), "{text:?}");
}

#[test]
fn a_dropped_machine_ends_with_its_children_on_a_panic_too() {
    let kill = |panics: bool| {
        let mut machine = start(&format!("dropped-{panics}"), "sleep 1000 & echo child $!; wait");
        let child = machine.expect("the child's id", "^child ([0-9]+)$", SOON).unwrap()[1].clone();
        let id = machine.id().to_string();
        assert!(lives(&child) && lives(&id));
        let held = move || {
            let _machine = machine;
            assert!(!panics, "on purpose");
        };
        assert_eq!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(held)).is_err(), panics);
        until("the processes are left", || !lives(&child) && !lives(&id));
    };
    kill(false);
    kill(true);
}

#[test]
fn a_terminals_control_c_reaches_the_machine() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done"]);
    let log = directory("terminal").join("log");
    let mut machine = Machine::start_on_terminal(command, &log, &Stop::default()).unwrap();
    machine.expect("the trap", "^ready$", SOON).unwrap();
    machine.send_bytes(b"\x03").unwrap();
    machine.expect("the signal", "interrupted", SOON).unwrap();
    machine.expect_exit(5, SOON).unwrap();
}

/// A stand-in for QEMU that notes its process id and runs on.
struct Fake {
    program: PathBuf,
    pid: PathBuf,
    directory: PathBuf,
}

impl Fake {
    fn new(test: &str) -> Self {
        let directory = directory(test);
        let (program, pid) = (directory.join("qemu"), directory.join("pid"));
        fs::write(&program, format!("#!/bin/sh\necho $$ >{0}.new; mv {0}.new {0}\nexec sleep 1000\n", pid.display()))
            .unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.join("loader.img"), "").unwrap();
        Self { program, pid, directory }
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.arg(action).arg("--qemu").arg(&self.program).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn started(&self) -> String {
        until("the fake QEMU did not start", || self.pid.exists());
        fs::read_to_string(&self.pid).unwrap()
    }
}

#[test]
fn a_runner_that_is_stopped_or_killed_leaves_nothing() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGKILL] {
        let fake = Fake::new(&format!("runner-{signal}"));
        let mut command = fake.command("test");
        command
            .arg("--images")
            .arg(&fake.directory)
            .arg("--probe")
            .arg(&fake.program)
            .arg("--disk")
            .arg(&fake.program)
            .arg("--logs")
            .arg(&fake.directory);
        let mut runner = command.arg("probe-bare").spawn().unwrap();
        let qemu = fake.started();
        assert!(lives(&qemu));
        // SAFETY: sends a signal to a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(runner.id().cast_signed(), signal) }, 0);
        let status = runner.wait().unwrap();
        assert_eq!(status.signal().is_some(), signal == libc::SIGKILL, "signal {signal}: {status}");
        assert!(!status.success());
        until(&format!("signal {signal} left QEMU running"), || !lives(&qemu));
    }
}

#[test]
fn run_becomes_qemu_and_dies_with_its_caller() {
    let fake = Fake::new("run");
    let mut caller = Command::new("sh");
    // Not `exec`: the shell stays the caller.
    caller.args(["-c", "\"$@\"; exit $?", "sh"]).arg(env!("CARGO_BIN_EXE_harness"));
    caller.args(["run", "--qemu"]).arg(&fake.program).arg("--image").arg(fake.directory.join("loader.img"));
    let mut caller = caller.stderr(Stdio::null()).spawn().unwrap();
    let qemu = fake.started();
    caller.kill().unwrap();
    caller.wait().unwrap();
    until("QEMU outlived its caller", || !lives(&qemu));

    let without = fake.command("run").args(["--image", "/nonexistent/loader.img"]).status().unwrap();
    assert_eq!(without.code(), Some(1));
    let unknown = fake.command("run").args(["--board", "toaster", "--image"]).arg(&fake.pid).status().unwrap();
    assert_eq!(unknown.code(), Some(1));
}
