//! What the gateway says about itself: the shape of `/status` and of `status --json`.
//!
//! Plain data; a figure that is not known is left out, never invented. Filled by `gather`, shown by
//! the `status` command, kept stable by a test of the whole shape.

use serde::{Deserialize, Serialize};

/// Everything at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One word and one sentence.
    pub verdict: Verdict,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Name of the site.
    pub site: String,
    /// This gateway.
    pub node: String,
    /// Seconds since the start of the process.
    pub up_s: u64,
    /// Wall clock when this was gathered.
    pub time_ms: i64,
    /// What is known about the wall clock.
    pub clock: Clock,
    /// Real addresses of the doors.
    pub doors: Doors,
    /// Clients and messages of the MQTT door.
    pub devices: Devices,
    /// The site's log.
    pub log: Log,
    /// Forwarding; none where nothing is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// The filesystem and what is written to it.
    pub disk: Disk,
    /// Bytes to central; none where nothing is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// Memory of the process.
    pub memory: Memory,
    /// Topics by name.
    pub topics: Vec<Topic>,
    /// What a person should know, worst first.
    pub alarms: Vec<Alarm>,
    /// Records that went without having been delivered.
    pub ledger: Ledger,
}

/// How it is, in three degrees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Degree {
    /// Nothing to do.
    #[default]
    Ok,
    /// Devices are served; something needs a person or patience.
    Degraded,
    /// Messages are not being stored.
    NotStoring,
}

/// One word and one sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How it is.
    pub degree: Degree,
    /// Why, and what follows.
    pub text: String,
}

/// What is known about the wall clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// A time service says it is right; none where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synced: Option<bool>,
    /// Synced, or past the date of this build.
    pub trusted: bool,
}

/// Real addresses of the doors, ports filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doors {
    /// MQTT.
    pub mqtt: Vec<String>,
    /// Read-only HTTP.
    pub http: Vec<String>,
    /// Path of the admin socket.
    pub socket: String,
}

/// Clients and messages of the MQTT door.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Devices {
    /// Connected now.
    pub connected: u64,
    /// Messages in a second, lately.
    pub in_per_s: f64,
    /// Messages taken since the start.
    pub received: u64,
    /// Publishes refused since the start.
    pub refused: u64,
    /// From a publish read to its acknowledgement written, median of the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_us_p50: Option<u64>,
    /// The same, 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_us_p99: Option<u64>,
}

/// The site's log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Log {
    /// Last index.
    pub end: u64,
    /// Synced up to here.
    pub durable: u64,
    /// Committed up to here.
    pub committed: u64,
    /// Bytes of all files of the store.
    pub bytes_used: u64,
    /// Their limit.
    pub bytes_max: u64,
    /// Slices on disk.
    pub slices: u64,
    /// Age of the oldest record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_ms: Option<u64>,
    /// One fdatasync, median of the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_us_p50: Option<u64>,
    /// The same, 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_us_p99: Option<u64>,
    /// Commits since the start, one sync each.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes received that are not yet on disk.
    pub queue_bytes: u64,
    /// Their limit.
    pub queue_bytes_max: u64,
    /// Whether the store was stopped in order before this start.
    pub opened_clean: bool,
    /// How long opening took.
    pub opened_in_ms: u64,
}

/// Forwarding to the central cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Forward {
    /// Central answers.
    pub reachable: bool,
    /// For how long that has been so.
    pub since_ms: u64,
    /// What is promised, `at-least-once` for now.
    pub guarantee: String,
    /// Records acknowledged by central since the start.
    pub forwarded: u64,
    /// Records that wait.
    pub waiting: u64,
    /// Records in a second, lately.
    pub out_per_s: f64,
    /// Age of the oldest record that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age_ms: Option<u64>,
    /// Until the next try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_ms: Option<u64>,
    /// Records that went to `_dead_letter` since the start.
    pub dead_lettered: u64,
}

/// The filesystem and what is written to it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Free.
    pub free_bytes: u64,
    /// Size.
    pub bytes: u64,
    /// Left to the rest of the machine.
    pub free_bytes_min: u64,
    /// Written by the store since the start.
    pub written_bytes: u64,
    /// Of which payload: values of messages, as they came.
    pub payload_bytes: u64,
    /// Written a day at the rate since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_bytes_per_day: Option<u64>,
    /// `wear_gb_per_day` as bytes; 0 = no budget.
    pub written_bytes_per_day_max: u64,
    /// How long there is room at the rate of the last hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_s: Option<u64>,
}

/// Bytes on the sockets to central, after TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Sent since the start.
    pub sent_bytes: u64,
    /// Received since the start.
    pub received_bytes: u64,
    /// Both, this calendar month.
    pub month_bytes: u64,
    /// What the month will come to; none while the clock is not right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month_projected_bytes: Option<u64>,
    /// `central.link_gb_per_month_max` in bytes; none without a budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month_bytes_max: Option<u64>,
}

/// Memory of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident, as the kernel counts it; none where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_bytes: Option<u64>,
    /// What all big buffers hold.
    pub buffers_bytes: u64,
    /// `memory.bytes_max`: the most they may.
    pub bytes_max: u64,
}

/// One topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Records in a second, lately.
    pub in_per_s: f64,
    /// Bytes of its batches.
    pub stored_bytes: u64,
    /// Records that central does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Its name at central.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub central_topic: Option<String>,
    /// `local`, `idle`, `waiting`, `sending` or `parked`.
    pub state: String,
    /// Why it is parked or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long it has been parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_ms: Option<u64>,
    /// Marks by partition.
    pub partitions: Vec<Partition>,
}

/// Marks of one partition: start ≤ forwarded ≤ committed end ≤ end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Number.
    pub partition: u32,
    /// First offset there is.
    pub start: i64,
    /// First offset that readers may not see yet.
    pub committed_end: i64,
    /// First offset not given away.
    pub end: i64,
    /// First offset that central does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<i64>,
}

/// Something a person should know, until it is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Name as in the documentation.
    pub code: String,
    /// Wall clock when it began.
    pub since_ms: i64,
    /// What is the matter.
    pub message: String,
    /// What to do; "" where there is nothing.
    pub fix: String,
}

/// Records that went without having been delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// By a disk that lost them.
    pub lost: u64,
    /// By a limit or a setting.
    pub shed: u64,
    /// By cause and topic.
    pub entries: Vec<LedgerEntry>,
    /// Which records the disk lost; the oldest may be left out.
    pub lost_offsets: Vec<LostOffsets>,
}

/// Records of one partition that the disk lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostOffsets {
    /// Of which topic, by the name it had.
    pub topic: String,
    /// Which partition.
    pub partition: u32,
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
}

/// One line of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Why, by its name in metrics.
    pub cause: String,
    /// The same for people.
    pub words: String,
    /// Of which topic; "" where none is concerned.
    pub topic: String,
    /// How many.
    pub count: u64,
    /// Site time of the first.
    pub first_ms: i64,
    /// Site time of the last.
    pub last_ms: i64,
}
