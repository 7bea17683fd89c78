//! Checkpoint files: the newest that is whole counts, the one before it is kept.
//!
//! The data is the site's; here it gets an index, a term and a checksum.

use bytes::{Buf, BufMut, Bytes};

use crate::value::NUMBER_MAX;
use crate::{Checkpoint, Disk, DiskError};

const FOLDER: &str = "checkpoint";
const MAGIC: [u8; 8] = *b"edgeckp1";
const HEAD_BYTES: usize = 8 + 8 + 8 + 8;
const KEPT: usize = 2;

fn name(index: u64) -> String {
    format!("{FOLDER}/{index:020}")
}

fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut to = Vec::with_capacity(HEAD_BYTES + checkpoint.data.len() + 4);
    to.put_slice(&MAGIC);
    to.put_u64_le(checkpoint.index);
    to.put_u64_le(checkpoint.term);
    to.put_u64_le(checkpoint.data.len() as u64);
    to.put_slice(&checkpoint.data);
    to.put_u32_le(crc32c::crc32c(&to));
    to
}

fn decode(bytes: &[u8]) -> Option<Checkpoint> {
    let (body, mut crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc.get_u32_le() != crc32c::crc32c(body) {
        return None;
    }
    let mut head = body.get(..HEAD_BYTES)?.strip_prefix(&MAGIC)?;
    let (index, term, len) = (head.get_u64_le(), head.get_u64_le(), head.get_u64_le());
    let data = &body[HEAD_BYTES..];
    let possible = index <= NUMBER_MAX && term <= NUMBER_MAX && data.len() as u64 == len;
    possible.then(|| Checkpoint {
        index,
        term,
        data: Bytes::copy_from_slice(data),
    })
}

/// The newest checkpoint that is whole.
pub fn load<D: Disk>(disk: &D) -> Result<Option<Checkpoint>, DiskError> {
    let mut names = disk.list_files(FOLDER)?;
    names.sort_unstable();
    let read = |name: &String| disk.read_file(name, usize::MAX).ok().flatten();
    Ok(names.iter().rev().find_map(|name| decode(&read(name)?)))
}

/// Writes a checkpoint and lets the old ones go.
pub fn save<D: Disk>(disk: &D, checkpoint: &Checkpoint) -> Result<(), DiskError> {
    disk.replace_file(&name(checkpoint.index), &encode(checkpoint))?;
    let mut names = disk.list_files(FOLDER)?;
    names.sort_unstable();
    for old in names.iter().rev().skip(KEPT) {
        disk.remove_file(old)?;
    }
    Ok(())
}
