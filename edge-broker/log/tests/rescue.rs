//! What upkeep does with slices that are damaged, or that the disk cannot read.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::{Faults, MemDisk};
use edge_log::{Checkpoint, Maintained, Store, StoreConfig};
use support::{append, batch, entry, frame, maintain, offsets, open, partition, small};

fn minutes(store: &mut Store<MemDisk>, disk: &MemDisk, count: u32) -> Maintained {
    let mut all = Maintained::default();
    for _ in 0..60 * count {
        disk.advance_ms(1000);
        let some = store.maintain();
        all.lost.extend(some.lost);
        all.rewritten += some.rewritten;
    }
    all
}

/// The first in line was always tried first: while it could not be read, no other was rescued.
#[test]
fn a_slice_that_cannot_be_copied_holds_up_no_other() {
    let disk = MemDisk::new(1);
    let (mut store, _) = open(&disk);
    append(&mut store, 1..31, 8000);
    maintain(&mut store, &disk);
    let slices = store.usage().slices;
    let [first, second] = [slices[0].number, slices[1].number];
    disk.set_unreadable(first, true);
    let reader = store.reader();
    for _ in 0..10 {
        assert!(reader.read(partition(0), 0, 1).is_err());
    }
    minutes(&mut store, &disk, 10);
    assert!(disk.spoil_value(second, 1, 0));
    let offset = slices[1].first_index as i64 - 1;
    while disk.slices().contains(&second) {
        let now = minutes(&mut store, &disk, 1);
        if now.lost.is_empty() {
            let _ = reader.read(partition(0), offset, 1);
        }
        assert!(edge_log::Disk::now_ms(&disk) < 3_600_000, "never rescued");
    }
    assert!(disk.slices().contains(&first), "it waits for the disk");
    disk.set_unreadable(first, false);
    minutes(&mut store, &disk, 2);
    assert_eq!(offsets(&store, 0).len(), 29);
}
