// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Threads that this PD controls: its children's, and its virtual machine's vCPUs'.

use crate::abi;
use crate::message::{Error, MessageInfo, get_mr, set_mr};
use crate::sys;

/// The general registers of a thread, in the order in which [`Tcb::read_registers`] and [`Tcb::write_registers`] transfer them:
/// always a prefix of this list, and each further register costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[rustfmt::skip]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub enum Register {
    Pc, Sp, Spsr,
    X0, X1, X2, X3, X4, X5, X6, X7, X8, X16, X17, X18, X29, X30,
    X9, X10, X11, X12, X13, X14, X15,
    X19, X20, X21, X22, X23, X24, X25, X26, X27, X28,
    TpidrEl0, TpidrroEl0,
}

/// How many registers a thread has for [`Tcb`].
pub const REGISTER_COUNT: usize = REGISTER_ORDER.len();

/// The registers in the order of their transfer. For a vCPU, `Sp` is its SP_EL0; SP_EL1 is a [`VcpuReg`](crate::VcpuReg).
#[rustfmt::skip]
pub const REGISTER_ORDER: [Register; 36] = {
    use Register::*;
    [
        Pc, Sp, Spsr,
        X0, X1, X2, X3, X4, X5, X6, X7, X8, X16, X17, X18, X29, X30,
        X9, X10, X11, X12, X13, X14, X15,
        X19, X20, X21, X22, X23, X24, X25, X26, X27, X28,
        TpidrEl0, TpidrroEl0,
    ]
};

impl Register {
    /// How many registers are transferred to reach this one.
    pub const fn prefix(self) -> usize {
        self as usize + 1
    }

    /// General register `xN`, for `N` from 0 to 30.
    pub const fn x(n: u8) -> Option<Self> {
        use Register::*;
        const X: [Register; 31] = [
            X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18, X19, X20, X21, X22,
            X23, X24, X25, X26, X27, X28, X29, X30,
        ];
        if (n as usize) < X.len() { Some(X[n as usize]) } else { None }
    }
}

/// A thread that this PD controls; from [`Child::tcb`] or [`Vcpu::tcb`](crate::Vcpu::tcb).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcb(u64);

impl Tcb {
    /// Set in the flags of a register write that also resumes the thread.
    const RESUME: u64 = 1;
    /// Set in the flags of a register read that also suspends the thread.
    const SUSPEND: u64 = 1;
    /// The words of a message that reads registers. Two would do, but the kernel tries its fast path for a call of up to four,
    /// and only then finds that this is not to an endpoint.
    const READ_WORDS: usize = 5;

    pub(crate) const fn from_slot(slot: u64) -> Self {
        Self(slot)
    }

    /// Reads the first `registers.len()` registers in [`REGISTER_ORDER`], without suspending the thread: it must be stopped, for
    /// example at a fault. Up to four come without touching memory.
    ///
    /// # Errors
    ///
    /// [`Error::RangeError`] for no registers and for more than [`REGISTER_COUNT`]. `registers` is then unchanged.
    #[inline]
    pub fn read_registers(self, registers: &mut [u64]) -> Result<(), Error> {
        self.read(0, registers)
    }

    /// The first `N` registers, one to four, the cheapest way to get them. It cannot fail for a thread that the system file gives
    /// this PD, which must be stopped.
    #[inline]
    pub fn read_first<const N: usize>(self) -> [u64; N] {
        const { assert!(0 < N && N <= 4, "one to four registers come without touching memory") };
        let words =
            sys::call(self.0, MessageInfo::new(abi::TCB_READ_REGISTERS, Self::READ_WORDS), [0, N as u64, 0, 0]).words;
        core::array::from_fn(|index| words[index])
    }

    /// As [`Tcb::suspend`] and then [`Tcb::read_registers`], in one system call.
    ///
    /// # Errors
    ///
    /// As for [`Tcb::read_registers`]; the thread is then not suspended.
    #[inline]
    pub fn suspend_reading(self, registers: &mut [u64]) -> Result<(), Error> {
        self.read(Self::SUSPEND, registers)
    }

    #[inline]
    fn read(self, flags: u64, registers: &mut [u64]) -> Result<(), Error> {
        let count = registers.len();
        if count > REGISTER_COUNT {
            return Err(Error::RangeError);
        }
        let reply =
            sys::call(self.0, MessageInfo::new(abi::TCB_READ_REGISTERS, Self::READ_WORDS), [flags, count as u64, 0, 0]);
        reply.info.into_result()?;
        match registers {
            [a, b, c, d, rest @ ..] => {
                [*a, *b, *c, *d] = reply.words;
                for (index, register) in rest.iter_mut().enumerate() {
                    *register = get_mr(4 + index);
                }
            }
            few => few.iter_mut().zip(reply.words).for_each(|(register, word)| *register = word),
        }
        Ok(())
    }

