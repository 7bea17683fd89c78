//! What a store does when its disk fails, fills up, or loses what it had promised.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::{Faults, MemDisk};
use edge_log::{Checkpoint, Disk, HardState, PersistError, ReadError, Store, StoreConfig};
use support::{append, maintain, offsets, one_batch, open, partition, small};

#[test]
fn a_failed_sync_goes_on_in_a_proven_new_slice() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..5, 100);
    disk.fail_syncs(1);
    append(&mut store, 5..6, 100);
    let usage = store.usage();
    assert_eq!(usage.poisoned_slices, 1);
    assert!(!usage.poisoned, "the new slice is proven");
    assert_eq!(
        usage.slices.iter().filter(|slice| slice.poisoned).count(),
        1
    );
    append(&mut store, 6..9, 100);
    assert_eq!(offsets(&store, 0), (0..8).collect::<Vec<_>>());
    // What the poisoned slice still had is copied, and it goes.
    maintain(&mut store, &disk);
    assert!(store.usage().slices.iter().all(|slice| !slice.poisoned));
    assert_eq!(offsets(&store, 0), (0..8).collect::<Vec<_>>());
    let (store, recovery) = open(&disk.power_cut());
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(offsets(&store, 0), (0..8).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_goes_on_failing_is_tried_later_and_later() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..5, 100);
    disk.set_faults(Faults {
        sync_fails_one_in: 1,
        ..Faults::default()
    });
    let entry = one_batch(5, 4, 1, 100);
    let mut waits = Vec::new();
    for _ in 0..8 {
        match store.persist(std::slice::from_ref(&entry), None, false) {
            Err(PersistError::Poisoned { retry_after_ms, .. }) => waits.push(retry_after_ms),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        waits,
        [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
    );
    assert!(store.usage().poisoned);
    disk.set_faults(Faults::default());
    store.persist(&[entry], None, false).unwrap();
    assert!(!store.usage().poisoned);
    assert_eq!(offsets(&store, 0), [0, 1, 2, 3, 4]);
    let (store, recovery) = open(&disk.power_cut());
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(offsets(&store, 0), [0, 1, 2, 3, 4]);
}

/// Lets a minute pass on a disk whose syncs all fail, with the site's calls of `maintain`; returns
/// how many syncs were tried.
fn failing_minute(store: &mut Store<MemDisk>, disk: &MemDisk) -> u64 {
    disk.set_faults(Faults {
        sync_fails_one_in: 1,
        ..Faults::default()
    });
    let before = disk.stats().syncs;
    for _ in 0..1200 {
        disk.advance_ms(50);
        store.maintain();
    }
    disk.set_faults(Faults::default());
    disk.stats().syncs - before
}

/// It was tried twenty times a second, and the status said that nothing can be stored.
#[test]
fn an_identity_file_that_cannot_be_synced_is_tried_later_and_later() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..5, 100);
    let tried = failing_minute(&mut store, &disk);
    assert!((6..12).contains(&tried), "{tried}");
    assert!(!store.usage().poisoned, "appends were never refused");
    disk.advance_ms(60_000);
    store.maintain();
    let (store, recovery) = open(&disk.power_cut());
    assert_eq!((recovery.last_index, recovery.proven_index), (4, 4));
    assert_eq!(offsets(&store, 0), [0, 1, 2, 3]);
}

/// It was tried twenty times a second too, each time with a slice created and removed.
#[test]
fn an_end_of_the_log_that_cannot_be_copied_is_tried_later_and_later() {
    // The cut takes the mark that was written last, and not synced.
    let disk = MemDisk::new(4);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..5, 100);
    drop(store);
    let disk = disk.power_cut();
    disk.fail_syncs(100);
    let (mut store, recovery) = open(&disk);
    assert_eq!((recovery.last_index, recovery.proven_index), (4, 3));
    let tried = failing_minute(&mut store, &disk);
    assert!((6..40).contains(&tried), "{tried}");
    disk.fail_syncs(0);
    disk.advance_ms(60_000);
    (0..5).for_each(|_| drop(store.maintain()));
    let known = store.usage().slices.into_iter().map(|slice| slice.number);
    assert_eq!(disk.slices(), known.collect::<Vec<_>>());
    let (store, _) = open(&disk.power_cut());
    assert_eq!(offsets(&store, 0), [0, 1, 2, 3]);
}

