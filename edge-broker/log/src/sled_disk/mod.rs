//! The real disk: folders and files, one sled Db per slice. The only place that knows sled.
//!
//! ```text
//! <dir>/lock               held while this process lives
//! <dir>/identity           two slots, written in place
//! <dir>/checkpoint/<index>, <index>b       the same twice
//! <dir>/slices/<n>/        conf, db, blobs/, snap.*   sled's;  secret, index   ours
//! <dir>/slices/<n>.dead    being removed
//! <dir>/quarantine/<n>, checkpoint-<index>
//! ```
//! What sled 0.34.7 needs to be safe is in `slice.rs`, each rule where it applies.

mod files;
mod leaves;
mod raw;
mod slice;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::FlockOperation;

use crate::{Disk, DiskError, StoreConfig, patience};
pub use raw::SledFile;
pub use slice::SledSlice;

/// A data folder, locked by this process while it lives.
pub struct SledDisk {
    dir: PathBuf,
    cache_bytes: u64,
    started: Instant,
    /// Holds the lock.
    _lock: File,
    identity: files::InPlace,
    io: files::DeviceCounter,
}

fn io_error(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> DiskError {
    let what = format!("{what} {}", path.display());
    move |error| disk_error(&what, &error)
}

fn disk_error(what: &str, error: &std::io::Error) -> DiskError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full,
        _ => DiskError::Io(format!("{what}: {error}")),
    }
}

impl SledDisk {
    /// Creates the folder if need be and locks it.
    pub fn open(dir: &Path, config: &StoreConfig) -> Result<SledDisk, DiskError> {
        for folder in ["slices", "checkpoint", "quarantine"] {
            let path = dir.join(folder);
            fs::create_dir_all(&path).map_err(io_error("create", &path))?;
        }
        let lock = lock(dir)?;
        files::remove_leftovers(dir);
        if let Some(parent) = dir.canonicalize().ok().as_deref().and_then(Path::parent) {
            // The folder above may belong to somebody else; then its owner created ours.
            let _ = files::sync_folder(parent);
        }
        let disk = SledDisk {
            dir: dir.to_path_buf(),
            cache_bytes: config.cache_bytes,
            started: Instant::now(),
            _lock: lock,
            identity: files::InPlace::default(),
            io: files::DeviceCounter::new(),
        };
        patience::ask(&disk, || files::sync_folder(dir))?;
        Ok(disk)
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn slice_dir(&self, number: u64) -> PathBuf {
        self.dir.join("slices").join(number.to_string())
    }

    /// Moves a file or folder to quarantine; returns its name there.
    fn move_aside(&self, from: &Path, what: &str) -> Result<String, DiskError> {
        let mut name = quarantine_name(what, 0);
        let mut already = name.clone();
        for copy in 1.. {
            if !self.dir.join(&name).exists() {
                break;
            }
            already = std::mem::replace(&mut name, quarantine_name(what, copy));
        }
        match fs::rename(from, self.dir.join(&name)) {
            // An earlier try came as far as here.
            Err(error) if error.kind() == ErrorKind::NotFound => name = already,
            renamed => renamed.map_err(io_error("quarantine", from))?,
        }
        files::sync_folder(&self.dir.join("quarantine"))?;
        from.parent().map_or(Ok(()), files::sync_folder)?;
        Ok(name)
    }
}

/// Renames a folder; what an earlier one left under the new name goes.
fn rename_over(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::rename(from, to).or_else(|error| match error.kind() {
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists => {
            fs::remove_dir_all(to).and_then(|()| fs::rename(from, to))
        }
        _ => Err(error),
    })
}

/// Where something goes in quarantine; a start may give the number of a slice there to a new one.
fn quarantine_name(what: &str, copy: u32) -> String {
    match copy {
        0 => format!("quarantine/{what}"),
        copy => format!("quarantine/{what}.{copy}"),
    }
}

/// One process per data folder.
fn lock(dir: &Path) -> Result<File, DiskError> {
    let path = dir.join("lock");
    let mut options = fs::OpenOptions::new();
    let file = options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path);
    let file = file.map_err(io_error("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            // For people who look; the lock itself is the kernel's.
            let _ = file.set_len(0);
            let _ = std::io::Write::write_all(
                &mut &file,
                format!("{}\n", std::process::id()).as_bytes(),
            );
            Ok(file)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            Err(DiskError::Locked(format!("pid {}", pid.trim())))
        }
        Err(error) => Err(disk_error("lock", &error.into())),
    }
}

