//! A message on its way to subscribers, and its form as a record of the log.
//!
//! Headers of the record, in order: `mqtt.topic`, `mqtt.content_type`, then what only few
//! messages carry (`mqtt.response_topic`, `mqtt.correlation_data`, `mqtt.payload_format`,
//! `mqtt.expiry_s`, `mqtt.retain`), `mqtt.client_id`, `mqtt.qos` = 0 where it was, then the user
//! properties as they came. A user property called `mqtt.qos` that comes first cannot be taken
//! for ours, because then ours is written, too.

use bytes::{Bytes, BytesMut};
use edge_site::{Header, Record};

use crate::codec::packet::{Publish, PublishProperties, QoS};

/// What subscribers of a topic get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Topic, payload, properties; `qos` is what it was published at, `retain` as published.
    pub(crate) publish: Publish,
    /// Who sent it, for No Local.
    pub(crate) client_id: Bytes,
}

impl Message {
    /// What it takes in memory beside its own struct.
    pub(crate) fn bytes(&self) -> usize {
        self.publish.bytes() + self.client_id.len()
    }
}

const TOPIC: &[u8] = b"mqtt.topic";
const CONTENT_TYPE: &[u8] = b"mqtt.content_type";
const RESPONSE_TOPIC: &[u8] = b"mqtt.response_topic";
const CORRELATION_DATA: &[u8] = b"mqtt.correlation_data";
const PAYLOAD_FORMAT: &[u8] = b"mqtt.payload_format";
const EXPIRY_S: &[u8] = b"mqtt.expiry_s";
const RETAIN: &[u8] = b"mqtt.retain";
const CLIENT_ID: &[u8] = b"mqtt.client_id";
const QOS: &[u8] = b"mqtt.qos";

fn header(key: &'static [u8], value: Bytes) -> Header {
    Header {
        key: Bytes::from_static(key),
        value: Some(value),
    }
}

/// The record of a message. `payload` is given apart: a cleared retained message has none.
pub(crate) fn to_record(
    publish: &Publish,
    client_id: &Bytes,
    key: Bytes,
    payload: Option<Bytes>,
    timestamp_ms: i64,
) -> Record {
    Record {
        timestamp_ms,
        key: Some(key),
        value: payload,
        headers: headers(publish, client_id),
    }
}

fn headers(publish: &Publish, client_id: &Bytes) -> Vec<Header> {
    let properties = publish.properties.as_deref();
    let user = properties.map_or(&[][..], |p| p.user.as_slice());
    let mut headers = Vec::with_capacity(3 + user.len());
    headers.push(header(TOPIC, publish.topic.clone()));
    if let Some(properties) = properties {
        property_headers(properties, &mut headers);
    }
    if publish.retain {
        headers.push(header(RETAIN, Bytes::from_static(b"1")));
    }
    headers.push(header(CLIENT_ID, client_id.clone()));
    if publish.qos == QoS::AtMostOnce {
        headers.push(header(QOS, Bytes::from_static(b"0")));
    } else if user.first().is_some_and(|(name, _)| name == QOS) {
        headers.push(header(QOS, Bytes::from_static(b"1")));
    }
    for (name, value) in user {
        headers.push(Header {
            key: name.clone(),
            value: Some(value.clone()),
        });
    }
    headers
}

fn property_headers(from: &PublishProperties, headers: &mut Vec<Header>) {
    if let Some(value) = &from.content_type {
        headers.push(header(CONTENT_TYPE, value.clone()));
    }
    if let Some(value) = &from.response_topic {
        headers.push(header(RESPONSE_TOPIC, value.clone()));
    }
    if let Some(value) = &from.correlation_data {
        headers.push(header(CORRELATION_DATA, value.clone()));
    }
    if let Some(format) = from.payload_format {
        headers.push(header(PAYLOAD_FORMAT, Bytes::from(format.to_string())));
    }
    if let Some(seconds) = from.expiry_s {
        headers.push(header(EXPIRY_S, Bytes::from(seconds.to_string())));
    }
}

/// The MQTT topic of a record, where it came by MQTT.
pub(crate) fn mqtt_topic(record: &Record) -> Option<&Bytes> {
    let first = record.headers.first()?;
    if first.key == TOPIC {
        first.value.as_ref()
    } else {
        None
    }
}

/// Client id of who sent it, empty where it did not come by MQTT.
pub(crate) fn sender(record: &Record) -> &[u8] {
    let client = record.headers.iter().find(|h| h.key == CLIENT_ID);
    client.and_then(|h| h.value.as_deref()).unwrap_or_default()
}

/// Whether the record was published at QoS 0, and so was delivered when it came in.
pub(crate) fn was_live(record: &Record) -> bool {
    let client = record.headers.iter().position(|h| h.key == CLIENT_ID);
    let after = client.and_then(|at| record.headers.get(at + 1));
    after.is_some_and(|h| h.key == QOS && h.value.as_deref() == Some(b"0"))
}

/// Whether it was published with the retain flag.
pub(crate) fn is_retained(record: &Record) -> bool {
    let ours = record.headers.iter().take_while(|h| h.key != CLIENT_ID);
    ours.into_iter().any(|h| h.key == RETAIN)
}

