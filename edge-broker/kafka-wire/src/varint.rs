//! Kafka's zigzag varints, read from slices and written into vectors.
//!
//! Read as Kafka's `ByteUtils` reads them: at most 5 (10) bytes, overflowing bits ignored.

/// What is left to read of a slice. Every method returns `None` rather than run past the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// A signed 32-bit varint.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<i32> {
        let raw = self.unsigned(5)? as u32;
        Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    /// A signed 64-bit varint.
    #[inline]
    pub(crate) fn varlong(&mut self) -> Option<i64> {
        let raw = self.unsigned(10)?;
        Some((raw >> 1).cast_signed() ^ -((raw & 1).cast_signed()))
    }

    /// A varint that counts something: `None` when negative, too.
    #[inline]
    pub(crate) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok()
    }

    /// Bytes behind their length; the inner `None` is null (-1).
    #[inline]
    pub(crate) fn nullable(&mut self) -> Option<Option<&'a [u8]>> {
        match self.varint()? {
            -1 => Some(None),
            length => Some(Some(self.take(usize::try_from(length).ok()?)?)),
        }
    }

    #[inline]
    fn unsigned(&mut self, bytes_max: u32) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for at in 1..bytes_max {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// A few bytes on the stack, so that the small numbers of a record reach the buffer in one write.
#[derive(Default)]
pub(crate) struct Small {
    bytes: [u8; 32],
    len: usize,
}

impl Small {
    #[inline]
    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn varlong(&mut self, value: i64) {
        let mut raw = zigzag(value);
        while raw >= 0x80 {
            self.byte(raw as u8 | 0x80);
            raw >>= 7;
        }
        self.byte(raw as u8);
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Writes a varint; 32-bit values have the same form as 64-bit ones.
#[inline]
pub(crate) fn put_varlong(to: &mut Vec<u8>, value: i64) {
    let raw = zigzag(value);
    if raw < 0x80 {
        to.push(raw as u8);
        return;
    }
    let mut small = Small::default();
    small.varlong(value);
    to.extend_from_slice(small.as_slice());
}

/// Bytes `put_varlong` writes.
#[inline]
pub(crate) fn varlong_len(value: i64) -> usize {
    let bits = u64::BITS - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn varints_come_back_and_know_their_length() {
        let edges = [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            300,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
        ];
        for value in edges.into_iter().chain([i64::MAX, i64::MIN]) {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, value);
            assert_eq!(bytes.len(), varlong_len(value), "{value}");
            assert_eq!(Cursor::new(&bytes).varlong(), Some(value));
            if let Ok(value) = i32::try_from(value) {
                assert_eq!(Cursor::new(&bytes).varint(), Some(value));
            }
        }
    }

    #[test]
    fn a_varint_without_end_is_refused() {
        assert_eq!(Cursor::new(&[0xff; 5]).varint(), None);
        assert_eq!(Cursor::new(&[0xff; 10]).varlong(), None);
        assert_eq!(Cursor::new(&[0x80, 0x80]).varint(), None);
        assert_eq!(Cursor::new(&[]).varint(), None);
    }

    #[test]
    fn a_length_beyond_the_end_is_refused_and_minus_one_is_null() {
        assert_eq!(Cursor::new(&[1]).nullable(), Some(None));
        assert_eq!(Cursor::new(&[3]).nullable(), None, "minus two");
        assert_eq!(
            Cursor::new(&[0xfe, 0xff, 0xff, 0xff, 0x0f]).nullable(),
            None
        );
        assert_eq!(Cursor::new(&[4, 7, 8]).nullable(), Some(Some(&[7, 8][..])));
    }
}
