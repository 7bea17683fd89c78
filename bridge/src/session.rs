//! One client's conversation: what each packet means, what may be acknowledged, what may be sent.
//!
//! ```text
//! packet ──handle_packet──▶ Step (store, subscribe, close…)      the shell acts on it
//! ticket ──handle_spent───▶ acks in order of arrival  ──┐
//! message ─deliver────────▶ PUBLISH within the window ──┴─▶ transmit (bytes for the socket)
//! ```
//!
//! Pure: no clock (`now_ms` is an argument), no socket, no log. Sessions end with their
//! connection; what outlives it comes with persistent sessions.

mod acks;

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};

use self::acks::{AckQueue, Spent};
pub(crate) use self::acks::{Outcome, Place};
use crate::codec::packet::{
    ConnAck, Connect, Granted, Packet, Publish, QoS, Reason, Reply, Subscribe, SubscribeFilter,
    Version, Violation, Will,
};
use crate::codec::topic::{level_count, shared};
use crate::codec::{Delivered, encode_for, encode_publish, publish_bytes};
use crate::message::Message;

/// Numbers a session keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) in_flight_max: u16,
    pub(crate) packet_bytes_max: usize,
    pub(crate) subscriptions_max: usize,
    pub(crate) topic_levels_max: usize,
    pub(crate) hold_ms_max: u64,
}

/// What the shell has to do after a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing; perhaps there is something to transmit.
    Idle,
    /// Route and append it, deliver it at once if it is QoS 0, then call `handle_stored`.
    Store(Publish),
    /// Add these subscriptions, then send their retained messages.
    Subscribe(Vec<Subscription>),
    /// Remove these subscriptions.
    Unsubscribe(Vec<Bytes>),
    /// Flush what there is to transmit, then close.
    Close(Close),
}

/// A subscription as it was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) filter: SubscribeFilter,
    pub(crate) subscription_id: Option<u32>,
    pub(crate) is_new: bool,
}

/// Why and how a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    pub(crate) reason: Reason,
    pub(crate) what: &'static str,
    pub(crate) cause: Cause,
}

/// Who ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The client said good-bye; no will.
    Client,
    /// The client said good-bye and wants its will sent.
    ClientWithWill,
    /// The client broke a rule of the protocol.
    Violation,
    /// What the client sent is refused for ever; repeating it costs it more each time.
    Refused,
    /// The gateway ends it: held too long, silent, taken over, stopping.
    Gateway,
}

impl Close {
    pub(crate) fn gateway(reason: Reason, what: &'static str) -> Close {
        Close {
            reason,
            what,
            cause: Cause::Gateway,
        }
    }

    pub(crate) fn refused(reason: Reason, what: &'static str) -> Close {
        Close {
            reason,
            what,
            cause: Cause::Refused,
        }
    }
}

impl From<Violation> for Close {
    fn from(violation: Violation) -> Close {
        let cause = match violation.reason {
            Reason::PACKET_TOO_LARGE => Cause::Refused,
            _ => Cause::Violation,
        };
        Close {
            reason: violation.reason,
            what: violation.what,
            cause,
        }
    }
}

/// What happened to a message that was to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Sent,
    /// Larger than the client said it takes.
    TooLarge,
}

/// One client's conversation.
pub(crate) struct Session {
    version: Version,
    client_id: Bytes,
    limits: Limits,
    will: Option<Will>,
    problem_information: bool,
    session_expiry_s: u32,
    packet_bytes_max: usize,
    /// How many QoS 1 messages may be under way to the client.
    window: usize,
    keep_alive_ms: u64,
    last_packet_ms: u64,
    held_since_ms: Option<u64>,
    /// Something in the line had no answer: nothing behind it gets one, it comes again in order.
    is_silent: bool,
    aliases: Vec<Bytes>,
    acks: AckQueue,
    /// QoS 2 of 3.1.1: ids received and not released; true once they were acknowledged.
    marks: HashMap<u16, bool>,
    subscriptions: BTreeSet<Bytes>,
    filter_bytes: usize,
    sent: VecDeque<u16>,
    last_pkid: u16,
    pings_answered_ahead: u32,
    reductions: Reductions,
    transmit: BytesMut,
}

