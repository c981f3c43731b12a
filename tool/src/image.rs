// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! The files that fill a guest's regions.

use crate::problem::{Problem, list};
use flate2::read::MultiGzDecoder;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use vmm_core::boot::is_arm64_image;

/// Where files are looked for, in this order; the Microkit tool is given the same list.
pub struct SearchPath(pub Vec<PathBuf>);

impl SearchPath {
    /// The content of the file `path`.
    ///
    /// # Errors
    /// [`Problem::ImageMissing`], [`Problem::ImageEmpty`], or [`Problem::Unreadable`] with what the system says.
    pub fn load(&self, path: &str) -> Result<Vec<u8>, Problem> {
        let found = self.0.iter().map(|dir| dir.join(path)).find(|full| full.exists()).ok_or_else(|| {
            let dirs = list(self.0.iter().map(|dir| dir.display().to_string()));
            Problem::ImageMissing { path: path.to_owned(), dirs }
        })?;
        let unreadable = |error: std::io::Error| Problem::Unreadable { path: path.to_owned(), why: error.to_string() };
        let bytes = fs::read(&found).map_err(unreadable)?;
        if bytes.is_empty() {
            return Err(Problem::ImageEmpty { path: path.to_owned() });
        }
        Ok(bytes)
    }
}

/// How the first image of a guest begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KernelFormat {
    /// The Linux kernel's arm64 boot protocol (Documentation/arch/arm64/booting.rst).
    Image,
    /// Its first byte is its first instruction.
    Flat,
}

impl KernelFormat {
    /// The names of the setting `kernel-format`.
    pub const NAMES: [(&'static str, Self); 2] = [("image", Self::Image), ("flat", Self::Flat)];
}

/// The content of the kernel's file `path`, and whether it had to be unpacked.
///
/// # Errors
/// The rule that the file breaks.
pub fn kernel(path: &str, bytes: Vec<u8>, format: KernelFormat) -> Result<(Vec<u8>, bool), Problem> {
    let is_packed = bytes.starts_with(&[0x1f, 0x8b]);
    let bytes = if is_packed { gunzip(path, &bytes)? } else { bytes };
    if format == KernelFormat::Image && !is_arm64_image(&bytes) {
        return Err(Problem::ImageFormat { path: path.to_owned() });
    }
    Ok((bytes, is_packed))
}

fn gunzip(path: &str, bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes).read_to_end(&mut unpacked);
    read.map_err(|error| Problem::ImageGzip { path: path.to_owned(), why: error.to_string() })?;
    Ok(unpacked)
}
