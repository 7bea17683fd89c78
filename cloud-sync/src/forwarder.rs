//! The forwarder: which records go to which broker when, and what follows from each answer.
//!
//! A pure core. Calls named `handle_*` tell it what happened, [`Forwarder::poll_output`] gives
//! what is to be done next, `now` is an argument; it has no clock, socket, file or task, and its
//! random waits come from a seed. [`crate::driver`] is the shell around it, the simulation in
//! `simulation.rs` another one.
//!
//! ```text
//!  handle_topics, handle_marks ──▶ ┌─────────┐ ──▶ Read ─────▶ packing ──▶ handle_read
//!  handle_control_answer ────────▶ │ topics  │ ──▶ Control ──▶ any broker
//!  handle_connected/disconnected ▶ │ parti-  │ ──▶ Connect, Send ──▶ leader's connection
//!  handle_produce_response ──────▶ │ tions   │ ──▶ Progress ──▶ site
//!  handle_dead_lettered ─────────▶ │ links   │ ──▶ DeadLetter ─▶ site
//!                                  └─────────┘
//! ```
//!
//! Three things are kept apart, so that none holds up another: a **topic** that is refused is
//! parked, a **partition** that fails for now waits alone, a **link** that is down holds only
//! what its broker leads.

mod answers;
mod ask;
mod link;
pub(crate) mod outcome;
mod partition;
mod plan;
mod reach;
mod topic;
pub(crate) mod types;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use edge_site::{TopicId, TopicPartition};

use self::{
    ask::Asking,
    link::{Link, LinkState},
    partition::{Partition, Rewind},
    reach::Reach,
    topic::{Limits, Phase, Topic},
    types::{
        Broker, Chunk, Identity, LinkId, LocalMarks, LocalTopic, Ms, Note, Output, Packed,
        ReadOutcome, Settings,
    },
};
use crate::{
    config::OnRejected,
    error::ConnectError,
    status::{Guarantee, TopicState, TopicStatus},
};

/// How old a learned `max.message.bytes` may be when records are refused because of it.
const LIMITS_FRESH_MS: Ms = 60_000;
/// How long records of a clock that nobody set wait for the right time once they could go: a time
/// service needs the same uplink, and tries it less often than we do.
const CLOCK_WAIT_MS: Ms = 120_000;
/// How often it is looked whether the time is known.
const CLOCK_LOOK_MS: Ms = 1_000;

/// See the head of the file.
pub(crate) struct Forwarder {
    settings: Settings,
    topics: BTreeMap<TopicId, Topic>,
    partitions: BTreeMap<TopicPartition, Partition>,
    links: BTreeMap<LinkId, Link>,
    brokers: BTreeMap<i32, Broker>,
    producer: Producer,
    asking: Asking,
    reach: Reach,
    tokens: Tokens,
    random: u64,
    outputs: VecDeque<Output>,
    /// Something happened since the last plan.
    dirty: bool,
    wake_at: Option<Ms>,
    numbers: u64,
    /// Where the next request begins to look, so that no partition is always last.
    turn: usize,
    stopped: bool,
    /// Since when records could go but for their stamps.
    clock_awaited_since: Option<Ms>,
    pub(crate) counters: Counters,
}

/// The idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Producer {
    Wanted,
    Have(Identity),
    /// The cluster refuses: batches go without, one at a time per partition.
    Refused,
}

/// The budget of `bytes_per_s_max`.
#[derive(Debug, Default)]
struct Tokens {
    level: i64,
    at: Ms,
}

/// Totals since start.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counters {
    pub records: u64,
    pub requests: u64,
    pub dead_lettered: u64,
}

impl Forwarder {
    /// An idle forwarder; `seed` decides its random waits.
    pub fn new(settings: Settings, seed: u64, now: Ms) -> Self {
        Self {
            settings,
            topics: BTreeMap::new(),
            partitions: BTreeMap::new(),
            links: BTreeMap::new(),
            brokers: BTreeMap::new(),
            producer: Producer::Wanted,
            asking: Asking::new(),
            reach: Reach::new(now),
            tokens: Tokens::default(),
            random: seed | 1,
            outputs: VecDeque::new(),
            dirty: true,
            wake_at: None,
            numbers: 0,
            turn: 0,
            stopped: false,
            clock_awaited_since: None,
            counters: Counters::default(),
        }
    }

