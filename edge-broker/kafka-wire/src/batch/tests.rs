//! What a batch accepts and refuses, and that setting a field changes that field alone.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::header::{BATCH_LENGTH_AT, LAST_OFFSET_DELTA_AT, MAGIC_AT};
use crate::{BatchBuilder, Header, Record};

fn record(at: i64) -> Record {
    Record {
        timestamp_ms: 1_700_000_000_000 + at,
        key: Some(Bytes::from(format!("key-{at}"))),
        value: Some(Bytes::from(format!("value-{at}"))),
        headers: vec![Header {
            key: Bytes::from_static(b"h"),
            value: None,
        }],
    }
}

fn batch(count: i64) -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    (0..count).for_each(|at| builder.push(&record(at)));
    builder.build(100, 7)
}

/// The batch's bytes with the field at `at` overwritten and, if asked, the checksum mended.
fn damaged(at: usize, field: &[u8], mend_crc: bool) -> Bytes {
    let mut bytes = batch(3).bytes().to_vec();
    put(&mut bytes, at, field);
    if mend_crc {
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
        put(&mut bytes, CRC_AT, &crc.to_be_bytes());
    }
    bytes.into()
}

#[test]
fn the_header_says_what_was_built() {
    let header = batch(3).header();
    assert_eq!(
        (
            header.base_offset,
            header.last_offset_delta,
            header.record_count
        ),
        (100, 2, 3)
    );
    assert_eq!(
        (
            header.partition_leader_epoch,
            header.magic,
            header.attributes
        ),
        (7, 2, 0)
    );
    assert_eq!(header.base_timestamp_ms, 1_700_000_000_000);
    assert_eq!(header.max_timestamp_ms, 1_700_000_000_002);
    assert_eq!(header.producer(), Producer::NONE);
    let batch = batch(3);
    assert_eq!(
        (
            batch.base_offset(),
            batch.last_offset(),
            batch.next_offset()
        ),
        (100, 102, 103)
    );
    assert_eq!(RecordBatch::parse(batch.bytes().clone()), Ok(batch));
}

#[test]
fn every_kind_of_damage_has_its_error() {
    let whole = batch(3).into_bytes();
    let length = whole.len();
    let parse = RecordBatch::parse;
    let cut = parse(whole.slice(..length - 1));
    assert_eq!(
        cut,
        Err(BatchError::Truncated {
            needed: length,
            available: length - 1
        })
    );
    let cut = parse(whole.slice(..60));
    assert_eq!(
        cut,
        Err(BatchError::Truncated {
            needed: 61,
            available: 60
        })
    );
    let longer = Bytes::from([&whole[..], &[0]].concat());
    assert_eq!(parse(longer), Err(BatchError::TrailingBytes(1)));
    assert_eq!(
        parse(damaged(MAGIC_AT, &[1], false)),
        Err(BatchError::Magic(1))
    );
    let negative = (-1_i32).to_be_bytes();
    assert_eq!(
        parse(damaged(BATCH_LENGTH_AT, &negative, false)),
        Err(BatchError::BatchLength(-1))
    );
    let crc = parse(damaged(length - 1, &[0xff], false));
    assert!(matches!(crc, Err(BatchError::Crc { .. })), "{crc:?}");
    let codec = parse(damaged(ATTRIBUTES_AT, &[0, 6], true));
    assert_eq!(codec, Err(BatchError::UnknownCompression(6)));
    let count = parse(damaged(RECORD_COUNT_AT, &4_i32.to_be_bytes(), true));
    assert_eq!(
        count,
        Err(BatchError::RecordCount {
            count: 4,
            last_offset_delta: 2
        })
    );
}

#[test]
fn missing_offsets_are_refused_from_a_producer_and_accepted_from_the_log() {
    let mut compacted = damaged(LAST_OFFSET_DELTA_AT, &9_i32.to_be_bytes(), true);
    assert!(matches!(
        RecordBatch::parse(compacted.clone()),
        Err(BatchError::RecordCount { .. })
    ));
    let stored = RecordBatch::parse_stored(compacted.clone()).unwrap();
    assert_eq!((stored.record_count(), stored.next_offset()), (3, 110));
    assert_eq!(RecordBatch::split_first(&mut compacted), Ok(Some(stored)));
}

#[test]
fn concatenated_batches_are_walked_and_a_cut_end_is_told() {
    let (first, second) = (batch(1), batch(2).with_base_offset(101, 7));
    let both = [&first.bytes()[..], second.bytes()].concat();
    let mut bytes = Bytes::from(both.clone());
    assert_eq!(
        RecordBatch::split_first(&mut bytes),
        Ok(Some(first.clone()))
    );
    assert_eq!(RecordBatch::split_first(&mut bytes), Ok(Some(second)));
    assert_eq!(RecordBatch::split_first(&mut bytes), Ok(None));
    let mut bytes = Bytes::from(both).slice(..first.bytes().len() + 70);
    assert_eq!(RecordBatch::split_first(&mut bytes), Ok(Some(first)));
    let before = bytes.clone();
    let cut = RecordBatch::split_first(&mut bytes);
    assert!(matches!(cut, Err(BatchError::Truncated { .. })), "{cut:?}");
    assert_eq!(bytes, before);
}

