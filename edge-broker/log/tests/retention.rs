//! Which slices retention drops, which it rewrites, and which a start must still find.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::MemDisk;
use edge_log::{Checkpoint, Disk, Maintained, Store, StoreConfig};
use support::{batch, entry, frame, partition, small};

/// A store, and what was appended to it.
struct World {
    disk: MemDisk,
    store: Store<MemDisk>,
    index: u64,
    next_offsets: BTreeMap<u32, i64>,
}

impl World {
    fn new(bytes_max: u64) -> World {
        let disk = MemDisk::new(5);
        let config = StoreConfig {
            bytes_max,
            raft_window_bytes: 64 << 10,
            ..small()
        };
        let (store, _) = Store::open(disk.clone(), config).unwrap();
        World {
            disk,
            store,
            index: 0,
            next_offsets: BTreeMap::new(),
        }
    }

    /// One record of a partition.
    fn put(&mut self, number: u32, bytes: usize) {
        self.index += 1;
        let offset = self.next_offsets.entry(number).or_default();
        let batch = batch(*offset, 1, self.index as i64, &vec![7; bytes]);
        *offset += 1;
        let data = frame(1, &[(partition(number), batch)]);
        let entry = entry(self.index, 1, data);
        self.store.persist(&[entry], None, false).unwrap();
        self.store.maintain();
    }

    /// Records of 10,000 bytes of partition 0, every so many a small one of another.
    fn put_mixed(&mut self, count: u32, every: u32, other: u32) {
        for n in 0..count {
            match n % every {
                0 => self.put(other, 300),
                _ => self.put(0, 10_000),
            }
        }
    }

    fn maintain(&mut self) -> Maintained {
        let mut all = self.store.maintain();
        for _ in 0..1000 {
            self.disk.advance_ms(100);
            let some = self.store.maintain();
            all.dropped += some.dropped;
            all.rewritten += some.rewritten;
            all.sealed += some.sealed;
        }
        all
    }

    fn save_checkpoint(&mut self, index: u64) {
        let data = Bytes::from_static(b"state");
        let checkpoint = Checkpoint {
            index,
            term: 1,
            data,
        };
        self.store.save_checkpoint(&checkpoint).unwrap();
    }

    /// Partition 0 is dead up to its end, the others live.
    fn end_partition_0(&mut self) {
        let mut starts: BTreeMap<_, _> = (1..9).map(|number| (partition(number), 0)).collect();
        starts.insert(partition(0), self.next_offsets[&0]);
        self.store.set_starts(&starts);
    }
}

/// The first one that was rewritten already once ended the search, as nothing is gained by
/// rewriting it again: mostly dead slices behind it stayed, and the store filled up.
#[test]
fn a_small_rewritten_slice_holds_up_no_later_one() {
    let mut world = World::new(1500 << 10);
    world.put_mixed(12, 4, 1);
    (0..14).for_each(|_| world.put(2, 10_000));
    world.put_mixed(80, 8, 3);
    world.maintain();
    world.save_checkpoint(world.index);
    world.end_partition_0();
    let done = world.maintain();
    assert!(done.rewritten >= 8, "{done:?}");
    let usage = world.store.usage();
    assert!(usage.bytes_used * 100 < usage.bytes_max * 60, "{usage:?}");
    // And then it is done.
    assert_eq!(world.maintain().rewritten, 0);
}

/// Slices that are not mostly dead once stayed whole, however full the store was.
#[test]
fn with_little_room_less_dead_slices_are_rewritten_too() {
    let mut world = World::new(1500 << 10);
    let wanted_bytes = (2 * small().slice_bytes).min((1500 << 10) / 8);
    while world.store.append_bytes_left() >= wanted_bytes {
        world.put(0, 4_000);
        world.put(3, 8_000);
    }
    world.maintain();
    world.save_checkpoint(world.index);
    world.end_partition_0();
    let done = world.maintain();
    assert!(done.rewritten > 0, "{done:?}");
    assert!(world.store.append_bytes_left() >= wanted_bytes);
    // As much as is wanted, not more.
    let slices = world.store.usage().slices;
    assert!(slices.iter().any(|slice| slice.partitions.len() == 2));
}

