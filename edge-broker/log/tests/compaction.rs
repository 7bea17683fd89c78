//! Compacted partitions: the newest record of a key is there, what went was older or deleted, and
//! nothing is rewritten for nothing. By hand, and by seeds with crashes and power cuts.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::MemDisk;
use edge_log::{Checkpoint, CompactTo, Entry, Maintained, Store, StoreConfig, TopicPartition};
use kafka_wire::{BatchBuilder, Compression, Record};
use support::{entry, frame, partition, small};

/// A store with the records that were appended to it.
struct World {
    disk: MemDisk,
    config: StoreConfig,
    store: Option<Store<MemDisk>>,
    index: u64,
    /// What every partition was given, by offset.
    records: BTreeMap<TopicPartition, Vec<Record>>,
    to: BTreeMap<TopicPartition, CompactTo>,
}

fn config() -> StoreConfig {
    StoreConfig {
        slice_bytes: 8 << 10,
        raft_window_bytes: 1,
        ..small()
    }
}

fn record(at: i64, key: Option<&str>, value: Option<&str>) -> Record {
    Record {
        timestamp_ms: at,
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    }
}

/// Text that does not compress well.
fn noise(seed: i64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed as u64);
    (0..100).map(|_| rng.alphanumeric()).collect()
}

impl World {
    fn new(config: StoreConfig) -> World {
        World::on(MemDisk::new(1), config)
    }

    fn on(disk: MemDisk, config: StoreConfig) -> World {
        let (store, _) = Store::open(disk.clone(), config.clone()).unwrap();
        World {
            disk,
            config,
            store: Some(store),
            index: 0,
            records: BTreeMap::new(),
            to: BTreeMap::new(),
        }
    }

    fn store(&mut self) -> &mut Store<MemDisk> {
        self.store.as_mut().unwrap()
    }

    /// The next entry: records for several partitions, one batch each.
    fn next_entry(&self, batches: &[(TopicPartition, Vec<Record>)]) -> Entry {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        let mut built = Vec::new();
        for (partition, records) in batches {
            let base = self.records.get(partition).map_or(0, Vec::len) as i64;
            records.iter().for_each(|record| builder.push(record));
            built.push((*partition, builder.build(base, 1).into_bytes()));
        }
        entry(self.index + 1, 1, frame(1, &built))
    }

    /// The entry was taken.
    fn took(&mut self, batches: Vec<(TopicPartition, Vec<Record>)>) {
        self.index += 1;
        for (partition, records) in batches {
            self.records.entry(partition).or_default().extend(records);
        }
    }

    fn append(&mut self, batches: Vec<(TopicPartition, Vec<Record>)>) {
        let entry = self.next_entry(&batches);
        self.store().persist(&[entry], None, false).unwrap();
        self.took(batches);
    }

    fn end(&self, partition: TopicPartition) -> i64 {
        self.records.get(&partition).map_or(0, Vec::len) as i64
    }

    /// Everything is committed and in a checkpoint; partition 0 is compacted up to its end.
    fn settle(&mut self) {
        let (index, end) = (self.index, self.end(partition(0)));
        let to = CompactTo {
            below: end,
            delete_before_ms: i64::MIN,
        };
        self.to = BTreeMap::from([(partition(0), to)]);
        self.checkpoint(index);
        self.tell();
    }

    fn checkpoint(&mut self, index: u64) {
        let data = Bytes::from_static(b"state");
        let checkpoint = Checkpoint {
            index,
            term: 1,
            data,
        };
        let _ = self.store().save_checkpoint(&checkpoint);
    }

    fn tell(&mut self) {
        let starts = (0..3).map(|n| (partition(n), 0)).collect();
        let to = self.to.clone();
        self.store().set_starts(&starts);
        self.store().set_compaction(&to);
    }

    fn maintain(&mut self) -> Maintained {
        let mut all = Maintained::default();
        for call in 0..10_000 {
            self.disk.advance_ms(100);
            let some = self.store().maintain();
            all.rewritten += some.rewritten;
            all.lost.extend(some.lost);
            if call > 200 && !some.more && !self.store().usage().compacting {
                return all;
            }
        }
        panic!("compaction never ends");
    }

