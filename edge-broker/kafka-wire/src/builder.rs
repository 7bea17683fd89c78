//! Builds one batch from records.

use crate::{Compression, Record, RecordBatch};

/// Collects records and makes a batch of them; reused from batch to batch it allocates one
/// buffer per batch.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
}

impl BatchBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self { compression }
    }

    /// Appends a record; its offset is its position in the batch.
    pub fn push(&mut self, _record: &Record) {
        unimplemented!()
    }

    /// Records pushed since the last batch was built.
    #[must_use]
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// Whether no record waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes the batch would have uncompressed, header included.
    #[must_use]
    pub fn bytes_estimate(&self) -> usize {
        unimplemented!()
    }

    /// Makes the batch and leaves the builder empty with its buffers kept.
    ///
    /// # Panics
    /// When no record was pushed: an empty batch is the caller's mistake.
    pub fn build(&mut self, _base_offset: i64, _leader_epoch: i32) -> RecordBatch {
        let _ = self.compression;
        unimplemented!()
    }
}
