//! The retained messages of a new subscription, read from the log as fast as the client takes.
//!
//! They are looked up a page at a time, so that a client that subscribes to everything and reads
//! nothing costs a page of topics and what one read brought, not all there are. Who asks for what
//! is not there has the index walked in vain: now and then the others have their turn.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use edge_site::{ReadError, RecordBatch, TopicPartition};

use crate::codec::packet::QoS;
use crate::dispatcher::DECOMPRESSED_BYTES_MAX;
use crate::hub::Hub;
use crate::mailbox::Delivery;
use crate::message::{Message, from_record};
use crate::retained::{Moment, Page, PageLimits, Source};
use crate::session::Subscription;

type Reading = Pin<Box<dyn Future<Output = Result<Vec<RecordBatch>, ReadError>> + Send>>;

/// Retained messages on their way to one client.
#[derive(Default)]
pub(crate) struct RetainedStream {
    /// By filter, so that they are not more than a client may have subscriptions.
    subscriptions: BTreeMap<Bytes, Asked>,
    current: Option<Asked>,
    /// A page of the current one.
    wanted: VecDeque<Wanted>,
    /// What its topics take.
    topic_bytes: usize,
    /// What its messages take that were read.
    message_bytes: usize,
    /// For the first one wanted.
    reading: Option<Reading>,
    /// Topics looked at since the others had their turn.
    looked_at: usize,
}

/// A subscription whose retained messages are not all found yet.
struct Asked {
    filter: Bytes,
    qos: QoS,
    subscription_id: Option<u32>,
    /// Whose messages it does not want: its own, with No Local.
    not_of: Option<Bytes>,
    moment: Moment,
    /// Topics up to this one were looked at.
    after: Option<Bytes>,
    /// There are none behind it.
    is_last: bool,
}

struct Wanted {
    topic: Bytes,
    /// Where the log had it when it was looked for; one at QoS 0 may have been in memory only,
    /// and is left there until its turn.
    offset: Option<i64>,
    /// As the log has it, once it was read.
    message: Option<Arc<Message>>,
}

/// One read of the log fetches about this much.
const READ_BYTES_MAX: usize = 64 << 10;
/// So much is looked up at once, to be read in the order in which the log has it.
const PAGE: PageLimits = PageLimits {
    count_max: 512,
    topic_bytes_max: 64 << 10,
    looked_at_max: 4096,
};
/// Kept of what a read brought beside the message it was for: a small batch may unpack to much.
const MESSAGES_BYTES_MAX: usize = 256 << 10;

