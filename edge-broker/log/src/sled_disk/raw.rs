//! sled's file without sled: our values in it name and check themselves.
//!
//! Slices that nobody writes any more are read here. Opening a damaged file with sled may cut it
//! short, so a slice that was not closed in order is looked through here first. Also the read past
//! every cache that proves a new slice.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, Mode, OFlags};

use super::io_error;
use crate::value;
use crate::{DiskError, VALUE_BYTES_MAX};

const WINDOW_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 4096;

/// Finds every place where one of our values begins. What cannot be read is passed over.
pub fn find_values(path: &Path, found: &mut dyn FnMut(u64, &[u8])) -> Result<(), DiskError> {
    let db = path.join("db");
    let file = File::open(&db).map_err(io_error("open", &db))?;
    walk(&file, read_around_errors, found).map_err(io_error("read", &db))
}

/// Fills a window from a place in the file on; less at the end of the file.
type ReadWindow = fn(&File, &mut [u8], u64) -> std::io::Result<usize>;

fn walk(file: &File, read: ReadWindow, found: &mut dyn FnMut(u64, &[u8])) -> std::io::Result<()> {
    let mut window = vec![0; WINDOW_BYTES + VALUE_BYTES_MAX];
    let mut place = 0;
    loop {
        let len = read(file, &mut window, place)?;
        let bytes = &window[..len];
        let mut at = 0;
        while let Some(next) = find(&bytes[at..], &value::MAGIC) {
            at += next;
            if at >= WINDOW_BYTES {
                break;
            }
            match value::check_prefix(&bytes[at..]) {
                Some(head) => {
                    let end = at + value::VALUE_HEAD_BYTES + head.payload_bytes;
                    found(place + at as u64, &bytes[at..end]);
                    at = end;
                }
                None => at += 1,
            }
        }
        if len < window.len() && at < WINDOW_BYTES {
            return Ok(());
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
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

/// What cannot be read is zero, and the values in it fail their checks.
fn read_around_errors(file: &File, window: &mut [u8], place: u64) -> std::io::Result<usize> {
    if let Ok(len) = read_window(file, window, place) {
        return Ok(len);
    }
    let size = file.metadata().map_or(0, |meta| meta.len());
    let len = size.saturating_sub(place).min(window.len() as u64) as usize;
    for (block, bytes) in window[..len].chunks_mut(BLOCK_BYTES).enumerate() {
        let place = place + (block * BLOCK_BYTES) as u64;
        if file.read_exact_at(bytes, place).is_err() {
            bytes.fill(0);
        }
    }
    Ok(len)
}

/// Where each whole value of a slice lies, sorted by write and part.
#[derive(Debug, Default)]
pub struct Places(Vec<Place>);

#[derive(Clone, Copy, Debug)]
struct Place {
    sequence: u64,
    at: u64,
    part: u32,
    len: u16,
}

impl Place {
    fn key(&self) -> (u64, u32) {
        (self.sequence, self.part)
    }
}

impl Places {
    /// Looks a file through. An error of the disk is one: a value that cannot be read now is not
    /// a value that is gone.
    pub fn find(file: &File) -> std::io::Result<Places> {
        let mut places = Vec::new();
        walk(file, read_window, &mut |at, value| {
            if let Some(head) = value::check_prefix(value) {
                let (sequence, part, len) = (head.sequence, head.part, value.len() as u16);
                places.push(Place {
                    sequence,
                    at,
                    part,
                    len,
                });
            }
        })?;
        places.sort_unstable_by_key(Place::key);
        // sled wrote some more than once; one is enough.
        places.dedup_by_key(|place| place.key());
        places.shrink_to_fit();
        Ok(Places(places))
    }

    /// Reads a value; the caller checks that it is the one.
    pub fn read(&self, file: &File, sequence: u64, part: u32) -> std::io::Result<Option<Vec<u8>>> {
        let found = self.0.binary_search_by_key(&(sequence, part), Place::key);
        let Ok(found) = found else {
            return Ok(None);
        };
        let mut bytes = vec![0; usize::from(self.0[found].len)];
        let len = read_window(file, &mut bytes, self.0[found].at)?;
        bytes.truncate(len);
        Ok(Some(bytes))
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

/// The bytes at a place, as many as a value may have.
pub fn value_at(path: &Path, place: u64) -> Result<Vec<u8>, DiskError> {
    let db = path.join("db");
    let file = File::open(&db).map_err(io_error("open", &db))?;
    let mut bytes = vec![0; VALUE_BYTES_MAX];
    let len = read_around_errors(&file, &mut bytes, place).map_err(io_error("read", &db))?;
    bytes.truncate(len);
    Ok(bytes)
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
