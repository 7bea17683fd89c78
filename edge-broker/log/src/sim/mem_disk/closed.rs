//! A closed slice on the twin disk: a value's place is made of its write and its part.
//!
//! A store uses it as it does a closed slice of the real disk.

use super::slice::MemSlice;
use crate::{ClosedSlice, DiskError, Seen, Slice, Unreadable};

/// A slice of a [`MemDisk`](super::MemDisk) that nobody writes any more.
pub struct MemClosed(pub(super) MemSlice);

/// Of a place, the bits that are the part.
const PART_BITS: u32 = 20;

impl ClosedSlice for MemClosed {
    fn find_values(&self, found: &mut dyn FnMut(u64, &[u8]) -> usize) -> Result<Seen, DiskError> {
        let mut contents = self.0.disk.live()?;
        contents.stats.looked_through += 1;
        let fails = contents.may_read().is_err();
        let slice = contents.slice(self.0.number)?;
        let keys: Vec<(u64, u32)> = slice.values.keys().copied().collect();
        let mut seen = Seen::All;
        let mut fails = fails;
        for key in keys {
            if std::mem::take(&mut fails) || !slice.reads(key) {
                seen = Seen::Part;
                continue;
            }
            if let Some(value) = slice.values.get(&key) {
                found(key.0 << PART_BITS | u64::from(key.1), &value.bytes);
            }
        }
        Ok(seen)
    }

    fn read_at(
        &self,
        unreadable: Unreadable,
        place: u64,
        bytes: usize,
    ) -> Result<Vec<u8>, DiskError> {
        let (sequence, part) = (place >> PART_BITS, (place & ((1 << PART_BITS) - 1)) as u32);
        let read = match unreadable {
            Unreadable::IsError => {
                self.0.disk.live()?.may_read()?;
                self.0.get(sequence, part)?
            }
            Unreadable::IsZero => {
                let mut contents = self.0.disk.live()?;
                let fails = contents.may_read().is_err();
                let slice = contents.slice(self.0.number)?;
                let reads = slice.reads((sequence, part)) && !fails;
                let value = slice.values.get(&(sequence, part));
                value.map(|value| match reads {
                    true => value.bytes.clone(),
                    false => vec![0; value.bytes.len()],
                })
            }
        };
        let mut read = read.unwrap_or_default();
        read.truncate(bytes);
        Ok(read)
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
}
