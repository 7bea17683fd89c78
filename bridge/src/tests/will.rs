//! Wills: sent when a client vanishes, not when it says good-bye, before its successor speaks.

use super::client::{Client, Door, connect, frame, text};

fn with_will(door: &Door, id: &str, retain: bool) -> Client {
    let payload = [text(id.as_bytes()), text(b"state"), text(b"gone")].concat();
    let flags = 0x02 | 0x04 | 0x08 | if retain { 0x20 } else { 0 };
    let mut client = door.socket();
    client.send(&connect(4, flags, 60, &payload));
    client.expect(&[0x20, 2, 0, 0]);
    client
}

fn watcher(door: &Door) -> Client {
    let mut watcher = door.client("watcher");
    watcher.subscribe("state", 1);
    watcher
}

#[test]
fn a_client_that_vanishes_leaves_its_will() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    drop(with_will(&door, "dev7", true));
    assert_eq!(
        watcher.message(),
        (2, "state".to_owned(), "gone".to_owned())
    );
    let mut late = door.client("late");
    late.subscribe("state", 1);
    assert_eq!(late.message(), (3, "state".to_owned(), "gone".to_owned()));
}

#[test]
fn a_client_that_says_good_bye_leaves_none() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    let mut client = with_will(&door, "dev7", false);
    client.send(&[0xe0, 0]);
    client.expect_closed();
    watcher.expect_silence(200);
}

#[test]
fn a_good_bye_of_mqtt_5_can_ask_for_the_will() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    let payload = [
        &[0][..],
        &text(b"dev7"),
        &[0],
        &text(b"state"),
        &text(b"gone"),
    ]
    .concat();
    let mut client = door.socket();
    client.send(&connect(5, 0x0e, 60, &payload));
    client.packet();
    client.send(&[0xe0, 1, 0x04]);
    assert_eq!(watcher.message().2, "gone");
}

#[test]
fn a_successor_takes_over_and_the_will_comes_first() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    let mut first = with_will(&door, "dev7", false);
    let mut second = door.client("dev7");
    second.publish("state", "back");
    assert_eq!(watcher.message().2, "gone");
    assert_eq!(watcher.message().2, "back");
    first.expect_closed();
    assert_eq!(door.bridge.stats().taken_over, 1);
}

/// Each would have waited for the one before it, with its socket, for seconds.
#[test]
fn of_many_connections_with_one_id_only_the_newest_waits() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    // It does not close its side, so its end takes a moment.
    let _first = with_will(&door, "dev7", false);
    let begun = std::time::Instant::now();
    let flood = (0..50).map(|_| {
        let mut client = door.socket();
        client.send(&super::client::connect_v4("dev7", 60));
        client
    });
    let mut flood: Vec<Client> = flood.collect();
    let mut welcome: Vec<&mut Client> = flood
        .iter_mut()
        .filter_map(|client| client.try_packet().map(|_| client))
        .collect();
    assert!(begun.elapsed().as_millis() < 2000, "{:?}", begun.elapsed());
    assert_eq!(welcome.len(), 1, "who gave way hears nothing");
    welcome[0].publish("state", "back");
    assert_eq!(watcher.message().2, "gone");
    assert_eq!(watcher.message().2, "back");
    assert_eq!(door.bridge.stats().connected, 2);
}

#[test]
fn mqtt_5_is_told_that_it_was_taken_over() {
    let door = Door::open();
    let mut first = door.client_v5("dev7");
    let mut second = door.client_v5("dev7");
    first.expect(&[0xe0, 2, 0x8e, 0]);
    first.expect_closed();
    second.expect_alive();
    assert_eq!(door.bridge.stats().connected, 2 - 1);
}

#[test]
fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    let payload = [text(b"dev7"), text(b"state"), text(b"gone")].concat();
    let mut client = door.socket();
    client.send(&connect(4, 0x0e, 1, &payload));
    client.expect(&[0x20, 2, 0, 0]);
    let begun = std::time::Instant::now();
    client.expect_closed();
    let silent_ms = begun.elapsed().as_millis();
    assert!((1400..2500).contains(&silent_ms), "{silent_ms} ms");
    assert_eq!(watcher.message().2, "gone");
}

#[test]
fn a_keep_alive_of_0_is_none() {
    let door = Door::open();
    let mut client = door.socket();
    client.send(&super::client::connect_v4("dev7", 0));
    client.expect(&[0x20, 2, 0, 0]);
    client.expect_silence(1800);
    client.expect_alive();
}

#[test]
fn a_will_that_is_no_topic_is_refused() {
    let door = Door::open();
    let payload = [text(b"dev7"), text(b"a/#"), text(b"gone")].concat();
    let mut client = door.socket();
    client.send(&connect(4, 0x0e, 60, &payload));
    // 3.1.1 has no code that fits better than "unavailable".
    client.expect(&[0x20, 2, 0, 3]);
    client.expect_closed();
    assert_eq!(frame(0xe0, &[]), [0xe0, 0]);
}

/// Both are larger than what a connection may have under way, so the good-bye has to wait.
#[test]
fn a_good_bye_behind_much_that_is_not_stored_yet_is_heard() {
    let door = Door::open();
    let mut watcher = watcher(&door);
    let mut client = with_will(&door, "dev7", false);
    let large = "x".repeat(900_000);
    client.throw(0x32, "large", &large);
    client.throw(0x32, "large", &large);
    client.throw(0x32, "state", "on");
    client.send(&[0xe0, 0]);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(watcher.message().2, "on");
    watcher.expect_silence(300);
}

#[test]
fn a_gateway_that_stops_leaves_the_wills_of_its_clients() {
    let door = Door::open();
    let _client = with_will(&door, "dev7", true);
    smol::block_on(door.bridge.stop());
    let records = door.records("mqtt");
    assert_eq!(records[0].value.as_deref(), Some(&b"gone"[..]));
    assert_eq!(door.records("_retained").len(), 1);
}

/// The old connection waited three seconds for room, then for its last words, and the successor
/// three seconds for all of that: the will came last and said that the client is gone.
#[test]
fn the_will_comes_before_what_a_successor_says_also_where_there_is_no_room() {
    let site_config = edge_site::SiteConfig {
        queue_count_max: 1,
        commit_interval_ms_relaxed: 4500,
        ..Default::default()
    };
    let door = Door::on_site(tempfile::tempdir().unwrap(), site_config, Door::config());
    let mut talker = door.client("talker");
    talker.publish("a", "the topic is there");
    let mut first = with_will(&door, "dev7", false);
    talker.throw(0x30, "a", "has all the room");
    talker.expect_alive();
    first.throw(0x32, "a", "waits for room");
    first.expect_alive();
    let mut second = door.client("dev7");
    second.publish("state", "back");
    let records = door.records("mqtt");
    let said = records
        .iter()
        .rev()
        .take(2)
        .map(|r| r.value.clone().unwrap());
    assert_eq!(said.collect::<Vec<_>>(), ["back", "gone"]);
}