/// It was tried five times a second.
#[test]
fn a_ballast_that_cannot_be_synced_is_tried_later_and_later() {
    let disk = MemDisk::new(1);
    let config = StoreConfig {
        ballast_bytes: 100 << 10,
        ..small()
    };
    disk.set_capacity_bytes(100 << 10);
    let (mut store, _) = Store::open(disk.clone(), config).unwrap();
    assert!(!store.usage().ballast);
    disk.set_capacity_bytes(10 << 20);
    let tried = failing_minute(&mut store, &disk);
    assert!((6..12).contains(&tried), "{tried}");
    assert!(!store.usage().ballast);
    disk.advance_ms(60_000);
    store.maintain();
    assert!(store.usage().ballast);
}

#[test]
fn every_single_failing_sync_costs_nothing_that_was_answered_for() {
    for nth in 1..60 {
        let disk = MemDisk::new(nth);
        let (mut store, _) = open(&disk);
        disk.fail_sync_nth(nth);
        for index in 1..41 {
            let entry = one_batch(index, index as i64 - 1, 1, 5000);
            store
                .persist(
                    &[entry],
                    Some(HardState {
                        term: 1,
                        vote: 1,
                        commit: 0,
                    }),
                    index % 7 == 0,
                )
                .unwrap();
            store.maintain();
        }
        let (store, recovery) = open(&disk.power_cut());
        assert!(recovery.lost.is_empty(), "{nth}: {recovery:?}");
        assert_eq!(offsets(&store, 0), (0..40).collect::<Vec<_>>(), "{nth}");
    }
}

#[test]
fn a_lying_sync_is_found_out_and_named() {
    let disk = MemDisk::new(3);
    let (mut store, first) = open(&disk);
    append(&mut store, 1..11, 100);
    disk.set_faults(Faults {
        sync_lies_one_in: 1,
        ..Faults::default()
    });
    append(&mut store, 11..13, 20_000);
    disk.set_faults(Faults::default());
    append(&mut store, 13..14, 100);
    let (store, recovery) = open(&disk.power_cut());
    assert!(!recovery.lost.is_empty());
    assert_eq!(recovery.previous_store_id, Some(first.store_id));
    assert_ne!(recovery.store_id, first.store_id);
    assert_eq!(recovery.hard_state.vote, 0);
    assert_eq!(
        recovery.hard_state.term, 2,
        "one more than the last entry's"
    );
    let found = offsets(&store, 0);
    assert_eq!(found[..10], (0..10).collect::<Vec<_>>());
    // Told once.
    drop(store);
    let (_, again) = open(&disk.restarted());
    assert!(again.lost.is_empty(), "{again:?}");
    assert_eq!(again.store_id, recovery.store_id);
}

#[test]
fn a_missing_identity_beside_slices_begins_a_new_incarnation() {
    let disk = MemDisk::new(3);
    let (mut store, first) = open(&disk);
    append(&mut store, 1..4, 100);
    drop(store);
    let disk = disk.restarted();
    assert!(disk.damage_file("identity", false));
    let (mut store, recovery) = open(&disk);
    assert_eq!(recovery.previous_store_id, Some(0));
    assert_ne!(recovery.store_id, first.store_id);
    assert_eq!(recovery.hard_state.term, 2);
    assert_eq!(offsets(&store, 0), [0, 1, 2]);
    append(&mut store, 4..6, 100);
    drop(store);
    let (store, again) = open(&disk.restarted());
    assert!(again.lost.is_empty(), "{again:?}");
    assert_eq!(again.store_id, recovery.store_id);
    assert_eq!(offsets(&store, 0), [0, 1, 2, 3, 4]);
}

/// All writes of a slice name the store that its header names; another is not ours.
#[test]
fn a_new_incarnation_writes_to_a_slice_of_its_own() {
    let disk = MemDisk::new(3);
    let (mut store, first) = open(&disk);
    append(&mut store, 1..31, 8000);
    maintain(&mut store, &disk);
    let slices = store.usage().slices;
    drop(store);
    // The oldest slice loses a write, the newest is whole.
    let disk = disk.restarted();
    let number = slices[0].number;
    assert!(disk.damage_file(&format!("slices/{number}/index"), false));
    assert!(disk.corrupt_value(number));
    let (mut store, recovery) = open(&disk);
    assert_eq!(
        recovery.previous_store_id,
        Some(first.store_id),
        "{recovery:?}"
    );
    append(&mut store, 31..33, 100);
    let newest = store.usage().slices.pop().unwrap();
    assert_eq!((newest.first_index, newest.last_index), (31, 32));
    drop(store);
    let (store, again) = open(&disk.restarted());
    assert!(again.lost.is_empty(), "{again:?}");
    assert_eq!(again.last_index, 32);
    assert_eq!(offsets(&store, 28), [28, 29, 30, 31]);
}

