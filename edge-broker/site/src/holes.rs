//! Offsets without a record: what a disk lost, and how a start finds out that something is gone.
//!
//! ```text
//! state     start ───────────────────────── end       what there should be
//! slices    [0,2860)      [3547,…)                     what there is
//! missing            2860..3547                        nobody saw it go: the ledger, an alarm
//! ```
//! Compaction takes records out of the middle, so a topic that was ever compacted is left out.
//! Pure; the core asks once after a start, when it knows what the slices hold.

use std::collections::{BTreeMap, BTreeSet};

use edge_log::{SliceInfo, TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::state::State;

/// A partition and offsets `from..to` of it.
pub type Span = (TopicPartition, i64, i64);

/// Records that the disk lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostOffsets {
    /// Of which topic, by the name it had.
    pub topic_name: String,
    /// Which partition.
    pub partition: u32,
    /// The first.
    pub first: i64,
    /// The last.
    pub last: i64,
}

/// Part of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holes {
    lost: Vec<LostOffsets>,
    /// Topics that were compacted at any time.
    compacted: BTreeSet<TopicId>,
}

/// Lines kept; beyond it the oldest go, the ledger still has their number.
const LOST_MAX: usize = 256;

impl Holes {
    /// What was lost, in the order it was found.
    pub fn lost(&self) -> &[LostOffsets] {
        &self.lost
    }

    /// How many of these records nobody has been told of.
    pub fn not_told(&self, lost: &LostOffsets) -> u64 {
        let of_it = |known: &&LostOffsets| {
            known.topic_name == lost.topic_name && known.partition == lost.partition
        };
        let known = self.lost.iter().filter(of_it);
        let known = known.map(|known| (known.first, known.last + 1)).collect();
        let untold = uncovered(lost.first, lost.last + 1, known).into_iter();
        untold.map(|(from, to)| (to - from) as u64).sum()
    }

    /// Takes note of lost records.
    pub fn add(&mut self, lost: LostOffsets) {
        let joins = self.lost.last_mut().filter(|known| {
            known.topic_name == lost.topic_name
                && known.partition == lost.partition
                && known.last + 1 == lost.first
        });
        match joins {
            Some(known) => known.last = lost.last,
            None => self.lost.push(lost),
        }
        let beyond = self.lost.len().saturating_sub(LOST_MAX);
        self.lost.drain(..beyond);
    }

    /// A topic is compacted from now on.
    pub fn note_compacted(&mut self, topic: TopicId) {
        self.compacted.insert(topic);
    }

    /// A topic is gone.
    pub fn forget(&mut self, topic: TopicId) {
        self.compacted.remove(&topic);
    }
}

/// The end of every partition that slices must cover.
pub fn ends(state: &State) -> BTreeMap<TopicPartition, i64> {
    let mut ends = BTreeMap::new();
    for (&topic, known) in &state.topics {
        for (partition, marks) in (0..).zip(&known.partitions) {
            ends.insert(TopicPartition { topic, partition }, marks.end);
        }
    }
    ends
}

/// What the state names below `ends` and no slice holds, and that is not known to be lost.
pub fn missing(
    state: &State,
    ends: &BTreeMap<TopicPartition, i64>,
    slices: &[SliceInfo],
) -> Vec<Span> {
    let mut held: BTreeMap<TopicPartition, Vec<(i64, i64)>> = BTreeMap::new();
    for span in slices.iter().flat_map(|slice| &slice.partitions) {
        let held = held.entry(span.partition).or_default();
        held.push((span.first_offset, span.next_offset));
    }
    let mut missing = Vec::new();
    for (&tp, &end) in ends {
        let Some(marks) = state.partition(tp) else {
            continue;
        };
        if state.holes.compacted.contains(&tp.topic) {
            continue;
        }
        let held = held.remove(&tp).unwrap_or_default();
        let known = marks.gaps.iter().copied();
        let covered = held.into_iter().chain(known).collect();
        let uncovered = uncovered(marks.start, end.min(marks.end), covered);
        missing.extend(uncovered.into_iter().map(|(from, to)| (tp, from, to)));
    }
    missing
}

/// What of `start..end` no range covers.
fn uncovered(start: i64, end: i64, mut ranges: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    ranges.sort_unstable();
    let mut out = Vec::new();
    let mut next = start;
    for (from, to) in ranges {
        if from.min(end) > next {
            out.push((next, from.min(end)));
        }
        next = next.max(to);
    }
    if next < end {
        out.push((next, end));
    }
    out
}

#[cfg(test)]
mod tests;
