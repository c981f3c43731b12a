// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Fixed-priority scheduling with budgets.
//!
//! The order among threads of one priority is seL4's. Budgets are simpler than its sporadic servers: a scheduling context
//! whose budget is its period takes turns with its equals, another one has its budget in each of its periods. Time is
//! charged when another context takes over or the timer fires, not at every entry.

use crate::arch::{self, mrs, msr};
use crate::kernel::{Id, Kernel, Queue, State};

/// What to do before a thread runs again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go on with the running thread.
    Resume,
    /// Choose one of the queues.
    Choose,
    /// This thread may be the next; it is in no queue.
    Switch(Id),
}

/// Ready threads by priority.
pub struct Ready {
    queues: [Queue; 256],
    /// A bit for each queue that is not empty.
    present: [u64; 4],
}

impl Ready {
    /// Empty.
    pub const NEW: Self = Self { queues: [Queue { head: None, tail: None }; 256], present: [0; 4] };

    fn highest(&self) -> Option<u8> {
        let word = self.present.iter().rposition(|word| *word != 0)?;
        Some((word * 64 + 63 - self.present[word].leading_zeros() as usize) as u8)
    }
}

/// The right to use the processor; times are in ticks of the counter.
#[derive(Clone, Copy)]
pub struct SchedContext {
    /// The thread that has it.
    pub thread: Option<Id>,
    /// Top of the stack of replies that wait for it.
    pub reply: Option<Id>,
    /// Budget in each period.
    pub budget: u64,
    /// Length of a period.
    pub period: u64,
    left: u64,
    /// End of the period.
    refill: u64,
    /// Its budget is used up until then.
    exhausted: bool,
}

impl SchedContext {
    /// Without budget.
    pub const NEW: Self =
        Self { thread: None, reply: None, budget: 0, period: 0, left: 0, refill: 0, exhausted: false };

    /// One for a thread, in microseconds.
    pub fn new(thread: Id, budget: u64, period: u64) -> Self {
        let ticks = |time: u64| time.saturating_mul(mrs!("cntfrq_el0")) / 1_000_000;
        Self { thread: Some(thread), budget: ticks(budget), period: ticks(period), left: ticks(budget), ..Self::NEW }
    }

    fn limited(&self) -> bool {
        self.budget < self.period
    }
}

/// Accounting of time.
pub struct Clock {
    /// The context that is charged.
    charged: Option<Id>,
    /// Since when.
    since: u64,
    /// Where the timer is set to.
    alarm: u64,
    /// Contexts whose budget is used up.
    exhausted: usize,
}

impl Clock {
    /// Nothing is charged.
    pub const NEW: Self = Self { charged: None, since: 0, alarm: u64::MAX, exhausted: 0 };
}

fn set_alarm(time: u64) {
    msr!("cnthp_cval_el2", time);
}

/// Starts the timer, without an alarm.
pub fn init() {
    set_alarm(u64::MAX);
    msr!("cnthp_ctl_el2", 1);
}

impl Kernel {
    /// Whether a thread could run now.
    pub fn schedulable(&self, id: Id) -> bool {
        let thread = &self.threads[id.0];
        thread.state.runnable() && thread.context_used.is_some_and(|context| !self.contexts[context.0].exhausted)
    }

    /// Makes a thread ready, in front of its equals or behind them.
    pub fn enqueue(&mut self, id: Id, front: bool) {
        if !self.thread(id).queued {
            let priority = self.thread(id).priority;
            let mut queue = self.ready.queues[priority as usize];
            self.link(&mut queue, id, front);
            self.ready.queues[priority as usize] = queue;
            self.ready.present[priority as usize / 64] |= 1 << (priority % 64);
            self.thread(id).queued = true;
        }
    }

    /// Makes a thread not ready.
    pub fn dequeue(&mut self, id: Id) {
        if self.thread(id).queued {
            let priority = self.thread(id).priority;
            let mut queue = self.ready.queues[priority as usize];
            self.unlink(&mut queue, id);
            self.ready.queues[priority as usize] = queue;
            if queue.head.is_none() {
                self.ready.present[priority as usize / 64] &= !(1 << (priority % 64));
            }
            self.thread(id).queued = false;
        }
    }

    /// Has the scheduler choose.
    pub fn reschedule(&mut self) {
        if let Action::Switch(candidate) = self.action
            && self.schedulable(candidate)
        {
            self.enqueue(candidate, true);
        }
        self.action = Action::Choose;
    }

    /// Lets a thread that has become runnable compete.
    pub fn wake(&mut self, id: Id) {
        if self.thread(id).context_used.is_none_or(|context| self.contexts[context.0].exhausted) {
            return;
        }
        if self.action == Action::Resume {
            self.action = Action::Switch(id);
        } else {
            self.reschedule();
            self.enqueue(id, true);
        }
    }

    /// Changes what a thread does.
    pub fn set_state(&mut self, id: Id, state: State) {
        self.thread(id).state = state;
        self.noticed(id);
    }

    /// Looks for another thread if the running one cannot go on.
    pub fn noticed(&mut self, id: Id) {
        if self.current == Some(id) && self.action == Action::Resume && !self.schedulable(id) {
            self.action = Action::Choose;
        }
    }

    /// Chooses the thread to run, waits for one if there is none, and gives its context.
    pub fn run(&mut self) -> &crate::arch::Context {
        loop {
            self.schedule();
            if let Some(id) = self.current {
                let thread = self.thread(id);
                if thread.state == State::Restart {
                    thread.context.elr = thread.context.fault_ip;
                    thread.state = State::Running;
                }
                return &self.threads[id.0].context;
            }
            arch::wfi();
            self.take_interrupt();
        }
    }

