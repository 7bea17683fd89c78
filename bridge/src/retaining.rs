//! The second record of a retained publish, for the topic `_retained`: the message again, with its
//! MQTT topic as the key, or nothing where it clears.
//!
//! Both records go into one append. Where they are more than a frame holds the second goes first,
//! by itself, and the publish is acknowledged when both are stored. Who subscribes between the two
//! gets such a message twice.
//!
//! One that is too large to be kept clears, too: who subscribes later gets nothing rather than an
//! older message. It is delivered and stored in its own topic all the same, so that a client does
//! not send it again for ever. Used by connections and by what is published without one.

use bytes::Bytes;
use edge_site::{AckLevel, Record, RefusedRecord, Topic, TopicId, TopicPartition};

use crate::codec::packet::Publish;
use crate::connection::{name, stored_bytes};
use crate::hub::Hub;
use crate::message::to_record;
use crate::session::Outcome;

/// Where retained messages go.
#[derive(Clone, Copy)]
pub(crate) struct RetainedLog {
    pub(crate) partition: TopicPartition,
    /// The largest record that it takes.
    bytes_max: usize,
}

impl From<&Topic> for RetainedLog {
    fn from(topic: &Topic) -> RetainedLog {
        RetainedLog {
            partition: topic.partition(0),
            bytes_max: topic.config.max_message_bytes as usize,
        }
    }
}

/// A retained record in an append.
pub(crate) struct RetainedItem {
    pub(crate) topic: Bytes,
    pub(crate) token: u64,
    /// The topic of the log that it goes to.
    pub(crate) log: TopicId,
    /// Its place among the items.
    pub(crate) item: usize,
    pub(crate) bytes: u64,
    pub(crate) is_message: bool,
}

/// When a publish is acknowledged: where its route says, one with the retain flag at `disk` or
/// later. At `memory` nobody is told the offset, and to the index an older message would be the
/// newest until the dispatcher comes: compaction would put that one behind it.
pub(crate) fn level_of(route: AckLevel, retain: bool) -> AckLevel {
    match retain {
        true => route.max(AckLevel::Disk),
        false => route,
    }
}

/// Of an append whose records stand apart: a publish is refused with its retained record, which
/// comes right behind it.
pub(crate) fn refuse_together(outcome: &mut Outcome, retained: &[RetainedItem]) {
    let Ok(appended) = outcome else { return };
    for RetainedItem { item, .. } in retained.iter().filter(|one| one.item > 0) {
        let (first, Some(why)) = (item - 1, appended.refusal_of(*item).cloned()) else {
            continue;
        };
        let refused = &mut appended.refused;
        if let Err(place) = refused.binary_search_by_key(&first, |one| one.item) {
            let record = RefusedRecord {
                item: first,
                why,
                ..refused[place].clone()
            };
            refused.insert(place, record);
        }
    }
}

impl RetainedLog {
    /// Whether it takes at least that a topic is cleared.
    pub(crate) fn takes(&self, mqtt_topic: &Bytes) -> bool {
        stored_bytes(&cleared(mqtt_topic, 0)) <= self.bytes_max
    }

    /// The record of a publish, with where it goes.
    pub(crate) fn record(
        &self,
        hub: &Hub,
        publish: &Publish,
        client_id: &Bytes,
        wall_ms: i64,
    ) -> (RetainedLog, Record) {
        if publish.payload.is_empty() {
            return (*self, cleared(&publish.topic, wall_ms));
        }
        let payload = Some(publish.payload.clone());
        let record = to_record(publish, client_id, publish.topic.clone(), payload, wall_ms);
        let (bytes, bytes_max) = (stored_bytes(&record), self.bytes_max);
        if bytes <= bytes_max {
            return (*self, record);
        }
        if hub.may_say(client_id, "retained too large") {
            log::warn!(
                "client {}: a retained message is delivered, but not kept, and the one before it \
                 is cleared: it takes {bytes} bytes, max.message.bytes of _retained is {bytes_max}",
                name(client_id)
            );
        }
        (*self, cleared(&publish.topic, wall_ms))
    }

    /// Tells the index that this record is about to be appended as this item.
    pub(crate) fn begin(
        &self,
        hub: &Hub,
        publish: &Publish,
        client_id: &Bytes,
        record: &Record,
        item: usize,
    ) -> RetainedItem {
        let is_message = record.value.is_some();
        let log = self.partition.topic;
        RetainedItem {
            topic: Bytes::copy_from_slice(&publish.topic),
            token: hub.begin_retained(publish, client_id, log, is_message),
            log,
            item,
            bytes: retained_bytes(record),
            is_message,
        }
    }
}

/// Only what says which topic has no retained message any more.
fn cleared(mqtt_topic: &Bytes, timestamp_ms: i64) -> Record {
    Record {
        timestamp_ms,
        key: Some(mqtt_topic.clone()),
        ..Record::default()
    }
}

/// Size of a retained record, the same wherever it is measured.
pub(crate) fn retained_bytes(record: &Record) -> u64 {
    let header = |h: &edge_site::Header| h.key.len() + h.value.as_ref().map_or(0, Bytes::len);
    let headers: usize = record.headers.iter().map(header).sum();
    let key = record.key.as_ref().map_or(0, Bytes::len);
    (headers + key + record.value.as_ref().map_or(0, Bytes::len)) as u64
}
