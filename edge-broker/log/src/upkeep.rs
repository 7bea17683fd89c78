//! The work off the append path: what is to be done next, and what came of it.
//!
//! ```text
//! maintain ─> identity sync, room ─> outcome of the last job ─> choose ─> worker thread
//!                                          │                                  │
//!                                       catalog  <────────────────────────────┘
//! ```
//! One job at a time. Beside the real disk a thread does it, so that an append never waits for a
//! slice being sealed; on the twin it is done in line, so that a seed tells everything. What fails
//! is tried again after a pause of its own: a slice that cannot be removed or sealed for now holds
//! up no other work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::catalog::{Catalog, SliceEntry};
use crate::compaction::Compacting;
use crate::jobs::{self, Job, Kind, Outcome, Source};
use crate::pause::Pause;
use crate::shared::Shared;
use crate::slice_index::Summary;
use crate::{Checkpoint, Disk, DiskError, LostRange, Maintained, Store};

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
    /// Folders moved aside.
    pub quarantined: u64,
}

/// A slice in no catalog, to be got rid of. It is still in the folder: a start would find it.
#[derive(Debug)]
struct Gone {
    number: u64,
    /// Older slices in which it voided something: that is noted there first.
    voids: Vec<u64>,
    quarantine: bool,
    pause: Pause,
}

impl Gone {
    fn new(number: u64, quarantine: bool) -> Gone {
        Gone {
            number,
            voids: Vec::new(),
            quarantine,
            pause: Pause::default(),
        }
    }
}

struct Worker<D: Disk> {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Outcome<D>>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Disk> Worker<D> {
    fn start(shared: Arc<Shared<D>>) -> std::io::Result<Worker<D>> {
        let (jobs, todo) = sync_channel::<Job>(1);
        let (tell, done) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("log-upkeep".into())
            .spawn(move || {
                for job in todo {
                    if tell.send(jobs::run(&shared, job)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Worker {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }
}

impl<D: Disk> Drop for Worker<D> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The last outcome fits the channel, so the thread never waits for us.
            let _ = thread.join();
        }
    }
}

const LOOK_INTERVAL_MS: u64 = 200;

/// The next slice is created once this share of the newest one is used, in percent.
const PREPARE_AT_PERCENT: u64 = 25;

/// Mostly dead slices are rewritten from this use of the store's limit on, in percent.
const REWRITE_AT_PERCENT: u64 = 60;

/// A slice is mostly dead when less than this share of it lives, in percent.
const MOSTLY_DEAD_PERCENT: u64 = 25;

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
            quarantined: 0,
        }
    }

    /// Removes a slice that is in no catalog, when there is time.
    pub fn remove_later(&mut self, number: u64) {
        self.gone.push(Gone::new(number, false));
    }

    /// Moves one aside, when there is time.
    pub fn quarantine_later(&mut self, number: u64) {
        self.gone.push(Gone::new(number, true));
    }

    /// Writes a checkpoint, when there is time.
    pub fn save_later(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = Some(checkpoint);
    }

