//! Puts the log together again, slice by slice in write order.
//!
//! ```text
//! sealed ──> catalog          newest ──> opened, to go on in it
//! others ──> catalog, frame by frame     damaged ──> copied, original to quarantine
//! ```
//! What counts in a slice is settled before, in `judge`. Called by the opening of a store, once for
//! each slice.

use std::sync::Arc;

use super::Recovering;
use super::piece::{Content, Piece};
use crate::catalog::Catalog;
use crate::copy::{self, Plan};
use crate::opened::Written;
use crate::scan::{Found, Meta};
use crate::secret::Secret;
use crate::slice_index::{self, SliceIndex, Summary};
use crate::store::{Active, Leftover};
use crate::value::Values;
use crate::{Disk, DiskError, LostRange, Slice};

impl<D: Disk> Recovering<D> {
    /// Takes all slices in; the newest is gone on with, unless a tail is to be copied first, or a
    /// new incarnation begins: all of a slice has one store id.
    pub(super) fn rebuild(&mut self, pieces: Vec<Piece>) -> Built<D> {
        let mut built = Built {
            catalog: Catalog::default(),
            active: None,
            held: Vec::new(),
            leftovers: Vec::new(),
            last_crc: 0,
            next_number: self.next_number,
        };
        let newest = pieces.iter().rposition(|piece| !piece.is_empty());
        for (at, piece) in pieces.into_iter().enumerate() {
            let may_go_on = Some(at) == newest && self.tail.is_empty() && !self.is_renewed();
            self.take(&mut built, piece, may_go_on);
        }
        built
    }

    /// Takes a slice into the log.
    fn take(&mut self, built: &mut Built<D>, piece: Piece, may_go_on: bool) {
        if piece.is_empty() {
            // Created ahead; nobody knows whether it was synced.
            match piece.damaged {
                true => self.quarantine(piece.number),
                false => self.unwanted.remove(&self.disk, piece.number),
            }
            return;
        }
        let file_bytes = self.disk.slice_bytes(piece.number);
        match piece.content {
            Content::Sealed(summary) => match &piece.salvage {
                None => built.add_sealed(piece.number, *summary, file_bytes),
                Some(left) => self.copy_sealed(built, piece.number, &summary, left),
            },
            // The tail may be in it: not before that is copied.
            Content::Scanned { ref accepted, .. } if accepted.is_empty() => {
                built.leftovers.push(Leftover {
                    number: piece.number,
                    quarantine: piece.damaged,
                });
            }
            Content::Scanned { .. } if piece.damaged => self.salvage(built, &piece, file_bytes),
            Content::Scanned { .. } => self.reopen(built, &piece, may_go_on, file_bytes),
        }
    }

    /// Lists a slice that was not sealed. The newest is opened, to go on in it.
    fn reopen(&mut self, built: &mut Built<D>, piece: &Piece, may_go_on: bool, file_bytes: u64) {
        let number = piece.number;
        if may_go_on && piece.poisoned_at.is_none() && !piece.is_reduced() {
            return self.go_on(built, piece, file_bytes);
        }
        let frames = piece.frames(&self.disk);
        if built.list(number, file_bytes, frames).is_err() {
            built.catalog.remove(number);
            return self.salvage(built, piece, file_bytes);
        }
        if let Some(entry) = built.catalog.get_mut(number) {
            entry.summary.reduced = piece.is_reduced();
            // Upkeep copies it.
            entry.poisoned = piece.poisoned_at.is_some();
        }
    }

    /// Opens the newest slice. sled may find less in it than there is: then what is there is
    /// copied from memory.
    fn go_on(&mut self, built: &mut Built<D>, piece: &Piece, file_bytes: u64) {
        let number = piece.number;
        let frames: Result<Vec<Found>, DiskError> = piece.frames(&self.disk).collect();
        let Ok(frames) = frames else {
            return self.salvage(built, piece, file_bytes);
        };
        let opened = open_slice(&self.disk, number).and_then(|slice| {
            let has_all = frames
                .iter()
                .try_for_each(|frame| has_frame(&slice, self.secret, frame));
            has_all.map(|()| Arc::new(slice))
        });
        let mut frames = frames.into_iter().map(Ok);
        match opened {
            Ok(slice) => {
                // They were read; listing them cannot fail.
                let _ = built.list(number, file_bytes, frames);
                built.held.push((number, Arc::clone(&slice)));
                built.active = Some(Active {
                    number,
                    slice,
                    stored_bytes: file_bytes.min(self.config.slice_bytes),
                    begun: true,
                    listed: true,
                    continues: self.top,
                });
            }
            Err(error) => {
                log::error!("slice {number} does not open well, copying it: {error}");
                self.copy(built, piece, file_bytes, &mut frames);
            }
        }
    }

    /// Copies what is left of a damaged slice, then moves the original aside. While the tail,
    /// which may be in it, is not copied, that is left to upkeep.
    fn salvage(&mut self, built: &mut Built<D>, piece: &Piece, file_bytes: u64) {
        if !self.tail.is_empty() {
            return self.serve_damaged(built, piece, file_bytes);
        }
        let Content::Scanned {
            scanned, accepted, ..
        } = &piece.content
        else {
            return;
        };
        let (mut read, mut lost) = (Vec::new(), Vec::new());
        for frame in scanned.among(accepted) {
            match scanned.read_patiently(&self.disk, piece.number, frame.sequence) {
                Ok(found) => read.push(found),
                Err(error) => lost.push(gone(frame, &error)),
            }
        }
        if self.copy(built, piece, file_bytes, &mut read.into_iter().map(Ok)) {
            self.lost.extend(lost);
        }
    }

