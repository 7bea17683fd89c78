//! What can be wrong with a protocol message.

use std::fmt;

/// A frame or message that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame's size is negative or above the limit; the connection is of no use any more.
    FrameSize {
        /// What the peer announced.
        size: i64,
        /// What is allowed.
        frame_bytes_max: usize,
    },
    /// The message does not follow its schema; what the codec said.
    Malformed(String),
    /// A version of an API outside of what this build speaks.
    UnsupportedVersion {
        /// The API's number.
        api_key: i16,
        /// The version asked for.
        version: i16,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameSize {
                size,
                frame_bytes_max,
            } => {
                write!(f, "frame of {size} bytes, allowed are: {frame_bytes_max}")
            }
            Self::Malformed(what) => write!(f, "malformed message: {what}"),
            Self::UnsupportedVersion { api_key, version } => {
                write!(f, "api {api_key} has no version: {version}")
            }
        }
    }
}

impl std::error::Error for ProtocolError {}

impl From<kacrab_protocol::ProtocolError> for ProtocolError {
    fn from(error: kacrab_protocol::ProtocolError) -> Self {
        match error {
            kacrab_protocol::ProtocolError::Version(unsupported) => Self::UnsupportedVersion {
                api_key: unsupported.api_key,
                version: unsupported.version,
            },
            other => Self::Malformed(other.to_string()),
        }
    }
}
