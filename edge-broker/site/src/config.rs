//! What a site can be told: budgets, bounds and defaults, with their units.
//!
//! Plain numbers; where they come from (TOML, flags, "auto") is the program's business.

use std::fmt;
use std::str::FromStr;

use edge_log::StoreConfig;
use kafka_wire::Compression;

use crate::clock::ClockTrust;
use crate::memory::{MemoryShares, MemoryShortage};
use crate::topics::TopicConfig;

/// What a full store does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// The oldest records go, counted in the loss ledger.
    DropOldest,
    /// Appends are refused, retriably.
    Refuse,
}

impl WhenFull {
    /// The name used in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            WhenFull::DropOldest => "drop-oldest",
            WhenFull::Refuse => "refuse",
        }
    }
}

impl fmt::Display for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WhenFull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "drop-oldest" => Ok(WhenFull::DropOldest),
            "refuse" => Ok(WhenFull::Refuse),
            other => Err(format!("must be drop-oldest or refuse: {other:?}")),
        }
    }
}

/// Everything a site is told at its start.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// Name of the site, for logs and status.
    pub name: String,
    /// Numbers of the store on disk.
    pub store: StoreConfig,
    /// Device writes a day that commits may spend at once; 0 = no budget, never wait.
    pub wear_gb_per_day: f64,
    /// The longest a commit waits for budget.
    pub commit_interval_ms_max: u64,
    /// The same while only relaxed (QoS 0) records wait.
    pub commit_interval_ms_relaxed: u64,
    /// As much as this never waits.
    pub commit_bytes_max: usize,
    /// Codec of the batches built from records.
    pub compression: Compression,
    /// Received, not yet on disk, in bytes; beyond it `append` waits.
    pub queue_bytes_max: usize,
    /// The same in requests.
    pub queue_count_max: usize,
    /// Entries that raft keeps in memory.
    pub raft_memory_bytes_max: usize,
    /// All big buffers together: those above, and what they leave for recent frames, the
    /// forwarder and the doors.
    pub memory_bytes_max: usize,
    /// Settings of new topics.
    pub topic_defaults: TopicConfig,
    /// Partitions of new topics.
    pub partitions_default: u32,
    /// Whether `ensure_topic` may create.
    pub auto_create: bool,
    /// How many topics there may be, internal ones not counted.
    pub topics_count_max: usize,
    /// What topics do that say `inherit`.
    pub when_full: WhenFull,
    /// Whether a central cluster is configured: without one nobody misses what expires.
    pub forwarding: bool,
    /// How far the wall clock can be believed when it shows so many milliseconds since 1970;
    /// asked about once a second.
    pub clock_trust: fn(i64) -> ClockTrust,
}

impl Default for SiteConfig {
    fn default() -> Self {
        SiteConfig {
            name: String::new(),
            store: StoreConfig::default(),
            wear_gb_per_day: 20.0,
            commit_interval_ms_max: 50,
            commit_interval_ms_relaxed: 1000,
            commit_bytes_max: 128 << 10,
            compression: Compression::Lz4,
            queue_bytes_max: 16 << 20,
            queue_count_max: 100_000,
            raft_memory_bytes_max: 8 << 20,
            memory_bytes_max: 100 << 20,
            topic_defaults: TopicConfig::default(),
            partitions_default: 1,
            auto_create: true,
            topics_count_max: 1000,
            when_full: WhenFull::DropOldest,
            forwarding: true,
            clock_trust: |_| ClockTrust::Right,
        }
    }
}

/// Places and index of a slice are to the slice as one to this, with values of about 1 KiB.
const SLICE_PER_INDEX: usize = 8;

impl SiteConfig {
    /// Who may hold how much of `memory_bytes_max`.
    pub fn memory_shares(&self) -> Result<MemoryShares, MemoryShortage> {
        let store = &self.store;
        // sled has two open: the slice that is written and the next one.
        let caches = (store.cache_bytes as usize).saturating_mul(2);
        // Of one that a reader opened the places of its values are kept, and its index.
        let older = store.slice_bytes as usize / SLICE_PER_INDEX;
        MemoryShares::of(
            self.memory_bytes_max,
            caches.saturating_add(older.saturating_mul(store.slices_open_max)),
            self.queue_bytes_max,
            self.raft_memory_bytes_max,
        )
    }
}
