//! Who may connect, how many, how large, and what hostile clients cost the others.

use std::time::Instant;

use super::client::{
    Client, Door, connect, connect_v4, connect_v5, frame, publish, subscribe, text,
};
use crate::Anonymous;

#[test]
fn nobody_without_account_where_it_is_forbidden() {
    let door = Door::with(|config| {
        config.mqtt.listener[0].allow_anonymous = Anonymous::No;
    });
    let mut old = door.socket();
    old.send(&connect_v4("dev7", 60));
    old.expect(&[0x20, 2, 0, 5]);
    old.expect_closed();
    let mut new = door.socket();
    new.send(&connect_v5("dev7", &[]));
    assert_eq!(new.packet()[3], 0x87);
}

#[test]
fn one_client_too_many_is_told_so_and_others_stay() {
    let door = Door::with(|config| config.mqtt.connections_max = 2);
    let mut first = door.client("1");
    let _second = door.client("2");
    let mut third = door.socket();
    third.send(&connect_v5("3", &[]));
    assert_eq!(third.packet()[3], 0x89);
    let _again = door.client("2");
    first.expect_alive();
}

#[test]
fn half_open_connections_are_few_and_the_oldest_closes() {
    let door = Door::with(|config| config.mqtt.pre_auth_max = 4);
    let mut sockets: Vec<_> = (0..8)
        .map(|_| {
            let socket = door.socket();
            std::thread::sleep(std::time::Duration::from_millis(20));
            socket
        })
        .collect();
    assert_eq!(door.bridge.stats().pre_auth, 4);
    sockets[0].expect_closed();
    sockets[7].send(&connect_v4("dev7", 60));
    sockets[7].expect(&[0x20, 2, 0, 0]);
}

