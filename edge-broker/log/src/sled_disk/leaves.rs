//! Which key a value gets in sled, so that sled writes it once.
//!
//! sled 0.34.7 splits a leaf that holds more than 16 entries and writes both halves anew, with the
//! values in them: values put under ascending keys are written 2.9 times on average. So a leaf is
//! split off while nothing is in it but nine empty entries, its fences, and then gets seven values:
//! with 16 entries it is never split again. The ten links after which sled writes a leaf anew are
//! not reached either.
//!
//! ```text
//! leaf n            | n.0 … n.8 |                     its fences
//! fences of n + 1   | n.0 … n.8   n+1.0 … n+1.7 |     17 entries: split behind the ninth
//! values of leaf n  | n.0 … n.8   seven values |  | n+1.0 … n+1.8 |
//!
//! key of a fence = leaf 4 | number below 255
//! key of a value = leaf 4 | 255 | write sequence 8 | part 4
//! ```
//! Pure; called by `slice`, which asks sled. The values themselves say what they are, so whoever
//! reads without sled needs none of this.

use std::ops::Range;

/// Entries of which sled leaves so many in the lower half when it splits 17.
const FENCES: u8 = 9;

/// With the fences 16 entries, the most that sled leaves together.
const VALUES_PER_LEAF: u32 = 7;

/// Far more than a slice has; one more can always be added.
const LEAF_MAX: u32 = 1 << 30;

const FENCE_KEY_BYTES: usize = 5;
const VALUE_KEY_BYTES: usize = 17;
const VALUE_MARK: u8 = 255;

/// The leaves of one slice.
#[derive(Debug, Default)]
pub struct Leaves {
    /// Leaves with values and the first (write sequence, part) in each; ascending in both.
    firsts: Vec<(u32, (u64, u32))>,
    /// What the newest of them still takes.
    room: u32,
    /// The leaf after it.
    next: u32,
    /// Leaves below have their fences.
    fenced: u32,
}

/// What to put into sled for a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Leaves whose fences come before it.
    pub to_fence: Range<u32>,
    /// Its own key.
    pub key: [u8; VALUE_KEY_BYTES],
}

impl Leaves {
    /// Where the next value goes. Values come in ascending order of (write sequence, part).
    pub fn place(&mut self, sequence: u64, part: u32) -> Place {
        let fenced = self.fenced;
        if self.room == 0 {
            self.firsts.push((self.next, (sequence, part)));
            self.room = VALUES_PER_LEAF;
            self.next += 1;
            // The fences of the next leaf split this one off.
            self.fenced = self.next + 1;
        }
        self.room -= 1;
        Place {
            to_fence: fenced..self.fenced,
            key: value_key(self.next - 1, sequence, part),
        }
    }

    /// The key under which a value was put, if it was.
    pub fn key(&self, sequence: u64, part: u32) -> Option<[u8; VALUE_KEY_BYTES]> {
        let behind = self
            .firsts
            .partition_point(|(_, first)| *first <= (sequence, part));
        let (leaf, _) = self.firsts.get(behind.checked_sub(1)?)?;
        Some(value_key(*leaf, sequence, part))
    }

    /// Takes note of a key that is in the tree; keys come in ascending order. What is put from
    /// then on goes to leaves behind all of them: the last one may be without some of its fences.
    /// False when the key is none of ours.
    pub fn note(&mut self, key: &[u8]) -> bool {
        let Some((leaf, value)) = read_key(key) else {
            return false;
        };
        (self.next, self.fenced) = (leaf + 1, leaf + 1);
        let is_first = self.firsts.last().is_none_or(|(newest, _)| *newest < leaf);
        if let (Some(value), true) = (value, is_first) {
            self.firsts.push((leaf, value));
        }
        true
    }
}

/// The keys of a leaf's fences.
pub fn fence_keys(leaf: u32) -> impl Iterator<Item = [u8; FENCE_KEY_BYTES]> {
    let [a, b, c, d] = leaf.to_be_bytes();
    (0..FENCES).map(move |number| [a, b, c, d, number])
}

fn value_key(leaf: u32, sequence: u64, part: u32) -> [u8; VALUE_KEY_BYTES] {
    let mut key = [VALUE_MARK; VALUE_KEY_BYTES];
    key[..4].copy_from_slice(&leaf.to_be_bytes());
    key[5..13].copy_from_slice(&sequence.to_be_bytes());
    key[13..].copy_from_slice(&part.to_be_bytes());
    key
}

/// The leaf of a key, and the value if it is a value's.
fn read_key(key: &[u8]) -> Option<(u32, Option<(u64, u32)>)> {
    let (leaf, rest) = key.split_first_chunk()?;
    let leaf = u32::from_be_bytes(*leaf);
    let value = match rest {
        [number] => (*number < FENCES).then_some(None),
        [VALUE_MARK, value @ ..] => {
            let (sequence, part) = value.split_first_chunk()?;
            let part: &[u8; 4] = part.try_into().ok()?;
            Some(Some((
                u64::from_be_bytes(*sequence),
                u32::from_be_bytes(*part),
            )))
        }
        _ => None,
    }?;
    (leaf <= LEAF_MAX).then_some((leaf, value))
}

#[cfg(test)]
mod tests;
