//! Keys only; what sled does with them is measured in `sled_disk::tests`.

use super::*;

fn put(leaves: &mut Leaves, sequence: u64, parts: u32) -> Vec<Place> {
    let parts = 0..parts;
    parts.map(|part| leaves.place(sequence, part)).collect()
}

#[test]
fn each_leaf_is_fenced_off_before_it_gets_seven_values() {
    let mut leaves = Leaves::default();
    let places = put(&mut leaves, 1, 15);
    let fenced: Vec<_> = places.iter().map(|p| p.to_fence.clone()).collect();
    assert_eq!(fenced[0], 0..2, "its own and the next one's");
    assert_eq!((&fenced[7], &fenced[14]), (&(2..3), &(3..4)));
    assert_eq!(fenced.iter().filter(|f| f.is_empty()).count(), 12);
    let leaf = |place: &Place| place.key[3];
    let used: Vec<u8> = places.iter().map(leaf).collect();
    assert_eq!(used, [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2]);
}

#[test]
fn keys_ascend_and_a_leaf_lies_between_its_fences_and_the_next() {
    let mut leaves = Leaves::default();
    let mut all: Vec<Vec<u8>> = Vec::new();
    for sequence in 0..20 {
        for place in put(&mut leaves, sequence, 1 + sequence as u32 % 3) {
            all.extend(place.to_fence.flat_map(fence_keys).map(|key| key.to_vec()));
            let last = all.last().unwrap().clone();
            assert!(place.key.as_slice() < last.as_slice() || last.len() > FENCE_KEY_BYTES);
            all.push(place.key.to_vec());
        }
    }
    let values: Vec<_> = all.iter().filter(|k| k.len() > FENCE_KEY_BYTES).collect();
    assert!(values.is_sorted());
}

#[test]
fn a_value_is_found_under_the_key_it_was_put_under() {
    let mut leaves = Leaves::default();
    assert_eq!(leaves.key(0, 0), None);
    let header = put(&mut leaves, 0, 1).remove(0).key;
    let many = put(&mut leaves, 5, 40);
    assert_eq!(leaves.key(0, 0), Some(header));
    for (part, place) in many.iter().enumerate() {
        assert_eq!(leaves.key(5, part as u32), Some(place.key));
    }
}

#[test]
fn after_a_start_values_are_found_and_new_ones_go_behind_all_keys() {
    let mut before = Leaves::default();
    let places = put(&mut before, 3, 10);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for place in &places {
        keys.extend(place.to_fence.clone().flat_map(fence_keys).map(Vec::from));
        keys.push(place.key.to_vec());
    }
    // A power cut took some of the newest fences.
    keys.sort();
    keys.truncate(keys.len() - 4);
    let mut after = Leaves::default();
    assert!(keys.iter().all(|key| after.note(key)));
    for (part, place) in places.iter().enumerate() {
        assert_eq!(after.key(3, part as u32), Some(place.key));
    }
    let next = after.place(4, 0);
    assert_eq!(next.to_fence, 3..5);
    assert!(next.key.as_slice() > keys.last().unwrap().as_slice());
    assert_eq!(after.key(4, 0), Some(next.key));
    assert_eq!(after.key(3, 9), Some(places[9].key));
}

#[test]
fn keys_of_others_are_told() {
    let mut leaves = Leaves::default();
    let foreign = [
        &b""[..],
        b"abc",
        &[0, 0, 0, 1, 9],
        &[0, 0, 0, 1, 255],
        &[0; 12],
        &[255; 17],
    ];
    for key in foreign {
        assert!(!leaves.note(key), "{key:?}");
    }
    assert_eq!(leaves.place(1, 0).to_fence, 0..2);
}
