//! What a store tells about itself: how it came up, what it holds, what it did.

use crate::{Checkpoint, HardState, PersistError, TopicPartition};

/// How a store came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// This incarnation's id, and its raft id.
    pub store_id: u64,
    /// The id before it, when this open began a new incarnation: something below the durable
    /// mark was lost, or the identity file was missing beside existing slices. The term in
    /// `hard_state` is then one higher, its vote empty.
    pub previous_store_id: Option<u64>,
    /// Opens of this store, this one included.
    pub boot_count: u64,
    /// Raft's hard state; `commit` never exceeds `last_index`.
    pub hard_state: HardState,
    /// The newest checkpoint that is whole.
    pub checkpoint: Option<Checkpoint>,
    /// First index that [`Reader::entries`](crate::Reader::entries) has.
    pub first_index: u64,
    /// Last index in the log; `first_index - 1` when there is none.
    pub last_index: u64,
    /// The last index that is surely on the disk. What follows was written before a crash and
    /// may never have been synced: nobody may rely on it before the next persist succeeded.
    pub proven_index: u64,
    /// (first index, term) of each run of one term, from `first_index` on.
    pub terms: Vec<(u64, u64)>,
    /// What was durable and is gone.
    pub lost: Vec<LostRange>,
    /// Folders of damaged slices that were moved aside, after salvage, and checkpoints with them.
    pub quarantined: Vec<String>,
    /// The store was closed in order.
    pub clean: bool,
    /// Slices found.
    pub slices: usize,
}

/// Something durable that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostRange {
    /// First raft index; 0 = unknown.
    pub first_index: u64,
    /// Last raft index; 0 = unknown.
    pub last_index: u64,
    /// (partition, first offset, last offset) of what was in it, as far as known.
    pub partitions: Vec<(TopicPartition, i64, i64)>,
    /// Why, in words.
    pub cause: String,
}

/// What one [`persist`](crate::Store::persist) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// The durable mark: every write up to this one is on the disk.
    pub sequence: u64,
    /// The last durable raft index.
    pub last_index: u64,
    /// Bytes handed to the device, as the disk counts them.
    pub device_bytes: u64,
    /// How long the syncs took.
    pub sync_us: u64,
    /// What may still be appended, as in [`Usage`].
    pub append_bytes_left: u64,
}

/// What one [`maintain`](crate::Store::maintain) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Slices sealed.
    pub sealed: u32,
    /// Slices dropped, all their records being dead.
    pub dropped: u32,
    /// Slices rewritten without their dead records.
    pub rewritten: u32,
    /// Damage found and salvaged since the last call.
    pub lost: Vec<LostRange>,
    /// Folders moved aside since the last call.
    pub quarantined: Vec<String>,
    /// Checkpoints written since the last call, by index, or why one was not.
    pub checkpoints: Vec<(u64, Result<(), PersistError>)>,
    /// There is more to do; call again soon.
    pub more: bool,
    /// What may still be appended, as in [`Usage`].
    pub append_bytes_left: u64,
    /// The filesystem is full: below its minimum, or it said so.
    pub filesystem_full: bool,
}

/// One partition's part of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionSpan {
    /// Which.
    pub partition: TopicPartition,
    /// Offset of its first record in the slice.
    pub first_offset: i64,
    /// Offset after its last record in the slice.
    pub next_offset: i64,
    /// Bytes of its batches.
    pub bytes: u64,
    /// Latest timestamp.
    pub max_timestamp_ms: i64,
}

/// One slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceInfo {
    /// Its number, the name of its folder.
    pub number: u64,
    /// Its files.
    pub bytes: u64,
    /// First raft index in it.
    pub first_index: u64,
    /// Last raft index in it.
    pub last_index: u64,
    /// Latest timestamp of a record in it.
    pub max_timestamp_ms: i64,
    /// What it holds of each partition.
    pub partitions: Vec<PartitionSpan>,
    /// Closed for good.
    pub sealed: bool,
    /// A sync of it failed: read only for ever.
    pub poisoned: bool,
    /// Damaged or poisoned: what is in it is being copied, and what is not found there is told.
    pub rescuing: bool,
    /// Retention may take it: below the raft window, and no start needs it.
    pub droppable: bool,
}

/// With little room left a slice is rewritten for this share of dead bytes, in percent.
const DEAD_PERCENT_PRESSED: u64 = 15;

/// Whether the store gets rid of what is dead in a slice once there is less room than
/// [`crate::StoreConfig::wanted_bytes`], by the bytes of its batches.
pub(crate) fn is_worth_rewriting(live_bytes: u64, all_bytes: u64) -> bool {
    let dead_bytes = all_bytes.saturating_sub(live_bytes);
    live_bytes == 0 || dead_bytes * 100 >= all_bytes * DEAD_PERCENT_PRESSED
}

impl SliceInfo {
    /// Bytes of its batches that the store frees by itself, with little room left, if so many of
    /// them still lived: all that are dead, or none where they are too few to be worth it.
    pub fn freed_bytes(&self, live_bytes: u64) -> u64 {
        let all_bytes = self.partitions.iter().map(|span| span.bytes).sum();
        match is_worth_rewriting(live_bytes, all_bytes) {
            true => all_bytes.saturating_sub(live_bytes),
            false => 0,
        }
    }
}

/// Durations of the last syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// The last one.
    pub last_us: u64,
    /// Half of the recent ones were quicker.
    pub p50_us: u64,
    /// 99 % of the recent ones were quicker.
    pub p99_us: u64,
    /// The slowest recent one.
    pub max_us: u64,
}

/// What a store holds and costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All files of the store.
    pub bytes_used: u64,
    /// Its limit.
    pub bytes_max: u64,
    /// What may still be appended before the site must refuse or shed; the room kept for one
    /// rewrite, for checkpoints and for control entries is not in it. 0 = full.
    pub append_bytes_left: u64,
    /// The same by the store's own limit alone, however little the filesystem has left.
    pub own_bytes_left: u64,
    /// Free on the filesystem.
    pub free_bytes: u64,
    /// The filesystem is full: below its minimum, or it said so.
    pub filesystem_full: bool,
    /// The ballast file is in place.
    pub ballast: bool,
    /// Every slice, oldest first.
    pub slices: Vec<SliceInfo>,
    /// Written to the device since the store was opened.
    pub device_bytes_written: u64,
    /// Payload handed in since the store was opened.
    pub entry_bytes_written: u64,
    /// Syncs since the store was opened.
    pub syncs: u64,
    /// How long they take.
    pub sync_times: SyncTimes,
    /// Slices that were poisoned since the store was opened.
    pub poisoned_slices: u64,
    /// The last sync failed and no new slice could be proven since.
    pub poisoned: bool,
    /// Folders in quarantine.
    pub quarantined: u64,
    /// Compaction is at work or about to be, and may free room.
    pub compacting: bool,
    /// Slices are being closed or removed, or wait for it: room comes of it.
    pub closing: bool,
}
