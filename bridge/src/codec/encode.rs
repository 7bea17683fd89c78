//! From packets to bytes, for both versions.
//!
//! What is sent by the hundred thousand (PUBACK, PUBLISH) is written by hand; the rest goes
//! through `rumqttd::protocol`, around the packets in which its encoder panics or errs
//! (properties in 3.1.1, codes 3.1.1 does not have, DISCONNECT without properties).

use bytes::{BufMut, BytesMut};
use rumqttd::protocol as theirs;
use rumqttd::protocol::Protocol;

use super::connect::put_length;
use super::packet::{ConnAck, Granted, Publish, PublishProperties, QoS, Reason, Reply, Version};

/// Writes one packet that is not PUBLISH.
pub(crate) fn encode_for(version: Version, reply: &Reply, buffer: &mut BytesMut) {
    match reply {
        Reply::ConnAck(connack) => encode_connack(version, connack, buffer),
        Reply::PubAck(pkid, reason, user) => {
            ack(version, 0x40, *pkid, *reason, user, buffer);
        }
        Reply::PubRec(pkid, reason) => ack(version, 0x50, *pkid, *reason, &[], buffer),
        Reply::PubComp(pkid, reason) => ack(version, 0x70, *pkid, *reason, &[], buffer),
        Reply::SubAck(pkid, reasons) => encode_suback(version, *pkid, reasons, buffer),
        Reply::UnsubAck(pkid, reasons) => encode_unsuback(version, *pkid, reasons, buffer),
        Reply::PingResp => buffer.put_slice(&[0xd0, 0]),
        Reply::Disconnect(reason) => match version {
            Version::V4 => {}
            Version::V5 => buffer.put_slice(&[0xe0, 2, reason.0, 0]),
        },
    }
}

/// PUBACK and its kin: two bytes of body in 3.1.1, a reason and user properties in MQTT 5.
fn ack(
    version: Version,
    first: u8,
    pkid: u16,
    reason: Reason,
    user: &[(String, String)],
    buffer: &mut BytesMut,
) {
    let [high, low] = pkid.to_be_bytes();
    if version == Version::V4 || (reason == Reason::SUCCESS && user.is_empty()) {
        return buffer.put_slice(&[first, 2, high, low]);
    }
    if user.is_empty() {
        return buffer.put_slice(&[first, 3, high, low, reason.0]);
    }
    let properties: usize = user.iter().map(|(k, v)| 5 + k.len() + v.len()).sum();
    buffer.put_u8(first);
    put_length(buffer, 3 + length_bytes(properties) + properties);
    buffer.put_slice(&[high, low, reason.0]);
    put_length(buffer, properties);
    for (name, value) in user {
        buffer.put_u8(38);
        put_text(buffer, name.as_bytes());
        put_text(buffer, value.as_bytes());
    }
}

fn put_text(buffer: &mut BytesMut, text: &[u8]) {
    buffer.put_u16(text.len() as u16);
    buffer.put_slice(text);
}

fn length_bytes(length: usize) -> usize {
    match length {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x001f_ffff => 3,
        _ => 4,
    }
}

/// How a PUBLISH goes out: what differs between subscribers of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivered<'a> {
    pub(crate) qos: QoS,
    pub(crate) pkid: u16,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) subscription_ids: &'a [u32],
}

/// Bytes the packet will take, header included.
pub(crate) fn publish_bytes(version: Version, publish: &Publish, how: Delivered) -> usize {
    let remaining = publish_remaining(version, publish, how).0;
    1 + length_bytes(remaining) + remaining
}

fn publish_remaining(version: Version, publish: &Publish, how: Delivered) -> (usize, usize) {
    let id = if how.qos == QoS::AtMostOnce { 0 } else { 2 };
    let base = 2 + publish.topic.len() + id + publish.payload.len();
    if version == Version::V4 {
        return (base, 0);
    }
    let properties = properties_bytes(publish.properties.as_deref(), how.subscription_ids);
    (base + length_bytes(properties) + properties, properties)
}

