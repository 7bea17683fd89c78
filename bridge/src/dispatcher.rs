//! The live dispatcher: committed frames, in log order, to the sessions that subscribed.
//!
//! One task. It decodes a batch only when somebody subscribed to something that may match, keeps
//! the index of retained messages, and leaves sessions that are too slow to `CatchUp`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_site::{CommittedFrame, FrameReadError, Record, RecordBatch, TopicId};

use crate::hub::{Hub, Place, RetainedPlace, lock};
use crate::mailbox::{Delivery, Position};
use crate::message::{from_record, is_retained, mqtt_topic, sender, was_live};
use crate::retained::{self, RetainedIndex};
use crate::retaining::retained_bytes;
use crate::trie::filters_overlap;

/// A batch that unpacks to more than this is not for MQTT.
pub(crate) const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Records, and mailboxes they were put into, before the connections have their turn.
const DELIVERED_AT_ONCE: usize = 1000;

/// Runs until the site stops.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut frames = hub.site.frames(None);
    let mut dispatcher = Dispatcher::default();
    loop {
        match frames.next().await {
            Ok(frame) => {
                dispatcher.dispatch(&hub, &frame).await;
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
    async fn dispatch(&mut self, hub: &Hub, frame: &CommittedFrame) {
        hub.set_dispatching(frame.index);
        self.ask_again_on_change(hub);
        let wanted: Vec<_> = frame
            .batches
            .iter()
            .map(|(partition, batch)| (self.kind_of(hub, partition.topic), batch))
            .collect();
        let retained = wanted
            .iter()
            .filter(|(wanted, _)| matches!(wanted, Some(Wanted::Retained(_))))
            .flat_map(|(_, batch)| retained_records(batch))
            .collect::<Vec<_>>();
        let log = wanted.iter().find_map(|(wanted, _)| match wanted {
            Some(Wanted::Retained(log)) => Some(*log),
            _ => None,
        });
        let mut ordinal = 0;
        let mut batches = Vec::new();
        for (wanted, batch) in &wanted {
            if matches!(wanted, Some(Wanted::Yes)) {
                batches.push(((frame.index, ordinal), *batch));
            }
            ordinal += batch.record_count();
        }
        match log {
            Some(log) if !retained.is_empty() => deliver_at_once(hub, log, &retained, &batches),
            _ => deliver_in_turns(hub, &batches).await,
        }
    }

    /// What is wanted was found out for the subscriptions of then.
    fn ask_again_on_change(&mut self, hub: &Hub) {
        let version = hub.subscriptions_version();
        if version != self.subscriptions_version {
            self.subscriptions_version = version;
            let topics = self.topics.values_mut();
            topics.for_each(|topic| topic.wanted = None);
        }
    }

    fn kind_of(&mut self, hub: &Hub, id: TopicId) -> Option<Wanted> {
        let topic = match self.topics.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(Topic::find(hub, id)?),
        };
        let filters = match &topic.kind {
            // Not those of one that was deleted.
            Kind::Retained if hub.retained_topic().is_some_and(|topic| topic.id == id) => {
                return Some(Wanted::Retained(id));
            }
            Kind::Retained => return Some(Wanted::No),
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
    /// By the index of retained messages; the topic they are in.
    Retained(TopicId),
    Yes,
    No,
}

/// A batch of a frame, and the place of its first record.
type Placed<'a> = (Position, &'a RecordBatch);

/// A frame with retained messages. The index is held over it: a new subscription is made before
/// all of it or after all of it.
fn deliver_at_once(hub: &Hub, log: TopicId, retained: &[RetainedRecord], batches: &[Placed<'_>]) {
    let mut index = lock(&hub.retained);
    index.follow(log);
    let offsets = offsets_by_topic(&index, retained);
    for (first, batch) in batches {
        for (position, record) in records_of(*first, batch) {
            deliver(hub, position, &record, &offsets);
        }
    }
    retained
        .iter()
        .for_each(|record| record.apply_to(&mut index));
}

/// Any other frame: a burst to many subscribers does not keep the connections waiting.
async fn deliver_in_turns(hub: &Hub, batches: &[Placed<'_>]) {
    let (nothing, mut delivered) = (Offsets::default(), 0);
    for (first, batch) in batches {
        for (position, record) in records_of(*first, batch) {
            delivered += 1 + deliver(hub, position, &record, &nothing);
            if delivered >= DELIVERED_AT_ONCE {
                delivered = 0;
                smol::future::yield_now().await;
            }
        }
    }
}

fn records_of(first: Position, batch: &RecordBatch) -> impl Iterator<Item = (Position, Record)> {
    let records = batch.records(DECOMPRESSED_BYTES_MAX);
    if records.is_err() {
        log::error!("a committed batch cannot be decoded, it is not delivered over MQTT");
    }
    let records = records.into_iter().flatten().flatten().enumerate();
    records.map(move |(at, (_, record))| ((first.0, first.1 + at as u32), record))
}

/// Delivers a record to the sessions that keep up; gives back how many got it.
fn deliver(hub: &Hub, position: Position, record: &Record, retained: &Offsets) -> usize {
    match mqtt_topic(record) {
        Some(topic) if !was_live(record) => {
            let place = place(record, position, topic, retained);
            hub.deliver_committed(place, topic, sender(record), || from_record(record))
        }
        _ => 0,
    }
}

/// A record of `_retained`: the second one of a publish, in the same frame as the first, or in one
/// before it where a frame does not hold both.
pub(crate) struct RetainedRecord {
    topic: Bytes,
    offset: i64,
    bytes: u64,
    is_message: bool,
}

impl RetainedRecord {
    pub(crate) fn apply_to(&self, index: &mut RetainedIndex) {
        index.apply(&self.topic, self.offset, self.bytes, self.is_message);
    }
}

pub(crate) fn retained_records(batch: &RecordBatch) -> Vec<RetainedRecord> {
    let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else {
        log::error!("a batch of retained messages cannot be decoded, it is left out");
        return Vec::new();
    };
    let found = records.flatten().filter_map(|(offset, record)| {
        Some(RetainedRecord {
            offset,
            bytes: retained_bytes(&record),
            is_message: record.value.is_some(),
            topic: record.key?,
        })
    });
    found.collect()
}

/// The newest retained record of each topic in one frame.
type Offsets = HashMap<Bytes, RetainedPlace>;

fn offsets_by_topic(index: &RetainedIndex, retained: &[RetainedRecord]) -> Offsets {
    let place = |record: &RetainedRecord| RetainedPlace {
        offset: record.offset,
        known_since: index.known_since(&record.topic, record.offset),
    };
    let offsets = retained.iter().map(|r| (r.topic.clone(), place(r)));
    offsets.collect()
}

fn place(record: &Record, position: Position, topic: &Bytes, retained: &Offsets) -> Place {
    let offset = match retained.is_empty() {
        false if is_retained(record) => retained.get(topic).copied(),
        _ => None,
    };
    Place {
        position,
        retained: offset,
    }
}

/// Some of the deliveries that a session gets of a frame.
#[derive(Default)]
pub(crate) struct Piece {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) bytes: usize,
    /// Where the rest of the frame begins, if that was not all.
    pub(crate) rest: Option<Position>,
}

/// What one session gets of a frame, from a place on, until it is about `bytes_max`; for sessions
/// that catch up.
pub(crate) fn deliveries_of(
    hub: &Hub,
    frame: &CommittedFrame,
    session: u64,
    from: Position,
    bytes_max: usize,
) -> Piece {
    let mut piece = Piece::default();
    let mut ordinal = 0;
    let table = hub.site.topics();
    let retained = retained_offsets(hub, frame);
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
            let position = (frame.index, first + at as u32);
            if was_live(&record) || position < from {
                continue;
            }
            if piece.bytes >= bytes_max {
                piece.rest = Some(position);
                return piece;
            }
            let place = place(&record, position, topic, &retained);
            let make = || from_record(&record);
            let delivery = hub.delivery_for(session, place, topic, sender(&record), make);
            piece.bytes += delivery.as_ref().map_or(0, Delivery::bytes);
            piece.deliveries.extend(delivery);
        }
    }
    piece
}

fn retained_offsets(hub: &Hub, frame: &CommittedFrame) -> Offsets {
    let Some(retained) = hub.retained_topic() else {
        return Offsets::default();
    };
    let batches = frame
        .batches
        .iter()
        .filter(|(partition, _)| partition.topic == retained.id);
    let records: Vec<_> = batches
        .flat_map(|(_, batch)| retained_records(batch))
        .collect();
    match records.is_empty() {
        true => Offsets::default(),
        false => offsets_by_topic(&lock(&hub.retained), &records),
    }
}
