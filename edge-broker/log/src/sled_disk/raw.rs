//! sled's file without sled: our values in it name and check themselves.
//!
//! Opening a damaged file with sled may cut it short, so a slice that was not closed in order is
//! looked through here first. Also the read past every cache that proves a new slice.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::io_error;
use crate::value;
use crate::{DiskError, VALUE_BYTES_MAX};

const WINDOW_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 4096;

/// Finds every place where one of our values begins.
pub fn find_values(path: &Path, found: &mut dyn FnMut(u64, &[u8])) -> Result<(), DiskError> {
    let db = path.join("db");
    let file = File::open(&db).map_err(io_error("open", &db))?;
    let mut window = vec![0; WINDOW_BYTES + VALUE_BYTES_MAX];
    let mut place = 0;
    loop {
        let len = read_around_errors(&file, &mut window, place);
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

/// Fills the window from a place on; what cannot be read is zero, and the values in it fail their
/// checks.
fn read_around_errors(file: &File, window: &mut [u8], place: u64) -> usize {
    let size = file.metadata().map_or(0, |meta| meta.len());
    let len = size.saturating_sub(place).min(window.len() as u64) as usize;
    let window = &mut window[..len];
    if file.read_exact_at(window, place).is_err() {
        for (block, bytes) in window.chunks_mut(BLOCK_BYTES).enumerate() {
            if file
                .read_exact_at(bytes, place + (block * BLOCK_BYTES) as u64)
                .is_err()
            {
                bytes.fill(0);
            }
        }
    }
    len
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
    let len = read_around_errors(&file, &mut bytes, place);
    bytes.truncate(len);
    Ok(bytes)
}

/// Reads a file from the device: past the page cache where that is possible, else after asking
/// the kernel to forget it.
pub fn read_uncached(path: &Path) -> Result<Vec<u8>, DiskError> {
    use rustix::fs::{Advice, Mode, OFlags};
    let direct = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty());
    if let Ok(file) = direct
        && let Ok(bytes) = read_aligned(&File::from(file))
    {
        return Ok(bytes);
    }
    let file = File::open(path).map_err(io_error("open", path))?;
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    fs::read(path).map_err(io_error("read", path))
}

/// `O_DIRECT` wants memory, place and length aligned.
fn read_aligned(file: &File) -> std::io::Result<Vec<u8>> {
    const BLOCK: usize = 4096;
    const CHUNK: usize = 1 << 20;
    let mut memory = vec![0_u8; CHUNK + BLOCK];
    let shift = memory.as_ptr().align_offset(BLOCK);
    let window = &mut memory[shift..shift + CHUNK];
    let mut bytes = Vec::new();
    loop {
        let len = file.read_at(window, bytes.len() as u64)?;
        bytes.extend_from_slice(&window[..len]);
        if len < CHUNK {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
