//! A slice on the twin disk: values that stay pending until a sync that works.
//!
//! A store uses it as it does a slice of the real disk.

use super::MemDisk;
use super::contents::{State, SyncOutcome, Value};
use crate::{Disk, DiskError, Slice, VALUE_BYTES_MAX};

/// A slice of a [`MemDisk`].
pub struct MemSlice {
    pub(super) disk: MemDisk,
    pub(super) number: u64,
}

impl Slice for MemSlice {
    fn put(&self, sequence: u64, values: &[u8]) -> Result<(), DiskError> {
        let mut contents = self.disk.live()?;
        for (part, value) in values.chunks(VALUE_BYTES_MAX).enumerate() {
            contents.step()?;
            if contents.slice(self.number)?.full {
                return Err(DiskError::Full);
            }
            if let Err(full) = contents.take_room(value.len() as u64) {
                contents.slice(self.number)?.full = true;
                return Err(full);
            }
            let slice = contents.slice(self.number)?;
            let key = (sequence, part as u32);
            slice.unsynced.insert(key);
            slice.bytes += value.len() as u64;
            let value = Value {
                bytes: value.to_vec(),
                state: State::Pending,
                torn: false,
            };
            let old = slice.values.insert(key, value);
            assert!(
                old.is_none_or(|old| old.torn),
                "slices are insert-only, write: {sequence}"
            );
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut contents = self.disk.live()?;
        let outcome = contents.sync_slice(self.number)?;
        if contents.slice(self.number)?.full {
            return Err(DiskError::Full);
        }
        match outcome {
            SyncOutcome::Fails => Err(DiskError::Io("sync of a slice failed".into())),
            SyncOutcome::Works | SyncOutcome::Lies => Ok(()),
        }
    }

    fn get(&self, sequence: u64, part: u32) -> Result<Option<Vec<u8>>, DiskError> {
        let mut contents = self.disk.live()?;
        let one_in = contents.faults.read_fails_one_in;
        if contents.one_in(one_in) {
            return Err(DiskError::Io("read failed".into()));
        }
        let slice = contents.slices.get_mut(&self.number);
        let slice = slice.filter(|slice| slice.values.contains_key(&(sequence, part)));
        let Some(slice) = slice else {
            return Ok(None);
        };
        if !slice.reads((sequence, part)) {
            return Err(DiskError::Io("read failed".into()));
        }
        let value = slice.values.get(&(sequence, part));
        Ok(value.map(|value| value.bytes.clone()))
    }

    fn prove(&self) -> Result<(), DiskError> {
        // Past every cache only what is durable can be seen; a lie shows here.
        let mut contents = self.disk.live()?;
        match contents.slice(self.number)?.unsynced.is_empty() {
            true => Ok(()),
            false => Err(DiskError::Io("what was synced cannot be read back".into())),
        }
    }

    fn bytes(&self) -> u64 {
        self.disk.slice_bytes(self.number)
    }
}
