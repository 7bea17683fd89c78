//! Which slices there are: each one found is read as far as it must be.
//!
//! What a crash left of unfinished copies goes here, and originals whose copy is finished. What
//! the rest is worth `judge` says. Called once, when a store is opened.

use super::SYNC_ATTEMPTS;
use super::piece::{Content, Piece};
use crate::scan::{self, Scanned};
use crate::store::poison_file;
use crate::{Disk, DiskError, copy, slice_index};

pub fn pieces<D: Disk>(disk: &D) -> Result<Vec<Piece>, DiskError> {
    let numbers = disk.slice_numbers()?;
    let mut pieces = Vec::with_capacity(numbers.len());
    let mut replaced = Vec::new();
    for &number in &numbers {
        let piece = piece(disk, number)?;
        match &piece.content {
            Content::Sealed(summary) => {
                let damaged = !summary.reduced;
                replaced.extend(summary.replaces.iter().map(|number| (*number, damaged)));
            }
            Content::Scanned { .. } => {
                // A copy that was not finished; what it copies is still there.
                let copy = copy::load_header(disk, number).map(|header| header.replaces);
                let unfinished = copy.is_some_and(|of| {
                    of.is_empty() || of.iter().any(|number| numbers.contains(number))
                });
                if unfinished {
                    remove(disk, number);
                    continue;
                }
            }
        }
        pieces.push(piece);
    }
    // A finished copy whose originals are still there.
    pieces.retain(
        |piece| match replaced.iter().find(|(number, _)| *number == piece.number) {
            None => true,
            Some((number, damaged)) => {
                match *damaged && piece.poisoned_at.is_none() {
                    true => drop(disk.quarantine_slice(*number)),
                    false => remove(disk, *number),
                }
                false
            }
        },
    );
    pieces.sort_by_key(|piece| (piece.order(), piece.number));
    Ok(pieces)
}

pub fn remove<D: Disk>(disk: &D, number: u64) {
    if let Err(error) = disk.remove_slice(number) {
        log::warn!("slice {number} is not needed and cannot be removed: {error}");
    }
}

fn piece<D: Disk>(disk: &D, number: u64) -> Result<Piece, DiskError> {
    let poisoned_at = disk.read_file(&poison_file(number), 8).ok().flatten();
    let poisoned_at =
        poisoned_at.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    if let Some(summary) = slice_index::load_summary(disk, number) {
        let content = Content::Sealed(Box::new(summary));
        return Ok(Piece {
            number,
            content,
            poisoned_at,
            damaged: false,
        });
    }
    let (mut scanned, damaged) = match scan_slice(disk, number) {
        Ok(scanned) => (scanned, false),
        Err(error) => {
            log::error!("slice {number} cannot be read: {error}");
            (Scanned::default(), true)
        }
    };
    scanned.header = copy::load_header(disk, number).or(scanned.header);
    if let Some(mark) = poisoned_at {
        scanned.frames.retain(|frame| frame.sequence <= mark);
    }
    let content = Content::Scanned {
        scanned,
        accepted: Vec::new(),
        covers: 0,
    };
    Ok(Piece {
        number,
        content,
        poisoned_at,
        damaged,
    })
}

fn scan_slice<D: Disk>(disk: &D, number: u64) -> Result<Scanned, DiskError> {
    (1..SYNC_ATTEMPTS)
        .find_map(|_| scan::scan(disk, number).ok())
        .map_or_else(|| scan::scan(disk, number), Ok)
}
