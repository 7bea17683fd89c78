//! The retained messages of a new subscription, read from the log as fast as the client takes.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use edge_site::{ReadError, RecordBatch};

use crate::codec::packet::QoS;
use crate::dispatcher::DECOMPRESSED_BYTES_MAX;
use crate::hub::Hub;
use crate::mailbox::Delivery;
use crate::message::{Message, from_record};
use crate::retained::Source;
use crate::session::Subscription;

type Reading = Pin<Box<dyn Future<Output = Result<Vec<RecordBatch>, ReadError>> + Send>>;

/// Retained messages on their way to one client.
#[derive(Default)]
pub(crate) struct RetainedStream {
    wanted: VecDeque<Wanted>,
    reading: Option<Reading>,
}

struct Wanted {
    source: Source,
    qos: QoS,
    subscription_id: Option<u32>,
}

/// One read of the log fetches about this much.
const READ_BYTES_MAX: usize = 64 << 10;

impl RetainedStream {
    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Adds what a subscription gets, in the order in which the log has it.
    pub(crate) fn add(&mut self, hub: &Hub, subscription: &Subscription) {
        let filter = &subscription.filter;
        let mut found = crate::hub::lock(&hub.retained).matching(&filter.filter);
        found.sort_by_key(|(_, source)| match source {
            Source::Logged(offset) => *offset,
            Source::Memory(_) => i64::MAX,
        });
        self.wanted
            .extend(found.into_iter().map(|(_, source)| Wanted {
                source,
                qos: filter.qos,
                subscription_id: subscription.subscription_id,
            }));
    }

    /// The next one. One that was replaced while we waited comes by the live path.
    pub(crate) fn poll_next(&mut self, hub: &Hub, cx: &mut Context) -> Poll<Option<Delivery>> {
        loop {
            let Some(first) = self.wanted.front() else {
                self.wanted = VecDeque::new();
                return Poll::Ready(None);
            };
            let Source::Logged(offset) = first.source else {
                if let Some(delivery) = self.wanted.pop_front().and_then(Wanted::delivery) {
                    return Poll::Ready(Some(delivery));
                }
                continue;
            };
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => match read(hub, offset) {
                    Some(reading) => self.reading.insert(reading),
                    None => {
                        self.wanted.pop_front();
                        continue;
                    }
                },
            };
            let batches = ready!(reading.as_mut().poll(cx)).unwrap_or_default();
            self.reading = None;
            self.fill_in(&batches);
            if let Some(Wanted {
                source: Source::Logged(at),
                ..
            }) = self.wanted.front()
                && *at == offset
            {
                // Trimmed since: whatever replaced it comes by the live path.
                self.wanted.pop_front();
            }
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
                if let (Some(here), Some(message)) = (here, from_record(&record)) {
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

impl Wanted {
    fn delivery(self) -> Option<Delivery> {
        let Source::Memory(message) = self.source else {
            return None;
        };
        Some(Delivery {
            qos: self.qos.min(quality(&message)),
            message,
            retain: true,
            subscription_ids: self.subscription_id.into_iter().collect(),
        })
    }
}

fn quality(message: &Message) -> QoS {
    message.publish.qos
}

fn read(hub: &Hub, offset: i64) -> Option<Reading> {
    let partition = hub.retained_topic()?.partition(0);
    let site = hub.site.clone();
    Some(Box::pin(async move {
        site.read(partition, offset, READ_BYTES_MAX).await
    }))
}