/// The files of the newest checkpoint and of the one before, the newest first.
fn checkpoints(disk: &MemDisk) -> Vec<String> {
    let mut names = disk.list_files("checkpoint").unwrap();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names
}

/// Sixty entries of one partition, checkpoints at 30 and 60, retention up to offset 55.
fn trimmed() -> World {
    let mut world = World::new(1 << 30);
    (0..60).for_each(|_| world.put(0, 10_000));
    world.maintain();
    world.save_checkpoint(30);
    world.maintain();
    world.save_checkpoint(60);
    world
        .store
        .set_starts(&BTreeMap::from([(partition(0), 55)]));
    world
}

/// Retention followed the newest checkpoint alone: a start that could not read it had the one
/// before, and the entries between them were gone.
#[test]
fn a_damaged_checkpoint_costs_nothing_and_changes_nothing() {
    for (flip, which) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let mut world = trimmed();
        let done = world.maintain();
        assert!(done.dropped > 5, "{done:?}");
        assert_eq!(checkpoints(&world.disk).len(), 3);
        drop(world.store);
        let disk = world.disk.restarted();
        assert!(disk.damage_file(&checkpoints(&disk)[which], flip));
        let (mut store, recovery) = Store::open(disk.clone(), small()).unwrap();
        assert_eq!(recovery.checkpoint.as_ref().map(|c| c.index), Some(60));
        assert_eq!(recovery.lost, []);
        assert_eq!(recovery.previous_store_id, None);
        // The copy is made again, even if no other checkpoint ever comes.
        (0..5).for_each(|_| drop(store.maintain()));
        let whole = |name: &String| disk.read_file(name, usize::MAX).unwrap();
        let names = checkpoints(&disk);
        assert_eq!(whole(&names[0]), whole(&names[1]), "{names:?}");
    }
}

/// Until the second file is on the disk the frames after the checkpoint before it stay.
#[test]
fn nothing_is_dropped_that_a_start_from_the_second_checkpoint_needs() {
    let mut world = trimmed();
    // The copy of the newest one fails for now.
    world.disk.fail_syncs(1);
    for _ in 0..20 {
        world.store.maintain();
    }
    drop(world.store);
    let disk = world.disk.restarted();
    assert!(disk.damage_file(&checkpoints(&disk)[0], true));
    let (store, recovery) = Store::open(disk, small()).unwrap();
    assert_eq!(recovery.checkpoint.map(|c| c.index), Some(30));
    assert_eq!(recovery.lost, []);
    assert!(recovery.first_index <= 31, "{}", recovery.first_index);
    let entries = store.reader().entries(31, 61, usize::MAX).unwrap();
    assert_eq!(entries.len(), 30);
}

/// The copy was made from the file alone: with that damaged nothing was dropped any more before
/// the next checkpoint, and a full store never has one.
#[test]
fn a_checkpoint_whose_file_goes_bad_before_it_is_copied_is_written_again() {
    for (flip, later, restarted) in [
        (true, false, false),
        (false, true, false),
        (true, false, true),
    ] {
        let mut world = trimmed();
        if later {
            let data = Bytes::from_static(b"state");
            let (index, term) = (60, 1);
            let checkpoint = Checkpoint { index, term, data };
            world.store.save_checkpoint_later(checkpoint);
            world.store.maintain();
        }
        if restarted {
            drop(world.store);
            world.disk = world.disk.restarted();
            (world.store, _) = Store::open(world.disk.clone(), small()).unwrap();
            let starts = BTreeMap::from([(partition(0), 55)]);
            world.store.set_starts(&starts);
        }
        assert!(world.disk.damage_file(&checkpoints(&world.disk)[0], flip));
        let done = world.maintain();
        assert!(done.dropped > 5, "{done:?}");
        drop(world.store);
        let disk = world.disk.restarted();
        let names = checkpoints(&disk);
        assert!(disk.damage_file(&names[0], true), "{names:?}");
        let (_, recovery) = Store::open(disk, small()).unwrap();
        assert_eq!(recovery.checkpoint.map(|c| c.index), Some(60));
    }
}

