//! Input that is unusual and legal: accepted, byte for byte.

use std::time::Duration;

use crate::support::gateway::Gateway;
use crate::support::mqtt::{Client, Hello, Packet, frame, string};
use crate::support::{proved, scratch};

#[test]
fn unusual_topics_are_all_right() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let longest = "l".repeat(65_535);
    let topics = [
        "ä/temp",
        "日本/温度",
        "💡",
        "/",
        "//",
        "a//b",
        "/a/",
        " ",
        "$device/x",
        "$SYS/own",
        "a b/c\u{7f}",
        longest.as_str(),
    ];
    for version in [4, 5] {
        let hello = |id: &str| Hello {
            version,
            ..Hello::v3(id)
        };
        let mut device = Client::connect(gateway.mqtt(), &hello("device"));
        for topic in topics {
            let mut reader = Client::connect(gateway.mqtt(), &hello("reader"));
            assert_eq!(reader.subscribe(&[(topic, 1)]), [1], "{topic:.40}");
            device.publish_acked(topic, b"x");
            assert_eq!(reader.receive().0, topic);
        }
    }
    let log = gateway.log("mqtt");
    assert!(
        log.iter().any(|r| r.key == longest),
        "the longest topic is its record's key"
    );
    proved(
        "fast",
        &format!("{} unusual topics in both versions", topics.len()),
    );
}

#[test]
fn hash_does_not_match_dollar_topics() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut reader = Client::connect(gateway.mqtt(), &Hello::v3("reader"));
    reader.subscribe(&[("#", 1), ("+/x", 1)]);
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("device"));
    device.publish_acked("$own/x", b"hidden");
    device.publish_acked("a/x", b"seen");
    assert_eq!(reader.receive().1, b"seen");
}

#[test]
fn unusual_clients_are_all_right() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let long = "i".repeat(300);
    for id in ["#", "+", "$", "a/b", "ä", long.as_str(), ""] {
        for version in [4, 5] {
            let mut client = Client::connect(
                gateway.mqtt(),
                &Hello {
                    version,
                    ..Hello::v3(id)
                },
            );
            assert!(client.is_alive(), "{id}");
            let mut second = Client::connect(
                gateway.mqtt(),
                &Hello {
                    version,
                    ..Hello::v3(id)
                },
            );
            assert!(second.is_alive(), "{id} again");
        }
    }
    let mut patient = Client::connect(
        gateway.mqtt(),
        &Hello {
            keep_alive_s: 0,
            ..Hello::v3("patient")
        },
    );
    assert!(patient.is_alive(), "keep-alive 0 is no time limit");
}

#[test]
fn unusual_packets_are_all_right() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut client = Client::connect(gateway.mqtt(), &Hello::v3("c"));
    client.publish_acked("empty", b"");
    client.send(&frame(
        0xa2,
        &[&[0, 9][..], &string("never/subscribed")].concat(),
    ));
    client.wait(|p| *p == Packet::Unsuback { id: 9 });
    client.send(&crate::support::mqtt::publish(
        4, "last/id", b"x", 1, false, 65_535,
    ));
    client.wait(|p| matches!(p, Packet::Puback { id: 65_535, .. }));
    // One byte at a time.
    for byte in crate::support::mqtt::publish(4, "slow", b"x", 1, false, 77) {
        client.send(&[byte]);
    }
    client.wait(|p| matches!(p, Packet::Puback { id: 77, .. }));
    // Many packets in one write.
    let many: Vec<u8> = (100..150)
        .flat_map(|id| crate::support::mqtt::publish(4, "many", b"x", 1, false, id))
        .collect();
    client.send(&many);
    for id in 100..150 {
        let next = client.next(Duration::from_secs(5));
        assert!(
            matches!(next, Ok(Packet::Puback { id: i, .. }) if i == id),
            "{id}: {next:?}"
        );
    }
}

#[test]
fn properties_of_version_5_do_not_disturb_version_3() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut old = Client::connect(gateway.mqtt(), &Hello::v3("old"));
    old.subscribe(&[("mixed", 1)]);
    let mut new = Client::connect(gateway.mqtt(), &Hello::v5("new"));
    let user = [&[0x26][..], &string("unit"), &string("°C")].concat();
    let mut body = string("mixed");
    body.extend([0, 1, user.len() as u8]);
    body.extend(&user);
    body.extend(b"21.5");
    new.send(&frame(0x32, &body));
    new.wait(|p| matches!(p, Packet::Puback { id: 1, .. }));
    assert_eq!(old.receive().1, b"21.5");
    assert!(old.is_alive());
}

#[test]
fn a_v5_disconnect_with_one_byte_keeps_or_drops_the_will() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut watcher = Client::connect(gateway.mqtt(), &Hello::v3("watcher"));
    watcher.subscribe(&[("will/#", 1)]);
    let mut normal = Client::connect(
        gateway.mqtt(),
        &Hello::v5("n").will("will/n", "x", 1, false),
    );
    normal.send(&[0xe0, 1, 0]);
    let mut with = Client::connect(
        gateway.mqtt(),
        &Hello::v5("w").will("will/w", "x", 1, false),
    );
    with.send(&[0xe0, 1, 4]);
    assert_eq!(
        watcher.receive().0,
        "will/w",
        "0x04 asks for the will, 0x00 does not"
    );
}