impl RetainedStream {
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none() && self.subscriptions.is_empty()
    }

    /// The quality that the next one has at most; `None` = there is none.
    pub(crate) fn next_qos(&self) -> Option<QoS> {
        let next = self.current.as_ref();
        let next = next.or_else(|| self.subscriptions.values().next());
        next.map(|asked| asked.qos)
    }

    /// Adds what a subscription gets that was made at this moment.
    pub(crate) fn add(&mut self, subscription: &Subscription, client_id: &Bytes, moment: Moment) {
        let filter = subscription.filter.filter.clone();
        let no_local = subscription.filter.no_local;
        let asked = Asked {
            filter: filter.clone(),
            qos: subscription.filter.qos,
            subscription_id: subscription.subscription_id,
            not_of: no_local.then(|| client_id.clone()),
            moment,
            after: None,
            is_last: false,
        };
        self.subscriptions.insert(filter, asked);
    }

    /// Forgets what a subscription would have got.
    pub(crate) fn remove(&mut self, filter: &Bytes) {
        self.subscriptions.remove(filter);
        if self.current.as_ref().is_some_and(|c| c.filter == *filter) {
            let subscriptions = std::mem::take(&mut self.subscriptions);
            *self = RetainedStream {
                subscriptions,
                ..Default::default()
            };
        }
    }

    /// What it holds in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        let reading = self.reading.as_ref().map_or(0, |_| READ_BYTES_MAX);
        self.wanted.len() * size_of::<Wanted>() + self.topic_bytes + self.message_bytes + reading
    }

    /// The next one; `None` = that was all.
    pub(crate) fn poll_next(&mut self, hub: &Hub, cx: &mut Context) -> Poll<Option<Delivery>> {
        loop {
            if self.current.is_none() {
                self.current = self.subscriptions.pop_first().map(|(_, asked)| asked);
                if self.current.is_none() {
                    // An emptied map keeps a node of more than a kilobyte.
                    *self = RetainedStream::default();
                    return Poll::Ready(None);
                }
            }
            if self.wanted.is_empty() {
                if self.turn_page(hub) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                continue;
            }
            if let Some(reading) = &mut self.reading {
                let read = ready!(reading.as_mut().poll(cx));
                self.reading = None;
                self.fill_in(read.as_deref().unwrap_or_default());
                if self.wanted.front().is_some_and(|w| w.message.is_none()) {
                    self.look_again(hub, read.err());
                    continue;
                }
            }
            if let Some(delivery) = self.take_first(hub) {
                return Poll::Ready(Some(delivery));
            }
        }
    }

    /// Looks the next page up; says whether the others should have their turn first.
    fn turn_page(&mut self, hub: &Hub) -> bool {
        let Some(asked) = self.current.as_mut().filter(|asked| !asked.is_last) else {
            self.current = None;
            return false;
        };
        let page = asked.page(hub);
        self.looked_at += page.looked_at;
        self.topic_bytes = page.topic_bytes;
        let found = page.found.into_iter();
        let found = found.map(|(topic, offset)| Wanted {
            topic,
            offset,
            message: None,
        });
        self.wanted = found.collect();
        let by_place = |wanted: &Wanted| wanted.offset.unwrap_or(i64::MAX);
        self.wanted.make_contiguous().sort_by_key(by_place);
        let is_others_turn = self.looked_at >= PAGE.looked_at_max;
        if is_others_turn {
            self.looked_at = 0;
        }
        is_others_turn
    }

    /// The first one wanted, unless it has to be read, or its topic has a newer one by now: that
    /// comes by the live path.
    fn take_first(&mut self, hub: &Hub) -> Option<Delivery> {
        let (asked, first) = (self.current.as_ref()?, self.wanted.front_mut()?);
        let message = match (asked.find(hub, &first.topic), first.message.clone()) {
            (Some(_), Some(message)) | (Some(Source::Memory(message)), None) => Some(message),
            (Some(Source::Logged(offset)), None) => {
                first.offset = Some(offset);
                self.reading = read(hub, offset);
                if self.reading.is_some() {
                    return None;
                }
                None
            }
            (None, _) => None,
        };
        let wanted = message.filter(|message| asked.not_of.as_ref() != Some(&message.client_id));
        let delivery = wanted.map(|message| asked.delivery(message));
        self.pop();
        delivery
    }

    fn pop(&mut self) {
        if let Some(wanted) = self.wanted.pop_front() {
            self.topic_bytes -= wanted.topic.len();
            self.message_bytes -= wanted.message.map_or(0, |message| message.bytes());
        }
    }

    /// The first was not where it was: unless compaction moved it, it cannot be read.
    fn look_again(&mut self, hub: &Hub, error: Option<ReadError>) {
        let (Some(asked), Some(first)) = (&self.current, self.wanted.front()) else {
            return;
        };
        match asked.find(hub, &first.topic) {
            Some(Source::Logged(offset)) if first.offset == Some(offset) => {
                if hub.may_say(b"", "retained unreadable") {
                    let why = error.map_or("its batch is damaged".to_owned(), |e| e.to_string());
                    log::warn!("a retained message (_retained@{offset}) cannot be read: {why}");
                }
                self.pop();
            }
            _ => {}
        }
    }

    /// Puts the messages of a read in the places of their offsets, the first one in any case.
    fn fill_in(&mut self, batches: &[RecordBatch]) {
        let first = self.wanted.front().and_then(|first| first.offset);
        let mut wanted = self.wanted.iter_mut().peekable();
        for batch in batches {
            let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else {
                continue;
            };
            for (offset, record) in records.flatten() {
                let is_before = |wanted: &&mut Wanted| wanted.offset.is_some_and(|at| at < offset);
                while wanted.next_if(is_before).is_some() {}
                let Some(here) = wanted.next_if(|wanted| wanted.offset == Some(offset)) else {
                    continue;
                };
                // Offsets found in a topic that was deleted since say nothing about this one.
                let Some(message) =
                    from_record(&record).filter(|message| message.publish.topic == here.topic)
                else {
                    continue;
                };
                let bytes = self.message_bytes + message.bytes();
                if first != Some(offset) && bytes > MESSAGES_BYTES_MAX {
                    return;
                }
                self.message_bytes = bytes;
                here.message = Some(Arc::new(message));
            }
        }
    }
}

impl Asked {
    /// The next of its retained messages.
    fn page(&mut self, hub: &Hub) -> Page {
        let index = crate::hub::lock(&hub.retained);
        let page = index.page(&self.filter, self.moment, self.after.as_ref(), &PAGE);
        drop(index);
        self.after = page.rest_after.clone();
        self.is_last = page.rest_after.is_none();
        page
    }

    /// Where a message is by now; `None` = it was replaced, and the live path brings what by,
    /// perhaps before this one: then an older state would be the last that the client hears.
    fn find(&self, hub: &Hub, topic: &[u8]) -> Option<Source> {
        crate::hub::lock(&hub.retained).find(topic, self.moment)
    }

    fn delivery(&self, message: Arc<Message>) -> Delivery {
        Delivery {
            qos: self.qos.min(message.publish.qos),
            message,
            retain: true,
            subscription_ids: self.subscription_id.into_iter().collect(),
        }
    }
}

fn read(hub: &Hub, offset: i64) -> Option<Reading> {
    let topic = crate::hub::lock(&hub.retained).log()?;
    let partition = TopicPartition {
        topic,
        partition: 0,
    };
    let site = hub.site.clone();
    Some(Box::pin(async move {
        site.read(partition, offset, READ_BYTES_MAX).await
    }))
}

#[cfg(test)]
mod tests;
