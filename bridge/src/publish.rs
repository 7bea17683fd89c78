//! Publishing without a connection: wills, and what people publish by command.

use std::sync::Arc;

use bytes::Bytes;
use edge_site::{AppendRequest, Appended, LossCause, Topic, TopicError};
use kafka_wire::partition_for_key;

use crate::codec::packet::{Publish, QoS};
use crate::codec::topic::level_count;
use crate::connection::{RetainedItem, name, retained_bytes, unpinned};
use crate::hub::{Hub, cause_of};
use crate::message::to_record;

/// Delivers and stores one message; waits until it is stored.
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
    if let Err(error) = store(hub, &publish, client_id).await {
        if hub.may_say(client_id, "will") {
            let name = name(client_id);
            log::warn!("the will of client {name} is not stored: {error}");
        }
        let cause = match &error {
            TopicError::Refused(refused) => cause_of(refused),
            _ => LossCause::QueueLimit,
        };
        hub.lost_one(cause, &publish, client_id);
    }
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
    let level = hub.routes.route(decision.route).ack;
    let mut request = AppendRequest::records(vec![(partition, record)], level);
    let mut retained = Vec::new();
    if publish.retain {
        let log = hub.create_retained_topic().await?;
        let is_message = !publish.payload.is_empty();
        let payload = is_message.then(|| publish.payload.clone());
        let record = to_record(publish, client_id, publish.topic.clone(), payload, now_ms);
        retained.push(RetainedItem {
            topic: publish.topic.clone(),
            token: hub.begin_retained(publish, client_id, log.id),
            log: log.id,
            item: 1,
            bytes: retained_bytes(&record),
            is_message,
        });
        request.items.push((log.partition(0), record));
    }
    let outcome = match hub.site.append(request).await {
        Ok(ticket) => ticket.await,
        Err(refused) => Err(refused),
    };
    hub.settle(&retained, &outcome);
    let appended = outcome.map_err(TopicError::Refused)?;
    Ok(Published {
        topic,
        partition: partition.partition,
        appended,
    })
}
