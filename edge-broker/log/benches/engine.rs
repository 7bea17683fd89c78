//! What sled does with a group: one `insert` per value under ascending keys, one `apply_batch` per
//! group, or as the store puts them, between fences (`sled_disk/leaves.rs`).
//!
//! `cargo bench -p edge-log --bench engine [-- TOTAL_BYTES]`. Slices of 16 MB, values of 7 KiB,
//! `flush` and a sync of our own after each group, as the store does it; the folder is made in
//! `$EDGE_LOG_BENCH_DIR`, else under the target folder, so that it is on a real disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use edge_log::{SledSlice, Slice};

const SLICE_BYTES: usize = 16 << 20;
const VALUE_BYTES: usize = edge_log::VALUE_BYTES_MAX;

#[derive(Clone, Copy, Debug)]
enum Way {
    Insert,
    ApplyBatch,
    Fenced,
}

/// One slice, written one way.
enum Open {
    Sled(sled::Db, File),
    Store(SledSlice),
}

struct Figures {
    took: Duration,
    syncing: Duration,
    device_bytes: u64,
    file_bytes: u64,
}

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse().ok());
    let total_bytes: usize = numbers.next().unwrap_or(96 << 20);
    println!("group bytes  way         MB/s  without syncs  device bytes  file bytes (per byte)");
    for group_bytes in [500, 4_000, 16_000, 128_000, 1_000_000] {
        // Small groups: fewer bytes, since each costs a sync.
        let total_bytes = total_bytes.min(group_bytes * 3000);
        let ways = [Way::Insert, Way::ApplyBatch, Way::Fenced];
        for way in ways.into_iter().chain(ways) {
            let figures = run(way, group_bytes, total_bytes);
            let bytes = total_bytes as f64;
            let speed = |time: Duration| bytes / 1e6 / time.as_secs_f64();
            println!(
                "{group_bytes:>11}  {:<10} {:>5.0}  {:>13.0}  {:>12.2}  {:>10.2}",
                format!("{way:?}"),
                speed(figures.took),
                speed(figures.took.saturating_sub(figures.syncing)),
                figures.device_bytes as f64 / bytes,
                figures.file_bytes as f64 / bytes,
            );
        }
    }
}

fn run(way: Way, group_bytes: usize, total_bytes: usize) -> Figures {
    let parent = std::env::var("EDGE_LOG_BENCH_DIR").map(std::path::PathBuf::from);
    let parent =
        parent.unwrap_or_else(|_| std::env::current_exe().unwrap().parent().unwrap().into());
    let dir = tempfile::tempdir_in(parent).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut group = vec![0; group_bytes];
    let (mut sequence, mut written) = (0_u64, 0);
    let (mut syncing, mut file_bytes) = (Duration::ZERO, 0);
    let before = device_bytes();
    let begun = Instant::now();
    while written < total_bytes {
        let path = dir.path().join(sequence.to_string());
        let slice = open(way, &path);
        let mut in_slice = 0;
        while in_slice < SLICE_BYTES && written < total_bytes {
            rng.fill(&mut group);
            sequence += 1;
            put(way, &slice, sequence, &group);
            syncing += sync(&slice);
            in_slice += group.len();
            written += group.len();
        }
        drop(slice);
        file_bytes += path.join("db").metadata().unwrap().len();
    }
    Figures {
        took: begun.elapsed(),
        syncing,
        device_bytes: device_bytes() - before,
        file_bytes,
    }
}

fn open(way: Way, path: &Path) -> Open {
    if let Way::Fenced = way {
        return Open::Store(SledSlice::create(path, 4 << 20, b"").unwrap());
    }
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(4 << 20)
        .flush_every_ms(None);
    let db = config.open().unwrap();
    Open::Sled(db, File::open(path.join("db")).unwrap())
}

/// Makes all of it durable, and says how long the sync itself took; the store's has the flush in
/// it.
fn sync(slice: &Open) -> Duration {
    if let Open::Sled(db, _) = slice {
        db.flush().unwrap();
    }
    let start = Instant::now();
    match slice {
        Open::Sled(_, file) => file.sync_data().unwrap(),
        Open::Store(slice) => slice.sync().unwrap(),
    }
    start.elapsed()
}

fn put(way: Way, slice: &Open, sequence: u64, group: &[u8]) {
    let db = match slice {
        Open::Sled(db, _) => db,
        Open::Store(slice) => return slice.put(sequence, group).unwrap(),
    };
    let key = |part: usize| {
        let mut key = [0; 12];
        key[..8].copy_from_slice(&sequence.to_be_bytes());
        key[8..].copy_from_slice(&(part as u32).to_be_bytes());
        key
    };
    let values = group.chunks(VALUE_BYTES).enumerate();
    match way {
        Way::Insert | Way::Fenced => values.for_each(|(part, value)| {
            db.insert(key(part), value).unwrap();
        }),
        Way::ApplyBatch => {
            let mut batch = sled::Batch::default();
            values.for_each(|(part, value)| batch.insert(&key(part), value));
            db.apply_batch(batch).unwrap();
        }
    }
}

/// What the kernel counts as written by this process.
fn device_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().trim().parse().unwrap()
}
