// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Where the images go in the guest's RAM.
//!
//! An arm64 Linux `Image` says in its header where it wants to be (Linux, `Documentation/arch/arm64/booting.rst`); any other
//! image is a flat binary for the start of RAM. The device tree takes the last 64 KiB of RAM, the initial ramdisk lies
//! right below it: as far from the kernel as can be. The host tool uses the same [`place`], so what does not fit is known
//! when the system is built.

use crate::map::{RAM_BASE, Range};
use core::fmt;

/// Space for the device tree.
pub const DTB_SIZE: usize = 64 * 1024;
/// What RAM sizes are a multiple of: the size of the pages it is mapped with.
pub const RAM_UNIT: u64 = 2 * 1024 * 1024;

const PAGE: u64 = 4096;
/// Size of the header of an arm64 `Image`.
const IMAGE_HEADER: usize = 64;
const IMAGE_MAGIC: &[u8] = b"ARM\x64";

/// Where everything goes; ranges of guest-physical addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Placement {
    /// The kernel, with the memory that it needs behind its image. Its first address is the guest's entry point.
    pub kernel: Range,
    /// The initial ramdisk; of size 0 where there is none.
    pub initramfs: Range,
    /// Space for the device tree.
    pub dtb: Range,
}

/// Why the images cannot be placed. Sizes in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BootError {
    /// RAM is mapped in pages of [`RAM_UNIT`].
    RamUnaligned {
        /// Size of the RAM.
        ram: u64,
    },
    /// There is nothing to run.
    NoKernel,
    /// The kernel, with the memory that its header asks for, is larger than the RAM before the device tree.
    KernelTooLarge {
        /// What it needs, from the start of RAM.
        need: u64,
        /// What there is.
        have: u64,
    },
    /// The initial ramdisk would reach into the kernel.
    InitramfsOverlaps {
        /// Its size.
        need: u64,
        /// What there is between kernel and device tree.
        have: u64,
    },
    /// The device tree is larger than [`DTB_SIZE`], or a fragment is no device tree.
    DeviceTree,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RamUnaligned { ram } => write!(
                f,
                "RAM of {ram:#x} bytes is not a multiple of 2 MiB; remedy: round the size of the RAM's memory_region"
            ),
            Self::NoKernel => f.write_str("the kernel image is empty; remedy: name one in the kernel's prefill_path"),
            Self::KernelTooLarge { need, have } => write!(
                f,
                "the kernel needs {need:#x} bytes of RAM and has {have:#x}; remedy: enlarge the RAM's memory_region"
            ),
            Self::InitramfsOverlaps { need, have } => write!(
                f,
                "the initramfs of {need:#x} bytes overlaps the kernel, {have:#x} are free; remedy: enlarge the RAM's \
                 memory_region"
            ),
            Self::DeviceTree => f.write_str(
                "the device tree is not valid or larger than 64 KiB; remedy: check the file of dtb or dtb-fragment with `dtc`",
            ),
        }
    }
}

impl core::error::Error for BootError {}

/// Whether `kernel` begins with the header of an arm64 `Image`.
#[must_use]
pub fn is_arm64_image(kernel: &[u8]) -> bool {
    kernel.get(56..60) == Some(IMAGE_MAGIC)
}