impl Disk for SledDisk {
    type Slice = SledSlice;
    type Closed = SledFile;

    fn slice_numbers(&self) -> Result<Vec<u64>, DiskError> {
        let path = self.dir.join("slices");
        let names = patience::ask(self, || files::names(&path))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn create_slice(&self, number: u64, secret_file: &[u8]) -> Result<SledSlice, DiskError> {
        let path = self.slice_dir(number);
        SledSlice::create(&path, self.cache_bytes, secret_file).inspect_err(|_| {
            // On a full disk each new try would take more of it.
            let dead = path.with_extension("dead");
            let _ = rename_over(&path, &dead).and_then(|()| fs::remove_dir_all(&dead));
        })
    }

    fn open_slice(&self, number: u64) -> Result<SledSlice, DiskError> {
        SledSlice::open(&self.slice_dir(number), self.cache_bytes)
    }

    fn read_slice(&self, number: u64) -> Result<SledFile, DiskError> {
        SledFile::open(&self.slice_dir(number))
    }

    fn seal_slice(&self, number: u64) -> Result<(), DiskError> {
        slice::seal(&self.slice_dir(number))
    }

    fn slice_bytes(&self, number: u64) -> u64 {
        files::folder_bytes(&self.slice_dir(number))
    }

    fn remove_slice(&self, number: u64) -> Result<(), DiskError> {
        let from = self.slice_dir(number);
        let dead = from.with_extension("dead");
        match rename_over(&from, &dead) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // An earlier try came as far as here, or to the end.
                if !dead.exists() {
                    return Ok(());
                }
            }
            renamed => renamed.map_err(io_error("remove", &from))?,
        }
        // Until the new name is durable nothing in it may go: it could come back in part.
        files::sync_folder(&self.dir.join("slices"))?;
        fs::remove_dir_all(&dead).map_err(io_error("remove", &dead))
    }

    fn quarantine_slice(&self, number: u64) -> Result<String, DiskError> {
        self.move_aside(&self.slice_dir(number), &number.to_string())
    }

    fn quarantine_file(&self, name: &str) -> Result<String, DiskError> {
        self.move_aside(&self.dir.join(name), &name.replace('/', "-"))
    }

    fn read_file(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, DiskError> {
        files::read(&self.dir.join(name), bytes_max)
    }

    fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.identity.forget(name);
        files::replace(&self.dir.join(name), bytes)
    }

    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(disk_error("remove", &error)),
            _ => Ok(()),
        }
    }

    fn list_files(&self, folder: &str) -> Result<Vec<String>, DiskError> {
        let path = self.dir.join(folder);
        let names = patience::ask(self, || files::names(&path))?;
        let names = names.into_iter();
        let whole = names.filter(|name| !name.ends_with(files::TEMPORARY));
        Ok(whole.map(|name| format!("{folder}/{name}")).collect())
    }

    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.identity.write_at(&self.dir, name, offset, bytes)
    }

    fn sync_file(&self, name: &str) -> Result<(), DiskError> {
        self.identity.sync(&self.dir, name)
    }

    fn allocate_file(&self, name: &str, bytes: u64) -> Result<(), DiskError> {
        files::allocate(&self.dir.join(name), bytes)
    }

    fn sync_names(&self, slices: &[u64]) -> Result<(), DiskError> {
        for folder in ["checkpoint", "quarantine", "slices", ""] {
            files::sync_folder(&self.dir.join(folder))?;
        }
        let folders = slices.iter().map(|number| self.slice_dir(*number));
        // One that is gone meanwhile has no names.
        let mut folders = folders.filter(|folder| folder.exists());
        folders.try_for_each(|folder| files::sync_folder(&folder))
    }

    fn file_bytes(&self, name: &str) -> u64 {
        fs::metadata(self.dir.join(name)).map_or(0, |meta| meta.len())
    }

    fn bytes_used(&self) -> u64 {
        files::folder_bytes(&self.dir)
    }

    fn free_bytes(&self) -> u64 {
        rustix::fs::statvfs(&self.dir).map_or(u64::MAX, |stat| stat.f_bavail * stat.f_frsize)
    }

    fn device_bytes(&self) -> u64 {
        self.io.bytes()
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn random(&self) -> u64 {
        uuid::Uuid::new_v4().as_u64_pair().0 | 1
    }

    fn background(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
