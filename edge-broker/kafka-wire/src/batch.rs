//! A record batch as the bytes it is stored, served and sent in.
//!
//! Parsing checks the frame around the records (length, format, checksum, count), not the records:
//! they may be compressed, and whoever reads them checks them then.

use bytes::{Buf, Bytes, BytesMut};

use crate::compression;
use crate::crc;
use crate::header::{
    ATTRIBUTES_AT, BASE_OFFSET_AT, BASE_SEQUENCE_AT, CRC_AT, LEADER_EPOCH_AT, LENGTH_PREFIX_BYTES,
    MAGIC, PRODUCER_EPOCH_AT, PRODUCER_ID_AT, RECORD_COUNT_AT, put,
};
use crate::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, Compression, Producer, Records, RecordsBytes,
};

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
        self.patched(|bytes| set_base_offset(bytes, offset, leader_epoch))
    }

    /// Sets the producer fields, as an idempotent producer does before it sends.
    ///
    /// The checksum follows without a pass over the records, and so still vouches for them; the
    /// bytes are copied only if somebody else holds them too. A `Produce` request can do the same
    /// while it copies the batch: see `PartitionProduceData::producer`.
    #[must_use]
    pub fn with_producer(self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.patched(|bytes| {
            set_producer(
                bytes,
                Producer {
                    id,
                    epoch,
                    base_sequence,
                },
            )
        })
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
    pub fn decompress(&self, decompressed_bytes_max: usize) -> Result<RecordsBytes, BatchError> {
        let header = self.header();
        let codec = header.compression()?;
        let payload = self.bytes.slice(BATCH_HEADER_BYTES..);
        if codec == Compression::None {
            return Ok(RecordsBytes::new(header, payload));
        }
        let mut plain = Vec::new();
        compression::decompress(codec, &payload, &mut plain, decompressed_bytes_max)?;
        plain.shrink_to_fit(); // records will be slices of it, perhaps for long
        Ok(RecordsBytes::new(header, Bytes::from(plain)))
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

    /// A batch whose bytes this package wrote itself.
    pub(crate) fn from_checked(bytes: Bytes) -> Self {
        debug_assert!(Self::parse(bytes.clone()).is_ok());
        Self { bytes }
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

/// Writes the producer fields and the checksum that follows from them.
pub(crate) fn set_producer(bytes: &mut [u8], producer: Producer) {
    let stored = BatchHeader::read(bytes)
        .expect("checked when the batch was made")
        .crc;
    let old = crc32c::crc32c(&bytes[ATTRIBUTES_AT..RECORD_COUNT_AT]);
    put(bytes, PRODUCER_ID_AT, &producer.id.to_be_bytes());
    put(bytes, PRODUCER_EPOCH_AT, &producer.epoch.to_be_bytes());
    put(
        bytes,
        BASE_SEQUENCE_AT,
        &producer.base_sequence.to_be_bytes(),
    );
    let new = crc32c::crc32c(&bytes[ATTRIBUTES_AT..RECORD_COUNT_AT]);
    let rest_bytes = bytes.len() - RECORD_COUNT_AT;
    let crc = crc::replace_prefix(stored, old, new, rest_bytes);
    put(bytes, CRC_AT, &crc.to_be_bytes());
}

/// Sets where the batch stands in its partition; outside of what the checksum covers.
pub(crate) fn set_base_offset(bytes: &mut [u8], offset: i64, leader_epoch: i32) {
    put(bytes, BASE_OFFSET_AT, &offset.to_be_bytes());
    put(bytes, LEADER_EPOCH_AT, &leader_epoch.to_be_bytes());
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

#[cfg(test)]
mod tests;