/// Every value is told from a client's bytes by the store's secret, which the identity file holds.
#[test]
fn without_the_identity_the_secret_beside_one_slice_finds_all() {
    let disk = MemDisk::new(3);
    let (mut store, first) = open(&disk);
    append(&mut store, 1..31, 8000);
    maintain(&mut store, &disk);
    let numbers: Vec<u64> = store.usage().slices.iter().map(|s| s.number).collect();
    drop(store);
    let disk = disk.restarted();
    assert!(disk.damage_file("identity", false));
    for number in &numbers[1..] {
        assert!(disk.damage_file(&format!("slices/{number}/secret"), number % 2 == 0));
    }
    let (store, recovery) = open(&disk);
    assert_ne!(recovery.store_id, first.store_id);
    assert!(
        recovery.lost.is_empty() && recovery.quarantined.is_empty(),
        "{recovery:?}"
    );
    assert_eq!(offsets(&store, 0), (0..30).collect::<Vec<_>>());
    drop(store);
    // The new identity has it again.
    let disk = disk.restarted();
    assert!(disk.damage_file(&format!("slices/{}/secret", numbers[0]), false));
    let (mut store, _) = open(&disk);
    append(&mut store, 31..32, 100);
    assert_eq!(offsets(&store, 29), [29, 30]);
}

/// Nobody can tell any more what is in them: they are kept for whoever can, and the start goes on.
#[test]
fn slices_whose_secret_is_gone_everywhere_are_moved_aside() {
    let disk = MemDisk::new(3);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..4, 100);
    drop(store);
    let disk = disk.restarted();
    assert!(disk.damage_file("identity", false));
    for number in disk.slices() {
        disk.damage_file(&format!("slices/{number}/secret"), false);
    }
    let (mut store, recovery) = open(&disk);
    assert_eq!((recovery.quarantined.len(), disk.quarantined()), (1, 1));
    assert_eq!(recovery.lost.len(), 1, "{recovery:?}");
    assert_eq!(recovery.previous_store_id, Some(0));
    append(&mut store, 1..3, 100);
    assert_eq!(offsets(&store, 0), [0, 1]);
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = MemDisk::new(5);
    let config = StoreConfig {
        ballast_bytes: 100 << 10,
        ..small()
    };
    disk.set_capacity_bytes(600 << 10);
    let (mut store, _) = Store::open(disk.clone(), config.clone()).unwrap();
    assert!(store.usage().ballast);
    let mut index = 1;
    let refused = loop {
        let entry = one_batch(index, index as i64 - 1, 1, 10_000);
        match store.persist(&[entry], None, false) {
            Ok(_) => index += 1,
            Err(error) => break error,
        }
        store.maintain();
    };
    assert!(matches!(refused, PersistError::Full { .. }), "{refused}");
    let usage = store.usage();
    assert!(usage.filesystem_full && !usage.ballast && usage.append_bytes_left == 0);
    assert_eq!(
        offsets(&store, 0),
        (0..index as i64 - 1).collect::<Vec<_>>(),
        "reads go on"
    );
    // So do a checkpoint and another start.
    let data = Bytes::from_static(b"state");
    store
        .save_checkpoint(&Checkpoint {
            index: 1,
            term: 1,
            data,
        })
        .unwrap();
    drop(store);
    let disk = disk.restarted();
    let (mut store, recovery) = Store::open(disk.clone(), config).unwrap();
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert!(recovery.last_index + 1 >= index);
    disk.set_capacity_bytes(10 << 20);
    disk.advance_ms(1000);
    store.maintain();
    let next = recovery.last_index + 1;
    append(&mut store, next..next + 5, 10_000);
    maintain(&mut store, &disk);
    assert!(store.usage().ballast && !store.usage().filesystem_full);
    assert_eq!(offsets(&store, 0), (0..next as i64 + 4).collect::<Vec<_>>());
}

#[test]
fn a_checkpoint_beside_the_appends_tells_when_it_is_done() {
    let disk = MemDisk::new(5);
    let (mut store, _) = Store::open(disk.clone(), small()).unwrap();
    append(&mut store, 1..4, 100);
    let data = Bytes::from_static(b"state");
    let checkpoint = |index| Checkpoint {
        index,
        term: 1,
        data: data.clone(),
    };
    store.save_checkpoint_later(checkpoint(2));
    disk.fail_syncs(1);
    let failed = store.maintain().checkpoints;
    assert!(matches!(
        failed[..],
        [(2, Err(PersistError::Poisoned { .. }))]
    ));
    store.save_checkpoint_later(checkpoint(3));
    assert_eq!(store.maintain().checkpoints, [(3, Ok(()))]);
    let (_, recovery) = Store::open(disk.power_cut(), small()).unwrap();
    assert_eq!(recovery.checkpoint, Some(checkpoint(3)));
}

