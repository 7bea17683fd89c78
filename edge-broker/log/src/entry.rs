//! What the log is made of: partitions, raft entries, raft's hard state, checkpoints.
//!
//! Plain data. Nothing here reads or writes a disk. Everybody uses it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A topic's identity; its name may change, its id never does.
pub type TopicId = uuid::Uuid;

/// One partition of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicId,
    /// Its partition, from 0.
    pub partition: u32,
}

/// What a raft entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A frame, or nothing (a new leader's first entry).
    Normal,
    /// A change of the group's members.
    ConfChange,
}

/// One raft entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Raft's index, from 1.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
    /// What it is for.
    pub kind: EntryKind,
    /// An encoded [`Frame`](crate::Frame), a member change, or nothing.
    pub data: Bytes,
}

/// What raft must remember besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The current term.
    pub term: u64,
    /// Whom this store voted for in that term; 0 = nobody.
    pub vote: u64,
    /// The highest index known to be committed.
    pub commit: u64,
}

/// The whole state of the site at one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last index whose effects are in it.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The state, in the owner's encoding.
    pub data: Bytes,
}
