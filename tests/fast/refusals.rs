//! What is refused, for now or for ever, and how each version is told.

use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, Setup};
use crate::support::mqtt::{Client, End, Hello, Packet, publish};
use crate::support::{eventually, proved, scratch};

#[test]
fn connack_of_version_5_announces_the_limits() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let (_, answer) = Client::try_connect(gateway.mqtt(), &Hello::v5("c").persistent());
    let Ok(Packet::Connack {
        session_present: false,
        code: 0,
        properties,
    }) = answer
    else {
        panic!("{answer:?}")
    };
    assert_eq!(properties.number(0x24), Some(1), "maximum QoS 1");
    assert_eq!(properties.number(0x21), Some(64), "receive maximum");
    assert_eq!(
        properties.number(0x27),
        Some(1_000_000),
        "maximum packet size"
    );
    assert_eq!(properties.number(0x2a), Some(0), "no shared subscriptions");
}

#[test]
fn a_packet_that_is_too_large_closes_with_its_reason() {
    let dir = scratch();
    let gateway = Setup::on(dir.path())
        .config("[mqtt]\npacket_bytes_max = 10000\n")
        .start();
    let large = vec![b'x'; 20_000];
    let mut new = Client::connect(gateway.mqtt(), &Hello::v5("new"));
    new.publish("a", &large, 1, false);
    let last = new.until_closed(Duration::from_secs(5)).expect("closed");
    assert_eq!(last, [Packet::Disconnect { reason: 0x95 }]);
    let mut old = Client::connect(gateway.mqtt(), &Hello::v3("old"));
    old.publish("a", &large, 1, false);
    let last = old.until_closed(Duration::from_secs(5)).expect("closed");
    assert_eq!(last, [], "3.1.1 has no packet for it");
}

#[test]
fn a_client_that_repeats_a_refused_packet_is_slowed_down() {
    let dir = scratch();
    let gateway = Setup::on(dir.path())
        .config("[mqtt]\npacket_bytes_max = 10000\n")
        .start();
    let large = publish(4, "a", &[b'x'; 20_000], 1, false, 1);
    let mut took = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(gateway.mqtt(), &Hello::v3("stubborn"));
        let begun = Instant::now();
        client.send(&large);
        client
            .until_closed(Duration::from_secs(60))
            .expect("closed");
        took.push(begun.elapsed());
    }
    assert!(
        took[4] > took[0] + Duration::from_millis(100),
        "held longer each time: {took:?}"
    );
    let mut other = Client::connect(gateway.mqtt(), &Hello::v3("other"));
    other.publish_acked("a", b"x");
    let lines = gateway
        .said()
        .iter()
        .filter(|l| l.contains("stubborn"))
        .count();
    assert!(
        lines <= 2,
        "said once a minute, not {lines} times: {:#?}",
        gateway.said()
    );
}

#[test]
fn more_than_the_receive_maximum_is_a_protocol_error() {
    let dir = scratch();
    let slow = "[storage]\nwear_gb_per_day = 0\n[mqtt]\nin_flight_max = 4\n";
    let gateway = Setup::on(dir.path()).config(slow).start();
    let mut client = Client::connect(gateway.mqtt(), &Hello::v5("greedy"));
    // One write, so that the gateway reads all of it before it can answer any.
    let burst: Vec<u8> = (1..=200)
        .flat_map(|id| publish(5, "a", &[b'x'; 100], 1, false, id))
        .collect();
    client.send(&burst);
    let last = client
        .until_closed(Duration::from_secs(10))
        .expect("closed");
    assert_eq!(
        last.last(),
        Some(&Packet::Disconnect { reason: 0x93 }),
        "{last:?}"
    );
    eventually(
        "a line that names the setting",
        Duration::from_secs(5),
        || {
            let said = gateway.said();
            said.iter()
                .any(|line| line.contains("mqtt.in_flight_max"))
                .then_some(())
        },
    );
}

#[test]
fn qos_2_is_acked_once_stored_in_version_3() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut client = Client::connect(gateway.mqtt(), &Hello::v3("two"));
    let id = client.publish("a", b"once", 2, false);
    client.wait(|p| *p == Packet::Pubrec { id, reason: 0 });
    // Repeated before PUBREL: the mark knows it, nothing is stored twice.
    let mut again = publish(4, "a", b"once", 2, false, id);
    again[0] |= 0x08;
    client.send(&again);
    client.wait(|p| *p == Packet::Pubrec { id, reason: 0 });
    client.ack(0x62, id);
    client.wait(|p| *p == Packet::Pubcomp { id });
    assert_eq!(gateway.log("mqtt").len(), 1);
}

#[test]
fn subscriptions_at_qos_2_are_granted_1() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    for version in [4, 5] {
        let mut client = Client::connect(
            gateway.mqtt(),
            &Hello {
                version,
                ..Hello::v3("s")
            },
        );
        assert_eq!(
            client.subscribe(&[("a", 2), ("b", 0), ("c/#", 1)]),
            [1, 0, 1]
        );
    }
}

