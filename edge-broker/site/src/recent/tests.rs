//! What is found in memory and what is not any more.
#![allow(clippy::unwrap_used)]

use edge_log::TopicId;
use kafka_wire::{BatchBuilder, Compression, Record};

use super::*;

const TP: TopicPartition = TopicPartition {
    topic: TopicId::nil(),
    partition: 0,
};

fn frame(index: u64, base: i64) -> CommittedFrame {
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..10 {
        builder.push(&Record {
            timestamp_ms: 1,
            key: None,
            value: None,
            headers: vec![],
        });
    }
    let batches = vec![(TP, builder.build(base, 1))];
    CommittedFrame {
        index,
        term: 1,
        site_time_ms: 0,
        batches,
    }
}

#[test]
fn readers_that_keep_up_find_everything_here() {
    let mut recent = Recent::new(1 << 20, 4);
    recent.push(frame(5, 0));
    recent.push(frame(7, 10));
    assert!(matches!(recent.find(4), Found::OnDisk { to: 5 }));
    assert!(matches!(recent.find(6), Found::Here(f) if f.index == 7));
    assert!(matches!(recent.find(8), Found::Nothing { committed: 7 }));
    assert_eq!(recent.read(TP, 3, 1 << 20).unwrap().len(), 2);
    assert_eq!(recent.read(TP, 12, 0).unwrap()[0].base_offset(), 10);
    assert_eq!(recent.read(TP, 20, 1).unwrap().len(), 0);
}

#[test]
fn what_no_longer_fits_is_on_disk() {
    let mut recent = Recent::new(1, 0);
    recent.push(frame(1, 0));
    recent.push(frame(2, 10));
    assert!(matches!(recent.find(1), Found::OnDisk { to: 2 }));
    assert!(recent.read(TP, 9, 1).is_none());
    assert_eq!(recent.read(TP, 10, 1).unwrap().len(), 1);
}