    /// Writes the first `registers.len()` registers in [`REGISTER_ORDER`], and resumes the thread if `resume`. A thread that is
    /// stopped at a fault is resumed from it, as by a reply. Up to two go without touching memory.
    ///
    /// # Errors
    ///
    /// [`Error::RangeError`] for more than [`REGISTER_COUNT`] registers.
    #[inline]
    pub fn write_registers(self, resume: bool, registers: &[u64]) -> Result<(), Error> {
        let (info, words) = Self::write(if resume { Self::RESUME } else { 0 }, registers)?;
        sys::call(self.0, info, words).info.into_result()
    }

    /// The message that writes registers.
    #[inline]
    fn write(flags: u64, registers: &[u64]) -> Result<(MessageInfo, [u64; 4]), Error> {
        let count = registers.len();
        if count > REGISTER_COUNT {
            return Err(Error::RangeError);
        }
        let (first, second) = match registers {
            [] => (0, 0),
            [first] => (*first, 0),
            [first, second, rest @ ..] => {
                for (index, register) in rest.iter().enumerate() {
                    set_mr(4 + index, *register);
                }
                (*first, *second)
            }
        };
        Ok((MessageInfo::new(abi::TCB_WRITE_REGISTERS, 2 + count), [flags, count as u64, first, second]))
    }

    /// Resumes the thread at `pc`, the cheapest way to do so: nothing is returned. It cannot fail for a thread that the system
    /// file gives this PD.
    ///
    /// Not for a passive PD: without the donation that a reply carries it would not run again.
    #[inline]
    pub fn resume_at(self, pc: u64) {
        sys::nb_send(self.0, MessageInfo::new(abi::TCB_WRITE_REGISTERS, 3), [Self::RESUME, 1, pc, 0]);
    }

    /// As [`Tcb::resume_at`], with more registers: the first is the program counter. Does nothing if there are more than
    /// [`REGISTER_COUNT`].
    #[inline]
    pub fn resume_with(self, registers: &[u64]) {
        if let Ok((info, words)) = Self::write(Self::RESUME, registers) {
            sys::nb_send(self.0, info, words);
        }
    }

    /// As [`Tcb::resume`], under the conditions of [`Tcb::resume_at`].
    #[inline]
    pub fn resume_again(self) {
        sys::nb_send(self.0, MessageInfo::new(abi::TCB_RESUME, 0), [0; 4]);
    }

    /// Stops the thread. Of a thread that is not at its own fault, a fault that is queued but not yet received is discarded:
    /// see [`poll`](crate::poll).
    #[inline]
    pub fn suspend(self) -> Result<(), Error> {
        sys::call(self.0, MessageInfo::new(abi::TCB_SUSPEND, 0), [0; 4]).info.into_result()
    }

    /// Lets a stopped thread run on; one that faulted executes the faulting instruction again.
    #[inline]
    pub fn resume(self) -> Result<(), Error> {
        sys::call(self.0, MessageInfo::new(abi::TCB_RESUME, 0), [0; 4]).info.into_result()
    }
}

/// A child PD, or in [`Event::Fault`](crate::Event::Fault) a vCPU, by the id that the system file gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Child(u8);

impl Child {
    /// The child with this id.
    ///
    /// # Panics
    ///
    /// If `index` is above 61, the largest id of the Microkit.
    pub const fn new(index: usize) -> Self {
        assert!(index < abi::ID_COUNT, "child ids are 0 to 61");
        Self(index as u8)
    }

    pub(crate) const fn from_badge(badge: u64) -> Self {
        Self((badge & abi::ID_MASK) as u8)
    }

    /// The id.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The thread of the child PD. A vCPU's thread is [`Vcpu::tcb`](crate::Vcpu::tcb).
    pub const fn tcb(self) -> Tcb {
        Tcb::from_slot(abi::CHILD_TCBS + self.0 as u64)
    }

    /// Stops the child PD; corresponds to `microkit_pd_stop`.
    pub fn stop(self) -> Result<(), Error> {
        self.tcb().suspend()
    }

    /// Runs the child PD from `entry`, its ELF entry point, with an empty stack; corresponds to `microkit_pd_restart`. Its data
    /// is as the child left it.
    pub fn restart(self, entry: u64) -> Result<(), Error> {
        self.tcb().write_registers(true, &[entry, abi::STACK_TOP])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Call, answer, calls};

    #[test]
    fn registers_know_their_place() {
        for (place, register) in REGISTER_ORDER.into_iter().enumerate() {
            assert_eq!(register.prefix(), place + 1);
        }
        assert_eq!(REGISTER_ORDER.len(), REGISTER_COUNT);
        let named: Vec<_> = (0..31).map(|n| format!("{:?}", Register::x(n).unwrap())).collect();
        assert!(named.iter().enumerate().all(|(n, name)| *name == format!("X{n}")));
        assert_eq!(Register::x(31), None);
    }

