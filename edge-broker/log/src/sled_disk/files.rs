//! Plain files beside the slices, and what the kernel counts.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{disk_error, io_error};
use crate::DiskError;

/// Ends the name of a file that is being written.
pub const TEMPORARY: &str = ".tmp";

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), DiskError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("sync", path))
}

/// Removes what an earlier process did not come to remove.
pub fn remove_leftovers(dir: &Path) {
    let slices = dir.join("slices");
    let entries = fs::read_dir(&slices).into_iter().flatten().flatten();
    let dead = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".dead"));
    let dead: Vec<fs::DirEntry> = dead.collect();
    // The new names may only be in the cache: until they are durable nothing in the folders may
    // go, or a power cut could bring a slice back in part.
    if !dead.is_empty() && sync_folder(&slices).is_ok() {
        for entry in dead {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    for folder in [dir, &dir.join("checkpoint")] {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        for file in files.filter(|file| file.file_name().to_string_lossy().ends_with(TEMPORARY)) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Names of what is in a folder. One entry that cannot be read fails all of it: what is not listed
/// would be taken for gone.
pub fn names(path: &Path) -> Result<Vec<String>, DiskError> {
    let list = || {
        let entries = fs::read_dir(path)?;
        let names = entries.map(|entry| Ok(entry?.file_name()));
        names.collect::<std::io::Result<Vec<_>>>()
    };
    let names = list().map_err(io_error("list", path))?;
    // Names that are no text are none of ours.
    let texts = names.into_iter().filter_map(|name| name.into_string().ok());
    Ok(texts.collect())
}

/// Reads a file, at most its first bytes.
pub fn read(path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, DiskError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(disk_error(&format!("open {}", path.display()), &error)),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max as u64)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", path))?;
    Ok(Some(bytes))
}

/// Write, fsync, rename, fsync of the folder.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    let temporary = Path::new(&temporary);
    let written = write_new(temporary, bytes).and_then(|()| fs::rename(temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(temporary);
        return Err(disk_error(&format!("write {}", path.display()), &error));
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// Creates a file in a folder that is synced later.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    write_new(path, bytes).map_err(io_error("create", path))
}

/// Only the gateway's own user reads it: there are secrets among these files.
fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Creates a file whose blocks are really taken; after an error there is none.
pub fn allocate(path: &Path, bytes: u64) -> Result<(), DiskError> {
    let file = File::create(path).map_err(io_error("create", path))?;
    let taken = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes);
    let synced = taken.map_err(Into::into).and_then(|()| file.sync_all());
    if synced.is_err() {
        let _ = fs::remove_file(path);
    }
    synced.map_err(io_error("allocate", path))
}

/// Size of all files in a folder and below.
pub fn folder_bytes(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => folder_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// The one file that is written in place; its handle stays open.
#[derive(Default)]
pub struct InPlace {
    open: Mutex<Option<(String, File)>>,
}

impl InPlace {
    /// Another file will stand under that name.
    pub fn forget(&self, name: &str) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.take_if(|(held, _)| held == name);
    }

    pub fn write_at(
        &self,
        dir: &Path,
        name: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), DiskError> {
        self.with(dir, name, |file| file.write_all_at(bytes, offset))
    }

    pub fn sync(&self, dir: &Path, name: &str) -> Result<(), DiskError> {
        self.with(dir, name, File::sync_data)
    }

    fn with(
        &self,
        dir: &Path,
        name: &str,
        act: impl FnOnce(&File) -> std::io::Result<()>,
    ) -> Result<(), DiskError> {
        let path = dir.join(name);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.as_ref().is_none_or(|(held, _)| held != name) {
            let file = fs::OpenOptions::new().write(true).open(&path);
            *open = Some((name.to_string(), file.map_err(io_error("open", &path))?));
        }
        match open.as_ref() {
            Some((_, file)) => act(file).map_err(io_error("write", &path)),
            None => Ok(()),
        }
    }
}

/// What the kernel counts as written by this process; falls back to nothing where it does not.
pub struct DeviceCounter {
    io: Option<File>,
    at_start: u64,
}

impl DeviceCounter {
    pub fn new() -> DeviceCounter {
        let mut counter = DeviceCounter {
            io: File::open("/proc/self/io").ok(),
            at_start: 0,
        };
        counter.at_start = counter.read();
        counter
    }

    pub fn bytes(&self) -> u64 {
        self.read().saturating_sub(self.at_start)
    }

    fn read(&self) -> u64 {
        let mut text = [0; 512];
        let len = self
            .io
            .as_ref()
            .and_then(|io| io.read_at(&mut text, 0).ok())
            .unwrap_or(0);
        let text = std::str::from_utf8(&text[..len]).unwrap_or("");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|number| number.trim().parse().ok())
            .unwrap_or(0)
    }
}
