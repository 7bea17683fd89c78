//! Who the store is from now on: its id, its hard state and its durable mark.
//!
//! After a loss, or beside slices whose identity file is gone, a new incarnation begins: a new id,
//! the next term, an empty vote. Called by the opening of a store; the file itself is `identity`'s.

use super::{Recovering, SYNC_ATTEMPTS};
use crate::catalog::Catalog;
use crate::identity::{Identity, Mark};
use crate::{Disk, DiskError, HardState};

impl<D: Disk> Recovering<D> {
    /// A disk that refuses this now is asked again before anything is promised.
    pub(super) fn sync_identity(&mut self) {
        for _ in 0..SYNC_ATTEMPTS {
            match self.identity.sync(&self.disk) {
                Ok(()) => return,
                Err(DiskError::Full) => drop(crate::room::give_up_ballast_file(&self.disk)),
                Err(error) => log::error!("identity file is not synced: {error}"),
            }
        }
    }

    /// Whether a new incarnation begins.
    pub(super) fn is_renewed(&self) -> bool {
        self.begun && (self.known.is_none() || !self.lost.is_empty())
    }

    /// The identity to go on with, and the store id before it if this is a new incarnation.
    pub(super) fn incarnation(&self, catalog: &Catalog, last_crc: u32) -> (Identity, Option<u64>) {
        let known = self.known.unwrap_or_default();
        let renewed = self.is_renewed();
        let mut hard_state = self.hard_state(known.hard_state, catalog);
        let mut store_id = known.store_id;
        if renewed {
            hard_state.term += 1;
            hard_state.vote = 0;
        }
        if renewed || store_id == 0 {
            store_id = self.disk.random();
        }
        let identity = Identity {
            store_id,
            secret: self.secret,
            boot_count: known.boot_count + 1,
            hard_state,
            mark: self.mark(&known.mark, catalog, last_crc),
            clean: false,
            had_checkpoint: known.had_checkpoint || self.checkpoint.is_some(),
        };
        (identity, renewed.then_some(known.store_id))
    }

    /// The known one, where the log does not say more, and no more than the log has.
    fn hard_state(&self, known: HardState, catalog: &Catalog) -> HardState {
        let in_slices = catalog.terms().into_iter().map(|(_, term)| term);
        let in_tail = self.tail.iter().map(|frame| frame.envelope.term);
        let in_checkpoint = self.checkpoint.iter().map(|checkpoint| checkpoint.term);
        let terms = in_slices.chain(in_tail).chain(in_checkpoint);
        HardState {
            term: terms.fold(known.term, u64::max),
            commit: known.commit.min(self.last_index(catalog)),
            ..known
        }
    }

    /// The last write that counts and is durable; the tail comes behind it.
    fn mark(&self, known: &Mark, catalog: &Catalog, last_crc: u32) -> Mark {
        let index = catalog.last_index;
        Mark {
            sequence: self.top,
            crc: match known.sequence == self.top {
                true => known.crc,
                false => last_crc,
            },
            index,
            term: catalog.term_at(index),
        }
    }
}