/// Writes a PUBLISH towards a subscriber.
pub(crate) fn encode_publish(
    version: Version,
    publish: &Publish,
    how: Delivered,
    buffer: &mut BytesMut,
) {
    let (remaining, properties) = publish_remaining(version, publish, how);
    buffer.reserve(5 + remaining);
    let flags = u8::from(how.retain) | ((how.qos as u8) << 1) | (u8::from(how.dup) << 3);
    buffer.put_u8(0x30 | flags);
    put_length(buffer, remaining);
    put_text(buffer, &publish.topic);
    if how.qos != QoS::AtMostOnce {
        buffer.put_u16(how.pkid);
    }
    if version == Version::V5 {
        put_length(buffer, properties);
        put_properties(publish.properties.as_deref(), how.subscription_ids, buffer);
    }
    buffer.put_slice(&publish.payload);
}

fn properties_bytes(properties: Option<&PublishProperties>, ids: &[u32]) -> usize {
    let ids: usize = ids.iter().map(|id| 1 + length_bytes(*id as usize)).sum();
    let Some(from) = properties else {
        return ids;
    };
    let text = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, |t| 3 + t.len());
    let user: usize = from.user.iter().map(|(k, v)| 5 + k.len() + v.len()).sum();
    ids + user
        + from.payload_format.map_or(0, |_| 2)
        + from.expiry_s.map_or(0, |_| 5)
        + text(&from.content_type)
        + text(&from.response_topic)
        + text(&from.correlation_data)
}

fn put_properties(properties: Option<&PublishProperties>, ids: &[u32], buffer: &mut BytesMut) {
    if let Some(from) = properties {
        if let Some(format) = from.payload_format {
            buffer.put_slice(&[1, format]);
        }
        if let Some(seconds) = from.expiry_s {
            buffer.put_u8(2);
            buffer.put_u32(seconds);
        }
        let texts = [
            (3, &from.content_type),
            (8, &from.response_topic),
            (9, &from.correlation_data),
        ];
        for (id, text) in texts {
            if let Some(text) = text {
                buffer.put_u8(id);
                put_text(buffer, text);
            }
        }
        for (name, value) in &from.user {
            buffer.put_u8(38);
            put_text(buffer, name);
            put_text(buffer, value);
        }
    }
    for id in ids {
        buffer.put_u8(11);
        put_length(buffer, *id as usize);
    }
}

fn encode_connack(version: Version, connack: &ConnAck, buffer: &mut BytesMut) {
    let code = match version {
        Version::V4 => connack_code_v4(connack.reason),
        Version::V5 => connack_code_v5(connack.reason),
    };
    // Sessions end with their connection, so none is ever present.
    let head = theirs::ConnAck {
        session_present: false,
        code,
    };
    let properties = match (version, &connack.granted) {
        (Version::V5, Some(granted)) => Some(connack_properties(granted)),
        _ => None,
    };
    write(version, theirs::Packet::ConnAck(head, properties), buffer);
}

fn connack_code_v4(reason: Reason) -> theirs::ConnectReturnCode {
    use theirs::ConnectReturnCode as Code;
    match reason {
        Reason::SUCCESS => Code::Success,
        Reason::UNSUPPORTED_VERSION => Code::RefusedProtocolVersion,
        Reason::CLIENT_ID_INVALID => Code::ClientIdentifierNotValid,
        Reason::NOT_AUTHORIZED => Code::NotAuthorized,
        _ => Code::ServiceUnavailable,
    }
}

