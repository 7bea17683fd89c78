//! The pure core of one gateway's part of a site: appends, offsets, consensus, apply.
//!
//! ```text
//!   handle_append ─▶ pending ──form_frames──▶ raft log ──▶ Persist ──▶ handle_persisted
//!   handle_topic  ─▶ controls ┘  (offsets)      │                          │
//!   handle_message ────────────────────────────▶│◀─────────────────────────┘
//!                                               └─▶ committed ─▶ State::apply ─▶ Spent, Committed
//! ```
//! Inputs are `handle_*` calls, results wait in [`SiteCore::poll_output`]. No clock (`now` is an
//! argument), no file, no thread, no randomness (a seed is given). One `Persist` is out at a time;
//! what arrives meanwhile forms the next frames.
//!
//! The shell ([`crate::Site`]) and the simulation drive it the same way:
//! `open`, `replay` until nothing is wanted, `start`, then inputs.

mod append;
mod clock;
mod disk;
mod forming;
mod raft_loop;
mod refusing;
mod room;
mod topic;
mod words;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use edge_log::{CompactTo, Entry, HardState, Recovery, TopicId, TopicPartition, Usage};
use kafka_wire::BatchBuilder;
use raft::{GetEntriesContext, RawNode};

pub use self::words::{CoreConfig, Fetch, Message, Output, PersistJob, TopicOp, Voided};
use crate::append::{AppendRequest, Appended, Now, RefusedRecord};
use crate::control::Control;
use crate::ledger::LossCause;
use crate::link::LinkUse;
use crate::state::{ApplyError, PartitionState, State};
use crate::status::{Alarm, Marks};
use crate::topics::TopicTable;
use crate::wear::WearBudget;
use crate::window::Window;

/// Frames are at most this large, except one larger batch alone.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// One raft tick; elections take 10 to 20 of them.
const TICK_MS: u64 = 100;

struct Waiting<T> {
    ticket: Option<T>,
    request: AppendRequest,
    bytes: usize,
    since_ms: u64,
    /// Records of it that will not be taken.
    refused: Vec<RefusedRecord>,
}

/// Appends that are not in a frame yet.
struct Pending<T> {
    queue: VecDeque<Waiting<T>>,
    bytes: usize,
    strict_since_ms: Option<u64>,
    relaxed_since_ms: Option<u64>,
}

/// A control entry that is not in a frame yet.
struct PendingControl<T> {
    control: Control,
    waiters: Vec<T>,
}

/// A frame that was proposed and is not known to be committed or overtaken.
struct Inflight<T> {
    frame_bytes: usize,
    queue_bytes: usize,
    queue_count: usize,
    tickets: Vec<(T, Appended)>,
    topics: Vec<(T, TopicId)>,
}

/// What raft wants on disk and what waits for it.
#[derive(Default)]
struct Persisting {
    number: u64,
    flying: Option<Flying>,
    queued: Queued,
    failures: u32,
    retry_at_ms: Option<u64>,
}

struct Flying {
    job: Arc<PersistJob>,
    ready_number: u64,
    messages: Vec<Message>,
    bytes: usize,
}

#[derive(Default)]
struct Queued {
    entries: Vec<Entry>,
    hard_state: Option<HardState>,
    must_sync: bool,
    ready_number: u64,
    messages: Vec<Message>,
    bytes: usize,
    lazy_since_ms: Option<u64>,
}

/// What rides with the next frame and asks for none of its own for a while.
#[derive(Default)]
struct Soft {
    progress: BTreeMap<TopicPartition, i64>,
    shed: BTreeMap<(LossCause, Option<TopicId>), u64>,
    /// By month.
    link: BTreeMap<u32, LinkUse>,
    controls: Vec<Control>,
    since_ms: Option<u64>,
}

/// The store's figures and what follows from them.
#[derive(Default)]
struct Disk {
    usage: Usage,
    append_bytes_left: Option<u64>,
    first_report: Option<(u64, u64)>,
    bytes_since_report: u64,
    report_wanted: bool,
    room: room::RoomWait,
    moves_proposed: bool,
    /// As the store was told last.
    compaction: BTreeMap<TopicPartition, CompactTo>,
    full: bool,
    filesystem_full: bool,
    /// What was found to be lost last, in words.
    lost: Option<String>,
    /// Ends that the slices must reach; taken once that was looked at.
    ends_at_start: Option<BTreeMap<TopicPartition, i64>>,
}

