//! The index file `slices/<n>/index` beside a sealed slice.
//!
//! ```text
//! magic 8 | summary length 4 | its CRC32C 4 | body length 4 | its CRC32C 4 | summary | body
//! ```
//! The summary comes first so that a start reads no more than that. Damage is answered like a
//! missing file: who asks rebuilds the index from the slice.

use bytes::{Buf, BufMut};
use serde::{Deserialize, Serialize};

use super::{BatchPlace, FramePlace, Places, SliceIndex, Summary};
use crate::{Disk, DiskError, TopicPartition, patience};

const MAGIC: [u8; 8] = *b"edgeidx2";
const HEAD_BYTES: usize = 8 + 4 * 4;

/// How much of an index file a start reads; enough for the summary of most slices.
const SUMMARY_READ_BYTES: usize = 16 << 10;

fn name(number: u64) -> String {
    format!("slices/{number}/index")
}

/// Writes a sealed slice's index, with the places of its values.
pub fn store<D: Disk>(
    disk: &D,
    number: u64,
    summary: &Summary,
    index: &SliceIndex,
    places: &Places,
) -> Result<(), DiskError> {
    let damaged = |cause: postcard::Error| DiskError::Io(format!("index of {number}: {cause}"));
    let summary = postcard::to_allocvec(summary).map_err(damaged)?;
    let body = postcard::to_allocvec(&index.packed(places)).map_err(damaged)?;
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
    let read = |bytes_max| patience::ask(disk, || disk.read_file(&name(number), bytes_max)).ok()?;
    let mut bytes = read(SUMMARY_READ_BYTES)?;
    let head = head(&bytes)?;
    if HEAD_BYTES + head.summary_bytes > bytes.len() {
        bytes = read(HEAD_BYTES + head.summary_bytes)?;
    }
    let summary = part(&bytes, HEAD_BYTES, head.summary_bytes, head.summary_crc)?;
    let summary: Summary = postcard::from_bytes(summary).ok()?;
    summary.is_possible().then_some(summary)
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
    /// See [`Places::packed`].
    places: Vec<i64>,
}

/// Base offset less the last next offset, timestamp difference, last delta, frame difference,
/// start, length.
type PackedBatch = (u64, i64, u32, u32, u32, u32);

impl SliceIndex {
    fn packed(&self, places: &Places) -> Packed {
        let mut last = (0, 0, 0);
        let frames = self.frames.iter().map(|frame| {
            let packed = (
                frame.sequence - last.0,
                frame.index - last.1,
                frame.term.wrapping_sub(last.2),
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
            places: places.packed(&self.frames),
        }
    }

    fn unpacked(packed: &Packed) -> Option<SliceIndex> {
        let mut index = SliceIndex::default();
        let mut last = (0_u64, 0_u64, 0_u64);
        for (sequence, at, term, data_bytes) in &packed.frames {
            last = (
                last.0.checked_add(*sequence)?,
                last.1.checked_add(*at)?,
                last.2.wrapping_add(*term),
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
        index.places = Places::unpacked(&index.frames, &packed.places);
        Some(index)
    }
}
