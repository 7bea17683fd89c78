//! Errors of the site, by who must act. Texts name field, value and remedy.

use std::fmt;

/// What of the disk is left to other programs. With no more free, raising it makes matters worse.
pub(crate) const FREE_BYTES_MIN: &str = "storage.free_bytes_min";

/// Why records were not taken. Nothing of the request is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No room on disk for this topic.
    Full {
        /// What ran out: `storage.bytes_max` or `storage.free_bytes_min`.
        limit: &'static str,
    },
    /// The disk fails syncs; tried again by itself.
    Poisoned {
        /// When the next try is due.
        retry_after_ms: u64,
    },
    /// Nothing is applied any more: the log holds what this program cannot read.
    ReadOnly,
    /// No such topic or partition (any more).
    UnknownTopic,
    /// Larger than one request or the topic's `max.message.bytes` may be.
    TooLarge {
        /// Size asked for.
        bytes: usize,
        /// Size allowed.
        bytes_max: usize,
    },
    /// This gateway does not lead the site (now).
    NotLeader,
    /// Leadership was lost while the records were under way: they may or may not be there.
    Unknown,
    /// The gateway is stopping.
    Stopping,
}

impl Refused {
    /// Whether sending the same again later can succeed.
    pub fn is_retriable(&self) -> bool {
        match self {
            Refused::Full { .. } | Refused::Poisoned { .. } | Refused::ReadOnly => true,
            Refused::NotLeader | Refused::Unknown | Refused::Stopping => true,
            Refused::UnknownTopic | Refused::TooLarge { .. } => false,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Full { limit } => {
                let what = match *limit {
                    FREE_BYTES_MIN => "the filesystem is full; free space on it, left to others",
                    _ => "the store is full; lower retention, let central catch up, or raise",
                };
                write!(f, "{what}: {limit}")
            }
            Refused::Poisoned { retry_after_ms } => {
                write!(
                    f,
                    "the disk fails to sync; check the card; tried again in ms: {retry_after_ms}"
                )
            }
            Refused::ReadOnly => {
                f.write_str("storage is read-only; edge-broker status says why: storage.readonly")
            }
            Refused::UnknownTopic => f.write_str("no such topic or partition; create it first"),
            Refused::TooLarge { bytes, bytes_max } => write!(
                f,
                "too large, send less at once or raise max.message.bytes (max {bytes_max}): {bytes}"
            ),
            Refused::NotLeader => f.write_str("this gateway does not lead the site; send it again"),
            Refused::Unknown => {
                f.write_str("leadership was lost under way, outcome unknown; send it again")
            }
            Refused::Stopping => f.write_str("the gateway is stopping; send it again later"),
        }
    }
}

impl std::error::Error for Refused {}

/// Why a topic was not created, changed or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No topic of that name, and it may not be created here.
    Unknown(String),
    /// It exists already.
    Exists(String),
    /// The id that was drawn for it belongs to another topic.
    IdTaken(String),
    /// Names are 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
    InvalidName(String),
    /// A setting that does not exist or a value it cannot have.
    InvalidSetting {
        /// Name of the setting.
        name: String,
        /// The value given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// Partitions can be 1 to 1000 and never fewer than before.
    InvalidPartitions {
        /// The number asked for.
        partitions: u32,
        /// The least it may be.
        partitions_min: u32,
    },
    /// As many topics as `topics.count_max` allows exist.
    TooMany {
        /// The limit.
        count_max: usize,
    },
    /// It could not be written.
    Refused(Refused),
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicError::Unknown(name) => {
                write!(
                    f,
                    "no such topic; create it with edge-broker topic create: {name}"
                )
            }
            TopicError::Exists(name) => write!(f, "topic exists already: {name}"),
            TopicError::IdTaken(name) => {
                write!(
                    f,
                    "topic id is taken, nothing was created; ask again: {name}"
                )
            }
            TopicError::InvalidName(name) => write!(
                f,
                "topic name must be 1 to 249 of [a-zA-Z0-9._-], not . or ..: {name:?}"
            ),
            TopicError::InvalidSetting {
                name,
                value,
                allowed,
            } => {
                write!(f, "setting {name} must be {allowed}: {value:?}")
            }
            TopicError::InvalidPartitions {
                partitions,
                partitions_min,
            } => {
                let why = match partitions_min {
                    0 | 1 => "",
                    _ => "; keys stay in their partitions, so there are never fewer",
                };
                write!(
                    f,
                    "partitions must be {partitions_min} to 1000{why}: {partitions}"
                )
            }
            TopicError::TooMany { count_max } => {
                write!(
                    f,
                    "no more topics; delete one or raise topics.count_max: {count_max}"
                )
            }
            TopicError::Refused(refused) => refused.fmt(f),
        }
    }
}

impl std::error::Error for TopicError {}

impl From<Refused> for TopicError {
    fn from(refused: Refused) -> Self {
        TopicError::Refused(refused)
    }
}

/// Why records could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Below the start or above the committed end.
    OffsetOutOfRange {
        /// First offset there is.
        start: i64,
        /// First offset there is not.
        end: i64,
    },
    /// No such topic or partition.
    UnknownTopic,
    /// The store failed; the rest of it is still served.
    Storage(String),
    /// The gateway is stopping.
    Stopping,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::OffsetOutOfRange { start, end } => {
                write!(
                    f,
                    "offset is out of range; read from within: {start}..{end}"
                )
            }
            ReadError::UnknownTopic => f.write_str("no such topic or partition"),
            ReadError::Storage(what) => write!(f, "storage cannot be read; check the card: {what}"),
            ReadError::Stopping => f.write_str("the gateway is stopping"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Why the next frame could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameReadError {
    /// Frames up to here are gone by retention; go on from `first_index`, or read by offset.
    Gone {
        /// The first index that can still be read.
        first_index: u64,
    },
    /// The store failed.
    Storage(String),
    /// The gateway is stopping.
    Stopping,
}

impl fmt::Display for FrameReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameReadError::Gone { first_index } => {
                write!(
                    f,
                    "frames are gone by retention; go on from index: {first_index}"
                )
            }
            FrameReadError::Storage(what) => {
                write!(f, "storage cannot be read; check the card: {what}")
            }
            FrameReadError::Stopping => f.write_str("the gateway is stopping"),
        }
    }
}

impl std::error::Error for FrameReadError {}

/// Why a site could not be opened at all. A damaged store is none of these.
#[derive(Debug)]
pub enum OpenError {
    /// Another process holds the folder.
    Locked(String),
    /// The folder cannot be used.
    Storage(String),
    /// A number in the configuration cannot be.
    Config(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked(what) | OpenError::Storage(what) | OpenError::Config(what) => {
                f.write_str(what)
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<edge_log::OpenError> for OpenError {
    fn from(error: edge_log::OpenError) -> Self {
        match error {
            // A folder of another user is no failing disk.
            edge_log::OpenError::Disk(edge_log::DiskError::Io(cause)) => {
                OpenError::Storage(format!("the data folder cannot be used: {cause}"))
            }
            edge_log::OpenError::Locked(_) => OpenError::Locked(error.to_string()),
            edge_log::OpenError::Disk(_) => OpenError::Storage(error.to_string()),
        }
    }
}
