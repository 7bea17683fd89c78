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

mod chain;

use chain::{Gap, Section, Write};

use crate::catalog::{self, Catalog, SliceEntry};
use crate::copy::{self, Plan};
use crate::identity::{Found as FoundIdentity, Identity, IdentityFile, Mark};
use crate::scan::{self, Found, Meta, Scanned};
use crate::slice_index::{self, SliceIndex, Summary};
use crate::store::{Active, Start, Store, poison_file};
use crate::{
    Checkpoint, Disk, DiskError, HardState, LostRange, OpenError, Recovery, Slice, StoreConfig,
    checkpoint, value,
};

/// One slice as found.
struct Piece {
    number: u64,
    content: Content,
    poisoned_at: Option<u64>,
    /// Frames of it are lost: to be salvaged.
    damaged: bool,
}

enum Content {
    Sealed(Box<Summary>),
    Scanned {
        scanned: Scanned,
        accepted: Vec<u64>,
        covers: u64,
    },
}

impl Piece {
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
    sync_names(&disk);
    let (mut identity, found) = IdentityFile::load(&disk)?;
    identity.renew();
    let checkpoint = checkpoint::load(&disk)?;
    let mut pieces = pieces(&disk)?;
    let known = match found {
        FoundIdentity::Slot(identity) => Some(identity),
        FoundIdentity::Missing | FoundIdentity::Damaged => None,
    };
    let checkpoint_index = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.index);
    let durable = durable(known, &pieces);
    let judged = judge(known, checkpoint_index, durable, &mut pieces);
    let tail = take_tail(&disk, &mut pieces, durable);
    let begun = pieces.iter().any(|piece| piece.order() != u64::MAX) || checkpoint.is_some();
    let recovering = Recovering {
        disk,
        config,
        identity,
        known,
        checkpoint,
        lost: judged.lost,
        quarantined: Vec::new(),
        top: pieces
            .iter()
            .rev()
            .find_map(Piece::last_accepted)
            .unwrap_or(0),
        tail,
        highest: judged.highest,
        begun,
    };
    recovering.finish(pieces)
}

/// What an earlier process named last may only be in the cache. A disk that fails now will fail
/// again where it matters.
fn sync_names<D: Disk>(disk: &D) {
    for _ in 0..SYNC_ATTEMPTS {
        match disk.sync_names() {
            Ok(()) => return,
            Err(error) => log::error!("folders are not synced: {error}"),
        }
    }
}

const SYNC_ATTEMPTS: usize = 3;

