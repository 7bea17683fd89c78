//! Makes few large batches out of many small neighbours, for a link where a request may carry one
//! batch per partition.
//!
//! A record keeps its timestamp, key, value, headers and place in the order; only its two deltas
//! are written anew, the rest moves as it is. A batch is never divided over two outputs.
//!
//! ```text
//! bytes_max 1 MB:  [10..11][12..12][13..14] [15..900, 400 KB] [901..901][902..903]
//!                  └──── one batch ───────┘  as it is          └─── one batch ───┘
//! base offset       10                       15                 901
//! ```

use std::fmt;

use crate::compression;
use crate::records::RecordViews;
use crate::{BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader, Compression, RecordBatch};

/// Merges neighbouring batches of one partition; see [`Merger::merge`].
#[must_use]
pub fn merge(
    batches: &[RecordBatch],
    compression: Compression,
    bytes_max: usize,
    decompressed_bytes_max: usize,
) -> Vec<RecordBatch> {
    Merger::new(compression).merge(batches, bytes_max, decompressed_bytes_max)
}

/// Merges again and again with the same buffers and codec state.
pub struct Merger {
    builder: BatchBuilder,
    compression: Compression,
    decompressed: Vec<u8>,
    /// Sources whose records are in the builder; the first one, and how many.
    run: Option<(RecordBatch, usize)>,
}

impl fmt::Debug for Merger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merger")
            .field("builder", &self.builder)
            .finish_non_exhaustive()
    }
}

impl Merger {
    /// A merger whose outputs are compressed where that pays.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            builder: BatchBuilder::new(compression),
            compression,
            decompressed: Vec::new(),
            run: None,
        }
    }

    /// Merges neighbouring batches of one partition, given in offset order.
    ///
    /// An output has at most `bytes_max` bytes before compression, except a source that is larger
    /// alone. Its base offset is that of its first source, and it ends where the next output
    /// begins, so that progress can be kept per output; producer fields are unset. A `Produce`
    /// request sets offsets and producer as central wants them while it is encoded.
    ///
    /// A source passes unchanged where it is large already, or has no neighbour. So does one that
    /// cannot be read (damaged inside, or more than `decompressed_bytes_max`): then central
    /// judges that batch and not its neighbours too. Sources are not checked against their CRC,
    /// the log did that when it read them. Control batches pass; to leave them out is the
    /// caller's part.
    #[must_use]
    pub fn merge(
        &mut self,
        batches: &[RecordBatch],
        bytes_max: usize,
        decompressed_bytes_max: usize,
    ) -> Vec<RecordBatch> {
        self.merge_within(batches, bytes_max, decompressed_bytes_max, usize::MAX)
    }

    /// The same, but ends soon after the outputs have `total_bytes_max`: the records of the outputs
    /// tell how far it came.
    #[must_use]
    pub fn merge_within(
        &mut self,
        batches: &[RecordBatch],
        bytes_max: usize,
        decompressed_bytes_max: usize,
        total_bytes_max: usize,
    ) -> Vec<RecordBatch> {
        let mut merged: Vec<RecordBatch> = Vec::new();
        let (mut counted, mut total_bytes) = (0, 0);
        for batch in batches {
            total_bytes += bytes_of(&merged[counted..]);
            counted = merged.len();
            if total_bytes >= total_bytes_max {
                break;
            }
            let header = batch.header();
            if self.passes(batch, &header, bytes_max)
                || !self.take(
                    batch,
                    &header,
                    bytes_max,
                    decompressed_bytes_max,
                    &mut merged,
                )
            {
                self.finish_run(&mut merged);
                merged.push(batch.clone());
            }
        }
        self.finish_run(&mut merged);
        merged
    }

    /// Moves the records of `batch` into the run, or leaves the run as it was and says `false`.
    fn take(
        &mut self,
        batch: &RecordBatch,
        header: &BatchHeader,
        bytes_max: usize,
        decompressed_bytes_max: usize,
        merged: &mut Vec<RecordBatch>,
    ) -> bool {
        let payload = payload(
            batch,
            header,
            &mut self.decompressed,
            decompressed_bytes_max,
        );
        let Ok(payload) = payload else {
            return false;
        };
        if !push_all(&mut self.builder, header, payload) {
            return false;
        }
        if self.builder.bytes_estimate() > bytes_max && self.run.is_some() {
            self.builder.undo();
            finish_run(&mut self.builder, &mut self.run, self.compression, merged);
            push_all(&mut self.builder, header, payload);
        }
        match &mut self.run {
            Some((_, sources)) => *sources += 1,
            None => self.run = Some((batch.clone(), 1)),
        }
        true
    }

    fn finish_run(&mut self, merged: &mut Vec<RecordBatch>) {
        finish_run(&mut self.builder, &mut self.run, self.compression, merged);
    }

    /// Whether a source goes as it is.
    fn passes(&self, batch: &RecordBatch, header: &BatchHeader, bytes_max: usize) -> bool {
        let is_large = batch.bytes().len() >= bytes_max / LARGE_SHARE;
        header.is_control() || is_large && may_pass(header, self.compression)
    }
}

fn bytes_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(|batch| batch.bytes().len()).sum()
}

/// Whether a producer may send the batch as it is, and compressing it would not save the link.
fn may_pass(header: &BatchHeader, compression: Compression) -> bool {
    let gaps = i64::from(header.record_count) != i64::from(header.last_offset_delta) + 1;
    let compressed = header
        .compression()
        .is_ok_and(|codec| codec != Compression::None);
    !gaps
        && !header.is_log_append_time()
        && !header.is_transactional()
        && (compressed || compression == Compression::None)
}

/// Builds the output of the run, if there is one.
fn finish_run(
    builder: &mut BatchBuilder,
    run: &mut Option<(RecordBatch, usize)>,
    compression: Compression,
    merged: &mut Vec<RecordBatch>,
) {
    let Some((first, sources)) = run.take() else {
        return;
    };
    if sources == 1 && may_pass(&first.header(), compression) {
        builder.clear();
        merged.push(first);
    } else if !builder.is_empty() {
        merged.push(builder.build(first.base_offset(), -1));
    }
}

/// Pushes every record of a payload, or none when one is damaged.
fn push_all(builder: &mut BatchBuilder, header: &BatchHeader, payload: &[u8]) -> bool {
    builder.mark();
    for view in RecordViews::new(*header, payload) {
        let Ok(view) = view else {
            builder.undo();
            return false;
        };
        builder.push_body(view.timestamp_ms, view.body);
    }
    true
}

/// The records of `batch` as they are, or decompressed into `buffer`.
fn payload<'a>(
    batch: &'a RecordBatch,
    header: &BatchHeader,
    buffer: &'a mut Vec<u8>,
    bytes_max: usize,
) -> Result<&'a [u8], BatchError> {
    let payload = &batch.bytes()[BATCH_HEADER_BYTES..];
    let codec = header.compression()?;
    if codec == Compression::None {
        return Ok(payload);
    }
    buffer.clear();
    buffer.shrink_to(BUFFER_BYTES_KEPT);
    compression::decompress(codec, payload, buffer, bytes_max)?;
    Ok(buffer)
}

/// A batch of this share of the limit is large: merging it would save less than it costs.
const LARGE_SHARE: usize = 4;
/// What a merger keeps after a batch.
const BUFFER_BYTES_KEPT: usize = 2 << 20;

#[cfg(test)]
mod tests;
