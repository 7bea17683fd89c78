//! The replicated state: what every gateway of a site knows after the same frames.
//!
//! ```text
//! state = checkpoint + frames after it
//! ```
//! `apply` is a function of the state and one entry, nothing else: no clock, no configuration, so
//! that all gateways agree. What a frame does:
//!
//! | in the frame | effect |
//! |---|---|
//! | proposer's term ≠ entry's term | none at all |
//! | batch, intake sequence seen before | none |
//! | batch at base offset `b` ≥ end, `n` records | end = `b + n` |
//! | batch of a topic that is gone | none |
//! | control entry | see [`Control`] |
//! | control entry not known here | apply stops before the frame |

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use edge_log::{Frame, FrameError, FrameHeader, Item, TopicId, TopicPartition};
use kafka_wire::RecordBatch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::age::{Ages, Moment};
use crate::clock::Clocks;
use crate::control::{Control, UnknownControl};
use crate::holes::{Holes, LostOffsets, Span};
use crate::ledger::{Ledger, LossCause};
use crate::link::LinkMonth;
use crate::topics::TopicConfig;

/// Version byte in front of a checkpoint's state.
const VERSION: u8 = 1;

/// How far every next offset jumps when a store lost something: no offset is ever given twice.
pub const INCARNATION_JUMP: i64 = 1 << 32;

/// One partition's applied marks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// First offset there is.
    pub start: i64,
    /// First offset there is not: `committed_end`.
    pub end: i64,
    /// First offset that central does not have; follows the start.
    pub forwarded: i64,
    /// Offsets `from..to` without records, ascending: never given away (jumps), or lost by the
    /// disk; those below the start are dropped.
    pub gaps: Vec<(i64, i64)>,
    /// Some (offset, site time) along the way, for "waiting since"; thinned out as it grows.
    pub samples: Vec<(i64, i64)>,
}

/// Samples per partition; every second one goes when there are more.
const SAMPLES_MAX: usize = 32;

/// Gaps per partition; the two that are closest become one when there are more.
const GAPS_MAX: usize = 256;

impl PartitionState {
    /// How many records there are or were within `from..to`.
    pub fn records_between(&self, from: i64, to: i64) -> u64 {
        if to <= from {
            return 0;
        }
        let overlap = |&(a, b): &(i64, i64)| (b.min(to) - a.max(from)).max(0);
        (to - from - self.gaps.iter().map(overlap).sum::<i64>()).max(0) as u64
    }

    /// About the site time of the first record that central lacks.
    pub fn waiting_since_ms(&self) -> Option<i64> {
        let at = self
            .samples
            .partition_point(|&(offset, _)| offset <= self.forwarded);
        let sample = self.samples.get(at.saturating_sub(1))?;
        (self.forwarded < self.end).then_some(sample.1)
    }

    fn sample(&mut self, offset: i64, site_time_ms: i64) {
        // Denser than this nobody looks.
        const SPACING_MS: i64 = 1000;
        if self
            .samples
            .last()
            .is_some_and(|&(_, at)| site_time_ms - at < SPACING_MS)
        {
            return;
        }
        let waiting = self
            .samples
            .partition_point(|&(offset, _)| offset <= self.forwarded);
        self.samples.drain(..waiting.saturating_sub(1));
        self.samples.push((offset, site_time_ms));
        if self.samples.len() > SAMPLES_MAX {
            // The one goes that leaves the smallest gap.
            let gaps = self.samples.windows(3).map(|w| w[2].1 - w[0].1);
            if let Some((at, _)) = gaps.enumerate().min_by_key(|&(_, gap)| gap) {
                self.samples.remove(at + 1);
            }
        }
    }

    fn move_start(&mut self, start: i64) {
        self.start = start.clamp(self.start, self.end);
        self.forwarded = self.forwarded.max(self.start);
        let start = self.start;
        self.gaps.retain(|&(_, to)| to > start);
    }

    fn jump_to(&mut self, base: i64) {
        if base > self.end {
            self.add_gap(self.end, base);
            self.end = base;
        }
    }