#[derive(Default)]
struct Checkpoints {
    index: u64,
    bytes: u64,
    log_bytes: u64,
    log_bytes_at_save: u64,
    saving: bool,
    saving_bytes: u64,
    /// The last one did not fail, or some time has passed since.
    cooled: bool,
}

/// Counters for status.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Persists done.
    pub commits: u64,
    /// Records appended here.
    pub records: u64,
    /// Bytes written to the device by them.
    pub device_bytes: u64,
    /// Bytes of the records' values, as they came, without those of the gateway's own topics.
    pub payload_bytes: u64,
}

/// The state machine of one gateway. `T` is the caller's ticket.
pub struct SiteCore<T> {
    config: CoreConfig,
    store_id: u64,
    alone: bool,
    opened: Option<Opened>,
    raw: Option<RawNode<Window>>,
    state: State,
    table: Arc<TopicTable>,
    halted: Option<ApplyError>,
    stopping: bool,
    leads: bool,

    pending: Pending<T>,
    controls: VecDeque<PendingControl<T>>,
    creating: BTreeMap<String, TopicId>,
    deleting: Vec<TopicId>,
    soft: Soft,
    /// By index and term: a leader that was deposed and elected again may have two at one index.
    inflight: BTreeMap<(u64, u64), Inflight<T>>,
    inflight_bytes: usize,
    /// Speculative ends, thrown away on step-down.
    ends: HashMap<TopicPartition, i64>,
    next_intake: u64,
    builders: Vec<BatchBuilder>,

    persisting: Persisting,
    fetching: Vec<GetEntriesContext>,
    lost: Vec<(TopicPartition, i64, i64)>,
    announced: bool,
    durable_index: u64,
    disk: Disk,
    checkpoints: Checkpoints,
    wear: WearBudget,
    alarms: BTreeMap<&'static str, Alarm>,
    counters: Counters,
    site_clock: SiteClock,
    clock: clock::Clock,
    ids: topic::Ids,
    ticked_at_ms: u64,
    election_ticks: Option<usize>,
    touched: Vec<TopicPartition>,
    out: VecDeque<Output<T>>,
}

/// How the store was found, until `start`.
struct Opened {
    recovery: Recovery,
    replay_to: u64,
    next: u64,
    tail: Vec<Entry>,
    frames: u64,
}

/// Site time: the wall clock, but it never goes back and never stands still.
#[derive(Default)]
struct SiteClock {
    site_ms: i64,
    mono_ms: u64,
}

impl SiteClock {
    fn peek(&self, now: Now) -> i64 {
        let elapsed = now.mono_ms.saturating_sub(self.mono_ms);
        self.site_ms
            .saturating_add_unsigned(elapsed)
            .max(now.wall_ms)
    }

    fn advance(&mut self, now: Now) -> i64 {
        self.site_ms = self.peek(now);
        self.mono_ms = self.mono_ms.max(now.mono_ms);
        self.site_ms
    }
}

