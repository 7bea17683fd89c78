//! What `edge-broker status` and the metrics show about central.
//!
//! A snapshot, copied out; nothing here is live. Times are milliseconds on the monotonic clock
//! of this process where they end in `_mono_ms`, and durations otherwise.

use serde::Serialize;

use crate::error::{ConnectError, Stage};

/// Everything there is to say about forwarding at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CentralStatus {
    /// False without bootstrap addresses: nothing is forwarded and nothing is wrong.
    pub configured: bool,
    /// A broker answered and nothing has failed since.
    pub reachable: bool,
    /// How long `reachable` has been what it is.
    pub since_ms: u64,
    /// The newest failure while not reachable.
    pub failure: Option<Failure>,
    /// Milliseconds until the next try, while not reachable.
    pub next_try_ms: Option<u64>,
    /// What is promised for records sent now.
    pub guarantee: Guarantee,
    /// Every forwarded topic, by local name.
    pub topics: Vec<TopicStatus>,
    /// Bytes on the link.
    pub link: LinkStatus,
    /// Records acknowledged by central since start.
    pub records_forwarded: u64,
    /// Records that went to `_dead_letter` since start.
    pub records_dead_lettered: u64,
    /// Produce requests sent since start.
    pub requests: u64,
    /// Bytes of batches held in memory for sending.
    pub held_bytes: u64,
}

/// What forwarding promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// Nothing is lost; a crash of the gateway may repeat the newest records.
    #[default]
    AtLeastOnce,
    /// The same, but the cluster refuses idempotent producers: a lost answer repeats records too.
    AtLeastOnceWithoutIdempotence,
}

/// One failure on the way to central.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// How far it came.
    pub stage: Stage,
    /// What happened, with the address.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// The alarm it raises.
    pub code: &'static str,
    /// Failures since it last worked.
    pub tries: u64,
}

impl Failure {
    pub(crate) fn new(error: &ConnectError, tries: u64) -> Self {
        Self {
            stage: error.stage,
            message: error.to_string(),
            hint: error.hint().to_owned(),
            code: error.alarm_code(),
            tries,
        }
    }
}

/// One forwarded topic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopicStatus {
    /// Its local name.
    pub topic: String,
    /// Its name in the central cluster.
    pub central_topic: String,
    /// What goes on with it.
    pub state: TopicState,
    /// Why it is parked or waits, in words, with the remedy.
    pub reason: Option<String>,
    /// How long it has been parked.
    pub parked_ms: Option<u64>,
    /// Until a parked topic is tried again by itself.
    pub retry_in_ms: Option<u64>,
    /// Committed here, not yet acknowledged there.
    pub waiting_records: u64,
    /// Acknowledged by central since start.
    pub forwarded_records: u64,
    /// Per partition: the next offset to be acknowledged.
    pub forwarded: Vec<(u32, i64)>,
}

/// State of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopicState {
    /// Nothing waits.
    Idle,
    /// Records wait for the link, their linger or their turn.
    Waiting,
    /// Records are on their way.
    Sending,
    /// Refused by central; tried again later, others go on.
    Parked,
}

/// Bytes on the sockets to central, after TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LinkStatus {
    /// Sent since start.
    pub sent_bytes: u64,
    /// Received since start.
    pub received_bytes: u64,
    /// Sent and received in this calendar month (UTC), over restarts.
    pub month_bytes: u64,
    /// What the month will come to at the rate seen so far; 0 while the clock is not right.
    pub month_projected_bytes: u64,
    /// `central.link_gb_per_month_max` in bytes; 0 = no budget.
    pub month_bytes_max: u64,
}
