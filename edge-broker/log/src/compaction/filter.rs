//! What compaction leaves out of a batch. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_wire::{BatchError, RecordBatch, RecordView};

use crate::TopicPartition;
use crate::compaction::CompactTo;
use crate::compaction::offset_map::OffsetMap;

/// What a batch may unpack to; one that is larger stays as it is.
pub const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

/// The newest offsets, and up to where they may be used.
#[derive(Clone, Debug)]
pub struct Filter {
    pub to: Arc<BTreeMap<TopicPartition, CompactTo>>,
    pub map: OffsetMap,
    /// There may be records that were not read, so nobody knows what a tombstone still hides.
    pub tombstones_stay: bool,
}

/// What is left of a batch.
pub enum Left {
    Whole,
    Part(RecordBatch),
    Nothing,
}

impl Filter {
    /// Leaves out what is dead. A batch that cannot be read stays.
    pub fn reduce(&self, partition: TopicPartition, batch: &[u8]) -> Left {
        let Some(to) = self.to.get(&partition) else {
            return Left::Whole;
        };
        let Ok(batch) = RecordBatch::parse_stored(Bytes::copy_from_slice(batch)) else {
            return Left::Whole;
        };
        if batch.base_offset() >= to.below {
            return Left::Whole;
        }
        let keep = |view: &RecordView<'_>| !self.is_dead(partition, to, view);
        match batch.retain(DECOMPRESSED_BYTES_MAX, keep) {
            Ok(None) => Left::Nothing,
            Ok(Some(left)) if left.record_count() < batch.record_count() => Left::Part(left),
            Ok(Some(_)) | Err(_) => Left::Whole,
        }
    }

    /// Takes the keys of a batch into the map.
    pub fn note(
        &mut self,
        partition: TopicPartition,
        to: &CompactTo,
        batch: &RecordBatch,
    ) -> Result<(), BatchError> {
        for view in batch.decompress(DECOMPRESSED_BYTES_MAX)?.views() {
            let view = view?;
            if let Some(key) = view.key.filter(|_| view.offset < to.below) {
                self.map.note(partition, key, view.offset);
            }
        }
        Ok(())
    }

    /// How many of a batch's records are dead. Batches come in the order of their offsets.
    pub fn count_dead(
        &mut self,
        partition: TopicPartition,
        to: &CompactTo,
        batch: &RecordBatch,
    ) -> Result<u64, BatchError> {
        let mut dead = 0;
        for view in batch.decompress(DECOMPRESSED_BYTES_MAX)?.views() {
            let view = view?;
            dead += u64::from(self.is_dead(partition, to, &view));
            let newest = view.key.and_then(|key| self.map.get(partition, key));
            if let Some((key, newest)) = view.key.zip(newest)
                && view.offset < newest.offset()
            {
                self.map.note_older(partition, key);
            }
        }
        Ok(dead)
    }

    fn is_dead(&self, partition: TopicPartition, to: &CompactTo, view: &RecordView<'_>) -> bool {
        let Some(key) = view.key.filter(|_| view.offset < to.below) else {
            return false;
        };
        let Some(newest) = self.map.get(partition, key) else {
            return false;
        };
        let expired = view.value.is_none()
            && view.timestamp_ms < to.delete_before_ms
            && !newest.has_older()
            && !self.tombstones_stay;
        newest.offset() > view.offset || newest.offset() == view.offset && expired
    }
}