/// Topic aliases kept per client; announced.
pub(crate) const TOPIC_ALIAS_MAX: u16 = 10;
/// QoS 1 messages under way to one client, whatever it says it takes.
const WINDOW_MAX: usize = 64;
/// A PUBACK without user properties, both lengths at their longest.
const PUBACK_BYTES_MAX: usize = 12;
/// Filters of one client, all together; one of them may be as long as MQTT allows.
const FILTER_BYTES_MAX: usize = 256 << 10;
/// Beyond this many bytes waiting for the socket nothing more is delivered.
const TRANSMIT_BYTES_HIGH: usize = 64 << 10;
/// Beyond this many bytes, all of them acknowledgements, the client is not read either.
const TRANSMIT_BYTES_MAX: usize = 1 << 20;

/// What the client asked for and did not get in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reductions {
    pub(crate) session: bool,
    pub(crate) subscribe_qos: bool,
    pub(crate) will_qos: bool,
    pub(crate) will_delay: bool,
    pub(crate) shared: bool,
}

impl Reductions {
    /// In words, for one line of log.
    pub(crate) fn words(self) -> Vec<&'static str> {
        let all = [
            (self.session, "its session ends with the connection"),
            (self.subscribe_qos, "QoS 2 subscriptions are granted QoS 1"),
            (self.will_qos, "its will is sent at QoS 1"),
            (self.will_delay, "its will is sent without delay"),
            (self.shared, "shared subscriptions are refused"),
        ];
        all.into_iter()
            .filter(|(reduced, _)| *reduced)
            .map(|(_, words)| words)
            .collect()
    }
}

/// Whether a CONNECT may become a session; the reason for its CONNACK if not.
pub(crate) fn admit(connect: &Connect) -> Result<(), (Reason, &'static str)> {
    if connect.properties.authentication_method {
        return Err((
            Reason::BAD_AUTHENTICATION_METHOD,
            "enhanced authentication is not supported",
        ));
    }
    if connect.client_id.is_empty() && connect.version == Version::V4 && !connect.clean {
        return Err((
            Reason::CLIENT_ID_INVALID,
            "no client id and clean_session = 0",
        ));
    }
    Ok(())
}

