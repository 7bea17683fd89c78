//! A second, stricter codec looks at the same frames.
//!
//! Legal packets: both take them and read the same. Spoiled ones: what the other refuses is
//! refused here, too; the few rules the other gets wrong are named in `known`.

use fastrand::Rng;
use mqtt_proto::{v3, v5};

use super::{Verdict, first, later, random};
use crate::codec::packet::{Connect, Packet, Publish, QoS, Version};

#[derive(Debug, PartialEq, Eq)]
enum Theirs {
    V4(v3::Packet),
    V5(Box<v5::Packet>),
}

/// `None` = refused, or more bytes wanted though the frame is whole.
fn theirs(version: Version, bytes: &[u8]) -> Option<Theirs> {
    match version {
        Version::V4 => v3::Packet::decode(bytes).ok().flatten().map(Theirs::V4),
        Version::V5 => v5::Packet::decode(bytes)
            .ok()
            .flatten()
            .map(|packet| Theirs::V5(Box::new(packet))),
    }
}

fn ours(version: Version, bytes: &[u8]) -> Verdict {
    if bytes[0] >> 4 == 1 {
        first(bytes)
    } else {
        later(version, bytes)
    }
}

fn same_publish(
    ours: &Publish,
    (dup, retain, qos_pid, topic, payload): (bool, bool, mqtt_proto::QosPid, &str, &[u8]),
) -> bool {
    let pid = qos_pid.pid().map_or(0, mqtt_proto::Pid::value);
    let qos = QoS::from_bits(qos_pid.qos() as u8).unwrap();
    (ours.dup, ours.retain, ours.qos, ours.pkid) == (dup, retain, qos, pid)
        && ours.topic == topic.as_bytes()
        && ours.payload == payload
}

fn same_connect(
    ours: &Connect,
    clean: bool,
    keep_alive: u16,
    id: &str,
    user: Option<&str>,
) -> bool {
    (ours.clean, ours.keep_alive_s) == (clean, keep_alive)
        && ours.client_id == id.as_bytes()
        && ours.user.as_deref() == user.map(str::as_bytes)
}

fn same(ours: &Verdict, theirs: &Theirs) -> bool {
    match (ours, theirs) {
        (Verdict::Connect(ours), Theirs::V4(v3::Packet::Connect(theirs))) => {
            let will = ours
                .will
                .as_ref()
                .map(|w| (&w.publish.topic[..], &w.publish.payload[..]));
            let expected = theirs.last_will.as_ref();
            let expected = expected.map(|w| (w.topic_name.as_bytes(), &w.message[..]));
            let user = theirs.username.as_deref();
            will == expected
                && ours.password.as_deref() == theirs.password.as_deref()
                && same_connect(
                    ours,
                    theirs.clean_session,
                    theirs.keep_alive,
                    &theirs.client_id,
                    user,
                )
        }
        (Verdict::Connect(ours), Theirs::V5(theirs)) => {
            let v5::Packet::Connect(theirs) = &**theirs else {
                return false;
            };
            let properties = &theirs.properties;
            let user = theirs.username.as_deref();
            ours.properties.session_expiry_s == properties.session_expiry_interval.unwrap_or(0)
                && ours.properties.receive_maximum == properties.receive_max.unwrap_or(u16::MAX)
                && ours.properties.packet_bytes_max == properties.max_packet_size
                && ours.properties.problem_information
                    == properties.request_problem_info.unwrap_or(true)
                && ours.password.as_deref() == theirs.password.as_deref()
                && same_connect(
                    ours,
                    theirs.clean_start,
                    theirs.keep_alive,
                    &theirs.client_id,
                    user,
                )
        }
        (Verdict::Packet(ours), Theirs::V4(theirs)) => same_v4(ours, theirs),
        (Verdict::Packet(ours), Theirs::V5(theirs)) => same_v5(ours, theirs),
        _ => false,
    }
}

fn same_v4(ours: &Packet, theirs: &v3::Packet) -> bool {
    match (ours, theirs) {
        (Packet::Publish(ours), v3::Packet::Publish(p)) => same_publish(
            ours,
            (p.dup, p.retain, p.qos_pid, &p.topic_name, &p.payload),
        ),
        (Packet::Subscribe(ours), v3::Packet::Subscribe(theirs)) => {
            let filters = ours
                .filters
                .iter()
                .map(|f| (f.filter.to_vec(), f.qos as u8));
            let expected = theirs
                .topics
                .iter()
                .map(|(f, qos)| (f.as_bytes().to_vec(), *qos as u8));
            ours.pkid == theirs.pid.value() && filters.eq(expected)
        }
        (Packet::Unsubscribe { pkid, filters }, v3::Packet::Unsubscribe(theirs)) => {
            let expected = theirs.topics.iter().map(|f| f.as_bytes());
            *pkid == theirs.pid.value() && filters.iter().map(|f| &f[..]).eq(expected)
        }
        (Packet::PubAck(id, _), v3::Packet::Puback(theirs)) => *id == theirs.value(),
        (Packet::PubRec(id, _), v3::Packet::Pubrec(theirs)) => *id == theirs.value(),
        (Packet::PubRel(id), v3::Packet::Pubrel(theirs)) => *id == theirs.value(),
        (Packet::PubComp(id), v3::Packet::Pubcomp(theirs)) => *id == theirs.value(),
        (Packet::PingReq, v3::Packet::Pingreq) => true,
        (Packet::Disconnect { .. }, v3::Packet::Disconnect) => true,
        _ => false,
    }
}

