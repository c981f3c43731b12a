// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The kernel's objects. There is one of each kind per protection domain, and the tool has fixed them all: so an endpoint, a
//! notification and a reply object are named by their domain's thread, a scheduling context by the thread it came with.

use devsdk_image::Boot;

use crate::abi::{self, Lookup};
use crate::arch::{Context, Fpu};
use crate::gic;
use crate::schedule::{Action, Ready, SchedContext};
use crate::vcpu::Vcpu;

/// Protection domains at most.
pub const MAX_DOMAINS: usize = 64;
/// Virtual CPUs at most.
pub const MAX_VCPUS: usize = 64;
/// Threads at most: those of domains come first, in their order, then those of virtual CPUs.
pub const MAX_THREADS: usize = MAX_DOMAINS + MAX_VCPUS;

/// A thread, in range by construction; also its domain's endpoint, notification and reply object, and its scheduling context.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id(pub usize);

/// A virtual CPU, in range by construction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VcpuId(pub usize);

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Inactive,
    /// Runs, or would.
    Running,
    /// Runs, or would, again from its restart address.
    Restart,
    /// Waits for a message; its sender will wait for this reply object.
    Receiving { endpoint: Id, reply: Option<Id> },
    /// Waits until its message, or its fault, is received.
    Sending { endpoint: Id, badge: u64, call: bool },
    /// Waits for a reply.
    Replying { reply: Id },
    /// Waits for its own notification.
    Waiting,
}

impl State {
    /// Whether the thread could run.
    pub fn runnable(self) -> bool {
        matches!(self, Self::Running | Self::Restart)
    }
}

/// A fault and what its message says.
#[derive(Clone, Copy)]
pub enum Fault {
    /// A capability address names nothing.
    Cap { address: u64, receiving: bool, lookup: Lookup },
    /// A system call that does not exist.
    UnknownSyscall(u64),
    /// An undefined instruction: its syndrome.
    UserException(u64),
    /// A breakpoint instruction, in debug kernels.
    Breakpoint,
    /// No memory, or not with this right; `address` is a domain's virtual, a guest's physical one.
    Vm { address: u64, syndrome: u64, instruction: bool },
    /// A guest ended an interrupt: which list register.
    VgicMaintenance(Option<usize>),
    /// Anything else that traps: its syndrome.
    Vcpu(u64),
    /// A guest's timer fired.
    VppiEvent(u64),
}

/// A thread.
pub struct Thread {
    pub context: Context,
    /// Vector registers, while another thread owns them.
    pub fpu: Fpu,
    pub state: State,
    /// The fault that it waits with.
    pub fault: Option<Fault>,
    /// Who gets its faults, and with which badge; none without a parent.
    pub handler: Option<(Id, u64)>,
    /// The scheduling context that it runs on.
    pub context_used: Option<Id>,
    pub priority: u8,
    /// May use vector registers.
    pub fpu_allowed: bool,
    /// In a ready queue.
    pub queued: bool,
    /// Neighbours in the one queue that it is in.
    pub next: Option<Id>,
    pub previous: Option<Id>,
    pub vttbr: u64,
    pub vcpu: Option<VcpuId>,
    /// Physical address of its IPC buffer; zero for virtual CPUs, which have none that anyone could see.
    pub ipc_buffer: u64,
    pub name: &'static str,
}

/// A queue of threads, linked through them.
#[derive(Clone, Copy)]
pub struct Queue {
    pub head: Option<Id>,
    pub tail: Option<Id>,
}

/// What a domain has besides its thread.
pub struct Domain {
    /// Threads that wait at its endpoint: all send or all receive, as the first one's state says.
    pub endpoint: Queue,
    /// Its input is the endpoint.
    pub has_endpoint: bool,
    /// Badges of signals not yet received; meaningful if `signalled`.
    pub badge: u64,
    /// There are such signals.
    pub signalled: bool,
    /// The scheduling context that its notification lends, once it is passive.
    pub lends: Option<Id>,
    /// It becomes passive after `init`.
    pub passive: bool,
    /// Its reply object.
    pub reply: Reply,
    /// Index, plus one, in the boot description of the capability in each slot.
    pub slots: [u16; devsdk_image::slot::COUNT as usize],
}

/// A reply object. Replies that wait for the same scheduling context form a stack, as calls do.
#[derive(Clone, Copy)]
pub struct Reply {
    /// The thread that waits for the reply, or that receives with this object.
    pub thread: Option<Id>,
    /// The reply below in the stack.
    pub below: Option<Id>,
    pub above: Above,
}

/// What is above a reply object in its stack: another one, or for the top one the scheduling context.
#[derive(Clone, Copy)]
pub enum Above {
    Nothing,
    Reply(Id),
    Top(Id),
}

