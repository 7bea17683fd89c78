//! What the writer and its readers share: the catalog, and the slices that are open.
//!
//! ```text
//! newest slice ── held ──┐                      ┌── catalog (lock held for microseconds)
//!                        ├──> Opened <── slice ─┤
//! others ──────── pool ──┘                      └── disk
//! ```
//! Only the newest slice is open with its engine, and one that was given up until it is copied. Any
//! other is opened for reading when somebody asks for it, and closed when others were used since.
//! No lock is held while a slice is opened or read: neither the writer nor a reader waits for one
//! that another reader needs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::catalog::{Catalog, SliceEntry};
use crate::opened::{Closed, Opened};
use crate::pool::Pool;
use crate::scan;
use crate::secret::Secret;
use crate::slice_index::{self, Places, SliceIndex};
use crate::{Disk, DiskError, Entry, Seen};

/// What the disk cannot read for so many tries, about ten minutes, counts as lost.
const FAILED_COPIES_MAX: u32 = 15;

/// Shared by the store and its readers.
pub struct Shared<D: Disk> {
    pub disk: D,
    /// Tells our values from what clients sent.
    pub secret: Secret,
    catalog: RwLock<Catalog>,
    /// Open with their engine; closed by the store only.
    held: Mutex<Vec<(u64, Arc<D::Slice>)>>,
    closed: Pool<Closed<D>>,
    indexes: Pool<SliceIndex>,
    /// The end of the log while recovery could not write it again; nearly always empty.
    tail: Mutex<Vec<Entry>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A read takes this long at most before a slice is closed some other time.
const CLOSE_WAIT_MS_MAX: usize = 2000;

impl<D: Disk> Shared<D> {
    /// Nothing open yet.
    pub fn new(disk: D, secret: Secret, catalog: Catalog, slices_open_max: usize) -> Shared<D> {
        Shared {
            disk,
            secret,
            catalog: RwLock::new(catalog),
            held: Mutex::default(),
            closed: Pool::new(slices_open_max),
            indexes: Pool::new(slices_open_max),
            tail: Mutex::new(Vec::new()),
        }
    }

    /// The catalog, for a look.
    pub fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The catalog, for a change.
    pub fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the end of the log that is in memory only.
    pub fn set_tail(&self, tail: Vec<Entry>) {
        *lock(&self.tail) = tail;
    }

    /// An entry of that end.
    pub fn tail_entry(&self, index: u64) -> Option<Entry> {
        lock(&self.tail)
            .iter()
            .rev()
            .find(|entry| entry.index == index)
            .cloned()
    }

    /// The last raft index.
    pub fn last_index(&self) -> u64 {
        let tail = lock(&self.tail).last().map(|entry| entry.index);
        tail.unwrap_or_else(|| self.catalog().last_index)
    }

    /// Keeps a slice open until [`close`](Shared::close) or [`let_go`](Shared::let_go).
    pub fn hold(&self, number: u64, slice: Arc<D::Slice>) {
        lock(&self.held).push((number, slice));
    }

    /// Lets go of a slice that is written no more; from now on it is only read.
    pub fn let_go(&self, number: u64) {
        let Some(slice) = self.take_held(number) else {
            return;
        };
        if !self.disk.background() {
            return;
        }
        // Closing syncs, and no append is to wait for that; waiting for the slice's turn to be
        // sealed would keep all of it in memory.
        let close = std::thread::Builder::new().name("slice-close".into());
        if let Err(error) = close.spawn(move || drop(slice)) {
            log::warn!("slice {number} is closed by the thread that writes: {error}");
        }
    }

    fn take_held(&self, number: u64) -> Option<Arc<D::Slice>> {
        let mut held = lock(&self.held);
        let at = held.iter().position(|(held, _)| *held == number)?;
        Some(held.swap_remove(at).1)
    }

