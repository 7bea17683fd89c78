//! A store on the twin disk against a model: what was durable is there, what was voided stays
//! void, nothing is invented. Thousands of seeds of appends, overwrites, failing syncs, crashes
//! between any two operations and power cuts. Once the disk works again, so does all upkeep.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::{Faults, MemDisk};
use edge_log::{Checkpoint, Disk, Entry, HardState, Reader, Recovery, Store, StoreConfig};
use support::{batch, entry, frame, partition, small};

const SEEDS: u64 = 2000;

/// Each found a mistake once.
const OLD_SEEDS: [u64; 6] = [260, 639, 8984, 10_650, 108_693, 204_012];

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
    /// Attempts that a start did not show, on a disk that failed its syncs: what gave them up may
    /// not be durable, so until the next write that is they may come back.
    unshown: Vec<Entry>,
    hard_state: HardState,
    attempted_hard_state: HardState,
    checkpoint: u64,
}

impl Model {
    fn new() -> Model {
        Model {
            log: Vec::new(),
            attempt: Vec::new(),
            unshown: Vec::new(),
            hard_state: HardState::default(),
            attempted_hard_state: HardState::default(),
            checkpoint: 0,
        }
    }

    /// The log after so many of the attempted writes.
    fn with(&self, count: usize) -> Vec<Entry> {
        self.after(&self.attempt[..count])
    }

    fn after(&self, writes: &[Entry]) -> Vec<Entry> {
        let mut log = self.log.clone();
        for entry in writes {
            log.truncate(entry.index as usize - 1);
            log.push(entry.clone());
        }
        log
    }

    /// The log with all that was attempted.
    fn end(&self) -> Vec<Entry> {
        self.with(self.attempt.len())
    }

    /// What was attempted is durable.
    fn settle(&mut self) {
        self.log = self.end();
        self.attempt.clear();
        self.unshown.clear();
    }

