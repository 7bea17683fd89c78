//! One round over the log for a share of the keys: the reading part, a slice at a time.
//!
//! Runs on the upkeep's thread. Which slices, when, and what is rewritten is chosen in `run`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use kafka_wire::{BatchError, RecordBatch};

use crate::compaction::CompactTo;
use crate::compaction::filter::Filter;
use crate::shared::Shared;
use crate::{Disk, DiskError, TopicPartition, value};

/// A round under way.
pub struct Pass {
    pub filter: Arc<Filter>,
    pub starts: Arc<BTreeMap<TopicPartition, i64>>,
    pub phase: Phase,
    /// In write order: all that hold records of these partitions, up to raft's window.
    pub slices: Vec<u64>,
    /// The next of them.
    pub at: usize,
    /// Of each slice, what is dead by the map; by the share of records in a batch.
    pub dead_bytes: BTreeMap<u64, u64>,
    /// Slices that were in a group already.
    pub done: BTreeSet<u64>,
}

/// What a round does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Map,
    Measure,
    Rewrite,
}

impl Pass {
    /// Before its first slice.
    pub fn new(
        filter: Filter,
        starts: Arc<BTreeMap<TopicPartition, i64>>,
        slices: Vec<u64>,
    ) -> Pass {
        Pass {
            filter: Arc::new(filter),
            starts,
            phase: Phase::Map,
            slices,
            at: 0,
            dead_bytes: BTreeMap::new(),
            done: BTreeSet::new(),
        }
    }

    /// Reads the next slice, or goes on to the next phase.
    pub fn step<D: Disk>(&mut self, shared: &Shared<D>) -> Result<(), DiskError> {
        let Some(&number) = self.slices.get(self.at) else {
            self.at = 0;
            self.phase = match self.phase {
                Phase::Map => Phase::Measure,
                Phase::Measure | Phase::Rewrite => Phase::Rewrite,
            };
            return Ok(());
        };
        self.at += 1;
        // Nobody else has the filter before the slices are rewritten.
        let filter = Arc::make_mut(&mut self.filter);
        let phase = self.phase;
        let to = Arc::clone(&filter.to);
        let mut dead_bytes = 0;
        let mut look = |partition, to: &CompactTo, batch: &RecordBatch| {
            let dead = match phase {
                Phase::Map => filter.note(partition, to, batch).map(|()| 0),
                Phase::Measure | Phase::Rewrite => filter.count_dead(partition, to, batch),
            };
            dead_bytes += share_of(batch, dead.as_ref().map_or(0, |dead| *dead));
            // What cannot be read stays, and what it would say about tombstones is not known.
            filter.tombstones_stay |= dead.is_err();
            dead.map(drop)
        };
        let read = each_batch(shared, number, &to, &self.starts, &mut look);
        if let Err(error) = &read {
            shared.note_failed_read(number, error);
        }
        self.dead_bytes.insert(number, dead_bytes);
        read
    }
}

fn share_of(batch: &RecordBatch, records: u64) -> u64 {
    batch.bytes().len() as u64 * records / u64::from(batch.record_count()).max(1)
}

type Look<'a> = dyn FnMut(TopicPartition, &CompactTo, &RecordBatch) -> Result<(), BatchError> + 'a;

fn each_batch<D: Disk>(
    shared: &Shared<D>,
    number: u64,
    to: &BTreeMap<TopicPartition, CompactTo>,
    starts: &BTreeMap<TopicPartition, i64>,
    look: &mut Look<'_>,
) -> Result<(), DiskError> {
    let void_from = shared.catalog().get(number).map(|e| e.summary.void_from);
    let Some(void_from) = void_from else {
        // Retention took it meanwhile.
        return Ok(());
    };
    let index = shared.index(number)?;
    let slice = shared.slice(number)?;
    for partition in index.partitions.keys() {
        let (Some(to), Some(start)) = (to.get(partition), starts.get(partition)) else {
            continue;
        };
        let batches = index.batches_from(*partition, *start, void_from);
        for place in batches.iter().take_while(|b| b.base_offset < to.below) {
            let sequence = index.frames[place.frame as usize].sequence;
            let (from, len) = (place.start as usize, place.len as usize);
            let bytes = value::read_range(&slice, sequence, from, len)?;
            let batch = RecordBatch::parse_stored(Bytes::from(bytes));
            let looked = batch.and_then(|batch| look(*partition, to, &batch));
            if let Err(error) = looked {
                log::debug!(
                    "batch stays uncompacted, offset {}: {error}",
                    place.base_offset
                );
            }
        }
    }
    Ok(())
}
