//! Copies what can be read of a slice that is not to be trusted, and says what cannot.
//!
//! With an index the loss is told frame by frame; without one, by the offsets that the slice is
//! known to span. Getting rid of the original is left to `upkeep`, once this is done. A slice that
//! is damaged when the store is opened is salvaged by `recovery`.

use super::{Outcome, Source, read_frame};
use crate::copy::{self, Plan};
use crate::scan::{self, Scanned};
use crate::shared::Shared;
use crate::slice_index::{self, SliceIndex, Summary};
use crate::{Disk, DiskError, LostRange, TopicPartition};

/// Copies everything that can be read of a slice, frame by frame. What its index names and nobody
/// finds is lost, exactly.
pub fn rescue<D: Disk>(
    shared: &Shared<D>,
    source: &Source,
    number: u64,
) -> Result<Outcome<D>, DiskError> {
    let known = match &source.live {
        Some(live) => Some(SliceIndex::clone(live)),
        None => slice_index::load(&shared.disk, source.number),
    };
    let plan = Plan {
        number,
        store_id: source.summary.store_id,
        continues: source.summary.continues,
        covers: source.summary.last_sequence,
        replaces: vec![source.number],
        reduced: source.summary.reduced,
        voids_from: source.summary.voids_from,
        void_from: source.summary.void_from,
    };
    let copied = copy_readable(shared, source, known.as_ref(), &plan)?;
    let found = copied.as_ref().map(|(_, index)| index);
    let lost = match &known {
        Some(known) => lost_frames(source.number, known, found),
        None => lost_offsets(source, found),
    };
    let copied = copied.map(|(summary, _)| (number, Box::new(summary)));
    Ok(Outcome::Rescued {
        old: source.number,
        copied,
        lost,
    })
}

/// Copies the frames that count and can be read, from the raw bytes: what an engine says of a slice
/// that is not to be trusted is asked only for what is not found there, and only while it is open.
/// A read that the disk fails ends this try, and in the end only the frame. While nothing at all
/// can be read it may be all there once the disk is back, so nothing is given up.
fn copy_readable<D: Disk>(
    shared: &Shared<D>,
    source: &Source,
    known: Option<&SliceIndex>,
    plan: &Plan,
) -> Result<Option<(Summary, SliceIndex)>, DiskError> {
    let scanned = match scan::scan(&shared.disk, source.number, shared.secret) {
        Err(DiskError::Io(_)) if shared.gives_up_reading(source.number) => Scanned::default(),
        scanned => scanned?,
    };
    let mut is_back = scanned.has_values();
    if known.is_none()
        && let Err(error) = shared.look_through(source.number)
        && !(is_back && shared.gives_up_reading(source.number))
    {
        // What was not found may only be unreadable, and nobody knows what it is.
        return Err(error);
    }
    let mut failed = None;
    let read = |sequence: u64| {
        let raw = scanned.read(&shared.disk, source.number, sequence);
        let found = raw.or_else(|_| {
            let slice = shared.slice(source.number)?;
            read_frame(&slice, sequence)
        });
        match found {
            Err(DiskError::Damaged(_)) => None,
            Err(error @ DiskError::Io(_)) if shared.gives_up_reading(source.number) => {
                failed.get_or_insert(error);
                None
            }
            found => {
                is_back |= found.is_ok();
                Some(found)
            }
        }
    };
    let copied = copy::write(
        &shared.disk,
        shared.secret,
        plan,
        &mut wanted(source, known, &scanned).into_iter().filter_map(read),
    )?;
    match failed {
        Some(error) if !is_back => {
            shared.start_over_reading(source.number);
            Err(error)
        }
        _ => Ok(copied),
    }
}

/// The writes that count.
fn wanted(source: &Source, known: Option<&SliceIndex>, scanned: &Scanned) -> Vec<u64> {
    match known {
        Some(known) => known.frames.iter().map(|frame| frame.sequence).collect(),
        None => {
            let counting = scanned.counting_to(source.summary.last_sequence);
            counting.iter().map(|frame| frame.sequence).collect()
        }
    }
}

fn lost_frames(number: u64, known: &SliceIndex, found: Option<&SliceIndex>) -> Option<LostRange> {
    let found = found.map_or(&[][..], |found| &found.frames);
    let is_found = |sequence| {
        found
            .binary_search_by_key(&sequence, |f| f.sequence)
            .is_ok()
    };
    let gone: Vec<bool> = known
        .frames
        .iter()
        .map(|frame| !is_found(frame.sequence))
        .collect();
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
fn lost_offsets(source: &Source, found: Option<&SliceIndex>) -> Option<LostRange> {
    let mut partitions = Vec::new();
    for span in &source.summary.partitions {
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
        first_index: source.summary.first_index,
        last_index: source.summary.last_index,
        partitions,
        cause: format!(
            "damaged frames in slice {}, whose index is gone",
            source.number
        ),
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
