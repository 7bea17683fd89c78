//! The map against a model, also when it is too small.

use std::collections::BTreeMap;

use super::*;
use crate::TopicId;

fn partition(n: u32) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_u128(3),
        partition: n,
    }
}

/// Offsets 0..n, two partitions, so many keys in each.
fn records(n: i64, keys: i64) -> impl Iterator<Item = (TopicPartition, Vec<u8>, i64)> {
    let key = move |at: i64| (at * 31 % keys).to_be_bytes().to_vec();
    (0..n).map(move |at| (partition((at % 2) as u32), key(at), at))
}

#[test]
fn the_newest_offset_of_every_key_is_known() {
    let mut map = OffsetMap::new(Share::default(), 1000, 1);
    let mut model = BTreeMap::new();
    for (partition, key, offset) in records(500, 90) {
        map.note(partition, &key, offset);
        model.insert((partition, key), offset);
    }
    assert!(map.left_out().is_empty());
    for ((partition, key), offset) in model {
        assert_eq!(map.get(partition, &key).map(Newest::offset), Some(offset));
    }
    assert_eq!(map.get(partition(2), &0_i64.to_be_bytes()), None);
}

#[test]
fn rounds_over_the_shares_left_out_know_every_key_once() {
    let mut shares = vec![Share::default()];
    let mut known = BTreeMap::new();
    let mut rounds = 0;
    while let Some(share) = shares.pop() {
        rounds += 1;
        let mut map = OffsetMap::new(share, 50, 7);
        records(4000, 700).for_each(|(partition, key, offset)| map.note(partition, &key, offset));
        assert!(map.newest.len() <= 50);
        for (partition, key, _) in records(4000, 700) {
            if let Some(newest) = map.get(partition, &key) {
                let other = known.insert((partition, key), (rounds, newest.offset()));
                assert!(
                    other.is_none_or(|(round, _)| round == rounds),
                    "in two rounds"
                );
            }
        }
        shares.extend_from_slice(map.left_out());
    }
    let mut model = BTreeMap::new();
    records(4000, 700).for_each(|(partition, key, offset)| {
        model.insert((partition, key), offset);
    });
    let known: BTreeMap<_, _> = known.into_iter().map(|(key, (_, at))| (key, at)).collect();
    assert_eq!(known, model);
    assert!(rounds >= 700 / 50, "{rounds}");
}

#[test]
fn an_older_record_is_remembered_with_the_newest() {
    let mut map = OffsetMap::new(Share::default(), 10, 1);
    map.note(partition(0), b"a", 5);
    assert_eq!(
        map.get(partition(0), b"a").map(Newest::has_older),
        Some(false)
    );
    map.note_older(partition(0), b"a");
    let newest = map.get(partition(0), b"a");
    assert_eq!(newest.map(|n| (n.offset(), n.has_older())), Some((5, true)));
}
