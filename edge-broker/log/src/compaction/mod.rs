//! `cleanup.policy=compact`: of each key the newest record stays, the older ones go.
//!
//! ```text
//! set_compaction ─> due? ─> round over a share of the keys ─> … ─> until no share is left
//!                             │
//!      map      slice by slice: newest offset of each key          (reads)
//!      measure  slice by slice: how much of it is dead by the map  (reads)
//!      rewrite  neighbours that are dead enough, into one slice    (as retention's rewriting)
//! ```
//! As Kafka's log cleaner works, with three differences. The log is one for all partitions, so one
//! map serves them all, and a slice is rewritten for what all of them free. A map that is full
//! covers a share of the keys of the whole log, not all keys of a part of it. And what a rewriting
//! frees is measured first: cards wear.
//!
//! Only slices that retention may take are looked at: sealed, below raft's window, covered by a
//! checkpoint. Only offsets below what the site says go. The newest record of a key never goes,
//! but for a tombstone whose time is over and of whose key nothing older is there any more, not
//! even a dead record.
//!
//! It all runs on the upkeep's thread, a slice at a time. How far partitions were looked at is in
//! the plain file `compacted`; without it they are looked at once more.

pub mod filter;
pub mod offset_map;
pub mod pass;
mod run;

pub use run::Compacting;

/// Up to where a partition is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactTo {
    /// Records from this offset on stay as they are.
    pub below: i64,
    /// A null value older than this, the newest of its key, goes in the end.
    pub delete_before_ms: i64,
}
