//! Every mistake of the standard's lists, one frame each, and what is legal though it looks odd.

use super::{Verdict, first, frame, later, text};
use crate::codec::packet::{Reason, Version};
use Version::{V4, V5};

const MALFORMED: u8 = 0x81;
const PROTOCOL: u8 = 0x82;

/// CONNECT with these flags and this payload; MQTT 5 with empty properties.
fn connect(level: u8, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    let head = [&text(b"MQTT")[..], &[level, flags, 0, 60], properties].concat();
    let mut parts = vec![&head[..]];
    parts.extend_from_slice(payload);
    frame(0x10, &parts)
}

fn connect_with(properties: &[u8]) -> Vec<u8> {
    let length = [properties.len() as u8];
    let head = [&text(b"MQTT")[..], &[5, 2, 0, 60], &length, properties].concat();
    frame(0x10, &[&head, &text(b"c")])
}

fn publish_with(properties: &[u8]) -> Vec<u8> {
    frame(
        0x30,
        &[&text(b"a"), &[properties.len() as u8], properties, b"x"],
    )
}

fn wills(level: u8, topic: &[u8], properties: &[u8]) -> Vec<u8> {
    let block = [&[properties.len() as u8], properties].concat();
    let block = if level == 5 { &block[..] } else { &[] };
    connect(
        level,
        0x06,
        &[&text(b"c"), block, &text(topic), &text(b"gone")],
    )
}

