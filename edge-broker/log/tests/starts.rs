//! What a start makes of a disk that was damaged, or fails to read, since the store wrote there.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::{Faults, MemDisk};
use edge_log::{Checkpoint, Disk, Recovery, Store, StoreConfig};
use support::{append, batch, entry, frame, maintain, offsets, one_batch, open, partition, small};

/// All entries from the first one kept, as a replay reads them.
fn replayed(store: &Store<MemDisk>, recovery: &Recovery) -> Vec<u64> {
    let entries = store
        .reader()
        .entries(recovery.first_index, recovery.last_index + 1, usize::MAX);
    let entries = entries.unwrap();
    let whole = entries.iter().filter(|entry| !entry.data.is_empty());
    whole.map(|entry| entry.index).collect()
}

/// Offsets that ranges of lost records name.
fn lost_offsets(recovery: &Recovery) -> Vec<i64> {
    let lost = recovery.lost.iter().flat_map(|lost| &lost.partitions);
    lost.flat_map(|(_, first, last)| *first..=*last).collect()
}

/// Once a sealed slice counted by its summary alone: the replay failed on the frame, and the
/// gateway never started again.
#[test]
fn a_frame_lost_in_a_sealed_slice_is_named_and_the_rest_replayed() {
    for seed in 0..40 {
        let disk = MemDisk::new(seed);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..31, 8000);
        maintain(&mut store, &disk);
        store.close();
        let disk = disk.restarted();
        let number = disk.slices()[seed as usize % 3];
        assert!(disk.corrupt_value(number));
        let (mut store, recovery) = open(&disk);
        let lost = lost_offsets(&recovery);
        // The header of a slice is needed by nobody once it is sealed.
        assert!(lost.len() <= 1, "seed {seed}: {recovery:?}");
        assert_eq!(recovery.previous_store_id.is_some(), !lost.is_empty());
        assert_eq!(recovery.quarantined.len(), lost.len());
        let all = |mut rest: Vec<i64>| {
            rest.extend(&lost);
            rest.sort_unstable();
            rest
        };
        let read = replayed(&store, &recovery).into_iter();
        let read = all(read.map(|index| index as i64 - 1).collect());
        assert_eq!(read, (0..30).collect::<Vec<_>>(), "seed {seed}");
        append(&mut store, 31..33, 100);
        assert_eq!(all(offsets(&store, 0)), (0..32).collect::<Vec<_>>());
        assert!(maintain(&mut store, &disk).lost.is_empty(), "told once");
        drop(store);
        let (store, again) = open(&disk.power_cut());
        assert!(again.lost.is_empty(), "told once: {again:?}");
        assert_eq!(all(offsets(&store, 0)), (0..32).collect::<Vec<_>>());
    }
}

/// The same where the copy fails: what is left is served, and copied when the disk lets it.
#[test]
fn what_is_left_of_a_sealed_slice_is_served_before_it_can_be_copied() {
    let disk = MemDisk::new(3);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..31, 8000);
    maintain(&mut store, &disk);
    store.close();
    let disk = disk.restarted();
    let number = disk.slices()[1];
    assert!(disk.spoil_value(number, 4, 0));
    disk.set_faults(Faults {
        sync_fails_one_in: 1,
        ..Faults::default()
    });
    let (mut store, recovery) = open(&disk);
    disk.set_faults(Faults::default());
    let lost = lost_offsets(&recovery);
    assert_eq!(lost.len(), 1, "{recovery:?}");
    let left: Vec<i64> = (0..30).filter(|offset| !lost.contains(offset)).collect();
    assert_eq!(replayed(&store, &recovery).len(), left.len());
    assert_eq!(offsets(&store, 0), left);
    disk.advance_ms(60_000);
    assert!(maintain(&mut store, &disk).lost.is_empty(), "told once");
    assert!(!disk.slices().contains(&number));
    assert_eq!(offsets(&store, 0), left);
}

/// Its index gone, too: which entries are missing is still told.
#[test]
fn a_frame_lost_beside_a_damaged_index_is_told_by_its_entry() {
    for flip in [true, false] {
        let disk = MemDisk::new(3);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..31, 8000);
        maintain(&mut store, &disk);
        store.close();
        let disk = disk.restarted();
        let number = disk.slices()[1];
        assert!(disk.damage_file(&format!("slices/{number}/index"), flip));
        assert!(disk.spoil_value(number, 4, 0));
        let (store, recovery) = open(&disk);
        let [lost] = &recovery.lost[..] else {
            panic!("{recovery:?}");
        };
        assert_eq!(lost.first_index, lost.last_index, "{recovery:?}");
        let read = replayed(&store, &recovery);
        assert_eq!(read.len(), 29);
        assert!(!read.contains(&lost.first_index));
    }
}

