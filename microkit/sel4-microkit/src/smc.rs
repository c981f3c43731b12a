// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Calls to the machine's firmware.

use crate::message::{Error, MessageInfo, get_mr, set_mr};
use crate::{abi, sys};

/// Executes an SMC with `registers` as x0 to x7, which are then what the firmware returned. Only for a PD whose
/// `protection_domain` has `smc="true"`: for any other the call is a fault. Through it a PD is trusted with the whole machine.
///
/// # Errors
///
/// [`Error::IllegalOperation`] if the capability is for another function only. `registers` is then unchanged.
pub fn smc(registers: &mut [u64; 8]) -> Result<(), Error> {
    let [x0, x1, x2, x3, rest @ ..] = *registers;
    for (index, register) in rest.into_iter().enumerate() {
        set_mr(4 + index, register);
    }
    let reply = sys::call(abi::SMC, MessageInfo::new(abi::SMC_CALL, 8), [x0, x1, x2, x3]);
    reply.info.into_result()?;
    let words = reply.words.into_iter().chain((4..8).map(get_mr));
    registers.iter_mut().zip(words).for_each(|(register, word)| *register = word);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Call, answer, calls};

    #[test]
    fn eight_registers_go_and_come() {
        calls();
        answer(0, MessageInfo::new(0, 8), [11, 12, 13, 14]);
        let mut registers = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(smc(&mut registers), Ok(()));
        assert_eq!(calls(), [Call(abi::SYS_CALL, 7, MessageInfo::new(abi::SMC_CALL, 8), [1, 2, 3, 4])]);
        assert_eq!(registers, [11, 12, 13, 14, 5, 6, 7, 8], "the buffer is as the call left it");

        answer(0, MessageInfo::new(3, 0), [0; 4]);
        assert_eq!(smc(&mut registers), Err(Error::IllegalOperation));
        assert_eq!(registers, [11, 12, 13, 14, 5, 6, 7, 8]);
    }
}
