//! One record: what a batch holds. `Record` owns its parts, `RecordView` borrows them.
//!
//! On the wire a record is
//!
//! ```text
//! length varint | attributes u8 (unused) | timestamp delta varlong | offset delta varint
//! key length varint (-1 = null), key | value length varint (-1 = null), value
//! header count varint | per header: key length, key, value length (-1 = null), value
//! ```
//!
//! The second and third line do not depend on the batch: merging moves them as they are.

use bytes::Bytes;

use crate::varint::Cursor;
use crate::{BatchError, BatchHeader};

/// One header of a record. Keys may repeat and their order counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Header {
    /// Name, by convention UTF-8 (Kafka's clients insist, the format does not).
    pub key: Bytes,
    /// Value; `None` is Kafka's null, which is not the same as empty.
    pub value: Option<Bytes>,
}

/// A record with its parts owned (cheap slices of the batch it came from).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Milliseconds since 1970 by the clock that stamped the record.
    pub timestamp_ms: i64,
    /// Key; `None` is null.
    pub key: Option<Bytes>,
    /// Value; `None` is null, in compacted topics a deletion.
    pub value: Option<Bytes>,
    /// Headers in order, duplicates kept.
    pub headers: Vec<Header>,
}

/// A record whose parts are borrowed from the decompressed batch: reading one allocates nothing.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Absolute offset.
    pub offset: i64,
    /// Milliseconds since 1970; the batch's maximum where the batch carries log-append time.
    pub timestamp_ms: i64,
    /// Key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is null.
    pub value: Option<&'a [u8]>,
    headers: HeaderViews<'a>,
    /// Key, value and headers as they are on the wire.
    pub(crate) body: &'a [u8],
}

/// Headers of one record: a header of two bytes takes 64 in a [`Record`].
const HEADERS_MAX: usize = 10_000;

impl<'a> RecordView<'a> {
    /// Reads one record of a batch, and all of it: nothing inside is left unchecked.
    pub(crate) fn read(from: &mut Cursor<'a>, batch: &BatchHeader) -> Result<Self, BatchError> {
        let length = from.count().ok_or(BatchError::Record("length"))?;
        let record = from
            .take(length)
            .ok_or(BatchError::Record("longer than its batch"))?;
        let mut inside = Cursor::new(record);
        inside.byte().ok_or(BatchError::Record("attributes"))?;
        let timestamp_delta = inside
            .varlong()
            .ok_or(BatchError::Record("timestamp delta"))?;
        let offset_delta = inside.varint().ok_or(BatchError::Record("offset delta"))?;
        if offset_delta < 0 || offset_delta > batch.last_offset_delta {
            return Err(BatchError::Record("offset outside of its batch"));
        }
        let body = inside.rest;
        let key = inside.nullable().ok_or(BatchError::Record("key length"))?;
        let value = inside
            .nullable()
            .ok_or(BatchError::Record("value length"))?;
        Ok(Self {
            offset: batch.base_offset.saturating_add(i64::from(offset_delta)),
            timestamp_ms: timestamp_ms(batch, timestamp_delta),
            key,
            value,
            headers: HeaderViews::read(inside)?,
            body,
        })
    }

    /// The headers in order, duplicates kept.
    #[must_use]
    pub fn headers(&self) -> HeaderViews<'a> {
        self.headers
    }

    /// Owns the record without copying its bytes, which must be slices of `bytes`.
    pub(crate) fn slice_of(&self, bytes: &Bytes) -> Record {
        Record {
            timestamp_ms: self.timestamp_ms,
            key: self.key.map(|key| bytes.slice_ref(key)),
            value: self.value.map(|value| bytes.slice_ref(value)),
            headers: self
                .headers()
                .map(|(key, value)| Header {
                    key: bytes.slice_ref(key),
                    value: value.map(|value| bytes.slice_ref(value)),
                })
                .collect(),
        }
    }
}

fn timestamp_ms(batch: &BatchHeader, delta: i64) -> i64 {
    if batch.is_log_append_time() {
        batch.max_timestamp_ms
    } else {
        batch.base_timestamp_ms.wrapping_add(delta)
    }
}

/// The headers of a record: key and value, in order.
#[derive(Clone, Copy, Debug)]
pub struct HeaderViews<'a> {
    left: usize,
    at: Cursor<'a>,
}

impl<'a> HeaderViews<'a> {
    /// Checks all headers, which must end where the record ends.
    fn read(mut from: Cursor<'a>) -> Result<Self, BatchError> {
        let left = from.count().ok_or(BatchError::Record("header count"))?;
        if left > HEADERS_MAX {
            return Err(BatchError::Record("more headers than a record may have"));
        }
        let headers = Self { left, at: from };
        for _ in 0..left {
            // A count that lies ends here: each header takes at least two bytes.
            read_header(&mut from).ok_or(BatchError::Record("headers longer than their record"))?;
        }
        if from.rest.is_empty() {
            Ok(headers)
        } else {
            Err(BatchError::Record("bytes after the last header"))
        }
    }
}

impl<'a> Iterator for HeaderViews<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        read_header(&mut self.at)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left)) // checked against the bytes when the record was read
    }
}

impl ExactSizeIterator for HeaderViews<'_> {}

fn read_header<'a>(from: &mut Cursor<'a>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let key_bytes = from.count()?;
    Some((from.take(key_bytes)?, from.nullable()?))
}