    /// Up to four registers come back in registers, the others in the buffer from its fifth word.
    #[test]
    fn a_prefix_is_read() {
        for count in [1, 4, 5, REGISTER_COUNT] {
            (0..40).for_each(|index| set_mr(index, 100 + index as u64));
            answer(0, MessageInfo::new(0, count), [1, 2, 3, 4]);
            let mut registers = vec![0; count];
            Tcb::from_slot(266).read_registers(&mut registers).unwrap();
            let expected: Vec<u64> = (1..=4).chain(104..140).take(count).collect();
            assert_eq!(registers, expected);
            let request = [0, count as u64, 0, 0];
            assert_eq!(calls(), [Call(abi::SYS_CALL, 266, MessageInfo::new(abi::TCB_READ_REGISTERS, 5), request)]);
        }
        answer(0, MessageInfo::new(0, 1), [7; 4]);
        let mut pc = [0];
        Tcb::from_slot(266).suspend_reading(&mut pc).unwrap();
        let message = MessageInfo::new(abi::TCB_READ_REGISTERS, 5);
        assert_eq!((pc, calls()), ([7], vec![Call(abi::SYS_CALL, 266, message, [1, 1, 0, 0])]));
    }

    /// Two registers go in registers after flags and count, the others in the buffer from its fifth word.
    #[test]
    fn a_prefix_is_written() {
        for (count, words) in
            [(0, [1, 0, 0, 0]), (1, [1, 1, 10, 0]), (2, [1, 2, 10, 11]), (3, [1, 3, 10, 11]), (36, [1, 36, 10, 11])]
        {
            (0..40).for_each(|index| set_mr(index, 0));
            let registers: Vec<u64> = (10..46).take(count).collect();
            Tcb::from_slot(202).write_registers(true, &registers).unwrap();
            assert_eq!(
                calls(),
                [Call(abi::SYS_CALL, 202, MessageInfo::new(abi::TCB_WRITE_REGISTERS, 2 + count), words)]
            );
            let buffer: Vec<u64> = (4..40).map(get_mr).take_while(|&word| word != 0).collect();
            assert_eq!(buffer, registers.get(2..).unwrap_or(&[]));
        }
        Tcb::from_slot(202).write_registers(false, &[7]).unwrap();
        assert_eq!(calls()[0].3, [0, 1, 7, 0]);
        Tcb::from_slot(202).resume_with(&[7, 8, 9]);
        let message = MessageInfo::new(abi::TCB_WRITE_REGISTERS, 5);
        assert_eq!((calls(), get_mr(4)), (vec![Call(abi::SYS_NB_SEND, 202, message, [1, 3, 7, 8])], 9));
    }

    /// What cannot be transferred is refused without a system call, and an error of the kernel changes nothing.
    #[test]
    fn transfers_fail_cleanly() {
        let mut registers = [5; REGISTER_COUNT + 1];
        assert_eq!(Tcb::from_slot(202).read_registers(&mut registers), Err(Error::RangeError));
        assert_eq!(Tcb::from_slot(202).write_registers(true, &registers), Err(Error::RangeError));
        Tcb::from_slot(202).resume_with(&registers);
        assert_eq!(calls(), []);
        answer(0, MessageInfo::new(3, 0), [9; 4]);
        assert_eq!(Tcb::from_slot(202).read_registers(&mut registers[..3]), Err(Error::IllegalOperation));
        assert_eq!(registers, [5; REGISTER_COUNT + 1]);
    }

    #[test]
    fn threads_are_resumed_and_suspended() {
        calls();
        Tcb::from_slot(266).resume_at(0x4000);
        assert_eq!(
            calls(),
            [Call(abi::SYS_NB_SEND, 266, MessageInfo::new(abi::TCB_WRITE_REGISTERS, 3), [1, 1, 0x4000, 0])]
        );
        Tcb::from_slot(266).resume_again();
        assert_eq!(calls(), [Call(abi::SYS_NB_SEND, 266, MessageInfo::new(abi::TCB_RESUME, 0), [0; 4])]);
        Child::new(2).stop().unwrap();
        Child::new(2).tcb().resume().unwrap();
        Child::new(2).restart(0x20_0000).unwrap();
        assert_eq!(
            calls(),
            [
                Call(abi::SYS_CALL, 204, MessageInfo::new(abi::TCB_SUSPEND, 0), [0; 4]),
                Call(abi::SYS_CALL, 204, MessageInfo::new(abi::TCB_RESUME, 0), [0; 4]),
                Call(
                    abi::SYS_CALL,
                    204,
                    MessageInfo::new(abi::TCB_WRITE_REGISTERS, 4),
                    [1, 2, 0x20_0000, abi::STACK_TOP]
                ),
            ]
        );
    }
}
