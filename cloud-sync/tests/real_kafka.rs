//! Forwarding to a real Kafka, with figures. Needs a broker; ignored unless asked for:
//!
//! ```text
//! KAFKA=127.0.0.1:19092 cargo test --release -p cloud-sync --test real_kafka -- \
//!     --ignored --nocapture
//! ```
//!
//! `RECORDS`, `PARTITIONS`, `BATCH` (records per stored batch) and `VALUE_BYTES` set the load.
//! `RELAY=listen,target,ms` puts a relay with that round trip between (the broker must advertise
//! its address). With `DIR` the store is kept there: run once with `FILL=only`, then with
//! `FILL=no`, to see the memory of draining alone.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod relay;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cloud_sync::{
    CentralConfig, CloudSync, Mechanism, OnRejected, SaslConfig, TlsConfig, TopicState,
};
use edge_site::{AckLevel, AppendRequest, Compression, Record, RecordBatch, Site, SiteConfig};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn kafka() -> String {
    std::env::var("KAFKA").expect("KAFKA=host:port of a broker")
}

/// Letters like those of Kafka's own producer-perf-test.
fn value(random: &mut fastrand::Rng, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| random.u8(b'A'..=b'Z')).collect()
}

/// Resident memory of this process now and at its peak.
fn memory_mb() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok())
            .unwrap_or(0)
            / 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Log lines on standard output, with milliseconds since start.
struct Lines(Instant);

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("cloud_sync")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            println!(
                "{:8} ms {} {}",
                self.0.elapsed().as_millis(),
                record.level(),
                record.args()
            );
        }
    }

    fn flush(&self) {}
}

fn show_log() {
    let _ = log::set_logger(Box::leak(Box::new(Lines(Instant::now()))));
    log::set_max_level(log::LevelFilter::Debug);
}

async fn fill(site: &Site, topic: &str, partitions: u32) -> u64 {
    let (records, per_batch) = (number("RECORDS", 1_000_000), number("BATCH", 500));
    let bytes = number("VALUE_BYTES", 200);
    let topic = site
        .create_topic(topic, Some(partitions), &BTreeMap::new())
        .await
        .unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut tickets = Vec::new();
    let mut done = 0;
    let mut turn = 0;
    while done < records {
        let mut batches: Vec<(_, RecordBatch)> = Vec::new();
        while done < records && batches.len() * per_batch < 2000 {
            let mut builder = kafka_wire::BatchBuilder::new(Compression::Lz4);
            for _ in 0..per_batch.min(records - done) {
                builder.push(&Record {
                    timestamp_ms: 1_795_000_000_000,
                    key: None,
                    value: Some(value(&mut random, bytes).into()),
                    headers: Vec::new(),
                });
            }
            done += builder.len();
            turn += 1;
            batches.push((topic.partition(turn % partitions), builder.build(0, 0)));
        }
        let request = AppendRequest::batches(batches, AckLevel::Disk);
        tickets.push(site.append(request).await.unwrap());
        if tickets.len() > 64 {
            tickets.remove(0).await.unwrap();
        }
    }
    for ticket in tickets {
        ticket.await.unwrap();
    }
    records as u64
}

async fn drained(sync: &CloudSync, records: u64, limit: Duration) -> Duration {
    let begin = Instant::now();
    loop {
        let status = sync.status();
        if status.records_forwarded >= records {
            return begin.elapsed();
        }
        assert!(begin.elapsed() < limit, "{status:#?}");
        smol::Timer::after(Duration::from_millis(20)).await;
    }
}

/// Reads everything once, as forwarding does, and throws it away.
async fn read_all(site: &Site) {
    for topic in site.status().await.topics {
        for (partition, marks) in topic.partitions.iter().enumerate() {
            let tp = topic.topic.partition(partition as u32);
            let mut from = marks.start;
            while from < marks.committed_end {
                let batches = site.read(tp, from, 1 << 20).await.unwrap();
                from = batches.last().unwrap().next_offset();
            }
        }
    }
}

/// How many records wait in all topics of an opened store.
async fn waiting(site: &Site) -> u64 {
    let status = site.status().await;
    let marks = status
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter());
    marks
        .map(|m| (m.committed_end - m.forwarded.unwrap_or(m.start).max(m.start)) as u64)
        .sum()
}

#[test]
#[ignore = "needs a real Kafka: KAFKA=host:port"]
fn a_backlog_drains_to_a_real_kafka() {
    show_log();
    let scratch = tempfile::tempdir().unwrap();
    let dir = std::env::var("DIR").map_or(scratch.path().to_owned(), Into::into);
    let fill_only = std::env::var("FILL").is_ok_and(|text| text == "only");
    let fill_none = std::env::var("FILL").is_ok_and(|text| text == "no");
    smol::block_on(async {
        let (site, _) = Site::open(&dir, SiteConfig::default()).unwrap();
        let partitions = number("PARTITIONS", 1) as u32;
        let topic = format!("drain-{}-{}", std::process::id(), fastrand::u32(..));
        let begin = Instant::now();
        let records = match fill_none {
            true => waiting(&site).await,
            false => fill(&site, &topic, partitions).await,
        };
        println!(
            "stored {records} records in {:.1} s",
            begin.elapsed().as_secs_f64()
        );
        println!("memory before: {:?} MB", memory_mb());
        if fill_only {
            return site.stop().await;
        }
        if std::env::var("READ").is_ok() {
            read_all(&site).await;
            println!(
                "memory after reading alone, now and peak: {:?} MB",
                memory_mb()
            );
            return site.stop().await;
        }
        if let Ok(relay) = std::env::var("RELAY") {
            let [listen, target, ms] = relay.split(',').collect::<Vec<_>>()[..] else {
                panic!()
            };
            let round_trip = Duration::from_millis(ms.parse().unwrap());
            relay::run(listen, target.to_owned(), round_trip).await;
        }
        let config = CentralConfig {
            bootstrap: vec![kafka()],
            drain_jitter_s: 0,
            ..CentralConfig::default()
        };
        let sync = cloud_sync::start(config, site.clone());
        let took = drained(&sync, records, Duration::from_secs(600)).await;
        let status = sync.status();
        let rate = records as f64 / took.as_secs_f64();
        println!(
            "drained {records} records to {topic} in {:.2} s: {rate:.0} records/s, {} requests, \
             {:.1} MB sent, memory now and peak {:?} MB",
            took.as_secs_f64(),
            status.requests,
            status.link.sent_bytes as f64 / 1e6,
            memory_mb(),
        );
        sync.stop().await;
        site.stop().await;
    });
}

