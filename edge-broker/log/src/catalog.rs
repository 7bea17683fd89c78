//! Which slice holds what: the slices in write order, and each partition's parts of them.
//!
//! Small: a sealed slice costs its summary, not its index. The store changes it under a lock held
//! for microseconds; readers look places up and read the disk without the lock.

mod parts;
mod terms;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parts::{LiveBytes, Part, grow_part, start_of};
pub use terms::join_terms;

use crate::pause::Pause;
use crate::slice_index::{FramePlace, SliceIndex, Summary, note_frame};
use crate::{EntryKind, PartitionSpan, SliceInfo, TopicPartition};

/// One slice.
#[derive(Debug)]
pub struct SliceEntry {
    pub number: u64,
    /// Without its partitions, which are in [`Catalog`]. Kept up to date while written.
    pub summary: Summary,
    /// In memory until the slice is sealed.
    pub live: Option<SliceIndex>,
    pub file_bytes: u64,
    /// Of its batches.
    pub bytes: LiveBytes,
    pub poisoned: bool,
    /// A read found damage in it.
    pub damaged: bool,
    /// So often the disk failed a reader.
    pub failed_reads: u32,
    /// So often the disk failed who copied it.
    pub failed_copies: u32,
    /// Before the next try to copy it.
    pub copy_pause: Pause,
}

/// A slice that failed its readers so often is copied, what can be read of it.
const FAILED_READS_MAX: u32 = 10;

impl SliceEntry {
    /// The last index that no later slice voids; less than the first when there is none.
    pub fn last_index(&self) -> u64 {
        self.summary
            .last_index
            .min(self.summary.void_from.saturating_sub(1))
    }

    /// Closed for good, with its index stored.
    pub fn sealed(&self) -> bool {
        self.live.is_none()
    }

    /// Neither damaged nor poisoned, and can be read.
    pub fn trusted(&self) -> bool {
        !self.damaged && !self.poisoned && self.failed_reads < FAILED_READS_MAX
    }

    fn has(&self, index: u64) -> bool {
        (self.summary.first_index..=self.last_index()).contains(&index)
    }
}

/// A slice to look in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub number: u64,
    /// Its place in write order.
    pub place: u64,
    pub void_from: u64,
}

/// The slices of one store.
#[derive(Debug, Default)]
pub struct Catalog {
    /// By first write sequence.
    slices: BTreeMap<u64, SliceEntry>,
    parts: HashMap<TopicPartition, Vec<Part>>,
    starts: Arc<BTreeMap<TopicPartition, i64>>,
    /// First raft index that is kept.
    pub first_index: u64,
    /// Last raft index; `first_index - 1` when there is none.
    pub last_index: u64,
    /// How often slices took the place of others: places in write order change by it.
    pub copies: u64,
}

impl Catalog {
    /// Adds a slice; `live` when it is not sealed.
    pub fn add(
        &mut self,
        number: u64,
        mut summary: Summary,
        live: Option<SliceIndex>,
        file_bytes: u64,
    ) {
        let key = summary.first_sequence;
        let spans = std::mem::take(&mut summary.partitions);
        let entry = SliceEntry {
            number,
            summary,
            live,
            file_bytes,
            bytes: LiveBytes::default(),
            poisoned: false,
            damaged: false,
            failed_reads: 0,
            failed_copies: 0,
            copy_pause: Pause::default(),
        };
        self.slices.insert(key, entry);
        for span in &spans {
            self.add_part(key, span);
        }
    }

    /// A slice was sealed: its index is stored, its parts are known exactly.
    pub fn seal(&mut self, number: u64, summary: &Summary, file_bytes: u64) {
        let Some(key) = self.key_of(number) else {
            return;
        };
        self.remove_parts(key);
        for span in &summary.partitions {
            self.add_part(key, span);
        }
        if let Some(entry) = self.slices.get_mut(&key) {
            entry.live = None;
            entry.file_bytes = file_bytes;
        }
    }

    /// Takes a slice out.
    pub fn remove(&mut self, number: u64) -> Option<SliceEntry> {
        let key = self.key_of(number)?;
        self.remove_parts(key);
        self.slices.remove(&key)
    }

    fn key_of(&self, number: u64) -> Option<u64> {
        self.slices
            .iter()
            .find(|(_, slice)| slice.number == number)
            .map(|(key, _)| *key)
    }

    /// The slices in write order.
    pub fn slices(&self) -> impl DoubleEndedIterator<Item = &SliceEntry> {
        self.slices.values()
    }

    /// A slice by its number.
    pub fn get(&self, number: u64) -> Option<&SliceEntry> {
        self.slices.values().find(|slice| slice.number == number)
    }

