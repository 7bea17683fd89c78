//! What goes into the forwarder and what comes out of it.
//!
//! Plain data, so that tests compare outputs and the simulation can play central.

use std::{collections::BTreeSet, sync::Arc};

use edge_site::{RecordBatch, TopicId, TopicPartition};

use crate::{config::OnRejected, error::ConnectError};

/// Milliseconds on the monotonic clock.
pub(crate) type Ms = u64;

/// Classes of topics: each has its own connection per broker, so that one passes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Class {
    High,
    Normal,
}

/// One connection for records: a broker and a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId {
    pub class: Class,
    pub node: i32,
}

/// What the configuration says, in the units of the core.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub in_flight_max: usize,
    pub request_bytes_max: usize,
    pub linger_ms: Ms,
    pub linger_ms_high: Ms,
    pub bytes_per_s_max: u64,
    pub drain_jitter_ms: Ms,
    pub retry_ms_min: Ms,
    pub retry_ms_max: Ms,
    pub park_after_ms: Ms,
    pub create_topics: bool,
    pub on_rejected: OnRejected,
    /// After so long without traffic a leader may have forgotten our producer.
    pub producer_idle_ms: Ms,
    /// Cap of all batches held in memory, over all links.
    pub held_bytes_max: usize,
}

impl Settings {
    pub fn linger(&self, class: Class) -> Ms {
        match class {
            Class::High => self.linger_ms_high,
            Class::Normal => self.linger_ms,
        }
    }
}

/// A local topic that is to be forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LocalTopic {
    pub id: TopicId,
    pub name: String,
    /// Its central name, or why it cannot have one.
    pub central: Result<String, String>,
    pub partitions: u32,
    pub class: Class,
}

/// Marks of a local partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalMarks {
    pub start: i64,
    pub committed_end: i64,
    pub forwarded: Option<i64>,
}

/// What is sent as one batch: a range of local offsets, packed.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// First local offset covered.
    pub from: i64,
    /// First local offset after it.
    pub next: i64,
    /// Runs of local offsets in the order of the records: (first offset, count).
    pub runs: Vec<(i64, u32)>,
    /// The records; none when everything in the range is left out.
    pub batch: Option<RecordBatch>,
    /// Records in the range that nobody can read: they go into the loss ledger.
    pub unreadable: u64,
}

impl Chunk {
    pub fn records(&self) -> u32 {
        self.batch.as_ref().map_or(0, RecordBatch::record_count)
    }

    pub fn bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.bytes().len())
    }

    /// The local offset of the n-th record.
    pub fn offset_of(&self, index: u32) -> Option<i64> {
        let mut left = index;
        for (first, count) in &self.runs {
            if left < *count {
                return Some(first + i64::from(left));
            }
            left -= count;
        }
        None
    }
}

/// Read and pack, please. Answered by [`super::Forwarder::handle_read`].
#[derive(Debug, Clone)]
pub(crate) struct ReadRequest {
    pub number: u64,
    pub tp: TopicPartition,
    pub from: i64,
    /// Stored bytes to read at most.
    pub bytes_max: usize,
    /// Bytes of one packed batch to aim at.
    pub chunk_bytes_max: usize,
    /// What the central topic takes in one batch.
    pub batch_bytes_max: usize,
    /// The same for batches of several records: less where central has refused that much.
    pub taken_bytes_max: usize,
    /// Records in one packed batch at most.
    pub chunk_records_max: u32,
    /// Stored batches that begin before this offset are decoded, whatever they look like.
    pub decode_before: i64,
    /// Offsets to leave out: they are in `_dead_letter`.
    pub skip: Arc<BTreeSet<i64>>,
}

/// What a read brought.
#[derive(Debug, Clone)]
pub(crate) enum ReadOutcome {
    Packed(Packed),
    /// Records before `start` are gone; the loss is in the site's ledger.
    OutOfRange {
        start: i64,
        end: i64,
    },
    /// The topic was deleted.
    Gone,
    /// The store cannot be read now.
    Failed(String),
}

/// Packed batches of one partition, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packed {
    pub chunks: Vec<Chunk>,
    /// Single records that exceed `batch_bytes_max`, left out of the chunks.
    pub oversized: Vec<(i64, usize)>,
    /// Records that cannot be decoded, left out of the chunks.
    pub unreadable: Vec<Unreadable>,
    /// Stored bytes that were read and used.
    pub stored_bytes: usize,
    pub records: u64,
    /// Some were stamped by a clock that nobody set, and how wrong it was is not known yet.
    pub waits_for_clock: bool,
}

