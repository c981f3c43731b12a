// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! A machine under test: a process, its console, and the certainty that it ends.
//!
//! The process leads its own process group. It is killed with its group when its [`Machine`] is dropped: on success, on
//! failure, on a panic, and when a signal sets the [`Stop`] flag, which every wait watches. If the harness dies without
//! unwinding (SIGKILL), the kernel kills the process (PR_SET_PDEATHSIG). That is tied to the thread that started it:
//! no machine outlives the thread that a test runs in.

use crate::transcript::Transcript;
use regex_lite::Regex;
use rustix::process::{Pid, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait looks at the stop flag.
const SLICE: Duration = Duration::from_millis(50);

/// What Microkit's monitor prints about a fault before the PD's name, on kernels with debug output.
const MONITOR: &str = "MON|ERROR: faulting PD: ";

/// Set by a signal: every wait ends.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that SIGINT, SIGTERM and SIGHUP set. A second signal ends the harness at once.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, stop.0.clone())?;
            signal_hook::flag::register(signal, stop.0.clone())?;
        }
        Ok(stop)
    }

    /// Whether a signal came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a machine did not do what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The process could not be started.
    #[error("cannot start {program}: {error}; remedy: ci/setup/packages installs what is needed")]
    Start {
        /// What was to be started.
        program: String,
        /// The system's reason.
        error: io::Error,
    },
    /// The transcript's file could not be written.
    #[error("cannot write {}: {error}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The pattern did not appear in time.
    #[error("expected {name}, not seen within {} s: /{pattern}/\n{tail}", limit.as_secs_f32())]
    Late {
        /// The expectation.
        name: String,
        /// The pattern that was searched for.
        pattern: String,
        /// The time limit.
        limit: Duration,
        /// The end of the transcript.
        tail: String,
    },
    /// The machine ended while something was expected of it.
    #[error("expected {name} within {} s, but the machine ended: {status}\n{tail}", limit.as_secs_f32())]
    Ended {
        /// The expectation.
        name: String,
        /// The time limit.
        limit: Duration,
        /// How the machine ended.
        status: ExitStatus,
        /// The end of the transcript.
        tail: String,
    },
    /// A protection domain faulted while something was expected of the machine.
    #[error("expected {name}, but a protection domain faulted: {domain}\n{tail}")]
    Fault {
        /// The expectation.
        name: String,
        /// The protection domain's name.
        domain: String,
        /// The end of the transcript.
        tail: String,
    },
    /// The machine ended with another status than expected.
    #[error("expected the machine to end with status {expected}, but: {status}\n{tail}")]
    Status {
        /// The status expected.
        expected: i32,
        /// How the machine ended.
        status: ExitStatus,
        /// The end of the transcript.
        tail: String,
    },
    /// The machine did not end in time.
    #[error("expected the machine to end, still running after {} s\n{tail}", limit.as_secs_f32())]
    StillRunning {
        /// The time limit.
        limit: Duration,
        /// The end of the transcript.
        tail: String,
    },
    /// The machine ended but processes of its group are left.
    #[error("the machine ended and left processes in group {group}")]
    LeftBehind {
        /// The process group.
        group: i32,
    },
    /// A signal asked the harness to stop.
    #[error("stopped by a signal")]
    Stopped,
    /// Talking to the process failed.
    #[error("console: {0}")]
    Console(#[from] io::Error),
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    group: Pid,
    status: Option<ExitStatus>,
    input: File,
    output: Receiver<Vec<u8>>,
    transcript: Transcript,
    /// Where in the transcript the next expectation starts.
    position: usize,
    log: File,
    log_path: PathBuf,
    stop: Stop,
}

impl Machine {
    /// Starts `command` with its console on pipes. The raw transcript goes to the file `log`.
    pub fn start(mut command: Command, log: &Path, stop: &Stop) -> Result<Self, Failure> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        die_with_parent(&mut command);
        Self::spawn(command, log, stop, |child| {
            let input = child.stdin.take().map(|pipe| File::from(std::os::fd::OwnedFd::from(pipe)));
            let mut outputs: Vec<Box<dyn Read + Send>> = Vec::new();
            outputs.extend(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
            outputs.extend(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
            Ok((input.ok_or(io::ErrorKind::BrokenPipe)?, outputs))
        })
    }

    /// Starts `command` as a user does: in the foreground of a terminal of its own, so that control characters sent to
    /// it become signals.
    pub fn start_on_terminal(mut command: Command, log: &Path, stop: &Stop) -> Result<Self, Failure> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(io::Error::from)?;
        grantpt(&master).and_then(|()| unlockpt(&master)).map_err(io::Error::from)?;
        let name = ptsname(&master, Vec::new()).map_err(io::Error::from)?;
        let terminal = File::options().read(true).write(true).open(name.to_string_lossy().as_ref())?;
        command.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
        // SAFETY: between fork and exec only system calls are made, none of which allocates or takes a lock.
        unsafe {
            command.pre_exec(|| {
                // A shell starts what it runs in the background with this signal ignored, which is inherited.
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                rustix::process::setsid()?;
                Ok(rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?)
            })
        };
        die_with_parent(&mut command);
        let master = File::from(master);
        Self::spawn(command, log, stop, |_| Ok((master.try_clone()?, vec![Box::new(master) as Box<dyn Read + Send>])))
    }

