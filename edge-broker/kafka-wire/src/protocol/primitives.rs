//! The protocol's strings, arrays and tags, for the messages written by hand.
//!
//! Each comes in two forms: lengths of fixed size, or "compact" ones in flexible versions, which
//! also end every structure with tagged fields. A `Reader` or `Writer` knows which form it is in.

use bytes::{BufMut, Bytes, BytesMut};
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

    pub(super) fn i64(&mut self) -> Result<i64> {
        fixed::read_i64(self.bytes).map_err(damaged)
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

    /// An array; null counts as empty.
    pub(super) fn array<T>(
        &mut self,
        element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        Ok(self.nullable_array(element)?.unwrap_or_default())
    }

    /// An array or null. Memory grows with the elements read, not with the count.
    pub(super) fn nullable_array<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let count = if self.flexible {
            fixed::read_compact_array_length(self.bytes)
        } else {
            fixed::read_array_length(self.bytes)
        };
        let Ok(count) = usize::try_from(count.map_err(damaged)?) else {
            return Ok(None);
        };
        let mut elements = Vec::new();
        for _ in 0..count {
            self.elements_left = self.elements_left.checked_sub(1).ok_or_else(|| {
                damaged(format_args!(
                    "more array elements than allowed: {ELEMENTS_MAX}"
                ))
            })?;
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// Passes over tagged fields, which only flexible versions have.
    pub(super) fn skip_tags(&mut self) -> Result<()> {
        self.tags(|_, _| Ok(()))
    }

    /// Hands every tagged field to `field`, with a reader that ends where the field ends.
    pub(super) fn tags(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'_>) -> Result<()>,
    ) -> Result<()> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..read_unsigned_varint(self.bytes).map_err(damaged)? {
            let tag = read_unsigned_varint(self.bytes).map_err(damaged)?;
            let length = read_unsigned_varint(self.bytes).map_err(damaged)? as usize;
            if length > self.bytes.len() {
                return Err(damaged("tagged field is cut short"));
            }
            let mut bytes = self.bytes.split_to(length);
            let mut inside = Reader::new(&mut bytes, true);
            inside.elements_left = self.elements_left;
            field(tag, &mut inside)?;
            self.elements_left = inside.elements_left;
        }
        Ok(())
    }
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

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.put_i64(value);
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
        element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        self.nullable_array(Some(elements), element)
    }

    pub(super) fn nullable_array<T>(
        &mut self,
        elements: Option<&[T]>,
        mut element: impl FnMut(&mut Self, &T) -> Result<()>,
    ) -> Result<()> {
        let count = match elements {
            Some(elements) => i32::try_from(elements.len()).map_err(damaged)?,
            None => -1,
        };
        if self.flexible {
            fixed::write_compact_array_length(self.bytes, count);
        } else {
            fixed::write_array_length(self.bytes, count);
        }
        elements
            .unwrap_or_default()
            .iter()
            .try_for_each(|each| element(self, each))
    }

    /// Ends a structure with one tagged field; for flexible versions only.
    pub(super) fn tagged(&mut self, tag: u32, field: &[u8]) {
        for number in [1, tag, field.len() as u32] {
            fixed::write_unsigned_varint(self.bytes, number);
        }
        self.bytes.put_slice(field);
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

    /// A structure's end without tagged fields.
    pub(super) fn tags(&self) -> usize {
        usize::from(self.flexible)
    }

    /// A structure's end with one tagged field.
    pub(super) fn tagged(&self, tag: u32, field_bytes: usize) -> usize {
        1 + unsigned_varint_len(tag) + unsigned_varint_len(field_bytes as u32) + field_bytes
    }
}

pub(super) fn damaged(error: impl std::fmt::Display) -> ProtocolError {
    ProtocolError::Malformed(error.to_string())
}
