//! What this disk does without anybody's program on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;

/// 4 KB to the end of a file and one fdatasync, for that long, a pause between two.
pub fn bare_syncs(folder: &Path, time: Duration) -> io::Result<Histogram> {
    fs::create_dir_all(folder)?;
    let path = folder.join("bare-sync");
    let mut file = File::create(&path)?;
    let mut took = Histogram::default();
    let begun = Instant::now();
    while begun.elapsed() < time {
        file.write_all(&[0x5A; 4096])?;
        let at = Instant::now();
        file.sync_data()?;
        took.add(at.elapsed().as_micros() as u64);
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::remove_file(path)?;
    Ok(took)
}
