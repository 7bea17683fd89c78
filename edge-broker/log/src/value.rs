//! How one write lies in a slice: values of at most 7 KiB that name and check themselves.
//!
//! ```text
//! value    = magic 4 | write sequence 8 | part 4 | length 4 | CRC32C 4 | tag 8 | payload
//! payloads of one write, joined = envelope (48) | entry data
//! envelope = level | kind | flags | 0 | data length 4 | index 8 | entry term 8
//!          | previous write 8 | durable write 8 | store id 8
//! ```
//! The checksum covers the payload, the tag the head before it: no client can make one, since it
//! takes the store's [`Secret`]. So a part of a frame can be read and checked without the rest of
//! it, and a value found anywhere in a damaged file says where it belongs, while a payload that
//! looks like a value is not one. The checksum of the whole frame is the CRC32C of its values'
//! checksums.
//!
//! *Previous* is the write accepted before this one, *durable* the last one known to be on the
//! disk when this one was written: with them recovery tells a torn tail from a loss.
//!
//! Pure: bytes in, bytes out. The store writes with it; reader, scan and salvage read.

use bytes::Buf;

use crate::secret::Secret;
use crate::{DiskError, EntryKind, VALUE_BYTES_MAX};

/// Begins every value; salvage looks for it.
pub const MAGIC: [u8; 4] = *b"eLg1";

/// Length of a value's head.
pub const VALUE_HEAD_BYTES: usize = 32;

/// Payload of every value of a write but its last.
pub const PAYLOAD_BYTES_MAX: usize = VALUE_BYTES_MAX - VALUE_HEAD_BYTES;

/// Length of the envelope.
pub const ENVELOPE_BYTES: usize = 48;

/// No write sequence, index or term comes near it; with it one more can always be added.
pub const NUMBER_MAX: u64 = 1 << 62;

const LEVEL: u8 = 1;
const CRC_AT: usize = 20;
const TAG_AT: usize = 24;

/// Set in `flags` when dead batches were left out: no raft entry any more.
pub const FLAG_REDUCED: u8 = 1;

/// The store's half of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub kind: EntryKind,
    pub flags: u8,
    pub data_bytes: u32,
    pub index: u64,
    pub term: u64,
    pub previous: u64,
    pub durable: u64,
    pub store_id: u64,
}

