//! From which index to which the recovered log goes.
//!
//! Asked once, when every slice is in the catalog and the tail is known.

use super::Recovering;
use crate::Disk;
use crate::catalog::{Catalog, SliceEntry};

impl<D: Disk> Recovering<D> {
    /// The first and last raft index: from the end back as far as the log goes without a hole
    /// that no checkpoint covers.
    pub(super) fn set_bounds(&self, catalog: &mut Catalog) {
        let checkpoint = self
            .checkpoint
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.index);
        // The tail voids what the slices have from its lowest index on.
        let tail_from = self.tail.iter().map(|frame| frame.envelope.index).min();
        let void_from = tail_from.unwrap_or(u64::MAX);
        let mut first = tail_from;
        let mut last = None;
        let whole = |entry: &&SliceEntry| !entry.summary.reduced;
        for entry in catalog.slices().rev().filter(whole) {
            let (from, to) = (entry.summary.first_index, entry.last_index());
            if to < from {
                continue;
            }
            last.get_or_insert(to);
            if from >= void_from {
                continue;
            }
            let to = to.min(void_from - 1);
            match first {
                None => first = Some(from),
                Some(begun) if to + 1 >= begun || to > checkpoint => first = Some(from.min(begun)),
                Some(_) => break,
            }
        }
        let mut last = last.unwrap_or(0);
        // The tail is in no slice that counts yet, but it is the end of the log.
        let end = self
            .tail
            .last()
            .map_or(last, |frame| frame.envelope.index.max(last));
        if end < checkpoint {
            (first, last) = (Some(checkpoint + 1), checkpoint);
        }
        catalog.first_index = first.unwrap_or(1);
        catalog.last_index = last;
    }

    pub(super) fn last_index(&self, catalog: &Catalog) -> u64 {
        self.tail
            .last()
            .map_or(catalog.last_index, |frame| frame.envelope.index)
    }
}