/// A configuration for a cluster that asks for TLS and a login; see `SASL`.
fn guarded(dir: &std::path::Path, mechanism: Mechanism) -> CentralConfig {
    use std::os::unix::fs::PermissionsExt;
    let password = dir.join("password");
    std::fs::write(&password, "secret").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    CentralConfig {
        bootstrap: vec![std::env::var("SASL").expect("SASL=host:port")],
        tls: TlsConfig {
            enabled: true,
            ca_file: std::env::var("CA").expect("CA=file"),
            ..TlsConfig::default()
        },
        sasl: SaslConfig {
            mechanism,
            user: "edge".into(),
            password_file: password.to_str().unwrap().into(),
        },
        drain_jitter_s: 0,
        on_rejected: OnRejected::Park,
        ..CentralConfig::default()
    }
}

/// Fifty topics, `t17` may not be created, `t23` takes 100 bytes a batch: both wait, 48 finish;
/// then `GRANT` is run by a shell, and they arrive too.
#[test]
#[ignore = "needs a real Kafka with an authorizer: SASL=host:port CA=file GRANT=command"]
fn two_refused_topics_hold_up_none_of_the_other_48() {
    let dir = tempfile::tempdir().unwrap();
    smol::block_on(async {
        let (site, _) = Site::open(&dir.path().join("store"), SiteConfig::default()).unwrap();
        for n in 0..50 {
            let name = format!("t{n}");
            let topic = site
                .create_topic(&name, Some(2), &BTreeMap::new())
                .await
                .unwrap();
            let mut random = fastrand::Rng::with_seed(n);
            let mut record = |i: u32| {
                let noise = String::from_utf8(value(&mut random, 80)).unwrap();
                Record {
                    timestamp_ms: 1_795_000_000_000,
                    key: Some(format!("k{}", i % 7).into()),
                    value: Some(format!("{name} {i:06} {noise}").into()),
                    headers: Vec::new(),
                }
            };
            for start in [0, 100, 200, 300] {
                let items = (start..start + 100).map(|i| (topic.partition(i % 2), record(i)));
                let request = AppendRequest::records(items.collect(), AckLevel::Disk);
                site.append(request).await.unwrap().await.unwrap();
            }
        }
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
            let sync = cloud_sync::start(guarded(dir.path(), mechanism), site.clone());
            smol::Timer::after(Duration::from_secs(1)).await;
            assert!(
                sync.status().reachable,
                "{mechanism}: {:?}",
                sync.status().failure
            );
            sync.stop().await;
            // Marks are stored once a second; the next one begins at them.
            smol::Timer::after(Duration::from_millis(1500)).await;
        }
        let config = guarded(dir.path(), Mechanism::ScramSha512);
        let sync = cloud_sync::start(config, site.clone());
        smol::Timer::after(Duration::from_millis(500)).await;
        let begin = Instant::now();
        let parked = |sync: &CloudSync| {
            let topics = sync.status().topics;
            assert_eq!(topics.len(), 50);
            let open = topics.iter().filter(|topic| topic.waiting_records > 0);
            open.map(|t| (t.topic.clone(), t.state, t.reason.clone()))
                .collect::<Vec<_>>()
        };
        let settled = |list: &[(String, TopicState, Option<String>)]| {
            list.len() == 2
                && list
                    .iter()
                    .all(|(_, state, _)| *state == TopicState::Parked)
        };
        while !settled(&parked(&sync)) && begin.elapsed() < Duration::from_secs(60) {
            smol::Timer::after(Duration::from_millis(100)).await;
        }
        println!(
            "after {:.1} s: {:#?}",
            begin.elapsed().as_secs_f64(),
            parked(&sync)
        );
        let names: Vec<_> = parked(&sync).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["t17", "t23"]);
        let grant = std::env::var("GRANT").expect("GRANT=command");
        assert!(
            std::process::Command::new("sh")
                .args(["-c", &grant])
                .status()
                .unwrap()
                .success()
        );
        assert!(sync.retry("t17").await && sync.retry("t23").await && !sync.retry("no").await);
        let begin = Instant::now();
        while !parked(&sync).is_empty() {
            assert!(
                begin.elapsed() < Duration::from_secs(30),
                "{:?}",
                parked(&sync)
            );
            smol::Timer::after(Duration::from_millis(100)).await;
        }
        println!(
            "repaired topics arrived {:.1} s after retry",
            begin.elapsed().as_secs_f64()
        );
        sync.stop().await;
        site.stop().await;
    });
}
