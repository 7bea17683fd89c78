//! A disk in memory that forgets, tears, reorders and lies by a seed.
//!
//! ```text
//! put, write_at ──> pending ── sync ──> durable
//!                      │
//!                 power_cut: each pending value for itself lost, whole, torn at 512 or 4,096
//!                            bytes, or garbage; unsynced creations, renames and removals
//!                            happened or did not
//! ```
//! After a failed sync what it covered can never become durable any more, though it still reads
//! back; that is what Linux does. A lying sync answers Ok and keeps nothing. The same seed and the
//! same calls give the same disk. No clock, file or thread is used: time goes on by `advance_ms`.
//!
//! Here is what a test asks of the disk; what is on it and what a cut does to it is in the modules
//! below. Simulations here and in edge-site use it.

mod closed;
mod contents;
mod disk;
mod power_cut;
mod slice;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use closed::MemClosed;
use contents::{Contents, crashed};
pub use slice::MemSlice;

use crate::DiskError;

/// What the disk may do to its user, besides what the test asks for directly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// One sync in so many fails with EIO; 0 = none.
    pub sync_fails_one_in: u32,
    /// One sync in so many answers Ok and keeps nothing; 0 = none.
    pub sync_lies_one_in: u32,
    /// One read of a value in so many fails with EIO; 0 = none.
    pub read_fails_one_in: u32,
}

/// What happened to a disk, for tests that want to know that it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemStats {
    /// Operations that change the disk.
    pub operations: u64,
    /// Syncs asked for.
    pub syncs: u64,
    /// Syncs that failed.
    pub syncs_failed: u64,
    /// Syncs that lied.
    pub syncs_lied: u64,
    /// Writes refused for want of room.
    pub writes_refused: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Values lost by them.
    pub values_lost: u64,
    /// Values torn or filled with garbage by them.
    pub values_torn: u64,
    /// Unsynced values kept by them.
    pub values_kept: u64,
    /// Closed slices looked through from end to end.
    pub looked_through: u64,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct MemDisk {
    contents: Arc<Mutex<Contents>>,
    generation: u64,
}

impl MemDisk {
    /// An empty disk of unlimited size.
    pub fn new(seed: u64) -> MemDisk {
        let contents = Contents {
            rng: fastrand::Rng::with_seed(seed),
            generation: 0,
            crash_in: None,
            crashed: false,
            now_ms: 0,
            capacity_bytes: u64::MAX,
            faults: Faults::default(),
            fail_syncs: 0,
            fail_sync_nth: None,
            fail_reads: (0, 0),
            written_bytes: 0,
            stats: MemStats::default(),
            slices: BTreeMap::new(),
            files: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            ghosts: BTreeSet::new(),
        };
        MemDisk {
            contents: Arc::new(Mutex::new(contents)),
            generation: 0,
        }
    }

    /// The power goes: what was not synced is lost, kept, torn or garbage, by the seed. Handles
    /// from before fail from now on; begin anew with the returned one.
    #[must_use]
    pub fn power_cut(&self) -> MemDisk {
        self.lock().power_cut();
        self.restarted()
    }

    /// The process is killed and started again: everything written is still there, synced or not.
    /// Handles from before fail from now on; begin anew with the returned one.
    #[must_use]
    pub fn restarted(&self) -> MemDisk {
        let mut contents = self.lock();
        contents.generation += 1;
        contents.crashed = false;
        contents.crash_in = None;
        contents
            .slices
            .values_mut()
            .for_each(|slice| slice.full = false);
        MemDisk {
            contents: Arc::clone(&self.contents),
            generation: contents.generation,
        }
    }

    /// Lets the disk's clock go on.
    pub fn advance_ms(&self, ms: u64) {
        self.lock().now_ms += ms;
    }

    /// After so many more operations everything fails, until the power cut or restart.
    pub fn crash_after(&self, operations: u64) {
        self.lock().crash_in = Some(operations);
    }

