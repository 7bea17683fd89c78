//! The identity file: who this store is, and how far it is surely durable.
//!
//! Two slots of 4 KiB with a counter and a checksum each; the valid one with the higher counter
//! counts. The slot that was synced last is never overwritten before the other one is synced, so
//! a torn write leaves what was promised. Store and recovery use it; only they do.

use bytes::{Buf, BufMut};

use crate::secret::{SECRET_BYTES, Secret};
use crate::value::NUMBER_MAX;
use crate::{Disk, DiskError, HardState, patience};

const FILE: &str = "identity";
const MAGIC: [u8; 8] = *b"edgelog1";
const SLOT_BYTES: usize = 4096;
const RECORD_BYTES: usize = 8 + 8 + 10 * 8 + 4 + 4 + SECRET_BYTES + 4;

/// How far the store is surely durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Write sequence of the last durable frame; 0 = none yet.
    pub sequence: u64,
    /// Its checksum.
    pub crc: u32,
    /// Its raft index.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub store_id: u64,
    /// Outlives the store id.
    pub secret: Secret,
    pub boot_count: u64,
    pub hard_state: HardState,
    pub mark: Mark,
    /// Stopped in order.
    pub clean: bool,
    /// A checkpoint was written: the log may have been trimmed since.
    pub had_checkpoint: bool,
}

impl Identity {
    fn encode(&self, counter: u64) -> Vec<u8> {
        let mut to = Vec::with_capacity(RECORD_BYTES);
        to.put_slice(&MAGIC);
        to.put_u64_le(counter);
        let hard_state = self.hard_state;
        for number in [
            self.store_id,
            self.boot_count,
            hard_state.term,
            hard_state.vote,
            hard_state.commit,
            self.mark.sequence,
            self.mark.index,
            self.mark.term,
            u64::from(self.clean),
            u64::from(self.had_checkpoint),
        ] {
            to.put_u64_le(number);
        }
        to.put_u32_le(self.mark.crc);
        to.put_u32_le(0);
        self.secret.encode(&mut to);
        to.put_u32_le(crc32c::crc32c(&to));
        to
    }

    fn decode(slot: &[u8]) -> Option<(u64, Identity)> {
        let record = slot.get(..RECORD_BYTES)?;
        let (body, mut crc) = record.split_at(RECORD_BYTES - 4);
        if crc.get_u32_le() != crc32c::crc32c(body) {
            return None;
        }
        let mut rest = body.strip_prefix(&MAGIC)?;
        let counter = rest.get_u64_le();
        let store_id = rest.get_u64_le();
        let boot_count = rest.get_u64_le();
        let hard_state = HardState {
            term: rest.get_u64_le(),
            vote: rest.get_u64_le(),
            commit: rest.get_u64_le(),
        };
        let (sequence, index, term) = (rest.get_u64_le(), rest.get_u64_le(), rest.get_u64_le());
        let clean = rest.get_u64_le() == 1;
        let had_checkpoint = rest.get_u64_le() == 1;
        let mark = Mark {
            sequence,
            index,
            term,
            crc: rest.get_u32_le(),
        };
        rest.advance(4);
        let identity = Identity {
            store_id,
            secret: Secret::decode(&mut rest),
            boot_count,
            hard_state,
            mark,
            clean,
            had_checkpoint,
        };
        identity.is_possible().then_some((counter, identity))
    }

    fn is_possible(&self) -> bool {
        let (state, mark) = (self.hard_state, self.mark);
        let numbers = [self.boot_count, state.term, state.commit, mark.sequence];
        numbers.iter().all(|number| *number <= NUMBER_MAX)
    }
}

/// The file, open for as long as the store is.
#[derive(Debug)]
pub struct IdentityFile {
    counter: u64,
    synced_slot: usize,
    written: Identity,
    synced_at_ms: u64,
    dirty: bool,
    /// A sync is under way elsewhere: the slot it is about is left alone until it is done.
    syncing: bool,
    /// What came since is to be written then.
    behind: bool,
    /// The file is to be made anew: a sync of it failed.
    failed: bool,
}

/// What the file said.
pub enum Found {
    /// There is none.
    Missing,
    /// There is one and no slot of it can be read.
    Damaged,
    /// A slot.
    Slot(Identity),
}

