//! Control entries: what a frame says beside its batches.
//!
//! Stored form: one version byte, then postcard. Variants and fields are append-only within a
//! version. What cannot be read is never skipped: apply stops there (design: an older program
//! must not guess what a newer one meant).

use std::fmt;

use bytes::Bytes;
use edge_log::{TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::clock::ClockTrust;
use crate::ledger::LossCause;
use crate::link::LinkUse;
use crate::topics::TopicConfig;

/// The version this program writes and the only one it reads.
const VERSION: u8 = 1;

/// One change of the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// A topic exists from here on.
    TopicCreated {
        /// Chosen by the proposer, never used twice.
        id: TopicId,
        /// Unique among existing topics.
        name: String,
        /// Partitions 0..n.
        partitions: u32,
        /// All settings.
        config: TopicConfig,
    },
    /// New settings, or more partitions.
    TopicAltered {
        /// Which.
        id: TopicId,
        /// Never fewer than before.
        partitions: u32,
        /// All settings.
        config: TopicConfig,
    },
    /// The topic is gone; what central did not have goes into the ledger.
    TopicDeleted {
        /// Which.
        id: TopicId,
        /// Why, if what was not forwarded counts as lost.
        loss: Option<LossCause>,
    },
    /// Records below the new starts are gone.
    StartsMoved {
        /// New start of each partition.
        starts: Vec<(TopicPartition, i64)>,
        /// Why, if what was not forwarded counts as lost; `None` = nobody misses it.
        loss: Option<LossCause>,
    },
    /// Central has everything below these offsets.
    Forwarded {
        /// First offset that central does not have, of each partition.
        progress: Vec<(TopicPartition, i64)>,
    },
    /// Something was shed before it got an offset.
    Shed {
        /// Why.
        cause: LossCause,
        /// Of which topic, where one is concerned.
        topic: Option<TopicId>,
        /// How many records.
        count: u64,
    },
    /// A store that lost frames goes on under a new id, every next offset 2³² further.
    Incarnation {
        /// The new store id.
        store_id: u64,
        /// Records known to be lost: partition and offsets `from..to`.
        lost: Vec<(TopicPartition, i64, i64)>,
    },
    /// How the clock of the proposing gateway stands; said only where it was not always right.
    Clock {
        /// Since the boot named in the frame's header.
        boot_ms: u64,
        /// Wall clock at the moment of that boot, as this clock counts.
        offset_ms: i64,
        /// How far to believe it.
        trust: ClockTrust,
    },
    /// Bytes went over the link to central.
    Link {
        /// Since the last such entry.
        used: LinkUse,
    },
    /// The disk lost records.
    Lost {
        /// Partition and offsets `from..to`.
        lost: Vec<(TopicPartition, i64, i64)>,
    },
}

impl Control {
    /// The stored form.
    pub fn encode(&self) -> Bytes {
        // Serialising plain data into memory fails only on a bug of ours.
        let out = postcard::to_extend(self, vec![VERSION]).unwrap_or_default();
        assert!(!out.is_empty(), "a control entry can be encoded");
        Bytes::from(out)
    }

    /// Reads the stored form, whole and of a version known here, or not at all.
    pub fn decode(bytes: &[u8]) -> Result<Control, UnknownControl> {
        let Some((&version, rest)) = bytes.split_first() else {
            return Err(UnknownControl { version: 0 });
        };
        if version != VERSION {
            return Err(UnknownControl { version });
        }
        match postcard::take_from_bytes(rest) {
            Ok((control, [])) => Ok(control),
            _ => Err(UnknownControl { version }),
        }
    }
}

/// A control entry that this program does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownControl {
    /// Its version byte.
    pub version: u8,
}

impl fmt::Display for UnknownControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "control entry of another program version; run the newer program again: {}",
            self.version
        )
    }
}

impl std::error::Error for UnknownControl {}

#[cfg(test)]
mod tests;
