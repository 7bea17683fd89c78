//! What goes, and in which order: retention by time and bytes, and the order of a full disk.
//!
//! A pure planner: state and the store's figures in, new start offsets out. Moving a start is a
//! control entry; deleting bytes is the store's own business afterwards.
//!
//! ```text
//! always        expired by retention.ms / retention.bytes            loss: if not forwarded
//! store full    1. everything that central has                      no loss
//!               2. oldest first, topics that say drop-oldest         loss
//!               then topics that say refuse are refused
//! filesystem    1. only; unforwarded data is never dropped for somebody else's files, neither when
//!               it is full nor when it has less left than the store wants
//! ```
//! Only closed slices are looked at: what is in the newest one stays.

use std::collections::BTreeMap;

use edge_log::{PartitionSpan, SliceInfo, TopicPartition, Usage};

use crate::config::WhenFull;
use crate::ledger::LossCause;
use crate::state::{PartitionState, State, TopicState};
use crate::topics::CleanupPolicy;

/// Clocks that show less were never set (2025-01-01): nothing is expired by them.
const CLOCK_SET_MS: i64 = 1_735_689_600_000;

/// What the planner looks at.
pub struct Situation<'a> {
    /// The applied state.
    pub state: &'a State,
    /// The store's figures.
    pub usage: &'a Usage,
    /// Site time.
    pub now_ms: i64,
    /// What topics do that say `inherit`.
    pub when_full: WhenFull,
    /// Whether there is a central cluster: without one nobody misses what expires.
    pub forwarding: bool,
    /// Appendable bytes below which room is made.
    pub reserve_bytes: u64,
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
    /// Bytes that still lack after all moves and after everything dead is really gone.
    pub missing_bytes: u64,
}

/// Plans.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let mut planner = Planner {
        situation,
        plan: Plan::default(),
        freed_bytes: 0,
    };
    planner.expire();
    let usage = situation.usage;
    let lacks = |left_bytes| situation.reserve_bytes.saturating_sub(left_bytes);
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
        planner.plan.missing_bytes = lacking.saturating_sub(planner.freed_bytes);
    }
    planner.plan
}

struct Planner<'a> {
    situation: &'a Situation<'a>,
    plan: Plan,
    freed_bytes: u64,
}

impl<'a> Planner<'a> {
    fn slices(&self) -> impl Iterator<Item = &'a SliceInfo> + use<'a> {
        self.situation
            .usage
            .slices
            .iter()
            .filter(|slice| slice.sealed)
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
        let spans = self
            .slices()
            .filter(|s| s.droppable)
            .flat_map(|slice| &slice.partitions);
        let is_dead = |span: &&PartitionSpan| match self.lookup(span.partition) {
            Some((_, marks)) => span.next_offset <= self.start(span.partition, marks),
            None => true,
        };
        spans.filter(is_dead).map(|span| span.bytes).sum()
    }

    fn expire(&mut self) {
        let mut spans: BTreeMap<TopicPartition, Vec<&PartitionSpan>> = BTreeMap::new();
        for span in self.slices().flat_map(|slice| &slice.partitions) {
            spans.entry(span.partition).or_default().push(span);
        }
        for (tp, spans) in spans {
            let Some((topic, marks)) = self.lookup(tp) else {
                continue;
            };
            if topic.config.cleanup_policy == CleanupPolicy::Compact {
                continue;
            }
            let by_time = self.expired_by_time(topic.config.retention_ms, &spans);
            let by_bytes = expired_by_bytes(topic.config.retention_bytes, marks, &spans);
            let start = by_time.max(by_bytes);
            if start > marks.start {
                let missed = self.situation.forwarding && topic.config.forward;
                self.move_to(tp, start, missed.then_some(LossCause::Retention));
            }
        }
    }

    /// Offset below which everything is older than allowed. A span stamped by a clock that was
    /// never set is as old as the next one that was.
    fn expired_by_time(&self, retention_ms: i64, spans: &[&PartitionSpan]) -> i64 {
        let now_ms = self.situation.now_ms;
        if retention_ms < 0 || now_ms < CLOCK_SET_MS {
            return 0;
        }
        let mut start = 0;
        for span in spans {
            if span.max_timestamp_ms >= now_ms.saturating_sub(retention_ms) {
                break;
            }
            if span.max_timestamp_ms >= CLOCK_SET_MS {
                start = span.next_offset;
            }
        }
        start
    }

    /// What central has goes before its time.
    fn take_forwarded(&mut self, lacking: u64) {
        self.take(lacking, |topic, marks, span| {
            (topic.config.forward && span.next_offset <= marks.forwarded).then_some(None)
        });
    }

    fn drop_oldest(&mut self, lacking: u64) {
        let when_full = self.situation.when_full;
        self.take(lacking, |topic, _, _| {
            let drops = topic.config.when_full(when_full) == WhenFull::DropOldest;
            // State kept as records (retained messages) is not history: it is never "oldest".
            let history = topic.config.cleanup_policy == CleanupPolicy::Delete;
            (drops && history).then_some(Some(LossCause::StorageFull))
        });
    }

    fn take(
        &mut self,
        lacking: u64,
        may: impl Fn(&TopicState, &PartitionState, &PartitionSpan) -> Option<Option<LossCause>>,
    ) {
        for slice in self.slices().filter(|slice| slice.droppable) {
            if self.freed_bytes >= lacking && lacking > 0 {
                return;
            }
            for span in &slice.partitions {
                let Some((topic, marks)) = self.lookup(span.partition) else {
                    continue;
                };
                if span.next_offset <= self.start(span.partition, marks) {
                    continue;
                }
                if let Some(loss) = may(topic, marks, span) {
                    self.move_to(span.partition, span.next_offset, loss);
                    self.freed_bytes += span.bytes;
                }
            }
        }
    }
}

/// Offset below which more than the allowed bytes lie above.
fn expired_by_bytes(bytes_max: i64, marks: &PartitionState, spans: &[&PartitionSpan]) -> i64 {
    let Ok(bytes_max) = u64::try_from(bytes_max) else {
        return 0;
    };
    let live = |span: &&&PartitionSpan| span.next_offset > marks.start;
    let mut bytes: u64 = spans.iter().filter(live).map(|span| span.bytes).sum();
    let mut start = 0;
    for span in spans.iter().filter(live) {
        // Like Kafka's segments: a span goes only if without it there still is enough.
        if bytes < bytes_max + span.bytes {
            break;
        }
        bytes -= span.bytes;
        start = span.next_offset;
    }
    start
}

#[cfg(test)]
mod tests;