#[test]
fn the_stores_own_limit_leaves_room_for_what_makes_room() {
    let disk = MemDisk::new(5);
    let config = StoreConfig {
        bytes_max: 1 << 20,
        ..small()
    };
    let (mut store, _) = Store::open(disk.clone(), config).unwrap();
    let mut index = 1;
    while store.append_bytes_left() > 0 {
        append(&mut store, index..index + 1, 10_000);
        store.maintain();
        index += 1;
    }
    assert!(store.usage().bytes_used < 1 << 20);
    // Full for the site; what it has proposed already still fits.
    append(&mut store, index..index + 2, 10_000);
    let data = Bytes::from_static(b"state");
    store
        .save_checkpoint(&Checkpoint {
            index,
            term: 1,
            data,
        })
        .unwrap();
    store.set_starts(&BTreeMap::from([(partition(0), index as i64)]));
    maintain(&mut store, &disk);
    assert!(store.append_bytes_left() > 0);
}

#[test]
fn slices_that_are_mostly_dead_are_rewritten_together() {
    let disk = MemDisk::new(5);
    let config = StoreConfig {
        bytes_max: 700 << 10,
        raft_window_bytes: 64 << 10,
        ..small()
    };
    let (mut store, _) = Store::open(disk.clone(), config.clone()).unwrap();
    let mut offsets_of = [0_i64; 2];
    for index in 1..60 {
        // A slow partition beside a quick one.
        let p = u32::from(index % 10 == 0);
        let bytes = if p == 1 { 300 } else { 10_000 };
        let offset = offsets_of[p as usize];
        offsets_of[p as usize] += 1;
        let batch = support::batch(offset, 1, index, &vec![7; bytes]);
        let data = support::frame(1, &[(partition(p), batch)]);
        store
            .persist(&[support::entry(index as u64, 1, data)], None, false)
            .unwrap();
        store.maintain();
    }
    maintain(&mut store, &disk);
    let before = store.usage();
    let data = Bytes::from_static(b"state");
    store
        .save_checkpoint(&Checkpoint {
            index: 59,
            term: 1,
            data,
        })
        .unwrap();
    store.set_starts(&BTreeMap::from([(partition(0), 50), (partition(1), 0)]));
    let done = maintain(&mut store, &disk);
    assert!(done.rewritten >= 3, "{done:?}");
    assert!(
        store.usage().bytes_used < before.bytes_used / 2,
        "{:?}",
        store.usage()
    );
    let slow = |store: &Store<MemDisk>| {
        let batches = store.reader().read(partition(1), 0, usize::MAX).unwrap();
        batches
            .iter()
            .map(|batch| batch.base_offset())
            .collect::<Vec<_>>()
    };
    assert_eq!(slow(&store), [0, 1, 2, 3, 4]);
    assert!(offsets(&store, 50).starts_with(&[50, 51]));
    drop(store);
    let (store, recovery) = Store::open(disk.power_cut(), config).unwrap();
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(slow(&store), [0, 1, 2, 3, 4]);
}

/// A store of about nine sealed slices; everything below `start` is dead from the next look on.
fn dead_below(disk: &MemDisk, start: i64) -> Store<MemDisk> {
    let (mut store, _) = open(disk);
    append(&mut store, 1..61, 10_000);
    maintain(&mut store, disk);
    save_checkpoint(&mut store, 60);
    store.set_starts(&BTreeMap::from([(partition(0), start)]));
    store
}

fn save_checkpoint(store: &mut Store<MemDisk>, index: u64) {
    let data = Bytes::from_static(b"state");
    let term = 1;
    store
        .save_checkpoint(&Checkpoint { index, term, data })
        .unwrap();
}

/// One failed sync of the folder once ended retention: the store filled up, until a restart.
#[test]
fn retention_goes_on_after_a_failed_sync_of_a_removal() {
    let run = |fail: u32| {
        let disk = MemDisk::new(7);
        let mut store = dead_below(&disk, 20);
        disk.fail_syncs(fail);
        maintain(&mut store, &disk);
        store.set_starts(&BTreeMap::from([(partition(0), 40)]));
        maintain(&mut store, &disk);
        assert_eq!(disk.stats().syncs_failed, u64::from(fail));
        (disk.slices(), store.usage().bytes_used)
    };
    let smooth = run(0);
    assert!(smooth.0.len() < 6, "{smooth:?}");
    assert_eq!(run(1), smooth);
    assert_eq!(run(3), smooth);
}

