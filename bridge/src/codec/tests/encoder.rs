//! What is written, read by a second codec.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use mqtt_proto::{v3, v5};

use super::random;
use crate::codec::packet::{
    ConnAck, Granted, Publish, PublishProperties, QoS, Reason, Reply, Version,
};
use crate::codec::{Delivered, encode_for, encode_publish, publish_bytes};

#[allow(clippy::needless_pass_by_value)] // reads better
fn written(version: Version, reply: Reply) -> Vec<u8> {
    let mut buffer = BytesMut::new();
    encode_for(version, &reply, &mut buffer);
    buffer.to_vec()
}

fn read_v4(bytes: &[u8]) -> v3::Packet {
    let packet = v3::Packet::decode(bytes).unwrap().unwrap();
    assert_eq!(
        packet.encode().unwrap().as_ref(),
        bytes,
        "not one packet: {bytes:02x?}"
    );
    packet
}

fn read_v5(bytes: &[u8]) -> v5::Packet {
    v5::Packet::decode(bytes)
        .unwrap_or_else(|e| panic!("{e:?}: {bytes:02x?}"))
        .unwrap()
}

const REASONS: [Reason; 21] = [
    Reason::SUCCESS,
    Reason::UNSPECIFIED,
    Reason::MALFORMED,
    Reason::PROTOCOL_ERROR,
    Reason::IMPLEMENTATION_SPECIFIC,
    Reason::UNSUPPORTED_VERSION,
    Reason::CLIENT_ID_INVALID,
    Reason::NOT_AUTHORIZED,
    Reason::SERVER_BUSY,
    Reason::SERVER_SHUTTING_DOWN,
    Reason::BAD_AUTHENTICATION_METHOD,
    Reason::KEEP_ALIVE_TIMEOUT,
    Reason::TAKEN_OVER,
    Reason::TOPIC_FILTER_INVALID,
    Reason::TOPIC_NAME_INVALID,
    Reason::RECEIVE_MAXIMUM_EXCEEDED,
    Reason::TOPIC_ALIAS_INVALID,
    Reason::PACKET_TOO_LARGE,
    Reason::QUOTA_EXCEEDED,
    Reason::QOS_NOT_SUPPORTED,
    Reason::SHARED_NOT_SUPPORTED,
];

#[test]
fn a_connack_is_written_for_every_reason_in_both_versions() {
    for reason in REASONS {
        let connack = || {
            Reply::ConnAck(ConnAck {
                reason,
                granted: None,
            })
        };
        let v3::Packet::Connack(old) = read_v4(&written(Version::V4, connack())) else {
            panic!("no CONNACK");
        };
        assert_eq!(
            old.code == v3::ConnectReturnCode::Accepted,
            reason == Reason::SUCCESS
        );
        let v5::Packet::Connack(new) = read_v5(&written(Version::V5, connack())) else {
            panic!("no CONNACK");
        };
        assert_eq!(new.reason_code as u8 == 0, reason == Reason::SUCCESS);
    }
}

#[test]
fn a_welcome_announces_what_there_is() {
    let granted = Granted {
        receive_maximum: 64,
        packet_bytes_max: 1_000_000,
        topic_alias_max: 10,
        assigned_client_id: Some("edge-1".to_owned()),
    };
    let connack = ConnAck {
        reason: Reason::SUCCESS,
        granted: Some(granted),
    };
    let bytes = written(Version::V5, Reply::ConnAck(connack.clone()));
    let v5::Packet::Connack(read) = read_v5(&bytes) else {
        panic!("no CONNACK")
    };
    let properties = read.properties;
    assert_eq!(properties.session_expiry_interval, Some(0));
    assert_eq!(properties.receive_max, Some(64));
    assert_eq!(properties.max_qos, Some(mqtt_proto::QoS::Level1));
    assert_eq!(properties.max_packet_size, Some(1_000_000));
    assert_eq!(properties.shared_subscription_available, Some(false));
    assert_eq!(properties.assigned_client_id.as_deref(), Some("edge-1"));
    assert_eq!(
        written(Version::V4, Reply::ConnAck(connack)),
        [0x20, 2, 0, 0]
    );
}

#[test]
fn acknowledgements_are_written_with_and_without_reasons() {
    for reason in [
        Reason::SUCCESS,
        Reason::NOT_AUTHORIZED,
        Reason::QUOTA_EXCEEDED,
    ] {
        for user in [vec![], vec![("edge-topic".to_owned(), "x".repeat(300)); 4]] {
            let reply = Reply::PubAck(258, reason, user.clone());
            let v5::Packet::Puback(read) = read_v5(&written(Version::V5, reply.clone())) else {
                panic!("no PUBACK");
            };
            assert_eq!((read.pid.value(), read.reason_code as u8), (258, reason.0));
            assert_eq!(read.properties.user_properties.len(), user.len());
            assert_eq!(written(Version::V4, reply), [0x40, 2, 1, 2]);
        }
        assert!(matches!(
            read_v5(&written(Version::V5, Reply::PubRec(9, reason))),
            v5::Packet::Pubrec(read) if read.reason_code as u8 == reason.0
        ));
    }
    assert_eq!(
        written(Version::V4, Reply::PubRec(9, Reason::SUCCESS)),
        [0x50, 2, 0, 9]
    );
    assert_eq!(
        written(Version::V5, Reply::PubComp(9, Reason(0x92))),
        [0x70, 3, 0, 9, 0x92]
    );
    assert_eq!(
        written(Version::V4, Reply::PubComp(9, Reason(0x92))),
        [0x70, 2, 0, 9]
    );
    assert_eq!(written(Version::V4, Reply::PingResp), [0xd0, 0]);
}

