//! Reading the records of a batch.

use bytes::Bytes;

use crate::{BatchError, Record};

/// The decompressed records of one batch.
#[derive(Clone, Debug)]
pub struct RecordsBytes {
    _bytes: Bytes,
}

impl RecordsBytes {
    /// Iterates over owned records, which are slices of these bytes.
    #[must_use]
    pub fn into_records(self) -> Records {
        Records { _inner: self }
    }
}

/// Iterator over the records of a batch with their offsets; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    _inner: RecordsBytes,
}

impl Iterator for Records {
    type Item = Result<(i64, Record), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}
