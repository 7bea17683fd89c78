//! The small trait between the store and what keeps its bytes.
//!
//! Two implementations: [`SledDisk`](crate::SledDisk), real folders with one sled Db per slice, and
//! [`MemDisk`](crate::sim::MemDisk), the twin that forgets, tears and lies by a seed. What a stored
//! value is they do not know: that it is whole, and whose, is checked by those who read it.

use crate::DiskError;

/// A folder that holds slices and plain files.
pub trait Disk: Send + Sync + Sized + 'static {
    /// A slice that is written.
    type Slice: Slice;
    /// A slice that nobody writes any more.
    type Closed: ClosedSlice;

    /// Numbers of the slices that exist.
    fn slice_numbers(&self) -> Result<Vec<u64>, DiskError>;
    /// Creates an empty slice, and beside it the plain file `slices/<number>/secret`; once it
    /// returns, both exist for sure. After an error nothing is left of them.
    fn create_slice(&self, number: u64, secret_file: &[u8]) -> Result<Self::Slice, DiskError>;
    /// Opens a slice to go on writing it. `Damaged` = it cannot be opened; what is in it may
    /// still be salvaged.
    fn open_slice(&self, number: u64) -> Result<Self::Slice, DiskError>;
    /// Opens a slice that nobody writes any more, for reading only: it costs no thread, no cache
    /// and no write, and works on a full disk.
    fn read_slice(&self, number: u64) -> Result<Self::Closed, DiskError>;
    /// Makes all of a closed slice durable.
    fn seal_slice(&self, number: u64) -> Result<(), DiskError>;
    /// Size of a slice's files.
    fn slice_bytes(&self, number: u64) -> u64;
    /// Removes a slice; who reads it may fail from then on. Fine if there is none; a try that
    /// failed is finished by the next.
    fn remove_slice(&self, number: u64) -> Result<(), DiskError>;
    /// Moves a slice aside, likewise; returns where to.
    fn quarantine_slice(&self, number: u64) -> Result<String, DiskError>;
    /// Moves a plain file there, likewise.
    fn quarantine_file(&self, name: &str) -> Result<String, DiskError>;

    /// Reads a plain file, at most its first `bytes_max` bytes.
    fn read_file(&self, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, DiskError>;
    /// Writes a plain file whole: after a crash it has the old content or the new.
    fn replace_file(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError>;
    /// Removes a plain file; fine if there is none.
    fn remove_file(&self, name: &str) -> Result<(), DiskError>;
    /// Names of what is in a folder, with the folder's.
    fn list_files(&self, folder: &str) -> Result<Vec<String>, DiskError>;
    /// Writes into an existing plain file, in place and not synced.
    fn write_at(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;
    /// Makes what [`write_at`](Disk::write_at) wrote durable.
    fn sync_file(&self, name: &str) -> Result<(), DiskError>;
    /// Creates a file that occupies so many bytes; after an error there is none.
    fn allocate_file(&self, name: &str, bytes: u64) -> Result<(), DiskError>;

    /// Makes names durable, those in the folders of these slices and in all others that belong to
    /// no slice: what an earlier process created, renamed or removed last may only be in the cache.
    fn sync_names(&self, slices: &[u64]) -> Result<(), DiskError>;
    /// Size of a plain file; 0 if there is none.
    fn file_bytes(&self, name: &str) -> u64;
    /// Size of all files here, quarantine included.
    fn bytes_used(&self) -> u64;
    /// What the filesystem has left.
    fn free_bytes(&self) -> u64;
    /// Bytes handed to the device so far.
    fn device_bytes(&self) -> u64;
    /// Monotonic milliseconds.
    fn now_ms(&self) -> u64;
    /// Monotonic microseconds, for durations only.
    fn now_us(&self) -> u64;
    /// A random number, for a store id.
    fn random(&self) -> u64;
    /// Whether slow work goes to a thread of its own.
    fn background(&self) -> bool;
}

/// One slice: values by (write sequence, part), insert-only.
pub trait Slice: Send + Sync + 'static {
    /// Stores a frame's values, [`VALUE_BYTES_MAX`] bytes each but the last.
    fn put(&self, sequence: u64, values: &[u8]) -> Result<(), DiskError>;
    /// Makes everything put so far durable. After an error nothing put since the last good sync
    /// is known to be, and no later sync can change that.
    fn sync(&self) -> Result<(), DiskError>;
    /// One value.
    fn get(&self, sequence: u64, part: u32) -> Result<Option<Vec<u8>>, DiskError>;
    /// Reads back past every cache what was synced, to prove that it is there.
    fn prove(&self) -> Result<(), DiskError>;
    /// Size of the slice's files.
    fn bytes(&self) -> u64;
}

/// A slice that nobody writes any more: its bytes, by place. What lies where they say themselves.
pub trait ClosedSlice: Send + Sync + 'static {
    /// Shows every place where a value may begin, with what lies there: all of the value if one is
    /// there, perhaps with more behind it. `found` answers how many bytes of it are a value, 0 =
    /// none; what is inside of a value is not shown. In any order, some values perhaps twice. What
    /// cannot be read is passed over, and answered for.
    fn find_values(&self, found: &mut dyn FnMut(u64, &[u8]) -> usize) -> Result<Seen, DiskError>;
    /// So many bytes from a place on; fewer at the end.
    fn read_at(
        &self,
        unreadable: Unreadable,
        place: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, DiskError>;
    /// Size of the slice's files.
    fn bytes(&self) -> u64;
}

/// How much of a slice was seen when it was looked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// What was not found is not there.
    #[default]
    All,
    /// Some of it could not be read: what was not found may be there.
    Part,
}

/// What bytes are that the disk cannot read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// An error: what cannot be read now is not gone.
    IsError,
    /// Zero, so that what is around them can be saved.
    IsZero,
}

/// The longest value: above it sled writes unsynced files of its own.
pub const VALUE_BYTES_MAX: usize = 7 * 1024;
