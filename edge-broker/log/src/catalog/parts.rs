//! Which offsets and bytes of each partition lie in which slice.
//!
//! After an overwrite a part may promise too much. Lookups begin with the parts; retention and
//! compaction weigh slices by them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Catalog;
use crate::TopicPartition;
use crate::slice_index::{BatchPlace, SpanRecord};

/// A partition's part of one slice.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The slice's key: the place in write order.
    pub(super) slice: u64,
    pub(super) first_offset: i64,
    pub(super) next_offset: i64,
    pub(super) bytes: u64,
    pub(super) max_timestamp_ms: i64,
}

/// Bytes of a slice's batches. Kept up to date with every part and start: upkeep asks many times
/// a second, and there may be as many parts as partitions times slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveBytes {
    /// At or behind the start of their partition; of a part that it cuts, by the share of offsets.
    pub live: u64,
    pub all: u64,
}

impl LiveBytes {
    fn add(&mut self, part: &Part, start: i64) {
        self.all += part.bytes;
        self.live += part.live(start);
    }

    fn take(&mut self, part: &Part, start: i64) {
        self.all -= part.bytes;
        self.live -= part.live(start);
    }
}

/// Where a partition starts; one that nobody named is dead.
pub(super) fn start_of(starts: &BTreeMap<TopicPartition, i64>, partition: TopicPartition) -> i64 {
    starts.get(&partition).copied().unwrap_or(i64::MAX)
}

impl Part {
    fn live(&self, start: i64) -> u64 {
        self.bytes_between(start, i64::MAX)
    }

    /// Its bytes of the offsets `from..to`, by their share of its offsets.
    pub fn bytes_between(&self, from: i64, to: i64) -> u64 {
        let offsets = self.next_offset - self.first_offset;
        let within = self
            .next_offset
            .min(to)
            .saturating_sub(from.max(self.first_offset))
            .max(0);
        (u128::from(self.bytes) * within as u128 / offsets.max(1) as u128) as u64
    }

    /// The offset after its last record.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }
}

pub(super) fn grow_part(
    parts: &mut Vec<Part>,
    slice: u64,
    batch: &BatchPlace,
    of_slice: &mut LiveBytes,
    start: i64,
) {
    match parts.last_mut() {
        Some(part) if part.slice == slice => {
            of_slice.take(part, start);
            // Less where it overwrites what came before it in this slice.
            part.first_offset = part.first_offset.min(batch.base_offset);
            part.next_offset = batch.next_offset();
            part.bytes += u64::from(batch.len);
            part.max_timestamp_ms = part.max_timestamp_ms.max(batch.max_timestamp_ms);
            of_slice.add(part, start);
        }
        _ => {
            let part = Part {
                slice,
                first_offset: batch.base_offset,
                next_offset: batch.next_offset(),
                bytes: u64::from(batch.len),
                max_timestamp_ms: batch.max_timestamp_ms,
            };
            of_slice.add(&part, start);
            parts.push(part);
        }
    }
}

impl Catalog {
    pub(super) fn add_part(&mut self, slice: u64, span: &SpanRecord) {
        let parts = self.parts.entry(span.partition).or_default();
        let part = Part {
            slice,
            first_offset: span.first_offset,
            next_offset: span.next_offset,
            bytes: span.bytes,
            max_timestamp_ms: span.max_timestamp_ms,
        };
        let at = parts.partition_point(|other| other.slice < slice);
        parts.insert(at, part);
        if let Some(entry) = self.slices.get_mut(&slice) {
            entry
                .bytes
                .add(&part, start_of(&self.starts, span.partition));
        }
    }

    /// Takes the parts of one slice out.
    pub(super) fn remove_parts(&mut self, slice: u64) {
        self.parts.retain(|_, parts| {
            if let Ok(at) = parts.binary_search_by_key(&slice, |part| part.slice) {
                parts.remove(at);
            }
            !parts.is_empty()
        });
        if let Some(entry) = self.slices.get_mut(&slice) {
            entry.bytes = LiveBytes::default();
        }
    }

    /// Where partitions start: what is below is dead, and so is a partition that is not named.
    pub fn set_starts(&mut self, starts: Arc<BTreeMap<TopicPartition, i64>>) {
        for (partition, parts) in &self.parts {
            let old = start_of(&self.starts, *partition);
            let new = start_of(&starts, *partition);
            if old == new {
                continue;
            }
            for part in parts {
                let (before, after) = (part.live(old), part.live(new));
                if before != after
                    && let Some(entry) = self.slices.get_mut(&part.slice)
                {
                    entry.bytes.live = entry.bytes.live - before + after;
                }
            }
        }
        self.starts = starts;
    }

    /// Bytes of each slice, by number.
    pub fn live_bytes(&self) -> BTreeMap<u64, LiveBytes> {
        let of_entry = self
            .slices
            .values()
            .map(|entry| (entry.number, entry.bytes));
        of_entry.collect()
    }

    /// The parts of a partition in some of the slices, with the slices' numbers.
    pub fn parts_in(
        &self,
        partition: TopicPartition,
        numbers: &BTreeSet<u64>,
    ) -> impl Iterator<Item = (u64, Part)> {
        let parts = self.parts.get(&partition).map_or(&[][..], Vec::as_slice);
        let with_number = |part: &Part| Some((self.slices.get(&part.slice)?.number, *part));
        let with_number = parts.iter().filter_map(with_number);
        with_number.filter(|(number, _)| numbers.contains(number))
    }

    /// The parts of one slice.
    pub fn parts_of(&self, number: u64) -> Vec<SpanRecord> {
        let Some(key) = self.key_of(number) else {
            return Vec::new();
        };
        let part_of = |(partition, parts): (&TopicPartition, &Vec<Part>)| {
            let at = parts.binary_search_by_key(&key, |part| part.slice).ok()?;
            let part = parts[at];
            Some(SpanRecord {
                partition: *partition,
                first_offset: part.first_offset,
                next_offset: part.next_offset,
                bytes: part.bytes,
                max_timestamp_ms: part.max_timestamp_ms,
            })
        };
        self.parts.iter().filter_map(part_of).collect()
    }
}

#[cfg(test)]
mod tests;