    fn check(&mut self, seed: u64, found: &[Entry], recovery: &Recovery, synced: bool) {
        let first = recovery.first_index as usize - 1;
        let found_from = |log: &[Entry]| log.get(first..) == Some(found);
        // The most writes: while the end is not proven, less of them may be found the next time.
        let mut counts = (0..=self.attempt.len()).rev();
        let mut matching = counts.find(|count| found_from(&self.with(*count)));
        if matching.is_none() {
            let mut counts = (0..=self.unshown.len()).rev();
            matching = counts.find(|count| found_from(&self.after(&self.unshown[..*count])));
            self.attempt.clone_from(&self.unshown);
        }
        let Some(count) = matching else {
            panic!(
                "seed {seed}: found {:?}, log {:?}, attempt {:?}",
                indexes(found),
                indexes(&self.log),
                indexes(&self.attempt)
            );
        };
        if !synced {
            self.unshown.extend(self.attempt.iter().cloned());
        }
        let unshown = std::mem::take(&mut self.unshown);
        self.attempt.truncate(count);
        // Found, and perhaps never synced: until the next append nobody may rely on it.
        if recovery.proven_index == recovery.last_index {
            self.settle();
        }
        if !synced {
            self.unshown = unshown;
        }
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
    let last = model.end().len() as u64;
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

/// Syncs work again: within the longest pause all upkeep has been done.
fn settle(store: &mut Store<MemDisk>, disk: &MemDisk, model: &mut Model, seed: u64) {
    disk.set_faults(Faults::default());
    disk.fail_syncs(0);
    disk.fail_sync_nth(0);
    disk.crash_after(u64::MAX);
    let index = model.log.len() as u64;
    let may_die = index > 0 && model.attempt.is_empty();
    if may_die {
        // All of it is dead from here on.
        let term = model.log[index as usize - 1].term;
        let data = Bytes::from_static(b"state");
        let checkpoint = Checkpoint { index, term, data };
        store.save_checkpoint(&checkpoint).unwrap();
        store.set_starts(&BTreeMap::new());
        model.checkpoint = index;
    }
    for _ in 0..400 {
        disk.advance_ms(500);
        let done = store.maintain();
        assert!(done.lost.is_empty(), "seed {seed}: {:?}", done.lost);
    }
    let slices = store.usage().slices;
    let closed = slices.iter().rev().skip(1).all(|slice| slice.sealed);
    let trusted = slices.iter().all(|slice| !slice.poisoned);
    assert!(closed && trusted, "seed {seed}: {slices:#?}");
    let kept = slices.iter().all(|slice| !slice.droppable);
    assert!(kept || !may_die, "seed {seed}: {slices:#?}");
    let known: Vec<u64> = slices.iter().map(|slice| slice.number).collect();
    let mut unknown = disk.slices();
    unknown.retain(|number| !known.contains(number));
    // The next one, created ahead.
    assert!(
        unknown.len() <= 1,
        "seed {seed}: {unknown:?} beside {known:?}"
    );
}

/// Damages the newest checkpoint file or the one before it; false when there is none.
fn damage_checkpoint(disk: &MemDisk, skip: bool) -> bool {
    let mut names = disk.list_files("checkpoint").unwrap();
    names.sort_unstable();
    let mut newest = names.iter().rev();
    let skipped = usize::from(skip && names.len() > 1);
    let name = newest.nth(skipped);
    name.is_some_and(|name| disk.damage_file(name, true))
}

fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut disk = MemDisk::new(seed);
    // Another one, so that old seeds keep their stories.
    let mut moments = fastrand::Rng::with_seed(!seed);
    let config = config(&mut rng);
    let mut model = Model::new();
    let mut term = 1;
    // One file may break and nothing is lost.
    let mut whole = true;
    for _life in 0..rng.u32(2..6) {
        if rng.bool() {
            disk.crash_after(rng.u64(..200));
        }
        let failed = disk.stats().syncs_failed;
        if moments.u8(..4) == 0 {
            // What cannot be read for a moment costs nothing.
            disk.fail_reads(moments.u32(..60), 2);
        }
        let opened = Store::open(disk.clone(), config.clone());
        disk.fail_reads(0, 0);
        if let Ok((mut store, recovery)) = opened {
            if disk.is_crashed() {
                // Down in the middle of opening.
            } else {
                let found = read_all(&store.reader(), &recovery);
                let synced = disk.stats().syncs_failed == failed;
                model.check(seed, &found, &recovery, synced);
                if synced {
                    // What was found is durable now, were it written by the last life or not.
                    model.hard_state = recovery.hard_state;
                }
                term = term.max(recovery.hard_state.term) + 1;
                live(&mut rng, &mut store, &disk, &mut model, term);
                if rng.bool() && !disk.is_crashed() {
                    settle(&mut store, &disk, &mut model, seed);
                }
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
        if whole && rng.u8(..6) == 0 {
            whole = !damage_checkpoint(&disk, rng.bool());
        }
    }
    let (store, recovery) = Store::open(disk, config).unwrap();
    let found = read_all(&store.reader(), &recovery);
    model.check(seed, &found, &recovery, true);
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
        match rng.u8(..13) {
            0 => drop(store.maintain()),
            4 => disk.fail_syncs(rng.u32(1..8)),
            5 => {
                let one_in = *rng.choice([0, 0, 2, 5, 20].iter()).unwrap();
                disk.set_faults(Faults {
                    sync_fails_one_in: one_in,
                    ..Faults::default()
                });
            }
            6 => {
                for _ in 0..10 {
                    disk.advance_ms(rng.u64(..2000));
                    store.maintain();
                }
            }
            1 => disk.fail_sync_nth(rng.u64(1..3)),
            3 => {
                // Retention moves on: slices below go, and may come back by a power cut.
                let start = rng.u64(..=model.log.len() as u64) as i64;
                store.set_starts(&BTreeMap::from([(partition(0), start)]));
                (0..4).for_each(|_| drop(store.maintain()));
            }
            2 if !model.log.is_empty() && model.attempt.is_empty() => {
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
                model.attempt.extend(entries.iter().cloned());
                model.attempted_hard_state = hard_state;
                if store
                    .persist(&entries, Some(hard_state), must_sync)
                    .is_err()
                {
                    // The caller would repeat it; here the next life shows what came of it.
                    if disk.is_crashed() || rng.bool() {
                        return;
                    }
                    model.attempt.extend(entries.iter().cloned());
                    if store
                        .persist(&entries, Some(hard_state), must_sync)
                        .is_err()
                    {
                        return;
                    }
                }
                model.settle();
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
