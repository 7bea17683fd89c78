//! Malformed and hostile input: it closes the connection that sent it, with the right reason in
//! version 5, and nobody else notices.
//!
//! The frames are the ones that killed or confused other servers, and every rule of the standard
//! that a packet can break alone.

use std::time::Duration;

use crate::support::gateway::Gateway;
use crate::support::mqtt::{Client, End, Hello, Packet, frame, publish, string, subscribe};
use crate::support::{proved, scratch};

/// Reason codes of version 5 that the standard allows for a case.
const MALFORMED: &[u8] = &[0x81, 0x82];

/// What a connected client may not send: name, bytes, reasons that fit in version 5.
fn after_connect(version: u8) -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let v5 = version == 5;
    let p = |topic: &[u8], id: &[u8], rest: &[u8]| {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic);
        body.extend(id);
        if v5 {
            body.push(0);
        }
        body.extend(rest);
        body
    };
    let subscription =
        |id: u16, filter: &str, options: u8| subscribe(version, id, &[(filter, options)]);
    let empty_subscription = if v5 { vec![0, 7, 0] } else { vec![0, 7] };
    vec![
        ("packet type 0", frame(0x00, &[]), MALFORMED),
        (
            "publish at QoS 3",
            frame(0x36, &p(b"a", &[0, 1], b"x")),
            MALFORMED,
        ),
        (
            "publish with id 0",
            frame(0x32, &p(b"a", &[0, 0], b"x")),
            MALFORMED,
        ),
        (
            "publish with DUP at QoS 0",
            frame(0x38, &p(b"a", &[], b"x")),
            MALFORMED,
        ),
        (
            "publish to nothing",
            frame(0x30, &p(b"", &[], b"x")),
            &[0x81, 0x82, 0x90],
        ),
        (
            "publish to a/+/b",
            frame(0x32, &p(b"a/+/b", &[0, 1], b"x")),
            &[0x81, 0x82, 0x90],
        ),
        (
            "publish to #",
            frame(0x32, &p(b"#", &[0, 1], b"x")),
            &[0x81, 0x82, 0x90],
        ),
        (
            "publish with NUL",
            frame(0x32, &p(b"a\0b", &[0, 1], b"x")),
            &[0x81, 0x82, 0x90],
        ),
        (
            "publish with bad UTF-8",
            frame(0x30, &p(b"a\xff\xfe", &[], b"x")),
            &[0x81, 0x82, 0x90],
        ),
        (
            "publish with a surrogate",
            frame(0x30, &p(b"\xed\xa0\x80", &[], b"")),
            &[0x81, 0x82, 0x90],
        ),
        (
            "publish with a topic past its end",
            frame(0x30, &[0, 9, b'a']),
            MALFORMED,
        ),
        ("publish of one byte", frame(0x30, &[0]), MALFORMED),
        (
            "publish at QoS 1 without an id",
            frame(0x32, &[0, 1, b'a']),
            MALFORMED,
        ),
        ("puback of one byte", frame(0x40, &[0]), MALFORMED),
        ("puback with flags", frame(0x4f, &[0, 1]), MALFORMED),
        ("puback with id 0", frame(0x40, &[0, 0]), MALFORMED),
        ("pubrel without its flags", frame(0x60, &[0, 1]), MALFORMED),
        (
            "subscribe without its flags",
            frame(0x80, &subscription(1, "a", 0)[2..]),
            MALFORMED,
        ),
        ("subscribe with id 0", subscription(0, "a", 0), MALFORMED),
        (
            "subscribe to nothing at all",
            frame(0x82, &empty_subscription),
            MALFORMED,
        ),
        ("subscribe at QoS 3", subscription(1, "a", 3), MALFORMED),
        (
            "subscribe with reserved bits",
            subscription(1, "a", 0xc1),
            MALFORMED,
        ),
        (
            "subscribe past its end",
            frame(0x82, &[0, 1, 0, 0, 50, b'a']),
            MALFORMED,
        ),
        (
            "unsubscribe from nothing at all",
            frame(0xa2, &empty_subscription),
            MALFORMED,
        ),
        (
            "unsubscribe without its flags",
            frame(0xa0, &subscription(1, "a", 0)[2..]),
            MALFORMED,
        ),
        ("ping with flags", frame(0xc1, &[]), MALFORMED),
        ("ping with a body", frame(0xc0, &[1]), MALFORMED),
        ("disconnect with flags", frame(0xe1, &[]), MALFORMED),
        (
            "a second connect",
            Hello {
                version,
                ..Hello::v3("again")
            }
            .packet(),
            &[0x82],
        ),
        ("connack from a client", frame(0x20, &[0, 0, 0]), MALFORMED),
        (
            "suback from a client",
            frame(0x90, &[0, 1, 0, 0]),
            MALFORMED,
        ),
        (
            "unsuback from a client",
            frame(0xb0, &[0, 1, 0, 0]),
            MALFORMED,
        ),
        ("pingresp from a client", frame(0xd0, &[]), MALFORMED),
        (
            "a length of five bytes",
            vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01],
            MALFORMED,
        ),
        (
            "a packet of 256 MB",
            vec![0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'a'],
            &[0x95],
        ),
    ]
}

