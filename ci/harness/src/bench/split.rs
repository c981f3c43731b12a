// SPDX-License-Identifier: BSD-2-Clause
// Copyright 2026 The seL4 Rust VMM authors

//! Where the instructions of input and output are: in the guest, in seL4, in which domains.

use super::Report;
use super::counts::{Count, Counts};
use super::io::{FIGURES, Measured};

/// What `/io` counts as an operation is a byte in these; the split is that of so many.
const PIECES: [(&str, f64, &str); 4] = [
    ("tcp-send", 1_048_576.0, "1 MiB"),
    ("tcp-receive", 1_048_576.0, "1 MiB"),
    ("console-write", 16.0, "16 B"),
    ("tcp-guests", 1_048_576.0, "1 MiB"),
];

impl Report {
    /// What an operation of each figure takes of whom. The numbers of `counts` are the figures' places in their list.
    pub(super) fn split(&mut self, counts: &Counts, measured: &Measured) {
        self.line(format_args!(
            "\n{:<28}{:>9}{:>9}{:>9}  in domains",
            "instructions for each", "guest", "seL4", "returns"
        ));
        for (index, figure) in FIGURES.iter().enumerate() {
            // Without the unit of the figure.
            let what = figure.what.rsplit_once(", ").map_or(figure.what, |(what, _)| what);
            let piece = PIECES.iter().find(|(name, ..)| *name == figure.name);
            let (size, what) = piece.map_or((1.0, what.to_owned()), |(_, size, of)| (*size, format!("{what}, {of}")));
            match counts.get(&index).zip(measured.get(figure.name)) {
                Some((count, (operations, _))) => {
                    self.line(format_args!("{what:<28}{}", row(count, operations / size)));
                }
                None => self.exceeded.push(format!("{what}: nothing was counted")),
            }
        }
    }
}

fn row(count: &Count, operations: f64) -> String {
    let each = |count: u64| count as f64 / operations;
    let mut domains: Vec<_> = count.domains.iter().map(|(name, count)| (name, each(*count).round())).collect();
    domains.retain(|(_, count)| *count > 0.0);
    domains.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let domains: Vec<_> = domains.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let [guest, kernel] = [count.guest, count.kernel].map(|count| each(count).round());
    format!("{guest:>9}{kernel:>9}{:>9.1}  {}", each(count.returns), domains.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_and_those_of_nothing_left_out() {
        let domains = [("vmm", 449), ("blk_virtio", 1051), ("idle", 4)].map(|(name, count)| (name.to_owned(), count));
        let count = Count { kernel: 9996, returns: 102, guest: 23_456, domains: domains.into() };
        assert_eq!(row(&count, 10.0), "     2346     1000     10.2  blk_virtio 105, vmm 45");
    }
}