    fn read(&mut self, partition: TopicPartition) -> BTreeMap<i64, Record> {
        let reader = self.store().reader();
        let mut found = BTreeMap::new();
        let mut from = 0;
        loop {
            let batches = reader.read(partition, from, 20_000).unwrap();
            let Some(last) = batches.last() else {
                return found;
            };
            assert!(batches[0].next_offset() > from, "reading goes on");
            from = last.next_offset();
            for batch in &batches {
                batch.check_crc().unwrap();
                found.extend(batch.records(1 << 20).unwrap().map(Result::unwrap));
            }
        }
    }

    fn bytes(&mut self) -> u64 {
        self.store()
            .usage()
            .slices
            .iter()
            .map(|slice| slice.bytes)
            .sum()
    }

    fn reopen(&mut self, disk: MemDisk) {
        self.store = None;
        self.disk = disk;
        let (store, recovery) = Store::open(self.disk.clone(), self.config.clone()).unwrap();
        assert!(recovery.lost.is_empty(), "{recovery:?}");
        self.store = Some(store);
    }

    /// What may be missing is missing for a reason.
    fn check(&mut self, what: &str) {
        let written = self.records.clone();
        for (partition, written) in &written {
            let found = self.read(*partition);
            let mut newest: BTreeMap<&[u8], i64> = BTreeMap::new();
            let below = self.to.get(partition).map_or(0, |to| to.below);
            for (offset, record) in (0..).zip(written) {
                if let Some(key) = record.key.as_deref().filter(|_| offset < below) {
                    newest.insert(key, offset);
                }
            }
            for (offset, record) in (0_i64..).zip(written) {
                if let Some(found) = found.get(&offset) {
                    assert_eq!(found, record, "{what}: offset {offset}");
                    continue;
                }
                let key = record.key.as_deref();
                let newest = key.and_then(|key| newest.get(key)).copied();
                let Some(newest) = newest else {
                    panic!("{what}: offset {offset} is gone and nothing may go there");
                };
                if newest != offset {
                    continue;
                }
                let before = self.to[partition].delete_before_ms;
                assert!(
                    record.value.is_none() && record.timestamp_ms < before,
                    "{what}: offset {offset} is gone and the newest of its key"
                );
                let mut older = found.range(..offset).map(|(_, found)| found.key.as_deref());
                assert!(
                    older.all(|other| other != key),
                    "{what}: what offset {offset} deleted is back"
                );
            }
        }
    }
}

/// `rounds` entries of ten records, of `keys` keys.
fn fill(world: &mut World, rounds: i64, keys: i64) {
    for round in 0..rounds {
        let records = (0..10).map(|at| {
            let key = format!("key-{}", (round * 10 + at) % keys);
            let value = noise(round * 10 + at);
            record(round * 10 + at, Some(&key), Some(&value))
        });
        world.append(vec![(partition(0), records.collect())]);
        world.store().maintain();
    }
}

#[test]
fn of_few_keys_little_is_left_and_the_newest_of_each_is_there() {
    let mut world = World::new(config());
    fill(&mut world, 400, 7);
    world.settle();
    let before = world.bytes();
    let done = world.maintain();
    world.check("compacted");
    let after = world.bytes();
    assert!(after < before / 10, "{before} bytes became {after}");
    assert!(done.rewritten > 10, "{done:?}");
    assert!(
        done.lost.is_empty(),
        "what compaction leaves out is not lost"
    );
    let read = world.read(partition(0)).len();
    println!(
        "proved fast: compaction: 4000 records of 7 keys, {before} bytes: {read}, {after} bytes"
    );
}

/// Where no client ever read, each run failed at the same slice, and compaction never ended.
#[test]
fn a_sector_that_only_compaction_reads_costs_its_frame_and_ends_no_compaction() {
    let mut world = World::new(config());
    fill(&mut world, 400, 7);
    world.settle();
    let before = world.bytes();
    let number = world.disk.slices()[1];
    assert!(world.disk.spoil_value(number, 3, 0));
    let mut lost = Vec::new();
    for _ in 0..3000 {
        world.disk.advance_ms(1000);
        lost.extend(world.store().maintain().lost);
    }
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].first_index, lost[0].last_index, "{lost:?}");
    assert!(!world.store().usage().compacting);
    world.check("compacted around it");
    let after = world.bytes();
    assert!(after < before / 10, "{before} bytes became {after}");
}

