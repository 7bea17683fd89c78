//! Copies what is alive of neighbouring slices into one.
//!
//! Which slices, and what is dead of them, retention and compaction say. Getting rid of the
//! originals is left to `upkeep`, once this is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Outcome, Source, read_frame};
use crate::compaction::filter::{Filter, Left};
use crate::copy::{self, Plan};
use crate::frame::{FRAME_HEADER_BYTES, FrameBuilder, FrameHeader, item_places};
use crate::opened::Opened;
use crate::scan::Found;
use crate::shared::Shared;
use crate::slice_index::{self, SliceIndex};
use crate::value::{FLAG_REDUCED, Values};
use crate::{Disk, DiskError, TopicPartition};

/// Copies the live batches of the sources' frames, in write order.
pub fn rewrite<D: Disk>(
    shared: &Shared<D>,
    sources: &[Source],
    number: u64,
    starts: &BTreeMap<TopicPartition, i64>,
    filter: Option<&Filter>,
) -> Result<Outcome<D>, DiskError> {
    let old = sources.iter().map(|source| source.number).collect();
    let Some(plan) = plan(sources, number) else {
        return Ok(Outcome::Rewritten { old, copied: None });
    };
    let opened = open_all(shared, sources)?;
    let mut frames = opened.iter().flat_map(|(source, index, slice)| {
        let alive = move |frame: &Result<Found, DiskError>| match frame {
            Ok(frame) => frame.envelope.index < source.summary.void_from,
            Err(error) => {
                shared.note_failed_read(source.number, error);
                true
            }
        };
        let frames = read_all(slice, index).filter(alive);
        frames.filter_map(|frame| frame.map(|frame| reduce(frame, starts, filter)).transpose())
    });
    let copied = copy::write(&shared.disk, shared.secret, &plan, &mut frames)?;
    let copied = copied.map(|(summary, _)| (number, Box::new(summary)));
    Ok(Outcome::Rewritten { old, copied })
}

/// A source with what is needed to read it.
type Open<'a, D> = (&'a Source, Arc<SliceIndex>, Opened<D>);

/// What cannot even be opened is noted: in the end it is rescued, else this would fail for ever.
fn open_all<'a, D: Disk>(
    shared: &Shared<D>,
    sources: &'a [Source],
) -> Result<Vec<Open<'a, D>>, DiskError> {
    let open = |source: &'a Source| {
        let index = shared.index(source.number)?;
        Ok((source, index, shared.slice(source.number)?))
    };
    let mut opened = Vec::with_capacity(sources.len());
    for source in sources {
        let note = |error: &DiskError| shared.note_failed_read(source.number, error);
        opened.push(open(source).inspect_err(note)?);
    }
    Ok(opened)
}

/// One reduced copy that stands for all of them.
fn plan(sources: &[Source], number: u64) -> Option<Plan> {
    let (first, last) = (sources.first()?, sources.last()?);
    let voids_from = sources.iter().map(|source| source.summary.voids_from);
    Some(Plan {
        number,
        store_id: first.summary.store_id,
        continues: first.summary.continues,
        covers: last.summary.last_sequence,
        replaces: sources.iter().map(|source| source.number).collect(),
        reduced: true,
        voids_from: voids_from.min().unwrap_or(u64::MAX),
        void_from: u64::MAX,
    })
}

fn read_all<'a, V: Values>(
    values: &'a V,
    index: &'a SliceIndex,
) -> impl Iterator<Item = Result<Found, DiskError>> + use<'a, V> {
    index
        .frames
        .iter()
        .map(|frame| read_frame(values, frame.sequence))
}

/// A frame without its dead batches and control entries; `None` when nothing is left.
fn reduce(
    mut frame: Found,
    starts: &BTreeMap<TopicPartition, i64>,
    filter: Option<&Filter>,
) -> Option<Found> {
    let header = FrameHeader::decode(&frame.data).ok()?;
    if header.proposer_term != frame.envelope.term {
        return None;
    }
    let mut builder = FrameBuilder::with_capacity(&header, FRAME_HEADER_BYTES);
    for place in item_places(&frame.data).map_while(Result::ok) {
        let Some(partition) = place.partition else {
            continue;
        };
        let start = starts.get(&partition).copied().unwrap_or(i64::MAX);
        let batch = &frame.data[place.range()];
        if slice_index::batch_place(batch).is_none_or(|found| found.next_offset() <= start) {
            continue;
        }
        match filter.map_or(Left::Whole, |filter| filter.reduce(partition, batch)) {
            Left::Whole => builder.push_batch(partition, batch),
            Left::Part(left) => builder.push_batch(partition, left.bytes()),
            Left::Nothing => {}
        }
    }
    if builder.items() == 0 {
        return None;
    }
    frame.data = builder.finish().to_vec();
    frame.envelope.data_bytes = frame.data.len() as u32;
    frame.envelope.flags |= FLAG_REDUCED;
    Some(frame)
}