impl<T> SiteCore<T> {
    /// Begins with what the store found; then `replay`, then `start`.
    pub fn open(config: CoreConfig, recovery: Recovery, now: Now) -> SiteCore<T> {
        let store_id = recovery.store_id;
        let saved = recovery.checkpoint.as_ref();
        let decoded = saved.map_or(Ok(State::default()), |c| State::decode(&c.data));
        let unknown = decoded.as_ref().err().copied();
        let state = decoded.unwrap_or_default();
        let voters = if state.voters.is_empty() {
            &config.voters
        } else {
            &state.voters
        };
        let alone = voters.iter().all(|&id| id == store_id) || config.voters.is_empty();
        // Alone, what is surely on this disk is committed; otherwise only what raft said so.
        let last = recovery.last_index.max(state.applied_index);
        let proven = recovery.proven_index.clamp(state.applied_index, last);
        let replay_to = if alone {
            proven
        } else {
            recovery.hard_state.commit.min(proven)
        };
        let checkpoints = Checkpoints {
            index: state.applied_index,
            bytes: saved.map_or(0, |c| c.data.len() as u64),
            cooled: true,
            ..Checkpoints::default()
        };
        let next = (state.applied_index + 1).max(recovery.first_index);
        let site_clock = SiteClock {
            site_ms: state.site_time_ms,
            mono_ms: now.mono_ms,
        };
        let table = Arc::new(topic::table(&state));
        let mut core = SiteCore {
            store_id,
            alone,
            raw: None,
            table,
            halted: None,
            stopping: false,
            leads: false,
            pending: Pending::default(),
            controls: VecDeque::new(),
            creating: BTreeMap::new(),
            deleting: Vec::new(),
            soft: Soft::default(),
            inflight: BTreeMap::new(),
            inflight_bytes: 0,
            ends: HashMap::new(),
            // Of earlier boots some may have been given to frames that were overtaken.
            next_intake: recovery.boot_count << 40,
            builders: Vec::new(),
            persisting: Persisting::default(),
            fetching: Vec::new(),
            lost: Vec::new(),
            announced: false,
            durable_index: proven,
            disk: Disk::default(),
            checkpoints,
            wear: WearBudget::new(config.site.wear_gb_per_day, now.mono_ms),
            alarms: BTreeMap::new(),
            counters: Counters::default(),
            site_clock,
            clock: clock::Clock::default(),
            ids: topic::Ids::new(config.seed),
            ticked_at_ms: now.mono_ms,
            election_ticks: None,
            touched: Vec::new(),
            out: VecDeque::new(),
            opened: Some(Opened {
                recovery,
                replay_to,
                next,
                tail: Vec::new(),
                frames: 0,
            }),
            state,
            config,
        };
        if let Some(unknown) = unknown {
            core.halt(ApplyError::Checkpoint(unknown), now);
        }
        core
    }

    /// The entries wanted next before `start`: `from..to`, as many as suit the caller.
    pub fn replay_wants(&self) -> Option<(u64, u64)> {
        let opened = self.opened.as_ref()?;
        let to = opened.recovery.last_index + 1;
        (opened.next < to && self.halted.is_none()).then_some((opened.next, to))
    }

    /// Takes entries of the log, in order; those that were lost may be missing or empty.
    pub fn replay(&mut self, entries: Vec<Entry>, now: Now) {
        let Some(mut opened) = self.opened.take() else {
            return;
        };
        if entries.is_empty() {
            opened.next = opened.recovery.last_index + 1;
        }
        for entry in entries {
            opened.next = opened.next.max(entry.index + 1);
            self.checkpoints.log_bytes += entry.data.len() as u64;
            self.note_intake(&entry.data);
            if entry.index > opened.replay_to {
                opened.tail.push(entry);
            } else if entry.index > self.state.applied_index {
                opened.frames += 1;
                if let Err(error) = self.state.apply(entry.index, entry.term, &entry.data) {
                    self.halt(error, now);
                    break;
                }
            }
        }
        self.opened = Some(opened);
    }

    /// Frames applied by `replay`.
    pub fn frames_replayed(&self) -> u64 {
        self.opened.as_ref().map_or(0, |opened| opened.frames)
    }

