//! What is known of a slice without reading its index.
//!
//! Kept up to date while the slice grows, stored at the head of its index when it is sealed. A
//! start reads no more than this of a sealed slice; the catalog holds it.

use serde::{Deserialize, Serialize};

use super::FramePlace;
use crate::TopicPartition;
use crate::value::NUMBER_MAX;

/// What is known of a slice without reading its index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The store that wrote it.
    pub store_id: u64,
    /// The write accepted before its first one; earlier slices count up to here.
    pub continues: u64,
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// Its live frames, `first..=last`; `last < first` when there are none.
    pub first_index: u64,
    pub last_index: u64,
    /// The smallest index written here: earlier slices are void from there on.
    pub voids_from: u64,
    /// Later slices void what is here from this index on.
    pub void_from: u64,
    /// (first index, term) of each run of one term.
    pub terms: Vec<(u64, u64)>,
    /// Dead batches were left out: no raft entries any more.
    pub reduced: bool,
    /// The slices it took the place of.
    pub replaces: Vec<u64>,
    pub partitions: Vec<SpanRecord>,
}

impl Summary {
    /// Its numbers can be those of a slice.
    pub fn is_possible(&self) -> bool {
        self.continues <= NUMBER_MAX
            && self.first_sequence <= self.last_sequence
            && self.last_sequence <= NUMBER_MAX
            && (1..=NUMBER_MAX).contains(&self.first_index)
            && self.last_index <= NUMBER_MAX
            && self.voids_from.min(self.void_from) > 0
            && self.terms.iter().all(|(_, term)| *term <= NUMBER_MAX)
    }
}

/// A [`PartitionSpan`](crate::PartitionSpan) as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanRecord {
    pub partition: TopicPartition,
    pub first_offset: i64,
    pub next_offset: i64,
    pub bytes: u64,
    pub max_timestamp_ms: i64,
}

/// Keeps a growing slice's summary up to date.
pub fn note_frame(summary: &mut Summary, frame: &FramePlace) {
    if summary.first_sequence == 0 {
        summary.first_sequence = frame.sequence;
    }
    summary.last_sequence = frame.sequence;
    summary.voids_from = summary.voids_from.min(frame.index);
    summary.first_index = match summary.first_index {
        0 => frame.index,
        first => first.min(frame.index),
    };
    summary.last_index = frame.index;
    let void = summary
        .terms
        .partition_point(|(first, _)| *first < frame.index);
    summary.terms.truncate(void);
    if summary
        .terms
        .last()
        .is_none_or(|(_, term)| *term != frame.term)
    {
        summary.terms.push((frame.index, frame.term));
    }
}

/// A summary before its first frame.
pub fn empty_summary(store_id: u64, continues: u64) -> Summary {
    Summary {
        store_id,
        continues,
        voids_from: u64::MAX,
        void_from: u64::MAX,
        ..Summary::default()
    }
}
