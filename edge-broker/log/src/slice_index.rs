//! What lies where in one slice: its frames, and (partition, base offset) → place.
//!
//! In memory for the newest slice, where every write extends it; stored beside each sealed slice
//! as `slices/<n>/index`, a summary first so that a start reads no more than that; rebuilt by
//! scanning where it is missing or damaged.
//!
//! Frames are in write order. An overwrite takes the voided ones out again, so indexes rise too.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};

use crate::frame::{FrameHeader, item_places};
use crate::{Disk, DiskError, EntryKind, PartitionSpan, TopicPartition};

/// A frame in a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FramePlace {
    pub sequence: u64,
    pub index: u64,
    pub term: u64,
    pub data_bytes: u32,
}

/// A batch in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Stored bytes of the frames.
    pub payload_bytes: u64,
    /// Dead batches were left out: no raft entries any more.
    pub reduced: bool,
    /// The slices it took the place of.
    pub replaces: Vec<u64>,
    pub max_timestamp_ms: i64,
    pub partitions: Vec<SpanRecord>,
}

/// A [`PartitionSpan`] as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanRecord {
    pub partition: TopicPartition,
    pub first_offset: i64,
    pub next_offset: i64,
    pub bytes: u64,
    pub max_timestamp_ms: i64,
}

impl From<SpanRecord> for PartitionSpan {
    fn from(span: SpanRecord) -> PartitionSpan {
        PartitionSpan {
            partition: span.partition,
            first_offset: span.first_offset,
            next_offset: span.next_offset,
            bytes: span.bytes,
            max_timestamp_ms: span.max_timestamp_ms,
        }
    }
}

/// Frames and batches of one slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceIndex {
    pub frames: Vec<FramePlace>,
    pub partitions: BTreeMap<TopicPartition, Vec<BatchPlace>>,
}

