//! What a site says about itself: marks, alarms, figures.
//!
//! Plain data for the admin door; how it is shown is the program's business.

use std::sync::Arc;

use crate::holes::LostOffsets;
use crate::ledger::LossEntry;
use crate::link::LinkMonth;
use crate::topics::Topic;

/// The name of a gateway for people: lower-case base32 of its store's id (RFC 4648, no padding).
pub fn node_id(store_id: u64) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits = u128::from(store_id) << 1; // 13 digits of 5 bits hold 65
    (0..13)
        .map(|digit| char::from(DIGITS[(bits >> (60 - 5 * digit)) as usize & 31]))
        .collect()
}

/// `start ≤ committed_end ≤ end`, and `forwarded` between start and committed end if there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// First offset there is.
    pub start: i64,
    /// First offset that readers may not see yet.
    pub committed_end: i64,
    /// First offset not given away.
    pub end: i64,
    /// First offset that central does not have; none where nothing is forwarded.
    pub forwarded: Option<i64>,
}

/// Something a person should know, until it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Name as in the documentation, e.g. `storage.full`.
    pub code: &'static str,
    /// Wall clock when it began.
    pub since_ms: i64,
    /// What is the matter, with figures.
    pub message: String,
    /// What to do.
    pub fix: String,
}

/// How the store was found at its start.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// The store's random id, also its raft id.
    pub store_id: u64,
    /// Its id before, if this start gave it a new one; 0 = nobody knows.
    pub previous_store_id: Option<u64>,
    /// How long opening took.
    pub opened_in_ms: u64,
    /// Whether it was stopped in order.
    pub clean: bool,
    /// Slices found.
    pub slices: usize,
    /// Index of the checkpoint the state was read from; 0 = none.
    pub checkpoint_index: u64,
    /// Last index found.
    pub last_index: u64,
    /// Frames applied on top of the checkpoint.
    pub frames_replayed: u64,
    /// What was lost below the durable mark, in words.
    pub lost: Vec<String>,
    /// What was put aside, in words.
    pub quarantined: Vec<String>,
}

/// A topic and its figures.
#[derive(Clone, Debug)]
pub struct TopicStatus {
    /// The topic.
    pub topic: Arc<Topic>,
    /// Marks by partition.
    pub partitions: Vec<Marks>,
    /// Bytes of its batches in the store.
    pub bytes_stored: u64,
    /// Records in the log.
    pub records: u64,
    /// Records that central does not have yet; 0 where nothing is forwarded.
    pub waiting: u64,
    /// About the site time of the oldest of them.
    pub waiting_since_ms: Option<i64>,
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct StorageStatus {
    /// Bytes of all files of the store.
    pub bytes_used: u64,
    /// Their limit.
    pub bytes_max: u64,
    /// Free bytes of the filesystem.
    pub free_bytes: u64,
    /// What is left to the rest of the machine.
    pub free_bytes_min: u64,
    /// Slices on disk.
    pub slices: usize,
    /// How old the oldest record is, by the time the site ran.
    pub oldest_age_ms: Option<u64>,
}

/// Device writes.
#[derive(Clone, Debug, Default)]
pub struct WearStatus {
    /// The budget; 0 = none.
    pub gb_per_day_max: f64,
    /// Projected from what was written since the start (or the last day).
    pub gb_per_day: f64,
    /// Written since the start.
    pub bytes_written: u64,
    /// Bytes of record values in it, as they came: neither keys nor headers, not compressed.
    pub bytes_payload: u64,
}

/// Commits.
#[derive(Clone, Debug, Default)]
pub struct SyncStatus {
    /// Persists since the start.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// Time of one persist (write and sync), recent, median.
    pub persist_us_p50: u64,
    /// The same, 99th percentile.
    pub persist_us_p99: u64,
    /// The sync alone, median.
    pub sync_us_p50: u64,
    /// The same, 99th percentile.
    pub sync_us_p99: u64,
}

/// The queue before the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueStatus {
    /// Bytes waiting.
    pub bytes: usize,
    /// Their limit.
    pub bytes_max: usize,
    /// Requests waiting.
    pub count: usize,
    /// Their limit.
    pub count_max: usize,
    /// Callers waiting for room.
    pub waiters: usize,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct SiteStatus {
    /// Name from the configuration, else the node's.
    pub name: String,
    /// The store's id.
    pub store_id: u64,
    /// Whether this gateway leads (takes appends).
    pub leader: bool,
    /// Whether appends can be stored now.
    pub ready: bool,
    /// A panic or an end that only a restart cures; the program ends with an error then.
    pub fatal: Option<String>,
    /// Raft term.
    pub term: u64,
    /// Last index here.
    pub last_index: u64,
    /// Committed index.
    pub committed_index: u64,
    /// Synced index.
    pub durable_index: u64,
    /// Topics by name, internal ones too.
    pub topics: Vec<TopicStatus>,
    /// The disk.
    pub storage: StorageStatus,
    /// Device writes.
    pub wear: WearStatus,
    /// Commits.
    pub sync: SyncStatus,
    /// The queue.
    pub queue: QueueStatus,
    /// Bytes on the link to central this month, as far as they are durable.
    pub link: LinkMonth,
    /// What was shed, by cause, topic and time range.
    pub ledger: Vec<LossEntry>,
    /// Which of it the disk lost; the oldest may be left out.
    pub lost: Vec<LostOffsets>,
    /// What a person should know.
    pub alarms: Vec<Alarm>,
    /// How the store was found.
    pub open: OpenReport,
}

#[cfg(test)]
mod tests {
    use super::node_id;

    #[test]
    fn node_ids_are_base32_of_the_eight_bytes() {
        assert_eq!(node_id(0), "aaaaaaaaaaaaa");
        // RFC 4648: "foobarba" without padding is MZXW6YTBOJRGC.
        assert_eq!(node_id(u64::from_be_bytes(*b"foobarba")), "mzxw6ytbojrgc");
        assert_ne!(node_id(1), node_id(2));
    }
}
