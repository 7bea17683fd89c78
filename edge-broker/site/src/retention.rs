//! What goes, and in which order: retention by time and bytes, and the order of a full disk.
//!
//! A pure planner: state and the store's figures in, new start offsets out. Moving a start is a
//! control entry; deleting bytes is the store's own business afterwards.
//!
//! ```text
//! always        expired by retention.ms / retention.bytes            loss: if not forwarded
//! store full    1. everything that central has, but compacted state no loss
//!               2. what compaction still frees, by the store itself  no loss
//!               3. oldest first, topics that say drop-oldest         loss
//!               then topics that say refuse are refused
//! filesystem    1. only; unforwarded data is never dropped for somebody else's files, neither when
//!               it is full nor when it has less left than the store wants
//! ```
//! Only closed slices are looked at: what is in the newest one stays. Ages are running time since
//! the newest frame of a slice (`age`): neither a wall clock nor a client's stamp makes them.

use std::collections::{BTreeMap, HashMap};

use edge_log::{PartitionSpan, SliceInfo, TopicPartition, Usage};

use crate::age::Moment;
use crate::config::WhenFull;
use crate::ledger::LossCause;
use crate::state::{PartitionState, State, TopicState};

/// Clocks that show less were never set (2025-01-01): nothing is expired by them.
pub(crate) const CLOCK_SET_MS: i64 = 1_735_689_600_000;

/// What the planner looks at.
pub struct Situation<'a> {
    /// The applied state.
    pub state: &'a State,
    /// The store's figures.
    pub usage: &'a Usage,
    /// When.
    pub now: Moment,
    /// What topics do that say `inherit`.
    pub when_full: WhenFull,
    /// Whether there is a central cluster: without one nobody misses what expires.
    pub forwarding: bool,
    /// Appendable bytes below which room is made.
    pub wanted_bytes: u64,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// New starts, with the cause if what is not forwarded counts as lost.
    pub moves: BTreeMap<TopicPartition, (i64, Option<LossCause>)>,
    /// The store is full: do it now, not with the next frame.
    pub urgent: bool,
    /// Topics that say refuse are refused: what central has and what is dead is not enough.
    pub refuse: bool,
    /// Something goes by this plan, or is dead and still there.
    pub makes_room: bool,
}

/// Plans.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let mut planner = Planner {
        situation,
        plan: Plan::default(),
        freed_bytes: 0,
        ends: ends_of_overwritten(situation),
    };
    planner.expire();
    let usage = situation.usage;
    let lacks = |left_bytes| situation.wanted_bytes.saturating_sub(left_bytes);
    let lacking = lacks(usage.append_bytes_left);
    if lacking > 0 || usage.filesystem_full {
        planner.plan.urgent = true;
        planner.freed_bytes = planner.dead_bytes();
        planner.take_forwarded(lacking);
        planner.plan.refuse = planner.freed_bytes < lacking;
        let own = lacks(usage.own_bytes_left);
        if own > 0 && !usage.filesystem_full {
            planner.drop_oldest(own);
        }
        planner.plan.makes_room = planner.freed_bytes > 0;
    }
    planner.plan
}

struct Planner<'a> {
    situation: &'a Situation<'a>,
    plan: Plan,
    freed_bytes: u64,
    ends: HashMap<(u64, TopicPartition), i64>,
}

/// What a closed slice holds of a partition.
struct Part<'a> {
    slice: &'a SliceInfo,
    span: &'a PartitionSpan,
    /// Offset after its last record that is not overwritten.
    next_offset: i64,
}

/// Not all of it was overwritten by later slices.
fn is_valid(slice: &SliceInfo) -> bool {
    slice.first_index <= slice.last_index
}

/// Where parts really end whose slices count offsets that a later slice overwrote: those belong
/// to younger records, or to records that are still to come.
fn ends_of_overwritten(situation: &Situation<'_>) -> HashMap<(u64, TopicPartition), i64> {
    let mut ends = HashMap::new();
    let mut next: HashMap<TopicPartition, i64> = HashMap::new();
    for slice in situation.usage.slices.iter().rev().filter(|s| is_valid(s)) {
        for span in &slice.partitions {
            let tp = span.partition;
            let Some(marks) = situation.state.partition(tp) else {
                continue;
            };
            let next = next.entry(tp).or_insert(marks.end);
            if span.next_offset > *next {
                ends.insert((slice.number, tp), *next);
            }
            *next = span.first_offset.min(*next);
        }
    }
    ends
}

