//! One store, owned by one storage thread: appends, checkpoints, and what it tells of itself.
//!
//! ```text
//! persist: entries ──> runs that fit a slice ──> put, put, put ──> sync ──> catalog, mark
//!                                                     │  fails
//!                                                     └──> slice poisoned ──> proven new slice
//! ```
//! Opening is in `recovery`, everything off the append path in `upkeep`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::{self, Catalog};
use crate::copy::{self, Plan};
use crate::identity::{Identity, IdentityFile, Mark};
use crate::room::Room;
use crate::scan::{Found, SliceHeader};
use crate::shared::Shared;
use crate::slice_index::{FramePlace, SliceIndex, Summary};
use crate::stats::Stats;
use crate::upkeep::Upkeep;
use crate::value::{self, Envelope};
use crate::{
    Checkpoint, Disk, DiskError, Durable, Entry, HardState, Maintained, OpenError, PersistError,
    Reader, Recovery, Slice, StoreConfig, TopicPartition, Usage, checkpoint, recovery,
};

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
    pub(crate) starts: Option<BTreeMap<TopicPartition, i64>>,
    pub(crate) stats: Stats,
    pub(crate) room: Room,
    pub(crate) upkeep: Upkeep<D>,
    /// What recovery found behind the durable mark: written again before anything else.
    pub(crate) tail: Vec<Found>,
    /// Slices that hold nothing else.
    leftovers: Vec<u64>,
    /// What a caller waits before it tries again; 0 = the last try worked.
    retry_after_ms: u64,
    scratch: Vec<u8>,
}

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

/// A frame that is written and not yet known to be durable.
struct Staged {
    place: FramePlace,
    crc: u32,
    stored_bytes: u64,
}

/// A start tries so often to copy the end of the log; after that upkeep does.
const TAIL_ATTEMPTS: usize = 3;