/// It also held up all other upkeep: nothing was sealed, created ahead or dropped any more.
#[test]
fn a_slice_that_cannot_be_removed_holds_up_nothing_else() {
    let disk = MemDisk::new(7);
    let mut store = dead_below(&disk, 40);
    let stuck = disk.slices()[1];
    disk.pin_slice(stuck, true);
    let done = maintain(&mut store, &disk);
    assert!(done.dropped > 3, "{done:?}");
    assert!(disk.slices().len() < 7, "{:?}", disk.slices());
    append(&mut store, 61..81, 10_000);
    let done = maintain(&mut store, &disk);
    assert_eq!(done.sealed, 3, "{done:?}");
    assert!(disk.slices().contains(&stuck));
    disk.pin_slice(stuck, false);
    maintain(&mut store, &disk);
    assert!(!disk.slices().contains(&stuck));
    drop(store);
    let (store, recovery) = open(&disk.power_cut());
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(offsets(&store, 40), (40..80).collect::<Vec<_>>());
}

/// A copy that was dropped while its original could not be moved aside would leave a start with
/// the original, which would tell of a loss once more.
#[test]
fn a_copy_stays_while_its_original_does() {
    let disk = MemDisk::new(7);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..6, 10_000);
    let original = disk.slices()[0];
    disk.pin_slice(original, true);
    assert!(disk.corrupt_value(original));
    assert!(store.reader().read(partition(0), 0, usize::MAX).is_err());
    let done = maintain(&mut store, &disk);
    assert_eq!(
        (done.lost.len(), done.quarantined.len()),
        (1, 0),
        "{done:?}"
    );
    append(&mut store, 6..61, 10_000);
    maintain(&mut store, &disk);
    save_checkpoint(&mut store, 60);
    store.set_starts(&BTreeMap::from([(partition(0), 50)]));
    assert!(maintain(&mut store, &disk).dropped > 3);
    drop(store);
    let disk = disk.power_cut();
    let (mut store, recovery) = open(&disk);
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(recovery.previous_store_id, None);
    disk.pin_slice(original, false);
    store.set_starts(&BTreeMap::from([(partition(0), 50)]));
    maintain(&mut store, &disk);
    assert!(disk.slices()[0] > 3, "{:?}", disk.slices());
    assert_eq!(offsets(&store, 50), (50..60).collect::<Vec<_>>());
}

/// What was voided would be back with the older slice, were the newer one gone before it.
#[test]
fn a_slice_goes_after_the_ones_it_voided_something_in() {
    let disk = MemDisk::new(7);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..9, 10_000);
    let later = |index, p, bytes| {
        let batch = support::batch(index as i64 - 1, 1, 5, &vec![9; bytes]);
        support::entry(index, 2, support::frame(2, &[(partition(p), batch)]))
    };
    // The older one is sealed before the newer one voids something in it.
    maintain(&mut store, &disk);
    let oldest = disk.slices()[0];
    disk.pin_slice(oldest, true);
    let voiding = (5..8).map(|index| later(index, 0, 25_000));
    for entry in voiding.chain((8..61).map(|index| later(index, 1, 10_000))) {
        store.persist(&[entry], None, false).unwrap();
    }
    save_checkpoint(&mut store, 60);
    store.set_starts(&BTreeMap::from([(partition(0), 50), (partition(1), 0)]));
    assert_eq!(maintain(&mut store, &disk).dropped, 2);
    drop(store);
    let disk = disk.restarted();
    let (store, recovery) = open(&disk);
    assert!(disk.slices().contains(&oldest));
    let found = store.reader().entries(recovery.first_index, 15, usize::MAX);
    let voided = |entry: &edge_log::Entry| entry.index >= 5 && entry.term == 1;
    assert!(!found.unwrap().iter().any(voided), "{recovery:?}");
}

