//! One store, owned by one storage thread.
#![allow(clippy::unimplemented)]

use std::collections::BTreeMap;

use crate::{
    Checkpoint, Disk, Durable, Entry, HardState, Maintained, OpenError, PersistError, Reader,
    Recovery, StoreConfig, TopicPartition, Usage,
};

/// One store. Every call may block on the disk.
pub struct Store<D: Disk> {
    reader: Reader<D>,
}

impl<D: Disk> Store<D> {
    /// Opens what the disk holds, or begins there.
    pub fn open(_disk: D, _config: StoreConfig) -> Result<(Store<D>, Recovery), OpenError> {
        unimplemented!()
    }

    /// Writes entries and syncs once; nothing is durable unless this returns `Ok`.
    ///
    /// The first entry's index may lie before the end of the log: what was there from that index
    /// on is void. After an error the caller repeats the call with the same entries; an error
    /// leaves the log as it was. `hard_state` is synced before this returns when `must_sync` says
    /// so, otherwise within a second by [`maintain`](Store::maintain).
    pub fn persist(
        &mut self,
        _entries: &[Entry],
        _hard_state: Option<HardState>,
        _must_sync_hard_state: bool,
    ) -> Result<Durable, PersistError> {
        unimplemented!()
    }

    /// Writes a checkpoint; frames up to its index may go from then on.
    pub fn save_checkpoint(&mut self, _checkpoint: &Checkpoint) -> Result<(), PersistError> {
        unimplemented!()
    }

    /// A bounded piece of the work that is not on the append path: the next slice ahead of need,
    /// sealing, dropping, rewriting, salvage, the identity file's sync. To be called at least a
    /// few times a second, also while nothing is appended, and again at once when it says `more`.
    pub fn maintain(&mut self) -> Maintained {
        unimplemented!()
    }

    /// The applied start offset of every partition there is: what is below is dead, and so is
    /// every partition that is not named. A partition without one has 0.
    pub fn set_starts(&mut self, _starts: &BTreeMap<TopicPartition, i64>) {
        unimplemented!()
    }

    /// What the store holds and costs.
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }

    /// Reads beside the writer.
    pub fn reader(&self) -> Reader<D> {
        self.reader.clone()
    }

    /// Syncs, marks the store as stopped in order and closes it.
    pub fn close(self) {
        unimplemented!()
    }
}
