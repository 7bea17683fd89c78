//! Where the values of a slice's frames lie, as its index says.
//!
//! Noted when a slice is sealed, by one look through the file that was just written, and stored
//! with its index, so that one old record can be read without looking all of the slice through.
//! Only hints: who reads there checks what it finds, and looks through the slice where one does
//! not hold.

use super::FramePlace;
use crate::secret::Secret;
use crate::value;
use crate::{ClosedSlice, DiskError};

/// Where the values of some frames lie, in the order of the frames and their parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Of each frame, which value is its first; at the end, how many there are.
    firsts: Vec<u32>,
    at: Vec<u32>,
}

/// Of a value whose place is not known; at the start of a file none lies.
const NOWHERE: u32 = 0;

impl Places {
    /// Looks a slice through for the values of its frames.
    pub fn find(
        slice: &impl ClosedSlice,
        secret: Secret,
        frames: &[FramePlace],
    ) -> Result<Places, DiskError> {
        let mut places = Places::unknown(frames);
        slice.find_values(&mut |at, bytes| {
            let Some(head) = value::check_prefix(secret, bytes) else {
                return 0;
            };
            places.note(frames, (head.sequence, head.part), at);
            head.value_bytes()
        })?;
        Ok(places)
    }

    /// The same after a look through.
    pub fn of(frames: &[FramePlace], place_of: impl Fn(u64, u32) -> Option<u64>) -> Places {
        let mut places = Places::unknown(frames);
        for frame in frames {
            for part in 0..value::parts(frame.data_bytes) {
                if let Some(at) = place_of(frame.sequence, part) {
                    places.note(frames, (frame.sequence, part), at);
                }
            }
        }
        places
    }

    fn unknown(frames: &[FramePlace]) -> Places {
        let (mut firsts, mut count) = (Vec::with_capacity(frames.len() + 1), 0);
        for frame in frames {
            firsts.push(count);
            count += value::parts(frame.data_bytes);
        }
        firsts.push(count);
        Places {
            firsts,
            at: vec![NOWHERE; count as usize],
        }
    }

    fn note(&mut self, frames: &[FramePlace], (sequence, part): (u64, u32), at: u64) {
        let found = self.position(frames, sequence, part);
        if let Some(((_, nth), at)) = found.zip(u32::try_from(at).ok()) {
            self.at[nth] = at;
        }
    }

    /// Of which frame a value is, and which of all values.
    fn position(&self, frames: &[FramePlace], sequence: u64, part: u32) -> Option<(usize, usize)> {
        let frame = frames.binary_search_by_key(&sequence, |frame| frame.sequence);
        let frame = frame.ok()?;
        let nth = self.firsts.get(frame)?.checked_add(part)?;
        (nth < *self.firsts.get(frame + 1)?).then_some((frame, nth as usize))
    }

    /// Where a value should lie, and its length.
    pub fn get(&self, frames: &[FramePlace], sequence: u64, part: u32) -> Option<(u64, usize)> {
        let (frame, nth) = self.position(frames, sequence, part)?;
        let bytes = value::value_bytes(frames[frame].data_bytes, part);
        let at = self.at[nth];
        (at != NOWHERE).then_some((u64::from(at), bytes))
    }

    /// As differences: most values lie right behind the one before.
    pub(super) fn packed(&self, frames: &[FramePlace]) -> Vec<i64> {
        let mut end = 0;
        let lens = frames.iter().flat_map(value_lens);
        let differences = self.at.iter().zip(lens).map(|(at, len)| {
            let difference = i64::from(*at) - end;
            end = i64::from(*at) + len;
            difference
        });
        differences.collect()
    }

    /// Reads them back; nothing is known where there are not as many as there are values.
    pub(super) fn unpacked(frames: &[FramePlace], packed: &[i64]) -> Places {
        let parts = frames.iter().map(|frame| value::parts(frame.data_bytes));
        if parts.map(u64::from).sum::<u64>() != packed.len() as u64 {
            return Places::default();
        }
        let mut places = Places::unknown(frames);
        let mut end = 0_i64;
        let lens = frames.iter().flat_map(value_lens);
        for ((at, difference), len) in places.at.iter_mut().zip(packed).zip(lens) {
            let found = end.wrapping_add(*difference);
            *at = u32::try_from(found).unwrap_or(NOWHERE);
            end = found.wrapping_add(len);
        }
        places
    }
}

fn value_lens(frame: &FramePlace) -> impl Iterator<Item = i64> + use<> {
    let bytes = frame.data_bytes;
    (0..value::parts(bytes)).map(move |part| value::value_bytes(bytes, part) as i64)
}

#[cfg(test)]
mod tests;
