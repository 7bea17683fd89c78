//! The tail: what recovery found behind the durable mark, until it is copied to a new slice.
//!
//! That it can be read proves nothing, so until then it is served from memory and nothing is
//! appended behind it. Called when a store is opened, before an append, and by `upkeep`.

use super::Store;
use crate::copy::{self, Plan};
use crate::scan::Found;
use crate::{Disk, DiskError};

/// A slice in which nothing counts but perhaps the tail.
pub(crate) struct Leftover {
    pub number: u64,
    /// It is damaged.
    pub quarantine: bool,
}

/// A start tries so often to copy the end of the log; after that upkeep does.
const TAIL_ATTEMPTS: usize = 3;

impl<D: Disk> Store<D> {
    /// Takes what recovery found behind the durable mark. While it cannot be copied, it is served
    /// from memory.
    pub(crate) fn adopt_tail(&mut self, tail: Vec<Found>, leftovers: Vec<Leftover>) {
        self.shared
            .set_tail(tail.iter().map(Found::entry).collect());
        self.tail = tail;
        self.leftovers = leftovers;
        for _ in 0..TAIL_ATTEMPTS {
            match self.save_tail() {
                Ok(()) => return self.remove_leftovers(),
                Err(error) => log::error!("the end of the log is not copied yet: {error}"),
            }
        }
    }

    /// The last index that is surely on the disk. What the tail writes over is there, too, but is
    /// not what a reader is given.
    pub(crate) fn proven_index(&self) -> u64 {
        let written_over = self.tail.iter().map(|frame| frame.envelope.index).min();
        let last_index = self.shared.catalog().last_index;
        written_over.map_or(last_index, |first| last_index.min(first - 1))
    }

    /// Slices that do not count and could not be got rid of yet.
    pub(crate) fn get_rid_later(&mut self, to_remove: &[u64], to_quarantine: &[u64]) {
        for number in to_remove {
            self.upkeep.remove_later(*number);
        }
        for number in to_quarantine {
            self.upkeep.quarantine_later(*number);
        }
    }

    fn remove_leftovers(&mut self) {
        for leftover in std::mem::take(&mut self.leftovers) {
            match leftover.quarantine {
                true => self.upkeep.quarantine_later(leftover.number),
                false => self.upkeep.remove_later(leftover.number),
            }
        }
    }

    /// Copies it. The original counts until the copy is complete.
    pub(crate) fn save_tail(&mut self) -> Result<(), DiskError> {
        let Some(last) = self.tail.last() else {
            return Ok(());
        };
        let mark = last.mark();
        let plan = Plan {
            number: self.next_number,
            store_id: self.identity.current().store_id,
            continues: self.durable.sequence,
            covers: mark.sequence,
            replaces: Vec::new(),
            reduced: false,
            voids_from: u64::MAX,
            void_from: u64::MAX,
        };
        self.next_number += 1;
        let mut tail = self.tail.iter().cloned().map(Ok);
        let (disk, secret) = (&self.shared.disk, self.shared.secret);
        let copied = copy::write(disk, secret, &plan, &mut tail);
        if copied.is_err() {
            // What there is of it was removed at once, if the disk let it.
            self.upkeep.remove_later(plan.number);
        }
        let Some((summary, _)) = copied? else {
            return Ok(());
        };
        // Before the catalog is locked: this walks a folder.
        let file_bytes = self.shared.disk.slice_bytes(plan.number);
        let mut catalog = self.shared.catalog_mut();
        catalog.void_before(plan.number, summary.voids_from);
        catalog.last_index = mark.index;
        catalog.add(plan.number, summary, None, file_bytes);
        drop(catalog);
        self.room.grow(file_bytes);
        self.durable = mark;
        self.tail = Vec::new();
        self.shared.set_tail(Vec::new());
        self.remove_leftovers();
        Ok(())
    }
}