fn pieces<D: Disk>(disk: &D) -> Result<Vec<Piece>, DiskError> {
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

fn remove<D: Disk>(disk: &D, number: u64) {
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

/// What the chain of writes says about the slices.
struct Judged {
    highest: u64,
    lost: Vec<LostRange>,
}

/// The last write that is known to have been durable.
fn durable(known: Option<Identity>, pieces: &[Piece]) -> u64 {
    let proven = pieces.iter().map(Piece::proves).max().unwrap_or(0);
    proven.max(known.map_or(0, |identity| identity.mark.sequence))
}

/// Sorts out which frames count, and marks the slices that lost some as damaged.
fn judge(
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
    let closed = |at: usize| !matches!(sections.get(at), Some(Section::Open { .. }));
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
    for gap in &verdict.gaps {
        let closed = closed(gap.section) || gap.after == 0;
        let behind = gap.index_after.map_or(u64::MAX, |index| index - 1);
        let not_void = gap.void_from.map_or(u64::MAX, |index| index - 1);
        if closed && (not_void <= checkpoint_index || behind <= gap.index_before) {
            // Retention dropped what was between two slices.
            continue;
        }
        if let Some(piece) = pieces.get_mut(gap.section) {
            piece.cover(gap.to);
        }
        judged
            .lost
            .push(lost_range(gap, mark.filter(|mark| mark.sequence == gap.to)));
    }
    judged
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
fn take_tail<D: Disk>(disk: &D, pieces: &mut [Piece], durable: u64) -> Vec<Found> {
    let mut tail = Vec::new();
    for piece in pieces {
        if let Content::Scanned {
            accepted, scanned, ..
        } = &mut piece.content
        {
            let kept = accepted.partition_point(|sequence| *sequence <= durable);
            let read = |sequence| scanned.read(disk, piece.number, sequence).ok();
            // What cannot be read a moment after it could ends the tail.
            tail.extend(accepted.drain(kept..).map_while(read));
        }
    }
    tail
}

impl Piece {
    fn section(&self) -> Section {
        match &self.content {
            Content::Sealed(summary) => Section::Closed {
                continues: summary.continues,
                last_sequence: summary.last_sequence,
                indexes: summary.first_index..=summary.last_index,
            },
            Content::Scanned { scanned, .. } => {
                let write = |frame: &Meta| Write {
                    sequence: frame.sequence,
                    previous: frame.envelope.previous,
                    index: frame.envelope.index,
                };
                let writes: Vec<Write> = scanned.frames.iter().map(write).collect();
                let header = scanned.header.as_ref();
                match (
                    header.filter(|header| !header.replaces.is_empty()),
                    writes.last(),
                ) {
                    (Some(copy), Some(last)) => Section::Closed {
                        continues: copy.continues,
                        last_sequence: last.sequence,
                        indexes: writes[0].index..=last.index,
                    },
                    _ => Section::Open {
                        continues: header.map(|h| h.continues),
                        writes,
                    },
                }
            }
        }
    }

    fn last_accepted(&self) -> Option<u64> {
        match &self.content {
            Content::Sealed(summary) => Some(summary.last_sequence),
            Content::Scanned { accepted, .. } => accepted.last().copied(),
        }
    }

    fn last_sequence(&self) -> u64 {
        match &self.content {
            Content::Sealed(summary) => summary.last_sequence,
            Content::Scanned { scanned, .. } => scanned.last_sequence,
        }
    }

    /// Keeps the frames that count.
    fn accept(&mut self, counts: &[u64]) {
        let closed = matches!(self.section(), Section::Closed { .. });
        if let Content::Scanned {
            scanned,
            accepted,
            covers,
        } = &mut self.content
        {
            *accepted = match closed {
                true => scanned.frames.iter().map(|frame| frame.sequence).collect(),
                false => counts.to_vec(),
            };
            *covers = accepted.last().copied().unwrap_or(0);
        }
    }

    /// The write of the durable mark must be the one that was marked.
    fn misses_mark(&self, mark: &Mark) -> Option<LostRange> {
        let Content::Scanned {
            accepted, scanned, ..
        } = &self.content
        else {
            return None;
        };
        accepted.binary_search(&mark.sequence).ok()?;
        let frame = scanned
            .frames
            .iter()
            .find(|frame| frame.sequence == mark.sequence)?;
        (frame.crc != mark.crc).then(|| LostRange {
            first_index: mark.index,
            last_index: mark.index,
            partitions: Vec::new(),
            cause: format!("write {} is not the one that was durable", mark.sequence),
        })
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
    /// The last write that counts and is durable.
    top: u64,
    /// What was written after it.
    tail: Vec<Found>,
    highest: u64,
    /// There was something here before.
    begun: bool,
}

impl<D: Disk> Recovering<D> {
    fn finish(mut self, pieces: Vec<Piece>) -> Result<(Store<D>, Recovery), OpenError> {
        let slices = pieces.len();
        let mut built = Built {
            catalog: Catalog::default(),
            active: None,
            held: Vec::new(),
            leftovers: Vec::new(),
            last_crc: 0,
            next_number: self.disk.slice_numbers()?.last().map_or(1, |last| last + 1),
        };
        let newest = pieces.iter().rposition(|piece| piece.order() != u64::MAX);
        for (at, piece) in pieces.into_iter().enumerate() {
            let may_go_on = Some(at) == newest && self.tail.is_empty();
            self.take(&mut built, piece, may_go_on);
        }
        let Built {
            mut catalog,
            active,
            held,
            leftovers,
            last_crc,
            next_number,
        } = built;
        self.frame_log(&mut catalog);
        let (identity, previous_store_id) = self.incarnation(&catalog, last_crc);
        self.identity.write(&self.disk, identity);
        self.sync_identity();
        let tail_terms = self
            .tail
            .iter()
            .map(|frame| (frame.envelope.index, frame.envelope.term));
        let mut recovery = Recovery {
            store_id: identity.store_id,
            previous_store_id,
            boot_count: identity.boot_count,
            hard_state: identity.hard_state,
            checkpoint: self.checkpoint.clone(),
            first_index: catalog.first_index,
            last_index: self.last_index(&catalog),
            proven_index: 0,
            terms: catalog::join_terms(catalog.terms(), tail_terms),
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
            next_number,
            next_sequence: self.highest + 1,
            durable: identity.mark,
            checkpoint_index: self.checkpoint.map_or(0, |checkpoint| checkpoint.index),
        };
        let mut store = Store::start(start, self.config);
        store.adopt_tail(self.tail, leftovers);
        recovery.proven_index = store.shared.catalog().last_index;
        Ok((store, recovery))
    }

    /// A disk that refuses this now is asked again before anything is promised.
    fn sync_identity(&mut self) {
        for _ in 0..SYNC_ATTEMPTS {
            match self.identity.sync(&self.disk) {
                Ok(()) => return,
                Err(DiskError::Full) => drop(crate::room::give_up_ballast_file(&self.disk)),
                Err(error) => log::error!("identity file is not synced: {error}"),
            }
        }
    }

    /// The first and last raft index: from the end back as far as the log goes without a hole
    /// that no checkpoint covers.
    fn frame_log(&self, catalog: &mut Catalog) {
        let checkpoint = self
            .checkpoint
            .as_ref()
            .map_or(0, |checkpoint| checkpoint.index);
        // The tail voids what the slices have from its lowest index on.
        let tail_from = self.tail.iter().map(|frame| frame.envelope.index).min();
        let void_from = tail_from.unwrap_or(u64::MAX);
        let mut first = tail_from;
        let mut last = None;
        let whole = |entry: &&SliceEntry| !entry.summary.reduced;
        for entry in catalog.slices().rev().filter(whole) {
            let (from, to) = (entry.summary.first_index, entry.last_index());
            if to < from {
                continue;
            }
            last.get_or_insert(to);
            if from >= void_from {
                continue;
            }
            let to = to.min(void_from - 1);
            match first {
                None => first = Some(from),
                Some(begun) if to + 1 >= begun || to > checkpoint => first = Some(from.min(begun)),
                Some(_) => break,
            }
        }
        let mut last = last.unwrap_or(0);
        // The tail is in no slice that counts yet, but it is the end of the log.
        let end = self
            .tail
            .last()
            .map_or(last, |frame| frame.envelope.index.max(last));
        if end < checkpoint {
            (first, last) = (Some(checkpoint + 1), checkpoint);
        }
        catalog.first_index = first.unwrap_or(1);
        catalog.last_index = last;
    }

    fn last_index(&self, catalog: &Catalog) -> u64 {
        self.tail
            .last()
            .map_or(catalog.last_index, |frame| frame.envelope.index)
    }

    fn incarnation(&self, catalog: &Catalog, last_crc: u32) -> (Identity, Option<u64>) {
        let known = self.known.unwrap_or_default();
        let renewed = self.begun && (self.known.is_none() || !self.lost.is_empty());
        let last_index = catalog.last_index;
        let terms = catalog.terms().into_iter().map(|(_, term)| term);
        let term_seen = terms
            .chain(self.tail.iter().map(|frame| frame.envelope.term))
            .max();
        let term_seen = term_seen.unwrap_or(0);
        let term_seen = term_seen.max(
            self.checkpoint
                .as_ref()
                .map_or(0, |checkpoint| checkpoint.term),
        );
        let mut hard_state = HardState {
            term: known.hard_state.term.max(term_seen),
            commit: known.hard_state.commit.min(self.last_index(catalog)),
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

    /// Takes a slice into the log.
    fn take(&mut self, built: &mut Built<D>, piece: Piece, may_go_on: bool) {
        if piece.order() == u64::MAX {
            // Created ahead; nobody knows whether it was synced.
            match piece.damaged {
                true => self.quarantine(piece.number),
                false => remove(&self.disk, piece.number),
            }
            return;
        }
        let file_bytes = self.disk.slice_bytes(piece.number);
        match piece.content {
            Content::Sealed(summary) => built.add_sealed(piece.number, *summary, file_bytes),
            Content::Scanned { ref accepted, .. } if accepted.is_empty() => match piece.damaged {
                true => self.quarantine(piece.number),
                // The tail may be in it: not before that is copied.
                false => built.leftovers.push(piece.number),
            },
            Content::Scanned { .. } if piece.damaged => self.salvage(built, &piece, file_bytes),
            Content::Scanned { .. } => self.reopen(built, &piece, may_go_on, file_bytes),
        }
    }

    /// Lists a slice that was not sealed. The newest is opened, to go on in it.
    fn reopen(&mut self, built: &mut Built<D>, piece: &Piece, may_go_on: bool, file_bytes: u64) {
        let number = piece.number;
        if may_go_on && piece.poisoned_at.is_none() {
            return self.go_on(built, piece, file_bytes);
        }
        let frames = piece.frames(&self.disk);
        if built.list(number, file_bytes, frames).is_err() {
            built.catalog.remove(number);
            return self.salvage(built, piece, file_bytes);
        }
        if let Some(entry) = built.catalog.get_mut(number) {
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
                .try_for_each(|frame| has_frame(&slice, frame.sequence));
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

    /// Copies what is left of a damaged slice, then moves the original aside.
    fn salvage(&mut self, built: &mut Built<D>, piece: &Piece, file_bytes: u64) {
        let Content::Scanned {
            scanned, accepted, ..
        } = &piece.content
        else {
            return;
        };
        let disk = &self.disk;
        let mut read = Vec::new();
        for sequence in accepted {
            read.extend(scanned.read(disk, piece.number, *sequence));
        }
        self.copy(built, piece, file_bytes, &mut read.into_iter().map(Ok));
    }

    fn copy(
        &mut self,
        built: &mut Built<D>,
        piece: &Piece,
        file_bytes: u64,
        frames: &mut dyn Iterator<Item = Result<Found, DiskError>>,
    ) {
        let Content::Scanned {
            scanned, covers, ..
        } = &piece.content
        else {
            return;
        };
        let header = scanned.header.as_ref();
        let plan = Plan {
            number: built.next_number,
            store_id: header.map_or(0, |header| header.store_id),
            continues: piece.continues(),
            covers: *covers,
            replaces: vec![piece.number],
            reduced: header.is_some_and(|header| header.reduced),
            voids_from: u64::MAX,
            void_from: u64::MAX,
        };
        built.next_number += 1;
        match copy::write(&self.disk, &plan, frames) {
            Ok(Some((summary, _))) => {
                built.add_sealed(plan.number, summary, self.disk.slice_bytes(plan.number));
                self.quarantine(piece.number);
            }
            Ok(None) => self.quarantine(piece.number),
            Err(error) => {
                log::error!("slice {} cannot be copied now: {error}", piece.number);
                // Served as it is; upkeep tries the copy again.
                let frames = piece.frames(&self.disk);
                if built.list(piece.number, file_bytes, frames).is_err() {
                    log::error!("slice {} is served in part", piece.number);
                }
                if let Some(entry) = built.catalog.get_mut(piece.number) {
                    entry.damaged = true;
                }
            }
        }
    }

    fn quarantine(&mut self, number: u64) {
        match self.disk.quarantine_slice(number) {
            Ok(name) => self.quarantined.push(name),
            Err(error) => log::error!("slice {number} cannot be moved aside: {error}"),
        }
    }
}

/// The log as it is put together.
struct Built<D: Disk> {
    catalog: Catalog,
    active: Option<Active<D>>,
    held: Vec<(u64, Arc<D::Slice>)>,
    /// Slices in which nothing counts.
    leftovers: Vec<u64>,
    last_crc: u32,
    next_number: u64,
}

impl<D: Disk> Built<D> {
    fn add_sealed(&mut self, number: u64, summary: Summary, file_bytes: u64) {
        self.catalog.void_before(number, summary.voids_from);
        self.catalog.last_index = summary.last_index;
        self.catalog.add(number, summary, None, file_bytes);
    }

    /// Adds a slice that is not sealed, frame by frame.
    fn list(
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
                    ..catalog::empty_summary(frame.envelope.store_id, frame.envelope.previous)
                };
                let index = Some(SliceIndex::default());
                self.catalog.add(number, summary, index, file_bytes);
            }
            self.last_crc = frame.crc;
            let stored_bytes = frame.data.len() as u64;
            let kind = frame.envelope.kind;
            self.catalog
                .push(number, frame.place(), stored_bytes, kind, &frame.data);
        }
        Ok(())
    }
}

impl Piece {
    /// Its frames that count, read one by one.
    fn frames<'a, D: Disk>(
        &'a self,
        disk: &'a D,
    ) -> impl Iterator<Item = Result<Found, DiskError>> + 'a {
        let found = match &self.content {
            Content::Sealed(_) => None,
            Content::Scanned {
                scanned, accepted, ..
            } => Some((scanned, accepted)),
        };
        found.into_iter().flat_map(move |(scanned, accepted)| {
            let read = move |sequence: &u64| scanned.read(disk, self.number, *sequence);
            accepted.iter().map(read)
        })
    }
}

fn has_frame<S: Slice>(slice: &S, sequence: u64) -> Result<(), DiskError> {
    match slice.get(sequence, 0)? {
        Some(value) => value::check(&value, sequence, 0).map(drop),
        None => Err(DiskError::Damaged(format!("write {sequence} is not found"))),
    }
}
