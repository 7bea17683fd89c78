//! A gateway that boots in 1970, is killed, gets the time, and only then finds central: a real
//! Kafka has every record with the moment it was taken.

use std::time::Duration;

use crate::forwarding::{read_until, versions};
use crate::support::clock::{WallClock, wall_ms};
use crate::support::gateway::{Gateway, Setup};
use crate::support::kafka::Kafka;
use crate::support::mqtt::{Client, Hello};
use crate::support::{proved, scratch};

/// How far a stamp may be from the publish: this machine may be busy.
const NEAR_MS: i64 = 2_000;

/// Publishes some messages, one after the other; each payload is the moment it was sent.
fn publish(gateway: &Gateway, count: usize) {
    let mut device = Client::connect(gateway.mqtt(), &Hello::v5("press1"));
    for _ in 0..count {
        device.publish_acked("plant/press1", wall_ms().to_string().as_bytes());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn records_of_1970_are_in_kafka_with_the_time_they_were_taken() {
    let scratch = scratch();
    let mut kafka = Kafka::start(&scratch.path().join("kafka"), &versions()[0]);
    kafka.kill();
    let clock = WallClock::showing(&scratch.path().join("clock"), 1_000_000);
    let setup = Setup::on(&scratch.path().join("data"))
        .central(&kafka.address())
        .config("[central]\ndrain_jitter_s = 0\n")
        .clock(&clock);
    let gateway = setup.start();
    publish(&gateway, 10);
    gateway.kill9();
    let gateway = setup.start();
    publish(&gateway, 10);
    clock.set_right();
    publish(&gateway, 10);
    kafka.resume();
    let got = read_until(&kafka, "mqtt", 30, Duration::from_secs(60));
    let mut worst_ms = 0;
    for record in &got {
        let sent_ms: i64 = record.payload.parse().unwrap();
        worst_ms = worst_ms.max((record.timestamp_ms - sent_ms).abs());
        assert!(worst_ms < NEAR_MS, "{record:?}");
    }
    let stored = gateway.ask(&["tail", "mqtt", "-n", "1", "--from-beginning", "-e"]);
    assert!(
        stored.contains("1970-01-01"),
        "kept as it was made: {stored}"
    );
    proved(
        "peers",
        &format!(
            "a boot in 1970, a kill -9, then the right time: {} records in Kafka at most \
             {worst_ms} ms from when they were sent",
            got.len()
        ),
    );
}
