//! One store, owned by one storage thread: what it can be asked, and what it tells of itself.
//!
//! ```text
//! open     ──> recovery ──> tail        what an earlier process left
//! persist  ──> append ──> newest        frames, one sync
//! maintain ──> upkeep ──> jobs          everything off the append path
//! reader   ──> shared                   reads beside all of that
//! ```

mod append;
mod names;
mod newest;
mod tail;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::identity::{Identity, IdentityFile, Mark};
use crate::pause::Pause;
use crate::room::Room;
use crate::scan::Found;
use crate::shared::Shared;
use crate::stats::Stats;
use crate::upkeep::Upkeep;
use crate::{
    Checkpoint, CompactTo, Disk, DiskError, Maintained, OpenError, PersistError, Reader, Recovery,
    StoreConfig, TopicPartition, Usage, checkpoint, recovery,
};
pub(crate) use names::Names;
pub(crate) use newest::{Active, poison_file};
pub(crate) use tail::Leftover;

/// One store. Every call may block on the disk.
pub struct Store<D: Disk> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) config: StoreConfig,
    pub(crate) identity: IdentityFile,
    pub(crate) active: Option<Active<D>>,
    /// Created ahead of need.
    pub(crate) next: Option<(u64, Arc<D::Slice>)>,
    pub(crate) next_number: u64,
    pub(crate) next_sequence: u64,
    /// The last write that is surely on the disk.
    pub(crate) durable: Mark,
    pub(crate) checkpoint_index: u64,
    /// Where a start would go on from, were the newest checkpoint file damaged: what comes behind
    /// is kept.
    pub(crate) covered_index: u64,
    /// The newest checkpoint, until its second file is on the disk: should the first turn out to be
    /// damaged, nobody else has it.
    pub(crate) uncovered: Option<Checkpoint>,
    /// What an earlier process named last, until all of it is durable.
    pub(crate) names: Names,
    pub(crate) starts: Option<Arc<BTreeMap<TopicPartition, i64>>>,
    pub(crate) stats: Stats,
    pub(crate) room: Room,
    pub(crate) upkeep: Upkeep<D>,
    /// What recovery found behind the durable mark: written again before anything else.
    pub(crate) tail: Vec<Found>,
    /// Slices that hold nothing else.
    leftovers: Vec<Leftover>,
    /// What a caller waits before it tries again.
    retry: Pause,
    scratch: Vec<u8>,
}

/// A checkpoint that could not be written is asked for again by the site, this much later.
const CHECKPOINT_RETRY_MS: u64 = 1000;

/// What recovery found, to go on from.
pub(crate) struct Start<D: Disk> {
    pub disk: D,
    pub catalog: Catalog,
    pub identity: IdentityFile,
    pub active: Option<Active<D>>,
    pub held: Vec<(u64, Arc<D::Slice>)>,
    pub next_number: u64,
    pub next_sequence: u64,
    pub durable: Mark,
    pub checkpoint: Option<Checkpoint>,
    pub covered_index: u64,
    pub names: Names,
}

impl<D: Disk> Store<D> {
    /// Opens what the disk holds, or begins there.
    pub fn open(disk: D, config: StoreConfig) -> Result<(Store<D>, Recovery), OpenError> {
        recovery::open(disk, config)
    }

