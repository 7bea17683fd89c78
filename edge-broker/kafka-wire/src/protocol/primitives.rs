//! The protocol's strings, arrays and tags, for the messages written by hand.
//!
//! Each comes in two forms: lengths of fixed size, or "compact" ones in flexible versions, which
//! also end every structure with tagged fields. A `Reader` or `Writer` knows which form it is in.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kacrab_protocol::primitives as fixed;
use kacrab_protocol::primitives::{read_unsigned_varint, unsigned_varint_len};
use kacrab_protocol::string::{self, KafkaString};
use kacrab_protocol::{bytes_io, uuid};

use super::{KafkaUuid, ProtocolError};

type Result<T> = std::result::Result<T, ProtocolError>;

/// How many array elements one message may have. Elements of three bytes become structures of a
/// hundred, so a frame of megabytes must not be all elements.
pub(super) const ELEMENTS_MAX: usize = 1 << 16;

/// Reads fields off the front of a message.
pub(super) struct Reader<'a> {
    bytes: &'a mut Bytes,
    flexible: bool,
    elements_left: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a mut Bytes, flexible: bool) -> Self {
        Self {
            bytes,
            flexible,
            elements_left: ELEMENTS_MAX,
        }
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        fixed::read_i16(self.bytes).map_err(damaged)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        fixed::read_i32(self.bytes).map_err(damaged)
    }

    pub(super) fn uuid(&mut self) -> Result<KafkaUuid> {
        Ok(uuid::read_uuid(self.bytes)?)
    }

    pub(super) fn string(&mut self) -> Result<KafkaString> {
        let read = if self.flexible {
            string::read_compact_string
        } else {
            string::read_string
        };
        read(self.bytes).map_err(damaged)
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<KafkaString>> {
        let read = if self.flexible {
            string::read_compact_nullable_string
        } else {
            string::read_nullable_string
        };
        read(self.bytes).map_err(damaged)
    }

    /// Bytes without a copy.
    pub(super) fn nullable_bytes(&mut self) -> Result<Option<Bytes>> {
        let read = if self.flexible {
            bytes_io::read_compact_nullable_bytes
        } else {
            bytes_io::read_nullable_bytes
        };
        read(self.bytes).map_err(damaged)
    }

    /// An array; null counts as empty. Memory grows with the elements read, not with the count.
    pub(super) fn array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = if self.flexible {
            fixed::read_compact_array_length(self.bytes)
        } else {
            fixed::read_array_length(self.bytes)
        };
        let count = count.map_err(damaged)?;
        let mut elements = Vec::new();
        for _ in 0..count {
            self.elements_left = self.elements_left.checked_sub(1).ok_or_else(|| {
                damaged(format_args!(
                    "more array elements than allowed: {ELEMENTS_MAX}"
                ))
            })?;
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// Passes over tagged fields, which only flexible versions have; none of them is ours.
    pub(super) fn skip_tags(&mut self) -> Result<()> {
        if self.flexible {
            skip_tags(self.bytes)
        } else {
            Ok(())
        }
    }
}

/// Passes over a section of tagged fields; their order is not our business.
pub(super) fn skip_tags(bytes: &mut Bytes) -> Result<()> {
    let count = read_unsigned_varint(bytes).map_err(damaged)?;
    for _ in 0..count {
        read_unsigned_varint(bytes).map_err(damaged)?;
        let length = read_unsigned_varint(bytes).map_err(damaged)? as usize;
        if length > bytes.len() {
            return Err(ProtocolError::Malformed(
                "tagged field is cut short".to_owned(),
            ));
        }
        bytes.advance(length);
    }
    Ok(())
}

/// Writes fields behind each other.
pub(super) struct Writer<'a> {
    pub(super) bytes: &'a mut BytesMut,
    pub(super) flexible: bool,
}

impl Writer<'_> {
    pub(super) fn i16(&mut self, value: i16) {
        self.bytes.put_i16(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    pub(super) fn uuid(&mut self, value: &KafkaUuid) {
        self.bytes.put_slice(&value.to_bytes());
    }

    pub(super) fn string(&mut self, value: &KafkaString) -> Result<()> {
        let write = if self.flexible {
            string::write_compact_string
        } else {
            string::write_string
        };
        write(self.bytes, value).map_err(damaged)
    }

    pub(super) fn nullable_string(&mut self, value: Option<&KafkaString>) -> Result<()> {
        let write = if self.flexible {
            string::write_compact_nullable_string
        } else {
            string::write_nullable_string
        };
        write(self.bytes, value).map_err(damaged)
    }

    pub(super) fn nullable_bytes(&mut self, value: Option<&[u8]>) -> Result<()> {
        let write = if self.flexible {
            bytes_io::write_compact_nullable_bytes
        } else {
            bytes_io::write_nullable_bytes
        };
        write(self.bytes, value).map_err(damaged)
    }

    pub(super) fn array<T>(
        &mut self,
        elements: &[T],
        mut element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        let count = i32::try_from(elements.len()).map_err(damaged)?;
        if self.flexible {
            fixed::write_compact_array_length(self.bytes, count);
        } else {
            fixed::write_array_length(self.bytes, count);
        }
        elements.iter().try_for_each(|each| element(self, each))
    }

    /// Ends a structure: no tagged fields.
    pub(super) fn no_tags(&mut self) {
        if self.flexible {
            self.bytes.put_u8(0);
        }
    }
}

/// Counts what a `Writer` writes.
pub(super) struct Measure {
    pub(super) flexible: bool,
}

impl Measure {
    /// Length or count in front of `count` bytes or elements; `fixed_bytes` is its size in
    /// versions that are not flexible.
    pub(super) fn length(&self, count: usize, fixed_bytes: usize) -> usize {
        if self.flexible {
            unsigned_varint_len((count as u32).saturating_add(1))
        } else {
            fixed_bytes
        }
    }

    pub(super) fn string(&self, value: Option<&KafkaString>) -> usize {
        let bytes = value.map_or(0, KafkaString::len);
        self.length(bytes, 2) + bytes
    }

    pub(super) fn nullable_bytes(&self, value: Option<&Bytes>) -> usize {
        let bytes = value.map_or(0, Bytes::len);
        self.length(bytes, 4) + bytes
    }

    pub(super) fn tags(&self) -> usize {
        usize::from(self.flexible)
    }
}

pub(super) fn damaged(error: impl std::fmt::Display) -> ProtocolError {
    ProtocolError::Malformed(error.to_string())
}