/// All state.
pub struct Kernel {
    /// The system's description.
    pub boot: Option<Boot<'static>>,
    /// Threads; those in use come first.
    pub threads: [Thread; MAX_THREADS],
    /// Domains, by thread.
    pub domains: [Domain; MAX_DOMAINS],
    pub vcpus: [Vcpu; MAX_VCPUS],
    /// Scheduling contexts, by thread.
    pub contexts: [SchedContext; MAX_THREADS],
    /// Threads that wait for the processor.
    pub ready: Ready,
    /// What the scheduler has to do.
    pub action: Action,
    /// The running thread; none if idle.
    pub current: Option<Id>,
    /// The thread whose translation and thread registers are loaded.
    pub loaded: Option<Id>,
    /// The thread that owns the vector registers.
    pub fpu_owner: Option<Id>,
    /// The vCPU whose registers are loaded.
    pub loaded_vcpu: Option<VcpuId>,
    /// Its guest is running, rather than a domain.
    pub vcpu_active: bool,
    /// The domain and badge of each interrupt.
    pub interrupts: [Option<(Id, u64)>; gic::COUNT],
    pub clock: crate::schedule::Clock,
}

impl Thread {
    const NEW: Self = Self {
        context: Context::ZERO,
        fpu: Fpu::ZERO,
        state: State::Inactive,
        fault: None,
        handler: None,
        context_used: None,
        priority: 0,
        fpu_allowed: false,
        queued: false,
        next: None,
        previous: None,
        vttbr: 0,
        vcpu: None,
        ipc_buffer: 0,
        name: "",
    };

    /// Where word `index` of a message, below 120, lies in the IPC buffer: in a page that the tool reserves for it, after the
    /// message info.
    fn buffer(&self, index: usize) -> Option<*mut u64> {
        (self.ipc_buffer != 0).then(|| (self.ipc_buffer as *mut u64).wrapping_add(1 + index))
    }
}

impl Domain {
    const NEW: Self = Self {
        endpoint: Queue { head: None, tail: None },
        has_endpoint: false,
        badge: 0,
        signalled: false,
        lends: None,
        passive: false,
        reply: Reply { thread: None, below: None, above: Above::Nothing },
        slots: [0; devsdk_image::slot::COUNT as usize],
    };
}

impl Kernel {
    pub const NEW: Self = Self {
        boot: None,
        threads: [const { Thread::NEW }; MAX_THREADS],
        domains: [const { Domain::NEW }; MAX_DOMAINS],
        vcpus: [const { Vcpu::NEW }; MAX_VCPUS],
        contexts: [SchedContext::NEW; MAX_THREADS],
        ready: Ready::NEW,
        action: Action::Choose,
        current: None,
        loaded: None,
        fpu_owner: None,
        loaded_vcpu: None,
        vcpu_active: false,
        interrupts: [None; gic::COUNT],
        clock: crate::schedule::Clock::NEW,
    };

    pub fn thread(&mut self, id: Id) -> &mut Thread {
        &mut self.threads[id.0]
    }

    /// Word `index` of the message that a thread sends or has received.
    pub fn word(&self, id: Id, index: usize) -> u64 {
        let thread = &self.threads[id.0];
        match thread.buffer(index) {
            _ if index < abi::MESSAGE_REGISTERS => thread.context.x[2 + index],
            // SAFETY: see `buffer`. The domain shares the page, hence the volatile access; likewise below.
            Some(word) => unsafe { word.read_volatile() },
            None => 0,
        }
    }

    /// Sets word `index` of the message that a thread receives.
    pub fn set_word(&mut self, id: Id, index: usize, value: u64) {
        let thread = self.thread(id);
        match thread.buffer(index) {
            _ if index < abi::MESSAGE_REGISTERS => thread.context.x[2 + index] = value,
            // SAFETY: see `buffer`.
            Some(word) => unsafe { word.write_volatile(value) },
            None => {}
        }
    }

    /// Sets what a thread receives besides the words.
    pub fn set_received(&mut self, id: Id, badge: u64, info: abi::MessageInfo) {
        let x = &mut self.threads[id.0].context.x;
        x[0] = badge;
        x[1] = info.0;
    }

    /// Appends a thread to a queue, or puts it in front.
    pub fn link(&mut self, queue: &mut Queue, id: Id, front: bool) {
        let after = if front { None } else { queue.tail };
        self.link_after(queue, id, after);
    }

    /// Puts a thread into a queue by priority, after its equals.
    pub fn link_by_priority(&mut self, queue: &mut Queue, id: Id) {
        let priority = self.threads[id.0].priority;
        let mut after = queue.tail;
        while let Some(other) = after {
            if self.threads[other.0].priority >= priority {
                break;
            }
            after = self.threads[other.0].previous;
        }
        self.link_after(queue, id, after);
    }

    fn link_after(&mut self, queue: &mut Queue, id: Id, previous: Option<Id>) {
        let next = match previous {
            Some(previous) => self.thread(previous).next.replace(id),
            None => queue.head.replace(id),
        };
        match next {
            Some(next) => self.thread(next).previous = Some(id),
            None => queue.tail = Some(id),
        }
        self.thread(id).next = next;
        self.thread(id).previous = previous;
    }

    /// Takes a thread out of its queue.
    pub fn unlink(&mut self, queue: &mut Queue, id: Id) {
        let (previous, next) = (self.thread(id).previous.take(), self.thread(id).next.take());
        match previous {
            Some(previous) => self.thread(previous).next = next,
            None => queue.head = next,
        }
        match next {
            Some(next) => self.thread(next).previous = previous,
            None => queue.tail = previous,
        }
    }
}
