//! The disk under the demo: a folder of its own, and what one bare fdatasync takes there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::histogram::Histogram;

const SYNCS: usize = 60;
const SYNC_BYTES: usize = 4096;
/// Where sled keeps what it holds.
const SLICE_FILE: &str = "db";
/// `f_type` of a filesystem that is memory (linux/magic.h).
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// A folder that is removed in the end, unless it is kept.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// A new folder below the temporary one.
    pub fn create(keep: bool) -> io::Result<Folder> {
        let name = format!("edge-broker-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Folder { path, keep })
    }

    /// A folder that was named: made, or empty before; it is kept.
    pub fn at(path: &Path) -> io::Result<Folder> {
        fs::create_dir_all(path)?;
        if fs::read_dir(path)?.next().is_some() {
            let text = format!(
                "{} is not empty: name a new folder for the demo",
                path.display()
            );
            return Err(io::Error::other(text));
        }
        let path = path.canonicalize()?;
        Ok(Folder { path, keep: true })
    }

    /// Whether it outlives the demo.
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is in memory, where a sync means nothing.
    pub fn in_memory(&self) -> bool {
        rustix::fs::statfs(&self.path).is_ok_and(|found| found.f_type == TMPFS)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            // Somebody else may have removed it.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Overwrites a piece in the middle of the largest slice of a data folder.
///
/// Only for proving that the demo can fail.
pub fn damage(data: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    collect(data, &mut files)?;
    let Some((length, path)) = files.into_iter().max() else {
        return Err(io::Error::other("no slice to damage"));
    };
    let file = File::options().write(true).open(path)?;
    let zeros = vec![0; (length / 2) as usize];
    file.write_all_at(&zeros, length / 4)
}

fn collect(folder: &Path, files: &mut Vec<(u64, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_dir() {
            collect(&entry.path(), files)?;
        } else if entry.file_name() == SLICE_FILE {
            files.push((found.len(), entry.path()));
        }
    }
    Ok(())
}

/// The median of writing 4 KB to the end of a file and one fdatasync, in this folder.
pub fn bare_sync(folder: &Path) -> io::Result<Duration> {
    let path = folder.join("sync-test");
    let mut file = File::create(&path)?;
    let mut took = Histogram::default();
    for _ in 0..SYNCS {
        file.write_all(&[0x5A; SYNC_BYTES])?;
        let begun = Instant::now();
        file.sync_data()?;
        took.add(begun.elapsed().as_micros() as u64);
    }
    fs::remove_file(path)?;
    Ok(Duration::from_micros(took.quantile_us(0.5)))
}
