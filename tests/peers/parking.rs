//! A topic that central refuses is parked and the others go on; repaired, it arrives complete and
//! in order. A record that central refuses for itself goes to the dead letters.

use std::time::Duration;

use crate::forwarding::{read_until, versions};
use crate::support::gateway::{Gateway, Setup};
use crate::support::kafka::Kafka;
use crate::support::mqtt::{Client, Hello};
use crate::support::{eventually, load, proved, scratch};

const TOPICS: usize = 50;
const EACH: u32 = 20;
const MISSING: usize = 7;
const SMALL: usize = 23;
const CONFIG: &str = "[storage]\nwear_gb_per_day = 0\n\
                      [central]\ncreate_topics = false\non_rejected = \"park\"\n\
                      drain_jitter_s = 0\nlinger_ms = 50\n\
                      [[route]]\nfilter = \"fleet/+/data\"\ntopic = \"{1}\"\n";

fn name(n: usize) -> String {
    format!("fleet-{n:02}")
}

/// `EACH` messages to each topic, in turns.
fn publish_all(gateway: &Gateway) {
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("device"));
    for number in 0..EACH {
        for n in 0..TOPICS {
            let value = load::value(n as u32, number, 200);
            device.publish_acked(&format!("fleet/{}/data", name(n)), value.as_bytes());
        }
    }
}

/// The topic in Kafka holds exactly what was published, in order.
fn complete(kafka: &Kafka, n: usize, time: Duration) {
    let got = read_until(kafka, &name(n), EACH as usize, time);
    let got: Vec<_> = got.iter().map(|r| r.payload.clone()).collect();
    let expected: Vec<_> = (0..EACH)
        .map(|number| load::value(n as u32, number, 200))
        .collect();
    assert_eq!(got, expected, "{}", name(n));
}

#[test]
fn a_refused_topic_is_parked_and_the_others_go_on() {
    let scratch = scratch();
    let kafka = Kafka::start(&scratch.path().join("kafka"), &versions()[0]);
    let others: Vec<usize> = (0..TOPICS)
        .filter(|n| ![MISSING, SMALL].contains(n))
        .collect();
    let names: Vec<String> = others.iter().map(|n| name(*n)).collect();
    kafka.create_topics(&names);
    kafka.create_topic(&name(SMALL), 1, &["max.message.bytes=100"]);
    let setup = Setup::on(&scratch.path().join("data")).central(&kafka.address());
    let gateway = setup.config(CONFIG).start();
    publish_all(&gateway);
    for n in &others {
        complete(&kafka, *n, Duration::from_secs(60));
    }
    let parked = eventually("both topics are parked", Duration::from_secs(30), || {
        let said = gateway.status().to_string();
        (said.contains("topic.parked")).then(|| gateway.run(&["status"]))
    });
    let parked = String::from_utf8_lossy(&parked.stdout).into_owned();
    for n in [MISSING, SMALL] {
        let row = parked.lines().find(|l| l.starts_with(&name(n)));
        assert!(
            row.is_some_and(|row| row.contains("PARKED")),
            "{}: {parked}",
            name(n)
        );
    }
    kafka.create_topic(&name(MISSING), 1, &[]);
    kafka.alter_topic(&name(SMALL), "max.message.bytes=1048588");
    for n in [MISSING, SMALL] {
        gateway.ask(&["central", "retry", &name(n)]);
        complete(&kafka, n, Duration::from_secs(60));
    }
    eventually(
        "nothing is parked any more",
        Duration::from_secs(10),
        || (!gateway.status().to_string().contains("topic.parked")).then_some(()),
    );
    proved(
        "peers",
        &format!(
            "{TOPICS} topics, one missing, one with max.message.bytes=100: {} went on, both \
             arrived complete and in order after repair",
            others.len()
        ),
    );
}

#[test]
fn a_record_that_central_refuses_goes_to_the_dead_letters() {
    let scratch = scratch();
    let kafka = Kafka::start(&scratch.path().join("kafka"), &versions()[0]);
    kafka.create_topic("mqtt", 1, &["max.message.bytes=4000"]);
    let setup = Setup::on(&scratch.path().join("data")).central(&kafka.address());
    let gateway = setup
        .config("[central]\ndrain_jitter_s = 0\nlinger_ms = 50\n")
        .start();
    let mut device = Client::connect(gateway.mqtt(), &Hello::v3("device"));
    let mut rng = fastrand::Rng::with_seed(1);
    let large: String = (0..9000).map(|_| rng.alphanumeric()).collect();
    for n in 0..30 {
        let value = if n == 10 {
            large.clone()
        } else {
            format!("small {n}")
        };
        device.publish_acked("a", value.as_bytes());
    }
    let got = read_until(&kafka, "mqtt", 29, Duration::from_secs(60));
    let got: Vec<_> = got.into_iter().map(|r| r.payload).collect();
    let expected: Vec<_> = (0..30)
        .filter(|n| *n != 10)
        .map(|n| format!("small {n}"))
        .collect();
    assert_eq!(got, expected, "the others, in order");
    let line = gateway.ask(&[
        "tail",
        "_dead_letter",
        "--from-beginning",
        "-e",
        "--format",
        r"%h|%s\n",
    ]);
    let (headers, value) = line.trim_end().split_once('|').expect("one dead letter");
    assert_eq!(value, large);
    for header in ["edge-error", "edge-src"] {
        assert!(headers.contains(header), "{headers}");
    }
    proved(
        "peers",
        "a record too large for central went to _dead_letter, 29 others arrived",
    );
}
