//! Copies what can be read of a slice that is not to be trusted, and says what cannot.
//!
//! Getting rid of the original is left to `upkeep`, once this is done. A slice that is damaged when
//! the store is opened is salvaged by `recovery`.

use super::{Outcome, Source, read_frame};
use crate::copy::{self, Plan};
use crate::loss::{lost_frames, lost_offsets};
use crate::scan::{self, Scanned};
use crate::shared::Shared;
use crate::slice_index::{self, SliceIndex, Summary};
use crate::{Disk, DiskError, Seen};

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
    let plan = Plan::of(source.number, &source.summary, number);
    let copied = copy_readable(shared, source, known.as_ref(), &plan)?;
    let found = copied.as_ref().map(|(_, index)| index);
    let lost = match &known {
        Some(known) => lost_frames(source.number, known, |frame| {
            let copied = found.map_or(&[][..], |found| &found.frames);
            let is_copied = copied.binary_search_by_key(&frame.sequence, |copy| copy.sequence);
            is_copied.is_err()
        }),
        None => lost_offsets(source.number, &source.summary, found),
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
        // Of what the slice held nothing is there any more.
        Err(DiskError::Damaged(_)) => Scanned::default(),
        scanned => scanned?,
    };
    let mut is_back = scanned.has_values();
    if known.is_none()
        && scanned.seen == Seen::Part
        && !(is_back && shared.gives_up_reading(source.number))
    {
        // What was not found may only be unreadable, and nobody knows what it is.
        return Err(DiskError::Io("some of it cannot be read".into()));
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
