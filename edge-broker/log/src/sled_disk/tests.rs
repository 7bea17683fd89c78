//! Real slices in temporary folders.
#![allow(clippy::unwrap_used)]

mod foreign;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::slice::SledSlice;
use crate::{
    Checkpoint, Disk, Entry, EntryKind, FRAME_LEVEL, FrameBuilder, FrameHeader, HardState,
    Maintained, ReadError, Recovery, SledDisk, Slice, Store, StoreConfig, TopicId, TopicPartition,
};

fn config() -> StoreConfig {
    StoreConfig {
        slice_bytes: 256 << 10,
        raft_window_bytes: 512 << 10,
        bytes_max: 1 << 30,
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..StoreConfig::default()
    }
}

fn open(dir: &Path) -> (Store<SledDisk>, Recovery) {
    Store::open(SledDisk::open(dir, &config()).unwrap(), config()).unwrap()
}

const PARTITION: TopicPartition = TopicPartition {
    topic: TopicId::from_u128(7),
    partition: 0,
};

/// An entry whose frame holds one batch of one record, at offset `index - 1`.
fn entry(index: u64, bytes: usize) -> Entry {
    let mut batch = vec![0; 61];
    batch[..8].copy_from_slice(&(index as i64 - 1).to_be_bytes());
    batch[8..12].copy_from_slice(&(49 + bytes as i32).to_be_bytes());
    batch[16] = 2;
    batch[35..43].copy_from_slice(&(index as i64 * 10).to_be_bytes());
    batch[57..61].copy_from_slice(&1_i32.to_be_bytes());
    let mut rng = fastrand::Rng::with_seed(index);
    batch.extend((0..bytes).map(|_| rng.u8(..)));
    let header = FrameHeader {
        level: FRAME_LEVEL,
        proposer_term: 1,
        store_id: 1,
        first_intake: index,
        site_time_ms: 0,
        boot_id: 1,
        boot_ms: 0,
    };
    let mut frame = FrameBuilder::new(&header);
    frame.push_batch(PARTITION, &batch);
    Entry {
        index,
        term: 1,
        kind: EntryKind::Normal,
        data: frame.finish(),
    }
}

fn entries(indexes: std::ops::Range<u64>) -> Vec<Entry> {
    indexes.map(|index| entry(index, 10_000)).collect()
}

/// A store of 100 entries of 10 kB, over several slices.
fn filled(dir: &Path) -> Store<SledDisk> {
    let (mut store, _) = open(dir);
    for at in 0..10 {
        let entries = entries(at * 10 + 1..at * 10 + 11);
        let hard_state = HardState {
            term: 1,
            vote: 1,
            commit: at * 10,
        };
        store.persist(&entries, Some(hard_state), false).unwrap();
    }
    store
}

/// Lets the upkeep thread work until something is so.
fn maintain_until(
    store: &mut Store<SledDisk>,
    done: impl Fn(&Store<SledDisk>) -> bool,
) -> Maintained {
    let begun = Instant::now();
    let mut all = Maintained::default();
    while !done(store) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            store.usage()
        );
        let some = store.maintain();
        all.lost.extend(some.lost);
        all.quarantined.extend(some.quarantined);
        all.dropped += some.dropped;
        std::thread::sleep(Duration::from_millis(2));
    }
    all
}

fn all_sealed(store: &Store<SledDisk>) -> bool {
    let slices = store.usage().slices;
    slices.iter().rev().skip(1).all(|slice| slice.sealed)
}

