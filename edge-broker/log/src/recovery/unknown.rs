//! Checkpoints that cannot be read or are gone, and entries that only they stood for.
//!
//! Each is there twice and retention follows the second, so it takes two damaged files to come
//! here. With the one before them a start goes on and names the entries between. With none, and a
//! log that was trimmed, nobody knows which topics there are: retention would take every record for
//! one of a deleted topic. So all slices go to quarantine, and the checkpoints with them, for
//! whoever can tell, and the log begins anew. Called by the opening of a store.

use super::Recovering;
use super::inventory::Unwanted;
use super::piece::{Content, Piece};
use crate::catalog::{Catalog, SliceEntry};
use crate::{Disk, LostRange, checkpoint};

/// Whether the first entry there ever was is there: then all state can be made anew.
pub fn begins_at_first(pieces: &[Piece]) -> bool {
    let first_index = |piece: &Piece| match &piece.content {
        _ if piece.is_reduced() => None,
        Content::Sealed(summary) => Some(summary.first_index),
        Content::Scanned { scanned, .. } => scanned.frames.iter().map(|f| f.envelope.index).min(),
    };
    pieces
        .iter()
        .filter_map(first_index)
        .any(|first| first == 1)
}

/// Moves all slices aside, and then the checkpoints.
pub fn put_aside<D: Disk>(
    disk: &D,
    pieces: &mut Vec<Piece>,
    unwanted: &mut Unwanted,
) -> (Vec<String>, LostRange) {
    let last_index = pieces.iter().map(Piece::last_index).max().unwrap_or(0);
    let mut moved = Vec::new();
    for piece in pieces.drain(..) {
        match piece.is_empty() && !piece.damaged {
            true => unwanted.remove(disk, piece.number),
            false => moved.extend(unwanted.quarantine(disk, piece.number)),
        }
    }
    // Not before: with slices and without these a start would take the records for dead ones.
    if unwanted.to_quarantine.is_empty() {
        match checkpoint::quarantine_all(disk) {
            Ok(names) => moved.extend(names),
            Err(error) => log::error!("checkpoints are not moved aside yet: {error}"),
        }
    }
    let lost = LostRange {
        first_index: 1.min(last_index),
        last_index,
        partitions: Vec::new(),
        cause: "no checkpoint can be read and the log was trimmed, so its topics are unknown; \
                all slices are in quarantine"
            .into(),
    };
    (moved, lost)
}

impl<D: Disk> Recovering<D> {
    /// Names what is missing between the checkpoint and the log, unless that was done before: then
    /// the newest slice is of another incarnation than the one behind the hole.
    pub(super) fn note_hole(&mut self, catalog: &Catalog) {
        let covered = self
            .checkpoint
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.index);
        let hole = covered + 1..catalog.first_index;
        let behind = catalog.slices().find(|entry| !entry.summary.reduced);
        let newest = catalog.slices().next_back();
        let writer = |entry: &SliceEntry| entry.summary.store_id;
        let told = behind.map(writer) != newest.map(writer);
        let named = self.lost.iter().any(|lost| lost.first_index <= hole.start);
        if hole.is_empty() || told || named {
            return;
        }
        self.lost.push(LostRange {
            first_index: hole.start,
            last_index: hole.end - 1,
            partitions: Vec::new(),
            cause: "the checkpoint that stood for them cannot be read; topics created there are \
                    unknown"
                .into(),
        });
    }
}
