//! Who gets a message: subscriptions, and delivery to the mailboxes of those that match.
//!
//! Lock order: the index of retained messages, the subscriptions, one mailbox.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use edge_site::TopicId;

use super::{Hub, lock};
use crate::codec::packet::{Publish, QoS};
use crate::connection::{name, unpinned};
use crate::mailbox::{Delivery, Mailbox, Position};
use crate::message::Message;
use crate::retained::Moment;
use crate::retaining::RetainedLog;
use crate::session::Subscription;

/// One subscription in the tree.
pub(super) struct Subscriber {
    mailbox: Arc<Mailbox>,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    subscription_id: Option<u32>,
    since: Since,
}

/// What is too old for a subscription, though it may come across it: the dispatcher is behind
/// what is committed, and a session that catches up is further behind.
#[derive(Clone, Copy)]
struct Since {
    /// Frames before this one were committed before it was subscribed.
    index: u64,
    /// Retained messages before this offset it got, or did not want, as such…
    passed: i64,
    /// …and so those that the index had by then.
    moment: Moment,
}

impl Since {
    fn excludes(&self, place: Place) -> bool {
        match place.retained {
            Some(record) => record.offset < self.passed || record.known_since <= self.moment,
            None => place.position.0 < self.index,
        }
    }
}

/// The record of a committed message among the retained ones.
#[derive(Clone, Copy)]
pub(crate) struct RetainedPlace {
    pub(crate) offset: i64,
    /// Since when the index has it.
    pub(crate) known_since: Moment,
}

/// Where a committed message is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) position: Position,
    /// Where it has one.
    pub(crate) retained: Option<RetainedPlace>,
}

impl Hub {
    /// Adds a subscription, or replaces the one with its filter; the moment is for its retained
    /// messages.
    pub(crate) fn subscribe(&self, mailbox: &Arc<Mailbox>, subscription: &Subscription) -> Moment {
        let filter = &subscription.filter;
        let index = self.site.frames(None).next_index();
        // Held together, as the dispatcher does where it delivers retained messages: each comes
        // before this subscription or after it.
        let retained = lock(&self.retained);
        let mut subscriptions = self
            .subscriptions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let (moment, passed) = retained.now();
        let replaced = subscriptions.remove(&filter.filter, mailbox.id);
        let since = replaced.map_or(
            Since {
                index,
                passed,
                moment,
            },
            |replaced| replaced.since,
        );
        let subscriber = Subscriber {
            mailbox: mailbox.clone(),
            qos: filter.qos,
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
            subscription_id: subscription.subscription_id,
            since,
        };
        subscriptions.insert(&filter.filter, mailbox.id, subscriber);
        self.subscriptions_version.fetch_add(1, Ordering::Release);
        moment
    }

