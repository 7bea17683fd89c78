//! Which slices retention drops, which it rewrites, and which a start must still find.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use edge_log::sim::MemDisk;
use edge_log::{Checkpoint, Maintained, Store, StoreConfig};
use support::{batch, entry, frame, partition, small};

/// A store, and what was appended to it.
struct World {
    disk: MemDisk,
    store: Store<MemDisk>,
    index: u64,
    next_offsets: BTreeMap<u32, i64>,
}

impl World {
    fn new(bytes_max: u64) -> World {
        let disk = MemDisk::new(5);
        let config = StoreConfig {
            bytes_max,
            raft_window_bytes: 64 << 10,
            ..small()
        };
        let (store, _) = Store::open(disk.clone(), config).unwrap();
        World {
            disk,
            store,
            index: 0,
            next_offsets: BTreeMap::new(),
        }
    }

    /// One record of a partition.
    fn put(&mut self, number: u32, bytes: usize) {
        self.index += 1;
        let offset = self.next_offsets.entry(number).or_default();
        let batch = batch(*offset, 1, self.index as i64, &vec![7; bytes]);
        *offset += 1;
        let data = frame(1, &[(partition(number), batch)]);
        let entry = entry(self.index, 1, data);
        self.store.persist(&[entry], None, false).unwrap();
        self.store.maintain();
    }

    /// Records of 10,000 bytes of partition 0, every so many a small one of another.
    fn put_mixed(&mut self, count: u32, every: u32, other: u32) {
        for n in 0..count {
            match n % every {
                0 => self.put(other, 300),
                _ => self.put(0, 10_000),
            }
        }
    }

    fn maintain(&mut self) -> Maintained {
        let mut all = self.store.maintain();
        for _ in 0..1000 {
            self.disk.advance_ms(100);
            let some = self.store.maintain();
            all.dropped += some.dropped;
            all.rewritten += some.rewritten;
            all.sealed += some.sealed;
        }
        all
    }

    fn save_checkpoint(&mut self, index: u64) {
        let data = Bytes::from_static(b"state");
        let checkpoint = Checkpoint {
            index,
            term: 1,
            data,
        };
        self.store.save_checkpoint(&checkpoint).unwrap();
    }

    /// Partition 0 is dead up to its end, the others live.
    fn end_partition_0(&mut self) {
        let mut starts: BTreeMap<_, _> = (1..9).map(|number| (partition(number), 0)).collect();
        starts.insert(partition(0), self.next_offsets[&0]);
        self.store.set_starts(&starts);
    }
}

/// The first one that was rewritten already once ended the search, as nothing is gained by
/// rewriting it again: mostly dead slices behind it stayed, and the store filled up.
#[test]
fn a_small_rewritten_slice_holds_up_no_later_one() {
    let mut world = World::new(1500 << 10);
    world.put_mixed(12, 4, 1);
    (0..14).for_each(|_| world.put(2, 10_000));
    world.put_mixed(80, 8, 3);
    world.maintain();
    world.save_checkpoint(world.index);
    world.end_partition_0();
    let done = world.maintain();
    assert!(done.rewritten >= 8, "{done:?}");
    let usage = world.store.usage();
    assert!(usage.bytes_used * 100 < usage.bytes_max * 60, "{usage:?}");
    // And then it is done.
    assert_eq!(world.maintain().rewritten, 0);
}
