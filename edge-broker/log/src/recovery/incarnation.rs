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

    pub(super) fn incarnation(&self, catalog: &Catalog, last_crc: u32) -> (Identity, Option<u64>) {
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
}
