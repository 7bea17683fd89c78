//! What goes without having been delivered or stored: counted here, in the ledger each second.

use std::collections::HashMap;

use bytes::Bytes;
use edge_site::{LossCause, Refused, TopicPartition};

use super::{Hub, lock};
use crate::codec::packet::Publish;

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
    /// Counts QoS 0 messages that were not stored (with a partition) or not delivered (without).
    pub(crate) fn shed(&self, partition: Option<TopicPartition>, count: u64) {
        self.lost(LossCause::QosZeroOverload, partition, count);
    }

    /// Counts messages that are gone for any cause.
    pub(crate) fn lost(&self, cause: LossCause, partition: Option<TopicPartition>, count: u64) {
        let counters = &self.counters;
        let counter = match cause {
            LossCause::TooLarge => &counters.too_large,
            _ => &counters.shed,
        };
        counter.add(count);
        *lock(&self.shed).entry((cause, partition)).or_default() += count;
    }

    /// Counts one message; the routes say of which topic it was.
    pub(crate) fn lost_one(&self, cause: LossCause, publish: &Publish, client_id: &Bytes) {
        let (decision, _) = self.routes.decide(&publish.topic, client_id);
        let table = self.site.topics();
        let partition = table.get(&decision.topic).map(|topic| topic.partition(0));
        self.lost(cause, partition, 1);
    }

    /// Hands what was counted to the ledger of the site; called each second.
    pub(crate) async fn report_shed(&self) {
        let shed = std::mem::take(&mut *lock(&self.shed));
        for ((cause, partition), count) in shed {
            self.site.shed(cause, partition, count).await;
        }
    }
}
