//! Slices that were taken out of the log, until they are out of the folder too.
//!
//! A start would find them there. So each is tried again after a pause of its own, and one that
//! voided something in another goes after it.

use super::{Upkeep, source};
use crate::catalog::{Catalog, SliceEntry};
use crate::jobs::Job;
use crate::pause::Pause;
use crate::{Disk, Store};

/// A slice in no catalog, to be got rid of. It is still in the folder: a start would find it.
#[derive(Debug)]
pub struct Gone {
    pub number: u64,
    /// Older slices in which it voided something: that is noted there first.
    pub voids: Vec<u64>,
    pub quarantine: bool,
    pub pause: Pause,
}

impl Gone {
    fn new(number: u64, quarantine: bool) -> Gone {
        Gone {
            number,
            voids: Vec::new(),
            quarantine,
            pause: Pause::default(),
        }
    }
}

impl<D: Disk> Upkeep<D> {
    /// Removes a slice that is in no catalog, when there is time.
    pub fn remove_later(&mut self, number: u64) {
        self.gone.push(Gone::new(number, false));
    }

    /// Moves one aside, when there is time.
    pub fn quarantine_later(&mut self, number: u64) {
        self.gone.push(Gone::new(number, true));
    }

    /// Every slice that was taken out of the log is out of the folder too: none can come back.
    pub fn all_gone(&self) -> bool {
        self.gone.is_empty()
    }

    /// Whether a slice is still in the folder though it is in no catalog.
    pub(super) fn is_gone(&self, number: u64) -> bool {
        self.gone.iter().any(|gone| gone.number == number)
    }
}

impl<D: Disk> Store<D> {
    /// The next slice in no catalog. One that voided something in another goes after it: else the
    /// other could come back with it.
    pub(super) fn get_rid(&self, now_ms: u64) -> Option<Job> {
        let may = |gone: &&Gone| {
            let is_last = !gone.voids.iter().any(|older| self.upkeep.is_gone(*older));
            gone.pause.is_over(now_ms) && is_last
        };
        let gone = self.upkeep.gone.iter().find(may)?;
        let number = gone.number;
        if gone.quarantine {
            return Some(Job::Quarantine { number });
        }
        let catalog = self.shared.catalog();
        let voided = gone
            .voids
            .iter()
            .filter_map(|older| source(&catalog, *older));
        let voided = voided
            .map(|source| (source.number, source.summary))
            .collect();
        Some(Job::Remove { number, voided })
    }

    /// A copy whose original is still in the folder: without the copy a start would take the
    /// original for the log.
    pub(super) fn stands_for_gone(&self, entry: &SliceEntry) -> bool {
        let originals = &entry.summary.replaces;
        originals.iter().any(|number| self.upkeep.is_gone(*number))
    }

    /// A slice is no longer in the folder; what waited for that may go too.
    pub(super) fn note_rid(&mut self, number: u64) {
        self.upkeep.gone.retain(|gone| gone.number != number);
        self.upkeep.stale = true;
    }
}

/// Takes a slice out of the catalog; older slices are to remember what it voided in them.
pub fn take_out(catalog: &mut Catalog, number: u64, quarantine: bool) -> Option<Gone> {
    let entry = catalog.remove(number)?;
    let is_voided = |older: &&SliceEntry| {
        older.sealed()
            && older.summary.first_sequence < entry.summary.first_sequence
            && entry.summary.voids_from <= older.summary.last_index
    };
    let voided = catalog.slices().filter(is_voided);
    let voids = voided.map(|older| older.number).collect();
    Some(Gone {
        voids,
        ..Gone::new(number, quarantine)
    })
}
