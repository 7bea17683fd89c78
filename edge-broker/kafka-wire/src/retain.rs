//! Leaves records out of a stored batch, as compaction does; the others stay as they are.
//!
//! A record's own bytes are moved whole, deltas and all, so the header's base offset, base
//! timestamp and last offset delta stay too. Whoever reads the batch meets gaps in its offsets.
//!
//! ```text
//! base 10, last delta 3:  10 a=1 | 11 b=1 | 12 a=2 | 13 b=2     keep 12 and 13
//! base 10, last delta 3:                    12 a=2 | 13 b=2     two records, next offset still 14
//! ```

use bytes::Bytes;

use crate::header::{ATTRIBUTES_AT, COMPRESSION_BITS, CRC_AT, LENGTH_PREFIX_BYTES, put};
use crate::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Compression, RecordBatch, RecordView};
use crate::{RecordsBytes, compression};

impl RecordBatch {
    /// The batch with only those of its records that `keep` says; `None` when nothing is left.
    ///
    /// Kept are every such record's offset, timestamp, key, value and headers, and of the header
    /// where the batch begins and ends, its producer, flags and codec (none, where compressing
    /// what is left does not pay). The largest timestamp becomes that of the records left, unless
    /// it is a log-append time. A batch of which all is kept is returned as it was, and so is one
    /// that holds transaction markers.
    ///
    /// # Errors
    /// When the records cannot be read, or have more than `decompressed_bytes_max` bytes.
    pub fn retain(
        &self,
        decompressed_bytes_max: usize,
        mut keep: impl FnMut(&RecordView<'_>) -> bool,
    ) -> Result<Option<RecordBatch>, BatchError> {
        let header = self.header();
        if header.is_control() {
            return Ok(Some(self.clone()));
        }
        let plain = self.decompress(decompressed_bytes_max)?;
        let left = Left::of(&plain, &mut keep)?;
        match left.count {
            0 => Ok(None),
            count if count == header.record_count => Ok(Some(self.clone())),
            _ => assemble(header, &left).map(Some),
        }
    }
}

/// The records that stay, as they lie in the batch.
#[derive(Default)]
struct Left {
    records: Vec<u8>,
    count: i32,
    max_timestamp_ms: Option<i64>,
}

impl Left {
    fn of(
        plain: &RecordsBytes,
        keep: &mut impl FnMut(&RecordView<'_>) -> bool,
    ) -> Result<Left, BatchError> {
        let bytes = plain.bytes();
        let mut left = Left::default();
        let mut views = plain.views();
        let mut start = 0;
        while let Some(view) = views.next() {
            let view = view?;
            let end = bytes.len() - views.bytes_left();
            if keep(&view) {
                left.records.extend_from_slice(&bytes[start..end]);
                left.count += 1;
                left.max_timestamp_ms = left.max_timestamp_ms.max(Some(view.timestamp_ms));
            }
            start = end;
        }
        Ok(left)
    }
}

fn assemble(header: BatchHeader, left: &Left) -> Result<RecordBatch, BatchError> {
    let codec = header.compression()?;
    compression::compress(codec, &left.records, |compressed| match compressed {
        Some(payload) => put_together(header, left, codec, payload),
        None => put_together(header, left, Compression::None, &left.records),
    })
}

fn put_together(
    header: BatchHeader,
    left: &Left,
    codec: Compression,
    payload: &[u8],
) -> Result<RecordBatch, BatchError> {
    let counted_bytes = BATCH_HEADER_BYTES - LENGTH_PREFIX_BYTES + payload.len();
    let batch_length = i32::try_from(counted_bytes).map_err(|_| BatchError::BatchLength(-1))?;
    let max_timestamp_ms = left.max_timestamp_ms.unwrap_or(header.max_timestamp_ms);
    let header = BatchHeader {
        batch_length,
        attributes: header.attributes & !COMPRESSION_BITS | codec as i16,
        max_timestamp_ms,
        record_count: left.count,
        ..header
    };
    let mut head = [0; BATCH_HEADER_BYTES];
    header.write(&mut head);
    let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(payload);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    put(&mut bytes, CRC_AT, &crc.to_be_bytes());
    RecordBatch::parse_stored(Bytes::from(bytes))
}

#[cfg(test)]
mod tests;
