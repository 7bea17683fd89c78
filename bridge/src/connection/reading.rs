//! Reading: bytes to packets, packets to what the session says they mean.
//!
//! The socket is read while acknowledgements wait. When the site has no room the socket waits,
//! too, but pings that are already here are answered.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use edge_site::{LossCause, Pressure};
use smol::io::{AsyncRead, AsyncWrite};

use super::appending::{AwaitedTopic, Creation};
use super::intake::{Missing, unpinned};
use super::{Connection, Polled};
use crate::codec::packet::{Publish, QoS};
use crate::codec::{decode, frame_bytes};
use crate::hub::Hub;
use crate::session::{Close, Step, Subscription};

/// Read at most this much of a client whose publishes wait for room, to find its pings.
const AHEAD_BYTES_MAX: usize = 128 << 10;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Publishes gathered before they are handed on, though more are here.
const GATHER_BYTES_MAX: usize = 512 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn poll_read(&mut self, cx: &mut Context, now_ms: u64) -> bool {
        let is_full = self.is_full();
        let answered = is_full && self.answer_pings_ahead(now_ms);
        let may_read = match is_full {
            true => self.received.len() < AHEAD_BYTES_MAX,
            false => self.session.is_read_by_client(),
        };
        if self.eof || !may_read {
            return answered;
        }
        with_scratch(
            |scratch| match Pin::new(&mut self.stream).poll_read(cx, scratch) {
                Poll::Pending => answered,
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.eof = true;
                    true
                }
                Poll::Ready(Ok(count)) => {
                    receive(&mut self.received, &scratch[..count]);
                    true
                }
            },
        )
    }

    /// Takes packets off what was received and hands their publishes on, until something is
    /// missing: bytes, room or a topic.
    pub(super) fn parse(&mut self, now_ms: u64) -> Polled {
        let mut progress = false;
        if self.received.is_empty() || self.is_full() {
            return Ok(false);
        }
        self.intake.refresh(&self.hub);
        self.read_together_bytes = self.received.len();
        let wall_ms = Hub::wall_ms();
        let mut end = Ok(());
        while !self.is_blocked() && self.intake.bytes() < GATHER_BYTES_MAX {
            match self.parse_one(now_ms, wall_ms) {
                Ok(true) => progress = true,
                Ok(false) => break,
                Err(close) => {
                    end = Err(close);
                    break;
                }
            }
        }
        // What came before a good-bye, or before a mistake, is stored all the same.
        self.batches.extend(self.intake.take());
        self.append_batches(now_ms)?;
        self.say_reductions();
        end.map(|()| progress)
    }

    fn parse_one(&mut self, now_ms: u64, wall_ms: i64) -> Polled {
        let version = self.session.version();
        let bytes_max = self.hub.config.mqtt.packet_bytes_max;
        let found = frame_bytes(&self.received, Some(version), bytes_max)?;
        let Some((header, length)) = found.filter(|(_, length)| *length <= self.received.len())
        else {
            return Ok(false);
        };
        let frame = self.received.split_to(length);
        self.looked_ahead = self.looked_ahead.saturating_sub(length);
        let packet = decode(version, frame, header)?;
        match self.session.handle_packet(now_ms, packet) {
            Step::Idle => {}
            Step::Store(mut publish) => {
                let client_id = self.session.client_id();
                self.hub.limit_retained(&mut publish, client_id);
                self.store(now_ms, publish, wall_ms)?;
            }
            Step::Subscribe(granted) => self.subscribe(&granted),
            Step::Unsubscribe(filters) => {
                self.hub.unsubscribe(&self.mailbox, filters.iter());
                filters
                    .iter()
                    .for_each(|filter| self.retained.remove(filter));
            }
            Step::Close(close) => return Err(close),
        }
        Ok(true)
    }

    /// A publish: QoS 0 goes to subscribers at once, all go to the log.
    fn store(&mut self, now_ms: u64, publish: Publish, wall_ms: i64) -> Result<(), Close> {
        let counters = &self.hub.counters;
        counters.publishes_in.add(1);
        counters.payload_bytes_in.add(publish.payload.len() as u64);
        // A retained one is delivered as it enters the index.
        if publish.qos == QoS::AtMostOnce && !publish.retain {
            if self.hub.pressure() >= Pressure::ShedQos0 {
                // Neither delivered nor stored: it is what goes first.
                let client_id = self.session.client_id();
                self.hub
                    .lost_one(LossCause::QosZeroOverload, &publish, client_id);
                return Ok(());
            }
            self.deliver_live(&publish);
        }
        self.gather(now_ms, publish, wall_ms)
    }

    pub(super) fn deliver_live(&self, publish: &Publish) {
        let client_id = self.session.client_id();
        let make = || Arc::new(unpinned(publish, client_id));
        self.hub.deliver_live(&publish.topic, client_id, make);
    }

    pub(super) fn gather(
        &mut self,
        now_ms: u64,
        publish: Publish,
        wall_ms: i64,
    ) -> Result<(), Close> {
        match self
            .intake
            .prepare(&self.hub, &publish, self.session.client_id())
        {
            Ok(()) => {}
            Err(missing) => {
                self.wait_for_topic(publish, missing);
                return Ok(());
            }
        }
        match self
            .intake
            .add(&self.hub, &mut self.session, publish, wall_ms)
        {
            Ok(()) => Ok(()),
            Err((publish, refused)) => self.refuse(now_ms, &publish, refused),
        }
    }

    pub(super) fn wait_for_topic(&mut self, publish: Publish, missing: Missing) {
        let hub = self.hub.clone();
        let (created, decision): (Creation, _) = match missing {
            Missing::Retained => (
                Box::pin(async move { hub.create_retained_topic().await }),
                None,
            ),
            Missing::Topic(decision) => {
                let wanted = decision.clone();
                (
                    Box::pin(async move { hub.create_topic_for(&wanted).await }),
                    Some(decision),
                )
            }
        };
        self.waiting.topic = Some(Box::new(AwaitedTopic {
            created,
            publish,
            decision,
        }));
    }

    fn subscribe(&mut self, granted: &[Subscription]) {
        use crate::codec::packet::RetainHandling;
        for subscription in granted {
            let moment = self.hub.subscribe(&self.mailbox, subscription);
            let wants_retained = match subscription.filter.retain_handling {
                RetainHandling::Always => true,
                RetainHandling::IfNew => subscription.is_new,
                RetainHandling::Never => false,
            };
            if wants_retained {
                let client_id = self.session.client_id();
                self.retained.add(subscription, client_id, moment);
            }
        }
    }

    /// Publishes ahead of them wait for room; pings do not have to. Says whether there were any.
    fn answer_pings_ahead(&mut self, now_ms: u64) -> bool {
        let version = self.session.version();
        let bytes_max = self.hub.config.mqtt.packet_bytes_max;
        let mut answered = false;
        while let Some(rest) = self.received.get(self.looked_ahead..)
            && let Ok(Some((_, length))) = frame_bytes(rest, Some(version), bytes_max)
            && length <= rest.len()
        {
            if rest[0] >> 4 == 12 && length == 2 {
                self.session.handle_ping_ahead(now_ms);
                answered = true;
            }
            self.looked_ahead += length;
        }
        answered
    }
}

/// Adds to what was received, growing by what is there so that no length from outside allocates.
fn receive(received: &mut BytesMut, bytes: &[u8]) {
    if received.is_empty() {
        *received = BytesMut::from(bytes);
    } else {
        received.reserve(bytes.len().max(received.len()));
        received.extend_from_slice(bytes);
    }
}

/// One read buffer per thread: a quiet connection holds none, and what is read is copied once
/// into an allocation of its size.
fn with_scratch<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    thread_local! {
        static SCRATCH: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_BYTES]);
    }
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => read(&mut scratch),
        Err(_) => read(&mut vec![0; READ_BYTES]),
    })
}

/// Bytes read into `received`; 0 = the other side is done.
pub(crate) async fn read_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    received: &mut BytesMut,
) -> io::Result<usize> {
    std::future::poll_fn(|cx| {
        with_scratch(|scratch| {
            Pin::new(&mut *stream)
                .poll_read(cx, scratch)
                .map_ok(|count| {
                    receive(received, &scratch[..count]);
                    count
                })
        })
    })
    .await
}
