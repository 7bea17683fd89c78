//! The work off the append path: what is to be done next, and what came of it.
//!
//! ```text
//! maintain ──> identity file, room, tail ──> outcome of the last job ──> choice ──> worker ─┐
//!                                                │                                          │
//!                                          catalog, gone                    jobs <──────────┘
//! ```
//! One job at a time. Beside the real disk a thread does it, so that an append never waits for a
//! slice being sealed; on the twin it is done in line, so that a seed tells everything. What fails
//! is tried again after a pause of its own: a slice that cannot be removed, sealed or copied for
//! now holds up no other work.

mod choice;
mod gone;
mod outcome;
mod retention;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use gone::Gone;
use worker::Worker;

use crate::catalog::Catalog;
use crate::compaction::Compacting;
use crate::jobs::{Kind, Source};
use crate::pause::Pause;
use crate::{Checkpoint, Disk, DiskError, Maintained, Store};

/// What is under way and what waits.
pub struct Upkeep<D: Disk> {
    background: bool,
    worker: Option<Worker<D>>,
    running: Option<Kind>,
    gone: Vec<Gone>,
    checkpoint: Option<Checkpoint>,
    /// Of the kinds of work that failed last time.
    pauses: BTreeMap<Kind, Pause>,
    looked_at_ms: u64,
    /// Starts or checkpoint moved since retention looked last.
    stale: bool,
    pub(crate) compacting: Compacting,
    /// Compaction's turn comes before retention's rewriting.
    compaction_first: bool,
    /// What was done since the last call.
    report: Maintained,
}

const LOOK_INTERVAL_MS: u64 = 200;

impl<D: Disk> Upkeep<D> {
    /// Nothing to do yet.
    pub fn new(background: bool) -> Upkeep<D> {
        Upkeep {
            background,
            worker: None,
            running: None,
            gone: Vec::new(),
            checkpoint: None,
            pauses: BTreeMap::new(),
            looked_at_ms: 0,
            stale: true,
            compacting: Compacting::default(),
            compaction_first: false,
            report: Maintained::default(),
        }
    }

    /// Writes a checkpoint, when there is time.
    pub fn save_later(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = Some(checkpoint);
    }

    /// What retention looks at has changed.
    pub fn look_again(&mut self) {
        self.stale = true;
    }

    /// Whether work of a kind may be tried now.
    pub(crate) fn may(&self, kind: Kind, now_ms: u64) -> bool {
        self.pauses
            .get(&kind)
            .is_none_or(|pause| pause.is_over(now_ms))
    }

    /// Takes note of how a try went.
    fn tried(&mut self, kind: Kind, what: &str, done: &Result<(), DiskError>, now_ms: u64) {
        match done {
            Ok(()) => drop(self.pauses.remove(&kind)),
            Err(error) => {
                let wait_ms = self.failed(kind, now_ms);
                log::error!("{what}, next try in {wait_ms} ms: {error}");
            }
        }
    }

    /// The next try comes after a pause, in milliseconds.
    fn failed(&mut self, kind: Kind, now_ms: u64) -> u64 {
        self.pauses.entry(kind).or_default().failed(now_ms)
    }
}

impl<D: Disk> Store<D> {
    pub(crate) fn do_upkeep(&mut self) -> Maintained {
        let now_ms = self.shared.disk.now_ms();
        if !self.identity.is_failed() {
            self.upkeep.pauses.remove(&Kind::SyncIdentity);
        } else if self.identity.sync_is_due(now_ms) && self.upkeep.may(Kind::SyncIdentity, now_ms) {
            let synced = self.sync_identity();
            let what = "the identity file is not synced";
            self.upkeep.tried(Kind::SyncIdentity, what, &synced, now_ms);
        }
        if now_ms.saturating_sub(self.upkeep.looked_at_ms) >= LOOK_INTERVAL_MS {
            self.upkeep.looked_at_ms = now_ms;
            self.room.look(&self.shared.disk);
        }
        self.collect(false);
        if !self.tail.is_empty() && self.upkeep.may(Kind::SaveTail, now_ms) {
            let saved = self.save_tail();
            let what = "the end of the log is not copied yet";
            self.upkeep.tried(Kind::SaveTail, what, &saved, now_ms);
        }
        let mut more = false;
        if self.upkeep.running.is_none()
            && let Some(job) = self.choose(now_ms)
        {
            more = self.hand_over(job);
        }
        Maintained {
            more,
            append_bytes_left: self.append_bytes_left(),
            filesystem_full: self.room.filesystem_full(),
            ..std::mem::take(&mut self.upkeep.report)
        }
    }

    /// Waits for a sync of the identity file that is under way.
    pub(crate) fn finish_identity_sync(&mut self) {
        if self.upkeep.running == Some(Kind::SyncIdentity) {
            self.collect(true);
        }
    }

    /// Waits for the job under way; nothing new is begun.
    pub(crate) fn finish_upkeep(&mut self) {
        self.collect(true);
        self.upkeep.worker = None;
    }

    /// The slice created ahead, waiting for it if it is just being created.
    pub(crate) fn take_prepared(&mut self) -> Option<(u64, Arc<D::Slice>)> {
        if self.next.is_none() && self.upkeep.running == Some(Kind::Prepare) {
            self.collect(true);
        }
        self.next.take()
    }

    pub(crate) fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Counts what the store's files take.
    pub(crate) fn count_room(&mut self) {
        let used = self.shared.disk.bytes_used();
        self.room
            .set_used(used.saturating_sub(self.room.ballast_file_bytes()));
    }
}

/// A slice to copy, as the catalog knows it.
pub(crate) fn source(catalog: &Catalog, number: u64) -> Option<Source> {
    let entry = catalog.get(number)?;
    let mut summary = entry.summary.clone();
    summary.partitions = catalog.parts_of(number);
    Some(Source {
        number,
        summary,
        live: entry.live.clone().map(Box::new),
    })
}