    /// A slice by its number, to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut SliceEntry> {
        self.slices
            .values_mut()
            .find(|slice| slice.number == number)
    }

    /// A durable frame of the newest slice.
    pub fn push(&mut self, number: u64, frame: FramePlace, kind: EntryKind, data: &[u8]) {
        if frame.index <= self.last_index {
            self.void_before(number, frame.index);
        }
        self.last_index = frame.index;
        let Some(key) = self.key_of_newest(number) else {
            return;
        };
        let Some(entry) = self.slices.get_mut(&key) else {
            return;
        };
        let Some(live) = entry.live.as_mut() else {
            return;
        };
        note_frame(&mut entry.summary, &frame);
        let (all_parts, starts) = (&mut self.parts, &self.starts);
        live.push(frame, kind, data, |partition, batch| {
            let parts = all_parts.entry(partition).or_default();
            let start = start_of(starts, partition);
            grow_part(parts, key, batch, &mut entry.bytes, start);
        });
    }

    fn key_of_newest(&self, number: u64) -> Option<u64> {
        self.slices
            .iter()
            .next_back()
            .filter(|(_, s)| s.number == number)
            .map(|(key, _)| *key)
    }

    /// A write of `index` to slice `number` voids what older slices have from there on. What is
    /// in the slice itself its own index takes out. The parts stay as they are: they may promise
    /// too much, so a lookup goes on to the next slice when one has nothing.
    pub fn void_before(&mut self, number: u64, index: u64) {
        for entry in self
            .slices
            .values_mut()
            .filter(|entry| entry.number != number)
        {
            if index <= entry.last_index() {
                entry.summary.void_from = entry.summary.void_from.min(index);
            }
        }
    }

    /// Slices from a place in write order on that may hold records of a partition at or after an
    /// offset, in order.
    pub fn lookup(
        &self,
        partition: TopicPartition,
        offset: i64,
        from: u64,
        max: usize,
    ) -> Vec<Lookup> {
        let parts = self.parts.get(&partition).map_or(&[][..], Vec::as_slice);
        let found = parts
            .iter()
            .filter(|part| part.slice >= from && part.next_offset > offset);
        found
            .filter_map(|part| self.slices.get(&part.slice))
            .take(max)
            .map(lookup)
            .collect()
    }

    /// Slices that may hold a record of a partition at or after a time, in order.
    pub fn lookup_time(&self, partition: TopicPartition, timestamp_ms: i64) -> Vec<Lookup> {
        let parts = self.parts.get(&partition).map_or(&[][..], Vec::as_slice);
        let found = parts
            .iter()
            .filter(|part| part.max_timestamp_ms >= timestamp_ms);
        found
            .filter_map(|part| self.slices.get(&part.slice))
            .map(lookup)
            .collect()
    }

    /// The slice that holds a raft entry.
    pub fn lookup_entry(&self, index: u64) -> Option<Lookup> {
        self.slices
            .values()
            .rev()
            .find(|entry| entry.has(index))
            .map(lookup)
    }

    /// What is told of each slice.
    pub fn infos(&self, droppable: impl Fn(&SliceEntry) -> bool) -> Vec<SliceInfo> {
        let mut partitions: HashMap<u64, Vec<PartitionSpan>> = HashMap::new();
        for (partition, parts) in &self.parts {
            for part in parts {
                partitions
                    .entry(part.slice)
                    .or_default()
                    .push(PartitionSpan {
                        partition: *partition,
                        first_offset: part.first_offset,
                        next_offset: part.next_offset,
                        bytes: part.bytes,
                        max_timestamp_ms: part.max_timestamp_ms,
                    });
            }
        }
        let info = |(key, entry): (&u64, &SliceEntry)| {
            let mut spans = partitions.remove(key).unwrap_or_default();
            spans.sort_unstable_by_key(|span| span.partition);
            SliceInfo {
                number: entry.number,
                bytes: entry.file_bytes,
                first_index: entry.summary.first_index,
                last_index: entry.last_index(),
                max_timestamp_ms: spans.iter().map(|s| s.max_timestamp_ms).max().unwrap_or(-1),
                partitions: spans,
                sealed: entry.sealed(),
                poisoned: entry.poisoned,
                rescuing: !entry.trusted(),
                droppable: droppable(entry),
            }
        };
        self.slices.iter().map(info).collect()
    }
}

fn lookup(entry: &SliceEntry) -> Lookup {
    Lookup {
        number: entry.number,
        place: entry.summary.first_sequence,
        void_from: entry.summary.void_from,
    }
}