impl Envelope {
    /// Appends its [`ENVELOPE_BYTES`].
    pub fn put(&self, to: &mut Vec<u8>) {
        let kind = match self.kind {
            EntryKind::Normal => 0,
            EntryKind::ConfChange => 1,
        };
        to.extend_from_slice(&[LEVEL, kind, self.flags, 0]);
        to.extend_from_slice(&self.data_bytes.to_le_bytes());
        for number in [
            self.index,
            self.term,
            self.previous,
            self.durable,
            self.store_id,
        ] {
            to.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Reads the envelope at the start of a write's first payload.
    pub fn decode(sequence: u64, payload: &[u8]) -> Result<Envelope, DiskError> {
        let envelope = Envelope::read(payload)?;
        match envelope.is_possible(sequence) {
            true => Ok(envelope),
            false => Err(DiskError::Damaged(format!(
                "write {sequence} names what cannot be"
            ))),
        }
    }

    /// What was accepted and durable before a write has lower numbers than it.
    fn is_possible(&self, sequence: u64) -> bool {
        (1..=NUMBER_MAX).contains(&self.index)
            && self.term <= NUMBER_MAX
            && self.previous < sequence
            && self.durable <= self.previous
    }

    fn read(mut payload: &[u8]) -> Result<Envelope, DiskError> {
        if payload.len() < ENVELOPE_BYTES {
            return Err(DiskError::Damaged("envelope is short".into()));
        }
        let (level, kind) = (payload[0], payload[1]);
        if level != LEVEL {
            return Err(DiskError::Damaged(format!(
                "envelope of unknown level: {level}"
            )));
        }
        let kind = match kind {
            0 => EntryKind::Normal,
            1 => EntryKind::ConfChange,
            other => {
                return Err(DiskError::Damaged(format!(
                    "envelope of unknown kind: {other}"
                )));
            }
        };
        let flags = payload[2];
        payload.advance(4);
        Ok(Envelope {
            kind,
            flags,
            data_bytes: payload.get_u32_le(),
            index: payload.get_u64_le(),
            term: payload.get_u64_le(),
            previous: payload.get_u64_le(),
            durable: payload.get_u64_le(),
            store_id: payload.get_u64_le(),
        })
    }

    /// Values the whole write takes.
    pub fn parts(&self) -> u32 {
        parts(self.data_bytes)
    }
}

/// Values that a write of so many bytes takes.
pub fn parts(data_bytes: u32) -> u32 {
    (ENVELOPE_BYTES as u64 + u64::from(data_bytes)).div_ceil(PAYLOAD_BYTES_MAX as u64) as u32
}

/// Length of one of them.
pub fn value_bytes(data_bytes: u32, part: u32) -> usize {
    let before = u64::from(part) * PAYLOAD_BYTES_MAX as u64;
    let left = (ENVELOPE_BYTES as u64 + u64::from(data_bytes)).saturating_sub(before);
    VALUE_HEAD_BYTES + left.min(PAYLOAD_BYTES_MAX as u64) as usize
}

/// Encodes a write into `scratch`, value after value, each but the last of full length.
/// Returns the frame's checksum.
pub fn encode(
    scratch: &mut Vec<u8>,
    secret: Secret,
    sequence: u64,
    envelope: &Envelope,
    data: &[u8],
) -> u32 {
    scratch.clear();
    scratch.reserve(envelope.parts() as usize * VALUE_BYTES_MAX);
    let mut rest = data;
    let mut frame_crc = 0;
    for part in 0..envelope.parts() {
        let start = scratch.len();
        let room = if part == 0 {
            PAYLOAD_BYTES_MAX - ENVELOPE_BYTES
        } else {
            PAYLOAD_BYTES_MAX
        };
        let (now, later) = rest.split_at(room.min(rest.len()));
        let payload_bytes = now.len() + if part == 0 { ENVELOPE_BYTES } else { 0 };
        put_head(scratch, sequence, part, payload_bytes);
        if part == 0 {
            envelope.put(scratch);
        }
        scratch.extend_from_slice(now);
        let crc = seal(secret, &mut scratch[start..]);
        frame_crc = crc32c::crc32c_append(frame_crc, &crc.to_le_bytes());
        rest = later;
    }
    frame_crc
}

/// One value that is not part of a frame.
pub fn encode_single(secret: Secret, sequence: u64, part: u32, payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE_HEAD_BYTES + payload.len());
    put_head(&mut value, sequence, part, payload.len());
    value.extend_from_slice(payload);
    seal(secret, &mut value);
    value
}

fn put_head(to: &mut Vec<u8>, sequence: u64, part: u32, payload_bytes: usize) {
    to.extend_from_slice(&MAGIC);
    to.extend_from_slice(&sequence.to_le_bytes());
    to.extend_from_slice(&part.to_le_bytes());
    to.extend_from_slice(&(payload_bytes as u32).to_le_bytes());
    to.extend_from_slice(&[0; VALUE_HEAD_BYTES - CRC_AT]);
}

fn seal(secret: Secret, value: &mut [u8]) -> u32 {
    let crc = crc32c::crc32c(&value[VALUE_HEAD_BYTES..]);
    value[CRC_AT..TAG_AT].copy_from_slice(&crc.to_le_bytes());
    let tag = secret.tag(&value[..TAG_AT]);
    value[TAG_AT..VALUE_HEAD_BYTES].copy_from_slice(&tag.to_le_bytes());
    crc
}

/// What a value's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueHead {
    pub sequence: u64,
    pub part: u32,
    pub payload_bytes: usize,
    pub crc: u32,
}

/// Reads and checks the head of the value at the start of `bytes`; its payload may be torn.
pub fn check_head(secret: Secret, bytes: &[u8]) -> Option<ValueHead> {
    let (head, mut tag) = bytes.get(..VALUE_HEAD_BYTES)?.split_at(TAG_AT);
    let mut rest = head.strip_prefix(&MAGIC)?;
    if tag.get_u64_le() != secret.tag(head) {
        return None;
    }
    let head = ValueHead {
        sequence: rest.get_u64_le(),
        part: rest.get_u32_le(),
        payload_bytes: rest.get_u32_le() as usize,
        crc: rest.get_u32_le(),
    };
    let possible = head.payload_bytes <= PAYLOAD_BYTES_MAX && head.sequence <= NUMBER_MAX;
    possible.then_some(head)
}