fn connack_code_v5(reason: Reason) -> theirs::ConnectReturnCode {
    use theirs::ConnectReturnCode as Code;
    match reason {
        Reason::SUCCESS => Code::Success,
        Reason::MALFORMED => Code::MalformedPacket,
        Reason::PROTOCOL_ERROR => Code::ProtocolError,
        Reason::IMPLEMENTATION_SPECIFIC => Code::ImplementationSpecificError,
        Reason::UNSUPPORTED_VERSION => Code::UnsupportedProtocolVersion,
        Reason::CLIENT_ID_INVALID => Code::ClientIdentifierNotValid,
        Reason::NOT_AUTHORIZED => Code::NotAuthorized,
        Reason::SERVER_BUSY => Code::ServerBusy,
        Reason::BAD_AUTHENTICATION_METHOD => Code::BadAuthenticationMethod,
        Reason::TOPIC_NAME_INVALID => Code::TopicNameInvalid,
        Reason::PACKET_TOO_LARGE => Code::PacketTooLarge,
        Reason::QUOTA_EXCEEDED => Code::QuotaExceeded,
        Reason::QOS_NOT_SUPPORTED => Code::QoSNotSupported,
        _ => Code::UnspecifiedError,
    }
}

/// What is not built yet is announced, so that a client does not try it.
fn connack_properties(granted: &Granted) -> theirs::ConnAckProperties {
    theirs::ConnAckProperties {
        session_expiry_interval: Some(0),
        receive_max: Some(granted.receive_maximum),
        max_qos: Some(1),
        retain_available: Some(1),
        max_packet_size: Some(granted.packet_bytes_max),
        assigned_client_identifier: granted.assigned_client_id.clone(),
        topic_alias_max: Some(granted.topic_alias_max),
        wildcard_subscription_available: Some(1),
        subscription_identifiers_available: Some(1),
        shared_subscription_available: Some(0),
        ..Default::default()
    }
}

fn encode_suback(version: Version, pkid: u16, reasons: &[Reason], buffer: &mut BytesMut) {
    let return_codes = reasons
        .iter()
        .map(|reason| suback_code(version, *reason))
        .collect();
    let suback = theirs::SubAck { pkid, return_codes };
    write(version, theirs::Packet::SubAck(suback, None), buffer);
}

fn suback_code(version: Version, reason: Reason) -> theirs::SubscribeReasonCode {
    use theirs::SubscribeReasonCode as Code;
    match (version, reason) {
        (_, Reason(0)) => Code::Success(theirs::QoS::AtMostOnce),
        (_, Reason(1)) => Code::Success(theirs::QoS::AtLeastOnce),
        (Version::V4, _) => Code::Failure,
        (_, Reason::NOT_AUTHORIZED) => Code::NotAuthorized,
        (_, Reason::TOPIC_FILTER_INVALID) => Code::TopicFilterInvalid,
        (_, Reason::QUOTA_EXCEEDED) => Code::QuotaExceeded,
        (_, Reason::SHARED_NOT_SUPPORTED) => Code::SharedSubscriptionsNotSupported,
        _ => Code::Unspecified,
    }
}

fn encode_unsuback(version: Version, pkid: u16, reasons: &[Reason], buffer: &mut BytesMut) {
    if version == Version::V4 {
        let [high, low] = pkid.to_be_bytes();
        return buffer.put_slice(&[0xb0, 2, high, low]);
    }
    let reasons = reasons.iter().map(|reason| match *reason {
        Reason::SUCCESS => theirs::UnsubAckReason::Success,
        Reason::NO_SUBSCRIPTION_EXISTED => theirs::UnsubAckReason::NoSubscriptionExisted,
        _ => theirs::UnsubAckReason::UnspecifiedError,
    });
    let unsuback = theirs::UnsubAck {
        pkid,
        reasons: reasons.collect(),
    };
    write(version, theirs::Packet::UnsubAck(unsuback, None), buffer);
}

fn write(version: Version, packet: theirs::Packet, buffer: &mut BytesMut) {
    let written = match version {
        Version::V4 => theirs::v4::V4.write(packet, buffer),
        Version::V5 => theirs::v5::V5.write(packet, buffer),
    };
    debug_assert!(
        written.is_ok(),
        "packets built here can be written: {written:?}"
    );
}