/// Found by the model: a checkpoint whose folder was never synced was believed after a restart,
/// what it covers was dropped, and a power cut then brought the one before it back.
#[test]
fn nothing_is_dropped_before_the_names_found_at_the_start_are_durable() {
    for seed in 0..10 {
        let disk = MemDisk::new(seed);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..61, 10_000);
        maintain(&mut store, &disk);
        save_checkpoint(&mut store, 3);
        disk.fail_sync_nth(2);
        let data = Bytes::from_static(b"state");
        let (index, term) = (60, 1);
        let saved = store.save_checkpoint(&Checkpoint { index, term, data });
        assert!(saved.is_err(), "its folder was not synced");
        drop(store);
        let disk = disk.restarted();
        disk.fail_syncs(3);
        let (mut store, _) = open(&disk);
        // Its copy does no better.
        while disk.list_files("checkpoint").unwrap().len() < 3 {
            disk.fail_sync_nth(2);
            store.maintain();
        }
        drop(store);
        let disk = disk.restarted();
        disk.fail_syncs(3);
        let (mut store, recovery) = open(&disk);
        assert_eq!(recovery.checkpoint.unwrap().index, 60);
        store.set_starts(&BTreeMap::from([(partition(0), 50)]));
        disk.fail_syncs(2);
        for _ in 0..9 {
            disk.advance_ms(50);
            store.maintain();
        }
        drop(store);
        let (mut store, recovery) = open(&disk.power_cut());
        assert!(recovery.lost.is_empty(), "seed {seed}: {recovery:?}");
        store.set_starts(&BTreeMap::from([(partition(0), 50)]));
        save_checkpoint(&mut store, 60);
        assert!(maintain(&mut store, &disk).dropped > 3);
    }
}

/// A follower that crashed while it overwrote the end of its log believed that what it was shown
/// there was on its disk.
#[test]
fn what_an_unproven_end_writes_over_is_not_proven_either() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..4, 100);
    disk.fail_syncs(100);
    let batch = support::batch(1, 1, 5, &[9; 100]);
    let other = support::entry(2, 2, support::frame(2, &[(partition(0), batch)]));
    assert!(
        store
            .persist(std::slice::from_ref(&other), None, false)
            .is_err()
    );
    drop(store);
    let disk = disk.restarted();
    disk.fail_syncs(100);
    let (store, recovery) = open(&disk);
    let shown = store.reader().entries(2, 3, usize::MAX).unwrap();
    assert_eq!(shown, [other]);
    assert_eq!((recovery.last_index, recovery.proven_index), (2, 1));
    disk.fail_syncs(0);
}

/// Once the older one was removed first, and the newer one could not note any more, for ever,
/// what it had voided there.
#[test]
fn slices_that_voided_parts_of_each_other_are_dropped_together() {
    let disk = MemDisk::new(7);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..21, 10_000);
    let rewritten = |index| {
        let batch = support::batch(index as i64 - 1, 1, 5, &[9; 10_000]);
        support::entry(index, 2, support::frame(2, &[(partition(0), batch)]))
    };
    for index in (10..21).chain(15..61) {
        store.persist(&[rewritten(index)], None, false).unwrap();
    }
    maintain(&mut store, &disk);
    save_checkpoint(&mut store, 60);
    store.set_starts(&BTreeMap::from([(partition(0), 40)]));
    maintain(&mut store, &disk);
    let known: Vec<u64> = store
        .usage()
        .slices
        .iter()
        .map(|slice| slice.number)
        .collect();
    let on_disk = disk
        .slices()
        .into_iter()
        .filter(|number| number <= known.last().unwrap());
    assert_eq!(on_disk.collect::<Vec<_>>(), known);
    assert!(known.len() < 6, "{known:?}");
}

#[test]
fn damage_in_any_value_is_never_served_and_what_is_lost_is_exact() {
    for seed in 0..200 {
        let disk = MemDisk::new(seed);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..31, 8000);
        maintain(&mut store, &disk);
        let damaged = store.usage().slices[(seed % 3) as usize].number;
        assert!(disk.corrupt_value(damaged));
        let mut lost = Vec::new();
        let found = loop {
            match store.reader().read(partition(0), 0, usize::MAX) {
                Ok(batches) => break batches,
                Err(ReadError::Damaged(_)) => lost.extend(maintain(&mut store, &disk).lost),
                Err(other) => panic!("seed {seed}: {other}"),
            }
        };
        let found: Vec<i64> = found.iter().map(|batch| batch.base_offset()).collect();
        let gone: Vec<i64> = lost
            .iter()
            .flat_map(|lost| &lost.partitions)
            .flat_map(|(_, first, last)| *first..=*last)
            .collect();
        assert!(gone.len() <= 1, "seed {seed}: {lost:?}");
        let mut all = [found, gone].concat();
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn timestamps_find_their_offsets_across_slices() {
    let disk = MemDisk::new(5);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..31, 8000);
    maintain(&mut store, &disk);
    let reader = store.reader();
    let find = |ms| reader.offset_for_timestamp(partition(0), ms).unwrap();
    assert_eq!(find(0), Some(0));
    assert_eq!(find(10), Some(0));
    assert_eq!(find(11), Some(1));
    assert_eq!(find(300), Some(29));
    assert_eq!(find(301), None);
}