fn slice_dirs(dir: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(dir.join("slices"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    dirs.sort();
    dirs
}

#[test]
fn what_is_persisted_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path());
    maintain_until(&mut store, all_sealed);
    let store_id = store.identity.current().store_id;
    assert_eq!(
        store.reader().entries(1, 101, usize::MAX).unwrap(),
        entries(1..101)
    );
    store.close();
    let (store, again) = open(dir.path());
    assert!(again.clean && again.lost.is_empty(), "{again:?}");
    assert_eq!((again.first_index, again.last_index), (1, 100));
    assert_eq!(again.hard_state.commit, 90);
    assert_eq!((again.store_id, again.boot_count), (store_id, 2));
    assert_eq!(
        store.reader().entries(1, 101, usize::MAX).unwrap(),
        entries(1..101)
    );
    let batches = store.reader().read(PARTITION, 42, 25_000).unwrap();
    let offsets: Vec<i64> = batches.iter().map(|batch| batch.base_offset()).collect();
    assert_eq!(offsets, [42, 43]);
}

#[test]
fn only_one_process_has_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path());
    let again = SledDisk::open(dir.path(), &config());
    assert!(matches!(again, Err(crate::DiskError::Locked(_))));
}

/// A full disk refuses a new slice anywhere between its folder and its last sync, and is asked
/// again each second: six tries left six folders of 16 kB, until a restart.
#[test]
fn a_slice_that_cannot_be_created_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SledDisk::open(dir.path(), &config()).unwrap();
    for number in 1..4 {
        // As far as its folder and `conf` it goes well.
        fs::create_dir_all(dir.path().join(format!("slices/{number}/db/in-the-way"))).unwrap();
        assert!(disk.create_slice(number, b"").is_err());
    }
    assert_eq!(slice_dirs(dir.path()), Vec::<PathBuf>::new());
}

/// The rename was made, then the sync of the folder failed. The next try renamed again, did not
/// find the slice, and so for ever: retention had ended until a restart.
#[test]
fn a_removal_that_failed_halfway_is_finished_by_the_next_try() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SledDisk::open(dir.path(), &config()).unwrap();
    drop(disk.create_slice(1, b"").unwrap());
    fs::rename(
        dir.path().join("slices/1"),
        dir.path().join("slices/1.dead"),
    )
    .unwrap();
    disk.remove_slice(1).unwrap();
    assert_eq!(slice_dirs(dir.path()), Vec::<PathBuf>::new());
    disk.remove_slice(1).unwrap();
    // What an earlier one of that number left is in nobody's way.
    drop(disk.create_slice(1, b"").unwrap());
    fs::create_dir_all(dir.path().join("slices/1.dead/left")).unwrap();
    disk.remove_slice(1).unwrap();
    assert_eq!(slice_dirs(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_slice_that_is_in_quarantine_already_stays_there_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SledDisk::open(dir.path(), &config()).unwrap();
    for name in ["quarantine/1", "quarantine/1.1"] {
        drop(disk.create_slice(1, b"").unwrap());
        assert_eq!(disk.quarantine_slice(1).unwrap(), name);
        assert_eq!(disk.quarantine_slice(1).unwrap(), name, "a second try");
    }
    // Somebody has looked at it and deleted it meanwhile.
    fs::remove_dir_all(dir.path().join("quarantine")).unwrap();
    fs::create_dir(dir.path().join("quarantine")).unwrap();
    assert_eq!(disk.quarantine_slice(1).unwrap(), "quarantine/1");
}

#[test]
fn a_file_that_is_in_quarantine_already_stays_there_too() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SledDisk::open(dir.path(), &config()).unwrap();
    for name in ["quarantine/checkpoint-1", "quarantine/checkpoint-1.1"] {
        disk.replace_file("checkpoint/1", name.as_bytes()).unwrap();
        assert_eq!(disk.quarantine_file("checkpoint/1").unwrap(), name);
        let aside = disk.read_file(name, usize::MAX).unwrap();
        assert_eq!(aside.as_deref(), Some(name.as_bytes()));
        assert_eq!(disk.list_files("checkpoint").unwrap(), [""; 0]);
    }
}

