//! What can go wrong, by who must act.

use std::fmt;

/// A frame that cannot be read: the store's damage, or a newer program's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The bytes end before the frame does.
    Short {
        /// Where in the frame.
        at_bytes: usize,
    },
    /// Written by a newer program.
    Level(u8),
    /// An item of a kind this program does not know.
    Item(u8),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Short { at_bytes } => write!(f, "frame ends early, at byte: {at_bytes}"),
            FrameError::Level(level) => {
                write!(
                    f,
                    "frame is of a newer format, update the program; level: {level}"
                )
            }
            FrameError::Item(tag) => {
                write!(
                    f,
                    "frame holds an unknown item, update the program; item: {tag}"
                )
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// What a disk answers when it cannot do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// No space left on the device.
    Full,
    /// Reading, writing or syncing failed.
    Io(String),
    /// What is stored is not what was written.
    Damaged(String),
    /// Another process holds the folder.
    Locked(String),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Full => write!(f, "no space left on the device, free some"),
            DiskError::Io(cause) => write!(f, "the disk failed: {cause}"),
            DiskError::Damaged(what) => write!(f, "stored bytes are damaged: {what}"),
            DiskError::Locked(by) => {
                write!(f, "the data folder is in use by another process: {by}")
            }
        }
    }
}

impl std::error::Error for DiskError {}

/// Why a store could not be opened. Damage is no reason: it is salvaged and reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Another process has it open.
    Locked(String),
    /// The folder cannot be read or written at all.
    Disk(DiskError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked(by) => {
                write!(f, "the data folder is in use, stop the other process: {by}")
            }
            OpenError::Disk(cause) => write!(f, "the data folder cannot be used: {cause}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<DiskError> for OpenError {
    fn from(cause: DiskError) -> OpenError {
        match cause {
            DiskError::Locked(by) => OpenError::Locked(by),
            other => OpenError::Disk(other),
        }
    }
}

/// Why nothing became durable. The caller repeats the call with the same entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersistError {
    /// No room: the store's own limit, or the filesystem's.
    Full {
        /// What is full.
        cause: String,
    },
    /// A sync failed, and so did the proof of a new slice.
    Poisoned {
        /// When to try again.
        retry_after_ms: u64,
        /// What the disk said.
        cause: String,
    },
}

impl fmt::Display for PersistError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PersistError::Full { cause } => write!(f, "storage is full, free some: {cause}"),
            PersistError::Poisoned {
                retry_after_ms,
                cause,
            } => {
                write!(
                    f,
                    "storage failed, next try in {retry_after_ms} ms: {cause}"
                )
            }
        }
    }
}

impl std::error::Error for PersistError {}

/// Why nothing could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The place is damaged; [`maintain`](crate::Store::maintain) salvages what is left of the
    /// slice, after which the same read answers with what survived.
    Damaged(String),
    /// The disk failed for now.
    Disk(DiskError),
    /// Entries before this index are no longer kept.
    Compacted {
        /// The first index that is.
        first_index: u64,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Damaged(what) => write!(f, "stored bytes are damaged: {what}"),
            ReadError::Disk(cause) => write!(f, "cannot read: {cause}"),
            ReadError::Compacted { first_index } => {
                write!(f, "entry is no longer kept, first index: {first_index}")
            }
        }
    }
}

impl std::error::Error for ReadError {}

impl From<DiskError> for ReadError {
    fn from(cause: DiskError) -> ReadError {
        match cause {
            DiskError::Damaged(what) => ReadError::Damaged(what),
            other => ReadError::Disk(other),
        }
    }
}