const RETRY_MS_MIN: u64 = 1000;
const RETRY_MS_MAX: u64 = 60_000;

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
    pub checkpoint_index: u64,
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
            ..
        } = start;
        let room = Room::new(&disk, &config);
        let upkeep = Upkeep::new(disk.background());
        let shared = Arc::new(Shared::new(disk, catalog, config.slices_open_max));
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
            checkpoint_index: start.checkpoint_index,
            starts: None,
            stats: Stats::default(),
            room,
            upkeep,
            tail: Vec::new(),
            leftovers: Vec::new(),
            retry_after_ms: 0,
            scratch: Vec::new(),
        };
        store.count_room();
        store
    }

    /// Writes entries and syncs once; nothing is durable unless this returns `Ok`.
    ///
    /// The first entry's index may lie before the end of the log: what was there from that index
    /// on is void. After an error the caller repeats the call with the same entries.
    /// `hard_state` is synced before this returns when `must_sync_hard_state` says so, otherwise
    /// within a second by [`maintain`](Store::maintain).
    ///
    /// # Panics
    /// If the entries are not consecutive or leave a gap behind the end of the log that no
    /// checkpoint covers.
    pub fn persist(
        &mut self,
        entries: &[Entry],
        hard_state: Option<HardState>,
        must_sync_hard_state: bool,
    ) -> Result<Durable, PersistError> {
        let before_us = self.stats.sync_us;
        self.check_order(entries);
        if self.identity.is_failed() {
            self.sync_identity()?;
        }
        self.save_tail().map_err(|error| self.refused(&error))?;
        self.persist_entries(entries)?;
        let identity = Identity {
            hard_state: hard_state.unwrap_or(self.identity.current().hard_state),
            mark: self.durable,
            clean: false,
            ..self.identity.current()
        };
        if identity != self.identity.current() {
            self.identity.write(&self.shared.disk, identity);
        }
        if must_sync_hard_state {
            self.sync_identity()?;
        }
        self.retry_after_ms = 0;
        Ok(Durable {
            sequence: self.durable.sequence,
            last_index: self.shared.catalog().last_index,
            device_bytes: self.shared.disk.device_bytes(),
            sync_us: self.stats.sync_us - before_us,
            append_bytes_left: self.append_bytes_left(),
        })
    }

    /// Takes what recovery found behind the durable mark. While it cannot be copied, it is served
    /// from memory.
    pub(crate) fn adopt_tail(&mut self, tail: Vec<Found>, leftovers: Vec<u64>) {
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

    fn remove_leftovers(&mut self) {
        for number in std::mem::take(&mut self.leftovers) {
            self.upkeep.remove_later(number);
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
        let copied = copy::write(&self.shared.disk, &plan, &mut tail)?;
        let Some((summary, _)) = copied else {
            return Ok(());
        };
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

    fn persist_entries(&mut self, entries: &[Entry]) -> Result<(), PersistError> {
        let mut rest = entries;
        while !rest.is_empty() {
            let (run, later) = rest.split_at(self.run_len(rest));
            self.persist_run(run)?;
            rest = later;
        }
        Ok(())
    }

    fn check_order(&self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        let follows = |pair: &[Entry]| pair[1].index == pair[0].index + 1;
        assert!(
            entries.windows(2).all(follows),
            "entries are not consecutive"
        );
        let last_index = self.shared.catalog().last_index.max(self.checkpoint_index);
        let last_index = self
            .tail
            .last()
            .map_or(last_index, |frame| frame.envelope.index);
        assert!(
            (1..=last_index + 1).contains(&first.index),
            "entry leaves a gap, log ends at {last_index}, entry: {}",
            first.index
        );
    }

    /// How many entries go into the slice in one go: as many as fit one slice, at least one.
    fn run_len(&self, entries: &[Entry]) -> usize {
        let mut bytes = 0;
        let fits = entries.iter().take_while(|entry| {
            bytes += entry.data.len() as u64;
            bytes <= self.config.slice_bytes
        });
        fits.count().max(1)
    }

    fn persist_run(&mut self, run: &[Entry]) -> Result<(), PersistError> {
        let bytes: u64 = run.iter().map(|entry| entry.data.len() as u64).sum();
        if let Some(cause) = self.room.refuses(bytes) {
            return Err(PersistError::Full { cause });
        }
        let first = match self.write_run(run, false) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        log::error!("write to slice failed, going on in a new one: {first}");
        self.give_up_active(&first);
        if first == DiskError::Full {
            self.room.give_up_ballast(&self.shared.disk);
        }
        match self.write_run(run, true) {
            Ok(()) => Ok(()),
            Err(second) => {
                self.give_up_active(&second);
                Err(self.refused(&second))
            }
        }
    }

    fn refused(&mut self, error: &DiskError) -> PersistError {
        if *error == DiskError::Full {
            self.room.note_full();
            return PersistError::Full {
                cause: error.to_string(),
            };
        }
        self.retry_after_ms = (self.retry_after_ms * 2).clamp(RETRY_MS_MIN, RETRY_MS_MAX);
        PersistError::Poisoned {
            retry_after_ms: self.retry_after_ms,
            cause: error.to_string(),
        }
    }

    /// Writes a run and syncs; with `prove`, into a new slice that is read back past every cache.
    fn write_run(&mut self, run: &[Entry], prove: bool) -> Result<(), DiskError> {
        self.roll_if_full();
        if self.active.is_none() {
            self.begin_slice()?;
        }
        let Some(active) = self.active.as_mut() else {
            return Ok(());
        };
        if !active.begun {
            let header = SliceHeader {
                level: 1,
                store_id: self.identity.current().store_id,
                continues: self.durable.sequence,
                index: self.durable.index,
                term: self.durable.term,
                ..SliceHeader::default()
            };
            active.slice.put(0, &header.encode())?;
            active.begun = true;
            active.continues = self.durable.sequence;
        }
        if prove {
            active.slice.sync()?;
            active.slice.prove()?;
        }
        let staged = self.put_run(run)?;
        self.sync_active()?;
        self.commit_run(run, &staged);
        Ok(())
    }

    fn put_run(&mut self, run: &[Entry]) -> Result<Vec<Staged>, DiskError> {
        let Some(active) = self.active.as_mut() else {
            return Ok(Vec::new());
        };
        let store_id = self.identity.current().store_id;
        let mut staged = Vec::with_capacity(run.len());
        let mut previous = self.durable.sequence;
        for entry in run {
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            let envelope = Envelope {
                kind: entry.kind,
                flags: 0,
                data_bytes: entry.data.len() as u32,
                index: entry.index,
                term: entry.term,
                previous,
                durable: self.durable.sequence,
                store_id,
            };
            let crc = value::encode(&mut self.scratch, sequence, &envelope, &entry.data);
            active.slice.put(sequence, &self.scratch)?;
            active.stored_bytes += self.scratch.len() as u64;
            staged.push(Staged {
                place: FramePlace {
                    sequence,
                    index: entry.index,
                    term: entry.term,
                    data_bytes: entry.data.len() as u32,
                },
                crc,
                stored_bytes: self.scratch.len() as u64,
            });
            previous = sequence;
        }
        Ok(staged)
    }

    fn sync_active(&mut self) -> Result<(), DiskError> {
        let Some(active) = self.active.as_ref() else {
            return Ok(());
        };
        let before_us = self.shared.disk.now_us();
        let synced = active.slice.sync();
        self.stats.note_sync(self.shared.disk.now_us() - before_us);
        synced
    }

    fn commit_run(&mut self, run: &[Entry], staged: &[Staged]) {
        let Some(active) = self.active.as_mut() else {
            return;
        };
        let mut catalog = self.shared.catalog_mut();
        if !active.listed
            && let Some(first) = staged.first()
        {
            let store_id = self.identity.current().store_id;
            let summary = Summary {
                first_sequence: first.place.sequence,
                ..catalog::empty_summary(store_id, active.continues)
            };
            catalog.add(active.number, summary, Some(SliceIndex::default()), 0);
            active.listed = true;
        }
        for (entry, frame) in run.iter().zip(staged) {
            catalog.push(
                active.number,
                frame.place,
                frame.stored_bytes,
                entry.kind,
                &entry.data,
            );
            self.stats.entry_bytes_written += entry.data.len() as u64;
        }
        if let Some(entry) = catalog.get_mut(active.number) {
            let file_bytes = active.slice.bytes();
            self.room.grow(file_bytes.saturating_sub(entry.file_bytes));
            entry.file_bytes = file_bytes;
        }
        drop(catalog);
        if let Some(last) = staged.last() {
            let FramePlace {
                sequence,
                index,
                term,
                ..
            } = last.place;
            self.durable = Mark {
                sequence,
                crc: last.crc,
                index,
                term,
            };
        }
    }

    fn roll_if_full(&mut self) {
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
    fn begin_slice(&mut self) -> Result<(), DiskError> {
        let (number, slice) = match self.take_prepared() {
            Some(prepared) => prepared,
            None => {
                let number = self.next_number;
                self.next_number += 1;
                (number, Arc::new(self.shared.disk.create_slice(number)?))
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
    fn give_up_active(&mut self, error: &DiskError) {
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

    /// Writes a checkpoint; frames up to its index may go from then on.
    pub fn save_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), PersistError> {
        let mut saved = checkpoint::save(&self.shared.disk, checkpoint);
        if saved == Err(DiskError::Full) {
            self.room.give_up_ballast(&self.shared.disk);
            saved = checkpoint::save(&self.shared.disk, checkpoint);
        }
        let saved = saved.map(|()| checkpoint.data.len() as u64);
        self.note_checkpoint(checkpoint.index, saved)
    }

    /// The same beside the appends, which would wait for two syncs otherwise:
    /// [`maintain`](Store::maintain) does it and tells when it is done. One that waits is replaced
    /// by a later one.
    pub fn save_checkpoint_later(&mut self, checkpoint: Checkpoint) {
        self.upkeep.save_later(checkpoint);
    }

    pub(crate) fn note_checkpoint(
        &mut self,
        index: u64,
        saved: Result<u64, DiskError>,
    ) -> Result<(), PersistError> {
        if saved == Err(DiskError::Full) {
            // The next try has the room.
            self.room.give_up_ballast(&self.shared.disk);
        }
        let bytes = saved.map_err(|error| self.refused(&error))?;
        self.checkpoint_index = self.checkpoint_index.max(index);
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

    /// A bounded piece of the work that is not on the append path: the next slice ahead of need,
    /// sealing, dropping, rewriting, salvage, the identity file's sync. To be called at least a
    /// few times a second, also while nothing is appended, and again at once when it says `more`.
    pub fn maintain(&mut self) -> Maintained {
        self.do_upkeep()
    }

    pub(crate) fn sync_identity(&mut self) -> Result<(), PersistError> {
        self.finish_identity_sync();
        let before_us = self.shared.disk.now_us();
        let synced = self.identity.sync(&self.shared.disk);
        self.stats.note_sync(self.shared.disk.now_us() - before_us);
        synced.map_err(|error| self.refused(&error))
    }

    /// The applied start offset of every partition there is: what is below is dead, and so is
    /// every partition that is not named. A partition without one has 0.
    pub fn set_starts(&mut self, starts: &BTreeMap<TopicPartition, i64>) {
        self.starts = Some(starts.clone());
        self.upkeep.look_again();
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
        let catalog = self.shared.catalog();
        let kept = self.kept_numbers(&catalog);
        Usage {
            bytes_used: self.room.bytes_used(),
            bytes_max: self.config.bytes_max,
            append_bytes_left: self.append_bytes_left(),
            free_bytes: disk.free_bytes(),
            filesystem_full: self.room.filesystem_full(),
            ballast: self.room.has_ballast(),
            slices: catalog.infos(|entry| !kept.contains(&entry.number)),
            device_bytes_written: disk.device_bytes(),
            entry_bytes_written: self.stats.entry_bytes_written,
            syncs: self.stats.syncs,
            sync_times: self.stats.sync_times(),
            poisoned_slices: self.stats.poisoned_slices,
            poisoned: self.retry_after_ms > 0,
            quarantined: self.upkeep.quarantined,
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

/// Stands beside a poisoned slice: how far it counts.
pub(crate) fn poison_file(number: u64) -> String {
    format!("slices/{number}/poisoned")
}
