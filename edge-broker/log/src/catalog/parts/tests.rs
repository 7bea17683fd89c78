//! The running sums of slices against counting everything anew, by seeds.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::TopicId;
use crate::slice_index::{SliceIndex, empty_summary};
use crate::{EntryKind, FRAME_LEVEL, FrameBuilder, FrameHeader};

struct World {
    rng: fastrand::Rng,
    catalog: Catalog,
    /// Slices there are; the last one is written.
    numbers: Vec<u64>,
    next_number: u64,
    sequence: u64,
    ends: [i64; 3],
}

fn partition(number: usize) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_u128(1),
        partition: number as u32,
    }
}

fn batch(base_offset: i64, records: u32, bytes: usize) -> Vec<u8> {
    let mut batch = vec![0; 61 + bytes];
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    batch
}

impl World {
    fn begin_slice(&mut self) {
        let summary = crate::slice_index::Summary {
            first_sequence: self.sequence,
            ..empty_summary(1, 0)
        };
        let live = Some(SliceIndex::default());
        self.catalog.add(self.next_number, summary, live, 1000);
        self.sequence += 1;
        self.numbers.push(self.next_number);
        self.next_number += 1;
    }

    fn push(&mut self) {
        let header = FrameHeader {
            level: FRAME_LEVEL,
            proposer_term: 1,
            store_id: 1,
            first_intake: 0,
            site_time_ms: 0,
            boot_id: 1,
            boot_ms: 0,
        };
        let mut frame = FrameBuilder::new(&header);
        for (number, end) in self.ends.iter_mut().enumerate() {
            if self.rng.bool() {
                let records = self.rng.u32(1..50);
                let batch = batch(*end, records, self.rng.usize(..200));
                frame.push_batch(partition(number), &batch);
                *end += i64::from(records);
            }
        }
        // Now and then it overwrites the frames before it.
        let index = self.catalog.last_index + 1 - self.rng.u64(..3).min(self.catalog.last_index);
        let data = frame.finish();
        let place = crate::slice_index::FramePlace {
            sequence: self.sequence,
            index,
            term: 1,
            data_bytes: data.len() as u32,
        };
        let number = *self.numbers.last().unwrap();
        self.catalog.push(number, place, EntryKind::Normal, &data);
        self.sequence += 1;
    }

    fn seal(&mut self) {
        let number = *self.numbers.last().unwrap();
        let entry = self.catalog.get(number).unwrap();
        let mut summary = entry.summary.clone();
        summary.partitions = entry.live.as_ref().unwrap().spans().collect();
        self.catalog.seal(number, &summary, 2000);
        self.begin_slice();
    }

    fn move_starts(&mut self) {
        let mut starts = BTreeMap::new();
        for (number, &end) in self.ends.iter().enumerate() {
            if self.rng.u8(..8) > 0 {
                starts.insert(partition(number), self.rng.i64(0..=end));
            }
        }
        self.catalog.set_starts(Arc::new(starts));
    }

    /// Counts all parts of all slices.
    fn count(&self) -> BTreeMap<u64, LiveBytes> {
        let slices = self.catalog.slices.iter();
        let numbers: BTreeMap<_, _> = slices.map(|(key, entry)| (*key, entry.number)).collect();
        let mut all: BTreeMap<u64, LiveBytes> = BTreeMap::new();
        all.extend(
            numbers
                .values()
                .map(|number| (*number, LiveBytes::default())),
        );
        for (partition, parts) in &self.catalog.parts {
            for part in parts {
                let of_slice = all.get_mut(&numbers[&part.slice]).unwrap();
                of_slice.add(part, start_of(&self.catalog.starts, *partition));
            }
        }
        all
    }
}

#[test]
fn the_bytes_of_a_slice_are_those_of_its_parts() {
    for seed in 0..200 {
        let mut world = World {
            rng: fastrand::Rng::with_seed(seed),
            catalog: Catalog::default(),
            numbers: Vec::new(),
            next_number: 1,
            sequence: 1,
            ends: [0; 3],
        };
        world.begin_slice();
        for _ in 0..200 {
            match world.rng.u8(..20) {
                0 => world.seal(),
                1 if world.numbers.len() > 1 => {
                    let at = world.rng.usize(..world.numbers.len() - 1);
                    world.catalog.remove(world.numbers.remove(at));
                }
                2..=4 => world.move_starts(),
                _ => world.push(),
            }
            assert_eq!(world.catalog.live_bytes(), world.count(), "seed {seed}");
        }
    }
}
