//! From publishes to appends: what one read brought goes to the log together.
//!
//! Publishes of one read are gathered into as few appends as their levels allow; usually one.
//! Where a topic goes is decided once and kept, the last topic at hand, some others near it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use edge_site::core::FRAME_BYTES_MAX;
use edge_site::{
    AckLevel, AppendRequest, Record, Refused, Topic, TopicPartition, TopicTable, TopicWhenFull,
};
use kafka_wire::partition_for_key;

use crate::codec::packet::{Publish, QoS};
use crate::hub::Hub;
use crate::message::{Message, to_record};
use crate::retaining::{RetainedItem, RetainedLog, level_of};
use crate::routes::Decision;
use crate::session::{Place, Session};

/// Publishes on their way to one append.
pub(crate) struct Batch {
    pub(crate) request: AppendRequest,
    /// The session's number for it; none where nobody waits for its outcome.
    pub(crate) number: Option<u64>,
    pub(crate) bytes: usize,
    /// QoS 0 records in it by partition, should it find no room.
    pub(crate) sheddable: Vec<(TopicPartition, u64)>,
    pub(crate) retained: Vec<RetainedItem>,
    class: Class,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Class {
    level: AckLevel,
    relaxed: bool,
    /// Topics that refuse when the store is full do not go with others that do not.
    when_full: TopicWhenFull,
}

/// Where the messages of one MQTT topic go.
pub(crate) struct Target {
    mqtt_topic: Bytes,
    topic: Arc<Topic>,
    partition: TopicPartition,
    key: Bytes,
    ack: AckLevel,
}

impl Target {
    /// Beside its texts: itself, its places in a map and on the heap.
    const BYTES: usize = 250;

    fn bytes(&self) -> usize {
        Target::BYTES + self.mqtt_topic.len() + self.key.len()
    }

    /// Whether it is kept beyond its turn.
    fn is_kept(&self) -> bool {
        self.mqtt_topic.len().max(self.key.len()) <= KEPT_TOPIC_BYTES_MAX
    }
}

/// What has to be there before a publish can be appended.
#[derive(Debug)]
pub(crate) enum Missing {
    /// A topic of the log.
    Topic(Decision),
    /// The topic of retained messages.
    Retained,
}

/// Gathers.
#[derive(Default)]
pub(crate) struct Intake {
    target: Option<Arc<Target>>,
    targets: HashMap<Bytes, Arc<Target>>,
    /// What they take.
    target_bytes: usize,
    /// The topics for which they were found; weak, or quiet clients would keep old tables.
    table: Weak<TopicTable>,
    /// Where retained messages go, of the publish that was prepared last.
    retained: Option<RetainedLog>,
    batches: Vec<Batch>,
    bytes: usize,
}

/// A request to the site has to stay under a megabyte, unless one record is larger.
const REQUEST_BYTES_MAX: usize = 900_000;
/// What a record costs beside its parts, at most.
const RECORD_BYTES: usize = 100;
/// Topics whose way is kept per connection, and how long they and their keys may be.
const KEPT_TOPICS_MAX: usize = 64;
const KEPT_TOPIC_BYTES_MAX: usize = 256;
/// More appends than this under way make relaxed ones urgent, so that their number stays small.
const RELAXED_UNDER_WAY_MAX: usize = 32;

impl Intake {
    /// Bytes gathered.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was gathered.
    pub(crate) fn take(&mut self) -> Vec<Batch> {
        self.bytes = 0;
        std::mem::take(&mut self.batches)
    }

    /// A new read: topics may have come, gone or changed since.
    pub(crate) fn refresh(&mut self, hub: &Hub) {
        let table = hub.site.topics();
        if self.table.as_ptr() != Arc::as_ptr(&table) {
            self.table = Arc::downgrade(&table);
            self.target = None;
            self.targets = HashMap::new();
            self.target_bytes = 0;
        }
    }

    /// Gives memory back that a quiet connection does not need.
    pub(crate) fn rest(&mut self) {
        if self.target.as_ref().is_some_and(|target| !target.is_kept()) {
            self.target = None;
        }
    }

    /// What the ways of its topics take.
    pub(crate) fn remembered_bytes(&self) -> usize {
        let long = self.target.as_ref().filter(|target| !target.is_kept());
        self.target_bytes + long.map_or(0, |target| target.bytes())
    }

