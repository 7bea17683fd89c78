//! A cursor over one packet that never reads past it: the guard's hands.

use super::packet::Violation;

/// What is left of a packet.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    rest: &'a [u8],
}

/// A number that is longer than it has to be.
pub(super) const LONG: &str = "a variable byte integer has more bytes than it needs";
const SHORT: Violation = Violation::malformed("a field reaches past the end of its packet");

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Walk { rest: bytes }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Violation> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A variable byte integer, at most four bytes and not one more than needed (MQTT 5 §1.5.5).
    pub(super) fn varint(&mut self) -> Result<u32, Violation> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte == 0 && shift > 0 {
                return Err(Violation::malformed(LONG));
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Violation::malformed(
            "a variable byte integer has more than four bytes",
        ))
    }

    /// Bytes with a two-byte length.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// UTF-8 without NUL, with a two-byte length (MQTT 5 §1.5.4).
    pub(super) fn text(&mut self) -> Result<&'a str, Violation> {
        let text = std::str::from_utf8(self.binary()?)
            .map_err(|_| Violation::malformed("a text is not UTF-8"))?;
        if text.as_bytes().contains(&0) {
            return Err(Violation::malformed("a text contains NUL"));
        }
        Ok(text)
    }

    /// The next `count` bytes as a walk of their own.
    pub(super) fn part(&mut self, count: usize) -> Result<Walk<'a>, Violation> {
        Ok(Walk::new(self.take(count)?))
    }
}