impl SliceIndex {
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

const MAGIC: [u8; 8] = *b"edgeidx1";
const HEAD_BYTES: usize = 8 + 4 * 4;

/// How much of an index file a start reads; enough for the summary of most slices.
const SUMMARY_READ_BYTES: usize = 16 << 10;

fn name(number: u64) -> String {
    format!("slices/{number}/index")
}

/// Writes a sealed slice's index.
pub fn store<D: Disk>(
    disk: &D,
    number: u64,
    summary: &Summary,
    index: &SliceIndex,
) -> Result<(), DiskError> {
    let damaged = |cause: postcard::Error| DiskError::Io(format!("index of {number}: {cause}"));
    let summary = postcard::to_allocvec(summary).map_err(damaged)?;
    let body = postcard::to_allocvec(&index.packed()).map_err(damaged)?;
    let mut to = Vec::with_capacity(HEAD_BYTES + summary.len() + body.len());
    to.put_slice(&MAGIC);
    to.put_u32_le(summary.len() as u32);
    to.put_u32_le(crc32c::crc32c(&summary));
    to.put_u32_le(body.len() as u32);
    to.put_u32_le(crc32c::crc32c(&body));
    to.put_slice(&summary);
    to.put_slice(&body);
    disk.replace_file(&name(number), &to)
}

struct Head {
    summary_bytes: usize,
    summary_crc: u32,
    body_bytes: usize,
    body_crc: u32,
}

fn head(bytes: &[u8]) -> Option<Head> {
    let mut rest = bytes.get(..HEAD_BYTES)?.strip_prefix(&MAGIC)?;
    Some(Head {
        summary_bytes: rest.get_u32_le() as usize,
        summary_crc: rest.get_u32_le(),
        body_bytes: rest.get_u32_le() as usize,
        body_crc: rest.get_u32_le(),
    })
}

fn part(bytes: &[u8], start: usize, len: usize, crc: u32) -> Option<&[u8]> {
    let part = bytes.get(start..start.checked_add(len)?)?;
    (crc32c::crc32c(part) == crc).then_some(part)
}

/// Reads the summary of a slice; `None` when there is no index or it is damaged.
pub fn load_summary<D: Disk>(disk: &D, number: u64) -> Option<Summary> {
    let mut bytes = disk.read_file(&name(number), SUMMARY_READ_BYTES).ok()??;
    let head = head(&bytes)?;
    if HEAD_BYTES + head.summary_bytes > bytes.len() {
        bytes = disk
            .read_file(&name(number), HEAD_BYTES + head.summary_bytes)
            .ok()??;
    }
    let summary = part(&bytes, HEAD_BYTES, head.summary_bytes, head.summary_crc)?;
    postcard::from_bytes(summary).ok()
}

/// Reads the index of a slice; `None` when there is none or it is damaged.
pub fn load<D: Disk>(disk: &D, number: u64) -> Option<SliceIndex> {
    let bytes = disk.read_file(&name(number), usize::MAX).ok()??;
    let head = head(&bytes)?;
    let body = part(
        &bytes,
        HEAD_BYTES + head.summary_bytes,
        head.body_bytes,
        head.body_crc,
    )?;
    SliceIndex::unpacked(&postcard::from_bytes(body).ok()?)
}

/// The index as differences, which are short.
#[derive(Serialize, Deserialize)]
struct Packed {
    /// Sequence, index, term, data length.
    frames: Vec<(u64, u64, u64, u32)>,
    partitions: Vec<(TopicPartition, Vec<PackedBatch>)>,
}

/// Base offset less the last next offset, timestamp difference, last delta, frame difference,
/// start, length.
type PackedBatch = (u64, i64, u32, u32, u32, u32);

impl SliceIndex {
    fn packed(&self) -> Packed {
        let mut last = (0, 0, 0);
        let frames = self.frames.iter().map(|frame| {
            let packed = (
                frame.sequence - last.0,
                frame.index - last.1,
                frame.term - last.2,
                frame.data_bytes,
            );
            last = (frame.sequence, frame.index, frame.term);
            packed
        });
        let frames = frames.collect();
        let pack = |(partition, batches): (&TopicPartition, &Vec<BatchPlace>)| {
            let (mut offset, mut time, mut frame) = (0, 0, 0);
            let packed = batches.iter().map(|batch| {
                let packed = (
                    batch.base_offset.wrapping_sub(offset) as u64,
                    batch.max_timestamp_ms.wrapping_sub(time),
                    batch.last_delta,
                    batch.frame - frame,
                    batch.start,
                    batch.len,
                );
                (offset, time, frame) = (batch.next_offset(), batch.max_timestamp_ms, batch.frame);
                packed
            });
            (*partition, packed.collect())
        };
        Packed {
            frames,
            partitions: self.partitions.iter().map(pack).collect(),
        }
    }

    fn unpacked(packed: &Packed) -> Option<SliceIndex> {
        let mut index = SliceIndex::default();
        let mut last = (0_u64, 0_u64, 0_u64);
        for (sequence, at, term, data_bytes) in &packed.frames {
            last = (
                last.0.checked_add(*sequence)?,
                last.1.checked_add(*at)?,
                last.2.checked_add(*term)?,
            );
            index.frames.push(FramePlace {
                sequence: last.0,
                index: last.1,
                term: last.2,
                data_bytes: *data_bytes,
            });
        }
        for (partition, batches) in &packed.partitions {
            let (mut offset, mut time, mut at) = (0_i64, 0_i64, 0_u32);
            let mut places = Vec::with_capacity(batches.len());
            for (base, max_time, last_delta, frame, start, len) in batches {
                at = at.checked_add(*frame)?;
                time = time.wrapping_add(*max_time);
                let place = BatchPlace {
                    base_offset: offset.wrapping_add(*base as i64),
                    max_timestamp_ms: time,
                    last_delta: *last_delta,
                    frame: at,
                    start: *start,
                    len: *len,
                };
                if at as usize >= index.frames.len() {
                    return None;
                }
                offset = place.next_offset();
                places.push(place);
            }
            index.partitions.insert(*partition, places);
        }
        Some(index)
    }
}
