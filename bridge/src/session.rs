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
mod delivering;
mod holding;
mod publishing;
mod reductions;
mod subscribing;
mod timing;

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};

use self::acks::AckQueue;
pub(crate) use self::acks::{Outcome, Place};
pub(crate) use self::delivering::Delivery;
pub(crate) use self::reductions::Reductions;
pub(crate) use self::subscribing::Subscription;
use crate::codec::encode_for;
use crate::codec::packet::{
    ConnAck, Connect, Granted, Packet, Publish, QoS, Reason, Reply, Version, Violation, Will,
};
use crate::config::MqttConfig;

/// Numbers a session keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) in_flight_max: u16,
    pub(crate) packet_bytes_max: usize,
    pub(crate) subscriptions_max: usize,
    pub(crate) topic_levels_max: usize,
    pub(crate) hold_ms_max: u64,
}

impl Limits {
    /// As the configuration says.
    pub(crate) fn of(mqtt: &MqttConfig) -> Limits {
        Limits {
            in_flight_max: mqtt.in_flight_max,
            packet_bytes_max: mqtt.packet_bytes_max,
            subscriptions_max: mqtt.subscriptions_max,
            topic_levels_max: mqtt.topic_levels_max,
            hold_ms_max: mqtt.hold_s_max * 1000,
        }
    }
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

/// One client's conversation.
pub(crate) struct Session {
    version: Version,
    client_id: Bytes,
    limits: Limits,
    will: Option<Will>,
    will_bytes: usize,
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
    alias_bytes: usize,
    acks: AckQueue,
    /// QoS 2 of 3.1.1: ids received and not released; true once they were acknowledged.
    marks: HashMap<u16, bool>,
    subscriptions: BTreeSet<Bytes>,
    filter_bytes: usize,
    /// What all of them take in memory.
    subscription_bytes: usize,
    sent: VecDeque<u16>,
    last_pkid: u16,
    pings_answered_ahead: u32,
    reductions: Reductions,
    transmit: BytesMut,
}

/// The longest client id. It is kept for as long as its client is there, and goes into every
/// record, so the 65,535 bytes that MQTT allows would be 655 MB for ten thousand clients.
pub(crate) const CLIENT_ID_BYTES_MAX: usize = 1024;
/// Topic aliases kept per client; announced.
pub(crate) const TOPIC_ALIAS_MAX: u16 = 10;
/// QoS 1 messages under way to one client, whatever it says it takes.
const WINDOW_MAX: usize = 64;

/// Whether a CONNECT may become a session; the reason for its CONNACK if not.
pub(crate) fn admit(connect: &Connect) -> Result<(), (Reason, &'static str)> {
    if connect.properties.authentication_method {
        return Err((
            Reason::BAD_AUTHENTICATION_METHOD,
            "enhanced authentication is not supported",
        ));
    }
    if connect.client_id.len() > CLIENT_ID_BYTES_MAX {
        return Err((
            Reason::CLIENT_ID_INVALID,
            "the client id is longer than 1024 bytes",
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
        let will = connect.will.map(|will| Will {
            publish: will.publish.unpinned(),
            ..will
        });
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
            will_bytes: will.as_ref().map_or(0, |will| will.publish.bytes()),
            will,
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
            alias_bytes: 0,
            acks: AckQueue::default(),
            marks: HashMap::new(),
            subscriptions: BTreeSet::new(),
            filter_bytes: 0,
            subscription_bytes: 0,
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

    /// Tells the client why the connection ends, where its version can.
    pub(crate) fn handle_close(&mut self, close: &Close) {
        if !matches!(close.cause, Cause::Client | Cause::ClientWithWill) {
            self.reply(&Reply::Disconnect(close.reason));
        }
    }

    fn reply(&mut self, reply: &Reply) {
        encode_for(self.version, reply, &mut self.transmit);
    }
}

#[cfg(test)]
mod tests;
