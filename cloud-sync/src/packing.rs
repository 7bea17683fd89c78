//! Stored batches of one partition, made into the batches that are sent.
//!
//! Pure. Small neighbours are merged and compressed by [`kafka_wire`], large batches pass as they
//! are; only where a batch must be cut, trimmed or mended is it built anew from its records.
//! It takes time, so one thread of its own does it for all links, with one set of buffers:
//! decompressing and compressing 100 MB/s is more than a link takes, and memory stays small.

use std::sync::Arc;

use edge_site::{Compression, Header, Mend, Record, RecordBatch, mended_ms};
use kafka_wire::{BatchBuilder, BatchError, Merger};
use smol::channel::{Receiver, Sender, bounded};

use crate::forwarder::types::{Chunk, Packed, ReadRequest};

/// What decompressed records of one batch may weigh: the gateway's memory, not the format.
const DECOMPRESSED_BYTES_MAX: usize = 32 << 20;
/// Weight of a merged batch before compression: what zstd usually makes a full request of.
const MERGED_BYTES_MAX: usize = 2 << 20;

/// Reads that wait for the thread.
const JOBS_MAX: usize = 4;

/// How records are to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Packing {
    pub compression: Compression,
    /// `site/topic` for the header `edge-src`; none = no such header.
    pub source: Option<String>,
    /// What to do with stamps that a wrong clock made.
    pub mends: Arc<[Mend]>,
}

/// The thread that packs.
#[derive(Clone)]
pub(crate) struct PackThread(Sender<Job>);

struct Job {
    batches: Vec<RecordBatch>,
    request: ReadRequest,
    packing: Packing,
    reply: Sender<Result<Packed, BatchError>>,
}

impl PackThread {
    /// Starts it; it ends when the last handle is dropped.
    pub fn start(compression: Compression) -> std::io::Result<Self> {
        let (jobs, inbox) = bounded(JOBS_MAX);
        let name = "central-pack".to_owned();
        std::thread::Builder::new()
            .name(name)
            .spawn(move || work(compression, &inbox))?;
        Ok(Self(jobs))
    }

    /// Packs there; none if the thread has ended.
    pub async fn pack(
        &self,
        batches: Vec<RecordBatch>,
        request: ReadRequest,
        packing: Packing,
    ) -> Option<Result<Packed, BatchError>> {
        let (reply, answer) = bounded(1);
        self.0
            .send(Job {
                batches,
                request,
                packing,
                reply,
            })
            .await
            .ok()?;
        answer.recv().await.ok()
    }
}

fn work(compression: Compression, inbox: &Receiver<Job>) {
    let mut merger = Merger::new(compression);
    while let Ok(job) = inbox.recv_blocking() {
        let packed = pack(&job.batches, &job.request, &job.packing, &mut merger);
        drop(job.batches);
        let _ = job.reply.try_send(packed);
    }
}

/// Packs what was read for `request`. An error means that a batch cannot be decoded at all.
pub(crate) fn pack(
    batches: &[RecordBatch],
    request: &ReadRequest,
    packing: &Packing,
    merger: &mut Merger,
) -> Result<Packed, BatchError> {
    let mut packer = Packer {
        request,
        packing,
        merger,
        pos: request.from,
        packed: Packed::default(),
    };
    let mut plain = Vec::new();
    for batch in batches
        .iter()
        .filter(|batch| batch.next_offset() > request.from)
    {
        packer.packed.stored_bytes += batch.bytes().len();
        packer.packed.waits_for_clock |= packer.needs(batch, |mend| mend.add_ms.is_none());
        if packer.is_plain(batch) {
            plain.push(batch.clone());
        } else {
            packer.merge(&std::mem::take(&mut plain))?;
            packer.rebuild(batch)?;
        }
    }
    packer.merge(&plain)?;
    Ok(packer.packed)
}

struct Packer<'a> {
    request: &'a ReadRequest,
    packing: &'a Packing,
    merger: &'a mut Merger,
    /// The next offset to be covered.
    pos: i64,
    packed: Packed,
}