/// Each waits longer than the one before, and they would be as many as an attacker likes.
#[test]
fn clients_that_wait_for_their_refusal_are_few_too() {
    let door = Door::with(|config| {
        config.mqtt.pre_auth_max = 3;
        config.mqtt.listener[0].allow_anonymous = Anonymous::No;
    });
    let refused: Vec<Client> = (0..8)
        .map(|n| {
            let mut client = door.socket();
            client.send(&connect_v4(&format!("dev{n}"), 60));
            client
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(door.bridge.stats().pre_auth >= 1);
    let begun = Instant::now();
    for mut evicted in refused.into_iter().take(5) {
        evicted.expect(&[0x20, 2, 0, 5]);
    }
    assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
}

#[test]
fn a_socket_without_connect_closes_in_time() {
    let door = Door::with(|config| config.mqtt.connect_timeout_s = 1);
    let mut socket = door.socket();
    socket.send(&[0x10]);
    let begun = Instant::now();
    socket.expect_closed();
    assert!(begun.elapsed().as_millis() >= 900);
}

#[test]
fn packets_that_are_too_large_close_their_connection_before_they_are_read() {
    let door = Door::with(|config| config.mqtt.packet_bytes_max = 1000);
    let mut client = door.client_v5("dev7");
    client.send(&[0x32, 0xff, 0xff, 0x7f]);
    client.expect(&[0xe0, 2, 0x95, 0]);
    client.expect_closed();
    // Who repeats it waits for it.
    let mut client = door.client_v5("dev7");
    let begun = Instant::now();
    client.send(&[0x32, 0xff, 0xff, 0x7f]);
    client.expect(&[0xe0, 2, 0x95, 0]);
    assert!(begun.elapsed().as_millis() >= 900, "{:?}", begun.elapsed());
}

#[test]
fn more_in_flight_than_announced_is_refused_in_mqtt_5() {
    let door = Door::with(|config| config.mqtt.in_flight_max = 2);
    let mut client = door.client_v5("dev7");
    client.publish("a", "warm");
    let mut bytes = Vec::new();
    for pkid in 1..=3 {
        bytes.extend(publish(5, 0x32, "a", pkid, b"x"));
    }
    client.send(&bytes);
    loop {
        let packet = client.packet();
        if packet[0] == 0xe0 {
            assert_eq!(packet, [0xe0, 2, 0x93, 0]);
            break;
        }
    }
}

#[test]
fn subscriptions_and_levels_have_a_limit() {
    let door = Door::with(|config| {
        config.mqtt.subscriptions_max = 2;
        config.mqtt.topic_levels_max = 3;
    });
    let mut client = door.client_v5("dev7");
    client.subscribe("a", 1);
    client.subscribe("b", 1);
    client.subscribe("a", 0);
    client.send(&subscribe(5, 9, "c", 1));
    client.expect(&[0x90, 4, 0, 9, 0, 0x97]);
    client.send(&subscribe(5, 10, "1/2/3/4", 1));
    client.expect(&[0x90, 4, 0, 10, 0, 0x8f]);
    client.send(&publish(5, 0x32, "1/2/3/4", 11, b"x"));
    client.expect(&[0x40, 3, 0, 11, 0x90]);
    let mut old = door.client("old");
    old.send(&publish(4, 0x32, "1/2/3/4", 11, b"x"));
    old.expect_closed();
    assert!(door.records("mqtt").is_empty());
}

#[test]
fn versions_that_are_not_spoken_are_told_so() {
    let door = Door::open();
    let mut old = door.socket();
    let body = [&text(b"MQIsdp")[..], &[3, 2, 0, 60], &text(b"dev7")].concat();
    old.send(&frame(0x10, &body));
    old.expect(&[0x20, 2, 0, 1]);
    let mut new = door.socket();
    new.send(&connect(6, 2, 60, &text(b"dev7")));
    assert_eq!(new.packet()[3], 0x84);
    let mut http = door.socket();
    http.send(b"GET / HTTP/1.1\r\n\r\n");
    http.expect_closed();
}

#[test]
fn clients_without_an_id_get_one_or_are_told_why_not() {
    let door = Door::open();
    let mut old = door.client("");
    old.expect_alive();
    let mut unclean = door.socket();
    unclean.send(&connect(4, 0, 60, &text(b"")));
    unclean.expect(&[0x20, 2, 0, 2]);
    let mut new = door.socket();
    new.send(&connect_v5("", &[]));
    let connack = String::from_utf8_lossy(&new.packet()).into_owned();
    assert!(connack.contains("edge-"), "{connack:?}");
    assert_eq!(door.bridge.stats().connected, 2);
}

#[test]
fn client_ids_are_bounded() {
    let door = Door::open();
    let (longest, too_long) = ("x".repeat(1024), "x".repeat(1025));
    let _taken = door.client(&longest);
    let mut old = door.socket();
    old.send(&connect_v4(&too_long, 60));
    old.expect(&[0x20, 2, 0, 2]);
    old.expect_closed();
    let mut new = door.socket();
    new.send(&connect_v5(&too_long, &[]));
    assert_eq!(new.packet()[3], 0x85);
    new.expect_closed();
    assert_eq!(door.bridge.stats().connected, 1);
}

#[test]
fn a_mistake_closes_one_connection_and_nobody_else_sees_it() {
    let door = Door::open();
    let mut good = door.client("good");
    good.subscribe("a", 1);
    let mut bad = door.client_v5("bad");
    bad.send(&[0xf1, 0]);
    bad.expect(&[0xe0, 2, 0x8c, 0]);
    bad.expect_closed();
    let mut bad = door.client("bad");
    bad.send(&publish(4, 0x32, "a/#", 1, b"x"));
    bad.expect_closed();
    good.publish("a", "x");
    assert_eq!(good.message().2, "x");
}

#[test]
fn a_message_larger_than_its_topic_takes_concerns_only_itself() {
    let door = Door::with(|config| {
        config.routes = vec![crate::RouteConfig {
            filter: "small/#".to_owned(),
            topic: "small".to_owned(),
            ..Default::default()
        }];
    });
    let settings = [("max.message.bytes".to_owned(), "1024".to_owned())].into();
    smol::block_on(door.site.alter_topic("small", None, &settings)).unwrap();
    let mut client = door.client_v5("dev7");
    let large = [b'x'; 1200];
    let both = [
        publish(5, 0x32, "else", 1, b"x"),
        publish(5, 0x32, "small/a", 2, &large),
    ];
    client.send(&both.concat());
    let mut codes = Vec::new();
    while let Some(packet) = client.try_packet() {
        codes.push(packet[0]);
        if packet[0] == 0xe0 {
            assert_eq!(packet[2], 0x95);
        }
    }
    assert_eq!(codes.last(), Some(&0xe0));
    assert_eq!(door.records("small").len(), 0);
    for _ in 0..50 {
        if door.records("mqtt").len() == 1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the other message is missing");
}

#[test]
fn ten_thousand_half_open_sockets_cost_little_and_go_again() {
    let door = Door::with(|config| config.mqtt.pre_auth_max = 64);
    let mut good = door.client("good");
    for _ in 0..100 {
        // A hundred at once, so that the test does not need many files.
        let mut sockets: Vec<_> = (0..100).map(|_| door.socket()).collect();
        for (at, socket) in sockets.iter_mut().enumerate() {
            // Those that were closed already may refuse it.
            let _ = std::io::Write::write_all(&mut socket.stream, &[0x10, 60, 0][..at % 4]);
        }
        assert!(door.bridge.stats().pre_auth <= 64);
        good.expect_alive();
    }
    let begun = Instant::now();
    while door.bridge.stats().pre_auth > 0 {
        assert!(begun.elapsed().as_secs() < 10, "{:?}", door.bridge.stats());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    good.expect_alive();
}

/// A store of a few megabytes whose topics refuse when it is full.
fn full_door() -> Door {
    let mut site_config = edge_site::SiteConfig::default();
    site_config.store.slice_bytes = 1 << 20;
    site_config.store.bytes_max = 8 << 20;
    let mut config = Door::config();
    config.mqtt.hold_s_max = 1;
    config.routes = vec![crate::RouteConfig {
        when_full: Some(edge_site::TopicWhenFull::Refuse),
        ..Default::default()
    }];
    let door = Door::on_site(tempfile::tempdir().unwrap(), site_config, config);
    let mut client = door.client_v5("filler");
    let mut random = fastrand::Rng::with_seed(1);
    for pkid in 1..=2000_u16 {
        let payload: Vec<u8> = (0..20_000).map(|_| random.u8(..)).collect();
        client.send(&publish(5, 0x32, "a", pkid, &payload));
        let ack = client.packet();
        if ack[4] == 0x97 {
            return door;
        }
        assert_eq!((ack[0], ack[4]), (0x40, 0), "{ack:02x?}");
    }
    panic!("it never got full");
}

#[test]
fn a_full_store_refuses_holds_and_stays_live() {
    let door = full_door();
    let mut watcher = door.client("watcher");
    watcher.subscribe("switch", 1);
    let mut old = door.client("old");
    let begun = Instant::now();
    old.throw(0x32, "a", "x");
    old.expect_silence(200);
    old.expect_alive();
    old.throw(0x30, "switch", "on");
    assert_eq!(watcher.message().2, "on");
    old.expect_closed();
    assert!(begun.elapsed().as_millis() >= 900, "{:?}", begun.elapsed());
    assert!(door.bridge.stats().publishes_refused >= 2);
}
