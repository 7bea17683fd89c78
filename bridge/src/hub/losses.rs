//! What goes without having been delivered or stored: counted here, in the ledger each second.

use std::collections::HashMap;

use bytes::Bytes;
use edge_site::{LossCause, Refused, TopicPartition};

use super::{Hub, lock};
use crate::codec::packet::Publish;
use crate::message::Message;
use crate::trie::filters_overlap;

/// By cause and topic; not more than there are topics.
pub(super) type Losses = HashMap<(LossCause, Option<TopicPartition>), u64>;

/// Why a message is lost that was refused and that nobody sends again.
pub(crate) fn cause_of(refused: &Refused) -> LossCause {
    match refused {
        Refused::TooLarge { .. } => LossCause::TooLarge,
        Refused::Full { .. } | Refused::Poisoned { .. } | Refused::ReadOnly => {
            LossCause::StorageFull
        }
        Refused::UnknownTopic => LossCause::QueueLimit,
        Refused::NotLeader | Refused::Unknown | Refused::Stopping => LossCause::QosZeroOverload,
    }
}

impl Hub {
    /// Counts messages that are gone for any cause.
    pub(crate) fn lost(&self, cause: LossCause, partition: Option<TopicPartition>, count: u64) {
        let counters = &self.counters;
        match cause {
            LossCause::TooLarge => counters.too_large.add(count),
            // Of which nobody knows how many messages it is.
            LossCause::SubscriberGap => {}
            _ => counters.shed.add(count),
        }
        *lock(&self.shed).entry((cause, partition)).or_default() += count;
    }

    /// Counts one message; the routes say of which topic it was.
    pub(crate) fn lost_one(&self, cause: LossCause, publish: &Publish, client_id: &Bytes) {
        self.lost_by(cause, publish, client_id, 1);
    }

    /// A QoS 0 message that found no room in the mailboxes of so many subscribers.
    pub(crate) fn lost_by_slow(&self, message: &Message, subscribers: u64) {
        if subscribers > 0 {
            let Message { publish, client_id } = message;
            self.lost_by(LossCause::SlowSubscriber, publish, client_id, subscribers);
        }
    }

    fn lost_by(&self, cause: LossCause, publish: &Publish, client_id: &Bytes, count: u64) {
        let (decision, _) = self.routes.decide(&publish.topic, client_id);
        let table = self.site.topics();
        let partition = table.get(&decision.topic).map(|topic| topic.partition(0));
        self.lost(cause, partition, count);
    }

    /// Retention passed a subscriber: counted once for each topic that leads to its filters and
    /// of which something is gone.
    pub(crate) fn count_gap<'a>(&self, filters: impl Iterator<Item = &'a Bytes>) {
        let filters: Vec<_> = filters.collect();
        let leads = |led: &Bytes| filters.iter().any(|filter| filters_overlap(led, filter));
        for topic in self
            .site
            .topics()
            .iter()
            .filter(|topic| !topic.is_internal())
        {
            let routed = self.routes.filters_of(&topic.name);
            let is_gone = |partition| {
                let marks = self.site.marks(topic.partition(partition));
                marks.is_some_and(|marks| marks.start > 0)
            };
            if routed.is_none_or(|routed| routed.iter().any(leads))
                && (0..topic.partitions).any(is_gone)
            {
                self.lost(LossCause::SubscriberGap, Some(topic.partition(0)), 1);
            }
        }
    }

    /// Hands what was counted to the ledger of the site; called each second.
    pub(crate) async fn report_shed(&self) {
        let shed = std::mem::take(&mut *lock(&self.shed));
        for ((cause, partition), count) in shed {
            self.site.shed(cause, partition, count).await;
        }
    }
}
