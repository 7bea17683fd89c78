//! While the site has no room: sockets wait, and what is held for their clients is bounded.

use std::time::{Duration, Instant};

use edge_site::{LossCause, Record, Refused, SiteConfig};

use super::client::{Client, Door, connect, frame, publish, text};
use crate::hub::lock;
use crate::retained::Judgement;

/// A door whose site takes one append at a time.
fn narrow_door(relaxed_ms: u64) -> Door {
    let site_config = SiteConfig {
        queue_count_max: 1,
        commit_interval_ms_relaxed: relaxed_ms,
        ..SiteConfig::default()
    };
    Door::on_site(tempfile::tempdir().unwrap(), site_config, Door::config())
}

/// The ping lies behind a publish that has to wait, and was received with it.
#[test]
fn a_ping_that_came_with_a_publish_that_waits_is_answered() {
    let door = narrow_door(3000);
    let mut client = door.client("dev7");
    client.publish("a", "the topic is there");
    // One relaxed append has all the room until it is committed.
    door.client("other").throw(0x30, "a", "x");
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    let mut bytes = publish(4, 0x32, "a", 7, &[b'x'; 600_000]);
    bytes.extend([0xc0, 0]);
    client.send(&bytes);
    client.expect(&[0xd0, 0]);
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(1), "answered after {waited:?}");
    client.expect(&[0x40, 2, 0, 7]);
}

/// What waits for room is not in the site's queue yet: it is the connection that holds it.
#[test]
fn who_holds_the_most_of_what_waits_for_room_is_closed_and_lets_go_at_once() {
    let door = narrow_door(4000);
    let doors = door.site.memory().doors().clone();
    let mut talker = door.client("talker");
    talker.publish("a", "the topic is there");
    talker.throw(0x30, "a", "has all the room");
    talker.expect_alive();
    let mut greedy = door.client_v5("greedy");
    greedy.send(&publish(5, 0x32, "a", 7, &[b'x'; 600_000]));
    soon("what waits is counted", || doors.bytes() > 600_000);
    let percent = doors.bytes_max() / 100;
    doors.add(97 * percent);
    let begun = Instant::now();
    talker.send(&publish(4, 0x32, "a", 8, &[b'x'; 50_000])[..40_000]);
    greedy.expect(&[0xe0, 2, 0x97, 0]);
    assert!(doors.bytes() < 97 * percent + 50_000, "it kept something");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "it was waited for"
    );
    doors.sub(97 * percent);
}

/// Ten aliases of 65,535 bytes are within what is announced.
#[test]
fn topic_aliases_are_part_of_the_account() {
    let door = Door::open();
    let doors = door.site.memory().doors().clone();
    let mut client = door.client_v5("dev7");
    let topic = "x".repeat(65_000);
    let with_alias = |alias: u8| {
        let body = [
            &text(topic.as_bytes())[..],
            &[0, alias, 3, 35, 0, alias],
            b"x",
        ]
        .concat();
        frame(0x32, &body)
    };
    for alias in 1..=10 {
        client.send(&with_alias(alias));
        assert_eq!(client.packet()[0], 0x40);
    }
    soon("they are counted", || doors.bytes() > 640_000);
    soon("the long way is not kept", || doors.bytes() < 700_000);
    drop(client);
    soon("all is given back", || doors.bytes() == 0);
}

/// The end of a connection waits for its will, and the next one of that client for the end.
#[test]
fn a_will_that_finds_no_room_in_time_is_counted_as_lost() {
    let mut config = Door::config();
    config.mqtt.hold_s_max = 1;
    let site_config = SiteConfig {
        queue_count_max: 1,
        commit_interval_ms_relaxed: 4000,
        ..SiteConfig::default()
    };
    let door = Door::on_site(tempfile::tempdir().unwrap(), site_config, config);
    let mut talker = door.client("talker");
    talker.publish("a", "the topic is there");
    talker.throw(0x30, "a", "has all the room");
    talker.expect_alive();
    let mut client = door.socket();
    let payload = [text(b"dev7"), text(b"state"), text(b"gone")].concat();
    client.send(&connect(4, 0x0e, 60, &payload));
    client.expect(&[0x20, 2, 0, 0]);
    drop(client);
    soon("it is counted", || door.bridge.stats().shed == 1);
    soon("its client is gone", || door.bridge.stats().connected == 1);
    let ledger = || smol::block_on(door.site.status()).ledger;
    let begun = Instant::now();
    while ledger().is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "not in the ledger"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(ledger()[0].cause, LossCause::QueueLimit);
    assert_eq!(door.records("mqtt").len(), 2);
}

/// The program drops it where a command's connection ends.
#[test]
fn a_publish_that_is_dropped_midway_does_not_keep_its_topic_from_compaction() {
    let door = narrow_door(1000);
    let mut talker = door.client("talker");
    talker.throw(0x33, "r", "old");
    assert_eq!(talker.packet()[0], 0x40);
    let verdict = |offset| lock(&door.bridge.hub.retained).judge(&"r".into(), offset);
    soon("live delivery has passed it", || {
        verdict(0) == Judgement::Live
    });
    let begin = |newest| {
        let mut publish = Box::pin(door.bridge.publish("r", "new".into(), Vec::new(), true));
        smol::block_on(smol::future::poll_once(&mut publish));
        assert_eq!(verdict(newest), Judgement::Wait);
        publish
    };
    // With a ticket: the index hears of it later.
    drop(begin(0));
    soon("it was stored", || verdict(1) == Judgement::Live);
    // Without room for it: nothing is stored.
    talker.throw(0x30, "a", "has all the room");
    talker.expect_alive();
    let waits = begin(1);
    drop(waits);
    assert_eq!(verdict(1), Judgement::Live);
}

/// Its two records are more than one append takes; here only the first of them is refused.
#[test]
fn a_large_retained_publish_without_its_retained_record_is_not_acknowledged() {
    let door = narrow_door(4000);
    let mut talker = door.client("talker");
    let fill = |talker: &mut Client| {
        talker.throw(0x33, "r", "the topic is there");
        assert_eq!(talker.packet()[0], 0x40);
        talker.throw(0x30, "a", "has all the room");
        talker.expect_alive();
    };
    let delete = || smol::block_on(door.site.delete_topic("_retained")).unwrap();
    let large = "x".repeat(600_000);
    fill(&mut talker);
    let doors = door.site.memory().doors().clone();
    let mut client = door.client_v5("dev7");
    client.send(&publish(5, 0x33, "a", 7, large.as_bytes()));
    soon("it waits for room", || doors.bytes() > 600_000);
    delete();
    client.expect(&[0x40, 3, 0, 7, 0x87]);
    // The same without a connection.
    fill(&mut talker);
    let mut publish = Box::pin(door.bridge.publish("a", large.into(), Vec::new(), true));
    let first = smol::block_on(smol::future::poll_once(&mut publish));
    assert!(first.is_none(), "it waits for room");
    delete();
    let refused = smol::block_on(publish).unwrap_err().to_string();
    assert_eq!(refused, Refused::UnknownTopic.to_string());
    let is_large = |record: &Record| record.value.as_ref().is_some_and(|v| v.len() > 500_000);
    let large = || door.records("mqtt").into_iter().filter(is_large).count();
    soon("the others were taken", || large() == 2);
}

pub(super) fn soon(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(3), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
