//! The loss ledger: what was shed, counted by cause, topic and time range. Part of the state.

use std::fmt;

use edge_log::TopicId;
use serde::{Deserialize, Serialize};

/// Why records went without having been delivered. The order is the stored form: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LossCause {
    /// `retention.ms` or `retention.bytes` passed before central had it.
    Retention,
    /// The store was full: the topic says drop-oldest, or a QoS 0 message found no room.
    StorageFull,
    /// QoS 0 while the queue was full.
    QosZeroOverload,
    /// A limit of a queue, of a session, of the number of topics.
    QueueLimit,
    /// Message expiry. Nothing expires a message yet; its place in the stored form is taken.
    Expired,
    /// The disk lost it below the durable mark.
    DiskLoss,
    /// The topic was deleted.
    TopicDeleted,
    /// A batch that nobody can read: whoever made it, made it so.
    Undecodable,
    /// Larger than its topic takes, or than the subscriber takes that it was for.
    TooLarge,
    /// A subscriber was so slow that retention passed it: gaps, how many messages is not known.
    SubscriberGap,
    /// QoS 0 for a slow subscriber. The message itself is stored and forwarded all the same, and
    /// counts once for each subscriber that did not get it.
    SlowSubscriber,
}

impl LossCause {
    /// The name used in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            LossCause::Retention => "retention",
            LossCause::StorageFull => "storage_full",
            LossCause::QosZeroOverload => "qos0_overload",
            LossCause::QueueLimit => "queue_limit",
            LossCause::Expired => "expired",
            LossCause::DiskLoss => "disk_loss",
            LossCause::TopicDeleted => "topic_deleted",
            LossCause::Undecodable => "undecodable",
            LossCause::TooLarge => "too_large",
            LossCause::SubscriberGap => "subscriber_gap",
            LossCause::SlowSubscriber => "slow_subscriber",
        }
    }

    /// What befell the records, for people.
    pub fn words(self) -> &'static str {
        match self {
            LossCause::Retention => "went by retention before central had them",
            LossCause::StorageFull => "dropped, the store was full",
            LossCause::QosZeroOverload => "QoS 0, shed under load",
            LossCause::QueueLimit => "shed at the limit of a queue",
            LossCause::Expired => "expired",
            LossCause::DiskLoss => "lost by the disk",
            LossCause::TopicDeleted => "deleted with their topic before central had them",
            LossCause::Undecodable => "cannot be decoded by anybody",
            LossCause::TooLarge => "too large",
            LossCause::SubscriberGap => "gaps, retention passed a slow subscriber",
            LossCause::SlowSubscriber => "QoS 0, not delivered to a slow subscriber",
        }
    }

    /// Whether somebody decided it (a limit, a setting), unlike a disk that lost it or a batch that
    /// is damaged.
    pub fn is_on_purpose(self) -> bool {
        !matches!(self, LossCause::DiskLoss | LossCause::Undecodable)
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossEntry {
    /// Why.
    pub cause: LossCause,
    /// Of which topic, where one is concerned.
    pub topic: Option<TopicId>,
    /// Its name at that time.
    pub topic_name: String,
    /// How many records.
    pub count: u64,
    /// Site time of the first loss.
    pub first_ms: i64,
    /// Site time of the last loss.
    pub last_ms: i64,
}

/// All lines, bounded: neighbours in time join, and what does not fit joins the oldest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    entries: Vec<LossEntry>,
}

/// Losses closer together than this are one line.
const JOIN_MS: i64 = 3_600_000;

/// Lines per cause and topic.
const LINES_MAX: usize = 24;

/// Lines at all; beyond it the oldest of the same cause join, whatever their topic.
const LINES_TOTAL_MAX: usize = 4096;

impl Ledger {
    /// Counts a loss.
    pub fn add(
        &mut self,
        cause: LossCause,
        topic: Option<TopicId>,
        topic_name: &str,
        count: u64,
        now_ms: i64,
    ) {
        if count == 0 {
            return;
        }
        let same = |entry: &LossEntry| entry.cause == cause && entry.topic == topic;
        if let Some(entry) = self.entries.iter_mut().rev().find(|entry| same(entry))
            && now_ms - entry.last_ms < JOIN_MS
        {
            entry.count += count;
            entry.last_ms = entry.last_ms.max(now_ms);
            return;
        }
        if self.entries.iter().filter(|entry| same(entry)).count() >= LINES_MAX {
            self.join_oldest(same);
        }
        if self.entries.len() >= LINES_TOTAL_MAX {
            self.join_oldest(|entry| entry.cause == cause);
        }
        self.entries.push(LossEntry {
            cause,
            topic,
            topic_name: topic_name.to_owned(),
            count,
            first_ms: now_ms,
            last_ms: now_ms,
        });
    }

    /// Joins the two oldest lines that are alike; with different topics the line names none.
    fn join_oldest(&mut self, alike: impl Fn(&LossEntry) -> bool) {
        let mut found = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| alike(e))
            .map(|(i, _)| i);
        let (Some(first), Some(second)) = (found.next(), found.next()) else {
            return;
        };
        let gone = self.entries.remove(second);
        let kept = &mut self.entries[first];
        kept.count += gone.count;
        kept.first_ms = kept.first_ms.min(gone.first_ms);
        kept.last_ms = kept.last_ms.max(gone.last_ms);
        if kept.topic != gone.topic {
            kept.topic = None;
            kept.topic_name.clear();
        }
    }

    /// All lines, oldest first.
    pub fn entries(&self) -> &[LossEntry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests;
