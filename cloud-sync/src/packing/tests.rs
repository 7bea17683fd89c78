//! Packing: nothing is lost, nothing comes twice, order and contents stay.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use edge_site::{Compression, Header, Mend, Record, RecordBatch, TopicId, TopicPartition};
use kafka_wire::{BatchBuilder, Merger};

use super::{Packing, pack};
use crate::forwarder::types::{Chunk, Packed, ReadRequest};

fn record(offset: i64, value_bytes: usize) -> Record {
    Record {
        timestamp_ms: 1_000 + offset,
        key: Some(offset.to_string().into()),
        value: Some(vec![b'a' + (offset % 26) as u8; value_bytes].into()),
        headers: vec![
            Header {
                key: "h".into(),
                value: Some("1".into()),
            },
            Header {
                key: "h".into(),
                value: None,
            },
        ],
    }
}

/// Batches of these sizes, one after the other from offset `first`.
fn stored(first: i64, sizes: &[i64], value_bytes: usize) -> Vec<RecordBatch> {
    let mut next = first;
    let mut batches = Vec::new();
    for size in sizes {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        (next..next + size).for_each(|offset| builder.push(&record(offset, value_bytes)));
        batches.push(builder.build(next, 0));
        next += size;
    }
    batches
}

fn request(from: i64) -> ReadRequest {
    ReadRequest {
        number: 1,
        tp: TopicPartition {
            topic: TopicId::from_u128(1),
            partition: 3,
        },
        from,
        bytes_max: 1 << 20,
        chunk_bytes_max: 64 << 10,
        batch_bytes_max: 1 << 20,
        taken_bytes_max: 1 << 20,
        chunk_records_max: u32::MAX,
        decode_before: 0,
        skip: Arc::default(),
    }
}

fn run(batches: &[RecordBatch], request: &ReadRequest) -> Packed {
    let packing = Packing {
        compression: Compression::Zstd,
        source: None,
        mends: Arc::default(),
    };
    let mut merger = Merger::new(Compression::Zstd);
    pack(batches, request, &packing, &mut merger)
}

/// Every record comes out once, whole and where its run says; chunks are contiguous.
fn check(packed: &Packed, from: i64, next: i64, left_out: &[i64], value_bytes: usize) {
    let mut pos = from;
    let mut found = Vec::new();
    for chunk in &packed.chunks {
        assert_eq!(chunk.from, pos);
        pos = chunk.next;
        let Some(batch) = &chunk.batch else { continue };
        RecordBatch::parse(batch.clone().with_base_offset(0, -1).into_bytes()).unwrap();
        for (index, item) in batch.records(1 << 24).unwrap().enumerate() {
            let offset = chunk.offset_of(index as u32).unwrap();
            assert_eq!(item.unwrap().1, record(offset, value_bytes));
            found.push(offset);
        }
    }
    assert_eq!(pos, next);
    let wanted: Vec<i64> = (from..next).filter(|at| !left_out.contains(at)).collect();
    assert_eq!(found, wanted);
}

#[test]
fn small_neighbours_become_one_batch() {
    let packed = run(&stored(10, &[1, 2, 1, 1, 2, 1], 50), &request(10));
    assert_eq!(packed.chunks.len(), 1);
    assert_eq!(packed.chunks[0].runs, [(10, 8)]);
    check(&packed, 10, 18, &[], 50);
}

#[test]
fn a_large_batch_passes_as_it_is() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for offset in 0..400 {
        let value: Vec<u8> = (0..400).map(|_| random.u8(..)).collect();
        builder.push(&Record {
            value: Some(value.into()),
            ..record(offset, 0)
        });
    }
    let large = builder.build(0, 0);
    let packed = run(std::slice::from_ref(&large), &request(0));
    let sent = packed.chunks[0].batch.clone().unwrap();
    assert_eq!(
        sent.bytes().as_ptr(),
        large.bytes().as_ptr(),
        "not even copied"
    );
}

#[test]
fn a_read_that_begins_inside_a_batch_sends_only_what_is_left_of_it() {
    let batches = stored(0, &[5, 5], 20);
    check(&run(&batches, &request(3)), 3, 10, &[], 20);
}

#[test]
fn what_is_in_the_dead_letters_is_left_out() {
    let mut request = request(0);
    request.skip = Arc::new([2, 3, 7].into());
    check(
        &run(&stored(0, &[4, 4, 2], 20), &request),
        0,
        10,
        &[2, 3, 7],
        20,
    );
    request.skip = Arc::new((0..10).collect());
    let packed = run(&stored(0, &[4, 4, 2], 20), &request);
    assert!(packed.chunks.iter().all(|chunk| chunk.batch.is_none()));
    assert_eq!(packed.chunks.last().unwrap().next, 10);
}

#[test]
fn no_batch_is_larger_than_central_takes() {
    let mut request = request(0);
    request.batch_bytes_max = 2_000;
    request.taken_bytes_max = 2_000;
    request.chunk_bytes_max = 2_000;
    let packed = run(&stored(0, &[40, 1, 1, 60], 300), &request);
    for chunk in &packed.chunks {
        assert!(chunk.bytes() <= 2_000, "{}", chunk.bytes());
    }
    check(&packed, 0, 102, &[], 300);
}

