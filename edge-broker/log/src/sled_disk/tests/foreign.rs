//! What a client sends is never taken for what the store wrote, torn around it or not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::secret::Secret;
use crate::sled_disk::raw::SledFile;
use crate::value::{self, Envelope, PAYLOAD_BYTES_MAX};
use crate::{ClosedSlice, Entry, EntryKind, Recovery, SledDisk, Store, StoreConfig};

fn config() -> StoreConfig {
    StoreConfig {
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..StoreConfig::default()
    }
}

fn open(dir: &Path) -> (Store<SledDisk>, Recovery) {
    Store::open(SledDisk::open(dir, &config()).unwrap(), config()).unwrap()
}

/// A secret as a client would guess it.
fn guessed() -> Secret {
    Secret::decode(&mut &[1; 16][..])
}

/// Stands behind what is forged, to find it on the disk.
const BEHIND: &[u8] = b"behind what is forged";

/// A write as a client would build it, who knows the form of values and not the secret.
fn forged(sequence: u64, previous: u64, durable: u64, data_bytes: u32) -> Vec<u8> {
    let mut payload = Vec::new();
    Envelope {
        kind: EntryKind::Normal,
        flags: 0,
        data_bytes,
        index: 5,
        term: 1,
        previous,
        durable,
        store_id: 7,
    }
    .put(&mut payload);
    value::encode_single(guessed(), sequence, 0, &payload)
}

fn entry(index: u64, payload: &[u8]) -> Entry {
    Entry {
        index,
        term: 1,
        kind: EntryKind::Normal,
        data: [&b"begins with something, "[..], payload].concat().into(),
    }
}

/// Ten durable entries, then one with a forged write in it that a power cut has torn.
fn torn_around(dir: &Path, forged: &[u8]) {
    let (mut store, _) = open(dir);
    for index in 1..=10 {
        let ours = [entry(index, b"ours")];
        store.persist(&ours, None, false).unwrap();
    }
    let payload = [forged, BEHIND].concat();
    store.persist(&[entry(11, &payload)], None, false).unwrap();
    drop(store);
    let mut torn = 0;
    for slice in fs::read_dir(dir.join("slices")).unwrap() {
        let db = slice.unwrap().path().join("db");
        let mut bytes = fs::read(&db).unwrap();
        let places: Vec<usize> = (0..=bytes.len() - BEHIND.len())
            .filter(|at| bytes[*at..].starts_with(BEHIND))
            .collect();
        places.iter().for_each(|at| bytes[*at] = 0);
        torn += places.len();
        fs::write(&db, bytes).unwrap();
    }
    assert!(torn > 0);
}

/// Found by a review: a client published what a write looks like on the disk, and a power cut tore
/// the write around it. The start took it for one of ours: it panicked at each try, or cut the
/// chain and had lost everything without saying so.
#[test]
fn a_forged_write_in_a_torn_one_is_not_found() {
    for (sequence, previous, durable, data_bytes) in [
        (u64::MAX, 3, 3, 0),
        (u64::MAX - 1, u64::MAX, u64::MAX, 0),
        (100, 0, 0, 0),
        (12, 10, 10, 0),
        (1 << 40, 1 << 39, 1 << 39, 0),
        (12, 10, 10, u32::MAX),
    ] {
        let dir = tempfile::tempdir().unwrap();
        torn_around(dir.path(), &forged(sequence, previous, durable, data_bytes));
        let (store, recovery) = open(dir.path());
        let ours: Vec<Entry> = (1..=10).map(|index| entry(index, b"ours")).collect();
        let found = store.reader().entries(1, 11, usize::MAX);
        assert_eq!(found, Ok(ours), "{sequence} {recovery:?}");
        assert_eq!(recovery.last_index, 10, "{sequence} {recovery:?}");
    }
}

const SECRET: [u8; 16] = [9; 16];

/// A payload of random bytes with values in it that nobody with the secret built.
fn payload(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut payload = Vec::new();
    while payload.len() < PAYLOAD_BYTES_MAX && rng.u8(..6) > 0 {
        match rng.u8(..5) {
            0 => payload.extend((0..rng.usize(..700)).map(|_| rng.u8(..))),
            1 => payload.extend([value::MAGIC, [0xff; 4]].concat().repeat(rng.usize(..9))),
            _ => {
                let secret: [u8; 16] = std::array::from_fn(|_| rng.u8(..));
                let secret = Secret::decode(&mut &secret[..]);
                let inner = vec![rng.u8(..); rng.usize(..300)];
                let (sequence, part) = (rng.u64(..20), rng.u32(..3));
                payload.extend(value::encode_single(secret, sequence, part, &inner));
            }
        }
    }
    payload.truncate(PAYLOAD_BYTES_MAX);
    payload
}

/// Loses, zeroes, fills or moves a part of a file.
fn tear(rng: &mut fastrand::Rng, image: &mut Vec<u8>) {
    let unit = *rng.choice([1, 512, 4096].iter()).unwrap();
    let place = |rng: &mut fastrand::Rng, max: usize| rng.usize(..=max / unit) * unit;
    let from = place(rng, image.len());
    let to = from + place(rng, image.len() - from);
    match rng.u8(..5) {
        0 => image.truncate(to),
        1 => image[from..to].fill(0),
        2 => image[from..to]
            .iter_mut()
            .for_each(|byte| *byte = rng.u8(..)),
        3 => {
            let other = rng.usize(..=image.len() - (to - from));
            image.copy_within(from..to, other);
        }
        _ => drop(image.drain(from..to)),
    }
}

#[test]
fn nothing_foreign_is_ever_found() {
    let dir = tempfile::tempdir().unwrap();
    let secret = Secret::decode(&mut &SECRET[..]);
    let (mut found_in_all, mut forged_in_all) = (0, 0);
    for seed in 0..1500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut ours = BTreeMap::new();
        let mut image = Vec::new();
        for sequence in 0..rng.u64(1..12) {
            image.extend((0..rng.usize(..40)).map(|_| rng.u8(..)));
            let value = value::encode_single(secret, sequence, 0, &payload(&mut rng));
            image.extend_from_slice(&value);
            ours.insert(sequence, value);
        }
        (0..rng.u8(..5)).for_each(|_| tear(&mut rng, &mut image));
        fs::write(dir.path().join("db"), &image).unwrap();
        let slice = SledFile::open(dir.path()).unwrap();
        let found = |_, bytes: &[u8]| {
            let Some(head) = value::check_prefix(secret, bytes) else {
                forged_in_all += 1;
                return 0;
            };
            let value = &bytes[..head.value_bytes()];
            assert_eq!(
                Some(value),
                ours.get(&head.sequence).map(Vec::as_slice),
                "seed {seed}"
            );
            found_in_all += 1;
            head.value_bytes()
        };
        let mut found = found;
        slice.find_values(&mut found).unwrap();
    }
    assert!(
        found_in_all > 1000 && forged_in_all > 1000,
        "{found_in_all} {forged_in_all}"
    );
}
