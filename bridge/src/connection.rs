//! The task of one connection: reads, asks the session core, appends, writes.
//!
//! ```text
//!   socket ─read─▶ frames ─▶ session ─▶ intake ─▶ Site::append ─▶ tickets
//!   socket ◀─write─ transmit ◀─ acks in order ◀──────────────────────┘
//!                      ▲
//!                      └─ mailbox (live, committed), catch-up, retained
//! ```
//!
//! Everything is polled in one task, without an allocation or a lock per message. The socket is
//! read while acknowledgements wait. When the site has no room the socket waits, too, but pings
//! that are already here are answered.

mod catch_up;
mod intake;
mod retained;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use edge_site::{Refused, Ticket, Topic, TopicError, TopicPartition, TryAppendError};
use smol::io::{AsyncRead, AsyncWrite};

use self::catch_up::{CatchUp, Caught};
use self::intake::{Batch, Intake, Missing};
pub(crate) use self::intake::{RetainedItem, retained_bytes, unpinned};
use self::retained::RetainedStream;
use crate::codec::packet::{Publish, QoS, Reason};
use crate::codec::{decode, frame_bytes};
use crate::hub::{Hub, Registered, lock};
use crate::mailbox::{Delivery as Mail, Mailbox, Signal, Standing};
use crate::routes::Decision;
use crate::session::{Cause, Close, Delivery, Outcome, Session, Step};

/// One connection after its CONNECT.
pub(crate) struct Connection<S> {
    hub: Arc<Hub>,
    stream: S,
    session: Session,
    mailbox: Arc<Mailbox>,
    _registered: Registered,
    received: BytesMut,
    /// Bytes at the front of `received` that were looked at for pings while we waited for room.
    looked_ahead: usize,
    eof: bool,
    write_failed: bool,
    intake: Intake,
    batches: VecDeque<Batch>,
    waiting: Option<Waiting>,
    under_way: VecDeque<UnderWay>,
    under_way_bytes: usize,
    catch_up: Option<CatchUp>,
    retained: RetainedStream,
    timer: smol::Timer,
    timer_ms: Option<u64>,
    said_reductions: crate::session::Reductions,
}

/// What keeps the connection from taking the next publish.
enum Waiting {
    /// The site has no room for an append.
    Room {
        append: Pin<Box<dyn Future<Output = Result<Ticket, Refused>> + Send>>,
        sent: Sent,
    },
    /// A topic has to be created first.
    Topic {
        created: Pin<Box<dyn Future<Output = Result<Arc<Topic>, TopicError>> + Send>>,
        publish: Publish,
        /// `None` = the topic of retained messages.
        decision: Option<Decision>,
    },
}

/// What has to be known about an append when it is spent.
struct Sent {
    number: Option<u64>,
    bytes: usize,
    /// QoS 0 records in it: counted if they are refused.
    sheddable: Vec<(TopicPartition, u64)>,
    retained: Vec<RetainedItem>,
    at: Instant,
}

struct UnderWay {
    ticket: Ticket,
    sent: Sent,
}

/// Not acknowledged bytes of one connection; beyond it its socket waits.
const UNDER_WAY_BYTES_MAX: usize = 1 << 20;
/// Appends whose outcome a connection follows; the outcome of QoS 0 beyond them is not looked at.
const UNDER_WAY_COUNT_MAX: usize = 1024;
/// Read at most this much of a client whose publishes wait for room, to find its pings.
const AHEAD_BYTES_MAX: usize = 128 << 10;
/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// Publishes gathered before they are handed on, though more are here.
const GATHER_BYTES_MAX: usize = 512 << 10;
/// Rounds of one poll before other tasks get their turn.
const ROUNDS_MAX: usize = 8;
/// What may stay allocated for a connection that is quiet.
const IDLE_BYTES_MAX: usize = 1024;
/// How long the last bytes may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a closed connection's last appends may wait for room.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3);
/// How long, and how many bytes, a client may take to notice that it was sent away.
const LINGER_TIMEOUT: Duration = Duration::from_millis(300);
const LINGER_BYTES_MAX: usize = 1 << 20;
/// How long a stopping gateway waits for what is being stored.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);

