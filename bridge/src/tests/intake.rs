//! What clients publish: stored, acknowledged in order, routed, never twice, never lost.

use edge_site::{AckLevel, SiteConfig, TopicWhenFull};

use super::client::{Door, connect, frame, publish, text};
use crate::RouteConfig;

fn headers(record: &edge_site::Record) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pairs = record.headers.iter();
    pairs
        .map(|h| (text(&h.key), text(h.value.as_deref().unwrap_or_default())))
        .collect()
}

fn payloads(records: &[edge_site::Record]) -> Vec<String> {
    let value = |r: &edge_site::Record| r.value.clone().unwrap_or_default();
    records
        .iter()
        .map(|r| String::from_utf8_lossy(&value(r)).into_owned())
        .collect()
}

#[test]
fn an_acknowledged_publish_is_in_the_log_with_key_and_headers() {
    let door = Door::open();
    door.client("dev7").publish("plant/press1/temp", "71.3");
    let records = door.records("mqtt");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].key.as_deref(), Some(&b"plant/press1/temp"[..]));
    assert_eq!(records[0].value.as_deref(), Some(&b"71.3"[..]));
    let expected = [
        ("mqtt.topic", "plant/press1/temp"),
        ("mqtt.client_id", "dev7"),
    ];
    assert_eq!(
        headers(&records[0]),
        expected.map(|(k, v)| (k.to_owned(), v.to_owned()))
    );
    assert!(records[0].timestamp_ms > 1_600_000_000_000);
}

#[test]
fn publishes_of_one_write_are_acknowledged_in_order() {
    let door = Door::open();
    let mut client = door.client("dev7");
    let mut bytes = Vec::new();
    for pkid in 1..=500_u16 {
        bytes.extend(publish(4, 0x32, "a/b", pkid, pkid.to_string().as_bytes()));
    }
    client.send(&bytes);
    for pkid in 1..=500_u16 {
        let [high, low] = pkid.to_be_bytes();
        client.expect(&[0x40, 2, high, low]);
    }
    let expected: Vec<String> = (1..=500).map(|n: u16| n.to_string()).collect();
    assert_eq!(payloads(&door.records("mqtt")), expected);
}

#[test]
fn mqtt_5_is_told_where_the_message_is_unless_it_does_not_want_to_know() {
    let door = Door::open();
    let mut client = door.client_v5("dev7");
    client.send(&publish(5, 0x32, "a", 7, b"x"));
    let ack = String::from_utf8_lossy(&client.packet()).into_owned();
    for word in [
        "edge-ack",
        "disk",
        "edge-topic",
        "mqtt",
        "edge-partition",
        "edge-offset",
    ] {
        assert!(ack.contains(word), "{word} in {ack:?}");
    }
    let mut quiet = door.socket();
    quiet.send(&super::client::connect_v5("quiet", &[23, 0]));
    quiet.packet();
    quiet.send(&publish(5, 0x32, "a", 7, b"x"));
    quiet.expect(&[0x40, 2, 0, 7]);
}

#[test]
fn topics_of_any_letters_and_lengths_are_taken() {
    let door = Door::open();
    let mut client = door.client("dev7");
    let long = "x".repeat(65_535);
    for topic in ["ä/temp", "/", "a//b", "$SYS/mine", " ", long.as_str()] {
        client.publish(topic, "1");
    }
    let records = door.records("mqtt");
    assert_eq!(records.len(), 6);
    assert_eq!(records[5].key.as_ref().unwrap().len(), 65_535);
}