    /// There are no records within `from..to`.
    fn add_gap(&mut self, from: i64, to: i64) {
        if from >= to {
            return;
        }
        self.gaps.push((from, to));
        self.gaps.sort_unstable();
        self.gaps.dedup_by(|later, earlier| {
            let joins = later.0 <= earlier.1;
            if joins {
                earlier.1 = earlier.1.max(later.1);
            }
            joins
        });
        if self.gaps.len() > GAPS_MAX {
            let between = self.gaps.windows(2).map(|pair| pair[1].0 - pair[0].1);
            if let Some((at, _)) = between.enumerate().min_by_key(|&(_, records)| records) {
                self.gaps[at].1 = self.gaps.remove(at + 1).1;
            }
        }
    }
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicState {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub config: TopicConfig,
    /// Its partitions.
    pub partitions: Vec<PartitionState>,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Last index applied.
    pub applied_index: u64,
    /// Its term.
    pub applied_term: u64,
    /// Topics by id.
    pub topics: BTreeMap<TopicId, TopicState>,
    /// What was shed.
    pub ledger: Ledger,
    /// Per store id the next intake sequence not seen.
    pub intake: BTreeMap<u64, u64>,
    /// Site time of the last frame.
    pub site_time_ms: i64,
    /// The store id whose incarnation was announced last; 0 = none.
    pub incarnation: u64,
    /// Raft's voters; empty = as configured at the start.
    pub voters: Vec<u64>,
    /// Boots whose clock was not right, and what was stamped meanwhile.
    #[serde(skip)]
    pub clocks: Clocks,
    /// Bytes on the link to central.
    #[serde(skip)]
    pub link: LinkMonth,
    /// How old frames are.
    #[serde(skip)]
    pub ages: Ages,
    /// Which offsets have no records.
    #[serde(skip)]
    pub holes: Holes,
}

/// The next part of the stored form.
fn take<T: DeserializeOwned>(rest: &mut &[u8]) -> Option<T> {
    let (part, behind) = postcard::take_from_bytes(rest).ok()?;
    *rest = behind;
    Some(part)
}

/// A part that came to the stored form later: behind the others, missing where an older program
/// wrote.
fn take_later<T: Default + DeserializeOwned>(rest: &mut &[u8]) -> Option<T> {
    if rest.is_empty() {
        return Some(T::default());
    }
    take(rest)
}

/// What applying one entry did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Batches that now are committed.
    pub batches: Vec<(TopicPartition, RecordBatch)>,
    /// The frame applied as nothing: proposed in another term.
    pub foreign_term: bool,
    /// Batches dropped: topic gone, or seen before.
    pub dropped: Vec<TopicPartition>,
    /// The table of topics changed.
    pub topics_changed: bool,
    /// Creations that did nothing, because the id or the name exists: id and name.
    pub not_created: Vec<(TopicId, String)>,
    /// Starts moved or topics went.
    pub starts_changed: bool,
    /// Partitions whose marks changed by control entries.
    pub touched: Vec<TopicPartition>,
    /// Site time of the frame.
    pub site_time_ms: i64,
    /// What mends stamps changed.
    pub mends_changed: bool,
}

/// Why apply stops. Never skipped: what follows may depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Written by another version of the program.
    Control(UnknownControl),
    /// The same of the state that the frames build on.
    Checkpoint(UnknownCheckpoint),
    /// A frame that cannot be read.
    Frame(FrameError),
    /// A batch in it that cannot be read.
    Batch(String),
    /// A change of the site's members, which this version does not do.
    Members,
    /// Raft could not be started on what was found.
    Raft(String),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplyError::Control(unknown) => unknown.fmt(f),
            ApplyError::Checkpoint(unknown) => unknown.fmt(f),
            ApplyError::Frame(error) => write!(f, "frame cannot be read: {error}"),
            ApplyError::Members => f.write_str("the site's members changed, update the program"),
            ApplyError::Raft(error) => write!(f, "raft could not be started: {error}"),
            ApplyError::Batch(error) => write!(f, "batch in a frame cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ApplyError {}

impl ApplyError {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            ApplyError::Control(_) | ApplyError::Checkpoint(_) | ApplyError::Members => {
                "install the version of edge-broker that wrote it, or a later one; every record \
                 is still there"
            }
            ApplyError::Frame(_) | ApplyError::Batch(_) | ApplyError::Raft(_) => {
                "run the newer program again, or move the data folder away to start anew"
            }
        }
    }
}