/// Offsets `from..next` of a stored batch that cannot be decoded, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub from: i64,
    pub next: i64,
    pub reason: String,
}

/// Who a partition's batches come from, in central's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub producer_id: i64,
    pub epoch: i16,
}

/// One batch in a Produce request.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub tp: TopicPartition,
    pub central_topic: Arc<str>,
    /// Without identity: no idempotence (producer id -1).
    pub identity: Option<Identity>,
    pub base_sequence: i32,
    pub batch: RecordBatch,
}

/// One Produce request; answered by `handle_produce_response` or `handle_disconnected`.
#[derive(Debug, Clone)]
pub(crate) struct ProduceRequest {
    pub link: LinkId,
    pub number: u64,
    pub parts: Vec<Part>,
}

/// Answer for one partition of a Produce request.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartAnswer {
    pub error_code: i16,
    pub error_message: Option<String>,
    /// (index in the batch, message) of records refused for themselves.
    pub record_errors: Vec<(i32, Option<String>)>,
}

/// A question to any broker; one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    /// `elsewhere`: of another broker than before, whose word brought us no further.
    Metadata {
        topics: Vec<String>,
        elsewhere: bool,
    },
    InitProducerId,
    CreateTopics {
        topics: Vec<(String, u32)>,
    },
    DescribeConfigs {
        topics: Vec<String>,
    },
}

/// What central says about its brokers and topics.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub brokers: Vec<Broker>,
    pub topics: Vec<TopicMetadata>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broker {
    pub node: i32,
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone)]
pub(crate) struct TopicMetadata {
    pub name: String,
    pub error_code: i16,
    /// (partition, leader); no leader is none.
    pub leaders: Vec<(u32, Option<i32>)>,
}

/// Answer for one topic of `CreateTopics`.
#[derive(Debug, Clone)]
pub(crate) struct CreateAnswer {
    pub name: String,
    pub error_code: i16,
    pub error_message: Option<String>,
}

/// Answer to a [`Control`].
#[derive(Debug, Clone)]
pub(crate) enum ControlAnswer {
    Metadata(Metadata),
    ProducerId(Result<Identity, i16>),
    Created(Vec<CreateAnswer>),
    /// `max.message.bytes` by topic; none where it could not be learned.
    Configs(Vec<(String, Option<usize>)>),
    Failed(ConnectError),
}

/// What the shell is asked to do.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// Open a connection; answered by `handle_connected` or `handle_disconnected`.
    Connect {
        link: LinkId,
        host: String,
        port: u16,
    },
    /// Close a connection that is of no more use; not answered.
    Close(LinkId),
    Control(Control),
    Read(ReadRequest),
    Send(ProduceRequest),
    /// Everything before the offset is in central or in `_dead_letter`.
    Progress(TopicPartition, i64),
    /// So many records before the next mark are nowhere: for the loss ledger.
    Lost(TopicPartition, u64),
    /// Append these records to `_dead_letter`; answered by `handle_dead_lettered`.
    DeadLetter {
        tp: TopicPartition,
        number: u64,
        letters: Vec<(i64, String)>,
    },
    /// Something for the log file.
    Note(Note),
}

/// Events worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    Parked {
        topic: String,
        reason: String,
        retry_in_ms: Ms,
    },
    Resumed {
        topic: String,
    },
    Created {
        central_topic: String,
    },
    Unreachable(ConnectError),
    Reachable {
        after_ms: Ms,
        waiting_records: u64,
    },
    NoIdempotence,
    /// Records wait so long for the clock to be set, so that central does not get 1970.
    AwaitsClock {
        seconds: u64,
    },
    Unreadable {
        tp: TopicPartition,
        reason: String,
    },
    NewProducer {
        identity: Identity,
    },
    Rewound {
        topic: String,
        partition: u32,
        reason: &'static str,
    },
    Undecodable {
        topic: String,
        partition: u32,
        range: Unreadable,
    },
    /// `_dead_letter` could not be written.
    LettersWait {
        topic: String,
        partition: u32,
        reason: String,
    },
    Rejected {
        topic: String,
        partition: u32,
        offset: i64,
        reason: String,
    },
}