/// What only version 5 can get wrong.
fn after_connect_v5() -> Vec<(&'static str, Vec<u8>, &'static [u8])> {
    let p = |properties: &[u8]| {
        let mut body = string("a");
        body.extend([0, 1, properties.len() as u8]);
        body.extend(properties);
        frame(0x32, &body)
    };
    vec![
        (
            "publish without a property length",
            frame(0x30, &[0, 1, b'a']),
            MALFORMED,
        ),
        (
            "properties past the end",
            frame(0x30, &[0, 1, b'a', 9, 1]),
            MALFORMED,
        ),
        ("an unknown property", p(&[0x7f, 0]), MALFORMED),
        (
            "a property of another packet",
            p(&[0x11, 0, 0, 0, 9]),
            MALFORMED,
        ),
        (
            "a property twice",
            p(&[0x02, 0, 0, 0, 9, 0x02, 0, 0, 0, 9]),
            MALFORMED,
        ),
        ("topic alias 0", p(&[0x23, 0, 0]), &[0x94, 0x82]),
        (
            "a topic alias never allowed",
            p(&[0x23, 0xff, 0xff]),
            &[0x94],
        ),
        ("format indicator 2", p(&[0x01, 2]), &[0x81, 0x82, 0x99]),
        (
            "a response topic with #",
            p(&[0x08, 0, 3, b'a', b'/', b'#']),
            &[0x81, 0x82, 0x90],
        ),
        ("a subscription id from a client", p(&[0x0b, 1]), MALFORMED),
        (
            "auth without a method",
            frame(0xf0, &[]),
            &[0x81, 0x82, 0x8c],
        ),
        (
            "subscription id 0",
            frame(0x82, &[0, 1, 2, 0x0b, 0, 0, 1, b'a', 0]),
            MALFORMED,
        ),
        (
            "retain handling 3",
            subscribe(5, 1, &[("a", 0x30)]),
            MALFORMED,
        ),
        (
            "publish at QoS 2",
            publish(5, "a", b"x", 2, false, 1),
            &[0x9b],
        ),
        (
            "disconnect that raises the expiry",
            frame(0xe0, &[0, 5, 0x11, 0, 0, 0, 9]),
            &[0x82],
        ),
    ]
}

