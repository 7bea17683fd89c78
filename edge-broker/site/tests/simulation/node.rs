//! One gateway of the simulation: a core, a store, a disk that can be cut off.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use edge_log::sim::MemDisk;
use edge_log::{
    CompactTo, Durable, Frame, FrameHeader, Item, PartitionSpan, PersistError, SliceInfo, Store,
    StoreConfig,
};
use edge_site::core::{CoreConfig, Fetch, Message, Output, PersistJob, SiteCore, TopicOp};
use edge_site::{Compression, Now, SiteConfig, TopicPartition};

use crate::Seen;
use crate::checker::Checker;
use crate::clocks::Clocks;
use crate::work::Work;

/// A gateway, up or down.
pub struct Node {
    pub number: usize,
    pub disk: MemDisk,
    pub config: SiteConfig,
    pub voters: Vec<u64>,
    pub up: Option<Up>,
    pub rng: fastrand::Rng,
    clocks: Clocks,
    /// The next start is a boot of the machine.
    boots: bool,
    failed_starts: u32,
    /// The disk may fail by chance now.
    pub faulty: bool,
}

/// A gateway that runs.
pub struct Up {
    pub core: SiteCore<u64>,
    pub store: Store<MemDisk>,
    writing: VecDeque<Writing>,
    /// Writes that were handed out for this node's own frames: index to term and intakes.
    own: BTreeMap<u64, (u64, Vec<u64>)>,
    voided: HashSet<u64>,
    fetch: Option<Fetch>,
    checkpoint: Option<edge_log::Checkpoint>,
    starts: Option<BTreeMap<TopicPartition, i64>>,
    /// The last ones that the store knows.
    told_starts: Option<BTreeMap<TopicPartition, i64>>,
    compaction: Option<BTreeMap<TopicPartition, CompactTo>>,
    report_due_ms: u64,
}

/// A persist on its way: written at one moment, reported at a later one.
struct Writing {
    job: Arc<PersistJob>,
    write_at_ms: u64,
    report_at_ms: u64,
    outcome: Option<Result<Durable, PersistError>>,
}

/// A topic whose records expire within a run; those of the others live for a week.
pub const EXPIRING: &str = "expiring";

/// How long they are kept.
pub const RETENTION_MS: u64 = 3_000;

pub fn store_config() -> StoreConfig {
    StoreConfig {
        slice_bytes: 8 << 10,
        slices_open_max: 2,
        cache_bytes: 1 << 20,
        raft_window_bytes: 8 << 10,
        bytes_max: 1 << 40,
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..StoreConfig::default()
    }
}

pub fn site_config(rng: &mut fastrand::Rng) -> SiteConfig {
    SiteConfig {
        name: "sim".into(),
        store: store_config(),
        wear_gb_per_day: if rng.bool() { 0.0 } else { 0.2 },
        commit_bytes_max: if rng.bool() { 4 << 10 } else { 128 << 10 },
        compression: if rng.bool() {
            Compression::Lz4
        } else {
            Compression::None
        },
        ..SiteConfig::default()
    }
}