    /// Pins the election timeout in ticks, which the raft crate would draw at random.
    pub fn pin_election_ticks(&mut self, ticks: Option<usize>) {
        self.election_ticks = ticks;
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output<T>> {
        self.out.pop_front()
    }

    /// No more appends; what waits is committed at once, then a checkpoint is written. One that
    /// fails is not repeated: without it the next start only takes longer.
    pub fn handle_stop(&mut self, now: Now) {
        self.stopping = true;
        if self.disk.no_room() {
            self.refuse_pending(now, &room::NO_ROOM);
        }
        self.advance(now);
        if self.pending.queue.is_empty() && self.checkpoints.cooled {
            self.save_checkpoint(true);
        }
    }

    /// Whether everything handed in has an outcome and nothing is being written.
    pub fn is_idle(&self) -> bool {
        let waits = !self.pending.queue.is_empty() || !self.controls.is_empty();
        let queued = !self.persisting.queued.entries.is_empty() && self.halted.is_none();
        let writes = self.persisting.flying.is_some() || queued;
        !waits && !writes && self.inflight.is_empty() && !self.checkpoints.saving
    }

    /// Time passes.
    pub fn handle_tick(&mut self, now: Now) {
        if !self.alone && self.halted.is_none() {
            while now.mono_ms >= self.ticked_at_ms + TICK_MS {
                self.ticked_at_ms += TICK_MS;
                self.pin();
                if let Some(raw) = &mut self.raw {
                    raw.tick();
                }
            }
        }
        self.retry_persist(now);
        self.look_for_room(now);
        self.advance(now);
    }

    /// When `handle_tick` has something to do, if nothing else happens; milliseconds since boot.
    pub fn deadline_ms(&mut self, now: Now) -> Option<u64> {
        if self.halted.is_some() {
            // Only a write that is out still comes to its end.
            return self.persisting.retry_at_ms;
        }
        let tick = (!self.alone).then_some(self.ticked_at_ms + TICK_MS);
        // Behind a write that is out it has no time of its own.
        let lazy = match self.persisting.flying {
            Some(_) => None,
            None => self.persisting.queued.lazy_since_ms,
        };
        let lazy = lazy.map(|since| since + LAZY_MS);
        let commit = self.commit_at_ms(now);
        let (retry, room) = (self.persisting.retry_at_ms, self.room_deadline_ms());
        [tick, lazy, commit, retry, room]
            .into_iter()
            .flatten()
            .min()
    }

    /// The store's id, also raft's.
    pub fn store_id(&self) -> u64 {
        self.store_id
    }

    /// Whether appends are taken here.
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Raft's term.
    pub fn term(&self) -> u64 {
        self.raw.as_ref().map_or(0, |raw| raw.raft.term)
    }

    /// Last index, committed and applied index, durable index.
    pub fn indexes(&self) -> (u64, u64, u64) {
        let last = self
            .raw
            .as_ref()
            .map_or(self.durable_index, |raw| raw.raft.raft_log.last_index());
        (last, self.state.applied_index, self.durable_index)
    }

    /// What raft's window of frames takes.
    pub fn window_bytes(&self) -> usize {
        self.raw.as_ref().map_or(0, |raw| raw.store().bytes())
    }

    /// The applied state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// All topics.
    pub fn topics(&self) -> &Arc<TopicTable> {
        &self.table
    }

    /// Figures.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The store's figures of the last report.
    pub fn usage(&self) -> &Usage {
        &self.disk.usage
    }

    /// What is the matter.
    pub fn alarms(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.values()
    }

    /// Marks of a partition.
    pub fn marks(&self, tp: TopicPartition) -> Option<Marks> {
        let topic = self.state.topics.get(&tp.topic)?;
        let applied: &PartitionState = topic.partitions.get(tp.partition as usize)?;
        let marks = Marks {
            start: applied.start,
            committed_end: applied.end,
            end: self
                .ends
                .get(&tp)
                .copied()
                .unwrap_or(applied.end)
                .max(applied.end),
            forwarded: topic.config.forward.then_some(applied.forwarded),
        };
        assert!(marks.start <= marks.committed_end && marks.committed_end <= marks.end);
        assert!(
            marks
                .forwarded
                .is_none_or(|f| marks.start <= f && f <= marks.committed_end)
        );
        Some(marks)
    }

    /// Whether appends of ordinary topics can be stored now.
    pub fn is_ready(&self) -> bool {
        self.leads && self.refusal().is_none()
    }

    fn raise(&mut self, now: Now, code: &'static str, message: String, fix: &str) {
        let alarm = self.alarms.entry(code).or_insert_with(|| Alarm {
            code,
            since_ms: now.wall_ms,
            message: String::new(),
            fix: fix.to_owned(),
        });
        alarm.message = message;
        // The same alarm may have another cause by now, and then another remedy.
        if alarm.fix != fix {
            fix.clone_into(&mut alarm.fix);
        }
    }

    fn clear(&mut self, code: &'static str) {
        self.alarms.remove(code);
    }

    fn pin(&mut self) {
        if let (Some(raw), Some(ticks)) = (&mut self.raw, self.election_ticks) {
            raw.raft.set_randomized_election_timeout(ticks);
        }
    }
}

/// How long a commit index may wait to be written, if nothing else is.
const LAZY_MS: u64 = 1000;

#[cfg(test)]
mod tests;
