//! The words between a core and whoever drives it: what it is told, what it wants done.

use std::collections::BTreeMap;
use std::sync::Arc;

use edge_log::{Checkpoint, CompactTo, Entry, HardState, TopicPartition};
use kafka_wire::RecordBatch;
pub use raft::eraftpb::Message;

use crate::append::{Appended, CommittedFrame};
use crate::config::SiteConfig;
use crate::error::{Refused, TopicError};
use crate::topics::{Topic, TopicTable};
pub use crate::window::Fetch;

/// What a core is told at its start.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// The site's configuration.
    pub site: SiteConfig,
    /// The machine's boot, the same for every process until the next one.
    pub boot_id: u64,
    /// For topic ids, and nothing else: random for every core, or ids come a second time.
    pub seed: u128,
    /// Raft's voters of a new site; empty = this gateway alone.
    pub voters: Vec<u64>,
}

/// A request to write and sync.
///
/// Answered by [`handle_persisted`](super::SiteCore::handle_persisted).
#[derive(Clone, Debug)]
pub struct PersistJob {
    /// Counts jobs; a job that failed is repeated under its number.
    pub number: u64,
    /// The first one may overwrite a suffix.
    pub entries: Vec<Entry>,
    /// If it changed.
    pub hard_state: Option<HardState>,
    /// Term or vote changed: nothing may be sent before it is on disk.
    pub must_sync_hard_state: bool,
}

/// A batch of this gateway that another leader's log overwrote: for the spool, to hand in again.
#[derive(Clone, Debug)]
pub struct Voided {
    /// Whose intake sequence.
    pub store_id: u64,
    /// Together with the store id the batch's identity.
    pub intake: u64,
    /// Where it belongs.
    pub partition: TopicPartition,
    /// With the offsets it will not have.
    pub batch: RecordBatch,
}

/// What somebody wants done with topics.
#[derive(Clone, Debug)]
pub enum TopicOp {
    /// The topic of that name, created if missing and allowed.
    Ensure {
        /// Its name.
        name: String,
        /// By Kafka's names, where it is created.
        settings: BTreeMap<String, String>,
    },
    /// A new one.
    Create {
        /// Its name.
        name: String,
        /// `None` = the default.
        partitions: Option<u32>,
        /// By Kafka's names.
        settings: BTreeMap<String, String>,
    },
    /// Other settings, more partitions.
    Alter {
        /// Its name.
        name: String,
        /// `None` = as they are.
        partitions: Option<u32>,
        /// By Kafka's names.
        settings: BTreeMap<String, String>,
    },
    /// Away with it.
    Delete {
        /// Its name.
        name: String,
    },
    /// Records below an offset are not needed any more.
    Trim {
        /// Of which partition.
        tp: TopicPartition,
        /// The new start.
        start: i64,
    },
}

/// What the core wants done. `T` is the caller's ticket.
#[derive(Debug)]
pub enum Output<T> {
    /// Write and sync.
    Persist(Arc<PersistJob>),
    /// To other gateways.
    Send(Vec<Message>),
    /// The outcome of an append.
    Spent {
        /// Whose.
        ticket: T,
        /// Its records are there at these offsets, or not at all (`Unknown`: at most once).
        outcome: Result<Appended, Refused>,
    },
    /// Appends left the queue, whatever became of them.
    Released {
        /// Their bytes.
        bytes: usize,
        /// How many.
        count: usize,
    },
    /// The outcome of a topic operation.
    TopicDone {
        /// Whose.
        ticket: T,
        /// The topic, if it still exists.
        outcome: Result<Option<Arc<Topic>>, TopicError>,
    },
    /// A frame with batches was committed; in log order.
    Committed(CommittedFrame),
    /// The marks of these partitions changed.
    Touched(Vec<TopicPartition>),
    /// The table of topics changed.
    Topics(Arc<TopicTable>),
    /// To be stored in the spool before the next `Persist` is carried out.
    Voided(Voided),
    /// Save it; answered by [`handle_checkpoint_saved`](super::SiteCore::handle_checkpoint_saved).
    SaveCheckpoint(Checkpoint),
    /// Starts moved: what is below is dead.
    Starts(BTreeMap<TopicPartition, i64>),
    /// What the store may compact, and up to where; nothing else.
    Compaction(BTreeMap<TopicPartition, CompactTo>),
    /// Read entries for a follower.
    ///
    /// Answered by [`handle_fetched`](super::SiteCore::handle_fetched).
    Fetch(Fetch),
    /// The store's figures are wanted now.
    WantReport,
}
