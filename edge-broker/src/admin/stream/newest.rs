//! Where the newest few begin, when partitions and filters stand between them and the end.
//!
//! Looks back from each end in growing steps and remembers places only; the lines themselves are
//! read by [`Tail`] from there on.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use edge_site::{ReadError, Record, next_readable, read_up_to_damage};

use super::{DECOMPRESSED_BYTES_MAX, Line, READ_BYTES_MAX, Tail};

/// More than this are not looked for: the tail begins so many before the end of each partition.
const NEWEST_MAX: u64 = 10_000;

/// Offsets of the first look back.
const LOOK_BACK_MIN: i64 = 256;

/// Each further look goes so many times as far.
const LOOK_BACK_GROWTH: i64 = 8;

/// When and where a record is.
type Found = (i64, i64);

impl Tail {
    /// Moves the cursors, which are at the end, to the newest `count` that fit.
    pub(super) async fn seek_newest(&mut self, count: u64) {
        let plain = self.query.key.is_none() && self.filter.is_none();
        if count > NEWEST_MAX || plain && self.cursors.len() == 1 {
            return self.step_back(count);
        }
        let count = count as usize;
        let mut newest = BinaryHeap::new();
        for position in 0..self.cursors.len() {
            for (timestamp_ms, offset) in self.newest_of(position, count).await {
                newest.push(Reverse((timestamp_ms, offset, position)));
                if newest.len() > count {
                    newest.pop();
                }
            }
        }
        for Reverse((_, offset, position)) in newest {
            let cursor = &mut self.cursors[position];
            cursor.next = cursor.next.min(offset);
        }
    }

    fn step_back(&mut self, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        for cursor in &mut self.cursors {
            let marks = self.site.marks(cursor.partition);
            let start = marks.map_or(cursor.end, |marks| marks.start);
            cursor.next = cursor.end.saturating_sub(count).max(start);
        }
    }

    /// The newest that fit in one partition, oldest first.
    async fn newest_of(&self, position: usize, count: usize) -> VecDeque<Found> {
        let cursor = &self.cursors[position];
        let Some(marks) = self.site.marks(cursor.partition) else {
            return VecDeque::new();
        };
        let mut back = LOOK_BACK_MIN.max(count as i64);
        loop {
            let from = cursor.end.saturating_sub(back).max(marks.start);
            let found = self.found_from(position, from, count).await;
            if found.len() >= count || from == marks.start {
                return found;
            }
            back = back.saturating_mul(LOOK_BACK_GROWTH);
        }
    }

    /// The last `count` that fit from an offset on. What cannot be read is passed over here: the
    /// tail says it when it gets there.
    async fn found_from(&self, position: usize, from: i64, count: usize) -> VecDeque<Found> {
        let cursor = &self.cursors[position];
        let (mut next, mut found) = (from, VecDeque::new());
        while next < cursor.end {
            let read = |at, bytes_max| self.site.read(cursor.partition, at, bytes_max);
            let batches = match read_up_to_damage(&read, next, READ_BYTES_MAX).await {
                Err(ReadError::Storage(_)) => {
                    next = next_readable(&read, next, cursor.end).await;
                    continue;
                }
                Err(_) => break,
                Ok(batches) => batches,
            };
            let Some(last) = batches.last() else { break };
            next = last.next_offset();
            let records = batches
                .iter()
                .filter_map(|batch| batch.records(DECOMPRESSED_BYTES_MAX).ok())
                .flatten()
                .filter_map(Result::ok);
            for (offset, record) in records {
                if offset >= from && self.is_wanted(position, offset, &record) {
                    found.push_back((record.timestamp_ms, offset));
                    if found.len() > count {
                        found.pop_front();
                    }
                }
            }
        }
        found
    }

    fn is_wanted(&self, position: usize, offset: i64, record: &Record) -> bool {
        let cursor = &self.cursors[position];
        let line = Line::new(&cursor.topic, cursor.partition.partition, offset, record);
        offset < cursor.end && self.fits(&line, record)
    }
}