/// First packets that are not a proper CONNECT, with the CONNACK codes that may come before the
/// end. An empty list: any, or none.
fn instead_of_connect() -> Vec<(&'static str, Vec<u8>)> {
    let connect = |name: &str, level: u8, flags: u8, tail: &[u8]| {
        let mut body = string(name);
        body.extend([level, flags, 0, 60]);
        if level == 5 {
            body.push(0);
        }
        body.extend(tail);
        frame(0x10, &body)
    };
    let id = string("h");
    let v5 = |properties: Vec<u8>| {
        Hello {
            properties,
            ..Hello::v5("h")
        }
        .packet()
    };
    let tail = |parts: &[&[u8]]| parts.concat();
    vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n".to_vec()),
        ("TLS", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        ("ping first", frame(0xc0, &[])),
        ("publish first", publish(4, "a", b"x", 1, false, 1)),
        ("empty connect", frame(0x10, &[])),
        ("truncated connect", frame(0x10, &[0, 4, b'M', b'Q'])),
        (
            "connect with flags",
            frame(0x11, &Hello::v3("h").packet()[2..]),
        ),
        ("another protocol", connect("MQTX", 4, 2, &id)),
        ("level 3 of 3.1", connect("MQIsdp", 3, 2, &id)),
        ("level 6", connect("MQTT", 6, 2, &id)),
        ("the reserved bit", connect("MQTT", 4, 3, &id)),
        (
            "will at QoS 3",
            connect("MQTT", 4, 0x1e, &tail(&[&id, &[0, 1, b't', 0, 1, b'p']])),
        ),
        ("will QoS without a will", connect("MQTT", 4, 0x0a, &id)),
        ("will retain without a will", connect("MQTT", 4, 0x22, &id)),
        (
            "will to t/#",
            connect(
                "MQTT",
                4,
                0x06,
                &tail(&[&id, &string("t/#"), &[0, 1, b'p']]),
            ),
        ),
        (
            "will with bad UTF-8",
            connect("MQTT", 4, 6, &tail(&[&id, &[0, 1, 0xff, 0, 1, b'p']])),
        ),
        ("will missing", connect("MQTT", 4, 0x06, &id)),
        (
            "password without a user",
            connect("MQTT", 4, 0x42, &tail(&[&id, &[0, 1, b'p']])),
        ),
        ("user missing", connect("MQTT", 4, 0x82, &id)),
        (
            "bytes after the end",
            connect("MQTT", 4, 2, &tail(&[&id, &[1, 2, 3]])),
        ),
        ("an id with bad UTF-8", connect("MQTT", 4, 2, &[0, 1, 0xff])),
        ("an id with NUL", connect("MQTT", 4, 2, &[0, 2, b'a', 0])),
        ("no id and no clean session", connect("MQTT", 4, 0, &[0, 0])),
        ("a huge connect", vec![0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]),
        (
            "a property twice",
            v5(vec![0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]),
        ),
        ("receive maximum 0", v5(vec![0x21, 0, 0])),
        ("maximum packet size 0", v5(vec![0x27, 0, 0, 0, 0])),
        ("problem information 2", v5(vec![0x17, 2])),
        (
            "authentication data without a method",
            v5(vec![0x16, 0, 1, 1]),
        ),
        ("an authentication method", v5(vec![0x15, 0, 1, b'k'])),
        ("an unknown property", v5(vec![0x7f])),
    ]
}

/// Fails unless the connection closes soon; gives what came before.
fn closed(client: &mut Client, what: &str) -> Vec<Packet> {
    let end = client.until_closed(Duration::from_secs(3));
    end.unwrap_or_else(|_| panic!("{what}: the connection stays open"))
}