impl Node {
    pub fn new(number: usize, seed: u64, config: SiteConfig) -> Node {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(31).wrapping_add(number as u64));
        let disk = MemDisk::new(seed.wrapping_mul(7).wrapping_add(number as u64));
        Node {
            number,
            disk,
            config,
            voters: Vec::new(),
            up: None,
            clocks: Clocks::new(number, rng.i64(0..1_000_000)),
            rng,
            boots: false,
            failed_starts: 0,
            faulty: false,
        }
    }

    /// The store's id, by opening it once.
    pub fn store_id(&mut self) -> u64 {
        let (store, recovery) = Store::open(self.disk.clone(), self.config.store.clone()).unwrap();
        store.close();
        self.disk = self.disk.restarted();
        recovery.store_id
    }

    /// What its clocks show.
    pub fn now(&self, world: Now) -> Now {
        self.clocks.now(world)
    }

    /// Its wall clock leaps.
    pub fn clock_leaps(&mut self, world: Now, seen: &mut Seen) {
        self.clocks.leap(world, &mut self.rng);
        seen.leaps += 1;
        if let Some(up) = &mut self.up {
            let trust = self.clocks.trust(world);
            up.core.handle_clock(self.clocks.now(world), trust);
        }
    }

    /// Starts it. False if the disk does not let it (it is tried again later).
    pub fn start(&mut self, world: Now, checker: &mut Checker, seen: &mut Seen) -> bool {
        if std::mem::take(&mut self.boots) {
            self.clocks.boot(world);
        }
        let now = self.clocks.now(world);
        let opened = Store::open(self.disk.clone(), self.config.store.clone());
        if crate::tracing() {
            eprintln!(
                "open {:?}",
                opened
                    .as_ref()
                    .map(|o| (
                        &o.1.hard_state,
                        o.1.first_index,
                        o.1.last_index,
                        &o.1.lost,
                        o.1.checkpoint.as_ref().map(|c| c.index)
                    ))
                    .map_err(|e| e.to_string())
            );
        }
        let (store, recovery) = match opened {
            // What it found after that nobody is told.
            Ok(_) if self.disk.is_crashed() => return self.failed_to_start(&"it went down"),
            Ok(opened) => opened,
            Err(error) => return self.failed_to_start(&error),
        };
        self.failed_starts = 0;
        assert_eq!(
            recovery.previous_store_id, None,
            "lost something: {:?}",
            recovery.lost
        );
        assert_eq!(recovery.lost, [], "nothing synced is ever lost");
        seen.replayed_from_checkpoint += u64::from(recovery.checkpoint.is_some());
        let config = CoreConfig {
            site: self.config.clone(),
            boot_id: self.clocks.boot_id,
            seed: self.rng.u128(..),
            voters: self.voters.clone(),
        };
        let mut core = SiteCore::open(config, recovery, now);
        let reader = store.reader();
        while let Some((from, to)) = core.replay_wants() {
            match reader.entries(from, to, 10_000) {
                Ok(entries) => core.replay(entries, now),
                Err(error) => return self.failed_to_start(&error),
            }
        }
        if !self.voters.is_empty() {
            core.pin_election_ticks(Some(10 + self.rng.usize(..10)));
            checker.restarted(self.number);
        }
        core.handle_clock(now, self.clocks.trust(world));
        core.start(now);
        self.up = Some(Up {
            core,
            store,
            writing: VecDeque::new(),
            own: BTreeMap::new(),
            voided: HashSet::new(),
            fetch: None,
            checkpoint: None,
            starts: None,
            told_starts: None,
            compaction: None,
            report_due_ms: 0,
        });
        true
    }

    /// Syncs that were to fail may fail now, but not for ever.
    fn failed_to_start(&mut self, error: &dyn std::fmt::Display) -> bool {
        self.failed_starts += 1;
        assert!(self.failed_starts < 30, "cannot be opened: {error}");
        false
    }

    /// The process dies; with `cut` the power too.
    pub fn kill(&mut self, cut: bool, work: &mut Work, seen: &mut Seen) {
        self.up = None;
        self.boots |= cut;
        if crate::tracing() {
            eprintln!("kill cut={cut}");
        }
        self.disk = if cut {
            self.disk.power_cut()
        } else {
            self.disk.restarted()
        };
        seen.power_cuts += u64::from(cut);
        seen.kills += u64::from(!cut);
        work.node_died(self.number);
    }

    /// Asks for topics that do not exist yet.
    pub fn ensure_topic(&mut self, world: Now, name: &str) {
        let now = self.now(world);
        let Some(up) = &mut self.up else { return };
        let name = name.to_owned();
        let settings = match name.as_str() {
            "state" | "mirrored" => Some(compacted(name == "mirrored")),
            EXPIRING => Some([("retention.ms".into(), RETENTION_MS.to_string())].into()),
            _ => None,
        };
        let op = match settings {
            Some(settings) => TopicOp::Create {
                name,
                partitions: None,
                settings,
            },
            None => TopicOp::Ensure {
                name,
                settings: Default::default(),
            },
        };
        up.core.handle_topic(now, 0, op);
    }

    /// One step: the disk works, time passes, outputs are carried out.
    pub fn step(
        &mut self,
        world: Now,
        work: &mut Work,
        checker: &mut Checker,
        seen: &mut Seen,
        send: &mut Vec<Message>,
    ) {
        if self.up.is_none() {
            return;
        }
        let now = self.now(world);
        self.disk_works(now, checker, seen);
        if let Some(up) = &mut self.up {
            up.core.handle_tick(now);
        }
        self.carry_out(now, work, checker, seen, send);
        if self.disk.is_crashed() {
            seen.crashes_inside += 1;
            let cut = self.rng.bool();
            self.kill(cut, work, seen);
        }
    }

    fn disk_works(&mut self, now: Now, checker: &mut Checker, seen: &mut Seen) {
        let Some(up) = &mut self.up else { return };
        if let Some(writing) = up.writing.front_mut() {
            if writing.outcome.is_none() && now.mono_ms >= writing.write_at_ms {
                let job = &writing.job;
                let must = job.must_sync_hard_state;
                let outcome = up.store.persist(&job.entries, job.hard_state, must);
                match &outcome {
                    Err(PersistError::Poisoned { .. }) => seen.poisoned += 1,
                    Err(PersistError::Full { .. }) => seen.full += 1,
                    Ok(_) => {}
                }
                if crate::tracing() {
                    let what: Vec<_> = job
                        .entries
                        .iter()
                        .map(|e| (e.index, e.term, e.data.len()))
                        .collect();
                    eprintln!("t={} persist {what:?} -> {outcome:?}", now.mono_ms);
                }
                writing.outcome = Some(outcome);
            }
            if now.mono_ms >= writing.report_at_ms
                && let Some(writing) = up.writing.pop_front_if(|writing| writing.outcome.is_some())
                && let Some(outcome) = writing.outcome
                && !self.disk.is_crashed()
            {
                up.core.handle_persisted(now, writing.job.number, outcome);
            }
        }
        if self.rng.u8(..4) == 0 {
            let mut maintained = up.store.maintain();
            for (index, outcome) in maintained.checkpoints.drain(..) {
                seen.checkpoints += u64::from(outcome.is_ok());
                up.core.handle_checkpoint_saved(now, index, &outcome);
            }
            if crate::tracing()
                && (maintained.sealed, maintained.dropped, maintained.rewritten) != (0, 0, 0)
            {
                eprintln!("t={} {maintained:?}", now.mono_ms);
            }
            assert_eq!(maintained.lost, [], "maintenance lost something");
            up.core.handle_maintained(now, &maintained);
        }
        if let Some(starts) = up.starts.take() {
            up.store.set_starts(&starts);
        }
        if let Some(compaction) = up.compaction.take() {
            up.store.set_compaction(&compaction);
        }
        if let Some(checkpoint) = up.checkpoint.take() {
            up.store.save_checkpoint_later(checkpoint);
        }
        if let Some(fetch) = up.fetch.take() {
            let read = up
                .store
                .reader()
                .entries(fetch.from_index, fetch.to_index, fetch.bytes_max);
            if crate::tracing() {
                eprintln!(
                    "t={} node {} {fetch:?}: {:?}",
                    now.mono_ms,
                    self.number,
                    read.as_ref().map(Vec::len)
                );
            }
            seen.fetched += u64::from(read.is_ok());
            up.core.handle_fetched(now, read.unwrap_or_default());
        }
        if now.mono_ms >= up.report_due_ms {
            up.report_due_ms = now.mono_ms + 1000;
            let usage = up.store.usage();
            let wanted_bytes = 2 * self.config.store.slice_bytes;
            checker.room_was_short |=
                usage.filesystem_full || usage.append_bytes_left < wanted_bytes;
            up.core.handle_disk_report(now, usage);
        }
    }

    /// The disk works again, without a restart: within the longest pause all upkeep is done.
    /// Everything but the newest slice is sealed, dead slices are gone, nothing else is left.
    pub fn settle(&mut self, now: Now, seen: &mut Seen) {
        let Some(up) = &mut self.up else { return };
        if let Some(starts) = up.starts.take() {
            up.store.set_starts(&starts);
        }
        if let Some(checkpoint) = up.checkpoint.take() {
            up.store.save_checkpoint_later(checkpoint);
        }
        for _ in 0..SETTLE_CALLS {
            self.disk.advance_ms(500);
            let mut maintained = up.store.maintain();
            for (index, outcome) in maintained.checkpoints.drain(..) {
                up.core.handle_checkpoint_saved(now, index, &outcome);
            }
            assert_eq!(maintained.lost, [], "maintenance lost something");
        }
        seen.settled += 1;
        let slices = up.store.usage().slices;
        let unsealed = slices.iter().rev().skip(1).find(|slice| !slice.sealed);
        assert_eq!(unsealed, None, "not sealed");
        let poisoned = slices.iter().find(|slice| slice.poisoned);
        assert_eq!(poisoned, None, "not copied");
        let dead = slices
            .iter()
            .find(|slice| slice.droppable && up.is_dead(slice));
        assert_eq!(dead, None, "not dropped");
        let mut unknown = self.disk.slices();
        unknown.retain(|number| !slices.iter().any(|slice| slice.number == *number));
        // The next one, created ahead.
        assert!(unknown.len() <= 1, "{unknown:?} beside {slices:?}");
    }

    fn carry_out(
        &mut self,
        now: Now,
        work: &mut Work,
        checker: &mut Checker,
        seen: &mut Seen,
        send: &mut Vec<Message>,
    ) {
        let Some(up) = &mut self.up else { return };
        while let Some(output) = up.core.poll_output() {
            match output {
                Output::Persist(job) => {
                    up.note_own(&job);
                    let slow = if self.rng.u8(..50) == 0 { 400 } else { 12 };
                    let write_at_ms = now.mono_ms + self.rng.u64(..slow);
                    let report_at_ms = write_at_ms + self.rng.u64(..6);
                    up.writing.push_back(Writing {
                        job,
                        write_at_ms,
                        report_at_ms,
                        outcome: None,
                    });
                    assert_eq!(up.writing.len(), 1, "one persist at a time");
                }
                Output::Send(messages) => send.extend(messages),
                Output::Spent { ticket, outcome } => work.spent(ticket, outcome),
                Output::Committed(frame) => checker.committed(&frame),
                Output::Voided(voided) => {
                    seen.voided += 1;
                    assert_eq!(voided.store_id, up.core.store_id());
                    up.voided.insert(voided.intake);
                }
                Output::SaveCheckpoint(checkpoint) => up.checkpoint = Some(checkpoint),
                Output::Starts(starts) => {
                    up.told_starts = Some(starts.clone());
                    up.starts = Some(starts);
                }
                Output::Compaction(to) => up.compaction = Some(to),
                Output::Fetch(fetch) => up.fetch = Some(fetch),
                Output::WantReport => up.report_due_ms = 0,
                Output::Touched(partitions) => {
                    for tp in partitions {
                        if let Some(marks) = up.core.marks(tp) {
                            checker.marks(self.number, tp, marks, work);
                        }
                    }
                }
                Output::Released { .. } | Output::TopicDone { .. } | Output::Topics(_) => {}
            }
        }
        if up.core.leads() {
            checker.leads(self.number, up.core.term());
        }
    }
}

