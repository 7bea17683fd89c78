//! Topics: names, settings by their Kafka names, and the table that doors look them up in.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use edge_log::{TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::config::WhenFull;
use crate::error::TopicError;

/// `cleanup.policy`. The order is the stored form: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CleanupPolicy {
    /// Old records go.
    Delete,
    /// The newest record of each key stays.
    Compact,
    /// Of each key the newest record stays, until it is old.
    CompactDelete,
}

impl CleanupPolicy {
    /// Older records of a key go.
    pub fn compacts(self) -> bool {
        self != CleanupPolicy::Delete
    }

    /// Old records go by `retention.ms` and `retention.bytes`.
    pub fn expires(self) -> bool {
        self != CleanupPolicy::Compact
    }
}

/// `edge.priority`. The order is the stored form: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Drained with the rest.
    Normal,
    /// Drained past a backlog.
    High,
}

/// `edge.when_full`. The order is the stored form: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicWhenFull {
    /// As the storage section says.
    Inherit,
    /// The oldest records go, counted.
    DropOldest,
    /// Appends are refused.
    Refuse,
}

/// Settings of a topic; Kafka's names in the comments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// `retention.ms`; -1 = for ever.
    pub retention_ms: i64,
    /// `retention.bytes` per partition; -1 = no limit of its own.
    pub retention_bytes: i64,
    /// `max.message.bytes` of one batch or record.
    pub max_message_bytes: u32,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `edge.forward`: goes to the central cluster.
    pub forward: bool,
    /// `edge.priority`.
    pub priority: Priority,
    /// `edge.when_full`.
    pub when_full: TopicWhenFull,
}

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig {
            retention_ms: 604_800_000,
            retention_bytes: -1,
            max_message_bytes: 1_048_588,
            cleanup_policy: CleanupPolicy::Delete,
            forward: true,
            priority: Priority::Normal,
            when_full: TopicWhenFull::Inherit,
        }
    }
}

impl TopicConfig {
    /// Sets one setting by its name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), TopicError> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
            return Err(unknown_setting(name, value));
        };
        (setting.set)(self, value).ok_or_else(|| TopicError::InvalidSetting {
            name: name.to_owned(),
            value: value.to_owned(),
            allowed: setting.allowed.to_owned(),
        })
    }

    /// Sets several, all or none.
    pub fn set_all(&mut self, settings: &BTreeMap<String, String>) -> Result<(), TopicError> {
        let mut config = self.clone();
        for (name, value) in settings {
            config.set(name, value)?;
        }
        *self = config;
        Ok(())
    }

    /// All settings by name, as text.
    pub fn to_map(&self) -> BTreeMap<&'static str, String> {
        let policy = match self.cleanup_policy {
            CleanupPolicy::Delete => "delete",
            CleanupPolicy::Compact => "compact",
            CleanupPolicy::CompactDelete => "compact,delete",
        };
        let priority = match self.priority {
            Priority::Normal => "normal",
            Priority::High => "high",
        };
        let when_full = match self.when_full {
            TopicWhenFull::Inherit => "inherit",
            TopicWhenFull::DropOldest => "drop-oldest",
            TopicWhenFull::Refuse => "refuse",
        };
        BTreeMap::from([
            ("retention.ms", self.retention_ms.to_string()),
            ("retention.bytes", self.retention_bytes.to_string()),
            ("max.message.bytes", self.max_message_bytes.to_string()),
            ("cleanup.policy", policy.to_owned()),
            ("edge.forward", self.forward.to_string()),
            ("edge.priority", priority.to_owned()),
            ("edge.when_full", when_full.to_owned()),
        ])
    }

    /// What a full store does with the topic.
    pub fn when_full(&self, site: WhenFull) -> WhenFull {
        match self.when_full {
            TopicWhenFull::Inherit => site,
            TopicWhenFull::DropOldest => WhenFull::DropOldest,
            TopicWhenFull::Refuse => WhenFull::Refuse,
        }
    }
}

/// A setting: its name, what it may be, and how text becomes it.
struct Setting {
    name: &'static str,
    allowed: &'static str,
    set: fn(&mut TopicConfig, &str) -> Option<()>,
}