impl IdentityFile {
    /// Reads the file.
    pub fn load<D: Disk>(disk: &D) -> Result<(IdentityFile, Found), DiskError> {
        // Taken for gone it costs an incarnation.
        let read = patience::ask(disk, || disk.read_file(FILE, 2 * SLOT_BYTES));
        let bytes = match read {
            Ok(None) => return Ok((IdentityFile::new(0, true), Found::Missing)),
            Ok(Some(bytes)) => bytes,
            Err(_) => return Ok((IdentityFile::new(0, true), Found::Damaged)),
        };
        let slots = [0, 1].map(|slot| bytes.get(slot * SLOT_BYTES..).and_then(Identity::decode));
        let newest = (0..2).max_by_key(|slot| slots[*slot].map(|(counter, _)| counter));
        match newest.and_then(|slot| slots[slot].map(|found| (slot, found))) {
            None => Ok((IdentityFile::new(0, true), Found::Damaged)),
            Some((slot, (counter, identity))) => {
                let mut file = IdentityFile::new(counter, false);
                file.synced_slot = slot;
                file.written = identity;
                Ok((file, Found::Slot(identity)))
            }
        }
    }

    fn new(counter: u64, failed: bool) -> IdentityFile {
        IdentityFile {
            counter,
            synced_slot: 0,
            written: Identity::default(),
            synced_at_ms: 0,
            dirty: false,
            syncing: false,
            behind: false,
            failed,
        }
    }

    /// What was written last.
    pub fn current(&self) -> Identity {
        self.written
    }

    /// Notes what is to be known after the next sync. An error here is told by [`sync`] again.
    ///
    /// [`sync`]: IdentityFile::sync
    pub fn write<D: Disk>(&mut self, disk: &D, identity: Identity) {
        self.written = identity;
        self.counter += 1;
        self.dirty = true;
        if self.syncing {
            self.behind = true;
            return;
        }
        if self.failed {
            return;
        }
        let offset = (1 - self.synced_slot) * SLOT_BYTES;
        if disk
            .write_at(FILE, offset as u64, &identity.encode(self.counter))
            .is_err()
        {
            self.failed = true;
        }
    }

    /// Makes what was written durable. A file whose sync failed is not trusted again: a new one
    /// takes its place. Not while a sync is under way elsewhere.
    pub fn sync<D: Disk>(&mut self, disk: &D) -> Result<(), DiskError> {
        assert!(!self.syncing, "the identity file is being synced");
        if !self.failed && sync(disk).is_ok() {
            if self.dirty {
                self.synced_slot = 1 - self.synced_slot;
            }
        } else {
            self.failed = true;
            let mut bytes = vec![0; 2 * SLOT_BYTES];
            bytes[..RECORD_BYTES].copy_from_slice(&self.written.encode(self.counter));
            disk.replace_file(FILE, &bytes)?;
            self.failed = false;
            self.synced_slot = 0;
        }
        self.dirty = false;
        self.synced_at_ms = disk.now_ms();
        Ok(())
    }

    /// A sync elsewhere begins; [`end_sync`](IdentityFile::end_sync) tells what came of it.
    pub fn begin_sync(&mut self) {
        self.syncing = true;
    }

    /// The outcome of that sync. What came meanwhile goes to the other slot.
    pub fn end_sync<D: Disk>(&mut self, disk: &D, synced: &Result<(), DiskError>) {
        self.syncing = false;
        match synced {
            Ok(()) => {
                self.synced_slot = 1 - self.synced_slot;
                self.dirty = false;
                self.synced_at_ms = disk.now_ms();
            }
            Err(_) => self.failed = true,
        }
        if std::mem::take(&mut self.behind) {
            self.write(disk, self.written);
        }
    }

    /// Has the next sync make the file anew.
    pub fn renew(&mut self) {
        self.failed = true;
    }

    /// Whether the file is to be made anew before anything is promised.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Whether something written waits for a sync for a second or more.
    pub fn sync_is_due(&self, now_ms: u64) -> bool {
        self.dirty && !self.syncing && now_ms.saturating_sub(self.synced_at_ms) >= SYNC_INTERVAL_MS
    }
}

/// Makes what was written durable, wherever this is called from.
pub fn sync<D: Disk>(disk: &D) -> Result<(), DiskError> {
    disk.sync_file(FILE)
}

/// What nobody waits for is synced this often.
const SYNC_INTERVAL_MS: u64 = 1000;

#[cfg(test)]
mod tests;