#[test]
fn records_without_a_key_and_other_partitions_stay() {
    let mut world = World::new(config());
    for round in 0..400 {
        let one = record(round, Some("a"), Some(&noise(round)));
        let none = record(round, None, Some("kept"));
        world.append(vec![
            (
                partition(0),
                vec![one.clone(), one.clone(), none, one.clone()],
            ),
            (partition(1), vec![record(round, Some("a"), Some("other"))]),
        ]);
        world.store().maintain();
    }
    world.settle();
    let before = world.bytes();
    world.maintain();
    world.check("compacted");
    assert_eq!(world.read(partition(1)).len(), 400);
    let without_key = world
        .read(partition(0))
        .values()
        .filter(|r| r.key.is_none())
        .count();
    assert_eq!(without_key, 400);
    assert!(world.bytes() < before, "the others went");
}

#[test]
fn nothing_goes_at_or_above_the_offset_the_site_gave() {
    let mut world = World::new(config());
    fill(&mut world, 400, 3);
    world.settle();
    let below = 1234;
    let to = world.to.get_mut(&partition(0)).unwrap();
    to.below = below;
    world.tell();
    world.maintain();
    world.check("compacted in part");
    let found = world.read(partition(0));
    assert_eq!(found.range(below..).count() as i64, 4000 - below);
    assert!(found.range(..below).count() < 200);
}

#[test]
fn a_tombstone_goes_after_its_time_and_deletes_first() {
    let mut world = World::new(config());
    fill(&mut world, 100, 5);
    let gone = (0..5).map(|key| record(1000 + key, Some(&format!("key-{key}")), None));
    world.append(vec![(partition(0), gone.collect())]);
    for round in 0..200 {
        let value = "z".repeat(700);
        world.append(vec![(
            partition(0),
            vec![record(round, Some("other"), Some(&value))],
        )]);
        world.store().maintain();
    }
    world.settle();
    world.maintain();
    let tombstones = |world: &mut World| {
        let found = world.read(partition(0));
        found
            .values()
            .filter(|record| record.value.is_none())
            .count()
    };
    assert_eq!(tombstones(&mut world), 5, "their time is not over");
    // Nothing new: another run comes only when there is enough of it.
    world.to.get_mut(&partition(0)).unwrap().delete_before_ms = 1003;
    world.tell();
    fill(&mut world, 300, 1);
    let (index, end) = (world.index, world.end(partition(0)));
    world.to.get_mut(&partition(0)).unwrap().below = end;
    world.checkpoint(index);
    world.tell();
    world.maintain();
    world.check("with tombstones");
    assert_eq!(tombstones(&mut world), 2, "the younger ones");
}

#[test]
fn more_keys_than_fit_the_memory_are_compacted_too() {
    let config = StoreConfig {
        compaction_keys_max: 16,
        ..config()
    };
    let mut world = World::new(config);
    fill(&mut world, 600, 100);
    world.settle();
    let before = world.bytes();
    world.maintain();
    world.check("compacted in shares");
    // By shares of the keys, and no slice for the little that one of them would free.
    let left = world.read(partition(0)).len();
    assert!(
        (100..3000).contains(&left),
        "of 6000 records of 100 keys: {left}"
    );
    assert!(world.bytes() < before * 3 / 4);
}

#[test]
fn what_frees_nothing_is_not_rewritten_again_nor_after_a_restart() {
    let mut world = World::new(config());
    fill(&mut world, 400, 1_000_000);
    world.settle();
    assert_eq!(world.maintain().rewritten, 0, "all keys are different");
    fill(&mut world, 20, 7);
    world.settle();
    let mut operations = world.disk.stats().operations;
    world.maintain();
    world.reopen(world.disk.restarted());
    world.settle();
    assert!(!world.store().usage().compacting, "a fortieth of it is new");
    assert_eq!(world.maintain().rewritten, 0);
    operations = world.disk.stats().operations - operations;
    assert!(operations < 3000, "{operations}");
    world.check("all different");
}

#[test]
fn a_policy_that_is_taken_back_stops_compaction_at_once() {
    let mut world = World::new(config());
    fill(&mut world, 400, 7);
    world.settle();
    world.disk.advance_ms(1000);
    for _ in 0..5 {
        world.store().maintain();
    }
    world.to.clear();
    world.tell();
    assert_eq!(world.maintain().rewritten, 0);
    assert_eq!(world.read(partition(0)).len(), 4000);
}

const SEEDS: u64 = 1000;

