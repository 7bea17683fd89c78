//! Reads beside the writer, on the calling thread.
#![allow(clippy::unimplemented)]

use std::marker::PhantomData;

use kafka_wire::RecordBatch;

use crate::{Disk, Entry, ReadError, TopicPartition};

/// Reads records and entries. Clones share everything. Calls block on the disk.
pub struct Reader<D: Disk> {
    disk: PhantomData<fn() -> D>,
}

impl<D: Disk> Clone for Reader<D> {
    fn clone(&self) -> Reader<D> {
        Reader { disk: PhantomData }
    }
}

impl<D: Disk> Reader<D> {
    /// Whole batches of one partition in offset order, from the one that contains `from_offset`,
    /// or the first after it. At least one if there is one, otherwise at most `bytes_max`. What is
    /// durable is here, committed or not: the caller knows how far it may look.
    pub fn read(
        &self,
        _partition: TopicPartition,
        _from_offset: i64,
        _bytes_max: usize,
    ) -> Result<Vec<RecordBatch>, ReadError> {
        unimplemented!()
    }

    /// Raft entries `from_index..to_index`, as many as fit `bytes_max`, at least one if there is
    /// one. An index that was lost comes as an empty entry.
    pub fn entries(
        &self,
        _from_index: u64,
        _to_index: u64,
        _bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        unimplemented!()
    }

    /// Offset of the first record whose timestamp is not before `timestamp_ms`.
    pub fn offset_for_timestamp(
        &self,
        _partition: TopicPartition,
        _timestamp_ms: i64,
    ) -> Result<Option<i64>, ReadError> {
        unimplemented!()
    }
}
