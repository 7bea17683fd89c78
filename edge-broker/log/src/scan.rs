//! Reads a slice frame by frame, without its index: after a crash, and to salvage it.
//!
//! ```text
//! bytes ──> values that name and check themselves ──> frames that are whole
//! ```
//! Which of the frames count is left to `recovery::chain`: every frame names the write accepted
//! before it and the last write that was durable when it was written. Recovery, rescue and the
//! rebuilding of an index use it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::identity::Mark;
use crate::secret::Secret;
use crate::slice_index::FramePlace;
use crate::value::{self, Envelope, FLAG_REDUCED, NUMBER_MAX, Stored, Value, Values};
use crate::{
    ClosedSlice, Disk, DiskError, Entry, Seen, Unreadable, VALUE_BYTES_MAX, copy, patience,
};

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
    pub fn encode(&self, secret: Secret) -> Vec<u8> {
        // A struct of numbers always encodes.
        let payload = postcard::to_allocvec(self).unwrap_or_default();
        value::encode_single(secret, 0, 0, &payload)
    }

    /// Reads it back.
    pub fn decode(secret: Secret, value: Vec<u8>) -> Option<SliceHeader> {
        SliceHeader::of(&value::check(secret, value, 0, 0).ok()?)
    }

    fn of(value: &Value) -> Option<SliceHeader> {
        let header: SliceHeader = postcard::from_bytes(value.payload()).ok()?;
        (header.continues <= NUMBER_MAX).then_some(header)
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

    /// The same without its data.
    fn meta(&self) -> Meta {
        Meta {
            sequence: self.sequence,
            envelope: self.envelope,
            crc: self.crc,
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

/// A frame found in a slice, whole, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub sequence: u64,
    pub envelope: Envelope,
    pub crc: u32,
}

impl Meta {
    /// A frame whose data cannot be read.
    pub fn without_data(&self) -> Found {
        Found {
            sequence: self.sequence,
            envelope: self.envelope,
            crc: self.crc,
            data: Vec::new(),
        }
    }
}

/// A slice, looked through without opening it.
#[derive(Debug, Default)]
pub struct Scanned {
    /// `None` in a slice that was created ahead and not used yet, or whose header is damaged. A
    /// copy has another beside it, which counts.
    pub header: Option<SliceHeader>,
    /// Whole frames in write order.
    pub frames: Vec<Meta>,
    /// The highest write sequence of which anything is there.
    pub last_sequence: u64,
    /// Something that looks like a value is none of this store.
    pub foreign: bool,
    /// Whether what is not here is not there.
    pub seen: Seen,
    /// The header stands beside it, too.
    is_copy: bool,
    secret: Secret,
    /// Where each whole value lies.
    places: BTreeMap<(u64, u32), u64>,
}

impl Scanned {
    /// A slice of which nothing can be read.
    pub fn unreadable() -> Scanned {
        Scanned {
            seen: Seen::Part,
            ..Scanned::default()
        }
    }

    /// Nothing in it can count.
    pub fn is_empty(&self) -> bool {
        self.header.is_none() && self.frames.is_empty() && self.last_sequence == 0
    }

    /// The slices it is a copy of, none for the end of the log; `None` when it is no copy.
    pub fn copy_of(&self) -> Option<&[u64]> {
        let header = self.header.as_ref().filter(|_| self.is_copy);
        header.map(|header| &header.replaces[..])
    }

    /// Dead batches were left out of it: it holds no raft entries any more.
    pub fn is_reduced(&self) -> bool {
        let by_header = self.header.as_ref().is_some_and(|header| header.reduced);
        let is_reduced = |frame: &Meta| frame.envelope.flags & FLAG_REDUCED != 0;
        by_header || self.frames.iter().any(is_reduced)
    }

    /// Something of it could be read.
    pub fn has_values(&self) -> bool {
        !self.places.is_empty()
    }

    /// Takes note of what lies at a place; answers how much of it is a whole value.
    fn find(&mut self, secret: Secret, place: u64, bytes: &[u8]) -> usize {
        let Some(head) = value::check_head(secret, bytes) else {
            self.foreign |= bytes.starts_with(&value::MAGIC);
            return 0;
        };
        // A torn value still tells that its write was begun.
        self.last_sequence = self.last_sequence.max(head.sequence);
        if value::check_prefix(secret, bytes).is_none() {
            return 0;
        }
        self.places.insert((head.sequence, head.part), place);
        head.value_bytes()
    }

    /// Joins the values to frames; those of another writer do not count.
    fn find_frames<C: ClosedSlice>(&mut self, slice: &C, number: u64, writer: Option<u64>) {
        let firsts = self.places.keys();
        let firsts = firsts.filter(|(sequence, part)| *sequence > 0 && *part == 0);
        let sequences: Vec<u64> = firsts.map(|(sequence, _)| *sequence).collect();
        for sequence in sequences {
            match self.read_from(slice, sequence) {
                Ok(found) if writer.is_some_and(|id| id != found.envelope.store_id) => {
                    log::warn!("slice {number} holds a write of another store: {sequence}");
                }
                Ok(found) => self.frames.push(found.meta()),
                // Torn, or given up before it was whole.
                Err(DiskError::Damaged(_)) => {}
                Err(_) => self.seen = Seen::Part,
            }
        }
    }

    /// Reads a frame again.
    pub fn read<D: Disk>(&self, disk: &D, number: u64, sequence: u64) -> Result<Found, DiskError> {
        self.read_from(&disk.read_slice(number)?, sequence)
    }

    fn read_from<C: ClosedSlice>(&self, slice: &C, sequence: u64) -> Result<Found, DiskError> {
        let stored = value::read_frame(&self.salvage(slice), sequence)?;
        let gone = || DiskError::Damaged(format!("write {sequence} is gone"));
        Ok(Found::new(sequence, stored.ok_or_else(gone)?))
    }

    /// The same where much depends on it: what cannot be read now may be a moment later.
    pub fn read_patiently<D: Disk>(
        &self,
        disk: &D,
        number: u64,
        sequence: u64,
    ) -> Result<Found, DiskError> {
        patience::ask(disk, || self.read(disk, number, sequence))
    }

    /// The frames of these writes, which are in order.
    pub fn among<'a>(&'a self, sequences: &'a [u64]) -> impl Iterator<Item = &'a Meta> {
        let frames = self.frames.iter();
        frames.filter(|frame| sequences.binary_search(&frame.sequence).is_ok())
    }

    /// Where a value lies.
    pub fn place(&self, sequence: u64, part: u32) -> Option<u64> {
        self.places.get(&(sequence, part)).copied()
    }

    fn salvage<'a, C>(&'a self, slice: &'a C) -> Salvage<'a, C> {
        Salvage {
            slice,
            secret: self.secret,
            places: &self.places,
        }
    }

    /// The frames up to a write, less those that a later writer had given up.
    pub fn counting_to(&self, last_sequence: u64) -> Vec<Meta> {
        let mut kept: Vec<Meta> = Vec::new();
        for frame in self
            .frames
            .iter()
            .filter(|frame| frame.sequence <= last_sequence)
        {
            let given_up = kept.partition_point(|k| k.sequence <= frame.envelope.previous);
            kept.truncate(given_up);
            kept.push(*frame);
        }
        kept
    }
}

/// The values of a slice that may be damaged.
struct Salvage<'a, C> {
    slice: &'a C,
    secret: Secret,
    places: &'a BTreeMap<(u64, u32), u64>,
}

impl<C: ClosedSlice> Values for Salvage<'_, C> {
    fn get(&self, sequence: u64, part: u32) -> Result<Option<Value>, DiskError> {
        let Some(place) = self.places.get(&(sequence, part)) else {
            return Ok(None);
        };
        let read = self
            .slice
            .read_at(Unreadable::IsZero, *place, VALUE_BYTES_MAX)?;
        let value = value::check(self.secret, read, sequence, part);
        // It was whole a moment ago.
        let gone = |_| {
            DiskError::Io(format!(
                "write {sequence} part {part} can no longer be read"
            ))
        };
        value.map(Some).map_err(gone)
    }

    fn bytes(&self) -> u64 {
        self.slice.bytes()
    }
}

