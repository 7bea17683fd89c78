//! What a client subscribes to, within its limits.

use bytes::Bytes;

use super::holding::subscription_bytes;
use super::{Session, Step};
use crate::codec::packet::{QoS, Reason, Reply, Subscribe, SubscribeFilter};
use crate::codec::topic::{level_count, shared};

/// A subscription as it was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) filter: SubscribeFilter,
    pub(crate) subscription_id: Option<u32>,
    pub(crate) is_new: bool,
}

/// Filters of one client, all together; one of them may be as long as MQTT allows.
const FILTER_BYTES_MAX: usize = 256 << 10;

impl Session {
    /// Filters subscribed to.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = &Bytes> {
        self.subscriptions.iter()
    }

    /// Forgets what only packets and messages to come would need.
    pub(crate) fn let_go(&mut self) {
        self.subscriptions.clear();
        self.subscription_bytes = 0;
        self.aliases = Vec::new();
        self.alias_bytes = 0;
    }

    pub(super) fn handle_subscribe(&mut self, subscribe: Subscribe) -> Step {
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        let mut granted = Vec::new();
        for mut filter in subscribe.filters {
            if let Err(reason) = self.check_subscription(&filter) {
                reasons.push(reason);
                continue;
            }
            self.reductions.subscribe_qos |= filter.qos == QoS::ExactlyOnce;
            filter.qos = filter.qos.min(QoS::AtLeastOnce);
            reasons.push(Reason(filter.qos as u8));
            // A copy: the filter may be a slice of what was read with it.
            filter.filter = Bytes::copy_from_slice(&filter.filter);
            let is_new = self.subscriptions.insert(filter.filter.clone());
            if is_new {
                self.filter_bytes += filter.filter.len();
                self.subscription_bytes += subscription_bytes(&filter.filter);
            }
            let subscription_id = subscribe.subscription_id;
            granted.push(Subscription {
                filter,
                subscription_id,
                is_new,
            });
        }
        self.reply(&Reply::SubAck(subscribe.pkid, reasons));
        Step::Subscribe(granted)
    }

    fn check_subscription(&mut self, filter: &SubscribeFilter) -> Result<(), Reason> {
        let text = std::str::from_utf8(&filter.filter).unwrap_or_default();
        if shared(text).is_some() {
            self.reductions.shared = true;
            return Err(Reason::SHARED_NOT_SUPPORTED);
        }
        if level_count(&filter.filter) > self.limits.topic_levels_max {
            return Err(Reason::TOPIC_FILTER_INVALID);
        }
        let full = self.subscriptions.len() >= self.limits.subscriptions_max
            || self.filter_bytes + filter.filter.len() > FILTER_BYTES_MAX;
        if full && !self.subscriptions.contains(&filter.filter) {
            return Err(Reason::QUOTA_EXCEEDED);
        }
        Ok(())
    }

    pub(super) fn handle_unsubscribe(&mut self, pkid: u16, filters: Vec<Bytes>) -> Step {
        let mut reasons = Vec::with_capacity(filters.len());
        let mut removed = Vec::new();
        for filter in filters {
            if self.subscriptions.remove(&filter) {
                self.filter_bytes -= filter.len();
                self.subscription_bytes -= subscription_bytes(&filter);
                reasons.push(Reason::SUCCESS);
                removed.push(filter);
            } else {
                reasons.push(Reason::NO_SUBSCRIPTION_EXISTED);
            }
        }
        self.reply(&Reply::UnsubAck(pkid, reasons));
        Step::Unsubscribe(removed)
    }
}