    /// Whether the copy is made; otherwise upkeep tries it again.
    fn copy(
        &mut self,
        built: &mut Built<D>,
        piece: &Piece,
        file_bytes: u64,
        frames: &mut dyn Iterator<Item = Result<Found, DiskError>>,
    ) -> bool {
        let Some(plan) = salvage_plan(piece, built.next_number) else {
            return false;
        };
        built.next_number += 1;
        match copy::write(&self.disk, self.secret, &plan, frames) {
            Ok(Some((summary, _))) => {
                built.add_sealed(plan.number, summary, self.disk.slice_bytes(plan.number));
                self.quarantine(piece.number);
            }
            Ok(None) => self.quarantine(piece.number),
            Err(error) => {
                log::error!("slice {} cannot be copied now: {error}", piece.number);
                self.unwanted.to_remove.push(plan.number);
                self.serve_damaged(built, piece, file_bytes);
                return false;
            }
        }
        true
    }

    /// Lists a damaged slice as it is; upkeep tries the copy again. A frame that cannot be read now
    /// has its place in the list: upkeep copies it, or tells that it is lost.
    fn serve_damaged(&self, built: &mut Built<D>, piece: &Piece, file_bytes: u64) {
        let Content::Scanned {
            scanned, accepted, ..
        } = &piece.content
        else {
            return;
        };
        let mut frames = scanned.among(accepted).map(|frame| {
            let read = scanned.read_patiently(&self.disk, piece.number, frame.sequence);
            Ok(read.unwrap_or_else(|error| {
                log::error!("slice {} is served in part: {error}", piece.number);
                frame.without_data()
            }))
        });
        // They were read, or are listed without.
        let _ = built.list(piece.number, file_bytes, &mut frames);
        if let Some(entry) = built.catalog.get_mut(piece.number) {
            entry.summary.reduced = piece.is_reduced();
            entry.damaged = true;
        }
    }

    pub(super) fn quarantine(&mut self, number: u64) {
        let moved = self.unwanted.quarantine(&self.disk, number);
        self.quarantined.extend(moved);
    }
}

/// A frame that was there a moment ago.
pub fn gone(frame: &Meta, error: &DiskError) -> LostRange {
    LostRange {
        first_index: frame.envelope.index,
        last_index: frame.envelope.index,
        partitions: Vec::new(),
        cause: format!("write {} cannot be read any more: {error}", frame.sequence),
    }
}

/// A copy of what counts in a slice that was read frame by frame.
fn salvage_plan(piece: &Piece, number: u64) -> Option<Plan> {
    let Content::Scanned {
        scanned, covers, ..
    } = &piece.content
    else {
        return None;
    };
    let header = scanned.header.as_ref();
    Some(Plan {
        number,
        store_id: header.map_or(0, |header| header.store_id),
        continues: piece.continues(),
        covers: *covers,
        replaces: vec![piece.number],
        reduced: scanned.is_reduced(),
        voids_from: u64::MAX,
        void_from: u64::MAX,
    })
}

/// The log as it is put together.
pub struct Built<D: Disk> {
    pub catalog: Catalog,
    pub active: Option<Active<D>>,
    pub held: Vec<(u64, Arc<D::Slice>)>,
    /// Slices in which nothing counts.
    pub leftovers: Vec<Leftover>,
    pub last_crc: u32,
    pub next_number: u64,
}

impl<D: Disk> Built<D> {
    pub fn add_sealed(&mut self, number: u64, summary: Summary, file_bytes: u64) {
        self.catalog.void_before(number, summary.voids_from);
        self.catalog.last_index = summary.last_index;
        self.catalog.add(number, summary, None, file_bytes);
    }

    /// Adds a slice that is not sealed, frame by frame.
    pub fn list(
        &mut self,
        number: u64,
        file_bytes: u64,
        frames: impl Iterator<Item = Result<Found, DiskError>>,
    ) -> Result<(), DiskError> {
        let mut listed = false;
        for frame in frames {
            let frame = frame?;
            if !std::mem::replace(&mut listed, true) {
                let summary = Summary {
                    first_sequence: frame.sequence,
                    ..slice_index::empty_summary(frame.envelope.store_id, frame.envelope.previous)
                };
                let index = Some(SliceIndex::default());
                self.catalog.add(number, summary, index, file_bytes);
            }
            self.last_crc = frame.crc;
            let kind = frame.envelope.kind;
            self.catalog.push(number, frame.place(), kind, &frame.data);
        }
        Ok(())
    }
}

/// Opening writes; on a full disk the ballast makes room for it.
fn open_slice<D: Disk>(disk: &D, number: u64) -> Result<D::Slice, DiskError> {
    match disk.open_slice(number) {
        Err(DiskError::Full) => {
            crate::room::give_up_ballast_file(disk)?;
            disk.open_slice(number)
        }
        done => done,
    }
}

/// Whether the engine finds a frame to its end: what it recovers may end within one.
fn has_frame<S: Slice>(slice: &S, secret: Secret, frame: &Found) -> Result<(), DiskError> {
    let sequence = frame.sequence;
    for part in [0, frame.envelope.parts() - 1] {
        if Written(slice, secret).get(sequence, part)?.is_none() {
            return Err(DiskError::Damaged(format!("write {sequence} is not found")));
        }
    }
    Ok(())
}
