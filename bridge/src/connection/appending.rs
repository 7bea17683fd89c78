//! Appending: publishes to the site, and what becomes of them.
//!
//! In order, until it has no room; acknowledgements leave as tickets are spent.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use edge_site::{LossCause, Refused, Ticket, Topic, TopicError, TopicPartition, TryAppendError};
use smol::io::{AsyncRead, AsyncWrite};

use super::intake::Batch;
use super::{Connection, Polled};
use crate::codec::packet::{Publish, QoS};
use crate::hub::{Hub, cause_of};
use crate::retaining::{RetainedItem, refuse_together};
use crate::routes::Decision;
use crate::session::{Close, Outcome};

/// What keeps the connection from taking the next publish. Both at once are possible: a publish
/// needs a topic, and for those before it the site has no room.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) room: Option<Box<AwaitedRoom>>,
    pub(super) topic: Option<Box<AwaitedTopic>>,
}

/// An append for which the site has no room; `batches` come after it.
pub(super) struct AwaitedRoom {
    pub(super) append: Pin<Box<dyn Future<Output = Result<Ticket, Refused>> + Send>>,
    pub(super) sent: Sent,
}

/// A publish whose topic has to be created first; it comes after `batches`.
pub(super) struct AwaitedTopic {
    pub(super) created: Creation,
    pub(super) publish: Publish,
    /// `None` = the topic of retained messages.
    pub(super) decision: Option<Decision>,
}

pub(super) type Creation = Pin<Box<dyn Future<Output = Result<Arc<Topic>, TopicError>> + Send>>;

/// What has to be known about an append when it is spent.
pub(super) struct Sent {
    pub(super) number: Option<u64>,
    pub(super) bytes: usize,
    /// QoS 0 records in it: counted if they are refused.
    pub(super) sheddable: Vec<(TopicPartition, u64)>,
    pub(super) retained: Vec<RetainedItem>,
    pub(super) at: Instant,
}

pub(super) struct UnderWay {
    pub(super) ticket: Ticket,
    pub(super) sent: Sent,
}

