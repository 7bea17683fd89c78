//! Opening: from what the disk holds to a log that goes on.
//!
//! ```text
//! identity ─┐
//! checkpoint├─> sealed slices: their summaries only
//! slices  ──┘   others: read frame by frame ──> chain ──> catalog ──> (salvage) ──> Recovery
//! ```
//! Slices count in write order. A gap in the chain of writes is a torn tail when nobody can have
//! been told that it was on the disk, otherwise a loss: then what is left of the slice is copied,
//! the original goes to quarantine, and the store begins a new incarnation. Opening never refuses
//! for damage.

use std::sync::Arc;

use crate::catalog::{self, Catalog};
use crate::copy;
use crate::identity::{Found as FoundIdentity, Identity, IdentityFile, Mark};
use crate::scan::{self, Found, Scanned};
use crate::slice_index::{self, Summary};
use crate::store::{Active, Start, Store, poison_file};
use crate::{
    Checkpoint, Disk, DiskError, HardState, LostRange, OpenError, Recovery, Slice, StoreConfig,
    checkpoint,
};

/// Stands in the poison file of a slice whose sync failed while the store was opened: what is in
/// it may have been answered for, so it is copied, not cut.
const UNSURE: &[u8] = b"unsure";

/// One slice as found.
struct Piece<D: Disk> {
    number: u64,
    /// The open slice, unless it is sealed or does not open.
    slice: Option<Arc<D::Slice>>,
    content: Content,
    poisoned_at: Option<u64>,
    /// Frames of it are lost or it does not open: to be salvaged.
    damaged: bool,
}

enum Content {
    Sealed(Box<Summary>),
    Scanned {
        scanned: Scanned,
        accepted: Vec<Found>,
        covers: u64,
    },
}

impl<D: Disk> Piece<D> {
    /// The write accepted before its first one.
    fn continues(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.continues,
            Content::Scanned { scanned, .. } => {
                // Without a header, no more than its first frame vouches for.
                let first = scanned.frames.first().map(|frame| frame.envelope.durable);
                scanned
                    .header
                    .as_ref()
                    .map(|h| h.continues)
                    .or(first)
                    .unwrap_or(0)
            }
        }
    }

    /// Its place in write order.
    fn order(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.first_sequence,
            Content::Scanned { scanned, .. } if scanned.is_empty() => u64::MAX,
            Content::Scanned { scanned, .. } => scanned
                .frames
                .first()
                .map_or(self.continues() + 1, |frame| frame.sequence),
        }
    }

    /// Created ahead, and nothing was ever written to it.
    fn is_unused(&self) -> bool {
        let untouched = match &self.content {
            Content::Sealed(_) => false,
            Content::Scanned { scanned, .. } => !scanned.touched,
        };
        untouched && self.poisoned_at.is_none() && !self.damaged
    }

    /// The highest write of which it proves that it was durable.
    fn proves(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.last_sequence,
            Content::Scanned { scanned, .. } => {
                let frames = scanned
                    .frames
                    .iter()
                    .map(|frame| frame.envelope.durable)
                    .max();
                self.continues().max(frames.unwrap_or(0))
            }
        }
    }
}

/// Opens a store.
pub fn open<D: Disk>(disk: D, config: StoreConfig) -> Result<(Store<D>, Recovery), OpenError> {
    let (identity, found) = IdentityFile::load(&disk)?;
    let checkpoint = checkpoint::load(&disk)?;
    let mut pieces = pieces(&disk)?;
    let known = match found {
        FoundIdentity::Slot(identity) => Some(identity),
        FoundIdentity::Missing | FoundIdentity::Damaged => None,
    };
    let mut walk = Walk::new(known, checkpoint.as_ref(), &pieces);
    walk.walk(&mut pieces);
    walk.make_durable(&disk, &mut pieces);
    let begun = pieces.iter().any(|piece| piece.order() != u64::MAX) || checkpoint.is_some();
    let mut recovering = Recovering {
        disk,
        config,
        identity,
        known,
        checkpoint,
        lost: walk.lost,
        quarantined: Vec::new(),
        unproven: Vec::new(),
        top: walk.top,
        highest: walk.highest,
        begun,
    };
    recovering.salvage(&mut pieces);
    recovering.finish(pieces)
}

