//! MQTT packets as the rest of the package sees them: parsed, checked, free of wire details.
//!
//! Texts are `Bytes` that were proven to be UTF-8 without NUL; they are slices of what was read.

use bytes::Bytes;

/// Protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.0.
    V5,
}

/// Quality of service, by the names of the standard.
#[allow(clippy::enum_variant_names)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum QoS {
    /// 0
    #[default]
    AtMostOnce,
    /// 1
    AtLeastOnce,
    /// 2
    ExactlyOnce,
}

impl QoS {
    /// From the two bits on the wire.
    pub fn from_bits(bits: u8) -> Option<QoS> {
        match bits {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// A reason code of MQTT 5; what 3.1.1 makes of it is the encoder's business.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u8);

impl std::fmt::Debug for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:02X}", self.0)
    }
}

/// The codes this door uses, by their names in the standard.
#[allow(missing_docs)]
impl Reason {
    pub const SUCCESS: Reason = Reason(0x00);
    pub const NO_SUBSCRIPTION_EXISTED: Reason = Reason(0x11);
    pub const UNSPECIFIED: Reason = Reason(0x80);
    pub const MALFORMED: Reason = Reason(0x81);
    pub const PROTOCOL_ERROR: Reason = Reason(0x82);
    pub const IMPLEMENTATION_SPECIFIC: Reason = Reason(0x83);
    pub const UNSUPPORTED_VERSION: Reason = Reason(0x84);
    pub const CLIENT_ID_INVALID: Reason = Reason(0x85);
    pub const NOT_AUTHORIZED: Reason = Reason(0x87);
    pub const SERVER_BUSY: Reason = Reason(0x89);
    pub const SERVER_SHUTTING_DOWN: Reason = Reason(0x8B);
    pub const BAD_AUTHENTICATION_METHOD: Reason = Reason(0x8C);
    pub const KEEP_ALIVE_TIMEOUT: Reason = Reason(0x8D);
    pub const TAKEN_OVER: Reason = Reason(0x8E);
    pub const TOPIC_FILTER_INVALID: Reason = Reason(0x8F);
    pub const TOPIC_NAME_INVALID: Reason = Reason(0x90);
    pub const RECEIVE_MAXIMUM_EXCEEDED: Reason = Reason(0x93);
    pub const TOPIC_ALIAS_INVALID: Reason = Reason(0x94);
    pub const PACKET_TOO_LARGE: Reason = Reason(0x95);
    pub const QUOTA_EXCEEDED: Reason = Reason(0x97);
    pub const QOS_NOT_SUPPORTED: Reason = Reason(0x9B);
    pub const SHARED_NOT_SUPPORTED: Reason = Reason(0x9E);
}

/// What a client did wrong: closes its connection, in MQTT 5 with this reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The code for CONNACK or DISCONNECT.
    pub reason: Reason,
    /// In words, for the log.
    pub what: &'static str,
}

impl Violation {
    /// The bytes are no MQTT packet.
    pub const fn malformed(what: &'static str) -> Violation {
        Violation {
            reason: Reason::MALFORMED,
            what,
        }
    }

    /// The packet is right and more than this server takes.
    pub const fn quota(what: &'static str) -> Violation {
        Violation {
            reason: Reason::QUOTA_EXCEEDED,
            what,
        }
    }

    /// The packet is well formed and not allowed (there).
    pub const fn protocol(what: &'static str) -> Violation {
        Violation {
            reason: Reason::PROTOCOL_ERROR,
            what,
        }
    }
}

/// What a client sends after its CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A message.
    Publish(Publish),
    /// Answers to our messages and to our PUBREC; the reason is MQTT 5's.
    PubAck(u16, Reason),
    /// QoS 2, from us to the client.
    PubRec(u16, Reason),
    /// QoS 2, from the client to us.
    PubRel(u16),
    /// QoS 2, from us to the client.
    PubComp(u16),
    /// Filters to add.
    Subscribe(Subscribe),
    /// Filters to remove.
    Unsubscribe {
        /// Packet id.
        pkid: u16,
        /// Filters as they came.
        filters: Vec<Bytes>,
    },
    /// Keep-alive.
    PingReq,
    /// Good-bye.
    Disconnect {
        /// 0x04 asks for the will to be sent.
        reason: Reason,
        /// Session expiry, where the client changes it.
        session_expiry_s: Option<u32>,
    },
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Decides how everything after is read and written.
    pub version: Version,
    /// Empty = the server assigns one.
    pub client_id: Bytes,
    /// Clean session, or clean start.
    pub clean: bool,
    /// Seconds; 0 = none.
    pub keep_alive_s: u16,
    /// The will.
    pub will: Option<Will>,
    /// User name.
    pub user: Option<Bytes>,
    /// Password, any bytes.
    pub password: Option<Bytes>,
    /// MQTT 5 properties, with their defaults.
    pub properties: ConnectProperties,
}