/// Looks a slice through; what cannot be read at first is tried again.
pub fn scan_patiently<D: Disk>(
    disk: &D,
    number: u64,
    secret: Secret,
) -> Result<Scanned, DiskError> {
    let look = || scan(disk, number, secret);
    let is_good = |looked: &Result<Scanned, DiskError>| {
        let looked = looked.as_ref();
        looked.is_ok_and(|scanned| scanned.seen == Seen::All)
    };
    patience::ask_until(disk, look, is_good)
}

/// Looks a slice through, as far as it can be read.
pub fn scan<D: Disk>(disk: &D, number: u64, secret: Secret) -> Result<Scanned, DiskError> {
    let slice = disk.read_slice(number)?;
    let mut scanned = Scanned {
        secret,
        ..Scanned::default()
    };
    scanned.seen = slice.find_values(&mut |place, bytes| scanned.find(secret, place, bytes))?;
    let own = match scanned.salvage(&slice).get(0, 0) {
        Ok(value) => value.as_ref().and_then(SliceHeader::of),
        Err(_) => {
            scanned.seen = Seen::Part;
            None
        }
    };
    let copied = copy::load_header(disk, secret, number);
    // A copy may hold what several incarnations of the store wrote.
    let writer = match &copied {
        Some(_) => None,
        None => own.as_ref().map(|header| header.store_id),
    };
    scanned.is_copy = copied.is_some();
    scanned.header = copied.or(own);
    scanned.find_frames(&slice, number, writer);
    Ok(scanned)
}
