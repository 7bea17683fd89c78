//! Opening: from what the disk holds to a log that goes on.
//!
//! ```text
//! identity ──┐
//! checkpoint ├─> inventory ──> judge ──> rebuild ──> bounds, incarnation ──> Store, Recovery
//! slices ────┘   what is       what      catalog,    what a start goes on
//!                there         counts    salvage     from
//! ```
//! Slices count in write order. A gap in the chain of writes is a torn tail when nobody can have
//! been told that it was on the disk, otherwise a loss: then what is left of the slice is copied,
//! the original goes to quarantine, and the store begins a new incarnation. Of sealed slices the
//! frames behind the checkpoint are read (`sealed`), since the replay would stop at one that is
//! lost. Opening never refuses for damage. Called by `Store::open`; the store that comes of it
//! writes what is not proven again.

mod bounds;
mod chain;
mod incarnation;
mod inventory;
mod judge;
mod piece;
mod rebuild;
mod sealed;
mod unknown;

use inventory::{Inventory, Unwanted};
use judge::{durable, judge, take_tail};
use piece::Piece;

use crate::catalog::{self, Catalog};
use crate::identity::{Found as FoundIdentity, Identity, IdentityFile};
use crate::scan::Found;
use crate::secret::Secret;
use crate::store::{Names, Start, Store};
use crate::{Checkpoint, Disk, LostRange, OpenError, Recovery, StoreConfig, checkpoint};

/// Opens a store.
pub fn open<D: Disk>(disk: D, config: StoreConfig) -> Result<(Store<D>, Recovery), OpenError> {
    let (mut identity, found) = IdentityFile::load(&disk)?;
    identity.renew();
    let loaded = checkpoint::load(&disk)?;
    let (checkpoint, covered_index) = (loaded.newest, loaded.covered_index);
    let known = match found {
        FoundIdentity::Slot(identity) => Some(identity),
        FoundIdentity::Missing | FoundIdentity::Damaged => None,
    };
    let secret = Secret::of(&disk, known)?;
    let Inventory {
        mut pieces,
        mut unwanted,
        unsynced,
        next_number,
    } = inventory::take(&disk, secret)?;
    let checkpoint_index = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.index);
    let durable = durable(known, &pieces);
    let mut judged = judge(known, checkpoint_index, durable, &mut pieces);
    let mut quarantined = Vec::new();
    let is_begun = |piece: &Piece| piece.damaged || !piece.is_empty();
    let begun = pieces.iter().any(is_begun) || checkpoint.is_some() || loaded.damaged > 0;
    let trimmed = may_be_trimmed(known, &pieces);
    let unreadable = checkpoint.is_none() && (loaded.damaged > 0 || trimmed);
    if unreadable && !unknown::begins_at_first(&pieces) {
        let (moved, lost) = unknown::put_aside(&disk, &mut pieces, &mut unwanted);
        quarantined = moved;
        judged.lost = vec![lost];
    }
    let missed = sealed::check(&disk, secret, checkpoint_index, &mut pieces);
    judged.lost.extend(missed);
    let (tail, unread) = take_tail(&disk, &mut pieces, durable);
    judged.lost.extend(unread);
    let recovering = Recovering {
        disk,
        config,
        identity,
        secret,
        known,
        checkpoint,
        covered_index,
        lost: judged.lost,
        quarantined,
        top: pieces
            .iter()
            .rev()
            .find_map(Piece::last_accepted)
            .unwrap_or(0),
        tail,
        highest: judged.highest,
        begun,
        unsynced,
        unwanted,
        next_number,
    };
    Ok(recovering.finish(pieces))
}

/// Whether retention took the beginning of the log. It does so only behind a checkpoint, so one
/// that is not there was lost; what damage took while there was none is just gone.
fn may_be_trimmed(known: Option<Identity>, pieces: &[Piece]) -> bool {
    let had_checkpoint = known.is_none_or(|identity| identity.had_checkpoint);
    had_checkpoint && pieces.first().is_some_and(Piece::is_trimmed)
}

const SYNC_ATTEMPTS: usize = 3;

/// A store on its way up.
struct Recovering<D: Disk> {
    disk: D,
    config: StoreConfig,
    identity: IdentityFile,
    secret: Secret,
    /// What the identity file said, if it could be read.
    known: Option<Identity>,
    checkpoint: Option<Checkpoint>,
    covered_index: u64,
    lost: Vec<LostRange>,
    quarantined: Vec<String>,
    /// The last write that counts and is durable.
    top: u64,
    /// What was written after it.
    tail: Vec<Found>,
    /// The highest write of which anything is there.
    highest: u64,
    /// There was something here before.
    begun: bool,
    unsynced: Option<Vec<u64>>,
    unwanted: Unwanted,
    /// For the first slice that this life creates.
    next_number: u64,
}

impl<D: Disk> Recovering<D> {
    fn finish(mut self, pieces: Vec<Piece>) -> (Store<D>, Recovery) {
        let slices = pieces.len();
        let mut built = self.rebuild(pieces);
        self.set_bounds(&mut built.catalog);
        self.note_hole(&built.catalog);
        if self.is_renewed() {
            built.active = None;
        }
        let (identity, previous_store_id) = self.incarnation(&built.catalog, built.last_crc);
        self.identity.write(&self.disk, identity);
        self.sync_identity();
        let mut recovery = self.report(slices, identity, previous_store_id, &built.catalog);
        let built_numbers = built.catalog.slices().map(|entry| entry.number).collect();
        let start = Start {
            disk: self.disk,
            catalog: built.catalog,
            identity: self.identity,
            active: built.active,
            held: built.held,
            next_number: built.next_number,
            next_sequence: self.highest + 1,
            durable: identity.mark,
            checkpoint: self.checkpoint,
            covered_index: self.covered_index,
            names: Names::new(self.unsynced, built_numbers),
        };
        let mut store = Store::start(start, self.config);
        store.adopt_tail(self.tail, built.leftovers);
        store.get_rid_later(&self.unwanted.to_remove, &self.unwanted.to_quarantine);
        recovery.proven_index = store.proven_index();
        (store, recovery)
    }

    /// What is told of the start; what is surely on the disk is known when the tail is copied.
    fn report(
        &mut self,
        slices: usize,
        identity: Identity,
        previous_store_id: Option<u64>,
        catalog: &Catalog,
    ) -> Recovery {
        let tail_terms = self
            .tail
            .iter()
            .map(|frame| (frame.envelope.index, frame.envelope.term));
        Recovery {
            store_id: identity.store_id,
            previous_store_id,
            boot_count: identity.boot_count,
            hard_state: identity.hard_state,
            checkpoint: self.checkpoint.clone(),
            first_index: catalog.first_index,
            last_index: self.last_index(catalog),
            proven_index: 0,
            terms: catalog::join_terms(catalog.terms(), tail_terms),
            lost: std::mem::take(&mut self.lost),
            quarantined: std::mem::take(&mut self.quarantined),
            clean: self.known.is_some_and(|known| known.clean) || !self.begun,
            slices,
        }
    }
}

#[cfg(test)]
mod tests;