/// Settings of a compacted topic.
fn compacted(forward: bool) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("edge.forward".to_owned(), forward.to_string()),
    ])
}

/// Three times the longest pause, for the work after it too.
const SETTLE_CALLS: usize = 400;

impl Up {
    /// Whether the starts that the store was told leave nothing of a slice.
    fn is_dead(&self, slice: &SliceInfo) -> bool {
        let Some(starts) = &self.told_starts else {
            return false;
        };
        let is_dead = |span: &PartitionSpan| {
            let start = starts.get(&span.partition).copied();
            span.next_offset <= start.unwrap_or(i64::MAX)
        };
        slice.partitions.iter().all(is_dead)
    }

    /// Batches of ours in earlier writes that this write voids must have been given back first.
    fn note_own(&mut self, job: &PersistJob) {
        let Some(first) = job.entries.first() else {
            return;
        };
        for (index, (term, intakes)) in self.own.split_off(&first.index) {
            let same = job
                .entries
                .iter()
                .any(|e| (e.index, e.term) == (index, term));
            for intake in intakes {
                assert!(
                    same || self.voided.contains(&intake),
                    "batch {intake} was not voided"
                );
            }
        }
        for entry in &job.entries {
            let Ok(header) = FrameHeader::decode(&entry.data) else {
                continue;
            };
            if header.store_id == self.core.store_id() {
                let frame = Frame::decode(entry.data.clone()).unwrap();
                let batches = frame
                    .items()
                    .filter(|item| matches!(item, Item::Batch { .. }));
                let intakes = (header.first_intake..)
                    .zip(batches)
                    .map(|(i, _)| i)
                    .collect();
                self.own.insert(entry.index, (entry.term, intakes));
            }
        }
    }
}