/// Once one bad block anywhere in a slice that was not sealed failed every read of it, though all
/// frames that count could be read; and so the gateway did not start.
#[test]
fn a_bad_block_beside_the_frames_that_count_fails_no_read() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..9, 100);
    disk.fail_syncs(1);
    // Written here, given up, and written again in another slice.
    append(&mut store, 9..10, 100);
    let number = disk.slices()[0];
    assert!(
        disk.spoil_value(number, 9, 0),
        "the write that was given up"
    );
    assert_eq!(offsets(&store, 0), (0..9).collect::<Vec<_>>());
    drop(store);
    let (store, recovery) = open(&disk.restarted());
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(replayed(&store, &recovery), (1..10).collect::<Vec<_>>());
}

/// It was taken for a torn tail: acked records went without a word, and their indexes were given
/// again.
#[test]
fn an_unreadable_end_of_the_log_is_a_loss_and_no_torn_tail() {
    for seed in 0..20 {
        let disk = MemDisk::new(seed);
        let (mut store, first) = open(&disk);
        append(&mut store, 1..9, 100);
        drop(store);
        // The mark was written last, and not synced.
        let disk = disk.power_cut();
        let number = disk.slices()[0];
        assert!(disk.spoil_value(number, 8, 0));
        let (mut store, recovery) = open(&disk);
        assert_eq!(recovery.lost.len(), 1, "seed {seed}: {recovery:?}");
        assert_eq!(recovery.previous_store_id, Some(first.store_id));
        assert_eq!(offsets(&store, 0), (0..7).collect::<Vec<_>>());
        assert!(maintain(&mut store, &disk).lost.is_empty());
        assert!(!disk.slices().contains(&number));
        assert_eq!(disk.quarantined(), 1, "seed {seed}");
        drop(store);
        let (store, again) = open(&disk.restarted());
        assert!(again.lost.is_empty(), "told once: {again:?}");
        assert_eq!(offsets(&store, 0), (0..7).collect::<Vec<_>>());
    }
}

/// A store that stopped in order knows its last write, so nothing can be behind it.
#[test]
fn a_bad_block_behind_the_end_of_a_store_that_stopped_in_order_is_no_loss() {
    let disk = MemDisk::new(1);
    let (mut store, first) = open(&disk);
    append(&mut store, 1..9, 100);
    let number = disk.slices()[0];
    store.close();
    let disk = disk.restarted();
    assert!(disk.spoil_value(number, 0, 0), "the header");
    let (store, recovery) = open(&disk);
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(recovery.store_id, first.store_id);
    assert_eq!(offsets(&store, 0), (0..8).collect::<Vec<_>>());
}

/// A moment's failure at a start cost an incarnation, a slice or the newest records, by what was
/// just being read.
#[test]
fn reads_that_fail_for_a_moment_at_a_start_cost_nothing() {
    for (after, seed) in (0..60).flat_map(|after| [(after, 3), (after, 4)]) {
        let disk = MemDisk::new(seed);
        let (mut store, first) = open(&disk);
        append(&mut store, 1..31, 8000);
        (0..9).for_each(|_| drop(store.maintain()));
        disk.fail_syncs(1);
        append(&mut store, 31..33, 100);
        drop(store);
        let disk = disk.power_cut();
        disk.fail_reads(after, 2);
        let (mut store, recovery) = open(&disk);
        assert!(recovery.lost.is_empty(), "{after}: {recovery:?}");
        assert_eq!(recovery.store_id, first.store_id, "{after}");
        assert!(recovery.quarantined.is_empty(), "{after}: {recovery:?}");
        disk.fail_reads(0, 0);
        assert_eq!(offsets(&store, 0), (0..32).collect::<Vec<_>>(), "{after}");
        maintain(&mut store, &disk);
        assert_eq!(disk.quarantined(), 0, "{after}");
    }
}

/// Read once and taken for damaged, it cost the store its id and every partition 2^32 offsets.
#[test]
fn an_identity_file_that_cannot_be_read_for_a_moment_begins_no_incarnation() {
    let disk = MemDisk::new(3);
    let (mut store, first) = open(&disk);
    append(&mut store, 1..4, 100);
    drop(store);
    let disk = disk.restarted();
    disk.fail_reads(0, 2);
    let (_, recovery) = open(&disk);
    assert_eq!(recovery.previous_store_id, None);
    assert_eq!(recovery.store_id, first.store_id);
}

/// Each sealed slice cost a start one sync, 10 ms on a card: eight seconds with 500 of them.
#[test]
fn a_start_syncs_no_folder_of_a_slice_that_was_sealed_before() {
    let disk = MemDisk::new(3);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..201, 8000);
    maintain(&mut store, &disk);
    let slices = store.usage().slices.len() as u64;
    store.close();
    let disk = disk.restarted();
    let before = disk.stats().syncs;
    let (mut store, _) = open(&disk);
    let syncs = disk.stats().syncs - before;
    assert!(
        slices > 20 && syncs < 8,
        "{syncs} syncs for {slices} slices"
    );
    maintain(&mut store, &disk);
    assert!(disk.stats().syncs - before > slices, "upkeep does it");
}

