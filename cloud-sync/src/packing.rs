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

use crate::forwarder::types::{Chunk, Packed, ReadRequest, Unreadable};

/// What decompressed records of one batch may weigh: the gateway's memory, not the format.
const DECOMPRESSED_BYTES_MAX: usize = 32 << 20;
/// Weight of a merged batch before compression: what zstd usually makes a full request of.
const MERGED_BYTES_MAX: usize = 2 << 20;

/// Packed bytes of one read, in batches of the size to aim at.
const PACKED_CHUNKS_MAX: usize = 2;

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
    reply: Sender<Packed>,
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
    ) -> Option<Packed> {
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

/// Packs what was read for `request`, or as much of it as makes about two batches: where central
/// gets records uncompressed they may weigh a hundred times what they do on the disk.
///
/// A batch that cannot be decoded is sent as it is, for central to judge. Only where it must be
/// cut or changed its unreadable rest is left out, and said so: reading it again would not help.
pub(crate) fn pack(
    batches: &[RecordBatch],
    request: &ReadRequest,
    packing: &Packing,
    merger: &mut Merger,
) -> Packed {
    let mut packer = Packer::new(request, packing, merger);
    let mut plain = Vec::new();
    for batch in batches
        .iter()
        .filter(|batch| batch.next_offset() > request.from)
    {
        if packer.stops() {
            break;
        }
        packer.packed.waits_for_clock |= packer.needs(batch, |mend| mend.add_ms.is_none());
        if packer.is_plain(batch) {
            plain.push(batch.clone());
        } else {
            packer.merge(&std::mem::take(&mut plain));
            packer.rebuild(batch);
        }
    }
    packer.merge(&plain);
    packer.finish(batches)
}

/// A batch under construction, and which offsets are in it.
struct Building {
    builder: BatchBuilder,
    runs: Vec<(i64, u32)>,
}

struct Packer<'a> {
    request: &'a ReadRequest,
    packing: &'a Packing,
    merger: &'a mut Merger,
    /// The next offset to be covered.
    pos: i64,
    packed: Packed,
    packed_bytes: usize,
    /// Enough for now: what is not covered is read again.
    stopped: bool,
}

impl<'a> Packer<'a> {
    fn new(request: &'a ReadRequest, packing: &'a Packing, merger: &'a mut Merger) -> Self {
        Self {
            request,
            packing,
            merger,
            pos: request.from,
            packed: Packed::default(),
            packed_bytes: 0,
            stopped: false,
        }
    }

    /// What was packed, and how much of the stored batches that took.
    fn finish(mut self, batches: &[RecordBatch]) -> Packed {
        let used = batches.iter().filter(|b| b.base_offset() < self.pos);
        self.packed.stored_bytes = used.map(|batch| batch.bytes().len()).sum();
        self.packed
    }
    /// Whether enough is packed; from then on nothing is, or there would be a hole.
    fn stops(&mut self) -> bool {
        self.stopped |= self.left() == 0;
        self.stopped
    }

    fn left(&self) -> usize {
        (PACKED_CHUNKS_MAX * self.request.chunk_bytes_max).saturating_sub(self.packed_bytes)
    }

    /// Whether a batch may be merged or passed on without looking at its records.
    fn is_plain(&self, batch: &RecordBatch) -> bool {
        let header = batch.header();
        let (first, next) = (batch.base_offset(), batch.next_offset());
        first >= self.request.from
            && i64::from(header.record_count) == next - first
            && batch.record_count() <= self.request.chunk_records_max
            && batch.bytes().len() <= self.bytes_max(batch)
            && first >= self.request.decode_before
            && self.packing.source.is_none()
            && !self.needs(batch, |mend| mend.add_ms.is_some_and(|add| add != 0))
            && self.request.skip.range(first..next).next().is_none()
    }

