//! A slice in a sled Db, and the rules under which sled 0.34.7 keeps what it was given.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::files::{self, folder_bytes, replace, sync_folder};
use super::leaves::{self, Leaves};
use super::raw;
use super::{disk_error, io_error};
use crate::secret;
use crate::{DiskError, Slice, VALUE_BYTES_MAX};

/// A slice in a sled Db.
pub struct SledSlice {
    /// Taken when the slice is dropped.
    db: Option<sled::Db>,
    /// Our own handle of sled's `db` file, for the sync that sled does not do.
    file: File,
    path: PathBuf,
    leaves: Mutex<Leaves>,
}

fn sled_error(what: &str, error: sled::Error) -> DiskError {
    match error {
        sled::Error::Io(error) => disk_error(what, &error),
        sled::Error::Corruption { .. } => DiskError::Damaged(format!("{what}: {error}")),
        other => DiskError::Io(format!("{what}: {other}")),
    }
}

impl SledSlice {
    /// Creates a slice; sled syncs neither its files nor their names, so we do.
    pub fn create(
        path: &Path,
        cache_bytes: u64,
        secret_file: &[u8],
    ) -> Result<SledSlice, DiskError> {
        let slice = SledSlice::open_db(path, cache_bytes)?;
        let conf = path.join("conf");
        File::open(&conf)
            .and_then(|file| file.sync_all())
            .map_err(io_error("sync", &conf))?;
        files::create(&path.join(secret::FILE), secret_file)?;
        slice.ask("flush", |db| db.flush().map(|_| ()))?;
        slice.file.sync_all().map_err(io_error("sync", path))?;
        sync_folder(path)?;
        path.parent().map_or(Ok(()), sync_folder)?;
        release_garbage();
        Ok(slice)
    }

    /// Opens an existing slice.
    pub fn open(path: &Path, cache_bytes: u64) -> Result<SledSlice, DiskError> {
        if !path.join("db").exists() {
            return Err(DiskError::Damaged(format!(
                "{} has no db file",
                path.display()
            )));
        }
        mend_conf(path)?;
        remove_half_snapshots(path);
        let slice = SledSlice::open_db(path, cache_bytes)?;
        slice.note_leaves()?;
        Ok(slice)
    }

    /// Takes note of what an earlier process put.
    fn note_leaves(&self) -> Result<(), DiskError> {
        let mut leaves = self.leaves();
        let ours = self.ask("list", |db| {
            let mut keys = db.iter().keys();
            keys.try_fold(true, |ours, key| Ok(ours && leaves.note(&key?)))
        })?;
        match ours {
            true => Ok(()),
            false => Err(DiskError::Damaged(format!(
                "{} holds a key of another form",
                self.path.display()
            ))),
        }
    }

    fn leaves(&self) -> MutexGuard<'_, Leaves> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_db(path: &Path, cache_bytes: u64) -> Result<SledSlice, DiskError> {
        let db = open_guarded(path, cache_bytes)?;
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path.join("db"));
        let file = file.map_err(io_error("open", path))?;
        Ok(SledSlice {
            db: Some(db),
            file,
            path: path.to_path_buf(),
            leaves: Mutex::default(),
        })
    }
}

/// sled panics on some damage while it opens, so it opens in a thread of its own. A Db that was
/// just closed may hold its lock a moment longer than its last handle.
fn open_guarded(path: &Path, cache_bytes: u64) -> Result<sled::Db, DiskError> {
    let mut waited_ms = 0;
    loop {
        let config = sled::Config::new()
            .path(path)
            .cache_capacity(cache_bytes)
            .flush_every_ms(None);
        let thread = std::thread::Builder::new()
            .name("slice-open".into())
            .spawn(move || catch_unwind(AssertUnwindSafe(|| config.open())));
        let thread = thread.map_err(io_error("open", path))?;
        let what = || format!("open {}", path.display());
        match thread.join() {
            Ok(Ok(Ok(db))) => return Ok(db),
            Ok(Ok(Err(error))) => {
                let locked = error.to_string().contains("could not acquire lock");
                if !locked || waited_ms >= LOCK_WAIT_MS_MAX {
                    return Err(sled_error(&what(), error));
                }
                std::thread::sleep(Duration::from_millis(LOCK_STEP_MS));
                waited_ms += LOCK_STEP_MS;
            }
            Ok(Err(_)) | Err(_) => {
                return Err(DiskError::Damaged(format!("{}: sled panicked", what())));
            }
        }
    }
}

