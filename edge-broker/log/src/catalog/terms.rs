//! Which term each raft index is of: runs of one term, put together over the slices.
//!
//! Asked by readers for entries that were lost and, when a store is opened, for raft.

use super::Catalog;

impl Catalog {
    /// The term of an entry, or of the nearest before it.
    pub fn term_at(&self, index: u64) -> u64 {
        let entry =
            self.slices.values().rev().find(|s| {
                s.summary.first_index <= index && s.summary.first_index <= s.last_index()
            });
        let terms = entry.map_or(&[][..], |entry| &entry.summary.terms);
        terms
            .iter()
            .rev()
            .find(|(first, _)| *first <= index)
            .map_or(0, |(_, term)| *term)
    }

    /// (first index, term) of each run of one term, from `first_index` on.
    pub fn terms(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for entry in self.slices.values() {
            let last = entry.last_index();
            let live = entry
                .summary
                .terms
                .iter()
                .filter(|(first, _)| *first <= last);
            for (first, term) in live {
                if runs.last().is_none_or(|(_, last)| last != term) {
                    runs.push((*first, *term));
                }
            }
        }
        let before = runs.partition_point(|(first, _)| *first <= self.first_index);
        runs.drain(..before.saturating_sub(1));
        if let Some(run) = runs.first_mut() {
            run.0 = run.0.max(self.first_index);
        }
        runs
    }
}

/// Adds entries to runs of terms; they take the place of what the runs have from there on.
pub fn join_terms(
    mut runs: Vec<(u64, u64)>,
    entries: impl Iterator<Item = (u64, u64)>,
) -> Vec<(u64, u64)> {
    for (index, term) in entries {
        runs.truncate(runs.partition_point(|(first, _)| *first < index));
        if runs.last().is_none_or(|(_, last)| *last != term) {
            runs.push((index, term));
        }
    }
    runs
}
