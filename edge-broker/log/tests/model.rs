//! A store on the twin disk against a model: what was durable is there, what was voided stays
//! void, nothing is invented. Thousands of seeds of appends, overwrites, failing syncs, crashes
//! between any two operations and power cuts.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::MemDisk;
use edge_log::{Checkpoint, Entry, HardState, Reader, Recovery, Store, StoreConfig};
use support::{batch, entry, frame, partition, small};

const SEEDS: u64 = 2000;

/// Each found a mistake once.
const OLD_SEEDS: [u64; 2] = [260, 10_650];

/// Runs other seeds: a number to begin with, and how many.
fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("EDGE_LOG_SEED").unwrap_or(0);
    first..first + number("EDGE_LOG_SEEDS").unwrap_or(SEEDS)
}

/// What a correct store may hold: the log that was answered for, or the same with a beginning of
/// what was asked for last.
struct Model {
    log: Vec<Entry>,
    attempt: Vec<Entry>,
    hard_state: HardState,
    attempted_hard_state: HardState,
    checkpoint: u64,
}

impl Model {
    fn new() -> Model {
        Model {
            log: Vec::new(),
            attempt: Vec::new(),
            hard_state: HardState::default(),
            attempted_hard_state: HardState::default(),
            checkpoint: 0,
        }
    }

    fn with(&self, count: usize) -> Vec<Entry> {
        let mut log = self.log.clone();
        if let Some(first) = self.attempt[..count].first() {
            log.truncate(first.index as usize - 1);
            log.extend_from_slice(&self.attempt[..count]);
        }
        log
    }

    fn check(&mut self, seed: u64, found: &[Entry], recovery: &Recovery) {
        let first = recovery.first_index as usize - 1;
        let found_from = |log: &[Entry]| log.get(first..) == Some(found);
        let matching = (0..=self.attempt.len()).find(|count| found_from(&self.with(*count)));
        let Some(count) = matching else {
            panic!(
                "seed {seed}: found {:?}, log {:?}, attempt {:?}",
                indexes(found),
                indexes(&self.log),
                indexes(&self.attempt)
            );
        };
        self.log = self.with(count);
        self.attempt.clear();
        assert!(recovery.lost.is_empty(), "seed {seed}: {:?}", recovery.lost);
        assert_eq!(recovery.previous_store_id, None, "seed {seed}");
        let term = recovery.hard_state.term;
        let known = self.hard_state.term..=self.attempted_hard_state.term;
        assert!(
            known.contains(&term),
            "seed {seed}: term {term} of {known:?}"
        );
        assert!(
            recovery.hard_state.commit <= recovery.last_index,
            "seed {seed}"
        );
        self.hard_state = recovery.hard_state;
        self.attempted_hard_state = recovery.hard_state;
    }
}

/// The last entries, to tell what is wrong.
fn indexes(entries: &[Entry]) -> Vec<(u64, u64)> {
    entries[entries.len().saturating_sub(12)..]
        .iter()
        .map(|entry| (entry.index, entry.term))
        .collect()
}

fn config(rng: &mut fastrand::Rng) -> StoreConfig {
    StoreConfig {
        slice_bytes: *rng.choice([2_000, 20_000, 200_000].iter()).unwrap(),
        raft_window_bytes: *rng.choice([1, 128 << 10].iter()).unwrap(),
        bytes_max: *rng.choice([1_000_000, 1 << 30].iter()).unwrap(),
        ..small()
    }
}

fn read_all(reader: &Reader<MemDisk>, recovery: &Recovery) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut at = recovery.first_index;
    while at <= recovery.last_index {
        let some = reader.entries(at, recovery.last_index + 1, 10_000).unwrap();
        at += some.len() as u64;
        found.extend(some);
    }
    found
}

/// Up to a few entries that follow or overwrite the end of the log.
fn propose(rng: &mut fastrand::Rng, model: &Model, term: u64) -> Vec<Entry> {
    let last = model.log.len() as u64;
    let lowest = (model.checkpoint + 1).max(last.saturating_sub(6));
    let first = if rng.u8(..4) == 0 {
        rng.u64(lowest..=last + 1)
    } else {
        last + 1
    };
    let count = rng.u64(1..6);
    (first..first + count)
        .map(|index| {
            let len = *rng
                .choice([0_usize, 10, 600, 7_000, 8_000, 30_000].iter())
                .unwrap();
            let payload: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
            let data = match len {
                0 => Bytes::new(),
                _ => frame(term, &[(partition(0), batch(index as i64, 1, 0, &payload))]),
            };
            entry(index, term, data)
        })
        .collect()
}

fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut disk = MemDisk::new(seed);
    let config = config(&mut rng);
    let mut model = Model::new();
    let mut term = 1;
    for _life in 0..rng.u32(2..6) {
        if rng.bool() {
            disk.crash_after(rng.u64(..200));
        }
        if let Ok((mut store, recovery)) = Store::open(disk.clone(), config.clone()) {
            if disk.is_crashed() {
                // Down in the middle of opening.
            } else {
                let found = read_all(&store.reader(), &recovery);
                model.check(seed, &found, &recovery);
                term = term.max(recovery.hard_state.term) + 1;
                live(&mut rng, &mut store, &disk, &mut model, term);
            }
            if !disk.is_crashed() && rng.u8(..4) == 0 {
                store.close();
            }
        } else {
            assert!(disk.is_crashed(), "seed {seed}: refused to open");
        }
        disk = if rng.u8(..4) == 0 {
            disk.restarted()
        } else {
            disk.power_cut()
        };
    }
    let (store, recovery) = Store::open(disk, config).unwrap();
    model.check(seed, &read_all(&store.reader(), &recovery), &recovery);
}

fn live(
    rng: &mut fastrand::Rng,
    store: &mut Store<MemDisk>,
    disk: &MemDisk,
    model: &mut Model,
    term: u64,
) {
    for _ in 0..rng.u32(1..30) {
        disk.advance_ms(rng.u64(..700));
        match rng.u8(..10) {
            0 => drop(store.maintain()),
            1 => disk.fail_sync_nth(rng.u64(1..3)),
            3 => {
                // Retention moves on: slices below go, and may come back by a power cut.
                let start = rng.u64(..=model.log.len() as u64) as i64;
                store.set_starts(&BTreeMap::from([(partition(0), start)]));
                (0..4).for_each(|_| drop(store.maintain()));
            }
            2 if !model.log.is_empty() => {
                let index = rng.u64(model.checkpoint.max(1)..=model.log.len() as u64);
                let term = model.log[index as usize - 1].term;
                let data = Bytes::from_static(b"state");
                // What is in a checkpoint is committed and never overwritten, saved or not.
                model.checkpoint = index;
                let checkpoint = Checkpoint { index, term, data };
                if rng.bool() {
                    let _ = store.save_checkpoint(&checkpoint);
                } else {
                    store.save_checkpoint_later(checkpoint);
                }
            }
            _ => {
                let entries = propose(rng, model, term);
                let must_sync = rng.u8(..4) == 0;
                let hard_state = HardState {
                    term,
                    vote: 1,
                    commit: rng.u64(..=model.log.len() as u64),
                };
                model.attempt = entries.clone();
                model.attempted_hard_state = hard_state;
                if store
                    .persist(&entries, Some(hard_state), must_sync)
                    .is_err()
                {
                    // The caller would repeat it; here the next life shows what came of it.
                    if disk.is_crashed() || rng.bool() {
                        return;
                    }
                    if store
                        .persist(&entries, Some(hard_state), must_sync)
                        .is_err()
                    {
                        return;
                    }
                }
                model.log = model.with(entries.len());
                model.attempt.clear();
                if must_sync {
                    model.hard_state = hard_state;
                }
            }
        }
        if disk.is_crashed() {
            return;
        }
    }
}

#[test]
fn what_was_durable_is_there_and_nothing_else() {
    for seed in OLD_SEEDS.into_iter().chain(seeds()) {
        run(seed);
    }
    println!(
        "proved sim: {} seeds of one store on a disk that fails",
        seeds().count()
    );
}

#[test]
fn a_slice_tells_of_no_entry_that_was_overwritten_in_it() {
    let disk = MemDisk::new(1);
    let (mut store, _) = Store::open(disk, small()).unwrap();
    for offset in [10, 5, 6] {
        let index = if offset == 6 { 2 } else { 1 };
        let entry = support::one_batch(index, offset, 1, 100);
        store.persist(&[entry], None, false).unwrap();
    }
    let spans = &store.usage().slices[0].partitions;
    assert_eq!((spans[0].first_offset, spans[0].next_offset), (5, 7));
}
