//! What came of a job: the catalog and the counters take note, and what failed gets its pause.
//!
//! Called on the storage thread, wherever the job was done.

use super::gone::take_out;
use super::retention::raise_first_index;
use crate::jobs::{Job, Outcome};
use crate::slice_index::Summary;
use crate::{Disk, DiskError, LostRange, Store};

/// The number of a copy, and what is in it.
type Copied = Option<(u64, Box<Summary>)>;

impl<D: Disk> Store<D> {
    pub(super) fn note(&mut self, outcome: Outcome<D>) {
        let kind = self.upkeep.running.take();
        match outcome {
            // These two have their own ways to be tried again.
            Outcome::Checkpoint { checkpoint, saved } => {
                let index = checkpoint.index;
                let saved = self.note_checkpoint(checkpoint, saved);
                self.upkeep.report.checkpoints.push((index, saved));
            }
            Outcome::IdentitySynced { synced, took_us } => {
                self.stats.note_sync(took_us);
                self.identity.end_sync(&self.shared.disk, &synced);
            }
            Outcome::Failed { job, error } => self.note_failed(&job, &error),
            done => {
                self.note_done(done);
                kind.and_then(|kind| self.upkeep.pauses.remove(&kind));
                self.count_room();
            }
        }
    }

    fn note_done(&mut self, done: Outcome<D>) {
        match done {
            Outcome::Prepared { number, slice } => self.next = Some((number, slice)),
            Outcome::Sealed {
                number,
                summary,
                file_bytes,
            } => {
                self.shared.catalog_mut().seal(number, &summary, file_bytes);
                self.upkeep.report.sealed += 1;
                self.upkeep.stale = true;
            }
            Outcome::Removed { number } => self.note_rid(number),
            Outcome::Quarantined { number, name } => {
                log::warn!("a damaged slice was salvaged and moved aside: {name}");
                self.note_rid(number);
                self.upkeep.report.quarantined.push(name);
            }
            Outcome::Rescued { old, copied, lost } => self.note_rescued(old, copied, lost),
            Outcome::Rewritten { old, copied } => self.note_rewritten(&old, copied),
            Outcome::Compacted(pass) => self.upkeep.compacting.take_back(pass),
            Outcome::CheckpointCopied { index } => {
                self.covered_index = index;
                self.uncovered
                    .take_if(|checkpoint| checkpoint.index <= index);
                self.upkeep.stale = true;
            }
            Outcome::NamesSynced { slices } => self.names.note(&slices),
            Outcome::Saved
            | Outcome::Checkpoint { .. }
            | Outcome::IdentitySynced { .. }
            | Outcome::Failed { .. } => {}
        }
    }

    fn note_rescued(&mut self, old: u64, copied: Copied, lost: Option<LostRange>) {
        let copied = self.measured(copied);
        let mut catalog = self.shared.catalog_mut();
        catalog.copies += 1;
        let damaged = catalog.get(old).is_some_and(|entry| entry.damaged);
        let void_from = catalog
            .get(old)
            .map_or(u64::MAX, |entry| entry.summary.void_from);
        let gone = take_out(&mut catalog, old, damaged || lost.is_some());
        if let Some((number, mut summary, file_bytes)) = copied {
            summary.void_from = summary.void_from.min(void_from);
            catalog.add(number, *summary, None, file_bytes);
        }
        drop(catalog);
        self.upkeep.gone.extend(gone);
        self.upkeep.report.lost.extend(lost);
        self.upkeep.compacting.disturb();
    }

    fn note_rewritten(&mut self, old: &[u64], copied: Copied) {
        let copied = self.measured(copied);
        let mut catalog = self.shared.catalog_mut();
        catalog.copies += 1;
        for number in old {
            raise_first_index(&mut catalog, *number);
            let gone = take_out(&mut catalog, *number, false);
            self.upkeep.gone.extend(gone);
            self.upkeep.report.rewritten += 1;
        }
        if let Some((number, summary, file_bytes)) = copied {
            catalog.add(number, *summary, None, file_bytes);
        }
    }

    /// A copy with its size: asked before the catalog is locked, since that walks a folder.
    fn measured(&self, copied: Copied) -> Option<(u64, Box<Summary>, u64)> {
        let (number, summary) = copied?;
        Some((number, summary, self.shared.disk.slice_bytes(number)))
    }

    fn note_failed(&mut self, job: &Job, error: &DiskError) {
        log::warn!("{} failed and is tried again: {error}", job.what());
        if *error == DiskError::Full {
            self.room.give_up_ballast(&self.shared.disk);
        }
        let now_ms = self.shared.disk.now_ms();
        match job {
            Job::Remove { number, .. } | Job::Quarantine { number } => {
                let mut gone = self.upkeep.gone.iter_mut();
                let gone = gone.find(|gone| gone.number == *number);
                gone.map(|gone| gone.pause.failed(now_ms));
                return;
            }
            Job::Seal { number, .. } => self.note_unsealed(*number, error),
            Job::Compact(_) => self.upkeep.compacting.give_up(),
            // What was written of it was removed at once, if the disk let it.
            Job::Rescue { source, number } => {
                self.upkeep.remove_later(*number);
                return self.note_uncopied(source.number, now_ms);
            }
            Job::Rewrite { number, filter, .. } => {
                self.upkeep.remove_later(*number);
                if filter.is_some() {
                    self.upkeep.compacting.give_up();
                }
            }
            Job::Prepare { .. }
            | Job::Checkpoint(_)
            | Job::CopyCheckpoint(_)
            | Job::SyncIdentity
            | Job::SyncNames { .. }
            | Job::SaveFile { .. } => {}
        }
        self.upkeep.failed(job.kind(), now_ms);
    }

    /// It is copied later; others may be meanwhile.
    fn note_uncopied(&self, number: u64, now_ms: u64) {
        let mut catalog = self.shared.catalog_mut();
        let entry = catalog.get_mut(number);
        entry.map(|entry| entry.copy_pause.failed(now_ms));
    }

    /// Sealing syncs, and a slice whose sync failed is not synced again: it is copied.
    fn note_unsealed(&mut self, number: u64, error: &DiskError) {
        let mut catalog = self.shared.catalog_mut();
        let Some(entry) = catalog.get_mut(number) else {
            return;
        };
        match error {
            DiskError::Damaged(_) => entry.damaged = true,
            DiskError::Io(_) => {
                entry.poisoned = true;
                self.stats.poisoned_slices += 1;
            }
            DiskError::Full | DiskError::Locked(_) => {}
        }
    }
}
