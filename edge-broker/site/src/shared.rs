//! What the two threads publish and every handle reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use edge_log::{Disk, Entry, Reader, TopicPartition};
use kafka_wire::RecordBatch;

use crate::bell::Bell;
use crate::clock::Mends;
use crate::config::SiteConfig;
use crate::error::Refused;
use crate::inbox::Inbox;
use crate::link::LinkMonth;
use crate::memory::Memory;
use crate::recent::Recent;
use crate::status::{Marks, OpenReport, SiteStatus};
use crate::topics::TopicTable;

/// Reads of the log, whatever disk is below.
pub(crate) trait LogReader: Send + Sync {
    fn read(
        &self,
        tp: TopicPartition,
        from: i64,
        bytes_max: usize,
    ) -> Result<Vec<RecordBatch>, edge_log::ReadError>;
    fn entries(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, edge_log::ReadError>;
    fn offset_for_timestamp(
        &self,
        tp: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<i64>, edge_log::ReadError>;
}

impl<D: Disk> LogReader for Reader<D> {
    fn read(
        &self,
        tp: TopicPartition,
        from: i64,
        bytes_max: usize,
    ) -> Result<Vec<RecordBatch>, edge_log::ReadError> {
        Reader::read(self, tp, from, bytes_max)
    }

    fn entries(
        &self,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, edge_log::ReadError> {
        Reader::entries(self, from, to, bytes_max)
    }

    fn offset_for_timestamp(
        &self,
        tp: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<i64>, edge_log::ReadError> {
        Reader::offset_for_timestamp(self, tp, timestamp_ms)
    }
}

/// How the threads fare.
#[derive(Default)]
pub(crate) struct Life {
    /// As it was published last.
    pub status: SiteStatus,
    pub link: LinkMonth,
    pub fatal: Option<String>,
    pub stopped: bool,
}

/// Shared by the handle and both threads.
pub(crate) struct Shared {
    pub config: SiteConfig,
    pub memory: Memory,
    pub inbox: Inbox,
    pub committed: Bell,
    pub recent: Mutex<Recent>,
    pub marks: RwLock<HashMap<TopicPartition, Marks>>,
    pub topics: RwLock<Arc<TopicTable>>,
    pub mends: RwLock<Arc<Mends>>,
    /// Gone once stopped: it holds the folder's lock.
    pub reader: RwLock<Option<Arc<dyn LogReader>>>,
    pub life: Mutex<Life>,
    pub life_bell: Bell,
    /// Rings when a status was published.
    pub status_bell: Bell,
    pub open: OpenReport,
}

impl Shared {
    pub fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The site's name: as configured, else the node's.
    pub fn name(&self) -> String {
        match self.config.name.as_str() {
            "" => crate::node_id(self.open.store_id),
            name => name.to_owned(),
        }
    }

    /// The status as it was published last, and how the threads fare now.
    pub fn status(&self) -> SiteStatus {
        let life = self.life();
        let mut status = life.status.clone();
        status.fatal = life.fatal.clone();
        status.ready &= status.fatal.is_none() && !life.stopped;
        status
    }

    pub fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn topics(&self) -> Arc<TopicTable> {
        self.topics
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn reader(&self) -> Option<Arc<dyn LogReader>> {
        self.reader
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn marks(&self, tp: TopicPartition) -> Option<Marks> {
        self.marks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&tp)
            .copied()
    }

    /// A thread ended that should not have: nobody may hang, and the program should end.
    pub fn fail(&self, what: String) {
        log::error!("{what}");
        let mut life = self.life();
        life.fatal.get_or_insert(what);
        drop(life);
        self.wake_all();
    }

    /// Both threads ended in order.
    pub fn stopped(&self) {
        self.reader
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.life().stopped = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        self.inbox
            .close(Refused::Stopping)
            .into_iter()
            .for_each(std::task::Waker::wake);
        self.life_bell.ring_now();
        self.status_bell.ring_now();
        self.committed.ring_now();
    }

    /// Whether the site ended, one way or the other.
    pub fn is_over(&self) -> bool {
        let life = self.life();
        life.stopped || life.fatal.is_some()
    }
}
