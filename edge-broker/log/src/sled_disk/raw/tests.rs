//! Files with values at awkward places.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;

use super::*;
use crate::secret::Secret;
use crate::value::{VALUE_HEAD_BYTES, encode_single};

/// A file of values of 7,000 bytes and a short one that ends it at `len`; returns how many.
fn file(path: &Path, len: usize) -> u64 {
    const LAST_BYTES: usize = 50;
    let secret = Secret::default();
    let mut bytes = Vec::new();
    let mut sequence = 0;
    while bytes.len() + 7000 + LAST_BYTES < len {
        sequence += 1;
        bytes.extend(encode_single(
            secret,
            sequence,
            0,
            &[7; 7000 - VALUE_HEAD_BYTES],
        ));
    }
    sequence += 1;
    bytes.resize(len - LAST_BYTES, 0);
    bytes.extend(encode_single(
        secret,
        sequence,
        0,
        &[8; LAST_BYTES - VALUE_HEAD_BYTES],
    ));
    fs::write(path.join("db"), bytes).unwrap();
    sequence
}

/// Found by reading slices back while they were written at full speed: of a file that ends a
/// little behind a window, the values behind the window were passed over, so the last write of a
/// slice was missing once in 150 slices.
#[test]
fn values_at_the_very_end_are_found_wherever_the_file_ends() {
    let dir = tempfile::tempdir().unwrap();
    for behind in (0..VALUE_BYTES_MAX + 200).step_by(97) {
        let last = file(dir.path(), WINDOW_BYTES + behind);
        let mut found = BTreeSet::new();
        let slice = SledFile::open(dir.path()).unwrap();
        slice
            .find_values(&mut |_, bytes| {
                let head = value::check_prefix(Secret::default(), bytes);
                found.extend(head.map(|head| head.sequence));
                head.map_or(0, |head| head.value_bytes())
            })
            .unwrap();
        assert!(found.into_iter().eq(1..=last), "{behind} bytes behind it");
    }
}
