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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskError, Slice, VALUE_BYTES_MAX, value};

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
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct MemDisk {
    inner: Arc<Mutex<Inner>>,
    generation: u64,
}

struct Inner {
    rng: fastrand::Rng,
    generation: u64,
    crash_in: Option<u64>,
    crashed: bool,
    now_ms: u64,
    capacity_bytes: u64,
    faults: Faults,
    fail_syncs: u32,
    fail_sync_nth: Option<u64>,
    written_bytes: u64,
    stats: MemStats,
    slices: BTreeMap<u64, SliceData>,
    files: BTreeMap<String, FileData>,
    quarantined: BTreeMap<String, SliceData>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Durable,
    Pending,
    /// A sync failed or lied: it reads back, but it never becomes durable.
    Orphan,
}

#[derive(Clone)]
struct Value {
    bytes: Vec<u8>,
    state: State,
}

#[derive(Clone, Default)]
struct SliceData {
    values: BTreeMap<(u64, u32), Value>,
    unsynced: BTreeSet<(u64, u32)>,
    /// It exists for sure.
    created: bool,
    /// It is gone for readers, and after a power cut perhaps not.
    removed: bool,
    /// It cannot be opened.
    damaged: bool,
    /// A write was refused: no more are taken until it is opened again.
    full: bool,
    bytes: u64,
}

#[derive(Clone, Default)]
struct FileData {
    durable: Option<Vec<u8>>,
    current: Option<Vec<u8>>,
    /// The current content replaced the durable one, and the folder was not synced yet.
    renamed: bool,
    pending: Vec<(usize, Vec<u8>)>,
    orphaned: Vec<(usize, Vec<u8>)>,
}

/// A slice of a [`MemDisk`].
pub struct MemSlice {
    disk: MemDisk,
    number: u64,
}

fn crashed() -> DiskError {
    DiskError::Io("the machine is down".into())
}

