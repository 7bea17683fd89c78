//! Merging changes how records are packed and nothing about them.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::header::{ATTRIBUTES_AT, LAST_OFFSET_DELTA_AT, put};
use crate::{Header, Record};

const CAP: usize = 1 << 20;

fn record(at: i64, value_bytes: usize) -> Record {
    Record {
        timestamp_ms: 1_700_000_000_000 + at * 250,
        key: (at % 3 > 0).then(|| Bytes::from(format!("sensor-{}", at % 7))),
        value: Some(vec![b'a' + (at % 26) as u8; value_bytes].into()),
        headers: vec![
            Header {
                key: Bytes::from_static(b"mqtt"),
                value: Some(Bytes::from(at.to_string())),
            },
            Header {
                key: Bytes::from_static(b"mqtt"),
                value: None,
            },
        ],
    }
}

/// Batches of the given record counts, offsets from 1,000 on.
fn batches(counts: &[usize], value_bytes: usize, codec: Compression) -> Vec<RecordBatch> {
    let mut builder = BatchBuilder::new(codec);
    let mut offset = 1000;
    let build = |count: &usize| {
        let base = offset;
        for _ in 0..*count {
            builder.push(&record(offset, value_bytes));
            offset += 1;
        }
        builder.build(base, 4)
    };
    counts.iter().map(build).collect()
}

fn with_field(batch: &RecordBatch, at: usize, field: &[u8]) -> RecordBatch {
    let mut bytes = batch.bytes().to_vec();
    put(&mut bytes, at, field);
    RecordBatch::parse_stored(bytes.into()).unwrap()
}

fn records(batches: &[RecordBatch]) -> Vec<(i64, Record)> {
    batches
        .iter()
        .flat_map(|batch| batch.records(CAP).unwrap())
        .map(Result::unwrap)
        .collect()
}

fn bases(batches: &[RecordBatch]) -> Vec<(i64, u32)> {
    batches
        .iter()
        .map(|batch| (batch.base_offset(), batch.record_count()))
        .collect()
}

#[test]
fn small_neighbours_become_one_batch_with_the_same_records() {
    let sources = batches(&[1, 2, 1, 1, 2], 50, Compression::None);
    let merged = merge(&sources, Compression::Zstd, CAP, CAP);
    assert_eq!(bases(&merged), [(1000, 7)]);
    assert_eq!(merged[0].compression(), Compression::Zstd);
    assert_eq!(records(&merged), records(&sources));
    assert!(RecordBatch::parse(merged[0].bytes().clone()).is_ok());
}

#[test]
fn a_large_batch_passes_unchanged_between_its_neighbours() {
    let mut sources = batches(&[1, 1, 900, 1, 1], 400, Compression::None);
    sources[2] = {
        let mut noisy = BatchBuilder::new(Compression::None);
        (0..900).for_each(|at| noisy.push(&record(1002 + at, 400)));
        noisy.build(1002, 4)
    };
    let merged = merge(&sources, Compression::None, CAP, CAP);
    assert_eq!(bases(&merged), [(1000, 2), (1002, 900), (1902, 2)]);
    assert_eq!(
        merged[1].bytes().as_ptr(),
        sources[2].bytes().as_ptr(),
        "not even copied"
    );
    assert_eq!(records(&merged), records(&sources));
}

#[test]
fn a_large_uncompressed_batch_is_compressed_for_the_link() {
    let sources = batches(&[900], 400, Compression::None);
    let merged = merge(&sources, Compression::Zstd, CAP, CAP);
    assert_eq!(merged[0].compression(), Compression::Zstd);
    assert_eq!(records(&merged), records(&sources));
}

#[test]
fn outputs_keep_to_the_limit_and_do_not_divide_a_source() {
    let sources = batches(&[2; 100], 300, Compression::None);
    let bytes_max = 5000;
    let merged = merge(&sources, Compression::None, bytes_max, CAP);
    assert!(merged.iter().all(|batch| batch.bytes().len() <= bytes_max));
    let full = &merged[..merged.len() - 1];
    assert!(
        full.iter()
            .all(|batch| batch.bytes().len() > bytes_max * 3 / 4)
    );
    assert!(bases(&merged).iter().all(|(base, _)| base % 2 == 0));
    assert_eq!(records(&merged), records(&sources));
}

#[test]
fn a_source_above_the_limit_goes_alone() {
    let sources = batches(&[1, 40, 1], 300, Compression::Zstd);
    let merged = merge(&sources, Compression::Zstd, 4000, CAP);
    assert_eq!(bases(&merged), [(1000, 1), (1001, 40), (1041, 1)]);
    assert_eq!(records(&merged), records(&sources));
}

#[test]
fn a_source_that_cannot_be_read_passes_for_central_to_judge() {
    let sources = batches(&[1, 1, 1, 1], 50, Compression::None);
    let mut damaged = sources.clone();
    damaged[2] = with_field(&sources[2], BATCH_HEADER_BYTES, &[0xff, 0xff]);
    let merged = merge(&damaged, Compression::None, CAP, CAP);
    assert_eq!(bases(&merged), [(1000, 2), (1002, 1), (1003, 1)]);
    assert_eq!(merged[1], damaged[2]);

    let bomb = batches(&[1, 30, 1], 2000, Compression::Zstd);
    let merged = merge(&bomb, Compression::Zstd, CAP, 10_000);
    assert_eq!(bases(&merged), [(1000, 1), (1001, 30), (1031, 1)]);
}

#[test]
fn gaps_and_log_append_time_are_written_as_a_producer_may_send_them() {
    let sources = batches(&[3], 50, Compression::Zstd);
    let compacted = with_field(&sources[0], LAST_OFFSET_DELTA_AT, &9_i32.to_be_bytes());
    let merged = merge(&[compacted], Compression::Zstd, CAP, CAP);
    assert!(
        RecordBatch::parse(merged[0].bytes().clone()).is_ok(),
        "as many records as offsets"
    );

    let attributes = sources[0].header().attributes | 0x08;
    let stamped = with_field(&sources[0], ATTRIBUTES_AT, &attributes.to_be_bytes());
    let merged = merge(&[stamped], Compression::Zstd, CAP, CAP);
    assert!(!merged[0].header().is_log_append_time());
    let last = sources[0].max_timestamp_ms();
    assert!(
        records(&merged)
            .iter()
            .all(|(_, record)| record.timestamp_ms == last)
    );
}

#[test]
fn nothing_merges_to_nothing() {
    assert_eq!(merge(&[], Compression::Zstd, CAP, CAP), []);
}

#[test]
fn a_merger_used_again_remembers_nothing() {
    let mut merger = Merger::new(Compression::Lz4);
    let sources = batches(&[1, 1, 2], 50, Compression::Lz4);
    let first = merger.merge(&sources, CAP, CAP);
    assert_eq!(merger.merge(&sources, CAP, CAP), first);
}

proptest! {
    #[test]
    fn any_sources_keep_every_record_in_order(
        counts in proptest::collection::vec(1_usize..20, 1..30),
        value_bytes in 0_usize..300,
        from in 0_usize..5,
        to in 0_usize..5,
        bytes_max in 100_usize..20_000,
    ) {
        let sources = batches(&counts, value_bytes, Compression::ALL[from]);
        let merged = merge(&sources, Compression::ALL[to], bytes_max, CAP);
        prop_assert_eq!(records(&merged), records(&sources));
        prop_assert!(merged.len() <= sources.len());
        prop_assert!(merged.iter().all(|batch| RecordBatch::parse(batch.bytes().clone()).is_ok()));
    }
}
