//! How much room there is: the store's own limit, the filesystem's, and the ballast.
//!
//! ```text
//! bytes_max ── reserve (one rewrite, checkpoints, control entries) ── append_bytes_left ── used
//! ```
//! The site stops taking appends when nothing is left; what it has already proposed may use the
//! reserve, so that the entries which make room again can be written. The ballast is a file that
//! is given up when the filesystem itself is full, and taken back once there is room.

use crate::pause::Pause;
use crate::{Disk, StoreConfig};

const BALLAST: &str = "ballast";

/// Room as counted.
#[derive(Debug)]
pub struct Room {
    bytes_max: u64,
    reserve_bytes: u64,
    free_bytes_min: u64,
    ballast_bytes: u64,
    /// What the file takes; 0 = there is none.
    ballast_file_bytes: u64,
    /// It could not be taken though there was room.
    ballast_pause: Pause,
    used_bytes: u64,
    free_bytes: u64,
    /// The filesystem said so, until there is room again.
    full: bool,
}

impl Room {
    /// Counts what is there and takes the ballast if there is room for it.
    pub fn new<D: Disk>(disk: &D, config: &StoreConfig) -> Room {
        let mut room = Room {
            bytes_max: config.bytes_max,
            reserve_bytes: (2 * config.slice_bytes).min(config.bytes_max / 4),
            free_bytes_min: config.free_bytes_min,
            ballast_bytes: config.ballast_bytes,
            ballast_file_bytes: disk.file_bytes(BALLAST),
            ballast_pause: Pause::default(),
            used_bytes: 0,
            free_bytes: 0,
            full: false,
        };
        if room.ballast_bytes == 0 && room.has_ballast() {
            room.drop_ballast(disk);
        }
        room.look(disk);
        room
    }

    /// No ballast is configured any more.
    fn drop_ballast<D: Disk>(&mut self, disk: &D) {
        match disk.remove_file(BALLAST) {
            Ok(()) => self.ballast_file_bytes = 0,
            Err(error) => log::warn!("the old ballast is not removed yet: {error}"),
        }
    }

    /// Asks the filesystem; takes the ballast back when there is room for it twice.
    pub fn look<D: Disk>(&mut self, disk: &D) {
        self.free_bytes = disk.free_bytes();
        let spare = self.free_bytes.saturating_sub(self.free_bytes_min);
        if self.ballast_bytes > 0 && !self.has_ballast() && spare > 2 * self.ballast_bytes {
            self.take_ballast(disk);
        }
        if self.full && spare > 2 * self.ballast_bytes {
            self.full = false;
        }
    }

    fn take_ballast<D: Disk>(&mut self, disk: &D) {
        let now_ms = disk.now_ms();
        if !self.ballast_pause.is_over(now_ms) {
            return;
        }
        match disk.allocate_file(BALLAST, self.ballast_bytes) {
            Ok(()) => {
                self.ballast_file_bytes = self.ballast_bytes;
                self.ballast_pause.worked();
            }
            Err(error) => {
                let wait_ms = self.ballast_pause.failed(now_ms);
                log::warn!("no ballast is kept, next try in {wait_ms} ms: {error}");
            }
        }
    }

    /// Sets what the store's files take.
    pub fn set_used(&mut self, bytes: u64) {
        self.used_bytes = bytes;
    }

    /// A file grew.
    pub fn grow(&mut self, bytes: u64) {
        self.used_bytes += bytes;
        self.free_bytes = self.free_bytes.saturating_sub(bytes);
    }

    /// The filesystem said that it is full.
    pub fn note_full(&mut self) {
        self.full = true;
    }

    /// Gives the ballast up, so that opening, checkpoints and retention can work.
    pub fn give_up_ballast<D: Disk>(&mut self, disk: &D) {
        self.note_full();
        if self.has_ballast() && disk.remove_file(BALLAST).is_ok() {
            log::warn!(
                "filesystem is full, gave up {} bytes of ballast",
                self.ballast_file_bytes
            );
            self.ballast_file_bytes = 0;
        }
    }

    /// Why not even the reserve has room for so many bytes.
    pub fn refuses(&self, bytes: u64) -> Option<String> {
        (self.used_bytes + bytes > self.bytes_max)
            .then(|| format!("{} of {} bytes are used", self.used_bytes, self.bytes_max))
    }

    /// What may still be appended.
    pub fn append_bytes_left(&self) -> u64 {
        if self.full {
            return 0;
        }
        let spare = self.free_bytes.saturating_sub(self.free_bytes_min);
        self.own_bytes_left().min(spare / FILE_BYTES_PER_BYTE)
    }

    /// The same by the store's own limit alone.
    pub fn own_bytes_left(&self) -> u64 {
        let taken = self.reserve_bytes + self.used_bytes;
        self.bytes_max.saturating_sub(taken) / FILE_BYTES_PER_BYTE
    }

    /// Of the store's limit, what its files take.
    pub fn bytes_used(&self) -> u64 {
        self.used_bytes
    }

    /// The filesystem is below its minimum, or said that it is full.
    pub fn filesystem_full(&self) -> bool {
        self.full || self.free_bytes <= self.free_bytes_min
    }

    /// The ballast is in place.
    pub fn has_ballast(&self) -> bool {
        self.ballast_file_bytes > 0
    }

    /// Bytes the ballast takes now.
    pub fn ballast_file_bytes(&self) -> u64 {
        self.ballast_file_bytes
    }
}

/// A slice's files take at most about this many times what is put into it: 1.05 where commits are
/// large, 1.4 where they are of 500 bytes, more below.
pub const FILE_BYTES_PER_BYTE: u64 = 2;

/// Gives the ballast up while the store is still opening.
pub fn give_up_ballast_file<D: Disk>(disk: &D) -> Result<(), crate::DiskError> {
    log::warn!("filesystem is full while opening, giving the ballast up");
    disk.remove_file(BALLAST)
}