#[test]
fn halving_goes_down_to_single_records() {
    let mut request = request(0);
    for records_max in [1, 3] {
        request.chunk_records_max = records_max;
        let packed = run(&stored(0, &[7, 1, 2], 20), &request);
        assert!(
            packed
                .chunks
                .iter()
                .all(|chunk| chunk.records() <= records_max)
        );
        check(&packed, 0, 10, &[], 20);
    }
}

#[test]
fn a_record_that_central_cannot_take_is_named_and_the_rest_goes_on() {
    let mut random = fastrand::Rng::with_seed(5);
    let noise: Vec<u8> = (0..5_000).map(|_| random.u8(..)).collect();
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&record(0, 20));
    builder.push(&Record {
        value: Some(noise.into()),
        ..record(1, 0)
    });
    builder.push(&record(2, 20));
    let mut request = request(0);
    request.batch_bytes_max = 1_000;
    request.taken_bytes_max = 1_000;
    request.chunk_bytes_max = 1_000;
    let packed = run(&[builder.build(0, 0)], &request);
    assert_eq!(
        packed
            .oversized
            .iter()
            .map(|(at, _)| *at)
            .collect::<Vec<_>>(),
        [1]
    );
    let ranges: Vec<_> = packed.chunks.iter().map(|c| (c.from, c.next)).collect();
    assert_eq!(
        ranges,
        [(0, 1), (1, 2), (2, 3)],
        "what is ahead can go without it"
    );
    check(&packed, 0, 3, &[1], 20);
}

#[test]
fn a_gap_in_offsets_is_covered_and_not_filled() {
    let mut batches = stored(0, &[3], 20);
    batches.extend(stored(1 << 32, &[2], 20));
    let packed = run(&batches, &request(0));
    let first = &packed.chunks[0];
    assert_eq!(first.runs, [(0, 3), (1 << 32, 2)]);
    assert_eq!(packed.chunks.last().unwrap().next, (1 << 32) + 2);
    assert_eq!(first.offset_of(3), Some(1 << 32));
}

#[test]
fn the_source_header_names_site_topic_partition_and_offset() {
    let packing = Packing {
        compression: Compression::None,
        source: Some("north/mqtt".into()),
        mends: Arc::default(),
    };
    let mut merger = Merger::new(Compression::None);
    let batches = stored(41, &[2], 5);
    let packed = pack(&batches, &request(41), &packing, &mut merger);
    let batch = packed.chunks[0].batch.clone().unwrap();
    let last = batch.records(1 << 20).unwrap().last().unwrap().unwrap().1;
    let header = last.headers.last().unwrap();
    assert_eq!(header.key, "edge-src");
    assert_eq!(header.value.as_deref(), Some(&b"north/mqtt/3/42"[..]));
}

/// Stamps of all packed records, with their offsets, and whether the clock is waited for.
fn stamps(batches: &[RecordBatch], mends: &[Mend]) -> (Vec<(i64, i64)>, bool) {
    let packing = Packing {
        compression: Compression::Zstd,
        source: None,
        mends: mends.into(),
    };
    let mut merger = Merger::new(Compression::Zstd);
    let packed = pack(batches, &request(0), &packing, &mut merger);
    let mut found = Vec::new();
    for chunk in &packed.chunks {
        let batch = chunk.batch.clone().unwrap();
        for (index, item) in batch.records(1 << 24).unwrap().enumerate() {
            let offset = chunk.offset_of(index as u32).unwrap();
            found.push((offset, item.unwrap().1.timestamp_ms));
        }
    }
    (found, packed.waits_for_clock)
}

const MEND: Mend = Mend {
    from: 2,
    to: 5,
    stamped_from_ms: 1_000,
    stamped_to_ms: 1_003,
    add_ms: Some(5_000_000),
};

#[test]
fn stamps_of_a_wrong_clock_are_mended_and_no_others() {
    let (found, waits) = stamps(&stored(0, &[2, 2, 3], 20), &[MEND]);
    let expected: Vec<_> = (0..7)
        .map(|n| (n, 1_000 + n + if n == 2 || n == 3 { 5_000_000 } else { 0 }))
        .collect();
    assert_eq!(found, expected, "4 was stamped by somebody else's clock");
    assert!(!waits);
}

#[test]
fn what_cannot_be_mended_yet_is_told_and_stays_as_it_is() {
    let unknown = Mend {
        add_ms: None,
        ..MEND
    };
    let (found, waits) = stamps(&stored(0, &[2, 2, 3], 20), &[unknown]);
    assert_eq!(found[2], (2, 1_002));
    assert!(waits);
    let (_, waits) = stamps(&stored(0, &[2], 20), &[unknown]);
    assert!(!waits, "these are right");
}