/// Not acknowledged bytes of one connection; beyond it its socket waits.
const UNDER_WAY_BYTES_MAX: usize = 1 << 20;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn is_blocked(&self) -> bool {
        let Waiting { room, topic } = &self.waiting;
        room.is_some() || topic.is_some() || !self.batches.is_empty()
    }

    /// Nothing more is taken off what was received.
    pub(super) fn is_full(&self) -> bool {
        self.is_blocked() || self.under_way_bytes > UNDER_WAY_BYTES_MAX
    }

    /// Hands gathered publishes to the site, in order, until it has no room.
    pub(super) fn append_batches(&mut self, now_ms: u64) -> Polled {
        let mut progress = false;
        while self.waiting.room.is_none()
            && let Some(batch) = self.batches.pop_front()
        {
            progress = true;
            let is_sheddable = batch.is_sheddable();
            let Batch {
                request,
                number,
                bytes,
                sheddable,
                retained,
                ..
            } = batch;
            let sent = Sent {
                number,
                bytes,
                sheddable,
                retained,
                at: Instant::now(),
            };
            match self.hub.site.try_append(request) {
                Ok(ticket) => self.under_way(ticket, sent),
                Err(TryAppendError::Busy(_)) if is_sheddable => {
                    self.lost(LossCause::QosZeroOverload, &sent.sheddable);
                }
                Err(TryAppendError::Busy(request)) => {
                    let site = self.hub.site.clone();
                    let append = Box::pin(async move { site.append(request).await });
                    self.waiting.room = Some(Box::new(AwaitedRoom { append, sent }));
                }
                Err(TryAppendError::Refused(refused)) => {
                    self.spent(now_ms, &sent, Err(refused))?;
                }
            }
        }
        Ok(progress)
    }

    fn under_way(&mut self, ticket: Ticket, sent: Sent) {
        if sent.number.is_none() {
            // Nobody waits for QoS 0; refused, it is counted by the site.
            return;
        }
        self.under_way_bytes += sent.bytes;
        self.under_way.push_back(UnderWay { ticket, sent });
    }

    /// What we waited for came: room, or a topic. Room first: what waits for it is older.
    pub(super) fn poll_waiting(&mut self, cx: &mut Context, now_ms: u64) -> Polled {
        let mut progress = self.poll_room(cx, now_ms)?;
        progress |= self.append_batches(now_ms)?;
        progress |= self.poll_topic(cx, now_ms)?;
        Ok(progress)
    }

    fn poll_room(&mut self, cx: &mut Context, now_ms: u64) -> Polled {
        let Some(mut waiting) = self.waiting.room.take() else {
            return Ok(false);
        };
        match waiting.append.as_mut().poll(cx) {
            Poll::Pending => {
                self.waiting.room = Some(waiting);
                return Ok(false);
            }
            Poll::Ready(Ok(ticket)) => self.under_way(ticket, waiting.sent),
            Poll::Ready(Err(refused)) => self.spent(now_ms, &waiting.sent, Err(refused))?,
        }
        Ok(true)
    }

    fn poll_topic(&mut self, cx: &mut Context, now_ms: u64) -> Polled {
        let Some(mut waiting) = self.waiting.topic.take() else {
            return Ok(false);
        };
        let Poll::Ready(outcome) = waiting.created.as_mut().poll(cx) else {
            self.waiting.topic = Some(waiting);
            return Ok(false);
        };
        let AwaitedTopic {
            publish, decision, ..
        } = *waiting;
        self.topic_came(now_ms, publish, decision, outcome)?;
        Ok(true)
    }

    fn topic_came(
        &mut self,
        now_ms: u64,
        publish: Publish,
        decision: Option<Decision>,
        outcome: Result<Arc<Topic>, TopicError>,
    ) -> Result<(), Close> {
        self.intake.refresh(&self.hub);
        let outcome = match (outcome, decision) {
            (Ok(_), _) => Ok(()),
            (Err(TopicError::Refused(refused)), _) => Err(refused),
            (Err(error), Some(decision)) if decision.is_templated => {
                self.say_fallback(&decision.topic, &error);
                let builtin = self.hub.routes.decide_builtin(&publish.topic);
                match self.intake.retarget(&self.hub, &publish.topic, builtin) {
                    Ok(()) => Ok(()),
                    Err(missing) => {
                        self.wait_for_topic(publish, missing);
                        return Ok(());
                    }
                }
            }
            (Err(error), _) => {
                log::debug!("topic cannot be had: {error}");
                Err(Refused::UnknownTopic)
            }
        };
        match outcome {
            Ok(()) => {
                self.gather(now_ms, publish, Hub::wall_ms())?;
                self.batches.extend(self.intake.take());
                self.append_batches(now_ms).map(drop)
            }
            Err(refused) => self.refuse(now_ms, &publish, refused),
        }
    }

    /// Refuses one publish that never became part of an append.
    pub(super) fn refuse(
        &mut self,
        now_ms: u64,
        publish: &Publish,
        refused: Refused,
    ) -> Result<(), Close> {
        if publish.qos == QoS::AtMostOnce {
            if publish.retain {
                self.deliver_live(publish);
            }
            let client_id = self.session.client_id();
            self.hub.lost_one(cause_of(&refused), publish, client_id);
            return Ok(());
        }
        let number = self.session.open_request();
        self.session
            .handle_stored(publish.pkid, publish.qos, number, 0, None);
        let sent = Sent {
            number: Some(number),
            bytes: 0,
            sheddable: Vec::new(),
            retained: Vec::new(),
            at: Instant::now(),
        };
        self.spent(now_ms, &sent, Err(refused))
    }

    pub(super) fn poll_tickets(&mut self, cx: &mut Context, now_ms: u64) -> Polled {
        let mut progress = false;
        while let Some(first) = self.under_way.front_mut() {
            let Poll::Ready(outcome) = Pin::new(&mut first.ticket).poll(cx) else {
                break;
            };
            progress = true;
            if let Some(UnderWay { sent, .. }) = self.under_way.pop_front() {
                self.under_way_bytes -= sent.bytes;
                self.spent(now_ms, &sent, outcome)?;
            }
        }
        Ok(progress)
    }

    /// An append came to its end: retained messages move, acknowledgements leave.
    fn spent(&mut self, now_ms: u64, sent: &Sent, mut outcome: Outcome) -> Result<(), Close> {
        self.hub.settle(&sent.retained, &outcome);
        self.count_refused(sent, &outcome);
        refuse_together(&mut outcome, &sent.retained);
        let Some(number) = sent.number else {
            return Ok(());
        };
        match &outcome {
            Err(refused) => self.say_refused(refused),
            Ok(appended) => {
                let first = appended.refused.first();
                first.iter().for_each(|one| self.say_refused(&one.why));
            }
        }
        let before = self.session.in_line();
        let refused = outcome.is_err();
        let close = self.session.handle_spent(now_ms, number, outcome);
        let left_line = (before - self.session.in_line()) as u64;
        let counters = &self.hub.counters;
        if refused {
            counters.publishes_refused.add(left_line);
        } else if left_line > 0 {
            counters.publishes_acked.add(left_line);
            counters.pubacks.add(sent.at.elapsed().as_micros() as u64);
        }
        close.map_or(Ok(()), Err)
    }

    /// Counts QoS 0 that rode with others; what went by itself is counted by the site.
    fn count_refused(&self, sent: &Sent, outcome: &Outcome) {
        match outcome {
            Err(refused) => self.lost(cause_of(refused), &sent.sheddable),
            Ok(appended) if appended.refused.is_empty() => {}
            Ok(appended) => {
                for (partition, count) in &sent.sheddable {
                    let refused = appended.refused.iter();
                    let mut refused = refused.filter(|one| one.partition == *partition);
                    if let Some(first) = refused.next() {
                        let count = (*count).min(1 + refused.count() as u64);
                        self.hub.lost(cause_of(&first.why), Some(*partition), count);
                    }
                }
            }
        }
    }
}
