//! The 61 bytes in front of every batch.
//!
//! ```text
//!  0 base offset i64        16 magic i8         27 base timestamp i64   51 producer epoch i16
//!  8 batch length i32       17 crc u32          35 max timestamp i64    53 base sequence i32
//! 12 leader epoch i32       21 attributes i16   43 producer id i64      57 record count i32
//!                           23 last offset delta i32                    61 records
//! ```
//!
//! The CRC covers everything from the attributes on, so base offset and leader epoch may be set
//! without touching it.

use crate::{BatchError, Compression};

/// Bytes of a batch before its first record.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Base offset and batch length: what stands before the counted part.
pub(crate) const LENGTH_PREFIX_BYTES: usize = 12;

pub(crate) const BASE_OFFSET_AT: usize = 0;
pub(crate) const BATCH_LENGTH_AT: usize = 8;
pub(crate) const LEADER_EPOCH_AT: usize = 12;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const ATTRIBUTES_AT: usize = 21;
pub(crate) const LAST_OFFSET_DELTA_AT: usize = 23;
pub(crate) const BASE_TIMESTAMP_AT: usize = 27;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
pub(crate) const PRODUCER_ID_AT: usize = 43;
pub(crate) const PRODUCER_EPOCH_AT: usize = 51;
pub(crate) const BASE_SEQUENCE_AT: usize = 53;
pub(crate) const RECORD_COUNT_AT: usize = 57;

pub(crate) const MAGIC: i8 = 2;
pub(crate) const COMPRESSION_BITS: i16 = 0x07;
pub(crate) const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;

/// The producer fields of a batch: who wrote it and where it stands in that producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Producer id; -1 = not idempotent.
    pub id: i64,
    /// Producer epoch; -1 = not idempotent.
    pub epoch: i16,
    /// Sequence of the first record; -1 = not idempotent.
    pub base_sequence: i32,
}

impl Producer {
    /// No producer: the batch is not idempotent.
    pub const NONE: Self = Self {
        id: -1,
        epoch: -1,
        base_sequence: -1,
    };
}

/// All fields of a batch header, by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (of the batch as it was written).
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended the batch; -1 = not set.
    pub partition_leader_epoch: i32,
    /// Format, always 2.
    pub magic: i8,
    /// CRC32C of everything after this field.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: i16,
    /// Offset of the last record minus the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from.
    pub base_timestamp_ms: i64,
    /// Largest timestamp of the records, or the log-append time.
    pub max_timestamp_ms: i64,
    /// Producer id; -1 = not idempotent.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the fields; only the length is checked, so that the caller may judge what is wrong.
    ///
    /// # Errors
    /// `Truncated` when there are fewer than 61 bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(head) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else {
            let (needed, available) = (BATCH_HEADER_BYTES, bytes.len());
            return Err(BatchError::Truncated { needed, available });
        };
        Ok(Self {
            base_offset: i64::from_be_bytes(field(head, BASE_OFFSET_AT)),
            batch_length: i32::from_be_bytes(field(head, BATCH_LENGTH_AT)),
            partition_leader_epoch: i32::from_be_bytes(field(head, LEADER_EPOCH_AT)),
            magic: i8::from_be_bytes(field(head, MAGIC_AT)),
            crc: u32::from_be_bytes(field(head, CRC_AT)),
            attributes: i16::from_be_bytes(field(head, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(field(head, LAST_OFFSET_DELTA_AT)),
            base_timestamp_ms: i64::from_be_bytes(field(head, BASE_TIMESTAMP_AT)),
            max_timestamp_ms: i64::from_be_bytes(field(head, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(head, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(field(head, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(field(head, BASE_SEQUENCE_AT)),
            record_count: i32::from_be_bytes(field(head, RECORD_COUNT_AT)),
        })
    }

    /// Writes every field as it stands, the CRC too.
    pub(crate) fn write(&self, to: &mut [u8; BATCH_HEADER_BYTES]) {
        put(to, BASE_OFFSET_AT, &self.base_offset.to_be_bytes());
        put(to, BATCH_LENGTH_AT, &self.batch_length.to_be_bytes());
        put(
            to,
            LEADER_EPOCH_AT,
            &self.partition_leader_epoch.to_be_bytes(),
        );
        put(to, MAGIC_AT, &self.magic.to_be_bytes());
        put(to, CRC_AT, &self.crc.to_be_bytes());
        put(to, ATTRIBUTES_AT, &self.attributes.to_be_bytes());
        put(
            to,
            LAST_OFFSET_DELTA_AT,
            &self.last_offset_delta.to_be_bytes(),
        );
        put(to, BASE_TIMESTAMP_AT, &self.base_timestamp_ms.to_be_bytes());
        put(to, MAX_TIMESTAMP_AT, &self.max_timestamp_ms.to_be_bytes());
        put(to, PRODUCER_ID_AT, &self.producer_id.to_be_bytes());
        put(to, PRODUCER_EPOCH_AT, &self.producer_epoch.to_be_bytes());
        put(to, BASE_SEQUENCE_AT, &self.base_sequence.to_be_bytes());
        put(to, RECORD_COUNT_AT, &self.record_count.to_be_bytes());
    }

    /// The codec the records are compressed with.
    ///
    /// # Errors
    /// `UnknownCompression` for codec numbers Kafka has not assigned.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let number = self.attributes & COMPRESSION_BITS;
        Compression::from_number(number).ok_or(BatchError::UnknownCompression(number))
    }

    /// Whether every record carries the time of appending, `max_timestamp_ms`.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME_BIT != 0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds transaction markers; a client may not send one.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// The producer fields together.
    #[must_use]
    pub fn producer(&self) -> Producer {
        Producer {
            id: self.producer_id,
            epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
        }
    }
}

fn field<const N: usize>(head: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&head[at..at + N]);
    out
}

/// Overwrites the field at `at`.
pub(crate) fn put(to: &mut [u8], at: usize, field: &[u8]) {
    to[at..at + field.len()].copy_from_slice(field);
}
