//! Which slices there are: each one found is read as far as it must be.
//!
//! What a crash left of unfinished copies goes here, and originals whose copy is finished. What
//! the rest is worth `judge` says. Called once, when a store is opened.

use super::piece::{Content, Piece};
use crate::scan::{self, Scanned};
use crate::secret::Secret;
use crate::store::poison_file;
use crate::{Disk, DiskError, Seen, patience, slice_index};

/// What is there.
pub struct Inventory {
    /// The slices in write order.
    pub pieces: Vec<Piece>,
    pub unwanted: Unwanted,
    /// Slices whose folders are not synced yet; `None` when no folder is.
    pub unsynced: Option<Vec<u64>>,
    /// The first number that no slice has, not even one that is unwanted.
    pub next_number: u64,
}

/// Slices that do not count and could not be got rid of: upkeep goes on trying.
#[derive(Default)]
pub struct Unwanted {
    pub to_remove: Vec<u64>,
    pub to_quarantine: Vec<u64>,
}

impl Unwanted {
    /// Removes a slice that nobody needs.
    pub fn remove<D: Disk>(&mut self, disk: &D, number: u64) {
        if let Err(error) = disk.remove_slice(number) {
            log::warn!("slice {number} is not needed and cannot be removed yet: {error}");
            self.to_remove.push(number);
        }
    }

    /// Moves a damaged slice aside; where to.
    pub fn quarantine<D: Disk>(&mut self, disk: &D, number: u64) -> Option<String> {
        let moved = disk.quarantine_slice(number);
        if let Err(error) = &moved {
            log::error!("slice {number} cannot be moved aside yet: {error}");
            self.to_quarantine.push(number);
        }
        moved.ok()
    }
}

/// Looks at every slice.
pub fn take<D: Disk>(disk: &D, secret: Secret) -> Result<Inventory, DiskError> {
    let numbers = disk.slice_numbers()?;
    let mut inventory = Inventory {
        pieces: Vec::with_capacity(numbers.len()),
        unwanted: Unwanted::default(),
        unsynced: None,
        next_number: numbers.last().map_or(1, |last| last + 1),
    };
    let found = numbers.iter().map(|number| piece(disk, secret, *number));
    let found: Vec<Piece> = found.collect();
    // Before anything that they stand for goes.
    inventory.unsynced = sync_names(disk, &found);
    let unfinished = found
        .iter()
        .filter(|piece| is_unfinished_copy(piece, &found));
    let unfinished: Vec<u64> = unfinished.map(|piece| piece.number).collect();
    for piece in found {
        match unfinished.contains(&piece.number) {
            true => inventory.unwanted.remove(disk, piece.number),
            false => inventory.pieces.push(piece),
        }
    }
    drop_replaced(disk, &mut inventory);
    inventory
        .pieces
        .sort_by_key(|piece| (piece.order(), piece.number));
    drop_doubled(disk, &mut inventory);
    Ok(inventory)
}

/// What an earlier process named last may only be in the cache. A slice that was sealed long ago
/// costs a sync, too, and there may be hundreds: those are left to upkeep, which drops nothing
/// before. One that is not sealed, and a copy whose originals are still there, is synced now.
/// Where this fails upkeep does it all later.
fn sync_names<D: Disk>(disk: &D, found: &[Piece]) -> Option<Vec<u64>> {
    let is_there = |number: &u64| found.iter().any(|piece| piece.number == *number);
    let is_recent = |piece: &&Piece| match &piece.content {
        Content::Sealed(summary) => summary.replaces.iter().any(is_there),
        Content::Scanned { .. } => true,
    };
    let (recent, others): (Vec<&Piece>, Vec<&Piece>) = found.iter().partition(is_recent);
    let recent: Vec<u64> = recent.iter().map(|piece| piece.number).collect();
    match patience::ask(disk, || disk.sync_names(&recent)) {
        Ok(()) => Some(others.iter().map(|piece| piece.number).collect()),
        Err(error) => {
            log::error!("folders are not synced: {error}");
            None
        }
    }
}

