// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Symbols that the Microkit tool patches in a PD's ELF file.

use core::hint::black_box;

/// A variable whose initial value the Microkit tool writes into the ELF file, and which does not change afterwards.
///
/// It is put in `.rodata`: the tool needs bytes in the file, and a PD that starts again finds there what it found first.
#[doc(hidden)]
#[repr(transparent)]
pub struct Patched<T>(T);

impl<T: Copy> Patched<T> {
    /// With the value that the ELF file has before it is patched.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The patched value.
    #[inline]
    pub fn read(&self) -> T {
        // SAFETY: the pointer is that of a reference. Volatile: the value is not what the compiler saw.
        unsafe { (&raw const self.0).read_volatile() }
    }

    /// The patched value, in place.
    #[inline]
    pub fn get(&'static self) -> &'static T {
        // The compiler is not to know which value this is.
        black_box(&self.0)
    }
}

/// The symbols that the tool writes to in every PD: it fails if one is missing.
#[cfg(target_os = "none")]
#[allow(non_upper_case_globals)]
mod patched {
    use super::Patched;

    macro_rules! symbols {
        ($($symbol:ident: $type:ty = $value:expr;)*) => {
            $(
                #[used]
                #[unsafe(no_mangle)]
                #[unsafe(link_section = ".rodata")]
                pub(super) static $symbol: Patched<$type> = Patched::new($value);
            )*

            /// Refers to each symbol, so that the linker keeps those that nothing else on this architecture needs.
            #[inline(always)]
            pub(crate) fn keep() {
                $($symbol.get();)*
            }
        };
    }

    symbols! {
        microkit_name: [u8; 64] = [0; 64];
        microkit_passive: bool = false;
        microkit_irqs: u64 = 0;
        microkit_notifications: u64 = 0;
        microkit_pps: u64 = 0;
        microkit_ioports: u64 = 0;
    }
}

#[cfg(target_os = "none")]
pub(crate) use patched::keep;

/// The name that the system file gives this PD, cut at 64 bytes.
pub fn pd_name() -> &'static str {
    #[cfg(target_os = "none")]
    let name: &'static [u8] = patched::microkit_name.get();
    #[cfg(not(target_os = "none"))]
    let name: &'static [u8] = b"host";
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    // The cut may be within a character.
    match str::from_utf8(name) {
        Ok(name) => name,
        Err(error) => str::from_utf8(&name[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Whether this PD runs only on the scheduling contexts of its callers.
pub fn pd_is_passive() -> bool {
    #[cfg(target_os = "none")]
    return patched::microkit_passive.read();
    #[cfg(not(target_os = "none"))]
    return crate::sys::declared().passive;
}

macro_rules! masks {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $name() -> u64 {
                #[cfg(target_os = "none")]
                return patched::$symbol.read();
                #[cfg(not(target_os = "none"))]
                return crate::sys::declared().$name;
            }
        )*
    };
}

masks! {
    /// The interrupts of this PD, a bit for each id.
    irqs = microkit_irqs;
    /// The channels on which it may notify.
    notifications = microkit_notifications;
    /// The channels on which it may call.
    pps = microkit_pps;
}

/// Declares a symbol for `setvar` and the like in the system file, and gives a `&'static` reference to its value: the one that the
/// tool wrote, or the default if the system file does not set it.
///
/// The tool writes 8 bytes, so the type must have that size. One symbol is declared at one place.
///
/// ```
/// use sel4_microkit::var;
/// let count: u64 = *var!(request_count: u64 = 16);
/// # assert_eq!(count, 16);
/// ```
#[macro_export]
macro_rules! var {
    ($symbol:ident: $type:ty = $default:expr $(,)?) => {{
        const _: () = assert!(::core::mem::size_of::<$type>() == 8, "the Microkit tool writes 8 bytes");

        #[used]
        #[unsafe(no_mangle)]
        #[cfg_attr(target_os = "none", unsafe(link_section = ".rodata"))]
        #[allow(non_upper_case_globals)]
        static $symbol: $crate::_private::Patched<$type> = $crate::_private::Patched::new($default);

        $symbol.get()
    }};
}

/// Declares a symbol for `setvar_vaddr` of a mapping in the system file, and gives a [`NonNull`](core::ptr::NonNull) pointer to the
/// region: to a value, or with `n` to a slice. Panics if the system file does not set it.
///
/// ```no_run
/// use sel4_microkit::memory_region_symbol;
/// let queue = memory_region_symbol!(queue_vaddr: *mut [u64], n = 512);
/// ```
#[macro_export]
macro_rules! memory_region_symbol {
    ($symbol:ident: *mut [$type:ty], n = $n:expr $(,)?) => {
        ::core::ptr::NonNull::slice_from_raw_parts($crate::memory_region_symbol!($symbol: *mut $type), $n)
    };
    ($symbol:ident: *mut $type:ty $(,)?) => {
        ::core::ptr::NonNull::new(::core::ptr::with_exposed_provenance_mut::<$type>(*$crate::var!($symbol: usize = 0)))
            .expect(concat!("the system file does not set ", stringify!($symbol)))
    };
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    /// On a host nothing is patched: variables keep their default, and regions are missing.
    #[test]
    fn unpatched_symbols_have_their_default() {
        assert_eq!(*var!(test_variable: i64 = -5), -5);
        let missing = catch_unwind(|| memory_region_symbol!(test_region: *mut [u8], n = 4)).unwrap_err();
        assert_eq!(*missing.downcast::<String>().unwrap(), "the system file does not set test_region");
        assert_eq!(crate::pd_name(), "host");
    }
}
