//! What upkeep does with slices that are damaged, or that the disk cannot read.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::{Faults, MemDisk};
use edge_log::{Checkpoint, Maintained, Store, StoreConfig};
use support::{append, batch, entry, frame, maintain, offsets, open, partition, small};

fn minutes(store: &mut Store<MemDisk>, disk: &MemDisk, count: u32) -> Maintained {
    let mut all = Maintained::default();
    for _ in 0..60 * count {
        disk.advance_ms(1000);
        let some = store.maintain();
        all.lost.extend(some.lost);
        all.rewritten += some.rewritten;
    }
    all
}

/// The first in line was always tried first: while it could not be read, no other was rescued.
#[test]
fn a_slice_that_cannot_be_copied_holds_up_no_other() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..31, 8000);
    maintain(&mut store, &disk);
    let slices = store.usage().slices;
    let [first, second] = [slices[0].number, slices[1].number];
    disk.set_unreadable(first, true);
    let reader = store.reader();
    for _ in 0..10 {
        assert!(reader.read(partition(0), 0, 1).is_err());
    }
    minutes(&mut store, &disk, 10);
    assert!(disk.spoil_value(second, 1, 0));
    let offset = slices[1].first_index as i64 - 1;
    while disk.slices().contains(&second) {
        let now = minutes(&mut store, &disk, 1);
        if now.lost.is_empty() {
            let _ = reader.read(partition(0), offset, 1);
        }
        assert!(edge_log::Disk::now_ms(&disk) < 3_600_000, "never rescued");
    }
    assert!(disk.slices().contains(&first), "it waits for the disk");
    disk.set_unreadable(first, false);
    minutes(&mut store, &disk, 2);
    assert_eq!(offsets(&store, 0).len(), 29);
}

/// Mostly dead slices on a store that is full enough to rewrite them.
fn mostly_dead(disk: &MemDisk) -> Store<MemDisk> {
    let config = StoreConfig {
        bytes_max: 1536 << 10,
        raft_window_bytes: 0,
        ..small()
    };
    let (mut store, _) = Store::open(disk.clone(), config).unwrap();
    for index in 1..400 {
        let of = |bytes| batch(index - 1, 1, 0, &vec![1; bytes]);
        let batches = [(partition(0), of(2000)), (partition(1), of(300))];
        let entry = entry(index as u64, 1, frame(1, &batches));
        store.persist(&[entry], None, false).unwrap();
        store.maintain();
        disk.advance_ms(10);
    }
    let (index, term, data) = (399, 1, Bytes::from_static(b"state"));
    store
        .save_checkpoint(&Checkpoint { index, term, data })
        .unwrap();
    store.set_starts(&BTreeMap::from([(partition(0), 390), (partition(1), 0)]));
    store
}

/// Whatever failed a rewrite counted as damage: whole slices went to quarantine for one moment in
/// which the disk did not answer.
#[test]
fn a_read_that_fails_a_rewrite_for_a_moment_is_no_damage() {
    let disk = MemDisk::new(1);
    let mut store = mostly_dead(&disk);
    disk.set_faults(Faults {
        read_fails_one_in: 20,
        ..Faults::default()
    });
    for _ in 0..20 {
        disk.advance_ms(10);
        store.maintain();
    }
    disk.set_faults(Faults::default());
    let done = minutes(&mut store, &disk, 3);
    assert!(done.rewritten > 0, "{done:?}");
    assert_eq!(disk.quarantined(), 0);
    assert_eq!(
        store
            .reader()
            .read(partition(1), 0, usize::MAX)
            .unwrap()
            .len(),
        399
    );
}

/// Nobody noted why the rewrite failed, so the same slices were chosen each minute, for ever.
#[test]
fn a_slice_that_fails_each_rewrite_is_rescued_in_the_end() {
    let disk = MemDisk::new(1);
    let mut store = mostly_dead(&disk);
    let bad = store.usage().slices[0].number;
    assert!(disk.damage_file(&format!("slices/{bad}/index"), true));
    assert!(disk.spoil_value(bad, 5, 0));
    let done = minutes(&mut store, &disk, 60);
    assert!(done.rewritten > 0, "{done:?}");
    assert_eq!(done.lost.len(), 1, "{done:?}");
    assert!(!disk.slices().contains(&bad));
}

/// What the file takes was counted by the configuration, and none configured left it in place.
#[test]
fn a_ballast_counts_by_its_file_and_goes_when_none_is_configured() {
    let config = |ballast_bytes| StoreConfig {
        ballast_bytes,
        ..small()
    };
    let disk = MemDisk::new(1);
    let (store, _) = Store::open(disk.clone(), config(100 << 10)).unwrap();
    let used = store.usage().bytes_used;
    drop(store);
    let disk = disk.restarted();
    let (store, _) = Store::open(disk.clone(), config(1 << 10)).unwrap();
    assert!(store.usage().ballast);
    assert_eq!(store.usage().bytes_used, used, "without the ballast");
    drop(store);
    let disk = disk.restarted();
    let (store, _) = Store::open(disk.clone(), config(0)).unwrap();
    assert!(!store.usage().ballast);
    assert!(edge_log::Disk::bytes_used(&disk) < 100 << 10);
}
