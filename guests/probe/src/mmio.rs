// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Accesses to device registers, each one load or store instruction without write-back, so that its syndrome is valid
//! (Arm ARM, ESR_EL2.ISV).

/// One load or store at `address`. Any address is allowed: what is not mapped becomes an exception, which
/// `exception::attempt` turns into a value and everything else into the end of the run.
macro_rules! access {
    ($($read:ident $write:ident $function_read:ident $function_write:ident $type:ty),*) => {
        unsafe extern "C" {
            $(fn $function_read(address: u64) -> $type; fn $function_write(address: u64, value: $type);)*
        }
        $(
            #[doc = concat!("Reads a ", stringify!($type), " with one load.")]
            pub fn $read(address: u64) -> $type {
                // SAFETY: `boot.rs` defines the function as one load and a return. Callers name device registers or
                // addresses outside every memory, so no Rust object is read.
                unsafe { $function_read(address) }
            }

            #[doc = concat!("Writes a ", stringify!($type), " with one store.")]
            pub fn $write(address: u64, value: $type) {
                // SAFETY: `boot.rs` defines the function as one store and a return. Callers name device registers or
                // addresses outside every memory, so no Rust object is written.
                unsafe { $function_write(address, value) }
            }
        )*
    };
}

access!(
    read8 write8 probe_read8 probe_write8 u8,
    read16 write16 probe_read16 probe_write16 u16,
    read32 write32 probe_read32 probe_write32 u32,
    read64 write64 probe_read64 probe_write64 u64
);
