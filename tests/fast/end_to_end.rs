//! A message's way through one gateway: acknowledged, stored, delivered.

use std::time::Duration;

use crate::support::gateway::Gateway;
use crate::support::load::{self, Load, Plan};
use crate::support::mqtt::{Client, Hello, Packet};
use crate::support::{eventually, proved, scratch};

fn is_publish(packet: &Packet) -> bool {
    matches!(packet, Packet::Publish { .. })
}

#[test]
fn a_qos_1_message_is_acked_stored_and_delivered() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut subscriber = Client::connect(gateway.mqtt(), &Hello::v3("reader"));
    assert_eq!(subscriber.subscribe(&[("plant/+/temp", 1)]), [1]);
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("press1"));
    device.publish_acked("plant/press1/temp", b"71.3");
    assert_eq!(
        subscriber.receive(),
        ("plant/press1/temp".to_owned(), b"71.3".to_vec(), false)
    );
    let log = gateway.log("mqtt");
    assert_eq!(log.len(), 1);
    assert_eq!(
        (log[0].key.as_str(), log[0].value.as_str()),
        ("plant/press1/temp", "71.3")
    );
}

#[test]
fn a_v5_ack_says_where_the_message_is() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("press1"));
    for offset in ["0", "1", "2"] {
        let ack = device.publish_acked("plant/press1/temp", b"71.3");
        assert_eq!(ack.user("edge-ack"), Some("disk"));
        assert_eq!(ack.user("edge-topic"), Some("mqtt"));
        assert_eq!(ack.user("edge-partition"), Some("0"));
        assert_eq!(ack.user("edge-offset"), Some(offset));
    }
}

#[test]
fn a_client_that_forbids_problem_information_gets_a_bare_ack() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let hello = Hello {
        properties: vec![0x17, 0],
        ..Hello::v5("terse")
    };
    let mut device = Client::connect(gateway.mqtt(), &hello);
    assert!(device.publish_acked("a", b"1").user.is_empty());
}

#[test]
fn a_qos_0_message_is_live_at_once_and_in_the_log_later() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut subscriber = Client::connect(gateway.mqtt(), &Hello::v5("reader"));
    subscriber.subscribe(&[("#", 1)]);
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("switch"));
    device.publish("light/1", b"on", 0, false);
    let packet = subscriber.wait(is_publish);
    assert!(
        matches!(packet, Packet::Publish { qos: 0, .. }),
        "at the lower QoS: {packet:?}"
    );
    eventually("the record in the log", Duration::from_secs(5), || {
        let topics = gateway.ask(&["topic", "list"]);
        (topics.contains("mqtt") && gateway.log("mqtt").len() == 1).then_some(())
    });
    let twice = subscriber.try_wait(Duration::from_millis(300), is_publish);
    assert!(twice.is_err(), "the live path only: {twice:?}");
}

#[test]
fn retained_messages_reach_later_subscribers_until_cleared() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("device"));
    for (topic, payload) in [("state/a", "1"), ("state/b", "2"), ("state/a", "3")] {
        device.retain_acked(topic, payload.as_bytes());
    }
    let mut reader = Client::connect(gateway.mqtt(), &Hello::v3("reader"));
    reader.subscribe(&[("state/+", 1)]);
    let mut seen = [reader.receive(), reader.receive()];
    seen.sort();
    let expected = [("state/a", "3"), ("state/b", "2")];
    let expected = expected.map(|(t, p)| (t.to_owned(), p.as_bytes().to_vec(), true));
    assert_eq!(seen, expected);
    device.retain_acked("state/a", b"");
    let mut later = Client::connect(gateway.mqtt(), &Hello::v3("later"));
    later.subscribe(&[("state/+", 1)]);
    assert_eq!(later.receive(), expected[1].clone());
    let more = later.try_wait(Duration::from_millis(300), is_publish);
    assert!(more.is_err(), "a cleared message came: {more:?}");
}

#[test]
fn a_will_is_published_when_a_client_vanishes_and_not_when_it_leaves() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut watcher = Client::connect(gateway.mqtt(), &Hello::v3("watcher"));
    watcher.subscribe(&[("+/lwt", 1)]);
    let polite = Client::connect(
        gateway.mqtt(),
        &Hello::v3("p").will("p/lwt", "gone", 1, false),
    );
    polite.disconnect();
    let lost = Client::connect(
        gateway.mqtt(),
        &Hello::v5("l").will("l/lwt", "gone", 1, true),
    );
    drop(lost);
    let (topic, payload, _) = watcher.receive();
    assert_eq!(
        (topic.as_str(), payload.as_slice()),
        ("l/lwt", &b"gone"[..])
    );
    let mut later = Client::connect(gateway.mqtt(), &Hello::v3("later"));
    later.subscribe(&[("+/lwt", 1)]);
    assert_eq!(
        later.receive(),
        ("l/lwt".to_owned(), b"gone".to_vec(), true)
    );
}

#[test]
fn a_second_client_of_a_name_takes_over() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut old = Client::connect(gateway.mqtt(), &Hello::v5("one"));
    let mut new = Client::connect(gateway.mqtt(), &Hello::v3("one"));
    let last = old
        .until_closed(Duration::from_secs(5))
        .expect("the old connection closes");
    assert_eq!(last, [Packet::Disconnect { reason: 0x8e }]);
    assert!(new.is_alive());
}

#[test]
fn a_silent_client_is_dropped_after_its_keep_alive() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let hello = Hello {
        keep_alive_s: 1,
        ..Hello::v3("silent").will("will/silent", "x", 1, false)
    };
    let mut watcher = Client::connect(gateway.mqtt(), &Hello::v3("watcher"));
    watcher.subscribe(&[("will/#", 1)]);
    let mut silent = Client::connect(gateway.mqtt(), &hello);
    silent
        .until_closed(Duration::from_secs(4))
        .expect("closed after 1.5 × keep-alive");
    assert_eq!(watcher.receive().0, "will/silent");
}

#[test]
fn many_devices_find_every_acked_message_in_order() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut subscriber = Client::connect(gateway.mqtt(), &Hello::v3("reader"));
    subscriber.subscribe(&[("load/#", 1)]);
    let plan = Plan {
        clients: 8,
        window: 32,
        messages_each: 500,
        topics: 3,
        ..Plan::default()
    };
    let bytes = plan.payload_bytes;
    let load = Load::start(gateway.mqtt(), plan);
    let mut delivered = Vec::new();
    while delivered.len() < 4000 {
        let (topic, payload, _) = subscriber.receive();
        delivered.push((topic, String::from_utf8(payload).unwrap()));
    }
    let report = load.finish(Duration::from_secs(60));
    let log = gateway.log("mqtt");
    load::check(&log, report.acked.iter().copied(), &report.repeated, bytes).insist("the log");
    let log: Vec<_> = log.into_iter().map(|r| (r.key, r.value)).collect();
    assert_eq!(
        delivered, log,
        "a subscriber sees what the log holds, in its order"
    );
    let count = log.len();
    proved(
        "fast",
        &format!("{count} messages of 8 devices acked, stored, delivered in order"),
    );
}