    /// Makes sure that a publish can be gathered; says what is missing if not.
    pub(crate) fn prepare(
        &mut self,
        hub: &Hub,
        publish: &Publish,
        client_id: &Bytes,
    ) -> Result<(), Missing> {
        if publish.retain {
            let topic = hub.retained_topic();
            self.retained = topic.map(|topic| RetainedLog::from(&*topic));
            if self.retained.is_none() {
                return Err(Missing::Retained);
            }
        }
        if self
            .target
            .as_ref()
            .is_some_and(|target| target.mqtt_topic == publish.topic)
        {
            return Ok(());
        }
        if let Some(target) = self.targets.get(&publish.topic) {
            self.target = Some(target.clone());
            return Ok(());
        }
        let decision = hub.decide(&publish.topic, client_id);
        self.retarget(hub, &publish.topic, decision)
    }

    /// The same with a decision that was made elsewhere.
    pub(crate) fn retarget(
        &mut self,
        hub: &Hub,
        mqtt_topic: &Bytes,
        decision: Decision,
    ) -> Result<(), Missing> {
        let table = hub.site.topics();
        let Some(topic) = table.get(&decision.topic) else {
            return Err(Missing::Topic(decision));
        };
        let partition = topic.partition(partition_for_key(&decision.key, topic.partitions));
        let target = Arc::new(Target {
            // Copies: slices would keep all that was read with them.
            mqtt_topic: Bytes::copy_from_slice(mqtt_topic),
            topic: topic.clone(),
            partition,
            key: Bytes::copy_from_slice(&decision.key),
            ack: hub.routes.route(decision.route).ack,
        });
        if target.is_kept() {
            if self.targets.len() >= KEPT_TOPICS_MAX {
                self.targets.clear();
                self.target_bytes = 0;
            }
            let name = target.mqtt_topic.clone();
            if self.targets.insert(name, target.clone()).is_none() {
                self.target_bytes += target.bytes();
            }
        }
        self.target = Some(target);
        Ok(())
    }

    /// Gathers a publish that was prepared, and stands it in the session's line; gives it back
    /// where it is too large for its topic.
    pub(crate) fn add(
        &mut self,
        hub: &Hub,
        session: &mut Session,
        publish: Publish,
        wall_ms: i64,
    ) -> Result<(), (Publish, Refused)> {
        let Some(target) = self.target.take() else {
            debug_assert!(false, "a publish is prepared before it is added");
            return Ok(());
        };
        let payload = Some(publish.payload.clone());
        let client_id = session.client_id();
        let record = to_record(&publish, client_id, target.key.clone(), payload, wall_ms);
        let bytes_max = target.topic.config.max_message_bytes as usize;
        let bytes = stored_bytes(&record);
        if bytes > bytes_max {
            self.target = Some(target);
            return Err((publish, Refused::TooLarge { bytes, bytes_max }));
        }
        let is_qos0 = publish.qos == QoS::AtMostOnce;
        let retained = self.retained.filter(|_| publish.retain);
        let retained = retained.map(|log| log.record(hub, &publish, client_id, wall_ms));
        let retained_bytes = retained
            .as_ref()
            .map_or(0, |(_, record)| stored_bytes(record));
        let class = class(&target, &publish, session.requests_under_way());
        let mut apart = None;
        let (batch, retained) = match retained {
            Some(retained) if bytes + retained_bytes > FRAME_BYTES_MAX => {
                let batch = self.new_batch(class, retained_bytes);
                apart = Some(*batch.number.insert(session.open_request()));
                batch.push_retained(hub, session.client_id(), &publish, retained);
                (self.new_batch(class, bytes), None)
            }
            retained => (self.batch(class, bytes + retained_bytes), retained),
        };
        if !is_qos0 || publish.retain {
            let number = *batch.number.get_or_insert_with(|| session.open_request());
            if !is_qos0 {
                let place = session.wants_places().then(|| Place {
                    topic: target.topic.name.clone(),
                    partition: target.partition.partition,
                });
                let item = batch.request.items.len() as u32;
                session.handle_stored(publish.pkid, publish.qos, number, item, place);
                if let Some(other) = apart {
                    session.handle_stored_apart(other);
                }
            }
        }
        if is_qos0 {
            batch.count_sheddable(target.partition);
        }
        batch.request.items.push((target.partition, record));
        if let Some(retained) = retained {
            batch.push_retained(hub, session.client_id(), &publish, retained);
        }
        self.target = Some(target);
        self.bytes += bytes + retained_bytes;
        Ok(())
    }

