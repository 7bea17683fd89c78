//! Checkpoint files: the newest that is whole counts.
//!
//! Each is written twice, and one before it is kept. Until the second is on the disk a start could
//! need the frames from the one before it on, should the first turn out to be damaged: retention
//! follows [`Loaded::covered_index`]. The data is the site's; here it gets an index, a term and a
//! checksum. `upkeep` has the copies made.

use bytes::{Buf, BufMut, Bytes};

use crate::value::NUMBER_MAX;
use crate::{Checkpoint, Disk, DiskError, patience};

const FOLDER: &str = "checkpoint";
const MAGIC: [u8; 8] = *b"edgeckp1";
const HEAD_BYTES: usize = 8 + 8 + 8 + 8;
const KEPT: usize = 3;

fn name(index: u64) -> String {
    format!("{FOLDER}/{index:020}")
}

/// A name without what tells a copy.
fn index_of(name: &str) -> &str {
    name.trim_end_matches('b')
}

fn copy_name(index: u64) -> String {
    format!("{}b", name(index))
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

/// What the folder holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The newest that is whole.
    pub newest: Option<Checkpoint>,
    /// Without it a start would go on from here.
    pub covered_index: u64,
    /// How many files are not whole.
    pub damaged: usize,
}

/// Looks at every file. Damaged ones go when another counts: by their names they would be kept
/// before it.
pub fn load<D: Disk>(disk: &D) -> Result<Loaded, DiskError> {
    let mut loaded = Loaded::default();
    let mut useless = Vec::new();
    for name in names(disk)? {
        match read(disk, &name) {
            Ok(bytes) => match bytes.and_then(|bytes| decode(&bytes)) {
                Some(whole) => loaded.take(whole),
                None => {
                    log::error!("{name} is damaged and does not count");
                    useless.push(name);
                    loaded.damaged += 1;
                }
            },
            Err(error) => {
                log::error!("{name} does not count: {error}");
                loaded.damaged += 1;
            }
        }
    }
    if loaded.newest.is_some() {
        for name in useless {
            if let Err(error) = disk.remove_file(&name) {
                log::warn!("{name} cannot be removed yet: {error}");
            }
        }
    }
    Ok(loaded)
}

/// What cannot be read now may be a moment later, and much depends on it.
fn read<D: Disk>(disk: &D, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
    patience::ask(disk, || disk.read_file(name, usize::MAX))
}

impl Loaded {
    /// They come newest first.
    fn take(&mut self, whole: Checkpoint) {
        match self.newest {
            None => self.newest = Some(whole),
            Some(_) => self.covered_index = self.covered_index.max(whole.index),
        }
    }
}

/// The files, the newest first, and of two of one index the first that was written.
fn names<D: Disk>(disk: &D) -> Result<Vec<String>, DiskError> {
    let mut names = disk.list_files(FOLDER)?;
    names.sort_unstable();
    names.sort_by(|a, b| index_of(b).cmp(index_of(a)));
    Ok(names)
}

/// Writes a checkpoint and lets old ones go.
pub fn save<D: Disk>(disk: &D, checkpoint: &Checkpoint) -> Result<(), DiskError> {
    disk.replace_file(&name(checkpoint.index), &encode(checkpoint))?;
    remove_old(disk)
}

/// Writes a checkpoint that is there a second time, and the first one anew if that went bad. A
/// second one that is there already may never have been synced.
pub fn copy<D: Disk>(disk: &D, checkpoint: &Checkpoint) -> Result<(), DiskError> {
    let (first, bytes) = (name(checkpoint.index), encode(checkpoint));
    let found = disk.read_file(&first, usize::MAX).ok().flatten();
    if found.as_ref() != Some(&bytes) {
        disk.replace_file(&first, &bytes)?;
    }
    disk.replace_file(&copy_name(checkpoint.index), &bytes)?;
    remove_old(disk)
}

fn remove_old<D: Disk>(disk: &D) -> Result<(), DiskError> {
    let names = names(disk)?;
    let mut old = names.iter().skip(KEPT);
    old.try_for_each(|name| disk.remove_file(name))
}

/// Moves all of them aside, when none can be read: perhaps somebody else can, and nothing else
/// names the topics. Returns where to.
pub fn quarantine_all<D: Disk>(disk: &D) -> Result<Vec<String>, DiskError> {
    let names = names(disk)?;
    names
        .iter()
        .map(|name| disk.quarantine_file(name))
        .collect()
}