const LOCK_STEP_MS: u64 = 5;
const LOCK_WAIT_MS_MAX: u64 = 2000;

/// sled never syncs `conf`: after a power cut it may be short, zeroed or cut between its two
/// writes, and sled would refuse the slice. It holds only constants, so we write it anew, durably:
/// left to sled, the next cut could damage the new one just the same.
fn mend_conf(path: &Path) -> Result<(), DiskError> {
    let conf = path.join("conf");
    match fs::read(&conf) {
        Ok(bytes) if bytes == CONF => Ok(()),
        _ => replace(&conf, CONF),
    }
}

/// `conf` as sled 0.34.7 writes it with the settings used here: a text and its CRC-32.
const CONF: &[u8] =
    b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n\x76\x19\x51\xc1";

/// A snapshot that a power cut left half written makes sled refuse the slice.
fn remove_half_snapshots(path: &Path) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with("generating") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Syncs a closed slice whole. It is not opened with sled again, so whatever sled would do at its
/// next opening (1.1 to 1.5 MB of writes) is never done.
pub fn seal(path: &Path) -> Result<(), DiskError> {
    let db = path.join("db");
    let synced = File::open(&db).and_then(|file| file.sync_all());
    synced.map_err(io_error("sync", &db))?;
    sync_folder(path)
}

impl SledSlice {
    /// Asks sled for something; a panic of its is an error of this slice, not of the gateway.
    fn ask<T>(
        &self,
        what: &str,
        act: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, DiskError> {
        let Some(db) = self.db.as_ref() else {
            return Err(DiskError::Io("slice is closed".into()));
        };
        match catch_unwind(AssertUnwindSafe(|| act(db))) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(sled_error(what, error)),
            Err(_) => Err(DiskError::Damaged(format!("sled panicked: {what}"))),
        }
    }
}

impl Drop for SledSlice {
    fn drop(&mut self) {
        // sled panics when the sync of its last handle fails; what was promised was synced before.
        if let Some(db) = self.db.take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
            release_garbage();
        }
    }
}

/// Frees what sled has put aside on this thread, after it created or closed a slice.
///
/// sled defers the release of every buffer of half a megabyte that it is done with to when the
/// thread has put 64 things aside. A thread that only creates or closes slices puts one aside each
/// time. Each call moves the epoch on by one, and what is two old is freed.
fn release_garbage() {
    for _ in 0..3 {
        crossbeam_epoch::pin().flush();
    }
}

impl Slice for SledSlice {
    fn put(&self, sequence: u64, values: &[u8]) -> Result<(), DiskError> {
        self.ask("write", |db| {
            let mut leaves = self.leaves();
            for (part, value) in values.chunks(VALUE_BYTES_MAX).enumerate() {
                let place = leaves.place(sequence, part as u32);
                for fence in place.to_fence.flat_map(leaves::fence_keys) {
                    db.insert(fence, &[])?;
                }
                db.insert(place.key, value)?;
            }
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), DiskError> {
        // sled's flush writes its buffers out and calls `sync_file_range`, which is no sync.
        self.ask("flush", |db| db.flush().map(|_| ()))?;
        // Otherwise up to 64 buffers wait on the thread that writes.
        release_garbage();
        self.file.sync_data().map_err(io_error("sync", &self.path))
    }

    fn get(&self, sequence: u64, part: u32) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(key) = self.leaves().key(sequence, part) else {
            return Ok(None);
        };
        self.ask("read", |db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn prove(&self) -> Result<(), DiskError> {
        let path = self.path.join("db");
        if raw::is_on_device(&path)? {
            return Ok(());
        }
        Err(DiskError::Io(format!(
            "{} does not read back what was synced",
            path.display()
        )))
    }

    fn bytes(&self) -> u64 {
        self.file
            .metadata()
            .map_or_else(|_| folder_bytes(&self.path), |meta| meta.len())
    }
}
