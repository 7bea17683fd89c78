//! What lies where in one slice: its frames, their values, and (partition, base offset) → frame.
//!
//! In memory until the slice is sealed, where every write extends it; then stored beside the slice,
//! see `file`; rebuilt by scanning where it is missing or damaged. Writer, readers and copies use
//! it; which slice to look in the catalog tells.
//!
//! Frames are in write order. An overwrite takes the voided ones out again, so indexes rise too.

mod file;
mod places;
mod summary;

use std::collections::BTreeMap;

use bytes::Buf;

pub use file::{load, load_summary, store};
pub use places::Places;
pub use summary::{SpanRecord, Summary, empty_summary, note_frame};

use crate::frame::{FrameHeader, item_places};
use crate::{EntryKind, TopicPartition};

/// A frame in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    pub sequence: u64,
    pub index: u64,
    pub term: u64,
    pub data_bytes: u32,
}

/// A batch in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    pub base_offset: i64,
    pub max_timestamp_ms: i64,
    /// Offset of its last record, less the base offset.
    pub last_delta: u32,
    /// Position of its frame in the slice's list.
    pub frame: u32,
    /// Where its bytes begin in the entry's data.
    pub start: u32,
    pub len: u32,
}

impl BatchPlace {
    /// The offset after its last record.
    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_delta) + 1
    }
}

/// Frames and batches of one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceIndex {
    pub frames: Vec<FramePlace>,
    pub partitions: BTreeMap<TopicPartition, Vec<BatchPlace>>,
    /// Of the frames' values; of a sealed slice only.
    pub places: Places,
}

impl SliceIndex {
    /// Where a value should lie, and its length.
    pub fn place(&self, sequence: u64, part: u32) -> Option<(u64, usize)> {
        self.places.get(&self.frames, sequence, part)
    }

    /// Adds a frame that was written after all the others, and takes out what it voids.
    /// Tells of each batch that is now in it.
    pub fn push(
        &mut self,
        frame: FramePlace,
        kind: EntryKind,
        data: &[u8],
        mut added: impl FnMut(TopicPartition, &BatchPlace),
    ) {
        if self
            .frames
            .last()
            .is_some_and(|last| last.index >= frame.index)
        {
            self.truncate(frame.index);
        }
        let ordinal = self.frames.len() as u32;
        self.frames.push(frame);
        if kind != EntryKind::Normal {
            return;
        }
        // A deposed leader's frame that was passed on applies as nothing, so it holds no batches.
        match FrameHeader::decode(data) {
            Ok(header) if header.proposer_term == frame.term => {}
            _ => return,
        }
        for place in item_places(data).map_while(Result::ok) {
            let range = place.range();
            let Some(partition) = place.partition else {
                continue;
            };
            let Some(mut batch) = batch_place(&data[range.clone()]) else {
                continue;
            };
            batch.frame = ordinal;
            batch.start = range.start as u32;
            batch.len = range.len() as u32;
            if self.push_batch(partition, batch) {
                added(partition, &batch);
            }
        }
    }

    fn push_batch(&mut self, partition: TopicPartition, batch: BatchPlace) -> bool {
        let batches = self.partitions.entry(partition).or_default();
        if batches
            .last()
            .is_some_and(|last| batch.base_offset < last.next_offset())
        {
            log::warn!(
                "batch goes back and is not indexed; partition {} of {}, offset: {}",
                partition.partition,
                partition.topic,
                batch.base_offset
            );
            return false;
        }
        batches.push(batch);
        true
    }

    /// Takes out the frames from an index on.
    pub fn truncate(&mut self, from_index: u64) {
        let kept = self
            .frames
            .partition_point(|frame| frame.index < from_index);
        self.frames.truncate(kept);
        for batches in self.partitions.values_mut() {
            batches.truncate(batches.partition_point(|batch| (batch.frame as usize) < kept));
        }
        self.partitions.retain(|_, batches| !batches.is_empty());
    }

    /// The frame at an index.
    pub fn frame_at(&self, index: u64) -> Option<&FramePlace> {
        self.frames
            .binary_search_by_key(&index, |frame| frame.index)
            .ok()
            .map(|at| &self.frames[at])
    }

    /// Batches of a partition from the one that holds `offset`, or the first after it; none of
    /// frames from `void_from` on.
    pub fn batches_from(
        &self,
        partition: TopicPartition,
        offset: i64,
        void_from: u64,
    ) -> &[BatchPlace] {
        let Some(batches) = self.partitions.get(&partition) else {
            return &[];
        };
        let first = batches.partition_point(|batch| batch.next_offset() <= offset);
        let end =
            batches.partition_point(|batch| self.frames[batch.frame as usize].index < void_from);
        batches.get(first..end).unwrap_or(&[])
    }

    /// The parts of each partition.
    pub fn spans(&self) -> impl Iterator<Item = SpanRecord> + use<'_> {
        self.partitions.iter().filter_map(|(partition, batches)| {
            let (first, last) = (batches.first()?, batches.last()?);
            Some(SpanRecord {
                partition: *partition,
                first_offset: first.base_offset,
                next_offset: last.next_offset(),
                bytes: batches.iter().map(|batch| u64::from(batch.len)).sum(),
                max_timestamp_ms: batches
                    .iter()
                    .map(|b| b.max_timestamp_ms)
                    .max()
                    .unwrap_or(-1),
            })
        })
    }
}

/// Reads of a record batch what an index needs; the batch was checked at the door.
pub fn batch_place(batch: &[u8]) -> Option<BatchPlace> {
    let number = |at: usize| Some(batch.get(at..at + 8)?.get_i64());
    Some(BatchPlace {
        base_offset: number(0)?,
        last_delta: batch.get(23..27)?.get_u32(),
        max_timestamp_ms: number(35)?,
        frame: 0,
        start: 0,
        len: 0,
    })
}
