//! From bytes to packets: the guard first, then `rumqttd::protocol`, then our own types.

use bytes::{Bytes, BytesMut};
use rumqttd::protocol as theirs;
use rumqttd::protocol::Protocol;

use super::connect::{self, ConnectRefusal};
use super::guard;
use super::packet::{
    Connect, ConnectProperties, Packet, Publish, PublishProperties, QoS, Reason, RetainHandling,
    Subscribe, SubscribeFilter, Version, Violation, Will,
};

/// The guard let something pass that the codec does not take: refused all the same.
const CODEC: Violation = Violation::malformed("packet cannot be decoded");

/// Decodes one whole CONNECT (`header` bytes of fixed header included).
pub(crate) fn decode_connect(frame: BytesMut, header: usize) -> Result<Connect, ConnectRefusal> {
    let body = frame.freeze().split_off(header);
    let mut checked = connect::check(&body)?;
    let version = checked.version;
    let packet = read(version, &mut checked.without_login).map_err(|violation| ConnectRefusal {
        version: Some(version),
        violation,
    })?;
    let theirs::Packet::Connect(head, properties, will, will_properties, _) = packet else {
        return Err(ConnectRefusal {
            version: Some(version),
            violation: CODEC,
        });
    };
    Ok(Connect {
        version,
        client_id: head.client_id.into(),
        clean: head.clean_session,
        keep_alive_s: head.keep_alive,
        will: will.map(|will| convert_will(will, will_properties)),
        user: checked.user,
        password: checked.password,
        properties: properties
            .as_ref()
            .map(connect_properties)
            .unwrap_or_default(),
    })
}

/// Decodes one whole packet after CONNECT (`header` bytes of fixed header included).
pub(crate) fn decode(
    version: Version,
    mut frame: BytesMut,
    header: usize,
) -> Result<Packet, Violation> {
    let first = frame[0];
    guard::check(version, first, &frame[header..])?;
    match first >> 4 {
        12 => return Ok(Packet::PingReq),
        14 => return disconnect(version, &frame, header),
        _ => {}
    }
    // The codec keeps quality and packet id of a PUBLISH to itself.
    let publish_id = if first >> 4 == 3 {
        publish_id(&frame[header..], first)
    } else {
        0
    };
    Ok(match read(version, &mut frame)? {
        theirs::Packet::Publish(publish, properties) => {
            Packet::Publish(convert_publish(publish, properties, first, publish_id))
        }
        theirs::Packet::PubAck(ack, _) => Packet::PubAck(ack.pkid, puback_reason(ack.reason)),
        theirs::Packet::PubRec(ack, _) => {
            Packet::PubRec(ack.pkid, Reason(ack_code(ack.reason as u8)))
        }
        theirs::Packet::PubRel(ack, _) => Packet::PubRel(ack.pkid),
        theirs::Packet::PubComp(ack, _) => Packet::PubComp(ack.pkid),
        theirs::Packet::Subscribe(subscribe, properties) => {
            Packet::Subscribe(convert_subscribe(subscribe, properties))
        }
        theirs::Packet::Unsubscribe(unsubscribe, _) => Packet::Unsubscribe {
            pkid: unsubscribe.pkid,
            filters: unsubscribe.filters.into_iter().map(Bytes::from).collect(),
        },
        _ => return Err(CODEC),
    })
}

fn read(version: Version, frame: &mut BytesMut) -> Result<theirs::Packet, Violation> {
    let bytes_max = frame.len();
    let packet = match version {
        Version::V4 => theirs::v4::V4.read_mut(frame, bytes_max),
        Version::V5 => theirs::v5::V5.read_mut(frame, bytes_max),
    };
    packet.map_err(|_| CODEC)
}

/// The codec mistakes the one-byte form of MQTT 5's DISCONNECT, so it is read here.
fn disconnect(version: Version, frame: &BytesMut, header: usize) -> Result<Packet, Violation> {
    let body = &frame[header..];
    let reason = Reason(body.first().copied().unwrap_or(0));
    let session_expiry_s = if version == Version::V5 && body.len() > 1 {
        match read(version, &mut frame.clone())? {
            theirs::Packet::Disconnect(_, Some(properties)) => properties.session_expiry_interval,
            _ => None,
        }
    } else {
        None
    };
    Ok(Packet::Disconnect {
        reason,
        session_expiry_s,
    })
}