/// A copy counts once its index is stored; until then what it copies is still there. What is no
/// longer elsewhere was let go of since, so that copy was finished: it is its index that was lost.
fn is_unfinished_copy(piece: &Piece, all: &[Piece]) -> bool {
    let Content::Scanned { scanned, .. } = &piece.content else {
        return false;
    };
    let others = || all.iter().filter(|other| other.number != piece.number);
    match scanned.copy_of() {
        None => false,
        // Of the end of the log, which lay in slices that were not sealed.
        Some([]) => {
            let mut frames = scanned.frames.iter();
            frames.all(|frame| others().any(|other| other.has_scanned(frame.sequence)))
        }
        Some(originals) => {
            let mut originals = originals.iter();
            originals.all(|number| others().any(|other| other.number == *number))
        }
    }
}

/// A crash may leave a finished copy beside its originals.
fn drop_replaced<D: Disk>(disk: &D, inventory: &mut Inventory) {
    let mut replaced = Vec::new();
    for piece in &inventory.pieces {
        let (originals, reduced) = match &piece.content {
            Content::Sealed(summary) => (&summary.replaces[..], summary.reduced),
            Content::Scanned { scanned, .. } => {
                (scanned.copy_of().unwrap_or(&[]), scanned.is_reduced())
            }
        };
        replaced.extend(originals.iter().map(|number| (*number, !reduced)));
    }
    let unwanted = &mut inventory.unwanted;
    inventory.pieces.retain(|piece| {
        let Some((number, damaged)) = replaced.iter().find(|(of, _)| *of == piece.number) else {
            return true;
        };
        match *damaged && piece.poisoned_at.is_none() {
            true => drop(unwanted.quarantine(disk, *number)),
            false => unwanted.remove(disk, *number),
        }
        false
    });
}

/// A copy that failed at its very end is made again under another number. Removed, but not for
/// sure, the first one may come back by a power cut: of two copies that begin with the same write
/// the one that goes further counts, or the later one.
fn drop_doubled<D: Disk>(disk: &D, inventory: &mut Inventory) {
    let copies = |piece: &Piece| match &piece.content {
        Content::Sealed(summary) => Some((summary.first_sequence, summary.last_sequence)),
        Content::Scanned { .. } => None,
    };
    let mut doubled = Vec::new();
    let mut kept: Option<&Piece> = None;
    for piece in inventory
        .pieces
        .iter()
        .filter(|piece| copies(piece).is_some())
    {
        let twin = kept.filter(|kept| copies(kept).map(|c| c.0) == copies(piece).map(|c| c.0));
        match twin {
            Some(twin) if copies(twin) > copies(piece) => doubled.push(piece.number),
            _ => {
                doubled.extend(twin.map(|twin| twin.number));
                kept = Some(piece);
            }
        }
    }
    for number in &doubled {
        inventory.unwanted.remove(disk, *number);
    }
    inventory
        .pieces
        .retain(|piece| !doubled.contains(&piece.number));
}

fn piece<D: Disk>(disk: &D, secret: Secret, number: u64) -> Piece {
    let poisoned_at = patience::ask(disk, || disk.read_file(&poison_file(number), 8));
    let poisoned_at = poisoned_at.ok().flatten();
    let poisoned_at =
        poisoned_at.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    if let Some(summary) = slice_index::load_summary(disk, number) {
        let content = Content::Sealed(Box::new(summary));
        return Piece {
            number,
            content,
            poisoned_at,
            damaged: false,
            salvage: None,
        };
    }
    let scanned = scan::scan_patiently(disk, number, secret);
    let mut scanned = scanned.unwrap_or_else(|error| {
        log::error!("slice {number} cannot be read: {error}");
        Scanned::unreadable()
    });
    // Without anything that was read it may have held anything.
    let mut damaged = scanned.is_empty() && scanned.seen == Seen::Part;
    if scanned.is_empty() && scanned.foreign && Secret::beside(disk, number) != Some(secret) {
        // What is in it nobody can tell; it is not ours to remove.
        log::error!("slice {number} was not written by this store, moving it aside");
        damaged = true;
    }
    if let Some(mark) = poisoned_at {
        scanned.frames.retain(|frame| frame.sequence <= mark);
    }
    let content = Content::Scanned {
        scanned,
        accepted: Vec::new(),
        covers: 0,
    };
    Piece {
        number,
        content,
        poisoned_at,
        damaged,
        salvage: None,
    }
}
