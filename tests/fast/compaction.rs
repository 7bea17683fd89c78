//! A compacted topic, written far beyond what the store may hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::gateway::Setup;
use crate::support::load::value;
use crate::support::mqtt::{Client, Hello, Packet};
use crate::support::{proved, scratch};

const STORE_BYTES_MAX: u64 = 24 << 20;

/// `refuse`, so that nothing but compaction makes room.
const SMALL: &str = "[storage]\nbytes_max = \"24MiB\"\nslice_bytes = \"1MiB\"\n\
                     when_full = \"refuse\"\ncompression = \"none\"\nwear_gb_per_day = 0\n";

fn bytes_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => bytes_of(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

const WRITERS: usize = 4;
const KEYS_EACH: usize = 64;
const ROUNDS: u32 = 200;
const PAYLOAD_BYTES: usize = 1000;

/// Writes round after round to its keys, each message until it is acknowledged; returns how often
/// it was told to come again, and the longest wait for a round.
fn write(address: SocketAddr, writer: usize) -> (u32, Duration) {
    let mut client = Client::connect(address, &Hello::v5(&format!("writer-{writer}")));
    let (mut again, mut longest) = (0, Duration::ZERO);
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let mut waiting: Vec<usize> = (0..KEYS_EACH).collect();
        while !waiting.is_empty() {
            let sent: BTreeMap<u16, usize> = waiting
                .drain(..)
                .map(|key| {
                    let text = value(key as u32, round, PAYLOAD_BYTES);
                    let topic = format!("state/{writer}/{key}");
                    (client.publish(&topic, text.as_bytes(), 1, false), key)
                })
                .collect();
            for _ in 0..sent.len() {
                let ack = client.wait(|packet| matches!(packet, Packet::Puback { .. }));
                if let Packet::Puback {
                    id, reason: 0x97, ..
                } = ack
                {
                    waiting.push(sent[&id]);
                }
            }
            again += waiting.len() as u32;
            if !waiting.is_empty() {
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "round {round} is refused for ever"
            );
        }
        longest = longest.max(begun.elapsed());
    }
    (again, longest)
}

#[test]
fn a_compacted_topic_stays_writable_and_keeps_the_newest_of_each_key() {
    let dir = scratch();
    let setup = Setup::on(dir.path()).config(SMALL);
    let gateway = setup.start();
    gateway.ask(&["topic", "set", "mqtt", "cleanup.policy=compact"]);
    let begun = Instant::now();
    let address = gateway.mqtt();
    let start = |writer| std::thread::spawn(move || write(address, writer));
    let writers: Vec<_> = (0..WRITERS).map(start).collect();
    let mut most_bytes = 0;
    while !writers.iter().all(JoinHandle::is_finished) {
        most_bytes = bytes_of(&dir.path().join("slices")).max(most_bytes);
        std::thread::sleep(Duration::from_millis(20));
    }
    let told: Vec<_> = writers
        .into_iter()
        .map(|writer| writer.join().unwrap())
        .collect();
    let took = begun.elapsed();
    gateway.kill9();

    let gateway = setup.start();
    let log = gateway.log("mqtt");
    let newest: BTreeMap<&str, &str> = log.iter().map(|r| (&*r.key, &*r.value)).collect();
    assert_eq!(newest.len(), WRITERS * KEYS_EACH);
    for (key, text) in newest {
        let number = key
            .rsplit('/')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a key of ours");
        assert_eq!(text, value(number, ROUNDS - 1, PAYLOAD_BYTES), "{key}");
    }
    let records = WRITERS * KEYS_EACH * ROUNDS as usize;
    let sent_bytes = (records * PAYLOAD_BYTES) as u64;
    assert!(sent_bytes > 2 * STORE_BYTES_MAX, "{sent_bytes}");
    assert!(most_bytes <= STORE_BYTES_MAX, "{most_bytes} bytes of files");
    assert!(
        log.len() < records / 3,
        "of {records} records are left: {}",
        log.len()
    );
    let status = gateway.status();
    assert_eq!(status["ledger"]["lost"], 0, "{status}");
    let again: u32 = told.iter().map(|(again, _)| again).sum();
    let longest = told
        .iter()
        .map(|(_, longest)| *longest)
        .max()
        .unwrap_or_default();
    proved(
        "fast",
        &format!(
            "compaction: {records} records of 256 keys, {} MB, through a store of {} MB in \
             {took:.1?}: {} MB of files at most, {again} told to come again, longest wait \
             {longest:.1?}, {} records left, newest of each key there after kill -9",
            sent_bytes >> 20,
            STORE_BYTES_MAX >> 20,
            most_bytes >> 20,
            log.len(),
        ),
    );
}
