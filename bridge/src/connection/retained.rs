//! The retained messages of a new subscription, read from the log as fast as the client takes.
//!
//! They are looked up a page at a time, so that a client that subscribes to everything and reads
//! nothing costs a page, not a list of all there are.

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
use crate::retained::{Moment, Source};
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
    reading: Option<Reading>,
}

/// A subscription whose retained messages are not all found yet.
struct Asked {
    filter: Bytes,
    qos: QoS,
    subscription_id: Option<u32>,
    moment: Moment,
    /// Topics up to this one were found.
    after: Option<Bytes>,
}

struct Wanted {
    topic: Bytes,
    source: Source,
}

/// One read of the log fetches about this much.
const READ_BYTES_MAX: usize = 64 << 10;
/// So many are looked up at once, to be read in the order in which the log has them.
const PAGE_COUNT: usize = 512;

impl RetainedStream {
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none() && self.subscriptions.is_empty()
    }

    /// Adds what a subscription gets that was made at this moment.
    pub(crate) fn add(&mut self, subscription: &Subscription, moment: Moment) {
        let filter = subscription.filter.filter.clone();
        let asked = Asked {
            filter: filter.clone(),
            qos: subscription.filter.qos,
            subscription_id: subscription.subscription_id,
            moment,
            after: None,
        };
        self.subscriptions.insert(filter, asked);
    }

    /// Forgets what a subscription would have got.
    pub(crate) fn remove(&mut self, filter: &Bytes) {
        self.subscriptions.remove(filter);
        if self.current.as_ref().is_some_and(|c| c.filter == *filter) {
            self.current = None;
            self.wanted = VecDeque::new();
            self.reading = None;
        }
    }

    /// The next one; `None` = that was all.
    pub(crate) fn poll_next(&mut self, hub: &Hub, cx: &mut Context) -> Poll<Option<Delivery>> {
        loop {
            let Some(asked) = &mut self.current else {
                self.current = self.subscriptions.pop_first().map(|(_, asked)| asked);
                if self.current.is_none() {
                    // An emptied map keeps a node of more than a kilobyte.
                    *self = RetainedStream::default();
                    return Poll::Ready(None);
                }
                continue;
            };
            let Some(first) = self.wanted.front_mut() else {
                self.wanted = asked.page(hub);
                if self.wanted.is_empty() {
                    self.current = None;
                }
                continue;
            };
            let offset = match &first.source {
                Source::Logged(offset) => *offset,
                Source::Memory(message) => {
                    let delivery = asked.delivery(message.clone());
                    let is_newest = asked.find(hub, &first.topic).is_some();
                    self.wanted.pop_front();
                    if is_newest {
                        return Poll::Ready(Some(delivery));
                    }
                    continue;
                }
            };
            if self.reading.is_none() {
                self.reading = read(hub, offset);
            }
            let batches = match &mut self.reading {
                Some(reading) => ready!(reading.as_mut().poll(cx)),
                None => Err(ReadError::UnknownTopic),
            };
            self.reading = None;
            self.fill_in(&batches.unwrap_or_default());
            self.look_again(hub, offset);
        }
    }

    /// The first was not where it was: compaction moved it, or it was cleared or replaced, and
    /// then what came instead came by the live path.
    fn look_again(&mut self, hub: &Hub, offset: i64) {
        let (Some(asked), Some(first)) = (&self.current, self.wanted.front_mut()) else {
            return;
        };
        if first.source != Source::Logged(offset) {
            return;
        }
        match asked.find(hub, &first.topic) {
            Some(source) if source != first.source => first.source = source,
            _ => drop(self.wanted.pop_front()),
        }
    }

    /// Puts the messages of a read in the places of their offsets.
    fn fill_in(&mut self, batches: &[RecordBatch]) {
        let mut wanted = self.wanted.iter_mut().peekable();
        for batch in batches {
            let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else {
                continue;
            };
            for (offset, record) in records.flatten() {
                while wanted
                    .next_if(|w| w.source.offset().is_some_and(|at| at < offset))
                    .is_some()
                {}
                let here = wanted.next_if(|w| w.source.offset() == Some(offset));
                // Offsets found in a topic that was deleted since say nothing about this one.
                if let (Some(here), Some(message)) = (here, from_record(&record))
                    && message.publish.topic == here.topic
                {
                    here.source = Source::Memory(Arc::new(message));
                }
            }
        }
    }
}

impl Source {
    fn offset(&self) -> Option<i64> {
        match self {
            Source::Logged(offset) => Some(*offset),
            Source::Memory(_) => None,
        }
    }
}

impl Asked {
    /// The next of its retained messages, in the order in which the log has them.
    fn page(&mut self, hub: &Hub) -> VecDeque<Wanted> {
        let index = crate::hub::lock(&hub.retained);
        let after = self.after.as_ref();
        let found = index.page(&self.filter, self.moment, after, PAGE_COUNT);
        drop(index);
        if let Some((last, _)) = found.last() {
            self.after = Some(last.clone());
        }
        let found = found.into_iter();
        let mut page: Vec<Wanted> = found
            .map(|(topic, source)| Wanted { topic, source })
            .collect();
        page.sort_by_key(|wanted| wanted.source.offset().unwrap_or(i64::MAX));
        page.into()
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