#[test]
fn each_broken_packet_closes_its_own_connection_only() {
    let dir = scratch();
    let mut gateway = Gateway::start(dir.path());
    let mut witness = Client::connect(gateway.mqtt(), &Hello::v5("witness"));
    witness.subscribe(&[("witness/#", 1)]);
    let mut wrong = Vec::new();
    let mut cases = 0;
    for version in [4, 5] {
        let mut all = after_connect(version);
        if version == 5 {
            all.extend(after_connect_v5());
        }
        for (what, bytes, reasons) in all {
            cases += 1;
            let mut client = Client::connect(
                gateway.mqtt(),
                &Hello {
                    version,
                    ..Hello::v3("bad")
                },
            );
            client.send(&bytes);
            let last = client.until_closed(Duration::from_secs(3));
            let fine = match (&last, version) {
                (Ok(packets), 4) => packets.is_empty(),
                (Ok(packets), _) => matches!(
                    packets[..], [Packet::Disconnect { reason }] if reasons.contains(&reason)
                ),
                (Err(_), _) => false,
            };
            if !fine {
                wrong.push(format!(
                    "version {version}: {what}: {last:?}, not {reasons:x?}"
                ));
            }
            assert!(witness.is_alive(), "{what} reached the witness");
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    still_serves(&mut gateway, &mut witness);
    proved(
        "fast",
        &format!("{cases} broken packets closed their own connection only"),
    );
}

#[test]
fn what_is_not_a_connect_is_closed() {
    let dir = scratch();
    let mut gateway = Gateway::start(dir.path());
    let mut witness = Client::connect(gateway.mqtt(), &Hello::v3("witness"));
    witness.subscribe(&[("witness/#", 1)]);
    let cases = instead_of_connect();
    for (what, bytes) in &cases {
        let version = if bytes.get(8) == Some(&5) { 5 } else { 4 };
        let mut client = Client::raw(gateway.mqtt()).speaking(version);
        client.send(bytes);
        for packet in closed(&mut client, what) {
            let refused = match packet {
                Packet::Connack {
                    code,
                    session_present,
                    ..
                } => code != 0 && !session_present,
                Packet::Disconnect { .. } => version == 5,
                _ => false,
            };
            assert!(refused, "{what}: {packet:?}");
        }
    }
    still_serves(&mut gateway, &mut witness);
    proved(
        "fast",
        &format!(
            "{} first packets that are no CONNECT were refused",
            cases.len()
        ),
    );
}

#[test]
fn refused_connects_carry_the_right_code() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let level = |version| Hello {
        version,
        ..Hello::v3("x")
    };
    for (version, codes) in [(3, &[1, 0x84][..]), (6, &[1, 0x84])] {
        let mut client = Client::raw(gateway.mqtt());
        client.send(&level(version).packet());
        match client.next(Duration::from_secs(3)) {
            Ok(Packet::Connack { code, .. }) => assert!(codes.contains(&code), "{code:#x}"),
            other => panic!("level {version}: {other:?}"),
        }
    }
    let nameless = Hello {
        clean: false,
        ..Hello::v3("")
    };
    let (_, answer) = Client::try_connect(gateway.mqtt(), &nameless);
    assert!(
        matches!(answer, Ok(Packet::Connack { code: 2, .. })),
        "{answer:?}"
    );
}

#[test]
fn a_connect_that_never_ends_is_closed_in_time() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let packet = Hello::v3("slow").packet();
    let mut slow = Client::raw(gateway.mqtt());
    slow.send(&packet[..packet.len() - 1]);
    slow.until_closed(Duration::from_secs(8))
        .expect("closed after connect_timeout_s = 5");
}

#[test]
fn random_bytes_and_mutated_packets_stop_nobody() {
    let dir = scratch();
    let mut gateway = Gateway::start(dir.path());
    let mut witness = Client::connect(gateway.mqtt(), &Hello::v3("witness"));
    witness.subscribe(&[("witness/#", 1)]);
    let seed = crate::support::setting("EDGE_SEED", fastrand::u64(..1 << 32));
    println!("EDGE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut seeds: Vec<Vec<u8>> = after_connect(5).into_iter().map(|c| c.1).collect();
    seeds.extend(after_connect_v5().into_iter().map(|c| c.1));
    seeds.extend(instead_of_connect().into_iter().map(|c| c.1));
    for n in 0..1500 {
        let version = if rng.bool() { 4 } else { 5 };
        let mut client = if rng.u8(..4) == 0 {
            Client::raw(gateway.mqtt())
        } else {
            Client::connect(
                gateway.mqtt(),
                &Hello {
                    version,
                    ..Hello::v3("fuzz")
                },
            )
        };
        let mut bytes = seeds[rng.usize(..seeds.len())].clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        bytes.truncate(rng.usize(1..=bytes.len()).max(bytes.len() / 2));
        client.send(&bytes);
        if n % 100 == 0 {
            assert!(witness.is_alive(), "after {n} mutated packets");
        }
    }
    still_serves(&mut gateway, &mut witness);
    proved("fast", "1,500 mutated packets stopped nobody");
}

/// The gateway takes and delivers a message, and has not said that anything panicked.
fn still_serves(gateway: &mut Gateway, witness: &mut Client) {
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("device"));
    device.publish_acked("witness/ä", b"still here");
    assert_eq!(witness.receive().1, b"still here");
    let stray = witness.next(Duration::from_millis(50));
    assert_eq!(stray, Err(End::Silent), "the witness saw something else");
    let said = gateway.said();
    let panics: Vec<_> = said.iter().filter(|l| l.contains("panicked")).collect();
    assert!(panics.is_empty() && gateway.is_running(), "{panics:#?}");
}