#[test]
fn setting_the_offset_leaves_other_holders_of_the_bytes_alone() {
    let original = batch(3);
    let moved = original.clone().with_base_offset(i64::MAX - 5, 9);
    assert_eq!(moved.header().crc, original.header().crc);
    assert_eq!(
        (moved.base_offset(), moved.last_offset()),
        (i64::MAX - 5, i64::MAX - 3)
    );
    assert_eq!(original.base_offset(), 100);
    assert!(RecordBatch::parse(moved.into_bytes()).is_ok());
    let alone = original.into_bytes();
    let address = alone.as_ptr();
    let moved = RecordBatch::parse_stored(alone)
        .unwrap()
        .with_base_offset(5, 0);
    assert_eq!(
        moved.bytes().as_ptr(),
        address,
        "bytes nobody else holds are not copied"
    );
}

#[test]
fn setting_the_producer_keeps_the_checksum_right_and_rot_visible() {
    let stamped = batch(300).with_producer(77, 3, 4000);
    assert_eq!(
        stamped.header().producer(),
        Producer {
            id: 77,
            epoch: 3,
            base_sequence: 4000
        }
    );
    assert!(RecordBatch::parse(stamped.bytes().clone()).is_ok());
    let mut rotten = batch(300).into_bytes().to_vec();
    rotten[2000] ^= 1;
    let stamped = RecordBatch::parse_stored(rotten.into())
        .unwrap()
        .with_producer(77, 3, 4000);
    assert!(matches!(stamped.check_crc(), Err(BatchError::Crc { .. })));
}

#[test]
fn a_damaged_record_ends_the_iteration_with_one_error() {
    let mut bytes = batch(3).into_bytes().to_vec();
    let second_length_at = BATCH_HEADER_BYTES + 1 + usize::from(bytes[BATCH_HEADER_BYTES] >> 1);
    bytes[second_length_at] = 0x7e;
    let results: Vec<_> = RecordBatch::parse_stored(bytes.into())
        .unwrap()
        .records(usize::MAX)
        .unwrap()
        .collect();
    assert_eq!(results[0], Ok((100, record(0))));
    assert!(
        matches!(results[1..], [Err(BatchError::Record(_))]),
        "{results:?}"
    );
}

#[test]
fn a_record_count_below_the_records_is_told_as_trailing_bytes() {
    let bytes = damaged(RECORD_COUNT_AT, &2_i32.to_be_bytes(), false);
    let last = RecordBatch::parse_stored(bytes)
        .unwrap()
        .records(usize::MAX)
        .unwrap()
        .last();
    assert!(
        matches!(last, Some(Err(BatchError::TrailingBytes(_)))),
        "{last:?}"
    );
}

#[test]
fn log_append_time_replaces_every_timestamp() {
    let bytes = damaged(ATTRIBUTES_AT, &[0, 0x08], true);
    let batch = RecordBatch::parse(bytes).unwrap();
    let max = batch.max_timestamp_ms();
    assert!(
        batch
            .records(usize::MAX)
            .unwrap()
            .all(|r| r.unwrap().1.timestamp_ms == max)
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = Bytes::from(bytes);
        let _ = RecordBatch::parse(bytes.clone());
        let _ = RecordBatch::split_first(&mut bytes);
    }

    /// The header is right, so that the bytes get as far as the records.
    #[test]
    fn arbitrary_records_never_panic(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        count in 0_i32..,
        attributes in 0_u8..0x40,
    ) {
        let mut bytes = batch(1).bytes()[..BATCH_HEADER_BYTES].to_vec();
        bytes.extend_from_slice(&payload);
        let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
        put(&mut bytes, BATCH_LENGTH_AT, &length.to_be_bytes());
        put(&mut bytes, LAST_OFFSET_DELTA_AT, &i32::MAX.to_be_bytes());
        put(&mut bytes, RECORD_COUNT_AT, &count.to_be_bytes());
        put(&mut bytes, ATTRIBUTES_AT, &[0, attributes]);
        if let Ok(batch) = RecordBatch::parse_stored(bytes.into())
            && let Ok(records) = batch.records(10_000)
        {
            prop_assert!(records.size_hint().0 == 0, "a claimed count reserves nothing");
            prop_assert!(records.count() <= payload.len() * 25 + 10_000);
        }
    }

    #[test]
    fn any_changed_byte_is_an_error_and_never_a_panic(
        at in any::<proptest::sample::Index>(),
        damage in 1_u8..,
    ) {
        let whole = batch(5).into_bytes();
        let at = at.index(whole.len());
        let mut bytes = whole.to_vec();
        bytes[at] ^= damage;
        let parsed = RecordBatch::parse(bytes.into());
        let outside_of_crc = at < BATCH_LENGTH_AT || (LEADER_EPOCH_AT..MAGIC_AT).contains(&at);
        prop_assert_eq!(parsed.is_ok(), outside_of_crc);
    }
}