    /// The topics to forward now; what is missing here is forwarded no longer.
    pub fn handle_topics(&mut self, topics: Vec<LocalTopic>, now: Ms) {
        self.dirty = true;
        let kept: BTreeMap<TopicId, LocalTopic> =
            topics.into_iter().map(|topic| (topic.id, topic)).collect();
        self.topics.retain(|id, _| kept.contains_key(id));
        self.partitions.retain(|tp, _| kept.contains_key(&tp.topic));
        for (id, local) in kept {
            let known = self
                .topics
                .get(&id)
                .is_some_and(|topic| topic.local == local);
            if known {
                continue;
            }
            let refused = local.central.as_ref().err().cloned();
            match self.topics.get_mut(&id) {
                Some(topic) => topic.local = local,
                None => drop(self.topics.insert(id, Topic::new(local))),
            }
            if let Some(topic) = self.topics.get_mut(&id) {
                topic.resume();
            }
            if let Some(reason) = refused {
                self.park(id, reason, now);
            }
        }
    }

    /// Marks of a local partition; new ones begin at their durable progress.
    pub fn handle_marks(&mut self, tp: TopicPartition, marks: LocalMarks) {
        if !self.topics.contains_key(&tp.topic) {
            return;
        }
        let dirty = &mut self.dirty;
        let partition = self.partitions.entry(tp).or_insert_with(|| {
            *dirty = true;
            Partition::new(tp, marks)
        });
        if partition.committed_end != marks.committed_end || partition.start != marks.start {
            partition.committed_end = marks.committed_end;
            partition.start = marks.start;
            self.dirty = true;
        }
    }

    /// What a read brought.
    pub fn handle_read(&mut self, tp: TopicPartition, number: u64, read: ReadOutcome, now: Ms) {
        self.dirty = true;
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let Some(reading) = partition
            .reading
            .take_if(|reading| reading.number == number)
        else {
            return;
        };
        if reading.stale {
            return;
        }
        match read {
            ReadOutcome::Packed(packed) => self.take_packed(tp, packed, now),
            ReadOutcome::OutOfRange { start, end } => self.skip_to(tp, start, end, now),
            ReadOutcome::Gone => {
                self.partitions.remove(&tp);
            }
            ReadOutcome::Failed(reason) => {
                self.outputs
                    .push_back(Output::Note(Note::Unreadable { tp, reason }));
                let wait = self.backoff(1);
                if let Some(partition) = self.partitions.get_mut(&tp) {
                    partition.not_before = now + wait;
                }
            }
        }
    }

    fn take_packed(&mut self, tp: TopicPartition, packed: Packed, now: Ms) {
        let limits = self
            .topics
            .get(&tp.topic)
            .map_or(Limits::Unknown, |topic| topic.limits);
        let stale = !matches!(limits, Limits::Known { at, .. } if now - at <= LIMITS_FRESH_MS);
        if !packed.oversized.is_empty() && stale {
            if let Some(topic) = self.topics.get_mut(&tp.topic) {
                topic.limits = Limits::Unknown;
            }
            return;
        }
        if packed.waits_for_clock && self.waits_for_clock(tp, now) {
            return;
        }
        let limit = self.topics.get(&tp.topic).map_or(0, Topic::batch_bytes_max);
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        if partition.rewind.is_some() {
            return; // it is read again once nothing is in flight
        }
        let before = partition.read_pos;
        let packed_bytes = packed.chunks.iter().map(Chunk::bytes).sum();
        partition
            .estimate
            .learn(packed.stored_bytes, packed_bytes, packed.records);
        for chunk in packed.chunks {
            debug_assert_eq!(chunk.from, partition.read_pos, "chunks are contiguous");
            partition.hold(chunk, now);
        }
        if partition.read_pos == before {
            partition.not_before = now + self.settings.retry_ms_min;
        }
        partition.due = partition.unread() > 0;
        let letters = packed.oversized.into_iter().map(|(offset, bytes)| {
            let text =
                format!("record of {bytes} bytes exceeds central's max.message.bytes: {limit}");
            (offset, text)
        });
        // Before progress is looked at: what is left out of the chunks is nowhere yet.
        self.refuse_records(tp, letters.collect(), false, now);
        self.note_progress(tp);
    }

    /// Whether wrong stamps are worth waiting for the right time: once, for a while.
    fn waits_for_clock(&mut self, tp: TopicPartition, now: Ms) -> bool {
        if self.clock_awaited_since.is_none() {
            let seconds = CLOCK_WAIT_MS / 1000;
            self.outputs
                .push_back(Output::Note(Note::AwaitsClock { seconds }));
        }
        let since = *self.clock_awaited_since.get_or_insert(now);
        let waits = now - since < CLOCK_WAIT_MS;
        if let Some(partition) = self.partitions.get_mut(&tp).filter(|_| waits) {
            partition.not_before = now + CLOCK_LOOK_MS;
        }
        waits
    }