impl Session {
    /// Begins a session: the CONNACK is ready to transmit. `assigned` where the client has no id.
    pub(crate) fn open(
        connect: Connect,
        assigned: Option<String>,
        limits: Limits,
        now_ms: u64,
    ) -> Session {
        let properties = connect.properties;
        let reductions = Reductions {
            session: match connect.version {
                Version::V4 => !connect.clean,
                Version::V5 => properties.session_expiry_s > 0,
            },
            will_qos: connect
                .will
                .as_ref()
                .is_some_and(|w| w.publish.qos == QoS::ExactlyOnce),
            will_delay: connect.will.as_ref().is_some_and(|w| w.delay_s > 0),
            ..Default::default()
        };
        let granted = Granted {
            receive_maximum: limits.in_flight_max,
            packet_bytes_max: limits.packet_bytes_max as u32,
            topic_alias_max: TOPIC_ALIAS_MAX,
            assigned_client_id: assigned.clone(),
        };
        let mut transmit = BytesMut::new();
        let connack = ConnAck {
            reason: Reason::SUCCESS,
            granted: Some(granted),
        };
        encode_for(connect.version, &Reply::ConnAck(connack), &mut transmit);
        Session {
            version: connect.version,
            client_id: assigned.map_or(connect.client_id, Bytes::from),
            limits,
            will: connect.will,
            problem_information: properties.problem_information,
            session_expiry_s: properties.session_expiry_s,
            packet_bytes_max: properties
                .packet_bytes_max
                .map_or(usize::MAX, |b| b as usize),
            window: usize::from(properties.receive_maximum).min(WINDOW_MAX),
            keep_alive_ms: u64::from(connect.keep_alive_s) * 1500,
            last_packet_ms: now_ms,
            held_since_ms: None,
            is_silent: false,
            aliases: Vec::new(),
            acks: AckQueue::default(),
            marks: HashMap::new(),
            subscriptions: BTreeSet::new(),
            filter_bytes: 0,
            sent: VecDeque::new(),
            last_pkid: 0,
            pings_answered_ahead: 0,
            reductions,
            transmit,
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn client_id(&self) -> &Bytes {
        &self.client_id
    }

    pub(crate) fn reductions(&self) -> Reductions {
        self.reductions
    }

    /// Whether acknowledgements tell the place of a message.
    pub(crate) fn wants_places(&self) -> bool {
        self.version == Version::V5 && self.problem_information
    }

    /// Filters subscribed to.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = &Bytes> {
        self.subscriptions.iter()
    }

    /// The will, at the quality there is; once.
    pub(crate) fn take_will(&mut self) -> Option<Publish> {
        let mut publish = self.will.take()?.publish;
        publish.qos = publish.qos.min(QoS::AtLeastOnce);
        Some(publish)
    }

    /// Bytes for the socket; take from the front what was written.
    pub(crate) fn transmit(&mut self) -> &mut BytesMut {
        &mut self.transmit
    }

    /// What a packet means.
    pub(crate) fn handle_packet(&mut self, now_ms: u64, packet: Packet) -> Step {
        self.last_packet_ms = now_ms;
        match packet {
            Packet::Publish(publish) => self.handle_publish(publish),
            Packet::PubAck(pkid, _) => self.handle_puback(pkid),
            Packet::PubRel(pkid) => self.handle_pubrel(pkid),
            // Nothing goes out at QoS 2, so these answer nothing.
            Packet::PubRec(..) | Packet::PubComp(_) => Step::Idle,
            Packet::Subscribe(subscribe) => self.handle_subscribe(subscribe),
            Packet::Unsubscribe { pkid, filters } => self.handle_unsubscribe(pkid, filters),
            Packet::PingReq => self.handle_ping(),
            Packet::Disconnect {
                reason,
                session_expiry_s,
            } => self.handle_disconnect(reason, session_expiry_s),
        }
    }

    fn handle_publish(&mut self, mut publish: Publish) -> Step {
        if self.held_since_ms.is_some() && publish.qos > QoS::AtMostOnce {
            // It comes again after the held one, in order, on the client's next connection.
            return Step::Idle;
        }
        if self.version == Version::V5 {
            if publish.qos == QoS::ExactlyOnce {
                let what = "QoS 2 was announced as not supported";
                return close_violation(Reason::QOS_NOT_SUPPORTED, what);
            }
            if publish.qos > QoS::AtMostOnce
                && self.acks.len() >= usize::from(self.limits.in_flight_max)
            {
                let what = "more in flight than the receive maximum";
                return close_violation(Reason::RECEIVE_MAXIMUM_EXCEEDED, what);
            }
            if let Err(step) = self.resolve_alias(&mut publish) {
                return step;
            }
        }
        if publish.topic.len() > self.limits.topic_levels_max
            && level_count(&publish.topic) > self.limits.topic_levels_max
        {
            return self.refuse_for_ever(&publish, Reason::TOPIC_NAME_INVALID, TOO_MANY_LEVELS);
        }
        if publish.qos == QoS::ExactlyOnce
            && let Some(acknowledged) = self.marks.get(&publish.pkid)
        {
            if *acknowledged {
                self.reply(&Reply::PubRec(publish.pkid, Reason::SUCCESS));
            }
            return Step::Idle;
        }
        Step::Store(publish)
    }

    fn resolve_alias(&mut self, publish: &mut Publish) -> Result<(), Step> {
        let Some(properties) = publish.properties.as_mut() else {
            return Ok(());
        };
        let Some(alias) = properties.topic_alias.take() else {
            return Ok(());
        };
        let invalid = |what| close_violation(Reason::TOPIC_ALIAS_INVALID, what);
        if alias > TOPIC_ALIAS_MAX {
            return Err(invalid("topic alias is larger than announced"));
        }
        let place = usize::from(alias) - 1;
        if publish.topic.is_empty() {
            match self.aliases.get(place) {
                Some(topic) if !topic.is_empty() => publish.topic = topic.clone(),
                _ => {
                    return Err(close_violation(
                        Reason::PROTOCOL_ERROR,
                        "topic alias is not set",
                    ));
                }
            }
        } else {
            if self.aliases.len() <= place {
                self.aliases.resize(place + 1, Bytes::new());
            }
            // A copy: the slice would keep all that was read with it.
            self.aliases[place] = Bytes::copy_from_slice(&publish.topic);
        }
        if **properties == Default::default() {
            publish.properties = None;
        }
        Ok(())
    }

    /// Refuses one publish for ever: MQTT 5 has a code for that, 3.1.1 only the connection.
    pub(crate) fn refuse_for_ever(
        &mut self,
        publish: &Publish,
        reason: Reason,
        what: &'static str,
    ) -> Step {
        match (self.version, publish.qos) {
            (Version::V5, QoS::AtMostOnce) => Step::Idle,
            (Version::V5, _) => {
                self.acks.push_refused(publish.pkid, publish.qos, reason);
                self.flush_acks(0);
                Step::Idle
            }
            (Version::V4, _) => Step::Close(Close::refused(reason, what)),
        }
    }

    /// The number of a new append; `handle_spent` has to come for each, also without publishes.
    pub(crate) fn open_request(&mut self) -> u64 {
        self.acks.open()
    }

    /// A publish went into append number `request` as its item number `item`.
    pub(crate) fn handle_stored(
        &mut self,
        publish_id: u16,
        qos: QoS,
        request: u64,
        item: u32,
        place: Option<Place>,
    ) {
        if qos == QoS::ExactlyOnce {
            self.marks.insert(publish_id, false);
        }
        self.acks.push(publish_id, qos, request, item, place);
    }

    /// Append number `request` came to its end: what is at the head of the line is acknowledged.
    pub(crate) fn handle_spent(
        &mut self,
        now_ms: u64,
        request: u64,
        outcome: Outcome,
    ) -> Option<Close> {
        self.acks.spend(request, outcome);
        self.flush_acks(now_ms)
    }

    fn flush_acks(&mut self, now_ms: u64) -> Option<Close> {
        let mut close = None;
        while let Some(spent) = self.acks.next_spent() {
            match spent {
                _ if self.is_silent => {}
                Spent::Ack { pkid, qos, user } => {
                    self.acknowledge(pkid, qos, Reason::SUCCESS, user)
                }
                Spent::Refused { pkid, qos, reason } => {
                    self.acknowledge(pkid, qos, reason, Vec::new());
                }
                Spent::Later { pkid, qos } if self.version == Version::V5 => {
                    self.acknowledge(pkid, qos, Reason::QUOTA_EXCEEDED, Vec::new());
                }
                Spent::Later { pkid, .. } => {
                    self.marks.remove(&pkid);
                    self.is_silent = true;
                    self.held_since_ms.get_or_insert(now_ms);
                }
                Spent::Never {
                    pkid,
                    qos,
                    reason,
                    what,
                } => {
                    if self.version == Version::V5 && reason != Reason::PACKET_TOO_LARGE {
                        self.acknowledge(pkid, qos, reason, Vec::new());
                    } else {
                        close.get_or_insert(Close::refused(reason, what));
                    }
                }
                Spent::Lost { reason, what } => {
                    close.get_or_insert(Close::gateway(reason, what));
                }
            }
            self.is_silent |= close.is_some();
        }
        close
    }

    fn acknowledge(&mut self, pkid: u16, qos: QoS, reason: Reason, user: Vec<(String, String)>) {
        if qos == QoS::ExactlyOnce {
            if let Some(acknowledged) = self.marks.get_mut(&pkid) {
                *acknowledged = true;
            }
            return self.reply(&Reply::PubRec(pkid, reason));
        }
        // Texts of ours may not make it larger than the client takes (MQTT 5 §3.4.2.2.3).
        let user_bytes: usize = user.iter().map(|(k, v)| 5 + k.len() + v.len()).sum();
        let fits = user_bytes + PUBACK_BYTES_MAX <= self.packet_bytes_max;
        let user = if fits { user } else { Vec::new() };
        self.reply(&Reply::PubAck(pkid, reason, user));
    }

    fn handle_puback(&mut self, pkid: u16) -> Step {
        if let Some(place) = self.sent.iter().position(|sent| *sent == pkid) {
            self.sent.remove(place);
        }
        Step::Idle
    }

    fn handle_pubrel(&mut self, pkid: u16) -> Step {
        let known = self.marks.remove(&pkid).is_some();
        let reason = if known { Reason::SUCCESS } else { Reason(0x92) };
        self.reply(&Reply::PubComp(pkid, reason));
        Step::Idle
    }

    fn handle_subscribe(&mut self, subscribe: Subscribe) -> Step {
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
            self.filter_bytes += if is_new { filter.filter.len() } else { 0 };
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

    fn handle_unsubscribe(&mut self, pkid: u16, filters: Vec<Bytes>) -> Step {
        let mut reasons = Vec::with_capacity(filters.len());
        let mut removed = Vec::new();
        for filter in filters {
            if self.subscriptions.remove(&filter) {
                self.filter_bytes -= filter.len();
                reasons.push(Reason::SUCCESS);
                removed.push(filter);
            } else {
                reasons.push(Reason::NO_SUBSCRIPTION_EXISTED);
            }
        }
        self.reply(&Reply::UnsubAck(pkid, reasons));
        Step::Unsubscribe(removed)
    }

    fn handle_ping(&mut self) -> Step {
        if self.pings_answered_ahead > 0 {
            self.pings_answered_ahead -= 1;
        } else {
            self.reply(&Reply::PingResp);
        }
        Step::Idle
    }

    /// A PINGREQ lies behind publishes that wait for room: it is answered now, and not again.
    pub(crate) fn handle_ping_ahead(&mut self, now_ms: u64) {
        self.last_packet_ms = now_ms;
        self.pings_answered_ahead += 1;
        self.reply(&Reply::PingResp);
    }

    fn handle_disconnect(&mut self, reason: Reason, session_expiry_s: Option<u32>) -> Step {
        if self.session_expiry_s == 0 && session_expiry_s.is_some_and(|seconds| seconds > 0) {
            let what = "DISCONNECT wants to keep a session that CONNECT wanted to end";
            return Step::Close(Violation::protocol(what).into());
        }
        let cause = if reason == Reason(0x00) {
            Cause::Client
        } else {
            Cause::ClientWithWill
        };
        if cause == Cause::Client {
            self.will = None;
        }
        Step::Close(Close {
            reason,
            what: "the client disconnected",
            cause,
        })
    }

    /// Whether the client reads its acknowledgements, so that it may be read, too.
    pub(crate) fn is_read_by_client(&self) -> bool {
        self.transmit.len() < TRANSMIT_BYTES_MAX
    }

    /// Whether a QoS 0 message may be written now.
    pub(crate) fn has_room(&self) -> bool {
        self.transmit.len() < TRANSMIT_BYTES_HIGH
    }

    /// Whether a QoS 1 message may be written now.
    pub(crate) fn has_window(&self) -> bool {
        self.has_room() && self.sent.len() < self.window
    }

    /// Writes a message towards the client; the caller asked `has_room` or `has_window`.
    pub(crate) fn deliver(
        &mut self,
        message: &Message,
        qos: QoS,
        retain: bool,
        subscription_ids: &[u32],
    ) -> Delivery {
        let mut how = Delivered {
            qos,
            pkid: 1,
            retain,
            dup: false,
            subscription_ids,
        };
        if publish_bytes(self.version, &message.publish, how) > self.packet_bytes_max {
            return Delivery::TooLarge;
        }
        if qos > QoS::AtMostOnce {
            how.pkid = self.next_pkid();
            self.sent.push_back(how.pkid);
        }
        encode_publish(self.version, &message.publish, how, &mut self.transmit);
        Delivery::Sent
    }

    /// An id that is not under way; the window is far smaller than the ids there are.
    fn next_pkid(&mut self) -> u16 {
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            if !self.sent.contains(&self.last_pkid) {
                return self.last_pkid;
            }
        }
    }

    /// The next moment `handle_tick` has something to do.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let silent = (self.keep_alive_ms > 0).then_some(self.last_packet_ms + self.keep_alive_ms);
        let held = self
            .held_since_ms
            .map(|since| since + self.limits.hold_ms_max);
        match (silent, held) {
            (Some(silent), Some(held)) => Some(silent.min(held)),
            (one, other) => one.or(other),
        }
    }

