// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! The kernel's debug output.

use core::fmt::{self, Write};

use crate::{abi, sys};

/// Whether the kernel has a debug output, as in debug configurations.
pub const PRINTING: bool = abi::DEBUG_PUT_CHAR.is_some();

struct DebugOutput;

impl Write for DebugOutput {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(number) = abi::DEBUG_PUT_CHAR {
            text.bytes().for_each(|character| sys::debug_put_char(number, character));
        }
        Ok(())
    }
}

#[doc(hidden)]
pub fn print(text: fmt::Arguments) {
    // The output accepts everything; an error would be that of a `Display` implementation.
    let _ = DebugOutput.write_fmt(text);
}

/// Prints to the kernel's debug output. Does nothing, and evaluates nothing, where the kernel has none.
#[macro_export]
macro_rules! debug_print {
    ($($text:tt)*) => {
        if $crate::PRINTING {
            $crate::_private::print(::core::format_args!($($text)*));
        }
    };
}

/// As [`debug_print!`], with a newline.
#[macro_export]
macro_rules! debug_println {
    () => { $crate::debug_print!("\n") };
    ($($text:tt)*) => { $crate::debug_print!("{}\n", ::core::format_args!($($text)*)) };
}
