//! Sealed slices of which a start reads more than the summary: is it all there?
//!
//! Frames behind the checkpoint are replayed, so they are read here before anything is promised.
//! What is missing is told by name, and with the loss a new incarnation begins: a frame that nobody
//! can apply would let its offsets be given twice. What is left is copied, and the original goes to
//! quarantine. What lies before the checkpoint is looked at by who reads it. Called by the opening
//! of a store, once it is judged what counts.

use std::sync::Arc;

use super::Recovering;
use super::piece::{Content, Piece, Salvage};
use super::rebuild::{Built, gone};
use crate::copy::{self, Plan};
use crate::loss::lost_frames;
use crate::opened::Closed;
use crate::scan::{self, Meta, Scanned};
use crate::secret::Secret;
use crate::slice_index::{self, SliceIndex, Summary};
use crate::{Disk, LostRange, Seen, patience, value};

/// Reads what a start needs of the sealed slices, and notes what must be salvaged.
pub fn check<D: Disk>(
    disk: &D,
    secret: Secret,
    checkpoint_index: u64,
    pieces: &mut [Piece],
) -> Vec<LostRange> {
    let mut lost = Vec::new();
    let mut void_from = u64::MAX;
    for piece in pieces.iter_mut().rev() {
        if let Content::Sealed(summary) = &piece.content {
            let end = summary.void_from.min(void_from);
            let slice = Needed {
                number: piece.number,
                summary,
                first: summary.first_index.max(checkpoint_index + 1),
                end: end.min(summary.last_index + 1),
                void_from: end,
            };
            if let Some((salvage, told)) = slice.look(disk, secret) {
                piece.salvage = Some(salvage);
                lost.extend(told);
            }
        }
        void_from = void_from.min(piece.voids_from());
    }
    lost.reverse();
    lost
}

/// A sealed slice, and the indexes that a start needs of it: `first..end`.
struct Needed<'a> {
    number: u64,
    summary: &'a Summary,
    first: u64,
    end: u64,
    /// Later slices void it from here on.
    void_from: u64,
}

impl Needed<'_> {
    /// What is left of it and what is lost, unless all is well.
    fn look<D: Disk>(&self, disk: &D, secret: Secret) -> Option<(Salvage, Option<LostRange>)> {
        // What was rewritten is no raft entry any more.
        if self.first >= self.end || self.summary.reduced {
            return None;
        }
        let index = slice_index::load(disk, self.number).map(Arc::new);
        if let Some(index) = &index
            && self.reads(disk, secret, index)
        {
            return None;
        }
        log::error!("slice {} is looked through for what is lost", self.number);
        let scanned = scan::scan_patiently(disk, self.number, secret);
        let scanned = scanned.unwrap_or_else(|error| {
            log::error!("slice {} cannot be read: {error}", self.number);
            Scanned::unreadable()
        });
        let kept = match &index {
            Some(index) => named(index, &scanned),
            None => scanned.counting_to(self.summary.last_sequence),
        };
        let lost = match &index {
            Some(index) => lost_frames(self.number, index, |frame| {
                let is_kept = kept.binary_search_by_key(&frame.sequence, |kept| kept.sequence);
                frame.index < self.void_from && is_kept.is_err()
            }),
            None => self.lost_indexes(&kept),
        };
        // With its index gone, whoever looks for a frame would stop at what cannot be read.
        let is_whole = lost.is_none() && (index.is_some() || scanned.seen == Seen::All);
        (!is_whole).then_some((Salvage { scanned, kept }, lost))
    }

    /// Whether every frame that a start needs can be read.
    fn reads<D: Disk>(&self, disk: &D, secret: Secret, index: &Arc<SliceIndex>) -> bool {
        let open = || Closed::open(disk, self.number, secret, Some(Arc::clone(index)));
        let Ok(slice) = patience::ask(disk, open) else {
            return false;
        };
        let is_needed = |index: u64| (self.first..self.end).contains(&index);
        let mut needed = index.frames.iter().filter(|frame| is_needed(frame.index));
        needed.all(|frame| {
            let read = || value::read_frame(&slice, frame.sequence);
            patience::ask(disk, read).is_ok_and(|found| found.is_some())
        })
    }

    /// Without an index, which indexes are missing: those of a slice follow each other.
    fn lost_indexes(&self, kept: &[Meta]) -> Option<LostRange> {
        let is_lost = |index: &u64| kept.iter().all(|frame| frame.envelope.index != *index);
        let mut lost = (self.first..self.end).filter(is_lost);
        let first_index = lost.next()?;
        Some(LostRange {
            first_index,
            last_index: lost.next_back().unwrap_or(first_index),
            partitions: Vec::new(),
            cause: format!(
                "damaged frames in slice {}, whose index is gone",
                self.number
            ),
        })
    }
}

/// The frames found that an index names.
fn named(index: &SliceIndex, scanned: &Scanned) -> Vec<Meta> {
    let sequences: Vec<u64> = index.frames.iter().map(|frame| frame.sequence).collect();
    scanned.among(&sequences).copied().collect()
}

impl<D: Disk> Recovering<D> {
    /// Copies what is left of a sealed slice; where that does not work now, upkeep does it.
    pub(super) fn copy_sealed(
        &mut self,
        built: &mut Built<D>,
        number: u64,
        summary: &Summary,
        salvage: &Salvage,
    ) {
        let plan = Plan::of(number, summary, built.next_number);
        built.next_number += 1;
        let mut lost = Vec::new();
        let read = |frame: &Meta| {
            let read = salvage.read(&self.disk, number, frame);
            let read = read.map_err(|error| lost.push(gone(frame, &error)));
            read.ok().map(Ok)
        };
        let mut frames = salvage.kept.iter().filter_map(read);
        let copied = copy::write(&self.disk, self.secret, &plan, &mut frames);
        self.lost.extend(lost);
        match copied {
            Ok(copied) => {
                if let Some((copy, _)) = copied {
                    let file_bytes = self.disk.slice_bytes(plan.number);
                    built.add_sealed(plan.number, copy, file_bytes);
                }
                self.quarantine(number);
            }
            Err(error) => {
                log::error!("slice {number} cannot be copied now: {error}");
                self.unwanted.to_remove.push(plan.number);
                self.serve_sealed(built, number, summary, salvage);
            }
        }
    }

    /// Lists what is left of it as if it were not sealed, until upkeep has copied it.
    fn serve_sealed(
        &self,
        built: &mut Built<D>,
        number: u64,
        summary: &Summary,
        salvage: &Salvage,
    ) {
        let read = |frame| salvage.read(&self.disk, number, frame).ok();
        let frames = salvage.kept.iter().filter_map(read);
        let file_bytes = self.disk.slice_bytes(number);
        // They were read.
        let _ = built.list(number, file_bytes, frames.map(Ok));
        built.catalog.void_before(number, summary.voids_from);
        if let Some(entry) = built.catalog.get_mut(number) {
            entry.damaged = true;
            let listed = &mut entry.summary;
            listed.continues = summary.continues;
            listed.last_sequence = summary.last_sequence;
            listed.void_from = listed.void_from.min(summary.void_from);
            listed.voids_from = summary.voids_from;
            listed.replaces.clone_from(&summary.replaces);
        }
    }
}