/// Found by both simulations: after more slices than are looked up in one go, all of them written
/// over, a reader was told that there is nothing.
#[test]
fn a_reader_passes_any_number_of_slices_that_were_written_over() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    for _ in 0..20 {
        store
            .persist(&[one_batch(1, 0, 1, 70_000)], None, false)
            .unwrap();
    }
    assert!(store.usage().slices.len() > 16);
    assert_eq!(offsets(&store, 0), [0]);
}

/// Every opening of an old slice once looked all of it through for the places of its values.
#[test]
fn an_old_record_is_read_without_looking_its_slice_through() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..61, 8000);
    maintain(&mut store, &disk);
    store.close();
    let disk = disk.restarted();
    let (store, _) = open(&disk);
    let reader = store.reader();
    let look = || {
        let before = disk.stats().looked_through;
        // More slices than are kept open, again and again.
        for offset in [3, 13, 23, 33, 43, 53].repeat(3) {
            let found = reader.read(partition(0), offset, 1).unwrap();
            assert_eq!(found[0].base_offset(), offset);
        }
        disk.stats().looked_through - before
    };
    assert_eq!(look(), 0);
    // An index that cannot be read costs two looks each time its slice is opened.
    let number = store.usage().slices[0].number;
    assert!(disk.damage_file(&format!("slices/{number}/index"), true));
    assert!((1..=6).contains(&look()));
}

/// A copy that failed at its very end is removed, and a power cut may bring it back, whole.
#[test]
fn what_was_copied_twice_is_there_once() {
    for seed in 0..1000 {
        let disk = MemDisk::new(seed);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..5, 100);
        drop(store);
        let disk = disk.power_cut();
        disk.set_faults(Faults {
            sync_fails_one_in: 4,
            ..Faults::default()
        });
        drop(Store::open(disk.clone(), small()));
        disk.set_faults(Faults::default());
        let (store, _) = open(&disk.power_cut());
        for slice in store.usage().slices {
            let partitions = slice.partitions.len();
            assert!(partitions <= 1, "seed {seed}: {slice:?}");
        }
        assert_eq!(offsets(&store, 0), (0..4).collect::<Vec<_>>());
    }
}

/// A newest slice that lost a write below the durable mark, with writes behind the mark in it.
fn damaged_with_a_tail(seed: u64) -> MemDisk {
    let disk = MemDisk::new(seed);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..9, 100);
    drop(store);
    let disk = disk.power_cut();
    disk.corrupt_value(disk.slices()[0]);
    disk
}

/// The damaged slice was moved aside before the end of the log, which is in it, was copied: a crash
/// between them left nobody who would find that end.
#[test]
fn a_crash_while_a_damaged_newest_slice_is_salvaged_costs_no_readable_write() {
    let mut tails = 0;
    for seed in 0..100 {
        let (store, recovery) = open(&damaged_with_a_tail(seed));
        let readable = offsets(&store, 0);
        let has_tail = recovery.proven_index > 0 && !recovery.lost.is_empty();
        tails += u32::from(has_tail);
        for operations in (0..60).take_while(|_| has_tail) {
            let disk = damaged_with_a_tail(seed);
            disk.crash_after(operations);
            if let Ok((mut store, _)) = Store::open(disk.clone(), small()) {
                (0..10).for_each(|_| drop(store.maintain()));
            }
            let (mut store, _) = open(&disk.power_cut());
            assert_eq!(offsets(&store, 0), readable, "seed {seed}, {operations}");
            maintain(&mut store, &disk);
            assert_eq!(offsets(&store, 0), readable, "seed {seed}, {operations}");
        }
    }
    assert!(tails > 10, "{tails}");
}