    pub(crate) fn unsubscribe<'a>(
        &self,
        mailbox: &Mailbox,
        filters: impl Iterator<Item = &'a Bytes>,
    ) {
        let mut filters = filters.peekable();
        if filters.peek().is_none() {
            // The dispatcher would ask anew what is wanted.
            return;
        }
        let mut subscriptions = self
            .subscriptions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for filter in filters {
            subscriptions.remove(filter, mailbox.id);
        }
        self.subscriptions_version.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    pub(crate) fn subscriptions_version(&self) -> u64 {
        self.subscriptions_version.load(Ordering::Acquire)
    }

    /// Calls `found` with each filter subscribed to.
    pub(crate) fn any_filter(&self, found: impl FnMut(&[u8]) -> bool) -> bool {
        self.subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .any_filter(found)
    }

    /// Delivers a QoS 0 message at once; sheds where a subscriber is slow.
    pub(crate) fn deliver_live(
        &self,
        topic: &[u8],
        client_id: &[u8],
        make: impl FnOnce() -> Arc<Message>,
    ) {
        let matched = self.matched(topic, client_id, None, |_| true);
        if matched.is_empty() {
            return;
        }
        let message = make();
        let mut shed = 0;
        for matched in matched {
            let mailbox = matched.mailbox.clone();
            shed += u64::from(!mailbox.push_live(matched.delivery(&message)));
        }
        self.lost_by_slow(&message, shed);
    }

    /// Takes the retain flag off a publish that the index has no room for, and says so: it is
    /// delivered and stored all the same.
    pub(crate) fn limit_retained(&self, publish: &mut Publish, client_id: &Bytes) {
        if !publish.retain {
            return;
        }
        let bytes_max = self.config.mqtt.retained_index_bytes_max;
        let log = self
            .retained_topic()
            .map(|topic| RetainedLog::from(&*topic));
        let limit = if log.is_some_and(|log| !log.takes(&publish.topic)) {
            "its topic is longer than max.message.bytes of _retained allows"
        } else if publish.payload.is_empty()
            || lock(&self.retained).has_room(&publish.topic, bytes_max)
        {
            return;
        } else {
            "the index has reached mqtt.retained_index_bytes_max"
        };
        publish.retain = false;
        if self.may_say(client_id, "retained") {
            let name = name(client_id);
            log::warn!("client {name}: a retained message is delivered, but not kept: {limit}");
        }
    }

    /// A retained publish is about to be appended: the index knows it from here on, and at QoS 0
    /// those who subscribed before get it at once; not kept, its topic is cleared. Gives back the
    /// number it ends with.
    pub(crate) fn begin_retained(
        &self,
        publish: &Publish,
        client_id: &Bytes,
        log: TopicId,
        is_kept: bool,
    ) -> u64 {
        let token = self.next_id();
        if publish.qos > QoS::AtMostOnce {
            let mut index = lock(&self.retained);
            index.follow(log);
            index.begin(&publish.topic, token, None);
            return token;
        }
        let message = Arc::new(unpinned(publish, client_id));
        let visible = is_kept.then(|| message.clone());
        // Held over the delivery: who subscribes gets it live or as retained, not both, not none.
        let mut index = lock(&self.retained);
        index.follow(log);
        index.begin(&publish.topic, token, Some(visible));
        self.deliver_live(&publish.topic, client_id, || message);
        token
    }

    /// Delivers a committed message to the sessions that keep up; gives back how many.
    pub(crate) fn deliver_committed(
        &self,
        place: Place,
        topic: &[u8],
        client_id: &[u8],
        make: impl FnOnce() -> Option<Message>,
    ) -> usize {
        let matched = self.matched(topic, client_id, None, |s| !s.since.excludes(place));
        if matched.is_empty() {
            return 0;
        }
        let Some(message) = make().map(Arc::new) else {
            return 0;
        };
        let count = matched.len();
        let mut shed = 0;
        for matched in matched {
            let mailbox = matched.mailbox.clone();
            let delivery = matched.delivery(&message);
            if delivery.qos == QoS::AtMostOnce {
                shed += u64::from(!mailbox.push_live(delivery));
            } else {
                mailbox.push_committed(place.position, delivery);
            }
        }
        self.lost_by_slow(&message, shed);
        count
    }

    /// What one session that catches up gets of a committed message; QoS 0 it got, or was shed.
    pub(crate) fn delivery_for(
        &self,
        session: u64,
        place: Place,
        topic: &[u8],
        client_id: &[u8],
        make: impl FnOnce() -> Option<Message>,
    ) -> Option<Delivery> {
        let wants = |subscriber: &Subscriber| !subscriber.since.excludes(place);
        let matched = self.matched(topic, client_id, Some(session), wants).pop()?;
        if matched.qos == QoS::AtMostOnce {
            return None;
        }
        let message = Arc::new(make()?);
        Some(matched.delivery(&message))
    }

    /// Who gets a message: each session once, with the best of its subscriptions that match.
    fn matched(
        &self,
        topic: &[u8],
        client_id: &[u8],
        only: Option<u64>,
        wants: impl Fn(&Subscriber) -> bool,
    ) -> Vec<Matched> {
        let mut all: Vec<Matched> = Vec::new();
        let subscriptions = self
            .subscriptions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        subscriptions.matches(topic, |id, subscriber| {
            let own = subscriber.no_local && subscriber.mailbox.client_id == client_id;
            if own || only.is_some_and(|only| only != id) || !wants(subscriber) {
                return;
            }
            all.push(Matched {
                mailbox: subscriber.mailbox.clone(),
                qos: subscriber.qos,
                retain_as_published: subscriber.retain_as_published,
                subscription_ids: subscriber.subscription_id.into_iter().collect(),
            });
        });
        drop(subscriptions);
        if all.len() > 1 {
            merge_overlapping(&mut all);
        }
        all
    }
}

struct Matched {
    mailbox: Arc<Mailbox>,
    qos: QoS,
    retain_as_published: bool,
    subscription_ids: Vec<u32>,
}

impl Matched {
    /// Quality is the lower of published and subscribed; a live message is not a retained one.
    fn delivery(self, message: &Arc<Message>) -> Delivery {
        Delivery {
            message: message.clone(),
            qos: self.qos.min(message.publish.qos),
            retain: self.retain_as_published && message.publish.retain,
            subscription_ids: self.subscription_ids,
        }
    }
}

fn merge_overlapping(all: &mut Vec<Matched>) {
    all.sort_by_key(|matched| matched.mailbox.id);
    all.dedup_by(|next, kept| {
        if next.mailbox.id != kept.mailbox.id {
            return false;
        }
        kept.qos = kept.qos.max(next.qos);
        kept.retain_as_published |= next.retain_as_published;
        kept.subscription_ids.append(&mut next.subscription_ids);
        true
    });
}

#[cfg(test)]
mod tests {
    use super::Since;

    /// Each kept a list of up to 1,024 topics, for as long as it was there: 5,000 took 100 MB.
    #[test]
    fn a_subscription_remembers_a_moment_and_nothing_on_the_heap() {
        fn is_plain<T: Copy>(_: &T) {}
        let since = Since {
            index: 1,
            passed: 2,
            moment: 3,
        };
        is_plain(&since);
        assert!(size_of_val(&since) <= 24);
    }
}
