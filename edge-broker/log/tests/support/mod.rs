//! A small language for tests of a store: entries with numbered contents, and what may be found.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use bytes::{BufMut, Bytes, BytesMut};
use edge_log::sim::MemDisk;
use edge_log::{
    Entry, EntryKind, FRAME_LEVEL, FrameBuilder, FrameHeader, Maintained, Recovery, Store,
    StoreConfig, TopicId, TopicPartition,
};

pub fn partition(n: u32) -> TopicPartition {
    TopicPartition {
        topic: TopicId::from_u128(7),
        partition: n,
    }
}

/// A record batch as far as the log looks at it.
pub fn batch(base_offset: i64, records: u32, timestamp_ms: i64, payload: &[u8]) -> Bytes {
    let mut to = BytesMut::new();
    to.put_i64(base_offset);
    to.put_i32(49 + payload.len() as i32);
    to.put_i32(0);
    to.put_i8(2);
    to.put_u32(0);
    to.put_i16(0);
    to.put_i32(records as i32 - 1);
    to.put_i64(timestamp_ms);
    to.put_i64(timestamp_ms);
    to.put_i64(-1);
    to.put_i16(-1);
    to.put_i32(-1);
    to.put_i32(records as i32);
    to.put_slice(payload);
    let crc = crc32c::crc32c(&to[21..]);
    to[17..21].copy_from_slice(&crc.to_be_bytes());
    to.freeze()
}

pub fn frame(term: u64, batches: &[(TopicPartition, Bytes)]) -> Bytes {
    let header = FrameHeader {
        level: FRAME_LEVEL,
        proposer_term: term,
        store_id: 1,
        first_intake: 0,
        site_time_ms: 0,
        boot_id: 1,
        boot_ms: 0,
    };
    let mut builder = FrameBuilder::new(&header);
    for (partition, batch) in batches {
        builder.push_batch(*partition, batch);
    }
    builder.finish()
}

pub fn entry(index: u64, term: u64, data: Bytes) -> Entry {
    Entry {
        index,
        term,
        kind: EntryKind::Normal,
        data,
    }
}

/// One batch of `records` records for partition 0.
pub fn one_batch(index: u64, offset: i64, records: u32, bytes: usize) -> Entry {
    let payload = vec![index as u8; bytes];
    let batch = batch(offset, records, index as i64 * 10, &payload);
    entry(index, 1, frame(1, &[(partition(0), batch)]))
}

/// Small slices, no ballast.
pub fn small() -> StoreConfig {
    StoreConfig {
        slice_bytes: 64 << 10,
        raft_window_bytes: 128 << 10,
        bytes_max: 1 << 30,
        free_bytes_min: 0,
        ballast_bytes: 0,
        ..StoreConfig::default()
    }
}

/// A store of small slices.
pub fn open(disk: &MemDisk) -> (Store<MemDisk>, Recovery) {
    Store::open(disk.clone(), small()).unwrap()
}

/// Appends entries of one batch each, `index - 1` being its offset.
pub fn append(store: &mut Store<MemDisk>, indexes: std::ops::Range<u64>, bytes: usize) {
    for index in indexes {
        let entry = one_batch(index, index as i64 - 1, 1, bytes);
        store.persist(&[entry], None, false).unwrap();
    }
}

/// Upkeep for as long as there may be any.
pub fn maintain(store: &mut Store<MemDisk>, disk: &MemDisk) -> Maintained {
    let mut all = store.maintain();
    for _ in 0..1000 {
        disk.advance_ms(100);
        let some = store.maintain();
        all.lost.extend(some.lost);
        all.quarantined.extend(some.quarantined);
        all.dropped += some.dropped;
        all.rewritten += some.rewritten;
        all.sealed += some.sealed;
    }
    all
}

/// The offsets that a reader finds.
pub fn offsets(store: &Store<MemDisk>, from: i64) -> Vec<i64> {
    let batches = store.reader().read(partition(0), from, usize::MAX).unwrap();
    batches.iter().map(|batch| batch.base_offset()).collect()
}