    /// Whether [`crash_after`](MemDisk::crash_after) has struck.
    pub fn is_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// The next so many syncs fail.
    pub fn fail_syncs(&self, count: u32) {
        self.lock().fail_syncs = count;
    }

    /// The n-th sync from now fails, 1 being the next; 0 = none.
    pub fn fail_sync_nth(&self, nth: u64) {
        self.lock().fail_sync_nth = nth.checked_sub(1);
    }

    /// After so many reads of plain files and closed slices so many fail.
    pub fn fail_reads(&self, after: u32, count: u32) {
        self.lock().fail_reads = (after, count);
    }

    /// Sets the faults that come by chance.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Sets the size of the disk; it may become smaller than what is on it.
    pub fn set_capacity_bytes(&self, bytes: u64) {
        self.lock().capacity_bytes = bytes;
    }

    /// Flips a byte of a stored value, chosen by the seed; false when the slice has none.
    pub fn corrupt_value(&self, number: u64) -> bool {
        let mut contents = self.lock();
        let mut rng = contents.rng.clone();
        let Some(slice) = contents.slices.get_mut(&number) else {
            return false;
        };
        if slice.values.is_empty() {
            return false;
        }
        let nth = rng.usize(..slice.values.len());
        if let Some(value) = slice.values.values_mut().nth(nth) {
            let at = rng.usize(..value.bytes.len());
            value.bytes[at] ^= 1 << rng.u8(..8);
            value.torn = true;
        }
        contents.rng = rng;
        true
    }

    /// After so many reads the disk cannot read the n-th value of a slice any more, 0 being the
    /// first; false when the slice has no such value.
    pub fn spoil_value(&self, number: u64, nth: usize, reads: u32) -> bool {
        let mut contents = self.lock();
        let slice = contents.slices.get_mut(&number);
        slice.is_some_and(|slice| {
            let key = slice.values.keys().nth(nth).copied();
            slice.spoiled.extend(key.map(|key| (key, reads)));
            key.is_some()
        })
    }

    /// Makes a slice one of which nothing can be read, or one that can be read again.
    pub fn set_unreadable(&self, number: u64, unreadable: bool) {
        if let Some(slice) = self.lock().slices.get_mut(&number) {
            slice.unreadable = unreadable;
        }
    }

    /// Makes a slice one that cannot be removed or moved aside, or one that can again.
    pub fn pin_slice(&self, number: u64, pinned: bool) {
        if let Some(slice) = self.lock().slices.get_mut(&number) {
            slice.pinned = pinned;
        }
    }

    /// Removes a plain file, or damages it when `flip` is set; false when there is none.
    pub fn damage_file(&self, name: &str, flip: bool) -> bool {
        let mut contents = self.lock();
        let mut rng = contents.rng.clone();
        let found = match contents
            .files
            .get_mut(name)
            .and_then(|file| file.current.as_mut())
        {
            Some(bytes) if flip && !bytes.is_empty() => {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
                true
            }
            Some(_) => contents.files.remove(name).is_some(),
            None => false,
        };
        contents.rng = rng;
        if let Some(file) = contents.files.get_mut(name) {
            file.durable = file.current.clone();
        }
        found
    }

    /// What happened so far.
    pub fn stats(&self) -> MemStats {
        self.lock().stats
    }

    /// Numbers of the slices that exist.
    pub fn slices(&self) -> Vec<u64> {
        let contents = self.lock();
        contents
            .slices
            .iter()
            .filter(|(_, s)| !s.removed)
            .map(|(number, _)| *number)
            .collect()
    }

    /// Slices in quarantine.
    pub fn quarantined(&self) -> usize {
        self.lock().quarantined.len()
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Result<MutexGuard<'_, Contents>, DiskError> {
        let contents = self.lock();
        if contents.crashed || contents.generation != self.generation {
            return Err(crashed());
        }
        Ok(contents)
    }
}
