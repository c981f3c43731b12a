// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! vCPUs that wait: where each goes on, and when at the latest.
//!
//! A waiting vCPU is suspended, because the PD has one reply object, which the next exit needs. Its virtual timer does not
//! fire then, so the timer PD takes its place.

use pd::counter;
use sel4_microkit::{Channel, ChannelSet, Vcpu, VcpuReg};
use timer::NEVER;
use vmm_core::{MAX_VCPUS, VcpuId};

/// `CNTV_CTL_EL0`: the timer is on, and its interrupt masked.
const ENABLE: u64 = 1;
const IMASK: u64 = 1 << 1;

/// A vCPU that waits.
#[derive(Clone, Copy)]
struct Wait {
    /// Where it goes on.
    pc: u64,
    /// When its virtual timer fires.
    timer: u64,
    /// When it goes on for no reason.
    limit: u64,
}

impl Wait {
    const NONE: Self = Self { pc: 0, timer: NEVER, limit: NEVER };

    fn deadline(&self) -> u64 {
        self.timer.min(self.limit)
    }

    fn ended(&self, now: u64) -> Option<End> {
        if self.timer <= now { Some(End::Timer) } else { (self.limit <= now).then_some(End::Limit) }
    }
}

/// Why a wait ends without an interrupt.
pub enum End {
    /// The vCPU's virtual timer fires.
    Timer,
    /// The vCPU does not want to wait longer, or nobody could tell when its virtual timer fires.
    Limit,
}

/// What is done at some time.
#[derive(Clone, Copy)]
pub enum Task {
    /// Looking after the drivers.
    Look,
    /// Showing the guest what its devices keep back.
    Hurry,
}

/// All vCPUs that wait, and what the timer PD knows of them.
pub struct Waits {
    vcpus: [Wait; MAX_VCPUS],
    /// A bit for each of those that wait.
    waiting: u8,
    timer: Option<Channel>,
    /// When something is to be done for all of them: see [`Task`].
    tasks: [u64; 2],
    /// The deadline that the timer PD has. It may be earlier than any vCPU's, since it is not taken back.
    armed: u64,
}

impl Waits {
    /// No vCPU waits; `timer` leads to the timer PD.
    pub fn new(timer: Option<Channel>) -> Self {
        Self { vcpus: [Wait::NONE; MAX_VCPUS], waiting: 0, timer, tasks: [NEVER; 2], armed: NEVER }
    }

    /// `vcpu` is suspended and to go on at `pc`. Its virtual timer fires at `timer`, and at `limit` it goes on anyway: says
    /// if one of these has come.
    pub fn begin(&mut self, vcpu: VcpuId, pc: u64, timer: u64, limit: u64) -> Option<End> {
        let wait = self.vcpus.get_mut(vcpu.index())?;
        *wait = Wait { pc, timer, limit };
        self.waiting |= vcpu.bit();
        let deadline = wait.deadline();
        if deadline == NEVER {
            return None;
        }
        let ended = wait.ended(counter());
        if ended.is_none() && !self.arm(deadline) { Some(End::Limit) } else { ended }
    }

    /// Lets `vcpu` go on.
    pub fn end(&mut self, vcpu: Vcpu) {
        if let Some(wait) = self.vcpus.get_mut(vcpu.index()) {
            vcpu.tcb().resume_at(wait.pc);
            *wait = Wait::NONE;
            self.waiting &= !(1 << vcpu.index());
        }
    }

    /// `task` is to be done once `ticks` of the system counter have passed, if it is not to be already.
    #[inline]
    pub fn schedule(&mut self, task: Task, ticks: u64) {
        if self.tasks[task as usize] == NEVER {
            let deadline = counter() + ticks;
            self.tasks[task as usize] = deadline;
            self.arm(deadline);
        }
    }

    /// Whether it is time for `task`. `true` counts as done.
    pub fn is_time_for(&mut self, task: Task) -> bool {
        let deadline = &mut self.tasks[task as usize];
        let due = *deadline <= counter();
        if due {
            *deadline = NEVER;
        }
        due
    }

    /// The vCPUs that wait, a bit each.
    pub fn waiting(&self) -> u8 {
        self.waiting
    }

    /// No vCPU waits any more, though none goes on.
    pub fn forget(&mut self) {
        self.vcpus = [Wait::NONE; MAX_VCPUS];
        self.waiting = 0;
    }

    /// The guest was paused for `time`, in which nothing was looked at, and which its virtual timers do not count.
    pub fn postpone(&mut self, time: u64) {
        for wait in &mut self.vcpus {
            wait.timer = wait.timer.saturating_add(time);
            wait.limit = wait.limit.saturating_add(time);
        }
        self.arm(self.vcpus.iter().map(Wait::deadline).min().unwrap_or(NEVER));
    }

    /// Whether the timer PD is among those who notified over `channels`.
    pub fn is_timer(&self, channels: ChannelSet) -> bool {
        self.timer.is_some_and(|timer| channels.contains(timer))
    }

    /// The timer PD has notified: tells of the vCPUs whose wait is to end, if the guest runs.
    pub fn expire(&mut self, runs: bool, mut ended: impl FnMut(VcpuId, End)) {
        self.armed = NEVER;
        let (now, mut next) = (counter(), self.tasks[0].min(self.tasks[1]));
        for (index, wait) in self.vcpus.iter().enumerate().filter(|_| runs) {
            match (VcpuId::new(index), wait.ended(now)) {
                (Some(vcpu), Some(end)) => ended(vcpu, end),
                _ => next = next.min(wait.deadline()),
            }
        }
        self.arm(next);
    }

    /// Has this PD notified at `deadline`, or earlier; false if it has no timer PD.
    pub fn arm(&mut self, deadline: u64) -> bool {
        let Some(timer) = self.timer else { return false };
        if deadline < self.armed {
            timer::set(timer, deadline);
            self.armed = deadline;
        }
        true
    }
}

/// When the virtual timer of `vcpu`, which is stopped, fires; its counter is `offset` behind the system counter.
pub fn timer_deadline(vcpu: Vcpu, offset: u64) -> u64 {
    // Cannot fail: the vCPU exists. On a kernel for several cores these two are right wherever the vCPU ran.
    let read = |register| vcpu.read_reg(register).unwrap_or(0);
    if read(VcpuReg::CntvCtl) & (ENABLE | IMASK) == ENABLE {
        read(VcpuReg::CntvCval).saturating_add(offset)
    } else {
        NEVER
    }
}
