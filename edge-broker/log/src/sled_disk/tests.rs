//! Real slices in temporary folders.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;

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
