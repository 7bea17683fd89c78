//! The newest slice: how it begins, when it is full, what happens when a write to it fails.
//!
//! What is written to it is `append`'s affair; sealing it is left to `upkeep`. Only the append path
//! calls this, and recovery, which may open a slice to go on in it.

use std::sync::Arc;

use super::Store;
use crate::{Disk, DiskError};

/// The slice that is written.
pub(crate) struct Active<D: Disk> {
    pub number: u64,
    pub slice: Arc<D::Slice>,
    pub stored_bytes: u64,
    /// Its header is in it, though perhaps not synced.
    pub begun: bool,
    /// Its first frames are in the catalog.
    pub listed: bool,
    pub continues: u64,
}

impl<D: Disk> Store<D> {
    pub(super) fn roll_if_full(&mut self) {
        let limit = self.config.slice_bytes;
        let full = self
            .active
            .take_if(|active| active.stored_bytes >= limit)
            .map(|active| active.number);
        if let Some(number) = full {
            // An open slice keeps all it holds in memory, and at full speed several wait to be
            // sealed.
            self.shared.let_go(number);
        }
    }

    /// Takes the slice created ahead, or creates one.
    pub(super) fn begin_slice(&mut self) -> Result<(), DiskError> {
        let (number, slice) = match self.take_prepared() {
            Some(prepared) => prepared,
            None => {
                let number = self.next_number;
                self.next_number += 1;
                (number, Arc::new(self.shared.create_slice(number)?))
            }
        };
        self.shared.hold(number, Arc::clone(&slice));
        self.active = Some(Active {
            number,
            slice,
            stored_bytes: 0,
            begun: false,
            listed: false,
            continues: self.durable.sequence,
        });
        Ok(())
    }

    /// A failed write or sync: nothing more is written to this slice, ever. What was durable in
    /// it stays readable; upkeep copies it elsewhere.
    pub(super) fn give_up_active(&mut self, error: &DiskError) {
        let Some(active) = self.active.take() else {
            return;
        };
        if *error != DiskError::Full {
            self.stats.poisoned_slices += 1;
        }
        log::error!("slice {} is read only from now on: {error}", active.number);
        // If only this process dies, the cache still shows what the disk never got.
        let mark = self.durable.sequence.to_le_bytes();
        let _ = self
            .shared
            .disk
            .replace_file(&poison_file(active.number), &mark);
        match self.shared.catalog_mut().get_mut(active.number) {
            Some(entry) => entry.poisoned = true,
            None => self.upkeep.remove_later(active.number),
        }
    }
}

/// Stands beside a poisoned slice: how far it counts.
pub(crate) fn poison_file(number: u64) -> String {
    format!("slices/{number}/poisoned")
}
