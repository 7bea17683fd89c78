//! How many records a second go through `Site::append` to the disk, and how long a ticket takes.
//!
//! ```text
//! cargo run --release -p edge-site --example append_rate [SECONDS] [TASKS] [RECORDS] [BYTES] [DIR]
//! ```
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_site::{AckLevel, AppendRequest, Header, Record, Site, SiteConfig};

fn main() {
    let arg = |n: usize, default: usize| {
        std::env::args()
            .nth(n)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (seconds, tasks, records, bytes) = (arg(1, 5), arg(2, 20), arg(3, 64), arg(4, 256));
    let temporary = std::env::temp_dir().join(format!("append-rate-{}", std::process::id()));
    let dir = std::env::args()
        .nth(5)
        .map_or(temporary.clone(), Into::into);
    let (site, report) = Site::open(&dir, SiteConfig::default()).unwrap();
    println!(
        "opened in {} ms, {} frames replayed",
        report.opened_in_ms, report.frames_replayed
    );
    smol::block_on(async {
        let tp = site.ensure_topic("mqtt").await.unwrap().partition(0);
        let done = Arc::new(AtomicBool::new(false));
        let begun = Instant::now();
        let running: Vec<_> = (0..tasks)
            .map(|task| {
                let (site, done) = (site.clone(), done.clone());
                let value = Bytes::from(payload(task as u64, bytes));
                let topic = Bytes::from(format!("plant/press{task}/temp"));
                smol::spawn(async move {
                    let (mut count, mut waits) = (0, Vec::new());
                    while !done.load(Ordering::Relaxed) {
                        let header = Header {
                            key: Bytes::from_static(b"mqtt.topic"),
                            value: Some(topic.clone()),
                        };
                        let record = Record {
                            timestamp_ms: 1_800_000_000_000,
                            key: Some(topic.clone()),
                            value: Some(value.clone()),
                            headers: vec![header],
                        };
                        let items = (0..records).map(|_| (tp, record.clone())).collect();
                        let request = AppendRequest::records(items, AckLevel::Disk);
                        let asked = Instant::now();
                        site.append(request).await.unwrap().await.unwrap();
                        waits.push(asked.elapsed());
                        count += records;
                    }
                    (count, waits)
                })
            })
            .collect();
        smol::Timer::after(Duration::from_secs(seconds as u64)).await;
        done.store(true, Ordering::Relaxed);
        let (mut count, mut waits) = (0, Vec::new());
        for task in running {
            let (records, more) = task.await;
            count += records;
            waits.extend(more);
        }
        let elapsed = begun.elapsed();
        waits.sort_unstable();
        let status = site.status().await;
        println!(
            "{:.0} records/s, ticket p50 {:?} p99 {:?}, {} commits, persist p50 {} us p99 {} us, \
             {:.2} device bytes per frame byte",
            count as f64 / elapsed.as_secs_f64(),
            waits[waits.len() / 2],
            waits[waits.len() * 99 / 100],
            status.sync.commits,
            status.sync.persist_us_p50,
            status.sync.persist_us_p99,
            status.wear.bytes_written as f64 / status.wear.bytes_payload.max(1) as f64,
        );
        site.stop().await;
    });
    let _ = std::fs::remove_dir_all(temporary);
}

/// Not compressible, like random payloads.
fn payload(seed: u64, bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    (0..bytes).map(|_| rng.u8(..)).collect()
}
