//! What reading one old record costs.
//!
//! A file of its own, because it looks at what its whole process reads.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use edge_log::{Recovery, SledDisk, Store, StoreConfig};
use support::{one_batch, partition};

const SLICE_BYTES: u64 = 2 << 20;
const BATCH_BYTES: usize = 4000;
const BATCHES: u64 = 3000;

fn config() -> StoreConfig {
    StoreConfig {
        slice_bytes: SLICE_BYTES,
        ..support::small()
    }
}

fn open(dir: &Path) -> (Store<SledDisk>, Recovery) {
    Store::open(SledDisk::open(dir, &config()).unwrap(), config()).unwrap()
}

/// Several sealed slices of one batch each frame, at offset `index - 1`.
fn fill(dir: &Path) {
    let (mut store, _) = open(dir);
    for first in (1..=BATCHES).step_by(10) {
        let batch = |index| one_batch(index, index as i64 - 1, 1, BATCH_BYTES);
        let entries: Vec<_> = (first..first + 10).map(batch).collect();
        store.persist(&entries, None, false).unwrap();
        store.maintain();
    }
    let begun = Instant::now();
    while store
        .usage()
        .slices
        .iter()
        .rev()
        .skip(1)
        .any(|slice| !slice.sealed)
    {
        assert!(begun.elapsed() < Duration::from_secs(30));
        store.maintain();
        std::thread::sleep(Duration::from_millis(2));
    }
    store.close();
}

/// What the process reads is counted as a whole.
static ALONE: Mutex<()> = Mutex::new(());

fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.unwrap().parse().unwrap()
}

/// Bytes read to get the records at some offsets, one after the other.
fn cost(store: &Store<SledDisk>, offsets: &[i64]) -> u64 {
    let before = bytes_read();
    for offset in offsets {
        let found = store.reader().read(partition(0), *offset, 1).unwrap();
        assert_eq!(found[0].base_offset(), *offset);
        assert_eq!(found[0].bytes().len(), 61 + BATCH_BYTES);
    }
    bytes_read() - before
}

/// A review found that one record of 4 kB in an old slice cost the 32 MB of its file, and again
/// after four other slices.
#[test]
fn one_old_record_costs_its_index_and_itself() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let (store, _) = open(dir.path());
    let slices = store.usage().slices;
    assert!(slices.len() > 5, "{}", slices.len());
    let each: Vec<i64> = slices
        .iter()
        .map(|slice| slice.first_index as i64 + 20)
        .collect();
    for offset in each.iter().chain(&each) {
        let bytes = cost(&store, &[*offset]);
        assert!(
            bytes < SLICE_BYTES / 20,
            "offset {offset} cost {bytes} bytes"
        );
    }
}

/// The places in an index are hints; a file that was moved about inside is looked through once.
#[test]
fn a_record_that_is_not_where_the_index_says_is_looked_for() {
    let _alone = ALONE.lock();
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let (store, _) = open(dir.path());
    let slice = store.usage().slices[1].clone();
    let db = dir.path().join(format!("slices/{}/db", slice.number));
    let bytes = fs::read(&db).unwrap();
    let moved = [vec![7; 300], bytes].concat();
    fs::write(&db, &moved).unwrap();
    let all: Vec<i64> = (slice.first_index as i64 - 1..slice.last_index as i64).collect();
    let cost = cost(&store, &all);
    let once = moved.len() as u64 + 4 * (all.len() * BATCH_BYTES) as u64;
    assert!(cost < once, "{cost} bytes read, {once} at most");
}