/// The message of a record; `None` where it did not come by MQTT.
///
/// Texts and payload are copied together, so that a message waiting for a slow subscriber does
/// not keep its whole batch in memory.
pub(crate) fn from_record(record: &Record) -> Option<Message> {
    mqtt_topic(record)?;
    // Records come by other doors, too, and a longer text would break the stream it is written to.
    let fits = |text: &Bytes| text.len() <= usize::from(u16::MAX);
    let mut texts = record.headers.iter();
    if !texts.all(|h| fits(&h.key) && h.value.as_ref().is_none_or(fits)) {
        return None;
    }
    let mut properties = PublishProperties::default();
    let mut message = Message {
        publish: Publish::default(),
        client_id: Bytes::new(),
    };
    let mut copies = Copies::sized(record);
    let mut headers = record.headers.iter();
    message.publish.qos = QoS::AtLeastOnce;
    for ours in headers.by_ref() {
        let value = ours.value.as_ref()?;
        match ours.key.as_ref() {
            TOPIC => message.publish.topic = copies.copy(value),
            CONTENT_TYPE => properties.content_type = Some(copies.copy(value)),
            RESPONSE_TOPIC => properties.response_topic = Some(copies.copy(value)),
            CORRELATION_DATA => properties.correlation_data = Some(copies.copy(value)),
            PAYLOAD_FORMAT => properties.payload_format = number(value),
            EXPIRY_S => properties.expiry_s = number(value),
            RETAIN => message.publish.retain = true,
            CLIENT_ID => {
                message.client_id = copies.copy(value);
                break;
            }
            _ => return None,
        }
    }
    let mut users = headers.as_slice();
    if let Some((first, rest)) = users.split_first()
        && first.key == QOS
    {
        if first.value.as_deref() == Some(b"0") {
            message.publish.qos = QoS::AtMostOnce;
        }
        users = rest;
    }
    for user in users {
        let value = user
            .value
            .as_ref()
            .map_or_else(Bytes::new, |v| copies.copy(v));
        properties.user.push((copies.copy(&user.key), value));
    }
    message.publish.payload = record
        .value
        .as_ref()
        .map_or_else(Bytes::new, |v| copies.copy(v));
    if properties != PublishProperties::default() {
        message.publish.properties = Some(Box::new(properties));
    }
    Some(message)
}

fn number<T: std::str::FromStr>(text: &Bytes) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// One allocation that all parts of a message are copied into.
struct Copies(BytesMut);

impl Copies {
    fn sized(record: &Record) -> Copies {
        let headers = record.headers.iter();
        let texts: usize = headers
            .map(|h| h.key.len() + h.value.as_ref().map_or(0, Bytes::len))
            .sum();
        Copies(BytesMut::with_capacity(
            texts + record.value.as_ref().map_or(0, Bytes::len),
        ))
    }

    fn copy(&mut self, part: &[u8]) -> Bytes {
        self.0.extend_from_slice(part);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn publish(qos: QoS, user: &[(&'static str, &'static str)]) -> Publish {
        let user = user.iter().map(|(k, v)| (text(k), text(v))).collect();
        Publish {
            qos,
            topic: text("a/b"),
            payload: text("71.3"),
            properties: Some(Box::new(PublishProperties {
                content_type: Some(text("text/plain")),
                user,
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    fn record(publish: &Publish) -> Record {
        let payload = Some(publish.payload.clone());
        to_record(publish, &text("dev7"), publish.topic.clone(), payload, 17)
    }

    fn names(record: &Record) -> Vec<&str> {
        record
            .headers
            .iter()
            .map(|h| std::str::from_utf8(&h.key).unwrap())
            .collect()
    }

    #[test]
    fn headers_come_in_the_documented_order() {
        let record = record(&publish(QoS::AtMostOnce, &[("x", "1"), ("x", "2")]));
        let expected = [
            "mqtt.topic",
            "mqtt.content_type",
            "mqtt.client_id",
            "mqtt.qos",
            "x",
            "x",
        ];
        assert_eq!(names(&record), expected);
        assert!(was_live(&record));
    }

    #[test]
    fn a_record_gives_its_message_back() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut sent = publish(qos, &[("x", "1"), ("x", "2")]);
            sent.retain = true;
            let properties = sent.properties.as_mut().unwrap();
            properties.response_topic = Some(text("r/t"));
            properties.correlation_data = Some(text("\u{1}"));
            properties.expiry_s = Some(60);
            properties.payload_format = Some(1);
            let message = from_record(&record(&sent)).unwrap();
            assert_eq!(message.publish, sent);
            assert_eq!(message.client_id, "dev7");
        }
    }

    #[test]
    fn a_user_property_cannot_pass_for_our_mark_of_qos_0() {
        let sent = publish(
            QoS::AtLeastOnce,
            &[("mqtt.qos", "0"), ("mqtt.topic", "else")],
        );
        let record = record(&sent);
        assert!(!was_live(&record));
        let message = from_record(&record).unwrap();
        assert_eq!(message.publish, sent);
    }

    #[test]
    fn a_record_with_a_text_that_mqtt_cannot_carry_is_not_delivered() {
        let long = "x".repeat(65_536);
        let mut record = record(&publish(QoS::AtLeastOnce, &[("x", "1")]));
        assert!(from_record(&record).is_some());
        record.headers[0].value = Some(Bytes::from(long));
        assert_eq!(from_record(&record), None);
    }

    #[test]
    fn records_of_other_doors_are_no_mqtt_messages() {
        let record = Record {
            value: Some(text("x")),
            ..Default::default()
        };
        assert_eq!(from_record(&record), None);
        assert!(!was_live(&record));
    }
}