    pub(crate) fn start(start: Start<D>, config: StoreConfig) -> Store<D> {
        let Start {
            disk,
            catalog,
            active,
            held,
            checkpoint,
            covered_index,
            ..
        } = start;
        let room = Room::new(&disk, &config);
        let upkeep = Upkeep::new(disk.background());
        let shared = Arc::new(Shared::new(
            disk,
            start.identity.current().secret,
            catalog,
            config.slices_open_max,
        ));
        for (number, slice) in held {
            shared.hold(number, slice);
        }
        let mut store = Store {
            shared,
            config,
            identity: start.identity,
            active,
            next: None,
            next_number: start.next_number,
            next_sequence: start.next_sequence,
            durable: start.durable,
            checkpoint_index: checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.index),
            covered_index,
            uncovered: checkpoint.filter(|checkpoint| checkpoint.index > covered_index),
            names: start.names,
            starts: None,
            stats: Stats::default(),
            room,
            upkeep,
            tail: Vec::new(),
            leftovers: Vec::new(),
            retry: Pause::default(),
            scratch: Vec::new(),
        };
        store.count_room();
        store
    }

    /// Writes a checkpoint; frames up to its index may go from then on.
    pub fn save_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), PersistError> {
        let mut saved = checkpoint::save(&self.shared.disk, checkpoint);
        if saved == Err(DiskError::Full) {
            self.room.give_up_ballast(&self.shared.disk);
            saved = checkpoint::save(&self.shared.disk, checkpoint);
        }
        let saved = saved.map(|()| checkpoint.data.len() as u64);
        self.note_checkpoint(checkpoint.clone(), saved)
    }

    /// The same beside the appends, which would wait for two syncs otherwise:
    /// [`maintain`](Store::maintain) does it and tells when it is done. One that waits is replaced
    /// by a later one.
    pub fn save_checkpoint_later(&mut self, checkpoint: Checkpoint) {
        self.upkeep.save_later(checkpoint);
    }

    pub(crate) fn note_checkpoint(
        &mut self,
        checkpoint: Checkpoint,
        saved: Result<u64, DiskError>,
    ) -> Result<(), PersistError> {
        if saved == Err(DiskError::Full) {
            // The next try has the room.
            self.room.give_up_ballast(&self.shared.disk);
        }
        // Appends go on meanwhile, so their pause is left alone.
        let bytes = saved.map_err(|error| self.told(&error, CHECKPOINT_RETRY_MS))?;
        let index = checkpoint.index;
        self.note_had_checkpoint();
        if index >= self.checkpoint_index {
            self.checkpoint_index = index;
            self.uncovered = Some(checkpoint).filter(|_| index > self.covered_index);
        }
        self.room.grow(bytes);
        self.upkeep.look_again();
        let mut catalog = self.shared.catalog_mut();
        if catalog.last_index < index {
            // A checkpoint from a peer, ahead of this log: the log begins anew behind it.
            catalog.first_index = index + 1;
            catalog.last_index = index;
        }
        Ok(())
    }

    fn note_had_checkpoint(&mut self) {
        let identity = self.identity.current();
        if !identity.had_checkpoint {
            let had_checkpoint = true;
            let identity = Identity {
                had_checkpoint,
                ..identity
            };
            self.identity.write(&self.shared.disk, identity);
        }
    }

    /// A bounded piece of the work that is not on the append path: the next slice ahead of need,
    /// sealing, dropping, rewriting, salvage, the identity file's sync. To be called at least a
    /// few times a second, also while nothing is appended, and again at once when it says `more`.
    pub fn maintain(&mut self) -> Maintained {
        self.do_upkeep()
    }

    pub(crate) fn sync_identity(&mut self) -> Result<(), DiskError> {
        self.finish_identity_sync();
        let before_us = self.shared.disk.now_us();
        let synced = self.identity.sync(&self.shared.disk);
        self.stats.note_sync(self.shared.disk.now_us() - before_us);
        synced
    }

    /// The applied start offset of every partition there is: what is below is dead, and so is
    /// every partition that is not named. A partition without one has 0.
    pub fn set_starts(&mut self, starts: &BTreeMap<TopicPartition, i64>) {
        let starts = Arc::new(starts.clone());
        self.shared.catalog_mut().set_starts(Arc::clone(&starts));
        self.starts = Some(starts);
        self.upkeep.look_again();
    }

    /// The partitions that are compacted, and up to where; others are not. The state must have
    /// committed and applied what lies below.
    pub fn set_compaction(&mut self, to: &BTreeMap<TopicPartition, CompactTo>) {
        self.take_compaction(to);
    }

    /// What may still be appended, as in [`Usage`]; cheap.
    pub fn append_bytes_left(&self) -> u64 {
        self.room.append_bytes_left()
    }

    /// First raft index that is still kept.
    pub fn first_index(&self) -> u64 {
        self.shared.catalog().first_index
    }

    /// What the store holds and costs. Takes time for every slice: for status, not for appends.
    pub fn usage(&self) -> Usage {
        let disk = &self.shared.disk;
        let compacting = self.is_compacting();
        let catalog = self.shared.catalog();
        let kept = self.kept_numbers(&catalog);
        Usage {
            bytes_used: self.room.bytes_used(),
            bytes_max: self.config.bytes_max,
            append_bytes_left: self.append_bytes_left(),
            own_bytes_left: self.room.own_bytes_left(),
            free_bytes: disk.free_bytes(),
            filesystem_full: self.room.filesystem_full(),
            ballast: self.room.has_ballast(),
            slices: catalog.infos(|entry| !kept.contains(&entry.number)),
            device_bytes_written: disk.device_bytes(),
            entry_bytes_written: self.stats.entry_bytes_written,
            syncs: self.stats.syncs,
            sync_times: self.stats.sync_times(),
            poisoned_slices: self.stats.poisoned_slices,
            poisoned: self.retry.is_on(),
            quarantined: disk
                .list_files("quarantine")
                .map_or(0, |names| names.len() as u64),
            compacting,
            closing: self.is_closing(&catalog),
        }
    }

    /// Reads beside the writer.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Syncs, marks the store as stopped in order and closes it.
    pub fn close(mut self) {
        self.finish_upkeep();
        let identity = Identity {
            clean: true,
            ..self.identity.current()
        };
        self.identity.write(&self.shared.disk, identity);
        if let Err(error) = self.sync_identity() {
            log::error!("store is not marked as stopped in order: {error}");
        }
    }
}