#[test]
fn torn_conf_and_half_snapshots_do_not_hinder_opening() {
    let conf = fs::read({
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        let copy = tempfile::NamedTempFile::new().unwrap();
        fs::copy(slice_dirs(dir.path())[0].join("conf"), copy.path()).unwrap();
        copy.into_temp_path().keep().unwrap()
    })
    .unwrap();
    let torn = [
        Vec::new(),
        vec![0; 62],
        conf[..7].to_vec(),
        conf[..58].to_vec(),
    ];
    for content in torn {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path()));
        for slice in slice_dirs(dir.path()) {
            fs::write(slice.join("conf"), &content).unwrap();
            fs::write(slice.join("snap.0000000000000000.generating"), b"half").unwrap();
        }
        let (store, recovery) = open(dir.path());
        assert!(
            recovery.lost.is_empty() && recovery.quarantined.is_empty(),
            "{recovery:?}"
        );
        assert_eq!(
            store.reader().entries(1, 101, usize::MAX).unwrap(),
            entries(1..101)
        );
        assert_eq!(recovery.previous_store_id, None);
    }
}

/// Found by the power-cut replayer: a whole `conf` was taken for a damaged one at every open and
/// written anew without a sync, so that a second cut could leave a slice that sled refuses.
#[test]
fn a_whole_conf_is_left_alone_and_a_torn_one_is_mended() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1");
    drop(SledSlice::create(&path, 1 << 20, b"").unwrap());
    let conf = path.join("conf");
    let (whole, inode) = (fs::read(&conf).unwrap(), fs::metadata(&conf).unwrap().ino());
    drop(SledSlice::open(&path, 1 << 20).unwrap());
    assert_eq!(fs::metadata(&conf).unwrap().ino(), inode, "left alone");
    for torn in [0, 1, 58, 61] {
        fs::write(&conf, &whole[..torn]).unwrap();
        drop(SledSlice::open(&path, 1 << 20).unwrap());
        assert_eq!(fs::read(&conf).unwrap(), whole, "cut to {torn} bytes");
    }
    fs::remove_file(&conf).unwrap();
    drop(SledSlice::open(&path, 1 << 20).unwrap());
    assert_eq!(fs::read(&conf).unwrap(), whole);
}

/// sled once wrote values 2.9 times on average: it split leaves with values in them.
#[test]
fn sled_writes_each_value_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1");
    let values: Vec<Vec<u8>> = (0..600_u64)
        .map(|n| entry(n + 1, 3000 + (n as usize * 997) % 9000).data.to_vec())
        .collect();
    let (half, bytes) = (300, values.iter().map(Vec::len).sum::<usize>() as u64);
    let mut slice = SledSlice::create(&path, 1 << 20, b"").unwrap();
    for (n, value) in values.iter().enumerate() {
        if n == half {
            // What comes after a start goes on behind it.
            drop(slice);
            slice = SledSlice::open(&path, 1 << 20).unwrap();
        }
        slice.put(n as u64, value).unwrap();
        slice.sync().unwrap();
    }
    for (n, value) in values.iter().enumerate() {
        for (part, expected) in value.chunks(crate::VALUE_BYTES_MAX).enumerate() {
            let found = slice.get(n as u64, part as u32).unwrap();
            assert_eq!(found.as_deref(), Some(expected), "{n}.{part}");
        }
    }
    // sled takes room in pieces of half a megabyte, also at an opening.
    let files = slice.bytes();
    assert!(files < bytes * 110 / 100 + (2 << 20), "{files} of {bytes}");
}

/// Sealing once closed a slice, opened it with sled and closed it again, and readers waited for all
/// of that; one that hung in sled would have held them for ever.
#[test]
fn sealing_and_reading_do_not_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path());
    let number = store.usage().slices[0].number;
    let reading = store.shared.slice(number).unwrap();
    maintain_until(&mut store, all_sealed);
    let found = store.reader().entries(1, 101, usize::MAX).unwrap();
    assert_eq!(found, entries(1..101));
    drop(reading);
}