fn pieces<D: Disk>(disk: &D) -> Result<Vec<Piece<D>>, DiskError> {
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
            Content::Scanned { scanned, .. } => {
                // A copy that was not finished; what it copies is still there.
                let of = scanned
                    .header
                    .as_ref()
                    .map_or(&[][..], |header| &header.replaces);
                if of.iter().any(|number| numbers.contains(number)) {
                    drop(piece);
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

fn remove<D: Disk>(disk: &D, number: u64) {
    if let Err(error) = disk.remove_slice(number) {
        log::warn!("slice {number} is not needed and cannot be removed: {error}");
    }
}

fn piece<D: Disk>(disk: &D, number: u64) -> Result<Piece<D>, DiskError> {
    let poisoned_at = disk.read_file(&poison_file(number), 8).ok().flatten();
    let unsure = poisoned_at.as_deref() == Some(UNSURE);
    let poisoned_at =
        poisoned_at.and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
    if let Some(summary) = slice_index::load_summary(disk, number) {
        let content = Content::Sealed(Box::new(summary));
        return Ok(Piece {
            number,
            slice: None,
            content,
            poisoned_at,
            damaged: false,
        });
    }
    let opened = open_slice(disk, number);
    let (slice, scanned) = match opened.and_then(|slice| Ok((scan::scan_slice(&slice)?, slice))) {
        Ok((scanned, slice)) => (Some(Arc::new(slice)), scanned),
        Err(error) => {
            log::error!("slice {number} does not open, looking for what is left of it: {error}");
            (None, scan::scan_salvage(disk, number).unwrap_or_default())
        }
    };
    let damaged = slice.is_none() || unsure;
    let content = Content::Scanned {
        scanned,
        accepted: Vec::new(),
        covers: 0,
    };
    Ok(Piece {
        number,
        slice,
        content,
        poisoned_at,
        damaged,
    })
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

/// Follows the chain of writes over all slices.
struct Walk {
    durable: u64,
    checkpoint_index: u64,
    /// The last write that counts so far, and its index.
    top: u64,
    last_index: u64,
    mark: Option<Mark>,
    highest: u64,
    lost: Vec<LostRange>,
}

impl Walk {
    fn new<D: Disk>(
        known: Option<Identity>,
        checkpoint: Option<&Checkpoint>,
        pieces: &[Piece<D>],
    ) -> Walk {
        let mark = known.map(|identity| identity.mark);
        let proven = pieces.iter().map(Piece::proves).max().unwrap_or(0);
        Walk {
            durable: proven.max(mark.map_or(0, |mark| mark.sequence)),
            checkpoint_index: checkpoint.map_or(0, |checkpoint| checkpoint.index),
            top: 0,
            last_index: 0,
            mark,
            highest: 0,
            lost: Vec::new(),
        }
    }

    fn walk<D: Disk>(&mut self, pieces: &mut [Piece<D>]) {
        for at in 0..pieces.len() {
            let (before, rest) = pieces.split_at_mut(at);
            let piece = &mut rest[0];
            if piece.order() == u64::MAX {
                continue;
            }
            self.enter(before, piece.continues(), piece.number);
            self.take(piece);
        }
        if self.top < self.durable {
            let mark = self.mark.filter(|mark| mark.sequence == self.durable);
            self.lost.push(LostRange {
                first_index: self.last_index + 1,
                last_index: mark.map_or(0, |mark| mark.index),
                partitions: Vec::new(),
                cause: format!("the log ends at write {} of {}", self.top, self.durable),
            });
            if let Some(last) = pieces.iter_mut().rfind(|piece| piece.order() != u64::MAX) {
                last.cover(self.durable);
            }
        }
        self.highest = self.highest.max(self.durable);
    }

    /// What was written last was perhaps never synced, and perhaps answered for: it counts once it
    /// is synced now, or, if that fails, copied.
    fn make_durable<D: Disk>(&mut self, disk: &D, pieces: &mut [Piece<D>]) {
        let newest = pieces.iter_mut().rfind(|piece| piece.order() != u64::MAX);
        let Some(piece) = newest else { return };
        let Some(slice) = piece.slice.as_ref().filter(|_| self.top > self.durable) else {
            return;
        };
        if let Err(error) = slice.sync() {
            log::error!("slice {} is read only from now on: {error}", piece.number);
            let _ = disk.replace_file(&poison_file(piece.number), UNSURE);
            piece.damaged = true;
        }
    }

    /// A slice that continues from a write: what earlier slices have behind it was given up, and
    /// what they lack before it is lost, or was dropped by retention.
    fn enter<D: Disk>(&mut self, before: &mut [Piece<D>], continues: u64, number: u64) {
        for piece in before.iter_mut().rev() {
            piece.give_up_after(continues);
        }
        if self.top > continues {
            let last = before.iter().rev().find_map(Piece::last_accepted);
            (self.top, self.last_index) = last.unwrap_or((continues, self.last_index));
        }
        if self.top >= continues {
            return;
        }
        if self.top > 0
            && let Some(last) = before.last_mut()
            && matches!(last.content, Content::Scanned { .. })
        {
            let cause = format!(
                "writes {} to {continues} before slice {number}",
                self.top + 1
            );
            self.lost.push(LostRange {
                first_index: self.last_index + 1,
                last_index: 0,
                partitions: Vec::new(),
                cause,
            });
            last.cover(continues);
        }
        self.top = continues;
    }

    fn take<D: Disk>(&mut self, piece: &mut Piece<D>) {
        match &mut piece.content {
            Content::Sealed(summary) => {
                let gap = summary.first_index > self.last_index.max(self.checkpoint_index) + 1;
                if gap && self.last_index > 0 && self.last_index >= self.checkpoint_index {
                    self.lost.push(LostRange {
                        first_index: self.last_index + 1,
                        last_index: summary.first_index - 1,
                        partitions: Vec::new(),
                        cause: format!("a slice before slice {} is gone", piece.number),
                    });
                }
                self.top = summary.last_sequence;
                self.last_index = summary.last_index;
                self.highest = self.highest.max(summary.last_sequence);
            }
            Content::Scanned {
                scanned,
                accepted,
                covers,
            } => {
                self.highest = self.highest.max(scanned.last_sequence);
                let copy = scanned
                    .header
                    .as_ref()
                    .is_some_and(|h| !h.replaces.is_empty());
                for frame in std::mem::take(&mut scanned.frames) {
                    if piece.poisoned_at.is_some_and(|mark| frame.sequence > mark) {
                        continue;
                    }
                    match self.judge(&frame, accepted, copy) {
                        Judged::Counts => {}
                        Judged::Tail => continue,
                        Judged::AfterLoss(lost) => {
                            self.lost.push(lost);
                            piece.damaged = true;
                        }
                    }
                    self.top = frame.sequence;
                    self.last_index = frame.envelope.index;
                    self.check_mark(&frame);
                    accepted.push(frame);
                }
                *covers = self.top;
            }
        }
    }

    /// Whether a frame counts; takes out the ones before it that its writer had given up.
    fn judge(&mut self, frame: &Found, accepted: &mut Vec<Found>, copy: bool) -> Judged {
        if copy {
            return Judged::Counts;
        }
        let previous = frame.envelope.previous;
        if self.top > previous {
            accepted.truncate(accepted.partition_point(|kept| kept.sequence <= previous));
            if let Some(last) = accepted.last() {
                (self.top, self.last_index) = (last.sequence, last.envelope.index);
            } else {
                self.top = previous;
            }
        }
        if self.top == previous {
            return Judged::Counts;
        }
        if previous > self.durable {
            return Judged::Tail;
        }
        Judged::AfterLoss(LostRange {
            first_index: self.last_index + 1,
            last_index: frame.envelope.index.saturating_sub(1),
            partitions: Vec::new(),
            cause: format!("writes {} to {previous} are damaged", self.top + 1),
        })
    }

    /// The write of the durable mark must be the one that was marked.
    fn check_mark(&mut self, frame: &Found) {
        let Some(mark) = self.mark.filter(|mark| mark.sequence == frame.sequence) else {
            return;
        };
        if mark.crc != frame.crc {
            self.lost.push(LostRange {
                first_index: mark.index,
                last_index: mark.index,
                partitions: Vec::new(),
                cause: format!("write {} is not the one that was durable", mark.sequence),
            });
        }
    }
}

enum Judged {
    Counts,
    Tail,
    AfterLoss(LostRange),
}

impl<D: Disk> Piece<D> {
    fn give_up_after(&mut self, sequence: u64) {
        if let Content::Scanned { accepted, .. } = &mut self.content {
            accepted.truncate(accepted.partition_point(|kept| kept.sequence <= sequence));
        }
    }

    fn last_accepted(&self) -> Option<(u64, u64)> {
        match &self.content {
            Content::Sealed(summary) => Some((summary.last_sequence, summary.last_index)),
            Content::Scanned { accepted, .. } => accepted
                .last()
                .map(|frame| (frame.sequence, frame.envelope.index)),
        }
    }

    /// It stands for the writes up to this one, lost ones included.
    fn cover(&mut self, sequence: u64) {
        if let Content::Scanned { covers, .. } = &mut self.content {
            *covers = sequence.max(*covers);
            self.damaged = true;
        }
    }
}

struct Recovering<D: Disk> {
    disk: D,
    config: StoreConfig,
    identity: IdentityFile,
    known: Option<Identity>,
    checkpoint: Option<Checkpoint>,
    lost: Vec<LostRange>,
    quarantined: Vec<String>,
    unproven: Vec<u64>,
    top: u64,
    highest: u64,
    /// There was something here before.
    begun: bool,
}

impl<D: Disk> Recovering<D> {
    /// Copies what is left of damaged slices, then moves the originals aside.
    fn salvage(&mut self, pieces: &mut Vec<Piece<D>>) {
        let mut next_number = next_number(pieces);
        for piece in pieces.iter_mut().filter(|piece| piece.damaged) {
            let Content::Scanned {
                accepted,
                covers,
                scanned,
            } = &mut piece.content
            else {
                continue;
            };
            let store_id = scanned.header.as_ref().map_or(0, |header| header.store_id);
            let plan = copy::Plan {
                number: next_number,
                store_id,
                continues: accepted.first().map_or(0, |frame| frame.envelope.previous),
                covers: *covers,
                replaces: vec![piece.number],
                reduced: false,
                voids_from: u64::MAX,
                void_from: u64::MAX,
            };
            next_number += 1;
            let copied = match accepted.is_empty() {
                true => Ok(None),
                false => copy::write(&self.disk, &plan, accepted).map(Some),
            };
            let copied = copied.and_then(|copied| {
                piece.slice = None;
                self.quarantined
                    .push(self.disk.quarantine_slice(piece.number)?);
                Ok(copied)
            });
            match copied {
                Ok(Some(summary)) => {
                    piece.number = plan.number;
                    piece.content = Content::Sealed(Box::new(summary));
                    piece.damaged = false;
                }
                Ok(None) => {}
                Err(error) => {
                    log::error!("slice {} cannot be salvaged now: {error}", piece.number);
                    // Served as it is if it opened, and copied before anything is appended.
                    self.unproven
                        .extend(piece.slice.as_ref().map(|_| piece.number));
                }
            }
        }
        pieces.retain(|piece| !piece.damaged || piece.slice.is_some());
    }

    fn finish(mut self, pieces: Vec<Piece<D>>) -> Result<(Store<D>, Recovery), OpenError> {
        let next_number = next_number(&pieces).max(self.highest_number_seen()?);
        let slices = pieces.len();
        let mut catalog = Catalog::default();
        let (mut active, mut held, mut spare) = (None, Vec::new(), None);
        let newest = pieces.iter().rposition(|piece| piece.order() != u64::MAX);
        let mut last_crc = 0;
        for (at, piece) in pieces.into_iter().enumerate() {
            if piece.order() == u64::MAX {
                let unused = spare.is_none() && piece.is_unused();
                match piece.slice.filter(|_| unused) {
                    Some(slice) => spare = Some((piece.number, slice)),
                    None => remove(&self.disk, piece.number),
                }
                continue;
            }
            let file_bytes = self.disk.slice_bytes(piece.number);
            let (number, poisoned) = (piece.number, piece.poisoned_at.is_some());
            match piece.content {
                Content::Sealed(summary) => {
                    catalog.void_before(number, summary.voids_from);
                    catalog.last_index = summary.last_index;
                    catalog.add(number, *summary, None, file_bytes);
                }
                Content::Scanned { accepted, .. } => {
                    let Some(slice) = piece.slice else { continue };
                    last_crc = accepted.last().map_or(last_crc, |frame| frame.crc);
                    let listed = list(&mut catalog, number, file_bytes, &accepted);
                    let unproven = self.unproven.contains(&number);
                    if Some(at) == newest && !poisoned && !unproven {
                        let stored_bytes = file_bytes.min(self.config.slice_bytes);
                        active = Some(Active {
                            number,
                            slice: Arc::clone(&slice),
                            stored_bytes,
                            begun: true,
                            listed,
                            continues: self.top,
                        });
                        held.push((number, slice));
                    } else if listed {
                        if let Some(entry) = catalog.get_mut(number) {
                            entry.poisoned = poisoned || unproven;
                        }
                        held.push((number, slice));
                    } else {
                        drop(slice);
                        remove(&self.disk, number);
                    }
                }
            }
        }
        self.frame_log(&mut catalog);
        let (identity, previous_store_id) = self.incarnation(&catalog, last_crc);
        self.identity.write(&self.disk, identity);
        self.identity.sync(&self.disk)?;
        let recovery = Recovery {
            store_id: identity.store_id,
            previous_store_id,
            boot_count: identity.boot_count,
            hard_state: identity.hard_state,
            checkpoint: self.checkpoint.clone(),
            first_index: catalog.first_index,
            last_index: catalog.last_index,
            terms: catalog.terms(),
            lost: self.lost,
            quarantined: self.quarantined,
            clean: self.known.is_some_and(|known| known.clean) || !self.begun,
            slices,
        };
        let start = Start {
            disk: self.disk,
            catalog,
            identity: self.identity,
            active,
            held,
            spare,
            next_number,
            next_sequence: self.highest + 1,
            durable: identity.mark,
            unproven: self.unproven,
            checkpoint_index: self.checkpoint.map_or(0, |checkpoint| checkpoint.index),
        };
        Ok((Store::start(start, self.config), recovery))
    }

    /// The first and last raft index: from the end back as far as the log goes without a hole
    /// that no checkpoint covers.
    fn frame_log(&self, catalog: &mut Catalog) {
        let checkpoint = self
            .checkpoint
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.index);
        let mut first = None;
        let mut last = 0;
        for entry in catalog
            .slices()
            .rev()
            .filter(|entry| !entry.summary.reduced)
        {
            let (from, to) = (entry.summary.first_index, entry.last_index());
            if to < from {
                continue;
            }
            match first {
                None => (first, last) = (Some(from), to),
                Some(begun) if to + 1 >= begun || to > checkpoint => first = Some(from.min(begun)),
                Some(_) => break,
            }
        }
        if last < checkpoint {
            (first, last) = (Some(checkpoint + 1), checkpoint);
        }
        catalog.first_index = first.unwrap_or(1);
        catalog.last_index = last;
    }

    fn incarnation(&self, catalog: &Catalog, last_crc: u32) -> (Identity, Option<u64>) {
        let known = self.known.unwrap_or_default();
        let renewed = self.begun && (self.known.is_none() || !self.lost.is_empty());
        let last_index = catalog.last_index;
        let term_seen = catalog.terms().last().map_or(0, |(_, term)| *term);
        let term_seen = term_seen.max(
            self.checkpoint
                .as_ref()
                .map_or(0, |checkpoint| checkpoint.term),
        );
        let mut hard_state = HardState {
            term: known.hard_state.term.max(term_seen),
            commit: known.hard_state.commit.min(last_index),
            ..known.hard_state
        };
        let mut store_id = known.store_id;
        if renewed {
            hard_state.term += 1;
            hard_state.vote = 0;
        }
        if renewed || store_id == 0 {
            store_id = self.disk.random();
        }
        let crc = if known.mark.sequence == self.top {
            known.mark.crc
        } else {
            last_crc
        };
        let identity = Identity {
            store_id,
            boot_count: known.boot_count + 1,
            hard_state,
            mark: Mark {
                sequence: self.top,
                crc,
                index: last_index,
                term: catalog.term_at(last_index),
            },
            clean: false,
        };
        (identity, renewed.then_some(known.store_id))
    }

    fn highest_number_seen(&self) -> Result<u64, DiskError> {
        Ok(self.disk.slice_numbers()?.last().map_or(1, |last| last + 1))
    }
}

fn next_number<D: Disk>(pieces: &[Piece<D>]) -> u64 {
    pieces
        .iter()
        .map(|piece| piece.number)
        .max()
        .map_or(1, |last| last + 1)
}

/// Puts a slice that was read into the catalog; false when nothing in it counts.
fn list(catalog: &mut Catalog, number: u64, file_bytes: u64, accepted: &[Found]) -> bool {
    let Some(first) = accepted.first() else {
        return false;
    };
    let summary = Summary {
        first_sequence: first.sequence,
        ..catalog::empty_summary(first.envelope.store_id, first.envelope.previous)
    };
    catalog.add(
        number,
        summary,
        Some(slice_index::SliceIndex::default()),
        file_bytes,
    );
    for frame in accepted {
        let stored_bytes = frame.data.len() as u64;
        catalog.push(
            number,
            frame.place(),
            stored_bytes,
            frame.envelope.kind,
            &frame.data,
        );
    }
    true
}
