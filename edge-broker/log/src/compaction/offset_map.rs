//! Which offset is the newest of each key, within a fixed number of keys.
//!
//! Keys are known by 128 bits of their hash: two that share all of them would be taken for one,
//! which is less likely than a failing memory. When there are more keys than the map may have, it
//! keeps half of them, chosen by their hash, and names the half it left out: that is another
//! round's. So a round knows everything about its share of the keys, however many there are.
//! Pure.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::TopicPartition;

/// Keys whose hash ends in certain bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    bits: u32,
    ending: u64,
}

impl Share {
    fn has(self, hash: KeyHash) -> bool {
        hash.0 & ((1 << self.bits) - 1) == self.ending
    }

    /// Halves it; returns the other half.
    fn halve(&mut self) -> Share {
        let bits = self.bits + 1;
        let ending = self.ending | 1 << self.bits;
        self.bits = bits;
        Share { bits, ending }
    }

    /// So many shares make the whole.
    pub fn of(self) -> u64 {
        1 << self.bits
    }
}

type KeyHash = (u64, u64);

/// The newest record of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest(i64);

impl Newest {
    fn new(offset: i64) -> Newest {
        Newest(offset << 1)
    }

    /// Its offset.
    pub fn offset(self) -> i64 {
        self.0 >> 1
    }

    /// An older record of the key was met.
    pub fn has_older(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Key hash → newest offset. 57,344 keys, the default of `keys_max`, take 1.6 MB, and half as much
/// again while the table grows.
#[derive(Clone, Debug)]
pub struct OffsetMap {
    keys_max: usize,
    salt: u64,
    share: Share,
    left_out: Vec<Share>,
    newest: HashMap<KeyHash, Newest>,
}

impl OffsetMap {
    /// An empty map for a share of the keys.
    pub fn new(share: Share, keys_max: usize, salt: u64) -> OffsetMap {
        OffsetMap {
            keys_max: keys_max.max(1),
            salt,
            share,
            left_out: Vec::new(),
            newest: HashMap::new(),
        }
    }

    /// The share it has come down to.
    pub fn share(&self) -> Share {
        self.share
    }

    /// What it had to leave out, for other rounds.
    pub fn left_out(&self) -> &[Share] {
        &self.left_out
    }

    /// A record there is.
    pub fn note(&mut self, partition: TopicPartition, key: &[u8], offset: i64) {
        let hash = self.hash(partition, key);
        if !self.share.has(hash) {
            return;
        }
        if let Some(newest) = self.newest.get_mut(&hash) {
            *newest = Newest::new(offset.max(newest.offset()));
            return;
        }
        while self.newest.len() >= self.keys_max && self.share.bits < SHARE_BITS_MAX {
            self.left_out.push(self.share.halve());
            let share = self.share;
            self.newest.retain(|hash, _| share.has(*hash));
        }
        if self.share.has(hash) {
            self.newest.insert(hash, Newest::new(offset));
        }
    }

    /// The newest record of a key; `None` when the key is another round's.
    pub fn get(&self, partition: TopicPartition, key: &[u8]) -> Option<Newest> {
        self.newest.get(&self.hash(partition, key)).copied()
    }

    /// Remembers that an older record of the key is there.
    pub fn note_older(&mut self, partition: TopicPartition, key: &[u8]) {
        let hash = self.hash(partition, key);
        if let Some(newest) = self.newest.get_mut(&hash) {
            newest.0 |= 1;
        }
    }

    fn hash(&self, partition: TopicPartition, key: &[u8]) -> KeyHash {
        let half = |which: u8| {
            let mut hasher = DefaultHasher::new();
            (self.salt, which, partition, key).hash(&mut hasher);
            hasher.finish()
        };
        (half(0), half(1))
    }
}

/// A thousandth of a millionth of the keys fits every map.
const SHARE_BITS_MAX: u32 = 30;

#[cfg(test)]
mod tests;