type Polled = Result<bool, Close>;

fn lost() -> Close {
    Close {
        reason: Reason::UNSPECIFIED,
        what: "the connection was lost",
        cause: Cause::Gateway,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(
        hub: Arc<Hub>,
        stream: S,
        session: Session,
        registered: Registered,
        received: BytesMut,
    ) -> Box<Self> {
        Box::new(Connection {
            hub,
            stream,
            session,
            mailbox: registered.mailbox.clone(),
            _registered: registered,
            received,
            looked_ahead: 0,
            eof: false,
            write_failed: false,
            intake: Intake::default(),
            batches: VecDeque::new(),
            waiting: None,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            catch_up: None,
            retained: RetainedStream::default(),
            timer: smol::Timer::never(),
            timer_ms: None,
            said_reductions: Default::default(),
        })
    }

    /// Serves the client until it goes or is sent away.
    ///
    /// Boxed, and its end apart: ten thousand quiet connections wait in the first line.
    pub(crate) async fn run(mut self: Box<Self>) {
        self.say_reductions();
        let close = std::future::poll_fn(|cx| self.poll(cx)).await;
        Box::pin(self.end(close)).await;
    }

    /// The last words; then the client's will, its subscriptions, its id.
    async fn end(mut self: Box<Self>, close: Close) {
        let left_by_itself = matches!(close.cause, Cause::Client | Cause::ClientWithWill);
        self.say_close(&close);
        self.finish_appends().await;
        if !(left_by_itself || self.eof) {
            // Before the good-bye: nothing may follow a DISCONNECT (MQTT 5 §3.14.4).
            self.finish_acks().await;
        }
        if close.cause == Cause::Refused {
            self.hold_for_repeating(&close).await;
        }
        self.session.handle_close(&close);
        self.flush().await;
        if close.cause != Cause::Client && !self.eof {
            self.linger().await;
        }
        let hub = self.hub.clone();
        hub.unsubscribe(&self.mailbox, self.session.subscriptions());
        // Also where the gateway stops: its clients may not be there when it comes back.
        if close.cause != Cause::Client
            && let Some(will) = self.session.take_will()
        {
            crate::publish::publish(&hub, will, self.session.client_id()).await;
        }
        hub.unregister(&self.mailbox);
        self.settle_retained().await;
    }

    /// One turn: everything that can be done now is done.
    fn poll(&mut self, cx: &mut Context) -> Poll<Close> {
        for _ in 0..ROUNDS_MAX {
            match self.round(cx) {
                Err(close) => return Poll::Ready(close),
                Ok(true) => {}
                Ok(false) => {
                    self.rest();
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn round(&mut self, cx: &mut Context) -> Polled {
        let now_ms = self.hub.now_ms();
        let mut progress = self.poll_waiting(cx, now_ms)?;
        progress |= self.poll_tickets(cx, now_ms)?;
        progress |= self.poll_mail(cx)?;
        progress |= self.poll_catch_up(cx);
        progress |= self.poll_retained(cx);
        let parsed = self.parse(now_ms)?;
        progress |= parsed;
        progress |= self.poll_write(cx);
        progress |= self.poll_read(cx, now_ms);
        // What came before the end is taken first: a good-bye may be in it.
        if self.eof && !parsed && !self.is_full() {
            return Err(lost());
        }
        self.poll_timer(cx, now_ms)?;
        Ok(progress)
    }

    /// Gives memory back that a quiet connection does not need.
    fn rest(&mut self) {
        if self.received.is_empty() && self.received.capacity() > 0 {
            self.received = BytesMut::new();
        }
        let transmit = self.session.transmit();
        if transmit.is_empty() && transmit.capacity() > IDLE_BYTES_MAX {
            *transmit = BytesMut::new();
        }
    }

    // ---- reading ----

    fn is_blocked(&self) -> bool {
        self.waiting.is_some() || !self.batches.is_empty()
    }

    /// Nothing more is taken off what was received.
    fn is_full(&self) -> bool {
        self.is_blocked() || self.under_way_bytes > UNDER_WAY_BYTES_MAX
    }

    fn poll_read(&mut self, cx: &mut Context, now_ms: u64) -> bool {
        let may_read = match self.is_full() {
            true => self.received.len() < AHEAD_BYTES_MAX,
            false => self.session.is_read_by_client(),
        };
        if self.eof || !may_read {
            return false;
        }
        let progress =
            with_scratch(
                |scratch| match Pin::new(&mut self.stream).poll_read(cx, scratch) {
                    Poll::Pending => false,
                    Poll::Ready(Ok(0) | Err(_)) => {
                        self.eof = true;
                        true
                    }
                    Poll::Ready(Ok(count)) => {
                        receive(&mut self.received, &scratch[..count]);
                        true
                    }
                },
            );
        if progress && self.is_full() {
            self.answer_pings_ahead(now_ms);
        }
        progress
    }

    /// Takes packets off what was received and hands their publishes on, until something is
    /// missing: bytes, room or a topic.
    fn parse(&mut self, now_ms: u64) -> Polled {
        let mut progress = false;
        if self.received.is_empty() || self.is_full() {
            return Ok(false);
        }
        self.intake.refresh(&self.hub);
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
            Step::Store(publish) => self.store(now_ms, publish, wall_ms)?,
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
            self.deliver_live(&publish);
        }
        self.gather(now_ms, publish, wall_ms)
    }

    fn deliver_live(&self, publish: &Publish) {
        let client_id = self.session.client_id();
        let make = || Arc::new(unpinned(publish, client_id));
        self.hub.deliver_live(&publish.topic, client_id, make);
    }

    fn gather(&mut self, now_ms: u64, publish: Publish, wall_ms: i64) -> Result<(), Close> {
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

    fn wait_for_topic(&mut self, publish: Publish, missing: Missing) {
        let hub = self.hub.clone();
        let (created, decision): (Pin<Box<dyn Future<Output = _> + Send>>, _) = match missing {
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
        self.waiting = Some(Waiting::Topic {
            created,
            publish,
            decision,
        });
    }

    fn subscribe(&mut self, granted: &[crate::session::Subscription]) {
        use crate::codec::packet::RetainHandling;
        for subscription in granted {
            let moment = self.hub.subscribe(&self.mailbox, subscription);
            let wants_retained = match subscription.filter.retain_handling {
                RetainHandling::Always => true,
                RetainHandling::IfNew => subscription.is_new,
                RetainHandling::Never => false,
            };
            if wants_retained {
                self.retained.add(subscription, moment);
            }
        }
        self.say_reductions();
    }

    /// Publishes ahead of them wait for room; pings do not have to.
    fn answer_pings_ahead(&mut self, now_ms: u64) {
        let version = self.session.version();
        let bytes_max = self.hub.config.mqtt.packet_bytes_max;
        while let Some(rest) = self.received.get(self.looked_ahead..)
            && let Ok(Some((_, length))) = frame_bytes(rest, Some(version), bytes_max)
            && length <= rest.len()
        {
            if rest[0] >> 4 == 12 && length == 2 {
                self.session.handle_ping_ahead(now_ms);
            }
            self.looked_ahead += length;
        }
    }

    // ---- appending ----

    /// Hands gathered publishes to the site, in order, until it has no room.
    fn append_batches(&mut self, now_ms: u64) -> Polled {
        let mut progress = false;
        while self.waiting_for_room().is_none()
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
                Err(TryAppendError::Busy(_)) if is_sheddable => self.shed(&sent.sheddable),
                Err(TryAppendError::Busy(request)) => {
                    let site = self.hub.site.clone();
                    let append = Box::pin(async move { site.append(request).await });
                    self.waiting = Some(Waiting::Room { append, sent });
                }
                Err(TryAppendError::Refused(refused)) => {
                    self.spent(now_ms, &sent, Err(refused))?;
                }
            }
        }
        Ok(progress)
    }

    fn waiting_for_room(&self) -> Option<()> {
        matches!(self.waiting, Some(Waiting::Room { .. })).then_some(())
    }

    fn under_way(&mut self, ticket: Ticket, sent: Sent) {
        if sent.number.is_some() {
            self.under_way_bytes += sent.bytes;
        } else if self.under_way.len() >= UNDER_WAY_COUNT_MAX {
            // Nobody waits for QoS 0; its ticket may go.
            return;
        }
        self.under_way.push_back(UnderWay { ticket, sent });
    }

    fn shed(&self, sheddable: &[(TopicPartition, u64)]) {
        for (partition, count) in sheddable {
            self.hub.shed(Some(*partition), *count);
        }
    }

    /// What we waited for came: room, or a topic.
    fn poll_waiting(&mut self, cx: &mut Context, now_ms: u64) -> Polled {
        match self.waiting.take() {
            None => self.append_batches(now_ms),
            Some(Waiting::Room { mut append, sent }) => match append.as_mut().poll(cx) {
                Poll::Pending => {
                    self.waiting = Some(Waiting::Room { append, sent });
                    Ok(false)
                }
                Poll::Ready(Ok(ticket)) => {
                    self.under_way(ticket, sent);
                    self.append_batches(now_ms).map(|_| true)
                }
                Poll::Ready(Err(refused)) => {
                    self.spent(now_ms, &sent, Err(refused))?;
                    self.append_batches(now_ms).map(|_| true)
                }
            },
            Some(Waiting::Topic {
                mut created,
                publish,
                decision,
            }) => match created.as_mut().poll(cx) {
                Poll::Pending => {
                    self.waiting = Some(Waiting::Topic {
                        created,
                        publish,
                        decision,
                    });
                    Ok(false)
                }
                Poll::Ready(outcome) => {
                    self.topic_came(now_ms, publish, decision, outcome)?;
                    Ok(true)
                }
            },
        }
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
    fn refuse(&mut self, now_ms: u64, publish: &Publish, refused: Refused) -> Result<(), Close> {
        if publish.qos == QoS::AtMostOnce {
            if publish.retain {
                self.deliver_live(publish);
            }
            self.hub.shed(None, 1);
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

    fn poll_tickets(&mut self, cx: &mut Context, now_ms: u64) -> Polled {
        let mut progress = false;
        while let Some(first) = self.under_way.front_mut() {
            let Poll::Ready(outcome) = Pin::new(&mut first.ticket).poll(cx) else {
                break;
            };
            progress = true;
            if let Some(UnderWay { sent, .. }) = self.under_way.pop_front() {
                if sent.number.is_some() {
                    self.under_way_bytes -= sent.bytes;
                }
                self.spent(now_ms, &sent, outcome)?;
            }
        }
        Ok(progress)
    }

    /// An append came to its end: retained messages move, acknowledgements leave.
    fn spent(&mut self, now_ms: u64, sent: &Sent, outcome: Outcome) -> Result<(), Close> {
        self.hub.settle(&sent.retained, &outcome);
        if outcome.is_err() {
            self.shed(&sent.sheddable);
        }
        let Some(number) = sent.number else {
            return Ok(());
        };
        if let Err(refused) = &outcome {
            self.say_refused(refused);
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

    // ---- delivering ----

    fn poll_mail(&mut self, cx: &mut Context) -> Polled {
        let mailbox = self.mailbox.clone();
        let mut contents = mailbox.lock();
        contents.register(cx);
        match contents.signal.take() {
            Some(Signal::TakenOver) => {
                let what = "another connection came with the same client id";
                return Err(Close::gateway(Reason::TAKEN_OVER, what));
            }
            Some(Signal::Stop) => {
                let what = "the gateway is stopping";
                return Err(Close::gateway(Reason::SERVER_SHUTTING_DOWN, what));
            }
            None => {}
        }
        let mut progress = false;
        while self.session.has_room()
            && let Some(mail) = contents.pop_live()
        {
            self.deliver(&mail);
            progress = true;
        }
        while self.session.has_window()
            && let Some(mail) = contents.pop_committed()
        {
            self.deliver(&mail);
            progress = true;
        }
        if let Standing::Behind { from } = contents.standing
            && self.catch_up.is_none()
            && contents.committed.is_empty()
        {
            drop(contents);
            self.catch_up = Some(CatchUp::new(&self.hub, from));
            progress = true;
        }
        Ok(progress)
    }

    fn deliver(&mut self, mail: &Mail) {
        let ids = &mail.subscription_ids;
        match self
            .session
            .deliver(&mail.message, mail.qos, mail.retain, ids)
        {
            Delivery::Sent => self.hub.counters.publishes_out.add(1),
            Delivery::TooLarge => self.hub.shed(None, 1),
        }
    }

    fn poll_catch_up(&mut self, cx: &mut Context) -> bool {
        let mut progress = false;
        while self.session.has_window()
            && let Some(catch_up) = &mut self.catch_up
        {
            match catch_up.poll_next(&self.hub, &self.mailbox, cx) {
                Poll::Pending => break,
                Poll::Ready(Caught::Delivery(mail)) => self.deliver(&mail),
                Poll::Ready(Caught::Live) => self.catch_up = None,
                Poll::Ready(Caught::Gap { first_index }) => log::warn!(
                    "client {}: messages before frame {first_index} are gone by retention, it \
                     was too slow; raise retention or speed it up",
                    self.name()
                ),
                Poll::Ready(Caught::Failed(what)) => {
                    if self.hub.may_say(self.session.client_id(), "behind") {
                        log::warn!("client {}: cannot catch up: {what}", self.name());
                    }
                }
            }
            progress = true;
        }
        progress
    }

    fn poll_retained(&mut self, cx: &mut Context) -> bool {
        let mut progress = false;
        while !self.retained.is_empty() && self.session.has_window() {
            match self.retained.poll_next(&self.hub, cx) {
                Poll::Pending => break,
                Poll::Ready(Some(mail)) => self.deliver(&mail),
                Poll::Ready(None) => {}
            }
            progress = true;
        }
        progress
    }

    fn poll_write(&mut self, cx: &mut Context) -> bool {
        let mut progress = false;
        let transmit = self.session.transmit();
        while !transmit.is_empty() {
            if self.write_failed {
                transmit.clear();
                break;
            }
            match Pin::new(&mut self.stream).poll_write(cx, transmit) {
                Poll::Pending => break,
                Poll::Ready(Ok(count)) if count > 0 => transmit.advance(count),
                // What the client sent before it went is still read.
                Poll::Ready(_) => self.write_failed = true,
            }
            progress = true;
        }
        progress
    }

    // ---- time ----

    fn poll_timer(&mut self, cx: &mut Context, now_ms: u64) -> Result<(), Close> {
        // Not while the gateway makes the client wait.
        let is_read = !self.is_full();
        if let Some(deadline) = self.session.deadline_ms()
            && now_ms >= deadline
            && let Some(close) = self.session.handle_tick(now_ms, is_read)
        {
            if close.reason == Reason::KEEP_ALIVE_TIMEOUT {
                self.hub.counters.keep_alive_expired.add(1);
            }
            return Err(close);
        }
        let Some(deadline) = self.session.deadline_ms() else {
            return Ok(());
        };
        // The timer is not moved for each packet: it goes off early and is set again.
        if self
            .timer_ms
            .is_none_or(|set| set > deadline || set <= now_ms)
        {
            self.timer_ms = Some(deadline);
            self.timer.set_after(Duration::from_millis(
                deadline.saturating_sub(now_ms).max(1),
            ));
        }
        if Pin::new(&mut self.timer).poll(cx).is_ready() {
            self.timer_ms = None;
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    // ---- ending ----

    async fn hold_for_repeating(&mut self, close: &Close) {
        let now_ms = self.hub.now_ms();
        let hold_ms = lock(&self.hub.penalties).hold_ms(now_ms, self.session.client_id());
        if hold_ms > 0 {
            log::debug!(
                "client {} held for {hold_ms} ms: {}",
                self.name(),
                close.what
            );
            let hold = async {
                smol::Timer::after(Duration::from_millis(hold_ms)).await;
            };
            let mailbox = self.mailbox.clone();
            let signalled = std::future::poll_fn(|cx| {
                let mut contents = mailbox.lock();
                contents.register(cx);
                if contents.signal.is_some() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            smol::future::or(hold, signalled).await;
        }
    }

    /// What was taken off the socket is handed to the site, though its client is gone.
    async fn finish_appends(&mut self) {
        let work = std::future::poll_fn(|cx| {
            let now_ms = self.hub.now_ms();
            let _ = self.poll_waiting(cx, now_ms);
            if self.is_blocked() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        });
        let timeout = async {
            smol::Timer::after(APPEND_TIMEOUT).await;
        };
        smol::future::or(work, timeout).await;
    }

    /// Closing a socket with unread bytes resets it, and the client would never see why.
    async fn linger(&mut self) {
        use smol::io::AsyncWriteExt;
        let work = async {
            let _ = self.stream.close().await;
            let mut unread = 0;
            while unread < LINGER_BYTES_MAX {
                self.received.clear();
                match read_some(&mut self.stream, &mut self.received).await {
                    Ok(count) if count > 0 => unread += count,
                    _ => break,
                }
            }
        };
        let timeout = async {
            smol::Timer::after(LINGER_TIMEOUT).await;
        };
        smol::future::or(work, timeout).await;
    }

    /// What is being stored is acknowledged, if that takes a moment only.
    async fn finish_acks(&mut self) {
        let timeout_after = match self.hub.is_stopping() {
            true => STOP_TIMEOUT,
            false => FLUSH_TIMEOUT,
        };
        let work = std::future::poll_fn(|cx| {
            let _ = self.poll_tickets(cx, self.hub.now_ms());
            self.poll_write(cx);
            match self.session.unacked() {
                0 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        });
        let timeout = async {
            smol::Timer::after(timeout_after).await;
        };
        smol::future::or(work, timeout).await;
    }

    /// Lets the last bytes leave.
    async fn flush(&mut self) {
        let work = std::future::poll_fn(|cx| {
            self.poll_write(cx);
            match self.session.transmit().is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let timeout = async {
            smol::Timer::after(FLUSH_TIMEOUT).await;
        };
        smol::future::or(work, timeout).await;
    }

    /// The index of retained messages wants to know how the last appends ended.
    async fn settle_retained(&mut self) {
        if let Some(Waiting::Room { append, sent }) = self.waiting.take() {
            // Not appended yet, and now it never will be.
            drop(append);
            self.hub.settle(&sent.retained, &Err(Refused::Stopping));
        }
        for batch in self.batches.drain(..) {
            self.hub.settle(&batch.retained, &Err(Refused::Stopping));
        }
        for UnderWay { ticket, sent } in self.under_way.drain(..) {
            if !sent.retained.is_empty() {
                self.hub.settle(&sent.retained, &ticket.await);
            }
        }
    }

    // ---- log lines ----

    fn name(&self) -> String {
        name(self.session.client_id())
    }

    fn say_reductions(&mut self) {
        let reductions = self.session.reductions();
        if reductions != self.said_reductions {
            self.said_reductions = reductions;
            if self.hub.may_say(self.session.client_id(), "reduced") {
                log::info!("client {}: {}", self.name(), reductions.words().join("; "));
            }
        }
    }

    fn say_refused(&self, refused: &Refused) {
        if self.hub.may_say(self.session.client_id(), "refused") {
            log::warn!("client {}: publish refused: {refused}", self.name());
        }
    }

    fn say_fallback(&self, topic: &str, error: &TopicError) {
        if self.hub.may_say(topic.as_bytes(), "fallback") {
            log::warn!("topic {topic} cannot be created, messages go to the last route: {error}");
        }
    }

    fn say_close(&self, close: &Close) {
        match close.cause {
            Cause::Client | Cause::ClientWithWill => {
                log::debug!("client {} disconnected", self.name());
            }
            Cause::Gateway => log::debug!("client {} closed: {}", self.name(), close.what),
            Cause::Violation | Cause::Refused => {
                self.hub.counters.protocol_errors.add(1);
                if self.hub.may_say(self.session.client_id(), close.what) {
                    let (name, reason) = (self.name(), close.reason);
                    log::warn!("client {name} closed ({reason:?}): {}", close.what);
                }
            }
        }
    }
}

/// A client id for the log: bounded, without control characters.
pub(crate) fn name(client_id: &Bytes) -> String {
    String::from_utf8_lossy(&client_id[..client_id.len().min(64)])
        .escape_debug()
        .collect()
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