#[test]
fn a_first_packet_that_is_wrong_is_refused_with_its_reason() {
    let id = text(b"c");
    let two = |property: &[u8]| connect_with(&[property, property].concat());
    let cases: Vec<(&str, Vec<u8>, u8)> = vec![
        ("flags of the header", frame(0x11, &[b"x"]), MALFORMED),
        ("no CONNECT", frame(0x30, &[&text(b"a")]), PROTOCOL),
        ("PINGREQ first", vec![0xc0, 0], PROTOCOL),
        (
            "five bytes of length",
            vec![0x10, 0xff, 0xff, 0xff, 0xff, 1],
            MALFORMED,
        ),
        ("too large", vec![0x10, 0xff, 0xff, 0xff, 0x7f], 0x95),
        (
            "3.1",
            frame(0x10, &[&text(b"MQIsdp"), &[3, 2, 0, 60], &id]),
            0x84,
        ),
        ("level 6", connect(6, 2, &[&id]), 0x84),
        ("level 3", connect(3, 2, &[&id]), 0x84),
        ("reserved bit", connect(4, 3, &[&id]), MALFORMED),
        ("reserved bit", connect(5, 3, &[&id]), MALFORMED),
        (
            "will QoS 3",
            connect(4, 0x1e, &[&id, &text(b"t"), &text(b"m")]),
            MALFORMED,
        ),
        ("will QoS without will", connect(4, 0x0a, &[&id]), MALFORMED),
        (
            "will retain without will",
            connect(5, 0x22, &[&id]),
            MALFORMED,
        ),
        (
            "password without user",
            connect(4, 0x42, &[&id, &text(b"p")]),
            MALFORMED,
        ),
        ("no payload", connect(4, 2, &[]), MALFORMED),
        ("id is cut", connect(4, 2, &[&[0, 5], b"abc"]), MALFORMED),
        (
            "id is not UTF-8",
            connect(4, 2, &[&text(b"\xff\xfe")]),
            MALFORMED,
        ),
        (
            "id with surrogate",
            connect(5, 2, &[&text(b"\xed\xa0\x80")]),
            MALFORMED,
        ),
        ("id with NUL", connect(4, 2, &[&text(b"a\0b")]), MALFORMED),
        ("trailing byte", connect(4, 2, &[&id, b"x"]), MALFORMED),
        ("trailing byte", connect(5, 2, &[&id, b"x"]), MALFORMED),
        (
            "user announced, not there",
            connect(4, 0x82, &[&id]),
            MALFORMED,
        ),
        (
            "user is not UTF-8",
            connect(4, 0x82, &[&id, &text(b"\xff")]),
            MALFORMED,
        ),
        (
            "password is cut",
            connect(4, 0xc2, &[&id, &text(b"u"), &[0, 9, b'p']]),
            MALFORMED,
        ),
        ("will topic with wildcard", wills(4, b"a/#", &[]), MALFORMED),
        ("will topic with wildcard", wills(5, b"a/+", &[]), MALFORMED),
        ("will topic empty", wills(4, b"", &[]), PROTOCOL),
        ("will topic not UTF-8", wills(4, b"\xff", &[]), MALFORMED),
        ("will topic with NUL", wills(5, b"a\0", &[]), MALFORMED),
        (
            "will property of CONNECT",
            wills(5, b"a", &[33, 0, 1]),
            PROTOCOL,
        ),
        ("will format 2", wills(5, b"a", &[1, 2]), PROTOCOL),
        (
            "will delay twice",
            wills(5, b"a", &[24, 0, 0, 0, 1, 24, 0, 0, 0, 1]),
            PROTOCOL,
        ),
        (
            "properties longer than packet",
            connect_with(&[]).tap(|p| p[12] = 99),
            MALFORMED,
        ),
        ("unknown property", connect_with(&[99]), MALFORMED),
        (
            "property number of two bytes",
            connect_with(&[0x80, 1, 0]),
            MALFORMED,
        ),
        ("property of PUBLISH", connect_with(&[35, 0, 1]), PROTOCOL),
        ("property is cut", connect_with(&[17, 0]), MALFORMED),
        ("receive maximum 0", connect_with(&[33, 0, 0]), PROTOCOL),
        (
            "maximum packet size 0",
            connect_with(&[39, 0, 0, 0, 0]),
            PROTOCOL,
        ),
        (
            "request problem information 2",
            connect_with(&[23, 2]),
            PROTOCOL,
        ),
        (
            "request response information 2",
            connect_with(&[25, 2]),
            PROTOCOL,
        ),
        ("session expiry twice", two(&[17, 0, 0, 0, 1]), PROTOCOL),
        ("receive maximum twice", two(&[33, 0, 1]), PROTOCOL),
        ("topic alias maximum twice", two(&[34, 0, 1]), PROTOCOL),
        (
            "authentication data alone",
            connect_with(&[22, 0, 1, 7]),
            PROTOCOL,
        ),
        (
            "user property is cut",
            connect_with(&[38, 0, 1, b'k']),
            MALFORMED,
        ),
        (
            "user property not UTF-8",
            connect_with(&[38, 0, 1, 0xff, 0, 0]),
            MALFORMED,
        ),
    ];
    for (name, bytes, reason) in cases {
        assert_eq!(
            first(&bytes),
            Verdict::Refused(Reason(reason)),
            "{name}: {bytes:02x?}"
        );
    }
    assert_eq!(
        first(b"\x10\x0c\0\x04HTTP\x04\x02\0\x3c\0\0"),
        Verdict::NoMqtt
    );
    assert_eq!(first(&[0x10, 2, 0, 4]), Verdict::NoMqtt);
}