/// Each found a mistake once.
const OLD_SEEDS: [u64; 0] = [];

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("EDGE_LOG_SEED").unwrap_or(0);
    first..first + number("EDGE_LOG_SEEDS").unwrap_or(SEEDS)
}

fn random_batches(rng: &mut fastrand::Rng, world: &World) -> Vec<(TopicPartition, Vec<Record>)> {
    let keys = *rng.choice([2_u32, 10, 60].iter()).unwrap();
    let partitions = (0..3).filter(|_| rng.bool()).collect::<Vec<u32>>();
    let of = |rng: &mut fastrand::Rng, n: u32| {
        let records = (0..rng.usize(1..8)).map(|_| {
            let key = format!("k{}", rng.u32(..keys));
            let value = "v".repeat(rng.usize(..300));
            let time = world.index as i64;
            match rng.u8(..10) {
                0 => record(time, None, Some(&value)),
                1 => record(time, Some(&key), None),
                _ => record(time, Some(&key), Some(&value)),
            }
        });
        (partition(n), records.collect())
    };
    partitions.into_iter().map(|n| of(rng, n)).collect()
}

/// One life of a store; false when the disk failed before its end.
fn live(rng: &mut fastrand::Rng, world: &mut World) {
    for _ in 0..rng.u32(1..120) {
        world.disk.advance_ms(rng.u64(..700));
        match rng.u8(..12) {
            0 => world.checkpoint(world.index),
            1 => {
                for n in 0..2 {
                    let end = world.end(partition(n));
                    let known = world.to.get(&partition(n)).copied();
                    let below = known.map_or(0, |to| to.below);
                    let before = known.map_or(0, |to| to.delete_before_ms);
                    let to = CompactTo {
                        below: rng.i64(below..=end),
                        delete_before_ms: rng.i64(before..=before.max(world.index as i64)),
                    };
                    world.to.insert(partition(n), to);
                }
                world.tell();
            }
            2..6 => drop(world.store().maintain()),
            _ => {
                let batches = random_batches(rng, world);
                let entry = world.next_entry(&batches);
                if world.store().persist(&[entry], None, false).is_err() {
                    return;
                }
                world.took(batches);
            }
        }
        if world.disk.is_crashed() {
            return;
        }
    }
    for _ in 0..rng.u32(..60) {
        world.disk.advance_ms(200);
        world.store().maintain();
        if world.disk.is_crashed() {
            return;
        }
    }
}

fn run(seed: u64) -> u32 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let config = StoreConfig {
        slice_bytes: *rng.choice([1_000, 4_000, 20_000].iter()).unwrap(),
        bytes_max: *rng.choice([60_000, 200_000, 1 << 30].iter()).unwrap(),
        compaction_keys_max: *rng.choice([4, 30, 1000].iter()).unwrap(),
        ..config()
    };
    let mut world = World::on(MemDisk::new(seed), config);
    let what = format!("seed {seed}");
    for _life in 0..rng.u32(2..8) {
        world.tell();
        if rng.bool() {
            world.disk.crash_after(rng.u64(..300));
        }
        live(&mut rng, &mut world);
        let index = world.index;
        let disk = match rng.u8(..3) {
            0 => world.disk.restarted(),
            _ => world.disk.power_cut(),
        };
        world.reopen(disk);
        // What was asked for last and not answered may be there or not: it goes over it again.
        let reader = world.store().reader();
        let found = reader
            .entries(index + 1, index + 2, 1 << 20)
            .unwrap_or_default();
        if let Some(entry) = found.first() {
            let entry = Entry {
                data: frame(1, &[]),
                ..entry.clone()
            };
            if world.store().persist(&[entry], None, false).is_err() {
                // No room for it: the next life would find the other one again.
                return 0;
            }
            world.index += 1;
        }
        world.check(&what);
    }
    world.tell();
    world.checkpoint(world.index);
    let rewritten = world.maintain().rewritten;
    world.check(&what);
    rewritten
}

#[test]
fn whatever_happens_the_newest_of_every_key_is_there() {
    let mut rewritten = 0;
    for seed in OLD_SEEDS.into_iter().chain(seeds()) {
        rewritten += run(seed);
    }
    assert!(
        u64::from(rewritten) >= seeds().count() as u64,
        "{rewritten}"
    );
    println!(
        "proved sim: compaction: {} seeds of one store whose disk fails; \
         slices rewritten: {rewritten}",
        seeds().count()
    );
}