    /// Records before `start` are gone: the site's ledger has them, we go on behind.
    fn skip_to(&mut self, tp: TopicPartition, start: i64, end: i64, now: Ms) {
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        if start > partition.read_pos {
            let chunk = Chunk {
                from: partition.read_pos,
                next: start,
                runs: vec![],
                batch: None,
            };
            partition.hold(chunk, now);
            partition.committed_end = end.max(start);
            self.note_progress(tp);
        } else {
            partition.not_before = now + self.settings.retry_ms_min;
        }
    }

    /// Emits progress if acknowledged chunks came off the front.
    fn note_progress(&mut self, tp: TopicPartition) {
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let records = partition.forwarded_records;
        if let Some(next_offset) = partition.advance() {
            self.counters.records += partition.forwarded_records - records;
            self.outputs.push_back(Output::Progress(tp, next_offset));
        }
    }

    /// Records that central refuses for themselves: to `_dead_letter`, or their topic parks.
    fn refuse_records(
        &mut self,
        tp: TopicPartition,
        letters: Vec<(i64, String)>,
        held_anew: bool,
        now: Ms,
    ) {
        let Some((offset, reason)) = letters.first().cloned() else {
            return;
        };
        let Some(topic) = self.topics.get(&tp.topic) else {
            return;
        };
        let name = topic.local.name.clone();
        self.outputs.push_back(Output::Note(Note::Rejected {
            topic: name,
            partition: tp.partition,
            offset,
            reason: reason.clone(),
        }));
        if self.settings.on_rejected == OnRejected::Park {
            let where_ = format!("record {}@{offset}: {reason}", tp.partition);
            return self.park(tp.topic, where_, now);
        }
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        if held_anew {
            partition.rewind(Rewind::Reread);
        }
        let waiting = partition.letters.get_or_insert(partition::Letters {
            letters: Vec::new(),
            asked: false,
            not_before: now,
            failures: 0,
        });
        waiting.letters.extend(letters);
    }

    /// The dead letters of a partition are durable, or could not be written.
    pub fn handle_dead_lettered(&mut self, tp: TopicPartition, written: bool, now: Ms) {
        self.dirty = true;
        let wait = self.backoff(1);
        let Some(partition) = self.partitions.get_mut(&tp) else {
            return;
        };
        let Some(letters) = &mut partition.letters else {
            return;
        };
        if !written {
            letters.asked = false;
            letters.failures += 1;
            letters.not_before = now + wait;
            return;
        }
        let offsets = letters.letters.iter().map(|(offset, _)| *offset);
        self.counters.dead_lettered += letters.letters.len() as u64;
        Arc::make_mut(&mut partition.skip).extend(offsets);
        partition.letters = None;
        self.note_progress(tp);
    }

    /// Tries a parked topic at once; false if no forwarded topic has that local name.
    pub fn handle_retry(&mut self, name: &str, now: Ms) -> bool {
        self.dirty = true;
        let Some(topic) = self
            .topics
            .values_mut()
            .find(|topic| topic.local.name == name)
        else {
            return false;
        };
        if topic.is_parked() && topic.local.central.is_ok() {
            topic.phase = Phase::Parked { retry_at: now };
        }
        true
    }

    /// Parks a topic: nothing of it is sent until its time comes.
    fn park(&mut self, id: TopicId, reason: String, now: Ms) {
        let Some(topic) = self.topics.get_mut(&id) else {
            return;
        };
        if topic.is_parked() {
            return;
        }
        let retry_in_ms = topic.park(reason.clone(), now);
        let name = topic.local.name.clone();
        self.outputs.push_back(Output::Note(Note::Parked {
            topic: name,
            reason,
            retry_in_ms,
        }));
        let mut list = Vec::new();
        for partition in partitions_of(&mut self.partitions, id) {
            partition.letters = None;
            partition.failing_since = None;
            partition.rewind(Rewind::Reread);
            list.push(partition.tp);
        }
        for tp in list {
            self.settle(tp);
        }
    }

    /// Sends nothing more; what is under way may still be answered.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// What to do next; none = nothing until something happens or [`Self::deadline_ms`].
    pub fn poll_output(&mut self, now: Ms) -> Option<Output> {
        if self.outputs.is_empty()
            && !self.stopped
            && (self.dirty || self.wake_at.is_some_and(|at| at <= now))
        {
            self.dirty = false;
            self.wake_at = None;
            self.plan(now);
        }
        self.outputs.pop_front()
    }

