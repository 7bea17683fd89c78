//! sled's file without sled: our values in it name and check themselves.
//!
//! Slices that nobody writes any more are read here: an open Db of 16 MB keeps all of it in memory
//! (sled evicts a page only after 64 accesses to its 256th of the cache) and opening one reads and
//! writes; here a read costs what it reads. Opening a damaged file with sled may cut it short, so a
//! slice that was not closed in order is looked through here first. Also the read past every cache
//! that proves a new slice.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, Mode, OFlags};

use super::files::folder_bytes;
use super::io_error;
use crate::{ClosedSlice, DiskError, Seen, Unreadable, VALUE_BYTES_MAX};
use crate::{secret, value};

const WINDOW_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 4096;

/// A slice's `db` file, for reading only.
pub struct SledFile {
    file: File,
    path: PathBuf,
}

impl SledFile {
    /// Opens the file of the slice in a folder. `Damaged` = it is gone, and the rest of the slice
    /// is not: a disk that is not mounted has neither.
    pub fn open(slice: &Path) -> Result<SledFile, DiskError> {
        let path = slice.join("db");
        match File::open(&path) {
            Ok(file) => Ok(SledFile { file, path }),
            Err(error) if error.kind() == ErrorKind::NotFound && has_others(slice) => {
                Err(DiskError::Damaged(format!("{} is gone", path.display())))
            }
            Err(error) => Err(io_error("open", &path)(error)),
        }
    }
}

/// Whether a folder has what else there is of a slice.
fn has_others(slice: &Path) -> bool {
    [secret::FILE, "conf"]
        .iter()
        .any(|name| slice.join(name).exists())
}

impl ClosedSlice for SledFile {
    fn find_values(&self, found: &mut dyn FnMut(u64, &[u8]) -> usize) -> Result<Seen, DiskError> {
        Ok(walk(&self.file, found))
    }

    fn read_at(
        &self,
        unreadable: Unreadable,
        place: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, DiskError> {
        let mut to = vec![0; bytes];
        let len = match unreadable {
            Unreadable::IsError => read_window(&self.file, &mut to, place),
            Unreadable::IsZero => Ok(read_around_errors(&self.file, &mut to, place).0),
        };
        to.truncate(len.map_err(io_error("read", &self.path))?);
        Ok(to)
    }

    fn bytes(&self) -> u64 {
        self.file
            .metadata()
            .map_or_else(|_| folder_bytes(&self.path), |meta| meta.len())
    }
}

fn walk(file: &File, found: &mut dyn FnMut(u64, &[u8]) -> usize) -> Seen {
    let mut window = vec![0; WINDOW_BYTES + VALUE_BYTES_MAX];
    let (mut place, mut seen) = (0, Seen::All);
    loop {
        let (len, in_window) = read_around_errors(file, &mut window, place);
        if in_window == Seen::Part {
            seen = Seen::Part;
        }
        let bytes = &window[..len];
        let mut at = 0;
        while let Some(next) = find(&bytes[at..], &value::MAGIC) {
            at += next;
            if at >= WINDOW_BYTES {
                break;
            }
            at += found(place + at as u64, &bytes[at..]).max(1);
        }
        if len < window.len() && at < WINDOW_BYTES {
            return seen;
        }
        // A value that began in this window was seen whole; one that begins behind it comes next.
        place += at.clamp(WINDOW_BYTES, WINDOW_BYTES + VALUE_BYTES_MAX) as u64;
    }
}

fn read_window(file: &File, window: &mut [u8], place: u64) -> std::io::Result<usize> {
    let mut len = 0;
    while len < window.len() {
        match file.read_at(&mut window[len..], place + len as u64) {
            Ok(0) => break,
            Ok(some) => len += some,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// What cannot be read is zero, and the values in it fail their checks.
fn read_around_errors(file: &File, window: &mut [u8], place: u64) -> (usize, Seen) {
    if let Ok(len) = read_window(file, window, place) {
        return (len, Seen::All);
    }
    let size = file.metadata().map_or(0, |meta| meta.len());
    let len = size.saturating_sub(place).min(window.len() as u64) as usize;
    let (mut at, mut seen) = (0, Seen::All);
    while at < len {
        // The kernel fails whole blocks: a piece across two of them would cost both.
        let place = place + at as u64;
        let end = (at + BLOCK_BYTES - place as usize % BLOCK_BYTES).min(len);
        if file.read_exact_at(&mut window[at..end], place).is_err() {
            window[at..end].fill(0);
            seen = Seen::Part;
        }
        at = end;
    }
    match len {
        0 => (0, Seen::Part),
        len => (len, seen),
    }
}

fn find(bytes: &[u8], what: &[u8; 4]) -> Option<usize> {
    let first = what[0];
    let mut at = 0;
    while let Some(next) = bytes.get(at..)?.iter().position(|byte| *byte == first) {
        at += next;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Whether the device has what the page cache shows of a file. It is asked past the cache where
/// that is possible, else after telling the kernel to forget the file.
pub fn is_on_device(path: &Path) -> Result<bool, DiskError> {
    let cached = File::open(path).map_err(io_error("open", path))?;
    let direct = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty());
    if let Ok(direct) = direct
        && let Ok(same) = compare(&cached, &File::from(direct))
    {
        return Ok(same);
    }
    let before = checksum(&cached).map_err(io_error("read", path))?;
    let _ = rustix::fs::fadvise(&cached, 0, None, Advice::DontNeed);
    let after = checksum(&cached).map_err(io_error("read", path))?;
    Ok(before == after)
}

const CHUNK_BYTES: usize = 1 << 20;

/// Compares two handles of one file piece by piece; `O_DIRECT` wants memory, place and length
/// aligned.
fn compare(cached: &File, direct: &File) -> std::io::Result<bool> {
    let mut expected = vec![0; CHUNK_BYTES];
    let mut memory = vec![0; CHUNK_BYTES + BLOCK_BYTES];
    let shift = memory.as_ptr().align_offset(BLOCK_BYTES);
    let found = &mut memory[shift..shift + CHUNK_BYTES];
    let mut place = 0;
    loop {
        let len = read_window(cached, &mut expected, place)?;
        let read = direct.read_at(found, place)?;
        if read != len || expected[..len] != found[..len] {
            return Ok(false);
        }
        if len < CHUNK_BYTES {
            return Ok(true);
        }
        place += len as u64;
    }
}

fn checksum(file: &File) -> std::io::Result<u32> {
    let mut bytes = vec![0; CHUNK_BYTES];
    let (mut crc, mut place) = (0, 0);
    loop {
        let len = read_window(file, &mut bytes, place)?;
        crc = crc32c::crc32c_append(crc, &bytes[..len]);
        if len < CHUNK_BYTES {
            return Ok(crc);
        }
        place += len as u64;
    }
}

#[cfg(test)]
mod tests;