    /// Time passed. `is_read` = the socket is being read, so silence is the client's.
    pub(crate) fn handle_tick(&mut self, now_ms: u64, is_read: bool) -> Option<Close> {
        if !is_read {
            self.last_packet_ms = now_ms;
        }
        if self
            .held_since_ms
            .is_some_and(|since| now_ms >= since + self.limits.hold_ms_max)
        {
            let what = "a publish could not be stored within mqtt.hold_s_max";
            return Some(Close::gateway(Reason::QUOTA_EXCEEDED, what));
        }
        if self.keep_alive_ms > 0 && now_ms >= self.last_packet_ms + self.keep_alive_ms {
            let what = "silent for 1.5 times its keep-alive";
            return Some(Close::gateway(Reason::KEEP_ALIVE_TIMEOUT, what));
        }
        None
    }

    /// Tells the client why the connection ends, where its version can.
    pub(crate) fn handle_close(&mut self, close: &Close) {
        if !matches!(close.cause, Cause::Client | Cause::ClientWithWill) {
            self.reply(&Reply::Disconnect(close.reason));
        }
    }

    /// Appends that are not spent yet.
    pub(crate) fn requests_under_way(&self) -> usize {
        self.acks.requests()
    }

    /// Publishes that wait in line, whether they will be answered or not.
    pub(crate) fn in_line(&self) -> usize {
        self.acks.len()
    }

    /// Publishes whose acknowledgement may still come.
    pub(crate) fn unacked(&self) -> usize {
        if self.is_silent { 0 } else { self.in_line() }
    }

    fn reply(&mut self, reply: &Reply) {
        encode_for(self.version, reply, &mut self.transmit);
    }
}

const TOO_MANY_LEVELS: &str = "the topic has more levels than mqtt.topic_levels_max";

fn close_violation(reason: Reason, what: &'static str) -> Step {
    Step::Close(Violation { reason, what }.into())
}

#[cfg(test)]
mod tests;
