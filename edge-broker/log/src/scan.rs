//! Reads a slice frame by frame, without its index: after a crash, and to salvage it.
//!
//! ```text
//! keys ──> frames that are whole ──> chain ──> those that count
//!                                      │
//!                                      └─> torn tail (never promised)  |  loss (was durable)
//! ```
//! Every frame names the write accepted before it and the last write that was durable when it was
//! written. The first says which frames a later writer had given up; the second says, for a gap,
//! whether somebody may have been told that it was on the disk. Pure but for reading.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::identity::Mark;
use crate::slice_index::{FramePlace, SliceIndex};
use crate::value::{self, Envelope, Stored, VALUE_HEAD_BYTES};
use crate::{Disk, DiskError, Entry, Slice};

/// What every slice begins with, under write sequence 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceHeader {
    pub level: u8,
    pub store_id: u64,
    /// The write, index and term it continues from: earlier slices count up to that write.
    pub continues: u64,
    pub index: u64,
    pub term: u64,
    /// The slices whose frames were copied here.
    pub replaces: Vec<u64>,
    pub reduced: bool,
}

impl SliceHeader {
    /// The value to store.
    pub fn encode(&self) -> Vec<u8> {
        // A struct of numbers always encodes.
        let payload = postcard::to_allocvec(self).unwrap_or_default();
        value::encode_single(0, 0, &payload)
    }

    /// Reads it back.
    pub fn decode(value: &[u8]) -> Option<SliceHeader> {
        value::check(value, 0, 0).ok()?;
        postcard::from_bytes(&value[VALUE_HEAD_BYTES..]).ok()
    }
}

/// A frame found in a slice, whole.
#[derive(Clone, Debug)]
pub struct Found {
    pub sequence: u64,
    pub envelope: Envelope,
    pub crc: u32,
    pub data: Vec<u8>,
}

impl Found {
    /// A write that was read.
    pub fn new(sequence: u64, stored: Stored) -> Found {
        Found {
            sequence,
            envelope: stored.envelope,
            crc: stored.crc,
            data: stored.data,
        }
    }

    /// The raft entry in it.
    pub fn entry(&self) -> Entry {
        Entry {
            index: self.envelope.index,
            term: self.envelope.term,
            kind: self.envelope.kind,
            data: Bytes::copy_from_slice(&self.data),
        }
    }

    /// The durable mark behind it.
    pub fn mark(&self) -> Mark {
        Mark {
            sequence: self.sequence,
            crc: self.crc,
            index: self.envelope.index,
            term: self.envelope.term,
        }
    }

    /// Where it lies.
    pub fn place(&self) -> FramePlace {
        FramePlace {
            sequence: self.sequence,
            index: self.envelope.index,
            term: self.envelope.term,
            data_bytes: self.envelope.data_bytes,
        }
    }
}

/// A slice, read.
#[derive(Debug, Default)]
pub struct Scanned {
    /// `None` in a slice that was created ahead and not used yet, or whose header is damaged.
    pub header: Option<SliceHeader>,
    /// Whole frames in write order.
    pub frames: Vec<Found>,
    /// Writes of which something is there, but not all.
    pub damaged: u64,
    /// The highest write sequence of which anything is there.
    pub last_sequence: u64,
}

impl Scanned {
    /// Nothing in it can count.
    pub fn is_empty(&self) -> bool {
        self.header.is_none() && self.frames.is_empty() && self.last_sequence == 0
    }

    /// The index of its frames up to a write, less those a later writer had given up.
    pub fn index_to(&self, last_sequence: u64) -> SliceIndex {
        let mut kept: Vec<&Found> = Vec::new();
        for frame in self
            .frames
            .iter()
            .filter(|frame| frame.sequence <= last_sequence)
        {
            let given_up = kept.partition_point(|k| k.sequence <= frame.envelope.previous);
            kept.truncate(given_up);
            kept.push(frame);
        }
        index_of(kept)
    }
}

/// The index of frames in write order.
pub fn index_of<'a>(frames: impl IntoIterator<Item = &'a Found>) -> SliceIndex {
    let mut index = SliceIndex::default();
    for frame in frames {
        index.push(frame.place(), frame.envelope.kind, &frame.data, |_, _| {});
    }
    index
}

type Get<'a> = &'a dyn Fn(u64, u32) -> Result<Option<Vec<u8>>, DiskError>;
type NextKey<'a> = &'a dyn Fn((u64, u32)) -> Result<Option<(u64, u32)>, DiskError>;

/// Reads an open slice.
pub fn scan_slice<S: Slice>(slice: &S) -> Result<Scanned, DiskError> {
    scan(&|sequence, part| slice.get(sequence, part), &|after| {
        slice.next_key(after)
    })
}

/// Reads a slice that does not open, or not well.
pub fn scan_salvage<D: Disk>(disk: &D, number: u64) -> Result<Scanned, DiskError> {
    let mut values: BTreeMap<(u64, u32), Vec<u8>> = BTreeMap::new();
    disk.salvage_slice(number, &mut |sequence, part, value| {
        if value::check(value, sequence, part).is_ok() {
            values.insert((sequence, part), value.to_vec());
        }
    })?;
    use std::ops::Bound::{Excluded, Unbounded};
    scan(
        &|sequence, part| Ok(values.get(&(sequence, part)).cloned()),
        &|after| {
            Ok(values
                .range((Excluded(after), Unbounded))
                .next()
                .map(|(key, _)| *key))
        },
    )
}

fn scan(get: Get<'_>, next_key: NextKey<'_>) -> Result<Scanned, DiskError> {
    let header = get(0, 0)?;
    let mut at = next_key((0, u32::MAX))?.map(|(sequence, _)| sequence);
    let mut scanned = Scanned {
        header: header.and_then(|value| SliceHeader::decode(&value)),
        ..Scanned::default()
    };
    while let Some(sequence) = at {
        scanned.last_sequence = sequence;
        match value::read_frame(get, sequence) {
            Ok(Some(stored)) => scanned.frames.push(Found::new(sequence, stored)),
            Ok(None) | Err(DiskError::Damaged(_)) => scanned.damaged += 1,
            Err(error) => return Err(error),
        }
        // Writes follow each other; only where one is missing is the next one looked for.
        at = match get(sequence + 1, 0)? {
            Some(_) => Some(sequence + 1),
            None => next_key((sequence, u32::MAX))?.map(|(next, _)| next),
        };
    }
    Ok(scanned)
}