    fn spawn(
        mut command: Command,
        log_path: &Path,
        stop: &Stop,
        console: impl FnOnce(&mut Child) -> io::Result<(File, Vec<Box<dyn Read + Send>>)>,
    ) -> Result<Self, Failure> {
        let log = log_path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| File::create(log_path));
        let mut log = log.map_err(|error| Failure::Log { path: log_path.into(), error })?;
        writeln!(log, "{command:?}").map_err(|error| Failure::Log { path: log_path.into(), error })?;
        let mut child = command
            .spawn()
            .map_err(|error| Failure::Start { program: command.get_program().to_string_lossy().into_owned(), error })?;
        // `command` still holds this side's copy of a terminal, without which reading would never end.
        drop(command);
        let group = Pid::from_child(&child);
        let (input, outputs) = console(&mut child)?;
        let (sender, output) = channel();
        for stream in outputs {
            let sender = sender.clone();
            thread::spawn(move || forward(stream, &sender));
        }
        let (transcript, stop, log_path) = (Transcript::default(), stop.clone(), log_path.into());
        Ok(Self { child, group, status: None, input, output, transcript, position: 0, log, log_path, stop })
    }

    /// Waits until `pattern` matches what came after the previous match, and returns its capture groups (the whole match
    /// first). `^` matches where a line begins; `$`, at the end of the pattern only, waits until the line is complete.
    ///
    /// # Panics
    ///
    /// If `pattern` is not a regular expression.
    pub fn expect(&mut self, name: &str, pattern: &str, limit: Duration) -> Result<Vec<String>, Failure> {
        // The end of what has arrived is no end of a line.
        let complete = pattern.strip_suffix('$').map(|line| format!("(?m){line}\n"));
        let regex = Regex::new(&complete.unwrap_or_else(|| format!("(?m){pattern}")));
        let regex = regex.expect("an expectation's pattern is a regular expression");
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = regex.captures_at(self.transcript.text(), self.position) {
                self.position = found.get(0).map_or(self.position, |whole| whole.end());
                return Ok(found.iter().map(|group| group.map_or("", |group| group.as_str()).to_owned()).collect());
            }
            if self.transcript.text().contains(MONITOR) {
                // Why comes after that, over many lines.
                let end = Instant::now() + Duration::from_secs(2);
                while self.receive(end)? {}
                let after = self.transcript.text().split_once(MONITOR).and_then(|(_, after)| after.lines().next());
                let (name, domain) = (name.to_owned(), after.unwrap_or_default().to_owned());
                return Err(Failure::Fault { name, domain, tail: self.transcript.tail() });
            }
            if !self.receive(deadline)? {
                let (name, tail) = (name.to_owned(), self.transcript.tail());
                return Err(match self.wait(Instant::now() + SLICE)? {
                    Some(status) => Failure::Ended { name, limit, status, tail },
                    None => Failure::Late { name, pattern: pattern.to_owned(), limit, tail },
                });
            }
        }
    }

    /// Types `line` and the return key.
    pub fn send(&mut self, line: &str) -> Result<(), Failure> {
        self.send_bytes(format!("{line}\r").as_bytes())
    }

    /// Types exactly these bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.input.write_all(bytes)?;
        Ok(self.input.flush()?)
    }

    /// Waits until the machine ends, with `expected` as its status and no process of its group left.
    pub fn expect_exit(&mut self, expected: i32, limit: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        while self.receive(deadline)? {}
        let status = self.wait(deadline)?;
        let tail = self.transcript.tail();
        let status = status.ok_or(Failure::StillRunning { limit, tail: tail.clone() })?;
        if status.code() != Some(expected) {
            return Err(Failure::Status { expected, status, tail });
        }
        // Members of the group may take a moment to be reaped.
        while rustix::process::test_kill_process_group(self.group).is_ok() {
            if Instant::now() >= deadline {
                return Err(Failure::LeftBehind { group: self.group.as_raw_nonzero().get() });
            }
            thread::sleep(SLICE);
        }
        Ok(())
    }

    /// Everything that the machine has written.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes in what the console writes next. False: nothing until the deadline, or no more will come.
    fn receive(&mut self, deadline: Instant) -> Result<bool, Failure> {
        loop {
            if self.stop.is_set() {
                return Err(Failure::Stopped);
            }
            let now = Instant::now();
            match self.output.recv_timeout(deadline.saturating_duration_since(now).min(SLICE)) {
                Ok(bytes) => {
                    let written = self.log.write_all(&bytes);
                    written.map_err(|error| Failure::Log { path: self.log_path.clone(), error })?;
                    self.transcript.push(&bytes);
                    return Ok(true);
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) if now >= deadline => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// How the machine ended; `None` if it still runs at the deadline.
    fn wait(&mut self, deadline: Instant) -> Result<Option<ExitStatus>, Failure> {
        while self.status.is_none() {
            self.status = self.child.try_wait()?;
            if self.status.is_some() || Instant::now() >= deadline {
                break;
            }
            if self.stop.is_set() {
                return Err(Failure::Stopped);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self.status)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The leader is reaped only after this, or was reaped by `wait`; either way the group's number is still its own
        // as long as it has a member. Failure means that there is none.
        let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        let status = self.status.or_else(|| self.child.wait().ok());
        // What was written before the end belongs to the saved transcript too.
        while let Ok(bytes) = self.output.recv_timeout(SLICE) {
            let _ = self.log.write_all(&bytes);
        }
        let ended = status.map_or_else(String::new, |status| match status.signal() {
            Some(_) => "ended by the harness".to_owned(),
            None => status.to_string(),
        });
        let _ = writeln!(self.log, "\n[{ended}]");
    }
}

/// Makes the kernel kill the process that `command` becomes when this process dies.
pub fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only system calls are made, none of which allocates or takes a lock.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the request.
            if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
        })
    };
}

fn forward(mut stream: impl Read, to: &Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A terminal whose other side is closed reads as an error.
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if to.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}
