//! What goes into the log and what comes back: requests, levels, committed frames.
//!
//! Plain data. How it gets there is `core`'s business.

use std::fmt;
use std::str::FromStr;

use edge_log::TopicPartition;
use kafka_wire::{Record, RecordBatch};

use crate::error::Refused;

/// The two clocks, read by the shell and handed to the core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since boot; never goes back.
    pub mono_ms: u64,
    /// Wall clock, milliseconds since 1970; may be wrong and may jump.
    pub wall_ms: i64,
}

/// Where a message is when its ticket is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AckLevel {
    /// In this gateway's queue, not yet written.
    Memory,
    /// Written and synced by this gateway, and committed.
    Disk,
    /// On the disks of two gateways or more.
    Site,
    /// Committed in the central cluster.
    Central,
}

impl AckLevel {
    /// The name used in configuration and in acknowledgements.
    pub fn as_str(self) -> &'static str {
        match self {
            AckLevel::Memory => "memory",
            AckLevel::Disk => "disk",
            AckLevel::Site => "site",
            AckLevel::Central => "central",
        }
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AckLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(AckLevel::Memory),
            "disk" => Ok(AckLevel::Disk),
            "site" => Ok(AckLevel::Site),
            "central" => Ok(AckLevel::Central),
            other => Err(format!(
                "level must be memory, disk, site or central: {other:?}"
            )),
        }
    }
}

/// Records and ready batches that go into one frame, all or nothing unless `apart` says otherwise.
///
/// At most 1 MB in total, except a single larger batch alone.
#[derive(Clone, Debug)]
pub struct AppendRequest {
    /// Single records; the appender builds one batch per partition from what waits together.
    pub items: Vec<(TopicPartition, Record)>,
    /// Batches of Kafka clients; stored as they are, only base offset and epoch are set.
    pub batches: Vec<(TopicPartition, RecordBatch)>,
    /// When the ticket is spent.
    pub level: AckLevel,
    /// QoS 0: asks for no commit of its own before `commit_interval_ms_relaxed`. At
    /// [`AckLevel::Memory`] nobody has to follow its ticket: refused, it is in the loss ledger.
    pub relaxed: bool,
    /// Single records of several senders: one that its topic does not take is refused by itself,
    /// and [`Appended::refused`] says so. What refuses them all is an error as always.
    pub apart: bool,
}

impl AppendRequest {
    /// Records at a level, not relaxed.
    pub fn records(items: Vec<(TopicPartition, Record)>, level: AckLevel) -> Self {
        AppendRequest {
            items,
            batches: Vec::new(),
            level,
            relaxed: false,
            apart: false,
        }
    }

    /// Ready batches at a level, not relaxed.
    pub fn batches(batches: Vec<(TopicPartition, RecordBatch)>, level: AckLevel) -> Self {
        AppendRequest {
            items: Vec::new(),
            batches,
            level,
            relaxed: false,
            apart: false,
        }
    }
}

/// A spent ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The level reached.
    pub level: AckLevel,
    /// Offsets in the order of `items`, then base offsets in the order of `batches`;
    /// empty at [`AckLevel::Memory`], where none is known yet. −1 for a record that was refused.
    pub offsets: Vec<i64>,
    /// Records of `items` that were refused by themselves, by their number, in order.
    pub refused: Vec<RefusedRecord>,
}

impl Appended {
    /// Why this record is not among those that were appended; `None` = it is.
    pub fn refusal_of(&self, item: usize) -> Option<&Refused> {
        let at = self.refused.binary_search_by_key(&item, |one| one.item);
        at.ok().map(|at| &self.refused[at].why)
    }
}

/// A record of a request whose records stand apart, and why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecord {
    /// Its number among the items.
    pub item: usize,
    /// Where it was to go.
    pub partition: TopicPartition,
    /// Why it does not.
    pub why: Refused,
}

/// A frame as it was committed: the batches of all partitions in log order.
#[derive(Clone, Debug)]
pub struct CommittedFrame {
    /// Raft index; frames without batches are left out, so indexes grow with gaps.
    pub index: u64,
    /// Raft term.
    pub term: u64,
    /// Site time at proposal; never goes back.
    pub site_time_ms: i64,
    /// Batches with their final offsets.
    pub batches: Vec<(TopicPartition, RecordBatch)>,
}