#[test]
fn a_later_packet_that_is_wrong_is_refused_with_its_reason() {
    let a = text(b"a");
    let two = |property: &[u8]| publish_with(&[property, property].concat());
    let ids = |first: u8, id: &[u8]| frame(first, &[id]);
    let subscribe4 = |filter: &[u8], options| frame(0x82, &[&[0, 1], &text(filter), &[options]]);
    let subscribe5 = |filter: &[u8], options| frame(0x82, &[&[0, 1, 0], &text(filter), &[options]]);
    let cases: Vec<(&str, Version, Vec<u8>, u8)> = vec![
        ("type 0", V4, vec![0x00, 0], MALFORMED),
        ("type 15 in 3.1.1", V4, vec![0xf0, 0], MALFORMED),
        ("AUTH", V5, vec![0xf0, 0], 0x8c),
        ("a second CONNECT", V4, connect(4, 2, &[&a]), PROTOCOL),
        ("a second CONNECT", V5, connect(5, 2, &[&a]), PROTOCOL),
        ("CONNACK from a client", V4, vec![0x20, 2, 0, 0], PROTOCOL),
        (
            "CONNACK from a client",
            V5,
            vec![0x20, 3, 0, 0, 0],
            PROTOCOL,
        ),
        ("SUBACK from a client", V4, vec![0x90, 3, 0, 1, 0], PROTOCOL),
        (
            "SUBACK from a client",
            V5,
            vec![0x90, 4, 0, 1, 0, 0],
            PROTOCOL,
        ),
        ("UNSUBACK from a client", V4, vec![0xb0, 2, 0, 1], PROTOCOL),
        (
            "UNSUBACK from a client",
            V5,
            vec![0xb0, 4, 0, 1, 0, 0],
            PROTOCOL,
        ),
        ("PINGRESP from a client", V4, vec![0xd0, 0], PROTOCOL),
        ("QoS 3", V4, frame(0x36, &[&a, &[0, 1]]), MALFORMED),
        ("QoS 3", V5, frame(0x36, &[&a, &[0, 1, 0]]), MALFORMED),
        ("DUP at QoS 0", V4, frame(0x38, &[&a]), MALFORMED),
        ("DUP at QoS 0", V5, frame(0x38, &[&a, &[0]]), MALFORMED),
        ("packet id 0", V4, frame(0x32, &[&a, &[0, 0]]), PROTOCOL),
        ("packet id 0", V5, frame(0x34, &[&a, &[0, 0, 0]]), PROTOCOL),
        ("packet id missing", V4, frame(0x32, &[&a]), MALFORMED),
        ("topic missing", V4, vec![0x30, 0], MALFORMED),
        ("topic is cut", V4, frame(0x30, &[&[0, 9, b'a']]), MALFORMED),
        ("topic empty", V4, frame(0x30, &[&text(b"")]), PROTOCOL),
        (
            "topic empty, no alias",
            V5,
            frame(0x30, &[&text(b""), &[0]]),
            PROTOCOL,
        ),
        (
            "topic with +",
            V4,
            frame(0x30, &[&text(b"a/+/b")]),
            MALFORMED,
        ),
        (
            "topic with #",
            V5,
            frame(0x30, &[&text(b"#"), &[0]]),
            MALFORMED,
        ),
        (
            "topic with NUL",
            V4,
            frame(0x30, &[&text(b"a\0")]),
            MALFORMED,
        ),
        (
            "topic not UTF-8",
            V4,
            frame(0x30, &[&text(b"\xc3")]),
            MALFORMED,
        ),
        (
            "topic not UTF-8",
            V5,
            frame(0x30, &[&text(b"\xff"), &[0]]),
            MALFORMED,
        ),
        ("no properties", V5, frame(0x30, &[&a]), MALFORMED),
        ("no properties", V5, frame(0x32, &[&a, &[0, 1]]), MALFORMED),
        (
            "properties too long",
            V5,
            frame(0x30, &[&a, &[9, 1, 1]]),
            MALFORMED,
        ),
        (
            "property length with a byte too many",
            V5,
            frame(0x30, &[&text(b"a"), &[0x80, 0], b"x"]),
            MALFORMED,
        ),
        (
            "length with a byte too many",
            V5,
            vec![0xc0, 0x80, 0],
            MALFORMED,
        ),
        (
            "property length of 5 bytes",
            V5,
            frame(0x30, &[&a, &[255, 255, 255, 255, 1]]),
            MALFORMED,
        ),
        ("unknown property", V5, publish_with(&[4, 0]), MALFORMED),
        (
            "property of CONNECT",
            V5,
            publish_with(&[33, 0, 1]),
            PROTOCOL,
        ),
        (
            "subscription identifier",
            V5,
            publish_with(&[11, 1]),
            PROTOCOL,
        ),
        ("format 2", V5, publish_with(&[1, 2]), PROTOCOL),
        ("format twice", V5, two(&[1, 1]), PROTOCOL),
        ("expiry twice", V5, two(&[2, 0, 0, 0, 1]), PROTOCOL),
        ("content type twice", V5, two(&[3, 0, 1, b'x']), PROTOCOL),
        (
            "content type not UTF-8",
            V5,
            publish_with(&[3, 0, 1, 0xff]),
            MALFORMED,
        ),
        (
            "response topic with #",
            V5,
            publish_with(&[8, 0, 1, b'#']),
            PROTOCOL,
        ),
        (
            "response topic empty",
            V5,
            publish_with(&[8, 0, 0]),
            PROTOCOL,
        ),
        ("topic alias 0", V5, publish_with(&[35, 0, 0]), 0x94),
        ("topic alias twice", V5, two(&[35, 0, 1]), PROTOCOL),
        ("PUBACK with flags", V4, ids(0x41, &[0, 1]), MALFORMED),
        ("PUBACK of id 0", V4, ids(0x40, &[0, 0]), PROTOCOL),
        ("PUBACK without id", V5, ids(0x40, &[]), MALFORMED),
        (
            "PUBACK too long in 3.1.1",
            V4,
            ids(0x40, &[0, 1, 0]),
            MALFORMED,
        ),
        (
            "PUBACK with unknown reason",
            V5,
            ids(0x40, &[0, 1, 0x42]),
            MALFORMED,
        ),
        (
            "PUBACK with properties of others",
            V5,
            ids(0x40, &[0, 1, 0, 2, 1, 1]),
            PROTOCOL,
        ),
        (
            "PUBACK with trailing byte",
            V5,
            ids(0x40, &[0, 1, 0, 0, 9]),
            MALFORMED,
        ),
        ("PUBREC of id 0", V4, ids(0x50, &[0, 0]), PROTOCOL),
        (
            "PUBREL without its flags",
            V4,
            ids(0x60, &[0, 1]),
            MALFORMED,
        ),
        (
            "PUBREL with unknown reason",
            V5,
            ids(0x62, &[0, 1, 0x80]),
            MALFORMED,
        ),
        ("PUBCOMP with flags", V5, ids(0x72, &[0, 1]), MALFORMED),
        (
            "SUBSCRIBE without its flags",
            V4,
            subscribe4(b"a", 0).tap(|p| p[0] = 0x80),
            MALFORMED,
        ),
        (
            "SUBSCRIBE of id 0",
            V4,
            frame(0x82, &[&[0, 0], &a, &[0]]),
            PROTOCOL,
        ),
        (
            "SUBSCRIBE of id 0",
            V5,
            frame(0x82, &[&[0, 0, 0], &a, &[0]]),
            PROTOCOL,
        ),
        (
            "SUBSCRIBE without filter",
            V4,
            frame(0x82, &[&[0, 1]]),
            PROTOCOL,
        ),
        (
            "SUBSCRIBE without filter",
            V5,
            frame(0x82, &[&[0, 1, 0]]),
            PROTOCOL,
        ),
        (
            "SUBSCRIBE without options",
            V4,
            frame(0x82, &[&[0, 1], &a]),
            MALFORMED,
        ),
        (
            "SUBSCRIBE without properties",
            V5,
            frame(0x82, &[&[0, 1]]),
            MALFORMED,
        ),
        ("QoS 3 wanted", V4, subscribe4(b"a", 3), MALFORMED),
        ("QoS 3 wanted", V5, subscribe5(b"a", 3), MALFORMED),
        ("reserved bits", V4, subscribe4(b"a", 0x04), MALFORMED),
        ("reserved bits", V5, subscribe5(b"a", 0x40), MALFORMED),
        ("retain handling 3", V5, subscribe5(b"a", 0x30), PROTOCOL),
        ("empty filter", V4, subscribe4(b"", 0), MALFORMED),
        ("# in the middle", V4, subscribe4(b"a/#/b", 0), MALFORMED),
        ("+ not alone", V5, subscribe5(b"a+", 0), MALFORMED),
        ("# not alone", V4, subscribe4(b"a/b#", 0), MALFORMED),
        ("filter with NUL", V5, subscribe5(b"a\0", 0), MALFORMED),
        ("filter not UTF-8", V4, subscribe4(b"\xff", 0), MALFORMED),
        (
            "$share without filter",
            V5,
            subscribe5(b"$share/g", 0),
            MALFORMED,
        ),
        (
            "$share without name",
            V5,
            subscribe5(b"$share//a", 0),
            MALFORMED,
        ),
        (
            "$share with wildcard name",
            V5,
            subscribe5(b"$share/+/a", 0),
            MALFORMED,
        ),
        (
            "No Local on $share",
            V5,
            subscribe5(b"$share/g/a", 4),
            PROTOCOL,
        ),
        (
            "identifier 0",
            V5,
            frame(0x82, &[&[0, 1, 2, 11, 0], &a, &[0]]),
            PROTOCOL,
        ),
        (
            "identifier twice",
            V5,
            frame(0x82, &[&[0, 1, 4, 11, 1, 11, 1], &a, &[0]]),
            PROTOCOL,
        ),
        (
            "UNSUBSCRIBE without filter",
            V4,
            frame(0xa2, &[&[0, 1]]),
            PROTOCOL,
        ),
        (
            "UNSUBSCRIBE without filter",
            V5,
            frame(0xa2, &[&[0, 1, 0]]),
            PROTOCOL,
        ),
        (
            "UNSUBSCRIBE of id 0",
            V4,
            frame(0xa2, &[&[0, 0], &a]),
            PROTOCOL,
        ),
        (
            "UNSUBSCRIBE with flags",
            V5,
            frame(0xa0, &[&[0, 1, 0], &a]),
            MALFORMED,
        ),
        (
            "UNSUBSCRIBE of a#",
            V4,
            frame(0xa2, &[&[0, 1], &text(b"a#")]),
            MALFORMED,
        ),
        ("PINGREQ with flags", V4, vec![0xc1, 0], MALFORMED),
        ("PINGREQ with body", V4, vec![0xc0, 1, 0], MALFORMED),
        ("PINGREQ with body", V5, vec![0xc0, 1, 0], MALFORMED),
        ("DISCONNECT with flags", V4, vec![0xe1, 0], MALFORMED),
        (
            "DISCONNECT with body in 3.1.1",
            V4,
            vec![0xe0, 1, 0],
            MALFORMED,
        ),
        (
            "DISCONNECT only servers send",
            V5,
            vec![0xe0, 1, 0x8e],
            MALFORMED,
        ),
        (
            "DISCONNECT with trailing byte",
            V5,
            vec![0xe0, 3, 0, 0, 9],
            MALFORMED,
        ),
        (
            "server reference from a client",
            V5,
            vec![0xe0, 5, 0, 3, 28, 0, 0],
            PROTOCOL,
        ),
    ];
    for (name, version, bytes, reason) in cases {
        let verdict = later(version, &bytes);
        assert_eq!(
            verdict,
            Verdict::Refused(Reason(reason)),
            "{name} {version:?}: {bytes:02x?}"
        );
    }
}

