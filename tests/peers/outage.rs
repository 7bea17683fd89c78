//! The day things fail together: 10,000 messages by mosquitto_pub on 50 topics, Kafka away in the
//! middle, the gateway killed twice. Every acked message is in Kafka, order per key kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::forwarding::{read_until, versions};
use crate::support::gateway::{Gateway, Setup};
use crate::support::kafka::{Kafka, Read};
use crate::support::{proved, scratch, setting};

const TOPICS: usize = 50;
const PER_TOPIC: usize = 200;
const PER_CALL: usize = 10;

/// What the publishers share.
struct Shared {
    address: Mutex<SocketAddr>,
    acked: AtomicUsize,
    pace: Duration,
    give_up: AtomicBool,
}

/// Publishes the lines with one mosquitto_pub; gives how many of them, from the first, were acked.
fn publish(address: SocketAddr, topic: &str, lines: &[String]) -> usize {
    let mut command = Command::new("mosquitto_pub");
    command.args([
        "-h",
        "127.0.0.1",
        "-p",
        &address.port().to_string(),
        "-V",
        "mqttv311",
    ]);
    command.args(["-q", "1", "-d", "-t", topic, "-l", "-k", "5"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .spawn()
        .expect("mosquitto_pub; tests/run installs it");
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all((lines.join("\n") + "\n").as_bytes());
    drop(stdin);
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let acks = Arc::new(Mutex::new(BTreeSet::new()));
    let reader = {
        let acks = Arc::clone(&acks);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some((_, rest)) = line.split_once("received PUBACK (Mid: ")
                    && let Ok(id) = rest.split([',', ')']).next().unwrap_or_default().parse()
                {
                    acks.lock().unwrap().insert(id);
                }
            }
        })
    };
    // A killed gateway leaves mosquitto_pub trying the old port for ever.
    let until = Instant::now() + Duration::from_secs(4);
    while child.try_wait().unwrap().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    reader.join().unwrap();
    let acks: BTreeSet<usize> = std::mem::take(&mut *acks.lock().unwrap());
    (1..=lines.len()).take_while(|id| acks.contains(id)).count()
}

/// One topic's device: every line until it is acked; gives what was sent more than once.
fn device(topic: &str, shared: &Shared) -> BTreeSet<usize> {
    let mut repeated = BTreeSet::new();
    let mut next = 0;
    while next < PER_TOPIC && !shared.give_up.load(Ordering::Relaxed) {
        let end = (next + PER_CALL).min(PER_TOPIC);
        let lines: Vec<String> = (next..end).map(|n| format!("{topic} {n:04}")).collect();
        let address = *shared.address.lock().unwrap();
        let acked = publish(address, topic, &lines);
        shared.acked.fetch_add(acked, Ordering::Relaxed);
        next += acked;
        repeated.extend(next..end);
        std::thread::sleep(shared.pace);
    }
    repeated
}

#[test]
fn ten_thousand_messages_outlive_an_outage_and_two_kills() {
    let outage = Duration::from_secs(setting("EDGE_OUTAGE_S", 20));
    let scratch = scratch();
    let mut kafka = Kafka::start(&scratch.path().join("kafka"), &versions()[0]);
    let data = scratch.path().join("data");
    let setup = Setup::on(&data).central(&kafka.address());
    let mut gateway = setup.start();
    let shared = Arc::new(Shared {
        address: Mutex::new(gateway.mqtt()),
        acked: AtomicUsize::new(0),
        pace: (outage + Duration::from_secs(10)) / (PER_TOPIC / PER_CALL) as u32,
        give_up: AtomicBool::new(false),
    });
    let devices: Vec<_> = (0..TOPICS)
        .map(|n| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || device(&format!("fleet/{n}"), &shared))
        })
        .collect();
    let restart = |gateway: Gateway| {
        gateway.kill9();
        let gateway = setup.start();
        *shared.address.lock().unwrap() = gateway.mqtt();
        gateway
    };
    wait_for(&shared, 1000);
    gateway = restart(gateway);
    wait_for(&shared, 2000);
    kafka.kill();
    let away = Instant::now();
    std::thread::sleep(outage / 2);
    gateway = restart(gateway);
    std::thread::sleep(outage.saturating_sub(away.elapsed()));
    let waits = gateway.status()["forward"]["waiting"].as_u64();
    assert!(
        waits.is_some_and(|waits| waits > 0),
        "while Kafka is away: {waits:?}"
    );
    kafka.resume();
    wait_for(&shared, TOPICS * PER_TOPIC);
    let back = Instant::now();
    let repeated: usize = devices.into_iter().map(|d| d.join().unwrap().len()).sum();
    let got = read_all(&kafka);
    let duplicates = check(&got);
    assert!(gateway.is_running());
    let ms = back.elapsed().as_millis();
    proved(
        "peers",
        &format!(
            "{} messages of mosquitto_pub on {TOPICS} topics, Kafka away {} s, 2 kill -9: all \
             acked in Kafka, order per key kept, {duplicates} twice ({repeated} repeated by \
             mosquitto_pub), complete {ms} ms after the last ack",
            TOPICS * PER_TOPIC,
            outage.as_secs(),
        ),
    );
}

fn wait_for(shared: &Shared, acked: usize) {
    let until = Instant::now() + Duration::from_secs(240);
    while shared.acked.load(Ordering::Relaxed) < acked {
        if Instant::now() > until {
            shared.give_up.store(true, Ordering::Relaxed);
            panic!("{} of {acked} acked", shared.acked.load(Ordering::Relaxed));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads until every message is there, or nothing new comes.
fn read_all(kafka: &Kafka) -> Vec<Read> {
    let mut got = read_until(kafka, "mqtt", TOPICS * PER_TOPIC, Duration::from_secs(60));
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        let distinct: BTreeSet<&str> = got.iter().map(|r| r.payload.as_str()).collect();
        if distinct.len() == TOPICS * PER_TOPIC {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        got = kafka.read("mqtt");
    }
    got
}

/// Every message there, first copies in order per key; gives how many are there more than once.
fn check(got: &[Read]) -> usize {
    let mut seen = BTreeSet::new();
    let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
    let mut duplicates = 0;
    for record in got {
        if !seen.insert(record.payload.as_str()) {
            duplicates += 1;
            continue;
        }
        let key = record.key.as_deref().expect("a key");
        assert!(record.payload.starts_with(key), "{record:?}");
        let before = newest.insert(key, &record.payload);
        assert!(
            before < Some(&record.payload),
            "{key}: {before:?} before {}",
            record.payload
        );
    }
    let missing: Vec<String> = (0..TOPICS)
        .flat_map(|t| (0..PER_TOPIC).map(move |n| format!("fleet/{t} {n:04}")))
        .filter(|m| !seen.contains(m.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "{} missing: {:?}",
        missing.len(),
        &missing[..missing.len().min(10)]
    );
    duplicates
}