/// Reads and checks the value at the start of `bytes`, which may go on behind it.
pub fn check_prefix(secret: Secret, bytes: &[u8]) -> Option<ValueHead> {
    let head = check_head(secret, bytes)?;
    let payload = bytes.get(VALUE_HEAD_BYTES..head.value_bytes())?;
    (crc32c::crc32c(payload) == head.crc).then_some(head)
}

impl ValueHead {
    /// Length of the whole value.
    pub fn value_bytes(&self) -> usize {
        VALUE_HEAD_BYTES + self.payload_bytes
    }
}

/// A value that was read and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    bytes: Vec<u8>,
    crc: u32,
}

impl Value {
    /// What is in it.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[VALUE_HEAD_BYTES..]
    }
}

/// Checks that what was read begins with the value that was asked for, whole.
pub fn check(
    secret: Secret,
    mut bytes: Vec<u8>,
    sequence: u64,
    part: u32,
) -> Result<Value, DiskError> {
    match check_prefix(secret, &bytes) {
        Some(head) if head.sequence == sequence && head.part == part => {
            bytes.truncate(head.value_bytes());
            Ok(Value {
                bytes,
                crc: head.crc,
            })
        }
        _ => Err(DiskError::Damaged(format!("write {sequence} part {part}"))),
    }
}

/// Where values are read from.
pub trait Values {
    /// One value, checked.
    fn get(&self, sequence: u64, part: u32) -> Result<Option<Value>, DiskError>;
    /// Size of what they lie in: no write is longer.
    fn bytes(&self) -> u64;
}

/// A whole write, read and checked.
#[derive(Debug)]
pub struct Stored {
    pub envelope: Envelope,
    pub data: Vec<u8>,
    pub crc: u32,
}

/// Reads a whole write; `None` when its first value does not exist.
pub fn read_frame(values: &impl Values, sequence: u64) -> Result<Option<Stored>, DiskError> {
    let Some(first) = values.get(sequence, 0)? else {
        return Ok(None);
    };
    let mut crc = crc32c::crc32c(&first.crc.to_le_bytes());
    let envelope = Envelope::decode(sequence, first.payload())?;
    let mut data = reserve(values, sequence, envelope.data_bytes as usize)?;
    data.extend_from_slice(&first.payload()[ENVELOPE_BYTES..]);
    for part in 1..envelope.parts() {
        let value = part_of(values, sequence, part)?;
        crc = crc32c::crc32c_append(crc, &value.crc.to_le_bytes());
        data.extend_from_slice(value.payload());
    }
    if data.len() != envelope.data_bytes as usize {
        return Err(DiskError::Damaged(format!(
            "write {sequence} has a wrong length"
        )));
    }
    Ok(Some(Stored {
        envelope,
        data,
        crc,
    }))
}

/// Room for bytes of a write. What is longer than all there is reserves nothing.
fn reserve(values: &impl Values, sequence: u64, len: usize) -> Result<Vec<u8>, DiskError> {
    if len as u64 > values.bytes() {
        return Err(DiskError::Damaged(format!(
            "write {sequence} is longer than its slice: {len} bytes"
        )));
    }
    Ok(Vec::with_capacity(len))
}

fn part_of(values: &impl Values, sequence: u64, part: u32) -> Result<Value, DiskError> {
    let lacks = || DiskError::Damaged(format!("write {sequence} lacks part {part}"));
    values.get(sequence, part)?.ok_or_else(lacks)
}

/// Reads `start..start + len` of a write's entry data, checking only the values it lies in.
pub fn read_range(
    values: &impl Values,
    sequence: u64,
    start: usize,
    len: usize,
) -> Result<Vec<u8>, DiskError> {
    let (first, end) = (start + ENVELOPE_BYTES, start + ENVELOPE_BYTES + len);
    let mut out = reserve(values, sequence, len)?;
    for part in first / PAYLOAD_BYTES_MAX..end.div_ceil(PAYLOAD_BYTES_MAX) {
        let value = part_of(values, sequence, part as u32)?;
        let payload = value.payload();
        let from = first
            .saturating_sub(part * PAYLOAD_BYTES_MAX)
            .min(payload.len());
        let to = (end - part * PAYLOAD_BYTES_MAX).min(payload.len());
        out.extend_from_slice(&payload[from..to]);
    }
    if out.len() == len {
        return Ok(out);
    }
    Err(DiskError::Damaged(format!(
        "write {sequence} is shorter than its index says"
    )))
}

#[cfg(test)]
mod tests;
