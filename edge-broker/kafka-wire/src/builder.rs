//! Builds a batch from records: one pass over them, straight into the batch's own form.
//!
//! The builder sits on the path of every message a device sends, so it keeps its buffer from batch
//! to batch: a batch costs one allocation, a record none.

use std::fmt;

use bytes::Bytes;

use crate::compression;
use crate::header::{ATTRIBUTES_AT, CRC_AT, LENGTH_PREFIX_BYTES, MAGIC, put};
use crate::varint::{Small, put_varlong, varlong_len};
use crate::{BATCH_HEADER_BYTES, BatchHeader, Compression, Producer, Record, RecordBatch};

/// Collects records and makes a batch of them, again and again.
pub struct BatchBuilder {
    compression: Compression,
    records: Vec<u8>,
    count: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
    /// Length, count and maximum timestamp to which `undo` goes back.
    marked: (usize, u32, i64),
}

impl BatchBuilder {
    /// An empty builder whose batches are compressed where that pays.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            records: Vec::new(),
            count: 0,
            base_timestamp_ms: 0,
            max_timestamp_ms: i64::MIN,
            marked: (0, 0, i64::MIN),
        }
    }

    /// Appends a record; its offset is its position in the batch.
    ///
    /// # Panics
    /// When the batch would exceed 2 GiB, which the limits of every caller forbid.
    pub fn push(&mut self, record: &Record) {
        let headers = || {
            record
                .headers
                .iter()
                .map(|h| (&h.key[..], h.value.as_deref()))
        };
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        self.push_parts(record.timestamp_ms, key, value, headers);
    }

    /// Appends a record given in parts; `headers` is called twice, to measure and to write.
    ///
    /// # Panics
    /// When the batch would exceed 2 GiB, which the limits of every caller forbid.
    pub fn push_parts<'a, I>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Fn() -> I,
    ) where
        I: ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    {
        let body_bytes = nullable_len(key) + nullable_len(value) + headers_len(headers());
        self.begin_record(timestamp_ms, body_bytes);
        put_nullable(&mut self.records, key);
        put_nullable(&mut self.records, value);
        let headers = headers();
        put_varlong(&mut self.records, headers.len() as i64);
        for (key, value) in headers {
            put_nullable(&mut self.records, Some(key));
            put_nullable(&mut self.records, value);
        }
    }

    /// Appends a record whose key, value and headers are already in their wire form.
    pub(crate) fn push_body(&mut self, timestamp_ms: i64, body: &[u8]) {
        self.begin_record(timestamp_ms, body.len());
        self.records.extend_from_slice(body);
    }

    /// Remembers this point for `undo`.
    pub(crate) fn mark(&mut self) {
        self.marked = (self.records.len(), self.count, self.max_timestamp_ms);
    }

    /// Takes back every record since the last `mark`.
    pub(crate) fn undo(&mut self) {
        let records_bytes;
        (records_bytes, self.count, self.max_timestamp_ms) = self.marked;
        self.records.truncate(records_bytes);
    }

    /// Writes what precedes the body of a record, and makes room for the body.
    #[inline]
    fn begin_record(&mut self, timestamp_ms: i64, body_bytes: usize) {
        if self.count == 0 {
            self.base_timestamp_ms = timestamp_ms;
        }
        self.max_timestamp_ms = self.max_timestamp_ms.max(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp_ms);
        let offset_delta = i64::from(self.count);
        let length = 1 + varlong_len(timestamp_delta) + varlong_len(offset_delta) + body_bytes;
        assert!(
            self.records.len() + length < BATCH_BYTES_MAX,
            "batch exceeds 2 GiB"
        );
        let mut prefix = Small::default();
        prefix.varlong(length as i64);
        prefix.byte(0);
        prefix.varlong(timestamp_delta);
        prefix.varlong(offset_delta);
        self.records.reserve(length + 5);
        self.records.extend_from_slice(prefix.as_slice());
        self.count += 1;
    }

    /// Records pushed since the last batch was built.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether no record waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes the batch would have uncompressed, header included; it will not have more.
    #[must_use]
    pub fn bytes_estimate(&self) -> usize {
        BATCH_HEADER_BYTES + self.records.len()
    }

    /// Forgets the records pushed so far and keeps the buffers.
    pub fn clear(&mut self) {
        self.records.clear();
        self.records.shrink_to(BUFFER_BYTES_KEPT);
        self.count = 0;
        self.max_timestamp_ms = i64::MIN;
        self.mark();
    }

    /// Makes the batch and leaves the builder empty, its buffers kept.
    ///
    /// # Panics
    /// When no record was pushed: a batch without records has no offset.
    #[must_use]
    pub fn build(&mut self, base_offset: i64, leader_epoch: i32) -> RecordBatch {
        assert!(self.count > 0, "a batch needs a record");
        let batch =
            compression::compress(
                self.compression,
                &self.records,
                |compressed| match compressed {
                    Some(payload) => {
                        self.assemble(base_offset, leader_epoch, self.compression, payload)
                    }
                    None => {
                        self.assemble(base_offset, leader_epoch, Compression::None, &self.records)
                    }
                },
            );
        self.clear();
        batch
    }

    fn assemble(
        &self,
        base_offset: i64,
        leader_epoch: i32,
        codec: Compression,
        payload: &[u8],
    ) -> RecordBatch {
        let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + payload.len());
        let mut head = [0; BATCH_HEADER_BYTES];
        self.header(base_offset, leader_epoch, codec, payload.len())
            .write(&mut head);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(payload);
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
        put(&mut bytes, CRC_AT, &crc.to_be_bytes());
        RecordBatch::from_checked(Bytes::from(bytes))
    }

    fn header(
        &self,
        base_offset: i64,
        partition_leader_epoch: i32,
        codec: Compression,
        payload_bytes: usize,
    ) -> BatchHeader {
        let counted_bytes = BATCH_HEADER_BYTES - LENGTH_PREFIX_BYTES + payload_bytes;
        let count = self.count.cast_signed();
        BatchHeader {
            base_offset,
            batch_length: counted_bytes as i32,
            partition_leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes: codec as i16,
            last_offset_delta: count - 1,
            base_timestamp_ms: self.base_timestamp_ms,
            max_timestamp_ms: self.max_timestamp_ms,
            producer_id: Producer::NONE.id,
            producer_epoch: Producer::NONE.epoch,
            base_sequence: Producer::NONE.base_sequence,
            record_count: count,
        }
    }
}

impl fmt::Debug for BatchBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchBuilder")
            .field("compression", &self.compression)
            .field("count", &self.count)
            .field("bytes_estimate", &self.bytes_estimate())
            .finish_non_exhaustive()
    }
}

#[inline]
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varlong_len(bytes.len() as i64) + bytes.len())
}

fn headers_len<'a>(headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> usize {
    varlong_len(headers.len() as i64)
        + headers
            .map(|(key, value)| nullable_len(Some(key)) + nullable_len(value))
            .sum::<usize>()
}

#[inline]
fn put_nullable(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varlong(to, bytes.map_or(-1, |bytes| bytes.len() as i64));
    to.extend_from_slice(bytes.unwrap_or_default());
}

/// The length field is an i32; some room is left for the header.
const BATCH_BYTES_MAX: usize = i32::MAX as usize - 4096;
/// What a builder keeps after a batch: as much as a frame of the log has.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

#[cfg(test)]
mod tests;
