//! The append path: entries become frames in the newest slice, and one sync makes them durable.
//!
//! ```text
//! entries ──> runs that fit a slice ──> put, put, put ──> sync ──> catalog, durable mark
//!                                            │  fails
//!                                            └──> slice given up ──> proven new slice, once
//! ```
//! Which slice is written is the affair of `newest`. Called on the site's storage thread, once for
//! each group of entries.

use super::Store;
use crate::identity::{Identity, Mark};
use crate::scan::SliceHeader;
use crate::slice_index::{self, FramePlace, SliceIndex, Summary};
use crate::value::{self, Envelope};
use crate::{Disk, DiskError, Durable, Entry, HardState, PersistError, Slice};

/// A frame that is written and not yet known to be durable.
struct Staged {
    place: FramePlace,
    crc: u32,
}

impl Staged {
    /// The durable mark, once it is synced.
    fn mark(&self) -> Mark {
        Mark {
            sequence: self.place.sequence,
            crc: self.crc,
            index: self.place.index,
            term: self.place.term,
        }
    }
}

impl<D: Disk> Store<D> {
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
            self.sync_identity().map_err(|error| self.refused(&error))?;
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
            self.sync_identity().map_err(|error| self.refused(&error))?;
        }
        self.retry.worked();
        Ok(Durable {
            sequence: self.durable.sequence,
            last_index: self.shared.catalog().last_index,
            device_bytes: self.shared.disk.device_bytes(),
            sync_us: self.stats.sync_us - before_us,
            append_bytes_left: self.append_bytes_left(),
        })
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

    /// Entries follow each other and what is there; anything else is the caller's mistake.
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

    /// Writes a run; where that fails, once more in a new slice.
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

    /// An append is refused: what the caller is told, and when it may try again.
    fn refused(&mut self, error: &DiskError) -> PersistError {
        let wait_ms = match error {
            DiskError::Full => 0,
            _ => self.retry.failed(self.shared.disk.now_ms()),
        };
        self.told(error, wait_ms)
    }

    /// A failure as the caller is told of it.
    pub(super) fn told(&mut self, error: &DiskError, retry_after_ms: u64) -> PersistError {
        let cause = error.to_string();
        match error {
            DiskError::Full => {
                self.room.note_full();
                PersistError::Full { cause }
            }
            _ => PersistError::Poisoned {
                retry_after_ms,
                cause,
            },
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
            active.slice.put(0, &header.encode(self.shared.secret))?;
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
        let (store_id, secret) = (self.identity.current().store_id, self.shared.secret);
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
            let crc = value::encode(&mut self.scratch, secret, sequence, &envelope, &entry.data);
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

    /// Takes a run that is synced into the catalog and moves the durable mark behind it.
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
                ..slice_index::empty_summary(store_id, active.continues)
            };
            catalog.add(active.number, summary, Some(SliceIndex::default()), 0);
            active.listed = true;
        }
        for (entry, frame) in run.iter().zip(staged) {
            catalog.push(active.number, frame.place, entry.kind, &entry.data);
            self.stats.entry_bytes_written += entry.data.len() as u64;
        }
        if let Some(entry) = catalog.get_mut(active.number) {
            let file_bytes = active.slice.bytes();
            self.room.grow(file_bytes.saturating_sub(entry.file_bytes));
            entry.file_bytes = file_bytes;
        }
        drop(catalog);
        if let Some(last) = staged.last() {
            self.durable = last.mark();
        }
    }
}
