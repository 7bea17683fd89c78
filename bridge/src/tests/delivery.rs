//! What subscribers get: committed messages once, QoS 0 at once, slow ones everything.

use std::time::{Duration, Instant};

use edge_site::LossCause;

use super::client::{Client, Door, frame, publish, subscribe, text};

#[test]
fn a_subscriber_gets_what_matches_at_the_lower_quality() {
    let door = Door::open();
    let mut zero = door.client("zero");
    zero.subscribe("a/+", 0);
    let mut one = door.client("one");
    one.subscribe("a/#", 1);
    let mut device = door.client("dev7");
    device.publish("a/b", "x");
    device.publish("b/b", "not for them");
    device.throw(0x30, "a/c", "y");
    assert_eq!(zero.message(), (0, "a/b".to_owned(), "x".to_owned()));
    assert_eq!(zero.message(), (0, "a/c".to_owned(), "y".to_owned()));
    assert_eq!(one.message(), (2, "a/b".to_owned(), "x".to_owned()));
    assert_eq!(one.message(), (0, "a/c".to_owned(), "y".to_owned()));
    zero.expect_alive();
    one.expect_alive();
}

#[test]
fn qos_0_comes_at_once_and_not_again_when_it_is_committed() {
    let door = Door::open();
    let mut light = door.client("light");
    light.subscribe("switch", 1);
    let mut switch = door.client("switch");
    let begun = Instant::now();
    switch.throw(0x30, "switch", "on");
    assert_eq!(light.message().2, "on");
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    // Something urgent brings the relaxed record along.
    switch.publish("else", "1");
    assert_eq!(door.records("mqtt").len(), 2);
    light.expect_silence(300);
}

#[test]
fn overlapping_subscriptions_get_one_copy_at_the_best_quality() {
    let door = Door::open();
    let mut client = door.client("dev7");
    client.subscribe("a/#", 0);
    client.subscribe("a/+", 1);
    client.publish("a/b", "x");
    assert_eq!(client.message().0, 2);
    client.expect_silence(100);
}

#[test]
fn subscription_identifiers_no_local_and_retain_as_published_are_kept() {
    let door = Door::open();
    let mut client = door.client_v5("dev7");
    // Identifier 300, No Local.
    let body = [&[0, 1, 3, 11, 0xac, 0x02][..], &text(b"a/#"), &[0b101]].concat();
    client.send(&frame(0x82, &body));
    client.packet();
    // Identifier 5, Retain As Published.
    let body = [&[0, 2, 2, 11, 5][..], &text(b"a/b"), &[0b1001]].concat();
    client.send(&frame(0x82, &body));
    client.packet();
    let mut other = door.client("other");
    other.throw(0x33, "a/b", "x");
    let packet = client.packet();
    assert_eq!(packet[0], 0x33);
    let properties = [5, 11, 0xac, 0x02, 11, 5];
    assert!(packet.windows(6).any(|w| w == properties), "{packet:02x?}");
    client.send(&publish(5, 0x32, "a/c", 9, b"own"));
    assert_eq!(client.packet()[0], 0x40);
    client.expect_silence(100);
}

#[test]
fn properties_reach_subscribers_of_both_versions() {
    let door = Door::open();
    let mut five = door.client_v5("five");
    five.subscribe("a", 1);
    let mut four = door.client("four");
    four.subscribe("a", 1);
    let mut device = door.client_v5("dev7");
    let mut properties = vec![1, 1];
    for (id, value) in [(3, "text/plain"), (8, "answers"), (9, "42")] {
        properties.push(id);
        properties.extend(text(value.as_bytes()));
    }
    for (name, value) in [("k", "1"), ("k", "2")] {
        properties.push(38);
        properties.extend([text(name.as_bytes()), text(value.as_bytes())].concat());
    }
    let head = [&text(b"a")[..], &[0, 1, properties.len() as u8]].concat();
    for first in [0x32, 0x30] {
        let head = if first == 0x30 {
            [&text(b"a")[..], &[properties.len() as u8]].concat()
        } else {
            head.clone()
        };
        device.send(&frame(first, &[&head[..], &properties, b"hi"].concat()));
        let packet = five.packet();
        assert!(
            packet.windows(properties.len()).any(|w| w == properties),
            "{packet:02x?}"
        );
        if first == 0x32 {
            five.send(&[0x40, 2, 0, 1]);
        }
        assert_eq!(four.message().2, "hi");
    }
}

#[test]
fn unsubscribed_filters_bring_nothing() {
    let door = Door::open();
    let mut client = door.client_v5("dev7");
    client.subscribe("a", 1);
    let body = [&[0, 9, 0][..], &text(b"a"), &text(b"never")].concat();
    client.send(&frame(0xa2, &body));
    client.expect(&[0xb0, 5, 0, 9, 0, 0x00, 0x11]);
    client.publish("a", "x");
    client.expect_silence(100);
    assert_eq!(door.bridge.stats().subscriptions, 0);
}

#[test]
fn what_is_not_built_yet_is_announced_and_degrades() {
    let door = Door::open();
    let mut client = door.socket();
    client.send(&super::client::connect_v5("dev7", &[17, 0, 0, 1, 0]));
    let connack = client.packet();
    for property in [&[17, 0, 0, 0, 0][..], &[36, 1], &[42, 0], &[33, 0, 64]] {
        assert!(
            connack.windows(property.len()).any(|w| w == property),
            "{connack:02x?}"
        );
    }
    client.send(&subscribe(5, 1, "$share/g/a", 1));
    client.expect(&[0x90, 4, 0, 1, 0, 0x9e]);
    let mut old = door.client("old");
    old.send(&subscribe(4, 1, "a", 2));
    old.expect(&[0x90, 3, 0, 1, 1]);
    old.send(&subscribe(4, 2, "$share/g/a", 1));
    old.expect(&[0x90, 3, 0, 2, 0x80]);
    // In 3.1.1 it is a filter like others, in MQTT 5 no shared subscription is so short.
    old.send(&subscribe(4, 3, "$share/x", 1));
    old.expect(&[0x90, 3, 0, 3, 0x80]);
    client.send(&subscribe(5, 2, "$share/x", 1));
    client.expect(&[0xe0, 2, 0x81, 0]);
}

