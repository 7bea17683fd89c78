//! What goes in comes out, also by another library's reader; buffers are reused.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

use super::*;
use crate::Header;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn build(codec: Compression, records: &[Record]) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    records.iter().for_each(|record| builder.push(record));
    assert_eq!(builder.len(), records.len());
    builder.build(5, 1)
}

fn read(batch: &RecordBatch) -> Vec<Record> {
    let records = batch.records(1 << 20).unwrap().map(Result::unwrap);
    let with_offsets: Vec<_> = records.collect();
    assert!(
        with_offsets
            .iter()
            .map(|(offset, _)| *offset)
            .eq(5..5 + with_offsets.len() as i64)
    );
    with_offsets.into_iter().map(|(_, record)| record).collect()
}

fn field() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..80).prop_map(Bytes::from))
}

fn text() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(97_u8..102, 0..3).prop_map(Bytes::from)
}

fn record() -> impl Strategy<Value = Record> {
    let header = (text(), field()).prop_map(|(key, value)| Header { key, value });
    let headers = proptest::collection::vec(header, 0..6);
    (any::<i64>(), field(), field(), headers).prop_map(|(timestamp_ms, key, value, headers)| {
        Record {
            timestamp_ms,
            key,
            value,
            headers,
        }
    })
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    proptest::collection::vec(record(), 1..40)
}

fn their_codec(codec: Compression) -> TheirCompression {
    match codec {
        Compression::None => TheirCompression::None,
        Compression::Gzip => TheirCompression::Gzip,
        Compression::Snappy => TheirCompression::Snappy,
        Compression::Lz4 => TheirCompression::Lz4,
        Compression::Zstd => TheirCompression::Zstd,
    }
}

/// Their record; headers as they keep them: one per key, the last value wins.
fn theirs(at: usize, record: &Record) -> TheirRecord {
    let mut headers = IndexMap::new();
    for header in &record.headers {
        let key = StrBytes::from_utf8(header.key.clone()).unwrap();
        headers.insert(key, header.value.clone());
    }
    TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 5 + at as i64,
        sequence: -1 + at as i32,
        timestamp: record.timestamp_ms,
        key: record.key.clone(),
        value: record.value.clone(),
        headers,
    }
}

/// The record without what the other library cannot hold: duplicate header keys, and timestamps
/// so far apart that their difference overflows.
fn as_they_can(mut record: Record) -> Record {
    record.timestamp_ms >>= 8;
    let mut seen = HashSet::new();
    record
        .headers
        .retain(|header| seen.insert(header.key.clone()));
    record
}

#[test]
fn duplicate_headers_and_nulls_come_back_as_they_were() {
    let header = |key: &str, value: Option<&str>| Header {
        key: bytes(key),
        value: value.map(bytes),
    };
    let all = [
        Record {
            timestamp_ms: -1,
            key: None,
            value: None,
            headers: vec![
                header("a", Some("1")),
                header("b", None),
                header("a", Some("2")),
                header("", Some("")),
                header("a", Some("1")),
            ],
        },
        Record {
            key: Some(Bytes::new()),
            value: Some(Bytes::new()),
            ..Record::default()
        },
        Record {
            timestamp_ms: i64::MAX,
            value: Some(bytes("v")),
            ..Record::default()
        },
        Record {
            timestamp_ms: i64::MIN,
            key: Some(bytes("k")),
            ..Record::default()
        },
    ];
    for codec in Compression::ALL {
        assert_eq!(read(&build(codec, &all)), all, "{codec}");
    }
}

#[test]
fn a_batch_that_does_not_shrink_stays_uncompressed() {
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(4000)
        .collect();
    let record = Record {
        value: Some(noise.into()),
        ..Record::default()
    };
    for codec in Compression::ALL {
        assert_eq!(
            build(codec, std::slice::from_ref(&record)).compression(),
            Compression::None,
            "{codec}"
        );
    }
    let calm = Record {
        value: Some(vec![b'x'; 4000].into()),
        ..Record::default()
    };
    for codec in Compression::ALL {
        assert_eq!(
            build(codec, std::slice::from_ref(&calm)).compression(),
            codec
        );
    }
}

#[test]
fn the_estimate_is_exact_without_compression() {
    let mut builder = BatchBuilder::new(Compression::None);
    let record = Record {
        value: Some(bytes("twenty-two degrees")),
        ..Record::default()
    };
    for _ in 0..300 {
        builder.push(&record);
    }
    let estimate = builder.bytes_estimate();
    assert_eq!(builder.build(0, 0).bytes().len(), estimate);
}

#[test]
fn a_builder_starts_afresh_after_each_batch() {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    let at = |timestamp_ms| Record {
        timestamp_ms,
        ..Record::default()
    };
    builder.push(&at(900));
    let _ = builder.build(0, 0);
    assert!(builder.is_empty());
    builder.push(&at(5));
    builder.push(&at(3));
    let header = builder.build(1, 0).header();
    assert_eq!((header.base_timestamp_ms, header.max_timestamp_ms), (5, 5));
    assert_eq!(header.record_count, 2);
}

#[test]
fn views_show_the_same_as_records() {
    let record = Record {
        timestamp_ms: 9,
        key: Some(bytes("k")),
        value: None,
        headers: vec![Header {
            key: bytes("h"),
            value: Some(bytes("v")),
        }],
    };
    let plain = build(Compression::None, std::slice::from_ref(&record))
        .decompress(100)
        .unwrap();
    let view = plain.views().next().unwrap().unwrap();
    assert_eq!((view.offset, view.timestamp_ms, view.value), (5, 9, None));
    assert_eq!(view.key, Some(&b"k"[..]));
    assert!(view.headers().eq([(&b"h"[..], Some(&b"v"[..]))]));
}

proptest! {
    #[test]
    fn any_records_come_back(records in records(), codec in 0_usize..5) {
        prop_assert_eq!(read(&build(Compression::ALL[codec], &records)), records);
    }

    #[test]
    fn another_library_reads_what_we_build(records in records(), codec in 0_usize..5) {
        let records: Vec<_> = records.into_iter().map(as_they_can).collect();
        let ours = build(Compression::ALL[codec], &records);
        let read = RecordBatchDecoder::decode(&mut ours.into_bytes()).unwrap().records;
        let expected: Vec<_> = records.iter().enumerate().map(|(at, r)| theirs(at, r)).collect();
        prop_assert_eq!(read.len(), expected.len());
        for (read, expected) in read.iter().zip(&expected) {
            prop_assert_eq!((read.offset, read.timestamp), (expected.offset, expected.timestamp));
            prop_assert_eq!((&read.key, &read.value), (&expected.key, &expected.value));
            prop_assert_eq!(&read.headers, &expected.headers);
        }
    }

    #[test]
    fn we_read_what_another_library_builds(records in records(), codec in 0_usize..5) {
        let records: Vec<_> = records.into_iter().map(as_they_can).collect();
        let list: Vec<_> = records.iter().enumerate().map(|(at, r)| theirs(at, r)).collect();
        let compression = their_codec(Compression::ALL[codec]);
        let options = RecordEncodeOptions { version: 2, compression };
        let mut bytes = bytes::BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &list, &options).unwrap();
        let ours = RecordBatch::parse(bytes.freeze()).unwrap();
        prop_assert_eq!(ours.compression(), Compression::ALL[codec]);
        prop_assert_eq!(read(&ours), records);
    }
}
