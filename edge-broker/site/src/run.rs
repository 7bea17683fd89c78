//! The site thread: drains the inbox into the core, carries the core's outputs out.

use std::sync::Arc;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::append::Now;
use crate::core::{Output, SiteCore};
use crate::inbox::{Drained, Event, Waiter};
use crate::link::LinkMonth;
use crate::shared::Shared;
use crate::status::{SiteStatus, StorageStatus, SyncStatus, TopicStatus, WearStatus};
use crate::storage::{Job, Jobs};

/// A disk that fails while the site is being stopped is tried again for so long.
const STOP_MAX: Duration = Duration::from_secs(4);

/// Reads the clocks: monotonic since boot, and the wall.
#[derive(Clone)]
pub(crate) struct Clock {
    begun: Instant,
    begun_ms: u64,
}

impl Clock {
    pub fn new(boot_ms: u64) -> Self {
        Clock {
            begun: Instant::now(),
            begun_ms: boot_ms,
        }
    }

    pub fn now(&self) -> Now {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Now {
            mono_ms: self.begun_ms + self.begun.elapsed().as_millis() as u64,
            wall_ms: since_1970.map_or(0, |since| since.as_millis() as i64),
        }
    }
}

/// The thread's own things.
pub(crate) struct SiteLoop {
    pub core: SiteCore<Waiter>,
    pub shared: Arc<Shared>,
    pub jobs: Arc<Jobs>,
    pub clock: Clock,
    /// When the clock was last looked at, and what it showed then for the moment of the boot.
    pub clock_seen: Option<(u64, i64)>,
    pub persist_us: Durations,
    pub link_told: LinkMonth,
    pub stopping_since: Option<Instant>,
    pub begun_ms: u64,
}

impl SiteLoop {
    /// Starts the core and publishes what there is, before anybody has a handle.
    pub fn begin(&mut self) {
        let now = self.clock.now();
        self.look_at_clock(now);
        self.core.start(now);
        self.carry_out();
        self.publish_status(now);
    }

    /// Runs until stopped and everything handed in has its outcome.
    pub fn run(&mut self) {
        loop {
            let now = self.clock.now();
            let deadline = self
                .core
                .deadline_ms(now)
                .map(|at| Instant::now() + Duration::from_millis(at.saturating_sub(now.mono_ms)));
            // While stopping, the disk may be failing: look again, do not wait for ever.
            let deadline = match self.stopping_since {
                Some(_) => Some(Instant::now() + Duration::from_millis(100)),
                None => deadline,
            };
            let drained = self.shared.inbox.drain(deadline);
            self.handle(drained);
            self.carry_out();
            if self.has_stopped() {
                return;
            }
        }
    }

    /// Told to, and nothing waits any more; or a failing disk kept it waiting for too long. What
    /// has no outcome then gets `Unknown` when its ticket goes.
    fn has_stopped(&self) -> bool {
        let too_long = |since: Instant| since.elapsed() >= STOP_MAX;
        self.stopping_since
            .is_some_and(|since| self.core.is_idle() || too_long(since))
    }

    fn handle(&mut self, drained: Drained) {
        let now = self.clock.now();
        self.look_at_clock(now);
        for (spender, request) in drained.appends {
            self.core
                .handle_append(now, Waiter::Append(spender), request);
        }
        if !drained.progress.is_empty() {
            self.core
                .handle_progress(now, drained.progress.into_iter().collect());
        }
        for ((cause, topic), count) in drained.shed {
            self.core.handle_shed(now, cause, topic, count);
        }
        for used in drained.link {
            self.core.handle_link(now, used);
        }
        for event in drained.events {
            self.handle_event(now, event);
        }
        if self.stopping_since.is_some() {
            self.core.handle_stop(now);
        }
        self.core.handle_tick(now);
        if drained.status_wanted {
            self.publish_status(now);
        }
    }

    /// Asks now and then, and at once after a leap, how far the wall clock can be believed.
    fn look_at_clock(&mut self, now: Now) {
        const LEAP_MS: u64 = 500;
        const EVERY_MS: u64 = 1000;
        let offset_ms = now.wall_ms.saturating_sub_unsigned(now.mono_ms);
        let fresh = |&(at, known): &(u64, i64)| {
            now.mono_ms < at + EVERY_MS && offset_ms.abs_diff(known) < LEAP_MS
        };
        if self.clock_seen.as_ref().is_some_and(fresh) {
            return;
        }
        self.clock_seen = Some((now.mono_ms, offset_ms));
        let trust = (self.shared.config.clock_trust)(now.wall_ms);
        self.core.handle_clock(now, trust);
    }

