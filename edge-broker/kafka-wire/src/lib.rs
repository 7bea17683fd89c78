//! Kafka's bytes: record batches (format 2) and protocol messages.
//!
//! The log stores records as Kafka record batches, the Kafka door serves them and the forwarder
//! sends them on, all without re-encoding. This package knows how those bytes look and nothing
//! else: it never reads a clock, a socket or a file, and it decides nothing about topics.
//!
//! ```text
//! records ── BatchBuilder ──> RecordBatch ── records() ──> records
//!                                 │  ▲
//!                  with_base_offset, merge, retain
//! ```
//!
//! ```
//! use kafka_wire::{BatchBuilder, Compression, Record, RecordBatch};
//!
//! let mut builder = BatchBuilder::new(Compression::Lz4);
//! builder.push(&Record { timestamp_ms: 7, value: Some("21.5".into()), ..Record::default() });
//! let batch = builder.build(1000, 3); // base offset, leader epoch
//!
//! let received = RecordBatch::parse(batch.bytes().clone())?;
//! let (offset, record) = received.records(1 << 20)?.next().expect("one was pushed")?;
//! assert_eq!((offset, record.value.as_deref()), (1000, Some(&b"21.5"[..])));
//! # Ok::<(), kafka_wire::BatchError>(())
//! ```
//!
//! Everything from outside is decoded within bounds: a hostile length or count returns an error
//! and never allocates.

mod batch;
mod builder;
mod compression;
mod crc;
mod error;
mod header;
mod merge;
mod murmur2;
pub mod protocol;
mod record;
mod records;
mod retain;
mod varint;

pub use batch::RecordBatch;
pub use builder::BatchBuilder;
pub use bytes::{Bytes, BytesMut};
pub use compression::Compression;
pub use error::BatchError;
pub use header::{BATCH_HEADER_BYTES, BatchHeader, Producer};
pub use merge::{Merger, merge};
pub use murmur2::{murmur2, partition_for_key};
pub use record::{Header, HeaderViews, Record, RecordView};
pub use records::{RecordViews, Records, RecordsBytes};