#[test]
fn bad_filters_are_refused_one_by_one() {
    let dir = scratch();
    let gateway = Gateway::start(dir.path());
    let mut new = Client::connect(gateway.mqtt(), &Hello::v5("new"));
    let shared = new.subscribe(&[("a", 1), ("$share/g/a", 1)]);
    assert_eq!(shared, [1, 0x9e], "no shared subscriptions yet");
    assert!(new.is_alive());
}

/// A full store with topics that refuse: version 5 is told, 3.1.1 is held and then closed, reads go
/// on, and room that comes back is used without a restart.
#[test]
fn a_full_store_refuses_and_serves_on() {
    let dir = scratch();
    let config = "[storage]\nbytes_max = \"16MiB\"\nslice_bytes = \"1MiB\"\n\
                  when_full = \"refuse\"\n\
                  compression = \"none\"\nwear_gb_per_day = 0\n\
                  [mqtt]\nhold_s_max = 2\n[topics]\n\"retention.ms\" = -1\n\
                  [central]\nbootstrap = [\"127.0.0.1:9\"]\n";
    let gateway = Setup::on(dir.path()).config(config).start();
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("device"));
    let (stored, reason) = fill(&mut device);
    assert_eq!(reason, 0x97, "quota exceeded");
    assert!(device.is_alive(), "version 5 stays connected");
    let mut old = Client::connect(gateway.mqtt(), &Hello::v3("old"));
    old.publish("fill", b"held", 1, false);
    assert!(old.is_alive(), "3.1.1 is held, its pings are answered");
    let last = old
        .until_closed(Duration::from_secs(6))
        .expect("closed after hold_s_max");
    assert_eq!(last, [], "and never acknowledged");
    let log = gateway.log("mqtt");
    assert_eq!(
        log.len(),
        stored,
        "all that was acknowledged can be read, sealed slices too"
    );
    let state = gateway.status().to_string();
    assert!(state.contains("storage.full"), "{state}");
    // Room comes back: what may go, goes.
    gateway.ask(&["topic", "delete", "mqtt"]);
    let begun = Instant::now();
    while !accepted(&mut device) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "no room after a topic was deleted"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    proved(
        "fast",
        &format!(
            "a full store: {stored} acked and readable, then 0x97 and held, resumed without restart"
        ),
    );
}

/// Publishes until something is refused: how many were stored, and the reason.
fn fill(device: &mut Client) -> (usize, u8) {
    let payload: Vec<u8> = (0..8000_u32).map(|i| b'a' + (i * i % 26) as u8).collect();
    for n in 0..10_000 {
        let id = device.publish("fill", &payload, 1, false);
        match device.wait(|p| matches!(p, Packet::Puback { id: i, .. } if *i == id)) {
            Packet::Puback {
                reason: 0 | 0x10, ..
            } => {}
            Packet::Puback { reason, .. } => return (n, reason),
            other => panic!("{other:?}"),
        }
    }
    panic!("80 MB went into a store of 16 MiB");
}

/// Writes outrun retention in a small store: they wait for the room it makes.
#[test]
fn a_small_store_that_drops_the_oldest_refuses_nobody() {
    let dir = scratch();
    let config = "[storage]\nbytes_max = \"64MiB\"\ncompression = \"none\"\n\
                  wear_gb_per_day = 0\n[central]\nbootstrap = [\"127.0.0.1:9\"]\n";
    let gateway = Setup::on(dir.path()).config(config).start();
    let mut devices: Vec<_> = (0..4)
        .map(|n| Client::connect(gateway.mqtt(), &Hello::v5(&format!("device{n}"))))
        .collect();
    let payload = [b'x'; 50_000];
    let mut longest = Duration::ZERO;
    for _ in 0..150 {
        let begun = Instant::now();
        for device in &mut devices {
            (0..5).for_each(|_| _ = device.publish("fill", &payload, 1, false));
        }
        for device in &mut devices {
            for _ in 0..5 {
                let ack = device.wait(|packet| matches!(packet, Packet::Puback { .. }));
                let taken = matches!(
                    ack,
                    Packet::Puback {
                        reason: 0 | 0x10,
                        ..
                    }
                );
                assert!(taken, "{ack:?}");
            }
        }
        longest = longest.max(begun.elapsed());
    }
    proved(
        "fast",
        &format!(
            "150 MB at full speed into a store of 64 MiB: nothing refused, longest wait {} ms",
            longest.as_millis()
        ),
    );
}

fn accepted(device: &mut Client) -> bool {
    let id = device.publish("fill", b"again", 1, false);
    let ack = device.try_wait(
        Duration::from_secs(5),
        |p| matches!(p, Packet::Puback { id: i, .. } if *i == id),
    );
    assert_ne!(ack, Err(End::Closed));
    matches!(
        ack,
        Ok(Packet::Puback {
            reason: 0 | 0x10,
            ..
        })
    )
}