#[test]
fn routes_decide_topic_key_and_level() {
    let door = Door::with(|config| {
        config.routes = vec![
            RouteConfig {
                filter: "alarms/+/#".to_owned(),
                topic: "alarms.{1}".to_owned(),
                key: "{client}".to_owned(),
                forward: Some(false),
                ..Default::default()
            },
            RouteConfig {
                filter: "fast/#".to_owned(),
                topic: "fast".to_owned(),
                ack: AckLevel::Memory,
                ..Default::default()
            },
        ];
    });
    let mut client = door.client_v5("dev7");
    client.publish("alarms/fire/1", "!");
    client.send(&publish(5, 0x32, "fast/x", 9, b"1"));
    let ack = String::from_utf8_lossy(&client.packet()).into_owned();
    assert!(
        ack.contains("memory") && !ack.contains("edge-offset"),
        "{ack:?}"
    );
    client.publish("else", "1");
    assert_eq!(
        door.records("alarms.fire")[0].key.as_deref(),
        Some(&b"dev7"[..])
    );
    assert!(
        !door
            .site
            .topics()
            .get("alarms.fire")
            .unwrap()
            .config
            .forward
    );
    assert_eq!(door.records("mqtt").len(), 1);
}

#[test]
fn many_topics_spread_over_partitions_as_kafka_clients_would() {
    let door = Door::open();
    let partitions = Some(8);
    let topic = smol::block_on(
        door.site
            .alter_topic("mqtt", partitions, &Default::default()),
    );
    let topic = topic.unwrap();
    let mut client = door.client("dev7");
    client.publish("21", "x");
    let partition = kafka_wire::partition_for_key(b"21", 8);
    assert_eq!(
        door.site
            .marks(topic.partition(partition))
            .unwrap()
            .committed_end,
        1
    );
}

#[test]
fn qos_2_of_3_1_1_is_stored_once_and_released() {
    let door = Door::open();
    let mut client = door.client("dev7");
    client.send(&publish(4, 0x34, "a", 5, b"x"));
    client.expect(&[0x50, 2, 0, 5]);
    client.send(&publish(4, 0x3c, "a", 5, b"x"));
    client.expect(&[0x50, 2, 0, 5]);
    client.send(&[0x62, 2, 0, 5]);
    client.expect(&[0x70, 2, 0, 5]);
    client.send(&[0x62, 2, 0, 5]);
    client.expect(&[0x70, 2, 0, 5]);
    client.send(&publish(4, 0x34, "a", 5, b"y"));
    client.expect(&[0x50, 2, 0, 5]);
    assert_eq!(payloads(&door.records("mqtt")), ["x", "y"]);
}

#[test]
fn qos_2_of_mqtt_5_is_refused_as_announced() {
    let door = Door::open();
    let mut client = door.client_v5("dev7");
    client.send(&publish(5, 0x34, "a", 5, b"x"));
    client.expect(&[0xe0, 2, 0x9b, 0]);
    client.expect_closed();
}

#[test]
fn a_topic_alias_stands_for_its_topic() {
    let door = Door::open();
    let mut client = door.client_v5("dev7");
    let with_alias = |topic: &[u8], pkid: u8, alias: u8| {
        let body = [&text(topic)[..], &[0, pkid, 3, 35, 0, alias], b"x"].concat();
        frame(0x32, &body)
    };
    client.send(&with_alias(b"a/b", 1, 3));
    client.packet();
    client.send(&with_alias(b"", 2, 3));
    client.packet();
    let records = door.records("mqtt");
    assert_eq!(records[1].key.as_deref(), Some(&b"a/b"[..]));
    client.send(&with_alias(b"a", 3, 11));
    client.expect(&[0xe0, 2, 0x94, 0]);
}