fn same_v5(ours: &Packet, theirs: &v5::Packet) -> bool {
    match (ours, theirs) {
        (Packet::Publish(ours), v5::Packet::Publish(p)) => {
            same_publish(
                ours,
                (p.dup, p.retain, p.qos_pid, &p.topic_name, &p.payload),
            ) && same_properties(ours, &p.properties)
        }
        (Packet::Subscribe(ours), v5::Packet::Subscribe(theirs)) => {
            let filters = ours.filters.iter().map(|f| {
                let options = (f.qos as u8)
                    | u8::from(f.no_local) << 2
                    | u8::from(f.retain_as_published) << 3
                    | (f.retain_handling as u8) << 4;
                (f.filter.to_vec(), options)
            });
            let expected = theirs
                .topics
                .iter()
                .map(|(f, o)| (f.as_bytes().to_vec(), o.to_u8()));
            let id = theirs.properties.subscription_id.map(|id| id.value());
            ours.pkid == theirs.pid.value() && ours.subscription_id == id && filters.eq(expected)
        }
        (Packet::Unsubscribe { pkid, filters }, v5::Packet::Unsubscribe(theirs)) => {
            let expected = theirs.topics.iter().map(|f| f.as_bytes());
            *pkid == theirs.pid.value() && filters.iter().map(|f| &f[..]).eq(expected)
        }
        (Packet::PubAck(id, reason), v5::Packet::Puback(theirs)) => {
            *id == theirs.pid.value() && reason.0 == theirs.reason_code as u8
        }
        (Packet::PubRec(id, reason), v5::Packet::Pubrec(theirs)) => {
            *id == theirs.pid.value() && reason.0 == theirs.reason_code as u8
        }
        (Packet::PubRel(id), v5::Packet::Pubrel(theirs)) => *id == theirs.pid.value(),
        (Packet::PubComp(id), v5::Packet::Pubcomp(theirs)) => *id == theirs.pid.value(),
        (Packet::PingReq, v5::Packet::Pingreq) => true,
        (
            Packet::Disconnect {
                reason,
                session_expiry_s,
            },
            v5::Packet::Disconnect(theirs),
        ) => {
            reason.0 == theirs.reason_code as u8
                && *session_expiry_s == theirs.properties.session_expiry_interval
        }
        _ => false,
    }
}

fn same_properties(ours: &Publish, theirs: &v5::PublishProperties) -> bool {
    let ours = ours.properties.as_deref().cloned().unwrap_or_default();
    let text = |text: &Option<bytes::Bytes>| text.as_ref().map(|t| t.to_vec());
    let user = ours.user.iter().map(|(k, v)| (k.to_vec(), v.to_vec()));
    let expected = theirs.user_properties.iter();
    let expected = expected.map(|p| (p.name.as_bytes().to_vec(), p.value.as_bytes().to_vec()));
    ours.payload_format.map(|f| f == 1) == theirs.payload_is_utf8
        && ours.expiry_s == theirs.message_expiry_interval
        && ours.topic_alias == theirs.topic_alias
        && text(&ours.content_type) == theirs.content_type.as_ref().map(|t| t.as_bytes().to_vec())
        && text(&ours.response_topic)
            == theirs
                .response_topic
                .as_ref()
                .map(|t| t.as_bytes().to_vec())
        && text(&ours.correlation_data) == theirs.correlation_data.as_ref().map(|d| d.to_vec())
        && user.eq(expected)
}

fn legal(random: &mut Rng, version: Version) -> Vec<u8> {
    if random.u8(..4) == 0 {
        random::connect(random, version)
    } else {
        random::later(random, version)
    }
}

#[test]
fn legal_packets_are_read_alike() {
    let mut random = Rng::with_seed(11);
    for version in [Version::V4, Version::V5] {
        for _ in 0..10_000 {
            let bytes = legal(&mut random, version);
            let ours = ours(version, &bytes);
            let Some(theirs) = theirs(version, &bytes) else {
                panic!("the other codec refuses {bytes:02x?}, this one says {ours:?}");
            };
            assert!(same(&ours, &theirs), "{bytes:02x?}\n{ours:?}\n{theirs:?}");
        }
    }
}

#[test]
fn spoiled_packets_that_the_other_codec_refuses_are_refused() {
    let mut random = Rng::with_seed(12);
    let mut taken = 0;
    for version in [Version::V4, Version::V5] {
        for _ in 0..40_000 {
            let mut bytes = legal(&mut random, version);
            random::spoil(&mut random, &mut bytes);
            let ours = ours(version, &bytes);
            if !matches!(ours, Verdict::Connect(_) | Verdict::Packet(_)) {
                continue;
            }
            taken += 1;
            // A frame may have shrunk: the other codec sees the same bytes.
            match (theirs(version_of(version, &ours), &bytes), known(&ours)) {
                (Some(theirs), _) => assert!(same(&ours, &theirs), "{ours:?}\n{theirs:?}"),
                (None, true) => {}
                (None, false) => panic!("only this codec takes {bytes:02x?}: {ours:?}"),
            }
        }
    }
    assert!(
        taken > 5000,
        "{taken} spoiled frames were still legal, too few to tell"
    );
}

/// A spoiled CONNECT can have become one of the other version.
fn version_of(version: Version, verdict: &Verdict) -> Version {
    match verdict {
        Verdict::Connect(connect) => connect.version,
        _ => version,
    }
}

/// What the other codec refuses and this one may take: a payload that is announced as UTF-8 and
/// is not (§3.3.2.3.2: a receiver may check that).
fn known(ours: &Verdict) -> bool {
    let publish = match ours {
        Verdict::Packet(Packet::Publish(publish)) => Some(publish),
        Verdict::Connect(connect) => connect.will.as_ref().map(|will| &will.publish),
        _ => None,
    };
    publish.is_some_and(|publish| {
        let announced = publish
            .properties
            .as_ref()
            .is_some_and(|p| p.payload_format == Some(1));
        announced && std::str::from_utf8(&publish.payload).is_err()
    })
}