    /// When to poll again although nothing happened.
    pub fn deadline_ms(&self) -> Option<Ms> {
        match self.outputs.is_empty() {
            false => Some(0),
            true if self.stopped => None,
            true if self.dirty => Some(0),
            true => self.wake_at,
        }
    }

    fn wake(&mut self, at: Ms) {
        self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
    }

    /// A wait before try number `failures` + 1: doubling, with jitter.
    fn backoff(&mut self, failures: u32) -> Ms {
        let exponent = failures.saturating_sub(1).min(16);
        let wait = (self.settings.retry_ms_min << exponent).min(self.settings.retry_ms_max);
        wait / 2 + self.random_below(wait / 2 + 1)
    }

    /// xorshift64: repeatable from the seed.
    fn random_below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn idempotent(&self) -> bool {
        self.producer != Producer::Refused
    }

    /// Bytes of a request: smaller on a link that is held to few bytes a second.
    fn request_bytes_max(&self) -> usize {
        match self.settings.bytes_per_s_max {
            0 => self.settings.request_bytes_max,
            rate => self
                .settings
                .request_bytes_max
                .min((rate as usize).max(16 << 10)),
        }
    }

    /// Records that wait, over all topics.
    pub fn waiting_records(&self) -> u64 {
        self.partitions.values().map(Partition::waiting).sum()
    }

    /// Bytes of batches in memory.
    pub fn held_bytes(&self) -> usize {
        self.partitions.values().map(Partition::held_bytes).sum()
    }

    /// Whether requests are under way.
    pub fn is_sending(&self) -> bool {
        self.links.values().any(|link| !link.in_flight().is_empty())
    }

    /// What is promised now.
    pub fn guarantee(&self) -> Guarantee {
        match self.producer {
            Producer::Refused => Guarantee::AtLeastOnceWithoutIdempotence,
            _ => Guarantee::AtLeastOnce,
        }
    }

    /// Reachable, since when, what failed last and how often.
    pub fn reachability(&self, now: Ms) -> (bool, Ms, Option<(&ConnectError, u64)>) {
        self.reach.snapshot(now)
    }

    /// When a connection is tried next, while one fails.
    pub fn next_try_ms(&self, now: Ms) -> Option<Ms> {
        let links = self.links.values().filter(|link| link.failures > 0);
        let waits = links.filter_map(|link| match link.state {
            LinkState::Down { not_before } => Some(not_before),
            _ => None,
        });
        waits
            .chain(self.asking.next_try())
            .min()
            .map(|at| at.saturating_sub(now))
    }

    /// Every topic, for `status`.
    pub fn topic_status(&self, now: Ms) -> Vec<TopicStatus> {
        let mut list: Vec<_> = self
            .topics
            .iter()
            .map(|(id, topic)| self.one_topic(*id, topic, now))
            .collect();
        list.sort_by(|a, b| a.topic.cmp(&b.topic));
        list
    }

    fn one_topic(&self, id: TopicId, topic: &Topic, now: Ms) -> TopicStatus {
        let partitions: Vec<_> = self
            .partitions
            .values()
            .filter(|p| p.tp.topic == id)
            .collect();
        let waiting_records = partitions.iter().map(|p| p.waiting()).sum();
        let refusal = topic.refusal.as_ref();
        let state = match waiting_records {
            _ if refusal.is_some() => TopicState::Parked,
            0 => TopicState::Idle,
            _ if partitions.iter().any(|p| p.in_flight() > 0) => TopicState::Sending,
            _ => TopicState::Waiting,
        };
        let retry_in_ms = match topic.phase {
            Phase::Parked { retry_at } => Some(retry_at.saturating_sub(now)),
            _ => None,
        };
        TopicStatus {
            topic: topic.local.name.clone(),
            central_topic: topic.central_name().to_owned(),
            state,
            reason: refusal.map(|refusal| refusal.reason.clone()),
            parked_ms: refusal.map(|refusal| now.saturating_sub(refusal.since)),
            retry_in_ms,
            waiting_records,
            forwarded_records: partitions.iter().map(|p| p.forwarded_records).sum(),
            forwarded: partitions
                .iter()
                .map(|p| (p.tp.partition, p.forwarded))
                .collect(),
        }
    }
}

/// The partitions of one topic.
fn partitions_of(
    partitions: &mut BTreeMap<TopicPartition, Partition>,
    topic: TopicId,
) -> impl Iterator<Item = &mut Partition> {
    let first = TopicPartition {
        topic,
        partition: 0,
    };
    let last = TopicPartition {
        topic,
        partition: u32::MAX,
    };
    partitions
        .range_mut(first..=last)
        .map(|(_, partition)| partition)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
