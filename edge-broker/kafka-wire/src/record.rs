//! One record: what a batch holds. `Record` owns its parts, `RecordView` borrows them.
//!
//! On the wire a record is: varint length, one byte of attributes (unused), varlong timestamp
//! delta, varint offset delta, then key, value and headers, each with a varint length (-1 = null).

use bytes::Bytes;

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
    pub(crate) header_count: u32,
    pub(crate) headers: &'a [u8],
}
