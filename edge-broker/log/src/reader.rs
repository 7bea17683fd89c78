//! Reads beside the writer, on the calling thread.
//!
//! A read looks places up under the catalog's lock, lets go of it, and reads the disk. A slice
//! that retention took meanwhile makes it look again.

use std::sync::Arc;

use bytes::Bytes;
use kafka_wire::RecordBatch;

use crate::catalog::Lookup;
use crate::shared::Shared;
use crate::slice_index::{BatchPlace, FramePlace, SliceIndex};
use crate::value;
use crate::{Disk, DiskError, Entry, EntryKind, ReadError, TopicPartition};

/// Reads records and entries. Clones share everything. Calls block on the disk.
pub struct Reader<D: Disk> {
    shared: Arc<Shared<D>>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Reader<D> {
        Reader {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// A batch and the write it lies in.
type Place = (u64, BatchPlace);

/// Slices looked at in one go; the next ones are looked up when these were not enough.
const LOOKUP_SLICES_MAX: usize = 8;

/// A slice may be taken by retention or salvage under a reader this often.
const ATTEMPTS_MAX: usize = 3;

impl<D: Disk> Reader<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Reader<D> {
        Reader { shared }
    }

    /// Whole batches of one partition in offset order, from the one that contains `from_offset`,
    /// or the first after it. At least one if there is one, otherwise at most `bytes_max`. What is
    /// durable is here, committed or not: the caller knows how far it may look.
    pub fn read(
        &self,
        partition: TopicPartition,
        from_offset: i64,
        bytes_max: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        self.attempt(|| self.read_once(partition, from_offset, bytes_max))
    }

    /// Raft entries `from_index..to_index`, as many as fit `bytes_max`, at least one if there is
    /// one. An index that was lost comes as an empty entry.
    pub fn entries(
        &self,
        from_index: u64,
        to_index: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        self.attempt(|| self.entries_once(from_index, to_index, bytes_max))
    }

    /// Offset of the first record whose timestamp is not before `timestamp_ms`.
    pub fn offset_for_timestamp(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<i64>, ReadError> {
        self.attempt(|| self.offset_for_timestamp_once(partition, timestamp_ms))
    }

    /// First raft index that is still kept.
    pub fn first_index(&self) -> u64 {
        self.shared.catalog().first_index
    }

    fn attempt<T>(&self, read: impl Fn() -> Result<T, ReadError>) -> Result<T, ReadError> {
        let mut attempt = 1;
        loop {
            match read() {
                Err(ReadError::Disk(_) | ReadError::Damaged(_)) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    fn read_once(
        &self,
        partition: TopicPartition,
        from_offset: i64,
        bytes_max: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        let mut batches = Vec::new();
        let (mut offset, mut bytes, mut from, mut copies) = (from_offset, 0, 0, None);
        loop {
            let catalog = self.shared.catalog();
            if copies
                .replace(catalog.copies)
                .is_some_and(|c| c != catalog.copies)
            {
                // A copy stands at the place of its first original, perhaps before `from`, and
                // has what the later ones had.
                from = 0;
            }
            let lookups = catalog.lookup(partition, offset, from, LOOKUP_SLICES_MAX);
            drop(catalog);
            for lookup in &lookups {
                let room = bytes_max.saturating_sub(bytes);
                let places = self.places(lookup, partition, offset, room, batches.is_empty())?;
                for (sequence, place) in places.found {
                    bytes += place.len as usize;
                    offset = place.next_offset();
                    batches.push(self.batch(lookup.number, sequence, &place)?);
                }
                if places.full {
                    return Ok(batches);
                }
            }
            // Any number of slices may have nothing: all they had was written over.
            match lookups.last() {
                Some(last) if lookups.len() == LOOKUP_SLICES_MAX => from = last.place + 1,
                _ => return Ok(batches),
            }
        }
    }

    fn places(
        &self,
        lookup: &Lookup,
        partition: TopicPartition,
        offset: i64,
        bytes_max: usize,
        first: bool,
    ) -> Result<Places, ReadError> {
        self.with_index(lookup, |index, void_from| {
            let mut places = Places {
                found: Vec::new(),
                full: false,
            };
            let mut bytes = 0;
            for batch in index.batches_from(partition, offset, void_from) {
                bytes += batch.len as usize;
                if bytes > bytes_max && !(first && places.found.is_empty()) {
                    places.full = true;
                    break;
                }
                places
                    .found
                    .push((index.frames[batch.frame as usize].sequence, *batch));
            }
            places
        })
    }

    /// Looks into a slice's index, in the catalog while it is not sealed.
    fn with_index<T>(
        &self,
        lookup: &Lookup,
        look: impl FnOnce(&SliceIndex, u64) -> T,
    ) -> Result<T, ReadError> {
        {
            let catalog = self.shared.catalog();
            if let Some(live) = catalog.get(lookup.number).and_then(|s| s.live.as_ref()) {
                return Ok(look(live, lookup.void_from));
            }
        }
        match self.shared.index(lookup.number) {
            Ok(index) => Ok(look(&index, lookup.void_from)),
            Err(error) => Err(self.failed(lookup.number, error)),
        }
    }

    fn batch(
        &self,
        number: u64,
        sequence: u64,
        place: &BatchPlace,
    ) -> Result<RecordBatch, ReadError> {
        let (start, len) = (place.start as usize, place.len as usize);
        let bytes = self
            .shared
            .slice(number)
            .and_then(|slice| value::read_range(&slice, sequence, start, len))
            .map_err(|error| self.failed(number, error))?;
        RecordBatch::parse_stored(Bytes::from(bytes))
            .map_err(|error| ReadError::Damaged(format!("batch in slice {number}: {error}")))
    }

    fn failed(&self, number: u64, error: DiskError) -> ReadError {
        self.shared.note_failed_read(number, &error);
        error.into()
    }

    fn entries_once(
        &self,
        from_index: u64,
        to_index: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let first_index = self.first_index();
        if from_index < first_index {
            return Err(ReadError::Compacted { first_index });
        }
        let to_index = to_index.min(self.shared.last_index() + 1);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let mut at = from_index;
        while at < to_index {
            if let Some(entry) = self.shared.tail_entry(at) {
                entries.push(entry);
                at += 1;
                continue;
            }
            let (number, frame) = match self.frame_place(at)? {
                Some(place) => place,
                None => {
                    entries.push(self.lost_entry(at));
                    at += 1;
                    continue;
                }
            };
            bytes += frame.data_bytes as usize;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(self.entry(number, &frame)?);
            at += 1;
        }
        Ok(entries)
    }

    fn frame_place(&self, index: u64) -> Result<Option<(u64, FramePlace)>, ReadError> {
        let Some(lookup) = self.shared.catalog().lookup_entry(index) else {
            return Ok(None);
        };
        let frame = self.with_index(&lookup, |found, _| found.frame_at(index).copied())?;
        Ok(frame.map(|frame| (lookup.number, frame)))
    }

    /// Nothing is left of it but its place: an entry without data, which changes nothing.
    fn lost_entry(&self, index: u64) -> Entry {
        let term = self.shared.catalog().term_at(index);
        Entry {
            index,
            term,
            kind: EntryKind::Normal,
            data: Bytes::new(),
        }
    }

    fn entry(&self, number: u64, frame: &FramePlace) -> Result<Entry, ReadError> {
        let stored = self.shared.slice(number).and_then(|slice| {
            value::read_frame(&slice, frame.sequence)?
                .ok_or_else(|| DiskError::Damaged(format!("write {} is gone", frame.sequence)))
        });
        let stored = stored.map_err(|error| self.failed(number, error))?;
        Ok(Entry {
            index: frame.index,
            term: frame.term,
            kind: stored.envelope.kind,
            data: Bytes::from(stored.data),
        })
    }

    fn offset_for_timestamp_once(
        &self,
        partition: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<i64>, ReadError> {
        let lookups = self.shared.catalog().lookup_time(partition, timestamp_ms);
        for lookup in lookups {
            let found: Option<Place> = self.with_index(&lookup, |index, void_from| {
                let mut batches = index.batches_from(partition, i64::MIN, void_from).iter();
                let batch = batches.find(|batch| batch.max_timestamp_ms >= timestamp_ms)?;
                Some((index.frames[batch.frame as usize].sequence, *batch))
            })?;
            if let Some((sequence, place)) = found {
                let batch = self.batch(lookup.number, sequence, &place)?;
                return Ok(Some(first_record_at(&batch, timestamp_ms)));
            }
        }
        Ok(None)
    }
}

struct Places {
    found: Vec<Place>,
    full: bool,
}

/// What a batch may unpack to while a record in it is looked for.
const DECOMPRESSED_BYTES_MAX: usize = 16 << 20;

fn first_record_at(batch: &RecordBatch, timestamp_ms: i64) -> i64 {
    let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else {
        return batch.base_offset();
    };
    let mut records = records.filter_map(Result::ok);
    let found = records.find(|(_, record)| record.timestamp_ms >= timestamp_ms);
    found.map_or(batch.base_offset(), |(offset, _)| offset)
}