#[test]
fn a_good_bye_right_behind_its_message_loses_nothing() {
    let door = Door::open();
    let mut client = door.socket();
    let hello = connect(4, 2, 60, &text(b"dev7"));
    client.send(&[&hello[..], &publish(4, 0x30, "new/a", 0, b"x"), &[0xe0, 0]].concat());
    client.expect(&[0x20, 2, 0, 0]);
    client.expect_closed();
    for _ in 0..40 {
        if door.records("mqtt").len() == 1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the message is not in the log");
}

/// After a DISCONNECT nothing may come, and what is not acknowledged comes again (MQTT 5 §3.14.4).
#[test]
fn what_came_before_a_mistake_is_acknowledged_before_the_good_bye() {
    let door = Door::open();
    let mut client = door.client_v5("dev7");
    let second_connect = connect(5, 2, 60, &[&[0][..], &text(b"dev7")].concat());
    let bytes = [
        publish(5, 0x32, "a", 1, b"1"),
        publish(5, 0x32, "a", 2, b"2"),
        second_connect,
    ];
    client.send(&bytes.concat());
    let said: Vec<Vec<u8>> = std::iter::from_fn(|| client.try_packet()).collect();
    let kinds: Vec<u8> = said.iter().map(|packet| packet[0]).collect();
    assert_eq!(kinds, [0x40, 0x40, 0xe0], "{said:02x?}");
    assert_eq!(said[2][2], 0x82);
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let door = Door::open();
    let mut client = door.client("dev7");
    for n in 0..20 {
        client.publish("a/b", &n.to_string());
    }
    let door = Door::reopen(door.close(), |_| {});
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(payloads(&door.records("mqtt")), expected);
}

/// Where the queue of the site takes one append, and what is relaxed stays in it for a second.
fn door_with_a_short_queue() -> Door {
    let site_config = SiteConfig {
        queue_count_max: 1,
        commit_interval_ms_relaxed: 1000,
        ..SiteConfig::default()
    };
    let mut config = Door::config();
    config.routes = vec![
        RouteConfig {
            filter: "new/+".to_owned(),
            topic: "new.{1}".to_owned(),
            ..Default::default()
        },
        RouteConfig {
            filter: "fast/#".to_owned(),
            topic: "fast".to_owned(),
            ack: AckLevel::Memory,
            ..Default::default()
        },
        RouteConfig {
            filter: "kept/#".to_owned(),
            topic: "kept".to_owned(),
            when_full: Some(TopicWhenFull::Refuse),
            ..Default::default()
        },
    ];
    Door::on_site(tempfile::tempdir().unwrap(), site_config, config)
}

/// A publish waits for its topic and those before it for room: both waits have their end.
#[test]
fn a_publish_to_a_new_topic_behind_a_full_queue_is_stored_and_acknowledged_in_order() {
    let door = door_with_a_short_queue();
    let mut client = door.client("dev7");
    let mut filler = door.client("filler");
    filler.throw(0x30, "a", "takes the queue");
    filler.expect_alive();
    let topics = ["old/a", "new/1", "new/2", "old/b", "new/1"];
    let bytes = topics.iter().zip(1..);
    let bytes = bytes.map(|(topic, pkid)| publish(4, 0x32, topic, pkid, &[b'0' + pkid as u8]));
    client.send(&bytes.collect::<Vec<_>>().concat());
    for pkid in 1..=5 {
        client.expect(&[0x40, 2, 0, pkid]);
    }
    assert_eq!(
        payloads(&door.records("mqtt")),
        ["takes the queue", "1", "4"]
    );
    assert_eq!(payloads(&door.records("new.1")), ["2", "5"]);
    assert_eq!(payloads(&door.records("new.2")), ["3"]);
}

/// Three levels are three appends, and nobody but their connection wakes the second and third.
#[test]
fn what_waits_for_room_when_its_client_says_good_bye_is_stored() {
    let door = door_with_a_short_queue();
    let mut client = door.client("dev7");
    let mut filler = door.client("filler");
    filler.throw(0x30, "a", "takes the queue");
    filler.expect_alive();
    let topics = ["a", "fast/a", "kept/a"].iter().zip(1..);
    let bytes = topics.map(|(topic, pkid)| publish(4, 0x32, topic, pkid, &[b'0' + pkid as u8]));
    client.send(&[bytes.collect::<Vec<_>>().concat(), vec![0xe0, 0]].concat());
    while client.try_packet().is_some() {}
    for _ in 0..40 {
        if payloads(&door.records("kept")) == ["3"] {
            assert_eq!(payloads(&door.records("mqtt")), ["takes the queue", "1"]);
            assert_eq!(payloads(&door.records("fast")), ["2"]);
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the third message is not in the log");
}

/// The index of retained messages heard of no offset, and a later compaction put an older message
/// behind the newest one.
#[test]
fn a_retained_message_is_acknowledged_from_the_disk_though_its_route_says_memory() {
    let door = door_with_a_short_queue();
    let mut client = door.client_v5("dev7");
    client.send(&publish(5, 0x33, "fast/x", 9, b"1"));
    let ack = String::from_utf8_lossy(&client.packet()).into_owned();
    assert!(
        ack.contains("disk") && ack.contains("edge-offset"),
        "{ack:?}"
    );
    let published = door.bridge.publish("fast/y", "1".into(), Vec::new(), true);
    let published = smol::block_on(published).unwrap();
    assert_eq!(published.appended.level, AckLevel::Disk);
}

/// The append was refused as a whole, and MQTT 5 clients throw away what is refused with a code.
#[test]
fn a_topic_that_is_deleted_takes_no_publish_to_another_one_with_it() {
    let door = door_with_a_short_queue();
    let mut client = door.client_v5("dev7");
    for topic in ["new/1", "a"] {
        client.publish(topic, "the topic is there");
    }
    let mut filler = door.client("filler");
    filler.throw(0x30, "a", "takes the queue");
    filler.expect_alive();
    let topics = ["a", "new/1", "a"].iter().zip(1..);
    let bytes = topics.map(|(topic, pkid)| publish(5, 0x32, topic, pkid, &[b'0' + pkid as u8]));
    client.send(&bytes.collect::<Vec<_>>().concat());
    let doors = door.site.memory().doors().clone();
    super::room::soon("they wait for room", || doors.bytes() > 0);
    smol::block_on(door.site.delete_topic("new.1")).unwrap();
    let reasons: Vec<u8> = (0..3).map(|_| client.packet()[4]).collect();
    assert_eq!(reasons, [0, 0x87, 0]);
    let expected = ["the topic is there", "takes the queue", "1", "3"];
    assert_eq!(payloads(&door.records("mqtt")), expected);
}

/// The weaker level's batch was begun first, and what came later went back into it.
#[test]
fn two_routes_with_two_levels_to_one_key_keep_the_order_of_its_messages() {
    let route = |filter: &str, ack| RouteConfig {
        filter: filter.to_owned(),
        topic: "one".to_owned(),
        key: "{client}".to_owned(),
        ack,
        ..Default::default()
    };
    let door = Door::with(|config| {
        config.routes = vec![
            route("fast/#", AckLevel::Memory),
            route("slow/#", AckLevel::Disk),
        ];
    });
    let mut client = door.client("dev7");
    // QoS 0, 1, 0 with the retain flag.
    let sent = [
        ("fast/a", 0x32),
        ("slow/a", 0x32),
        ("fast/a", 0x32),
        ("fast/a", 0x30),
        ("fast/a", 0x31),
        ("fast/a", 0x32),
        ("slow/a", 0x32),
        ("fast/a", 0x32),
    ];
    let bytes = sent.iter().zip(1..);
    let bytes = bytes.map(|((topic, first), n)| publish(4, *first, topic, n, &[b'0' + n as u8]));
    client.send(&bytes.collect::<Vec<_>>().concat());
    for n in [1, 2, 3, 6, 7, 8] {
        client.expect(&[0x40, 2, 0, n]);
    }
    super::room::soon("all are stored", || door.records("one").len() == 8);
    let expected = ["1", "2", "3", "4", "5", "6", "7", "8"];
    assert_eq!(payloads(&door.records("one")), expected);
}
