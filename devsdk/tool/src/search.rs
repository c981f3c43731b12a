// Copyright 2026 The seL4 Rust VMM authors
// SPDX-License-Identifier: BSD-2-Clause

//! Where files that the description names are looked for.

use std::path::{Path, PathBuf};

/// Directories in the order of their search.
#[derive(Debug)]
pub struct Search(pub Vec<PathBuf>);

impl Search {
    /// The first file called `name`; an absolute name is itself.
    pub fn find(&self, name: &Path) -> Option<PathBuf> {
        self.0.iter().map(|directory| directory.join(name)).find(|path| path.exists())
    }
}