/// MQTT 5 properties of CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectProperties {
    /// 0 = ends with the connection.
    pub session_expiry_s: u32,
    /// How many QoS 1 messages may be under way to the client.
    pub receive_maximum: u16,
    /// The largest packet the client takes; `None` = any.
    pub packet_bytes_max: Option<u32>,
    /// Whether user properties and reason strings may come with acknowledgements.
    pub problem_information: bool,
    /// Asks for enhanced authentication.
    pub authentication_method: bool,
}

impl Default for ConnectProperties {
    fn default() -> Self {
        ConnectProperties {
            session_expiry_s: 0,
            receive_maximum: u16::MAX,
            packet_bytes_max: None,
            problem_information: true,
            authentication_method: false,
        }
    }
}

/// The message a client leaves for the case that it vanishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Delay in seconds; the session ends with the connection, so it is never waited for.
    pub delay_s: u32,
    /// The message itself.
    pub publish: Publish,
}

/// PUBLISH, in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// Sent before.
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Keep as the topic's last message.
    pub retain: bool,
    /// Packet id; 0 at QoS 0.
    pub pkid: u16,
    /// Topic; empty where an alias stands for it.
    pub topic: Bytes,
    /// Payload.
    pub payload: Bytes,
    /// MQTT 5 properties, where there are any.
    pub properties: Option<Box<PublishProperties>>,
}

impl Publish {
    /// The same in copies: a slice of what was read would keep all that was read with it.
    pub fn unpinned(&self) -> Publish {
        let mut publish = self.clone();
        publish.topic = Bytes::copy_from_slice(&self.topic);
        publish.payload = Bytes::copy_from_slice(&self.payload);
        if let Some(properties) = &mut publish.properties {
            // The other texts are copies already.
            let data = properties.correlation_data.take();
            properties.correlation_data = data.map(|data| Bytes::copy_from_slice(&data));
        }
        publish
    }

    /// What it takes in memory beside its own struct.
    pub fn bytes(&self) -> usize {
        let properties = self.properties.as_deref();
        self.topic.len() + self.payload.len() + properties.map_or(0, PublishProperties::bytes)
    }
}

/// MQTT 5 properties of PUBLISH and of a will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishProperties {
    /// 1 = the payload is UTF-8.
    pub payload_format: Option<u8>,
    /// Seconds after which it is worth nothing.
    pub expiry_s: Option<u32>,
    /// Stands for the topic.
    pub topic_alias: Option<u16>,
    /// Where an answer goes.
    pub response_topic: Option<Bytes>,
    /// What the answer belongs to.
    pub correlation_data: Option<Bytes>,
    /// MIME type, usually.
    pub content_type: Option<Bytes>,
    /// Pairs as they came, duplicates kept.
    pub user: Vec<(Bytes, Bytes)>,
    /// Towards subscribers: which of their subscriptions matched.
    pub subscription_ids: Vec<u32>,
}

impl PublishProperties {
    fn bytes(&self) -> usize {
        let texts = [
            &self.response_topic,
            &self.correlation_data,
            &self.content_type,
        ];
        let texts: usize = texts.into_iter().flatten().map(Bytes::len).sum();
        let pair =
            |(name, value): &(Bytes, Bytes)| size_of::<(Bytes, Bytes)>() + name.len() + value.len();
        size_of::<Self>() + texts + self.user.iter().map(pair).sum::<usize>()
    }
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Packet id.
    pub pkid: u16,
    /// Filters in order.
    pub filters: Vec<SubscribeFilter>,
    /// Comes back with each message.
    pub subscription_id: Option<u32>,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// The filter; its grammar is right, `$share/` included.
    pub filter: Bytes,
    /// The highest quality wanted.
    pub qos: QoS,
    /// Not the client's own messages.
    pub no_local: bool,
    /// Keep the retain flag of live messages.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When a SUBSCRIBE brings retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// Each time.
    #[default]
    Always,
    /// When the subscription is new.
    IfNew,
    /// Never.
    Never,
}

/// What the server sends, PUBLISH excepted (`codec::encode_publish`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Answer to CONNECT.
    ConnAck(ConnAck),
    /// Answer to PUBLISH at QoS 1.
    PubAck(u16, Reason, Vec<(String, String)>),
    /// Answer to PUBLISH at QoS 2.
    PubRec(u16, Reason),
    /// Answer to PUBREL.
    PubComp(u16, Reason),
    /// Answer to SUBSCRIBE: one code per filter, 0 to 2 = granted.
    SubAck(u16, Vec<Reason>),
    /// Answer to UNSUBSCRIBE: one code per filter.
    UnsubAck(u16, Vec<Reason>),
    /// Answer to PINGREQ.
    PingResp,
    /// MQTT 5 only; in 3.1.1 the connection just closes.
    Disconnect(Reason),
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// 0 = welcome.
    pub reason: Reason,
    /// What MQTT 5 clients are told; `None` with a refusal.
    pub granted: Option<Granted>,
}

/// What a session is granted, announced in MQTT 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Receive maximum of the server.
    pub receive_maximum: u16,
    /// The largest packet it takes.
    pub packet_bytes_max: u32,
    /// Topic aliases it keeps.
    pub topic_alias_max: u16,
    /// The id it gave, where the client had none.
    pub assigned_client_id: Option<String>,
}