/// A sector that could not be read any more failed its readers for ever, and the copy of its slice
/// too.
#[test]
fn a_frame_that_cannot_be_read_is_lost_by_name_in_the_end_and_nothing_else() {
    for bad_sector in [true, false] {
        let disk = MemDisk::new(7);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..31, 8000);
        maintain(&mut store, &disk);
        let number = store.usage().slices[1].number;
        if bad_sector {
            assert!(disk.corrupt_value(number));
        }
        disk.set_faults(Faults {
            read_fails_one_in: 1,
            ..Faults::default()
        });
        let reader = store.reader();
        for _ in 0..20 {
            let read = reader.read(partition(0), 8, 1);
            assert!(matches!(read, Err(ReadError::Disk(_))), "{read:?}");
        }
        let mut lost = Vec::new();
        for second in 0..1200 {
            disk.advance_ms(1000);
            let done = store.maintain();
            assert!(done.lost.is_empty() || second > 300, "{second}: {done:?}");
            lost.extend(done.lost);
        }
        disk.set_faults(Faults::default());
        assert!(!disk.slices().contains(&number));
        assert_eq!(disk.quarantined(), usize::from(bad_sector));
        let gone = lost.iter().flat_map(|lost| &lost.partitions);
        let gone: Vec<i64> = gone.flat_map(|(_, first, last)| *first..=*last).collect();
        assert_eq!(gone.len(), usize::from(bad_sector), "{lost:?}");
        let mut all = [offsets(&store, 0), gone].concat();
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<_>>());
    }
}

/// A device that was gone for ten minutes cost every slice that somebody read meanwhile.
#[test]
fn a_slice_of_which_nothing_can_be_read_waits_for_the_disk_to_come_back() {
    for with_index in [true, false] {
        let disk = MemDisk::new(7);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..31, 8000);
        maintain(&mut store, &disk);
        let number = store.usage().slices[1].number;
        disk.set_unreadable(number, true);
        for _ in 0..20 {
            let read = store.reader().read(partition(0), 8, 1);
            assert!(matches!(read, Err(ReadError::Disk(_))), "{read:?}");
        }
        if !with_index {
            assert!(disk.damage_file(&format!("slices/{number}/index"), false));
        }
        let hour = |store: &mut Store<MemDisk>| {
            for second in 0..3600 {
                disk.advance_ms(1000);
                let done = store.maintain();
                assert!(done.lost.is_empty(), "{second}: {done:?}");
            }
        };
        hour(&mut store);
        assert!(disk.slices().contains(&number), "it is kept");
        disk.set_unreadable(number, false);
        hour(&mut store);
        assert_eq!(
            (disk.slices().contains(&number), disk.quarantined()),
            (false, 0)
        );
        assert_eq!(offsets(&store, 0), (0..30).collect::<Vec<_>>());
    }
}

/// With its index lost a slice is looked through, and what could not be read was once passed over.
#[test]
fn no_reader_passes_what_the_disk_cannot_read() {
    let disk = MemDisk::new(7);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..31, 8000);
    maintain(&mut store, &disk);
    let number = store.usage().slices[1].number;
    store.close();
    let disk = disk.restarted();
    let (store, _) = open(&disk);
    assert!(disk.damage_file(&format!("slices/{number}/index"), true));
    disk.set_unreadable(number, true);
    let read = store.reader().read(partition(0), 8, 1);
    assert!(matches!(read, Err(ReadError::Disk(_))), "passed over");
    disk.set_unreadable(number, false);
    assert_eq!(offsets(&store, 0), (0..30).collect::<Vec<_>>());
}

/// It was neither copied nor named, and where the copy had to wait all behind it went with it.
#[test]
fn a_frame_that_goes_bad_while_its_slice_is_salvaged_is_named_and_alone() {
    // Looking the slice through reads each value twice, and with a bad one it is looked through
    // three times; the copy reads it once, listing it once.
    for (reads, copy_fails) in [(6, false), (6, true), (7, true)] {
        let disk = MemDisk::new(7);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..9, 100);
        append(&mut store, 9..10, 70_000);
        drop(store);
        let disk = disk.restarted();
        let number = disk.slices()[0];
        assert!(disk.spoil_value(number, 3, 0) && disk.spoil_value(number, 5, reads));
        disk.set_faults(Faults {
            sync_fails_one_in: u32::from(copy_fails),
            ..Faults::default()
        });
        let (mut store, recovery) = open(&disk);
        disk.set_faults(Faults::default());
        let mut lost = recovery.lost;
        for _ in 0..1200 {
            disk.advance_ms(1000);
            lost.extend(store.maintain().lost);
        }
        let mut indexes: Vec<(u64, u64)> = Vec::new();
        indexes.extend(lost.iter().map(|lost| (lost.first_index, lost.last_index)));
        assert_eq!(indexes, [(3, 3), (5, 5)], "{reads} {copy_fails}: {lost:?}");
        assert_eq!(offsets(&store, 0), [0, 1, 3, 5, 6, 7, 8], "{reads}");
        assert!(!disk.slices().contains(&number));
    }
}