#[test]
fn what_is_legal_is_taken() {
    let a = text(b"a");
    for bytes in [
        connect(4, 2, &[&text(b"a+b#c$d/e")]),
        connect(4, 2, &[&text(b"")]),
        connect(5, 0, &[&text("ä".as_bytes())]),
        connect(4, 0xc2, &[&a, &text(b""), &text(b"\xff\x00\xfe")]),
        connect(5, 0x42, &[&a, &text(b"only a password")]),
        connect_with(&[
            33, 0, 1, 34, 0, 0, 39, 0, 0, 0, 1, 17, 255, 255, 255, 255, 23, 0, 25, 1,
        ]),
        connect_with(&[38, 0, 1, b'k', 0, 1, b'v', 38, 0, 1, b'k', 0, 1, b'v']),
        connect_with(&[21, 0, 1, b'm', 22, 0, 1, 0]),
        wills(4, "ä/$x".as_bytes(), &[]),
        wills(
            5,
            b"a",
            &[24, 0, 0, 0, 9, 1, 1, 2, 0, 0, 0, 9, 3, 0, 1, b't', 9, 0, 0],
        ),
    ] {
        assert!(matches!(first(&bytes), Verdict::Connect(_)), "{bytes:02x?}");
    }
    let long = text(&[b'x'; 65_535]);
    for (version, bytes) in [
        (V4, frame(0x30, &[&text("ä/temp".as_bytes())])),
        (V4, frame(0x31, &[&text(b"/"), b"x"])),
        (V4, frame(0x3d, &[&text(b"a//b"), &[0, 1]])),
        (V4, frame(0x30, &[&text(b"$SYS/x")])),
        (V4, frame(0x30, &[&long])),
        (V5, frame(0x30, &[&text(b""), &[3, 35, 0, 1]])),
        (V5, publish_with(&[38, 0, 0, 0, 0, 38, 0, 0, 0, 0])),
        (V4, frame(0x40, &[&[0, 1]])),
        (V5, frame(0x40, &[&[0, 1, 0x10]])),
        (
            V5,
            frame(0x62, &[&[0, 1, 0x92, 7, 38, 0, 1, b'k', 0, 1, b'v']]),
        ),
        (
            V4,
            frame(
                0x82,
                &[&[0, 1], &text(b"$SYS/#"), &[0], &text(b"+/+"), &[2]],
            ),
        ),
        (V5, frame(0x82, &[&[0, 1, 0], &text(b"$share/g/a/#"), &[1]])),
        (
            V5,
            frame(0x82, &[&[0, 1, 5, 11, 0xff, 0xff, 0xff, 0x7f], &a, &[0x2e]]),
        ),
        (V5, frame(0xa2, &[&[0, 1, 0], &text(b"never")])),
        (V5, vec![0xe0, 0]),
        (V5, vec![0xe0, 1, 0x04]),
        (V5, vec![0xe0, 2, 0x99, 0]),
        (V5, vec![0xe0, 7, 0, 5, 17, 0, 0, 0, 0]),
        (V4, vec![0xe0, 0]),
        (V4, vec![0xc0, 0]),
    ] {
        assert!(
            matches!(later(version, &bytes), Verdict::Packet(_)),
            "{bytes:02x?}"
        );
    }
}