/// Packet id of a PUBLISH that the guard has accepted.
fn publish_id(body: &[u8], first: u8) -> u16 {
    if first & 0b0110 == 0 {
        return 0;
    }
    let at = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    u16::from_be_bytes([body[at], body[at + 1]])
}

fn convert_publish(
    publish: theirs::Publish,
    properties: Option<theirs::PublishProperties>,
    first: u8,
    pkid: u16,
) -> Publish {
    Publish {
        dup: first & 0b1000 != 0,
        qos: QoS::from_bits((first >> 1) & 0b11).unwrap_or_default(),
        retain: publish.retain,
        pkid,
        topic: publish.topic,
        payload: publish.payload,
        properties: properties.map(|from| Box::new(publish_properties(from))),
    }
}

fn publish_properties(from: theirs::PublishProperties) -> PublishProperties {
    PublishProperties {
        payload_format: from.payload_format_indicator,
        expiry_s: from.message_expiry_interval,
        topic_alias: from.topic_alias,
        response_topic: from.response_topic.map(Bytes::from),
        correlation_data: from.correlation_data,
        content_type: from.content_type.map(Bytes::from),
        user: user_properties(from.user_properties),
        subscription_ids: Vec::new(),
    }
}

fn user_properties(from: Vec<(String, String)>) -> Vec<(Bytes, Bytes)> {
    from.into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn convert_will(will: theirs::LastWill, properties: Option<theirs::LastWillProperties>) -> Will {
    let delay_s = properties
        .as_ref()
        .and_then(|p| p.delay_interval)
        .unwrap_or(0);
    let properties = properties.map(|from| {
        Box::new(PublishProperties {
            payload_format: from.payload_format_indicator,
            expiry_s: from.message_expiry_interval,
            topic_alias: None,
            response_topic: from.response_topic.map(Bytes::from),
            correlation_data: from.correlation_data,
            content_type: from.content_type.map(Bytes::from),
            user: user_properties(from.user_properties),
            subscription_ids: Vec::new(),
        })
    });
    let publish = Publish {
        dup: false,
        qos: QoS::from_bits(will.qos as u8).unwrap_or_default(),
        retain: will.retain,
        pkid: 0,
        topic: will.topic,
        payload: will.message,
        properties,
    };
    Will { delay_s, publish }
}

fn connect_properties(from: &theirs::ConnectProperties) -> ConnectProperties {
    ConnectProperties {
        session_expiry_s: from.session_expiry_interval.unwrap_or(0),
        receive_maximum: from.receive_maximum.unwrap_or(u16::MAX),
        packet_bytes_max: from.max_packet_size,
        problem_information: from.request_problem_info != Some(0),
        authentication_method: from.authentication_method.is_some(),
    }
}

fn convert_subscribe(
    subscribe: theirs::Subscribe,
    properties: Option<theirs::SubscribeProperties>,
) -> Subscribe {
    let filters = subscribe.filters.into_iter().map(|filter| SubscribeFilter {
        filter: filter.path.into(),
        qos: QoS::from_bits(filter.qos as u8).unwrap_or_default(),
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retain_handling: match filter.retain_forward_rule {
            theirs::RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            theirs::RetainForwardRule::OnNewSubscribe => RetainHandling::IfNew,
            theirs::RetainForwardRule::Never => RetainHandling::Never,
        },
    });
    Subscribe {
        pkid: subscribe.pkid,
        filters: filters.collect(),
        subscription_id: properties.and_then(|p| p.id).map(|id| id as u32),
    }
}

fn puback_reason(reason: theirs::PubAckReason) -> Reason {
    Reason(ack_code(reason as u8))
}

/// The codec numbers its ack reasons from 0; these are the standard's codes in that order.
fn ack_code(ordinal: u8) -> u8 {
    const CODES: [u8; 9] = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    CODES.get(usize::from(ordinal)).copied().unwrap_or(0x80)
}
