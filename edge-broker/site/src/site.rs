//! The handle that doors clone, and the threads behind it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use edge_log::TopicPartition;
use kafka_wire::RecordBatch;

use crate::append::AppendRequest;
use crate::config::SiteConfig;
use crate::error::{OpenError, ReadError, Refused, TopicError};
use crate::frames::FrameReader;
use crate::ledger::LossCause;
use crate::status::{Marks, OpenReport, SiteStatus};
use crate::ticket::Ticket;
use crate::topics::{Topic, TopicTable};

/// One gateway's part of a site. Cheap to clone.
#[derive(Clone)]
pub struct Site {}

impl Site {
    /// Opens the store in `dir` (created if missing) and starts the two threads. Blocks.
    pub fn open(dir: &Path, config: SiteConfig) -> Result<(Site, OpenReport), OpenError> {
        let _ = (dir, config);
        unimplemented!()
    }

    /// Commits what waits, writes a checkpoint, seals, ends the threads. Idempotent.
    pub async fn stop(&self) {
        unimplemented!()
    }

    /// Hands records in; waits while the queue is full (back-pressure, not an error).
    ///
    /// Dropped before it returns, nothing was appended. Requests of one caller that awaits each
    /// `append` in turn keep their order; the ticket need not be awaited in between.
    pub async fn append(&self, request: AppendRequest) -> Result<Ticket, Refused> {
        let _ = request;
        unimplemented!()
    }

    /// The same without waiting: `None` hands the request back while the queue is full.
    pub fn try_append(&self, request: AppendRequest) -> Result<Ticket, TryAppendError> {
        let _ = request;
        unimplemented!()
    }

    /// The topic of that name, created with defaults if `auto_create` allows (internal: always).
    pub async fn ensure_topic(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        let _ = name;
        unimplemented!()
    }

    /// Creates a topic; committed when it returns.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: Option<u32>,
        settings: &BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        let _ = (name, partitions, settings);
        unimplemented!()
    }

    /// Changes settings, or adds partitions; committed when it returns.
    pub async fn alter_topic(
        &self,
        name: &str,
        partitions: Option<u32>,
        settings: &BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        let _ = (name, partitions, settings);
        unimplemented!()
    }

    /// Deletes a topic and its records; committed when it returns.
    pub async fn delete_topic(&self, name: &str) -> Result<(), TopicError> {
        let _ = name;
        unimplemented!()
    }

    /// Moves the start of a partition (compaction by re-appending); committed when it returns.
    pub async fn trim(&self, tp: TopicPartition, start: i64) -> Result<(), TopicError> {
        let _ = (tp, start);
        unimplemented!()
    }

    /// All topics now.
    pub fn topics(&self) -> Arc<TopicTable> {
        unimplemented!()
    }

    /// Marks of a partition now.
    pub fn marks(&self, tp: TopicPartition) -> Option<Marks> {
        let _ = tp;
        unimplemented!()
    }

    /// Whole batches from the one that holds `from`, at least one if there is one, else empty.
    ///
    /// Only what is committed. Blocking reads run on smol's blocking threads.
    pub async fn read(
        &self,
        tp: TopicPartition,
        from: i64,
        bytes_max: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        let _ = (tp, from, bytes_max);
        unimplemented!()
    }

    /// The first offset whose record is not older than `timestamp_ms`; none if all are older.
    pub async fn offset_for_timestamp(
        &self,
        tp: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<i64>, ReadError> {
        let _ = (tp, timestamp_ms);
        unimplemented!()
    }

    /// Tells when something was committed.
    pub fn watch(&self) -> CommitWatch {
        unimplemented!()
    }

    /// Committed frames from an index on; `None` = only what commits from now on.
    pub fn frames(&self, from_index: Option<u64>) -> FrameReader {
        let _ = from_index;
        unimplemented!()
    }

    /// Notes how far central has a partition: the first offset it does not have.
    ///
    /// Rides with the next frame; asks for a commit of its own at most once a second.
    pub async fn record_progress(&self, progress: Vec<(TopicPartition, i64)>) {
        let _ = progress;
        unimplemented!()
    }

    /// Counts records that were shed, durably with one of the next frames.
    pub async fn shed(&self, cause: LossCause, topic: Option<TopicPartition>, count: u64) {
        let _ = (cause, topic, count);
        unimplemented!()
    }

    /// Everything at this moment.
    pub fn status(&self) -> SiteStatus {
        unimplemented!()
    }

    /// Resolves when a thread of the site ended by an error: the program should end with it.
    pub async fn failed(&self) -> String {
        unimplemented!()
    }
}

/// Why `try_append` did not take a request.
#[derive(Debug)]
pub enum TryAppendError {
    /// The queue is full; here is the request again.
    Busy(AppendRequest),
    /// Refused for good or for now.
    Refused(Refused),
}

/// Tells that something was committed since it was last asked; coalescing.
#[derive(Clone)]
pub struct CommitWatch {
    _private: (),
}

impl CommitWatch {
    /// Returns after the next commit, or at once if one was since the last call. Safe to drop.
    pub async fn changed(&mut self) {
        unimplemented!()
    }
}