impl Packer<'_> {
    /// Whether a batch may be merged or passed on without looking at its records.
    fn is_plain(&self, batch: &RecordBatch) -> bool {
        let header = batch.header();
        let (first, next) = (batch.base_offset(), batch.next_offset());
        first >= self.request.from
            && i64::from(header.record_count) == next - first
            && batch.record_count() <= self.request.chunk_records_max
            && batch.bytes().len() <= self.request.batch_bytes_max
            && self.packing.source.is_none()
            && !self.needs(batch, |mend| mend.add_ms.is_some_and(|add| add != 0))
            && self.request.skip.range(first..next).next().is_none()
    }

    /// Whether such a mend may be about records of a batch.
    fn needs(&self, batch: &RecordBatch, such: impl Fn(&Mend) -> bool) -> bool {
        let (first, next) = (batch.base_offset(), batch.next_offset());
        // The header tells the newest stamp, but not the oldest.
        let newest_ms = batch.max_timestamp_ms();
        let about =
            |mend: &&Mend| mend.from < next && first < mend.to && mend.stamped_from_ms <= newest_ms;
        self.packing.mends.iter().filter(about).any(such)
    }

    /// Merges neighbours; what comes out too large for central is merged in smaller steps.
    fn merge(&mut self, batches: &[RecordBatch]) -> Result<(), BatchError> {
        if self.request.chunk_records_max < u32::MAX {
            return batches.iter().try_for_each(|batch| self.rebuild(batch));
        }
        let bytes_max = (self.request.chunk_bytes_max * 4).min(MERGED_BYTES_MAX);
        self.merge_to(batches, bytes_max.max(self.request.chunk_bytes_max))
    }

    fn merge_to(&mut self, batches: &[RecordBatch], bytes_max: usize) -> Result<(), BatchError> {
        let merged = self
            .merger
            .merge(batches, bytes_max, DECOMPRESSED_BYTES_MAX)?;
        let mut sources = batches.iter();
        for batch in merged {
            let mut runs = Vec::new();
            let mut left = batch.record_count();
            let mut of_this = Vec::new();
            while left > 0 {
                let Some(source) = sources.next() else { break };
                left = left.saturating_sub(source.record_count());
                extend_runs(&mut runs, source.base_offset(), source.record_count());
                of_this.push(source.clone());
            }
            let fits = batch.bytes().len() <= self.request.batch_bytes_max;
            if fits {
                let next = of_this.last().map_or(self.pos, RecordBatch::next_offset);
                self.push(next, runs, Some(batch));
            } else if bytes_max > self.request.batch_bytes_max {
                self.merge_to(&of_this, self.request.batch_bytes_max)?;
            } else {
                of_this.iter().try_for_each(|source| self.rebuild(source))?;
            }
        }
        Ok(())
    }

    /// Builds batches anew from single records: cut, trimmed, without what is left out.
    fn rebuild(&mut self, batch: &RecordBatch) -> Result<(), BatchError> {
        let mut builder = BatchBuilder::new(self.packing.compression);
        let mut runs = Vec::new();
        let mut fresh = true;
        for item in batch.records(DECOMPRESSED_BYTES_MAX)? {
            let (offset, record) = item?;
            if offset < self.pos && fresh || self.request.skip.contains(&offset) {
                continue;
            }
            fresh = false;
            let mut record = self.with_source(record, offset);
            record.timestamp_ms = mended_ms(&self.packing.mends, offset, record.timestamp_ms);
            let bytes = record_bytes(&record);
            if bytes + kafka_wire::BATCH_HEADER_BYTES > self.request.batch_bytes_max
                && self.is_oversized(&record)
            {
                self.packed.oversized.push((offset, bytes));
                continue;
            }
            let full = builder.bytes_estimate() + bytes > self.request.chunk_bytes_max
                || builder.len() >= self.request.chunk_records_max as usize;
            if full && !builder.is_empty() {
                let built = builder.build(0, -1);
                self.push(offset, std::mem::take(&mut runs), Some(built));
            }
            builder.push(&record);
            extend_runs(&mut runs, offset, 1);
        }
        let built = (!builder.is_empty()).then(|| builder.build(0, -1));
        self.push(batch.next_offset(), runs, built);
        Ok(())
    }

    /// Whether a record alone is more than central takes, compressed as it would be sent.
    fn is_oversized(&self, record: &Record) -> bool {
        let mut builder = BatchBuilder::new(self.packing.compression);
        builder.push(record);
        builder.build(0, -1).bytes().len() > self.request.batch_bytes_max
    }

    fn with_source(&self, mut record: Record, offset: i64) -> Record {
        if let Some(source) = &self.packing.source {
            record.headers.push(Header {
                key: "edge-src".into(),
                value: Some(format!("{source}/{}/{offset}", self.request.tp.partition).into()),
            });
        }
        record
    }

    fn push(&mut self, next: i64, runs: Vec<(i64, u32)>, batch: Option<RecordBatch>) {
        let next = next.max(self.pos);
        if next == self.pos {
            return;
        }
        let chunk = Chunk {
            from: self.pos,
            next,
            runs,
            batch,
        };
        self.packed.records += u64::from(chunk.records());
        self.packed.chunks.push(chunk);
        self.pos = next;
    }
}

fn extend_runs(runs: &mut Vec<(i64, u32)>, first: i64, count: u32) {
    match runs.last_mut() {
        Some((start, length)) if *start + i64::from(*length) == first => *length += count,
        _ => runs.push((first, count)),
    }
}

/// About what a record weighs in a batch.
fn record_bytes(record: &Record) -> usize {
    let length = |field: &Option<kafka_wire::Bytes>| field.as_ref().map_or(0, |bytes| bytes.len());
    let headers: usize = record
        .headers
        .iter()
        .map(|h| h.key.len() + length(&h.value) + 4)
        .sum();
    length(&record.key) + length(&record.value) + headers + 16
}

#[cfg(test)]
mod tests;
