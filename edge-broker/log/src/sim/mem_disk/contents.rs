//! What is on the twin disk, durable or not, and whether its next operation works.
//!
//! One value behind the lock of [`MemDisk`](super::MemDisk). What a power cut makes of it is in
//! `power_cut`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Faults, MemStats};
use crate::DiskError;

pub struct Contents {
    pub rng: fastrand::Rng,
    pub generation: u64,
    pub crash_in: Option<u64>,
    pub crashed: bool,
    pub now_ms: u64,
    pub capacity_bytes: u64,
    pub faults: Faults,
    pub fail_syncs: u32,
    pub fail_sync_nth: Option<u64>,
    pub fail_reads: (u32, u32),
    pub written_bytes: u64,
    pub stats: MemStats,
    pub slices: BTreeMap<u64, SliceData>,
    pub files: BTreeMap<String, FileData>,
    pub quarantined: BTreeMap<String, SliceData>,
    /// Slices whose creation failed: removed, and after a power cut perhaps there.
    pub ghosts: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Durable,
    Pending,
    /// A sync failed or lied: it reads back, but it never becomes durable.
    Orphan,
}

#[derive(Clone)]
pub struct Value {
    pub bytes: Vec<u8>,
    pub state: State,
    /// A power cut or a test changed it.
    pub torn: bool,
}

#[derive(Clone, Default)]
pub struct SliceData {
    pub values: BTreeMap<(u64, u32), Value>,
    pub unsynced: BTreeSet<(u64, u32)>,
    /// It exists for sure.
    pub created: bool,
    /// It is gone for readers, and after a power cut perhaps not.
    pub removed: bool,
    /// It is gone after a power cut too, and only takes room.
    pub gone: bool,
    /// Where it is gone to, if it was moved aside.
    pub aside: Option<String>,
    /// It cannot be removed or moved.
    pub pinned: bool,
    /// It cannot be opened.
    pub damaged: bool,
    /// Values that the disk cannot read after so many reads more.
    pub spoiled: BTreeMap<(u64, u32), u32>,
    /// Nothing of it can be read.
    pub unreadable: bool,
    /// A write was refused: no more are taken until it is opened again.
    pub full: bool,
    pub bytes: u64,
}

impl SliceData {
    /// Reads a value; false when the disk cannot.
    pub fn reads(&mut self, key: (u64, u32)) -> bool {
        let left = self.spoiled.get_mut(&key);
        let is_spoiled = left.is_some_and(|left| {
            let none = *left == 0;
            *left = left.saturating_sub(1);
            none
        });
        !self.unreadable && !is_spoiled
    }

    /// Pending values become durable, or never will.
    fn settle(&mut self, durable: bool) {
        let values = &mut self.values;
        self.unsynced.retain(|key| {
            let Some(value) = values.get_mut(key) else {
                return false;
            };
            if value.state == State::Pending {
                value.state = match durable {
                    true => State::Durable,
                    false => State::Orphan,
                };
            }
            value.state != State::Durable
        });
    }
}

#[derive(Clone, Default)]
pub struct FileData {
    pub durable: Option<Vec<u8>>,
    pub current: Option<Vec<u8>>,
    /// The current content replaced the durable one, and the folder was not synced yet.
    pub renamed: bool,
    pub pending: Vec<(usize, Vec<u8>)>,
    pub orphaned: Vec<(usize, Vec<u8>)>,
}

impl FileData {
    /// The folder was synced: what it is now it will be.
    pub fn make_durable(&mut self) {
        self.durable = self.current.clone();
        self.renamed = false;
    }
}

pub fn crashed() -> DiskError {
    DiskError::Io("the machine is down".into())
}

pub enum SyncOutcome {
    Works,
    Fails,
    Lies,
}

impl Contents {
    /// Every change of the disk begins with this: here a crash may strike.
    pub fn step(&mut self) -> Result<(), DiskError> {
        self.stats.operations += 1;
        if let Some(left) = &mut self.crash_in {
            if *left == 0 {
                self.crashed = true;
                return Err(crashed());
            }
            *left -= 1;
        }
        Ok(())
    }

    /// Reads begin with this: some may be asked to fail.
    pub fn may_read(&mut self) -> Result<(), DiskError> {
        match &mut self.fail_reads {
            (_, 0) => Ok(()),
            (0, count) => {
                *count -= 1;
                Err(DiskError::Io("read failed".into()))
            }
            (after, _) => {
                *after -= 1;
                Ok(())
            }
        }
    }

