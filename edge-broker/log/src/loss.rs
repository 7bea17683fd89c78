//! What a slice lost, by name: as exactly as what is still known of it allows.
//!
//! With an index the loss is told frame by frame, with the records in them; without one, by the
//! offsets that the slice is known to span. Rescue and recovery tell it. Pure.

use crate::slice_index::{FramePlace, SliceIndex, Summary};
use crate::{LostRange, TopicPartition};

/// The frames of an index that are lost, and the records in them; `None` when none is.
pub fn lost_frames(
    number: u64,
    known: &SliceIndex,
    is_lost: impl Fn(&FramePlace) -> bool,
) -> Option<LostRange> {
    let gone: Vec<bool> = known.frames.iter().map(is_lost).collect();
    let lost = known.frames.iter().zip(&gone).filter(|(_, gone)| **gone);
    let indexes: Vec<u64> = lost.map(|(frame, _)| frame.index).collect();
    let mut partitions = Vec::new();
    for (partition, batches) in &known.partitions {
        let lost = batches.iter().filter(|batch| gone[batch.frame as usize]);
        for batch in lost {
            let last = batch.next_offset() - 1;
            join(&mut partitions, *partition, batch.base_offset, last);
        }
    }
    Some(LostRange {
        first_index: *indexes.first()?,
        last_index: *indexes.last()?,
        partitions,
        cause: format!("{} damaged frames in slice {number}", indexes.len()),
    })
}

/// Without an index: the offsets that the slice is known to span and nobody finds.
pub fn lost_offsets(
    number: u64,
    summary: &Summary,
    found: Option<&SliceIndex>,
) -> Option<LostRange> {
    let mut partitions = Vec::new();
    for span in &summary.partitions {
        let batches = found
            .and_then(|found| found.partitions.get(&span.partition))
            .map_or(&[][..], Vec::as_slice);
        let mut next = span.first_offset;
        for batch in batches {
            if batch.base_offset > next {
                join(&mut partitions, span.partition, next, batch.base_offset - 1);
            }
            next = batch.next_offset();
        }
        if next < span.next_offset {
            join(&mut partitions, span.partition, next, span.next_offset - 1);
        }
    }
    (!partitions.is_empty()).then(|| LostRange {
        first_index: summary.first_index,
        last_index: summary.last_index,
        partitions,
        cause: format!("damaged frames in slice {number}, whose index is gone"),
    })
}

fn join(
    ranges: &mut Vec<(TopicPartition, i64, i64)>,
    partition: TopicPartition,
    first: i64,
    last: i64,
) {
    match ranges.last_mut() {
        Some((same, _, end)) if *same == partition && *end + 1 == first => *end = last,
        _ => ranges.push((partition, first, last)),
    }
}
