//! What retention takes: slices all of whose records are dead, and what is dead of others.
//!
//! Which records are dead the site says, by the start of each partition. Slices that raft still
//! needs, and those that a start would miss, are left alone. Called when a job is chosen.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::gone::take_out;
use super::source;
use crate::catalog::{Catalog, SliceEntry};
use crate::jobs::Job;
use crate::report::is_worth_rewriting;
use crate::room::FILE_BYTES_PER_BYTE;
use crate::{Disk, Store};

/// Mostly dead slices are rewritten from this use of the store's limit on, in percent.
const REWRITE_AT_PERCENT: u64 = 60;

/// A slice is mostly dead when less than this share of it lives, in percent.
const MOSTLY_DEAD_PERCENT: u64 = 25;

impl<D: Disk> Store<D> {
    /// Takes slices out of the catalog all of whose records are dead.
    pub(super) fn drop_dead(&mut self) {
        if self.starts.is_none() {
            return;
        }
        let mut catalog = self.shared.catalog_mut();
        let kept = self.kept_numbers(&catalog);
        let spare = self.spare_numbers(&catalog);
        let is_dead = |entry: &&SliceEntry| {
            let is_kept = kept.contains(&entry.number) || !spare.contains(&entry.number);
            !is_kept && entry.bytes.live == 0
        };
        let dead: Vec<u64> = catalog
            .slices()
            .filter(is_dead)
            .map(|entry| entry.number)
            .collect();
        // From the end, so that each one knows what it voided in those before it.
        let mut gone = Vec::with_capacity(dead.len());
        for number in dead.into_iter().rev() {
            raise_first_index(&mut catalog, number);
            gone.extend(take_out(&mut catalog, number, false));
            self.upkeep.report.dropped += 1;
        }
        self.upkeep.gone.extend(gone.into_iter().rev());
    }

    /// Slices that a start would not miss. It takes a missing one for one that retention took
    /// only behind a sealed one; and what a slice voids in one that is not sealed is noted nowhere
    /// else.
    pub(crate) fn spare_numbers(&self, catalog: &Catalog) -> BTreeSet<u64> {
        let mut spare = BTreeSet::new();
        let mut behind_sealed = true;
        let mut unsealed_to = 0;
        for entry in catalog.slices() {
            let voids_sealed = entry.summary.voids_from > unsealed_to;
            if behind_sealed && voids_sealed && !self.stands_for_gone(entry) {
                spare.insert(entry.number);
            }
            behind_sealed = entry.sealed();
            if !behind_sealed {
                unsealed_to = unsealed_to.max(entry.summary.last_index);
            }
        }
        spare
    }

    /// Rewrites slices that are mostly dead, once the store is full enough for that, and less dead
    /// ones when room runs short.
    pub(super) fn mostly_dead(&mut self) -> Option<Job> {
        let starts = Arc::clone(self.starts.as_ref()?);
        let full = self.room.bytes_used() * 100 / self.config.bytes_max.max(1);
        if full < REWRITE_AT_PERCENT && !self.room.filesystem_full() {
            return None;
        }
        let catalog = self.shared.catalog();
        let group = self.dead_neighbours(&catalog);
        let group = group.or_else(|| self.worth_rewriting(&catalog).map(|number| vec![number]))?;
        let sources = group
            .iter()
            .filter_map(|number| source(&catalog, *number))
            .collect();
        drop(catalog);
        Some(Job::Rewrite {
            sources,
            number: self.take_number(),
            starts,
            filter: None,
        })
    }

    /// The first neighbouring slices that are mostly dead, together no more than one slice.
    fn dead_neighbours(&self, catalog: &Catalog) -> Option<Vec<u64>> {
        let kept = self.kept_numbers(catalog);
        let spare = self.spare_numbers(catalog);
        let mut group: Vec<&SliceEntry> = Vec::new();
        let mut bytes = 0;
        for entry in catalog.slices() {
            // By what its files take: control entries and voided frames go too.
            let dead = entry.bytes.live * 100 < entry.file_bytes * MOSTLY_DEAD_PERCENT;
            let may = spare.contains(&entry.number) && !kept.contains(&entry.number);
            let joins = dead && may && entry.trusted();
            if !joins || bytes + entry.bytes.live > self.config.slice_bytes {
                if is_worth_it(&group) {
                    break;
                }
                group.clear();
                bytes = 0;
            }
            if joins {
                bytes += entry.bytes.live;
                group.push(entry);
            }
        }
        is_worth_it(&group).then(|| group.iter().map(|entry| entry.number).collect())
    }

    /// With little room left, the first slice of which enough is dead, though it is not mostly
    /// dead, and for whose copy there is room.
    fn worth_rewriting(&self, catalog: &Catalog) -> Option<u64> {
        if self.append_bytes_left() >= self.config.wanted_bytes() {
            return None;
        }
        let kept = self.kept_numbers(catalog);
        let spare = self.spare_numbers(catalog);
        let may = |entry: &&SliceEntry| {
            let (live, all) = (entry.bytes.live, entry.bytes.all);
            let free = spare.contains(&entry.number) && !kept.contains(&entry.number);
            let fits = self.room.refuses(FILE_BYTES_PER_BYTE * live).is_none();
            free && fits && all > 0 && entry.trusted() && is_worth_rewriting(live, all)
        };
        Some(catalog.slices().find(may)?.number)
    }

    /// Slices that retention may not touch: the newest ones that fit whole into raft's window, what
    /// a start from the second checkpoint needs, what is not sealed.
    pub(crate) fn kept_numbers(&self, catalog: &Catalog) -> BTreeSet<u64> {
        let window = self.config.raft_window_bytes.min(self.config.bytes_max / 4);
        let mut bytes = 0;
        let mut kept = BTreeSet::new();
        for entry in catalog.slices().rev() {
            if bytes + entry.file_bytes <= window
                || entry.last_index() > self.covered_index
                || !entry.sealed()
                || kept.is_empty()
            {
                kept.insert(entry.number);
            }
            bytes += entry.file_bytes;
        }
        kept
    }
}

/// Whether rewriting slices into one frees something: one that was rewritten already gains nothing
/// by itself.
fn is_worth_it(group: &[&SliceEntry]) -> bool {
    match group {
        [] => false,
        [entry] => !entry.summary.reduced,
        _ => true,
    }
}

/// The entries of a slice are no longer raft's.
pub fn raise_first_index(catalog: &mut Catalog, number: u64) {
    let entry = catalog.get(number).filter(|entry| !entry.summary.reduced);
    let next = entry.map_or(0, |entry| entry.last_index() + 1);
    catalog.first_index = catalog.first_index.max(next);
}
