//! Facts about a conversation, told with packets in and packets out.
#![allow(clippy::unwrap_used)]

use edge_site::{AckLevel, Appended, Refused};

use super::*;
use crate::codec::packet::{ConnectProperties, PublishProperties, Subscribe, SubscribeFilter};
use crate::message::Message;

const LIMITS: Limits = Limits {
    in_flight_max: 3,
    packet_bytes_max: 1000,
    subscriptions_max: 2,
    topic_levels_max: 4,
    hold_ms_max: 60_000,
};

fn connect(version: Version) -> Connect {
    Connect {
        version,
        client_id: Bytes::from_static(b"dev7"),
        clean: true,
        keep_alive_s: 10,
        will: None,
        user: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

fn session(version: Version) -> Session {
    let mut session = Session::open(connect(version), None, LIMITS, 0);
    session.transmit().clear();
    session
}

fn publish(qos: u8, pkid: u16) -> Packet {
    Packet::Publish(Publish {
        qos: QoS::from_bits(qos).unwrap(),
        pkid,
        topic: Bytes::from_static(b"a"),
        ..Default::default()
    })
}

/// Publishes and puts it into append `request`.
fn store(session: &mut Session, qos: u8, pkid: u16, request: u64) {
    let step = session.handle_packet(0, publish(qos, pkid));
    assert!(matches!(step, Step::Store(_)), "{step:?}");
    if qos > 0 {
        session.handle_stored(pkid, QoS::from_bits(qos).unwrap(), request, 0, None);
    }
}

fn done() -> Outcome {
    Ok(Appended {
        level: AckLevel::Disk,
        offsets: vec![17],
        refused: Vec::new(),
    })
}

fn full() -> Outcome {
    Err(Refused::Full {
        limit: "storage.bytes_max",
    })
}

fn said(session: &mut Session) -> Vec<u8> {
    session.transmit().split().to_vec()
}

#[test]
fn acknowledgements_leave_in_the_order_of_their_publishes() {
    let mut session = session(Version::V4);
    let (first, second) = (session.open_request(), session.open_request());
    store(&mut session, 1, 1, first);
    store(&mut session, 1, 2, second);
    store(&mut session, 1, 3, first);
    assert_eq!(session.handle_spent(0, second, done()), None);
    assert!(said(&mut session).is_empty());
    session.handle_spent(0, first, done());
    let acks = [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3];
    assert_eq!(said(&mut session), acks);
    assert_eq!((session.unacked(), session.requests_under_way()), (0, 0));
}

#[test]
fn an_append_of_qos_0_holds_nobody_up() {
    let mut session = session(Version::V4);
    let (zero, one) = (session.open_request(), session.open_request());
    store(&mut session, 1, 1, one);
    session.handle_spent(0, one, done());
    assert_eq!(said(&mut session), [0x40, 2, 0, 1]);
    session.handle_spent(0, zero, done());
    assert_eq!(session.requests_under_way(), 0);
}

/// The records of a large retained publish are more than one append takes.
#[test]
fn a_publish_of_two_appends_is_acknowledged_by_both_and_refused_by_either() {
    let ack: &[u8] = &[0x40, 2, 0, 1];
    let nack: &[u8] = &[0x40, 3, 0, 1, 0x97];
    let cases = [
        (done(), done(), ack),
        (full(), done(), nack),
        (done(), full(), nack),
        (full(), Err(Refused::UnknownTopic), nack),
    ];
    for (first_outcome, second_outcome, expected) in cases {
        for is_turned in [false, true] {
            let mut session = session(Version::V5);
            let (first, second) = (session.open_request(), session.open_request());
            store(&mut session, 1, 1, second);
            session.handle_stored_apart(first);
            store(&mut session, 1, 2, second);
            let mut outcomes = [
                (first, first_outcome.clone()),
                (second, second_outcome.clone()),
            ];
            if is_turned {
                outcomes.reverse();
            }
            let mut replies = Vec::new();
            for (request, outcome) in outcomes {
                assert_eq!(session.handle_spent(0, request, outcome), None);
                replies.extend(said(&mut session));
            }
            assert!(replies.starts_with(expected), "{replies:02x?}");
            assert_eq!((session.in_line(), session.requests_under_way()), (0, 0));
        }
    }
}

#[test]
fn full_is_a_code_in_mqtt_5() {
    let mut session = session(Version::V5);
    let request = session.open_request();
    store(&mut session, 1, 1, request);
    assert_eq!(session.handle_spent(0, request, full()), None);
    assert_eq!(said(&mut session), [0x40, 3, 0, 1, 0x97]);
}

#[test]
fn full_is_silence_in_3_1_1_and_then_the_end() {
    let mut session = session(Version::V4);
    let request = session.open_request();
    store(&mut session, 1, 1, request);
    assert_eq!(session.handle_spent(5000, request, full()), None);
    assert!(said(&mut session).is_empty());
    // Pings are answered, what comes after the held one is not taken, QoS 0 is live.
    session.handle_packet(9000, Packet::PingReq);
    assert_eq!(said(&mut session), [0xd0, 0]);
    assert_eq!(session.handle_packet(9000, publish(1, 2)), Step::Idle);
    assert!(matches!(
        session.handle_packet(9000, publish(0, 0)),
        Step::Store(_)
    ));
    for now_ms in [20_000, 30_000, 40_000, 50_000, 60_000] {
        session.handle_packet(now_ms, Packet::PingReq);
        assert_eq!(session.handle_tick(now_ms, true), None);
    }
    assert_eq!(session.deadline_ms(), Some(65_000));
    let close = session.handle_tick(65_000, true).unwrap();
    assert_eq!(close.cause, Cause::Gateway);
    assert!(close.what.contains("mqtt.hold_s_max"));
}

/// Otherwise the client sends only the held one again, and the log ends with the older value.
#[test]
fn nothing_behind_a_held_publish_is_acknowledged() {
    let mut session = session(Version::V4);
    let (first, second, third) = (
        session.open_request(),
        session.open_request(),
        session.open_request(),
    );
    for (pkid, request) in [(1, first), (2, second), (3, third)] {
        store(&mut session, 1, pkid, request);
    }
    assert_eq!(session.handle_spent(0, first, done()), None);
    assert_eq!(said(&mut session), [0x40, 2, 0, 1]);
    assert_eq!(session.handle_spent(0, second, full()), None);
    assert_eq!(session.handle_spent(0, third, done()), None);
    assert!(said(&mut session).is_empty());
    assert_eq!((session.unacked(), session.in_line()), (0, 0));
}

#[test]
fn an_acknowledgement_is_not_larger_than_the_client_takes() {
    for (bytes_max, tells_place) in [(40, false), (4000, true)] {
        let mut connect = connect(Version::V5);
        connect.properties.packet_bytes_max = Some(bytes_max);
        let mut session = Session::open(connect, None, LIMITS, 0);
        session.transmit().clear();
        let request = session.open_request();
        session.handle_packet(0, publish(1, 1));
        let place = Place {
            topic: "mqtt".into(),
            partition: 0,
        };
        session.handle_stored(1, QoS::AtLeastOnce, request, 0, Some(place));
        assert_eq!(session.handle_spent(0, request, done()), None);
        assert_eq!(said(&mut session).len() > 4, tells_place);
    }
}

#[test]
fn filters_of_one_client_are_bounded_by_bytes_too() {
    let limits = Limits {
        subscriptions_max: 100,
        ..LIMITS
    };
    let mut session = Session::open(connect(Version::V5), None, limits, 0);
    session.transmit().clear();
    let mut subscribe = |letter: u8| {
        let filter = SubscribeFilter {
            filter: Bytes::from(vec![letter; 65_535]),
            qos: QoS::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: crate::codec::packet::RetainHandling::Always,
        };
        let packet = Packet::Subscribe(Subscribe {
            pkid: 1,
            filters: vec![filter],
            subscription_id: None,
        });
        session.handle_packet(0, packet);
        said(&mut session).last().copied()
    };
    let reasons: Vec<_> = b"abcdea".iter().map(|letter| subscribe(*letter)).collect();
    assert_eq!(reasons, [0, 0, 0, 0, 0x97, 0].map(Some));
}

#[test]
fn too_large_for_its_topic_ends_the_connection_in_both_versions() {
    for version in [Version::V4, Version::V5] {
        let mut session = session(version);
        let request = session.open_request();
        store(&mut session, 1, 1, request);
        let refused = Err(Refused::TooLarge {
            bytes: 2,
            bytes_max: 1,
        });
        let close = session.handle_spent(0, request, refused).unwrap();
        assert_eq!(
            (close.cause, close.reason),
            (Cause::Refused, Reason::PACKET_TOO_LARGE)
        );
    }
}

#[test]
fn not_permitted_is_a_code_in_mqtt_5_and_the_end_in_3_1_1() {
    let mut five = session(Version::V5);
    let request = five.open_request();
    store(&mut five, 1, 1, request);
    assert_eq!(
        five.handle_spent(0, request, Err(Refused::UnknownTopic)),
        None
    );
    assert_eq!(said(&mut five), [0x40, 3, 0, 1, 0x87]);
    let mut four = session(Version::V4);
    let request = four.open_request();
    store(&mut four, 1, 1, request);
    let close = four
        .handle_spent(0, request, Err(Refused::UnknownTopic))
        .unwrap();
    assert_eq!(close.cause, Cause::Refused);
}

#[test]
fn an_unknown_outcome_is_never_acknowledged() {
    for refused in [Refused::Unknown, Refused::NotLeader, Refused::Stopping] {
        let mut session = session(Version::V5);
        let request = session.open_request();
        store(&mut session, 1, 1, request);
        let close = session.handle_spent(0, request, Err(refused)).unwrap();
        assert_eq!(close.cause, Cause::Gateway);
        assert!(said(&mut session).is_empty());
    }
}

#[test]
fn the_window_towards_a_client_is_what_it_takes() {
    let mut connect = connect(Version::V5);
    connect.properties.receive_maximum = 2;
    let mut session = Session::open(connect, None, LIMITS, 0);
    let message = Message {
        publish: Publish::default(),
        client_id: Bytes::new(),
    };
    for _ in 0..2 {
        assert!(session.has_window());
        session.deliver(&message, QoS::AtLeastOnce, false, &[]);
    }
    assert!(!session.has_window() && session.has_room());
    // Out of order and twice is all right.
    session.handle_packet(0, Packet::PubAck(2, Reason::SUCCESS));
    session.handle_packet(0, Packet::PubAck(2, Reason::SUCCESS));
    assert!(session.has_window());
}

#[test]
fn packet_ids_under_way_are_not_given_again() {
    let mut session = session(Version::V4);
    let message = Message {
        publish: Publish::default(),
        client_id: Bytes::new(),
    };
    session.deliver(&message, QoS::AtLeastOnce, false, &[]);
    session.last_pkid = u16::MAX;
    session.deliver(&message, QoS::AtLeastOnce, false, &[]);
    assert_eq!(session.sent, [1, 2]);
}

#[test]
fn a_ping_answered_ahead_is_not_answered_again() {
    let mut session = session(Version::V4);
    session.handle_ping_ahead(0);
    assert_eq!(said(&mut session), [0xd0, 0]);
    session.handle_packet(0, Packet::PingReq);
    assert!(said(&mut session).is_empty());
    session.handle_packet(0, Packet::PingReq);
    assert_eq!(said(&mut session), [0xd0, 0]);
}

#[test]
fn silence_counts_only_while_the_socket_is_read() {
    let mut session = session(Version::V4);
    assert_eq!(session.deadline_ms(), Some(15_000));
    assert_eq!(session.handle_tick(15_000, false), None);
    assert_eq!(session.handle_tick(29_999, true), None);
    let close = session.handle_tick(30_000, true).unwrap();
    assert_eq!(close.reason, Reason::KEEP_ALIVE_TIMEOUT);
}

#[test]
fn what_is_reduced_can_be_said_in_one_line() {
    let mut connect = connect(Version::V4);
    connect.clean = false;
    connect.will = Some(Will {
        delay_s: 5,
        publish: Publish {
            qos: QoS::ExactlyOnce,
            ..Default::default()
        },
    });
    let mut session = Session::open(connect, None, LIMITS, 0);
    assert_eq!(session.reductions().words().len(), 3);
    assert_eq!(session.take_will().unwrap().qos, QoS::AtLeastOnce);
    assert_eq!(session.take_will(), None);
}

#[test]
fn a_session_that_was_to_end_cannot_be_kept_by_disconnect() {
    let mut session = session(Version::V5);
    let packet = Packet::Disconnect {
        reason: Reason(0),
        session_expiry_s: Some(9),
    };
    let Step::Close(close) = session.handle_packet(0, packet) else {
        panic!("stays")
    };
    assert_eq!(close.reason, Reason::PROTOCOL_ERROR);
}

#[test]
fn a_repeated_qos_2_publish_waits_for_the_first() {
    let mut session = session(Version::V4);
    let request = session.open_request();
    store(&mut session, 2, 5, request);
    assert_eq!(session.handle_packet(0, publish(2, 5)), Step::Idle);
    assert!(said(&mut session).is_empty());
    session.handle_spent(0, request, done());
    assert_eq!(said(&mut session), [0x50, 2, 0, 5]);
    assert_eq!(session.handle_packet(0, publish(2, 5)), Step::Idle);
    assert_eq!(said(&mut session), [0x50, 2, 0, 5]);
}

/// A byte not counted here is one that a client can take ten thousand times.
#[test]
fn all_that_a_session_remembers_of_its_client_is_counted_and_given_back() {
    let mut connect = connect(Version::V4);
    connect.client_id = Bytes::from(vec![b'c'; 1000]);
    connect.will = Some(Will {
        delay_s: 0,
        publish: Publish {
            topic: Bytes::from(vec![b't'; 30_000]),
            payload: Bytes::from(vec![b'p'; 20_000]),
            ..Default::default()
        },
    });
    let mut session = Session::open(connect, None, LIMITS, 0);
    assert_eq!(session.remembered_bytes(), 51_000);

    let filter = Bytes::from([&[b'f'; 40_000][..], b"/a/b"].concat());
    let subscribe = |filter: &Bytes| {
        Packet::Subscribe(Subscribe {
            pkid: 1,
            filters: vec![SubscribeFilter {
                filter: filter.clone(),
                qos: QoS::AtMostOnce,
                no_local: false,
                retain_as_published: false,
                retain_handling: crate::codec::packet::RetainHandling::Always,
            }],
            subscription_id: None,
        })
    };
    session.handle_packet(0, subscribe(&filter));
    let once = session.remembered_bytes() - 51_000;
    assert!((80_000..82_000).contains(&once), "{once}");
    session.handle_packet(0, subscribe(&filter));
    assert_eq!(session.remembered_bytes(), 51_000 + once);
    let filters = vec![filter];
    session.handle_packet(0, Packet::Unsubscribe { pkid: 2, filters });
    assert_eq!(session.remembered_bytes(), 51_000);

    let request = session.open_request();
    (1..=100).for_each(|pkid| store(&mut session, 2, pkid, request));
    assert_eq!(session.remembered_bytes(), 52_000);
    (1..=100).for_each(|pkid| drop(session.handle_packet(0, Packet::PubRel(pkid))));
    assert_eq!(session.remembered_bytes(), 51_000);
}

#[test]
fn topic_aliases_count_with_their_topics() {
    let mut session = session(Version::V5);
    let empty = session.remembered_bytes();
    let mut alias = |alias: u16, length: usize| {
        let properties = PublishProperties {
            topic_alias: Some(alias),
            ..Default::default()
        };
        let publish = Publish {
            topic: Bytes::from(vec![b'a'; length]),
            properties: Some(Box::new(properties)),
            ..Default::default()
        };
        let step = session.handle_packet(0, Packet::Publish(publish));
        assert!(matches!(step, Step::Store(_)), "{step:?}");
        session.remembered_bytes() - empty
    };
    let held = [(1, 60_000), (10, 50_000), (1, 10), (1, 0), (10, 20)];
    let held = held.map(|(number, length)| alias(number, length));
    assert_eq!(held, [60_000, 110_000, 50_010, 50_010, 30]);
}
