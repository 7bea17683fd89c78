//! What is kept is untouched, what is not is gone, and the batch says where it began and ended.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::header::{LOG_APPEND_TIME_BIT, MAX_TIMESTAMP_AT};
use crate::{BatchBuilder, Header, Producer, Record};

const CAP: usize = 1 << 20;

fn record(at: i64, value_bytes: usize) -> Record {
    Record {
        // Not rising, so that the largest is anywhere.
        timestamp_ms: 1_700_000_000_000 + (at * 7919) % 5000 - 2500,
        key: (at % 3 > 0).then(|| Bytes::from(format!("sensor-{}", at % 7))),
        value: (at % 5 > 0).then(|| vec![b'a' + (at % 26) as u8; value_bytes].into()),
        headers: vec![Header {
            key: Bytes::from_static(b"mqtt"),
            value: (at % 2 > 0).then(|| Bytes::from(at.to_string())),
        }],
    }
}

fn batch(count: usize, value_bytes: usize, codec: Compression) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    (0..count as i64).for_each(|at| builder.push(&record(at, value_bytes)));
    builder.build(1000, 4).with_producer(77, 3, 40)
}

fn records(batch: &RecordBatch) -> Vec<(i64, Record)> {
    batch.records(CAP).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_batch_of_which_all_is_kept_is_the_same_bytes() {
    let whole = batch(9, 50, Compression::Lz4);
    let kept = whole.retain(CAP, |_| true).unwrap().unwrap();
    assert_eq!(kept.bytes().as_ptr(), whole.bytes().as_ptr());
}

#[test]
fn a_batch_of_which_nothing_is_kept_is_gone() {
    assert_eq!(
        batch(9, 50, Compression::Lz4).retain(CAP, |_| false),
        Ok(None)
    );
}

#[test]
fn a_batch_that_was_thinned_out_can_be_thinned_out_again() {
    let whole = batch(20, 50, Compression::Zstd);
    let once = whole
        .retain(CAP, |view| view.offset % 2 == 0)
        .unwrap()
        .unwrap();
    let twice = once
        .retain(CAP, |view| view.offset > 1010)
        .unwrap()
        .unwrap();
    let offsets: Vec<i64> = records(&twice).iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [1012, 1014, 1016, 1018]);
    assert_eq!((twice.base_offset(), twice.next_offset()), (1000, 1020));
}

#[test]
fn a_log_append_time_stays_the_time_of_all_records() {
    let mut bytes = batch(4, 50, Compression::None).bytes().to_vec();
    let attributes = LOG_APPEND_TIME_BIT.to_be_bytes();
    put(&mut bytes, ATTRIBUTES_AT, &attributes);
    put(&mut bytes, MAX_TIMESTAMP_AT, &5000_i64.to_be_bytes());
    let stamped = RecordBatch::parse_stored(bytes.into()).unwrap();
    let kept = stamped
        .retain(CAP, |view| view.offset == 1001)
        .unwrap()
        .unwrap();
    assert_eq!(kept.max_timestamp_ms(), 5000);
    assert_eq!(records(&kept)[0].1.timestamp_ms, 5000);
}

#[test]
fn a_batch_that_cannot_be_read_is_an_error_and_never_unpacks_beyond_the_cap() {
    let bomb = batch(30, 3000, Compression::Zstd);
    let refused = bomb.retain(10_000, |_| true);
    assert!(
        matches!(refused, Err(BatchError::TooLarge { .. })),
        "{refused:?}"
    );
    let mut bytes = batch(3, 10, Compression::None).bytes().to_vec();
    put(&mut bytes, BATCH_HEADER_BYTES, &[0xff, 0xff]);
    let damaged = RecordBatch::parse_stored(bytes.into()).unwrap();
    assert!(damaged.retain(CAP, |_| true).is_err());
}

proptest! {
    #[test]
    fn any_choice_keeps_exactly_those_records_and_the_frame_around_them(
        count in 1_usize..60,
        value_bytes in 0_usize..200,
        codec in 0_usize..5,
        chosen in any::<u64>(),
    ) {
        let whole = batch(count, value_bytes, Compression::ALL[codec]);
        let is_kept = |offset: i64| chosen >> (offset - 1000) & 1 == 1;
        let model: Vec<_> = records(&whole).into_iter().filter(|(at, _)| is_kept(*at)).collect();
        let kept = whole.retain(CAP, |view| is_kept(view.offset)).unwrap();
        let Some(kept) = kept else {
            prop_assert!(model.is_empty());
            return Ok(());
        };
        prop_assert_eq!(&records(&kept), &model);
        prop_assert!(kept.check_crc().is_ok());
        let (old, new) = (whole.header(), kept.header());
        prop_assert_eq!((new.base_offset, new.last_offset_delta),
            (old.base_offset, old.last_offset_delta));
        let producer = Producer { id: 77, epoch: 3, base_sequence: 40 };
        prop_assert_eq!((new.producer(), new.partition_leader_epoch), (producer, 4));
        let latest = model.iter().map(|(_, record)| record.timestamp_ms).max();
        prop_assert_eq!(Some(new.max_timestamp_ms), latest);
        let codec = kept.compression();
        prop_assert!(codec == whole.compression() || codec == Compression::None);
        let mut wire = kept.bytes().clone();
        prop_assert_eq!(RecordBatch::split_first(&mut wire), Ok(Some(kept)));
    }
}
