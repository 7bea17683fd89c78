//! Stores that hold what no store writes.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;

use crate::identity::Identity;
use crate::scan::SliceHeader;
use crate::sim::MemDisk;
use crate::value::{self, ENVELOPE_BYTES, Envelope, NUMBER_MAX};
use crate::{Disk, Entry, EntryKind, Slice, Store, StoreConfig};

fn config() -> StoreConfig {
    StoreConfig {
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..StoreConfig::default()
    }
}

fn entry(index: u64) -> Entry {
    Entry {
        index,
        term: 1,
        kind: EntryKind::Normal,
        data: Bytes::from_static(b"ours"),
    }
}

/// A number from where mistakes are made.
fn number(rng: &mut fastrand::Rng) -> u64 {
    match rng.u8(..10) {
        0..5 => rng.u64(..12),
        5 => NUMBER_MAX >> rng.u8(1..30),
        6 => NUMBER_MAX + rng.u64(1..3),
        7 => u64::MAX - rng.u64(..3),
        _ => rng.u64(..),
    }
}

fn envelope(rng: &mut fastrand::Rng, store_id: u64) -> Envelope {
    let previous = number(rng);
    Envelope {
        kind: EntryKind::Normal,
        flags: rng.u8(..4),
        data_bytes: number(rng) as u32,
        index: number(rng),
        term: number(rng),
        previous,
        durable: if rng.bool() { previous } else { number(rng) },
        store_id,
    }
}

/// A slice of whole values that name anything at all.
fn put_slice(disk: &MemDisk, number_of: u64, rng: &mut fastrand::Rng, identity: Identity) {
    let (secret, store_id) = (identity.secret, identity.store_id);
    let slice = disk
        .create_slice(number_of, &secret.file_content())
        .unwrap();
    let header = SliceHeader {
        level: 1,
        store_id,
        continues: number(rng),
        index: number(rng),
        term: number(rng),
        ..SliceHeader::default()
    };
    if rng.u8(..4) > 0 {
        slice.put(0, &header.encode(secret)).unwrap();
    }
    let mut sequences: Vec<u64> = (0..rng.u8(..8)).map(|_| number(rng).max(1)).collect();
    sequences.sort_unstable();
    sequences.dedup();
    for sequence in sequences {
        let other = u64::from(rng.u8(..5) == 0);
        let envelope = envelope(rng, store_id.wrapping_add(other));
        let mut payload = Vec::new();
        envelope.put(&mut payload);
        payload.resize(ENVELOPE_BYTES + envelope.data_bytes.min(20) as usize, 7);
        let value = value::encode_single(secret, sequence, 0, &payload);
        slice.put(sequence, &value).unwrap();
    }
    slice.sync().unwrap();
}

/// Puts a write behind the durable ones of a store, named by some store.
fn put_next(disk: &MemDisk, identity: Identity, store_id: u64) {
    let envelope = Envelope {
        kind: EntryKind::Normal,
        flags: 0,
        data_bytes: 4,
        index: 4,
        term: 1,
        previous: 3,
        durable: 3,
        store_id,
    };
    let mut values = Vec::new();
    value::encode(&mut values, identity.secret, 4, &envelope, b"ours");
    let slice = disk.open_slice(disk.slices()[0]).unwrap();
    slice.put(4, &values).unwrap();
    slice.sync().unwrap();
}

#[test]
fn a_write_of_another_store_does_not_count() {
    for is_ours in [true, false] {
        let disk = MemDisk::new(1);
        let (mut store, _) = Store::open(disk.clone(), config()).unwrap();
        for index in 1..4 {
            store.persist(&[entry(index)], None, false).unwrap();
        }
        let identity = store.identity.current();
        drop(store);
        let disk = disk.restarted();
        put_next(&disk, identity, identity.store_id + u64::from(!is_ours));
        let (store, recovery) = Store::open(disk, config()).unwrap();
        assert_eq!(recovery.last_index, 3 + u64::from(is_ours));
        assert!(recovery.lost.is_empty(), "{recovery:?}");
        let found = store.reader().entries(1, 9, usize::MAX).unwrap();
        assert!(found.into_iter().eq((1..=recovery.last_index).map(entry)));
    }
}

/// Found by a review: a write with the highest sequence there is ended every start of the store,
/// since the next one was to follow it.
#[test]
fn numbers_that_cannot_be_end_no_start() {
    for seed in 0..3000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = MemDisk::new(seed);
        let (mut store, _) = Store::open(disk.clone(), config()).unwrap();
        for index in 1..=rng.u64(1..4) {
            store.persist(&[entry(index)], None, false).unwrap();
        }
        let identity = store.identity.current();
        drop(store);
        let disk = disk.restarted();
        for number in 5..rng.u64(6..8) {
            put_slice(&disk, number, &mut rng, identity);
        }
        let (mut store, recovery) = Store::open(disk.clone(), config()).unwrap();
        let last = recovery.last_index;
        let from = recovery.first_index.max(last.saturating_sub(20));
        let reader = store.reader();
        let _ = reader.entries(from, last + 1, usize::MAX);
        store.persist(&[entry(last + 1)], None, false).unwrap();
        (0..20).for_each(|_| drop(store.maintain()));
        let ours = reader.entries(last + 1, last + 2, usize::MAX);
        assert_eq!(ours, Ok(vec![entry(last + 1)]), "seed {seed}");
    }
}