/// Every setting there is.
const SETTINGS: &[Setting] = &[
    Setting {
        name: "retention.ms",
        allowed: "-1 (for ever) or milliseconds",
        set: |config, value| {
            config.retention_ms = value.parse().ok().filter(|&ms| ms >= -1)?;
            Some(())
        },
    },
    Setting {
        name: "retention.bytes",
        allowed: "-1 (no limit) or bytes",
        set: |config, value| {
            config.retention_bytes = value.parse().ok().filter(|&bytes| bytes >= -1)?;
            Some(())
        },
    },
    Setting {
        name: "max.message.bytes",
        allowed: "1024 to 8388608 bytes",
        set: |config, value| {
            let bytes = value.parse().ok();
            config.max_message_bytes = bytes.filter(|b| MESSAGE_BYTES.contains(b))?;
            Some(())
        },
    },
    Setting {
        name: "cleanup.policy",
        allowed: "delete, compact or compact,delete",
        set: |config, value| {
            config.cleanup_policy = match value {
                "delete" => CleanupPolicy::Delete,
                "compact" => CleanupPolicy::Compact,
                "compact,delete" | "delete,compact" => CleanupPolicy::CompactDelete,
                _ => return None,
            };
            Some(())
        },
    },
    Setting {
        name: "edge.forward",
        allowed: "true or false",
        set: |config, value| {
            config.forward = value.parse().ok()?;
            Some(())
        },
    },
    Setting {
        name: "edge.priority",
        allowed: "normal or high",
        set: |config, value| {
            config.priority = match value {
                "normal" => Priority::Normal,
                "high" => Priority::High,
                _ => return None,
            };
            Some(())
        },
    },
    Setting {
        name: "edge.when_full",
        allowed: "inherit, drop-oldest or refuse",
        set: |config, value| {
            config.when_full = match value {
                "inherit" => TopicWhenFull::Inherit,
                "drop-oldest" => TopicWhenFull::DropOldest,
                "refuse" => TopicWhenFull::Refuse,
                _ => return None,
            };
            Some(())
        },
    },
];

fn unknown_setting(name: &str, value: &str) -> TopicError {
    let known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    TopicError::InvalidSetting {
        name: name.to_owned(),
        value: value.to_owned(),
        allowed: format!("one of the settings {}", known.join(", ")),
    }
}

/// Kafka's rule for names: 1 to 249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
pub fn check_topic_name(name: &str) -> Result<(), TopicError> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let length = (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len());
    if length && name.bytes().all(legal) && name != "." && name != ".." {
        Ok(())
    } else {
        Err(TopicError::InvalidName(name.to_owned()))
    }
}

/// Kafka's limit, so that every local topic can have a central one.
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// What a topic may allow for one batch, in the configuration as in `topic set`: less holds no
/// message with its headers, and of the most the smallest gateway has to hold a few.
pub const MESSAGE_BYTES: RangeInclusive<u32> = 1 << 10..=8 << 20;

/// Partitions of one topic.
pub(crate) const PARTITIONS_MAX: u32 = 1000;

/// A topic as doors see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Never used twice, unlike the name.
    pub id: TopicId,
    /// Name.
    pub name: Arc<str>,
    /// Partitions 0..n.
    pub partitions: u32,
    /// Settings.
    pub config: TopicConfig,
}

impl Topic {
    /// A partition of it.
    pub fn partition(&self, partition: u32) -> TopicPartition {
        TopicPartition {
            topic: self.id,
            partition,
        }
    }

    /// Names that start with `_` are the gateway's own: never forwarded, not counted.
    pub fn is_internal(&self) -> bool {
        self.name.starts_with('_')
    }
}

/// All topics at one moment.
#[derive(Clone, Debug, Default)]
pub struct TopicTable {
    pub(crate) by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    pub(crate) by_id: HashMap<TopicId, Arc<Topic>>,
}

impl TopicTable {
    /// By name.
    pub fn get(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// By id.
    pub fn by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// In the order of names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// None yet.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests;
