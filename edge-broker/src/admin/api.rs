//! What commands ask over the socket and what they get: plain data, JSON on the wire.
//!
//! `POST /topics/create` with a [`CreateTopic`] answers with a [`TopicInfo`], and so on; a refusal
//! is a [`Refusal`] with a status of 400 or more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Blob;

/// Paths.
pub mod path {
    /// `()` → `Vec<TopicInfo>`.
    pub const TOPICS: &str = "/topics/list";
    /// [`super::CreateTopic`] → [`super::TopicInfo`].
    pub const CREATE: &str = "/topics/create";
    /// [`super::Named`] → [`super::TopicInfo`].
    pub const DESCRIBE: &str = "/topics/describe";
    /// [`super::SetTopic`] → [`super::TopicInfo`].
    pub const SET: &str = "/topics/set";
    /// [`super::Named`] → [`super::Named`].
    pub const DELETE: &str = "/topics/delete";
    /// [`super::Publish`] → [`super::Published`].
    pub const PUBLISH: &str = "/publish";
    /// [`crate::admin::stream::Query`] → lines of [`crate::admin::record::Streamed`].
    pub const TAIL: &str = "/tail";
    /// [`super::Named`] → [`super::Named`].
    pub const RETRY: &str = "/central/retry";
    /// `()` → [`crate::admin::report::Report`].
    pub const STATUS: &str = "/status";
}

/// Why something was not done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// One sentence, lower case, the value last.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fix: Vec<String>,
}

/// A topic by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its local name.
    pub topic: String,
}

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTopic {
    /// Name.
    pub topic: String,
    /// None = the default.
    pub partitions: Option<u32>,
    /// By their names.
    pub settings: BTreeMap<String, String>,
}

/// What became of a retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Name.
    pub topic: String,
    /// Otherwise there was nothing to try again.
    pub was_parked: bool,
}

/// Settings to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetTopic {
    /// Name.
    pub topic: String,
    /// More partitions than now.
    pub partitions: Option<u32>,
    /// By their names.
    pub settings: BTreeMap<String, String>,
}

/// A topic as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Name.
    pub name: String,
    /// Id; never used twice, unlike the name.
    pub id: String,
    /// Settings by their names.
    pub settings: BTreeMap<String, String>,
    /// Figures, as in `status`.
    #[serde(flatten)]
    pub figures: TopicFigures,
}

/// Figures of a topic.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicFigures {
    /// Bytes of its batches.
    pub stored_bytes: u64,
    /// Records it holds.
    pub records: u64,
    /// Marks by partition.
    pub partitions: Vec<super::report::Partition>,
}

/// A message to be stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// A topic of the log, or an MQTT topic.
    pub topic: String,
    /// It is an MQTT topic: the routes say where it goes.
    pub mqtt: bool,
    /// Keep it as the last message of its MQTT topic.
    #[serde(default)]
    pub retain: bool,
    /// None = by the key.
    pub partition: Option<u32>,
    /// Key of the record.
    pub key: Option<Blob>,
    /// Headers.
    pub headers: Vec<(String, Blob)>,
    /// Payload.
    pub value: Blob,
}

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Level of the acknowledgement.
    pub level: String,
    /// Topic of the log.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset; none at level `memory`, where none is known yet.
    pub offset: Option<i64>,
    /// From the request read to the ticket spent.
    pub took_us: u64,
}
