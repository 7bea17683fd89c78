//! What the slices are worth: which frames count, what is lost, what is not proven yet.
//!
//! `chain` follows the writes and knows numbers only; here they become frames kept, slices marked
//! as damaged, ranges to be told as lost, and the tail. Called once, when a store is opened; it
//! reads the disk and changes nothing there.

use super::chain::{self, Gap, Section};
use super::piece::{Content, Piece};
use crate::identity::{Identity, Mark};
use crate::scan::Found;
use crate::{Disk, DiskError, LostRange};

/// What the chain of writes says about the slices.
pub struct Judged {
    /// The highest write of which anything is there.
    pub highest: u64,
    pub lost: Vec<LostRange>,
}

/// The last write that is known to have been durable.
pub fn durable(known: Option<Identity>, pieces: &[Piece]) -> u64 {
    let proven = pieces.iter().map(Piece::proves).max().unwrap_or(0);
    proven.max(known.map_or(0, |identity| identity.mark.sequence))
}

/// Sorts out which frames count, and marks the slices that lost some as damaged.
pub fn judge(
    known: Option<Identity>,
    checkpoint_index: u64,
    durable: u64,
    pieces: &mut [Piece],
) -> Judged {
    let mark = known
        .map(|identity| identity.mark)
        .filter(|mark| mark.sequence > 0);
    let sections: Vec<Section> = pieces.iter().map(Piece::section).collect();
    let verdict = chain::judge(&sections, durable);
    let mut judged = Judged {
        highest: durable,
        lost: Vec::new(),
    };
    for (piece, counts) in pieces.iter_mut().zip(&verdict.counts) {
        judged.highest = judged.highest.max(piece.last_sequence());
        piece.accept(counts);
        judged
            .lost
            .extend(mark.and_then(|mark| piece.misses_mark(&mark)));
    }
    if known.is_none() {
        judged.lost.extend(pieces.iter().filter_map(unknown_loss));
    }
    for gap in &verdict.gaps {
        if is_dropped(gap, &sections, checkpoint_index) {
            continue;
        }
        if let Some(piece) = pieces.get_mut(gap.section) {
            piece.cover(gap.to);
        }
        judged
            .lost
            .push(lost_range(gap, mark.filter(|mark| mark.sequence == gap.to)));
    }
    let unread = unread_end(known, pieces);
    // Beside a loss with a name it would tell nothing new.
    judged
        .lost
        .extend(unread.filter(|_| judged.lost.is_empty()));
    judged
}

/// Behind the durable mark only what is read tells what was written. What was answered for last may
/// lie where the disk cannot read: that is no torn tail.
fn unread_end(known: Option<Identity>, pieces: &mut [Piece]) -> Option<LostRange> {
    if known.is_some_and(|identity| identity.clean) {
        // A store that stopped in order knows its last write.
        return None;
    }
    let newest = pieces.iter().rposition(|piece| !piece.is_empty());
    let may_end = |at: usize, piece: &Piece| Some(at) == newest || piece.is_empty();
    let mut unread = Vec::new();
    for (at, piece) in pieces.iter_mut().enumerate() {
        if piece.is_read_in_part() && piece.poisoned_at.is_none() && may_end(at, piece) {
            piece.damaged = true;
            unread.push(piece.number);
        }
    }
    let number = unread.first()?;
    Some(LostRange {
        cause: format!("part of slice {number} cannot be read: what was written last may be there"),
        ..LostRange::default()
    })
}

/// Whether it was retention that dropped what was between two slices.
fn is_dropped(gap: &Gap, sections: &[Section], checkpoint_index: u64) -> bool {
    let open = matches!(sections.get(gap.section), Some(Section::Open { .. }));
    if open && gap.after > 0 {
        return false;
    }
    let behind = gap.index_after.map_or(u64::MAX, |index| index - 1);
    let not_void = gap.void_from.map_or(u64::MAX, |index| index - 1);
    not_void <= checkpoint_index || behind <= gap.index_before
}

/// Without a durable mark nothing else tells that there was something in such a slice.
fn unknown_loss(piece: &Piece) -> Option<LostRange> {
    let is_unknown = piece.damaged && piece.is_empty() && !piece.is_read_in_part();
    is_unknown.then(|| LostRange {
        cause: format!("what slice {} held cannot be read", piece.number),
        ..LostRange::default()
    })
}

fn lost_range(gap: &Gap, mark: Option<Mark>) -> LostRange {
    let first = gap.index_before + 1;
    let last = gap
        .index_after
        .map(|index| index - 1)
        .or(mark.map(|mark| mark.index));
    let known = last.filter(|last| *last >= first);
    LostRange {
        first_index: known.map_or(0, |_| first),
        last_index: known.unwrap_or(0),
        partitions: Vec::new(),
        cause: format!("writes {} to {} are gone", gap.after + 1, gap.to),
    }
}

/// What was written last was perhaps answered for and perhaps never synced; that it can be read
/// proves nothing, and a sync now may find nothing to do after one that failed. So it is taken
/// out and copied to a new slice.
///
/// What cannot be read a moment after it could ends the tail, and is lost.
pub fn take_tail<D: Disk>(
    disk: &D,
    pieces: &mut [Piece],
    durable: u64,
) -> (Vec<Found>, Option<LostRange>) {
    let (mut tail, mut lost) = (Vec::new(), None);
    for piece in pieces {
        if let Content::Scanned {
            accepted, scanned, ..
        } = &mut piece.content
        {
            let kept = accepted.partition_point(|sequence| *sequence <= durable);
            for sequence in accepted.drain(kept..) {
                match scanned.read_patiently(disk, piece.number, sequence) {
                    Ok(found) if lost.is_none() => tail.push(found),
                    Ok(_) => {}
                    Err(error) => lost = lost.or_else(|| Some(unread(sequence, &error))),
                }
            }
        }
    }
    (tail, lost)
}

fn unread(sequence: u64, error: &DiskError) -> LostRange {
    LostRange {
        cause: format!("write {sequence} and what came after it cannot be read any more: {error}"),
        ..LostRange::default()
    }
}
