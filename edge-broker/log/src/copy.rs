//! Copies frames into a new, sealed slice: salvage, evacuation of a poisoned slice, rewriting.
//!
//! A plain file beside the slice says from the start what it is a copy of; the stored index is
//! the last thing written. A copy without an index does not count while its originals are there.
//! Only after it are they removed or moved aside.

use crate::scan::{Found, SliceHeader};
use crate::secret::Secret;
use crate::slice_index::{self, Places, SliceIndex, Summary};
use crate::value;
use crate::{Disk, DiskError, Slice, patience};

/// What the copy is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    pub number: u64,
    pub store_id: u64,
    /// The write before its first one.
    pub continues: u64,
    /// The last write it stands for, be it in it or not.
    pub covers: u64,
    pub replaces: Vec<u64>,
    /// Dead batches are left out.
    pub reduced: bool,
    /// The smallest index its originals voided in slices before them.
    pub voids_from: u64,
    /// Later slices void it from this index on.
    pub void_from: u64,
}

impl Plan {
    /// A copy that takes the place of one slice.
    pub fn of(original: u64, summary: &Summary, number: u64) -> Plan {
        Plan {
            number,
            store_id: summary.store_id,
            continues: summary.continues,
            covers: summary.last_sequence,
            replaces: vec![original],
            reduced: summary.reduced,
            voids_from: summary.voids_from,
            void_from: summary.void_from,
        }
    }
}

/// Writes the copy, synced and sealed, and returns its index too; `None` when there was no frame.
/// Frames come in write order and are let go of one by one.
pub fn write<D: Disk>(
    disk: &D,
    secret: Secret,
    plan: &Plan,
    frames: &mut dyn Iterator<Item = Result<Found, DiskError>>,
) -> Result<Option<(Summary, SliceIndex)>, DiskError> {
    let mut frames = frames.peekable();
    if frames.peek().is_none() {
        return Ok(None);
    }
    let written = write_slice(disk, secret, plan, &mut frames);
    if written.is_err() {
        let _ = disk.remove_slice(plan.number);
    }
    written.map(Some)
}

fn write_slice<D: Disk>(
    disk: &D,
    secret: Secret,
    plan: &Plan,
    frames: &mut dyn Iterator<Item = Result<Found, DiskError>>,
) -> Result<(Summary, SliceIndex), DiskError> {
    let header = SliceHeader {
        level: 1,
        store_id: plan.store_id,
        continues: plan.continues,
        replaces: plan.replaces.clone(),
        reduced: plan.reduced,
        ..SliceHeader::default()
    };
    let header = header.encode(secret);
    let slice = disk.create_slice(plan.number, &secret.file_content())?;
    disk.replace_file(&copy_file(plan.number), &header)?;
    slice.put(0, &header)?;
    let mut summary = slice_index::empty_summary(plan.store_id, plan.continues);
    let mut index = SliceIndex::default();
    let mut scratch = Vec::new();
    for frame in frames {
        let frame = frame?;
        let (sequence, envelope) = (frame.sequence, &frame.envelope);
        value::encode(&mut scratch, secret, sequence, envelope, &frame.data);
        slice.put(frame.sequence, &scratch)?;
        slice_index::note_frame(&mut summary, &frame.place());
        index.push(frame.place(), frame.envelope.kind, &frame.data, |_, _| {});
    }
    slice.sync()?;
    slice.prove()?;
    drop(slice);
    disk.seal_slice(plan.number)?;
    summary.last_sequence = plan.covers.max(summary.last_sequence);
    summary.reduced = plan.reduced;
    summary.replaces = plan.replaces.clone();
    summary.void_from = plan.void_from;
    summary.voids_from = summary.voids_from.min(plan.voids_from);
    summary.partitions = index.spans().collect();
    index.places = Places::find(&disk.read_slice(plan.number)?, secret, &index.frames)?;
    slice_index::store(disk, plan.number, &summary, &index, &index.places)?;
    Ok((summary, index))
}

/// Stands beside a copy: the header, which names the originals.
fn copy_file(number: u64) -> String {
    format!("slices/{number}/copy")
}

/// What a slice is a copy of; `None` when it is none.
pub fn load_header<D: Disk>(disk: &D, secret: Secret, number: u64) -> Option<SliceHeader> {
    let read = || disk.read_file(&copy_file(number), usize::MAX);
    let bytes = patience::ask(disk, read).ok()??;
    SliceHeader::decode(secret, bytes)
}
