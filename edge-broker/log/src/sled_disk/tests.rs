//! Real slices in temporary folders.
#![allow(clippy::unwrap_used)]

use std::fs;

use bytes::Bytes;

use super::slice::SledSlice;
use crate::{Entry, EntryKind, HardState, SledDisk, Store, StoreConfig};

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

fn entries(indexes: std::ops::Range<u64>, bytes: usize) -> Vec<Entry> {
    let data = |index: u64| Bytes::from(vec![index as u8; bytes]);
    indexes
        .map(|index| Entry {
            index,
            term: 1,
            kind: EntryKind::Normal,
            data: data(index),
        })
        .collect()
}

#[test]
fn what_is_persisted_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, recovery) =
        Store::open(SledDisk::open(dir.path(), &config()).unwrap(), config()).unwrap();
    assert!(recovery.clean && recovery.lost.is_empty());
    for at in 0..10 {
        let entries = entries(at * 10 + 1..at * 10 + 11, 10_000);
        let hard_state = HardState {
            term: 1,
            vote: 1,
            commit: at * 10,
        };
        store.persist(&entries, Some(hard_state), false).unwrap();
        store.maintain();
    }
    let read = store.reader().entries(1, 101, usize::MAX).unwrap();
    assert_eq!(read, entries(1..101, 10_000));
    store.close();
    let (store, again) =
        Store::open(SledDisk::open(dir.path(), &config()).unwrap(), config()).unwrap();
    assert!(again.clean && again.lost.is_empty(), "{again:?}");
    assert_eq!((again.first_index, again.last_index), (1, 100));
    assert_eq!(again.hard_state.commit, 90);
    assert_eq!(again.store_id, recovery.store_id);
    assert_eq!(store.reader().entries(1, 101, usize::MAX).unwrap(), read);
    println!("{:?}", store.usage());
}

/// Found by the power-cut replayer: a whole `conf` was taken for a damaged one at every open and
/// written anew without a sync, so that a second cut could leave a slice that sled refuses.
#[test]
fn a_whole_conf_is_left_alone_and_a_torn_one_is_mended() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("1");
    drop(SledSlice::create(&path, 1 << 20).unwrap());
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