    /// The batch that a publish rides in: the newest of its kind, or a new one behind it.
    ///
    /// Never an older one: two routes may lead to one key with different levels, and its messages
    /// are stored in the order of the batches. A new one is at the stronger of both levels, so a
    /// gathering has as many batches as there are levels, however they alternate.
    fn batch(&mut self, class: Class, bytes: usize) -> &mut Batch {
        let same = |batch: &Batch| batch.class.when_full == class.when_full;
        let Some(at) = self.batches.iter().rposition(same) else {
            return self.new_batch(class, bytes);
        };
        let newest = &self.batches[at];
        let joined = newest.class.joined(class);
        if newest.class != joined {
            return self.new_batch(joined, bytes);
        }
        if newest.bytes + bytes > REQUEST_BYTES_MAX {
            return self.new_batch(class, bytes);
        }
        let batch = &mut self.batches[at];
        batch.bytes += bytes;
        batch
    }

    fn new_batch(&mut self, class: Class, bytes: usize) -> &mut Batch {
        self.batches.push_mut(Batch::new(class, bytes))
    }
}

impl Class {
    /// What suits both: the stronger level, and no waiting where one of them does not wait.
    fn joined(self, other: Class) -> Class {
        Class {
            level: self.level.max(other.level),
            relaxed: self.relaxed && other.relaxed,
            when_full: self.when_full,
        }
    }
}

impl Batch {
    fn new(class: Class, bytes: usize) -> Batch {
        let request = AppendRequest {
            items: Vec::new(),
            batches: Vec::new(),
            level: class.level,
            relaxed: class.relaxed,
            apart: true,
        };
        Batch {
            request,
            number: None,
            bytes,
            sheddable: Vec::new(),
            retained: Vec::new(),
            class,
        }
    }

    /// Whether only QoS 0 is in it, so that it is shed rather than waited for.
    pub(crate) fn is_sheddable(&self) -> bool {
        self.number.is_none()
    }

    /// The second record of a retained publish.
    fn push_retained(
        &mut self,
        hub: &Hub,
        client_id: &Bytes,
        publish: &Publish,
        (log, record): (RetainedLog, Record),
    ) {
        let item = self.request.items.len();
        let item = log.begin(hub, publish, client_id, &record, item);
        self.retained.push(item);
        self.request.items.push((log.partition, record));
    }

    fn count_sheddable(&mut self, partition: TopicPartition) {
        match self.sheddable.last_mut() {
            Some((last, count)) if *last == partition => *count += 1,
            _ => self.sheddable.push((partition, 1)),
        }
    }
}

/// A copy that does not keep all that was read with the publish.
pub(crate) fn unpinned(publish: &Publish, client_id: &Bytes) -> Message {
    Message {
        publish: publish.unpinned(),
        client_id: client_id.clone(),
    }
}

fn class(target: &Target, publish: &Publish, under_way: usize) -> Class {
    let (level, relaxed) = match (publish.qos, publish.retain) {
        (QoS::AtMostOnce, false) => (AckLevel::Memory, true),
        // The index wants to know the offset, so this one has a ticket.
        (QoS::AtMostOnce, true) => (AckLevel::Disk, under_way < RELAXED_UNDER_WAY_MAX),
        (_, retain) => (level_of(target.ack, retain), false),
    };
    Class {
        level,
        relaxed,
        when_full: target.topic.config.when_full,
    }
}

/// What the site counts for a record, not less: it refuses a whole append for one that is too
/// large.
pub(crate) fn stored_bytes(record: &Record) -> usize {
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|h| 8 + h.key.len() + h.value.as_ref().map_or(0, Bytes::len))
        .sum();
    let key = record.key.as_ref().map_or(0, Bytes::len);
    key + record.value.as_ref().map_or(0, Bytes::len) + headers + RECORD_BYTES
}