    fn handle_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Topic(spender, op) => self.core.handle_topic(now, Waiter::Topic(spender), op),
            Event::Persisted(number, outcome, us) => {
                self.persist_us.add(us);
                self.core.handle_persisted(now, number, outcome);
            }
            Event::CheckpointSaved(index, outcome) => {
                self.core.handle_checkpoint_saved(now, index, &outcome);
            }
            Event::Report(usage) => self.core.handle_disk_report(now, *usage),
            Event::Maintained(maintained) => self.core.handle_maintained(now, &maintained),
            Event::Fetched(entries) => self.core.handle_fetched(now, entries),
            Event::Stop => {
                self.stopping_since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Publishes first, spends tickets then, wakes last: who wakes sees what was committed.
    fn carry_out(&mut self) {
        let mut spent = Vec::new();
        let mut released = (0, 0);
        let mut committed = false;
        let mut changed = false;
        // Before the records that they are about can be read.
        if let Some(mends) = self.core.take_mends() {
            *self
                .shared
                .mends
                .write()
                .unwrap_or_else(PoisonError::into_inner) = Arc::new(mends);
        }
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Persist(job) => self.jobs.post(Job::Persist(job)),
                Output::SaveCheckpoint(checkpoint) => self.jobs.post(Job::Checkpoint(checkpoint)),
                Output::Starts(starts) => self.jobs.post(Job::Starts(starts)),
                Output::Compaction(to) => self.jobs.post(Job::Compaction(to)),
                Output::Fetch(fetch) => self.jobs.post(Job::Fetch(fetch)),
                Output::WantReport => self.jobs.post(Job::Report),
                Output::Released { bytes, count } => {
                    released = (released.0 + bytes, released.1 + count);
                }
                Output::Committed(frame) => {
                    self.shared.recent().push(frame);
                    committed = true;
                }
                Output::Touched(partitions) => self.publish_marks(&partitions),
                Output::Topics(table) => {
                    self.publish_topics(table);
                    // Who watches commits follows settings too, and may wait long for a record.
                    changed = true;
                }
                // Peers and the spool come with replication.
                Output::Send(_) | Output::Voided(_) => {}
                spend @ (Output::Spent { .. } | Output::TopicDone { .. }) => spent.push(spend),
            }
        }
        let mut wakers: Vec<Waker> = spent.into_iter().filter_map(spend).collect();
        let memory = &self.shared.memory;
        memory.window.set(self.core.window_bytes());
        if committed {
            memory.recent.set(self.shared.recent().bytes());
        }
        if committed || changed {
            wakers.extend(self.shared.committed.ring());
        }
        if released.1 > 0 {
            wakers.extend(self.shared.inbox.release(released.0, released.1));
        }
        wakers.into_iter().for_each(Waker::wake);
        let link = self.core.state().link;
        if link != self.link_told {
            self.link_told = link;
            self.shared.life().link = link;
        }
    }

    fn publish_marks(&self, partitions: &[edge_log::TopicPartition]) {
        let mut marks = self
            .shared
            .marks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for &tp in partitions {
            match self.core.marks(tp) {
                Some(now) => marks.insert(tp, now),
                None => marks.remove(&tp),
            };
        }
    }

    fn publish_topics(&self, table: Arc<crate::topics::TopicTable>) {
        let mut marks = self
            .shared
            .marks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        marks.clear();
        for topic in table.iter() {
            for partition in 0..topic.partitions {
                let tp = topic.partition(partition);
                if let Some(now) = self.core.marks(tp) {
                    marks.insert(tp, now);
                }
            }
        }
        drop(marks);
        *self
            .shared
            .topics
            .write()
            .unwrap_or_else(PoisonError::into_inner) = table;
    }

    fn publish_status(&mut self, now: Now) {
        let status = self.status(now);
        self.shared.life().status = status;
        self.shared.status_bell.ring_now();
    }

    fn status(&self, now: Now) -> SiteStatus {
        let core = &self.core;
        let usage = core.usage();
        let (last_index, committed_index, durable_index) = core.indexes();
        let counters = core.counters();
        let elapsed_ms = now.mono_ms.saturating_sub(self.begun_ms).max(1);
        let written = usage.device_bytes_written.max(counters.device_bytes);
        SiteStatus {
            name: self.shared.name(),
            store_id: core.store_id(),
            leader: core.leads(),
            ready: core.is_ready(),
            fatal: None,
            term: core.term(),
            last_index,
            committed_index,
            durable_index,
            topics: self.topic_status(),
            storage: StorageStatus {
                bytes_used: usage.bytes_used,
                bytes_max: usage.bytes_max,
                free_bytes: usage.free_bytes,
                free_bytes_min: self.shared.config.store.free_bytes_min,
                slices: usage.slices.len(),
                oldest_age_ms: core.oldest_age_ms(now),
            },
            wear: WearStatus {
                gb_per_day_max: self.shared.config.wear_gb_per_day,
                gb_per_day: written as f64 / 1e9 * (86_400_000.0 / elapsed_ms as f64),
                bytes_written: written,
                bytes_payload: counters.payload_bytes,
            },
            sync: SyncStatus {
                commits: counters.commits,
                records: counters.records,
                persist_us_p50: self.persist_us.percentile(50),
                persist_us_p99: self.persist_us.percentile(99),
                sync_us_p50: usage.sync_times.p50_us,
                sync_us_p99: usage.sync_times.p99_us,
            },
            queue: self.shared.inbox.status(),
            link: core.state().link,
            ledger: core.state().ledger.entries().to_vec(),
            lost: core.state().holes.lost().to_vec(),
            alarms: core.alarms().cloned().collect(),
            open: self.shared.open.clone(),
        }
    }

    fn topic_status(&self) -> Vec<TopicStatus> {
        let mut stored = std::collections::HashMap::new();
        for span in self
            .core
            .usage()
            .slices
            .iter()
            .flat_map(|slice| &slice.partitions)
        {
            *stored.entry(span.partition.topic).or_insert(0) += span.bytes;
        }
        let table = self.core.topics().clone();
        let of_topic = |topic: &Arc<crate::topics::Topic>| {
            let state = self.core.state().topics.get(&topic.id);
            let partitions =
                (0..topic.partitions).filter_map(|p| self.core.marks(topic.partition(p)));
            let waiting = state.map_or(0, |state| {
                state
                    .partitions
                    .iter()
                    .map(|p| p.records_between(p.forwarded, p.end))
                    .sum()
            });
            let since = state.and_then(|state| {
                state
                    .partitions
                    .iter()
                    .filter_map(|p| p.waiting_since_ms())
                    .min()
            });
            TopicStatus {
                topic: topic.clone(),
                partitions: partitions.collect(),
                bytes_stored: stored.get(&topic.id).copied().unwrap_or(0),
                records: state.map_or(0, |state| {
                    state
                        .partitions
                        .iter()
                        .map(|p| p.records_between(p.start, p.end))
                        .sum()
                }),
                waiting: if topic.config.forward { waiting } else { 0 },
                waiting_since_ms: since.filter(|_| topic.config.forward),
            }
        };
        table.iter().map(of_topic).collect()
    }
}

fn spend(output: Output<Waiter>) -> Option<Waker> {
    match output {
        Output::Spent {
            ticket: Waiter::Append(spender),
            outcome,
        } => spender.spend(outcome),
        Output::TopicDone {
            ticket: Waiter::Topic(spender),
            outcome,
        } => spender.spend(outcome),
        _ => None,
    }
}

/// The last durations, for percentiles.
#[derive(Default)]
pub(crate) struct Durations {
    us: Vec<u64>,
    next: usize,
}

impl Durations {
    /// How many are remembered.
    const KEPT: usize = 1024;

    fn add(&mut self, us: u64) {
        if self.us.len() < Self::KEPT {
            self.us.push(us);
        } else {
            self.us[self.next] = us;
        }
        self.next = (self.next + 1) % Self::KEPT;
    }

    fn percentile(&self, percent: usize) -> u64 {
        let mut sorted = self.us.clone();
        sorted.sort_unstable();
        sorted
            .get((sorted.len() * percent / 100).min(sorted.len().wrapping_sub(1)))
            .copied()
            .unwrap_or(0)
    }
}
