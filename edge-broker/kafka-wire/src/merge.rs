//! Makes few large batches out of many small neighbours.

use crate::{BatchError, Compression, RecordBatch};

/// Merges neighbouring batches of one partition.
///
/// # Errors
/// See the variants.
pub fn merge(
    _batches: &[RecordBatch],
    _compression: Compression,
    _bytes_max: usize,
    _decompressed_bytes_max: usize,
) -> Result<Vec<RecordBatch>, BatchError> {
    unimplemented!()
}
