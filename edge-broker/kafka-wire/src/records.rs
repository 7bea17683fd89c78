//! Reading the records of a batch: decompressed once, then walked.

use bytes::Bytes;

use crate::varint::Cursor;
use crate::{BatchError, BatchHeader, Record, RecordView};

/// The decompressed records of one batch.
#[derive(Clone, Debug)]
pub struct RecordsBytes {
    header: BatchHeader,
    bytes: Bytes,
}

impl RecordsBytes {
    pub(crate) fn new(header: BatchHeader, bytes: Bytes) -> Self {
        Self { header, bytes }
    }

    /// Iterates without allocating; ends after the first error.
    #[must_use]
    pub fn views(&self) -> RecordViews<'_> {
        RecordViews::new(self.header, &self.bytes)
    }

    /// Iterates over owned records, which are slices of these bytes.
    #[must_use]
    pub fn into_records(self) -> Records {
        let left = record_count(&self.header);
        Records {
            left,
            consumed_bytes: 0,
            inner: self,
        }
    }

    /// The uncompressed records as they are on the wire, without the batch header.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Iterator over the records of a batch with their offsets; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    inner: RecordsBytes,
    left: usize,
    consumed_bytes: usize,
}

impl Iterator for Records {
    type Item = Result<(i64, Record), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = &self.inner.bytes;
        let mut from = Cursor::new(bytes.get(self.consumed_bytes..)?);
        let result = next_record(&mut from, &mut self.left, &self.inner.header)?;
        self.consumed_bytes = bytes.len() - from.rest.len();
        Some(result.map(|view| (view.offset, view.slice_of(bytes))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left.saturating_add(1)))
    }
}

/// Iterator over borrowed records; ends after the first error.
#[derive(Clone, Debug)]
pub struct RecordViews<'a> {
    header: BatchHeader,
    from: Cursor<'a>,
    left: usize,
}

impl<'a> RecordViews<'a> {
    pub(crate) fn new(header: BatchHeader, payload: &'a [u8]) -> Self {
        Self {
            left: record_count(&header),
            header,
            from: Cursor::new(payload),
        }
    }

    /// Bytes of the records that were not read yet.
    pub(crate) fn bytes_left(&self) -> usize {
        self.from.rest.len()
    }
}

impl<'a> Iterator for RecordViews<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_record(&mut self.from, &mut self.left, &self.header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left.saturating_add(1)))
    }
}

/// The next record, or the error that ends the batch, or its proper end.
fn next_record<'a>(
    from: &mut Cursor<'a>,
    left: &mut usize,
    header: &BatchHeader,
) -> Option<Result<RecordView<'a>, BatchError>> {
    let result = if *left > 0 {
        *left -= 1;
        RecordView::read(from, header)
    } else if from.rest.is_empty() {
        return None;
    } else {
        Err(BatchError::TrailingBytes(from.rest.len()))
    };
    if result.is_err() {
        *left = 0;
        from.rest = &[];
    }
    Some(result)
}

fn record_count(header: &BatchHeader) -> usize {
    usize::try_from(header.record_count).unwrap_or(0)
}