#[test]
fn batches_that_need_no_mending_pass_as_they_are() {
    let large = stored(0, &[4000], 200);
    let later = Mend {
        from: 4000,
        to: i64::MAX,
        ..MEND
    };
    let packing = Packing {
        compression: Compression::Zstd,
        source: None,
        mends: [later].into(),
    };
    let mut merger = Merger::new(Compression::Zstd);
    let packed = pack(&large, &request(0), &packing, &mut merger);
    let sent = packed.chunks[0].batch.clone().unwrap();
    assert_eq!(sent.bytes()[61..], large[0].bytes()[61..]);
}

/// A batch whose checksum is right and whose records end in garbage after `good` of them.
pub(crate) fn damaged(first: i64, count: i64, good: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for offset in first..first + count {
        let key = Some("k".into());
        builder.push(&Record {
            key,
            ..record(offset, 20)
        });
    }
    let mut bytes = builder.build(first, 0).bytes().to_vec();
    let record_bytes = (bytes.len() - 61) / count as usize;
    bytes[61 + good * record_bytes..].fill(0xff);
    checksummed(bytes)
}

fn checksummed(mut bytes: Vec<u8>) -> RecordBatch {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    RecordBatch::parse(bytes.into()).unwrap()
}

#[test]
fn what_cannot_be_decoded_goes_as_it_is_while_nothing_must_be_changed() {
    let batches = [
        stored(0, &[2], 20),
        vec![damaged(2, 5, 2)],
        stored(7, &[3], 20),
    ]
    .concat();
    let packed = run(&batches, &request(0));
    assert_eq!(packed.unreadable, []);
    let ends: Vec<_> = packed
        .chunks
        .iter()
        .map(|c| (c.next, c.records()))
        .collect();
    assert_eq!(
        ends,
        [(2, 2), (7, 5), (10, 3)],
        "central judges it, not its neighbours"
    );
}

/// Central failed at it twice: what is wrong is found out here.
#[test]
fn what_central_failed_at_is_decoded_and_its_good_records_go() {
    let batches = [vec![damaged(0, 5, 2)], stored(5, &[3], 20)].concat();
    let request = ReadRequest {
        decode_before: 5,
        ..request(0)
    };
    let packed = run(&batches, &request);
    let chunks = packed.chunks.iter();
    let chunks: Vec<_> = chunks
        .map(|c| (c.next, c.records(), c.unreadable))
        .collect();
    assert_eq!(chunks, [(2, 2, 0), (5, 0, 3), (8, 3, 0)]);
}

#[test]
fn where_it_must_be_changed_its_good_records_go_and_the_rest_is_told() {
    let batches = [
        stored(0, &[2], 20),
        vec![damaged(2, 5, 2)],
        stored(7, &[3], 20),
    ]
    .concat();
    let cut = ReadRequest {
        chunk_records_max: 4,
        ..request(0)
    };
    let packed = run(&batches, &cut);
    let chunks = packed.chunks.iter();
    let chunks: Vec<_> = chunks
        .map(|c| (c.next, c.records(), c.unreadable))
        .collect();
    assert_eq!(chunks, [(2, 2, 0), (4, 2, 0), (7, 0, 3), (10, 3, 0)]);
    let range = &packed.unreadable[0];
    assert_eq!((range.from, range.next), (4, 7));
    assert!(!range.reason.is_empty());
}

#[test]
fn a_batch_that_cannot_be_decompressed_is_left_out_whole() {
    let mut bytes = damaged(3, 5, 5).bytes().to_vec();
    bytes[22] |= 1; // says gzip, and is not
    let batch = checksummed(bytes);
    let cut = ReadRequest {
        chunk_records_max: 4,
        skip: Arc::new([4].into()),
        ..request(3)
    };
    let packed = run(&[batch], &cut);
    assert_eq!(packed.chunks.len(), 1);
    assert_eq!(
        packed.chunks[0].unreadable, 4,
        "one of them is a dead letter already"
    );
}

/// With `compression = "none"` half a megabyte on the disk became a hundred in memory at once.
#[test]
fn a_read_is_packed_no_further_than_two_batches() {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    let zeros = |offset| Record {
        value: Some(vec![0; 50_000].into()),
        ..record(offset, 0)
    };
    let mut batch = |from: i64, count: i64| {
        (from..from + count).for_each(|offset| builder.push(&zeros(offset)));
        builder.build(from, 0)
    };
    let small: Vec<_> = (0..200).map(|offset| batch(offset, 1)).collect();
    let large = vec![batch(0, 200)];
    let packing = Packing {
        compression: Compression::None,
        source: None,
        mends: Arc::default(),
    };
    let mut merger = Merger::new(Compression::None);
    for (batches, decode_before) in [(small, 0), (large, 1)] {
        let mut pos = 0;
        while pos < 200 {
            let request = ReadRequest {
                decode_before,
                ..request(pos)
            };
            let packed = pack(&batches, &request, &packing, &mut merger);
            let bytes: usize = packed.chunks.iter().map(Chunk::bytes).sum();
            assert!(bytes < 400_000, "{bytes} bytes at once");
            assert!(
                packed
                    .chunks
                    .iter()
                    .all(|c| i64::from(c.records()) == c.next - c.from)
            );
            assert_eq!(packed.chunks[0].from, pos);
            pos = packed.chunks.last().unwrap().next;
        }
    }
}