/// An open sled Db of 16 MB holds all of it in memory, and opening one reads and writes.
#[test]
fn reading_does_not_open_a_slice_with_sled() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path());
    maintain_until(&mut store, all_sealed);
    let sealed = store.usage().slices.into_iter().filter(|s| s.sealed);
    let conf = |number: u64| dir.path().join(format!("slices/{number}/conf"));
    let confs: Vec<PathBuf> = sealed.map(|slice| conf(slice.number)).collect();
    assert!(confs.len() > 2);
    confs.iter().for_each(|conf| fs::remove_file(conf).unwrap());
    let found = store.reader().entries(1, 101, usize::MAX).unwrap();
    assert_eq!(found, entries(1..101));
    store.close();
    let (store, _) = open(dir.path());
    let batches = store.reader().read(PARTITION, 0, usize::MAX).unwrap();
    assert_eq!(batches.len(), 100);
    assert!(confs.iter().all(|conf| !conf.exists()), "sled writes it");
}

#[test]
fn a_damaged_slice_is_salvaged_and_what_is_lost_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path());
    maintain_until(&mut store, all_sealed);
    let slice = store.usage().slices[1].clone();
    let checkpoint = Checkpoint {
        index: 100,
        term: 1,
        data: Bytes::from_static(b"state"),
    };
    store.save_checkpoint(&checkpoint).unwrap();
    store.close();
    // Every copy of one frame's bytes is spoilt.
    let lost_index = slice.first_index + 3;
    let needle = entry(lost_index, 10_000).data;
    let db = dir.path().join(format!("slices/{}/db", slice.number));
    let mut bytes = fs::read(&db).unwrap();
    let found: Vec<usize> = (0..bytes.len() - 40)
        .filter(|at| bytes[*at..].starts_with(&needle[600..640]))
        .collect();
    assert!(!found.is_empty());
    found.iter().for_each(|at| bytes[*at] ^= 1);
    fs::write(&db, bytes).unwrap();

    let (mut store, recovery) = open(dir.path());
    assert!(
        recovery.lost.is_empty(),
        "what lies before the checkpoint is not read at start"
    );
    let reader = store.reader();
    let read = |store: &Store<SledDisk>| store.reader().read(PARTITION, lost_index as i64 - 1, 1);
    assert!(matches!(read(&store), Err(ReadError::Damaged(_))));
    let aside = |store: &Store<SledDisk>| store.usage().quarantined == 1 && store.upkeep.all_gone();
    let done = maintain_until(&mut store, aside);
    assert_eq!(done.quarantined, [format!("quarantine/{}", slice.number)]);
    let lost = lost_index as i64 - 1;
    assert_eq!(done.lost.len(), 1);
    assert_eq!(done.lost[0].partitions, [(PARTITION, lost, lost)]);
    assert_eq!(
        (done.lost[0].first_index, done.lost[0].last_index),
        (lost_index, lost_index)
    );
    let found = reader.entries(1, 101, usize::MAX).unwrap();
    for (expected, found) in entries(1..101).into_iter().zip(found) {
        match expected.index == lost_index {
            true => assert!(found.data.is_empty() && found.index == lost_index),
            false => assert_eq!(found, expected),
        }
    }
    assert_eq!(read(&store).unwrap()[0].base_offset(), lost + 1);
}

#[test]
fn a_newest_slice_that_does_not_open_loses_nothing_it_still_has() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    // The head of sled's file: sled finds nothing or panics, our values name themselves.
    for slice in slice_dirs(dir.path()) {
        let db = slice.join("db");
        let mut bytes = fs::read(&db).unwrap();
        bytes[..100].fill(0xAA);
        fs::write(&db, bytes).unwrap();
    }
    let (store, recovery) = open(dir.path());
    assert_eq!(recovery.last_index, 100, "{recovery:?}");
    assert_eq!(
        store.reader().entries(1, 101, usize::MAX).unwrap(),
        entries(1..101)
    );
}

