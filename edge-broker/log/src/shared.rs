//! What the writer and its readers share: the catalog, and the slices that are open.
//!
//! ```text
//! newest slice ──┐                       ┌── catalog (lock held for microseconds)
//!                ├── OpenSlices <── get ─┤
//! others, LRU  ──┘                       └── disk
//! ```
//! Only the newest slice is open with its engine. Any other is opened for reading on demand and
//! closed when others were used since. No lock is held while a slice is read; the one around
//! opening is per store, since opening is rare and need not happen twice for one slice. The newest
//! slice needs none of that: neither its writer nor its readers wait for an older one.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::Duration;

use crate::catalog::Catalog;
use crate::scan;
use crate::slice_index::{self, SliceIndex};
use crate::{Disk, DiskError, Entry};

/// Shared by the store and its readers.
pub struct Shared<D: Disk> {
    pub disk: D,
    catalog: RwLock<Catalog>,
    /// The slice that is written; closed by the store only.
    held: Mutex<Vec<(u64, Arc<D::Slice>)>>,
    /// Locked before `held` where both are.
    open: Mutex<OpenSlices<D>>,
    reopened: Condvar,
    indexes: Mutex<Lru<Arc<SliceIndex>>>,
    /// The end of the log while recovery could not write it again; nearly always empty.
    tail: Mutex<Vec<Entry>>,
}

struct OpenSlices<D: Disk> {
    recent: Lru<Arc<D::Slice>>,
    /// Evicted, but perhaps still in a reader's hands.
    evicted: Vec<(u64, Weak<D::Slice>)>,
    /// Being moved or removed: nobody may open it now.
    shut: Vec<u64>,
}

/// Few things by slice number, the least recently used one going first.
struct Lru<T> {
    max: usize,
    items: Vec<(u64, T)>,
}

impl<T: Clone> Lru<T> {
    fn new(max: usize) -> Lru<T> {
        Lru {
            max: max.max(1),
            items: Vec::new(),
        }
    }

    fn get(&mut self, number: u64) -> Option<T> {
        let at = self.items.iter().position(|(held, _)| *held == number)?;
        let item = self.items.remove(at);
        self.items.push(item);
        self.items.last().map(|(_, item)| item.clone())
    }

    /// Adds one; returns the one that had to go.
    fn put(&mut self, number: u64, item: T) -> Option<(u64, T)> {
        self.items.push((number, item));
        (self.items.len() > self.max).then(|| self.items.remove(0))
    }