    /// Every slice that was taken out of the log is out of the folder too: none can come back.
    pub fn all_gone(&self) -> bool {
        self.gone.is_empty()
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

    /// Whether a slice is still in the folder though it is in no catalog.
    fn is_gone(&self, number: u64) -> bool {
        self.gone.iter().any(|gone| gone.number == number)
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

    /// Has a job done; true when it is done already, and well.
    fn hand_over(&mut self, job: Job) -> bool {
        self.upkeep.running = Some(job.kind());
        let Some(job) = self.give_to_worker(job) else {
            return false;
        };
        let outcome = jobs::run(&self.shared, job);
        let worked = !matches!(outcome, Outcome::Failed { .. });
        self.note(outcome);
        worked
    }

    /// Gives a job to the thread; back it comes where there is none.
    fn give_to_worker(&mut self, job: Job) -> Option<Job> {
        if self.upkeep.background && self.upkeep.worker.is_none() {
            self.upkeep.worker = Worker::start(Arc::clone(&self.shared)).ok();
        }
        let jobs = self
            .upkeep
            .worker
            .as_ref()
            .and_then(|worker| worker.jobs.as_ref());
        match jobs {
            Some(jobs) => jobs.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        }
    }

    /// Takes note of the job that ended, if one did.
    fn collect(&mut self, wait: bool) {
        if self.upkeep.running.is_none() {
            return;
        }
        let Some(worker) = self.upkeep.worker.as_ref() else {
            return;
        };
        let outcome = match wait {
            true => worker.done.recv().ok(),
            false => worker.done.try_recv().ok(),
        };
        if let Some(outcome) = outcome {
            self.note(outcome);
        }
    }

    /// What is most urgent of what may be tried now.
    fn choose(&mut self, now_ms: u64) -> Option<Job> {
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
        // The end of the log that waits to be copied lies in slices that do not list it: neither
        // sealed nor copied without it they could give it back.
        let settled = self.tail.is_empty();
        if settled && let Some(job) = self.close_slice(now_ms) {
            return Some(job);
        }
        if settled && self.upkeep.stale {
            self.upkeep.stale = false;
            self.drop_dead();
        }
        let job = self.get_rid(now_ms);
        job.or_else(|| {
            let may = settled && self.upkeep.may(Kind::Rewrite, now_ms);
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
        if self.upkeep.may(Kind::Rescue, now_ms)
            && let Some(source) = self.untrusted()
        {
            return Some(Job::Rescue {
                source,
                number: self.take_number(),
            });
        }
        let may = self.upkeep.may(Kind::Seal, now_ms);
        may.then(|| self.unsealed()).flatten()
    }

    /// The next slice in no catalog. One that voided something in another goes after it: else the
    /// other could come back with it.
    fn get_rid(&self, now_ms: u64) -> Option<Job> {
        let may = |gone: &&Gone| {
            let is_last = !gone.voids.iter().any(|older| self.upkeep.is_gone(*older));
            gone.pause.is_over(now_ms) && is_last
        };
        let gone = self.upkeep.gone.iter().find(may)?;
        let number = gone.number;
        if gone.quarantine {
            return Some(Job::Quarantine { number });
        }
        let catalog = self.shared.catalog();
        let voided = gone
            .voids
            .iter()
            .filter_map(|older| source(&catalog, *older));
        let voided = voided
            .map(|source| (source.number, source.summary))
            .collect();
        Some(Job::Remove { number, voided })
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

    /// A slice that is damaged or poisoned; it is not written from then on.
    fn untrusted(&mut self) -> Option<Source> {
        let catalog = self.shared.catalog();
        let number = catalog
            .slices()
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

    /// Takes slices out of the catalog all of whose records are dead.
    fn drop_dead(&mut self) {
        let Some(starts) = self.starts.as_ref() else {
            return;
        };
        let mut catalog = self.shared.catalog_mut();
        let kept = kept_numbers(&catalog, &self.config, self.checkpoint_index);
        let live = catalog.live_bytes(starts);
        let spare = self.spare_numbers(&catalog);
        let is_dead = |entry: &&SliceEntry| {
            let is_kept = kept.contains(&entry.number) || !spare.contains(&entry.number);
            !is_kept && live.get(&entry.number).is_none_or(|l| l.live == 0)
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

    /// A copy whose original is still in the folder: without the copy a start would take the
    /// original for the log.
    fn stands_for_gone(&self, entry: &SliceEntry) -> bool {
        let originals = &entry.summary.replaces;
        originals.iter().any(|number| self.upkeep.is_gone(*number))
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

    /// Neighbouring slices that are mostly dead, together no more than one slice.
    fn mostly_dead(&mut self) -> Option<Job> {
        let starts = self.starts.as_ref()?;
        let full = self.room.bytes_used() * 100 / self.config.bytes_max.max(1);
        if full < REWRITE_AT_PERCENT && !self.room.filesystem_full() {
            return None;
        }
        let catalog = self.shared.catalog();
        let kept = kept_numbers(&catalog, &self.config, self.checkpoint_index);
        let spare = self.spare_numbers(&catalog);
        let live = catalog.live_bytes(starts);
        let mut group: Vec<u64> = Vec::new();
        let mut bytes = 0;
        for entry in catalog.slices() {
            let of = live.get(&entry.number).copied().unwrap_or_default();
            // By what its files take: control entries and voided frames go too.
            let dead = of.live * 100 < entry.file_bytes * MOSTLY_DEAD_PERCENT;
            let fits = bytes + of.live <= self.config.slice_bytes;
            let may = spare.contains(&entry.number) && !kept.contains(&entry.number);
            if dead && fits && may && entry.trusted() {
                bytes += of.live;
                group.push(entry.number);
            } else if !group.is_empty() {
                break;
            }
        }
        // One that was rewritten already gains nothing by itself.
        let again = |number: &u64| catalog.get(*number).is_some_and(|e| e.summary.reduced);
        if group.is_empty() || group.len() == 1 && again(&group[0]) {
            return None;
        }
        let sources = group
            .iter()
            .filter_map(|number| source(&catalog, *number))
            .collect();
        let starts = Arc::new(starts.clone());
        drop(catalog);
        Some(Job::Rewrite {
            sources,
            number: self.take_number(),
            starts,
            filter: None,
        })
    }

    fn note(&mut self, outcome: Outcome<D>) {
        let kind = self.upkeep.running.take();
        match outcome {
            // These two have their own ways to be tried again.
            Outcome::Checkpoint { index, saved } => {
                let saved = self.note_checkpoint(index, saved);
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
                self.upkeep.quarantined += 1;
                self.upkeep.report.quarantined.push(name);
            }
            Outcome::Rescued { old, copied, lost } => self.note_rescued(old, copied, lost),
            Outcome::Rewritten { old, copied } => self.note_rewritten(&old, copied),
            Outcome::Compacted(pass) => self.upkeep.compacting.take_back(pass),
            Outcome::Saved
            | Outcome::Checkpoint { .. }
            | Outcome::IdentitySynced { .. }
            | Outcome::Failed { .. } => {}
        }
    }

    /// A slice is no longer in the folder; what waited for that may go too.
    fn note_rid(&mut self, number: u64) {
        self.upkeep.gone.retain(|gone| gone.number != number);
        self.upkeep.stale = true;
    }

    fn note_rescued(
        &mut self,
        old: u64,
        copied: Option<(u64, Box<Summary>)>,
        lost: Option<LostRange>,
    ) {
        let mut catalog = self.shared.catalog_mut();
        catalog.copies += 1;
        let damaged = catalog.get(old).is_some_and(|entry| entry.damaged);
        let void_from = catalog
            .get(old)
            .map_or(u64::MAX, |entry| entry.summary.void_from);
        let gone = take_out(&mut catalog, old, damaged || lost.is_some());
        if let Some((number, mut summary)) = copied {
            summary.void_from = summary.void_from.min(void_from);
            let file_bytes = self.shared.disk.slice_bytes(number);
            catalog.add(number, *summary, None, file_bytes);
        }
        drop(catalog);
        self.upkeep.gone.extend(gone);
        self.upkeep.report.lost.extend(lost);
        self.upkeep.compacting.disturb();
    }

    fn note_rewritten(&mut self, old: &[u64], copied: Option<(u64, Box<Summary>)>) {
        let mut catalog = self.shared.catalog_mut();
        catalog.copies += 1;
        for number in old {
            raise_first_index(&mut catalog, *number);
            let gone = take_out(&mut catalog, *number, false);
            self.upkeep.gone.extend(gone);
            self.upkeep.report.rewritten += 1;
        }
        if let Some((number, summary)) = copied {
            let file_bytes = self.shared.disk.slice_bytes(number);
            catalog.add(number, *summary, None, file_bytes);
        }
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
            Job::Rescue { number, .. } => self.upkeep.remove_later(*number),
            Job::Rewrite { number, filter, .. } => {
                self.upkeep.remove_later(*number);
                if filter.is_some() {
                    self.upkeep.compacting.give_up();
                }
            }
            Job::Prepare { .. } | Job::Checkpoint(_) | Job::SyncIdentity | Job::SaveFile { .. } => {
            }
        }
        self.upkeep.failed(job.kind(), now_ms);
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

    pub(crate) fn kept_numbers(&self, catalog: &Catalog) -> BTreeSet<u64> {
        kept_numbers(catalog, &self.config, self.checkpoint_index)
    }

    /// Counts what the store's files take.
    pub(crate) fn count_room(&mut self) {
        let used = self.shared.disk.bytes_used();
        self.room
            .set_used(used.saturating_sub(self.room.ballast_bytes()));
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
        live: entry.live.clone(),
    })
}

/// The entries of a slice are no longer raft's.
fn raise_first_index(catalog: &mut Catalog, number: u64) {
    let entry = catalog.get(number).filter(|entry| !entry.summary.reduced);
    let next = entry.map_or(0, |entry| entry.last_index() + 1);
    catalog.first_index = catalog.first_index.max(next);
}

/// Takes a slice out of the catalog; older slices are to remember what it voided in them.
fn take_out(catalog: &mut Catalog, number: u64, quarantine: bool) -> Option<Gone> {
    let entry = catalog.remove(number)?;
    let is_voided = |older: &&SliceEntry| {
        older.sealed()
            && older.summary.first_sequence < entry.summary.first_sequence
            && entry.summary.voids_from <= older.summary.last_index
    };
    let voided = catalog.slices().filter(is_voided);
    let voids = voided.map(|older| older.number).collect();
    Some(Gone {
        voids,
        ..Gone::new(number, quarantine)
    })
}

/// Slices that retention may not touch: the newest ones up to raft's window, what no checkpoint
/// covers, what is not sealed.
fn kept_numbers(
    catalog: &Catalog,
    config: &crate::StoreConfig,
    checkpoint_index: u64,
) -> BTreeSet<u64> {
    let window = config.raft_window_bytes.min(config.bytes_max / 4);
    let mut bytes = 0;
    let mut kept = BTreeSet::new();
    for entry in catalog.slices().rev() {
        if bytes < window
            || entry.last_index() > checkpoint_index
            || !entry.sealed()
            || kept.is_empty()
        {
            kept.insert(entry.number);
        }
        bytes += entry.file_bytes;
    }
    kept
}
