//! A record batch as the bytes it is stored, served and sent in.
//!
//! Parsing checks the frame around the records (length, format, checksum, count), not the records:
//! they may be compressed, and whoever reads them checks them then.

use bytes::{Buf, Bytes, BytesMut};

use crate::header::{
    ATTRIBUTES_AT, BASE_OFFSET_AT, BATCH_LENGTH_AT, CRC_AT, LEADER_EPOCH_AT, LENGTH_PREFIX_BYTES,
    MAGIC, put,
};
use crate::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Compression, Records, RecordsBytes};

/// One batch, checked when it was made. Cloning it copies no bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch {
    bytes: Bytes,
}

impl RecordBatch {
    /// Takes exactly one batch from a producer: length, format, CRC32C, and as many records as
    /// offsets.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let batch = Self::parse_stored(bytes)?;
        batch.check_crc()?;
        let header = batch.header();
        if i64::from(header.record_count) != i64::from(header.last_offset_delta) + 1 {
            return Err(record_count_error(&header));
        }
        Ok(batch)
    }

    /// Takes exactly one batch whose bytes were checked before: the CRC is not computed again, and
    /// offsets may be missing, as compaction leaves them.
    ///
    /// # Errors
    /// What is wrong with the header.
    pub fn parse_stored(bytes: Bytes) -> Result<Self, BatchError> {
        let length = checked_length(&bytes)?;
        if bytes.len() > length {
            return Err(BatchError::TrailingBytes(bytes.len() - length));
        }
        Ok(Self { bytes })
    }

    /// Takes the first of several concatenated batches off `bytes`; `None` at the end.
    ///
    /// Length, format and CRC32C are checked; offsets may be missing, as in a Fetch response from
    /// a compacted topic. On an error `bytes` is left as it was.
    ///
    /// # Errors
    /// What is wrong with the bytes; `Truncated` when the last batch is cut short.
    pub fn split_first(bytes: &mut Bytes) -> Result<Option<Self>, BatchError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let length = checked_length(bytes)?;
        let batch = Self {
            bytes: bytes.slice(..length),
        };
        batch.check_crc()?;
        bytes.advance(length);
        Ok(Some(batch))
    }

    /// The header's fields.
    #[must_use]
    pub fn header(&self) -> BatchHeader {
        BatchHeader::read(&self.bytes).expect("checked when the batch was made")
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.header().base_offset
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        let header = self.header();
        header
            .base_offset
            .saturating_add(i64::from(header.last_offset_delta))
    }

    /// Offset after the last record: where the next batch begins.
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Records in the batch, as the header says.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.header().record_count.cast_unsigned()
    }

    /// Largest timestamp of its records.
    #[must_use]
    pub fn max_timestamp_ms(&self) -> i64 {
        self.header().max_timestamp_ms
    }

    /// Codec of the records.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.header()
            .compression()
            .expect("checked when the batch was made")
    }

    /// The batch as it is stored and sent.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The batch as it is stored and sent, given away.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Sets where the batch stands in its partition, as a leader does on append.
    ///
    /// Needs no checksum pass; the bytes are copied only if somebody else holds them too.
    #[must_use]
    pub fn with_base_offset(self, offset: i64, leader_epoch: i32) -> Self {
        self.patched(|bytes| {
            put(bytes, BASE_OFFSET_AT, &offset.to_be_bytes());
            put(bytes, LEADER_EPOCH_AT, &leader_epoch.to_be_bytes());
        })
    }

    /// Sets the producer fields, as an idempotent producer does before it sends.
    #[must_use]
    pub fn with_producer(self, _id: i64, _epoch: i16, _base_sequence: i32) -> Self {
        unimplemented!()
    }

    /// Reads the records, decompressing at most `decompressed_bytes_max` bytes.
    ///
    /// # Errors
    /// When the payload cannot be decompressed within the cap. A damaged record is an error of the
    /// iterator, which ends with it.
    pub fn records(&self, decompressed_bytes_max: usize) -> Result<Records, BatchError> {
        Ok(self.decompress(decompressed_bytes_max)?.into_records())
    }

    /// Decompresses the records once, for reading them without allocations (`views`).
    ///
    /// # Errors
    /// When the payload cannot be decompressed within the cap.
    pub fn decompress(&self, _decompressed_bytes_max: usize) -> Result<RecordsBytes, BatchError> {
        unimplemented!()
    }

    /// Compares the checksum with the bytes.
    ///
    /// # Errors
    /// `Crc` when they differ.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let stored = self.header().crc;
        let computed = crc32c::crc32c(&self.bytes[ATTRIBUTES_AT..]);
        if stored == computed {
            Ok(())
        } else {
            Err(BatchError::Crc { stored, computed })
        }
    }

    fn patched(self, patch: impl FnOnce(&mut BytesMut)) -> Self {
        let mut bytes = self
            .bytes
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        patch(&mut bytes);
        Self {
            bytes: bytes.freeze(),
        }
    }
}

/// The length of the batch at the start of `bytes`, its header checked.
fn checked_length(bytes: &[u8]) -> Result<usize, BatchError> {
    let header = BatchHeader::read(bytes)?;
    if header.magic != MAGIC {
        return Err(BatchError::Magic(header.magic));
    }
    let length = usize::try_from(header.batch_length)
        .ok()
        .and_then(|length| length.checked_add(LENGTH_PREFIX_BYTES))
        .filter(|length| *length >= BATCH_HEADER_BYTES)
        .ok_or(BatchError::BatchLength(header.batch_length))?;
    if bytes.len() < length {
        return Err(BatchError::Truncated {
            needed: length,
            available: bytes.len(),
        });
    }
    header.compression()?;
    let (count, last_delta) = (header.record_count, header.last_offset_delta);
    if count < 0 || last_delta < 0 || i64::from(count) > i64::from(last_delta) + 1 {
        return Err(record_count_error(&header));
    }
    Ok(length)
}

fn record_count_error(header: &BatchHeader) -> BatchError {
    BatchError::RecordCount {
        count: header.record_count,
        last_offset_delta: header.last_offset_delta,
    }
}

const _: () = assert!(CRC_AT + 4 == ATTRIBUTES_AT && BATCH_LENGTH_AT + 4 == LENGTH_PREFIX_BYTES);