    fn remove(&mut self, number: u64) -> Option<T> {
        let at = self.items.iter().position(|(held, _)| *held == number)?;
        Some(self.items.remove(at).1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A read takes this long at most before a slice is shut some other time.
const SHUT_WAIT_MS_MAX: usize = 2000;

impl<D: Disk> Shared<D> {
    /// Nothing open yet.
    pub fn new(disk: D, catalog: Catalog, slices_open_max: usize) -> Shared<D> {
        Shared {
            disk,
            catalog: RwLock::new(catalog),
            held: Mutex::default(),
            open: Mutex::new(OpenSlices {
                recent: Lru::new(slices_open_max),
                evicted: Vec::new(),
                shut: Vec::new(),
            }),
            reopened: Condvar::new(),
            indexes: Mutex::new(Lru::new(slices_open_max)),
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

    /// Keeps a slice open until [`shut`](Shared::shut).
    pub fn hold(&self, number: u64, slice: Arc<D::Slice>) {
        lock(&self.held).push((number, slice));
    }

    /// Lets go of a slice that is written no more; from now on it is only read.
    pub fn let_go(&self, number: u64) {
        let mut held = lock(&self.held);
        let at = held.iter().position(|(held, _)| *held == number);
        let Some((_, slice)) = at.map(|at| held.swap_remove(at)) else {
            return;
        };
        drop(held);
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

    /// Closes a slice and keeps readers waiting until [`reopen`](Shared::reopen); false when a
    /// reader did not let go of it.
    pub fn shut(&self, number: u64) -> bool {
        lock(&self.open).shut.push(number);
        for _ in 0..SHUT_WAIT_MS_MAX {
            if self.release(number) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.reopen(number);
        false
    }

    /// Lets readers open the slice again.
    pub fn reopen(&self, number: u64) {
        let mut open = lock(&self.open);
        open.shut.retain(|shut| *shut != number);
        drop(open);
        self.reopened.notify_all();
    }

    fn release(&self, number: u64) -> bool {
        let mut slices = Vec::new();
        let mut open = lock(&self.open);
        slices.extend(open.recent.remove(number));
        lock(&self.held).retain(|(held, slice)| {
            if *held == number {
                slices.push(Arc::clone(slice));
            }
            *held != number
        });
        let weak = slices.iter().map(|slice| (number, Arc::downgrade(slice)));
        open.evicted.extend(weak);
        drop(open);
        // Closing one syncs it: appends and reads of other slices do not wait for that.
        drop(slices);
        let mut open = lock(&self.open);
        open.evicted.retain(|(_, slice)| slice.strong_count() > 0);
        lock(&self.indexes).remove(number);
        !open.evicted.iter().any(|(evicted, _)| *evicted == number)
    }

    /// A slice, opened if need be.
    pub fn slice(&self, number: u64) -> Result<Arc<D::Slice>, DiskError> {
        let held = lock(&self.held)
            .iter()
            .find(|(held, _)| *held == number)
            .cloned();
        if let Some((_, slice)) = held {
            return Ok(slice);
        }
        let shut = |open: &mut OpenSlices<D>| open.shut.contains(&number);
        let open = self.reopened.wait_while(lock(&self.open), shut);
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = open.recent.get(number) {
            return Ok(slice);
        }
        let evicted = open.evicted.iter().find(|(held, _)| *held == number);
        let slice = match evicted.and_then(|(_, slice)| slice.upgrade()) {
            Some(slice) => slice,
            None => Arc::new(self.disk.read_slice(number)?),
        };
        open.evicted
            .retain(|(held, slice)| *held != number && slice.strong_count() > 0);
        if let Some((old, slice)) = open.recent.put(number, Arc::clone(&slice)) {
            let weak = Arc::downgrade(&slice);
            drop(slice);
            if weak.strong_count() > 0 {
                open.evicted.push((old, weak));
            }
        }
        Ok(slice)
    }

    /// The index of a sealed slice: from memory, from its file, or by scanning it.
    pub fn index(&self, number: u64) -> Result<Arc<SliceIndex>, DiskError> {
        if let Some(index) = lock(&self.indexes).get(number) {
            return Ok(index);
        }
        let index = match slice_index::load(&self.disk, number) {
            Some(index) => index,
            None => self.rebuild_index(number)?,
        };
        let index = Arc::new(index);
        let mut indexes = lock(&self.indexes);
        indexes.remove(number);
        indexes.put(number, Arc::clone(&index));
        Ok(index)
    }

    fn rebuild_index(&self, number: u64) -> Result<SliceIndex, DiskError> {
        log::warn!("index of slice {number} is missing or damaged, rebuilding it");
        let scanned = scan::scan(&self.disk, number)?;
        let last = self
            .catalog()
            .get(number)
            .map_or(0, |entry| entry.summary.last_sequence);
        let mut index = SliceIndex::default();
        for frame in scanned.counting_to(last) {
            let found = scanned.read(&self.disk, number, frame.sequence)?;
            index.push(found.place(), found.envelope.kind, &found.data, |_, _| {});
        }
        Ok(index)
    }

    /// Notes that a slice is damaged, so that it is salvaged.
    pub fn note_damage(&self, number: u64) {
        if let Some(entry) = self.catalog_mut().get_mut(number) {
            entry.damaged = true;
        }
    }
}
