//! A real Kafka as central: every record arrives with its key, headers, order and bytes.

use std::time::Duration;

use crate::support::gateway::Setup;
use crate::support::kafka::{Kafka, Read};
use crate::support::mqtt::{Client, Hello, Packet, frame, string};
use crate::support::{eventually, proved, scratch, setting};

const CONFIG: &str = "[storage]\nwear_gb_per_day = 0\n[central]\ndrain_jitter_s = 0\n";

/// The Kafka versions that `tests/run` has fetched; the first takes all tests.
pub fn versions() -> Vec<String> {
    let versions = std::env::var("EDGE_KAFKA_VERSIONS").unwrap_or_else(|_| "4.3.1".to_owned());
    versions.split_whitespace().map(str::to_owned).collect()
}

/// Reads a topic until it holds so many records.
pub fn read_until(kafka: &Kafka, topic: &str, count: usize, time: Duration) -> Vec<Read> {
    eventually(&format!("{count} records in {topic}"), time, || {
        if !kafka.topics().iter().any(|t| t == topic) {
            return None;
        }
        let records = kafka.read(topic);
        (records.len() >= count).then_some(records)
    })
}

/// A PUBLISH of version 5 with a content type and user properties.
fn described(topic: &str, payload: &[u8], id: u16) -> Vec<u8> {
    let properties = [
        &[0x03][..],
        &string("application/json"),
        &[0x26],
        &string("unit"),
        &string("°C"),
        &[0x26],
        &string("unit"),
        &string("twice"),
    ]
    .concat();
    let mut body = string(topic);
    body.extend(id.to_be_bytes());
    body.push(properties.len() as u8);
    body.extend(properties);
    body.extend(payload);
    frame(0x32, &body)
}

#[test]
fn every_record_reaches_kafka_as_it_was_taken() {
    for version in versions() {
        let scratch = scratch();
        let kafka = Kafka::start(&scratch.path().join("kafka"), &version);
        let setup = Setup::on(&scratch.path().join("data")).central(&kafka.address());
        let gateway = setup.config(CONFIG).start();
        let count = setting("EDGE_RECORDS", 2000) as u16;
        let mut device = Client::connect(gateway.mqtt(), &Hello::v5("press1"));
        for id in 1..=count {
            let topic = format!("plant/{}/temp", id % 7);
            device.send(&described(&topic, format!("{{\"n\":{id}}}").as_bytes(), id));
            device.wait(|p| matches!(p, Packet::Puback { id: i, .. } if *i == id));
        }
        gateway.ask(&["topic", "create", "orders", "--partitions", "4"]);
        for n in 0..40 {
            let key = format!("order-{n}");
            gateway.ask(&[
                "publish", "orders", "x", "--key", &key, "-H", "h=1", "-H", "h=2",
            ]);
        }
        let got = read_until(&kafka, "mqtt", count.into(), Duration::from_secs(60));
        assert_eq!(
            got.len(),
            usize::from(count),
            "once each while nothing fails"
        );
        for (record, id) in got.iter().zip(1..) {
            let topic = format!("plant/{}/temp", id % 7);
            let headers = [
                ("mqtt.topic", topic.as_str()),
                ("mqtt.content_type", "application/json"),
                ("mqtt.client_id", "press1"),
                ("unit", "°C"),
                ("unit", "twice"),
            ];
            assert_eq!(record.key.as_deref(), Some(topic.as_str()));
            assert_eq!(
                record.payload,
                format!("{{\"n\":{id}}}"),
                "in the order of the log"
            );
            let headers: Vec<_> = headers
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(record.headers, headers);
        }
        let orders = read_until(&kafka, "orders", 40, Duration::from_secs(30));
        same_partitions(&gateway.log("orders"), &orders);
        proved(
            "peers",
            &format!(
                "Kafka {version}: {} records compared by key, headers, order, partition and bytes",
                got.len() + orders.len()
            ),
        );
    }
}

/// A key is in the partition that the edge gave it, which is the one Kafka's clients would choose.
fn same_partitions(edge: &[crate::support::gateway::Stored], central: &[Read]) {
    let mut here: Vec<_> = edge
        .iter()
        .map(|r| (r.key.clone(), u64::from(r.partition)))
        .collect();
    let mut there: Vec<_> = central
        .iter()
        .map(|r| (r.key.clone().unwrap_or_default(), r.partition))
        .collect();
    here.sort();
    there.sort();
    assert_eq!(here, there);
}
