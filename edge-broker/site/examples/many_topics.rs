//! What many topics over many slices cost where acknowledgements pass: each second the store's
//! figures, retention, upkeep, and a status.
//!
//! ```text
//! cargo run --release -p edge-site --example many_topics [TOPICS] [SLICES]
//! ```
//! The disk is in memory and syncs at once, so what is seen is all our own.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_log::Store;
use edge_log::sim::MemDisk;
use edge_site::retention::{Situation, plan};
use edge_site::state::State;
use edge_site::{
    AckLevel, AppendRequest, Compression, Moment, Record, Site, SiteConfig, StoreConfig,
    TopicPartition, WhenFull,
};

const NOW_MS: i64 = 1_800_000_000_000;

fn main() {
    let arg = |n: usize, default: usize| {
        let text = std::env::args().nth(n);
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (topics, slices) = (arg(1, 1000), arg(2, 512));
    let disk = MemDisk::new(1);
    let used = fill(&disk, topics, slices);
    for (what, bytes_max) in [
        ("a store half full", 2 * used),
        ("at 85 %", used * 100 / 85),
    ] {
        println!("{what}, {topics} topics in {slices} slices");
        appends(&disk.restarted(), bytes_max);
        pieces(&disk.restarted(), bytes_max);
    }
}

fn config(bytes_max: u64) -> SiteConfig {
    let store = StoreConfig {
        slice_bytes: 64 << 10,
        raft_window_bytes: 64 << 10,
        bytes_max,
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..StoreConfig::default()
    };
    SiteConfig {
        store,
        wear_gb_per_day: 0.0,
        compression: Compression::None,
        topics_count_max: 100_000,
        ..SiteConfig::default()
    }
}

fn record() -> Record {
    Record {
        timestamp_ms: NOW_MS,
        key: None,
        value: Some(Bytes::from_static(b"21.5")),
        headers: Vec::new(),
    }
}

/// One record of every topic in every slice; what the store takes then.
fn fill(disk: &MemDisk, topics: usize, slices: usize) -> u64 {
    let (site, _) = Site::open_on(disk.clone(), config(1 << 40)).unwrap();
    smol::block_on(async {
        let mut partitions: Vec<TopicPartition> = Vec::new();
        for number in 0..topics {
            let topic = site.ensure_topic(&format!("topic-{number}")).await.unwrap();
            partitions.push(topic.partition(0));
        }
        for _ in 0..slices {
            let items = partitions.iter().map(|tp| (*tp, record())).collect();
            let request = AppendRequest::records(items, AckLevel::Disk);
            site.append(request).await.unwrap().await.unwrap();
        }
        smol::Timer::after(Duration::from_secs(2)).await;
        let status = site.status().await;
        println!("filled: {} slices", status.storage.slices);
        site.stop().await;
        status.storage.bytes_used
    })
}

/// Appends one after the other, for as long as a few reports.
fn appends(disk: &MemDisk, bytes_max: u64) {
    let (site, _) = Site::open_on(disk.clone(), config(bytes_max)).unwrap();
    smol::block_on(async {
        let tp = site.ensure_topic("topic-0").await.unwrap().partition(0);
        let mut waits = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            let request = AppendRequest::records(vec![(tp, record())], AckLevel::Disk);
            let asked = Instant::now();
            site.append(request).await.unwrap().await.unwrap();
            waits.push(asked.elapsed());
            smol::Timer::after(Duration::from_millis(1)).await;
        }
        waits.sort_unstable();
        let at = |permille: usize| waits[(waits.len() - 1) * permille / 1000];
        println!(
            "  ack      p50 {:?}  p99 {:?}  p999 {:?}  max {:?}",
            at(500),
            at(990),
            at(999),
            at(1000)
        );
        let asked = Instant::now();
        site.status().await;
        println!("  status   {:?}", asked.elapsed());
        site.stop().await;
    });
}

/// The pieces, each by itself.
fn pieces(disk: &MemDisk, bytes_max: u64) {
    let (mut store, recovery) = Store::open(disk.clone(), config(bytes_max).store).unwrap();
    let state = State::decode(&recovery.checkpoint.unwrap().data).unwrap();
    store.set_starts(&state.starts());
    for _ in 0..10 {
        store.maintain();
    }
    timed("usage", || store.usage());
    let usage = store.usage();
    for (what, wanted_bytes) in [("plan", 0), ("plan, full", 1 << 40)] {
        timed(what, || {
            plan(&Situation {
                state: &state,
                usage: &usage,
                now: Moment {
                    store_id: 1,
                    boot_id: 1,
                    boot_ms: 1,
                },
                when_full: WhenFull::DropOldest,
                forwarding: true,
                wanted_bytes,
            })
        });
    }
    timed("maintain", || store.maintain());
}

fn timed<T>(what: &str, mut run: impl FnMut() -> T) {
    const TIMES: u32 = 10;
    let begun = Instant::now();
    for _ in 0..TIMES {
        std::hint::black_box(run());
    }
    println!("  {what:<8} {:?}", begun.elapsed() / TIMES);
}