/// Five bytes of a user property take a hundred in memory, four of a filter as many.
#[test]
fn packets_that_would_unfold_to_many_times_their_bytes_are_refused() {
    let empty_pairs = |count| [38, 0, 0, 0, 0].repeat(count);
    let long = |length: usize| vec![length as u8 | 0x80, (length >> 7) as u8];
    let publish = |count| {
        let pairs = empty_pairs(count);
        frame(0x30, &[&text(b"a"), &long(pairs.len()), &pairs])
    };
    assert!(matches!(later(V5, &publish(1000)), Verdict::Packet(_)));
    assert_eq!(later(V5, &publish(1001)), refused(0x97));
    let connect = |count| {
        let pairs = empty_pairs(count);
        let head = [&text(b"MQTT")[..], &[5, 2, 0, 60], &long(pairs.len())].concat();
        frame(0x10, &[&head, &pairs, &text(b"c")])
    };
    assert!(matches!(first(&connect(1000)), Verdict::Connect(_)));
    assert_eq!(first(&connect(1001)), refused(0x97));
    for (kind, entry) in [(0x82, &[0, 1, b'a', 0][..]), (0xa2, &[0, 1, b'a'])] {
        let filters = |count| frame(kind, &[&[0, 1], &entry.repeat(count)]);
        assert!(matches!(later(V4, &filters(10_000)), Verdict::Packet(_)));
        assert_eq!(later(V4, &filters(10_001)), refused(0x97));
    }
}

fn refused(code: u8) -> Verdict {
    Verdict::Refused(Reason(code))
}

#[test]
fn a_packet_that_is_not_whole_waits_for_its_rest() {
    let whole = frame(0x32, &[&text(b"a/b"), &[0, 1], b"payload"]);
    for cut in 0..whole.len() {
        assert_eq!(later(V4, &whole[..cut]), Verdict::More, "{cut}");
    }
    assert!(matches!(later(V4, &whole), Verdict::Packet(_)));
}

trait Tap: Sized {
    fn tap(self, change: impl FnOnce(&mut Self)) -> Self;
}

impl Tap for Vec<u8> {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}