#[test]
fn answers_to_subscriptions_have_the_codes_of_their_version() {
    let reasons = vec![
        Reason(0),
        Reason(1),
        Reason::TOPIC_FILTER_INVALID,
        Reason::QUOTA_EXCEEDED,
        Reason::SHARED_NOT_SUPPORTED,
        Reason::NOT_AUTHORIZED,
    ];
    let old = written(Version::V4, Reply::SubAck(7, reasons.clone()));
    assert_eq!(old, [0x90, 8, 0, 7, 0, 1, 0x80, 0x80, 0x80, 0x80]);
    let new = written(Version::V5, Reply::SubAck(7, reasons));
    assert_eq!(new, [0x90, 9, 0, 7, 0, 0, 1, 0x8f, 0x97, 0x9e, 0x87]);
    read_v5(&new);
    let reasons = vec![Reason::SUCCESS, Reason::NO_SUBSCRIPTION_EXISTED];
    assert_eq!(
        written(Version::V4, Reply::UnsubAck(7, reasons.clone())),
        [0xb0, 2, 0, 7]
    );
    let new = written(Version::V5, Reply::UnsubAck(7, reasons));
    assert_eq!(new, [0xb0, 5, 0, 7, 0, 0, 0x11]);
    read_v5(&new);
}

#[test]
fn a_disconnect_is_one_packet_and_nothing_in_3_1_1() {
    for reason in REASONS {
        assert!(written(Version::V4, Reply::Disconnect(reason)).is_empty());
        // Reasons of CONNACK never come with DISCONNECT.
        if matches!(reason.0, 0x84 | 0x85 | 0x8c | 0x91) {
            continue;
        }
        let bytes = written(Version::V5, Reply::Disconnect(reason));
        let v5::Packet::Disconnect(read) = read_v5(&bytes) else {
            panic!("no DISCONNECT")
        };
        assert_eq!((read.reason_code as u8, bytes.len()), (reason.0, 4));
    }
}

#[test]
fn messages_of_all_sizes_and_properties_are_written_for_both_versions() {
    let mut random = Rng::with_seed(13);
    for _ in 0..3000 {
        let publish = message(&mut random);
        let qos = QoS::from_bits(random.u8(..2)).unwrap();
        let id = [random.u32(1..268_435_455)];
        let subscription_ids = &id[..random.usize(..2)];
        let (retain, pkid) = (random.bool(), random.u16(1..));
        let how = Delivered {
            qos,
            pkid,
            retain,
            dup: false,
            subscription_ids,
        };
        for version in [Version::V4, Version::V5] {
            let mut buffer = BytesMut::new();
            encode_publish(version, &publish, how, &mut buffer);
            assert_eq!(buffer.len(), publish_bytes(version, &publish, how));
            let (topic, payload, read_qos) = match version {
                Version::V4 => match read_v4(&buffer) {
                    v3::Packet::Publish(p) => (p.topic_name, p.payload, p.qos_pid),
                    other => panic!("{other:?}"),
                },
                Version::V5 => match read_v5(&buffer) {
                    v5::Packet::Publish(p) => {
                        let users = publish.properties.as_ref().map_or(0, |p| p.user.len());
                        assert_eq!(p.properties.user_properties.len(), users);
                        let read_id = p.properties.subscription_id.map(|id| id.value());
                        assert_eq!(read_id, subscription_ids.first().copied());
                        (p.topic_name, p.payload, p.qos_pid)
                    }
                    other => panic!("{other:?}"),
                },
            };
            assert_eq!(
                (topic.as_bytes(), &payload),
                (&publish.topic[..], &publish.payload)
            );
            assert_eq!(read_qos.qos() as u8, qos as u8);
        }
    }
}

fn message(random: &mut Rng) -> Publish {
    let sizes = [0, 1, 100, 127, 128, 16_383, 16_384, 70_000];
    let text = |random: &mut Rng| Bytes::from("v".repeat(random.usize(..50)));
    let properties = random.bool().then(|| {
        Box::new(PublishProperties {
            payload_format: random.bool().then_some(1),
            expiry_s: random.bool().then_some(7),
            topic_alias: None,
            response_topic: random.bool().then_some(Bytes::from_static(b"r")),
            correlation_data: random.bool().then(|| text(random)),
            content_type: random.bool().then(|| text(random)),
            user: (0..random.usize(..4))
                .map(|_| (text(random), text(random)))
                .collect(),
            subscription_ids: Vec::new(),
        })
    });
    Publish {
        topic: random::topic(random).into(),
        payload: vec![7; sizes[random.usize(..sizes.len())]].into(),
        properties,
        ..Default::default()
    }
}
