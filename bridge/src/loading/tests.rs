//! What cannot be read hides nothing else, and comes back when it can.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;

use bytes::Bytes;
use edge_site::{Compression, Record, TopicId};
use kafka_wire::BatchBuilder;

use super::*;
use crate::retained::{Judgement, Moment};

/// Batches of these records, one after the other; a topic with a `-` is cleared.
fn log(batches: &[&[&'static str]]) -> Vec<RecordBatch> {
    let mut offset = 0;
    let batch = |names: &&[&'static str]| {
        let mut builder = BatchBuilder::new(Compression::None);
        for name in *names {
            let (topic, is_message) = match name.strip_prefix('-') {
                Some(topic) => (topic, false),
                None => (*name, true),
            };
            builder.push(&Record {
                key: Some(Bytes::from_static(topic.as_bytes())),
                value: is_message.then(|| Bytes::from_static(b"x")),
                ..Default::default()
            });
        }
        let batch = builder.build(offset, 0);
        offset = batch.next_offset();
        batch
    };
    batches.iter().map(batch).collect()
}

/// Reads as the store does: what one of the batches has that it would bring fails it.
fn read(
    log: &[RecordBatch],
    bad: impl Fn(&RecordBatch) -> bool,
    at: i64,
    bytes_max: usize,
) -> Result<Vec<RecordBatch>, ReadError> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for batch in log.iter().filter(|batch| batch.next_offset() > at) {
        bytes += batch.bytes().len();
        if bytes > bytes_max && !found.is_empty() {
            break;
        }
        if bad(batch) {
            return Err(ReadError::Storage("damaged".to_owned()));
        }
        found.push(batch.clone());
    }
    Ok(found)
}

fn index() -> RetainedIndex {
    let mut index = RetainedIndex::default();
    index.follow(TopicId::from_u128(1));
    index
}

fn walked(log: &[RecordBatch], bad: impl Fn(&RecordBatch) -> bool) -> RetainedIndex {
    let mut found = index();
    let end = log.last().unwrap().next_offset();
    let read = |at, bytes_max| std::future::ready(read(log, &bad, at, bytes_max));
    let walk = walk_over(&read, 0..end, &mut found);
    assert_eq!(smol::block_on(walk).unwrap(), end);
    found
}

fn has(index: &RetainedIndex, topics: &[&str]) -> Vec<bool> {
    let find = |topic: &&str| index.find(topic.as_bytes(), Moment::MAX).is_some();
    topics.iter().map(find).collect()
}

#[test]
fn a_batch_that_cannot_be_read_hides_no_other() {
    let log = log(&[
        &["a"],
        &["b", "c", "d", "e", "f"],
        &["g"],
        &["h", "i"],
        &["j", "k"],
        &["l", "m"],
        &["n"],
    ]);
    let found = walked(&log, |batch| [1, 11].contains(&batch.base_offset()));
    assert_eq!(found.missing(), [1..6, 11..13]);
    let topics = ["a", "b", "f", "g", "k", "l", "m", "n"];
    let there = [true, false, false, true, true, false, false, true];
    assert_eq!(has(&found, &topics), there);
}

#[test]
fn an_end_that_cannot_be_read_is_missing_to_the_end() {
    let log = log(&[&["a"], &["b", "c"], &["d"]]);
    let found = walked(&log, |batch| batch.base_offset() > 0);
    assert_eq!(found.missing().first(), Some(&(1..4)));
    assert_eq!(has(&found, &["a", "d"]), [true, false]);
}

#[test]
fn what_was_cleared_behind_what_was_missing_does_not_come_back_with_it() {
    let log = log(&[&["a"], &["b", "c"], &["-b", "d"]]);
    let is_damaged = Cell::new(true);
    let bad = |batch: &RecordBatch| is_damaged.get() && batch.base_offset() == 1;
    let mut served = index();
    assert!(served.adopt(&walked(&log, bad), 5));
    assert_eq!(
        has(&served, &["a", "b", "c", "d"]),
        [true, false, false, true]
    );
    assert_eq!(served.missing().first(), Some(&(1..3)));
    // Meanwhile one is replaced: what is found again is older.
    served.apply(&Bytes::from_static(b"a"), 5, 100, true);
    is_damaged.set(false);
    let found = walked(&log, bad);
    assert!(!served.adopt(&found, 5), "the dispatcher has gone on");
    assert!(served.adopt(&found, 6));
    assert_eq!(
        has(&served, &["a", "b", "c", "d"]),
        [true, false, true, true]
    );
    assert_eq!(served.judge(&Bytes::from_static(b"a"), 5), Judgement::Live);
    assert!(served.missing().is_empty());
}

#[test]
fn what_was_cleared_where_nothing_could_be_read_goes_when_it_can() {
    let log = log(&[&["a", "b"], &["-a"], &["c"]]);
    let is_damaged = Cell::new(true);
    let bad = |batch: &RecordBatch| is_damaged.get() && batch.base_offset() == 2;
    let mut served = index();
    assert!(served.adopt(&walked(&log, bad), 4));
    assert_eq!(has(&served, &["a", "b", "c"]), [true; 3]);
    is_damaged.set(false);
    assert!(served.adopt(&walked(&log, bad), 4));
    assert_eq!(has(&served, &["a", "b", "c"]), [false, true, true]);
    assert_eq!(served.judge(&Bytes::from_static(b"a"), 0), Judgement::Dead);
}