/// It was taken for one that a crash left unfinished, and removed: acked records with it.
#[test]
fn a_copy_of_the_end_of_the_log_outlives_its_index() {
    let mut copies = 0;
    for (seed, flip) in (0..20).flat_map(|seed| [(seed, true), (seed, false)]) {
        let disk = MemDisk::new(seed);
        let (mut store, _) = open(&disk);
        append(&mut store, 1..9, 100);
        drop(store);
        let disk = disk.power_cut();
        let (mut store, _) = open(&disk);
        append(&mut store, 9..12, 100);
        maintain(&mut store, &disk);
        let slices = store.usage().slices;
        store.close();
        let disk = disk.restarted();
        let copy = slices
            .iter()
            .find(|slice| slice.sealed && slice.last_index == 8);
        let Some(copy) = copy else { continue };
        copies += 1;
        assert!(disk.damage_file(&format!("slices/{}/index", copy.number), flip));
        let (mut store, recovery) = open(&disk);
        assert!(recovery.lost.is_empty(), "seed {seed}: {recovery:?}");
        maintain(&mut store, &disk);
        assert_eq!(offsets(&store, 0), (0..11).collect::<Vec<_>>());
    }
    assert!(copies > 10, "{copies}");
}

/// A store of small records among large ones, in mostly dead slices.
fn mostly_dead(disk: &MemDisk, config: &StoreConfig) -> Store<MemDisk> {
    let (mut store, _) = Store::open(disk.clone(), config.clone()).unwrap();
    for index in 1..400 {
        store
            .persist(&[large_and_small(index)], None, false)
            .unwrap();
        store.maintain();
        disk.advance_ms(10);
    }
    save_checkpoint(&mut store, 399);
    let starts = BTreeMap::from([(partition(0), 390), (partition(1), 0)]);
    store.set_starts(&starts);
    store
}

fn large_and_small(index: u64) -> edge_log::Entry {
    let of = |bytes| batch(index as i64 - 1, 1, 0, &vec![1; bytes]);
    let batches = [(partition(0), of(2000)), (partition(1), of(300))];
    entry(index, 1, frame(1, &batches))
}

fn save_checkpoint(store: &mut Store<MemDisk>, index: u64) {
    let data = Bytes::from_static(b"state");
    let term = 1;
    store
        .save_checkpoint(&Checkpoint { index, term, data })
        .unwrap();
}

/// Without its index a rewritten slice came back as raft entries, which its frames are no more.
#[test]
fn a_rewritten_slice_without_its_index_holds_no_raft_entries() {
    let disk = MemDisk::new(1);
    let config = StoreConfig {
        bytes_max: 1536 << 10,
        raft_window_bytes: 0,
        ..small()
    };
    let mut store = mostly_dead(&disk, &config);
    assert!(maintain(&mut store, &disk).rewritten > 0);
    store.close();
    let disk = disk.restarted();
    for number in disk.slices() {
        disk.damage_file(&format!("slices/{number}/index"), false);
    }
    let (mut store, recovery) = Store::open(disk.clone(), config).unwrap();
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    maintain(&mut store, &disk);
    let (first, end) = (recovery.first_index, recovery.last_index + 1);
    let found = store.reader().entries(first, end, usize::MAX).unwrap();
    assert!(found.into_iter().eq((first..end).map(large_and_small)));
    let small = store.reader().read(partition(1), 0, usize::MAX).unwrap();
    assert_eq!(small.len(), 399);
}

/// Gone without a trace they were taken for never written: the topics being unknown, retention
/// deleted every record.
#[test]
fn a_trimmed_log_whose_checkpoints_are_gone_is_moved_aside() {
    for flip in [true, false] {
        let disk = MemDisk::new(1);
        let config = StoreConfig {
            raft_window_bytes: 0,
            ..small()
        };
        let (mut store, _) = Store::open(disk.clone(), config.clone()).unwrap();
        append(&mut store, 1..200, 3000);
        maintain(&mut store, &disk);
        save_checkpoint(&mut store, 150);
        store.set_starts(&BTreeMap::from([(partition(0), 100)]));
        assert!(maintain(&mut store, &disk).dropped > 0);
        store.close();
        let disk = disk.restarted();
        for name in disk.list_files("checkpoint").unwrap() {
            assert!(disk.damage_file(&name, flip));
        }
        let slices = disk.slices().len();
        let (mut store, recovery) = Store::open(disk.clone(), config).unwrap();
        assert_eq!(recovery.lost.len(), 1, "{recovery:?}");
        assert!(disk.quarantined() >= slices - 1, "{recovery:?}");
        let next = recovery.last_index + 1;
        store
            .persist(&[one_batch(next, 0, 1, 100)], None, false)
            .unwrap();
        assert_eq!(offsets(&store, 0), [0]);
    }
}
