//! The handle that doors clone, and the start and end of the threads behind it.
//!
//! Every method may be called from any task or thread. Nothing here blocks an executor for longer
//! than a short lock; reads of the disk run on smol's blocking threads.

mod start;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edge_log::{Disk, SledDisk, Store, TopicPartition};
use kafka_wire::RecordBatch;
use smol::future::FutureExt;

use self::start::{boot, check, replay, report_of, spawn, text_of};
use crate::append::AppendRequest;
use crate::bell::{Bell, Listener};
use crate::clock::Mend;
use crate::config::SiteConfig;
use crate::core::{CoreConfig, SiteCore, TopicOp};
use crate::error::{OpenError, ReadError, Refused, TopicError};
use crate::frames::FrameReader;
use crate::inbox::{Event, Inbox};
use crate::ledger::LossCause;
use crate::link::{LinkMonth, LinkUse};
use crate::memory::Memory;
use crate::recent::Recent;
use crate::run::Clock;
use crate::shared::{Life, LogReader, Shared};
use crate::status::{Marks, OpenReport, SiteStatus};
use crate::ticket::{Ticket, promise};
use crate::topics::{Topic, TopicTable};

/// How many reads of the disk run at once.
const READS_MAX: usize = 4;

/// How many topic operations wait at once.
const TOPIC_OPS_MAX: usize = 256;