fn damage_checkpoints(disk: &MemDisk, count: usize) {
    for name in checkpoints(disk).iter().take(count) {
        assert!(disk.damage_file(name, true));
    }
}

/// Without a checkpoint and with a log that was trimmed nobody knows which topics there are, and
/// retention took all records for those of deleted ones.
#[test]
fn records_of_topics_that_nobody_knows_any_more_are_put_aside() {
    let mut world = trimmed();
    world.maintain();
    let slices = world.store.usage().slices.len();
    drop(world.store);
    let disk = world.disk.restarted();
    damage_checkpoints(&disk, 3);
    let bytes = |name: &String| disk.read_file(name, usize::MAX).unwrap().unwrap();
    let files: Vec<Vec<u8>> = checkpoints(&disk).iter().rev().map(bytes).collect();
    let (mut store, recovery) = Store::open(disk.clone(), small()).unwrap();
    assert_eq!(recovery.checkpoint, None);
    // Only the checkpoints name the topics: whoever can read them needs them beside the slices.
    assert_eq!(recovery.quarantined.len(), slices + 3, "{recovery:?}");
    assert_eq!(checkpoints(&disk), Vec::<String>::new());
    let aside = disk.list_files("quarantine").unwrap();
    let aside = aside.iter().filter(|name| name.contains("checkpoint-"));
    let bytes = |name: &String| disk.read_file(name, usize::MAX).unwrap();
    assert!(aside.map(bytes).eq(files.into_iter().map(Some)));
    assert_eq!((recovery.first_index, recovery.last_index), (1, 0));
    assert!(recovery.previous_store_id.is_some());
    let lost = &recovery.lost[0];
    assert_eq!((lost.first_index, lost.last_index), (1, 60));
    assert!(lost.cause.contains("quarantine"), "{lost:?}");
    // It goes on with an empty log, and tells it once.
    store
        .persist(&[support::one_batch(1, 0, 1, 100)], None, false)
        .unwrap();
    drop(store);
    let (store, again) = Store::open(disk.power_cut(), small()).unwrap();
    assert_eq!((again.lost, again.previous_store_id), (vec![], None));
    assert_eq!(store.usage().quarantined, slices as u64 + 3);
    let found = store.reader().read(partition(0), 0, usize::MAX).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn a_log_that_begins_with_its_first_entry_needs_no_checkpoint() {
    let mut world = trimmed();
    world.store.set_starts(&BTreeMap::from([(partition(0), 0)]));
    world.maintain();
    drop(world.store);
    let disk = world.disk.restarted();
    damage_checkpoints(&disk, 3);
    let (_, recovery) = Store::open(disk, small()).unwrap();
    assert_eq!((recovery.first_index, recovery.last_index), (1, 60));
    assert_eq!((recovery.checkpoint, recovery.lost), (None, vec![]));
}

/// Rewritten slices stand for all they were made of, so nothing told of what went with them.
#[test]
fn entries_between_an_old_checkpoint_and_the_log_are_named() {
    let mut world = World::new(1500 << 10);
    world.put_mixed(50, 8, 1);
    world.maintain();
    world.save_checkpoint(20);
    world.maintain();
    world.put_mixed(50, 8, 1);
    world.maintain();
    world.save_checkpoint(world.index);
    world.end_partition_0();
    assert!(world.maintain().rewritten >= 8);
    drop(world.store);
    let disk = world.disk.restarted();
    damage_checkpoints(&disk, 2);
    let (mut store, recovery) = Store::open(disk, small()).unwrap();
    assert_eq!(recovery.checkpoint.unwrap().index, 20);
    let first_index = recovery.first_index;
    let last_index = recovery.last_index;
    assert!(first_index > 21, "{first_index}");
    let lost = &recovery.lost[0];
    assert_eq!((lost.first_index, lost.last_index), (21, first_index - 1));
    assert!(recovery.previous_store_id.is_some());
    store
        .persist(
            &[support::one_batch(last_index + 1, 900, 1, 100)],
            None,
            false,
        )
        .unwrap();
    let newest = store.usage().slices.pop().unwrap();
    assert_eq!(newest.first_index, last_index + 1, "a slice of its own");
}
