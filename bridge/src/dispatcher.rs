//! The live dispatcher: committed frames, in log order, to the sessions that subscribed.
//!
//! One task. It decodes a batch only when somebody subscribed to something that may match, keeps
//! the index of retained messages, and leaves sessions that are too slow to `CatchUp`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_site::{CommittedFrame, FrameReadError, RecordBatch, TopicId};

use crate::connection::retained_bytes;
use crate::hub::{Hub, lock};
use crate::mailbox::{Delivery, Position};
use crate::message::{from_record, mqtt_topic, sender, was_live};
use crate::retained;
use crate::trie::filters_overlap;

/// A batch that unpacks to more than this is not for MQTT.
pub(crate) const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Runs until the site stops.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut frames = hub.site.frames(None);
    let mut dispatcher = Dispatcher::default();
    loop {
        match frames.next().await {
            Ok(frame) => {
                dispatcher.dispatch(&hub, &frame);
                // Frames can follow each other without a pause; connections have to run, too.
                smol::future::yield_now().await;
            }
            Err(FrameReadError::Gone { first_index }) => {
                log::warn!("live delivery skipped to frame {first_index}: retention came first");
                frames = hub.site.frames(Some(first_index));
            }
            Err(FrameReadError::Storage(what)) => {
                log::warn!("committed messages cannot be read for delivery, trying again: {what}");
                smol::Timer::after(Duration::from_secs(1)).await;
            }
            Err(FrameReadError::Stopping) => return,
        }
    }
}

#[derive(Default)]
struct Dispatcher {
    topics: HashMap<TopicId, Topic>,
    /// The subscriptions for which `wanted` was found out.
    subscriptions_version: u64,
}

/// What the dispatcher knows about a topic.
struct Topic {
    kind: Kind,
    /// Whether a subscription may match; unknown until asked.
    wanted: Option<bool>,
}

enum Kind {
    Retained,
    /// The gateway's own.
    Internal,
    /// Filters that lead to it; `None` = anything may be in it.
    Messages(Option<Vec<Bytes>>),
}

impl Dispatcher {
    fn dispatch(&mut self, hub: &Hub, frame: &CommittedFrame) {
        hub.set_dispatching(frame.index);
        let version = hub.subscriptions_version();
        if version != self.subscriptions_version {
            self.subscriptions_version = version;
            self.topics
                .values_mut()
                .for_each(|topic| topic.wanted = None);
        }
        let mut ordinal = 0;
        for (partition, batch) in &frame.batches {
            match self.kind_of(hub, partition.topic) {
                Some(Wanted::Retained) => apply_retained(hub, batch),
                Some(Wanted::Yes) => deliver(hub, (frame.index, ordinal), batch),
                Some(Wanted::No) | None => {}
            }
            ordinal += batch.record_count();
        }
    }

    fn kind_of(&mut self, hub: &Hub, id: TopicId) -> Option<Wanted> {
        let topic = match self.topics.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(Topic::find(hub, id)?),
        };
        let filters = match &topic.kind {
            Kind::Retained => return Some(Wanted::Retained),
            Kind::Internal => return Some(Wanted::No),
            Kind::Messages(filters) => filters,
        };
        let wanted = *topic.wanted.get_or_insert_with(|| {
            hub.any_filter(|subscribed| match filters {
                Some(filters) => filters.iter().any(|led| filters_overlap(led, subscribed)),
                None => true,
            })
        });
        Some(if wanted { Wanted::Yes } else { Wanted::No })
    }
}

impl Topic {
    fn find(hub: &Hub, id: TopicId) -> Option<Topic> {
        let table = hub.site.topics();
        let known = table.by_id(id)?;
        let kind = match &*known.name {
            retained::TOPIC => Kind::Retained,
            _ if known.is_internal() => Kind::Internal,
            name => Kind::Messages(hub.routes.filters_of(name)),
        };
        Some(Topic { kind, wanted: None })
    }
}

enum Wanted {
    Retained,
    Yes,
    No,
}

fn deliver(hub: &Hub, first: Position, batch: &RecordBatch) {
    let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else {
        return log::error!("a committed batch cannot be decoded, it is not delivered over MQTT");
    };
    for (at, (_, record)) in records.flatten().enumerate() {
        let Some(topic) = mqtt_topic(&record) else {
            continue;
        };
        if was_live(&record) {
            continue;
        }
        let position = (first.0, first.1 + at as u32);
        hub.deliver_committed(position, topic, sender(&record), || from_record(&record));
    }
}

/// What one session gets of a frame, from a place on; for sessions that catch up.
pub(crate) fn deliveries_of(
    hub: &Hub,
    frame: &CommittedFrame,
    session: u64,
    from: Position,
) -> Vec<Delivery> {
    let mut found = Vec::new();
    let mut ordinal = 0;
    let table = hub.site.topics();
    for (partition, batch) in &frame.batches {
        let first = ordinal;
        ordinal += batch.record_count();
        if table
            .by_id(partition.topic)
            .is_none_or(|topic| topic.is_internal())
        {
            continue;
        }
        let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else {
            continue;
        };
        for (at, (_, record)) in records.flatten().enumerate() {
            let Some(topic) = mqtt_topic(&record) else {
                continue;
            };
            if was_live(&record) || (frame.index, first + at as u32) < from {
                continue;
            }
            let make = || from_record(&record);
            found.extend(hub.delivery_for(session, frame.index, topic, sender(&record), make));
        }
    }
    found
}

fn apply_retained(hub: &Hub, batch: &RecordBatch) {
    let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else {
        return log::error!("a batch of retained messages cannot be decoded, it is left out");
    };
    let mut index = lock(&hub.retained);
    for (offset, record) in records.flatten() {
        if let Some(topic) = &record.key {
            index.apply(
                topic,
                offset,
                retained_bytes(&record),
                record.value.is_some(),
            );
        }
    }
}

/// Rebuilds the index of retained messages from the log; called before the first connection.
pub(crate) async fn load_retained(hub: &Hub) {
    const READ_BYTES_MAX: usize = 1 << 20;
    let Some(partition) = hub.retained_topic().map(|topic| topic.partition(0)) else {
        return;
    };
    let Some(marks) = hub.site.marks(partition) else {
        return;
    };
    let mut at = marks.start;
    while at < marks.committed_end {
        match hub.site.read(partition, at, READ_BYTES_MAX).await {
            Ok(batches) if !batches.is_empty() => {
                batches.iter().for_each(|batch| apply_retained(hub, batch));
                at = batches
                    .last()
                    .map_or(marks.committed_end, RecordBatch::next_offset);
            }
            Ok(_) => return,
            Err(error) => {
                return log::warn!("retained messages from offset {at} on are missing: {error}");
            }
        }
    }
}
