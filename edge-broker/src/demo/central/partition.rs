//! One partition of the stand-in: what it takes from a producer, by the rules of a Kafka leader.
//!
//! Pure. The rules are those of `UnifiedLog` and `ProducerStateManager`: one batch of format 2 with
//! a right checksum, at most `max.message.bytes`, dense offsets, timestamps at most an hour ahead,
//! and for idempotent producers the next sequence or one of the last five batches again.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use kafka_wire::protocol::ErrorCode;
use kafka_wire::{BatchError, RecordBatch};

use crate::demo::book::Sighting;

/// Kafka's default of `max.message.bytes`.
pub const MESSAGE_BYTES_MAX: usize = 1_048_588;
/// Records of one batch may decompress to this much.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
/// Kafka's default of `message.timestamp.after.max.ms`.
const AHEAD_MS_MAX: i64 = 3_600_000;
/// Batches a leader remembers of each producer.
const REMEMBERED_BATCHES: usize = 5;

/// A partition.
#[derive(Debug, Default)]
pub struct Partition {
    /// What arrived, at its offset.
    pub records: Vec<Sighting>,
    /// Bytes of the batches as they came.
    pub batch_bytes: u64,
    producers: HashMap<i64, Producer>,
}

/// What is known of an idempotent producer.
#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    /// First sequence, last sequence and base offset of its newest batches.
    batches: VecDeque<(i32, i32, i64)>,
}

/// What to answer to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It is new and stands at that offset.
    New(i64),
    /// It came before and stands at that offset.
    Again(i64),
}

impl Partition {
    /// Takes the batch of one Produce request at that wall clock, or says why not.
    pub fn append(&mut self, bytes: Bytes, now_ms: i64) -> Result<Appended, ErrorCode> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        let batch = RecordBatch::parse(bytes).map_err(|error| refusal(&error))?;
        let header = batch.header();
        if header.is_control() {
            return Err(ErrorCode::INVALID_RECORD);
        }
        if header.is_transactional() {
            return Err(ErrorCode::INVALID_TXN_STATE); // no transactions here
        }
        let producer = header.producer();
        if producer.id >= 0
            && let Some(offset) = self.judge(&batch)?
        {
            return Ok(Appended::Again(offset));
        }
        let seen = sightings(&batch, now_ms)?;
        let base_offset = self.records.len() as i64;
        if producer.id >= 0 {
            let last = sequence_after(producer.base_sequence, header.last_offset_delta);
            let state = self.producers.entry(producer.id).or_default();
            if state.epoch != producer.epoch {
                state.batches.clear();
            }
            state.epoch = producer.epoch;
            state
                .batches
                .push_back((producer.base_sequence, last, base_offset));
            if state.batches.len() > REMEMBERED_BATCHES {
                state.batches.pop_front();
            }
        }
        self.batch_bytes += batch.bytes().len() as u64;
        self.records.extend(seen);
        Ok(Appended::New(base_offset))
    }

    /// Whether the batch is the producer's next one (none) or one it sent before (its offset).
    fn judge(&self, batch: &RecordBatch) -> Result<Option<i64>, ErrorCode> {
        let header = batch.header();
        let producer = header.producer();
        let Some(state) = self.producers.get(&producer.id) else {
            return Ok(None); // Kafka takes any first sequence of a producer it does not know
        };
        if producer.epoch < state.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let first = producer.base_sequence;
        if producer.epoch > state.epoch {
            let fresh = if first == 0 {
                Ok(None)
            } else {
                Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
            };
            return fresh;
        }
        let last = sequence_after(first, header.last_offset_delta);
        let same = |known: &&(i32, i32, i64)| (known.0, known.1) == (first, last);
        if let Some((_, _, offset)) = state.batches.iter().find(same) {
            return Ok(Some(*offset));
        }
        match state.batches.back() {
            Some((_, newest, _)) if first == sequence_after(*newest, 1) => Ok(None),
            Some((_, newest, _)) if last <= *newest => Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER),
            _ => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        }
    }
}

/// Sequences wrap from 2³¹ − 1 to 0.
fn sequence_after(sequence: i32, steps: i32) -> i32 {
    ((i64::from(sequence) + i64::from(steps)) % (1 << 31)) as i32
}

/// Reads every record: offsets dense, timestamps not from the future.
fn sightings(batch: &RecordBatch, now_ms: i64) -> Result<Vec<Sighting>, ErrorCode> {
    let records = batch
        .records(DECOMPRESSED_BYTES_MAX)
        .map_err(|error| refusal(&error))?;
    let mut seen = Vec::with_capacity(batch.record_count().min(65_536) as usize);
    for record in records {
        let (offset, record) = record.map_err(|error| refusal(&error))?;
        if offset - batch.base_offset() != seen.len() as i64 {
            return Err(ErrorCode::INVALID_RECORD);
        }
        if record.timestamp_ms > now_ms + AHEAD_MS_MAX {
            return Err(ErrorCode::INVALID_TIMESTAMP);
        }
        seen.push(Sighting::of(record.value.as_deref().unwrap_or_default()));
    }
    if seen.len() != batch.record_count() as usize {
        return Err(ErrorCode::INVALID_RECORD);
    }
    Ok(seen)
}

fn refusal(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Crc { .. } | BatchError::Truncated { .. } => ErrorCode::CORRUPT_MESSAGE,
        // Two batches in one request, among others.
        _ => ErrorCode::INVALID_RECORD,
    }
}

#[cfg(test)]
mod tests;
