//! Publishing without a connection: wills, and what people publish by command.
//!
//! ```text
//! routes ─▶ topic ─▶ index of retained messages ─▶ room at the site ─▶ ticket ─▶ index
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edge_site::core::FRAME_BYTES_MAX;
use edge_site::{AppendRequest, Appended, LossCause, Refused, Ticket, Topic, TopicError};
use kafka_wire::partition_for_key;

use crate::codec::packet::{Publish, QoS};
use crate::codec::topic::level_count;
use crate::connection::{name, stored_bytes, unpinned};
use crate::hub::{Hub, cause_of};
use crate::message::to_record;
use crate::retaining::{RetainedItem, RetainedLog, level_of};
use crate::session::Outcome;

/// Delivers and stores a will; waits until it is stored, but not without end for room.
pub(crate) async fn publish(hub: &Arc<Hub>, mut publish: Publish, client_id: &Bytes) {
    if level_count(&publish.topic) > hub.config.mqtt.topic_levels_max {
        hub.counters.publishes_refused.add(1);
        if hub.may_say(client_id, "will") {
            let name = name(client_id);
            log::warn!(
                "the will of client {name} is refused: its topic has more levels than \
                 mqtt.topic_levels_max"
            );
        }
        return;
    }
    hub.limit_retained(&mut publish, client_id);
    // A retained one is delivered as it enters the index.
    if publish.qos == QoS::AtMostOnce && !publish.retain {
        let make = || Arc::new(unpinned(&publish, client_id));
        hub.deliver_live(&publish.topic, client_id, make);
    }
    let timeout_s = hub.config.mqtt.hold_s_max.max(1);
    let timeout = async {
        smol::Timer::after(Duration::from_secs(timeout_s)).await;
        None
    };
    let hand_in = async { Some(hand_in(hub, &publish, client_id).await) };
    let error = match smol::future::or(hand_in, timeout).await {
        Some(Ok(handed_in)) => handed_in.stored().await.err(),
        Some(Err(error)) => Some(error),
        None => {
            let what = format!("the store had no room for it within {timeout_s} s");
            return lost(hub, &publish, client_id, LossCause::QueueLimit, &what);
        }
    };
    if let Some(error) = error {
        let cause = match &error {
            TopicError::Refused(refused) => cause_of(refused),
            _ => LossCause::QueueLimit,
        };
        lost(hub, &publish, client_id, cause, &error.to_string());
    }
}

fn lost(hub: &Hub, will: &Publish, client_id: &Bytes, cause: LossCause, what: &str) {
    if hub.may_say(client_id, "will") {
        let name = name(client_id);
        log::warn!("the will of client {name} is not stored: {what}");
    }
    hub.lost_one(cause, will, client_id);
}

/// Where a message is that was stored without a connection.
#[derive(Clone, Debug)]
pub struct Published {
    /// The topic its route leads to.
    pub topic: Arc<Topic>,
    /// Its partition.
    pub partition: u32,
    /// Level, and the offset where it is known.
    pub appended: Appended,
}

/// Stores one message by the routes; waits until it is stored.
pub(crate) async fn store(
    hub: &Arc<Hub>,
    publish: &Publish,
    client_id: &Bytes,
) -> Result<Published, TopicError> {
    hand_in(hub, publish, client_id).await?.stored().await
}

/// Hands one message to the site, by the routes; waits for room. Dropped midway, it is not stored.
async fn hand_in(
    hub: &Arc<Hub>,
    publish: &Publish,
    client_id: &Bytes,
) -> Result<HandedIn, TopicError> {
    let mut decision = hub.decide(&publish.topic, client_id);
    let topic = match hub.create_topic_for(&decision).await {
        Err(error) if decision.is_templated && !matches!(error, TopicError::Refused(_)) => {
            decision = hub.routes.decide_builtin(&publish.topic);
            hub.create_topic_for(&decision).await?
        }
        other => other?,
    };
    let now_ms = Hub::wall_ms();
    let payload = Some(publish.payload.clone());
    let record = to_record(publish, client_id, decision.key.clone(), payload, now_ms);
    let partition = topic.partition(partition_for_key(&decision.key, topic.partitions));
    let level = level_of(hub.routes.route(decision.route).ack, publish.retain);
    let bytes = stored_bytes(&record);
    let mut request = AppendRequest::records(vec![(partition, record)], level);
    let mut retained = Unsettled {
        hub: hub.clone(),
        items: Vec::new(),
        ticket: None,
    };
    if publish.retain {
        let log = RetainedLog::from(&*hub.create_retained_topic().await?);
        let (log, record) = log.record(hub, publish, client_id, now_ms);
        let goes_apart = bytes + stored_bytes(&record) > FRAME_BYTES_MAX;
        let item = if goes_apart { 0 } else { request.items.len() };
        let item = log.begin(hub, publish, client_id, &record, item);
        retained.items.push(item);
        let record = (log.partition, record);
        if goes_apart {
            let request = AppendRequest::records(vec![record], level);
            retained.ticket = Some(append(hub, request).await?);
        } else {
            request.items.push(record);
        }
    }
    let mut ticket = Some(append(hub, request).await?);
    if retained.ticket.is_none() {
        retained.ticket = ticket.take();
    }
    Ok(HandedIn {
        topic,
        partition: partition.partition,
        ticket,
        retained,
    })
}

async fn append(hub: &Hub, request: AppendRequest) -> Result<Ticket, TopicError> {
    hub.site.append(request).await.map_err(TopicError::Refused)
}

/// A message that the site has, or is about to refuse.
struct HandedIn {
    topic: Arc<Topic>,
    partition: u32,
    /// Where its retained record went apart.
    ticket: Option<Ticket>,
    retained: Unsettled,
}

impl HandedIn {
    async fn stored(mut self) -> Result<Published, TopicError> {
        let mut outcome = self.retained.settled().await;
        if let Some(ticket) = self.ticket {
            let stored = ticket.await;
            outcome = outcome.and(stored);
        }
        Ok(Published {
            topic: self.topic,
            partition: self.partition,
            appended: outcome.map_err(TopicError::Refused)?,
        })
    }
}

/// What the index of retained messages has to hear, also where nobody waits for it any more:
/// until then compaction leaves those messages where they are.
struct Unsettled {
    hub: Arc<Hub>,
    items: Vec<RetainedItem>,
    /// Once there was room.
    ticket: Option<Ticket>,
}

impl Unsettled {
    async fn settled(&mut self) -> Outcome {
        let outcome = match &mut self.ticket {
            Some(ticket) => ticket.await,
            None => Err(Refused::Unknown),
        };
        self.hub.settle(&std::mem::take(&mut self.items), &outcome);
        outcome
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        let items = std::mem::take(&mut self.items);
        if items.is_empty() {
            return;
        }
        let hub = self.hub.clone();
        match self.ticket.take() {
            Some(ticket) => {
                smol::spawn(async move { hub.settle(&items, &ticket.await) }).detach();
            }
            None => hub.settle(&items, &Err(Refused::Stopping)),
        }
    }
}
