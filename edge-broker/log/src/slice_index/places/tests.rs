//! Places come back as they were noted, and cost little.
#![allow(clippy::unwrap_used)]

use super::*;

fn frames(sizes: &[u32]) -> Vec<FramePlace> {
    let frame = |(at, data_bytes): (usize, &u32)| FramePlace {
        sequence: 10 + 2 * at as u64,
        index: at as u64,
        term: 1,
        data_bytes: *data_bytes,
    };
    sizes.iter().enumerate().map(frame).collect()
}

#[test]
fn what_is_noted_comes_back() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let sizes: Vec<u32> = (0..rng.usize(..20))
            .map(|_| rng.u32(..30_000) >> rng.u8(..12))
            .collect();
        let frames = frames(&sizes);
        let mut places = Places::unknown(&frames);
        for frame in &frames {
            for part in 0..value::parts(frame.data_bytes) {
                let at = rng.u64(1..1 << 33) >> rng.u8(..20);
                let key = (frame.sequence, part);
                places.note(&frames, key, at);
                let len = value::value_bytes(frame.data_bytes, part);
                let expected = (0 < at && at < 1 << 32).then_some((at, len));
                assert_eq!(places.get(&frames, key.0, key.1), expected);
            }
            let end = value::parts(frame.data_bytes);
            assert_eq!(places.get(&frames, frame.sequence, end), None);
        }
        let packed = places.packed(&frames);
        assert_eq!(Places::unpacked(&frames, &packed), places);
        assert_eq!(
            Places::unpacked(&frames, &[packed, vec![1]].concat()),
            Places::default()
        );
    }
    assert_eq!(Places::default().get(&frames(&[1]), 10, 0), None);
}

#[test]
fn no_packed_places_are_too_strange_to_read() {
    let long = frames(&[u32::MAX, 1]);
    assert_eq!(Places::unpacked(&long, &[5, 6]), Places::default());
    let mut rng = fastrand::Rng::with_seed(1);
    let frames = frames(&[1; 9]);
    for _ in 0..1000 {
        let packed: Vec<i64> = (0..9).map(|_| rng.i64(..) >> rng.u8(..64)).collect();
        let places = Places::unpacked(&frames, &packed);
        let found = (0..9).filter_map(|at| places.get(&frames, 10 + 2 * at, 0));
        assert!(found.count() <= 9);
    }
}