    /// Closes a slice that is to go and is in the catalog no more; false when a reader did not let
    /// go of its engine in time. Readers that know where its values lie may go on.
    pub fn close(&self, number: u64) -> bool {
        self.closed.remove(number);
        self.indexes.remove(number);
        let Some(slice) = self.take_held(number) else {
            return true;
        };
        for _ in 0..CLOSE_WAIT_MS_MAX {
            // Nobody can have come since it is not held.
            if Arc::strong_count(&slice) == 1 {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.hold(number, slice);
        false
    }

    /// Creates a slice; the store's secret stands beside it.
    pub fn create_slice(&self, number: u64) -> Result<D::Slice, DiskError> {
        self.disk.create_slice(number, &self.secret.file_content())
    }

    /// A slice, opened if need be.
    pub fn slice(&self, number: u64) -> Result<Opened<D>, DiskError> {
        let held = lock(&self.held);
        if let Some((_, slice)) = held.iter().find(|(held, _)| *held == number) {
            return Ok(Opened::Written(Arc::clone(slice), self.secret));
        }
        drop(held);
        let mut fresh = false;
        let slice = self.closed.get(number, || {
            fresh = true;
            Closed::open(&self.disk, number, self.secret, self.sealed_index(number))
        })?;
        if fresh && self.catalog().get(number).is_none() {
            // It went meanwhile, and nobody else would let go of its file.
            self.closed.remove(number);
        }
        Ok(Opened::Closed(slice))
    }

    /// The index of a slice, if it is sealed: until then nothing says where its values lie.
    fn sealed_index(&self, number: u64) -> Option<Arc<SliceIndex>> {
        let is_sealed = self.catalog().get(number).is_some_and(SliceEntry::sealed);
        is_sealed.then(|| self.index(number).ok()).flatten()
    }

    /// The index of a sealed slice: from memory, from its file, or by scanning it.
    pub fn index(&self, number: u64) -> Result<Arc<SliceIndex>, DiskError> {
        self.indexes
            .get(number, || match slice_index::load(&self.disk, number) {
                Some(index) => Ok(index),
                None => self.rebuild_index(number),
            })
    }

    fn rebuild_index(&self, number: u64) -> Result<SliceIndex, DiskError> {
        log::warn!("index of slice {number} is missing or damaged, rebuilding it");
        let scanned = scan::scan(&self.disk, number, self.secret)?;
        if scanned.seen == Seen::Part {
            // Readers would pass what cannot be read without a word.
            return Err(DiskError::Io(format!(
                "some of slice {number} cannot be read"
            )));
        }
        let last = self
            .catalog()
            .get(number)
            .map_or(0, |entry| entry.summary.last_sequence);
        let mut index = SliceIndex::default();
        for frame in scanned.counting_to(last) {
            let found = scanned.read(&self.disk, number, frame.sequence)?;
            index.push(found.place(), found.envelope.kind, &found.data, |_, _| {});
        }
        index.places = Places::of(&index.frames, |sequence, part| {
            scanned.place(sequence, part)
        });
        Ok(index)
    }

    /// Notes that a slice failed who read it: in the end what can be read of it is copied.
    pub fn note_failed_read(&self, number: u64, error: &DiskError) {
        match error {
            DiskError::Damaged(_) => self.note_damage(number),
            DiskError::Io(_) => self.note_unreadable(number),
            DiskError::Full | DiskError::Locked(_) => {}
        }
    }

    /// Notes that the disk could not read some of a slice: it may later, or never again.
    fn note_unreadable(&self, number: u64) {
        if let Some(entry) = self.catalog_mut().get_mut(number) {
            entry.failed_reads = entry.failed_reads.saturating_add(1);
        }
    }

    /// Notes the same for a copy; whether it is time to go on without.
    pub fn gives_up_reading(&self, number: u64) -> bool {
        let mut catalog = self.catalog_mut();
        let entry = catalog.get_mut(number);
        entry.is_none_or(|entry| {
            entry.failed_copies = entry.failed_copies.saturating_add(1);
            entry.failed_copies > FAILED_COPIES_MAX
        })
    }

    /// Notes that nothing at all could be read: only when the disk is back its tries count.
    pub fn start_over_reading(&self, number: u64) {
        if let Some(entry) = self.catalog_mut().get_mut(number) {
            entry.failed_copies = 0;
        }
    }

    /// Notes that a slice is damaged, so that it is salvaged.
    pub fn note_damage(&self, number: u64) {
        if let Some(entry) = self.catalog_mut().get_mut(number) {
            entry.damaged = true;
        }
    }
}