impl MemDisk {
    /// An empty disk of unlimited size.
    pub fn new(seed: u64) -> MemDisk {
        let inner = Inner {
            rng: fastrand::Rng::with_seed(seed),
            generation: 0,
            crash_in: None,
            crashed: false,
            now_ms: 0,
            capacity_bytes: u64::MAX,
            faults: Faults::default(),
            fail_syncs: 0,
            fail_sync_nth: None,
            written_bytes: 0,
            stats: MemStats::default(),
            slices: BTreeMap::new(),
            files: BTreeMap::new(),
            quarantined: BTreeMap::new(),
        };
        MemDisk {
            inner: Arc::new(Mutex::new(inner)),
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
        let mut inner = self.lock();
        inner.generation += 1;
        inner.crashed = false;
        inner.crash_in = None;
        inner
            .slices
            .values_mut()
            .for_each(|slice| slice.full = false);
        MemDisk {
            inner: Arc::clone(&self.inner),
            generation: inner.generation,
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
        let mut inner = self.lock();
        let mut rng = inner.rng.clone();
        let Some(slice) = inner.slices.get_mut(&number) else {
            return false;
        };
        if slice.values.is_empty() {
            return false;
        }
        let nth = rng.usize(..slice.values.len());
        if let Some(value) = slice.values.values_mut().nth(nth) {
            let at = rng.usize(..value.bytes.len());
            value.bytes[at] ^= 1 << rng.u8(..8);
        }
        inner.rng = rng;
        true
    }

    /// Makes a slice one that cannot be opened; its values can still be found.
    pub fn damage_slice(&self, number: u64) {
        if let Some(slice) = self.lock().slices.get_mut(&number) {
            slice.damaged = true;
        }
    }

    /// Removes a plain file, or damages it when `flip` is set; false when there is none.
    pub fn damage_file(&self, name: &str, flip: bool) -> bool {
        let mut inner = self.lock();
        let mut rng = inner.rng.clone();
        let found = match inner
            .files
            .get_mut(name)
            .and_then(|file| file.current.as_mut())
        {
            Some(bytes) if flip && !bytes.is_empty() => {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
                true
            }
            Some(_) => inner.files.remove(name).is_some(),
            None => false,
        };
        inner.rng = rng;
        if let Some(file) = inner.files.get_mut(name) {
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
        let inner = self.lock();
        inner
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

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Result<MutexGuard<'_, Inner>, DiskError> {
        let inner = self.lock();
        if inner.crashed || inner.generation != self.generation {
            return Err(crashed());
        }
        Ok(inner)
    }
}

impl Inner {
    /// Every change of the disk begins with this: here a crash may strike.
    fn step(&mut self) -> Result<(), DiskError> {
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

    fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.rng.u32(..n) == 0
    }

    /// Whether this sync works, fails or lies.
    fn sync_outcome(&mut self) -> Result<SyncOutcome, DiskError> {
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

    fn bytes_used(&self) -> u64 {
        let slices = self.slices.values().chain(self.quarantined.values());
        let files = self.files.values().filter_map(|file| file.current.as_ref());
        slices.map(|slice| slice.bytes).sum::<u64>()
            + files.map(|bytes| bytes.len() as u64).sum::<u64>()
    }

    fn take_room(&mut self, bytes: u64) -> Result<(), DiskError> {
        if self.capacity_bytes != u64::MAX
            && self.bytes_used().saturating_add(bytes) > self.capacity_bytes
        {
            self.stats.writes_refused += 1;
            return Err(DiskError::Full);
        }
        self.written_bytes += bytes;
        Ok(())
    }

    fn slice(&mut self, number: u64) -> Result<&mut SliceData, DiskError> {
        match self.slices.get_mut(&number) {
            Some(slice) if !slice.removed => Ok(slice),
            _ => Err(DiskError::Io(format!("there is no slice {number}"))),
        }
    }

    fn file(&mut self, name: &str) -> Result<&mut FileData, DiskError> {
        match self.files.get_mut(name) {
            Some(file) if file.current.is_some() => Ok(file),
            _ => Err(DiskError::Io(format!("there is no file {name}"))),
        }
    }

    fn power_cut(&mut self) {
        self.stats.power_cuts += 1;
        let mut rng = self.rng.clone();
        self.slices.retain(|_, slice| {
            // Unsynced: a creation that was not finished, a removal. Either may have happened.
            if (slice.removed || !slice.created) && rng.bool() {
                return false;
            }
            slice.damaged |= !slice.created && rng.bool();
            slice.removed = false;
            slice.created = true;
            true
        });
        for slice in self.slices.values_mut() {
            for key in std::mem::take(&mut slice.unsynced) {
                cut_value(&mut rng, &mut self.stats, slice, key);
            }
        }
        for file in self.files.values_mut() {
            cut_file(&mut rng, file);
        }
        self.files.retain(|_, file| file.current.is_some());
        self.remove_orphaned_files();
        self.rng = rng;
    }
}

impl Inner {
    /// Files in the folder of a slice go with it.
    fn remove_orphaned_files(&mut self) {
        let slices = &self.slices;
        self.files.retain(|name, _| {
            let folder = name
                .strip_prefix("slices/")
                .and_then(|rest| rest.split('/').next());
            let number = folder.and_then(|number| number.parse().ok());
            number.is_none_or(|number: u64| slices.contains_key(&number))
        });
    }
}

enum SyncOutcome {
    Works,
    Fails,
    Lies,
}

fn cut_value(
    rng: &mut fastrand::Rng,
    stats: &mut MemStats,
    slice: &mut SliceData,
    key: (u64, u32),
) {
    let Some(value) = slice.values.get_mut(&key) else {
        return;
    };
    let len = value.bytes.len();
    value.state = State::Durable;
    match rng.u8(..8) {
        0..3 => {
            stats.values_lost += 1;
            slice.bytes -= len as u64;
            slice.values.remove(&key);
        }
        3..6 => stats.values_kept += 1,
        torn => {
            stats.values_torn += 1;
            tear(rng, &mut value.bytes, torn == 7);
        }
    }
}

/// Keeps a prefix of whole sectors or pages; the rest is zero, garbage or missing.
fn tear(rng: &mut fastrand::Rng, bytes: &mut Vec<u8>, garbage: bool) {
    let unit = if rng.bool() { 512 } else { 4096 };
    let kept = (rng.usize(..=bytes.len() / unit) * unit).min(bytes.len());
    if garbage {
        bytes[kept..].iter_mut().for_each(|byte| *byte = rng.u8(..));
    } else if rng.bool() {
        bytes[kept..].fill(0);
    } else {
        bytes.truncate(kept);
    }
}

fn cut_file(rng: &mut fastrand::Rng, file: &mut FileData) {
    if file.renamed && rng.bool() {
        file.durable = file.current.take();
    }
    // In-place writes reach the disk or not, one by one and in any order.
    let writes = file.pending.drain(..).chain(file.orphaned.drain(..));
    let mut writes: Vec<_> = writes.collect();
    rng.shuffle(&mut writes);
    file.renamed = false;
    file.current = file.durable.clone();
    let Some(content) = file.current.as_mut() else {
        return;
    };
    for (offset, mut bytes) in writes {
        match rng.u8(..4) {
            0 | 1 => continue,
            2 => {}
            _ => {
                let len = bytes.len();
                tear(rng, &mut bytes, rng.clone().bool());
                bytes.resize(len, 0);
            }
        }
        overwrite(content, offset, &bytes);
    }
    file.durable = file.current.clone();
}

fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Disk for MemDisk {
    type Slice = MemSlice;

    fn slice_numbers(&self) -> Result<Vec<u64>, DiskError> {
        drop(self.live()?);
        Ok(self.slices())
    }

    fn create_slice(&self, number: u64) -> Result<MemSlice, DiskError> {
        let mut inner = self.live()?;
        inner.step()?;
        inner.take_room(SLICE_OVERHEAD_BYTES)?;
        let slice = SliceData {
            bytes: SLICE_OVERHEAD_BYTES,
            ..SliceData::default()
        };
        inner.slices.insert(number, slice);
        match inner.sync_outcome()? {
            SyncOutcome::Works => inner.slice(number)?.created = true,
            SyncOutcome::Lies => {}
            SyncOutcome::Fails => {
                inner.slice(number)?.removed = true;
                return Err(DiskError::Io("sync of a new slice failed".into()));
            }
        }
        Ok(MemSlice {
            disk: self.clone(),
            number,
        })
    }

    fn open_slice(&self, number: u64) -> Result<MemSlice, DiskError> {
        let mut inner = self.live()?;
        if inner.slice(number)?.damaged {
            return Err(DiskError::Damaged(format!("slice {number} does not open")));
        }
        Ok(MemSlice {
            disk: self.clone(),
            number,
        })
    }

    fn read_slice(&self, number: u64) -> Result<MemSlice, DiskError> {
        self.live()?.slice(number)?;
        Ok(MemSlice {
            disk: self.clone(),
            number,
        })
    }

    fn seal_slice(&self, number: u64) -> Result<(), DiskError> {
        let mut inner = self.live()?;
        inner.slice(number)?;
        inner.step()
    }

    fn find_values(&self, number: u64, found: &mut dyn FnMut(u64, &[u8])) -> Result<(), DiskError> {
        for ((sequence, part), value) in &self.live()?.slice(number)?.values {
            found(sequence << PART_BITS | u64::from(*part), &value.bytes);
        }
        Ok(())
    }

    fn value_at(&self, number: u64, place: u64) -> Result<Vec<u8>, DiskError> {
        let key = (place >> PART_BITS, (place & ((1 << PART_BITS) - 1)) as u32);
        let mut inner = self.live()?;
        let value = inner.slice(number)?.values.get(&key);
        Ok(value.map_or_else(Vec::new, |value| value.bytes.clone()))
    }

    fn slice_bytes(&self, number: u64) -> u64 {
        self.lock().slice(number).map_or(0, |slice| slice.bytes)
    }

    fn remove_slice(&self, number: u64) -> Result<(), DiskError> {
        let mut inner = self.live()?;
        inner.step()?;
        inner.slice(number)?.removed = true;
        inner.step()?;
        inner.slices.remove(&number);
        let folder = format!("slices/{number}/");
        inner.files.retain(|name, _| !name.starts_with(&folder));
        Ok(())
    }

    fn quarantine_slice(&self, number: u64) -> Result<String, DiskError> {
        let mut inner = self.live()?;
        inner.step()?;
        inner.slice(number)?;
        let folder = format!("slices/{number}/");
        inner.files.retain(|name, _| !name.starts_with(&folder));
        let name = format!("quarantine/{number}");
        if let Some(slice) = inner.slices.remove(&number) {
            inner.quarantined.insert(name.clone(), slice);
        }
        Ok(name)
    }

    fn read_file(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, DiskError> {
        let inner = self.live()?;
        let content = inner.files.get(name).and_then(|file| file.current.as_ref());
        Ok(content.map(|bytes| bytes[..bytes.len().min(bytes_max)].to_vec()))
    }

    fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let mut inner = self.live()?;
        // The temporary file: written and synced under another name.
        inner.step()?;
        inner.take_room(bytes.len() as u64)?;
        match inner.sync_outcome()? {
            SyncOutcome::Fails => return Err(DiskError::Io(format!("sync of {name} failed"))),
            SyncOutcome::Works | SyncOutcome::Lies => {}
        }
        // The rename: seen at once, durable with the folder.
        let file = inner.files.entry(name.to_string()).or_default();
        file.current = Some(bytes.to_vec());
        file.pending.clear();
        file.orphaned.clear();
        file.renamed = true;
        match inner.sync_outcome()? {
            SyncOutcome::Fails => Err(DiskError::Io(format!("sync of {name}'s folder failed"))),
            SyncOutcome::Lies => Ok(()),
            SyncOutcome::Works => {
                let file = inner.file(name)?;
                file.durable = file.current.clone();
                file.renamed = false;
                Ok(())
            }
        }
    }

    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        let mut inner = self.live()?;
        inner.step()?;
        inner.files.remove(name);
        Ok(())
    }

    fn list_files(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let prefix = format!("{folder}/");
        let inner = self.live()?;
        Ok(inner
            .files
            .keys()
            .filter(|name| name.starts_with(&prefix))
            .cloned()
            .collect())
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut inner = self.live()?;
        inner.step()?;
        inner.written_bytes += bytes.len() as u64;
        let file = inner.file(name)?;
        if let Some(content) = file.current.as_mut() {
            overwrite(content, offset as usize, bytes);
        }
        file.pending.push((offset as usize, bytes.to_vec()));
        Ok(())
    }

    fn sync_file(&self, name: &str) -> Result<(), DiskError> {
        let mut inner = self.live()?;
        let outcome = inner.sync_outcome()?;
        let file = inner.file(name)?;
        let pending = std::mem::take(&mut file.pending);
        match outcome {
            SyncOutcome::Works => {
                if let Some(durable) = file.durable.as_mut() {
                    pending
                        .iter()
                        .for_each(|(at, bytes)| overwrite(durable, *at, bytes));
                }
                Ok(())
            }
            SyncOutcome::Lies => {
                file.orphaned.extend(pending);
                Ok(())
            }
            SyncOutcome::Fails => {
                file.orphaned.extend(pending);
                Err(DiskError::Io(format!("sync of {name} failed")))
            }
        }
    }

    fn allocate_file(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let mut inner = self.live()?;
        inner.step()?;
        inner.take_room(bytes)?;
        let content = Some(vec![0; bytes as usize]);
        let file = FileData {
            durable: content.clone(),
            current: content,
            ..FileData::default()
        };
        inner.files.insert(name.to_string(), file);
        Ok(())
    }

    fn sync_names(&self) -> Result<(), DiskError> {
        let mut inner = self.live()?;
        match inner.sync_outcome()? {
            SyncOutcome::Fails => return Err(DiskError::Io("sync of the folders failed".into())),
            SyncOutcome::Lies => return Ok(()),
            SyncOutcome::Works => {}
        }
        inner.slices.retain(|_, slice| !slice.removed);
        inner.remove_orphaned_files();
        inner
            .slices
            .values_mut()
            .for_each(|slice| slice.created = true);
        for file in inner.files.values_mut().filter(|file| file.renamed) {
            file.durable = file.current.clone();
            file.renamed = false;
        }
        Ok(())
    }

    fn bytes_used(&self) -> u64 {
        self.lock().bytes_used()
    }

    fn free_bytes(&self) -> u64 {
        let inner = self.lock();
        inner.capacity_bytes.saturating_sub(inner.bytes_used())
    }

    fn device_bytes(&self) -> u64 {
        self.lock().written_bytes
    }

    fn now_ms(&self) -> u64 {
        self.lock().now_ms
    }

    fn now_us(&self) -> u64 {
        self.lock().now_ms * 1000
    }

    fn random(&self) -> u64 {
        self.lock().rng.u64(1..)
    }

    fn background(&self) -> bool {
        false
    }
}

/// A value's place is its sequence and, in so many bits, its part.
const PART_BITS: u32 = 20;

/// What an empty slice occupies.
const SLICE_OVERHEAD_BYTES: u64 = 4096;

impl Slice for MemSlice {
    fn put(&self, sequence: u64, values: &[u8]) -> Result<(), DiskError> {
        let mut inner = self.disk.live()?;
        for (part, value) in values.chunks(VALUE_BYTES_MAX).enumerate() {
            inner.step()?;
            if inner.slice(self.number)?.full {
                return Err(DiskError::Full);
            }
            if let Err(full) = inner.take_room(value.len() as u64) {
                inner.slice(self.number)?.full = true;
                return Err(full);
            }
            let slice = inner.slice(self.number)?;
            let key = (sequence, part as u32);
            slice.unsynced.insert(key);
            slice.bytes += value.len() as u64;
            let value = Value {
                bytes: value.to_vec(),
                state: State::Pending,
            };
            let old = slice.values.insert(key, value);
            let whole = old.is_some_and(|old| value::check_prefix(&old.bytes).is_some());
            assert!(!whole, "slices are insert-only, write: {sequence}");
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), DiskError> {
        let mut inner = self.disk.live()?;
        let outcome = inner.sync_outcome()?;
        let slice = inner.slice(self.number)?;
        if slice.full {
            return Err(DiskError::Full);
        }
        let works = matches!(outcome, SyncOutcome::Works);
        let SliceData {
            values, unsynced, ..
        } = slice;
        unsynced.retain(|key| {
            let Some(value) = values.get_mut(key) else {
                return false;
            };
            if value.state == State::Pending {
                value.state = if works { State::Durable } else { State::Orphan };
            }
            value.state != State::Durable
        });
        match outcome {
            SyncOutcome::Fails => Err(DiskError::Io("sync of a slice failed".into())),
            SyncOutcome::Works | SyncOutcome::Lies => Ok(()),
        }
    }

    fn get(&self, sequence: u64, part: u32) -> Result<Option<Vec<u8>>, DiskError> {
        let mut inner = self.disk.live()?;
        let one_in = inner.faults.read_fails_one_in;
        if inner.one_in(one_in) {
            return Err(DiskError::Io("read failed".into()));
        }
        let slice = inner.slices.get(&self.number);
        let value = slice.and_then(|slice| slice.values.get(&(sequence, part)));
        Ok(value.map(|value| value.bytes.clone()))
    }

    fn prove(&self) -> Result<(), DiskError> {
        // Past every cache only what is durable can be seen; a lie shows here.
        let mut inner = self.disk.live()?;
        match inner.slice(self.number)?.unsynced.is_empty() {
            true => Ok(()),
            false => Err(DiskError::Io("what was synced cannot be read back".into())),
        }
    }

    fn bytes(&self) -> u64 {
        self.disk.slice_bytes(self.number)
    }
}