    pub fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.rng.u32(..n) == 0
    }

    /// Whether this sync works, fails or lies.
    pub fn sync_outcome(&mut self) -> Result<SyncOutcome, DiskError> {
        self.step()?;
        self.stats.syncs += 1;
        let nth = self.fail_sync_nth == Some(0);
        self.fail_sync_nth = self.fail_sync_nth.and_then(|left| left.checked_sub(1));
        let counted = self.fail_syncs > 0;
        self.fail_syncs = self.fail_syncs.saturating_sub(1);
        if counted || nth || self.one_in(self.faults.sync_fails_one_in) {
            self.stats.syncs_failed += 1;
            return Ok(SyncOutcome::Fails);
        }
        if self.one_in(self.faults.sync_lies_one_in) {
            self.stats.syncs_lied += 1;
            return Ok(SyncOutcome::Lies);
        }
        Ok(SyncOutcome::Works)
    }

    /// A sync of a slice's values, and what comes of them.
    pub fn sync_slice(&mut self, number: u64) -> Result<SyncOutcome, DiskError> {
        let outcome = self.sync_outcome()?;
        let works = matches!(outcome, SyncOutcome::Works);
        let slice = self.slice(number)?;
        // To one that takes no more the values were not even handed on.
        if !slice.full {
            slice.settle(works);
        }
        Ok(outcome)
    }

    /// A sync of the folder of slices. It covers every change of a name there, also one whose own
    /// sync failed: the change after that wrote the same block anew.
    pub fn sync_slice_names(&mut self) -> Result<SyncOutcome, DiskError> {
        let outcome = self.sync_outcome()?;
        if matches!(outcome, SyncOutcome::Works) {
            self.ghosts.clear();
            let removed = self.slices.values_mut().filter(|slice| slice.removed);
            removed.for_each(|slice| slice.gone = true);
        }
        Ok(outcome)
    }

    pub fn bytes_used(&self) -> u64 {
        let slices = self.slices.values().chain(self.quarantined.values());
        let files = self.files.values().filter_map(|file| file.current.as_ref());
        slices.map(|slice| slice.bytes).sum::<u64>()
            + files.map(|bytes| bytes.len() as u64).sum::<u64>()
    }

    pub fn take_room(&mut self, bytes: u64) -> Result<(), DiskError> {
        if self.capacity_bytes != u64::MAX
            && self.bytes_used().saturating_add(bytes) > self.capacity_bytes
        {
            self.stats.writes_refused += 1;
            return Err(DiskError::Full);
        }
        self.written_bytes += bytes;
        Ok(())
    }

    pub fn slice(&mut self, number: u64) -> Result<&mut SliceData, DiskError> {
        match self.slices.get_mut(&number) {
            Some(slice) if !slice.removed => Ok(slice),
            _ => Err(DiskError::Io(format!("there is no slice {number}"))),
        }
    }

    pub fn file(&mut self, name: &str) -> Result<&mut FileData, DiskError> {
        match self.files.get_mut(name) {
            Some(file) if file.current.is_some() => Ok(file),
            _ => Err(DiskError::Io(format!("there is no file {name}"))),
        }
    }

    /// A removal or a move aside, made and perhaps not durable.
    pub fn take_away(&mut self, number: u64, aside: Option<&str>) -> Result<bool, DiskError> {
        self.step()?;
        let Some(slice) = self.slices.get_mut(&number) else {
            return Ok(false);
        };
        if slice.pinned {
            return Err(DiskError::Io(format!("slice {number} cannot be moved")));
        }
        slice.removed = true;
        slice.aside = aside.map(str::to_string);
        Ok(true)
    }

    /// What was taken away is so for sure.
    pub fn forget_slice(&mut self, number: u64) {
        if let Some(mut slice) = self.slices.remove(&number)
            && let Some(name) = slice.aside.take()
        {
            self.quarantined.insert(name, slice);
        }
        self.files.retain(|name, _| slice_of(name) != Some(number));
    }

    /// Whether the folder that a file is in exists.
    pub fn has_folder_of(&self, name: &str) -> bool {
        slice_of(name).is_none_or(|number| self.slices.get(&number).is_some_and(|s| !s.removed))
    }
}

/// The slice in whose folder a file is.
pub fn slice_of(name: &str) -> Option<u64> {
    name.strip_prefix("slices/")?
        .split('/')
        .next()?
        .parse()
        .ok()
}

pub fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}