#[test]
fn dead_slices_go_and_their_bytes_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path());
    maintain_until(&mut store, all_sealed);
    let before = store.usage();
    let data = Bytes::from_static(b"state");
    store
        .save_checkpoint(&Checkpoint {
            index: 95,
            term: 1,
            data,
        })
        .unwrap();
    store.set_starts(&BTreeMap::from([(PARTITION, 60)]));
    let first = |store: &Store<SledDisk>| store.usage().slices[0].first_index;
    let bytes = before.bytes_used;
    maintain_until(&mut store, |store| {
        first(store) > 30 && store.usage().bytes_used < bytes
    });
    let after = store.usage();
    assert!(
        after.slices[0].first_index <= 61,
        "the first live record is kept"
    );
    let first_index = store.first_index();
    assert_eq!(
        store.reader().entries(1, 101, 1),
        Err(ReadError::Compacted { first_index })
    );
    assert_eq!(
        store.reader().read(PARTITION, 60, 1).unwrap()[0].base_offset(),
        60
    );
    drop(store);
    let (store, recovery) = open(dir.path());
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(recovery.first_index, first_index);
    assert_eq!(
        store.reader().read(PARTITION, 60, 1).unwrap()[0].base_offset(),
        60
    );
}

/// Where the values of a write begin in a `db` file, by part.
fn values_of(bytes: &[u8], sequence: u64) -> BTreeMap<u32, usize> {
    let number = |at: usize, len| bytes[at..at + len].iter().rev();
    let number = |at, len| number(at, len).fold(0, |n, byte| n << 8 | u64::from(*byte));
    let is_its = |at: &usize| {
        bytes[*at..].starts_with(&crate::value::MAGIC) && number(at + 4, 8) == sequence
    };
    let found = (0..bytes.len() - 16).filter(is_its);
    found.map(|at| (number(at + 12, 4) as u32, at)).collect()
}

/// sled may recover the beginning of a frame and not its end: once only the beginning was looked
/// for, and a whole frame, readable by its values, was then lost by name.
#[test]
fn a_frame_of_which_sled_finds_only_the_beginning_is_still_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let all: Vec<Entry> = (1..5).map(|index| entry(index, 40_000)).collect();
    for entry in &all {
        store
            .persist(std::slice::from_ref(entry), None, true)
            .unwrap();
    }
    store.close();
    let db = slice_dirs(dir.path())[0].join("db");
    let mut bytes = fs::read(&db).unwrap();
    let places = values_of(&bytes, 4);
    assert_eq!(places.len(), 6);
    // sled's own, in front of our value.
    bytes[places[&3] - 3] ^= 1;
    fs::write(&db, &bytes).unwrap();
    let (mut store, recovery) = open(dir.path());
    assert!(recovery.lost.is_empty(), "{recovery:?}");
    assert_eq!(store.reader().entries(1, 5, usize::MAX), Ok(all.clone()));
    maintain_until(&mut store, |store| store.upkeep.all_gone());
    assert_eq!(store.reader().entries(1, 5, usize::MAX), Ok(all));
}

/// It could never be copied, was tried for ever, and held up the rescue of all others.
#[test]
fn a_slice_whose_db_file_is_gone_is_lost_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path());
    maintain_until(&mut store, all_sealed);
    let slice = store.usage().slices[1].clone();
    fs::remove_file(dir.path().join(format!("slices/{}/db", slice.number))).unwrap();
    let reader = store.reader();
    let offset = slice.first_index as i64 - 1;
    assert!(matches!(
        reader.read(PARTITION, offset, 1),
        Err(ReadError::Damaged(_))
    ));
    let aside = |store: &Store<SledDisk>| store.usage().quarantined == 1 && store.upkeep.all_gone();
    let done = maintain_until(&mut store, aside);
    let last = slice.last_index as i64 - 1;
    assert_eq!(done.lost[0].partitions, [(PARTITION, offset, last)]);
    let next = reader.read(PARTITION, offset, 1).unwrap();
    assert_eq!(next[0].base_offset(), last + 1);
}
