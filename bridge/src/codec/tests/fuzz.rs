//! Whatever comes in, nothing panics, and a reader always gets further or is told to stop.

use bytes::BytesMut;
use fastrand::Rng;

use super::{Verdict, first, later, random};
use crate::codec::packet::Version;
use crate::codec::{decode, frame_bytes};

#[test]
fn spoiled_and_random_frames_never_panic() {
    let mut random = Rng::with_seed(14);
    let mut refused = 0;
    for round in 0..200_000 {
        let version = if random.bool() {
            Version::V4
        } else {
            Version::V5
        };
        let mut bytes = match round % 4 {
            0 => random::connect(&mut random, version),
            1 | 2 => random::later(&mut random, version),
            _ => (0..random.usize(1..40)).map(|_| random.u8(..)).collect(),
        };
        for _ in 0..random.usize(..3) {
            if bytes.len() > 1 && bytes[1] & 0x80 == 0 {
                random::spoil(&mut random, &mut bytes);
            }
        }
        refused += u32::from(matches!(first(&bytes), Verdict::Refused(_)));
        refused += u32::from(matches!(later(version, &bytes), Verdict::Refused(_)));
    }
    assert!(refused > 100_000, "{refused}");
}

#[test]
fn a_stream_of_anything_is_read_to_its_end_or_to_its_first_mistake() {
    let mut random = Rng::with_seed(15);
    for _ in 0..2000 {
        let version = if random.bool() {
            Version::V4
        } else {
            Version::V5
        };
        let mut stream = BytesMut::new();
        for _ in 0..random.usize(1..10) {
            let mut packet = random::later(&mut random, version);
            if random.u8(..10) == 0 {
                random::spoil(&mut random, &mut packet);
            }
            stream.extend_from_slice(&packet);
        }
        loop {
            match frame_bytes(&stream, Some(version), 1 << 20) {
                Ok(Some((header, length))) if length <= stream.len() => {
                    assert!(header >= 2 && length >= header);
                    if decode(version, stream.split_to(length), header).is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
    }
}