/// Where a kernel that begins with `kernel` and has `kernel_size` bytes, and an initial ramdisk of `initramfs_size`
/// bytes, go in `ram` bytes of RAM.
///
/// # Errors
/// [`BootError`], where they do not fit.
pub fn place(kernel: &[u8], kernel_size: u64, initramfs_size: u64, ram: u64) -> Result<Placement, BootError> {
    if ram == 0 || !ram.is_multiple_of(RAM_UNIT) {
        return Err(BootError::RamUnaligned { ram });
    }
    if kernel_size == 0 {
        return Err(BootError::NoKernel);
    }
    let (offset, size) = match kernel.get(..IMAGE_HEADER).filter(|header| is_arm64_image(header)) {
        Some(header) => match (field(header, 8), field(header, 16)) {
            // Before Linux 3.17 the header had no size, and the offset was this.
            (_, 0) => (0x8_0000, kernel_size),
            (offset, size) => (offset, size.max(kernel_size)),
        },
        None => (0, kernel_size),
    };
    let dtb = ram - DTB_SIZE as u64;
    let too_large = |need| BootError::KernelTooLarge { need, have: dtb };
    let kernel_end =
        offset.checked_add(size).filter(|end| *end <= dtb).ok_or(too_large(offset.saturating_add(size)))?;
    let overlaps = BootError::InitramfsOverlaps { need: initramfs_size, have: dtb - kernel_end };
    let initramfs = dtb.checked_sub(initramfs_size).ok_or(overlaps)? & !(PAGE - 1);
    if initramfs < kernel_end {
        return Err(overlaps);
    }
    Ok(Placement {
        kernel: Range { base: RAM_BASE + offset, size },
        initramfs: Range { base: RAM_BASE + initramfs, size: initramfs_size },
        dtb: Range { base: RAM_BASE + dtb, size: DTB_SIZE as u64 },
    })
}

fn field(header: &[u8], at: usize) -> u64 {
    header.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn image(text_offset: u64, image_size: u64) -> Vec<u8> {
        let mut header = vec![0; IMAGE_HEADER];
        header[8..16].copy_from_slice(&text_offset.to_le_bytes());
        header[16..24].copy_from_slice(&image_size.to_le_bytes());
        header[56..60].copy_from_slice(IMAGE_MAGIC);
        header
    }

    #[test]
    fn images_go_where_their_headers_say_and_the_rest_to_the_end() {
        // (what it shows, first bytes, size, offset, size with what it needs behind)
        let cases = [
            ("Image", image(0, 40 * MIB), 33 * MIB, 0, 40 * MIB),
            ("Image with an offset", image(0x8_0000, 40 * MIB), 33 * MIB, 0x8_0000, 40 * MIB),
            ("Image without a size", image(0, 0), 33 * MIB, 0x8_0000, 33 * MIB),
            ("flat", vec![0; 64], 5, 0, 5),
            ("flat and shorter than a header", vec![0; 4], 4, 0, 4),
        ];
        for (name, bytes, size, offset, need) in cases {
            let placement = place(&bytes, size, 3 * MIB + 1, 256 * MIB).unwrap();
            assert_eq!(placement.kernel, Range { base: RAM_BASE + offset, size: need }, "{name}");
            assert_eq!(placement.dtb.base + placement.dtb.size, RAM_BASE + 256 * MIB, "{name}");
            let initramfs = placement.initramfs;
            assert_eq!(initramfs.base % PAGE, 0, "{name}");
            assert!(initramfs.base + initramfs.size <= placement.dtb.base, "{name}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_overflows() {
        let dtb = DTB_SIZE as u64;
        let flat = vec![0; 64];
        let cases = [
            (flat.clone(), 1, 0, 3 * MIB, BootError::RamUnaligned { ram: 3 * MIB }),
            (flat.clone(), 1, 0, 0, BootError::RamUnaligned { ram: 0 }),
            (flat.clone(), 0, 0, 2 * MIB, BootError::NoKernel),
            (flat.clone(), 2 * MIB, 0, 2 * MIB, BootError::KernelTooLarge { need: 2 * MIB, have: 2 * MIB - dtb }),
            (image(u64::MAX, 8), 64, 0, 2 * MIB, BootError::KernelTooLarge { need: u64::MAX, have: 2 * MIB - dtb }),
            (
                flat.clone(),
                1,
                2 * MIB,
                2 * MIB,
                BootError::InitramfsOverlaps { need: 2 * MIB, have: 2 * MIB - dtb - 1 },
            ),
            (flat, 1, u64::MAX, 2 * MIB, BootError::InitramfsOverlaps { need: u64::MAX, have: 2 * MIB - dtb - 1 }),
        ];
        for (bytes, kernel, initramfs, ram, error) in cases {
            assert_eq!(place(&bytes, kernel, initramfs, ram), Err(error));
        }
    }
}