    fn schedule(&mut self) {
        if self.clock.exhausted > 0 {
            self.refill();
        }
        if self.action != Action::Resume {
            let running = self.current.filter(|id| self.schedulable(*id));
            if let Some(id) = running {
                self.enqueue(id, true);
            }
            match self.action {
                Action::Switch(candidate) => {
                    let priority = self.thread(candidate).priority;
                    let current = self.current.map(|id| self.threads[id.0].priority);
                    let lower = current.is_none_or(|current| priority < current);
                    if lower && self.ready.highest().is_some_and(|highest| highest > priority) {
                        self.enqueue(candidate, true);
                        self.choose();
                    } else if running.is_some() && current == Some(priority) {
                        self.enqueue(candidate, false);
                        self.choose();
                    } else {
                        self.switch(candidate);
                    }
                }
                _ => self.choose(),
            }
            self.action = Action::Resume;
        }
        self.charge();
        self.program();
    }

    fn choose(&mut self) {
        match self.ready.highest().and_then(|priority| self.ready.queues[priority as usize].head) {
            Some(id) => self.switch(id),
            None => {
                self.switch_vcpu(None);
                self.current = None;
            }
        }
    }

    fn switch(&mut self, id: Id) {
        self.switch_vcpu(self.threads[id.0].vcpu);
        if self.loaded != Some(id) {
            if let Some(old) = self.loaded {
                let context = &mut self.thread(old).context;
                context.tpidr = mrs!("tpidr_el0");
                context.tpidrro = mrs!("tpidrro_el0");
            }
            let thread = &self.threads[id.0];
            msr!("tpidr_el0", thread.context.tpidr);
            msr!("tpidrro_el0", thread.context.tpidrro);
            msr!("vttbr_el2", thread.vttbr);
            self.switch_fpu(id);
            self.loaded = Some(id);
        }
        self.dequeue(id);
        self.current = Some(id);
    }

    /// Gives the vector registers to a thread that may use them, and traps their use by another.
    fn switch_fpu(&mut self, id: Id) {
        const CPTR_RES1: u64 = 0x33ff;
        const CPTR_TFP: u64 = 1 << 10;
        if !self.threads[id.0].fpu_allowed {
            msr!("cptr_el2", CPTR_RES1 | CPTR_TFP);
            return;
        }
        msr!("cptr_el2", CPTR_RES1 & !CPTR_TFP);
        if self.fpu_owner != Some(id) {
            arch::isb();
            if let Some(old) = self.fpu_owner {
                self.threads[old.0].fpu.save();
            }
            self.threads[id.0].fpu.load();
            self.fpu_owner = Some(id);
        }
    }

    /// Charges the context that has run, if another one follows.
    fn charge(&mut self) {
        let next = self.current.and_then(|id| self.threads[id.0].context_used);
        if next == self.clock.charged {
            return;
        }
        let now = mrs!("cntpct_el0");
        if let Some(old) = self.clock.charged {
            let context = &mut self.contexts[old.0];
            context.left = context.left.saturating_sub(now - self.clock.since);
            if context.left == 0 {
                if context.limited() {
                    self.exhaust(old);
                } else {
                    context.left = context.budget;
                }
            }
        }
        self.clock.charged = next;
        self.clock.since = now;
        if let Some(next) = next {
            let context = &mut self.contexts[next.0];
            if context.limited() && now >= context.refill {
                context.left = context.budget;
                context.refill = now + context.period;
            }
        }
    }

    /// Sets the timer to the end of the running context's time, if anyone waits for it, or to the next refill.
    fn program(&mut self) {
        let mut alarm = u64::MAX;
        if let (Some(id), Some(charged)) = (self.current, self.clock.charged) {
            let context = &self.contexts[charged.0];
            if context.limited() || self.ready.queues[self.threads[id.0].priority as usize].head.is_some() {
                alarm = self.clock.since + context.left;
            }
        }
        if self.clock.exhausted > 0 {
            alarm = self.contexts.iter().filter(|c| c.exhausted).fold(alarm, |alarm, c| alarm.min(c.refill));
        }
        if alarm != self.clock.alarm {
            self.clock.alarm = alarm;
            set_alarm(alarm);
        }
    }

    /// The timer has fired: ends the running context's turn if its time is over.
    pub fn tick(&mut self) {
        self.clock.alarm = u64::MAX;
        set_alarm(u64::MAX);
        arch::isb();
        let (Some(id), Some(charged)) = (self.current, self.clock.charged) else { return };
        let now = mrs!("cntpct_el0");
        let context = &mut self.contexts[charged.0];
        context.left = context.left.saturating_sub(now - self.clock.since);
        self.clock.since = now;
        if context.left > 0 {
            return;
        }
        if context.limited() {
            self.exhaust(charged);
        } else {
            context.left = context.budget;
            self.enqueue(id, false);
        }
        self.reschedule();
    }

    fn exhaust(&mut self, context: Id) {
        self.contexts[context.0].exhausted = true;
        self.clock.exhausted += 1;
        if let Some(thread) = self.contexts[context.0].thread {
            self.dequeue(thread);
        }
    }

    /// Gives contexts whose period has ended their budget back.
    fn refill(&mut self) {
        let now = mrs!("cntpct_el0");
        for index in 0..self.contexts.len() {
            let context = &mut self.contexts[index];
            if context.exhausted && now >= context.refill {
                context.exhausted = false;
                context.left = context.budget;
                context.refill = now + context.period;
                self.clock.exhausted -= 1;
                if let Some(thread) = self.contexts[index].thread
                    && self.schedulable(thread)
                {
                    self.wake(thread);
                }
            }
        }
    }
}
