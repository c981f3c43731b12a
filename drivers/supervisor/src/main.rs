// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Starts drivers again that fault. On a host it is empty.
//!
//! The drivers are this domain's children, so the kernel tells it of their faults, a panic among them. A driver then begins at
//! its entry as if it had never run: its variables are zeroed there, and have no other initial values, as the host tool has
//! checked. It resets its device, and goes on with its queues where it was; what its clients have to do is theirs.
//!
//! An operator can ask for all drivers to be started again, such as when one does not answer any more. Then they are made to
//! fault, which does not count: what happens next is the same.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod domain {
    use config::{MAX_CHILDREN, Supervisor};
    use pd::{Log, counter, counter_frequency};
    use queue::monitor::{Request, State};
    use sel4_microkit::{ChannelSet, Child, Handler, Infallible, MessageInfo, protection_domain};
    use supervisor::{Faults, PERIOD};

    /// Where nothing is mapped in any domain.
    const NOWHERE: u64 = 0;

    struct Domain {
        config: &'static Supervisor,
        faults: [Faults; MAX_CHILDREN],
        /// A bit for each child that faults because it was asked to.
        asked: u64,
        log: Log,
    }

    #[protection_domain]
    fn init() -> impl Handler {
        let config = pd::config::<Supervisor>();
        // SAFETY: the link is of this PD's record, and is used only here.
        let mut log = unsafe { Log::new(config.log) };
        log.set_state(State::Supervises);
        Domain { config, faults: [Faults::NONE; MAX_CHILDREN], asked: 0, log }
    }

    impl Handler for Domain {
        type Error = Infallible;

        fn notified(&mut self, _channels: ChannelSet) -> Result<(), Infallible> {
            if self.log.request() == Some(Request::Reset) {
                for driver in self.config.children() {
                    // Microkit has given it.
                    let child = Child::new(driver.id as usize);
                    self.asked |= 1 << child.index();
                    if let Err(error) = child.restart(NOWHERE) {
                        self.log.line(format_args!("{}: cannot be stopped: {error}", driver.name.as_str()));
                    }
                }
            }
            Ok(())
        }

        fn fault(&mut self, child: Child, message: MessageInfo) -> Result<Option<MessageInfo>, Infallible> {
            let Self { config, faults, asked, log } = self;
            let mut drivers = config.children().iter().zip(faults);
            let Some((driver, faults)) = drivers.find(|(driver, _)| driver.id == child.index() as u64) else {
                return Ok(None);
            };
            let (name, fault, limit) = (driver.name.as_str(), message.fault(), config.restart_limit);
            let was_asked = *asked >> child.index() & 1 != 0;
            *asked &= !(1 << child.index());
            if !was_asked && !faults.count(counter(), counter_frequency(), limit) {
                log.line(format_args!("{name}: {fault:x?}; it stays off after {limit} restarts in {PERIOD} s"));
            } else if let Err(error) = child.restart(driver.entry) {
                log.line(format_args!("{name}: {fault:x?}; it cannot be started again: {error}"));
            } else {
                log.line(format_args!("{name}: {fault:x?}; it was started again"));
            }
            // It runs already, or not until an operator wants it to.
            Ok(None)
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