/// A checkpoint that is whole and that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCheckpoint {
    /// Its version byte.
    pub version: u8,
}

impl fmt::Display for UnknownCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version;
        write!(
            f,
            "the checkpoint is of a newer version of the program, format: {version}"
        )
    }
}

impl std::error::Error for UnknownCheckpoint {}

impl State {
    /// The checkpoint's bytes.
    pub fn encode(&self) -> Bytes {
        let out = postcard::to_extend(self, vec![VERSION]).unwrap_or_default();
        let out = postcard::to_extend(&self.clocks, out).unwrap_or_default();
        let out = postcard::to_extend(&self.link, out).unwrap_or_default();
        let out = postcard::to_extend(&self.ages, out).unwrap_or_default();
        let out = postcard::to_extend(&self.holes, out).unwrap_or_default();
        assert!(!out.is_empty(), "the state can be encoded");
        Bytes::from(out)
    }

    /// Reads a checkpoint's bytes: whole and of a version known here, or not at all. A part that
    /// came later would be missing from the next checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<State, UnknownCheckpoint> {
        let version = bytes.first().copied().unwrap_or(0);
        let unknown = UnknownCheckpoint { version };
        match bytes {
            [VERSION, rest @ ..] => State::decode_parts(rest).ok_or(unknown),
            _ => Err(unknown),
        }
    }

    fn decode_parts(mut rest: &[u8]) -> Option<State> {
        let mut state: State = take(&mut rest)?;
        state.clocks = take_later(&mut rest)?;
        state.link = take_later(&mut rest)?;
        state.ages = take_later(&mut rest)?;
        state.holes = take_later(&mut rest)?;
        for (&id, topic) in &state.topics {
            // An older program took no note of it.
            if topic.config.cleanup_policy.compacts() {
                state.holes.note_compacted(id);
            }
        }
        rest.is_empty().then_some(state)
    }

    /// A topic by name.
    pub fn topic_named(&self, name: &str) -> Option<(TopicId, &TopicState)> {
        self.topics
            .iter()
            .find(|(_, topic)| topic.name == name)
            .map(|(&id, topic)| (id, topic))
    }

    /// A partition.
    pub fn partition(&self, tp: TopicPartition) -> Option<&PartitionState> {
        self.topics
            .get(&tp.topic)?
            .partitions
            .get(tp.partition as usize)
    }

    fn partition_mut(&mut self, tp: TopicPartition) -> Option<&mut PartitionState> {
        self.topics
            .get_mut(&tp.topic)?
            .partitions
            .get_mut(tp.partition as usize)
    }

    /// Start offsets of all partitions, for the store.
    pub fn starts(&self) -> BTreeMap<TopicPartition, i64> {
        let mut starts = BTreeMap::new();
        for (&topic, state) in &self.topics {
            for (partition, marks) in (0..).zip(&state.partitions) {
                starts.insert(TopicPartition { topic, partition }, marks.start);
            }
        }
        starts
    }

    /// Applies one entry's data; an error leaves the state as it was.
    pub fn apply(&mut self, index: u64, term: u64, data: &Bytes) -> Result<Applied, ApplyError> {
        assert!(index > self.applied_index, "entries are applied in order");
        let mut applied = Applied {
            site_time_ms: self.site_time_ms,
            ..Applied::default()
        };
        if !data.is_empty() {
            let frame = Frame::decode(data.clone()).map_err(ApplyError::Frame)?;
            let items = decode_items(&frame)?;
            let header = frame.header();
            if header.proposer_term == term {
                self.site_time_ms = self.site_time_ms.max(header.site_time_ms);
                applied.site_time_ms = self.site_time_ms;
                self.ages.note(index, Moment::of(&header));
                self.apply_items(&header, items, &mut applied);
            } else {
                applied.foreign_term = true;
            }
        }
        self.applied_index = index;
        self.applied_term = term;
        Ok(applied)
    }

    fn apply_items(&mut self, header: &FrameHeader, items: Vec<Decoded>, applied: &mut Applied) {
        self.clocks.seen(header.boot_id, header.boot_ms);
        let mut intake = header.first_intake;
        for item in items {
            match item {
                Decoded::Control(control) => self.apply_control(header, control, applied),
                Decoded::Batch(tp, batch) => {
                    self.apply_batch(header, intake, tp, batch, applied);
                    intake += 1;
                }
            }
        }
    }

    fn apply_batch(
        &mut self,
        header: &FrameHeader,
        intake: u64,
        tp: TopicPartition,
        batch: RecordBatch,
        applied: &mut Applied,
    ) {
        let seen = self.intake.entry(header.store_id).or_default();
        if intake < *seen {
            return applied.dropped.push(tp);
        }
        *seen = intake + 1;
        let site_time_ms = self.site_time_ms;
        let Some(marks) = self.partition_mut(tp) else {
            return applied.dropped.push(tp);
        };
        if batch.base_offset() < marks.end {
            return applied.dropped.push(tp);
        }
        marks.jump_to(batch.base_offset());
        marks.end = batch.next_offset();
        marks.sample(batch.base_offset(), site_time_ms);
        let span = (batch.base_offset(), batch.next_offset());
        applied.mends_changed |= self.clocks.stamp(tp, span, header.boot_id, header.boot_ms);
        applied.batches.push((tp, batch));
    }

    fn apply_control(&mut self, header: &FrameHeader, control: Control, applied: &mut Applied) {
        match control {
            Control::TopicCreated {
                id,
                name,
                partitions,
                config,
            } => {
                if self.topics.contains_key(&id) || self.topic_named(&name).is_some() {
                    return applied.not_created.push((id, name));
                }
                let partitions = vec![PartitionState::default(); partitions as usize];
                if config.cleanup_policy.compacts() {
                    self.holes.note_compacted(id);
                }
                self.topics.insert(
                    id,
                    TopicState {
                        name,
                        config,
                        partitions,
                    },
                );
                applied.topics_changed = true;
                applied.starts_changed = true;
            }
            Control::TopicAltered {
                id,
                partitions,
                config,
            } => {
                let Some(topic) = self.topics.get_mut(&id) else {
                    return;
                };
                if config.cleanup_policy.compacts() {
                    self.holes.note_compacted(id);
                }
                topic.config = config;
                let partitions = topic.partitions.len().max(partitions as usize);
                topic
                    .partitions
                    .resize(partitions, PartitionState::default());
                applied.topics_changed = true;
                applied.starts_changed = true;
            }
            Control::TopicDeleted { id, loss } => self.delete_topic(id, loss, applied),
            Control::StartsMoved { starts, loss } => {
                for (tp, start) in starts {
                    self.move_start(tp, start, loss, applied);
                }
            }
            Control::Forwarded { progress } => {
                for (tp, offset) in progress {
                    let Some(marks) = self.partition_mut(tp) else {
                        continue;
                    };
                    marks.forwarded = marks.forwarded.max(offset.min(marks.end));
                    applied.mends_changed |= self.clocks.passed(tp, offset);
                    applied.touched.push(tp);
                }
            }
            Control::Shed {
                cause,
                topic,
                count,
            } => {
                let name = self.topic_name(topic);
                self.ledger
                    .add(cause, topic, &name, count, self.site_time_ms);
            }
            Control::Incarnation { store_id, lost } => self.jump(store_id, &lost, applied),
            Control::Link { used } => self.link.add(used),
            Control::Lost { lost } => self.lose(&lost, applied),
            Control::Clock {
                boot_ms,
                offset_ms,
                trust,
            } => {
                let (store_id, boot_id) = (header.store_id, header.boot_id);
                applied.mends_changed |= self
                    .clocks
                    .note(store_id, boot_id, boot_ms, offset_ms, trust);
            }
        }
    }

    fn topic_name(&self, topic: Option<TopicId>) -> String {
        let name = topic
            .and_then(|id| self.topics.get(&id))
            .map(|topic| topic.name.clone());
        name.unwrap_or_default()
    }

    fn delete_topic(&mut self, id: TopicId, loss: Option<LossCause>, applied: &mut Applied) {
        let Some(topic) = self.topics.remove(&id) else {
            return;
        };
        if let Some(cause) = loss {
            let waiting = |p: &PartitionState| p.records_between(p.forwarded.max(p.start), p.end);
            let count = topic.partitions.iter().map(waiting).sum();
            self.ledger
                .add(cause, Some(id), &topic.name, count, self.site_time_ms);
        }
        applied.mends_changed |= self.clocks.retain(|tp| tp.topic != id);
        self.holes.forget(id);
        applied.topics_changed = true;
        applied.starts_changed = true;
    }

    fn move_start(
        &mut self,
        tp: TopicPartition,
        start: i64,
        loss: Option<LossCause>,
        applied: &mut Applied,
    ) {
        let name = self.topic_name(Some(tp.topic));
        let now_ms = self.site_time_ms;
        let Some(marks) = self.partition_mut(tp) else {
            return;
        };
        let to = start.min(marks.end);
        let count = marks.records_between(marks.forwarded.max(marks.start), to);
        marks.move_start(start);
        applied.mends_changed |= self.clocks.passed(tp, start);
        if let Some(cause) = loss {
            self.ledger.add(cause, Some(tp.topic), &name, count, now_ms);
        }
        applied.touched.push(tp);
        applied.starts_changed = true;
    }

    /// Records that the disk lost: each that there was counts once, however often it is told.
    fn lose(&mut self, lost: &[Span], applied: &mut Applied) {
        for &(tp, from, to) in lost {
            let topic_name = self.topic_name(Some(tp.topic));
            let Some(marks) = self.partition_mut(tp) else {
                continue;
            };
            let from = from.max(marks.start);
            // They may lie in a gap, if a replay missed them, or beyond the end, if it ended before
            // them; the jump of a new incarnation covers those.
            marks.add_gap(from, to.min(marks.end));
            let lost = LostOffsets {
                topic_name,
                partition: tp.partition,
                first: from,
                last: to - 1,
            };
            let count = self.holes.not_told(&lost);
            if count == 0 {
                continue;
            }
            let (cause, now_ms) = (LossCause::DiskLoss, self.site_time_ms);
            self.ledger
                .add(cause, Some(tp.topic), &lost.topic_name, count, now_ms);
            self.holes.add(lost);
            applied.touched.push(tp);
        }
    }

    fn jump(&mut self, store_id: u64, lost: &[Span], applied: &mut Applied) {
        if self.incarnation == store_id {
            return;
        }
        self.lose(lost, applied);
        // The very first incarnation has given nothing away before.
        if self.incarnation != 0 || self.topics.values().any(|t| !t.partitions.is_empty()) {
            for (&topic, state) in &mut self.topics {
                for (partition, marks) in (0..).zip(&mut state.partitions) {
                    marks.jump_to(marks.end + INCARNATION_JUMP);
                    applied.touched.push(TopicPartition { topic, partition });
                }
            }
        }
        self.incarnation = store_id;
    }
}

enum Decoded {
    Batch(TopicPartition, RecordBatch),
    Control(Control),
}

/// All items, or none: a frame applies whole.
fn decode_items(frame: &Frame) -> Result<Vec<Decoded>, ApplyError> {
    let mut out = Vec::new();
    for item in frame.items() {
        out.push(match item {
            Item::Batch { partition, batch } => {
                let batch = RecordBatch::parse_stored(batch);
                let batch = batch.map_err(|error| ApplyError::Batch(error.to_string()))?;
                Decoded::Batch(partition, batch)
            }
            Item::Control(bytes) => {
                Decoded::Control(Control::decode(&bytes).map_err(ApplyError::Control)?)
            }
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
