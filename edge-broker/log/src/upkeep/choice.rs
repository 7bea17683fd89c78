//! Which job is next: what is most urgent of what may be tried now.
//!
//! Called by `upkeep` whenever no job is under way. What retention takes is in `retention`, what
//! compaction reads in `compaction`.

use super::source;
use crate::catalog::{Catalog, SliceEntry};
use crate::jobs::{Job, Kind, Source};
use crate::{Disk, Store};

/// The next slice is created once this share of the newest one is used, in percent.
const PREPARE_AT_PERCENT: u64 = 25;

impl<D: Disk> Store<D> {
    /// What is most urgent of what may be tried now.
    pub(super) fn choose(&mut self, now_ms: u64) -> Option<Job> {
        if let Some(checkpoint) = self.upkeep.checkpoint.take() {
            return Some(Job::Checkpoint(checkpoint));
        }
        if self.identity.sync_is_due(now_ms) && !self.identity.is_failed() {
            self.identity.begin_sync();
            return Some(Job::SyncIdentity);
        }
        if self.upkeep.may(Kind::Prepare, now_ms) && self.next_slice_is_due() {
            return Some(Job::Prepare {
                number: self.take_number(),
            });
        }
        if let Some(checkpoint) = &self.uncovered
            && self.upkeep.may(Kind::Checkpoint, now_ms)
        {
            return Some(Job::CopyCheckpoint(checkpoint.clone()));
        }
        if !self.names.are_synced() && self.upkeep.may(Kind::SyncNames, now_ms) {
            let slices = self.names.next();
            return Some(Job::SyncNames { slices });
        }
        // The end of the log that waits to be copied lies in slices that do not list it: neither
        // sealed nor copied without it they could give it back.
        let settled = self.tail.is_empty();
        if settled && let Some(job) = self.close_slice(now_ms) {
            return Some(job);
        }
        let may_drop = settled && self.names.are_synced();
        if may_drop && self.upkeep.stale {
            self.upkeep.stale = false;
            self.drop_dead();
        }
        let job = self.get_rid(now_ms);
        job.or_else(|| {
            let may = may_drop && self.upkeep.may(Kind::Rewrite, now_ms);
            may.then(|| self.rewriting(now_ms)).flatten()
        })
    }

    /// Retention and compaction take turns.
    fn rewriting(&mut self, now_ms: u64) -> Option<Job> {
        self.upkeep.compaction_first = !self.upkeep.compaction_first;
        if self.upkeep.compaction_first
            && let Some(job) = self.next_compaction(now_ms)
        {
            return Some(job);
        }
        if let Some(job) = self.mostly_dead() {
            self.upkeep.compacting.disturb();
            return Some(job);
        }
        self.next_compaction(now_ms)
    }

    /// Copies a slice that is not to be trusted, or seals one that was filled.
    fn close_slice(&mut self, now_ms: u64) -> Option<Job> {
        if let Some(source) = self.untrusted(now_ms) {
            return Some(Job::Rescue {
                source,
                number: self.take_number(),
            });
        }
        let may = self.upkeep.may(Kind::Seal, now_ms);
        may.then(|| self.unsealed()).flatten()
    }

    /// A store that has just filled one slice may fill the next before the old one is sealed, so
    /// then the one after it comes first.
    fn next_slice_is_due(&self) -> bool {
        let Some(active) = self.active.as_ref().filter(|_| self.next.is_none()) else {
            return false;
        };
        let used_percent = active.stored_bytes * 100 / self.config.slice_bytes;
        let catalog = self.shared.catalog();
        used_percent >= PREPARE_AT_PERCENT || catalog.slices().any(|e| self.to_seal(e))
    }

    /// A slice that is damaged or poisoned; it is not written from then on. One that cannot be
    /// copied for now holds up no other.
    fn untrusted(&mut self, now_ms: u64) -> Option<Source> {
        let catalog = self.shared.catalog();
        let may = |entry: &&SliceEntry| entry.copy_pause.is_over(now_ms);
        let number = catalog
            .slices()
            .filter(may)
            .find(|entry| !entry.trusted() && !self.stands_for_gone(entry))?
            .number;
        let source = source(&catalog, number);
        drop(catalog);
        self.active.take_if(|active| active.number == number);
        source
    }

    /// Filled, and not closed for good yet.
    fn to_seal(&self, entry: &SliceEntry) -> bool {
        let active = self.active.as_ref().map(|active| active.number);
        !entry.sealed() && Some(entry.number) != active
    }

    /// Slices are being closed or removed, or wait for it.
    pub(crate) fn is_closing(&self, catalog: &Catalog) -> bool {
        let upkeep = &self.upkeep;
        let works = upkeep.running.is_some() || upkeep.stale || !upkeep.gone.is_empty();
        let covers = self.uncovered.is_some();
        works || covers || catalog.slices().any(|entry| self.to_seal(entry))
    }

    fn unsealed(&self) -> Option<Job> {
        let catalog = self.shared.catalog();
        let entry = catalog.slices().find(|e| self.to_seal(e) && e.trusted())?;
        let index = entry.live.clone()?;
        let summary = Box::new(entry.summary.clone());
        Some(Job::Seal {
            number: entry.number,
            summary,
            index: Box::new(index),
        })
    }
}
