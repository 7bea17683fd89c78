//! What the forwarder says about itself: for `status`, the metrics and the loop around it.

use edge_site::TopicId;

use super::{
    Forwarder, Producer,
    link::LinkState,
    partition::Partition,
    topic::{Phase, Topic},
    types::Ms,
};
use crate::{
    error::ConnectError,
    status::{Guarantee, TopicState, TopicStatus},
};

impl Forwarder {
    /// Records that wait, over all topics.
    pub fn waiting_records(&self) -> u64 {
        self.partitions.values().map(Partition::waiting).sum()
    }

    /// Bytes of batches in memory.
    pub fn held_bytes(&self) -> usize {
        self.partitions.values().map(Partition::held_bytes).sum()
    }

    /// Whether requests are under way.
    pub fn is_sending(&self) -> bool {
        self.links.values().any(|link| !link.in_flight().is_empty())
    }

    /// What is promised now.
    pub fn guarantee(&self) -> Guarantee {
        match self.producer {
            Producer::Refused => Guarantee::AtLeastOnceWithoutIdempotence,
            _ => Guarantee::AtLeastOnce,
        }
    }

    /// Reachable, since when, what failed last and how often.
    pub fn reachability(&self, now: Ms) -> (bool, Ms, Option<(&ConnectError, u64)>) {
        self.reach.snapshot(now)
    }

    /// When a connection is tried next, while one fails.
    pub fn next_try_ms(&self, now: Ms) -> Option<Ms> {
        let links = self.links.values().filter(|link| link.tries.any());
        let waits = links.filter_map(|link| match link.state {
            LinkState::Down { not_before } => Some(not_before),
            _ => None,
        });
        waits
            .chain(self.asking.next_try())
            .min()
            .map(|at| at.saturating_sub(now))
    }

    /// Every topic, for `status`.
    pub fn topic_status(&self, now: Ms) -> Vec<TopicStatus> {
        let mut list: Vec<_> = self
            .topics
            .iter()
            .map(|(id, topic)| self.one_topic(*id, topic, now))
            .collect();
        list.sort_by(|a, b| a.topic.cmp(&b.topic));
        list
    }

    fn one_topic(&self, id: TopicId, topic: &Topic, now: Ms) -> TopicStatus {
        let partitions: Vec<_> = self
            .partitions
            .values()
            .filter(|p| p.tp.topic == id)
            .collect();
        let waiting_records = partitions.iter().map(|p| p.waiting()).sum();
        let refusal = topic.refusal.as_ref();
        let state = match waiting_records {
            _ if refusal.is_some() => TopicState::Parked,
            0 => TopicState::Idle,
            _ if partitions.iter().any(|p| p.in_flight() > 0) => TopicState::Sending,
            _ => TopicState::Waiting,
        };
        let retry_in_ms = match topic.phase {
            Phase::Parked { retry_at } => Some(retry_at.saturating_sub(now)),
            _ => None,
        };
        TopicStatus {
            topic: topic.local.name.clone(),
            central_topic: topic.central_name().to_owned(),
            state,
            reason: refusal.map(|refusal| refusal.reason.clone()),
            parked_ms: refusal.map(|refusal| now.saturating_sub(refusal.since)),
            retry_in_ms,
            waiting_records,
            forwarded_records: partitions.iter().map(|p| p.forwarded_records).sum(),
            forwarded: partitions
                .iter()
                .map(|p| (p.tp.partition, p.forwarded))
                .collect(),
        }
    }
}
