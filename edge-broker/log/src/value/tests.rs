//! Writes come back whole, in parts, and never damaged.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::*;

fn secret() -> Secret {
    Secret::decode(&mut &[5; 16][..])
}

fn envelope(data: &[u8]) -> Envelope {
    Envelope {
        kind: EntryKind::Normal,
        flags: 0,
        data_bytes: data.len() as u32,
        index: 7,
        term: 2,
        previous: 40,
        durable: 39,
        store_id: 99,
    }
}

struct Stored(HashMap<(u64, u32), Vec<u8>>);

impl Values for Stored {
    fn get(&self, sequence: u64, part: u32) -> Result<Option<Value>, DiskError> {
        let bytes = self.0.get(&(sequence, part)).cloned();
        bytes
            .map(|bytes| check(secret(), bytes, sequence, part))
            .transpose()
    }

    fn bytes(&self) -> u64 {
        self.0.values().map(|value| value.len() as u64).sum()
    }
}

fn stored(sequence: u64, data: &[u8]) -> (Stored, u32) {
    let mut scratch = Vec::new();
    let crc = encode(&mut scratch, secret(), sequence, &envelope(data), data);
    let values = scratch.chunks(VALUE_BYTES_MAX).enumerate();
    let values = values.map(|(part, value)| ((sequence, part as u32), value.to_vec()));
    (Stored(values.collect()), crc)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn a_write_of_any_length_comes_back() {
    let edge = PAYLOAD_BYTES_MAX - ENVELOPE_BYTES;
    for len in [
        0,
        1,
        edge - 1,
        edge,
        edge + 1,
        edge + PAYLOAD_BYTES_MAX,
        100_000,
    ] {
        let data = bytes(len);
        let (values, crc) = stored(41, &data);
        let read = read_frame(&values, 41).unwrap().unwrap();
        assert_eq!(read.data, data);
        assert_eq!(read.envelope, envelope(&data));
        assert_eq!(read.crc, crc, "{len}");
    }
}

#[test]
fn no_flipped_byte_is_read_as_good() {
    let data = bytes(300);
    let (values, _) = stored(41, &data);
    let value = &values.0[&(41, 0)];
    for at in 0..value.len() {
        let mut flipped = value.clone();
        flipped[at] ^= 0x10;
        assert!(check(secret(), flipped, 41, 0).is_err(), "byte {at}");
    }
}

#[test]
fn a_value_of_another_place_is_refused() {
    let (values, _) = stored(41, &bytes(10));
    let value = &values.0[&(41, 0)];
    assert!(check(secret(), value.clone(), 41, 0).is_ok());
    assert!(check(secret(), value.clone(), 42, 0).is_err());
    assert!(check(secret(), value.clone(), 41, 1).is_err());
}

/// Found by a review: a length of 4 GB in a value was reserved before anything else was looked at.
#[test]
fn a_length_beyond_the_slice_reserves_nothing() {
    for (data_bytes, is_too_long) in [(200, true), (u32::MAX, true), (100, false)] {
        let mut payload = Vec::new();
        Envelope {
            data_bytes,
            ..envelope(&[])
        }
        .put(&mut payload);
        let value = encode_single(secret(), 41, 0, &payload);
        let values = Stored(HashMap::from([((41, 0), [value, vec![0; 30]].concat())]));
        let error = read_frame(&values, 41).unwrap_err().to_string();
        assert_eq!(
            error.contains("longer than its slice"),
            is_too_long,
            "{error}"
        );
        let error = read_range(&values, 41, 0, data_bytes as usize).unwrap_err();
        let error = error.to_string();
        assert_eq!(
            error.contains("longer than its slice"),
            is_too_long,
            "{error}"
        );
    }
}

#[test]
fn what_was_before_a_write_has_lower_numbers() {
    let possible = envelope(&[]);
    let impossible = [
        Envelope {
            index: 0,
            ..possible
        },
        Envelope {
            index: u64::MAX,
            ..possible
        },
        Envelope {
            term: u64::MAX,
            ..possible
        },
        Envelope {
            previous: 41,
            ..possible
        },
        Envelope {
            durable: 41,
            previous: 40,
            ..possible
        },
        Envelope {
            durable: u64::MAX,
            previous: u64::MAX,
            ..possible
        },
    ];
    let decode = |envelope: &Envelope| {
        let mut payload = Vec::new();
        envelope.put(&mut payload);
        Envelope::decode(41, &payload)
    };
    assert_eq!(decode(&possible), Ok(possible));
    for envelope in impossible {
        assert!(decode(&envelope).is_err(), "{envelope:?}");
    }
    let value = encode_single(secret(), NUMBER_MAX + 1, 0, b"");
    assert_eq!(check_prefix(secret(), &value), None);
}
