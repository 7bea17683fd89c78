//! What can be wrong with bytes from outside.

use std::fmt;

/// A batch, or what is inside it, does not hold what its format promises.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// Fewer bytes than the batch says it has; at the end of a Fetch response this is normal.
    Truncated {
        /// Bytes the batch needs.
        needed: usize,
        /// Bytes there are.
        available: usize,
    },
    /// Bytes follow where the batch, or its last record, should end.
    TrailingBytes(usize),
    /// The length field is impossible.
    BatchLength(i32),
    /// Not record batch format 2.
    Magic(i8),
    /// The checksum does not match the bytes.
    Crc {
        /// What the batch says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// Record count and last offset delta contradict each other.
    RecordCount {
        /// Records the batch says it has.
        count: i32,
        /// Its last offset delta.
        last_offset_delta: i32,
    },
    /// Attributes name a codec that does not exist.
    UnknownCompression(i16),
    /// A record inside the batch is damaged; what about it.
    Record(&'static str),
    /// The compressed payload is damaged.
    Compressed {
        /// Codec that refused it.
        codec: &'static str,
        /// What the codec said.
        message: String,
    },
    /// The payload would be larger than the caller allows.
    TooLarge {
        /// The cap that was given.
        decompressed_bytes_max: usize,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, available } => {
                write!(f, "batch is cut short: {available} of {needed} bytes")
            }
            Self::TrailingBytes(count) => write!(f, "bytes after the end of the batch: {count}"),
            Self::BatchLength(length) => write!(f, "impossible batch length: {length}"),
            Self::Magic(magic) => {
                write!(f, "record format not supported, only format 2 is: {magic}")
            }
            Self::Crc { stored, computed } => {
                write!(
                    f,
                    "batch checksum {stored:08x} does not match its bytes: {computed:08x}"
                )
            }
            Self::RecordCount {
                count,
                last_offset_delta,
            } => write!(
                f,
                "record count {count} contradicts the last offset delta: {last_offset_delta}"
            ),
            Self::UnknownCompression(codec) => write!(f, "unknown compression codec: {codec}"),
            Self::Record(what) => write!(f, "damaged record: {what}"),
            Self::Compressed { codec, message } => write!(f, "damaged {codec} payload: {message}"),
            Self::TooLarge {
                decompressed_bytes_max,
            } => write!(
                f,
                "decompressed batch exceeds the allowed bytes: {decompressed_bytes_max}"
            ),
        }
    }
}

impl std::error::Error for BatchError {}
