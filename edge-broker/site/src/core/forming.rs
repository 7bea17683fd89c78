//! What one frame holds while it is formed: a batch per partition, offsets in order.
//!
//! Which requests go into it is `append`'s business.

use std::collections::HashMap;

use edge_log::TopicPartition;
use kafka_wire::{BatchBuilder, Compression, Record, RecordBatch};

use crate::append::AppendRequest;

/// What a record costs in a batch beside its bytes, and a batch beside its records.
const BATCH_OVERHEAD_BYTES: usize = 80;

/// A frame's batches while they are formed: records of one partition share a batch.
pub(super) struct Forming {
    open: Vec<OpenBatch>,
    by_partition: HashMap<TopicPartition, usize>,
    last: Option<(TopicPartition, usize)>,
    /// Ready, in the order they were closed in.
    pub(super) batches: Vec<(TopicPartition, RecordBatch)>,
    /// Next offset of every partition that got something.
    pub(super) ends: HashMap<TopicPartition, i64>,
    /// Bytes of the records' values, as they came, by partition.
    pub(super) payload_bytes: HashMap<TopicPartition, u64>,
    /// To be used again.
    pub(super) builders: Vec<BatchBuilder>,
    epoch: i32,
    compression: Compression,
}

struct OpenBatch {
    tp: TopicPartition,
    builder: BatchBuilder,
    base: i64,
    next: i64,
    bytes_max: usize,
    payload_bytes: u64,
}

impl Forming {
    /// With builders of earlier frames.
    pub(super) fn new(builders: Vec<BatchBuilder>, epoch: i32, compression: Compression) -> Self {
        Forming {
            open: Vec::new(),
            by_partition: HashMap::new(),
            last: None,
            batches: Vec::new(),
            ends: HashMap::new(),
            payload_bytes: HashMap::new(),
            builders,
            epoch,
            compression,
        }
    }

    /// Adds one request; `spot` gives a partition's next offset and batch limit.
    pub(super) fn take(
        &mut self,
        request: AppendRequest,
        spot: impl Fn(TopicPartition) -> (i64, usize),
    ) -> Vec<i64> {
        let mut offsets = Vec::with_capacity(request.items.len() + request.batches.len());
        for (tp, record) in &request.items {
            let at = self.find(*tp, &spot);
            offsets.push(self.push(at, record));
        }
        for (tp, batch) in request.batches {
            let at = self.find(tp, &spot);
            self.close(at);
            let open = &mut self.open[at];
            let batch = batch.with_base_offset(open.next, self.epoch);
            offsets.push(open.next);
            open.next = batch.next_offset();
            open.base = open.next;
            // What a client's own batch unpacks to nobody looks at here.
            open.payload_bytes += batch.bytes().len() as u64;
            self.batches.push((tp, batch));
        }
        offsets
    }

    fn find(&mut self, tp: TopicPartition, spot: impl Fn(TopicPartition) -> (i64, usize)) -> usize {
        if let Some((last, at)) = self.last
            && last == tp
        {
            return at;
        }
        let at = match self.by_partition.get(&tp) {
            Some(&at) => at,
            None => {
                let (base, bytes_max) = spot(tp);
                let compression = self.compression;
                let builder = self.builders.pop();
                let builder = builder.unwrap_or_else(|| BatchBuilder::new(compression));
                self.open.push(OpenBatch {
                    tp,
                    builder,
                    base,
                    next: base,
                    bytes_max,
                    payload_bytes: 0,
                });
                self.by_partition.insert(tp, self.open.len() - 1);
                self.open.len() - 1
            }
        };
        self.last = Some((tp, at));
        at
    }

    fn push(&mut self, at: usize, record: &Record) -> i64 {
        let open = &self.open[at];
        let bytes = open.builder.bytes_estimate() + record_bytes(record);
        if !open.builder.is_empty() && bytes > open.bytes_max {
            self.close(at);
        }
        let open = &mut self.open[at];
        open.builder.push(record);
        open.payload_bytes += record.value.as_ref().map_or(0, |value| value.len() as u64);
        open.next += 1;
        open.next - 1
    }

    fn close(&mut self, at: usize) {
        let open = &mut self.open[at];
        if !open.builder.is_empty() {
            let batch = open.builder.build(open.base, self.epoch);
            open.base = open.next;
            self.batches.push((open.tp, batch));
        }
    }

    /// No more requests: every batch is ready.
    pub(super) fn close_all(&mut self) {
        for at in 0..self.open.len() {
            self.close(at);
        }
        for open in self.open.drain(..) {
            self.ends.insert(open.tp, open.next);
            self.payload_bytes.insert(open.tp, open.payload_bytes);
            self.builders.push(open.builder);
        }
    }
}

/// What a record needs in a batch of its own.
pub(crate) fn record_bytes(record: &Record) -> usize {
    let len = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers = record
        .headers
        .iter()
        .map(|h| h.key.len() + len(&h.value) + 8)
        .sum::<usize>();
    len(&record.key) + len(&record.value) + headers + BATCH_OVERHEAD_BYTES
}

impl AppendRequest {
    /// What it counts in the queue.
    pub fn bytes(&self) -> usize {
        let items = self
            .items
            .iter()
            .map(|(_, record)| record_bytes(record))
            .sum::<usize>();
        items
            + self
                .batches
                .iter()
                .map(|(_, batch)| batch.bytes().len() + 32)
                .sum::<usize>()
    }
}