impl<'a> Planner<'a> {
    /// Of all closed slices, oldest first.
    fn parts(&self) -> impl Iterator<Item = Part<'a>> {
        let usage = self.situation.usage;
        let slices = usage.slices.iter();
        let closed = slices.filter(|slice| slice.sealed && is_valid(slice));
        closed.flat_map(|slice| {
            slice.partitions.iter().map(|span| {
                let end = self.ends.get(&(slice.number, span.partition));
                let next_offset = end.map_or(span.next_offset, |end| span.next_offset.min(*end));
                Part {
                    slice,
                    span,
                    next_offset,
                }
            })
        })
    }

    fn lookup(&self, tp: TopicPartition) -> Option<(&'a TopicState, &'a PartitionState)> {
        let topic = self.situation.state.topics.get(&tp.topic)?;
        Some((topic, topic.partitions.get(tp.partition as usize)?))
    }

    /// The start as planned so far.
    fn start(&self, tp: TopicPartition, marks: &PartitionState) -> i64 {
        self.plan
            .moves
            .get(&tp)
            .map_or(marks.start, |&(start, _)| start)
    }

    fn move_to(&mut self, tp: TopicPartition, start: i64, loss: Option<LossCause>) {
        let entry = self.plan.moves.entry(tp).or_insert((start, loss));
        entry.0 = entry.0.max(start);
        entry.1 = entry.1.or(loss);
    }

    /// Dead already, but still on disk: will be free without doing anything more.
    fn dead_bytes(&self) -> u64 {
        let droppable: Vec<_> = self.parts().filter(|part| part.slice.droppable).collect();
        let slices = droppable.chunk_by(|a, b| a.slice.number == b.slice.number);
        slices.map(|parts| self.freed_of(parts, |_| false)).sum()
    }

    fn is_dead(&self, part: &Part<'_>) -> bool {
        match self.lookup(part.span.partition) {
            Some((_, marks)) => part.next_offset <= self.start(part.span.partition, marks),
            None => true,
        }
    }

    /// What the store frees of one slice by the plan so far, if some more of it went.
    fn freed_of(&self, parts: &[Part<'_>], goes: impl Fn(&Part<'_>) -> bool) -> u64 {
        let lives = |part: &&Part<'_>| !self.is_dead(part) && !goes(part);
        let live = parts.iter().filter(lives).map(|part| part.span.bytes).sum();
        parts.first().map_or(0, |part| part.slice.freed_bytes(live))
    }

    fn expire(&mut self) {
        let mut parts: BTreeMap<TopicPartition, Vec<Part<'_>>> = BTreeMap::new();
        for part in self.parts() {
            parts.entry(part.span.partition).or_default().push(part);
        }
        for (tp, parts) in parts {
            let Some((topic, marks)) = self.lookup(tp) else {
                continue;
            };
            if !topic.config.cleanup_policy.expires() {
                continue;
            }
            let by_time = self.expired_by_time(topic.config.retention_ms, &parts);
            let by_bytes = expired_by_bytes(topic.config.retention_bytes, marks, &parts);
            let start = by_time.max(by_bytes);
            if start > marks.start {
                let missed = self.situation.forwarding && topic.config.forward;
                self.move_to(tp, start, missed.then_some(LossCause::Retention));
            }
        }
    }

    /// Offset below which everything is older than allowed.
    fn expired_by_time(&self, retention_ms: i64, parts: &[Part<'_>]) -> i64 {
        let Ok(retention_ms) = u64::try_from(retention_ms) else {
            return 0;
        };
        let Situation { state, now, .. } = *self.situation;
        let age_ms = |part: &&Part<'_>| state.ages.age_ms(part.slice.last_index, now);
        let expired = parts.iter().take_while(|part| age_ms(part) > retention_ms);
        expired.last().map_or(0, |part| part.next_offset)
    }

    /// What central has goes before its time.
    fn take_forwarded(&mut self, lacking: u64) {
        self.take(lacking, |topic, marks, part| {
            is_with_central(topic, marks, part).then_some(None)
        });
    }

    fn drop_oldest(&mut self, lacking: u64) {
        let when_full = self.situation.when_full;
        let compacting = self.situation.usage.compacting;
        self.take(lacking, |topic, marks, part| {
            if is_with_central(topic, marks, part) {
                return Some(None);
            }
            let drops = topic.config.when_full(when_full) == WhenFull::DropOldest;
            let policy = topic.config.cleanup_policy;
            // The gateway's own state kept as records (retained messages) is never "oldest".
            let own = !policy.expires() && topic.name.starts_with('_');
            let waits = policy.compacts() && compacting;
            (drops && !own && !waits).then_some(Some(LossCause::StorageFull))
        });
    }

    /// Takes what may go, slice by slice, as far as the store frees room by it: with too little of
    /// a slice gone nothing would be gained.
    fn take(
        &mut self,
        lacking: u64,
        may: impl Fn(&TopicState, &PartitionState, &Part<'_>) -> Option<Option<LossCause>>,
    ) {
        let droppable: Vec<_> = self.parts().filter(|part| part.slice.droppable).collect();
        for parts in droppable.chunk_by(|a, b| a.slice.number == b.slice.number) {
            if self.freed_bytes >= lacking && lacking > 0 {
                return;
            }
            let loss = |part: &Part<'_>| {
                let (topic, marks) = self.lookup(part.span.partition)?;
                may(topic, marks, part)
            };
            let before = self.freed_of(parts, |_| false);
            let after = self.freed_of(parts, |part| loss(part).is_some());
            if after <= before {
                continue;
            }
            let going = parts.iter().filter(|part| !self.is_dead(part));
            let going: Vec<_> = going.filter_map(|p| Some((p, loss(p)?))).collect();
            for (part, loss) in going {
                self.move_to(part.span.partition, part.next_offset, loss);
            }
            self.freed_bytes += after - before;
        }
    }
}

/// Central has it, and it is history, not state.
fn is_with_central(topic: &TopicState, marks: &PartitionState, part: &Part<'_>) -> bool {
    let history = topic.config.cleanup_policy.expires();
    topic.config.forward && history && part.next_offset <= marks.forwarded
}

/// Offset below which more than the allowed bytes lie above.
fn expired_by_bytes(bytes_max: i64, marks: &PartitionState, parts: &[Part<'_>]) -> i64 {
    let Ok(bytes_max) = u64::try_from(bytes_max) else {
        return 0;
    };
    let live = parts.iter().filter(|part| part.next_offset > marks.start);
    let mut bytes: u64 = live.clone().map(|part| part.span.bytes).sum();
    let mut start = 0;
    for part in live {
        // Like Kafka's segments: a span goes only if without it there still is enough.
        if bytes < bytes_max + part.span.bytes {
            break;
        }
        bytes -= part.span.bytes;
        start = part.next_offset;
    }
    start
}

#[cfg(test)]
mod tests;