    /// What a batch may weigh: a record alone cannot be made smaller.
    fn bytes_max(&self, batch: &RecordBatch) -> usize {
        if batch.record_count() > 1 {
            self.request.taken_bytes_max
        } else {
            self.request.batch_bytes_max
        }
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
    fn merge(&mut self, batches: &[RecordBatch]) {
        if self.request.chunk_records_max < u32::MAX {
            return batches.iter().for_each(|batch| self.rebuild(batch));
        }
        let bytes_max = (self.request.chunk_bytes_max * 4).min(MERGED_BYTES_MAX);
        self.merge_to(batches, bytes_max.max(self.request.chunk_bytes_max));
    }

    fn merge_to(&mut self, batches: &[RecordBatch], bytes_max: usize) {
        if self.stops() {
            return;
        }
        let total_bytes_max = self.left();
        let merged =
            self.merger
                .merge_within(batches, bytes_max, DECOMPRESSED_BYTES_MAX, total_bytes_max);
        let mut sources = batches.iter();
        for batch in merged {
            if self.stops() {
                return;
            }
            let (of_this, runs) = sources_of(&batch, &mut sources);
            let taken_bytes_max = self.request.taken_bytes_max;
            if batch.bytes().len() <= self.bytes_max(&batch) {
                let next = of_this.last().map_or(self.pos, RecordBatch::next_offset);
                self.push(next, runs, Some(batch));
            } else if bytes_max > taken_bytes_max {
                self.merge_to(&of_this, taken_bytes_max);
            } else {
                of_this.iter().for_each(|source| self.rebuild(source));
            }
        }
        self.stopped |= sources.next().is_some();
    }

    /// Builds batches anew from single records: cut, trimmed, without what is left out.
    fn rebuild(&mut self, batch: &RecordBatch) {
        if self.stops() {
            return;
        }
        let mut building = Building {
            builder: BatchBuilder::new(self.packing.compression),
            runs: Vec::new(),
        };
        match self.rebuild_into(&mut building, batch) {
            Ok(next) => self.flush(&mut building, next),
            Err((from, error)) => {
                self.flush(&mut building, from);
                self.leave_out(batch, &error);
            }
        }
    }

    /// Adds all records that can be read, as long as there is room; where it ended. An error has
    /// the first offset that cannot.
    fn rebuild_into(
        &mut self,
        building: &mut Building,
        batch: &RecordBatch,
    ) -> Result<i64, (i64, BatchError)> {
        let mut next = batch.base_offset();
        let mut fresh = true;
        let records = batch.records(DECOMPRESSED_BYTES_MAX);
        for item in records.map_err(|error| (next, error))? {
            let (offset, record) = item.map_err(|error| (next, error))?;
            if offset < next {
                return Err((next, BatchError::Record("offset not after the one before")));
            }
            next = offset + 1;
            if offset < self.pos && fresh || self.request.skip.contains(&offset) {
                continue;
            }
            fresh = false;
            let mut record = self.with_source(record, offset);
            record.timestamp_ms = mended_ms(&self.packing.mends, offset, record.timestamp_ms);
            self.add(building, offset, &record);
            if self.stops() {
                return Ok(next);
            }
        }
        Ok(batch.next_offset())
    }

    fn add(&mut self, building: &mut Building, offset: i64, record: &Record) {
        let bytes = record_bytes(record);
        if bytes + kafka_wire::BATCH_HEADER_BYTES > self.request.batch_bytes_max
            && self.is_oversized(record)
        {
            // Alone in its range, so that what is ahead of it can go without it.
            self.flush(building, offset);
            self.push(offset + 1, Vec::new(), None);
            return self.packed.oversized.push((offset, bytes));
        }
        let builder = &building.builder;
        let full = builder.bytes_estimate() + bytes > self.request.chunk_bytes_max
            || builder.len() >= self.request.chunk_records_max as usize;
        if full && !builder.is_empty() {
            self.flush(building, offset);
        }
        building.builder.push(record);
        extend_runs(&mut building.runs, offset, 1);
    }

    /// What was built so far is a chunk that ends before `next`.
    fn flush(&mut self, building: &mut Building, next: i64) {
        let builder = &mut building.builder;
        let built = (!builder.is_empty()).then(|| builder.build(0, -1));
        self.push(next, std::mem::take(&mut building.runs), built);
    }

    /// The rest of a batch is covered without being sent.
    fn leave_out(&mut self, batch: &RecordBatch, error: &BatchError) {
        let (from, next) = (self.pos.max(batch.base_offset()), batch.next_offset());
        self.push(next, Vec::new(), None);
        let skipped = self.request.skip.range(from..next).count() as i64;
        // A batch may cover more offsets than it has records.
        let records = i64::from(batch.record_count()).min(next - from - skipped);
        if let Some(chunk) = self.packed.chunks.last_mut() {
            chunk.unreadable = records.max(0) as u64;
        }
        let reason = error.to_string();
        self.packed
            .unreadable
            .push(Unreadable { from, next, reason });
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
            unreadable: 0,
        };
        self.packed.records += u64::from(chunk.records());
        self.packed_bytes += chunk.bytes();
        self.packed.chunks.push(chunk);
        self.pos = next;
    }
}

/// The next sources, which a merged batch was made of, and the runs of their offsets.
fn sources_of<'a>(
    batch: &RecordBatch,
    sources: &mut impl Iterator<Item = &'a RecordBatch>,
) -> (Vec<RecordBatch>, Vec<(i64, u32)>) {
    let (mut of_this, mut runs) = (Vec::new(), Vec::new());
    let mut left = batch.record_count();
    while left > 0 {
        let Some(source) = sources.next() else { break };
        left = left.saturating_sub(source.record_count());
        extend_runs(&mut runs, source.base_offset(), source.record_count());
        of_this.push(source.clone());
    }
    (of_this, runs)
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
pub(crate) use tests::damaged;

#[cfg(test)]
mod tests;
