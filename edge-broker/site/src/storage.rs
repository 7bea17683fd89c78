//! The storage thread: the only one that writes to the store. Carries out, decides nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edge_log::{Checkpoint, CompactTo, Disk, Store, TopicPartition};

use crate::core::{Fetch, PersistJob};
use crate::inbox::Event;
use crate::shared::Shared;

/// Maintenance comes at least this often, and at once where there is more to do.
const MAINTAIN_MS: u64 = 50;
/// The same while writes never pause. At full speed a slice is filled every 20 ms, and each wants
/// to be created and sealed; a start reads whole what was not sealed.
const BUSY_MS: u64 = 8;

/// The store's figures go to the core at least this often.
const REPORT_MS: u64 = 1000;

/// What the site thread wants done.
pub(crate) enum Job {
    Persist(Arc<PersistJob>),
    Checkpoint(Checkpoint),
    Starts(BTreeMap<TopicPartition, i64>),
    Compaction(BTreeMap<TopicPartition, CompactTo>),
    Fetch(Fetch),
    Report,
    Stop,
}

/// The storage thread's queue. Bounded by the core: one persist, one checkpoint, one report.
#[derive(Default)]
pub(crate) struct Jobs {
    queue: Mutex<VecDeque<Job>>,
    wake: Condvar,
}

impl Jobs {
    pub fn post(&self, job: Job) {
        let mut queue = self.lock();
        match job {
            // An append never waits behind housekeeping.
            Job::Persist(_) => queue.push_front(job),
            // Only the newest starts matter.
            Job::Starts(_) => {
                queue.retain(|other| !matches!(other, Job::Starts(_)));
                queue.push_back(job);
            }
            Job::Compaction(_) => {
                queue.retain(|other| !matches!(other, Job::Compaction(_)));
                queue.push_back(job);
            }
            _ => queue.push_back(job),
        }
        drop(queue);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, wait: Duration) -> Option<Job> {
        let mut queue = self.lock();
        if queue.is_empty() && !wait.is_zero() {
            queue = match self.wake.wait_timeout(queue, wait) {
                Ok((queue, _)) => queue,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        queue.pop_front()
    }
}

/// Runs until told to stop; closes the store in order.
pub(crate) fn run<D: Disk>(mut store: Store<D>, jobs: &Jobs, shared: &Shared) {
    let mut maintained_at = Instant::now();
    let mut reported_at = Instant::now();
    let mut more = true;
    shared.inbox.post(Event::Report(Box::new(store.usage())));
    loop {
        let due = Duration::from_millis(if more { 0 } else { MAINTAIN_MS });
        let wait = due.saturating_sub(maintained_at.elapsed());
        let idle = match jobs.take(wait) {
            Some(Job::Stop) => break,
            Some(job) => {
                work(&mut store, job, shared);
                false
            }
            None => true,
        };
        let overdue = maintained_at.elapsed() >= Duration::from_millis(BUSY_MS);
        if idle || overdue {
            more = maintain(&mut store, shared);
            maintained_at = Instant::now();
        }
        if reported_at.elapsed() >= Duration::from_millis(REPORT_MS) {
            reported_at = Instant::now();
            shared.inbox.post(Event::Report(Box::new(store.usage())));
        }
    }
    store.close();
}

/// A piece of the slow work; whether there is more of it.
fn maintain<D: Disk>(store: &mut Store<D>, shared: &Shared) -> bool {
    let mut maintained = store.maintain();
    for (index, outcome) in maintained.checkpoints.drain(..) {
        if let Err(error) = &outcome {
            log::warn!("checkpoint failed, tried again later: {error}");
        }
        shared.inbox.post(Event::CheckpointSaved(index, outcome));
    }
    let more = maintained.more;
    if !maintained.lost.is_empty() || !maintained.quarantined.is_empty() {
        shared.inbox.post(Event::Maintained(Box::new(maintained)));
    }
    more
}

fn work<D: Disk>(store: &mut Store<D>, job: Job, shared: &Shared) {
    match job {
        Job::Persist(job) => {
            let begun = Instant::now();
            let synced = job.must_sync_hard_state;
            let outcome = store.persist(&job.entries, job.hard_state, synced);
            let us = begun.elapsed().as_micros() as u64;
            if let Err(error) = &outcome {
                log::warn!("commit failed, tried again: {error}");
            }
            shared.inbox.post(Event::Persisted(job.number, outcome, us));
        }
        Job::Checkpoint(checkpoint) => store.save_checkpoint_later(checkpoint),
        Job::Starts(starts) => store.set_starts(&starts),
        Job::Compaction(to) => store.set_compaction(&to),
        Job::Fetch(fetch) => {
            let (from, to) = (fetch.from_index, fetch.to_index);
            let read = store.reader().entries(from, to, fetch.bytes_max);
            let entries = read.unwrap_or_default();
            shared.inbox.post(Event::Fetched(entries));
        }
        Job::Report => shared.inbox.post(Event::Report(Box::new(store.usage()))),
        Job::Stop => {}
    }
}
