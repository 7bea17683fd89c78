//! How fast groups become durable on this disk, and what that costs the device.
//!
//! `cargo bench -p edge-log --bench persist [-- GROUP_BYTES TOTAL_BYTES]`; the folder is made in
//! `$EDGE_LOG_BENCH_DIR`, else under the target folder, so that it is on a real disk. With
//! `$EDGE_LOG_BENCH_STORE` the store is kept there; the next run with it only opens it.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use edge_log::{
    Entry, EntryKind, FRAME_LEVEL, FrameBuilder, FrameHeader, SledDisk, Store, StoreConfig,
    TopicId, TopicPartition,
};

/// Random batches of 16 KiB for 16 partitions, up to the group's size.
fn frame(rng: &mut fastrand::Rng, round: u64, group_bytes: usize) -> Bytes {
    let header = FrameHeader {
        level: FRAME_LEVEL,
        proposer_term: 1,
        store_id: 1,
        first_intake: round,
        site_time_ms: 0,
        boot_id: 1,
        boot_ms: 0,
    };
    let mut builder = FrameBuilder::with_capacity(&header, group_bytes + 4096);
    let batches = (group_bytes / (16 << 10)).max(1);
    let mut batch = vec![0; group_bytes / batches];
    for n in 0..batches {
        rng.fill(&mut batch);
        batch[..8].copy_from_slice(&(round * 100).to_be_bytes());
        batch[23..27].copy_from_slice(&99_u32.to_be_bytes());
        let partition = TopicPartition {
            topic: TopicId::from_u128(1),
            partition: n as u32,
        };
        builder.push_batch(partition, &batch);
    }
    builder.finish()
}

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let group_bytes = numbers.first().copied().unwrap_or(128 << 10);
    let total_bytes = numbers.get(1).copied().unwrap_or(256 << 20);
    let kept = std::env::var_os("EDGE_LOG_BENCH_STORE").map(PathBuf::from);
    let parent = std::env::var("EDGE_LOG_BENCH_DIR").map(PathBuf::from);
    let parent =
        parent.unwrap_or_else(|_| std::env::current_exe().unwrap().parent().unwrap().into());
    let temporary = tempfile::tempdir_in(parent).unwrap();
    let dir = kept.unwrap_or_else(|| temporary.path().to_path_buf());
    let config = StoreConfig {
        slice_bytes: 16 << 20,
        raft_window_bytes: 64 << 20,
        bytes_max: 64 << 30,
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..StoreConfig::default()
    };
    if dir.join("identity").exists() {
        return open_only(&dir, &config);
    }
    let disk = SledDisk::open(&dir, &config).unwrap();
    let bare = disk_sync(&dir);
    let (mut store, _) = Store::open(disk, config.clone()).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let frames: Vec<Bytes> = (0..32).map(|n| frame(&mut rng, n, group_bytes)).collect();
    let (mut bytes, mut index, mut sync_us) = (0, 0, 0);
    let mut times = Vec::new();
    let begun = Instant::now();
    while bytes < total_bytes {
        let data = frames[index as usize % frames.len()].clone();
        index += 1;
        bytes += data.len();
        let entry = Entry {
            index,
            term: 1,
            kind: EntryKind::Normal,
            data,
        };
        let start = Instant::now();
        sync_us += store.persist(&[entry], None, false).unwrap().sync_us;
        times.push(start.elapsed());
        store.maintain();
    }
    let took = begun.elapsed();
    let usage = store.usage();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1000];
    let mb = bytes as f64 / 1e6;
    println!(
        "{} groups of {group_bytes} bytes, bare fdatasync {:?}",
        times.len(),
        bare
    );
    println!(
        "{:.0} MB/s, without the sync {:.0} MB/s",
        mb / took.as_secs_f64(),
        mb / took
            .saturating_sub(Duration::from_micros(sync_us))
            .as_secs_f64()
    );
    println!(
        "persist p50 {:?} p99 {:?} p999 {:?} max {:?}",
        at(500),
        at(990),
        at(999),
        at(1000)
    );
    println!("sync {:?}", usage.sync_times);
    println!(
        "device bytes per payload byte {:.2}, file bytes {:.2}",
        usage.device_bytes_written as f64 / bytes as f64,
        usage.bytes_used as f64 / bytes as f64
    );
    println!("resident {} KB", resident_kb());
    let reader = store.reader();
    let start = Instant::now();
    let mut read = 0;
    let mut at = 1;
    while at <= index {
        let some = reader.entries(at, index + 1, 1 << 20).unwrap();
        at += some.len() as u64;
        read += some.iter().map(|entry| entry.data.len()).sum::<usize>();
    }
    println!(
        "read back {:.0} MB/s",
        read as f64 / 1e6 / start.elapsed().as_secs_f64()
    );
    drop(reader);
    drop(store);
    open_only(&dir, &config);
}

fn open_only(dir: &Path, config: &StoreConfig) {
    let start = Instant::now();
    let disk = SledDisk::open(dir, config).unwrap();
    let (store, recovery) = Store::open(disk, config.clone()).unwrap();
    let (took, usage) = (start.elapsed(), store.usage());
    println!(
        "opened {} MB in {took:?}, {} slices, clean {}, lost {:?}",
        usage.bytes_used >> 20,
        recovery.slices,
        recovery.clean,
        recovery.lost
    );
    println!(
        "device bytes {}, resident {} KB",
        usage.device_bytes_written,
        resident_kb()
    );
}

fn disk_sync(dir: &Path) -> Duration {
    use std::io::Write;
    let mut file = std::fs::File::create(dir.join("bare")).unwrap();
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            file.write_all(&[7; 4096]).unwrap();
            let start = Instant::now();
            file.sync_data().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    std::fs::remove_file(dir.join("bare")).unwrap();
    times[25]
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