/// One gateway's part of a site. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    reads: smol::lock::Semaphore,
    topic_ops: smol::lock::Semaphore,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Site {
    /// Opens the store in `dir` (created if missing) and starts the two threads. Blocks.
    pub fn open(dir: &Path, config: SiteConfig) -> Result<(Site, OpenReport), OpenError> {
        let disk = SledDisk::open(dir, &config.store).map_err(edge_log::OpenError::from)?;
        Site::open_on(disk, config)
    }

    /// The same on any disk.
    pub fn open_on<D: Disk>(disk: D, config: SiteConfig) -> Result<(Site, OpenReport), OpenError> {
        let memory = check(&config)?;
        let begun = Instant::now();
        let (boot_id, boot_ms) = boot();
        let clock = Clock::new(boot_ms);
        let (store, recovery) = Store::open(disk, config.store.clone())?;
        let reader: Arc<dyn LogReader> = Arc::new(store.reader());
        let mut report = report_of(&recovery);
        let core_config = CoreConfig {
            site: config.clone(),
            boot_id,
            seed: uuid::Uuid::new_v4().as_u128(),
            voters: Vec::new(),
        };
        let mut core = SiteCore::open(core_config, recovery, clock.now());
        replay(&mut core, &*reader, &clock)?;
        report.frames_replayed = core.frames_replayed();
        report.opened_in_ms = begun.elapsed().as_millis() as u64;

        let (_, committed, _) = core.indexes();
        let shared = Arc::new(Shared {
            inbox: Inbox::new(memory.queue.clone(), config.queue_count_max),
            committed: Bell::default(),
            recent: Mutex::new(Recent::new(memory.recent.bytes_max(), committed)),
            memory,
            marks: RwLock::default(),
            topics: RwLock::default(),
            mends: RwLock::default(),
            reader: RwLock::new(Some(reader)),
            life: Mutex::new(Life::default()),
            life_bell: Bell::default(),
            status_bell: Bell::default(),
            open: report.clone(),
            config,
        });
        let threads = spawn(core, store, &shared, clock)?;
        let inner = Inner {
            shared,
            reads: smol::lock::Semaphore::new(READS_MAX),
            topic_ops: smol::lock::Semaphore::new(TOPIC_OPS_MAX),
            threads: Mutex::new(threads),
        };
        Ok((
            Site {
                inner: Arc::new(inner),
            },
            report,
        ))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Commits what waits, writes a checkpoint, seals, ends the threads. Idempotent.
    pub async fn stop(&self) {
        let shared = self.shared();
        shared
            .inbox
            .close(Refused::Stopping)
            .into_iter()
            .for_each(std::task::Waker::wake);
        shared.inbox.post(Event::Stop);
        let mut life = shared.life_bell.listen();
        while !shared.is_over() {
            life.heard().await;
        }
        let threads = std::mem::take(
            &mut *self
                .inner
                .threads
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        smol::unblock(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
    }

    /// Hands records in; waits while the queue is full (back-pressure, not an error).
    ///
    /// Dropped before it returns, nothing was appended. Requests of one caller that awaits each
    /// `append` in turn keep their order; the ticket need not be awaited in between.
    pub async fn append(&self, request: AppendRequest) -> Result<Ticket, Refused> {
        self.shared().inbox.enter(request).await
    }

    /// The same without waiting: `Busy` hands the request back while the queue is full.
    pub fn try_append(&self, request: AppendRequest) -> Result<Ticket, TryAppendError> {
        self.shared()
            .inbox
            .try_enter(request)
            .map_err(|(request, refused)| match refused {
                Some(refused) => TryAppendError::Refused(refused),
                None => TryAppendError::Busy(request),
            })
    }

    /// The topic of that name, created with defaults if `auto_create` allows (internal: always).
    pub async fn ensure_topic(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        self.ensure_topic_with(name, &BTreeMap::new()).await
    }

    /// The same; one that is created here has these settings from its first record on.
    pub async fn ensure_topic_with(
        &self,
        name: &str,
        settings: &BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topics().get(name) {
            return Ok(topic.clone());
        }
        let (name, settings) = (name.to_owned(), settings.clone());
        self.topic_op(TopicOp::Ensure { name, settings }).await
    }

    /// Creates a topic; committed when it returns.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: Option<u32>,
        settings: &BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        let (name, settings) = (name.to_owned(), settings.clone());
        self.topic_op(TopicOp::Create {
            name,
            partitions,
            settings,
        })
        .await
    }

    /// Changes settings, or adds partitions; committed when it returns.
    pub async fn alter_topic(
        &self,
        name: &str,
        partitions: Option<u32>,
        settings: &BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        let (name, settings) = (name.to_owned(), settings.clone());
        self.topic_op(TopicOp::Alter {
            name,
            partitions,
            settings,
        })
        .await
    }

    /// Deletes a topic and its records; committed when it returns.
    pub async fn delete_topic(&self, name: &str) -> Result<(), TopicError> {
        self.operate(TopicOp::Delete {
            name: name.to_owned(),
        })
        .await
        .map(drop)
    }

    /// Moves the start of a partition (compaction by re-appending); committed when it returns.
    pub async fn trim(&self, tp: TopicPartition, start: i64) -> Result<(), TopicError> {
        self.operate(TopicOp::Trim { tp, start }).await.map(drop)
    }

    async fn topic_op(&self, op: TopicOp) -> Result<Arc<Topic>, TopicError> {
        match self.operate(op).await? {
            Some(topic) => Ok(topic),
            None => Err(TopicError::Refused(Refused::UnknownTopic)),
        }
    }

    /// Dropped midway, the operation happens all the same.
    async fn operate(&self, op: TopicOp) -> Result<Option<Arc<Topic>>, TopicError> {
        let _permit = self.inner.topic_ops.acquire().await;
        let (spender, outcome) = promise(|| Err(TopicError::Refused(Refused::Stopping)));
        self.shared().inbox.post(Event::Topic(spender, op));
        outcome.await
    }

    /// All topics now.
    pub fn topics(&self) -> Arc<TopicTable> {
        self.shared().topics()
    }

    /// Marks of a partition now.
    pub fn marks(&self, tp: TopicPartition) -> Option<Marks> {
        self.shared().marks(tp)
    }

    /// Whole batches from the one that holds `from`, at least one if there is one, else empty.
    ///
    /// Only what is committed. Blocking reads run on smol's blocking threads, a few at a time.
    pub async fn read(
        &self,
        tp: TopicPartition,
        from: i64,
        bytes_max: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        let marks = self.marks(tp).ok_or(ReadError::UnknownTopic)?;
        let (start, end) = (marks.start, marks.committed_end);
        if from < start || from > end {
            return Err(ReadError::OffsetOutOfRange { start, end });
        }
        if from == end {
            return Ok(Vec::new());
        }
        let recent = self.shared().recent().read(tp, from, bytes_max);
        if let Some(batches) = recent {
            return Ok(batches);
        }
        let _permit = self.inner.reads.acquire().await;
        let reader = self.shared().reader().ok_or(ReadError::Stopping)?;
        let read = smol::unblock(move || reader.read(tp, from, bytes_max)).await;
        let mut batches = read.map_err(|error| ReadError::Storage(error.to_string()))?;
        // Durable is not committed yet.
        batches.retain(|batch| batch.next_offset() <= end);
        Ok(batches)
    }

    /// The first offset whose record is not older than `timestamp_ms`; none if all are older.
    pub async fn offset_for_timestamp(
        &self,
        tp: TopicPartition,
        timestamp_ms: i64,
    ) -> Result<Option<i64>, ReadError> {
        let marks = self.marks(tp).ok_or(ReadError::UnknownTopic)?;
        let _permit = self.inner.reads.acquire().await;
        let reader = self.shared().reader().ok_or(ReadError::Stopping)?;
        let read = smol::unblock(move || reader.offset_for_timestamp(tp, timestamp_ms)).await;
        let found = read.map_err(|error| ReadError::Storage(error.to_string()))?;
        let found = found.filter(|&offset| offset < marks.committed_end);
        Ok(found.map(|offset| offset.max(marks.start)))
    }

    /// What mends stamps of a partition's records that a wrong clock made; asked after `read`, it
    /// covers what that returned.
    pub fn mends(&self, tp: TopicPartition) -> Arc<[Mend]> {
        let mends = self.shared().mends.read();
        mends.unwrap_or_else(PoisonError::into_inner).of(tp)
    }

    /// Tells when something was committed.
    pub fn watch(&self) -> CommitWatch {
        CommitWatch {
            committed: self.shared().committed.listen(),
        }
    }

    /// Committed frames from an index on; `None` = only what commits from now on.
    pub fn frames(&self, from_index: Option<u64>) -> FrameReader {
        FrameReader::new(self.shared().clone(), from_index)
    }

    /// Notes how far central has a partition: the first offset it does not have.
    ///
    /// Rides with the next frame; asks for a commit of its own at most once a second.
    pub async fn record_progress(&self, progress: Vec<(TopicPartition, i64)>) {
        self.shared().inbox.add(|waiting| {
            for (tp, offset) in progress {
                let known = waiting.progress.entry(tp).or_insert(offset);
                *known = offset.max(*known);
            }
        });
    }

    /// Adds bytes that went over the link to central, durably with one of the next frames.
    pub async fn record_link(&self, used: LinkUse) {
        self.shared().inbox.add(|waiting| {
            // Neighbours of one month are one entry: the list stays as short as the calendar.
            match waiting.link.last_mut() {
                Some(last) if last.month == used.month => {
                    last.sent_bytes += used.sent_bytes;
                    last.received_bytes += used.received_bytes;
                }
                _ => waiting.link.push(used),
            }
        });
    }

    /// Counts records that were shed, durably with one of the next frames.
    pub async fn shed(&self, cause: LossCause, topic: Option<TopicPartition>, count: u64) {
        let topic = topic.map(|tp| tp.topic);
        self.shared().inbox.add(|waiting| {
            *waiting.shed.entry((cause, topic)).or_default() += count;
        });
    }

    /// What all big buffers hold, and what is to be shed.
    pub fn memory(&self) -> &Memory {
        &self.shared().memory
    }

    /// The site's name: as configured, else the node's.
    pub fn name(&self) -> String {
        self.shared().name()
    }

    /// Bytes on the link to central this month, as far as they are durable.
    pub fn link(&self) -> LinkMonth {
        self.shared().life().link
    }

    /// What only a restart cures, if a thread of the site ended by an error.
    pub fn fatal(&self) -> Option<String> {
        self.shared().life().fatal.clone()
    }

    /// Everything at this moment, all included that was answered before. Safe to drop.
    ///
    /// Waits for the site thread, not for the disk; one that is busy for long leaves the last
    /// figures.
    pub async fn status(&self) -> SiteStatus {
        let shared = self.shared();
        let mut published = shared.status_bell.listen();
        shared.inbox.add(|waiting| waiting.status_wanted = true);
        if !shared.is_over() {
            let patience = async {
                smol::Timer::after(STATUS_WAIT_MAX).await;
            };
            smol::future::or(published.heard(), patience).await;
        }
        shared.status()
    }

    /// Spawns what the gateway cannot do without: half of one would look alive. So a panic in it
    /// ends the site as one in its own threads does, and the task never resolves.
    pub fn spawn(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> smol::Task<()> {
        let site = self.clone();
        smol::spawn(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                let why = text_of(panic.as_ref());
                site.shared().fail(format!("the {name} ended: {why}"));
                smol::future::pending().await
            }
        })
    }

    /// Resolves when a thread of the site, or a task of its, ended by an error: the program should
    /// end with it.
    pub async fn failed(&self) -> String {
        let shared = self.shared();
        let mut life = shared.life_bell.listen();
        loop {
            let fatal = shared.life().fatal.clone();
            if let Some(fatal) = fatal {
                return fatal;
            }
            life.heard().await;
        }
    }
}

/// A site thread that does not answer for so long is busy: the last figures must do.
const STATUS_WAIT_MAX: Duration = Duration::from_millis(100);

impl Drop for Inner {
    fn drop(&mut self) {
        // The last handle is gone: the threads end by themselves, nobody waits for them.
        self.shared.inbox.close(Refused::Stopping);
        self.shared.inbox.post(Event::Stop);
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
    committed: Listener,
}

impl CommitWatch {
    /// Returns after the next commit, or at once if one was since the last call. Safe to drop.
    pub async fn changed(&mut self) {
        self.committed.heard().await;
    }
}
