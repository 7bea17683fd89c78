//! Batches as a producer sends them, then what happens to them on the way.

use bytes::Bytes;
use kafka_wire::protocol::ErrorCode;
use kafka_wire::{BatchBuilder, Compression, Record, RecordBatch};

use super::{Appended, Partition};
use crate::demo::book::{Sighting, payload};

const NOW_MS: i64 = 1_800_000_000_000;

/// A batch of `count` records without a producer.
fn batch(count: u32, compression: Compression) -> RecordBatch {
    let mut builder = BatchBuilder::new(compression);
    for n in 0..count {
        builder.push(&Record {
            timestamp_ms: NOW_MS,
            value: Some(payload(0, n, u64::from(n) + 1).into()),
            ..Record::default()
        });
    }
    builder.build(0, -1)
}

/// The same from producer 7.
fn sent(count: u32, epoch: i16, sequence: i32) -> Bytes {
    let batch = batch(count, Compression::None);
    batch.with_producer(7, epoch, sequence).bytes().clone()
}

/// What a partition answers to batches, one after the other.
fn answers(batches: &[Bytes]) -> Vec<Result<Appended, ErrorCode>> {
    let mut partition = Partition::default();
    let append = |bytes: &Bytes| partition.append(bytes.clone(), NOW_MS);
    batches.iter().map(append).collect()
}

use Appended::{Again, New};

#[test]
fn every_codec_is_read_and_every_record_is_seen() {
    for compression in Compression::ALL {
        let mut partition = Partition::default();
        let bytes = batch(100, compression).bytes().clone();
        assert_eq!(partition.append(bytes, NOW_MS), Ok(New(0)), "{compression}");
        assert_eq!(partition.records.len(), 100);
        assert_eq!(partition.records[41], Sighting::of(&payload(0, 41, 42)));
    }
}

#[test]
fn sequences_follow_each_other() {
    assert_eq!(
        answers(&[sent(3, 0, 0), sent(2, 0, 3), sent(1, 0, 5)]),
        [Ok(New(0)), Ok(New(3)), Ok(New(5))]
    );
}

#[test]
fn a_batch_sent_again_is_not_appended_again() {
    let batches = [sent(3, 0, 0), sent(2, 0, 3), sent(3, 0, 0), sent(2, 0, 3)];
    assert_eq!(
        answers(&batches),
        [Ok(New(0)), Ok(New(3)), Ok(Again(0)), Ok(Again(3))]
    );
}

#[test]
fn the_sixth_last_batch_is_a_duplicate_without_an_offset() {
    let mut batches: Vec<Bytes> = (0..6).map(|n| sent(1, 0, n)).collect();
    batches.push(sent(1, 0, 0));
    assert_eq!(
        answers(&batches)[6],
        Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER)
    );
}

#[test]
fn a_gap_is_out_of_order() {
    let answers = answers(&[sent(3, 0, 0), sent(1, 0, 4)]);
    assert_eq!(answers[1], Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER));
}

#[test]
fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
    let batches = [sent(3, 0, 0), sent(1, 1, 3), sent(1, 1, 0), sent(1, 0, 3)];
    assert_eq!(
        answers(&batches),
        [
            Ok(New(0)),
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            Ok(New(3)),
            Err(ErrorCode::INVALID_PRODUCER_EPOCH),
        ]
    );
}

#[test]
fn sequences_wrap_to_zero() {
    let batches = [sent(2, 0, i32::MAX - 1), sent(2, 0, 0)];
    assert_eq!(answers(&batches), [Ok(New(0)), Ok(New(2))]);
}

#[test]
fn a_flipped_bit_is_a_corrupt_message() {
    let mut bytes = batch(3, Compression::Zstd).bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(answers(&[bytes.into()]), [Err(ErrorCode::CORRUPT_MESSAGE)]);
}

#[test]
fn two_batches_in_one_request_are_refused() {
    let batch = batch(1, Compression::None);
    let bytes = [batch.bytes().clone(), batch.bytes().clone()].concat();
    assert_eq!(answers(&[bytes.into()]), [Err(ErrorCode::INVALID_RECORD)]);
}

#[test]
fn a_batch_over_the_limit_is_too_large() {
    let bytes = Bytes::from(vec![0; super::MESSAGE_BYTES_MAX + 1]);
    assert_eq!(answers(&[bytes]), [Err(ErrorCode::MESSAGE_TOO_LARGE)]);
}

#[test]
fn a_record_from_the_future_is_refused() {
    let mut partition = Partition::default();
    let bytes = batch(1, Compression::None).bytes().clone();
    let yesterday_ms = NOW_MS - 86_400_000;
    assert_eq!(
        partition.append(bytes, yesterday_ms),
        Err(ErrorCode::INVALID_TIMESTAMP)
    );
}