#[test]
fn a_slow_subscriber_gets_every_qos_1_message_once_and_in_order() {
    let door = Door::open();
    let mut slow = door.client("slow");
    slow.subscribe("flood", 1);
    let mut device = door.client("dev7");
    let count = 4000_u32;
    let filler = "x".repeat(500);
    for chunk in 0..count / 50 {
        let mut bytes = Vec::new();
        for n in chunk * 50..(chunk + 1) * 50 {
            let payload = format!("{n} {filler}");
            bytes.extend(publish(
                4,
                0x32,
                "flood",
                (n + 1) as u16,
                payload.as_bytes(),
            ));
        }
        device.send(&bytes);
        for _ in 0..50 {
            assert_eq!(device.packet()[0], 0x40);
        }
    }
    for n in 0..count {
        let (_, _, payload) = slow.message();
        assert_eq!(payload.split(' ').next().unwrap(), n.to_string());
    }
    device.publish("flood", "live again");
    assert_eq!(slow.message().2, "live again");
    slow.expect_silence(100);
}

#[test]
fn a_slow_subscriber_loses_qos_0_and_it_is_counted() {
    let door = Door::open();
    let mut slow = door.client("slow");
    slow.subscribe("flood", 0);
    let mut device = door.client("dev7");
    let filler = "x".repeat(50_000);
    for _ in 0..400 {
        device.throw(0x30, "flood", &filler);
    }
    device.publish("else", "1");
    let shed = door.bridge.stats().shed;
    assert!(shed > 0);
    let mut got = 0;
    slow.stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while got + shed < 400 {
        slow.message();
        got += 1;
    }
    assert_eq!(got + door.bridge.stats().shed, 400);
    // Stored and forwarded they are all the same: no message of the topic is lost.
    let lines = ledger(&door, &mut device);
    let slow = |line: &&(LossCause, String, u64)| line.0 == LossCause::SlowSubscriber;
    assert_eq!(lines.iter().filter(slow).count(), 1, "{lines:?}");
    // Some may have found no room in the log either.
    assert_eq!(lines.iter().map(|line| line.2).sum::<u64>(), shed);
    assert!(lines.iter().all(|line| line.1 == "mqtt"), "{lines:?}");
}

/// It was said in the log of the gateway and nowhere else.
#[test]
fn a_gap_that_retention_made_for_a_subscriber_is_in_the_ledger_with_its_topic() {
    let door = Door::with(|config| {
        config.routes = vec![crate::RouteConfig {
            filter: "apart/#".to_owned(),
            topic: "apart".to_owned(),
            ..Default::default()
        }];
    });
    let mut device = door.client("dev7");
    device.publish("a", "gone");
    device.publish("apart/a", "gone, too, but not for this one");
    for topic in ["mqtt", "apart"] {
        let partition = door.site.topics().get(topic).unwrap().partition(0);
        smol::block_on(door.site.trim(partition, 1)).unwrap();
    }
    door.bridge.hub.count_gap([&"b/#".into()].into_iter());
    let lines = ledger(&door, &mut device);
    assert_eq!(lines, [(LossCause::SubscriberGap, "mqtt".to_owned(), 1)]);
    assert_eq!(door.bridge.stats().shed, 0);
}

#[test]
fn a_client_that_takes_only_small_packets_gets_only_those_and_the_others_are_counted() {
    let door = Door::open();
    let mut client = door.socket();
    client.version = 5;
    client.send(&super::client::connect_v5("small", &[39, 0, 0, 0, 50]));
    client.packet();
    client.subscribe("a", 1);
    let mut device = door.client("dev7");
    device.publish("a", &"x".repeat(100));
    device.publish("a", "fits");
    assert_eq!(client.message().2, "fits");
    let stats = door.bridge.stats();
    assert_eq!((stats.too_large, stats.shed), (1, 0));
    let lines = ledger(&door, &mut device);
    assert_eq!(lines, [(LossCause::TooLarge, "mqtt".to_owned(), 1)]);
}

#[test]
fn a_publish_at_qos_0_that_its_topic_refuses_is_counted_under_its_reason() {
    let door = Door::open();
    let settings = [("max.message.bytes".to_owned(), "1024".to_owned())].into();
    smol::block_on(door.site.alter_topic("mqtt", None, &settings)).unwrap();
    let mut device = door.client("dev7");
    device.throw(0x30, "a", &"x".repeat(1200));
    let lines = ledger(&door, &mut device);
    assert_eq!(lines, [(LossCause::TooLarge, "mqtt".to_owned(), 1)]);
}

/// The lines of the loss ledger, once there is one; it is written with the next frame.
fn ledger(door: &Door, device: &mut Client) -> Vec<(LossCause, String, u64)> {
    let begun = Instant::now();
    loop {
        device.publish("else", "1");
        let ledger = smol::block_on(door.site.status()).ledger;
        if !ledger.is_empty() {
            let lines = ledger.into_iter();
            return lines.map(|l| (l.cause, l.topic_name, l.count)).collect();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "nothing counted");
        std::thread::sleep(Duration::from_millis(100));
    }
}
